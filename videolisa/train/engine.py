"""The training loop: stages of optimiser steps that can be killed at any moment and resumed exactly.

A *stage* says what is computed; the engine does the rest. Every random choice, of data or of dropout, is a function of
seed, stage, step, micro-step and rank, so a resumed run continues with the same numbers as one that was never
interrupted, and no position in a data loader has to be kept. accelerate is the layer below: one process or several
nodes, mixed precision, FSDP and DeepSpeed by its own configuration files (``configs/``).
"""

from __future__ import annotations

import json
import random
import shutil
import signal
import time
import zlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields, is_dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Any, Protocol

import numpy as np
import torch
from torch import nn

from ...datasets.errors import MissingExtraError, UsageError
from .record import TrainingLog

CHECKPOINTS = "checkpoints"
STATE_FILE = "stage.json"
#: Checkpoints that are kept, the newest.
KEPT = 2


@dataclass(frozen=True)
class Optimisation:
    """How a stage's parameters are moved: AdamW, linear warm-up, then linear decay to ``final`` of the rate.

    Attributes:
        steps: optimiser steps.
        lr: highest learning rate.
        warmup: steps of linear warm-up.
        betas, weight_decay: of AdamW.
        clip: largest gradient norm.
        final: share of ``lr`` that is left in the last step.
        accumulate: batches a step, on each process.
    """

    steps: int
    lr: float
    warmup: int
    betas: tuple[float, float] = (0.9, 0.95)
    weight_decay: float = 0.0
    clip: float = 1.0
    final: float = 0.0
    accumulate: int = 1

    def rate(self, step: int) -> float:
        """Learning rate of step 0, 1, … as a share of ``lr``."""
        if step < self.warmup:
            return (step + 1) / self.warmup
        left = (self.steps - step) / max(1, self.steps - self.warmup)
        return max(self.final, left)

    def scaled(self, share: float) -> Optimisation:
        """The same course in a share of the steps."""
        steps = max(1, round(self.steps * share))
        return replace(self, steps=steps, warmup=min(self.warmup, max(1, steps // 10)))


class Stage(Protocol):
    """A part of a recipe.

    Attributes:
        name: of the stage, unique in its recipe.
        optimisation: see ``Optimisation``.
        module: ``module(batch)`` gives scalars by name; ``loss`` is minimised, the others are logged. Its parameters
            that require gradients are trained.
        validate_every: steps between validations, the first before a run's first step; 0 for none but the last.
    """

    @property
    def name(self) -> str: ...

    @property
    def optimisation(self) -> Optimisation: ...

    @property
    def module(self) -> nn.Module: ...

    @property
    def validate_every(self) -> int: ...

    def begin(self) -> None:
        """Called before the stage's first step, also of a resumed run: which parameters learn, what is frozen."""
        ...

    def batch(self, rng: np.random.Generator) -> Any:
        """A batch; tensors, lists, tuples, dicts and dataclasses of them are moved to the device."""
        ...

    def validate(self) -> dict[str, float]:
        """Scores by name, e.g. ``J&F`` in percent; empty where there is nothing to validate."""
        ...


@dataclass(frozen=True)
class Options:
    """How a recipe is run, apart from what it computes.

    Attributes:
        seed: of every random choice.
        precision: ``no`` (float32), ``bf16`` or ``fp16``.
        checkpoint_every: steps between checkpoints; one more is written when a stage ends or the run is stopped.
        log_every: steps between lines of the log.
        minutes: stop, resumably, after so many; None to go on to the end.
        limit_steps: stop, resumably, after so many steps of this call.
    """

    seed: int = 0
    precision: str = "no"
    checkpoint_every: int = 200
    log_every: int = 10
    minutes: float | None = None
    limit_steps: int | None = None


class Stopped(Exception):
    """The run was asked to stop (a signal, ``minutes``, ``limit_steps``); its folder can be resumed."""


class Engine:
    """Runs stages one after the other in a folder."""

    def __init__(self, folder: Path, options: Options) -> None:
        """
        Args:
            folder: for checkpoints, log and plot.
            options: see ``Options``.

        Raises:
            MissingExtraError: where accelerate is not installed.
        """
        try:
            from accelerate import Accelerator, DistributedDataParallelKwargs
        except ImportError as error:
            raise MissingExtraError("Training", "train") from error
        unused = DistributedDataParallelKwargs(find_unused_parameters=True)  # the decoder's quality head has no loss
        self.accelerator = Accelerator(mixed_precision=options.precision, kwargs_handlers=[unused])
        self.folder, self.options = folder, options
        self.log = TrainingLog(folder, writes=self.accelerator.is_main_process)
        self._deadline = None if options.minutes is None else time.monotonic() + 60 * options.minutes
        self._steps_left = options.limit_steps
        self._stop = False

    def run(self, stages: Sequence[Stage]) -> None:
        """All stages, from where the folder's newest checkpoint stands.

        Raises:
            Stopped: where it had to stop before the end.
            UsageError: where the checkpoint is of other stages.
        """
        number, step = self._position(stages)
        with self._stopping_on_signals():
            for k in range(number, len(stages)):
                self._run_stage(stages[k], k, step if k == number else 0)

    # One stage ----------------------------------------------------------------------------------------------------

    def _run_stage(self, stage: Stage, number: int, first: int) -> None:
        course = stage.optimisation
        stage.begin()
        learning = [p for p in stage.module.parameters() if p.requires_grad]
        optimiser = torch.optim.AdamW(learning, course.lr, course.betas, weight_decay=course.weight_decay)
        module, prepared = self.accelerator.prepare(stage.module, optimiser)
        if first or number:
            self._load(stage, first)
        if stage.validate_every and not (first or number):
            self._validate(stage, 0)
        module.train()
        for step in range(first, course.steps):
            for group in prepared.param_groups:
                group["lr"] = course.lr * course.rate(step)
            values = self._step(stage, module, prepared, step)
            self._note(stage, step, values, course)
            if stage.validate_every and (step + 1) % stage.validate_every == 0 and step + 1 < course.steps:
                self._validate(stage, step + 1)
                module.train()
            self._save_when_due(stage, number, step + 1)
        self._validate(stage, course.steps)
        self.accelerator.free_memory(module, prepared)

    def _step(self, stage: Stage, module: nn.Module, optimiser: Any, step: int) -> dict[str, float]:
        course = stage.optimisation
        sums: dict[str, float] = {}
        for micro in range(course.accumulate):
            rng = self._seeded(stage.name, step, micro)
            batch = to_device(stage.batch(rng), self.accelerator.device)
            last = micro == course.accumulate - 1
            with self.accelerator.no_sync(module) if not last else _nothing():
                losses = module(batch)
                self.accelerator.backward(losses["loss"] / course.accumulate)
            for name, value in losses.items():
                sums[name] = sums.get(name, 0.0) + float(value.detach()) / course.accumulate
        norm = self.accelerator.clip_grad_norm_(module.parameters(), course.clip)
        optimiser.step()
        optimiser.zero_grad()
        return {**sums, "gradient_norm": float(norm if norm is not None else 0.0)}

    def _seeded(self, stage: str, step: int, micro: int) -> np.random.Generator:
        """The generator of a batch; dropout and whatever else draws from torch's or Python's own is seeded too."""
        key = (self.options.seed, zlib.crc32(stage.encode()), step, micro, self.accelerator.process_index)
        rng = np.random.default_rng(key)
        own = int(rng.integers(1 << 31))
        torch.manual_seed(own)
        random.seed(own)
        return rng

    def _note(self, stage: Stage, step: int, values: Mapping[str, float], course: Optimisation) -> None:
        if (step + 1) % self.options.log_every == 0 or step + 1 == course.steps or step == 0:
            self.log.step(stage.name, step + 1, {**values, "lr": course.lr * course.rate(step)})

    def _validate(self, stage: Stage, step: int) -> None:
        scores = stage.validate()
        if scores:
            self.log.scores(stage.name, step, scores)

    # Stopping -----------------------------------------------------------------------------------------------------

    def _save_when_due(self, stage: Stage, number: int, done: int) -> None:
        if self._steps_left is not None:
            self._steps_left -= 1
        late = self._deadline is not None and time.monotonic() >= self._deadline
        stop = self._anybody(self._stop or late or self._steps_left == 0)
        finished = done == stage.optimisation.steps
        if stop or finished or done % self.options.checkpoint_every == 0:
            self._save(stage, number, done)
        if stop:
            raise Stopped(f"stopped after step {done} of stage {stage.name}; --resume continues.")

    def _anybody(self, stop: bool) -> bool:
        """Whether any process has to stop: then all do, at the same step."""
        if self.accelerator.num_processes == 1:
            return stop
        flag = torch.tensor([int(stop)], device=self.accelerator.device)
        return bool(self.accelerator.reduce(flag, "sum").item())

    @contextmanager
    def _stopping_on_signals(self) -> Iterator[None]:
        """SIGTERM and Ctrl-C end the run after the step in progress, with a checkpoint."""

        def ask(signum: int, frame: FrameType | None) -> None:
            self._stop = True

        before = {s: signal.signal(s, ask) for s in (signal.SIGTERM, signal.SIGINT)}
        try:
            yield
        finally:
            for signum, handler in before.items():
                signal.signal(signum, handler)

    # Checkpoints --------------------------------------------------------------------------------------------------

    def _save(self, stage: Stage, number: int, done: int) -> None:
        """Everything that the next step depends on, complete or not there at all."""
        target = self.folder / CHECKPOINTS / f"{number}-{stage.name}-{done:07d}"
        partial = target.with_name(f".{target.name}.partial")
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            shutil.rmtree(partial, ignore_errors=True)
            partial.mkdir(parents=True)
        self.accelerator.wait_for_everyone()
        # Not as safetensors: those leave out SAM's position matrix, which two modules share, and loading is strict.
        self.accelerator.save_state(str(partial), safe_serialization=False)
        self.accelerator.wait_for_everyone()
        if self.accelerator.is_main_process:
            state = {**_identity(stage, number, self.options.seed), "step": done}
            (partial / STATE_FILE).write_text(json.dumps(state) + "\n", encoding="utf-8")
            shutil.rmtree(target, ignore_errors=True)
            partial.rename(target)
            for old in _checkpoints(self.folder)[:-KEPT]:
                shutil.rmtree(old)
        self.accelerator.wait_for_everyone()

    def _position(self, stages: Sequence[Stage]) -> tuple[int, int]:
        """(stage, step) from which on there is something to do."""
        found = _checkpoints(self.folder)
        if not found:
            return 0, 0
        state = json.loads((found[-1] / STATE_FILE).read_text(encoding="utf-8"))
        number, step = state["number"], state["step"]
        here = _identity(stages[number], number, self.options.seed) if number < len(stages) else {}
        other = {name: value for name, value in state.items() if name != "step" and here.get(name) != value}
        if other:
            wanted = {name: here.get(name) for name in other}
            raise UsageError(
                f"{found[-1]} is of a run with {other}, where this one has {wanted}: resume with the options that it "
                "began with, or give another --out."
            )
        return number, step

    def _load(self, stage: Stage, step: int) -> None:
        """The newest checkpoint: the whole state within a stage, its weights alone where the next stage begins."""
        folder = _checkpoints(self.folder)[-1]
        state = json.loads((folder / STATE_FILE).read_text(encoding="utf-8"))
        if state["stage"] == stage.name:
            self.accelerator.load_state(str(folder))


def _identity(stage: Stage, number: int, seed: int) -> dict[str, Any]:
    """What a run has to have in common with a checkpoint to go on from it."""
    return {"stage": stage.name, "number": number, "steps": stage.optimisation.steps, "seed": seed}


def _checkpoints(folder: Path) -> list[Path]:
    """Complete checkpoints, oldest first."""
    found = [p for p in (folder / CHECKPOINTS).glob("[0-9]*") if (p / STATE_FILE).is_file()]
    return sorted(found, key=lambda p: (int(p.name.split("-")[0]), int(p.name.rsplit("-", 1)[1])))


@contextmanager
def _nothing() -> Iterator[None]:
    yield


def to_device(value: Any, device: torch.device) -> Any:
    """Tensors in lists, tuples, dicts and dataclasses, moved; everything else as it is."""
    if isinstance(value, torch.Tensor):
        return value.to(device)
    if isinstance(value, dict):
        return {k: to_device(v, device) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(to_device(v, device) for v in value)
    if is_dataclass(value) and not isinstance(value, type):
        moved = {f.name: to_device(getattr(value, f.name), device) for f in fields(value)}
        return replace(value, **moved)
    return value

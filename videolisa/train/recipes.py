"""Presets of ``rvos train``: what is trained in which stages, on what, and what comes out.

``full`` is the paper's recipe for the 3.8B model; ``nano`` and ``lisa-nano`` train small models from nothing
(``videolisa.nano``).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from ...benchmarks.evaluator import Evaluator
from ...benchmarks.predictor import Predictor
from ...benchmarks.protocols import default_protocols
from ...datasets.types import RVOSDataset
from ..checkpoints import VideoLisa
from ..modeling import TrainingBatch, VideoLisaModel
from ..predictor import VideoLisaPredictor
from ..processor import Processor
from ..training import add_lora, collate, freeze_but_trained, merge_lora
from .engine import Engine, Optimisation, Options, Stage, Stopped
from .mixture import Mixture
from .record import plot, training_card, write_card

#: The released script: 20 epochs of 300 steps, 2 clips on each of 64 GPUs.
PAPER = Optimisation(steps=6000, lr=3e-4, warmup=100, betas=(0.9, 0.95), weight_decay=0.0, clip=1.0)
PAPER_CLIPS = 2
EPOCH = 300


@dataclass(frozen=True)
class Recipe:
    """Everything that a training run is.

    Attributes:
        name: of the preset.
        stages: in order.
        save: writes the trained weights into a folder.
        facts: what the training card says about data and model.
    """

    name: str
    stages: tuple[Stage, ...]
    save: Callable[[Path], None]
    facts: Callable[[], dict[str, Any]]


def train(recipe: Recipe, folder: Path, options: Options) -> Path:
    """Run a recipe; weights, card, log and plot lie in the folder.

    Args:
        recipe: what to train.
        folder: a new one, or that of a run to resume.
        options: how.

    Returns:
        The folder with the weights.

    Raises:
        Stopped: where the run was asked to stop before its end; the same call continues it.
    """
    engine = Engine(folder, options)
    try:
        engine.run(recipe.stages)
    finally:
        if engine.accelerator.is_main_process and (folder / "log.jsonl").is_file():
            plot(folder)
    weights = folder / "weights"
    if engine.accelerator.is_main_process:
        recipe.save(weights)
        stages = {s.name: vars(s.optimisation) for s in recipe.stages}
        facts = {"preset": recipe.name, "options": vars(options), "stages": stages, **recipe.facts()}
        write_card(weights, training_card(**facts, processes=engine.accelerator.num_processes))
    engine.accelerator.wait_for_everyone()
    return weights


# Validation -----------------------------------------------------------------------------------------------------------


def validate(predictor: Predictor, data: RVOSDataset, n_videos: int | None = None) -> dict[str, float]:
    """J&F, J and F in percent over the first videos, by the evaluator that scores runs."""
    videos = data.videos[:n_videos]
    kept = [s for v in videos for s in data.samples_of(v.id)]
    evaluator = Evaluator(_Part(data, kept), default_protocols(data)[0])
    for video in videos:
        samples = data.samples_of(video.id)
        keys = {s.expression.id: s.key for s in samples}
        for expression_id, frame, mask in predictor.segment(video, [s.expression for s in samples]):
            evaluator.update(keys[expression_id], frame, mask)
    summary = evaluator.compute().summary
    found = {"J&F": summary.J_and_F.value, "J": summary.J.value, "F": summary.F.value}
    return {name: 100 * value for name, value in found.items() if value is not None}


class _Part(RVOSDataset):
    """Some samples of a dataset, under its name."""

    def __init__(self, whole: RVOSDataset, samples: Sequence[Any]) -> None:
        super().__init__(whole.root, whole.split, whole.version, samples)
        self.name, self._whole = whole.name, whole

    def ground_truth(self, sample: Any) -> Any:
        return self._whole.ground_truth(sample)

    def objects(self, video: Any) -> Any:
        return self._whole.objects(video)

    def annotation_files(self) -> Any:
        return self._whole.annotation_files()


# The paper's recipe ---------------------------------------------------------------------------------------------------


class _Losses(nn.Module):
    """The model's training forward as named scalars."""

    def __init__(self, model: VideoLisaModel) -> None:
        super().__init__()
        self.model = model

    def forward(self, batch: TrainingBatch) -> dict[str, torch.Tensor]:
        out = self.model(batch)
        return {"loss": out.loss, "ce": out.ce_loss, "bce": out.mask_bce_loss, "dice": out.mask_dice_loss}


class PaperStage:
    """LoRA, both embedding tables, prompt head and mask decoder on a mixture of datasets."""

    name = "videolisa"

    def __init__(
        self,
        videolisa: VideoLisa,
        mixture: Mixture,
        valid: RVOSDataset | None = None,
        optimisation: Optimisation = PAPER,
        clips: int = PAPER_CLIPS,
        checkpointing: bool = True,
        valid_videos: int | None = None,
        seed: int = 0,
    ) -> None:
        self.videolisa, self.mixture, self.valid = videolisa, mixture, valid
        self.optimisation, self.clips, self.valid_videos = optimisation, clips, valid_videos
        self.validate_every = EPOCH if valid is not None else 0
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            add_lora(videolisa.model)
        if checkpointing:
            videolisa.model.language_model.gradient_checkpointing_enable({"use_reentrant": False})
        self.module: nn.Module = _Losses(videolisa.model)

    def begin(self) -> None:
        freeze_but_trained(self.videolisa.model)

    def batch(self, rng: np.random.Generator) -> TrainingBatch:
        return collate([self.mixture.draw(rng) for _ in range(self.clips)], self._processor)

    def validate(self) -> dict[str, float]:
        if self.valid is None:
            return {}
        self.videolisa.model.eval()
        return validate(VideoLisaPredictor(self.videolisa), self.valid, self.valid_videos)

    @property
    def _processor(self) -> Processor:
        return self.videolisa.processor


def full_recipe(
    videolisa: VideoLisa,
    mixture: Mixture,
    valid: RVOSDataset | None = None,
    scale: float = 1.0,
    valid_videos: int | None = None,
    seed: int = 0,
) -> Recipe:
    """The paper's recipe on a model that is already loaded: LLaVA-Phi-3 with SAM, or a VideoLISA to be tuned further.

    Args:
        scale: share of the 6000 steps, schedule and all.
        seed: of LoRA's weights (the engine's seed is of data and dropout).
    """
    stage = PaperStage(videolisa, mixture, valid, PAPER.scaled(scale), valid_videos=valid_videos, seed=seed)

    def save(folder: Path) -> None:
        merge_lora(videolisa.model)
        videolisa.save_pretrained(folder)

    def facts() -> dict[str, Any]:
        groups = {g.name: {"rate": g.rate, "datasets": [_fingerprint(d) for d in g.datasets]} for g in mixture.groups}
        return {"base": videolisa.source, "mixture": groups, "clips_a_process": stage.clips}

    return Recipe("full", (stage,), save, facts)


def _fingerprint(data: RVOSDataset) -> dict[str, Any]:
    return {"name": data.id, "version": data.version, "samples": len(data), "fingerprint": data.fingerprint}


__all__ = ["Engine", "Options", "PaperStage", "Recipe", "Stopped", "full_recipe", "train", "validate"]

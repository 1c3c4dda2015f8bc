"""What happened in a training run: a log of JSON lines, TensorBoard files where it is installed, a plot, a card."""

from __future__ import annotations

import json
import os
import platform
import sys
import time
from collections import defaultdict
from collections.abc import Mapping
from datetime import datetime, timezone
from math import ceil
from pathlib import Path
from typing import Any

from ...benchmarks.machine import describe
from ...benchmarks.provenance import package_versions, source_revision
from ...benchmarks.runs import append_lines, replace_file

LOG_FILE, PLOT_FILE, CARD_FILE = "log.jsonl", "training.svg", "training-card.json"
#: Of the plot.
COLUMNS = 3
#: Packages beside those that every run records.
TRAINING_PACKAGES = ("accelerate", "peft", "safetensors", "sentencepiece")


class TrainingLog:
    """``log.jsonl``: a line every few steps, a line a validation. Also in TensorBoard's files where it is installed."""

    def __init__(self, folder: Path, writes: bool = True) -> None:
        """``writes``: whether this process is the one that keeps the log."""
        self.folder, self.writes = folder, writes
        self._began = time.monotonic()
        self._board = _board(folder) if writes else None

    def step(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """Losses and the like after a step."""
        self._add("step", stage, step, values)

    def scores(self, stage: str, step: int, values: Mapping[str, float]) -> None:
        """A validation."""
        self._add("validation", stage, step, values)

    def _add(self, event: str, stage: str, step: int, values: Mapping[str, float]) -> None:
        if not self.writes:
            return
        line = {"event": event, "stage": stage, "step": step, "seconds": round(time.monotonic() - self._began, 1)}
        self.folder.mkdir(parents=True, exist_ok=True)
        append_lines(self.folder / LOG_FILE, [json.dumps({**line, **{k: round(v, 6) for k, v in values.items()}})])
        if self._board is not None:
            for name, value in values.items():
                self._board.add_scalar(f"{stage}/{name}", value, step)
            self._board.flush()
        shown = "  ".join(f"{name} {value:.4g}" for name, value in values.items())
        print(f"{stage} {step}: {shown}", file=sys.stderr, flush=True)


def read_log(folder: Path) -> list[dict[str, Any]]:
    """The lines of a run's log; of a step that was logged twice, before and after a kill, the later one."""
    path = folder / LOG_FILE
    lines = path.read_text(encoding="utf-8").splitlines() if path.is_file() else []
    kept: dict[tuple[str, str, int], dict[str, Any]] = {}
    for line in map(json.loads, lines):
        kept[line["event"], line["stage"], line["step"]] = line
    return list(kept.values())


def plot(folder: Path) -> Path:
    """``training.svg``: losses over the steps of each stage, then the validations over the steps of the whole run."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    lines = read_log(folder)
    stages: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for line in lines:
        stages[line["stage"]].append(line)
    watched = any(line["event"] == "validation" for line in lines)
    panels = len(stages) + watched
    rows = ceil(panels / COLUMNS)
    figure = pyplot.figure(figsize=(4.2 * min(panels, COLUMNS), 3.2 * rows))
    axes = [figure.add_subplot(rows, min(panels, COLUMNS), number + 1) for number in range(panels)]
    for axis, (stage, own) in zip(axes, stages.items(), strict=False):
        _draw_losses(axis, stage, own)
    if watched:
        _draw_scores(axes[-1], stages)
    figure.tight_layout()
    figure.savefig(folder / PLOT_FILE)
    pyplot.close(figure)
    return folder / PLOT_FILE


def _draw_losses(axis: Any, stage: str, lines: list[dict[str, Any]]) -> None:
    series: dict[str, list[tuple[int, float]]] = defaultdict(list)
    for line in lines:
        for name, value in line.items():
            if line["event"] == "step" and name not in ("event", "stage", "step", "seconds", "lr", "gradient_norm"):
                series[name].append((line["step"], value))
    for name, points in series.items():
        axis.plot(*zip(*points, strict=True), label=name, linewidth=2 if name == "loss" else 1)
    axis.set(title=stage, xlabel="step", yscale="log")
    axis.legend(fontsize=7, loc="lower left")


def _draw_scores(axis: Any, stages: Mapping[str, list[dict[str, Any]]]) -> None:
    """J&F, and selection where it is known, in percent; a line where a stage ends."""
    scores: dict[str, list[tuple[int, float]]] = defaultdict(list)
    done = 0
    for lines in stages.values():
        for line in lines:
            for name in ("J&F", "selection"):
                if line["event"] == "validation" and name in line:
                    scores[name].append((done + line["step"], line[name]))
        done += max(line["step"] for line in lines)
        axis.axvline(done, color="lightgray", linewidth=0.8)
    for name, points in scores.items():
        axis.plot(*zip(*points, strict=True), "o-", markersize=3, label=name)
    axis.set(title="validation", xlabel="step of the run", ylabel="percent")
    axis.set_ylim(bottom=0)
    axis.legend(fontsize=7, loc="upper left")


def training_card(**facts: Any) -> dict[str, Any]:
    """Everything that one needs to know to make the weights again.

    Args:
        facts: what the recipe knows: preset, seed, stages, data with fingerprints, hashes, scores, remarks.
    """
    packages = package_versions()
    for name in TRAINING_PACKAGES:
        packages.update(_version(name))
    times = os.times()
    return {
        "made": datetime.now(timezone.utc).replace(microsecond=0).isoformat(),
        "command": ["rvos", *sys.argv[1:]],
        **facts,
        "cpu_seconds_of_this_process": round(times.user + times.system),
        "machine": describe(),
        "system": platform.platform(),
        "packages": packages,
        "source": source_revision(),
    }


def lineage(base: str | Path | None) -> dict[str, Any]:
    """What a card says of the weights that a run began with: their place and, where they have one, their own card."""
    if base is None:
        return {"base": None}
    card = Path(base) / CARD_FILE
    return {"base": str(base), "base_card": json.loads(card.read_text(encoding="utf-8")) if card.is_file() else None}


def write_card(folder: Path, card: Mapping[str, Any]) -> Path:
    """``training-card.json``, atomically."""
    folder.mkdir(parents=True, exist_ok=True)
    replace_file(folder / CARD_FILE, json.dumps(card, indent=1, default=str) + "\n")
    return folder / CARD_FILE


def _version(name: str) -> dict[str, str]:
    from importlib.metadata import PackageNotFoundError, version

    try:
        return {name: version(name)}
    except PackageNotFoundError:
        return {}


def _board(folder: Path) -> Any:
    """A writer of TensorBoard's files; None where tensorboard is not installed."""
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError:
        return None
    return SummaryWriter(str(folder / "tensorboard"))

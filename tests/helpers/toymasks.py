"""Predictions in memory for ``toyset``: the ground truth, moved, with masks deleted or replaced."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rvos.benchmarks.protocols import get_protocol
from rvos.benchmarks.protocols.base import Summary, UnitScore
from rvos.datasets.errors import PredictionMissing
from rvos.datasets.types import BoolMask, RVOSDataset, Sample


@dataclass
class Masks:
    """The ground truth moved by ``shift`` pixels, less what is deleted, with some frames replaced."""

    dataset: RVOSDataset
    shift: int = 0
    deleted: set[str] = field(default_factory=set)  # "<sample key>" or "<sample key>/<frame>"
    replaced: dict[str, BoolMask | Exception] = field(default_factory=dict)
    layout: str = "memory"
    path: Path = Path("masks")

    def mask(self, sample: Sample, frame_name: str, foreground: str) -> BoolMask:
        spot = f"{sample.key}/{frame_name}"
        if frame_name not in (self.frame_names(sample) or ()):
            raise PredictionMissing(f"{self.path}/{spot}.png: no such file.")
        found = self.replaced.get(spot)
        if isinstance(found, Exception):
            raise found
        if found is not None:
            return found
        truth = self.dataset.ground_truth(sample)
        assert truth is not None
        mask = truth.mask(truth.frame_names.index(frame_name))
        assert mask is not None
        return np.roll(mask, self.shift, axis=1)

    def scores(self, sample: Sample, frame_name: str) -> NDArray[np.float32] | None:
        return None

    def frame_names(self, sample: Sample) -> list[str] | None:
        if sample.key in self.deleted:
            return None
        return [name for name in sample.video.frame_names if f"{sample.key}/{name}" not in self.deleted]


def run(protocol_id: str, masks: Masks, per_frame: bool = False) -> tuple[dict[str, UnitScore], Summary]:
    """The scores of all units by key, and their summary."""
    protocol = get_protocol(protocol_id)
    scores = [
        s for v in masks.dataset.videos for s in protocol.score_video(masks.dataset, v.id, masks, per_frame=per_frame)
    ]
    return {s.unit.key: s for s in scores}, protocol.aggregate(scores)

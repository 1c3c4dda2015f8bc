"""What a perfect and an empty predictor score under a protocol on the data: its ceiling and its floor.

The ceiling is below 1 where a protocol cannot be satisfied (mevis@official stops at videos that do not start at
00000), the floor above 0 where ground truth is absent from frames and empty masks are right there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...datasets.errors import PredictionMissing
from ...datasets.types import BoolMask, Masklet, RVOSDataset, Sample, Video
from ..predictions.base import ExpressionPredictions, Foreground, MergedPredictions
from .base import Protocol, Summary
from .davis import DavisProtocol
from .per_expression import PerExpressionProtocol


@dataclass(frozen=True)
class Bounds:
    """Summaries of the perfect and of the empty predictor."""

    ceiling: Summary
    floor: Summary


def bounds(protocol: Protocol, dataset: RVOSDataset, video_ids: Sequence[str] | None = None) -> Bounds:
    """Ceiling and floor of a protocol on a dataset, or on some of its videos.

    Args:
        protocol: a protocol that applies to the dataset.
        dataset: the data, with ground truth.
        video_ids: the videos to score, all by default.

    Raises:
        DatasetError, ImageError: the ground truth cannot be read.
    """
    videos = [video.id for video in dataset.videos] if video_ids is None else video_ids
    return Bounds(*(_summary(protocol, dataset, videos, _predictions(protocol, dataset, e)) for e in (False, True)))


def _predictions(protocol: Protocol, dataset: RVOSDataset, empty: bool) -> ExpressionPredictions | MergedPredictions:
    if isinstance(protocol, DavisProtocol):
        return TruthMaps(protocol, dataset, empty)
    assert isinstance(protocol, PerExpressionProtocol)
    return TruthMasks(protocol, dataset, empty)


def _summary(
    protocol: Protocol,
    dataset: RVOSDataset,
    video_ids: Sequence[str],
    predictions: ExpressionPredictions | MergedPredictions,
) -> Summary:
    return protocol.aggregate([s for v in video_ids for s in protocol.score_video(dataset, v, predictions)])


@dataclass
class TruthMasks:
    """The ground truth of every sample as its prediction, or empty masks of the same size."""

    protocol: PerExpressionProtocol
    dataset: RVOSDataset
    empty: bool = False
    layout: str = "ground-truth"
    path: Path = Path("<ground truth>")
    _latest: tuple[str, Masklet | None, dict[str, int]] = field(default=("", None, {}), init=False)

    def mask(self, sample: Sample, frame_name: str, foreground: Foreground) -> BoolMask:
        """bool (H, W). Raises PredictionMissing for a frame that is not annotated."""
        masklet, index = self._masklet(sample)
        mask = masklet.mask(index[frame_name]) if masklet is not None and frame_name in index else None
        if mask is None:
            raise PredictionMissing(f"{sample.key} has no annotated frame {frame_name}.")
        return np.zeros_like(mask) if self.empty else mask

    def scores(self, sample: Sample, frame_name: str) -> NDArray[np.float32] | None:
        """None: masks, no scores."""
        return None

    def frame_names(self, sample: Sample) -> list[str] | None:
        """All frames that the ground truth speaks about."""
        masklet, index = self._masklet(sample)
        return None if masklet is None else sorted(index)

    def _masklet(self, sample: Sample) -> tuple[Masklet | None, dict[str, int]]:
        if self._latest[0] != sample.key:
            masklet = self.protocol.ground_truth(self.dataset, sample)
            names = () if masklet is None else masklet.frame_names
            self._latest = (sample.key, masklet, {name: i for i, name in enumerate(names)})
        return self._latest[1], self._latest[2]


@dataclass(frozen=True)
class TruthMaps:
    """The ground-truth label maps as every annotator's prediction, or empty maps of the same size."""

    protocol: DavisProtocol
    dataset: RVOSDataset
    empty: bool = False
    layout: str = "ground-truth"
    path: Path = Path("<ground truth>")
    merge_rule: str = "none"

    def labels(self, video: Video, annotator: int, frame_index: int) -> NDArray[np.uint8]:
        """uint8 (H, W). Raises PredictionMissing for a frame that is not annotated."""
        labels = self.protocol.perfect_labels(self.dataset, video, frame_index)
        if labels is None:
            raise PredictionMissing(f"{video.id} has no annotated frame {video.frame_names[frame_index]}.")
        return np.zeros_like(labels) if self.empty else labels

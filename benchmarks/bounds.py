"""What a protocol gives a perfect predictor and an empty one on some data: the ceiling and the floor of a score.

The ceiling is below 1 where sentences do not ask for all that is scored, or where overlapping masks must be merged.
The floor is above 0 where targets are absent from frames: an empty mask is right there.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..datasets.errors import PredictionMissing
from ..datasets.types import BoolMask, Masklet, RVOSDataset, Sample
from .predictions.base import Foreground
from .protocols.base import Protocol, Summary

Bound = dict[str, float | None]


@dataclass(frozen=True)
class Bounds:
    """J&F, J and F, 0-1, of the perfect and of the empty predictor."""

    ceiling: Bound
    floor: Bound


class TruthPredictions:
    """The ground truth of a protocol as predictions, or empty masks of its size."""

    def __init__(self, dataset: RVOSDataset, protocol: Protocol, empty: bool = False) -> None:
        self.dataset, self.protocol, self.empty = dataset, protocol, empty
        self.layout = "empty masks" if empty else "ground truth"
        self.path = Path(f"<{self.layout}>")

    def mask(self, sample: Sample, frame_name: str, foreground: Foreground) -> BoolMask:
        """bool (H, W). Raises PredictionMissing for a frame that the ground truth does not hold."""
        masklet = truth_of(self.protocol, self.dataset, sample)
        names = () if masklet is None else masklet.frame_names
        mask = masklet.mask(names.index(frame_name)) if masklet is not None and frame_name in names else None
        if mask is None:
            raise PredictionMissing(f"{sample.key} is not annotated in frame {frame_name}.")
        return np.zeros_like(mask) if self.empty else mask

    def scores(self, sample: Sample, frame_name: str) -> NDArray[np.float32] | None:
        """None: these are masks."""
        return None

    def frame_names(self, sample: Sample) -> list[str] | None:
        """The frames of the ground truth."""
        masklet = truth_of(self.protocol, self.dataset, sample)
        return None if masklet is None else sorted(masklet.frame_names)


def truth_of(protocol: Protocol, dataset: RVOSDataset, sample: Sample) -> Masklet | None:
    """The masks that the protocol takes as the sample's ground truth."""
    from .protocols.davis import DavisProtocol, davis
    from .protocols.per_expression import PerExpressionProtocol

    if isinstance(protocol, PerExpressionProtocol):
        return protocol.ground_truth(dataset, sample)
    if isinstance(protocol, DavisProtocol):
        return davis(dataset).expression_masks(protocol.annotation, sample)
    return dataset.ground_truth(sample)


def cached_bounds(
    dataset: RVOSDataset, protocol: Protocol, limit: int | None, summarise: Callable[[TruthPredictions], Summary]
) -> Bounds:
    """The bounds, computed once for data, protocol and extent and then kept in the user's cache.

    Args:
        summarise: scores predictions under the protocol.
    """
    from .. import __version__
    from ..datasets.config import cache_dir, replace_file

    key = "\n".join((dataset.fingerprint, protocol.id, str(limit), __version__))
    kept = cache_dir() / "bounds" / f"{hashlib.sha256(key.encode()).hexdigest()[:32]}.json"
    if kept.is_file():
        return Bounds(**json.loads(kept.read_text(encoding="utf-8")))
    perfect, empty = (_values(summarise(TruthPredictions(dataset, protocol, empty))) for empty in (False, True))
    bounds = Bounds(perfect, empty)
    replace_file(kept, json.dumps({"ceiling": perfect, "floor": empty}).encode())
    return bounds


def _values(summary: Summary) -> Bound:
    return {"J&F": summary.J_and_F, "J": summary.J, "F": summary.F}

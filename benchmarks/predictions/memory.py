"""Masks kept in memory as RLE, for the Evaluator inside a training loop."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.bitmask import BitMask, Rle
from ...datasets.errors import PredictionMissing
from ...datasets.masks import encode_rle
from ...datasets.types import BoolMask, Sample
from ..predictor import to_mask
from .base import Foreground


class MemoryPredictions:
    """A growing set of masks. Picklable, so that processes can exchange and merge theirs.

    The first mask given for a (sample, frame) stays: a padded sampler that shows a sample twice changes nothing, and
    merging in any order gives the same coverage.

    Attributes:
        layout: ``memory``.
        path: where error messages say the masks are.
    """

    layout = "memory"
    path = Path("<memory>")

    def __init__(self) -> None:
        self._masks: dict[str, dict[str, dict[str, Any]]] = {}

    def __len__(self) -> int:
        """Number of (sample, frame) pairs held."""
        return sum(len(frames) for frames in self._masks.values())

    def update(self, sample: Sample, frame_index: int, mask: Any) -> None:
        """Keep a mask.

        Args:
            sample: what it answers.
            frame_index: index into ``sample.video.frame_names``.
            mask: bool or integer (H, W) at the video's size, or float logits (h, w), as predictors give them.

        Raises:
            PredictionInvalid: shape or dtype do not fit, or logits hold NaN; nothing is kept then.
            IndexError: the video has no such frame.
        """
        name = sample.video.frame_names[frame_index]
        frames = self._masks.get(sample.key, {})
        if name not in frames:
            frames[name] = encode_rle(to_mask(mask, sample.video.size))
            self._masks[sample.key] = frames

    def merge(self, other: MemoryPredictions) -> None:
        """Take over what ``other`` holds and this does not."""
        for key, frames in other._masks.items():
            self._masks[key] = {**frames, **self._masks.get(key, {})}

    def mask(self, sample: Sample, frame_name: str, foreground: Foreground) -> BoolMask:
        """bool (H, W); ``foreground`` has no say, the masks are binary. Raises PredictionMissing."""
        return self.bits(sample, frame_name, foreground).to_array()

    def bits(self, sample: Sample, frame_name: str, foreground: Foreground) -> BitMask:
        """``mask``, packed."""
        rle = self._masks.get(sample.key, {}).get(frame_name)
        if rle is None:
            raise PredictionMissing(f"No mask was given for {sample.key}, frame {frame_name}.")
        return BitMask.from_rle(rle)

    def scores(self, sample: Sample, frame_name: str) -> NDArray[np.float32] | None:
        """None: masks are kept, no scores."""
        return None

    def frame_names(self, sample: Sample) -> list[str] | None:
        """Frames with a mask, sorted; None where nothing was given for the sample."""
        frames = self._masks.get(sample.key)
        return None if frames is None else sorted(frames)

    def rles(self, sample: Sample) -> list[Rle | None]:
        """One COCO RLE or None per frame of the sample's video, as ``write_video_masks`` takes them."""
        frames = self._masks.get(sample.key, {})
        return [frames.get(name) for name in sample.video.frame_names]

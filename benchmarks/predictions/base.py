"""What a protocol asks of predictions, whatever files are behind them."""

from __future__ import annotations

from pathlib import Path
from typing import Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ...datasets.bitmask import BitMask
from ...datasets.types import BoolMask, Sample, Video

#: How grey values become a mask. A protocol names one.
#:  ``strict``        two values only (0 and one other), or a threshold given by the user; else PredictionInvalid
#:  ``nonzero-grey``  OpenCV's 8-bit grey value > 0, as the ReasonVOS and MeViS scripts read files
#:  ``grey-50``       OpenCV's 8-bit grey value >= 50, as VideoLISA's DAVIS post-processing reads files
Foreground = Literal["strict", "nonzero-grey", "grey-50"]


@runtime_checkable
class ExpressionPredictions(Protocol):
    """A mask per (sample, frame). Picklable; reads files when asked."""

    @property
    def layout(self) -> str:
        """Name of the files' layout, for reports."""
        ...

    @property
    def path(self) -> Path:
        """Where the files are, for reports."""
        ...

    def mask(self, sample: Sample, frame_name: str, foreground: Foreground) -> BoolMask:
        """bool (H, W) at the file's own size. Raises PredictionMissing, PredictionInvalid."""
        ...

    def scores(self, sample: Sample, frame_name: str) -> NDArray[np.float32] | None:
        """Soft scores in 0-1, float32 (H, W), where the files hold them; None for binary files. Raises as ``mask``."""
        ...

    def frame_names(self, sample: Sample) -> list[str] | None:
        """Names of the frames that are there, sorted; None where the sample's folder or entry is missing."""
        ...


def packed_prediction(
    predictions: ExpressionPredictions, sample: Sample, frame_name: str, foreground: Foreground
) -> BitMask:
    """``predictions.mask(...)``, packed: by the reader's own ``bits``, where it has one, which is several times faster.

    Raises:
        PredictionMissing, PredictionInvalid: as ``mask``.
    """
    if hasattr(predictions, "bits"):
        bits: BitMask = predictions.bits(sample, frame_name, foreground)
        return bits
    return BitMask.from_array(predictions.mask(sample, frame_name, foreground))


@runtime_checkable
class MergedPredictions(Protocol):
    """A label map per (video, annotator, frame): the ``anno_<k>`` folders of Ref-DAVIS-17. Picklable."""

    @property
    def layout(self) -> str:
        """Name of the files' layout, for reports."""
        ...

    @property
    def path(self) -> Path:
        """Where the files are, for reports."""
        ...

    @property
    def merge_rule(self) -> str:
        """How the objects' masks became one map, for reports."""
        ...

    def labels(self, video: Video, annotator: int, frame_index: int) -> NDArray[np.uint8]:
        """uint8 (H, W), 0 is background, label k is the k-th object asked for (from 1), 255 is kept.

        Raises PredictionMissing, PredictionInvalid.
        """
        ...

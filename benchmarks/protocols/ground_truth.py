"""Ground truth for the scoring loops: every distinct source decoded and prepared once per frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...datasets.images import png_labels
from ...datasets.masks import LabelMapMasks, select_labels
from ...datasets.types import BoolMask, MaskSource
from ..metrics import PreparedMask, prepare, score


@dataclass(frozen=True)
class Truth:
    """One target in one frame, ready to be compared with many predictions.

    Attributes:
        prepared: the mask with the void pixels taken out, as the metrics want it.
        void: bool (H, W) of the pixels that do not count, or None.
    """

    prepared: PreparedMask
    void: BoolMask | None

    @classmethod
    def of(cls, mask: BoolMask, void: BoolMask | None = None) -> Truth:
        """From dense masks, bool (H, W)."""
        return cls(prepare(mask, void), void)

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width)."""
        return self.prepared.height, self.prepared.width

    @property
    def empty(self) -> bool:
        """Whether the target is absent outside the void pixels."""
        return self.prepared.empty

    def score(self, prediction: PreparedMask) -> tuple[float, float]:
        """(J, F) of a prediction that was prepared with the same void pixels."""
        return score(self.prepared, prediction)


class TruthReader:
    """Reads single frames of several mask sources; equal sources share one ``Truth``, label maps one decoded file."""

    def __init__(self, sources: Iterable[MaskSource]) -> None:
        numbers: dict[MaskSource, int] = {}
        self.order = [numbers.setdefault(source, len(numbers)) for source in sources]
        self.distinct = tuple(numbers)

    def frame(self, index: int) -> list[Truth | None]:
        """The truth of every source given, in their order; None where the frame is not annotated.

        Raises:
            ImageError, DatasetError: where the ground truth cannot be read.
        """
        label_maps: dict[Path, NDArray[np.uint8]] = {}
        truths = [_read(source, index, label_maps) for source in self.distinct]
        return [truths[number] for number in self.order]


def _read(source: MaskSource, index: int, label_maps: dict[Path, NDArray[np.uint8]]) -> Truth | None:
    if isinstance(source, LabelMapMasks):
        mask, void = _read_labels(source, index, label_maps)
    else:
        mask = source.mask(index)
        void = None if mask is None else source.void(index)
    return None if mask is None else Truth.of(mask, void)


def _read_labels(
    source: LabelMapMasks, index: int, label_maps: dict[Path, NDArray[np.uint8]]
) -> tuple[BoolMask | None, BoolMask | None]:
    path = source.paths[index]
    if path is None:
        return None, None
    if path not in label_maps:
        label_maps[path] = png_labels(path)
    labels = label_maps[path]
    void = None if source.void_label is None else labels == source.void_label
    return select_labels(labels, source.labels), void if void is not None and void.any() else None

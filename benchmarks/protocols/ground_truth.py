"""Ground truth for the scoring loops: every distinct source decoded and prepared once per frame."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...datasets.bitmask import BitMask
from ...datasets.images import png_labels
from ...datasets.masks import LabelMapMasks, packed_mask, select_labels
from ...datasets.types import BoolMask, MaskSource
from ..metrics import MaskLike, PreparedMask, compare, prepare, score


@dataclass(frozen=True)
class Truth:
    """One target in one frame, ready to be compared with many predictions.

    Attributes:
        prepared: the mask with the void pixels taken out, as the metrics want it.
        void: the pixels that do not count, or None.
    """

    prepared: PreparedMask
    void: BitMask | None

    @classmethod
    def of(cls, mask: MaskLike, void: BitMask | None = None) -> Truth:
        """From a packed mask or an array, bool (H, W)."""
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

    def compare(self, prediction: PreparedMask) -> tuple[int, float, float]:
        """(pixels in both, J, F), likewise."""
        return compare(self.prepared, prediction)


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
        files = _LabelMaps()
        truths = [_read(source, index, files) for source in self.distinct]
        return [truths[number] for number in self.order]


def _read(source: MaskSource, index: int, files: _LabelMaps) -> Truth | None:
    if isinstance(source, LabelMapMasks):
        path = source.paths[index]
        if path is None:
            return None
        return Truth.of(select_labels(files.labels(path), source.labels), files.void(path, source.void_label))
    mask = packed_mask(source, index)
    return None if mask is None else Truth.of(mask, _packed(source.void(index)))


class _LabelMaps:
    """The label maps of one frame, each decoded once."""

    def __init__(self) -> None:
        self._labels: dict[Path, NDArray[np.uint8]] = {}
        self._voids: dict[tuple[Path, int], BitMask | None] = {}

    def labels(self, path: Path) -> NDArray[np.uint8]:
        if path not in self._labels:
            self._labels[path] = png_labels(path)
        return self._labels[path]

    def void(self, path: Path, label: int | None) -> BitMask | None:
        if label is None:
            return None
        if (path, label) not in self._voids:
            self._voids[path, label] = _packed(self.labels(path) == label)
        return self._voids[path, label]


def _packed(void: BoolMask | None) -> BitMask | None:
    return BitMask.from_array(void) if void is not None and void.any() else None

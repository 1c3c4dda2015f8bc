"""Binary masks packed 64 pixels a word: 1/8 of the memory of a bool array, and the form that is scored."""

from __future__ import annotations

import operator
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DatasetError, UsageError

#: the largest mask that is decoded; a broken size must not ask for all memory
MAX_PIXELS = 1 << 28

Rle = Mapping[str, Any]


@dataclass(frozen=True, eq=False)
class BitMask:
    """A binary mask, 64 pixels a word.

    Attributes:
        height, width: in pixels.
        words: uint64 (H, W / 64 rounded up); pixel x is bit x % 64 of word x // 64, bits beyond W are 0.
    """

    height: int
    width: int
    words: NDArray[np.uint64]

    @classmethod
    def zeros(cls, height: int, width: int) -> BitMask:
        """A mask without an object."""
        return cls(height, width, np.zeros((height, -(-width // 64)), np.uint64))

    @classmethod
    def from_array(cls, mask: NDArray[Any]) -> BitMask:
        """From bool or integers (H, W), non-zero is the object. Raises UsageError for anything else."""
        if mask.dtype.kind not in "bui":
            raise UsageError(f"mask has the type {mask.dtype}, expected bool or integers; apply a threshold first.")
        if mask.ndim != 2 or 0 in mask.shape:
            raise UsageError(f"A mask has the shape (H, W), found {mask.shape}.")
        if mask.dtype.itemsize > 1:
            mask = mask != 0
        bits = cls.zeros(*mask.shape)
        rows = np.packbits(mask, axis=1, bitorder="little")
        bits.words.view(np.uint8)[:, : rows.shape[1]] = rows
        return bits

    @classmethod
    def from_rle(cls, rle: Rle, place: str = "") -> BitMask:
        """From a COCO RLE (compressed string, bytes, or uncompressed list of counts), without a dense mask between.

        The counts are checked before a pixel is drawn: pycocotools' own decoder writes past the end of the mask where
        they do not fit its size.

        Args:
            rle: ``{"size": [h, w], "counts": ...}``.
            place: where it comes from, for the error message.

        Raises:
            DatasetError: where the dictionary is not an RLE or its counts do not fill its size.
        """
        from .rle_kernels import draw_runs

        height, width, runs = checked_runs(rle, place)
        bits = cls.zeros(height, width)
        draw_runs(runs, bits.words)
        return bits

    @property
    def shape(self) -> tuple[int, int]:
        """(height, width), as of an array."""
        return self.height, self.width

    def any(self) -> bool:
        """Whether there is an object."""
        return bool(self.words.any())

    def to_array(self) -> NDArray[np.bool_]:
        """bool (H, W)."""
        return np.unpackbits(self.words.view(np.uint8), axis=1, count=self.width, bitorder="little").view(np.bool_)

    def __or__(self, other: BitMask) -> BitMask:
        return self._with(self.words | self._words_of(other))

    def __and__(self, other: BitMask) -> BitMask:
        return self._with(self.words & self._words_of(other))

    def __sub__(self, other: BitMask) -> BitMask:
        return self._with(self.words & ~self._words_of(other))

    def _with(self, words: NDArray[np.uint64]) -> BitMask:
        return BitMask(self.height, self.width, words)

    def _words_of(self, other: BitMask) -> NDArray[np.uint64]:
        if self.shape != other.shape:
            raise UsageError(
                f"Masks of different sizes, {self.height}x{self.width} and {other.height}x{other.width}; "
                "resize one first."
            )
        return other.words


def checked_runs(rle: Rle, place: str = "") -> tuple[int, int, NDArray[np.int64]]:
    """(height, width, run lengths with background first) of a COCO RLE, without drawing it.

    Raises:
        DatasetError: where the dictionary is not an RLE or its counts do not fill its size.
    """
    try:
        height, width = (operator.index(v) for v in rle["size"])
        if min(height, width) < 1 or height * width > MAX_PIXELS:
            raise ValueError(f"size {height}x{width}, expected 1 to {MAX_PIXELS} pixels")
        runs = _run_lengths(rle["counts"])
        if runs.min(initial=0) < 0 or runs.max(initial=0) > height * width or runs.sum() != height * width:
            raise ValueError(f"counts sum to {runs.sum()}, expected {height * width}, none negative")
    except (KeyError, TypeError, ValueError, OverflowError) as error:
        where = f"{place}: " if place else ""
        raise DatasetError(f"{where}not a COCO RLE with 'size' and 'counts' ({error}): {str(rle)[:80]}") from error
    return height, width, runs


def _run_lengths(counts: Any) -> NDArray[np.int64]:
    """Run lengths, background first, from a list or from the compressed string of the COCO API."""
    if isinstance(counts, list):
        lengths = np.asarray(counts)
        if lengths.ndim != 1 or lengths.dtype.kind not in "iu":
            raise ValueError("the counts are not a list of whole numbers")
        return lengths.astype(np.int64)
    if not isinstance(counts, (str, bytes)):
        raise TypeError("the counts are neither a list nor a string")
    from .rle_kernels import run_lengths

    text = np.frombuffer(bytearray(counts.encode("ascii") if isinstance(counts, str) else counts), np.uint8)
    lengths = np.empty(len(text), np.int64)
    n = run_lengths(text, lengths)
    if n < 0:
        raise ValueError("the counts are no compressed RLE string")
    return lengths[:n]

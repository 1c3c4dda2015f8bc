"""Mask sources: the ways in which datasets keep masks, each decoded one frame at a time.

A source that can do so faster than by way of an array has ``bits(index)`` beside ``mask(index)``, the same mask packed;
``packed_mask`` asks any source.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bitmask import BitMask, Rle
from .errors import DatasetError
from .images import png_grey, png_grey_bits, png_labels
from .types import BoolMask, Masklet, MaskSource


@dataclass(frozen=True)
class GreyPngMasks:
    """One binary PNG per frame; every non-zero grey value is the object, as the official scripts read them.

    A None path is a frame that is not annotated.
    """

    paths: tuple[Path | None, ...]

    def mask(self, index: int) -> BoolMask | None:
        path = self.paths[index]
        return None if path is None else png_grey(path) > 0

    def bits(self, index: int) -> BitMask | None:
        path = self.paths[index]
        return None if path is None else png_grey_bits(path)

    def void(self, index: int) -> BoolMask | None:
        return None


@dataclass(frozen=True)
class SparsePngMasks:
    """Binary PNGs of the frames in which the object is seen; a frame without one shows nothing of it (Long-RVOS).

    ``size`` is that of the frames, (height, width).
    """

    paths: tuple[Path | None, ...]
    size: tuple[int, int]

    def mask(self, index: int) -> BoolMask | None:
        path = self.paths[index]
        return np.zeros(self.size, bool) if path is None else png_grey(path) > 0

    def bits(self, index: int) -> BitMask | None:
        path = self.paths[index]
        return BitMask.zeros(*self.size) if path is None else png_grey_bits(path)

    def void(self, index: int) -> BoolMask | None:
        return None


@dataclass(frozen=True)
class LabelMapMasks:
    """One indexed PNG per frame that holds all objects; the target is the union of ``labels``.

    ``void_label`` marks pixels that no score may count; None where the dataset has no such label.
    """

    paths: tuple[Path | None, ...]
    labels: tuple[int, ...]
    void_label: int | None = None

    def mask(self, index: int) -> BoolMask | None:
        path = self.paths[index]
        if path is None:
            return None
        return select_labels(png_labels(path), self.labels)

    def void(self, index: int) -> BoolMask | None:
        path = self.paths[index]
        if path is None or self.void_label is None:
            return None
        void = png_labels(path) == self.void_label
        return void if void.any() else None


@dataclass(frozen=True)
class RleMasks:
    """COCO RLE per frame, in memory. None at a frame is ``absent`` unless ``null_is_unannotated``."""

    rles: tuple[tuple[int, int, bytes | str] | None, ...]
    size: tuple[int, int]

    @classmethod
    def from_coco(cls, rles: Sequence[Rle | None], size: tuple[int, int] | None = None) -> RleMasks:
        """From COCO dictionaries ``{"size": [h, w], "counts": …}``; ``size`` is needed where all are None."""
        sizes = {tuple(r["size"]) for r in rles if r is not None} | ({tuple(size)} if size else set())
        if len(sizes) != 1:
            raise DatasetError(f"RLE masks of one video must share one size, found {sorted(sizes) or 'none'}.")
        height, width = sizes.pop()
        return cls(tuple(None if r is None else (height, width, r["counts"]) for r in rles), (height, width))

    def mask(self, index: int) -> BoolMask | None:
        return self.bits(index).to_array()

    def bits(self, index: int) -> BitMask:
        entry = self.rles[index]
        if entry is None:
            return BitMask.zeros(*self.size)
        return BitMask.from_rle({"size": list(self.size), "counts": entry[2]})

    def void(self, index: int) -> BoolMask | None:
        return None


@dataclass(frozen=True)
class UnionMasks:
    """The union of several sources, as MeViS forms the ground truth of an expression about several objects."""

    parts: tuple[MaskSource, ...]

    def mask(self, index: int) -> BoolMask | None:
        union = self.bits(index)
        return None if union is None else union.to_array()

    def bits(self, index: int) -> BitMask | None:
        union: BitMask | None = None
        for part in self.parts:
            mask = packed_mask(part, index)
            if mask is not None:
                union = mask if union is None else _joined(union, mask, part)
        return union

    def void(self, index: int) -> BoolMask | None:
        union: BoolMask | None = None
        for part in self.parts:
            void = part.void(index)
            if void is not None:
                union = void if union is None else union | void
        return union


@dataclass(frozen=True)
class ArrayMasks:
    """Dense masks in memory, bool (T, H, W); compared by identity."""

    array: NDArray[np.bool_] = field(compare=False)
    identity: int = field(init=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "identity", id(self.array))

    def mask(self, index: int) -> BoolMask | None:
        return self.array[index]

    def void(self, index: int) -> BoolMask | None:
        return None


@dataclass(frozen=True)
class EmptyMasks:
    """A target that is absent from every frame (a no-target expression)."""

    size: tuple[int, int]

    def mask(self, index: int) -> BoolMask | None:
        return np.zeros(self.size, bool)

    def bits(self, index: int) -> BitMask | None:
        return BitMask.zeros(*self.size)

    def void(self, index: int) -> BoolMask | None:
        return None


def packed_mask(source: MaskSource, index: int) -> BitMask | None:
    """``source.mask(index)``, packed."""
    if hasattr(source, "bits"):
        bits: BitMask | None = source.bits(index)
        return bits
    mask = source.mask(index)
    return None if mask is None else BitMask.from_array(mask)


def _joined(union: BitMask, mask: BitMask, source: MaskSource) -> BitMask:
    if union.shape != mask.shape:
        place = getattr(source, "path", "ground truth")
        raise DatasetError(f"{place}: masks of one target are {union.shape} and {mask.shape}; expected one size.")
    return union | mask


def masklet_from_dense(frame_names: Sequence[str], masks: NDArray[Any]) -> Masklet:
    """A masklet over an array (T, H, W); non-zero is the object. Raises DatasetError where the lengths differ."""
    if masks.ndim != 3 or len(masks) != len(frame_names):
        raise DatasetError(f"Expected masks of shape ({len(frame_names)}, H, W), found {masks.shape}.")
    return Masklet(tuple(frame_names), ArrayMasks(np.ascontiguousarray(masks, dtype=bool)))


def select_labels(label_map: NDArray[np.uint8], labels: Sequence[int]) -> BoolMask:
    """bool (H, W): where the label map holds any of ``labels``."""
    if len(labels) == 1:
        return label_map == labels[0]
    table = np.zeros(256, bool)
    table[list(labels)] = True
    return table[label_map]


def decode_rle(rle: Rle, place: str = "") -> BoolMask:
    """A COCO RLE dictionary (compressed string, bytes, or uncompressed list of counts) as bool (H, W).

    Args:
        rle: ``{"size": [h, w], "counts": ...}``.
        place: where it comes from, for the error message.

    Raises:
        DatasetError: where the dictionary is not an RLE or its counts do not fill its size.
    """
    return BitMask.from_rle(rle, place).to_array()


def encode_rle(mask: NDArray[Any]) -> dict[str, Any]:
    """A mask (H, W), non-zero is the object, as a COCO RLE ``{"size": [h, w], "counts": str}``."""
    from pycocotools import mask as coco

    packed = coco.encode(np.asfortranarray(mask != 0, dtype=np.uint8))
    return {"size": [int(v) for v in packed["size"]], "counts": packed["counts"].decode("ascii")}

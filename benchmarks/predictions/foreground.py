"""From the values in a mask file to a mask: what is foreground, and which files are refused because nobody can tell.

The strict rule accepts a file that holds zero and one other value, whatever that value is: 0/255, 0/1, 0/100, one
bit, one palette index, one colour on black, 16 bits. It is decided for each file by itself.

- A file that holds one value only is empty where that value is 0, and all foreground where it is 1, 100, 255 or
  65535, the values that the public scripts write. Any other single grey could be a score and is refused.
- In palette files the index counts, not the colour, so a palette whose entries are all black does no harm. A palette
  whose entry 0 is not black is refused: whether 0 is background cannot be told.
- Colours must be one colour on black. Alpha must be constant or say the same as the colours.
- Everything else holds scores or several objects, and needs a threshold from the user or another export.

A threshold in (0, 1] is a share of the type's range (255, or 65535 in 16-bit files). It applies to every grey file,
because a nearly empty frame of scores may by chance hold two values only; indices and colours are no scores.
"""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.bitmask import BitMask
from ...datasets.errors import ImageError, PredictionInvalid, UsageError
from ...datasets.images import FlatPng, PngImage, decode_flat, decode_png, grey_values
from ...datasets.types import BoolMask
from .base import Foreground

_FULL_VALUES = (1, 100, 255, 65535)
_MAX_PIXELS = 1 << 27


def decode_mask_file(data: bytes, where: str) -> PngImage:
    """Decode a PNG mask. Raises PredictionInvalid where it is none, is damaged, or claims more than 134 megapixels."""
    _check_claimed_size(data, where)
    try:
        return decode_png(data, where)
    except ImageError as error:
        raise PredictionInvalid(str(error)) from error


def decode_flat_file(data: bytes, where: str) -> FlatPng | None:
    """The same as a packed mask; None for a file of another kind. Raises PredictionInvalid as ``decode_mask_file``."""
    _check_claimed_size(data, where)
    try:
        return decode_flat(data, where)
    except ImageError as error:
        raise PredictionInvalid(str(error)) from error


def _check_claimed_size(data: bytes, where: str) -> None:
    if len(data) >= 24:
        width, height = struct.unpack_from(">II", data, 16)
        if data[:4] == b"\x89PNG" and width * height > _MAX_PIXELS:
            raise PredictionInvalid(f"{where}: its header claims {width}x{height} pixels; write it again.")


def flat_foreground(flat: FlatPng, rule: Foreground, threshold: float | None) -> BitMask | None:
    """The same as ``foreground_mask`` for the files that most masks are; None where that one must decide."""
    if rule == "nonzero-grey":
        return flat.grey_bits()
    if rule != "strict" or threshold is not None:
        return None
    plain = flat.value in (0, *_FULL_VALUES) if flat.palette is None else not flat.palette[0].any()
    return flat.bits if plain else None


def foreground_mask(image: PngImage, rule: Foreground, threshold: float | None, where: str) -> BoolMask:
    """A decoded mask file as bool (H, W).

    Args:
        image: the stored values.
        rule: see ``Foreground``; only ``strict`` looks at ``threshold``, the others are what published scripts do.
        threshold: share of the type's range from which a grey value is foreground; None where the user gave none.
        where: names the file in errors.

    Raises:
        PredictionInvalid: the file does not fit the strict rule; says which values it holds and what to do.
    """
    if rule == "nonzero-grey":
        return grey_values(image) > 0
    if rule == "grey-50":
        return grey_values(image) >= 50
    pixels = image.pixels
    if image.mode == "1":
        return pixels != 0
    if image.mode == "P":
        return _index_mask(image, where)
    if image.mode in ("L", "I;16"):
        return _grey_mask(pixels, threshold, where)
    if image.mode == "LA" or (threshold is not None and _is_grey(pixels)):
        mask = _grey_mask(pixels[..., 0], threshold, where)
    else:
        mask = _colour_mask(pixels, where)
    if image.mode in ("LA", "RGBA"):
        _check_alpha(pixels[..., -1], mask, where)
    return mask


def check_threshold(threshold: float | None) -> float | None:
    """The threshold itself. Raises UsageError where it is not in (0, 1]."""
    if threshold is not None and not 0 < threshold <= 1:
        raise UsageError(f"A threshold is a share of the value range in (0, 1], e.g. 0.5; found {threshold}.")
    return threshold


def cutoff(threshold: float, dtype: np.dtype[Any]) -> int:
    """The smallest integer of an unsigned type that is at least ``threshold`` of its range."""
    top = int(np.iinfo(dtype).max)
    return int(np.searchsorted(np.arange(top + 1) / top, threshold, side="left"))


def is_two_valued(values: NDArray[Any]) -> bool:
    """Whether an unsigned array holds 0 and at most one other value."""
    top = values.max()
    return bool(top == 0 or np.count_nonzero(values == top) == np.count_nonzero(values))


def _grey_mask(pixels: NDArray[Any], threshold: float | None, where: str) -> BoolMask:
    if threshold is not None:
        return pixels >= cutoff(threshold, pixels.dtype)
    mask: BoolMask = pixels != 0
    top = pixels.max()
    if top == 0:
        return mask
    if np.count_nonzero(pixels == top) != np.count_nonzero(mask):
        raise PredictionInvalid(
            f"{where}: grey values {_listed(pixels)}; a mask holds 0 and one other value. "
            "Save it as 0/255, or give a threshold (--threshold 0.5)."
        )
    if int(top) not in _FULL_VALUES and mask.all():
        raise PredictionInvalid(
            f"{where}: every pixel is {top}, which may be a score or a full mask. "
            "Save full masks as 255, or give a threshold (--threshold 0.5)."
        )
    return mask


def _index_mask(image: PngImage, where: str) -> BoolMask:
    if image.palette is not None and image.palette[0].any():
        red, green, blue = image.palette[0]
        raise PredictionInvalid(
            f"{where}: palette entry 0 is the colour ({red}, {green}, {blue}), not black, so background cannot be "
            "told from object. Save the mask as 8-bit grey 0/255."
        )
    if not is_two_valued(image.pixels):
        raise PredictionInvalid(
            f"{where}: palette indices {_listed(image.pixels)}, a map of several objects. "
            "Save one binary mask for each expression."
        )
    return image.pixels != 0


def _colour_mask(pixels: NDArray[Any], where: str) -> BoolMask:
    red, green, blue = (pixels[..., i].astype(np.uint32) for i in range(3))
    codes = red << 16 | green << 8 | blue
    if not is_two_valued(codes):
        count = len(np.unique(codes))
        raise PredictionInvalid(
            f"{where}: {count} colours; a mask holds black and one other colour. Save it as 8-bit grey 0/255."
        )
    mask = codes != 0
    if mask.all() and red[0, 0] == green[0, 0] == blue[0, 0] and int(red[0, 0]) not in _FULL_VALUES:
        raise PredictionInvalid(f"{where}: every pixel is the grey {red[0, 0]}. Save full masks as 255.")
    return mask


def _check_alpha(alpha: NDArray[Any], mask: BoolMask, where: str) -> None:
    if alpha.min() == alpha.max() or np.array_equal(alpha == alpha.max(), mask):
        return
    raise PredictionInvalid(
        f"{where}: transparency and colours show different masks, so the mask may be in either. "
        "Save it as 8-bit grey 0/255."
    )


def _is_grey(pixels: NDArray[Any]) -> bool:
    return np.array_equal(pixels[..., 0], pixels[..., 1]) and np.array_equal(pixels[..., 0], pixels[..., 2])


def _listed(values: NDArray[Any]) -> str:
    """The distinct values, at most six of them."""
    found = [str(v) for v in np.unique(values)]
    return ", ".join(found) if len(found) <= 6 else f"{', '.join(found[:5])}, … ({len(found)} different)"

"""J and F, exactly as DAVIS defines them (Perazzi et al. 2016; davis2017-evaluation, davis2017/metrics.py).

J = |P ∩ G| / |P ∪ G|, and 1 where both are empty.

F = 2PR / (P + R), where P is the share of the prediction's boundary pixels that have a boundary pixel of the ground
truth within ceil(0.008 * image diagonal) pixels, R the share of the ground truth's that have one of the prediction;
1 where both boundaries are empty, 0 where exactly one is. A mask that fills the image has no boundary.

Void pixels are taken out of both masks before anything else, so the rim of a void area is a boundary of both.

``j_and_f`` scores arrays. An evaluator that meets one mask many times calls ``prepare`` once per mask and ``score``
once per pair::

    truth = prepare(gt_mask)
    for pred_mask in pred_masks:
        j, f = score(truth, prepare(pred_mask))
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from ..datasets.bitmask import BitMask
from ..datasets.errors import UsageError

BOUNDARY_TOLERANCE = 0.008  # of the image diagonal


@dataclass(frozen=True)
class FrameScores:
    """J and F of each frame, float64 (T,), values in 0-1."""

    J: NDArray[np.float64]
    F: NDArray[np.float64]


def j_and_f(gt: ArrayLike, pred: ArrayLike, void: ArrayLike | None = None) -> FrameScores:
    """Score predicted masks against true ones, frame by frame.

    Args:
        gt: (H, W) or (T, H, W), bool or integers; non-zero is the object.
        pred: same shape.
        void: pixels that do not count, (H, W) or the shape of ``gt``; None for none.

    Raises:
        UsageError: shapes differ, or values are neither bool nor integers.
    """
    truth, guess = _frames(gt, "gt"), _frames(pred, "pred")
    if truth.shape != guess.shape:
        raise UsageError(f"gt is {truth.shape} and pred is {guess.shape} (T, H, W); resize the prediction first.")
    ignored = None if void is None else _frames(void, "void")
    if ignored is not None and ignored.shape not in (truth.shape, (1, *truth.shape[1:])):
        raise UsageError(f"void is {ignored.shape}, the masks are {truth.shape} (T, H, W); give void in their size.")
    scores = np.empty((len(truth), 2))
    for t in range(len(truth)):
        rim = None if ignored is None else ignored[t % len(ignored)]
        scores[t] = score(prepare(truth[t], rim), prepare(guess[t], rim))
    return FrameScores(J=scores[:, 0].copy(), F=scores[:, 1].copy())


# One mask, prepared once for many pairs -------------------------------------------------------------------------------


MaskLike = BitMask | NDArray[Any]


@dataclass(frozen=True, eq=False)
class PreparedMask:
    """All that a pair needs of one mask: its area, its boundary, and where its boundary reaches.

    Only the object's surroundings are kept: ``planes`` holds mask, boundary and reach of the rows from ``top`` and
    the words from ``first`` on, ``n`` words a row with padding up to ``stride``.
    """

    height: int
    width: int
    area: int
    n_boundary: int
    top: int
    first: int
    n: int
    stride: int
    planes: NDArray[np.uint64]

    @property
    def empty(self) -> bool:
        return self.area == 0


def boundary_radius(height: int, width: int) -> int:
    """The tolerance of F in pixels: ceil(0.008 * diagonal)."""
    return math.ceil(BOUNDARY_TOLERANCE * math.sqrt(height * height + width * width))


def prepare(mask: MaskLike, void: MaskLike | None = None) -> PreparedMask:
    """Do the work of ``score`` that concerns one mask alone.

    Args:
        mask: a BitMask, or bool or integers (H, W), non-zero is the object.
        void: pixels that do not count, same size; give the same void to both masks of a pair.

    Raises:
        UsageError: sizes differ, or values are neither bool nor integers.
    """
    from . import kernels

    bits = _as_bits(mask) if void is None else _as_bits(mask) - _as_bits(void)
    height, width, words = bits.height, bits.width, bits.words
    radius = boundary_radius(height, width)
    area, top, bottom, left, right = kernels.extent(words)
    if area == 0:
        return PreparedMask(height, width, 0, 0, 0, 0, 0, 1, np.zeros((3, 0), np.uint64))
    margin = radius + 1  # one for the boundary, which also lies on the pixels above and left of the object
    top, bottom = max(0, top - margin), min(height, bottom + margin)
    first, last = max(0, left - margin) // 64, min(words.shape[1], (right + margin) // 64 + 1)
    n = last - first
    stride = n + radius // 64 + 1
    planes = np.zeros((3, (bottom - top) * stride), np.uint64)
    n_boundary = kernels.prepare(words, width, radius, top, first, n, planes)
    return PreparedMask(height, width, area, n_boundary, top, first, n, stride, planes)


def score(gt: PreparedMask, pred: PreparedMask) -> tuple[float, float]:
    """(J, F) of a pair of prepared masks, values in 0-1. Raises UsageError where their sizes differ."""
    return compare(gt, pred)[1:]


def compare(gt: PreparedMask, pred: PreparedMask) -> tuple[int, float, float]:
    """(pixels in both, J, F) of a pair of prepared masks. Raises UsageError where their sizes differ."""
    from . import kernels

    _check_sizes(gt, pred)
    both, gt_matched, pred_matched = kernels.overlap(
        gt.planes, gt.top, gt.first, gt.n, gt.stride, pred.planes, pred.top, pred.first, pred.n, pred.stride
    )
    union = gt.area + pred.area - both
    j = both / union if union else 1.0
    return int(both), j, _f_measure(gt_matched, gt.n_boundary, pred_matched, pred.n_boundary)


def warm_up() -> None:
    """Compile or load the loops now; a process that is about to start workers calls it so that they need not."""
    from ..datasets import png_kernels, rle_kernels  # noqa: F401
    from . import kernels  # noqa: F401


def _f_measure(gt_matched: int, n_gt: int, pred_matched: int, n_pred: int) -> float:
    if n_gt == 0 and n_pred == 0:
        return 1.0
    if n_gt == 0 or n_pred == 0:
        return 0.0
    precision, recalled = pred_matched / n_pred, gt_matched / n_gt
    return 2 * precision * recalled / (precision + recalled) if precision + recalled else 0.0


# Statistics over the frames of a video --------------------------------------------------------------------------------


def recall(values: ArrayLike) -> float:
    """The share of frames above 0.5; NaN counts as not above (DAVIS, db_statistics). NaN for no frames."""
    scores = np.asarray(values, np.float64)
    return float(np.mean(scores > 0.5)) if scores.size else math.nan


def decay(values: ArrayLike) -> float:
    """Mean of the first quarter of the frames minus mean of the last (DAVIS, db_statistics), for any length.

    The quarters share their border frames, as in the script. NaN values are left out; NaN where a quarter has none.
    """
    scores = np.asarray(values, np.float64)
    if not scores.size:
        return math.nan
    edges = _quarter_edges(len(scores))
    return _mean(scores[edges[0] : edges[1] + 1]) - _mean(scores[edges[3] : edges[4] + 1])


def decay_official(values: ArrayLike) -> float:
    """``decay`` with the script's 8-bit frame numbers: they wrap above 255, so 257 frames and more give NaN.

    As under numpy 1, the script's own; numpy 2 also wraps when 1 is added to 255, and gives NaN for 256 frames.
    """
    scores = np.asarray(values, np.float64)
    if not scores.size:
        return math.nan
    edges = [edge % 256 for edge in _quarter_edges(len(scores))]
    return _mean(scores[edges[0] : edges[1] + 1]) - _mean(scores[edges[3] : edges[4] + 1])


def _quarter_edges(count: int) -> list[int]:
    return [int(edge) - 1 for edge in np.round(np.linspace(1, count, 5) + 1e-10)]


def _mean(values: NDArray[np.float64]) -> float:
    known = values[~np.isnan(values)]
    return float(np.mean(known)) if known.size else math.nan


# Checks ---------------------------------------------------------------------------------------------------------------


def _as_bits(mask: MaskLike) -> BitMask:
    return mask if isinstance(mask, BitMask) else BitMask.from_array(mask)


def _frames(masks: ArrayLike | Sequence[Any], name: str) -> NDArray[Any]:
    array = np.asarray(masks)
    _check_dtype(array, name)
    if array.ndim not in (2, 3) or 0 in array.shape[-2:]:
        raise UsageError(f"{name} has the shape {array.shape}, expected (H, W) or (T, H, W).")
    return array[None] if array.ndim == 2 else array


def _check_dtype(array: NDArray[Any], name: str) -> None:
    if array.dtype.kind not in "bui":
        raise UsageError(f"{name} has the type {array.dtype}, expected bool or integers; apply a threshold first.")


def _check_sizes(a: BitMask | PreparedMask, b: BitMask | PreparedMask) -> None:
    if (a.height, a.width) != (b.height, b.width):
        raise UsageError(f"Masks of different sizes, {a.height}x{a.width} and {b.height}x{b.width}; resize one first.")

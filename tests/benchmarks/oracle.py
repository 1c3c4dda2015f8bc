"""J and F by their definitions, slowly: what the fast metrics are compared with. Shares no code with the package."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import binary_dilation

Mask = NDArray[np.bool_]


def jaccard(gt: Mask, pred: Mask) -> float:
    """|intersection| / |union|; 1 where both are empty."""
    union = int((gt | pred).sum())
    return float(Fraction(int((gt & pred).sum()), union)) if union else 1.0


def boundary(mask: Mask) -> Mask:
    """A pixel is boundary where an existing neighbour to the right, below, or below right is different.

    In the last column only the pixel below counts, in the last row only the pixel to the right.
    """
    height, width = mask.shape
    found = np.zeros(mask.shape, bool)
    for y in range(height):
        for x in range(width):
            if y + 1 < height and x + 1 < width:
                neighbours = [(y, x + 1), (y + 1, x), (y + 1, x + 1)]
            elif y + 1 < height:
                neighbours = [(y + 1, x)]
            elif x + 1 < width:
                neighbours = [(y, x + 1)]
            else:
                neighbours = []
            found[y, x] = any(mask[y, x] != mask[n] for n in neighbours)
    return found


def radius(height: int, width: int) -> int:
    """0.008 of the diagonal, rounded up."""
    return math.ceil(0.008 * math.sqrt(height**2 + width**2))


def disk(r: int) -> Mask:
    dy, dx = np.mgrid[-r : r + 1, -r : r + 1]
    return dx**2 + dy**2 <= r**2


def boundary_f(gt: Mask, pred: Mask) -> float:
    """F-measure of two boundaries that match within the tolerance."""
    of_gt, of_pred = boundary(gt), boundary(pred)
    n_gt, n_pred = int(of_gt.sum()), int(of_pred.sum())
    if n_gt == 0 and n_pred == 0:
        return 1.0
    if n_gt == 0 or n_pred == 0:
        return 0.0
    element = disk(radius(*gt.shape))
    precision = int((of_pred & binary_dilation(of_gt, element)).sum()) / n_pred
    recall = int((of_gt & binary_dilation(of_pred, element)).sum()) / n_gt
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def scores(
    gt: NDArray[np.generic], pred: NDArray[np.generic], void: NDArray[np.generic] | None = None
) -> tuple[float, float]:
    """(J, F) of one frame; void pixels leave both masks first."""
    counted = np.ones(gt.shape, bool) if void is None else void == 0
    g, p = (gt != 0) & counted, (pred != 0) & counted
    return jaccard(g, p), boundary_f(g, p)

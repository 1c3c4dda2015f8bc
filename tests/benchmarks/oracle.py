"""Metrics by their definitions, slowly: what the fast ones are compared with. Shares no code with the package."""

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


# Metrics of whole videos: masks are bool (T, H, W), None at a frame stands for one without a usable mask --------------

Masks = list[Mask | None]


def accuracy(gt: list[Mask], pred: Masks) -> float:
    """Mean over frames of the share of pixels that are right; 0 without a mask."""
    return _mean([0 if p is None else Fraction(sum(_pixels(g == p)), g.size) for g, p in zip(gt, pred, strict=True)])


def robustness(gt: list[Mask], pred: Masks, objects: list[list[Mask]]) -> float:
    """Mean over frames of 1 - |predicted beside the target| / |any object|, not below 0; 0 without a mask.

    ``objects`` has a list of masks a frame. Where nothing is annotated, anything beside the target is wrong.
    """
    values: list[Fraction | int] = []
    for g, p, things in zip(gt, pred, objects, strict=True):
        beside = 0 if p is None else sum(a and not b for a, b in zip(_pixels(p), _pixels(g), strict=True))
        anything = sum(any(pixel) for pixel in zip(*map(_pixels, things), strict=True))
        if p is None:
            values.append(0)
        elif beside == 0:
            values.append(1)
        else:
            values.append(max(0, 1 - Fraction(beside, anything)) if anything else 0)
    return _mean(values)


def t_iou(gt: list[Mask], pred: Masks) -> float:
    """Frames with both / frames with either; a frame without a mask counts below alone."""
    states = [(any(_pixels(g)), None if p is None else any(_pixels(p))) for g, p in zip(gt, pred, strict=True)]
    either = [s for s in states if s[1] is None or s[0] or s[1]]
    return float(Fraction(sum(bool(s[0] and s[1]) for s in either), len(either))) if either else 1.0


def v_iou(gt: list[Mask], pred: Masks) -> float:
    """As ``t_iou`` with J of the frames above."""
    pairs = [(g, p) for g, p in zip(gt, pred, strict=True) if p is None or any(_pixels(g)) or any(_pixels(p))]
    both = [jaccard(g, p) for g, p in pairs if p is not None and any(_pixels(g)) and any(_pixels(p))]
    return math.fsum(both) / len(pairs) if pairs else 1.0


def n_acc(answers: list[Masks]) -> float:
    """Share of no-target expressions all of whose frames have a mask without a pixel."""
    return _mean([int(all(p is not None and not any(_pixels(p)) for p in masks)) for masks in answers])


def t_acc(answers: list[Masks]) -> float:
    """Share of expressions with a target of which any frame has a mask with a pixel."""
    return _mean([int(any(p is not None and any(_pixels(p)) for p in masks)) for masks in answers])


def visa(instances: list[list[Mask]], pred: list[Mask], objects: list[list[Mask]]) -> tuple[float, float]:
    """(A, R) of VISA's script for masks of 0 and 1, pixel by pixel in 8 bits; ``instances`` of the target a frame."""
    right, robust = [], []
    for parts, p, things in zip(instances, pred, objects, strict=True):
        target = [sum(pixel) for pixel in zip(*map(_pixels, parts), strict=True)] if parts else [0] * p.size
        right.append(Fraction(sum(t == int(x) for t, x in zip(target, _pixels(p), strict=True)), p.size))
        beside = sum((1 - t) % 256 * int(x) % 256 for t, x in zip(target, _pixels(p), strict=True))
        anything = sum(any(pixel) for pixel in zip(*map(_pixels, things), strict=True))
        robust.append(max(1 - beside / (anything + 1e-6), 0.0))
    return _mean(right), math.fsum(robust) / len(robust)


def _pixels(mask: Mask) -> list[bool]:
    return [bool(pixel) for row in mask.tolist() for pixel in row]


def _mean(values: list[Fraction | int] | list[Fraction] | list[int]) -> float:
    return float(sum(map(Fraction, values)) / len(values))


# Image benchmarks: label maps 0, 1, 255 (does not count) against masks ------------------------------------------------


def counts(labels: NDArray[np.integer], pred: Mask | None) -> tuple[int, int]:
    """(intersection, union) of class 1, pixel by pixel; without a mask nothing is found, all that counts is union."""
    pairs = [(int(g), p) for g, p in zip(labels.ravel(), _pixels(labels == 0 if pred is None else pred), strict=True)]
    if pred is None:
        return 0, sum(g != 255 for g, _ in pairs)
    return sum(g == 1 and bool(p) for g, p in pairs), sum(g == 1 or (bool(p) and g != 255) for g, p in pairs)


def image_iou(labels: NDArray[np.integer], pred: Mask | None) -> float:
    """I / (U + 1e-5), 1 where nothing is there and nothing predicted; 0 without a mask."""
    both, either = counts(labels, pred)
    if pred is None:
        return 0.0
    return 1.0 if either == 0 else both / (either + 1e-5)


def g_iou(pairs: list[tuple[NDArray[np.integer], Mask | None]], copies: int) -> float:
    """As the script forms it: a list with every copy of every mask, its sum over its length + 1e-5."""
    listed = [image_iou(labels, pred) for labels, pred in pairs for _ in range(copies)]
    return math.fsum(listed) / (len(listed) + 1e-5)


def c_iou(pairs: list[tuple[NDArray[np.integer], Mask | None]], copies: int) -> float:
    """All intersections over all unions + 1e-10."""
    found = [counts(labels, pred) for labels, pred in pairs for _ in range(copies)]
    return sum(i for i, _ in found) / (sum(u for _, u in found) + 1e-10)

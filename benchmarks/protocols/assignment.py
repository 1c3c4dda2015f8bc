"""Which proposal is which object: the optimal assignment, and what deletion cannot improve.

The DAVIS unsupervised task assigns proposals p to ground-truth objects g so that the sum of (mean J + mean F) / 2 is
largest. A frame that is missing counts as 0 for every pair, and this alone lets deletion pay: with other numbers
another assignment can win, and under it one of J, F or the score of a single object can be higher than before.

``lowest_scores`` closes that door. Notation: a (video, annotator) has n frames, k of them missing, and m objects,
all of which are matched; seen(A) is the sum over the pairs of assignment A of (mean J + mean F) / 2 with missing
frames as 0; best is the largest seen(A) over assignments of the labels that certainly took part (1 to the largest
label seen, filled up to m).

*Feasible*: seen(A) + m k/n >= best.

1. Whatever the missing frames held, the assignment A* that the complete video would have had is feasible. The missing
   frames add between 0 and m k/n to any assignment, so complete(A*) <= seen(A*) + m k/n, and for the assignment B of
   best complete(B) >= best. B was a candidate in the complete video, so complete(A*) >= complete(B).
2. What is feasible stays feasible when more frames go. Deleting d more frames lowers seen(A) by at most m d/n while
   the allowance grows by exactly that, and best never grows: every seen(A) falls or stays, and labels only disappear.
3. Reported for object g: the lowest J over all proposals p for which some feasible assignment contains (p, g), and
   separately the lowest F and the lowest recall. By 1 none exceeds its value in the complete video, because setting
   frames to 0 lowers each J, F and recall, and by 2 none grows under further deletion. Means of such values over
   objects and annotators inherit both.

With nothing missing the solver's own assignment is reported, so equal values do not depend on how ties are broken.
Decay is no score; its analogue here is the largest decay that the missing frames could have hidden.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ..metrics import decay, recall

#: Absorbs rounding: the allowance grows by more than any rounding error with every frame that is missing.
_SLACK = 1e-9

Scores = NDArray[np.float64]


@dataclass(frozen=True)
class Matched:
    """The scores of one ground-truth object under an assignment.

    Attributes:
        object: number of the object, from 1.
        proposal: label of the proposal that J comes from, from 1.
        J, F: per frame, float64 (T,); with frames missing they can come from different proposals.
        J_recall, F_recall, J_decay, F_decay: as DAVIS defines them.
    """

    object: int
    proposal: int
    J: Scores
    F: Scores
    J_recall: float
    F_recall: float
    J_decay: float
    F_decay: float


def optimal_pairs(J: Scores, F: Scores) -> list[tuple[int, int]]:
    """(proposal, object) indices from 0, in the order of proposals, as the DAVIS script finds them.

    Args:
        J, F: float64 (P, G, T), P >= G: scores of every proposal against every object in every frame.
    """
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-_pair_values(J, F))
    return [(int(p), int(g)) for p, g in zip(rows, columns, strict=True)]


def optimal_scores(J: Scores, F: Scores) -> list[Matched]:
    """The objects in their own order under the optimal assignment; nothing is missing. Arrays as ``optimal_pairs``."""
    complete = np.zeros(J.shape[2], bool)
    pairs = sorted((g, p) for p, g in optimal_pairs(J, F))
    return [worst_of(g, [p], J[[p], g], F[[p], g], complete) for g, p in pairs]


def lowest_scores(J: Scores, F: Scores, missing: NDArray[np.bool_], n_seen: int) -> list[Matched]:
    """The objects' scores where frames are missing; never above those of any completion (see the module).

    Args:
        J, F: float64 (P, G, T), P >= G; P is the number of proposals allowed, whether seen or not.
        missing: bool (T,).
        n_seen: the largest label that occurs in the frames that are there.
    """
    values = _pair_values(np.where(missing, 0.0, J), np.where(missing, 0.0, F))
    candidates = _feasible(values, int(missing.sum()), len(missing), n_seen)
    chosen = [np.flatnonzero(candidates[:, g]) for g in range(J.shape[1])]
    return [worst_of(g, p.tolist(), J[p, g], F[p, g], missing) for g, p in enumerate(chosen)]


def worst_of(g: int, proposals: Sequence[int], J: Scores, F: Scores, missing: NDArray[np.bool_]) -> Matched:
    """The worst of each value over candidate proposals of one object, with missing frames as 0.

    Args:
        g: the object's index, from 0.
        proposals: the candidates' indices, from 0.
        J, F: float64 (P, T), one row per candidate.
        missing: bool (T,).
    """
    J, F = np.where(missing, 0.0, J), np.where(missing, 0.0, F)
    j, f = int(np.argmin(J.mean(axis=1))), int(np.argmin(F.mean(axis=1)))
    return Matched(
        object=g + 1,
        proposal=proposals[j] + 1,
        J=J[j],
        F=F[f],
        J_recall=min(recall(values) for values in J),
        F_recall=min(recall(values) for values in F),
        J_decay=max(largest_decay(values, missing) for values in J),
        F_decay=max(largest_decay(values, missing) for values in F),
    )


def largest_decay(values: Scores, missing: NDArray[np.bool_]) -> float:
    """The largest decay that some scores of the missing frames would give: 1 before the middle, 0 after it."""
    early = np.arange(len(values)) < len(values) / 2
    return decay(np.where(missing, early.astype(np.float64), values))


def _feasible(values: Scores, k: int, n: int, n_seen: int) -> NDArray[np.bool_]:
    """bool (P, G): whether a feasible assignment contains the pair."""
    n_objects = values.shape[1]
    bound = _best(values[: max(n_seen, n_objects)]) - n_objects * k / n - _SLACK * k
    return np.array([[_best_with(values, p, g) >= bound for g in range(n_objects)] for p in range(len(values))])


def _best_with(values: Scores, p: int, g: int) -> float:
    """The largest sum of an assignment that contains the pair (p, g)."""
    rest = np.delete(np.delete(values, p, axis=0), g, axis=1)
    return float(values[p, g]) + _best(rest)


def _best(values: Scores) -> float:
    from scipy.optimize import linear_sum_assignment

    rows, columns = linear_sum_assignment(-values)
    return float(values[rows, columns].sum())


def _pair_values(J: Scores, F: Scores) -> Scores:
    """float64 (P, G): what the assignment maximises."""
    return (np.mean(J, axis=2) + np.mean(F, axis=2)) / 2

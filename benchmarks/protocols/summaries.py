"""From unit scores to a summary: means as the scripts form them, counts, and warnings in words."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from .base import STATUSES, Status, Summary, UnitScore

#: Workers of the ReasonVOS and MeViS scripts; each crash ends one, and whatever is left in the queue then is lost.
SCRIPT_WORKERS = 64


def mean(values: Sequence[float]) -> float | None:
    """The mean in the order given, as ``numpy.mean`` of a list sums it; None of nothing."""
    return float(np.mean(values)) if len(values) else None


def count_statuses(scores: Sequence[UnitScore]) -> dict[Status, int]:
    """How many units ended in each status, every status present."""
    return {status: sum(s.status == status for s in scores) for status in STATUSES}


def j_and_f(scores: Sequence[UnitScore]) -> dict[str, float | None]:
    """``J&F``, ``J`` and ``F``: flat means over counted units, and the mean of the two means."""
    counted = [s for s in scores if s.counted and s.J is not None and s.F is not None]
    J, F = mean([s.J for s in counted if s.J is not None]), mean([s.F for s in counted if s.F is not None])
    return {"J&F": None if J is None or F is None else (J + F) / 2, "J": J, "F": F}


def summarise(
    scores: Sequence[UnitScore],
    warnings: Sequence[str] = (),
    extras: Mapping[str, float | None] | None = None,
    values: Mapping[str, float | None] | None = None,
) -> Summary:
    """The flat mean over counted units; J&F is the mean of the two means.

    Args:
        values: the protocol's metrics where they are not J&F, J and F alone.
    """
    return Summary(
        values=j_and_f(scores) if values is None else values,
        counts=count_statuses(scores),
        n_counted=sum(s.counted and s.J is not None for s in scores),
        extras=dict(extras or {}),
        warnings=tuple(warnings),
    )


# Warnings: one function per trap; each gives no or one sentence ---------------------------------------------------


def warn_left_out(scores: Sequence[UnitScore]) -> list[str]:
    """Units that a script silently leaves out of its mean."""
    left_out = [s for s in scores if not s.counted and s.status != "no-ground-truth" and "overwritten" not in s.flags]
    if not left_out:
        return []
    kept = [s.J_and_F for s in scores if s.counted and s.J_and_F is not None]
    with_zeros = 100 * sum(kept) / (len(kept) + len(left_out))
    return [
        f"{len(left_out)} of {len(kept) + len(left_out)} expressions are left out of the mean "
        f"(first: {left_out[0].unit.key}: {left_out[0].reason}); counted as 0, J&F is {with_zeros:.2f}."
    ]


def warn_script_crashes(scores: Sequence[UnitScore]) -> list[str]:
    """Expressions that crash a worker of the script, which then still prints a score and exits with status 0."""
    crashed = sum("script-crash" in s.flags for s in scores)
    if not crashed:
        return []
    text = (
        f"The script crashes on {crashed} of {len(scores)} expressions, prints its score without them and exits with "
        "status 0."
    )
    if crashed >= SCRIPT_WORKERS:
        text += (
            f" With {SCRIPT_WORKERS} crashes all of its workers are dead and what is left in the queue is dropped: "
            "the script itself prints another number, often nan."
        )
    return [text]


def warn_overwritten(scores: Sequence[UnitScore]) -> list[str]:
    """Expressions that share a prediction folder, of which the script keeps one."""
    n = sum("overwritten" in s.flags for s in scores)
    if not n:
        return []
    return [f"{n} expressions share an exp_id with a later one of the same object; the script keeps only the later."]


def warn_missing(scores: Sequence[UnitScore]) -> list[str]:
    """What is missing or unusable and counts as wrong."""
    bad = [s for s in scores if s.counted and s.status in ("missing", "invalid", "failed")]
    partial = [s for s in scores if "partial" in s.flags]
    texts = []
    if bad:
        counts = ", ".join(f"{n} {name}" for name, n in _tally(bad, lambda s: s.status).items())
        texts.append(f"{len(bad)} of {len(scores)} units count as 0 ({counts}); first: {bad[0].unit.key}.")
    if partial:
        first = partial[0]
        texts.append(
            f"{len(partial)} units lack some frames, which count as 0; first: {first.unit.key}: {first.reason}"
        )
    return texts


def warn_no_ground_truth(scores: Sequence[UnitScore]) -> list[str]:
    """Units with nothing to compare with."""
    bare = [s for s in scores if s.status == "no-ground-truth"]
    if not bare:
        return []
    return [f"{len(bare)} units have no ground truth and are not in the mean; first: {bare[0].unit.key}."]


def warn_empty_credit(scores: Sequence[UnitScore], threshold: float = 0.1) -> list[str]:
    """Much of the score comes from frames where ground truth and prediction are both empty (J = F = 1)."""
    counted = [s for s in scores if s.counted and s.J is not None and s.n_frames]
    if not counted:
        return []
    credit = float(np.mean([(s.extras.get("frames_both_empty") or 0) / s.n_frames for s in counted]))
    if credit < threshold:
        return []
    return [
        f"{100 * credit:.1f} points of J and F come from frames where ground truth and prediction are both empty, "
        "which score 1; compare with the floor of an empty prediction."
    ]


def warn_contour_trap(scores: Sequence[UnitScore], threshold: float = 0.05) -> list[str]:
    """A mask that fills the frame has no boundary, so against an empty ground truth J = 0 but F = 1."""
    counted = [s for s in scores if s.counted and s.J is not None and s.n_frames]
    if not counted:
        return []
    share = float(np.mean([(s.extras.get("frames_full_against_empty") or 0) / s.n_frames for s in counted]))
    if share < threshold:
        return []
    return [
        f"{100 * share:.1f} points of F come from masks that fill the frame where the ground truth is empty: neither "
        "has a boundary, so F calls them perfect; look at J."
    ]


def strict_warnings(scores: Sequence[UnitScore]) -> list[str]:
    """All that can mislead about a strict score per expression."""
    return [text for check in _SHARED for text in check(scores)]


def script_warnings(scores: Sequence[UnitScore]) -> list[str]:
    """All that can mislead about the score of a script-named protocol per expression."""
    return [
        text for check in (warn_left_out, warn_script_crashes, warn_overwritten, *_SHARED) for text in check(scores)
    ]


_SHARED = (warn_missing, warn_no_ground_truth, warn_empty_credit, warn_contour_trap)


def _tally(scores: Sequence[UnitScore], name: Callable[[UnitScore], str]) -> dict[str, int]:
    counts: dict[str, int] = {}
    for score in scores:
        counts[name(score)] = counts.get(name(score), 0) + 1
    return counts

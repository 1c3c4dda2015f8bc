"""95 % confidence intervals for means over units that come in clusters: expressions of one video share it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .protocols.base import Summary, UnitScore

LEVEL = 0.95


@dataclass(frozen=True)
class Interval:
    """A mean, 0-1, with its confidence interval ``value ± half_width``.

    Attributes:
        value: the mean; None where nothing was counted.
        half_width: half the width of the interval; None where it cannot be given, see ``reason``.
        n_clusters: the number of videos.
        reason: why there is no interval.
    """

    value: float | None
    half_width: float | None = None
    n_clusters: int = 0
    reason: str = ""


def clustered_interval(values: Sequence[float], clusters: Sequence[str], level: float = LEVEL) -> Interval:
    """The mean of ``values`` and its interval by Student's t, clustered.

    With n units in G clusters, mean m and cluster sums of residuals r_g = sum over i in g of (x_i - m):

        se^2 = G / (G - 1) * sum_g r_g^2 / n^2          half width = t(G - 1 d.o.f.) * se

    the cluster-robust variance with the small-sample factor G / (G - 1). For clusters of one size it is the ordinary
    t interval over the cluster means (Liang and Zeger 1986; Miller 2024, "Adding Error Bars to Evals", section 2.2).
    """
    if not values:
        return Interval(None, reason="nothing was counted")
    mean = float(np.mean(np.asarray(values, float)))
    sums = _residual_sums(values, clusters, mean)
    count = len(sums)
    if count < 2:
        return Interval(mean, None, count, "one video alone has no interval")
    error = float(np.sqrt(count / (count - 1) * np.sum(sums**2))) / len(values)
    return Interval(mean, _student_t(level, count - 1) * error, count)


def summary_intervals(summary: Summary, scores: Iterable[UnitScore]) -> dict[str, Interval]:
    """Intervals of ``J&F``, ``J`` and ``F`` around the protocol's own means.

    Where a protocol's value is no plain mean over the counted units, the formula does not describe it and the
    interval is left out with that reason.
    """
    counted = [s for s in scores if s.counted and s.J is not None and s.F is not None]
    clusters = [s.unit.video_id for s in counted]
    columns = {
        "J&F": (summary.J_and_F, [s.J_and_F for s in counted]),
        "J": (summary.J, [s.J for s in counted]),
        "F": (summary.F, [s.F for s in counted]),
    }
    return {
        name: _around(value, [v for v in column if v is not None], clusters)
        for name, (value, column) in columns.items()
    }


def _around(value: float | None, values: Sequence[float], clusters: Sequence[str]) -> Interval:
    interval = clustered_interval(values, clusters)
    if value is None or interval.value is None:
        return Interval(value, reason=interval.reason or "nothing was counted")
    if abs(value - interval.value) > 1e-9:
        return Interval(value, None, interval.n_clusters, "the protocol's value is no plain mean over units")
    return Interval(value, interval.half_width, interval.n_clusters, interval.reason)


def _residual_sums(values: Sequence[float], clusters: Sequence[str], mean: float) -> np.ndarray:
    sums: dict[str, float] = {}
    for value, cluster in zip(values, clusters, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + (value - mean)
    return np.array(list(sums.values()))


def _student_t(level: float, degrees: int) -> float:
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    return float(stdtrit(degrees, 0.5 + level / 2))

"""95 % confidence intervals for means over units that come in clusters: expressions of one video share it."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from .protocols.base import Metric, Summary, UnitScore

LEVEL = 0.95
#: A protocol's value may be so far from the mean over its units and still be called one: scripts add small constants to
#: denominators. It is 0.001 of a point.
SMALLEST_DIFFERENCE = 1e-5


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


def clustered_interval(
    values: Sequence[float], clusters: Sequence[str], level: float = LEVEL, over: Sequence[float] | None = None
) -> Interval:
    """The mean of ``values``, or their sum over that of ``over``, and its interval by Student's t, clustered.

    With n units in G clusters, mean m and cluster sums of residuals r_g = sum over i in g of (x_i - m):

        se^2 = G / (G - 1) * sum_g r_g^2 / n^2          half width = t(G - 1 d.o.f.) * se

    the cluster-robust variance with the small-sample factor G / (G - 1). For clusters of one size it is the ordinary
    t interval over the cluster means (Liang and Zeger 1986; Miller 2024, "Adding Error Bars to Evals", section 2.2).
    A ratio of sums is linearised (Cochran 1977, section 6.3): residuals x_i - m y_i, and the sum of y in place of n.
    """
    total = len(values) if over is None else float(np.sum(over))
    if not total:
        return Interval(None, reason="nothing was counted")
    mean = float(np.mean(np.asarray(values, float))) if over is None else float(np.sum(values)) / total
    sums = _residual_sums(values, clusters, mean, over or [1.0] * len(values))
    count = len(sums)
    if count < 2:
        return Interval(mean, None, count, "one video alone has no interval")
    error = float(np.sqrt(count / (count - 1) * np.sum(sums**2))) / total
    return Interval(mean, _student_t(level, count - 1) * error, count)


def summary_intervals(metrics: Sequence[Metric], summary: Summary, scores: Sequence[UnitScore]) -> dict[str, Interval]:
    """The interval of every metric around the protocol's own value.

    Where a protocol's value is not what its metric says of the counted units (a mean of means, say), the formula does
    not describe it and the interval is left out with that reason.
    """
    return {metric.name: _around(summary.values[metric.name], metric_interval(metric, scores)) for metric in metrics}


def metric_interval(metric: Metric, scores: Iterable[UnitScore]) -> Interval:
    """A metric over some units, with its interval."""
    if metric.composite:
        return Interval(None, reason="it is formed from other metrics")
    pairs = metric.pairs(scores)
    values, clusters = [value for _, value, _ in pairs], [score.unit.video_id for score, _, _ in pairs]
    return clustered_interval(values, clusters, over=[size for _, _, size in pairs] if metric.over else None)


def _around(value: float | None, interval: Interval) -> Interval:
    if value is None or interval.value is None:
        return Interval(value, reason=interval.reason or "nothing was counted")
    if abs(value - interval.value) > SMALLEST_DIFFERENCE:
        return Interval(value, None, interval.n_clusters, "the protocol's value is no plain mean over units")
    return Interval(value, interval.half_width, interval.n_clusters, interval.reason)


def _residual_sums(values: Sequence[float], clusters: Sequence[str], mean: float, over: Sequence[float]) -> np.ndarray:
    sums: dict[str, float] = {}
    for value, cluster, size in zip(values, clusters, over, strict=True):
        sums[cluster] = sums.get(cluster, 0.0) + (value - mean * size)
    return np.array(list(sums.values()))


def _student_t(level: float, degrees: int) -> float:
    from scipy.special import stdtrit  # scipy.stats takes a second to import

    return float(stdtrit(degrees, 0.5 + level / 2))

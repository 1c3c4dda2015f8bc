"""Is one run better than another? Paired comparisons clustered by video, many at once, and what it takes to see more.

Sentences about one video share its frames, its objects and their difficulty, so a video is the unit of evidence, not a
sentence. Two runs answer the same sentences, so their difference is taken sentence by sentence.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray

from ..benchmarks.intervals import LEVEL, SMALLEST_DIFFERENCE
from ..benchmarks.protocols.base import Metric, UnitScore
from ..benchmarks.results import Result, Table, metric_names, percent
from ..datasets.errors import RunError, UnknownNameError, UsageError

#: Up to so many videos every pattern of signs is tried; beyond, ``N_FLIPS`` random ones.
MOST_EXACT = 13
N_FLIPS = 9999
ALPHA = 1 - LEVEL
#: The power that sample sizes are given for.
POWER = 0.8


@dataclass(frozen=True)
class Paired:
    """One run against another, 0-1.

    Attributes:
        a, b: names of the runs.
        metric: what is compared.
        difference: the protocol's value of ``a`` minus that of ``b``.
        half_width: of the 95 % interval, Student's t over videos; None where there is none, see ``reason``.
        p_t: two-sided p of the clustered t-test.
        p: two-sided p of the sign-flip permutation test over videos; exact up to ``MOST_EXACT`` videos.
        p_holm: ``p`` adjusted for all comparisons made together.
        n_videos, n_units: evidence.
        videos_per_point: videos like these needed to see a difference of 0.01 in four of five tries.
        detectable: the difference that these videos show in four of five tries.
        reason: why there is no interval or p.
    """

    a: str
    b: str
    metric: str
    difference: float
    half_width: float | None = None
    p_t: float | None = None
    p: float | None = None
    p_holm: float | None = None
    n_videos: int = 0
    n_units: int = 0
    videos_per_point: int | None = None
    detectable: float | None = None
    reason: str = ""

    @property
    def separable(self) -> bool:
        """Whether the two can be told apart after adjusting for all comparisons."""
        return self.p_holm is not None and self.p_holm < ALPHA

    def __str__(self) -> str:
        interval = "" if self.half_width is None else f" ±{100 * self.half_width:.2f}"
        p = self.reason if self.p is None else f"p = {_p(self.p)} (t-test {_p(self.p_t)})"
        return f"{self.a} − {self.b}: {100 * self.difference:+.2f}{interval} {self.metric}, {p}, {self.n_videos} videos"


def paired(
    a: Result, b: Result, names: tuple[str, str] = ("first", "second"), metric: str | None = None, seed: int = 0
) -> Paired:
    """Compare two results unit by unit.

    Args:
        metric: one that the protocol reports, its first by default.

    Raises:
        RunError: they are of different data, protocols or extents, so that no comparison means anything.
        UnknownNameError: the protocol does not report the metric.
    """
    _must_be_comparable(a, b, names)
    compared = _metric(a, metric)
    metric = compared.name
    differences, videos = _differences(a, b, compared)
    value = _value(a, metric) - _value(b, metric)
    sums, n_units = cluster_sums(differences, videos), len(differences)
    if n_units == 0 or abs(float(np.mean(differences)) - value) > SMALLEST_DIFFERENCE:
        reason = "the protocol's values are no plain means over shared units"
        return Paired(*names, metric, value, n_videos=len(sums[0]), n_units=n_units, reason=reason)
    if len(sums[0]) < 2:
        return Paired(*names, metric, value, n_videos=1, n_units=n_units, reason="one video alone tells nothing")
    test = clustered_t(*sums)
    return Paired(
        *names,
        metric,
        value,
        test.half_width,
        test.p,
        sign_flip_p(sums[0], seed=seed),
        None,
        len(sums[0]),
        n_units,
        videos_needed(test.error, len(sums[0]), 0.01),
        detectable(test.error, len(sums[0])),
    )


def _must_be_comparable(a: Result, b: Result, names: tuple[str, str]) -> None:
    checks = [
        ("the protocol", a.protocol.id, b.protocol.id),
        ("the dataset", a.dataset.id, b.dataset.id),
        ("the data's fingerprint", a.dataset.fingerprint, b.dataset.fingerprint),
        ("the sample keys", a.dataset.sample_keys, b.dataset.sample_keys),
        ("the extent", a.record.extent, b.record.extent),
    ]
    for what, mine, theirs in checks:
        if mine != theirs:
            raise RunError(
                f"{names[0]} and {names[1]} cannot be compared: {what} is {mine[:40]} and {theirs[:40]}; "
                "score both on the same data under one protocol."
            )


def _metric(result: Result, name: str | None) -> Metric:
    """The protocol's metric of this name, its first by default. Raises UnknownNameError."""
    known = {metric.name: metric for metric in result.metrics}
    if name is not None and name not in known:
        raise UnknownNameError(f"metric of {result.protocol.id}", name, known)
    return result.metrics[0] if name is None else known[name]


def _differences(a: Result, b: Result, metric: Metric) -> tuple[list[float], list[str]]:
    """Differences of the units that both count, and their videos; their mean is the difference of the two values."""
    mine, theirs = _contributions(a.scores, metric), _contributions(b.scores, metric)
    shared = [score for score in a.scores if score.unit.key in mine and score.unit.key in theirs]
    return [mine[s.unit.key] - theirs[s.unit.key] for s in shared], [s.unit.video_id for s in shared]


def _contributions(scores: Iterable[UnitScore], metric: Metric) -> dict[str, float]:
    """What every counted unit gives to the metric: its value, or for a ratio of sums its linearised share.

    For a ratio m = sum x / sum y of n units that is m + (x - m y) / (sum y / n), whose mean is m (Cochran 1977, 6.3).
    """
    pairs = metric.pairs(scores)
    total = sum(size for _, _, size in pairs)
    if not metric.over or not total:
        return {score.unit.key: value for score, value, _ in pairs}
    ratio, size_of_one = sum(value for _, value, _ in pairs) / total, total / len(pairs)
    return {score.unit.key: ratio + (value - ratio * size) / size_of_one for score, value, size in pairs}


def _value(result: Result, metric: str) -> float:
    value = result.value(metric)
    if value is None:
        raise RunError(f"{result.path or 'a result'} has no {metric}: nothing was counted.")
    return value


# Tests ----------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClusteredT:
    """Mean, standard error, half width of the 95 % interval and two-sided p of "the mean is 0"."""

    mean: float
    error: float
    half_width: float
    p: float


def cluster_sums(values: Sequence[float], clusters: Sequence[str]) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Sum of the values and number of units of each cluster, float64 (G,) each."""
    names = {name: i for i, name in enumerate(dict.fromkeys(clusters))}
    index = np.array([names[name] for name in clusters], dtype=np.int64)
    sums = np.bincount(index, weights=np.asarray(values, float), minlength=len(names))
    return sums.astype(np.float64), np.bincount(index, minlength=len(names)).astype(np.float64)


def clustered_t(sums: NDArray[np.float64], counts: NDArray[np.float64]) -> ClusteredT:
    """Student's t over clusters, the arithmetic of ``benchmarks.intervals.clustered_interval``.

    Args:
        sums, counts: of each cluster, at least two clusters.
    """
    from scipy.special import stdtr, stdtrit

    g, n = len(sums), counts.sum()
    mean = float(sums.sum() / n)
    error = float(np.sqrt(g / (g - 1) * np.sum((sums - counts * mean) ** 2)) / n)
    if error == 0:
        return ClusteredT(mean, 0.0, 0.0, 1.0 if mean == 0 else 0.0)
    p = float(2 * stdtr(g - 1, -abs(mean / error)))
    return ClusteredT(mean, error, float(stdtrit(g - 1, 0.5 + LEVEL / 2)) * error, p)


def sign_flip_p(sums: NDArray[np.float64], n_flips: int = N_FLIPS, seed: int = 0) -> float:
    """Two-sided p of the sign-flip test: were the runs equal, each video's difference could as well be the opposite.

    Args:
        sums: of the differences of each video.
        n_flips: random patterns of signs, where there are too many to try all.
        seed: of those.
    """
    observed = abs(float(sums.sum()))
    tolerance = 1e-12 * max(1.0, float(np.abs(sums).sum()))
    if len(sums) <= MOST_EXACT:
        bits = np.arange(2 ** len(sums))[:, None] >> np.arange(len(sums))
        flipped = np.abs((1 - 2 * (bits & 1)) @ sums)
        return float(np.mean(flipped >= observed - tolerance))
    signs = np.random.default_rng(seed).integers(0, 2, (n_flips, len(sums)), dtype=np.int8) * 2 - 1
    at_least = int(np.sum(np.abs(signs @ sums) >= observed - tolerance))
    return (1 + at_least) / (1 + n_flips)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values that keep the chance of any false discovery below the level (Holm 1979)."""
    order = sorted(range(len(p_values)), key=lambda i: p_values[i])
    adjusted, running = [0.0] * len(p_values), 0.0
    for rank, i in enumerate(order):
        running = max(running, min(1.0, (len(p_values) - rank) * p_values[i]))
        adjusted[i] = running
    return adjusted


def videos_needed(error: float, n_videos: int, difference: float, power: float = POWER) -> int:
    """Videos like these that show ``difference`` at the 5 % level with the given power.

    The standard error falls with the square root of the number of videos: n = G ((z_0.975 + z_power) se / d)^2.

    Args:
        error: standard error of the mean difference over ``n_videos``.
    """
    return max(2, math.ceil(n_videos * (_z_sum(power) * error / difference) ** 2))


def detectable(error: float, n_videos: int, power: float = POWER) -> float:
    """The difference, 0-1, that this many videos show at the 5 % level with the given power."""
    from scipy.special import stdtrit

    return float((stdtrit(n_videos - 1, 0.5 + LEVEL / 2) + stdtrit(n_videos - 1, power)) * error)


def _z_sum(power: float) -> float:
    from scipy.special import ndtri

    return float(ndtri(0.5 + LEVEL / 2) + ndtri(power))


# Many runs ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Comparison:
    """Several runs, the best first.

    Attributes:
        results: by name, by falling value.
        against_best: the best against each other run, adjusted for their number.
        pairs: every pair, adjusted for their number.
        metric: what is compared.
    """

    results: Mapping[str, Result]
    against_best: tuple[Paired, ...]
    pairs: tuple[Paired, ...]
    metric: str

    @property
    def best(self) -> str:
        return next(iter(self.results))

    @property
    def not_separable(self) -> tuple[str, ...]:
        """The runs that cannot be told from the best, with the best."""
        return (self.best, *(pair.b for pair in self.against_best if not pair.separable))

    def table(self) -> Table:
        """A row per run: values with intervals, difference to the best with interval, p, adjusted p, mark."""
        rows = []
        metrics = metric_names(self.results.values())
        by_name = {pair.b: pair for pair in self.against_best}
        for name, result in self.results.items():
            pair = by_name.get(name)
            rows.append((name, *result.cells(metrics), *_against(pair), "≈ best" if name in self.not_separable else ""))
        first = next(iter(self.results.values()))
        head = ("run", *metrics, f"{self.metric} − best", "p", "p (Holm)", "")
        return Table(f"{first.protocol.id} on {first.dataset.id}", head, tuple(rows))

    def pair_table(self) -> Table:
        """A row per pair."""
        head = ("pair", "difference", "p", "p (t-test)", "p (Holm)", "videos", "videos to see 1 point", "detectable")
        rows = tuple(
            (
                f"{p.a} − {p.b}",
                _interval(p.difference, p.half_width),
                _p(p.p),
                _p(p.p_t),
                _p(p.p_holm),
                str(p.n_videos),
                "–" if p.videos_per_point is None else str(p.videos_per_point),
                percent(p.detectable),
            )
            for p in self.pairs
        )
        return Table(f"Pairs, {self.metric}", head, rows)

    def remarks(self) -> list[str]:
        """How to read the tables."""
        lines = [
            "± is the 95 % interval, clustered by video. p: sign-flip permutation over videos, Holm over the "
            "comparisons of a table. ≈ best: not separable from the best at the 5 % level."
        ]
        lines += _too_few(self.against_best)
        lines += dict.fromkeys(f"{p.a} − {p.b}: no test, {p.reason}." for p in self.pairs if p.reason)
        lines += [f"{name}: {w}" for name, r in self.results.items() for w in r.warnings]
        return lines

    def __str__(self) -> str:
        return "\n\n".join([self.table().to_text(), self.pair_table().to_text(), "\n".join(self.remarks())])

    def to_markdown(self) -> str:
        """The tables as Markdown."""
        notes = "\n".join(f"- {line}" for line in self.remarks())
        return "\n\n".join([self.table().to_markdown(), self.pair_table().to_markdown(), notes]) + "\n"

    def to_json(self) -> str:
        """``{"metric", "runs", "best", "not_separable", "against_best", "pairs"}``; values 0-1."""
        runs = [
            {"name": name, "path": str(r.path) if r.path else None, self.metric: _value(r, self.metric)}
            for name, r in self.results.items()
        ]
        content = {
            "metric": self.metric,
            "runs": runs,
            "best": self.best,
            "not_separable": list(self.not_separable),
            "against_best": [asdict(p) for p in self.against_best],
            "pairs": [asdict(p) for p in self.pairs],
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def compare_results(results: Mapping[str, Result], metric: str | None = None, seed: int = 0) -> Comparison:
    """Compare results by name, by their protocol's first metric unless another is named.

    Raises:
        UsageError: fewer than two, or a metric that the protocol does not report.
        RunError: they are of different data, protocols or extents.
    """
    if len(results) < 2:
        raise UsageError("A comparison needs two runs or more; give another one.")
    chosen = _metric(next(iter(results.values())), metric).name
    for name, result in results.items():
        _must_be_comparable(next(iter(results.values())), result, (next(iter(results)), name))
    names = sorted(results, key=lambda name: -_value(results[name], chosen))
    pairs = [paired(results[a], results[b], (a, b), chosen, seed) for i, a in enumerate(names) for b in names[i + 1 :]]
    best = [pair for pair in pairs if pair.a == names[0]]
    ranked = {name: results[name] for name in names}
    return Comparison(ranked, tuple(_adjusted(best)), tuple(_adjusted(pairs)), chosen)


def _adjusted(pairs: Sequence[Paired]) -> list[Paired]:
    tested = [pair for pair in pairs if pair.p is not None]
    adjusted = dict(zip(map(id, tested), holm([p.p for p in tested if p.p is not None]), strict=True))
    return [Paired(**{**asdict(pair), "p_holm": adjusted.get(id(pair))}) for pair in pairs]


def _too_few(pairs: Sequence[Paired]) -> list[str]:
    """Said where so few videos, with so many comparisons, cannot show any difference."""
    n_videos = min((pair.n_videos for pair in pairs if pair.p is not None), default=MOST_EXACT)
    least = 2.0 ** (1 - n_videos)
    if least * len(pairs) < ALPHA:
        return []
    return [
        f"{n_videos} videos are too few: the permutation test cannot go below p = {least:.3f}, so that after adjusting "
        f"for {len(pairs)} comparisons nothing can be told apart."
    ]


def _against(pair: Paired | None) -> tuple[str, str, str]:
    if pair is None:
        return "", "", ""
    return _interval(-pair.difference, pair.half_width), _p(pair.p), _p(pair.p_holm)


def _interval(value: float, half: float | None) -> str:
    return f"{100 * value:+.2f}" + ("" if half is None else f" ±{100 * half:.2f}")


def _p(p: float | None) -> str:
    if p is None:
        return "–"
    return "<0.001" if p < 0.001 else f"{p:.3f}"

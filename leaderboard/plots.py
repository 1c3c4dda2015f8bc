"""Plots for papers: differences between runs, J&F by kind, length, object size or any tag, J and F over frames.

Each function takes results and gives a matplotlib figure; ``save_plots`` writes all that apply as PDF or PNG.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from ..benchmarks.intervals import metric_interval
from ..benchmarks.protocols.base import Metric, UnitScore
from ..benchmarks.results import Result
from ..datasets.errors import RunError, UsageError
from ..datasets.statistics import size_percent
from ..datasets.types import RVOSDataset
from .statistics import paired

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

FORMATS = ("pdf", "png", "svg")
#: Number of groups of equal size that a quantity is split into.
N_GROUPS = 4
#: Frames of a sample that its object's size is measured on.
N_FRAMES = 8
_INK, _COLOURS = "#30343f", ("#2a6fdb", "#e07b16", "#19957c", "#c2388f", "#7a5bd0", "#8a8f3c")


def paired_differences(a: Result, b: Result, names: tuple[str, str]) -> Figure:
    """Mean difference of every video in the units' metric, sorted, with the overall difference and its interval."""
    pair = paired(a, b, names, a.unit_metric.name)
    theirs = {s.unit.key: b.rank(s) for s in b.scores}
    videos: dict[str, list[float]] = {}
    for score in a.scores:
        mine, other = a.rank(score), theirs.get(score.unit.key)
        if mine is not None and other is not None:
            videos.setdefault(score.unit.video_id, []).append(100 * (mine - other))
    means = np.sort([float(np.mean(values)) for values in videos.values()])
    figure, axes = _figure(5.0, 2.6)
    axes.bar(np.arange(len(means)), means, color=[_COLOURS[0] if m > 0 else _COLOURS[1] for m in means])
    axes.axhline(100 * pair.difference, color=_INK, linewidth=1)
    if pair.half_width is not None:
        low, high = (100 * (pair.difference + sign * pair.half_width) for sign in (-1, 1))
        axes.axhspan(low, high, color=_INK, alpha=0.15, linewidth=0)
    axes.set_xlabel(f"{len(means)} videos, sorted")
    axes.set_ylabel(f"difference in {pair.metric}")
    axes.set_title(str(pair), fontsize=7)
    return figure


def by_group(results: Mapping[str, Result], tag: str) -> Figure:
    """J&F with 95 % intervals by the values of a tag.

    Raises:
        UsageError: no run splits its samples by the tag.
    """
    groups = {name: result.groups().get(tag, {}) for name, result in results.items()}
    if not any(groups.values()):
        raise UsageError(f"No run splits its samples by '{tag}'.")
    return _bars(groups, f"by {tag}", _metric(results))


def by_length(results: Mapping[str, Result]) -> Figure:
    """J&F with 95 % intervals by the number of scored frames, in groups of about equal size."""
    groups = {name: _quarters(result, _length, "{:.0f}") for name, result in results.items()}
    return _bars(groups, "by frames", _metric(results))


def by_size(results: Mapping[str, Result], dataset: RVOSDataset) -> Figure:
    """J&F with 95 % intervals by the target's size in percent of the frame, mean over up to ``N_FRAMES`` frames."""
    keys = {s.unit.key for result in results.values() for s in result.scores}
    sizes = {sample.key: _size(dataset, sample.key) for sample in dataset if sample.key in keys}
    groups = {name: _quarters(result, lambda s: sizes.get(s.unit.key), "{:.2g}") for name, result in results.items()}
    return _bars(groups, "by object size in percent of the frame", _metric(results))


def over_time(results: Mapping[str, Result], key: str) -> Figure:
    """J (full line) and F (dashed) of every frame of one sample.

    Raises:
        UsageError: no run kept values per frame for it.
    """
    figure, axes = _figure(5.0, 2.6)
    shown = 0
    for i, (name, result) in enumerate(results.items()):
        score = next((s for s in result.scores if s.unit.key == key and s.frame_J), None)
        if score is not None:
            colour = _COLOURS[i % len(_COLOURS)]
            axes.plot(100 * np.asarray(score.frame_J), color=colour, label=name)
            axes.plot(100 * np.asarray(score.frame_F), color=colour, linestyle="--")
            shown += 1
    if not shown:
        raise UsageError(f"No run kept J and F per frame for '{key}'; score with rvos evaluate --per-frame.")
    axes.set_xlabel("scored frame")
    axes.set_ylabel("J (full), F (dashed)")
    axes.set_title(key, fontsize=8)
    axes.legend(fontsize=6, frameon=False)
    return figure


def save_plots(
    results: Mapping[str, Result],
    out: Path,
    form: str = "pdf",
    key: str | None = None,
    dataset: RVOSDataset | None = None,
) -> list[Path]:
    """Write every plot that applies to the runs.

    Args:
        results: by name.
        out: folder, made where it does not exist.
        form: one of ``FORMATS``.
        key: a sample whose frames are plotted too.
        dataset: what the runs were scored on; with it J&F is also plotted by object size.

    Raises:
        UsageError: an unknown format, or no values per frame for ``key``.
        RunError: the runs cannot be compared, or the folder cannot be written.
    """
    if form not in FORMATS:
        raise UsageError(f"Unknown format '{form}'; known: {', '.join(FORMATS)}.")
    written = []
    for name, figure in _all(results, key, dataset):
        path = out / f"{name}.{form}"
        try:
            out.mkdir(parents=True, exist_ok=True)
            figure.savefig(path, dpi=200)
        except OSError as error:
            raise RunError(f"{path} cannot be written: {error.strerror or error}; give another --out.") from error
        written.append(path)
    return written


def _all(results: Mapping[str, Result], key: str | None, dataset: RVOSDataset | None) -> Iterator[tuple[str, Figure]]:
    names = list(results)
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            yield f"difference-{_file(a)}-{_file(b)}", paired_differences(results[a], results[b], (a, b))
    for tag in dict.fromkeys(tag for result in results.values() for tag in result.groups()):
        yield f"by-{_file(tag)}", by_group(results, tag)
    yield "by-frames", by_length(results)
    if dataset is not None:
        yield "by-object-size", by_size(results, dataset)
    if key is not None:
        yield f"frames-{_file(key)}", over_time(results, key)


def _length(score: UnitScore) -> float:
    return score.n_frames


def _size(dataset: RVOSDataset, key: str) -> float | None:
    """None where the target is in no frame, or its masks are withheld."""
    truth = dataset.ground_truth(dataset.sample(key))
    return None if truth is None else size_percent(truth, N_FRAMES)


def _quarters(result: Result, quantity: Callable[[UnitScore], float | None], shown: str) -> dict[str, list[UnitScore]]:
    """Scores by a quantity, in up to ``N_GROUPS`` groups of about equal size, named by their least and greatest."""
    ranked = [s for s in result.scores if s.counted and result.rank(s) is not None]
    known = [(q, s) for s in ranked if (q := quantity(s)) is not None]
    if not known:
        return {}
    edges = np.unique(np.quantile([q for q, _ in known], np.linspace(0, 1, N_GROUPS + 1)))
    inside = np.searchsorted(edges[1:-1], [q for q, _ in known])
    found: dict[str, list[UnitScore]] = {}
    for group in np.unique(inside):
        members = [pair for pair, i in zip(known, inside, strict=True) if i == group]
        low, high = (shown.format(end) for end in (min(q for q, _ in members), max(q for q, _ in members)))
        found[low if low == high else f"{low}–{high}"] = [s for _, s in members]
    return found


def _metric(results: Mapping[str, Result]) -> Metric:
    return next(iter(results.values())).unit_metric


def _bars(groups: Mapping[str, Mapping[str, list[UnitScore]]], title: str, metric: Metric) -> Figure:
    """A group of bars for each value, a bar for each run."""
    values = list(dict.fromkeys(value for found in groups.values() for value in found))
    figure, axes = _figure(max(3.5, 0.5 + 0.8 * len(values)), 2.6)
    width = 0.8 / len(groups)
    for i, (name, found) in enumerate(groups.items()):
        intervals = [_interval(metric, found.get(value, [])) for value in values]
        at = np.arange(len(values)) + (i - (len(groups) - 1) / 2) * width
        heights, errors = [v for v, _ in intervals], [e for _, e in intervals]
        axes.bar(at, heights, width * 0.9, yerr=errors, color=_COLOURS[i % len(_COLOURS)], label=name, ecolor=_INK)
    axes.set_xticks(np.arange(len(values)), values, rotation=30, ha="right")
    axes.set_ylabel(metric.name)
    axes.set_title(title, fontsize=8)
    axes.legend(fontsize=6, frameon=False)
    return figure


def _interval(metric: Metric, scores: list[UnitScore]) -> tuple[float, float]:
    """The metric and half width in percent; no width where one video alone is there."""
    interval = metric_interval(metric, scores)
    return 100 * (interval.value or 0.0), 100 * (interval.half_width or 0.0)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    from matplotlib.figure import Figure as New

    figure = New(figsize=(width, height), layout="constrained")
    axes = figure.add_subplot()
    axes.spines[["top", "right"]].set_visible(False)
    axes.tick_params(labelsize=7)
    return figure, axes


def _file(name: str) -> str:
    return "".join(c if c.isalnum() or c in "._-" else "-" for c in name)

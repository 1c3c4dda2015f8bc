"""Where does a quoted number come from? One set of predictions under every rule that applies, beside the number."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import get_args

import numpy as np
from numpy.typing import NDArray

from ..benchmarks.evaluator import evaluate
from ..benchmarks.predictions import (
    ExpressionPredictions,
    Foreground,
    MergedPredictions,
    MergeRule,
    RunMasks,
    open_predictions,
)
from ..benchmarks.protocols import get_protocol, protocols_for
from ..benchmarks.protocols.base import Metric, Protocol, UnitScore
from ..benchmarks.results import Result, Table
from ..benchmarks.runs import Run, is_run
from ..datasets.errors import PredictionError, PredictionMissing, RvosError, UsageError
from ..datasets.registry import DATASETS, load
from ..datasets.types import BoolMask, RVOSDataset, Sample
from .literature import sources

#: Tried where the predictions hold grey values or scores.
THRESHOLDS = (0.1, 0.25, 0.5, 0.75)
_SOFT = ("soft-png", "soft-npz")
Predictions = ExpressionPredictions | MergedPredictions


@dataclass(frozen=True)
class Reading:
    """One way to score the predictions.

    Attributes:
        dataset: ``name/split``.
        protocol: its id.
        missing: what was done with what is missing.
        threshold: of grey values; ``–`` where there are none.
        averaged: over what; ``protocol`` is the protocol's own mean.
        merged: rule that made label maps; empty for protocols that score expressions.
        values: the protocol's metrics in percent, the one that ranks runs first; None where nothing was counted.
        n: units counted.
    """

    dataset: str
    protocol: str
    missing: str
    threshold: str
    averaged: str
    merged: str
    values: Mapping[str, float | None]
    n: int

    @property
    def headline(self) -> float | None:
        """The value of the first metric."""
        return next(iter(self.values.values()))


@dataclass(frozen=True)
class Explanation:
    """Every reading, the nearest to the quoted number first.

    Attributes:
        quoted: the number as it is printed; its digits say how far rounding goes.
        readings: all that apply.
        skipped: what could not be scored, with the reason.
        printed: where the same number stands in print for this dataset.
    """

    quoted: str
    readings: tuple[Reading, ...]
    skipped: tuple[str, ...]
    printed: tuple[str, ...]

    @property
    def matches(self) -> tuple[tuple[Reading, str], ...]:
        """Readings that round to the quoted number, with the metric that does."""
        return tuple((r, metric) for r in self.readings for metric, value in r.values.items() if self._fits(value))

    def _fits(self, value: float | None) -> bool:
        decimals = len(self.quoted.partition(".")[2])
        return value is not None and abs(value - float(self.quoted)) <= 0.5 * 10**-decimals + 1e-9

    def verdict(self) -> str:
        """One sentence."""
        if self.matches:
            found = "; ".join(dict.fromkeys(_words(reading, metric) for reading, metric in self.matches))
            return f"{self.quoted} is within rounding of {len(self.matches)} readings of these predictions: {found}."
        nearest = self.readings[0]
        value, metric = nearest.headline, next(iter(nearest.values))
        gap = "" if value is None else f": {value:.2f}, off by {value - float(self.quoted):+.2f}"
        return f"No reading of these predictions gives {self.quoted}. The nearest is {_words(nearest, metric)}{gap}."

    def table(self) -> Table:
        """A row per reading."""
        marked = {id(reading) for reading, _ in self.matches}
        metrics = tuple(dict.fromkeys(metric for reading in self.readings for metric in reading.values))
        head = (
            *("split", "protocol", "missing", "threshold", "averaged over", "merged by"),
            *(*metrics, "units", f"{metrics[0]} − {self.quoted}", ""),
        )
        rows = tuple(
            (
                *(r.dataset, r.protocol, r.missing, r.threshold, r.averaged, r.merged or "–"),
                *(*(_shown(r.values.get(metric)) for metric in metrics), str(r.n), self._gap(r)),
                "matches" if id(r) in marked else "",
            )
            for r in self.readings
        )
        return Table("", head, rows)

    def _gap(self, reading: Reading) -> str:
        return "–" if reading.headline is None else f"{reading.headline - float(self.quoted):+.2f}"

    def differences(self) -> list[str]:
        """What each protocol does, one line each."""
        ids = dict.fromkeys(reading.protocol for reading in self.readings)
        return [f"{name}: {get_protocol(name).words}" for name in ids]

    def __str__(self) -> str:
        notes = [*self.differences(), *self.printed, *self.skipped]
        return "\n\n".join([self.verdict(), self.table().to_text(), "\n".join(notes)])

    def to_markdown(self) -> str:
        """One page."""
        parts = [f"# Where does {self.quoted} come from?", self.verdict(), self.table().to_markdown()]
        sections = (
            ("What the protocols do", self.differences()),
            ("The same number in print", self.printed),
            ("Not scored", self.skipped),
        )
        for title, lines in sections:
            parts += [f"## {title}", "\n".join(f"- {line}" for line in lines)] if lines else []
        return "\n\n".join(parts) + "\n"

    def to_json(self) -> str:
        """``{"quoted", "verdict", "readings", "matches", "printed", "skipped"}``; values in percent."""
        content = {
            "quoted": self.quoted,
            "verdict": self.verdict(),
            "readings": [asdict(r) for r in self.readings],
            "matches": [{**asdict(r), "metric": metric} for r, metric in self.matches],
            "printed": list(self.printed),
            "skipped": list(self.skipped),
        }
        return json.dumps(content, indent=1, ensure_ascii=False) + "\n"


def explain(
    predictions: str | os.PathLike[str],
    against: str | float,
    dataset: str | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    thresholds: Sequence[float] = THRESHOLDS,
    workers: int | None = None,
) -> Explanation:
    """Score predictions under every protocol, missing rule, threshold and split that applies.

    Args:
        predictions: a run, or a folder, zip or RLE file in any layout.
        against: the quoted number in percent, with the digits that are printed (``"64.8"``).
        dataset: ``name/split``; a run knows its own.
        root: the dataset's folder.
        thresholds: tried where the predictions hold grey values or scores.
        workers: processes.

    Raises:
        UsageError: a number that is none, or no dataset.
        RvosError: data or predictions that cannot be opened.
    """
    quoted = _number(against)
    path = Path(predictions)
    data = _dataset(path, dataset, root)
    readings: list[Reading] = []
    skipped: list[str] = []
    for split in _splits(path, data):
        for threshold in _thresholds(path, split, thresholds):
            opened = _open(path, split, threshold)
            if split is not data and not _answers(opened, split):
                continue
            for protocol in protocols_for(split):
                for rule in _rules(protocol, opened):
                    found, reason = _scored(opened, split, protocol, rule, threshold, workers)
                    readings += found
                    skipped += [reason] if reason else []
    if not readings:
        raise UsageError(f"{path} cannot be scored: {skipped[0] if skipped else 'no protocol applies'}")
    ordered = sorted(readings, key=lambda r: _distance(r, quoted))
    return Explanation(quoted, tuple(ordered), tuple(dict.fromkeys(skipped)), tuple(_printed(quoted, data)))


# Readings -------------------------------------------------------------------------------------------------------------


def _scored(
    predictions: Predictions,
    dataset: RVOSDataset,
    protocol: Protocol,
    rule: MergeRule | None,
    threshold: float | None,
    workers: int | None,
) -> tuple[list[Reading], str]:
    """The readings of one protocol, and why there are none."""
    shared = (dataset.id, protocol.id, "–" if threshold is None else f"{threshold:g}", rule or "")
    try:
        result = _evaluate(predictions, dataset, protocol, rule, workers)
        readings = list(_means(result, *shared))
        if result.missing() and isinstance(predictions, ExpressionPredictions):
            filled = _evaluate(EmptyWhereMissing(predictions), dataset, protocol, rule, workers)
            readings.append(_own(filled, "an empty mask", *shared))
    except RvosError as error:
        return [], f"{protocol.id}{f', {rule}' if rule else ''}: {error}"
    return readings, ""


def _evaluate(
    predictions: Predictions,
    dataset: RVOSDataset,
    protocol: Protocol,
    rule: MergeRule | None,
    workers: int | None,
) -> Result:
    result = evaluate(predictions, dataset, protocol=protocol, merge_rule=rule, workers=workers)
    assert isinstance(result, Result)
    return result


def _means(result: Result, dataset: str, protocol: str, threshold: str, merged: str) -> Iterator[Reading]:
    """The protocol's own mean; where they differ from it, means over what is there and over videos."""
    shared = (dataset, protocol, threshold, merged)
    own = _own(result, "0" if result.protocol.strict else "the script's rule", *shared)
    yield own
    counted = [s for s in result.scores if s.counted and s.J is not None]
    there = [s for s in counted if s.status == "ok"]
    if there and len(there) < len(counted):
        yield _over(there, result.metrics, "left out", "units", *shared)
    by_video: dict[str, list[UnitScore]] = {}
    for score in counted:
        by_video.setdefault(score.unit.video_id, []).append(score)
    if len({len(scores) for scores in by_video.values()}) > 1:
        yield _by_video(by_video, result.metrics, own)


def _own(result: Result, missing: str, dataset: str, protocol: str, threshold: str, merged: str) -> Reading:
    values = {metric.name: _percent(result.value(metric.name)) for metric in result.metrics}
    n = result.summary.n_counted
    return Reading(dataset, protocol, missing, threshold, "protocol", merged, values, n)


def _over(scores: Sequence[UnitScore], metrics: Sequence[Metric], missing: str, averaged: str, *shared: str) -> Reading:
    dataset, protocol, threshold, merged = shared
    values = {metric.name: _percent(metric.mean(scores)) for metric in metrics}
    return Reading(dataset, protocol, missing, threshold, averaged, merged, values, len(scores))


def _by_video(by_video: dict[str, list[UnitScore]], metrics: Sequence[Metric], own: Reading) -> Reading:
    values = {}
    for metric in metrics:
        means = [mean for scores in by_video.values() if (mean := metric.mean(scores)) is not None]
        values[metric.name] = 100 * float(np.mean(means)) if means else None
    return replace(own, averaged="videos", values=values)


@dataclass(frozen=True)
class EmptyWhereMissing:
    """Predictions in which a missing mask is an empty one, as in scripts that start from zeros."""

    inner: ExpressionPredictions

    @property
    def layout(self) -> str:
        return self.inner.layout

    @property
    def path(self) -> Path:
        return self.inner.path

    def mask(self, sample: Sample, frame_name: str, foreground: Foreground) -> BoolMask:
        """bool (H, W). Raises PredictionInvalid."""
        try:
            return self.inner.mask(sample, frame_name, foreground)
        except PredictionMissing:
            return np.zeros(sample.video.size, bool)

    def scores(self, sample: Sample, frame_name: str) -> NDArray[np.float32] | None:
        """float32 (H, W) where the files hold scores."""
        try:
            return self.inner.scores(sample, frame_name)
        except PredictionMissing:
            return np.zeros(sample.video.size, np.float32)

    def frame_names(self, sample: Sample) -> list[str] | None:
        """All of the video's."""
        return sorted(sample.video.frame_names)


# What was given -------------------------------------------------------------------------------------------------------


def _number(against: str | float) -> str:
    text = str(against).strip().removesuffix("%").strip()
    try:
        value = float(text)
    except ValueError:
        value = -1.0
    if not 0 <= value <= 100:
        raise UsageError(f"'{against}' is no score in percent; give the number as it is printed, e.g. 64.8.")
    return text


def _dataset(path: Path, dataset: str | None, root: str | os.PathLike[str] | None) -> RVOSDataset:
    if dataset is not None:
        return load(dataset, root=root)
    if not is_run(path):
        raise UsageError(f"Which dataset does {path} answer? Give it as name/split, e.g. ref-davis17/valid.")
    made_on = Run.open(path).record.dataset
    return load(made_on.id, root=root or made_on.root)


def _splits(path: Path, dataset: RVOSDataset) -> Iterator[RVOSDataset]:
    """The split itself, then the others of the dataset that lie in the same folder and have ground truth."""
    yield dataset
    entry = DATASETS.get(dataset.name)
    if entry is None or entry.generated or is_run(path):
        return
    for name in entry.splits:
        if name == dataset.split:
            continue
        try:
            other = load(f"{dataset.name}/{name}", root=dataset.root)
        except RvosError:
            continue  # the user has only some of the splits
        if other.ground_truth(other[0]) is not None:
            yield other


def _thresholds(path: Path, dataset: RVOSDataset, thresholds: Sequence[float]) -> tuple[float | None, ...]:
    return (None, *thresholds) if _open(path, dataset, None).layout in _SOFT else (None,)


def _open(path: Path, dataset: RVOSDataset, threshold: float | None) -> Predictions:
    if not is_run(path):
        return open_predictions(path, dataset, threshold=threshold)
    run = Run.open(path)
    if run.masks.is_dir():
        return RunMasks(run.masks)
    if run.record.predictions is None:
        raise UsageError(f"{path} holds neither masks nor scores; predict first.")
    return open_predictions(run.record.predictions.path, dataset, threshold=run.record.predictions.threshold)


def _answers(predictions: Predictions, dataset: RVOSDataset) -> bool:
    """Whether any sentence of the split is answered."""
    if not isinstance(predictions, ExpressionPredictions):
        return False
    try:
        return any(predictions.frame_names(sample) for sample in dataset)
    except PredictionError:
        return False


def _rules(protocol: Protocol, predictions: Predictions) -> tuple[MergeRule | None, ...]:
    """Rules that can merge these masks into label maps: the soft one needs scores, the others masks."""
    if not (protocol.merged and isinstance(predictions, ExpressionPredictions)):
        return (None,)
    rules: tuple[MergeRule, ...] = get_args(MergeRule)
    soft = predictions.layout in _SOFT
    return tuple(rule for rule in rules if rule.startswith("soft") == soft)


def _printed(quoted: str, dataset: RVOSDataset) -> Iterator[str]:
    """Published numbers of the dataset that are the quoted one."""
    for source in sources().values():
        for row in source.rows:
            if row.dataset != dataset.name:
                continue
            for metric, value in row.metrics.items():
                if value == float(quoted):
                    yield f"{row.name}, {row.place}: {metric} {quoted}, {source.where(row)}, protocol: {row.protocol}"


def _distance(reading: Reading, quoted: str) -> float:
    return float("inf") if reading.headline is None else abs(reading.headline - float(quoted))


def _words(reading: Reading, metric: str) -> str:
    parts = [f"{metric} under {reading.protocol} on {reading.dataset}", f"missing: {reading.missing}"]
    parts += [f"threshold {reading.threshold}"] if reading.threshold != "–" else []
    parts += [f"mean over {reading.averaged}"] if reading.averaged != "protocol" else []
    parts += [f"merged by {reading.merged}"] if reading.merged else []
    return ", ".join(parts)


def _percent(value: float | None) -> float | None:
    return None if value is None else 100 * value


def _shown(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f}"

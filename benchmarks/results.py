"""A result: the scores of one predictor on one dataset under one protocol, and the ways to look at it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .intervals import Interval, metric_interval
from .protocols.base import STATUSES, Metric, UnitScore, unit_metric
from .runs import DatasetRecord, ProtocolRecord, Run, RunRecord, SampleLine, SummaryRecord, ValueRecord

if TYPE_CHECKING:
    import pandas

#: A tag is broken down where it takes at least two and at most this many values.
MOST_GROUPS = 12
#: So many lines of what is missing are printed; ``Result.missing`` has them all.
MOST_LISTED = 10


@dataclass(frozen=True)
class Table:
    """A table as text: a title, a header and rows of equal length."""

    title: str
    header: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]

    def to_text(self) -> str:
        """Aligned columns, the first to the left and the others to the right."""
        lines = [self.header, *self.rows]
        widths = [max(len(line[i]) for line in lines) for i in range(len(self.header))]
        body = [
            "  ".join(_pad(cell, w, i) for i, (cell, w) in enumerate(zip(line, widths, strict=True))) for line in lines
        ]
        return "\n".join(line.rstrip() for line in ([self.title] if self.title else []) + body)

    def to_markdown(self) -> str:
        """A GitHub table below its title."""
        head = [f"**{_escaped(self.title)}**\n"] if self.title else []
        rule = "|".join([":---"] + ["---:"] * (len(self.header) - 1))
        body = [" | ".join(_escaped(cell) for cell in row) for row in (self.header, *self.rows)]
        return "\n".join([*head, f"| {body[0]} |", f"|{rule}|", *(f"| {row} |" for row in body[1:])])


@dataclass(frozen=True)
class Result:
    """What ``evaluate`` gives.

    Attributes:
        record: the contents of ``run.json``: protocol, dataset, predictions, summary.
        scores: one per unit, in the protocol's order; J and F are 0-1.
        path: the run folder; None where none was written.
    """

    record: RunRecord
    scores: tuple[UnitScore, ...]
    path: Path | None = None

    @classmethod
    def of_run(cls, run: Run) -> Result:
        """The result that a run folder holds. Raises RunError where it was not scored."""
        from ..datasets.errors import RunError

        if run.record.protocol is None or run.record.summary is None:
            raise RunError(f"{run.path} holds no finished scores ({run.record.status}); run: rvos evaluate --resume.")
        return cls(run.record, tuple(run.scores()), run.path)

    # Values -------------------------------------------------------------------------------------------------------

    @property
    def protocol(self) -> ProtocolRecord:
        """The protocol that made the scores."""
        assert self.record.protocol is not None
        return self.record.protocol

    @property
    def dataset(self) -> DatasetRecord:
        """The data that was scored."""
        return self.record.dataset

    @property
    def summary(self) -> SummaryRecord:
        """The protocol's means, 0-1, with intervals, and counts per status."""
        assert self.record.summary is not None
        return self.record.summary

    @property
    def metrics(self) -> tuple[Metric, ...]:
        """What the protocol reports; runs are ranked by the first."""
        return self.protocol.metrics

    def value(self, metric: str) -> float | None:
        """The value of a metric, 0-1; None where nothing was counted, or the protocol does not report it."""
        return self.summary.value(metric).value

    @property
    def headline(self) -> ValueRecord:
        """What runs are ranked by, with its interval."""
        return self.summary.value(self.metrics[0].name)

    @property
    def J_and_F(self) -> float | None:
        """Mean of J and F, 0-1; None where nothing was counted, or the protocol reports no F."""
        return self.value("J&F")

    @property
    def J(self) -> float | None:
        """Region similarity, 0-1."""
        return self.value("J")

    @property
    def F(self) -> float | None:
        """Contour accuracy, 0-1."""
        return self.value("F")

    @property
    def unit_metric(self) -> Metric:
        """The metric by which units are ranked."""
        return unit_metric(self.metrics)

    def rank(self, score: UnitScore) -> float | None:
        """The value by which units are ranked, 0-1: the J&F of a unit, or what the protocol reports in its place."""
        return score.value(self.unit_metric.of)

    @property
    def complete(self) -> bool:
        """Whether nothing that the protocol expects is missing, invalid or failed."""
        return not self.missing()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Why this number may mislead, one line each."""
        partial = [] if self.record.limit is None else [f"Partial run: {self.record.extent}."]
        notes = self.record.predictions.notes if self.record.predictions else []
        return (*partial, *notes, *self.summary.warnings)

    def missing(self) -> list[UnitScore]:
        """Units whose predictions are missing, invalid or failed, wholly or (flag ``partial``) in some frames."""
        return [s for s in self.scores if s.status in ("missing", "invalid", "failed") or "partial" in s.flags]

    def worst(self, n: int = 10) -> list[UnitScore]:
        """The ``n`` counted units of lowest rank, the lowest first."""
        scored = [s for s in self.scores if self.rank(s) is not None and s.counted]
        return sorted(scored, key=lambda s: (self.rank(s), s.unit.key))[:n]

    def groups(self) -> dict[str, dict[str, list[UnitScore]]]:
        """Counted units by tag and the tag's value, for every tag that splits them into a readable number of groups."""
        counted = [s for s in self.scores if s.counted and self.rank(s) is not None]
        names = dict.fromkeys(name for s in counted for name in s.unit.tags)
        tables = {name: _grouped(counted, name) for name in names}
        most = min(MOST_GROUPS, len(counted) // 2)  # a tag that names single units groups nothing
        return {name: groups for name, groups in tables.items() if 2 <= len(groups) <= most}

    # Forms --------------------------------------------------------------------------------------------------------

    def tables(self) -> list[Table]:
        """The result as tables: the score, counts per status, what else the protocol reports, break-downs."""
        breakdowns = [_breakdown(name, groups, self.metrics) for name, groups in self.groups().items()]
        return [self._score_table(), self._count_table(), *self._extras_tables(), *breakdowns]

    def head(self) -> list[str]:
        """What was scored, one line each; the first is the protocol in words."""
        record = self.record
        lines = [
            f"{self.protocol.id}: {self.protocol.words}",
            f"Data: {self.dataset.id}, version {self.dataset.version}, "
            f"{self.dataset.n_samples} samples in {self.dataset.n_videos} videos",
        ]
        if record.predictions:
            rule = f", merged by {record.predictions.merge_rule}" if record.predictions.merge_rule else ""
            lines.append(f"Predictions: {record.predictions.path} ({record.predictions.layout}{rule})")
        if record.predictor:
            lines.append(f"Predictor: {record.predictor.name}")
        return lines

    def remarks(self) -> list[str]:
        """Stamps, warnings and what is missing, one line each."""
        lines = [*self.summary.stamps, *(f"Warning: {w}" for w in self.warnings)]
        incomplete = self.missing()
        if incomplete:
            lines.append(f"{len(incomplete)} of {len(self.scores)} units are incomplete:")
            lines += [f"  {s.unit.key}: {_state(s)}" for s in incomplete[:MOST_LISTED]]
            rest = len(incomplete) - MOST_LISTED
            lines += [f"  and {rest} more, see samples.jsonl"] if rest > 0 else []
        return lines

    def tail(self) -> list[str]:
        """The remarks; the last line is the run folder."""
        return self.remarks() + ([f"Run: {self.path}"] if self.path else [])

    def __str__(self) -> str:
        tables = [table.to_text() for table in self.tables()]
        return "\n\n".join(["\n".join(self.head()), *tables, *(["\n".join(self.tail())] if self.tail() else [])])

    def to_markdown(self) -> str:
        """The same as Markdown."""
        tables = [table.to_markdown() for table in self.tables()]
        tail = "\n".join(f"- {_escaped(line.strip())}" for line in self.tail())
        return "\n\n".join(["  \n".join(_escaped(line) for line in self.head()), *tables, tail]).strip() + "\n"

    def to_json(self) -> str:
        """``run.json`` as it is written into the run folder, with the folder's path under ``path``."""
        data = json.loads(self.record.model_dump_json(by_alias=True))
        return json.dumps({"path": None if self.path is None else str(self.path), **data}, indent=2, ensure_ascii=False)

    def to_csv(self) -> str:
        """A line per unit: key, status, J, F and the tags; values in full float64 digits, empty where there is none."""
        return csv_of([self])

    def to_frame(self) -> pandas.DataFrame:
        """A row per unit, with the columns of ``to_csv``."""
        import pandas

        return pandas.DataFrame([_flat(self, score) for score in self.scores])

    # Tables -------------------------------------------------------------------------------------------------------

    def _score_table(self) -> Table:
        summary, names = self.summary, [metric.name for metric in self.metrics]
        rows = [("score", *self.cells(), str(summary.n_counted))]
        for name, bound in (("ceiling", summary.ceiling), ("floor", summary.floor)):
            if bound is not None:
                rows.append((name, *(percent(bound.get(key)) for key in names), str(summary.n_counted)))
        return Table("", ("", *names, "n"), tuple(rows))

    def cells(self, names: Iterable[str] | None = None) -> list[str]:
        """The metrics' values as they are shown, with their intervals; a dash for what the protocol does not report.

        Args:
            names: of the metrics, all of the protocol by default.
        """
        wanted = [metric.name for metric in self.metrics] if names is None else names
        return [shown(self.summary.value(name)) for name in wanted]

    def _count_table(self) -> Table:
        counts = [str(self.summary.counts.get(status, 0)) for status in STATUSES]
        partial = sum("partial" in s.flags for s in self.scores)
        return Table("", ("status", *STATUSES, "partial"), (("units", *counts, str(partial)),))

    def _extras_tables(self) -> Iterator[Table]:
        """What else the protocol reports: names as columns; ``part/name`` in a row of its own part."""
        parts: dict[str, dict[str, float | None]] = {}
        for name, value in self.summary.extras.items():
            part, _, column = name.rpartition("/")
            parts.setdefault(part, {})[column] = value
        columns = list(dict.fromkeys(c for values in parts.values() for c in values))
        rows = [(part or "all", *(percent(values.get(c)) for c in columns)) for part, values in parts.items()]
        if rows:
            yield Table("", ("also", *columns), tuple(rows))


def percent(value: float | None) -> str:
    """A score 0-1 as it is shown: times 100, two decimals; a dash for None."""
    return "–" if value is None else f"{100 * value:.2f}"


def shown(value: ValueRecord | Interval) -> str:
    """A score with its interval, e.g. ``64.81 ±1.23``."""
    half = "" if value.half_width is None else f" ±{100 * value.half_width:.2f}"
    return percent(value.value) + half


def rows_of(results: Iterable[Result], names: Sequence[str]) -> Table:
    """One row per result: name, metrics, units; all under one protocol, which the title names."""
    results = list(results)
    metrics = metric_names(results)
    rows = tuple((name, *r.cells(metrics), str(r.summary.n_counted)) for name, r in zip(names, results, strict=True))
    titles = dict.fromkeys(f"{r.protocol.id} on {r.dataset.id}" for r in results)
    return Table("; ".join(titles), ("predictor", *metrics, "n"), rows)


def side_by_side(results: Sequence[Result]) -> Table:
    """One row per protocol that scored the same predictions."""
    metrics = metric_names(results)
    rows = tuple((r.protocol.id, *r.cells(metrics), str(r.summary.n_counted)) for r in results)
    return Table("", ("protocol", *metrics, "n"), rows)


def metric_names(results: Iterable[Result]) -> tuple[str, ...]:
    """The metrics that the results report, in the order of their first."""
    return tuple(dict.fromkeys(metric.name for result in results for metric in result.metrics))


def csv_of(results: Iterable[Result]) -> str:
    """The units of one or several results as CSV, see ``Result.to_csv``."""
    rows = [_flat(result, score) for result in results for score in result.scores]
    out = io.StringIO()
    writer = csv.DictWriter(out, list(dict.fromkeys(name for row in rows for name in row)), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return out.getvalue()


def _grouped(scores: Sequence[UnitScore], tag: str) -> dict[str, list[UnitScore]]:
    groups: dict[str, list[UnitScore]] = {}
    for score in scores:
        if tag in score.unit.tags:
            groups.setdefault(str(score.unit.tags[tag]), []).append(score)
    return dict(sorted(groups.items()))


def _breakdown(name: str, groups: dict[str, list[UnitScore]], metrics: Sequence[Metric]) -> Table:
    first, *others = [metric for metric in metrics if not metric.composite]
    rows = []
    for value, scores in groups.items():
        means = [percent(metric.mean(scores)) for metric in others]
        rows.append((value, shown(metric_interval(first, scores)), *means, str(len(scores))))
    return Table("", (f"by {name}", first.name, *(metric.name for metric in others), "n"), tuple(rows))


def _flat(result: Result, score: UnitScore) -> dict[str, Any]:
    line = SampleLine.of(score).model_dump(exclude={"frame_names", "frame_J", "frame_F"})
    tags, extras = line.pop("tags"), line.pop("extras")
    line["object_ids"], line["flags"] = " ".join(line["object_ids"]), " ".join(line["flags"])
    line = {"protocol": result.protocol.id, **line}
    return {**line, "J&F": score.J_and_F, **extras, **{f"tag:{name}": value for name, value in tags.items()}}


def _state(score: UnitScore) -> str:
    word = score.status if score.status != "ok" else "partial"
    return f"{word}, {score.reason}" if score.reason else word


def _pad(cell: str, width: int, column: int) -> str:
    return cell.ljust(width) if column == 0 else cell.rjust(width)


def _escaped(text: str) -> str:
    return text.replace("|", "\\|")

"""A paper's tables as printed, with what was measured beside it, and what it takes to measure the rest.

A measured value enters a cell only where dataset, split, version of the data and protocol are those of the cell. What
does not fit is listed with the reason: a valid_u score is never put into a valid column.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

from ..benchmarks.results import Result
from ..datasets.errors import UnknownNameError, UsageError
from .contamination import contamination
from .findings import Finding, findings_of
from .literature import Row, load_source, sources
from .opening import RunLike, open_result

#: What reproducing a cell meets, the plainest obstacle first.
STATES = {
    "server only": "the ground truth is on a server",
    "data changed since": "the released data are no longer those of the paper",
    "local ground truth only": "scored locally with masks that became public later; the server is closed",
    "weights absent": "no weights of this row are released, or rvos does not run them: score masks where you have them",
    "reproducible": "data, ground truth, weights and code are public",
}

#: Papers whose tables can be reproduced.
PAPERS = ("videolisa",)


@dataclass(frozen=True)
class Place:
    """A dataset and split of a table.

    Attributes:
        id: as published rows name it.
        dataset: what ``rvos.load`` calls it.
        title: column heading.
        protocols: under which a run is comparable; the first is the one to use.
        version: of the data that the table is about; None where any will do.
        states: what holds for every cell.
        measured_title: heading of the measured columns.
        note: one sentence on the data.
        metrics: what is measured; the first has a column of differences.
        folder: where the commands say that the data lie, below ``data``; the dataset's name where empty.
    """

    id: str
    dataset: str
    title: str
    protocols: tuple[str, ...] = ()
    version: str | None = None
    states: tuple[str, ...] = ()
    measured_title: str = "measured"
    note: str = ""
    metrics: tuple[str, ...] = ("J&F", "J", "F")
    folder: str = ""

    @property
    def root(self) -> str:
        """The ``--root`` of the commands."""
        return f"data/{self.folder or self.dataset.split('/')[0]}"


def _reason_seg(published: str, split: str) -> Place:
    return Place(
        f"reasonseg/{published}",
        f"reasonseg/{split}",
        f"ReasonSeg {published}",
        ("reasonseg@1", "reasonseg@videolisa"),
        note="VideoLISA's script counts every copy of an image, as reasonseg@videolisa does, and on several GPUs also "
        "repeats some images.",
        metrics=("gIoU", "cIoU"),
    )


def _ref_coco(name: str, published: str, split: str) -> Place:
    title = name.replace("refcoco", "refCOCO")
    protocols = ("refcoco@1", "refcoco@videolisa")
    dataset = f"{name}/{split}"
    return Place(
        f"{name}/{published}", dataset, f"{title} {published}", protocols, metrics=("cIoU",), folder="refer_seg"
    )


_HUNGARIAN = ("davis17-hungarian-4ann@1", "davis17-hungarian-4ann@referformer")
_PLACES = {
    "ref-davis17/valid": Place("ref-davis17/valid", "ref-davis17/valid", "Ref-DAVIS-17 valid", _HUNGARIAN),
    "ref-youtube-vos/valid": Place(
        "ref-youtube-vos/valid",
        "ref-youtube-vos/valid",
        "Ref-YouTube-VOS valid",
        ("ref-youtube-vos@1",),
        states=("local ground truth only",),
        measured_title="measured locally",
        note="The paper's values are a server's. That local values equal them has not been shown.",
    ),
    "mevis/valid": Place(
        "mevis/valid",
        "mevis/valid",
        "MeViS valid",
        states=("server only",),
        note="Upload the masks to https://www.codabench.org/competitions/11420/, which scores version 2 of the "
        "annotations; the server of version 1 is being closed.",
    ),
    "mevis/valid_u": Place(
        "mevis/valid_u", "mevis/valid_u", "MeViS valid_u", ("mevis@1", "mevis@videolisa", "mevis@official"), "v1"
    ),
    "reasonvos/test": Place(
        "reasonvos/test",
        "reasonvos",
        "ReasonVOS",
        ("reasonvos@1", "reasonvos@official"),
        states=("data changed since",),
        measured_title="measured, data of 2024-12-27",
        note="The files were replaced on 2024-12-27, after the paper. A run's fingerprint tells which were used.",
    ),
}
_PLACES |= {
    place.id: place
    for place in (
        _reason_seg("val", "val"),
        _reason_seg("test", "test"),
        _reason_seg("test/short query", "test-short"),
        _reason_seg("test/long query", "test-long"),
        *(_ref_coco(name, part, part) for name in ("refcoco", "refcoco+") for part in ("val", "testA", "testB")),
        _ref_coco("refcocog", "val(U)", "val"),
        _ref_coco("refcocog", "test(U)", "test"),
    )
}

_WEIGHTS = "ZechenBai/VideoLISA-3.8B"


@dataclass(frozen=True)
class Measured:
    """What a run measured for a cell.

    Attributes:
        values: the protocol's metrics in percent; half_widths: of their 95 % intervals.
        protocol: its id.
        data: version and start of the fingerprint.
        coverage: how many units were scored, of how many, over how much of the data.
        complete: the run covers the whole split and nothing is missing.
        notes: warnings of the run.
        path: the run.
    """

    values: Mapping[str, float | None]
    half_widths: Mapping[str, float | None]
    protocol: str
    data: str
    coverage: str
    complete: bool
    notes: tuple[str, ...]
    path: str


@dataclass(frozen=True)
class Cell:
    """One method on one split.

    Attributes:
        row: as published; None for a run that no row of the table is about.
        place: the split.
        measured: None where no run was given for it.
        states: keys of ``STATES``.
        commands: what fills the cell, one shell command each; empty where nothing can.
        flags: what is odd about the published values, one sentence each.
        notes: what else a reader must know.
    """

    row: Row | None
    place: Place
    measured: Measured | None = None
    states: tuple[str, ...] = ()
    commands: tuple[str, ...] = ()
    flags: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def metrics(self) -> Mapping[str, float | None]:
        return self.row.metrics if self.row else {}

    def difference(self, metric: str) -> float | None:
        """Measured minus published, in points; None where either is absent or the run is not complete."""
        published = self.metrics.get(metric)
        measured = self.measured.values.get(metric) if self.measured and self.measured.complete else None
        return None if published is None or measured is None else measured - published


@dataclass(frozen=True)
class Line:
    """A row of the table: its first columns, and a cell per place."""

    stub: tuple[str, ...]
    group: str
    cells: Mapping[str, Cell]


@dataclass(frozen=True)
class PaperTable:
    """A table of a paper with what was measured.

    Attributes:
        paper, name, title: e.g. ``videolisa``, ``Table 2``, ``MeViS benchmark``.
        source: where it is printed; url: its address.
        stub: headings of the first columns.
        places: the splits; metrics: the published metrics of each.
        lines: published rows in print order, then runs of further predictors.
        notes: on the table as a whole.
        refused: runs that fit no cell, with the reason.
    """

    paper: str
    name: str
    title: str
    source: str
    url: str
    stub: tuple[str, ...]
    places: tuple[Place, ...]
    metrics: Mapping[str, tuple[str, ...]]
    lines: tuple[Line, ...]
    notes: tuple[str, ...] = ()
    refused: tuple[str, ...] = field(default=())

    def cells(self) -> list[tuple[Line, Cell]]:
        """Every cell with its line, in print order."""
        return [(line, line.cells[p.id]) for line in self.lines for p in self.places if p.id in line.cells]

    def render(self, form: str = "text") -> str:
        """The table as ``text``, ``markdown``, ``latex``, ``html``, ``csv`` or ``json``. Raises UnknownNameError."""
        from .reproduction_formats import FORMATS

        if form not in FORMATS:
            raise UnknownNameError("format", form, FORMATS)
        return FORMATS[form](self)

    def __str__(self) -> str:
        return self.render("text")


def reproduce(paper: str, table: int | str, runs: Sequence[RunLike] = ()) -> PaperTable:
    """A printed table with measured values beside the published ones.

    Args:
        paper: ``videolisa``.
        table: its number, 1 to 10.
        runs: run folders, or results. ``LABEL=RUN`` puts a run into the row of that label, e.g.
            ``VideoLISA-3.8B (Post-optimization)=runs/post``. Without a label a run of the released VideoLISA weights
            goes to its row and any other gets a row of its own.

    Raises:
        UnknownNameError: no such paper, table or label.
        RunError: a folder that is no scored run.
    """
    if paper not in PAPERS:
        raise UnknownNameError("paper", paper, PAPERS)
    source = load_source(paper)
    name = table if isinstance(table, str) and table.startswith("Table") else f"Table {table}"
    rows = source.table(name)
    places = tuple(_place(place) for place in dict.fromkeys(row.place for row in rows))
    lines = _lines(rows, places, _findings(paper), int(re.sub(r"\D", "", name) or 0))
    lines, refused = _with_runs(lines, places, [_opened(run) for run in runs])
    head = source.tables[name]
    about = [flag.text for flag in source.flags if flag.table == name and not flag.rows and not flag.methods]
    return PaperTable(
        paper,
        name,
        head.title,
        source.source,
        source.url,
        _stub_heads(rows),
        places,
        {p.id: tuple(next(r for r in rows if r.place == p.id).metrics) for p in places},
        tuple(lines),
        (*head.notes, *about, *(p.note for p in places if p.note)),
        tuple(refused),
    )


# As printed -----------------------------------------------------------------------------------------------------------


def _lines(rows: Sequence[Row], places: Sequence[Place], findings: Sequence[Finding], number: int) -> list[Line]:
    by_row: dict[int, list[Row]] = {}
    for row in rows:
        by_row.setdefault(row.row or 0, []).append(row)
    lines = []
    for same in by_row.values():
        cells = {row.place: _cell(row, _place(row.place), findings, number) for row in same}
        lines.append(Line(_stub(same[0], rows), same[0].group, cells))
    return lines


def _stub_heads(rows: Sequence[Row]) -> tuple[str, ...]:
    if any(row.ticks for row in rows):
        return tuple(dict.fromkeys(tick for row in rows for tick in row.ticks))
    return ("Method", "Year") if any(row.year for row in rows) else ("Method",)


def _stub(row: Row, rows: Sequence[Row]) -> tuple[str, ...]:
    heads = _stub_heads(rows)
    if row.ticks:
        return tuple("✓" if head in row.ticks else "" for head in heads)
    return (row.label, str(row.year or "")) if len(heads) == 2 else (row.label,)


def _cell(row: Row, place: Place, findings: Sequence[Finding], number: int) -> Cell:
    states = _states(row, place)
    about = [f.text for f in findings if f.row is row]
    table_flags = {flag.text for flag in load_source("videolisa").flags if not flag.rows and not flag.methods}
    flags = tuple(dict.fromkeys(text for text in about if text not in table_flags))
    notes = tuple(contamination().of(row.method, place.id)) + ((row.notes,) if row.notes else ())
    return Cell(row, place, None, states, _commands(row, place, states, number), flags, notes)


def _states(row: Row, place: Place) -> tuple[str, ...]:
    states = (*place.states, *(() if _released(row) else ("weights absent",)))
    return states or ("reproducible",)


def _released(row: Row) -> bool:
    """Whether the released VideoLISA weights, as rvos runs them, are what the row is about."""
    final = row.table in ("Table 1", "Table 2", "Table 3", "Table 4", "Table 7")
    return final and row.method.startswith("VideoLISA") and row.variant in ("", "One-Token-Seg-All")


def _commands(row: Row, place: Place, states: Sequence[str], number: int) -> tuple[str, ...]:
    """The commands that fill the cell, each complete in itself."""
    named = f"{row.label}-{place.dataset}".lower().replace("+/", "-plus/")
    slug = re.sub(r"[^a-z0-9.]+", "-", named).strip("-")
    root, run = f"--root {place.root}", f"runs/{slug}"
    if not place.protocols:
        return (f"rvos predict videolisa:{_WEIGHTS} {place.dataset} {root} --out {run}",) if _released(row) else ()
    table = f'rvos reproduce videolisa --table {number} --run "{row.label}={run}"'
    if "weights absent" in states:
        masks = f"--predictions predictions/{slug} --protocol {place.protocols[0]}"
        return f"rvos evaluate {place.dataset} {root} {masks} --out {run}", table
    predict = f"rvos predict videolisa:{_WEIGHTS} {place.dataset} {root} --out {run}"
    return predict, f"rvos evaluate --predictions {run} --protocol {place.protocols[0]}", table


def _place(place_id: str) -> Place:
    return _PLACES[place_id]


@cache
def _findings(paper: str) -> tuple[Finding, ...]:
    return tuple(findings_of(paper, sources()))


# Runs -----------------------------------------------------------------------------------------------------------------


def _opened(given: RunLike) -> tuple[str, Result]:
    """The label that was asked for, or none, and the run's result."""
    if isinstance(given, str) and "=" in given and not Path(given).exists():
        label, _, path = given.rpartition("=")
        return label.strip(), open_result(path)
    return "", open_result(given)


def _with_runs(
    lines: list[Line], places: Sequence[Place], runs: Iterable[tuple[str, Result]]
) -> tuple[list[Line], list[str]]:
    refused = []
    for label, result in runs:
        place, reason = _fits(result, places)
        if place is None:
            refused.append(f"{_shown_path(result)}: {reason}")
            continue
        if label and not any(_label(line) == label for line in lines):
            raise UnknownNameError("row of the table", label, {_label(line) for line in lines if line.cells})
        lines = _put(lines, label or _own_label(result, lines), place, _measured(result))
    return lines, refused


def _fits(result: Result, places: Sequence[Place]) -> tuple[Place | None, str]:
    """The place whose dataset, split, data version and protocol are the run's, or why there is none."""
    dataset, protocol = result.dataset, result.protocol.id
    place = next((p for p in places if p.dataset == dataset.id), None)
    if place is None:
        shown = ", ".join(p.title for p in places)
        return None, f"it is on {dataset.id}, and this table has {shown}; other splits are never put in."
    if not place.protocols:
        return None, f"{place.title} is scored by a server; a local score ({protocol}) is another number."
    if protocol not in place.protocols:
        return None, f"its protocol {protocol} is not that of {place.title} ({', '.join(place.protocols)})."
    if place.version is not None and dataset.version != place.version:
        return None, f"it is on version {dataset.version} of {dataset.id}, the table on version {place.version}."
    return place, ""


def _put(lines: list[Line], label: str, place: Place, measured: Measured) -> list[Line]:
    """The lines with the value in the line of this label, which is added where it is not there."""
    found = next((i for i, line in enumerate(lines) if _label(line) == label), None)
    if found is None:
        stub = (label, *[""] * (len(lines[0].stub) - 1))
        notes = tuple(contamination().of(label, place.id))
        return [*lines, Line(stub, "Measured here", {place.id: Cell(None, place, measured, notes=notes)})]
    line = lines[found]
    old = line.cells.get(place.id) or Cell(None, place)
    if old.measured is not None:
        raise UsageError(f"Two runs for {label} on {place.title}: {old.measured.path} and {measured.path}; give one.")
    new = Cell(old.row, place, measured, old.states, old.commands, old.flags, old.notes)
    return [*lines[:found], Line(line.stub, line.group, {**line.cells, place.id: new}), *lines[found + 1 :]]


def _label(line: Line) -> str:
    row = next((cell.row for cell in line.cells.values() if cell.row), None)
    return row.label if row else line.stub[0]


def _own_label(result: Result, lines: Sequence[Line]) -> str:
    """The row of a run that named none: that of the released weights where they made it, else its predictor's."""
    predictor = result.record.predictor
    if predictor is None:
        path = result.record.predictions.path if result.record.predictions else ""
        return Path(path).name or "predictions"
    if predictor.name == "videolisa" and str(predictor.arguments.get("path", "")).endswith("VideoLISA-3.8B"):
        rows = [cell.row for line in lines for cell in line.cells.values() if cell.row and _released(cell.row)]
        return rows[0].label if rows else "VideoLISA-3.8B (One-Token-Seg-All)"
    return predictor.name


def _measured(result: Result) -> Measured:
    summary = result.summary
    values = summary.values
    missing = len(result.missing())
    scored = f"{summary.n_counted} of {len(result.scores)} units counted, {missing} incomplete"
    return Measured(
        {name: None if v.value is None else 100 * v.value for name, v in values.items()},
        {name: None if v.half_width is None else 100 * v.half_width for name, v in values.items()},
        result.protocol.id,
        f"{result.dataset.version}, {result.dataset.fingerprint[:19]}",
        f"{scored}; {result.record.extent}",
        result.record.limit is None and missing == 0,
        result.warnings,
        _shown_path(result),
    )


def _shown_path(result: Result) -> str:
    return str(result.path) if result.path else "a result without a folder"

"""Published numbers as data: one JSON file per source in ``published/``, checked when read.

Values are the printed ones. What is obviously wrong stays as it is printed and is flagged, in the file's ``flags`` by
hand and by ``findings`` automatically. What a source does not state is ``unstated`` and is never guessed.
"""

from __future__ import annotations

import hashlib
import re
from functools import cache
from importlib.resources import files
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from ..benchmarks.protocols import REGISTRY
from ..datasets.errors import DatasetError, UnknownNameError

UNSTATED = "unstated"
METRICS = ("J&F", "J", "F", "gIoU", "cIoU", "R", "F1@1fps", "HOTA@1fps", "N-acc", "T-acc", "Final", "score")


class _Record(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Row(_Record):
    """The numbers of one method on one split, as one source prints them.

    Attributes:
        table: ``Table 3``; empty where the source is no paper or does not number it.
        row: the row's number in the printed table, from 0, where the table is carried over as a whole.
        method: the method's name; ``label`` is how the table's first column prints it.
        variant: size, backbone, setting.
        group: the heading above the row.
        ticks: column headings that are ticked, in tables that describe rows so.
        dataset, split: names as in ``rvos datasets list``; the split is ``unstated`` where the source is silent,
            with ``split_note`` on what is known all the same.
        protocol: in words, or ``unstated``; ``protocol_id`` is this project's id where the two surely agree.
        zero_shot: None where not stated.
        metrics: in percent; None is printed as a dash.
        cite: the source's own reference number.
        provenance: ``primary`` is the source's own result, ``secondary`` is quoted from elsewhere; ``quoted or rerun``
            where the source does not say which.
    """

    table: str = ""
    row: int | None = None
    method: str
    label: str = ""
    year: int | None = None
    variant: str = ""
    group: str = ""
    ticks: tuple[str, ...] = ()
    dataset: str
    split: str
    split_note: str = ""
    protocol: str
    protocol_id: str | None = None
    zero_shot: bool | None = None
    metrics: dict[str, float | None]
    cite: str = ""
    provenance: Literal["primary", "secondary", "quoted or rerun"]
    read_in: str = ""
    notes: str = ""

    @field_validator("metrics")
    @classmethod
    def _known_metrics(cls, metrics: dict[str, float | None]) -> dict[str, float | None]:
        for name, value in metrics.items():
            if name not in METRICS:
                raise ValueError(f"unknown metric {name!r}; known: {', '.join(METRICS)}")
            if value is not None and not 0 <= value <= 100:
                raise ValueError(f"{name} is {value}; expected percent, 0 to 100")
        return metrics

    @field_validator("protocol_id")
    @classmethod
    def _known_protocol(cls, protocol_id: str | None) -> str | None:
        if protocol_id is not None and protocol_id not in REGISTRY:
            raise ValueError(f"unknown protocol {protocol_id!r}")
        return protocol_id

    @property
    def place(self) -> str:
        """``dataset/split``."""
        return f"{self.dataset}/{self.split}"

    @property
    def name(self) -> str:
        """Method and variant."""
        return self.label or (f"{self.method} ({self.variant})" if self.variant else self.method)


class TableHead(_Record):
    """A printed table: its caption in short, and footnotes."""

    title: str
    notes: tuple[str, ...] = ()


class Flag(_Record):
    """Something odd in print, found by a reader; it concerns the rows that match all that is given."""

    text: str
    table: str | None = None
    rows: tuple[int, ...] = ()
    methods: tuple[str, ...] = ()
    dataset: str | None = None

    def concerns(self, row: Row) -> bool:
        return (
            self.table in (None, row.table)
            and (not self.rows or row.row in self.rows)
            and (not self.methods or row.method in self.methods)
            and self.dataset in (None, row.dataset)
        )


class Source(_Record):
    """A paper, a README or a report, and the numbers read in it."""

    source: str
    title: str
    url: str = ""
    notes: tuple[str, ...] = ()
    tables: dict[str, TableHead] = Field(default_factory=dict)
    flags: tuple[Flag, ...] = ()
    rows: tuple[Row, ...]

    def table(self, name: str) -> list[Row]:
        """The rows of ``Table 3``, in print order. Raises UnknownNameError."""
        found = [row for row in self.rows if row.table == name]
        if not found:
            raise UnknownNameError(f"table of {self.source}", name, {row.table for row in self.rows})
        return found

    def flags_of(self, row: Row) -> list[str]:
        """What a reader found odd about the row."""
        return [flag.text for flag in self.flags if flag.concerns(row)]

    def where(self, row: Row) -> str:
        """The place of a number: source and table."""
        return f"{self.source} {row.table}".strip()


@cache
def load_source(name: str) -> Source:
    """The source in ``published/<name>.json``.

    Raises:
        UnknownNameError: no such source.
        DatasetError: the file is not as expected.
    """
    if name not in source_names():
        raise UnknownNameError("source of published numbers", name, source_names())
    path = files(__package__) / "published" / f"{name}.json"
    try:
        return Source.model_validate_json(path.read_text(encoding="utf-8"))
    except ValidationError as error:
        raise DatasetError(f"{path}: not a file of published numbers: {error}") from error


@cache
def source_names() -> tuple[str, ...]:
    """Every source, sorted."""
    folder = files(__package__) / "published"
    return tuple(sorted(e.name.removesuffix(".json") for e in folder.iterdir() if e.name.endswith(".json")))


def sources() -> dict[str, Source]:
    """Every source by name."""
    return {name: load_source(name) for name in source_names()}


def numbers_hash(rows: tuple[Row, ...]) -> str:
    """SHA-256 over table, row, place, metric and value of every number, to notice any change."""
    lines = sorted(f"{r.table}|{r.row}|{r.place}|{metric}|{value}" for r in rows for metric, value in r.metrics.items())
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()


def same_method(a: Row, b: Row) -> bool:
    """Whether two rows mean one method in one variant, as far as their names tell."""
    return _normal(a) == _normal(b)


def _normal(row: Row) -> str:
    return re.sub(r"[^a-z0-9+.]", "", f"{row.method}{row.variant}".lower())

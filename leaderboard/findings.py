"""An automatic look at published numbers: what cannot be right, or contradicts another source.

Findings are shown beside the numbers. They say what was seen, not who is wrong.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Literal

from .literature import UNSTATED, Row, Source, same_method

Kind = Literal["mean", "duplicate", "order", "swapped", "other split", "other method", "differs", "reader"]


@dataclass(frozen=True)
class Finding:
    """One finding about one row.

    Attributes:
        kind: ``mean``: J&F is not the mean of J and F within rounding; ``duplicate``: two methods with equal values in
            one table; ``order``: J above F; ``swapped``: J and F the other way round in another source; ``other
            split``: the values are another split's in another source; ``other method``: they are another method's;
            ``differs``: another source prints another J&F; ``reader``: noted by hand.
        source: name of the source.
        row: the row concerned.
        text: one sentence.
    """

    kind: Kind
    source: str
    row: Row
    text: str


def all_findings(sources: Mapping[str, Source]) -> list[Finding]:
    """Everything odd about every row, by source in order."""
    return [finding for name in sources for finding in findings_of(name, sources)]


def findings_of(name: str, sources: Mapping[str, Source]) -> list[Finding]:
    """Everything odd about the rows of one source, also against the others."""
    source = sources[name]
    return [*_inside(name, source), *_Index(sources).findings(name, source), *_by_readers(name, source)]


# Within one source ----------------------------------------------------------------------------------------------------


def _inside(name: str, source: Source) -> Iterator[Finding]:
    for row in source.rows:
        yield from _mean(name, row)
        yield from _order(name, row)
    yield from _duplicates(name, source)


def _mean(name: str, row: Row) -> Iterator[Finding]:
    both, j, f = (row.metrics.get(key) for key in ("J&F", "J", "F"))
    if both is None or j is None or f is None:
        return
    # Each printed value may be off by half a unit of its last digit.
    allowed = _half_unit(both) + (_half_unit(j) + _half_unit(f)) / 2
    if abs(both - (j + f) / 2) > allowed + 1e-9:
        yield Finding("mean", name, row, f"J&F {both} is not the mean of J {j} and F {f}, {(j + f) / 2:.2f}.")


def _half_unit(value: float) -> float:
    """Half a unit of the last printed digit; trailing zeros are lost, so one decimal is assumed at least."""
    return 0.5 * 10 ** -max(1, len(repr(value).partition(".")[2]))


def _order(name: str, row: Row) -> Iterator[Finding]:
    j, f = row.metrics.get("J"), row.metrics.get("F")
    if j is not None and f is not None and j > f:
        yield Finding("order", name, row, f"J {j} is above F {f}, which is rare: the columns may be swapped.")


def _duplicates(name: str, source: Source) -> Iterator[Finding]:
    groups: dict[tuple[object, ...], list[Row]] = defaultdict(list)
    for row in source.rows:
        if _n_values(row) >= 2:
            key = (row.table, row.place, *row.metrics.items())
            groups[key].append(row)
    for rows in groups.values():
        for row in rows:
            others = [other.name for other in rows if other.method != row.method]
            if others:
                yield Finding("duplicate", name, row, f"The same values as {', '.join(others)} on {row.place}.")


def _by_readers(name: str, source: Source) -> Iterator[Finding]:
    for row in source.rows:
        for text in source.flags_of(row):
            yield Finding("reader", name, row, text)


# Against other sources ------------------------------------------------------------------------------------------------


class _Index:
    """Rows with at least J, F and J&F, by dataset and by values."""

    def __init__(self, sources: Mapping[str, Source]) -> None:
        self.sources = sources
        self._by_dataset: dict[str, list[tuple[str, Row]]] = defaultdict(list)
        for name, source in sources.items():
            for row in source.rows:
                self._by_dataset[row.dataset].append((name, row))

    def findings(self, name: str, source: Source) -> Iterator[Finding]:
        for row in source.rows:
            others = [(n, r) for n, r in self._by_dataset[row.dataset] if n != name]
            yield from self._swapped(name, row, others)
            yield from self._other_split(name, row, others)
            yield from self._other_method(name, row, others)
            yield from self._differs(name, row, others)

    def _swapped(self, name: str, row: Row, others: list[tuple[str, Row]]) -> Iterator[Finding]:
        j, f = row.metrics.get("J"), row.metrics.get("F")
        if j is None or f is None or j <= f:
            return  # of two that are swapped, the one with J above F is the one to ask about
        for other_name, other in others:
            if other.split == row.split and (other.metrics.get("J"), other.metrics.get("F")) == (f, j):
                where = self.sources[other_name].where(other)
                yield Finding("swapped", name, row, f"J and F are the other way round in {where}.")
                return

    def _other_split(self, name: str, row: Row, others: list[tuple[str, Row]]) -> Iterator[Finding]:
        if row.split == UNSTATED or _n_values(row) < 2:
            return
        for other_name, other in others:
            stated = other.split not in (UNSTATED, row.split)
            if stated and other.metrics == row.metrics and other.method == row.method:
                where = self.sources[other_name].where(other)
                text = f"Printed for {row.split}; {where} prints the same values for {other.split}."
                yield Finding("other split", name, row, text)
                return

    def _other_method(self, name: str, row: Row, others: list[tuple[str, Row]]) -> Iterator[Finding]:
        if row.provenance == "primary" or _n_values(row) < 3:
            return
        same_place = [(n, r) for n, r in others if r.split == row.split and r.metrics == row.metrics]
        if any(r.method == row.method for _, r in same_place):
            return
        for other_name, other in same_place:
            if not _related(row.method, other.method):
                where = self.sources[other_name].where(other)
                yield Finding("other method", name, row, f"{where} prints these values for {other.name}.")
                return

    def _differs(self, name: str, row: Row, others: list[tuple[str, Row]]) -> Iterator[Finding]:
        value = row.metrics.get("J&F")
        if value is None or row.split == UNSTATED:
            return
        seen: dict[float, str] = {}
        for other_name, other in others:
            theirs = other.metrics.get("J&F")
            comparable = other.place == row.place and same_method(row, other) and theirs is not None
            if comparable and theirs is not None and abs(theirs - value) > 0.05 + 1e-9:
                seen.setdefault(theirs, self.sources[other_name].where(other))
        if seen:
            text = "; ".join(f"{v} in {where}" for v, where in sorted(seen.items()))
            yield Finding("differs", name, row, f"J&F {value} here, {text}.")


def _n_values(row: Row) -> int:
    return sum(value is not None for value in row.metrics.values())


def _related(a: str, b: str) -> bool:
    """Whether one name contains the other: LISA and LISA-7B."""
    short, long = sorted((a.lower(), b.lower()), key=len)
    return short in long

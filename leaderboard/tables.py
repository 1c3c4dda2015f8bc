"""Results in colour for terminals; the content is that of ``Result.tables``."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from ..benchmarks.protocols.compare import explain_differences
from ..benchmarks.results import Result, Table, percent, side_by_side

if TYPE_CHECKING:
    from rich.console import Console
    from rich.table import Table as RichTable

#: Rows of the score table that are no scores of the predictor.
_BOUNDS = ("ceiling", "floor")
#: Characters that a row's name keeps in a narrow terminal, and a width that no table reaches.
_NAMES, _UNBOUNDED = 24, 1000


def print_results(results: Sequence[Result], console: Console) -> None:
    """Print results: several of the same predictions first side by side, then each in full.

    The protocol in words and the run folder are not repeated here: a scoring command prints them first and last.
    """
    if len(results) > 1:
        print_table(side_by_side(results), console)
        first = results[0]
        for other in results[1:]:
            for line in explain_differences({r.protocol.id: r.headline.value for r in (first, other)}):
                console.print(line, markup=False, highlight=False, soft_wrap=True)
    for result in results:
        if len(results) > 1:
            console.rule(result.protocol.id, align="left")
        print_result(result, console)


def print_result(result: Result, console: Console) -> None:
    """One result: what was scored, its tables, then stamps, warnings and what is missing."""
    for line in result.head()[1:]:
        console.print(line, style="dim", markup=False, highlight=False, soft_wrap=True)
    for table in result.tables():
        print_table(table, console)
    for line in result.remarks():
        style = "yellow" if line.startswith("Warning") else "green" if line in result.summary.stamps else ""
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)


def print_table(table: Table, console: Console) -> None:
    """A table with aligned columns; wide terminals are not filled, in narrow ones lines are longer than the screen."""
    from rich.measure import Measurement

    drawn = _rich_table(table)
    longest = max((len(row[0]) for row in table.rows), default=0)
    least = Measurement.get(console, console.options.update(width=_UNBOUNDED), drawn).maximum
    least -= max(0, longest - _NAMES)  # a long name is folded
    drawn.width = least if least > console.width else None
    console.print(drawn, crop=False)


def _rich_table(table: Table) -> RichTable:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table as RichTable
    from rich.text import Text

    drawn = RichTable(
        title=table.title or None, box=SIMPLE_HEAD, title_justify="left", pad_edge=False, padding=(0, 1, 0, 0)
    )
    named = min(_NAMES, max((len(row[0]) for row in table.rows), default=0))
    for i, name in enumerate(table.header):
        first = i == 0
        drawn.add_column(
            Text(name),
            justify="left" if first else "right",
            no_wrap=not first,
            overflow="fold",
            min_width=named if first else None,
        )
    for row in table.rows:
        drawn.add_row(*(Text(cell) for cell in row), style="dim" if row[0] in _BOUNDS else None)
    return drawn


def worst_table(result: Result, count: int) -> Table:
    """The units of lowest rank with what is known about them."""
    metrics = [metric for metric in result.metrics if not (metric.composite or metric.over)]
    rows = tuple(
        (s.unit.key, *(percent(s.value(m.of)) for m in metrics), s.status if s.status != "ok" else s.reason)
        for s in result.worst(count)
    )
    return Table("", ("worst units", *(metric.name for metric in metrics), "remark"), rows)

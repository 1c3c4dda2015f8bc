"""``rvos reproduce``: a paper's tables, published beside measured."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def reproduce(
    paper: Annotated[str, typer.Argument(help="Which paper: videolisa.")],
    table: Annotated[int, typer.Option(help="The table's number, 1 to 10.")],
    run: Annotated[
        list[str] | None,
        typer.Option(help="A scored run, may be repeated; 'LABEL=RUN' puts it into the row of that label."),
    ] = None,
    format_: Annotated[
        str, typer.Option("--format", help="text, markdown, latex, html, csv or json (a record per number).")
    ] = "text",
    json_: Annotated[bool, typer.Option("--json", help="The same as --format json.")] = False,
    out: Annotated[Path | None, typer.Option(help="Write to this file instead of printing.")] = None,
) -> None:
    """Render a table as it is printed, with measured columns, what is odd in print, and what fills each cell.

    A run enters a cell only where dataset, split, data version and protocol are those of the cell; others are listed
    with the reason.
    """
    from ..leaderboard.reproduction import reproduce as reproduced
    from .output import write_text

    text = reproduced(paper, table, run or ()).render("json" if json_ else format_)
    if out is None:
        print(text, end="")
        return
    write_text(out, text)
    print(out)


reproduce.epilog = "Example: rvos reproduce videolisa --table 3 --format markdown"  # type: ignore[attr-defined]

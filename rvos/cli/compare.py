"""``rvos compare``: is one run better than another?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def compare(
    runs: Annotated[list[Path], typer.Argument(help="Two or more scored runs, or prediction archives.")],
    metric: Annotated[str | None, typer.Option(help="What to compare, e.g. J; by default what ranks runs.")] = None,
    seed: Annotated[int, typer.Option(help="Of the permutation test's random signs.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON, values 0-1.")] = False,
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables to this file.")] = None,
) -> None:
    """Compare runs of one dataset under one protocol, paired by sentence and clustered by video.

    Prints differences with 95 % intervals, p-values (sign-flip permutation over videos, Holm over all comparisons),
    which runs cannot be told from the best, and how many videos it would take to see one point.
    """
    from ..leaderboard.opening import compare as compared
    from .output import write_text

    found = compared(*runs, metric=metric, seed=seed)
    if markdown is not None:
        write_text(markdown, found.to_markdown())
    if json_:
        print(found.to_json(), end="")
        return
    print(next(iter(found.results.values())).head()[0])
    print(found)


compare.epilog = "Example: rvos compare runs/mine runs/other"  # type: ignore[attr-defined]

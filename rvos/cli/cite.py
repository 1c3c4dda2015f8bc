"""``rvos cite``: what a paper says about a run."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def cite(
    run: Annotated[Path, typer.Argument(help="Scored run, or prediction archive.")],
    name: Annotated[str | None, typer.Option(help="The model, as the paper calls it.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Print the methods sentence, a LaTeX row with intervals, and BibTeX of dataset and protocol."""
    from ..leaderboard.cite import cite as cited
    from ..leaderboard.opening import open_result

    found = cited(open_result(run), name)
    print(found.to_json() if json_ else found, end="")


cite.epilog = "Example: rvos cite runs/mine --name 'My model'"  # type: ignore[attr-defined]

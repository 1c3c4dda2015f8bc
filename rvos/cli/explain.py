"""``rvos explain``: where does a quoted number come from?"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def explain(
    predictions: Annotated[Path, typer.Argument(help="Run folder, or folder, zip or RLE JSON with the masks.")],
    against: Annotated[str, typer.Option(help="The quoted number in percent, with the digits that are printed.")],
    dataset: Annotated[str | None, typer.Argument(help="name/split, e.g. mevis/valid_u; a run knows its own.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None,
    threshold: Annotated[
        list[float] | None, typer.Option(help="Of grey values, may be repeated; by default a few usual ones.")
    ] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default what the machine allows.")] = None,
    out: Annotated[Path | None, typer.Option(help="Also write the page to this Markdown file.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Score one set of predictions under every protocol, missing rule, threshold and split that applies.

    Says which of them come within rounding of the number, as one page for a rebuttal or a reading group.
    """
    from ..leaderboard.explain import THRESHOLDS
    from ..leaderboard.explain import explain as explained
    from .output import write_text

    tried = tuple(threshold) if threshold else THRESHOLDS
    found = explained(predictions, against, dataset, root=root, thresholds=tried, workers=workers)
    if out is not None:
        write_text(out, found.to_markdown())
    print(found.to_json() if json_ else found)


explain.epilog = "Example: rvos explain runs/mine --against 64.8 --out rebuttal.md"  # type: ignore[attr-defined]

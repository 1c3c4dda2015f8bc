"""``rvos diagnose``: what a score is made of."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def diagnose(
    predictions: Annotated[Path, typer.Argument(help="Run folder, or folder, zip or RLE JSON with the masks.")],
    dataset: Annotated[str | None, typer.Argument(help="name/split, e.g. mevis/valid_u; a run knows its own.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None,
    protocol: Annotated[str | None, typer.Option(help="A protocol that scores expressions.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Share of the largest value (0-1] from which grey values are foreground.")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="Layout of the predictions, where it is not recognised.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default what the machine allows.")] = None,
    out: Annotated[
        Path | None,
        typer.Option(help="Folder for analysis.json, analysis.md and analysis.png; a run's own by default."),
    ] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print the summary as JSON.")] = False,
) -> None:
    """Take a score apart: right object or not, how good its mask, where J is lost, how much the sentence matters."""
    from rich.console import Console

    from ..benchmarks.error_analysis import analyse
    from ..benchmarks.protocols import get_protocol
    from ..benchmarks.runs import is_run
    from ..leaderboard.tables import print_table
    from .output import write_text

    analysis = analyse(
        predictions, dataset, root=root, protocol=protocol, threshold=threshold, layout=layout, workers=workers
    )
    folder = out or (predictions if is_run(predictions) else None)
    if json_:
        print(analysis.to_json(units=False), end="")
    else:
        print(f"{analysis.protocol}: {get_protocol(analysis.protocol).words}")
        print(f"Data: {analysis.dataset}, {len(analysis.units)} sentences")
        console = Console()
        for table in analysis.tables():
            print_table(table, console)
    if folder is not None:
        write_text(folder / "analysis.json", analysis.to_json())
        write_text(folder / "analysis.md", analysis.to_markdown())
        analysis.plot(folder / "analysis.png")
        print(folder)
    raise typer.Exit(1 if analysis.failed else 0)


diagnose.epilog = "Example: rvos diagnose runs/mine"  # type: ignore[attr-defined]

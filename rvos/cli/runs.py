"""``rvos runs``: look at run folders, join them, and export what they hold."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

app = typer.Typer(
    no_args_is_help=True,
    help="Look at run folders, join shards, export scores.",
    epilog="Example: rvos runs show runs/mine",
)


@app.command(epilog="Example: rvos runs show runs/mine --worst 5")
def show(
    run: Annotated[Path, typer.Argument(help="Run folder.")],
    worst: Annotated[int, typer.Option(min=0, help="List the N units of lowest J&F.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print run.json.")] = False,
) -> None:
    """Print the tables of a run; of one that is not finished, its state."""
    from rich.console import Console

    from ..benchmarks.results import Result
    from ..benchmarks.runs import Run
    from ..leaderboard.tables import print_result, print_table, worst_table

    opened = Run.open(run)
    if json_:
        print(opened.record.model_dump_json(indent=2, by_alias=True))
        return
    if opened.record.summary is None:
        _print_state(opened)
        return
    result = Result.of_run(opened)
    print(result.head()[0])
    print_result(result, Console())
    if worst:
        print_table(worst_table(result, worst), Console())
    print(f"Run: {run}")


@app.command(epilog="Example: rvos runs export runs/mine --csv scores.csv --markdown table.md")
def export(
    run: Annotated[Path, typer.Argument(help="Run folder with finished scores.")],
    csv: Annotated[Path | None, typer.Option(help="A line per unit.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="The tables.")] = None,
    json_: Annotated[Path | None, typer.Option("--json", help="run.json with the folder's path.")] = None,
) -> None:
    """Write the scores of a run as CSV, its tables as Markdown, its record as JSON."""
    from ..benchmarks.results import Result
    from ..benchmarks.runs import Run
    from ..datasets.errors import UsageError
    from .output import write_text

    if csv is None and markdown is None and json_ is None:
        raise UsageError("Nothing to export: give --csv FILE, --markdown FILE or --json FILE.")
    result = Result.of_run(Run.open(run))
    for path, text in ((csv, result.to_csv), (markdown, result.to_markdown), (json_, result.to_json)):
        if path is not None:
            write_text(path, text())
            print(path)


@app.command(epilog="Example: rvos runs merge runs/shard1 runs/shard2 --out runs/mine")
def merge(
    shards: Annotated[list[Path], typer.Argument(help="Run folders of rvos predict --shard.")],
    out: Annotated[Path, typer.Option(help="The new run's folder.")],
) -> None:
    """Join shards, or other parts of one run, from folders of their own. Exit code 1 where videos are missing."""
    from ..benchmarks.merge import merge_runs

    run = merge_runs(shards, out)
    n_videos = len({line.video_id for line in run.predictions()})
    print(f"{n_videos} videos, {run.record.status}{f': {run.record.reason}' if run.record.reason else ''}")
    print(f"Score it with: rvos evaluate --predictions {run.path}")
    print(run.path)
    if run.record.status != "finished":
        raise typer.Exit(1)


def _print_state(run: object) -> None:
    from ..benchmarks.runs import Run

    assert isinstance(run, Run)
    record = run.record
    print(f"{record.dataset.id}: {record.status}{f', {record.reason}' if record.reason else ''}")
    if record.predictor is not None:
        print(f"Predictor: {record.predictor.name}, {len(run.predictions())} of {record.dataset.n_samples} samples")
    print(f"Scores: {len(run.scores())} units, not finished; rvos evaluate finishes them")
    print(f"Run: {run.path}")

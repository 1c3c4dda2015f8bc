"""``rvos leaderboard``: entries that can be checked, tables of them, and what others published."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from ..benchmarks.results import Table
    from ..benchmarks.runs import DatasetRecord
    from ..datasets.types import RVOSDataset

app = typer.Typer(
    no_args_is_help=True,
    help="Entries that can be checked, tables of them, and published numbers.",
    epilog="Example: rvos leaderboard submit runs/mine --name Mine --entries entries",
)

Root = Annotated[Path | None, typer.Option(help="Folder of the dataset: the masks are then scored again.")]


@app.command(epilog="Example: rvos leaderboard check entries --dataset mevis/valid_u --root data/mevis")
def check(
    path: Annotated[Path, typer.Argument(help="An entry, a run, a prediction archive, or a folder of entries.")],
    dataset: Annotated[str | None, typer.Option(help="name/split, where --root is given; a run knows its own.")] = None,
    root: Root = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes for scoring.")] = None,
    json_: Annotated[bool, typer.Option("--json", help="Print as JSON.")] = False,
) -> None:
    """Refuse what cannot be right: partial runs, unknown protocols, other data, lost samples, edited scores.

    Masks are scored again where the data are at hand: given, generated, or where this machine remembers them. Exit
    code 1: something was refused.
    """
    import json

    from ..leaderboard.entries import check_all, find
    from ..leaderboard.opening import data_at_hand

    given = _data(find(path), dataset, root)
    found = check_all(path, data_at_hand if given is None else lambda record: given, workers)
    if json_:
        fields = [
            {"path": str(c.path), "name": c.name, "kind": c.kind, "problems": c.problems, "notes": c.notes}
            for c in found
        ]
        print(json.dumps(fields, indent=1, ensure_ascii=False))
    else:
        for checked in found:
            print(checked)
    raise typer.Exit(0 if all(c.ok for c in found) else 1)


@app.command(epilog="Example: rvos leaderboard submit runs/mine --name Mine --entries entries")
def submit(
    run: Annotated[Path, typer.Argument(help="A finished run over a whole split.")],
    name: Annotated[str, typer.Option(help="The model, as it is to be shown.")],
    entries: Annotated[Path, typer.Option(help="The leaderboard's folder of entries.")] = Path("entries"),
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset, where the run holds no masks.")] = None,
    paper: Annotated[str, typer.Option(help="Address of the paper.")] = "",
    notes: Annotated[str, typer.Option(help="What readers should know.")] = "",
) -> None:
    """Write an entry with its masks in one small file: a folder that is ready for a pull request."""
    from ..benchmarks.runs import Run
    from ..leaderboard.entries import submit as written

    opened = Run.open(run)
    needs_data = not opened.masks.is_dir()
    folder = written(opened, entries, name, _of_run(opened.record.dataset, root) if needs_data else None, paper, notes)
    for path in sorted(folder.iterdir()):
        print(f"{path}  {path.stat().st_size:,} bytes")
    print(folder)


@app.command(epilog="Example: rvos leaderboard build entries --markdown leaderboard.md")
def build(
    path: Annotated[Path, typer.Argument(help="Folder of entries, or of runs.")],
    markdown: Annotated[Path | None, typer.Option(help="Also write the tables to this file.")] = None,
) -> None:
    """Print a table per dataset and protocol with intervals and what cannot be told from the best.

    Refused entries are listed with the reason and left out.
    """
    from ..leaderboard.entries import build as tables_of
    from ..leaderboard.entries import check_all
    from .output import write_text

    found = check_all(path)
    tables = tables_of(found)
    for table in tables:
        print(table.to_text() + "\n")
    for checked in found:
        if not checked.ok:
            print(checked)
    if markdown is not None:
        write_text(markdown, "\n\n".join(table.to_markdown() for table in tables) + "\n")
        print(markdown)


@app.command(epilog="Example: rvos leaderboard published mevis/valid --method VideoLISA")
def published(
    split: Annotated[str | None, typer.Argument(help="name/split, e.g. mevis/valid, reasonvos/test.")] = None,
    method: Annotated[str | None, typer.Option(help="Only methods whose name contains this.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="Write a table to this file instead.")] = None,
) -> None:
    """Print published numbers with source, table, protocol, and what the checker finds odd about each."""
    from .output import write_text

    table = _published(split, method)
    if markdown is not None:
        write_text(markdown, table.to_markdown() + "\n")
        print(markdown)
    else:
        print(table.to_text())


@app.command(epilog="Example: rvos leaderboard plot runs/mine runs/other --out plots --format png")
def plot(
    runs: Annotated[list[Path], typer.Argument(help="Scored runs or prediction archives.")],
    out: Annotated[Path, typer.Option(help="Folder of the plots.")] = Path("plots"),
    format_: Annotated[str, typer.Option("--format", help="pdf, png or svg.")] = "pdf",
    sample: Annotated[str | None, typer.Option(help="Key of a sample whose J and F are plotted by frame.")] = None,
) -> None:
    """Write plots for papers: differences by video, J&F by kind, length, size and tag, J and F over frames.

    J&F by object size needs the data, where the runs found them.
    """
    from ..leaderboard.opening import named_results
    from ..leaderboard.plots import save_plots
    from ..leaderboard.site.samples import datasets_of

    results = named_results(runs)
    data = datasets_of(list(results.values()), {})
    dataset = data.get(next(iter(results.values())).dataset.id)
    for path in save_plots(results, out, format_, sample, dataset):
        print(path)


@app.command(epilog="Example: rvos leaderboard site runs --out site")
def site(
    path: Annotated[Path, typer.Argument(help="Folder of entries, or of runs.")],
    out: Annotated[Path, typer.Option(help="Folder of the site.")] = Path("site"),
    dataset: Annotated[str | None, typer.Option(help="name/split that --root is the folder of.")] = None,
    root: Annotated[
        Path | None, typer.Option(help="Folder of the dataset; by default where the runs found it.")
    ] = None,
    samples: Annotated[int, typer.Option(min=0, help="How many samples of each board can be played.")] = 12,
) -> None:
    """Write a static site: boards with intervals, a sample player, published numbers with sources. Opens from disk."""
    from ..datasets.errors import UsageError
    from ..datasets.registry import load
    from ..leaderboard.entries import check_all
    from ..leaderboard.site import build_site

    if (dataset is None) != (root is None):
        raise UsageError("Give --dataset and --root together, or neither.")
    data = {dataset: load(dataset, root=root)} if dataset is not None else {}
    found = check_all(path)
    for checked in found:
        if not checked.ok:
            print(checked)
    print(build_site(out, found, data, samples))


def _published(split: str | None, method: str | None) -> Table:
    from ..benchmarks.results import Table
    from ..datasets.errors import UnknownNameError
    from ..leaderboard.findings import all_findings
    from ..leaderboard.literature import sources

    known = sources()
    places = {row.place for source in known.values() for row in source.rows}
    if split is not None and split not in places:
        raise UnknownNameError("split of published numbers", split, places)
    found: dict[int, list[str]] = {}
    for finding in all_findings(known):
        found.setdefault(id(finding.row), []).append(finding.text)
    rows = [
        (
            row.name,
            row.place,
            ", ".join(f"{k} {v}" for k, v in row.metrics.items() if v is not None),
            source.where(row),
            row.provenance,
            row.protocol,
            "; ".join(dict.fromkeys(found.get(id(row), []))),
        )
        for source in known.values()
        for row in source.rows
        if (split is None or row.place == split) and (method is None or method.lower() in row.method.lower())
    ]
    return Table("", ("method", "split", "values", "source", "known as", "protocol", "findings"), tuple(rows))


def _data(paths: list[Path], dataset: str | None, root: Path | None) -> RVOSDataset | None:
    """The data to score against; None where no folder is given."""
    from ..datasets.registry import load

    if root is None and dataset is None:
        return None
    if dataset is not None:
        return load(dataset, root=root)
    return load(_named_by(paths), root=root)


def _named_by(paths: list[Path]) -> str:
    from ..datasets.errors import UsageError
    from ..leaderboard.entries import check as checked

    names = set()
    for path in paths:
        result = checked(path).result
        if result is not None:
            names.add(result.dataset.id)
    if len(names) != 1:
        raise UsageError(f"--root is for one dataset, found {len(names)}; name it with --dataset.")
    return names.pop()


def _of_run(record: DatasetRecord, root: Path | None) -> RVOSDataset:
    from ..datasets.registry import load

    return load(record.id, root=root or record.root)

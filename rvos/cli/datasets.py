"""``rvos datasets``: what there is, where it is, whether it is whole, and what it is like."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .dataset_files import convert, download, export, push

if TYPE_CHECKING:
    from ..datasets.cards import Card
    from ..datasets.checks import CheckReport
    from ..datasets.statistics import Statistics
    from ..datasets.types import RVOSDataset

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="List, describe, check and measure datasets.",
    epilog="Example: rvos datasets check mevis/valid_u --root data/mevis",
)

app.command(epilog="Example: rvos datasets convert reasonvos --root data/ReasonVOS --to mevis --out data/as-mevis")(
    convert
)
app.command(epilog="Example: rvos datasets export reasonvos --root data/ReasonVOS --to parquet --out data/export")(
    export
)
app.command(epilog="Example: rvos datasets download davis --from-archive DAVIS.zip --out data/davis")(download)
app.command(epilog="Example: rvos datasets push data/export me/my50")(push)

Name = Annotated[str, typer.Argument(metavar="DATASET[/SPLIT]", help="e.g. mevis/valid_u, reasonvos, davis/val")]
Root = Annotated[
    Path | None,
    typer.Option(help="The dataset's folder; by default RVOS_<NAME>_ROOT, the config file, RVOS_DATA_ROOT."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON instead of a table.")]


@app.command("list", epilog="Example: rvos datasets list --json")
def list_datasets(as_json: AsJson = False) -> None:
    """All datasets and splits, and where they are found on this machine."""
    from ..datasets.registry import dataset_ids

    rows = [_row(dataset_id) for dataset_id in dataset_ids()]
    if as_json:
        _print_json(rows)
        return
    _print_table(
        ["dataset", "title", "videos", "samples", "masks", "root"],
        [[r["id"], r["title"], r["videos"], r["samples"], r["ground_truth"], r["root"] or "-"] for r in rows],
    )


@app.command(epilog="Example: rvos datasets show ref-davis17")
def show(name: Name, as_json: AsJson = False) -> None:
    """The card: licence, citation, where to download, folder layout, counts, known flaws."""
    from ..datasets.cards import load_card
    from ..datasets.registry import resolve_dataset

    card = load_card(resolve_dataset(name))
    if as_json:
        _print_json(card.model_dump(mode="json"))
    else:
        typer.echo(_card_text(card))


@app.command(epilog="Example: rvos datasets check reasonvos --root data/ReasonVOS --workers 4")
def check(
    name: Name,
    root: Root = None,
    frames: Annotated[str, typer.Option(help="decode (every pixel), header (sizes only, fast) or skip.")] = "decode",
    workers: Annotated[int, typer.Option(min=1, help="Processes that read videos side by side.")] = 1,
    as_json: AsJson = False,
) -> None:
    """List every problem in the files. Exit 0: no error, 1: errors, 2: it cannot be opened."""
    from ..datasets.checks import check_dataset
    from ..datasets.errors import UsageError
    from ..datasets.files import AnnotationErrors

    if frames not in ("decode", "header", "skip"):
        raise UsageError(f"--frames {frames}: use decode, header or skip.")
    try:
        dataset = _load(name, root)
    except AnnotationErrors as error:
        _report_annotation_errors(error, as_json)
        raise typer.Exit(2) from error
    report = check_dataset(dataset, frames, workers, progress=not as_json)  # type: ignore[arg-type]
    if as_json:
        _print_json(report.as_dict())
    else:
        _print_report(report)
    raise typer.Exit(0 if report.ok else 1)


@app.command(epilog="Example: rvos datasets stats mevis/valid_u --root data/mevis --plots out/plots")
def stats(
    name: Name,
    root: Root = None,
    plots: Annotated[Path | None, typer.Option(help="Folder to write plots to (PNG).")] = None,
    frames_per_object: Annotated[int, typer.Option(min=0, help="Masks read per object; 0 leaves sizes out.")] = 5,
    as_json: AsJson = False,
) -> None:
    """Frames per video, object size, words per expression, expressions per video, sources."""
    from ..datasets.statistics import dataset_statistics

    statistics = dataset_statistics(_load(name, root), frames_per_object, progress=not as_json)
    written = statistics.plot(plots) if plots is not None else []
    if as_json:
        _print_json({**statistics.as_dict(), "plots": [str(path) for path in written]})
        return
    _print_statistics(statistics)
    if written:
        typer.echo(f"{len(written)} plots in {plots}")


@app.command(epilog="Example: rvos datasets roots --set mevis=/data/mevis")
def roots(
    set_: Annotated[list[str] | None, typer.Option("--set", metavar="NAME=FOLDER", help="Remember a folder.")] = None,
    unset: Annotated[list[str] | None, typer.Option("--unset", metavar="NAME", help="Forget a folder.")] = None,
    as_json: AsJson = False,
) -> None:
    """Where datasets are looked for; --set and --unset change the config file."""
    from ..datasets.config import config_file, remember_root
    from ..datasets.errors import UsageError
    from ..datasets.registry import dataset_names, resolve_dataset

    for assignment in set_ or []:
        name, separator, folder = assignment.partition("=")
        if not separator or not folder:
            raise UsageError(f"--set {assignment}: expected NAME=FOLDER, e.g. mevis=/data/mevis.")
        if not Path(folder).expanduser().is_dir():
            raise UsageError(f"--set {assignment}: no such folder.")
        remember_root(resolve_dataset(name), Path(folder))
    for name in unset or []:
        remember_root(resolve_dataset(name), None)
    found = {name: _known_root(name) for name in dataset_names()}
    if as_json:
        _print_json({"config": str(config_file()), "roots": found})
        return
    _print_table(["dataset", "root"], [[name, folder or "-"] for name, folder in found.items()])
    typer.echo(f"Config file: {config_file()}")


# Parts ----------------------------------------------------------------------------------------------------------------


def _load(name: str, root: Path | None) -> RVOSDataset:
    from ..datasets.registry import load

    return load(name, root)


def _row(dataset_id: str) -> dict[str, Any]:
    from ..datasets.cards import load_card
    from ..datasets.errors import UnknownNameError

    name, _, split = dataset_id.partition("/")
    row: dict[str, Any] = {"id": dataset_id, "title": name, "videos": None, "samples": None, "ground_truth": None}
    try:
        card = load_card(name)
    except UnknownNameError:
        return {**row, "root": _known_root(name)}
    counts = card.counts.get(split, ())
    if counts:
        row |= {"videos": counts[0].videos, "samples": counts[0].samples}
    return {**row, "title": card.title, "ground_truth": card.ground_truth.get(split), "root": _known_root(name)}


def _known_root(name: str) -> str | None:
    from ..datasets.config import find_root
    from ..datasets.registry import entry_of

    found = find_root(name, entry_of(name).folders)
    return None if found is None else str(found)


def _card_text(card: Card) -> str:
    lines = [f"{card.title} ({card.name}, {card.kind})", "", card.summary, "", f"Licence: {card.license}"]
    lines += [f"Home: {card.homepage}", "", "Download"]
    lines += [f"  {d.what}\n    {d.url}" + (f"\n    {d.note}" if d.note else "") for d in card.download]
    lines += ["", "Layout", *(f"  {line}" for line in card.layout.splitlines()), "", "Splits"]
    for split, masks in card.ground_truth.items():
        sizes = [
            f"{c.videos} videos, {c.samples} samples" + (f" ({c.version})" if c.version else "")
            for c in card.counts.get(split, ())
        ]
        lines.append(f"  {split or card.name}: {'; '.join(sizes) or 'any size'}; masks: {masks}")
    if card.flaws:
        lines += ["", "Known flaws", *(f"  - {f.flaw}\n    Here: {f.here}" for f in card.flaws)]
    return "\n".join([*lines, "", "Citation", *(f"  {line}" for line in card.citation.splitlines())])


def _print_report(report: CheckReport) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    styles = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for problem in report.problems:
        console.print(
            Text(problem.severity, styles[problem.severity]), Text(f"{problem.place}: {problem.message} {problem.cure}")
        )
    found = ", ".join(f"{n} {severity}{'s' * (n != 1)}" for severity, n in report.counts.items())
    console.print(f"{report.dataset} at {report.root}: {report.n_videos} videos, {report.n_samples} samples; {found}.")


def _report_annotation_errors(error: Any, as_json: bool) -> None:
    if as_json:
        _print_json({"ok": False, "file": str(error.path), "problems": list(error.messages)})
        return
    for message in error.messages:
        typer.echo(f"error {error.path}: {message}")
    typer.echo(f"rvos: {error.path} has {len(error.messages)} problems; nothing else was checked.", err=True)


def _print_statistics(statistics: Statistics) -> None:
    typer.echo(
        f"{statistics.dataset}: {statistics.n_videos} videos, {statistics.n_samples} samples, "
        f"{statistics.n_objects} annotated objects, {statistics.n_no_target} samples without target"
    )
    columns = ["min", "q25", "median", "mean", "q75", "max"]
    rows = []
    for distribution in statistics.distributions:
        summary = distribution.summary()
        if summary["n"]:
            rows.append([f"{distribution.name} ({distribution.unit})", *(f"{summary[c]:.4g}" for c in columns)])
    _print_table(["", *columns], rows)
    for name, group in statistics.groups.items():
        typer.echo(f"{name}: " + ", ".join(f"{value} {n}" for value, n in group.items()))


def _print_table(header: list[str], rows: list[list[Any]]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(box=None, pad_edge=False, header_style="bold")
    for title in header:
        table.add_column(title, overflow="fold")
    for row in rows:
        table.add_row(*("-" if cell is None else str(cell) for cell in row))
    Console().print(table)


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))

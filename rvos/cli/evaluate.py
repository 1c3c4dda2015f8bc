"""``rvos evaluate``: score predictions and keep the result in a run folder."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, get_args

import typer

from ..datasets.errors import UnknownNameError, UsageError

if TYPE_CHECKING:
    from ..benchmarks.predictions import MergeRule
    from ..benchmarks.results import Result
    from ..datasets.types import RVOSDataset

Text = str | None
File = Path | None


def evaluate(
    dataset: Annotated[Text, typer.Argument(help="name/split, e.g. mevis/valid_u; a run knows its own.")] = None,
    predictions: Annotated[File, typer.Option(help="Folder, zip, RLE JSON or run folder with the masks.")] = None,
    root: Annotated[File, typer.Option(help="Folder of the dataset.")] = None,
    protocol: Annotated[
        list[str] | None, typer.Option(help="Protocol id, may be repeated; 'all' that apply. See: rvos protocols.")
    ] = None,
    out: Annotated[File, typer.Option(help="Run folder to write; by default runs/<dataset>-<time>.")] = None,
    gt_dir: Annotated[File, typer.Option(help="Plain folder of ground-truth masks, <name>/<frame>.png.")] = None,
    pred_dir: Annotated[File, typer.Option(help="Plain folder of predicted masks, same names as --gt-dir.")] = None,
    workers: Annotated[int | None, typer.Option(min=1, help="Processes; by default what the machine allows.")] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Continue the run in --out.")] = False,
    threshold: Annotated[
        float | None, typer.Option(help="Share of the largest value (0-1] from which grey values are foreground.")
    ] = None,
    layout: Annotated[Text, typer.Option(help="Layout of the predictions, where it is not recognised.")] = None,
    merge_rule: Annotated[
        Text, typer.Option(help="Ref-DAVIS-17: how masks of single sentences become label maps.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N videos; the run says so.")] = None,
    per_frame: Annotated[bool, typer.Option("--per-frame", help="Keep J and F of every frame.")] = False,
    bounds: Annotated[bool, typer.Option(help="Print the protocol's ceiling and floor on this data.")] = True,
    overlays: Annotated[int, typer.Option(min=0, help="Pictures of the N worst units, in the run folder.")] = 0,
    json_: Annotated[bool, typer.Option("--json", help="Print run.json instead of tables.")] = False,
    csv: Annotated[File, typer.Option(help="Also write a line per unit to this file.")] = None,
    markdown: Annotated[File, typer.Option(help="Also write the tables to this file.")] = None,
) -> None:
    """Score predictions: J&F, J and F with 95 % intervals, what is missing, and what the number hides.

    Exit code 0: all units were scored. 1: some are missing, invalid or failed (they are listed and count as wrong).
    2: nothing could be scored. 130: Ctrl-C; what was finished is kept, --resume continues.
    """
    from ..benchmarks.evaluator import evaluate as score
    from .progress import EvaluationBar

    source, data = _given(dataset, predictions, root, gt_dir, pred_dir)
    folder = out or _default_folder(data, source, resume)
    names = _names(protocol)
    _announce(source, data, names, threshold, quiet=json_)
    with EvaluationBar() as bar:
        found = score(
            source,
            data,
            protocol=names,
            out=folder,
            workers=workers,
            resume=resume,
            threshold=threshold,
            layout=layout,
            merge_rule=_merge_rule(merge_rule),
            per_frame=per_frame,
            limit=limit,
            bounds=bounds,
            progress=bar,
        )
    results = found if isinstance(found, list) else [found]
    if overlays:
        _draw(results, source, data, overlays, threshold, layout)
    _write(results, csv, markdown)
    _show(results, folder or source, json_)
    raise typer.Exit(0 if all(r.complete for r in results) else 1)


evaluate.epilog = (  # type: ignore[attr-defined]
    "Example: rvos evaluate mevis/valid_u --root data/mevis --predictions out/masks --out runs/mine"
)


# What was given -------------------------------------------------------------------------------------------------------


def _given(
    dataset: str | None, predictions: Path | None, root: Path | None, gt_dir: Path | None, pred_dir: Path | None
) -> tuple[Path, RVOSDataset]:
    """The predictions and the data they answer."""
    from ..benchmarks.runs import Run, is_run
    from ..datasets.folders import MaskFolders
    from ..datasets.registry import load

    if gt_dir is not None or pred_dir is not None:
        if gt_dir is None or pred_dir is None or dataset or predictions or root:
            raise UsageError("Give --gt-dir and --pred-dir together and neither a dataset, --root nor --predictions.")
        return pred_dir, MaskFolders(gt_dir)
    if predictions is None:
        raise UsageError("Nothing to score: give --predictions FOLDER (or --gt-dir A --pred-dir B).")
    if dataset is not None:
        return predictions, load(dataset, root=root)
    if not is_run(predictions):
        raise UsageError(f"Which dataset does {predictions} answer? Give it first: rvos evaluate mevis/valid_u …")
    made_on = Run.open(predictions).record.dataset
    return predictions, load(made_on.id, root=root or made_on.root)


def _default_folder(data: RVOSDataset, source: Path, resume: bool) -> Path | None:
    """None where the predictions are a run, which keeps its scores itself."""
    from ..benchmarks.runs import is_run

    if is_run(source):
        return None
    if resume:
        raise UsageError("--resume needs the run folder to continue: --out RUN.")
    return Path("runs") / f"{data.id.replace('/', '-')}-{datetime.now():%Y%m%d-%H%M%S}"


def _names(protocol: list[str] | None) -> str | list[str] | None:
    if not protocol:
        return None
    if "all" in protocol and len(protocol) > 1:
        raise UsageError("--protocol all already names every protocol; leave the others out.")
    return protocol[0] if len(protocol) == 1 else protocol


def _merge_rule(name: str | None) -> MergeRule | None:
    from ..benchmarks.predictions import MergeRule

    rules: tuple[MergeRule, ...] = get_args(MergeRule)
    if name is None:
        return None
    if name not in rules:
        raise UnknownNameError("merge rule", name, rules)
    return rules[rules.index(name)]


# What is printed and written -----------------------------------------------------------------------------------------


def _announce(
    source: Path, data: RVOSDataset, names: str | list[str] | None, threshold: float | None, quiet: bool
) -> None:
    """The protocols in words, then what is odd about the predictions."""
    from ..benchmarks.evaluator import choose_protocols
    from ..benchmarks.predictions import diagnose

    stream = sys.stderr if quiet else sys.stdout
    for protocol in choose_protocols(names, data):
        print(f"{protocol.id}: {protocol.words}", file=stream)
    for finding in diagnose(source, data, threshold):
        print(finding, file=stream, flush=True)


def _draw(
    results: Sequence[Result],
    source: Path,
    data: RVOSDataset,
    count: int,
    threshold: float | None,
    layout: str | None,
) -> None:
    from ..benchmarks.predictions import open_predictions
    from ..leaderboard.gallery import worst_pictures

    masks = open_predictions(source, data, threshold=threshold, layout=layout)
    for result in results:
        assert result.path is not None
        worst_pictures(result, data, masks, result.path / "overlays", count)


def _write(results: Sequence[Result], csv: Path | None, markdown: Path | None) -> None:
    from ..benchmarks.results import csv_of
    from .output import write_text

    if markdown is not None:
        write_text(markdown, "\n".join(r.to_markdown() for r in results))
    if csv is not None:
        write_text(csv, csv_of(results))


def _show(results: Sequence[Result], folder: Path, as_json: bool) -> None:
    from rich.console import Console

    from ..leaderboard.tables import print_results

    if as_json:
        records = [json.loads(r.to_json()) for r in results]
        print(json.dumps(records if len(records) > 1 else records[0], indent=2, ensure_ascii=False))
        return
    print_results(results, Console())
    print(f"Run: {folder}")

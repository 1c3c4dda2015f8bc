"""``rvos submit``: the zip that an evaluation server takes, and a dry run of one that somebody made."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ..datasets.errors import UsageError

if TYPE_CHECKING:
    from ..datasets.types import RVOSDataset

_LISTED = 10


def submit(
    dataset: Annotated[str, typer.Argument(metavar="DATASET[/SPLIT]", help="mevis, ref-youtube-vos or vots.")],
    predictions: Annotated[
        Path | None, typer.Option(help="Folder, zip, RLE JSON or run folder with the masks.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The zip to write.")] = None,
    check: Annotated[Path | None, typer.Option(help="A zip of your own: list what the server would trip over.")] = None,
    root: Annotated[Path | None, typer.Option(help="Folder of the dataset.")] = None,
    threshold: Annotated[
        float | None, typer.Option(help="Share of the largest value (0-1] from which grey values are foreground.")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="Layout of the predictions, where it is not recognised.")] = None,
    fill_missing: Annotated[
        bool, typer.Option("--fill-missing", help="Write empty masks for frames without a usable one.")
    ] = False,
    tracker: Annotated[str, typer.Option(help="vots: the identifier in the workspace's trackers.ini.")] = "rvos",
    json_: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Write and check the zip for the MeViS or Ref-YouTube-VOS server, or results for the VOTS referral challenge.

    Exit code 0: the zip is right. 1: masks lack (nothing is written without --fill-missing), or the checked zip has
    errors. 2: usage.
    """
    if check is not None:
        if predictions is not None or out is not None:
            raise UsageError("--check looks at a zip that exists; leave --predictions and --out out.")
        _check(_opened(dataset, root), check, json_)
        return
    if predictions is None or out is None:
        raise UsageError("Give --predictions FOLDER and --out submission.zip, or --check submission.zip.")
    options = {"threshold": threshold, "layout": layout, "fill_missing": fill_missing}
    _write(_opened(dataset, root), predictions, out, tracker, options, json_)


submit.epilog = (  # type: ignore[attr-defined]
    "Example: rvos submit mevis --root data/mevis --predictions out/masks --out submission.zip"
)


def _opened(name: str, root: Path | None) -> RVOSDataset:
    """The dataset; without a split, the one that the server scores."""
    from ..benchmarks.submissions import SERVERS
    from ..datasets.registry import load, resolve_dataset

    dataset = resolve_dataset(name)
    if "/" not in name and dataset in SERVERS:
        name = f"{name}/{SERVERS[dataset].split}"
    return load(name, root)


def _write(
    dataset: RVOSDataset,
    predictions: Path,
    out: Path,
    tracker: str,
    options: dict[str, Any],
    as_json: bool,
) -> None:
    from ..benchmarks.submissions import write_submission
    from ..benchmarks.vots_results import write_vots_results
    from .bar import Bar

    with Bar("Writing masks") as bar:
        if dataset.name == "vots":
            report = write_vots_results(predictions, dataset, out, tracker=tracker, progress=bar, **options)
        else:
            report = write_submission(predictions, dataset, out, progress=bar, **options)
    if as_json:
        typer.echo(json.dumps(report.as_dict(), indent=1, ensure_ascii=False))
    else:
        for line in report.lacking[:_LISTED]:
            typer.echo(f"{'filled' if report.path else 'error'}: {line}")
        if len(report.lacking) > _LISTED:
            typer.echo(f"… and {len(report.lacking) - _LISTED} more; --json lists all.")
        for note in report.notes:
            typer.echo(f"note: {note}")
    if report.path is None:
        if report.unfillable:
            typer.echo("rvos: nothing written: a video without images or masks has no size to fill.", err=True)
        else:
            typer.echo(
                f"rvos: nothing written: {len(report.lacking)} masks lack. Predict them, or give --fill-missing.",
                err=True,
            )
        raise typer.Exit(1)
    if not as_json:
        typer.echo(f"{report.n_videos} videos, {report.n_expressions} expressions, {report.n_masks} masks")
        typer.echo(str(report.path))


def _check(dataset: RVOSDataset, path: Path, as_json: bool) -> None:
    from ..benchmarks.submission_check import check_submission
    from ..benchmarks.submissions import server_of
    from ..benchmarks.vots_results import check_vots_results
    from .bar import Bar

    with Bar("Reading masks") as bar:
        if dataset.name == "vots":
            title, findings = "the VOT toolkit", check_vots_results(path, dataset, progress=bar)
        else:
            title, findings = server_of(dataset).title, check_submission(path, dataset, progress=bar)
    ok = not any(finding.severity == "error" for finding in findings)
    if as_json:
        record = {"path": str(path), "ok": ok, "findings": [finding.__dict__ for finding in findings]}
        typer.echo(json.dumps(record, indent=1, ensure_ascii=False))
    else:
        for finding in findings:
            typer.echo(str(finding))
        verdict = "nothing that it would trip over" if ok else "it would trip over this"
        typer.echo(f"{path} for {title} ({dataset.id}): {verdict}.")
    raise typer.Exit(0 if ok else 1)

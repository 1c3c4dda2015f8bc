"""The commands of ``rvos datasets`` that write data: convert, export, push, download."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import typer

Name = Annotated[str, typer.Argument(metavar="DATASET[/SPLIT]", help="e.g. mevis/valid_u, reasonvos, davis/val")]
Root = Annotated[
    Path | None,
    typer.Option(help="The dataset's folder; by default RVOS_<NAME>_ROOT, the config file, RVOS_DATA_ROOT."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def convert(
    name: Name,
    to: Annotated[str, typer.Option(metavar="LAYOUT[/SPLIT]", help="reasonvos, mevis, ref-youtube-vos, ref-davis17.")],
    out: Annotated[Path, typer.Option(help="The new root; another split may be added to one that exists.")],
    root: Root = None,
    original: Annotated[
        bool, typer.Option("--original", help="Ref-DAVIS-17: read DAVIS's own folders and text files.")
    ] = False,
    frames: Annotated[
        str, typer.Option(help="link (copied where the disk differs), copy or none; never re-encoded.")
    ] = "link",
    as_json: AsJson = False,
) -> None:
    """Write a dataset in another benchmark's layout, and list what that layout has no place for.

    Exit code 0: written, whether or not something is lost (it is listed, and recorded in conversion-<split>.json).
    """
    from ..datasets.conversion import convert as write
    from ..datasets.registry import load
    from .bar import Bar

    dataset = load(name, root, **({"layout": "original"} if original else {}))
    with Bar("Converting") as bar:
        done = write(dataset, to, out, frames=frames, progress=bar)  # type: ignore[arg-type]
    if as_json:
        _print_json(done.as_dict())
        return
    for loss in done.losses:
        typer.echo(str(loss))
    if not done.losses:
        typer.echo("Nothing is lost.")
    typer.echo(
        f"{done.source} as {done.target}: {done.n_videos} videos, {done.n_expressions} sentences; frames: "
        f"{done.n_linked} linked, {done.n_copied} copied, {done.n_encoded} written as PNG"
    )
    typer.echo(str(done.root))


def export(
    name: Name,
    out: Annotated[Path, typer.Option(help="Folder of the export; another split may be added to one that exists.")],
    root: Root = None,
    to: Annotated[str, typer.Option(help="parquet.")] = "parquet",
    frames: Annotated[bool, typer.Option(help="Whether images are written; masks alone can be scored.")] = True,
    shard_mb: Annotated[int, typer.Option(min=1, help="Size from which the next video begins a new file.")] = 256,
    as_json: AsJson = False,
) -> None:
    """Write a dataset as parquet that Hugging Face datasets, and rvos itself, read without unpacking."""
    from ..datasets.errors import UnknownNameError
    from ..datasets.parquet import export_parquet
    from ..datasets.registry import load
    from .bar import Bar

    if to != "parquet":
        raise UnknownNameError("export format", to, ["parquet"])
    with Bar("Exporting") as bar:
        done = export_parquet(load(name, root), out, frames=frames, shard_bytes=shard_mb << 20, progress=bar)
    if as_json:
        _print_json(vars(done))
        return
    typer.echo(
        f"{done.n_videos} videos, {done.n_samples} sentences, {done.n_frames} frames in {len(done.files)} files "
        f"({done.n_bytes / 1e6:.1f} MB)"
    )
    typer.echo(f"Load it with: --root {out}; send it to the hub with: rvos datasets push {out} OWNER/NAME")
    typer.echo(str(done.root))


def push(
    folder: Annotated[Path, typer.Argument(help="What rvos datasets export wrote.")],
    repo: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="The dataset repository; made where it is missing.")
    ],
    public: Annotated[bool, typer.Option("--public", help="A new repository is public; private without.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send an export to the Hugging Face hub, private by default. The same command resumes one that stopped."""
    from ..datasets.hub import push as send
    from .bar import Bar

    with Bar("Sending files") as bar:
        url, n_sent, n_there = send(folder, repo, private=not public, progress=bar)
    if as_json:
        _print_json({"url": url, "n_sent": n_sent, "n_there": n_there})
        return
    typer.echo(f"{n_sent} files sent, {n_there} were there: {url}")
    typer.echo(f"Score masks against it with: rvos evaluate hf://{repo} --predictions FOLDER")


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))

"""The commands of ``rvos datasets`` that write data: convert, export, push, download."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..datasets.types import RVOSDataset

Name = Annotated[str, typer.Argument(metavar="DATASET[/SPLIT]", help="e.g. mevis/valid_u, reasonvos, davis/val")]
Root = Annotated[
    Path | None,
    typer.Option(help="The dataset's folder; by default RVOS_<NAME>_ROOT, the config file, RVOS_DATA_ROOT."),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def convert(
    name: Name,
    to: Annotated[
        str,
        typer.Option(
            metavar="LAYOUT[/SPLIT]",
            help="reasonvos, mevis, ref-youtube-vos, ref-davis17, revos, long-rvos, groundmore, mp4-rle; of images "
            "reasonseg, refcoco, refcoco+, refcocog, refclef.",
        ),
    ],
    out: Annotated[Path, typer.Option(help="The new root; another split may be added to one that exists.")],
    root: Root = None,
    original: Annotated[
        bool, typer.Option("--original", help="Ref-DAVIS-17: read DAVIS's own folders and text files.")
    ] = False,
    frames: Annotated[
        str, typer.Option(help="link (copied where the disk differs), copy or none; only mp4-rle codes them anew.")
    ] = "link",
    crf: Annotated[
        int, typer.Option(min=0, max=51, help="mp4-rle: x264's rate factor; 0 changes no pixel, larger is smaller.")
    ] = 18,
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
        done = write(dataset, to, out, frames=frames, crf=crf, progress=bar)  # type: ignore[arg-type]
    if as_json:
        _print_json(done.as_dict())
        return
    for loss in done.losses:
        typer.echo(str(loss))
    if not done.losses:
        typer.echo("Nothing is lost.")
    typer.echo(
        f"{done.source} as {done.target}: {done.n_videos} videos, {done.n_expressions} sentences; frames: "
        f"{done.n_linked} linked, {done.n_copied} copied, {done.n_encoded} coded anew"
    )
    typer.echo(str(done.root))


def export(
    name: Name,
    out: Annotated[
        Path | None, typer.Option(help="Folder of the export; another split may be added to one that exists.")
    ] = None,
    root: Root = None,
    to: Annotated[str, typer.Option(help="parquet, or hub: exported, and sent to --repo.")] = "parquet",
    repo: Annotated[str | None, typer.Option(metavar="OWNER/NAME", help="hub: the dataset repository.")] = None,
    public: Annotated[bool, typer.Option("--public", help="hub: a new repository is public; private without.")] = False,
    frames: Annotated[bool, typer.Option(help="Whether images are written; masks alone can be scored.")] = True,
    shard_mb: Annotated[int, typer.Option(min=1, help="Size from which the next video begins a new file.")] = 256,
    as_json: AsJson = False,
) -> None:
    """Write a dataset as parquet that Hugging Face datasets, and rvos itself, read without unpacking.

    --to hub sends it as well: with --out the folder stays, and rvos datasets push resumes what stopped.
    """
    from ..datasets.errors import UnknownNameError, UsageError

    if to not in ("parquet", "hub"):
        raise UnknownNameError("export format", to, ["parquet", "hub"])
    if (to == "hub") != (repo is not None) or (to == "parquet" and out is None):
        raise UsageError("Give --to parquet --out FOLDER, or --to hub --repo OWNER/NAME.")
    if repo is None:
        assert out is not None
        _write_parquet(name, root, out, frames, shard_mb, as_json)
    elif _is_project(name):
        _publish(name, repo, public, frames, as_json)
    elif out is not None:
        _write_parquet(name, root, out, frames, shard_mb, False, quiet=as_json)
        push(out, repo, public, as_json)
    else:
        with tempfile.TemporaryDirectory(prefix="rvos-export-") as folder:
            _write_parquet(name, root, Path(folder) / "export", frames, shard_mb, False, quiet=True)
            push(Path(folder) / "export", repo, public, as_json)


def _write_parquet(
    name: str, root: Path | None, out: Path, frames: bool, shard_mb: int, as_json: bool, quiet: bool = False
) -> None:
    from ..datasets.parquet_export import export_parquet
    from ..datasets.registry import load
    from .bar import Bar

    own_name: str | None = None
    withheld: dict[str, str] = {}
    dataset: RVOSDataset
    if _is_project(name):  # whose licences may keep frames back
        from ..datasets.annotation.exporting import view

        project, withheld = view(name)
        dataset, own_name = project, project.project.head.name
    else:
        dataset = load(name, root)
    with Bar("Exporting") as bar:
        done = export_parquet(dataset, out, frames=frames, name=own_name, shard_bytes=shard_mb << 20, progress=bar)
    if as_json:
        _print_json({**vars(done), "withheld": withheld})
    elif not quiet:
        _note_withheld(withheld)
        typer.echo(
            f"{done.n_videos} videos, {done.n_samples} sentences, {done.n_frames} frames in {len(done.files)} files "
            f"({done.n_bytes / 1e6:.1f} MB)"
        )
        typer.echo(f"Load it with: --root {out}; send it to the hub with: rvos datasets push {out} OWNER/NAME")
        typer.echo(str(done.root))


def _is_project(name: str) -> bool:
    """Whether a name is a folder of the annotation workbench."""
    from ..datasets.registry import ANNOTATION_HEAD

    return (Path(name) / ANNOTATION_HEAD).is_file()


def push(
    folder: Annotated[Path, typer.Argument(help="What rvos datasets export, or the annotation workbench, wrote.")],
    repo: Annotated[
        str, typer.Argument(metavar="OWNER/NAME", help="The dataset repository; made where it is missing.")
    ],
    public: Annotated[bool, typer.Option("--public", help="A new repository is public; private without.")] = False,
    as_json: AsJson = False,
) -> None:
    """Send an export or an annotation project to the Hugging Face hub, private by default.

    The same command resumes one that stopped. Frames of a project are sent where its clips' licences allow it.
    """
    from ..datasets.hub import push as send
    from .bar import Bar

    if _is_project(str(folder)):
        _publish(str(folder), repo, public, True, as_json)
        return
    with Bar("Sending files") as bar:
        url, n_sent, n_there = send(folder, repo, private=not public, progress=bar)
    _print_sent({"url": url, "n_sent": n_sent, "n_there": n_there}, repo, as_json)


def _publish(folder: str, repo: str, public: bool, frames: bool, as_json: bool) -> None:
    from ..datasets.annotation.publishing import publish
    from .bar import Bar

    with Bar("Sending files") as bar:
        done = publish(folder, repo, private=not public, frames=frames, progress=bar)
    _note_withheld({} if as_json else done.withheld)
    _print_sent(vars(done), repo, as_json)


def _note_withheld(withheld: dict[str, str]) -> None:
    for clip, reason in withheld.items():
        typer.echo(f"note: frames of {clip} are not passed on: {reason}.")


def _print_sent(facts: dict[str, Any], repo: str, as_json: bool) -> None:
    if as_json:
        _print_json(facts)
        return
    typer.echo(f"{facts['n_sent']} files sent, {facts['n_there']} were there: {facts['url']}")
    typer.echo(f"Score masks against it with: rvos evaluate hf://{repo} --predictions FOLDER")


def download(
    name: Annotated[str, typer.Argument(metavar="DATASET", help="mevis, davis, …, or hf://OWNER/NAME[@REVISION].")],
    out: Annotated[Path | None, typer.Option(help="Folder that becomes the dataset's root.")] = None,
    from_archive: Annotated[
        list[Path] | None, typer.Option(help="An archive that you downloaded; may be repeated.")
    ] = None,
    sha256: Annotated[str | None, typer.Option(help="What the one archive's SHA-256 must be.")] = None,
    as_json: AsJson = False,
) -> None:
    """Fetch a dataset from its mirror on the hub, or say step by step where it comes from; unpack and verify archives.

    With --out, a dataset that has a mirror is fetched, unpacked and opened. Every file belongs to one commit and is
    checked; the same command resumes one that stopped. hf://OWNER/NAME fetches the files of any repository.

    Exit code 0: fine. 1: unpacked, but nothing opens yet. 2: an archive is damaged or not safe; nothing was kept.
    """
    from ..datasets.errors import UsageError
    from ..datasets.mirrors import SOURCES
    from ..datasets.registry import resolve_dataset

    if out is None and (from_archive or name.startswith("hf://")):
        raise UsageError("Where to? Give --out FOLDER.")
    if sha256 is not None and len(from_archive or ()) != 1:
        raise UsageError("--sha256 is for one --from-archive FILE.")
    if from_archive and out is not None:
        _unpack(name, from_archive, out, sha256, as_json)
    elif name.startswith("hf://") and out is not None:
        _fetch(name, out, as_json)
    elif out is not None and resolve_dataset(name) in SOURCES:
        _fetch_mirror(resolve_dataset(name), out, as_json)
    else:
        _instruct(name, out, as_json)


def _unpack(name: str, archives: list[Path], out: Path, sha256: str | None, as_json: bool) -> None:
    from ..datasets.errors import DatasetError
    from ..datasets.parquet import file_digest
    from ..datasets.unpacking import unpack
    from .bar import Bar

    if sha256 is not None and (found := file_digest(archives[0])) != sha256.lower():
        raise DatasetError(f"{archives[0]}: its SHA-256 is {found}, expected {sha256}; download it again.")
    with Bar("Unpacking") as bar:
        done = unpack(name, archives, out, progress=bar)
    if as_json:
        _print_json(done.as_dict())
    else:
        for note in done.notes:
            typer.echo(f"note: {note}")
        if done.left_out:
            typer.echo(f"note: {len(done.left_out)} files belong to no part of it, first {done.left_out[0]}.")
        for split, (videos, sentences) in done.splits.items():
            typer.echo(f"{split}: {videos} videos, {sentences} sentences")
        typer.echo(f"{done.n_files} files. Look at all of them with: rvos datasets check {name} --root {done.root}")
        typer.echo(str(done.root))
    raise typer.Exit(0 if done.splits else 1)


def _fetch(name: str, out: Path, as_json: bool) -> None:
    from ..datasets.hub import download as fetch
    from .bar import Bar

    with Bar("Fetching files") as bar:
        commit, files = fetch(name, out, progress=bar)
    if as_json:
        _print_json({"name": name, "commit": commit, "files": files, "out": out})
        return
    typer.echo(f"{len(files)} files of {name}, commit {commit}")
    archives = [path for path in files if path.name.endswith((".zip", ".tar", ".tar.gz", ".tgz"))]
    if archives:
        words = " ".join(f"--from-archive {path}" for path in archives[:3])
        typer.echo(f"Unpack them with: rvos datasets download DATASET {words} --out FOLDER")
    typer.echo(str(out))


def _fetch_mirror(dataset: str, out: Path, as_json: bool) -> None:
    from ..datasets.mirrors import SOURCES, fetch_mirror, find_root
    from .bar import Bar

    if not as_json:
        typer.echo(f"{dataset} from hf://{SOURCES[dataset]}")
    with Bar("Fetching files") as bar:
        commit = fetch_mirror(f"hf://{SOURCES[dataset]}", out, progress=bar)
    root = find_root(dataset, out)
    if as_json:
        _print_json({"dataset": dataset, "mirror": SOURCES[dataset], "commit": commit, "root": root})
        return
    typer.echo(f"Commit {commit}. Look at all of it with: rvos datasets check {dataset} --root {root}")
    typer.echo(str(root))


def _instruct(name: str, out: Path | None, as_json: bool) -> None:
    from ..datasets.cards import load_card
    from ..datasets.registry import entry_of, resolve_dataset

    dataset = resolve_dataset(name)
    card, generated = load_card(dataset), entry_of(dataset).generated
    folder = out or Path("data") / dataset
    steps = [] if generated else _steps(dataset, [(d.what, d.url, d.note) for d in card.download], folder)
    if as_json:
        _print_json({"dataset": dataset, "generated": generated, "license": card.license, "steps": steps})
        return
    typer.echo(f"{card.title}. Licence: {card.license}")
    if generated:
        typer.echo(
            f"Needs no download: it is generated when it is first asked for, e.g. rvos datasets stats {dataset}/test"
        )
    for number, step in enumerate(steps, start=1):
        typer.echo(f"{number}. {step}")


def _steps(dataset: str, parts: list[tuple[str, str, str]], folder: Path) -> list[str]:
    """Where each part is, and what to do then. A repository on the hub is fetched by a command."""
    from ..datasets.mirrors import SOURCES

    steps = []
    hub = "https://huggingface.co/datasets/"
    if dataset in SOURCES:
        steps.append(f"All at once, from its mirror on the hub: rvos datasets download {dataset} --out {folder}. Or:")
    for what, url, note in parts:
        if url.startswith(hub):
            command = f"rvos datasets download hf://{url.removeprefix(hub)} --out {folder}-archives"
            steps.append(f"Fetch {what} ({url}): {command}. {note}".rstrip())
        else:
            steps.append(f"Download {what}: {url} {note}".rstrip())
    steps.append(f"Unpack and verify: rvos datasets download {dataset} --from-archive FILE … --out {folder}")
    steps.append(f"Remember the folder: rvos datasets roots --set {dataset}={folder}")
    return steps


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))

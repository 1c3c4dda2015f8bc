"""The commands of ``rvos annotate`` that lead into a project and out of it: import, export, check, merge.

Those that lead out take a workbench's project or a folder in its native format, which needs none of the workbench's own
packages.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

if TYPE_CHECKING:
    from ..datasets.annotation.contribution import Checked

Given = Annotated[Path, typer.Argument(help="A project, or a folder that `rvos annotate export --to native` wrote.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON.")]


def import_(
    project: Annotated[Path, typer.Argument(help="Folder of the project; made where there is none.")],
    kind: Annotated[
        str,
        typer.Option(
            "--from",
            metavar="KIND[/SPLIT]",
            help="reasonvos, mevis, ref-youtube-vos, ref-davis17 or another dataset of rvos; burst, vipseg, mose, "
            "coco, youtube-vis, label-maps; annotation for another project's folder.",
        ),
    ],
    root: Annotated[Path, typer.Option(help="Its folder; for burst, coco and youtube-vis the JSON file.")],
    images: Annotated[
        Path | None, typer.Option(help="Where the frames are, for collections that keep them elsewhere.")
    ] = None,
    split: Annotated[str, typer.Option(help="e.g. valid_u.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the videos, where the collection's own is not known.")] = "",
    consent: Annotated[str, typer.Option(help="Who is seen and that they agreed.")] = "",
    may_copy: Annotated[
        bool | None, typer.Option("--may-copy/--may-not-copy", help="Whether exports may hold the frames.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first N clips.")] = None,
) -> None:
    """Bring videos, masks and sentences that exist already into a project. Masks become tracks of origin imported.

    A clip that the project has already is left as it is, so that a second call goes on where the first ended.
    """
    _needs_workbench(project)
    from ..datasets.annotation.conversion import add_imported
    from ..datasets.annotation.importing import import_dataset
    from ..datasets.annotation.journal import Author
    from ..datasets.annotation.native import is_native, read
    from ..datasets.annotation.store import OWNER, Store

    found = import_dataset(
        kind, root, split=split, images=images, licence=licence, consent=consent, may_copy_frames=may_copy, limit=limit
    )
    people = read(root).head.people if is_native(root) else ()
    with Store.open(project) if project.exists() else Store.create(project, "", "") as store:
        there = {row["id"] for row in store.clips()}
        for imported in found:
            clip = imported.clip
            if clip.id in there:
                typer.echo(f"{clip.id}: in the project already, left as it is")
                continue
            add_imported(store, [imported], Author(OWNER), people=people)
            people = ()
            n_objects, n_expressions = len(clip.objects), len(clip.expressions)
            typer.echo(f"{clip.id}: {len(clip.frames)} frames, {n_objects} objects, {n_expressions} sentences")
            for note in imported.notes:
                typer.echo(f"{clip.id}: {note}")
    typer.echo(str(project))


def export(
    project: Given,
    out: Annotated[Path, typer.Option(help="Folder to write; must not hold that layout and split already.")],
    to: Annotated[
        str,
        typer.Option(
            metavar="LAYOUT[/SPLIT]",
            help="native (loses nothing), reasonvos, mevis, ref-youtube-vos, ref-davis17, or another that "
            "`rvos datasets convert` writes.",
        ),
    ] = "native",
    frames: Annotated[
        str, typer.Option(help="link (copied where the disk differs), copy or none; never where a licence forbids it.")
    ] = "copy",
    as_json: AsJson = False,
) -> None:
    """Write a project as a dataset, list what the layout has no place for, and check what was written.

    Clips without a licence or a word on consent are refused. Clips whose frames may not be passed on are written as
    annotations that refer to frames by name and SHA-256. Exit code 0: written and sound. 1: written, and checks found
    errors. 2: nothing was written.
    """
    from ..datasets.annotation.contribution import write_report
    from ..datasets.annotation.exporting import NATIVE, verify
    from ..datasets.annotation.exporting import export as write
    from .bar import Bar

    with _native(project) as folder, Bar("Exporting") as bar:
        done = write(folder, to, out, frames=frames, progress=bar)  # type: ignore[arg-type]
    if done.target == NATIVE:
        write_report(out)
    found = verify(done)
    if as_json:
        _print_json({**done.as_dict(), "check": found.as_dict()})
    else:
        for loss in done.losses or ("Nothing is lost.",):
            typer.echo(loss)
        for clip, reason in done.withheld.items():
            typer.echo(f"clip {clip} without its frames: {reason}.")
        typer.echo(str(found))
        typer.echo(str(done.root))
    raise typer.Exit(0 if found.ok else 1)


def check(
    contribution: Given,
    write: Annotated[
        bool, typer.Option("--write", help="Write contribution.json and CONTRIBUTION.md into the folder.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Look at all of a contribution: hashes, masks, sentences, terms, and whether its report says what it holds.

    For continuous integration. Exit code 0: no error, warnings and notes are allowed. 1: errors. 2: it does not open.
    """
    from ..datasets.annotation import contribution as contributions
    from ..datasets.annotation.native import is_native
    from ..datasets.errors import UsageError

    if write and not is_native(contribution):
        raise UsageError(f"{contribution}: --write needs a folder that `rvos annotate export --to native` wrote.")
    with _native(contribution) as folder:
        found = contributions.write_report(folder) if write else contributions.check(folder)
    if as_json:
        _print_json(found.as_dict())
    else:
        _print_checked(found)
        typer.echo(str(contribution))
    raise typer.Exit(0 if found.ok else 1)


def merge(
    first: Given,
    second: Given,
    out: Annotated[Path, typer.Option(help="The new folder, in the native format.")],
    suffix: Annotated[str, typer.Option(help="Added to the second's ids where they mean something else.")] = "@other",
    as_json: AsJson = False,
) -> None:
    """Make one of two projects. Nothing is lost: what both say otherwise is kept twice, and listed.

    Neither of the two is changed. Go on with the result: rvos annotate import NEW --from annotation --root OUT.
    """
    from ..datasets.annotation.merging import merge as join

    with _native(first) as a, _native(second) as b:
        done = join(a, b, out, suffix=suffix)
    if as_json:
        _print_json(done.as_dict())
        return
    for conflict in done.conflicts:
        typer.echo(str(conflict))
    conflicts = f"{len(done.conflicts)} conflicts, listed above" if done.conflicts else "no conflicts"
    typer.echo(f"{done.n_clips} clips, {done.n_objects} objects, {done.n_expressions} sentences; {conflicts}")
    typer.echo(str(done.root))


@contextmanager
def _native(path: Path) -> Iterator[Path]:
    """The native folder that a path is, or that a workbench's project gives for the time being."""
    from ..datasets.annotation.native import is_native

    if is_native(path):
        yield path
        return
    _needs_workbench(path)
    from ..datasets.annotation.conversion import as_native
    from ..datasets.annotation.store import Store

    with Store.open(path) as store, as_native(store) as folder:
        yield folder


def _needs_workbench(path: Path) -> None:
    """Raises MissingExtraError where the package that reads a workbench's project is not installed."""
    from importlib.util import find_spec

    from ..datasets.errors import MissingExtraError

    if find_spec("sqlalchemy") is None:
        raise MissingExtraError(f"{path}, a project of the workbench,", "annotate")


def _print_checked(found: Checked) -> None:
    from rich.console import Console
    from rich.text import Text

    console = Console(soft_wrap=True, highlight=False)
    styles = {"error": "bold red", "warning": "yellow", "note": "dim"}
    for one in found.findings:
        words = f"{one.place}: {one.message} {one.next_step}".rstrip()
        console.print(Text(one.severity, styles[one.severity]), Text(f"{words} [{one.code}]"))
    counts = ", ".join(f"{n} {severity}{'s' * (n != 1)}" for severity, n in found.as_dict()["counts"].items())
    sentences = found.report["sentences"]["all"]
    typer.echo(f"{found.report['name']}: {len(found.report['clips'])} clips, {sentences} sentences; {counts}.")


def _print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=1, ensure_ascii=False, default=str))

"""``rvos annotate``: the annotation workbench."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from .annotate_files import check, export, import_, merge

if TYPE_CHECKING:
    from ..datasets.annotation.store import Store
    from ..datasets.annotation.videos import Found

app = typer.Typer(
    no_args_is_help=True,
    help="Draw object tracks, write sentences about them, have them checked, export a dataset.",
    epilog="Example: rvos annotate init my-set --videos frames",
)

app.command("import", epilog="Example: rvos annotate import my-set --from mevis/valid_u --root data/mevis")(import_)
app.command(epilog="Example: rvos annotate export my-set --to reasonvos --out out/reasonvos")(export)
app.command(epilog="Example: rvos annotate check contributions/my-set")(check)
app.command(epilog="Example: rvos annotate merge my-set their-set --out out/both")(merge)


@app.command(epilog="Example: rvos annotate init my-set --videos frames --licence CC-BY-4.0")
def init(
    project: Annotated[Path, typer.Argument(help="Folder of the new project.")],
    videos: Annotated[
        Path | None,
        typer.Option(
            help="Folder with a sub-folder of frames, or a video file, for each clip. Without it the project starts "
            "empty; clips are then added in the browser or by `rvos annotate add` and `import`."
        ),
    ] = None,
    name: Annotated[str, typer.Option(help="Name of the project; its folder's by default.")] = "",
    licence: Annotated[str, typer.Option(help="Licence of the annotations.")] = "",
    frames_licence: Annotated[str, typer.Option(help="Licence of the videos, for all clips.")] = "",
    consent: Annotated[str, typer.Option(help="Who is seen and that they agreed, for all clips.")] = "",
    may_copy: Annotated[
        bool | None, typer.Option("--may-copy/--may-not-copy", help="Whether exports may hold the frames.")
    ] = None,
) -> None:
    """Make a project. Frames are linked into it, or copied where the disk cannot link."""
    _needs_extra()
    from ..datasets.annotation.store import Store
    from ..datasets.annotation.videos import find_videos

    found = [] if videos is None else find_videos(videos)
    with Store.create(project, name, licence) as store:
        _add_videos(store, found, {"licence": frames_licence, "consent": consent, "may_copy_frames": may_copy})
    print(f"Start with: rvos annotate serve {project}")
    print(project)


@app.command(epilog="Example: rvos annotate add my-set --videos more-frames --frames-licence CC-BY-4.0")
def add(
    project: Annotated[Path, typer.Argument(help="Folder of the project.")],
    videos: Annotated[Path, typer.Option(help="Folder with a sub-folder of frames, or a video file, for each clip.")],
    frames_licence: Annotated[str, typer.Option(help="Licence of these videos.")] = "",
    consent: Annotated[str, typer.Option(help="Who is seen and that they agreed.")] = "",
    may_copy: Annotated[
        bool | None, typer.Option("--may-copy/--may-not-copy", help="Whether exports may hold the frames.")
    ] = None,
) -> None:
    """Add videos to a project, also while it is being served. One whose name is taken stops the command."""
    _needs_extra()
    from ..datasets.annotation.videos import find_videos

    with _opened(project) as store:
        found = find_videos(videos)
        _add_videos(store, found, {"licence": frames_licence, "consent": consent, "may_copy_frames": may_copy})
    print(project)


def _add_videos(store: Store, found: list[Found], source: dict[str, Any]) -> None:
    from ..datasets.annotation.journal import Author
    from ..datasets.annotation.store import OWNER
    from ..datasets.annotation.videos import add_video

    for one in found:
        clip = add_video(store, one, Author(OWNER), source)
        print(f"{clip['id']}: {clip['n_frames']} frames of {clip['width']}x{clip['height']}")


@app.command(epilog="Example: rvos annotate serve my-set --port 8765")
def serve(
    project: Annotated[Path, typer.Argument(help="Folder of the project.")],
    host: Annotated[str, typer.Option(help="Address to listen at; others than this machine need a token link.")] = (
        "127.0.0.1"
    ),
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port; 0 takes a free one.")] = 8765,
    name: Annotated[list[str] | None, typer.Option(help="Host name by which others call this machine.")] = None,
    sam: Annotated[str | None, typer.Option(help="Weights of SAM: a folder, or owner/name on the hub.")] = None,
    sam2: Annotated[str | None, typer.Option(help="Weights of SAM 2's video model.")] = None,
    device: Annotated[str, typer.Option(help="cuda or cpu, for SAM and SAM 2.")] = "cpu",
    paraphrase_url: Annotated[
        str | None, typer.Option(help="Base address of an OpenAI-compatible language model.")
    ] = None,
    paraphrase_model: Annotated[str, typer.Option(help="Its name at that address.")] = "default",
    open_browser: Annotated[bool, typer.Option("--open/--no-open", help="Open the page in a browser.")] = False,
) -> None:
    """Open the workbench in a browser. The printed link is the owner's; it changes with every start."""
    _needs_extra()
    from ..datasets.annotation.models import Models
    from ..datasets.annotation.people import new_link
    from ..datasets.annotation.server import create_app, listen, paraphraser
    from ..datasets.annotation.server import serve as run
    from ..datasets.annotation.store import OWNER, Store

    store = Store.open(project)
    with listen(host, port) as socket:
        asked = None if paraphrase_url is None else paraphraser(paraphrase_url, paraphrase_model)
        loopback = host in ("127.0.0.1", "::1", "localhost")
        app = create_app(store, Models(sam, sam2, device), asked, name or (), loopback)
        shown = host if host not in ("0.0.0.0", "::") else "127.0.0.1"
        shown = f"[{shown}]" if ":" in shown else shown
        link = f"http://{shown}:{socket.getsockname()[1]}/#token={new_link(store, OWNER)}"
        print(f"Annotation workbench of {store.project()['name']}: {link}", flush=True)
        print("Keep the link to yourself; invite others with: rvos annotate invite. Ctrl-C ends it.", flush=True)
        if open_browser:
            import webbrowser

            webbrowser.open(link)
        run(app, socket)
        print("Stopped. Everything that was acknowledged is saved.")


@app.command(epilog="Example: rvos annotate invite my-set --annotator Ana --role blind")
def invite(
    project: Annotated[Path, typer.Argument(help="Folder of the project.")],
    annotator: Annotated[str, typer.Option(help="The person's name.")],
    role: Annotated[str, typer.Option(help="author, blind or reviewer.")],
    clip: Annotated[list[str] | None, typer.Option(help="Assign this clip; may be given several times.")] = None,
    address: Annotated[str, typer.Option(help="Where the server is reached.")] = "http://127.0.0.1:8765",
) -> None:
    """Print a link for a person. It replaces their former one; no account is needed."""
    _needs_extra()
    from ..datasets.annotation import people

    with _opened(project) as store:
        keys = [store.clip_of(clip_id)["key"] for clip_id in clip or ()]
        person, token = people.invite(store, annotator, role)
        for key in keys:
            people.assign(store, person.id, key, "open")
    print(f"{person.name} ({person.role}): {address.rstrip('/')}/#token={token}")


@app.command(epilog="Example: rvos annotate status my-set")
def status(
    project: Annotated[Path, typer.Argument(help="Folder of the project.")],
    json_: Annotated[bool, typer.Option("--json", help="Print plain values.")] = False,
) -> None:
    """How far clips and people are. Exit code 1 where the database is damaged."""
    _needs_extra()
    from ..datasets.annotation.report import status_of

    with _opened(project) as store:
        found = status_of(store)
        damage = store.integrity_problems()
        records = store.latest()
    if json_:
        print(json.dumps({**found, "n_records": records, "damage": damage}))
    else:
        _print_status(found)
        print(f"Journal: {records} records. Database: {'; '.join(damage) or 'sound'}.")
    if damage:
        raise typer.Exit(1)


def _opened(project: Path) -> Store:
    from ..datasets.annotation.store import Store

    return Store.open(project)


def _print_status(found: dict[str, Any]) -> None:
    from rich.console import Console
    from rich.markup import escape
    from rich.table import Table

    console = Console()
    clips = Table(
        "clip", "state", "frames", "objects", "sentences", "drafts", "to accept", "accepted", "rejected", "answers"
    )
    for row in found["clips"]:
        names = ("n_frames", "n_objects", "n_expressions", "n_drafts", "n_machine", "n_accepted", "n_rejected")
        clips.add_row(escape(row["id"]), row["state"], *(str(row[n]) for n in names), f"{row['n_answers']}")
    console.print(clips)
    people = Table("person", "role", "assigned", "done", "answers")
    for row in found["people"]:
        own = [a["state"] for a in found["assignments"] if a["person"] == row["id"]]
        answers = "" if row["n_asked"] is None else f"{row['n_answers']} of {row['n_asked']}"
        name = f"{row['name']}{' (no access)' if row['revoked'] else ''}"
        people.add_row(escape(name), row["role"], str(len(own)), str(own.count("done")), answers)
    console.print(people)


def _needs_extra() -> None:
    """Raises MissingExtraError where the workbench's packages are not installed."""
    from importlib.util import find_spec

    from ..datasets.errors import MissingExtraError

    if any(find_spec(package) is None for package in ("fastapi", "uvicorn", "sqlalchemy")):
        raise MissingExtraError("rvos annotate", "annotate")

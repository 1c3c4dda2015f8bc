"""Routes that start work in the background, clicks on a frame, files that come in and go out, and the report."""

from __future__ import annotations

import os
import re
import shutil
import tempfile
import time
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field
from starlette.responses import FileResponse, Response

from ..errors import RvosError
from ..masks import encode_rle
from ..unpacking import extract
from . import edits, paraphrases, propagation, videos
from .bench import EDITORS, OWNERS, READERS, Answer, Call, Caller, allowed
from .conversion import add_imported, as_native
from .jobs import Job, Progress
from .journal import Author
from .models import Click, check_prompt
from .refusals import Invalid, Unknown
from .routes_clips import done_answer

router = APIRouter()

_EXPORT_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,150}\.zip\Z")
_CLIP_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,119}\Z")
#: how far an uploaded archive may grow; frames hardly shrink, masks and JSON to a tenth
_MOST_GROWTH, _FLOOR, _MOST_UNPACKED = 10, 64 << 20, 8 << 30
_CHUNK = 1 << 20
#: seconds after which nobody works any more on what was uploaded
_OLD_UPLOAD = 6 * 3600


def _job(job: Job, status: int = 202) -> Response:
    return Answer({"job": asdict(job)}, status_code=status)


@router.get("/api/jobs")
@allowed(*READERS)
def list_jobs(caller: Caller) -> Response:
    version = caller.bench.jobs.version
    return Answer({"jobs": caller.bench.jobs.list(), "jobs_version": version})


@router.delete("/api/jobs/{job}")
@allowed(*EDITORS)
def cancel_job(caller: Caller, job: str) -> Response:
    found = caller.bench.jobs.get(job)
    if caller.person.role != "owner" and found.person != caller.person.id:
        raise Unknown("There is no job of yours with this number.")
    return _job(caller.bench.jobs.cancel(job), 200)


# Masks ---------------------------------------------------------------------------------------------------------------


class PropagateBody(edits.Strict):
    object_ids: Annotated[list[edits.Reference], Field(min_length=1, max_length=200)]
    frame: edits.Frame
    until: edits.Frame
    model: edits.Line = "colour-flow@1"
    overwrite: propagation.Overwrite = "propagated"
    stop_at_keyframe: bool = True


@router.post("/api/clips/{clip}/propagate")
@allowed(*EDITORS)
def start_propagation(caller: Caller, clip: int, body: PropagateBody) -> Response:
    caller.expect_editor(clip)
    propagation.check(caller.store, clip, body.object_ids, body.frame, body.until)
    bench, author = caller.bench, Author(caller.person.id, caller.tab)
    propagator = bench.models.propagator(body.model)
    batch = f"job-{os.urandom(6).hex()}"

    def work(progress: Progress) -> dict[str, Any]:
        told = (body.object_ids, body.frame, body.until, propagator, body.overwrite, body.stop_at_keyframe)
        return propagation.propagate(bench.store, clip, *told, author, batch, progress)

    return _job(bench.jobs.start("propagate", clip, author.person, work))


class Point(edits.Strict):
    x: Annotated[float, Field(allow_inf_nan=False)]
    y: Annotated[float, Field(allow_inf_nan=False)]
    positive: bool = True


class SegmentBody(edits.Strict):
    frame: edits.Frame
    model: edits.Line
    points: Annotated[list[Point], Field(max_length=100, default_factory=list)]
    box: Annotated[list[Annotated[float, Field(allow_inf_nan=False)]], Field(min_length=4, max_length=4)] | None = None


@router.post("/api/clips/{clip}/segment")
@allowed(*EDITORS)
def segment(caller: Caller, clip: int, body: SegmentBody) -> Response:
    """A mask from clicks; nothing is stored."""
    caller.expect_editor(clip)
    video = videos.video_of(caller.store, clip)
    clicks = [Click(point.x, point.y, point.positive) for point in body.points]
    box = None if body.box is None else (body.box[0], body.box[1], body.box[2], body.box[3])
    check_prompt(video, body.frame, clicks, box)
    segmenter = caller.bench.models.segmenter(body.model)
    mask = segmenter.segment(video, body.frame, clicks, box)
    return Answer({"counts": encode_rle(mask)["counts"] if mask.any() else "", "model": segmenter.id})


# Paraphrases ---------------------------------------------------------------------------------------------------------


class ParaphraseBody(edits.Strict):
    expression: edits.Reference
    texts: Annotated[list[edits.Sentence], Field(min_length=1, max_length=paraphrases.MOST_TEXTS)] | None = None
    count: Annotated[int, Field(ge=1, le=20)] = 5


@router.post("/api/clips/{clip}/paraphrases")
@allowed(*EDITORS)
def add_paraphrases(caller: Caller, clip: int, body: ParaphraseBody) -> Response:
    caller.expect_editor(clip)
    bench, author = caller.bench, Author(caller.person.id, caller.tab)
    if body.texts is not None:
        with bench.store.change(clip, author, "paraphrases") as change:
            paraphrases.suggest(change, clip, body.expression, body.texts, "file", author)
        return Answer(done_answer(bench.store, clip, edits.done_of(change)))
    asked = bench.paraphrase
    if asked is None:
        raise Invalid("No language model is known here; start with --paraphrase-url, or give the texts.")
    row = next((e for e in bench.store.expressions(clip) if e["id"] == body.expression), None)
    if row is None:
        raise Unknown(f"There is no expression '{body.expression[:80]}' in this clip.")

    def work(progress: Progress) -> dict[str, Any]:
        texts = asked.ask(row["text"], body.count)
        progress(1, 1)
        with bench.store.change(clip, author, "paraphrases") as change:
            added = paraphrases.suggest(change, clip, body.expression, texts, asked.model, author)
        return {"expressions": [one["id"] for one in added]}

    return _job(bench.jobs.start("paraphrase", clip, author.person, work))


# Files that come in --------------------------------------------------------------------------------------------------


@router.post("/api/clips")
@allowed(*OWNERS)
async def upload_clip(caller: Caller, request: Request, name: str, kind: Literal["zip", "video"]) -> Response:
    if not _CLIP_ID.match(name):
        raise Invalid("A clip's name has letters, digits, '-', '_' and '.', and starts with a letter or digit.")
    folder = await _receive(caller, request, "upload.zip" if kind == "zip" else f"{name}.mp4")
    author = Author(caller.person.id, caller.tab)

    def work(progress: Progress) -> dict[str, Any]:
        with _noted(caller, request):
            if kind == "video":
                found = [videos.Found(name, folder / f"{name}.mp4")]
            else:
                found = videos.find_videos(_unpacked(folder))
            if len(found) == 1:
                found = [videos.Found(name, found[0].path, found[0].files)]
            rows = [
                videos.add_video(caller.store, one, author, progress=progress, most_decoded=_MOST_UNPACKED)
                for one in found
            ]
        return {"clips": [row["id"] for row in rows], "keys": [row["key"] for row in rows]}

    return _job(_started(caller, "clip", work, folder))


@router.post("/api/imports")
@allowed(*OWNERS)
async def upload_import(
    caller: Caller, request: Request, format: Annotated[str, Query(max_length=60)], split: str = ""
) -> Response:
    from .importing import import_dataset

    folder = await _receive(caller, request, "upload.zip")
    author = Author(caller.person.id, caller.tab)

    def work(progress: Progress) -> dict[str, Any]:
        with _noted(caller, request):
            imported = import_dataset(format, _root(_unpacked(folder)), split=split)
            rows = add_imported(caller.store, imported, author, progress)
        return {"clips": [row["id"] for row in rows], "keys": [row["key"] for row in rows]}

    return _job(_started(caller, "import", work, folder))


def _started(caller: Call, kind: Literal["clip", "import"], work: Any, folder: Path) -> Job:
    try:
        return caller.bench.jobs.start(kind, None, caller.person.id, work, folder)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


async def _receive(caller: Call, request: Request, name: str) -> Path:
    """Write the body into a new folder of the project's cache. The door has bounded it."""
    (caller.store.folder / "cache").mkdir(exist_ok=True)
    remove_old_uploads(caller.store.folder)
    folder = Path(tempfile.mkdtemp(dir=caller.store.folder / "cache", prefix="upload-"))
    try:
        with (folder / name).open("xb") as file:
            async for chunk in request.stream():
                await run_in_threadpool(file.write, chunk)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return folder


def remove_old_uploads(project: Path) -> None:
    """Remove what servers left behind that were killed while they received or unpacked files."""
    for folder in (project / "cache").glob("upload-*"):
        with suppress(FileNotFoundError):  # another server may remove it too
            if time.time() - folder.stat().st_mtime > _OLD_UPLOAD:
                shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _noted(caller: Call, request: Request) -> Iterator[None]:
    """Around the use of what was uploaded: noted in the log where it is refused."""
    try:
        yield
    except RvosError as error:
        caller.bench.log.add(request.scope, 422, "refused-upload", str(error))
        raise


def _unpacked(folder: Path) -> Path:
    """The contents of ``upload.zip``. Raises DatasetError for what is damaged, unsafe, or too large."""
    archive = folder / "upload.zip"
    extract(archive, folder / "contents", min(_MOST_UNPACKED, _MOST_GROWTH * archive.stat().st_size + _FLOOR))
    return folder / "contents"


def _root(folder: Path) -> Path:
    """The folder itself, or the one that everything in it lies in."""
    inside = list(folder.iterdir())
    return inside[0] if len(inside) == 1 and inside[0].is_dir() else folder


# Files that go out ---------------------------------------------------------------------------------------------------


class ExportBody(edits.Strict):
    format: edits.Line
    frames: Literal["link", "copy", "none"] = "link"


@router.post("/api/exports")
@allowed(*OWNERS)
def start_export(caller: Caller, body: ExportBody) -> Response:
    from .exporting import LAYOUTS

    if body.format.partition("/")[0] not in LAYOUTS:
        raise Invalid(f"There is no export '{body.format[:40]}'; there are {', '.join(LAYOUTS)}.")
    return _job(caller.bench.jobs.start("export", None, caller.person.id, lambda p: _export(caller, body, p)))


def _export(caller: Call, body: ExportBody, progress: Progress) -> dict[str, Any]:
    from .exporting import export, verify

    store = caller.store
    stamp = datetime.now(timezone.utc).strftime("%Y%m%d-%H%M%S")
    stem = f"{re.sub(r'[^A-Za-z0-9-]+', '-', store.project()['name']).strip('-') or 'project'}"
    name = f"{stem[:60]}-{body.format.replace('/', '-')}-{stamp}-{os.urandom(2).hex()}"
    out = store.folder / "exports" / name
    out.parent.mkdir(exist_ok=True)
    with as_native(store) as native:
        done = export(native, body.format, out, frames=body.frames, progress=lambda d, n: progress(d, 2 * n))
    _zip(out, out.with_name(f"{name}.zip"), progress)
    told = {"name": f"{name}.zip", "path": str(out), "download": f"/api/exports/{name}.zip"}
    return {**done.as_dict(), **told, "problems": [asdict(problem) for problem in verify(done).problems]}


def _zip(folder: Path, archive: Path, progress: Progress) -> None:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    half = archive.with_suffix(".half")
    try:
        with zipfile.ZipFile(half, "w", zipfile.ZIP_DEFLATED) as target:
            for done, path in enumerate(files, start=1):
                kind = zipfile.ZIP_STORED if path.suffix in (".jpg", ".jpeg", ".png") else zipfile.ZIP_DEFLATED
                target.write(path, f"{folder.name}/{path.relative_to(folder).as_posix()}", kind)
                progress(len(files) + done, 2 * len(files))
        os.replace(half, archive)
    finally:
        half.unlink(missing_ok=True)


@router.get("/api/exports")
@allowed(*OWNERS)
def list_exports(caller: Caller) -> Response:
    folder = caller.store.folder / "exports"
    found = sorted(folder.glob("*.zip")) if folder.is_dir() else []
    return Answer({"exports": [{"name": path.name, "bytes": path.stat().st_size} for path in found]})


@router.get("/api/exports/{name}")
@allowed(*OWNERS)
def download(caller: Caller, name: str) -> Response:
    path = caller.store.folder / "exports" / name
    if not _EXPORT_NAME.match(name):
        raise Unknown("There is no such export.")
    try:
        with videos.open_inside(caller.store.folder, path):
            return FileResponse(path, media_type="application/zip", filename=name)
    except OSError:
        raise Unknown("There is no such export.") from None


# Report --------------------------------------------------------------------------------------------------------------


@router.get("/api/report")
@allowed(*READERS)
def read_report(caller: Caller) -> Response:
    return Answer(caller.bench.report())

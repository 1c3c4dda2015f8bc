"""Routes about clips: reading them, changing them, reviewing them, and what others changed meanwhile."""

from __future__ import annotations

import asyncio
import time
from typing import Annotated, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from fastapi.concurrency import run_in_threadpool
from pydantic import Field
from starlette.responses import Response

from . import database as db
from . import edits, journal, tracks, videos
from .bench import EDITORS, JUDGES, READERS, Answer, Call, Caller, allowed
from .conversion import TrackMasks, judged, native_clip
from .journal import Author, Change
from .people import may_edit
from .records import now
from .refusals import Conflict, Invalid, Unknown
from .store import Row, Store, new_id

router = APIRouter()

MOST_CHANGES = 500
#: masks that are looked at while somebody waits; ``rvos annotate check`` looks at any number
MOST_CHECKED = 5000
_MOST_WAIT = 25.0
_POLL_SECONDS = 0.15

Frame = Annotated[int, Query(ge=0, le=10**7)]


# Reading -------------------------------------------------------------------------------------------------------------


@router.get("/api/clips")
@allowed(*READERS)
def list_clips(caller: Caller) -> Response:
    store = caller.store
    seq = store.latest()
    counts = _counts(store)
    assigned = _assigned(store)
    return Answer({"seq": seq, "clips": [_clip(caller, row, counts, assigned) for row in store.clips()]})


@router.get("/api/clips/{clip}")
@allowed(*READERS)
def read_clip(caller: Caller, clip: int) -> Response:
    store = caller.store
    seq = store.latest()
    row = store.clip(clip)
    spans = caller.bench.tracks.spans(clip)
    verdicts = judged(store, clip)
    decisions = _decisions(verdicts)
    with store.reading() as connection:
        steps = journal.steps_of(connection, caller.person.id, clip)
    return Answer(
        {
            "seq": seq,
            "clip": {
                **_clip(caller, row, _counts(store, clip), _assigned(store)),
                "frames": [frame["name"] for frame in store.frames_of(clip)],
            },
            "objects": [{**_bare(o), "spans": spans.get(o["id"], [])} for o in store.objects(clip)],
            "expressions": [{**_bare(e), "verdict": decisions.get(e["id"])} for e in store.expressions(clip)],
            "comments": [_comment(store, c) for c in store.comments(clip)],
            "verdicts": [_bare(v) for v in verdicts],
            "may_undo": steps.done[-1].label if steps.done else None,
            "may_redo": steps.undone[-1].label if steps.undone else None,
        }
    )


@router.get("/api/clips/{clip}/frames/{number}")
@allowed(*READERS)
def read_frame(caller: Caller, request: Request, clip: int, number: int, width: int | None = None) -> Response:
    return frame_answer(caller.store, request, clip, number, width)


def frame_answer(store: Store, request: Request, clip: int, number: int, width: int | None) -> Response:
    """An image with its ETag; 304 where the browser has it."""
    if width is not None and width not in videos.THUMBNAIL_WIDTHS:
        raise Invalid(f"Thumbnails are {', '.join(map(str, videos.THUMBNAIL_WIDTHS))} pixels wide.")
    kept = {"cache-control": "private, max-age=31536000, immutable", "vary": "Cookie"}
    etag = videos.etag_of(store, clip, number, width)
    if request.headers.get("if-none-match") == etag:
        return Response(status_code=304, headers={**kept, "etag": etag})
    picture = videos.picture(store, clip, number, width)
    return Response(picture.data, media_type=picture.media_type, headers={**kept, "etag": picture.etag})


@router.get("/api/clips/{clip}/masks")
@allowed(*READERS)
def read_masks(caller: Caller, clip: int, first: Frame, last: Frame, objects: str | None = None) -> Response:
    if last < first:
        raise Invalid("'last' lies before 'first'.")
    seq = caller.store.latest()
    names = None if objects is None else objects.split(",")[:1000]
    return Answer({"seq": seq, **tracks.window(caller.store, clip, first, last, names)})


@router.get("/api/clips/{clip}/checks")
@allowed(*READERS)
def check_clip(caller: Caller, clip: int) -> Response:
    from .quality import check_clip as check

    seq = caller.store.latest()
    n_masks = _counts(caller.store, clip).get(clip, {}).get("n_masks", 0)
    masks = TrackMasks(caller.store, clip) if n_masks <= MOST_CHECKED else None
    found = check(native_clip(caller.store, clip, caller.bench.tracks), masks)
    problems = [finding.as_dict() for finding in found]
    return Answer({"seq": seq, "problems": problems, "masks_checked": masks is not None})


@router.get("/api/clips/{clip}/history")
@allowed(*READERS)
def read_history(
    caller: Caller, clip: int, before: int | None = None, limit: Annotated[int, Query(ge=1, le=200)] = 50
) -> Response:
    rows = db.journal.c
    told = (rows.seq, rows.at, rows.person, rows.tab, rows.kind, rows.label, rows.batch, rows.steps)
    query = sa.select(*told).where(rows.clip == caller.store.clip(clip)["key"])
    if before is not None:
        query = query.where(rows.seq < before)
    with caller.store.reading() as connection:
        found = connection.execute(query.order_by(rows.seq.desc()).limit(limit)).mappings().all()
    names = _names(caller.store)
    return Answer({"records": [{**row, "name": names.get(row["person"], row["person"])} for row in found]})


# Events --------------------------------------------------------------------------------------------------------------


@router.get("/api/events")
@allowed(*READERS)
async def wait_for_events(
    caller: Caller,
    request: Request,
    since: int,
    clip: int | None = None,
    jobs: int = -1,
    wait: Annotated[float, Query(ge=0, le=_MOST_WAIT)] = 0,
) -> Response:
    """Answers when something is newer than ``since`` or the jobs are not at version ``jobs``, or when time is up.

    Also when the server is about to stop, which nobody who waits should hold up.
    """
    end = time.monotonic() + wait
    while True:
        found = await run_in_threadpool(_events, caller, since, clip, jobs)
        if found["changes"] or found["reset"] or (jobs >= 0 and found["jobs_version"] != jobs):
            return Answer(found)
        ended = time.monotonic() >= end or caller.bench.stopping.is_set()
        if ended or await request.is_disconnected():
            return Answer(found)
        await asyncio.sleep(_POLL_SECONDS)


def _events(caller: Call, since: int, clip: int | None, jobs: int) -> Row:
    rows = db.journal.c
    told = (rows.seq, rows.clip, rows.person, rows.tab, rows.label, rows.touched)
    query = sa.select(*told).where(rows.seq > since).order_by(rows.seq).limit(MOST_CHANGES + 1)
    if clip is not None:
        query = query.where(rows.clip == clip)
    version = caller.bench.jobs.version
    with caller.store.reading() as connection:
        newest = journal.latest(connection)
        found = connection.execute(query).mappings().all() if newest > since else []
    reset = len(found) > MOST_CHANGES or since > newest
    names = _names(caller.store) if found else {}
    changes = [
        {
            **{name: row[name] for name in ("seq", "person", "tab", "label", "touched")},
            "name": names.get(row["person"], row["person"]),
            "key": row["clip"],
        }
        for row in found
    ]
    return {
        "seq": newest,
        "reset": reset,
        "changes": [] if reset else changes,
        "jobs": caller.bench.jobs.list() if version != jobs else [],
        "jobs_version": version,
    }


# Writing -------------------------------------------------------------------------------------------------------------


@router.post("/api/clips/{clip}/changes")
@allowed(*EDITORS)
def change_clip(caller: Caller, clip: int, body: edits.Batch) -> Response:
    caller.expect_editor(clip)
    return Answer(done_answer(caller.store, clip, edits.apply(caller.store, clip, caller.person, body, caller.tab)))


class Nothing(edits.Strict):
    """An empty body."""


@router.post("/api/clips/{clip}/undo")
@allowed(*EDITORS)
def undo(caller: Caller, clip: int, body: Nothing) -> Response:
    return _step(caller, clip, again=False)


@router.post("/api/clips/{clip}/redo")
@allowed(*EDITORS)
def redo(caller: Caller, clip: int, body: Nothing) -> Response:
    return _step(caller, clip, again=True)


def _step(caller: Call, clip: int, again: bool) -> Response:
    caller.expect_editor(clip)
    step, done = edits.undo(caller.store, clip, caller.person, caller.tab, again)
    return Answer({**done_answer(caller.store, clip, done), "label": step.label, "undone": step.seqs})


def done_answer(store: Store, clip: int, done: edits.Done) -> Row:
    """What a page is told about a change: every row as it is now; masks up to what fits into one answer."""
    masks: dict[str, Row] = {}
    deleted: dict[str, list[str]] = {"objects": [], "expressions": []}
    found: dict[str, list[Row]] = {"object": [], "expression": [], "clip": []}
    n_bytes = 0
    for table, key, row in done.rows:
        if table == "mask":
            n_bytes += 0 if row is None else len(row["counts"]) + 120
            if n_bytes < tracks.BYTES_PER_WINDOW:
                masks.setdefault(str(key[1]), {})[key[2]] = None if row is None else tracks.shown_mask(row)
        elif row is None and table in ("object", "expression"):
            deleted[f"{table}s"].append(key[1])
        elif row is not None and table in found:
            found[table].append(row)
    decisions = _decisions(judged(store, clip)) if found["expression"] else {}
    return {
        "seq": done.seq,
        "revision": done.seq,
        "ids": done.ids,
        "touched": done.touched,
        "masks": masks if n_bytes < tracks.BYTES_PER_WINDOW else {},
        "objects": [_bare(row) for row in found["object"]],
        "expressions": [{**_bare(row), "verdict": decisions.get(row["id"])} for row in found["expression"]],
        "clip": found["clip"][0] if found["clip"] else None,
        "deleted": deleted,
    }


# Review --------------------------------------------------------------------------------------------------------------


class About(edits.Strict):
    """What a verdict or comment is about."""

    kind: Literal["clip", "object", "expression"]
    id: Annotated[str, Field(min_length=1, max_length=300)]


class VerdictBody(edits.Strict):
    about: About
    decision: Literal["accepted", "rejected"]
    comment: edits.Sentence = ""
    base: edits.Base


class CommentBody(edits.Strict):
    about: About
    text: Annotated[edits.Sentence, Field(min_length=1)]


class CommentPatch(edits.Strict):
    resolved: bool
    base: edits.Base


@router.post("/api/clips/{clip}/verdicts")
@allowed(*JUDGES)
def judge(caller: Caller, clip: int, body: VerdictBody) -> Response:
    with caller.store.change(clip, Author(caller.person.id, caller.tab), "verdict", kind="record") as change:
        row = _expect_thing(change, clip, body.about)
        if row["revision"] != body.base:
            key = (clip,) if body.about.kind == "clip" else (clip, body.about.id)
            raise Conflict([journal.conflict(change.connection, body.about.kind, key, row, body.base, 0)])
        identity = new_id(change, clip, "verdict")
        told = {"person": caller.person.id, "decision": body.decision, "comment": body.comment, "at": now()}
        about = body.about.model_dump()
        change.put("verdict", {"clip": clip, "id": identity, "about": about, "judged_revision": change.seq, **told})
    verdict = next(v for v in judged(caller.store, clip) if v["id"] == identity)
    return Answer({"seq": change.seq, "verdict": _bare(verdict)})


@router.post("/api/clips/{clip}/comments")
@allowed(*READERS)
def remark(caller: Caller, clip: int, body: CommentBody) -> Response:
    with caller.store.change(clip, Author(caller.person.id, caller.tab), "comment", kind="record") as change:
        _expect_thing(change, clip, body.about)
        identity = new_id(change, clip, "comment")
        told = {"person": caller.person.id, "text": body.text, "at": now(), "resolved": False}
        row = change.put("comment", {"clip": clip, "id": identity, "about": body.about.model_dump(), **told})
    return Answer({"seq": change.seq, "comment": _comment(caller.store, row)})


@router.patch("/api/clips/{clip}/comments/{comment}")
@allowed(*READERS)
def resolve(caller: Caller, clip: int, comment: str, body: CommentPatch) -> Response:
    with caller.store.change(clip, Author(caller.person.id, caller.tab), "comment", kind="record") as change:
        row = change.row("comment", clip, comment)
        if row is None:
            raise Unknown("There is no such comment.")
        if row["revision"] != body.base:
            raise Conflict([journal.conflict(change.connection, "comment", (clip, comment), row, body.base, 0)])
        row = change.put("comment", {**row, "resolved": body.resolved})
    return Answer({"seq": change.seq, "comment": _comment(caller.store, row)})


@router.get("/api/review")
@allowed(*READERS)
def review_list(caller: Caller) -> Response:
    items = []
    for clip in caller.store.clips():
        latest = {v["about"]["id"]: v for v in judged(caller.store, clip["key"]) if v["about"]["kind"] == "expression"}
        for row in caller.store.expressions(clip["key"]):
            if row["state"] == "ready" and (row["origin"] != "machine" or row["accepted_by"]):
                verdict = latest.get(row["id"])
                items.append(
                    {
                        "key": clip["key"],
                        "clip_id": clip["id"],
                        "expression": row["id"],
                        "text": row["text"],
                        "verdict": None if verdict is None else verdict["decision"],
                        "current": verdict is not None and verdict["current"],
                        "revision": row["revision"],
                    }
                )
    return Answer({"items": items})


def _expect_thing(change: Change, clip: int, about: About) -> Row:
    """The row that a verdict or comment is about. Raises Unknown."""
    row = change.row("clip", clip)
    if about.kind != "clip":
        row = change.row(about.kind, clip, about.id)
    elif row is not None and row["id"] != about.id:
        row = None
    if row is None:
        raise Unknown(f"There is no {about.kind} '{about.id[:80]}' in this clip.")
    return row


# Rows as pages see them ----------------------------------------------------------------------------------------------


def _bare(row: Row) -> Row:
    return {name: value for name, value in row.items() if name != "clip"}


def _comment(store: Store, row: Row) -> Row:
    return {**_bare(row), "name": _names(store).get(row["person"], row["person"])}


def _names(store: Store) -> dict[str, str]:
    return {person["id"]: person["name"] for person in store.people()}


def _decisions(verdicts: list[Row]) -> dict[str, str]:
    """The last current verdict on each sentence."""
    return {v["about"]["id"]: v["decision"] for v in verdicts if v["about"]["kind"] == "expression" and v["current"]}


def _clip(caller: Call, row: Row, counts: dict[int, Row], assigned: dict[int, list[Row]]) -> Row:
    key = row["key"]
    none = dict.fromkeys(("n_objects", "n_masks", "n_expressions", "n_machine", "n_accepted", "n_rejected"), 0)
    editable = may_edit(caller.store, caller.person, key)
    return {**row, **none, **counts.get(key, {}), "assigned": assigned.get(key, []), "may_edit": editable}


def _assigned(store: Store) -> dict[int, list[Row]]:
    people = {person["id"]: person for person in store.people()}
    found: dict[int, list[Row]] = {}
    for row in store.assignments():
        person = people[row["person"]]
        told = {"person": person["id"], "name": person["name"], "role": person["role"], "state": row["state"]}
        found.setdefault(row["clip"], []).append(told)
    return found


def _counts(store: Store, only: int | None = None) -> dict[int, Row]:
    """How much there is in each clip."""
    counts: dict[int, Row] = {}
    n = sa.func.count()
    expression = db.expression.c
    waiting = sa.and_(expression.origin == "machine", expression.accepted_by == "")
    queries = {
        "n_objects": sa.select(db.object_.c.clip, n).group_by(db.object_.c.clip),
        "n_masks": sa.select(db.mask.c.clip, n).group_by(db.mask.c.clip),
        "n_expressions": sa.select(expression.clip, n).group_by(expression.clip),
        "n_machine": sa.select(expression.clip, n).where(waiting).group_by(expression.clip),
    }
    with store.reading() as connection:
        for name, query in queries.items():
            table = query.selected_columns[0]
            for key, number in connection.execute(query if only is None else query.where(table == only)):
                counts.setdefault(key, {})[name] = number
        judged_clips = list(connection.execute(sa.select(db.verdict.c.clip).distinct()).scalars())
    for key in judged_clips if only is None else [only]:
        decisions = list(_decisions(judged(store, key)).values())
        told = {"n_accepted": decisions.count("accepted"), "n_rejected": decisions.count("rejected")}
        counts.setdefault(key, {}).update(told)
    return counts

"""Routes about people: sessions, invitations, assignments; and those of blind people."""

from __future__ import annotations

import time
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

import sqlalchemy as sa
from fastapi import APIRouter, Query, Request
from pydantic import Field
from starlette.responses import Response

from . import blind, people, tracks
from . import database as db
from .bench import BLIND, EVERYBODY, OWNERS, Answer, Bench, Call, Caller, allowed
from .edits import MOST_OPS, MOST_TEXT, Line, Strict
from .people import Person, assign
from .refusals import NoSession
from .routes_clips import frame_answer
from .security import MOST_BODY, MOST_UPLOAD
from .store import Row, Store

router = APIRouter()


# Sessions ------------------------------------------------------------------------------------------------------------


class Token(Strict):
    token: Annotated[str, Field(min_length=1, max_length=200)]


class Nothing(Strict):
    """An empty body."""


@router.post("/api/session")
def log_in(request: Request, body: Token) -> Response:
    """The one route that needs no session."""
    bench: Bench = request.app.state.bench
    bench.expect_patience()
    try:
        person, session = people.log_in(bench.store, body.token)
    except NoSession:
        bench.failures.append(time.monotonic())
        raise
    answer = Answer(session_body(bench, person))
    secure = request.url.scheme == "https"
    age = int(people.SESSION_SECONDS)
    answer.set_cookie(bench.cookie, session, max_age=age, httponly=True, samesite="strict", path="/", secure=secure)
    return answer


@router.get("/api/session")
@allowed(*EVERYBODY)
def read_session(caller: Caller) -> Response:
    return Answer(session_body(caller.bench, caller.person))


@router.delete("/api/session")
@allowed(*EVERYBODY)
def log_out(caller: Caller, request: Request) -> Response:
    people.log_out(caller.store, request.cookies.get(caller.bench.cookie, ""))
    answer = Answer({})
    answer.delete_cookie(caller.bench.cookie, path="/", httponly=True, samesite="strict")
    return answer


def session_body(bench: Bench, person: Person) -> Row:
    """Who is logged in and what the server can do; a blind person learns of neither the project nor its models."""
    told = {"id": person.id, "name": person.name, "role": person.role}
    if person.role == "blind":
        return {"person": told, "limits": {"frames_per_window": blind.FRAMES_PER_WINDOW}}
    project = bench.store.project()
    return {
        "person": told,
        "project": {**project, "seq": bench.store.latest()},
        "features": {**bench.models.describe(), "paraphrase": bench.paraphrase is not None, **_formats()},
        "limits": {
            "frames_per_window": tracks.FRAMES_PER_WINDOW,
            "body_bytes": MOST_BODY,
            "upload_bytes": MOST_UPLOAD,
            "text_chars": MOST_TEXT,
            "ops": MOST_OPS,
        },
        "tags": ["complex-reasoning", "world-knowledge", "temporal-dynamics"],
    }


def _formats() -> Row:
    from ..registry import dataset_names
    from .exporting import LAYOUTS
    from .mask_sets import COLLECTIONS

    return {"exports": list(LAYOUTS), "imports": list(dict.fromkeys(["annotation", *dataset_names(), *COLLECTIONS]))}


# People --------------------------------------------------------------------------------------------------------------


class Invitation(Strict):
    name: Line
    role: Literal["author", "blind", "reviewer"]


class Assignment(Strict):
    person: Line
    clip: int
    state: Literal["open", "done"] | None


class Finished(Strict):
    clip: int


@router.get("/api/people")
@allowed(*OWNERS)
def list_people(caller: Caller) -> Response:
    return Answer({"people": described_people(caller.store)})


def described_people(store: Store) -> list[Row]:
    """Everybody, with what they did and when they were last there."""
    rows = db.journal.c
    with store.reading() as connection:
        made = sa.select(rows.person, sa.func.count()).group_by(rows.person)
        n_changes: dict[str, int] = {person: n for person, n in connection.execute(made)}
    seen = people.last_seen(store)
    return [
        {**row, "n_changes": n_changes.get(row["id"], 0), "last_seen": _time(seen.get(row["id"]))}
        for row in store.people()
    ]


@router.post("/api/people")
@allowed(*OWNERS)
def invite(caller: Caller, request: Request, body: Invitation) -> Response:
    person, token = people.invite(caller.store, body.name, body.role, caller.person.id)
    return Answer(_link(caller, request, person.id, token))


@router.post("/api/people/{person}/token")
@allowed(*OWNERS)
def renew_link(caller: Caller, request: Request, person: str, body: Nothing) -> Response:
    caller.store.person(person)
    return Answer(_link(caller, request, person, people.new_link(caller.store, person)))


@router.delete("/api/people/{person}")
@allowed(*OWNERS)
def revoke(caller: Caller, person: str) -> Response:
    people.revoke(caller.store, person, caller.person.id)
    return Answer({"person": caller.store.person(person)})


@router.get("/api/assignments")
@allowed(*OWNERS)
def list_assignments(caller: Caller) -> Response:
    return Answer({"assignments": caller.store.assignments()})


@router.put("/api/assignments")
@allowed(*OWNERS)
def change_assignment(caller: Caller, body: Assignment) -> Response:
    assign(caller.store, body.person, body.clip, body.state, caller.person.id)
    return Answer({"assignments": caller.store.assignments()})


@router.post("/api/assignments/done")
@allowed("author", "reviewer")
def finish(caller: Caller, body: Finished) -> Response:
    """Mark one's own assignment done. One that is not there is not made."""
    own = [a for a in caller.store.assignments() if a["person"] == caller.person.id]
    if any(a["clip"] == body.clip for a in own):
        assign(caller.store, caller.person.id, body.clip, "done", caller.person.id)
    return Answer({"assignments": [a for a in caller.store.assignments() if a["person"] == caller.person.id]})


def _link(caller: Call, request: Request, person_id: str, token: str) -> Row:
    link = f"{request.url.scheme}://{request.headers['host']}/#token={token}"
    return {"person": caller.store.person(person_id), "token": token, "link": link}


def _time(seconds: float | None) -> str:
    if seconds is None:
        return ""
    return datetime.fromtimestamp(seconds, timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


# Blind people --------------------------------------------------------------------------------------------------------


class ChoiceBody(Strict):
    stage: Literal["one-frame", "video"]
    choices: Annotated[list[Annotated[str, Field(max_length=40)]], Field(max_length=1000)]
    none: bool
    seconds: Annotated[float, Field(ge=0, le=1e6, allow_inf_nan=False)] | None = None


@router.get("/api/blind/tasks")
@allowed(*BLIND)
def list_tasks(caller: Caller) -> Response:
    tasks = caller.bench.desk.tasks(caller.person)
    done = sum(task.stage == "done" for task in tasks)
    return Answer(
        {"tasks": [{"id": task.id, "stage": task.stage} for task in tasks], "done": done, "total": len(tasks)}
    )


@router.get("/api/blind/tasks/{task}")
@allowed(*BLIND)
def read_task(caller: Caller, task: str) -> Response:
    desk = caller.bench.desk
    return Answer(blind.described(desk, caller.person, desk.task(caller.person, task)))


@router.get("/api/blind/tasks/{task}/outlines")
@allowed(*BLIND)
def read_outlines(
    caller: Caller,
    task: str,
    first: Annotated[int, Query(ge=0, le=10**7)] = 0,
    last: Annotated[int, Query(ge=0, le=10**7)] = 0,
) -> Response:
    desk = caller.bench.desk
    found: dict[str, Any] = blind.outline_window(desk, caller.person, desk.task(caller.person, task), first, last)
    return Answer(found)


@router.get("/api/blind/tasks/{task}/frames/{number}")
@allowed(*BLIND)
def read_task_frame(caller: Caller, request: Request, task: str, number: int, width: int | None = None) -> Response:
    desk = caller.bench.desk
    found = desk.task(caller.person, task)
    blind.expect_visible(desk, found, number)
    return frame_answer(caller.store, request, found.clip, number, width)


@router.post("/api/blind/tasks/{task}/choice")
@allowed(*BLIND)
def choose(caller: Caller, task: str, body: ChoiceBody) -> Response:
    desk = caller.bench.desk
    found = desk.task(caller.person, task)
    after = blind.choose(desk, caller.person, found, body.stage, body.choices, body.none, body.seconds)
    return Answer(blind.described(desk, caller.person, after))

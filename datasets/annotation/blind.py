"""Blind annotators: they get a sentence, one frame and the outlines of all objects, and pick; then the same from the
whole video. What they pick measures whether a sentence can be answered from one frame, and the human ceiling.

Nothing here tells which object a sentence means: candidates have names made for this person and this sentence, in an
order made for them too, and every object of the clip is a candidate.
"""

from __future__ import annotations

import hmac
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import sqlalchemy as sa

from ..bitmask import BitMask
from . import database as db
from .journal import Author, Change
from .outlines import outlines
from .people import Person
from .records import now
from .refusals import Conflict, Invalid, Unknown, WrongRole
from .store import Store, natural, new_id

Stage = Literal["one-frame", "video", "done"]
Row = dict[str, Any]

FRAMES_PER_WINDOW = 8
_BYTES_PER_WINDOW = 2 << 20


@dataclass(frozen=True)
class Task:
    """A sentence for one person.

    Attributes:
        id: says nothing about the sentence or the clip.
        clip: its key.
        expression: its id.
        stage: what the person answers next.
    """

    id: str
    clip: int
    expression: str
    text: str
    condition: str | None
    stage: Stage


class Desk:
    """What blind people are given; remembers what it worked out until somebody changes something."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._seq = -1
        self._tasks: dict[str, list[Task]] = {}
        self._frames: dict[tuple[int, bool], int] = {}
        self._lock = threading.Lock()

    def tasks(self, person: Person) -> list[Task]:
        """All tasks of a person, in an order made for them."""
        with self._lock:
            self._forget_if_changed()
            if person.id not in self._tasks:
                self._tasks[person.id] = _tasks_of(self.store, person)
            return self._tasks[person.id]

    def task(self, person: Person, task_id: str) -> Task:
        """One of a person's tasks. Raises Unknown."""
        found = next((task for task in self.tasks(person) if task.id == task_id), None)
        if found is None:
            raise Unknown("There is no such task for you.")
        return found

    def shown_frame(self, task: Task) -> int:
        """The frame of the first stage."""
        place = (task.clip, task.condition == "first-frame")
        with self._lock:
            self._forget_if_changed()
            if place not in self._frames:
                self._frames[place] = _shown_frame(self.store, *place)
            return self._frames[place]

    def _forget_if_changed(self) -> None:
        seq = self.store.latest()
        if seq != self._seq:
            self._seq = seq
            self._tasks.clear()
            self._frames.clear()


def _tasks_of(store: Store, person: Person) -> list[Task]:
    secret = store.secret("choices")
    own = {a["clip"] for a in store.assignments() if a["person"] == person.id}
    given = {(c["clip"], c["expression"], c["text"], c["stage"]) for c in store.choices() if c["person"] == person.id}
    stages: tuple[Stage, ...] = ("one-frame", "video", "done")
    tasks = []
    for key in (clip["key"] for clip in store.clips()):
        for row in eligible(store, key) if not own or key in own else ():
            answered = [stage for stage in stages if (key, row["id"], row["text"], stage) in given]
            name = _name(secret, person.id, str(key), row["id"])
            tasks.append(Task(name, key, row["id"], row["text"], row["condition"], stages[len(answered)]))
    return sorted(tasks, key=lambda task: task.id)


def eligible(store: Store, key: int) -> list[Row]:
    """The sentences of a clip that blind people are asked about: ready, said what they mean, and not rejected."""
    offered = set(candidates(store, key))
    if not offered:
        return []
    verdicts = {v["about"]["id"]: v["decision"] for v in store.verdicts(key) if v["about"]["kind"] == "expression"}
    return [
        row
        for row in store.expressions(key)
        if row["state"] == "ready"
        and row["object_ids"] is not None
        and offered.issuperset(row["object_ids"])
        and (row["origin"] != "machine" or row["accepted_by"])
        and verdicts.get(row["id"]) != "rejected"
    ]


def candidates(store: Store, key: int) -> list[str]:
    """The objects of a clip that can be picked: drawn, not the second drawing of another, nor a sentence's own mask."""
    rows = db.mask.c
    with store.reading() as connection:
        seen = sa.select(rows.object).where(rows.clip == key, rows.absent == sa.false()).distinct()
        drawn = set(connection.execute(seen).scalars())
    objects = (o for o in store.objects(key) if o["second_of"] is None and o["role"] == "object")
    return [o["id"] for o in objects if o["id"] in drawn]


def _shown_frame(store: Store, key: int, first_frame: bool) -> int:
    """The first frame where the sentence is about it, else where most objects are seen.

    It depends on all objects alike, so that it does not point at the one that is meant.
    """
    rows = db.mask.c
    n_frames = store.clip(key)["n_frames"]
    count = sa.func.count().label("n")
    query = sa.select(rows.frame, count).where(rows.clip == key, rows.absent == sa.false()).group_by(rows.frame)
    with store.reading() as connection:
        counts = {frame: n for frame, n in connection.execute(query)}
    if first_frame and 0 in counts:
        return 0
    return max(counts, key=lambda frame: (counts[frame], -abs(2 * frame - n_frames), -frame))


def described(desk: Desk, person: Person, task: Task) -> Row:
    """A task as its page gets it."""
    store = desk.store
    clip = store.clip(task.clip)
    one = task.stage == "one-frame"
    names = _choices(store, person, task)
    return {
        "id": task.id,
        "stage": task.stage,
        "text": task.text,
        "n_frames": 1 if one else clip["n_frames"],
        "height": clip["height"],
        "width": clip["width"],
        "fps": clip["fps"],
        "frame": desk.shown_frame(task),
        "candidates": [{"choice": name, "label": _label(i)} for i, name in enumerate(sorted(names.values()))],
        "several": True,
    }


def outline_window(desk: Desk, person: Person, task: Task, first: int, last: int) -> Row:
    """Outlines of all candidates in a range of frames; in the first stage of its one frame only."""
    store = desk.store
    clip = store.clip(task.clip)
    if task.stage == "one-frame":
        first = last = desk.shown_frame(task)
    last = min(last, clip["n_frames"] - 1, first + FRAMES_PER_WINDOW - 1)
    names = _choices(store, person, task)
    frames: dict[str, Row] = {str(f): dict.fromkeys(names.values()) for f in range(first, last + 1)}
    n_bytes = 0
    for row in store.masks(task.clip, first, last, list(names)):
        if n_bytes > _BYTES_PER_WINDOW:
            last = row["frame"] - 1
            break
        polygons = _polygons(row["counts"], (clip["height"], clip["width"]))
        frames[str(row["frame"])][names[row["object"]]] = polygons
        n_bytes += 6 * sum(map(len, polygons))
    kept = {number: shown for number, shown in frames.items() if int(number) <= last}
    more = last + 1 < clip["n_frames"] and task.stage != "one-frame"
    return {"first": first, "last": last, "next": last + 1 if more else None, "frames": kept}


def expect_visible(desk: Desk, task: Task, frame: int) -> None:
    """Raises WrongRole for a frame that the task does not show yet."""
    if task.stage == "one-frame" and frame != desk.shown_frame(task):
        raise WrongRole("This frame is shown after the sentence was answered from the first one.")


def choose(
    desk: Desk, person: Person, task: Task, stage: str, picked: Sequence[str], none: bool, seconds: float | None
) -> Task:
    """Store a person's answer; it stays. Gives the task in its next stage.

    Raises:
        Conflict: answered before.
        Invalid: names that are no candidates, or both none and some.
    """
    store = desk.store
    names = {name: object_id for object_id, name in _choices(store, person, task).items()}
    if none == bool(picked) or len(set(picked)) != len(picked) or not set(picked) <= set(names):
        raise Invalid("Pick one or more of the candidates, or none of them.")
    frame = store.frames_of(task.clip)[desk.shown_frame(task)]["name"] if stage == "one-frame" else ""
    with store.change(task.clip, Author(person.id), "answer", kind="record") as change:
        _expect_open(change, task, person, stage)
        change.put(
            "choice",
            {
                "clip": task.clip,
                "id": new_id(change, task.clip, "choice"),
                "expression": task.expression,
                "person": person.id,
                "stage": stage,
                "frame": frame,
                "answer": sorted((names[name] for name in picked), key=natural),
                "candidates": sorted(names.values(), key=natural),
                "seconds": None if seconds is None else float(seconds),
                "text": task.text,
                "at": now(),
            },
        )
    return desk.task(person, task.id)


def _expect_open(change: Change, task: Task, person: Person, stage: str) -> None:
    """Raises Conflict where this is not the stage that comes next."""
    rows = change.rows("choice", clip=task.clip, expression=task.expression, person=person.id)
    given = {row["stage"] for row in rows if row["text"] == task.text}
    if stage in given or (stage == "video") != ("one-frame" in given):
        raise Conflict([{"kind": "task", "id": task.id, "current": {"stage": task.stage}}])


def _choices(store: Store, person: Person, task: Task) -> dict[str, str]:
    """Object id -> the name of its candidate for this person and sentence."""
    secret = store.secret("choices")
    return {o: _name(secret, person.id, task.id, o) for o in candidates(store, task.clip)}


def _name(secret: bytes, *parts: str) -> str:
    return hmac.new(secret, "\0".join(parts).encode("utf-8"), "sha256").hexdigest()[:20]


def _label(number: int) -> str:
    """A, B, …, Z, AA, AB, …"""
    letters = ""
    number += 1
    while number:
        number, digit = divmod(number - 1, 26)
        letters = chr(65 + digit) + letters
    return letters


def _polygons(counts: str, size: tuple[int, int]) -> list[list[int]]:
    if counts == "":
        return []
    return outlines(BitMask.from_rle({"size": list(size), "counts": counts}).to_array())

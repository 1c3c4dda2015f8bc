"""What people do to a clip: operations in batches, each batch one transaction, each checked against what its page read.

An operation names the revision of the row it changes. Where that is not the current one, nothing of the batch is
written and the answer holds what is there now, so that no tab overwrites another without knowing.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import numpy as np
import sqlalchemy as sa
from pydantic import AfterValidator, BaseModel, ConfigDict, Field

from ..bitmask import BitMask
from ..errors import DatasetError
from ..masks import encode_rle
from . import database as db
from . import journal
from .journal import Author, Change, Row
from .people import Person
from .records import now
from .refusals import Conflict, InUse, Invalid, Unknown
from .store import Store, expect, natural, new_id

MOST_OPS = 2000
MOST_TEXT = 2000
MOST_OBJECTS = 1000
#: an RLE has at most a few characters a pixel; one that is longer says nothing
MOST_RLE = 1 << 22
#: colours that differ, in the order in which objects get them; the last ones repeat
COLOURS = ("#e6194b", "#3cb44b", "#4363d8", "#f58231", "#911eb4", "#42d4f4", "#f032e6", "#bfef45", "#469990", "#9a6324")

_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def plain_text(value: str) -> str:
    """Text as people type it. Raises ValueError for control characters, direction overrides, halves of characters."""
    if _CONTROL.search(value):
        raise ValueError("holds characters that are no text (control characters, or half a character)")
    return value


def one_line(value: str) -> str:
    """``plain_text`` without line breaks, blanks at the ends cut off."""
    return " ".join(plain_text(value).split())


Line = Annotated[str, Field(max_length=200), AfterValidator(one_line)]
Sentence = Annotated[str, Field(max_length=MOST_TEXT), AfterValidator(lambda v: plain_text(v).strip())]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.#+-]{0,99}\z")]
#: an id of something that is there, or "$name" of something made earlier in the batch
Reference = Annotated[str, Field(min_length=1, max_length=300), AfterValidator(one_line)]
Colour = Annotated[str, Field(pattern=r"^#[0-9a-f]{6}\z")]
Temp = Annotated[str, Field(pattern=r"^\$[A-Za-z0-9][A-Za-z0-9._#+-]{0,99}\z")]
Base = Annotated[int, Field(ge=0, le=2**53)]
Frame = Annotated[int, Field(ge=0, le=10**7)]
Counts = Annotated[str, Field(max_length=MOST_RLE)]


class Strict(BaseModel):
    """A request's body, or part of one: no field that is not known, no value of another type."""

    model_config = ConfigDict(extra="forbid", strict=True)


class MaskOp(Strict):
    op: Literal["mask"]
    object: Reference
    frame: Frame
    counts: Counts | None
    base: Base
    model: Line = ""


class MaskReview(Strict):
    op: Literal["mask.review"]
    object: Reference
    first: Frame
    last: Frame
    reviewed: bool


class ObjectFields(Strict):
    name: Line | None = None
    category: Line | None = None
    colour: Colour | None = None
    note: Sentence | None = None
    second_of: Reference | None = None


class ObjectNew(ObjectFields):
    op: Literal["object.new"]
    temp: Temp | None = None
    id: Id | None = None


class ObjectSet(ObjectFields):
    op: Literal["object.set"]
    object: Reference
    base: Base


class ObjectDelete(Strict):
    op: Literal["object.delete"]
    object: Reference
    base: Base
    unlink: bool = False


class ObjectSplit(Strict):
    op: Literal["object.split"]
    object: Reference
    base: Base
    frame: Frame
    name: Line | None = None
    temp: Temp | None = None


class ObjectMerge(Strict):
    op: Literal["object.merge"]
    object: Reference
    base: Base
    other: Reference
    other_base: Base


class ExpressionFields(Strict):
    text: Sentence | None = None
    object_ids: Annotated[list[Reference], Field(max_length=MOST_OBJECTS)] | None = None
    kind: Literal["referring", "reasoning"] | None = None
    tags: Annotated[list[Line], Field(max_length=32)] | None = None
    is_sentence: bool | None = None
    condition: Literal["first-frame", "full-video"] | None = None
    rationale: Sentence | None = None
    group: Id | None = None
    state: Literal["draft", "ready"] | None = None


class ExpressionNew(ExpressionFields):
    op: Literal["expression.new"]
    temp: Temp | None = None
    id: Id | None = None


class ExpressionSet(ExpressionFields):
    op: Literal["expression.set"]
    expression: Reference
    base: Base


class ExpressionAccept(Strict):
    op: Literal["expression.accept"]
    expression: Reference
    base: Base


class ExpressionDelete(Strict):
    op: Literal["expression.delete"]
    expression: Reference
    base: Base


class Source(Strict):
    """Where a clip is from, and what may be done with it."""

    collection: Line | None = None
    video: Line | None = None
    url: Annotated[str, Field(max_length=1000), AfterValidator(one_line)] | None = None
    citation: Sentence | None = None
    licence: Line | None = None
    licence_url: Annotated[str, Field(max_length=1000), AfterValidator(one_line)] | None = None
    consent: Sentence | None = None
    may_copy_frames: bool | None = None


class ClipSet(Strict):
    op: Literal["clip.set"]
    base: Base
    title: Line | None = None
    source: Source | None = None
    state: Literal["open", "done"] | None = None


Op = Annotated[
    MaskOp
    | MaskReview
    | ObjectNew
    | ObjectSet
    | ObjectDelete
    | ObjectSplit
    | ObjectMerge
    | ExpressionNew
    | ExpressionSet
    | ExpressionAccept
    | ExpressionDelete
    | ClipSet,
    Field(discriminator="op"),
]


class Batch(Strict):
    """Operations that are carried out together or not at all."""

    label: Annotated[str, Field(min_length=1, max_length=80), AfterValidator(one_line)]
    ops: Annotated[list[Op], Field(min_length=1, max_length=MOST_OPS)]
    batch: Annotated[str, Field(pattern=r"^[A-Za-z0-9._-]{1,60}\z")] | None = None
    #: the page got no answer the first time: what the journal has of this batch is answered, not written twice
    again: bool = False


@dataclass
class Done:
    """What a change did.

    Attributes:
        seq: its number; the revision of every row it wrote.
        touched: see ``Change.touched``.
        rows: (table, key, row as it is now or None) of every row.
        ids: temporary names to the ids that were given.
    """

    seq: int
    touched: dict[str, Any]
    rows: list[tuple[str, tuple[Any, ...], Row | None]]
    ids: dict[str, str] = field(default_factory=dict)


def apply(store: Store, clip: int, person: Person, batch: Batch, tab: str = "") -> Done:
    """Carry out a batch.

    Raises:
        Conflict: rows are not as the page read them; all of them are listed.
        Invalid, Unknown, InUse: an operation that cannot be; ``extra["op"]`` is its place in the batch.
    """
    n_frames, size = _shape(store, clip)
    with store.change(clip, Author(person.id, tab), batch.label, batch=batch.batch) as change:
        if batch.again and (earlier := _carried_out(change, person, batch)) is not None:
            return earlier
        context = _Context(change, person, clip, n_frames, size)
        conflicts: list[dict[str, Any]] = []
        for place, op in enumerate(batch.ops):
            context.place = place
            try:
                _OPERATIONS[type(op)](context, op)
            except Conflict as conflict:
                conflicts += conflict.conflicts
            except (Invalid, Unknown, InUse) as refusal:
                refusal.extra.setdefault("op", place)
                raise
        if conflicts:
            raise Conflict(conflicts)
    return done_of(change, context.ids)


def _carried_out(change: Change, person: Person, batch: Batch) -> Done | None:
    """What the person's batch of this name did, where its answer did not arrive; None where it was never written."""
    columns = db.journal.c
    query = sa.select(columns.seq, columns.touched, columns.content).where(
        columns.person == person.id, columns.clip == change.clip, columns.batch == batch.batch, columns.kind == "edit"
    )
    record = change.connection.execute(query.order_by(columns.seq.desc()).limit(1)).one_or_none()
    if record is None:
        return None
    entries = list(journal.entries_of(record.content))
    rows = [(table, key, after and {**after, "revision": record.seq}) for table, key, _, after in entries]
    made = {
        t: iter([key[1] for table, key, before, _ in entries if table == t and before is None])
        for t in ("object", "expression")
    }
    ids = {}
    for op in batch.ops:  # rows are journaled in the order in which operations made them
        if isinstance(op, ObjectNew | ObjectSplit | ExpressionNew):
            identity = next(made["expression" if isinstance(op, ExpressionNew) else "object"], None)
            if identity is not None and op.temp is not None:
                ids[op.temp] = identity
    return Done(record.seq, record.touched, rows, ids)


def done_of(change: Change, ids: dict[str, str] | None = None) -> Done:
    """What a finished change did."""
    rows = [
        (table, key, None if after is None else {**after, "revision": change.seq})
        for table, key, _, after in change.entries
    ]
    return Done(change.seq, change.touched(), rows, ids or {})


def undo(store: Store, clip: int, person: Person, tab: str = "", again: bool = False) -> tuple[journal.Step, Done]:
    """Take back the person's last step in the clip, or repeat (``again``) the last one taken back.

    Raises:
        NothingToUndo, NothingToRedo.
        Conflict: somebody wrote the same rows since.
    """
    steps: list[int] = []
    kind: journal.Kind = "redo" if again else "undo"
    with store.change(clip, Author(person.id, tab), kind, kind=kind, steps=steps) as change:
        step = (journal.redo if again else journal.undo)(change, person.id)
        steps += step.seqs
    return step, done_of(change)


def canonical(counts: str, size: tuple[int, int] | tuple[None, None]) -> str:
    """A compressed RLE in the one form in which it is stored: "" where it is empty. Raises Invalid."""
    if size[0] is None:
        raise Invalid("Nothing can be drawn here: the clip has no images, and no size is known.")
    if counts == "":
        return ""
    try:
        bits = BitMask.from_rle({"size": list(size), "counts": counts})
    except (DatasetError, UnicodeEncodeError) as error:
        raise Invalid(f"The mask does not fill a frame of {size[1]}x{size[0]}: {error}") from None
    return str(encode_rle(bits.to_array())["counts"]) if bits.any() else ""


# Operations ----------------------------------------------------------------------------------------------------------


@dataclass
class _Context:
    """What operations of one batch share."""

    change: Change
    person: Person
    clip: int
    n_frames: int
    size: tuple[int, int]
    place: int = 0
    ids: dict[str, str] = field(default_factory=dict)

    def id(self, reference: str) -> str:
        """An id, also of something made earlier in this batch. Raises Unknown."""
        if not reference.startswith("$"):
            return reference
        if reference not in self.ids:
            raise Unknown(f"Nothing in this batch is called {reference}.")
        return self.ids[reference]

    def expect(self, table: str, reference: str, base: int) -> Row:
        """An object or expression at the revision that the page read. Raises Conflict, Unknown."""
        made_here = reference.startswith("$")
        identity = self.id(reference)
        return expect(self.change, table, (self.clip, identity), self.change.seq if made_here else base, self.place)

    def object(self, reference: str) -> str:
        """The id of an object that is there. Raises Unknown."""
        identity = self.id(reference)
        if self.change.row("object", self.clip, identity) is None:
            raise Unknown(f"There is no object '{identity}' in this clip.")
        return identity

    def frame(self, number: int) -> int:
        if number >= self.n_frames:
            raise Invalid(f"Frame {number}: the clip has frames 0 to {self.n_frames - 1}.")
        return number

    def new_id(self, table: str, wanted: str | None, temp: str | None) -> str:
        if wanted is not None and self.change.row(table, self.clip, wanted) is not None:
            raise Invalid(f"There is a {table} '{wanted}' in this clip already.")
        identity = wanted if wanted is not None else new_id(self.change, self.clip, table)
        if temp is not None:
            self.ids[temp] = identity
        return identity


def _draw(context: _Context, op: MaskOp) -> None:
    change, key = context.change, (context.clip, context.frame(op.frame), context.object(op.object))
    row = change.row("mask", *key)
    revision = 0 if row is None else row["revision"]
    if revision not in (op.base, change.seq):
        raise Conflict([journal.conflict(change.connection, "mask", key, row, op.base, context.place)])
    if op.counts is None:
        change.delete("mask", *key)
        return
    counts = canonical(op.counts, context.size)
    made = {"origin": "human", "by": context.person.id, "model": op.model, "reviewed": True}
    change.put("mask", {"clip": key[0], "frame": key[1], "object": key[2], "counts": counts, **made})


def _review(context: _Context, op: MaskReview) -> None:
    identity = context.object(op.object)
    for frame in range(op.first, min(op.last, context.n_frames - 1) + 1):
        row = context.change.row("mask", context.clip, frame, identity)
        if row is not None:
            context.change.put("mask", {**row, "reviewed": op.reviewed})


def _new_object(context: _Context, op: ObjectNew) -> None:
    second_of = None if op.second_of is None else context.object(op.second_of)
    identity = context.new_id("object", op.id, op.temp)
    number = int(identity) if identity.isdecimal() and len(identity) < 10 else 0
    row = {
        "clip": context.clip,
        "id": identity,
        "name": op.name or "",
        "category": op.category or "",
        "colour": op.colour or COLOURS[(number - 1) % len(COLOURS)],
        "note": op.note or "",
        "author": context.person.id,
        "second_of": second_of,
        "role": "object",
        "stated_ids": None,
    }
    context.change.put("object", row)


def _set_object(context: _Context, op: ObjectSet) -> None:
    row = context.expect("object", op.object, op.base)
    given = op.model_dump(include=op.model_fields_set & set(ObjectFields.model_fields))
    if given.get("second_of") is not None:
        given["second_of"] = context.object(given["second_of"])
        if given["second_of"] == row["id"]:
            raise Invalid("An object is no second drawing of itself.")
    if any(value is None for name, value in given.items() if name != "second_of"):
        raise Invalid("Only 'second_of' of an object may be null.")
    context.change.put("object", {**row, **given})


def _delete_object(context: _Context, op: ObjectDelete) -> None:
    identity = context.expect("object", op.object, op.base)["id"]
    meaning = _expressions_that_mean(context, identity)
    seconds = context.change.rows("object", clip=context.clip, second_of=identity)
    if (meaning or seconds) and not op.unlink:
        names = [e["id"] for e in meaning]
        raise InUse(
            f"Object {identity} is meant by {len(names)} sentences and drawn a second time in {len(seconds)} objects.",
            expressions=names,
            objects=[o["id"] for o in seconds],
        )
    for row in meaning:
        left = [o for o in row["object_ids"] if o != identity]
        context.change.put("expression", {**row, "object_ids": left or None, "modified_at": now()})
    for one in [identity, *(o["id"] for o in seconds)]:
        _remove_object(context, one)


def _remove_object(context: _Context, identity: str) -> None:
    for mask in context.change.rows("mask", clip=context.clip, object=identity):
        context.change.delete("mask", context.clip, mask["frame"], identity)
    context.change.delete("object", context.clip, identity)


def _split_object(context: _Context, op: ObjectSplit) -> None:
    row = context.expect("object", op.object, op.base)
    frame = context.frame(op.frame)
    second = context.new_id("object", None, op.temp)
    name = op.name or (f"{row['name']} (2)" if row["name"] else "")
    colour = COLOURS[(int(second) - 1) % len(COLOURS)]
    context.change.put("object", {**row, "id": second, "name": name, "colour": colour, "author": context.person.id})
    for mask in context.change.rows("mask", clip=context.clip, object=row["id"]):
        if mask["frame"] >= frame:
            context.change.delete("mask", context.clip, mask["frame"], row["id"])
            context.change.put("mask", {**mask, "object": second})
    for meaning in _expressions_that_mean(context, row["id"]):
        at = meaning["object_ids"].index(row["id"]) + 1
        both = [*meaning["object_ids"][:at], second, *meaning["object_ids"][at:]]
        context.change.put("expression", {**meaning, "object_ids": both, "modified_at": now()})


def _merge_objects(context: _Context, op: ObjectMerge) -> None:
    kept = context.expect("object", op.object, op.base)["id"]
    other = context.expect("object", op.other, op.other_base)["id"]
    if kept == other:
        raise Invalid("An object cannot be merged with itself.")
    for mask in context.change.rows("mask", clip=context.clip, object=other):
        present = context.change.row("mask", context.clip, mask["frame"], kept)
        context.change.put("mask", {**_united(context, present, mask), "object": kept})
    for meaning in _expressions_that_mean(context, other):
        ids = list(dict.fromkeys(kept if o == other else o for o in meaning["object_ids"]))
        context.change.put("expression", {**meaning, "object_ids": ids, "modified_at": now()})
    for second in context.change.rows("object", clip=context.clip, second_of=other):
        context.change.put("object", {**second, "second_of": kept if second["id"] != kept else None})
    _remove_object(context, other)


def _united(context: _Context, first: Row | None, second: Row) -> Row:
    """The mask of both; made by whoever made the one that is there, or by the person where both are."""
    if first is None or first["counts"] == "":
        return second
    if second["counts"] == "":
        return first
    height, width = context.size
    a, b = (BitMask.from_rle({"size": [height, width], "counts": m["counts"]}).to_array() for m in (first, second))
    made = {"origin": "human", "by": context.person.id, "model": "", "reviewed": True}
    return {**second, "counts": encode_rle(np.logical_or(a, b))["counts"], **made}


def _new_expression(context: _Context, op: ExpressionNew) -> None:
    if not op.text:
        raise Invalid("A sentence has at least one character.")
    identity = context.new_id("expression", op.id, op.temp)
    given = _expression_fields(context, op)
    row = blank_expression(context.clip, identity, context.person.id)
    context.change.put("expression", {**row, **given})


def blank_expression(clip: int, identity: str, author: str) -> Row:
    """A row of an expression with nothing said yet, written by a person, now."""
    at = now()
    return {
        "clip": clip,
        "id": identity,
        "layout_id": "",
        "text": "",
        "object_ids": None,
        "kind": "referring",
        "tags": [],
        "is_sentence": None,
        "condition": None,
        "rationale": "",
        "group": None,
        "state": "ready",
        "origin": "human",
        "author": author,
        "model": "",
        "accepted_by": "",
        "accepted_at": "",
        "created_at": at,
        "modified_at": at,
        "properties": {},
    }


def _set_expression(context: _Context, op: ExpressionSet) -> None:
    row = context.expect("expression", op.expression, op.base)
    given = _expression_fields(context, op)
    changed = {**row, **given, "modified_at": now()}
    if row["origin"] == "machine" and given.get("text", row["text"]) != row["text"]:
        changed |= {"accepted_by": context.person.id, "accepted_at": now()}
    context.change.put("expression", changed)


def _accept_expression(context: _Context, op: ExpressionAccept) -> None:
    row = context.expect("expression", op.expression, op.base)
    if row["origin"] != "machine":
        raise Invalid("Only machine-made sentences wait for a person.")
    context.change.put("expression", {**row, "accepted_by": context.person.id, "accepted_at": now()})


def _delete_expression(context: _Context, op: ExpressionDelete) -> None:
    row = context.expect("expression", op.expression, op.base)
    context.change.delete("expression", context.clip, row["id"])


def _set_clip(context: _Context, op: ClipSet) -> None:
    row = expect(context.change, "clip", (context.clip,), op.base, context.place)
    given = op.model_dump(include=op.model_fields_set & {"title", "state"}, exclude_none=True)
    if op.source is not None:
        source = op.source.model_dump(include=op.source.model_fields_set)
        if any(value is None for name, value in source.items() if name != "may_copy_frames"):
            raise Invalid("Only 'may_copy_frames' of a source may be null.")
        given["source"] = {**row["source"], **source}
    context.change.put("clip", {**row, **given})


_OPERATIONS: dict[type, Callable[[_Context, Any], None]] = {
    MaskOp: _draw,
    MaskReview: _review,
    ObjectNew: _new_object,
    ObjectSet: _set_object,
    ObjectDelete: _delete_object,
    ObjectSplit: _split_object,
    ObjectMerge: _merge_objects,
    ExpressionNew: _new_expression,
    ExpressionSet: _set_expression,
    ExpressionAccept: _accept_expression,
    ExpressionDelete: _delete_expression,
    ClipSet: _set_clip,
}

_MAY_BE_NULL = {"object_ids", "is_sentence", "condition", "group"}


def _expression_fields(context: _Context, op: ExpressionFields) -> Row:
    """The fields that were given, checked. Raises Invalid, Unknown."""
    given = op.model_dump(include=op.model_fields_set & set(ExpressionFields.model_fields))
    for name, value in given.items():
        if value is None and name not in _MAY_BE_NULL:
            raise Invalid(f"'{name}' of a sentence may not be null.")
    if given.get("text") == "":
        raise Invalid("A sentence has at least one character.")
    if given.get("object_ids") is not None:
        ids = [context.object(reference) for reference in given["object_ids"]]
        given["object_ids"] = sorted(dict.fromkeys(ids), key=natural)
    if "tags" in given:
        given["tags"] = list(dict.fromkeys(tag for tag in given["tags"] if tag))
    return given


def _expressions_that_mean(context: _Context, identity: str) -> list[Row]:
    rows = context.change.rows("expression", clip=context.clip)
    return [row for row in rows if identity in (row["object_ids"] or ())]


def _shape(store: Store, clip: int) -> tuple[int, tuple[int, int]]:
    row = store.clip(clip)
    return row["n_frames"], (row["height"], row["width"])

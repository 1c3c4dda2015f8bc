"""What the native format holds: a record a thing, checked when it is read, and what the records mean together.

Ids are unique in their clip. Times are UTC. Every field that may be left out has its default here; an unknown field is
an error, so that nothing that somebody wrote is dropped in silence.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from datetime import datetime, timezone
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ..files import is_plain_path

FORMAT: Literal["rvos-annotation"] = "rvos-annotation"
#: version 1 is the same without a clip's ``frame_height`` and ``frame_width``
SCHEMA_VERSION: Literal[2] = 2

Role = Literal["author", "blind", "reviewer"]
Origin = Literal["human", "imported", "propagated"]
Stage = Literal["one-frame", "video"]
Decision = Literal["accepted", "rejected"]
Tag = str | int | float | bool

# Values ---------------------------------------------------------------------------------------------------------------

_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,6})?Z")
_SHA256 = re.compile(r"[0-9a-f]{64}")
_COLOUR = re.compile(r"#[0-9a-f]{6}")


def _id(value: str) -> str:
    if not is_plain_path(value) or value.startswith("~"):
        raise ValueError(
            f"{value[:60]!r} is no id: expected a plain name, without '..', control characters or '~' first"
        )
    return value


def _text(value: str) -> str:
    if any("\ud800" <= character <= "\udfff" for character in value):
        raise ValueError("holds half a character (a lone surrogate), which no file can hold")
    return value


def _like(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if value and not pattern.fullmatch(value):
            raise ValueError(f"{value[:60]!r} is no {what}")
        return value

    return AfterValidator(check)


Id = Annotated[str, AfterValidator(_id)]
Text = Annotated[str, AfterValidator(_text)]
Time = Annotated[str, _like(_TIME, "time in UTC such as 2026-01-31T12:00:00Z")]
Sha256 = Annotated[str, _like(_SHA256, "SHA-256 in hexadecimal")]
Colour = Annotated[str, _like(_COLOUR, "colour such as #e63c3c")]


def now() -> str:
    """The time, as the format writes it."""
    return datetime.now(timezone.utc).strftime("%Y-%m-%dT%H:%M:%SZ")


# Records --------------------------------------------------------------------------------------------------------------


class Record(BaseModel):
    """Read strictly, never changed."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Person(Record):
    """Somebody who works on the project, known by a name of their choice. Tokens are no part of the format."""

    id: Id
    name: Text = ""
    role: Role = "author"


class Source(Record):
    """Where a clip is from and what may be done with it.

    Attributes:
        collection, video: e.g. ``MOSE`` and the video's id there.
        licence: as its authors state it.
        consent: in words, who is seen and that they agreed; or that the clip is public under its licence.
        may_copy_frames: None where nobody said.
        file, file_sha256: the video file that the frames were taken from.
    """

    collection: Text = ""
    video: Text = ""
    url: Text = ""
    citation: Text = ""
    licence: Text = ""
    licence_url: Text = ""
    consent: Text = ""
    may_copy_frames: bool | None = None
    file: Text = ""
    file_sha256: Sha256 = ""


class Frame(Record):
    """A frame by reference.

    Attributes:
        name: without its ending.
        suffix: ending of its file, e.g. ``.jpg``; "" where unknown.
        sha256: of its file; "" where unknown.
        role: ``scored``; ``context`` for the full-rate frames around the scored ones; ``unlisted`` for a frame that has
            masks and that its dataset does not list.
        position: its number in the video file that it was taken from.
    """

    name: Id
    suffix: Text = ""
    sha256: Sha256 = ""
    role: Literal["scored", "context", "unlisted"] = "scored"
    position: int | None = Field(default=None, ge=0)


class Span(Record):
    """Annotated frames ``first`` to ``last`` (indices into the clip's frames, both included) of one object.

    Attributes:
        by: the person who drew, imported or started the propagation.
        model: name and revision of what propagated.
        reviewed: a person has looked at every one of these frames.
    """

    first: int = Field(ge=0)
    last: int = Field(ge=0)
    origin: Origin = "human"
    by: Text = ""
    model: Text = ""
    reviewed: bool = False


class Object(Record):
    """A track: one thing over time. Tracks may overlap.

    Attributes:
        second_of: the object that this is an independent second drawing of, by ``author``; used for agreement alone.
        role: ``target`` is the mask of an imported sentence that is no union of objects; ``stated_ids`` are then the
            objects that its dataset names for it, None where it names none.
        spans: what is annotated, in order; no frame twice.
    """

    id: Id
    name: Text = ""
    category: Text = ""
    colour: Colour = ""
    note: Text = ""
    author: Text = ""
    second_of: Id | None = None
    role: Literal["object", "target"] = "object"
    stated_ids: tuple[Id, ...] | None = None
    spans: tuple[Span, ...] = ()

    @model_validator(mode="after")
    def _in_order(self) -> Object:
        end = -1
        for span in self.spans:
            if span.first <= end or span.last < span.first:
                raise ValueError(f"object '{self.id}': span {span.first}-{span.last} overlaps or runs backwards")
            end = span.last
        return self


class Expression(Record):
    """A sentence.

    Attributes:
        layout_id: the id in the files that it was imported from; "" for ``id`` itself.
        object_ids: the objects meant; () declares that the video holds no target; None where nobody said yet.
        is_sentence: long (a full sentence) rather than short (a phrase); None where nobody said.
        condition: what its author had seen.
        rationale: why these objects and no others.
        group: paraphrases of each other share a group.
        accepted_by: the person who vouches for a machine-made sentence; it does not count before.
        properties: facts that an import carried over.
    """

    id: Id
    layout_id: Text = ""
    text: Text
    object_ids: tuple[Id, ...] | None = None
    kind: Literal["referring", "reasoning"] = "referring"
    tags: tuple[Text, ...] = ()
    is_sentence: bool | None = None
    condition: Literal["first-frame", "full-video"] | None = None
    rationale: Text = ""
    group: Text | None = None
    state: Literal["draft", "ready"] = "ready"
    origin: Literal["human", "imported", "machine"] = "human"
    author: Text = ""
    model: Text = ""
    accepted_by: Text = ""
    accepted_at: Time = ""
    created_at: Time = ""
    modified_at: Time = ""
    properties: dict[str, Tag] = {}


class Choice(Record):
    """Which objects a blind person took a sentence to mean; () is "none of these".

    Attributes:
        frame: the frame that was shown in stage ``one-frame``.
        candidates: the objects that were offered.
    """

    id: Id
    expression: Id
    person: Id
    stage: Stage
    frame: Text = ""
    answer: tuple[Id, ...] = ()
    candidates: tuple[Id, ...]
    seconds: float | None = Field(default=None, ge=0, allow_inf_nan=False)
    at: Time = ""


class Ref(Record):
    """What a verdict or a comment is about, in its clip."""

    kind: Literal["clip", "object", "expression"]
    id: Id


class Verdict(Record):
    """A reviewer's decision; of several about one thing the last one that is ``current`` counts.

    Attributes:
        current: what was judged has not changed since.
    """

    id: Id
    about: Ref
    person: Id
    decision: Decision
    comment: Text = ""
    at: Time = ""
    current: bool = True


class Comment(Record):
    """A remark."""

    id: Id
    about: Ref
    person: Id
    text: Text
    at: Time = ""
    resolved: bool = False


class Clip(Record):
    """A video with everything that is said about it, except its masks.

    Attributes:
        height, width: of the masks in pixels; None where unknown: nobody annotated, and no image was there.
        frame_height, frame_width: of the frames' images where that is another size, None where it is the same. They
            are stretched to the masks' size where they are shown; masks count in their own size.
        fps: of the scored frames.
        has_void: ``masks.json`` holds pixels that no score may count.
    """

    id: Id
    title: Text = ""
    height: int | None = Field(default=None, ge=1)
    width: int | None = Field(default=None, ge=1)
    frame_height: int | None = Field(default=None, ge=1)
    frame_width: int | None = Field(default=None, ge=1)
    fps: float | None = Field(default=None, gt=0, allow_inf_nan=False)
    has_void: bool = False
    source: Source = Source()
    frames: tuple[Frame, ...] = Field(min_length=1)
    objects: tuple[Object, ...] = ()
    expressions: tuple[Expression, ...] = ()
    choices: tuple[Choice, ...] = ()
    verdicts: tuple[Verdict, ...] = ()
    comments: tuple[Comment, ...] = ()

    @property
    def size(self) -> tuple[int, int] | None:
        """(height, width), None where unknown."""
        return None if self.height is None or self.width is None else (self.height, self.width)

    @property
    def frame_size(self) -> tuple[int, int] | None:
        """(height, width) of the images where it is another than ``size``, else None."""
        return None if self.frame_height is None or self.frame_width is None else (self.frame_height, self.frame_width)

    @property
    def by_object(self) -> dict[str, Object]:
        """The objects by id."""
        return {item.id: item for item in self.objects}

    @property
    def by_expression(self) -> dict[str, Expression]:
        """The sentences by id."""
        return {item.id: item for item in self.expressions}

    @model_validator(mode="after")
    def _consistent(self) -> Clip:
        for what in ("frames", "objects", "expressions", "choices", "verdicts", "comments"):
            names = [item.name if what == "frames" else item.id for item in getattr(self, what)]
            if len(set(names)) < len(names):
                twice = next(name for name in names if names.count(name) > 1)
                raise ValueError(f"'{twice}' occurs twice in {what}")
        if (self.frame_height is None) != (self.frame_width is None):
            raise ValueError("frame_height and frame_width go together")
        if not any(frame.role == "scored" for frame in self.frames):
            raise ValueError("no frame is scored")
        self._check_references()
        return self

    def _check_references(self) -> None:
        def known(found: Iterable[str], among: Mapping[str, object], where: str) -> None:
            for name in found:
                if name not in among:
                    raise ValueError(f"{where} names '{name}', which the clip does not have")

        objects, sentences = self.by_object, self.by_expression
        for item in self.objects:
            if item.spans and item.spans[-1].last >= len(self.frames):
                raise ValueError(f"object '{item.id}' is annotated beyond the {len(self.frames)} frames")
            known([item.second_of] if item.second_of else [], objects, f"object '{item.id}'")
        for expression in self.expressions:
            known(expression.object_ids or (), objects, f"sentence '{expression.id}'")
        for choice in self.choices:
            known([choice.expression], sentences, f"choice '{choice.id}'")
            known([*choice.answer, *choice.candidates], objects, f"choice '{choice.id}'")
        things: dict[str, Mapping[str, object]]
        things = {"clip": {self.id: self}, "object": objects, "expression": sentences}
        remarks: tuple[Verdict | Comment, ...] = (*self.verdicts, *self.comments)
        for remark in remarks:
            known([remark.about.id], things[remark.about.kind], f"verdict or comment '{remark.id}'")


class ClipRef(Record):
    """A clip in the head: where it is, and the SHA-256 of its two files ("" where it has no masks)."""

    id: Id
    folder: Id
    clip_sha256: Sha256
    masks_sha256: Sha256 = ""


class Event(Record):
    """Something that was done to the whole project: an import, a merge."""

    what: Text
    at: Time = ""
    detail: Text = ""


class Head(Record):
    """``annotation.json``.

    Attributes:
        annotations_licence: of the sentences and masks that were made here.
        content_hash: over the clips' files and all of the head but times and history.
    """

    format: Literal["rvos-annotation"] = FORMAT
    schema_version: Literal[1, 2] = SCHEMA_VERSION
    name: Id
    version: Text = "unstated"
    split: Text = ""
    title: Text = ""
    description: Text = ""
    annotations_licence: Text = ""
    created_at: Time = ""
    modified_at: Time = ""
    people: tuple[Person, ...] = ()
    clips: tuple[ClipRef, ...] = ()
    history: tuple[Event, ...] = ()
    content_hash: str = ""

    @model_validator(mode="after")
    def _consistent(self) -> Head:
        for what, names in (
            ("person", [person.id for person in self.people]),
            ("clip", [clip.id for clip in self.clips]),
            ("clip folder", [clip.folder.lower() for clip in self.clips]),
        ):
            if len(set(names)) < len(names):
                raise ValueError(f"a {what} occurs twice")
        return self


def json_schema() -> dict[str, Any]:
    """The JSON schema of ``annotation.json`` and ``clip.json``, for tools in other languages."""
    return {"annotation.json": Head.model_json_schema(), "clip.json": Clip.model_json_schema()}


# What it means --------------------------------------------------------------------------------------------------------


def annotated(item: Object, index: int) -> bool:
    """Whether frame ``index`` of the clip is annotated for the object, be it there or absent."""
    return any(span.first <= index <= span.last for span in item.spans)


def verdict_on(clip: Clip, kind: str, name: str) -> Decision | None:
    """The last decision that still holds about something, None where there is none."""
    found = [v for v in clip.verdicts if v.current and (v.about.kind, v.about.id) == (kind, name)]
    # without the Z, a time with fractions of a second comes after the full second; of equal times the later record
    return sorted(found, key=lambda verdict: verdict.at.rstrip("Z"))[-1].decision if found else None


def why_not_counted(clip: Clip, expression: Expression) -> str:
    """Why a sentence is no sample of the dataset; "" where it is one."""
    if expression.state == "draft":
        return "draft"
    if expression.origin == "machine" and not expression.accepted_by:
        return "machine-made, accepted by nobody"
    if verdict_on(clip, "expression", expression.id) == "rejected" or verdict_on(clip, "clip", clip.id) == "rejected":
        return "rejected"
    if any(verdict_on(clip, "object", name) == "rejected" for name in expression.object_ids or ()):
        return "its object was rejected"
    if expression.object_ids is None and expression.origin != "imported":
        return "its objects are not said"
    return ""


def counts(clip: Clip, expression: Expression) -> bool:
    """Whether a sentence is a sample of the dataset."""
    return not why_not_counted(clip, expression)

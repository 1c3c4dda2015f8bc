"""Two projects made one. Nothing is lost: what both say otherwise is kept twice, and every such conflict is listed.

Things of one id that are equal are one. Objects and sentences that differ are kept side by side, the second project's
under a new id (``2`` becomes ``2@other``), with everything that refers to them; so are choices, verdicts and comments.
A clip is the same clip in both where its frames are: other frames under one id make it two clips. What a thing has only
once (a title, a licence) is the first project's; the second's words are in the list of conflicts and in the history.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar, cast

from ..errors import UsageError
from . import native
from .loader import ReferencedFrames
from .native import (
    Choice,
    Clip,
    Comment,
    Event,
    Expression,
    Frame,
    Head,
    Object,
    Person,
    Project,
    Ref,
    Source,
    Track,
    Verdict,
)

Thing = Person | Object | Expression | Choice | Verdict | Comment
_T = TypeVar("_T", bound=Thing)


@dataclass(frozen=True)
class Conflict:
    """Something that the two say otherwise.

    Attributes:
        place: which thing, e.g. ``clip park, object 2``.
        first, second: what each says.
        kept: what became of it.
    """

    place: str
    first: str
    second: str
    kept: str

    def __str__(self) -> str:
        return f"{self.place}: '{self.first}' against '{self.second}'; {self.kept}."


@dataclass
class Merge:
    """What a merge did."""

    root: Path
    n_clips: int = 0
    n_objects: int = 0
    n_expressions: int = 0
    conflicts: list[Conflict] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "root": str(self.root), "conflicts": [vars(conflict) for conflict in self.conflicts]}


def merge(first: Path | str, second: Path | str, out: Path | str, *, suffix: str = "@other") -> Merge:
    """Write the two projects as one; neither is changed. ``out`` is complete or not there.

    Args:
        first, second: native folders.
        out: the new native folder.
        suffix: what is added to the second's ids where they mean something else in the first.

    Raises:
        UsageError: something is already at ``out``, or the suffix is none.
        DatasetError: a folder that cannot be read.
    """
    if not suffix or "/" in suffix:
        raise UsageError(f"suffix={suffix!r}: give a short ending without '/', e.g. @other.")
    a, b = native.read(first), native.read(second)
    done = Merge(Path(out))
    head, people = _head(a, b, suffix, done)
    names = {ref.id for ref in a.head.clips}
    with native.Writer(out, head) as writer:
        for clip in a:
            if clip.id in {ref.id for ref in b.head.clips} and _same_frames(clip, b.clip(clip.id)):
                _write(writer, done, *_merged(clip, a, _renamed_people(b.clip(clip.id), people), b, suffix, done))
            else:
                _write(writer, done, clip, a.masks(clip.id), _frames(a, clip))
        for clip in b:
            if clip.id in names and _same_frames(a.clip(clip.id), clip):
                continue
            added = _renamed_people(clip, people)
            if clip.id in names:
                added = added.model_copy(update={"id": _free(clip.id, suffix, names)})
                added = _retargeted(added, clip.id)
                done.conflicts.append(
                    Conflict(f"clip {clip.id}", "these frames", "other frames", f"the second is clip {added.id}")
                )
            _write(writer, done, added, b.masks(clip.id), _frames(b, clip))
        writer.note(Event(what="merge", at=native.now(), detail=_story(a, b, done)))
    return done


# The projects ---------------------------------------------------------------------------------------------------------


def _head(a: Project, b: Project, suffix: str, done: Merge) -> tuple[Head, dict[str, str]]:
    """The head, and the second project's people under their new ids."""
    once = {}
    for name in ("name", "version", "split", "title", "description", "annotations_licence"):
        once[name] = _one(getattr(a.head, name), getattr(b.head, name), f"project, {name}", done)
    people, renamed = _both("person", "project", a.head.people, b.head.people, suffix, done, lambda person: person)
    history = (*a.head.history, *(event for event in b.head.history if event not in a.head.history))
    return a.head.model_copy(update={**once, "people": people, "history": history}), renamed


def _write(
    writer: native.Writer, done: Merge, clip: Clip, masks: Mapping[str, Track], frames: ReferencedFrames | None
) -> None:
    writer.add(Clip.model_validate(clip.model_dump()), masks, frames)
    done.n_clips += 1
    done.n_objects += len(clip.objects)
    done.n_expressions += len(clip.expressions)


def _frames(project: Project, clip: Clip) -> ReferencedFrames | None:
    folder = project.frames_folder(clip.id)
    return ReferencedFrames(folder, ()) if folder.is_dir() else None


def _story(a: Project, b: Project, done: Merge) -> str:
    lines = [f"{a.head.name} ({a.head.content_hash[:19]}) and {b.head.name} ({b.head.content_hash[:19]})"]
    return "\n".join([*lines, *map(str, done.conflicts)])


# Clips ----------------------------------------------------------------------------------------------------------------


def _same_frames(a: Clip, b: Clip) -> bool:
    """The same names in the same order, and no frame whose hash both state differently."""
    if [(frame.name, frame.role) for frame in a.frames] != [(frame.name, frame.role) for frame in b.frames]:
        return False
    return not any(x.sha256 and y.sha256 and x.sha256 != y.sha256 for x, y in zip(a.frames, b.frames, strict=True))


def _merged(
    a: Clip, of_a: Project, b: Clip, of_b: Project, suffix: str, done: Merge
) -> tuple[Clip, Mapping[str, Track], ReferencedFrames | None]:
    place = f"clip {a.id}"
    tracks_a, tracks_b = of_a.masks(a.id), of_b.masks(b.id)

    objects, new = _objects(a, b, tracks_a, tracks_b, suffix, done)
    spoken = tuple(_relinked(expression, new) for expression in b.expressions)
    expressions, said = _both("sentence", place, a.expressions, spoken, suffix, done, lambda e: e)
    answered = tuple(_answered(choice, new, said) for choice in b.choices)
    choices, _ = _both("choice", place, a.choices, answered, suffix, done, lambda choice: choice)
    ids: dict[str, Mapping[str, str]] = {"object": new, "expression": said, "clip": {}}
    judged = tuple(v.model_copy(update={"about": _about(v.about, ids)}) for v in b.verdicts)
    verdicts, _ = _both("verdict", place, a.verdicts, judged, suffix, done, lambda verdict: verdict)
    remarked = tuple(c.model_copy(update={"about": _about(c.about, ids)}) for c in b.comments)
    comments, _ = _both("comment", place, a.comments, remarked, suffix, done, lambda comment: comment)
    clip = a.model_copy(
        update={
            "title": _one(a.title, b.title, f"{place}, title", done),
            "height": a.height or b.height,
            "width": a.width or b.width,
            "frame_height": a.frame_height or b.frame_height,
            "frame_width": a.frame_width or b.frame_width,
            "fps": _one(a.fps, b.fps, f"{place}, fps", done),
            "has_void": a.has_void or b.has_void,
            "source": _source(a.source, b.source, place, done),
            "frames": tuple(_frame(x, y) for x, y in zip(a.frames, b.frames, strict=True)),
            "objects": objects,
            "expressions": expressions,
            "choices": choices,
            "verdicts": verdicts,
            "comments": comments,
        }
    )
    void = native.VOID
    if void in tracks_a and void in tracks_b and tracks_a[void] != tracks_b[void]:
        done.conflicts.append(Conflict(f"{place}, void areas", "these", "others", "the first's are kept"))
    masks = MergedTracks(tracks_a, tracks_b, {new.get(item.id, item.id): item.id for item in b.objects})
    frames = _frames(of_a, a) or _frames(of_b, b)
    return clip, masks, frames


def _objects(
    a: Clip, b: Clip, tracks_a: Mapping[str, Track], tracks_b: Mapping[str, Track], suffix: str, done: Merge
) -> tuple[tuple[Object, ...], dict[str, str]]:
    """The objects of both, and the second's new ids: first the things themselves, then second drawings of them."""

    def with_masks(masks: Mapping[str, Track]) -> Callable[[Object], object]:
        return lambda item: (item, masks.get(item.id))

    place, content = f"clip {a.id}", (with_masks(tracks_a), with_masks(tracks_b))
    things = tuple(item for item in b.objects if item.second_of is None)
    objects, new = _both("object", place, a.objects, things, suffix, done, *content)
    again = tuple(_follow(item, new) for item in b.objects if item.second_of is not None)
    objects, drawn_again = _both("object", place, objects, again, suffix, done, *content)
    return objects, {**new, **drawn_again}


class MergedTracks(Mapping[str, Track]):
    """The first's tracks, then those of the second that the first does not have; read when they are asked for."""

    def __init__(self, first: Mapping[str, Track], second: Mapping[str, Track], names: Mapping[str, str]) -> None:
        self._first, self._second = first, second
        own = {new: old for new, old in names.items() if old in second and new not in first}
        if native.VOID in second and native.VOID not in first:
            own[native.VOID] = native.VOID
        self._names = own

    def __getitem__(self, name: str) -> Track:
        return self._second[self._names[name]] if name in self._names else self._first[name]

    def __iter__(self) -> Iterator[str]:
        yield from self._first
        yield from self._names

    def __len__(self) -> int:
        return len(self._first) + len(self._names)


# Things that refer to others ------------------------------------------------------------------------------------------


def _follow(item: Object, new: Mapping[str, str]) -> Object:
    return item.model_copy(update={"second_of": new.get(item.second_of or "", item.second_of)})


def _relinked(expression: Expression, new: Mapping[str, str]) -> Expression:
    ids = expression.object_ids
    return expression.model_copy(update={"object_ids": None if ids is None else tuple(new.get(i, i) for i in ids)})


def _answered(choice: Choice, new: Mapping[str, str], said: Mapping[str, str]) -> Choice:
    return choice.model_copy(
        update={
            "expression": said.get(choice.expression, choice.expression),
            "answer": tuple(new.get(i, i) for i in choice.answer),
            "candidates": tuple(new.get(i, i) for i in choice.candidates),
        }
    )


def _about(about: Ref, ids: Mapping[str, Mapping[str, str]]) -> Ref:
    return about.model_copy(update={"id": ids[about.kind].get(about.id, about.id)})


def _retargeted(clip: Clip, old: str) -> Clip:
    """Verdicts and comments on a clip whose id is new."""

    def moved(record: Any) -> Any:
        same = (record.about.kind, record.about.id) == ("clip", old)
        return record.model_copy(update={"about": Ref(kind="clip", id=clip.id)}) if same else record

    return clip.model_copy(
        update={"verdicts": tuple(map(moved, clip.verdicts)), "comments": tuple(map(moved, clip.comments))}
    )


def _renamed_people(clip: Clip, people: Mapping[str, str]) -> Clip:
    """The clip with the second project's people under the ids that they have now."""
    if not people:
        return clip

    def named(name: str) -> str:
        return people.get(name, name)

    def by(records: Any, *fields: str) -> tuple[Any, ...]:
        return tuple(r.model_copy(update={name: named(getattr(r, name)) for name in fields}) for r in records)

    objects = (item.model_copy(update={"spans": by(item.spans, "by")}) for item in clip.objects)
    return clip.model_copy(
        update={
            "objects": by(objects, "author"),
            "expressions": by(clip.expressions, "author", "accepted_by"),
            "choices": by(clip.choices, "person"),
            "verdicts": by(clip.verdicts, "person"),
            "comments": by(clip.comments, "person"),
        }
    )


# Parts ----------------------------------------------------------------------------------------------------------------


def _both(
    what: str,
    place: str,
    a: tuple[_T, ...],
    b: tuple[_T, ...],
    suffix: str,
    done: Merge,
    content: Callable[[_T], object],
    content_b: Callable[[_T], object] | None = None,
) -> tuple[tuple[_T, ...], dict[str, str]]:
    """The first's records and those of the second that are not among them; and the second's ids that are new."""
    own = {record.id: record for record in a}
    taken = {*own, *(record.id for record in b)}
    added: list[_T] = []
    new: dict[str, str] = {}
    for record in b:
        if record.id not in own:
            added.append(record)
        elif content(own[record.id]) != (content_b or content)(record):
            new[record.id] = _free(record.id, suffix, taken)
            added.append(cast(_T, record.model_copy(update={"id": new[record.id]})))
            kept = f"both are kept, the second's as {new[record.id]}"
            conflict = Conflict(f"{place}, {what} {record.id}", _said(own[record.id]), _said(record), kept)
            done.conflicts.append(conflict)
    return (*a, *added), new


def _free(name: str, suffix: str, taken: set[str]) -> str:
    found = name + suffix
    number = 2
    while found in taken:
        found, number = f"{name}{suffix}{number}", number + 1
    taken.add(found)
    return found


def _said(record: Thing) -> str:
    """A record in a few words."""
    if isinstance(record, Expression):
        return record.text
    if isinstance(record, Object):
        return record.name or f"{sum(span.last - span.first + 1 for span in record.spans)} annotated frames"
    if isinstance(record, Choice):
        return f"{record.person}: {', '.join(record.answer) or 'none'}"
    if isinstance(record, Verdict):
        return f"{record.person}: {record.decision}"
    return record.text if isinstance(record, Comment) else f"{record.name} ({record.role})"


def _one(a: Any, b: Any, place: str, done: Merge) -> Any:
    """A value of which there is one: the first's, or the second's where the first has none."""
    empty = ("", None, "unstated")
    if a in empty:
        return b
    if b not in empty and a != b:
        done.conflicts.append(Conflict(place, str(a), str(b), "the first's is kept"))
    return a


def _source(a: Source, b: Source, place: str, done: Merge) -> Source:
    """Field by field; where one forbids to pass frames on and the other allows it, it is forbidden."""
    fields = {name: _one(getattr(a, name), getattr(b, name), f"{place}, {name}", done) for name in Source.model_fields}
    if {a.may_copy_frames, b.may_copy_frames} == {True, False}:
        fields["may_copy_frames"] = False
    return Source(**fields)


def _frame(a: Frame, b: Frame) -> Frame:
    position = a.position if a.position is not None else b.position
    return a.model_copy(update={"suffix": a.suffix or b.suffix, "sha256": a.sha256 or b.sha256, "position": position})

"""Between a project's database and the native format: out for exports, checks and merges; in for imports."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from ..errors import RvosError
from . import database as db
from . import native
from .edits import blank_expression
from .journal import Author, Change
from .records import now
from .store import VOID, Store
from .tracks import Tracks
from .videos import Incoming, Progress, add_clip, frame_size_of, video_of

if TYPE_CHECKING:
    from .importing import Imported

Row = dict[str, Any]
_ROLES = {"owner": "author"}
_CLIP_FIELDS = ("id", "title", "height", "width", "frame_height", "frame_width", "fps", "has_void")


# Out -----------------------------------------------------------------------------------------------------------------


@contextmanager
def as_native(store: Store, frames: bool = True) -> Iterator[Path]:
    """A project as a native folder that is removed afterwards; its ``frames`` are links where the disk allows.

    What goes wrong in it is said of the project: nobody finds the folder any more.
    """
    (store.folder / "cache").mkdir(exist_ok=True)
    with tempfile.TemporaryDirectory(dir=store.folder / "cache", prefix="native-") as folder:
        out = Path(folder) / "native"
        try:
            write_native(store, out, frames)
            yield out
        except RvosError as error:
            error.args = tuple(str(words).replace(str(out), str(store.folder)) for words in error.args)
            raise


def write_native(store: Store, out: Path, frames: bool = True, progress: Progress | None = None) -> None:
    """Write a project as a native folder, with its ``frames`` or as references to them.

    Raises:
        UsageError, DatasetError: something is at ``out``; what is there cannot be written. ``out`` is then not there.
    """
    clips = store.clips()
    with native.Writer(out, _head(store)) as writer:
        for done, row in enumerate(clips, start=1):
            source = video_of(store, row["key"]).source if frames else None
            writer.add(native_clip(store, row["key"]), TrackMasks(store, row["key"]), source=source, link=True)
            if progress is not None:
                progress(done, len(clips))


def _head(store: Store) -> native.Head:
    project = store.project()
    fields = ("version", "split", "title", "description", "annotations_licence", "created_at")
    people = [
        native.Person(id=p["id"], name=p["name"], role=_ROLES.get(p["role"], p["role"]))  # type: ignore[arg-type]
        for p in store.people()
    ]
    told = {name: project[name] for name in fields if project[name]}
    return native.Head(name=project["name"], people=tuple(people), modified_at=now(), **told)


def native_clip(store: Store, key: int, tracks: Tracks | None = None) -> native.Clip:
    """Everything about a clip except its masks."""
    clip = store.clip(key)
    spans = (tracks or Tracks(store)).spans(key)
    objects = store.objects(key)
    named = {"expression": store.expressions(key), "object": objects, "clip": [clip]}
    exists = {kind: {row["id"] for row in rows} for kind, rows in named.items()}
    texts = {row["id"]: row["text"] for row in named["expression"]}
    return native.Clip.model_validate(
        {
            **{name: clip[name] for name in (*_CLIP_FIELDS, "source")},
            **dict(zip(("frame_height", "frame_width"), frame_size_of(store, key), strict=True)),
            "frames": store.frames_of(key),
            "objects": [_object(row, spans.get(row["id"], [])) for row in objects],
            "expressions": [_without(row, "clip", "revision") for row in named["expression"]],
            "choices": [
                _without(row, "clip", "revision", "text")
                for row in store.choices(key)
                if texts.get(row["expression"]) == row["text"] and exists["object"].issuperset(row["candidates"])
            ],
            "verdicts": [
                _without(row, "clip", "revision", "judged_revision", "name")
                for row in judged(store, key)
                if row["about"]["id"] in exists[row["about"]["kind"]]
            ],
            "comments": [
                _without(row, "clip", "revision")
                for row in store.comments(key)
                if row["about"]["id"] in exists[row["about"]["kind"]]
            ],
        }
    )


def judged(store: Store, key: int) -> list[Row]:
    """The verdicts of a clip with the reviewer's ``name``, and whether each is still about what it judged."""
    verdicts = store.verdicts(key)
    if not verdicts:
        return []
    newest = {("expression", e["id"]): e["revision"] for e in store.expressions(key)}
    newest |= {("object", o["id"]): o["revision"] for o in store.objects(key)}
    clip = store.clip(key)
    newest["clip", clip["id"]] = clip["revision"]
    rows = db.mask.c
    with store.reading() as connection:
        drawn = sa.select(rows.object, sa.func.max(rows.revision)).where(rows.clip == key).group_by(rows.object)
        for name, revision in connection.execute(drawn):
            if ("object", name) in newest:
                newest["object", name] = max(newest["object", name], revision)
    names = {p["id"]: p["name"] for p in store.people()}
    return [
        {
            **row,
            "name": names.get(row["person"], row["person"]),
            "current": newest.get((row["about"]["kind"], row["about"]["id"]), row["revision"] + 1)
            <= row["judged_revision"],
        }
        for row in verdicts
    ]


def _object(row: Row, spans: Sequence[Sequence[Any]]) -> Row:
    told = _without(row, "clip", "revision")
    merged: list[Row] = []
    for first, last, origin, _, reviewed, by, model in spans:
        made = {"origin": origin, "by": by, "model": model, "reviewed": reviewed}
        if merged and merged[-1]["last"] == first - 1 and made == _without(merged[-1], "first", "last"):
            merged[-1]["last"] = last
        else:
            merged.append({"first": first, "last": last, **made})
    return {**told, "spans": merged}


def _without(row: Mapping[str, Any], *names: str) -> Row:
    return {name: value for name, value in row.items() if name not in names}


class TrackMasks(Mapping[str, "native.Track"]):
    """The masks of a clip by object, each read from the database when it is asked for."""

    def __init__(self, store: Store, key: int) -> None:
        self._store, self._key = store, key
        clip = store.clip(key)
        self._size, self._n_frames = [clip["height"], clip["width"]], clip["n_frames"]
        rows = db.mask.c
        with store.reading() as connection:
            seen = sa.select(rows.object).where(rows.clip == key, rows.absent == sa.false()).distinct()
            self._names = sorted(connection.execute(seen).scalars())

    def __getitem__(self, name: str) -> list[native.Rle | None]:
        if name not in self._names:
            raise KeyError(name)
        track: list[native.Rle | None] = [None] * self._n_frames
        for row in self._store.track(self._key, name):
            if row["counts"]:
                track[row["frame"]] = {"size": self._size, "counts": row["counts"]}
        return track

    def __iter__(self) -> Iterator[str]:
        return iter(self._names)

    def __len__(self) -> int:
        return len(self._names)


# In ------------------------------------------------------------------------------------------------------------------


def add_imported(
    store: Store,
    clips: Iterable[Imported],
    author: Author,
    progress: Progress | None = None,
    people: Iterable[native.Person] = (),
) -> list[Row]:
    """Add clips that were read from a dataset or another project, one transaction each. Gives their rows.

    Args:
        people: those of another project; they come without access.

    Raises:
        UsageError: a clip of that id is there; those before it stay.
        DatasetError, ImageError: files that are not as expected.
    """
    _add_people(store, people, author)
    added = []
    for imported in clips:
        added.append(_add_one(store, imported, author))
        if progress is not None:
            progress(len(added), 0)
    return added


def _add_one(store: Store, imported: Imported, author: Author) -> Row:
    clip = imported.clip
    row = clip.model_dump(include=set(_CLIP_FIELDS))
    row["source"] = clip.source.model_dump()
    with tempfile.TemporaryDirectory(prefix="rvos-frames-") as folder:
        frames = [_incoming(imported, frame, number, Path(folder)) for number, frame in enumerate(clip.frames)]
        return add_clip(store, row, frames, author, fill=lambda change, key: _fill(change, key, imported, author))


def _incoming(imported: Imported, frame: native.Frame, number: int, folder: Path) -> Incoming:
    """A frame's file, or its pixels written as PNG where the dataset keeps none."""
    found = None if imported.source is None else native.frame_file(imported.source, frame.name)
    suffix, path = frame.suffix, None
    if found is not None:
        suffix = found[1].lower()
        path = found[0] if isinstance(found[0], Path) else folder / f"{number:06d}{suffix}"
        if not isinstance(found[0], Path):
            path.write_bytes(found[0])
    return Incoming(frame.name, suffix, path, frame.sha256, frame.role, frame.position)


def _fill(change: Change, key: int, imported: Imported, author: Author) -> None:
    clip = imported.clip
    objects = [{**o.model_dump(exclude={"spans"}), "clip": key} for o in clip.objects]
    for row in objects:
        row["stated_ids"] = None if row["stated_ids"] is None else list(row["stated_ids"])
    change.insert_all("object", [_coloured(row, number) for number, row in enumerate(objects)])
    for item in clip.objects:
        change.insert_all("mask", list(_mask_rows(key, item, imported.masks)))
        change.end_record()
    if clip.has_void and VOID in imported.masks:
        void = native.Object(id="void", spans=(native.Span(first=0, last=len(clip.frames) - 1, origin="imported"),))
        rows = _mask_rows(key, void, {"void": imported.masks[VOID]})
        change.insert_all("mask", [{**row, "object": VOID} for row in rows if row["counts"]])
    change.insert_all("expression", [_expression(key, e) for e in clip.expressions])
    change.insert_all("choice", [_choice(key, c, clip) for c in clip.choices])
    for verdict in clip.verdicts:
        told = verdict.model_dump(exclude={"current"})
        change.put("verdict", {**told, "clip": key, "judged_revision": change.seq if verdict.current else 0})
    for comment in clip.comments:
        change.put("comment", {**comment.model_dump(), "clip": key})


def _coloured(row: Row, number: int) -> Row:
    from .edits import COLOURS

    return row if row["colour"] else {**row, "colour": COLOURS[number % len(COLOURS)]}


def _mask_rows(key: int, item: native.Object, masks: Mapping[str, native.Track]) -> Iterator[Row]:
    track = masks.get(item.id)
    for span in item.spans:
        made = {"origin": span.origin, "by": span.by, "model": span.model, "reviewed": span.reviewed}
        for frame in range(span.first, span.last + 1):
            rle = None if track is None else track[frame]
            counts = "" if rle is None else _text(rle["counts"])
            yield {"clip": key, "frame": frame, "object": item.id, "counts": counts, **made}


def _text(counts: str | bytes) -> str:
    return counts.decode("ascii") if isinstance(counts, bytes) else counts


def _expression(key: int, expression: native.Expression) -> Row:
    told = expression.model_dump(mode="json")
    blank = blank_expression(key, expression.id, "")
    return {**blank, **told, "created_at": told["created_at"] or blank["created_at"]}


def _choice(key: int, choice: native.Choice, clip: native.Clip) -> Row:
    text = clip.by_expression[choice.expression].text
    return {**choice.model_dump(mode="json"), "clip": key, "text": text}


def _add_people(store: Store, people: Iterable[native.Person], author: Author) -> None:
    known = {p["id"] for p in store.people()}
    new = [p for p in people if p.id not in known]
    with store.change(None, author, "people of an imported project", kind="record") as change:
        for one in new:
            row = {"id": one.id, "name": one.name, "role": one.role, "created_at": now(), "revoked": True}
            change.put("person", row)

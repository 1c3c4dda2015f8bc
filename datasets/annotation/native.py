"""The workbench's own format: a folder that keeps everything that people said about videos, and says it once.

::

    annotation.json                what it is, who worked on it, its clips with their hashes
    clips/<clip>/clip.json         frames, source, objects, sentences, blind choices, verdicts, comments
    clips/<clip>/masks.json        object -> a COCO RLE or null per frame, as MeViS writes a mask_dict.json
    frames/<clip>/<frame>.jpg      only where frames are copied; they are always named by their SHA-256

``records`` says what the first two hold. Null in ``masks.json`` is a frame that does not show the object, or one that
nobody looked at: an object's ``spans`` say which frames are annotated, and by whom. ``rvos.load(FOLDER)`` opens such a
folder as a dataset (``loader``).
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar
from urllib.parse import quote

from pydantic import BaseModel, ValidationError

from ..errors import DatasetError, UnknownNameError, UsageError
from ..files import read_json
from ..layouts.files import JsonObject, made, staged
from ..layouts.job import HasBytes
from ..rle_index import RleFile, open_rle_file
from ..types import FrameSource
from .records import (
    FORMAT,
    SCHEMA_VERSION,
    Choice,
    Clip,
    ClipRef,
    Comment,
    Decision,
    Event,
    Expression,
    Frame,
    Head,
    Object,
    Person,
    Record,
    Ref,
    Role,
    Source,
    Span,
    Tag,
    Verdict,
    annotated,
    counts,
    json_schema,
    now,
    verdict_on,
    why_not_counted,
)

__all__ = [
    "CLIPS_FOLDER",
    "FORMAT",
    "FRAMES_FOLDER",
    "HEAD_FILE",
    "SCHEMA_VERSION",
    "VOID",
    "Choice",
    "Clip",
    "ClipRef",
    "Comment",
    "Decision",
    "Event",
    "Expression",
    "Frame",
    "Head",
    "Object",
    "Person",
    "Project",
    "Record",
    "Ref",
    "Rle",
    "Role",
    "Source",
    "Span",
    "Tag",
    "Track",
    "Tracks",
    "Verdict",
    "Writer",
    "annotated",
    "content_hash",
    "counts",
    "dumped",
    "file_sha256",
    "frame_file",
    "is_native",
    "json_schema",
    "now",
    "place_frame",
    "read",
    "verdict_on",
    "why_not_counted",
]

HEAD_FILE, CLIP_FILE, MASKS_FILE = "annotation.json", "clip.json", "masks.json"
CLIPS_FOLDER, FRAMES_FOLDER = "clips", "frames"
VOID = "~void"  # the key of uncounted pixels in masks.json; no id begins with '~'

#: a COCO RLE ``{"size": [h, w], "counts": str}``; None for a frame that shows nothing, or that nobody annotated
Rle = dict[str, Any]
Track = Sequence["Rle | None"]

# Reading --------------------------------------------------------------------------------------------------------------


class Tracks(Mapping[str, "list[Rle | None]"]):
    """The masks of one clip by object, each track read when it is asked for; an object never seen has no entry."""

    def __init__(self, file: RleFile | None) -> None:
        self._file = file

    def __getitem__(self, name: str) -> list[Rle | None]:
        if self._file is None or name not in self._file:
            raise KeyError(name)
        return self._file.track(name)

    def __iter__(self) -> Iterator[str]:
        return iter(self._file.ids if self._file is not None else ())

    def __len__(self) -> int:
        return len(self._file) if self._file is not None else 0


class Project:
    """A native folder, opened. Clips and masks are read when they are asked for and not kept.

    Attributes:
        folder: where it is.
        head: ``annotation.json``.
    """

    def __init__(self, folder: Path, head: Head) -> None:
        self.folder = folder
        self.head = head

    def __len__(self) -> int:
        return len(self.head.clips)

    def __iter__(self) -> Iterator[Clip]:
        return (self.clip(ref.id) for ref in self.head.clips)

    @cached_property
    def _refs(self) -> dict[str, ClipRef]:
        return {ref.id: ref for ref in self.head.clips}

    def ref(self, clip_id: str) -> ClipRef:
        """Raises UnknownNameError."""
        if clip_id not in self._refs:
            raise UnknownNameError(f"clip of {self.folder}", clip_id, self._refs)
        return self._refs[clip_id]

    def clip_file(self, clip_id: str) -> Path:
        """Its ``clip.json``."""
        return self.folder / CLIPS_FOLDER / self.ref(clip_id).folder / CLIP_FILE

    def masks_file(self, clip_id: str) -> Path | None:
        """Its ``masks.json``, None where it has no masks."""
        path = self.clip_file(clip_id).with_name(MASKS_FILE)
        return path if self.ref(clip_id).masks_sha256 else None

    def frames_folder(self, clip_id: str) -> Path:
        """Where its frames are, if they were copied."""
        return self.folder / FRAMES_FOLDER / self.ref(clip_id).folder

    def clip(self, clip_id: str) -> Clip:
        """Raises DatasetError, UnknownNameError."""
        path = self.clip_file(clip_id)
        clip = _validated(Clip, path)
        if clip.id != clip_id:
            raise DatasetError(f"{path}: is clip '{clip.id}', {HEAD_FILE} calls it '{clip_id}'; export it again.")
        return clip

    def masks(self, clip_id: str) -> Tracks:
        """Raises DatasetError."""
        path = self.masks_file(clip_id)
        return Tracks(None if path is None else open_rle_file(path))


def is_native(folder: Path) -> bool:
    """Whether a folder holds annotations of this format."""
    return (folder / HEAD_FILE).is_file()


def read(folder: Path | str) -> Project:
    """Open a native folder. Raises DatasetError: none, of a newer version, or not as the format says."""
    folder = Path(folder)
    path = folder / HEAD_FILE
    if not path.is_file():
        raise DatasetError(f"{folder}: holds no {HEAD_FILE}; give the folder that `rvos annotate export` wrote.")
    content = read_json(path)
    version = content.get("schema_version") if isinstance(content, dict) else None
    if isinstance(version, int) and version > SCHEMA_VERSION:
        raise DatasetError(f"{path}: schema version {version}, this rvos reads {SCHEMA_VERSION}; update rvos.")
    return Project(folder, _validated(Head, path, content))


def content_hash(head: Head) -> str:
    """``sha256:<hex>`` of what a project says, whoever wrote it down and when."""
    stated = head.model_dump(mode="json", exclude={"clips", "content_hash", "created_at", "modified_at", "history"})
    digest = hashlib.sha256(json.dumps(stated, sort_keys=True, ensure_ascii=False).encode())
    for ref in sorted(head.clips, key=lambda ref: ref.id):
        digest.update(f"\n{ref.id}\0{ref.clip_sha256}\0{ref.masks_sha256}".encode())
    return f"sha256:{digest.hexdigest()}"


_R = TypeVar("_R", bound=Record)


def _validated(model: type[_R], path: Path, content: Any = None) -> _R:
    try:
        return model.model_validate(read_json(path) if content is None else content)
    except ValidationError as error:
        first, *others = error.errors()
        place = ".".join(map(str, first["loc"]))
        more = f" ({len(others)} more)" if others else ""
        message = first["msg"].removeprefix("Value error, ")
        raise DatasetError(
            f"{path}: {place + ': ' if place else ''}{message}{more}; expected schema version {SCHEMA_VERSION} "
            "(docs/annotation-format.md)."
        ) from error


# Writing --------------------------------------------------------------------------------------------------------------


class Writer:
    """Writes a native folder, clip by clip; it is complete or not there.

        with Writer(folder, head) as writer:
            writer.add(clip, masks, frames)

    Args:
        folder: must not exist.
        head: its ``clips``, times and ``content_hash`` are filled in.

    Raises:
        UsageError: something is already there.
    """

    def __init__(self, folder: Path | str, head: Head) -> None:
        self.folder = Path(folder).absolute()
        self._head = head
        self._refs: list[ClipRef] = []

    def __enter__(self) -> Writer:
        if self.folder.exists():
            raise UsageError(f"{self.folder} is already there; remove it or give another folder.")
        self.folder.parent.mkdir(parents=True, exist_ok=True)
        self._stack = ExitStack()
        self._stage = self._stack.enter_context(staged(self.folder))
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            time = now()
            head = self._head.model_copy(
                update={
                    "schema_version": SCHEMA_VERSION,
                    "clips": tuple(self._refs),
                    "created_at": self._head.created_at or time,
                    "modified_at": self._head.modified_at or time,
                }
            )
            head = Head.model_validate(head.model_dump())
            self.head = head.model_copy(update={"content_hash": content_hash(head)})
            (self._stage / HEAD_FILE).write_text(dumped(self.head), encoding="utf-8")
        self._stack.__exit__(kind, error, trace)

    def note(self, event: Event) -> None:
        """Add to the project's history."""
        self._head = self._head.model_copy(update={"history": (*self._head.history, event)})

    def add(
        self, clip: Clip, masks: Mapping[str, Track], source: FrameSource | None = None, link: bool = False
    ) -> ClipRef:
        """Write a clip.

        Args:
            clip: the clip.
            masks: by object id (``VOID`` for uncounted pixels), an RLE or None for every frame of the clip. Objects
                that are never seen may be left out.
            source: has the frames to be kept with it; None leaves them as references.
            link: hard-link the frames' files instead of copying them, where the disk allows it.

        Raises:
            DatasetError: masks that do not fit the clip, or frames that are not there or not the ones referred to.
        """
        folder = _folder_name(clip.id)
        target = made(self._stage / CLIPS_FOLDER / folder)
        (target / CLIP_FILE).write_text(dumped(clip), encoding="utf-8")
        seen = self._write_masks(clip, masks, target / MASKS_FILE)
        if source is not None:
            for frame in clip.frames:
                place_frame(source, frame, made(self._stage / FRAMES_FOLDER / folder), link)
        ref = ClipRef(
            id=clip.id,
            folder=folder,
            clip_sha256=file_sha256(target / CLIP_FILE),
            masks_sha256=file_sha256(target / MASKS_FILE) if seen else "",
        )
        self._refs.append(ref)
        return ref

    def _write_masks(self, clip: Clip, masks: Mapping[str, Track], path: Path) -> bool:
        allowed = {**clip.by_object, **({VOID: None} if clip.has_void else {})}
        with JsonObject(path) as file:
            for name in masks:
                if name not in allowed:
                    raise DatasetError(f"Clip '{clip.id}': masks of '{name}', which it does not have.")
                track = _normal(clip, name, masks[name])
                if any(rle is not None for rle in track):
                    file.add(name, track)
        if not file.n:
            path.unlink()
        return file.n > 0


def place_frame(source: FrameSource, frame: Frame, folder: Path, link: bool = False) -> None:
    """Put a frame's file into ``folder``; nothing for a frame that the source does not have and nobody refers to.

    Raises:
        DatasetError: it is missing, or its content is not what the clip refers to.
    """
    found = frame_file(source, frame.name)
    if found is None:
        if frame.sha256:
            raise DatasetError(f"Frame {frame.name}: its file is not there; give the folder that holds the frames.")
        return
    file, suffix = found
    digest = file_sha256(file) if isinstance(file, Path) else hashlib.sha256(file).hexdigest()
    if frame.sha256 and digest != frame.sha256:
        where = f"{file} " if isinstance(file, Path) else ""
        raise DatasetError(f"Frame {frame.name}: {where}is not the frame that was annotated (SHA-256 differs).")
    target = folder / f"{frame.name}{suffix}"
    made(target.parent)
    if not isinstance(file, Path):
        target.write_bytes(file)
        return
    if link:
        try:
            target.hardlink_to(file.resolve())
            return
        except OSError:  # another disk, or a file system without links
            target.unlink(missing_ok=True)
    shutil.copyfile(file, target)


def frame_file(source: FrameSource, name: str) -> tuple[Path | bytes, str] | None:
    """A frame's file, or its bytes where it lies inside a larger file, and its ending; None where it is not there."""
    path = source.path(name)
    if path is not None:
        return path, path.suffix
    return source.encoded(name) if isinstance(source, HasBytes) else None


def file_sha256(path: Path) -> str:
    """Of a file, in hexadecimal."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def dumped(record: BaseModel) -> str:
    """A record as JSON, an entry of its lists a line, without fields that have their default value.

    The same record gives the same text, so that files can be compared line by line and by hash.
    """
    content = record.model_dump(mode="json", exclude_defaults=True)
    if isinstance(record, Head):
        content = {"format": record.format, "schema_version": record.schema_version, **content}
    return "{\n" + ",\n".join(f"{_json(key)}: {_lines(value)}" for key, value in content.items()) + "\n}\n"


def _lines(value: Any) -> str:
    if isinstance(value, list) and value:
        return "[\n" + ",\n".join(f" {_json(item)}" for item in value) + "\n]"
    return _json(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


def _normal(clip: Clip, name: str, track: Track) -> list[Rle | None]:
    """The track with one way to say that there is nothing: null."""
    from pycocotools import mask as coco

    if len(track) != len(clip.frames):
        raise DatasetError(f"Clip '{clip.id}', object '{name}': {len(track)} masks for {len(clip.frames)} frames.")
    item = clip.by_object.get(name)
    spans = item.spans if item is not None else ()
    covered = {i for span in spans for i in range(span.first, span.last + 1)} if item else set(range(len(track)))
    place = f"Clip '{clip.id}', object '{name}', frame number"
    out: list[Rle | None] = []
    for index, rle in enumerate(track):
        if rle is None:
            out.append(None)
            continue
        if not isinstance(rle.get("counts"), str) or len(rle.get("size", ())) != 2:
            raise DatasetError(f"{place} {index}: not a COCO RLE with a string of counts.")
        if index not in covered:
            raise DatasetError(f"{place} {index}: has a mask and is in no span; say who drew it.")
        seen = int(coco.area({"size": rle["size"], "counts": rle["counts"].encode("ascii")})) > 0
        out.append({"size": [int(v) for v in rle["size"]], "counts": rle["counts"]} if seen else None)
    return out


def _folder_name(clip_id: str) -> str:
    """The id where it is one folder on every system, else percent-encoded."""
    name = quote(clip_id, safe="()+,=@ #")
    return "%2E" + name[1:] if name.startswith(".") else name

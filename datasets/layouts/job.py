"""One conversion: where it writes, what it counts, what it has no place for; and the parts that all layouts share."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, runtime_checkable

import numpy as np

from ..errors import DatasetError, ImageError
from ..masks import encode_rle
from ..types import BoolMask, Expression, Masklet, Video
from .content import FORMAT, KEY, VideoContent, kept_expression
from .files import made

How = Literal["link", "copy", "none"]


@runtime_checkable
class HasBytes(Protocol):
    """A frame source that keeps image files inside a larger one."""

    def encoded(self, name: str) -> tuple[bytes, str]:
        """The bytes of the frame's file and its ending. Raises DatasetError."""
        ...


@dataclass
class Loss:
    """Something that the layout has no place for.

    Attributes:
        what: in words.
        count: how often.
        example: the first place.
        kept: whether it is written under the key ``rvos``, so that a conversion back restores it.
    """

    what: str
    count: int
    example: str
    kept: bool

    def __str__(self) -> str:
        fate = "kept for the way back" if self.kept else "lost"
        return f"{fate}: {self.count} {self.what}, first {self.example}."


@dataclass
class Losses:
    """Losses by kind, in the order of their first occurrence."""

    found: dict[str, Loss] = field(default_factory=dict)

    def add(self, what: str, example: str, *, count: int = 1, kept: bool = False) -> None:
        if count:
            self.found.setdefault(what, Loss(what, 0, example, kept)).count += count


@dataclass
class Job:
    """One conversion: where it writes, and what it counts.

    Attributes:
        stage: the folder that becomes the root.
        split: of the layout, "" where it has none.
        origin: ``name/split`` of the dataset in which the data began; "" where they begin here, and nothing is kept for
            a way back.
        frames: whether frame files are hard-linked (copied where the disk differs), copied, or left out.
        keeps_ids: no two videos of the dataset use one object id, so ids may serve as MeViS's, which are global.
    """

    stage: Path
    split: str
    origin: str
    frames: How
    keeps_ids: bool = False
    losses: Losses = field(default_factory=Losses)
    n_videos: int = 0
    n_expressions: int = 0
    n_linked: int = 0
    n_copied: int = 0
    n_encoded: int = 0

    def kept(
        self,
        content: VideoContent,
        expressions: Sequence[Expression],
        objects: Mapping[str, str],
        unannotated: Mapping[str, list[str]],
    ) -> dict[str, Any]:
        """The key ``rvos`` of a video with its value. ``objects``: id in this layout -> id in the origin."""
        if not self.origin:
            return {}
        kept = {
            "format": FORMAT,
            "origin": self.origin,
            "source": content.source,
            "fps": content.video.fps,
            "objects": dict(objects),
            "unannotated": dict(unannotated),
            "expressions": [kept_expression(e) for e in expressions],
        }
        return {KEY: kept}

    def wrote(self, expressions: Sequence[Expression]) -> None:
        self.n_videos += 1
        self.n_expressions += len(expressions)


def place_frames(folder: Path, video: Video, job: Job) -> None:
    """The frames' files; pixels that have no file are written as PNG, without loss."""
    if job.frames == "none":
        return
    if video.context_names and video.context_names != video.frame_names:
        job.losses.add("frames around the scored ones", video.id, count=len(video.context_names) - len(video))
    for name in video.frame_names:
        path = video.source.path(name) if video.source is not None else None
        if path is not None:
            target = folder / f"{name}{path.suffix}"
            made(target.parent)
            _link_or_copy(path, target, job)
            continue
        try:
            if isinstance(video.source, HasBytes):
                data, suffix = video.source.encoded(name)
                (made(folder) / f"{name}{suffix}").write_bytes(data)
                job.n_copied += 1
                continue
            rgb = video.frame(video.frame_names.index(name))
        except (DatasetError, ImageError):
            job.losses.add("frames whose images are not in the source", f"{video.id}/{name}")
            continue
        from PIL import Image

        made(folder)
        Image.fromarray(rgb).save(folder / f"{name}.png")
        job.n_encoded += 1


def _link_or_copy(path: Path, target: Path, job: Job) -> None:
    if job.frames == "link":
        try:
            os.link(path.resolve(), target)
        except OSError:  # another disk, or a file system without links: counted, and said in the report
            shutil.copyfile(path, target)
            job.n_copied += 1
        else:
            job.n_linked += 1
    else:
        shutil.copyfile(path, target)
        job.n_copied += 1


def fits(video: Video, expressions: Sequence[object], job: Job) -> bool:
    """Whether anything is left to write; counted where not."""
    if not expressions:
        job.losses.add("videos without a sentence that fits", video.id)
    return bool(expressions)


def count_beyond(video: Video, masklets: Sequence[Masklet], job: Job) -> None:
    """Masks of frames that the video does not list, which no layout holds."""
    extra = max((len(m) - len(video) for m in masklets), default=0)
    job.losses.add("masks of frames that the video does not list", video.id, count=extra)


def count_gaps(video: Video, count: int, job: Job) -> None:
    """Frames without annotation in a layout that has no word for them; the key ``rvos`` keeps them."""
    what = "masks of frames without annotation, which this layout shows as absent objects"
    job.losses.add(what, video.id, count=count, kept=True)


def union_of(masks: Sequence[BoolMask | None]) -> BoolMask | None:
    """Of the masks that are there; None where none is."""
    there = [mask for mask in masks if mask is not None]
    return np.logical_or.reduce(there) if there else None


def unique_names(expressions: Sequence[Expression]) -> list[str]:
    """The sentences' layout ids where they differ, else running numbers."""
    own = [e.layout_id for e in expressions]
    return own if len(set(own)) == len(own) else [str(k) for k in range(len(own))]


def is_number(name: str) -> bool:
    """Whether a name is a number as Python writes it."""
    return name.isdecimal() and name.isascii() and str(int(name)) == name


def as_number(name: str) -> int | str:
    """A name that is a number as that number, for JSON."""
    return int(name) if is_number(name) else name


def track_of(video: Video, masklet: Masklet, job: Job) -> tuple[list[dict[str, Any] | None], list[str]]:
    """RLE or None a frame, and the names of the frames that are not annotated."""
    track: list[dict[str, Any] | None] = []
    gaps = []
    n_void = 0
    for index, name in enumerate(video.frame_names):
        mask = masklet.mask(index)
        n_void += masklet.void(index) is not None
        if mask is None:
            gaps.append(name)
        track.append(encode_rle(mask) if mask is not None and mask.any() else None)
    count_beyond(video, [masklet], job)
    count_gaps(video, len(gaps), job)
    job.losses.add("void areas of masks, which now count as background", video.id, count=n_void)
    return track, gaps

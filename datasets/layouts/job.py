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
from .content import Targets, VideoContent
from .files import made
from .kept import FORMAT, KEY, Patches, kept_expression

How = Literal["link", "copy", "none"]

#: x264's rate factor that most eyes take for the original
CRF = 18


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
        crf: x264's rate factor where frames become a video file, 0 (nothing is lost) to 51.
    """

    stage: Path
    split: str
    origin: str
    frames: How
    keeps_ids: bool = False
    crf: int = CRF
    losses: Losses = field(default_factory=Losses)
    n_videos: int = 0
    n_expressions: int = 0
    n_linked: int = 0
    n_copied: int = 0
    n_encoded: int = 0

    def kept(
        self,
        content: VideoContent,
        targets: Targets,
        written: Sequence[Expression],
        ids: Mapping[str, str],
        patches: Patches,
    ) -> dict[str, Any]:
        """The key ``rvos`` of a video with its value; and what it keeps is counted.

        Args:
            content, targets: what there was.
            written: the expressions in the file, in its order.
            ids: target -> its id in this layout, for those of which the files show anything.
            patches: how their masks differ from the files.
        """
        self._count(patches, kept=bool(self.origin))
        if not self.origin:
            return {}
        there = {id(e) for e in written}
        told = list(zip(content.expressions, targets.of, strict=True))
        left_out = [
            {"position": k, "text": e.text, **kept_expression(e, means)}
            for k, (e, means) in enumerate(told)
            if id(e) not in there
        ]
        means_of = {id(e): means for e, means in told}
        kept = {
            "format": FORMAT,
            "origin": self.origin,
            "source": content.source,
            "fps": content.video.fps,
            "objects": {ids[name]: name for name in content.objects if name in ids},
            "extras": {i: name for name, i in ids.items() if name not in content.objects},
            "hidden": [name for name in patches.hidden if name in content.objects],
            "hidden_extras": [name for name in patches.hidden if name not in content.objects],
            **patches.as_dict(),
            "expressions": [kept_expression(e, means_of[id(e)]) for e in written],
            "left_out": left_out,
        }
        return {KEY: kept}

    def left_out(self, what: str, content: VideoContent, expression: Expression) -> None:
        """A sentence that the layout does not take; the key ``rvos`` keeps it."""
        self.losses.add(what, f"{content.video.id}/{expression.id}", kept=bool(self.origin))

    def _count(self, patches: Patches, *, kept: bool) -> None:
        place, counts = patches.video.id, self.losses.add
        void, gaps = patches.n_frames(patches.void), patches.n_frames(patches.unannotated)
        counts("pixels of objects that overlap others; the first keeps them", place, count=patches.n_covered, kept=kept)
        counts("void areas of masks, which now count as background", place, count=void, kept=kept)
        what = "masks of frames without annotation, which this layout shows as absent objects"
        counts(what, place, count=gaps, kept=kept)
        counts("objects of which this layout shows nothing", place, count=len(patches.hidden), kept=kept)

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


def track_of(name: str, masklet: Masklet, patches: Patches, job: Job) -> list[dict[str, Any] | None]:
    """RLE or None (absent, or not annotated) a frame."""
    track: list[dict[str, Any] | None] = []
    for index in range(len(patches.video)):
        mask = masklet.mask(index)
        patches.add(name, index, mask, mask, masklet.void(index))
        track.append(encode_rle(mask) if mask is not None and mask.any() else None)
    count_beyond(patches.video, [masklet], job)
    return track

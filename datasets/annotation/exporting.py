"""A native folder as what others read: the four benchmarks' layouts as views, each with the list of what it loses.

Two rules hold for every export. A clip without a licence or without a word on consent is not exported at all, and the
refusal says what is missing. Frames are passed on only where the clip's source says that they may be; other clips are
exported as annotations that refer to their frames by name and SHA-256 (``sources.json`` in the export).
"""

from __future__ import annotations

import copy
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..checks import CheckReport, check_dataset
from ..config import replace_file
from ..conversion import LAYOUTS as VIEWS
from ..conversion import convert
from ..errors import UnknownNameError, UsageError
from ..problems import SEVERITIES, Problem
from ..registry import load
from ..types import FrameSource, RVOSDataset, Video
from . import native
from .loader import AnnotationProject, ReferencedFrames
from .native import Clip, Event, Project

NATIVE = "native"
#: what ``export`` writes; splits after a slash, as in ``mevis/train``
LAYOUTS = (NATIVE, *VIEWS)
SOURCES_FILE = "sources.json"

How = Literal["link", "copy", "none"]
Size = tuple[int, int]
#: called with (clips done, clips in all)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Export:
    """What was written.

    Attributes:
        target: ``layout`` or ``layout/split``; ``rvos.load(target, root)`` opens it (``rvos.load(root)`` for native).
        losses: what the layout has no place for, in words with how often and where first; empty for ``native``.
        withheld: clips whose frames are not passed on, with the reason.
        resampled: clips whose images are passed on and have another size than their masks: (height, width) of both.
        sizeless: clips of which neither an image nor a mask is known.
    """

    target: str
    root: Path
    n_videos: int
    n_expressions: int
    losses: tuple[str, ...]
    withheld: dict[str, str]
    resampled: dict[str, tuple[Size, Size]]
    sizeless: tuple[str, ...]

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**vars(self), "root": str(self.root)}


def export(
    folder: Path | str, layout: str, out: Path | str, *, frames: How = "link", progress: Progress | None = None
) -> Export:
    """Write a project in a layout. ``out`` is complete or not there.

    Args:
        folder: a native folder.
        layout: one of ``LAYOUTS``, with a split after a slash where the layout has some.
        out: the new root; another split may be added to one that exists.
        frames: ``link`` or ``copy`` the frames that may be passed on, or leave them all out: ``none``.
        progress: called after every clip.

    Raises:
        UnknownNameError: no such layout or split.
        UsageError: clips without licence or consent, or something is already at ``out``.
        DatasetError, ImageError: the folder's files are not as expected, or no sentence of it counts.
    """
    if frames not in get_args(How):
        raise UsageError(f"frames={frames!r}: use {', '.join(get_args(How))}.")
    name = layout.partition("/")[0]
    if name not in LAYOUTS:
        raise UnknownNameError("layout", name, LAYOUTS)
    out = Path(out)
    project = native.read(folder)
    clips = list(project)
    exported = clips if name == NATIVE else _spoken(clips)
    _refuse(exported, project)
    withheld = _withheld(exported, project, frames)
    if name == NATIVE:
        return _write_native(project, clips, out, withheld, frames, progress)
    dataset = _View(project.folder, withheld)
    done = convert(dataset, layout, out, frames=frames, progress=progress)
    split = done.target.partition("/")[2]
    record = out / (f"sources-{split}.json" if split else SOURCES_FILE)
    replace_file(record, json.dumps(_sources(exported, withheld), indent=1, ensure_ascii=False).encode())
    losses = (*_own_losses(dataset, clips), *(str(loss) for loss in done.losses if not _said(loss.what, withheld)))
    return Export(done.target, out, done.n_videos, done.n_expressions, losses, withheld, *_sizes(exported, withheld))


def view(folder: Path | str, frames: How = "link") -> tuple[AnnotationProject, dict[str, str]]:
    """The project as a dataset without the frames that are not passed on, and the clips of these with the reason.

    Raises:
        UsageError: clips without licence or consent.
        DatasetError: the folder's files are not as expected, or no sentence of it counts.
    """
    project = native.read(folder)
    clips = _spoken(project)
    _refuse(clips, project)
    withheld = _withheld(clips, project, frames)
    return _View(project.folder, withheld), withheld


def verify(done: Export) -> CheckReport:
    """Open what was written and look at every mask and the headers of the frames, as ``rvos datasets check`` does.

    That there are other counts than the benchmark published is no problem of a view of something else. What the
    project itself says of its sizes, images that are not as large as masks or no size at all, is a warning a clip.
    """
    dataset = load("annotation" if done.target == NATIVE else done.target, done.root)
    found = check_dataset(_with_sizes_said(dataset, done), "header")
    expected = {"counts-differ": {dataset.id}, "unknown-size": {f"video {clip}" for clip in done.sizeless}}
    problems = [p for p in found.problems if p.place not in expected.get(p.code, ())]
    return replace(found, problems=tuple(sorted([*problems, *_said_of_sizes(done)], key=_severity)))


@dataclass(frozen=True)
class _Stretched:
    """Frames that are said to be as large as masks, where the images have the size that the project states."""

    source: FrameSource
    stated: Size
    shape: Size

    def read(self, name: str) -> NDArray[np.uint8]:
        return self.source.read(name)

    def size(self, name: str) -> Size:
        found = self.source.size(name)
        return self.shape if found == self.stated else found

    def path(self, name: str) -> Path | None:
        return self.source.path(name)


def _with_sizes_said(dataset: RVOSDataset, done: Export) -> RVOSDataset:
    """The dataset where videos with images of another size have the size of their masks."""
    videos = {video.id: video for video in dataset.videos}
    for clip, (stated, shape) in done.resampled.items():
        if clip in videos and (source := videos[clip].source) is not None:
            videos[clip] = replace(videos[clip], source=_Stretched(source, stated, shape), declared_size=shape)
    said = copy.copy(dataset)
    for worked_out in ("videos", "_by_video", "_by_key"):
        said.__dict__.pop(worked_out, None)
    said.samples = tuple(replace(sample, video=videos[sample.video.id]) for sample in dataset.samples)
    return said


def _said_of_sizes(done: Export) -> Iterator[Problem]:
    for clip, (stated, shape) in done.resampled.items():
        found = f"its frames are {stated[1]}x{stated[0]}, its masks {shape[1]}x{shape[0]}."
        cure = "So they are in the project; take the images that the masks were drawn on, if there are any."
        yield Problem("warning", "frames-resampled", f"video {clip}", found, cure)
    if done.sizeless:
        found = f"of {_counted(len(done.sizeless), 'video')} neither an image nor a mask is known."
        yield Problem("warning", "unknown-size", f"video {done.sizeless[0]}", found, "So they are in the project.")


def _severity(problem: Problem) -> int:
    return SEVERITIES.index(problem.severity)


def _sizes(clips: list[Clip], withheld: Mapping[str, str]) -> tuple[dict[str, tuple[Size, Size]], tuple[str, ...]]:
    """What ``Export`` says of sizes."""
    resampled = {
        clip.id: (clip.frame_size, clip.size)
        for clip in clips
        if clip.frame_size is not None and clip.size is not None and clip.id not in withheld
    }
    return resampled, tuple(clip.id for clip in clips if clip.size is None)


class _View(AnnotationProject):
    """The project without the frames that are not passed on."""

    def __init__(self, root: Path, withheld: Iterable[str]) -> None:
        self._withheld = frozenset(withheld)
        super().__init__(root)

    def _video(self, clip: Clip) -> Video:
        video = super()._video(clip)
        if clip.id not in self._withheld:
            return video
        return Video(video.id, video.frame_names, None, video.context_names, video.fps, video.declared_size)


# What may be exported -------------------------------------------------------------------------------------------------


def _spoken(clips: Iterable[Clip]) -> list[Clip]:
    """The clips with a sentence that counts: those that a view has."""
    return [clip for clip in clips if any(native.counts(clip, e) for e in clip.expressions)]


def obstacles(clip: Clip) -> list[str]:
    """Why a clip may not be exported; empty where it may."""
    missing = [field for field in ("licence", "consent") if not getattr(clip.source, field).strip()]
    return [f"no {field} is stated" for field in missing]


def _refuse(clips: Iterable[Clip], project: Project) -> None:
    found = [f"{clip.id} ({' and '.join(reasons)})" for clip in clips if (reasons := obstacles(clip))]
    if found:
        more = f" and {len(found) - 3} more" if len(found) > 3 else ""
        raise UsageError(
            f"{_counted(len(found), 'clip')} of {project.head.name} may not be exported: {', '.join(found[:3])}{more}. "
            "State under which licence each may be used and that the people in it agreed, then export again."
        )


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}{'s' * (n != 1)}"


def _withheld(clips: Iterable[Clip], project: Project, frames: How) -> dict[str, str]:
    return {clip.id: reason for clip in clips if (reason := _why_withheld(clip, project, frames))}


def _why_withheld(clip: Clip, project: Project, frames: How) -> str:
    if frames == "none":
        return "left out as asked"
    if clip.source.may_copy_frames is None:
        return "nobody stated that its frames may be passed on"
    if not clip.source.may_copy_frames:
        return f"its licence ({clip.source.licence}) does not allow to pass its frames on"
    return "" if project.frames_folder(clip.id).is_dir() else "its frames are not in the project"


# Native ---------------------------------------------------------------------------------------------------------------


def _write_native(
    project: Project, clips: list[Clip], out: Path, withheld: dict[str, str], frames: How, progress: Progress | None
) -> Export:
    history = (*project.head.history, Event(what="export", at=native.now(), detail=f"{len(clips)} clips"))
    with native.Writer(out, project.head.model_copy(update={"history": history})) as writer:
        for done, clip in enumerate(clips, start=1):
            hashes = tuple((frame.name, frame.sha256) for frame in clip.frames if frame.sha256)
            source = None if clip.id in withheld else ReferencedFrames(project.frames_folder(clip.id), hashes)
            writer.add(clip, project.masks(clip.id), source, link=frames == "link")
            if progress is not None:
                progress(done, len(clips))
    n_expressions = sum(len(clip.expressions) for clip in clips)
    return Export(NATIVE, out, len(clips), n_expressions, (), withheld, *_sizes(clips, withheld))


# What a view loses ----------------------------------------------------------------------------------------------------


def _own_losses(dataset: RVOSDataset, clips: list[Clip]) -> Iterator[str]:
    """What only the native format keeps."""
    lost: Counter[str] = Counter()
    for clip in clips:
        spoken = [e for e in clip.expressions if native.counts(clip, e)]
        for expression in clip.expressions:
            reason = native.why_not_counted(clip, expression)
            lost[f"sentences that do not count ({reason})"] += bool(reason)
        lost["rationales"] += sum(bool(e.rationale) for e in spoken)
        lost["sentences' authors and times"] += sum(bool(e.author or e.created_at) for e in spoken)
        lost["sentences' paraphrase groups, conditions and tags, but for the key 'rvos'"] += sum(
            bool(e.group or e.condition or e.tags) for e in spoken
        )
        lost["blind choices"] += len(clip.choices)
        lost["verdicts"] += len(clip.verdicts)
        lost["comments"] += len(clip.comments)
        lost["second drawings of objects"] += sum(item.second_of is not None for item in clip.objects)
        lost["objects' names, categories, colours and notes"] += sum(
            bool(item.name or item.category or item.colour or item.note) for item in clip.objects
        )
        lost["stretches of frames with their origin (who drew, imported or propagated them)"] += sum(
            len(item.spans) for item in clip.objects
        )
        lost["clips without a sentence that counts"] += not spoken
    yield from (f"lost: {count} {what}." for what, count in lost.items() if count)


def _said(what: str, withheld: dict[str, str]) -> bool:
    return bool(withheld) and what == "frames whose images are not in the source"


def _sources(clips: Iterable[Clip], withheld: dict[str, str]) -> dict[str, Any]:
    """Licence, consent and source of every clip, and the hashes by which its frames are known."""
    return {
        clip.id: {
            "source": clip.source.model_dump(mode="json", exclude_defaults=True),
            "frames": "included" if clip.id not in withheld else f"not included: {withheld[clip.id]}",
            "sha256": {frame.name: frame.sha256 for frame in clip.frames if frame.sha256},
        }
        for clip in clips
    }

"""A native folder as a dataset: what ``rvos.load(FOLDER)`` opens, what exports and agreement read."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath

import numpy as np
from numpy.typing import NDArray

from ..bitmask import BitMask
from ..errors import DatasetError, ImageError, UnknownNameError
from ..frames import FrameFolder
from ..masks import EmptyMasks, UnionMasks
from ..problems import Problem
from ..rle_index import RleFile, RleFileMasks, open_rle_file
from ..types import BoolMask, Expression, Masklet, RVOSDataset, Sample, Video
from . import native
from .native import Clip, Project


class AnnotationProject(RVOSDataset):
    """A folder that the annotation workbench wrote (``native``). Its samples are the sentences that count.

    Drafts, machine-made sentences that nobody accepted and rejected ones are no samples; ``left_out`` says how many
    there are of each.

    Args:
        root: the folder.
        split: that of the folder, or "".
        frames: where the frames are, if the folder has references to them only: a folder of ``<video>/<frame>.jpg``,
            the video named as in its collection or as the clip. A frame whose hash differs is refused when it is read.
    """

    name = "annotation"

    def __init__(self, root: Path, split: str = "", frames: Path | str | None = None) -> None:
        self.project: Project = native.read(root)
        head = self.project.head
        if split not in ("", head.split):
            raise UnknownNameError(f"split of {root}", split, [head.split or "(none)"])
        self._elsewhere = None if frames is None else Path(frames)
        self.clips: dict[str, Clip] = {}
        self.left_out: dict[str, int] = {}
        samples = [sample for clip in self.project for sample in self._samples(clip)]
        if not samples:
            reasons = ", ".join(f"{n} {reason}" for reason, n in self.left_out.items()) or "there is no sentence"
            raise DatasetError(f"Project {head.name}: no sentence counts ({reasons}); finish or accept some first.")
        super().__init__(root, head.split, head.version, samples)

    def ground_truth(self, sample: Sample) -> Masklet | None:
        """The union of the objects; empty masks for a no-target; None where no mask of them was annotated."""
        clip = self.clips[sample.video.id]
        ids = clip.by_expression[sample.expression.id].object_ids
        if ids is None:
            return None
        if not ids:
            return Masklet(sample.video.frame_names, EmptyMasks(sample.video.size))
        return target_masklet(clip, tuple(dict.fromkeys(ids)), self._mask_file(clip.id))

    def objects(self, video: Video) -> dict[str, Masklet]:
        clip = self.clips[video.id]
        own = (item.id for item in clip.objects if item.role == "object" and item.second_of is None)
        return {name: track for name in own if (track := self.track(clip, name)) is not None}

    def track(self, clip: Clip, name: str) -> Masklet | None:
        """The masks of any track, second drawings included; None where no frame is annotated."""
        return target_masklet(clip, (name,), self._mask_file(clip.id))

    @cached_property
    def unique_object_ids(self) -> bool:
        """Whether no two clips use one object id, as in MeViS; such ids stay what they are in its layout."""
        names = [item.id for clip in self.clips.values() for item in clip.objects]
        return len(set(names)) == len(names)

    def prediction_path(self, sample: Sample) -> PurePosixPath:
        """``<clip>/<sentence>``."""
        return PurePosixPath(sample.video.id) / sample.expression.id

    def annotation_files(self) -> Sequence[Path]:
        files = [self.project.folder / native.HEAD_FILE]
        for ref in self.project.head.clips:
            files.append(self.project.clip_file(ref.id))
            masks = self.project.masks_file(ref.id)
            files += [] if masks is None else [masks]
        return files

    def own_checks(self) -> Iterator[Problem]:
        head = self.project.head
        if native.content_hash(head) != head.content_hash:
            found = "its content hash is not that of what it lists."
            cure = "It was edited by hand; write it again with `rvos annotate export`."
            yield Problem("error", "hash-differs", str(self.root / native.HEAD_FILE), found, cure)
        for ref in head.clips:
            for path, stated in (
                (self.project.clip_file(ref.id), ref.clip_sha256),
                (self.project.masks_file(ref.id), ref.masks_sha256),
            ):
                if path is not None and native.file_sha256(path) != stated:
                    cure = "The file was changed or damaged; take it from its source again, or export it again."
                    yield Problem("error", "hash-differs", str(path), "is not the file that the project lists.", cure)

    def own_video_checks(self, video: Video) -> Iterator[Problem]:
        return iter(())

    def _samples(self, clip: Clip) -> Iterator[Sample]:
        self.clips[clip.id] = clip
        video = self._video(clip)
        for expression in clip.expressions:
            reason = native.why_not_counted(clip, expression)
            if reason:
                self.left_out[reason] = self.left_out.get(reason, 0) + 1
            else:
                yield Sample(video, _expression(clip, expression))

    def _video(self, clip: Clip) -> Video:
        scored = tuple(frame.name for frame in clip.frames if frame.role == "scored")
        around = tuple(frame.name for frame in clip.frames if frame.role != "unlisted")
        hashes = tuple((frame.name, frame.sha256) for frame in clip.frames if frame.sha256)
        return Video(
            clip.id,
            scored,
            ReferencedFrames(self._frames_of(clip), hashes),
            context_names=around if len(around) > len(scored) else (),
            fps=clip.fps,
            declared_size=clip.size,
        )

    def _frames_of(self, clip: Clip) -> Path:
        if self._elsewhere is None:
            return self.project.frames_folder(clip.id)
        by_collection = self._elsewhere / (clip.source.video or clip.id)
        return by_collection if by_collection.is_dir() else self._elsewhere / clip.id

    def _mask_file(self, clip_id: str) -> RleFile | None:
        if clip_id not in self._opened:
            path = self.project.masks_file(clip_id)
            self._opened[clip_id] = None if path is None else open_rle_file(path)
        return self._opened[clip_id]

    @cached_property
    def _opened(self) -> dict[str, RleFile | None]:
        """Indexes of mask files; they hold no masks."""
        return {}


def load_dataset(folder: Path | str, frames: Path | str | None = None) -> AnnotationProject:
    """Open a native folder as a dataset. Raises DatasetError."""
    return AnnotationProject(Path(folder), frames=frames)


def target_masklet(clip: Clip, names: Sequence[str], file: RleFile | None) -> Masklet | None:
    """The union of objects: over the scored frames, then over annotated frames that the clip does not list.

    None where no frame of any of them is annotated. Raises DatasetError.
    """
    spans = [tuple((s.first, s.last) for s in clip.by_object[name].spans) for name in names]
    if not any(spans):
        return None
    frames = [i for i, frame in enumerate(clip.frames) if frame.role == "scored"]
    frames += [i for i, f in enumerate(clip.frames) if f.role == "unlisted" and any(_within(s, i) for s in spans)]
    void = file.source(native.VOID) if clip.has_void and file is not None and native.VOID in file else None
    parts = tuple(
        TrackMasks(_stored(clip, name, file), tuple(frames), own, void)
        for name, own in zip(names, spans, strict=True)
        if own
    )
    return Masklet(tuple(clip.frames[i].name for i in frames), parts[0] if len(parts) == 1 else UnionMasks(parts))


def _stored(clip: Clip, name: str, file: RleFile | None) -> RleFileMasks | EmptyMasks:
    if file is not None and name in file:
        return file.source(name, clip.size)
    if clip.size is None:
        raise DatasetError(f"Clip '{clip.id}', object '{name}': absent everywhere, and the clip's size is unknown.")
    return EmptyMasks(clip.size)


@dataclass(frozen=True)
class TrackMasks:
    """The masks of a track.

    Attributes:
        masks: of every frame of the clip; what they say of frames that are not annotated means nothing.
        frames: the clip's frame of every frame of the masklet.
        spans: first and last of the clip's annotated frames.
        void_masks: uncounted pixels of every frame of the clip.
    """

    masks: RleFileMasks | EmptyMasks
    frames: tuple[int, ...]
    spans: tuple[tuple[int, int], ...]
    void_masks: RleFileMasks | None = None

    def mask(self, index: int) -> BoolMask | None:
        bits = self.bits(index)
        return None if bits is None else bits.to_array()

    def bits(self, index: int) -> BitMask | None:
        frame = self.frames[index]
        return self.masks.bits(frame) if _within(self.spans, frame) else None

    def void(self, index: int) -> BoolMask | None:
        if self.void_masks is None:
            return None
        bits = self.void_masks.bits(self.frames[index])
        return bits.to_array() if bits.any() else None


@dataclass(frozen=True)
class ReferencedFrames:
    """Frames in a folder, read only where they are the ones that were annotated.

    Attributes:
        folder: holds ``<name>.jpg`` (or .jpeg, .png).
        hashes: name and SHA-256 of the frames' files.
    """

    folder: Path
    hashes: tuple[tuple[str, str], ...]
    _by_name: Mapping[str, str] = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_by_name", dict(self.hashes))

    def read(self, name: str) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB. Raises ImageError: no such frame, another one, or not readable."""
        path = self.path(name)
        stated = self._by_name.get(name)
        if path is not None and stated and hashlib.sha256(path.read_bytes()).hexdigest() != stated:
            raise ImageError(f"{path}: is not the frame that was annotated (SHA-256 differs); give the right frames.")
        return self._files.read(name)

    def size(self, name: str) -> tuple[int, int]:
        return self._files.size(name)

    def path(self, name: str) -> Path | None:
        return self._files.path(name)

    @property
    def _files(self) -> FrameFolder:
        return FrameFolder(self.folder)


def _expression(clip: Clip, stored: native.Expression) -> Expression:
    ids = stored.object_ids
    targets = [clip.by_object[name] for name in ids or ()]
    if len(targets) == 1 and targets[0].role == "target":
        ids = targets[0].stated_ids
    return Expression(
        id=stored.id,
        text=stored.text,
        object_ids=ids,
        kind=stored.kind,
        is_sentence=stored.is_sentence,
        layout_id=stored.layout_id,
        tags=_tags(clip, stored),
    )


def _tags(clip: Clip, stored: native.Expression) -> dict[str, native.Tag]:
    """Facts to break scores down by: those of an import as they were, and what people marked."""
    tags: dict[str, native.Tag] = dict(stored.properties) | dict.fromkeys(stored.tags, True)
    if stored.origin != "imported":
        facts: dict[str, native.Tag] = {
            "source": clip.source.collection.replace("/", "-"),
            "condition": stored.condition or "",
            "group": stored.group or "",
            "origin": stored.origin,
        }
        tags = {name: value for name, value in facts.items() if value} | tags
    return tags


def _within(spans: Sequence[tuple[int, int]], index: int) -> bool:
    return any(first <= index <= last for first, last in spans)

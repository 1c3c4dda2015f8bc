"""Generated videos as what layouts are filled with, each in the terms of the benchmark whose layout it is."""

from __future__ import annotations

import io
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..groundmore import FPS, action_frames, clock
from ..layouts.content import VideoContent
from ..types import BoolMask, Expression, Masklet, Video
from .generate import GeneratedSample, GeneratedVideo

SOURCE = "ReasonShapes"
#: Kinds of sentences that only look at what is there; all others need reasoning over time, knowledge or several steps.
REFERRING = ("attribute", "spatial")
_LONG_RVOS = {"attribute": "static", "spatial": "static", "motion": "dynamic", "temporal": "dynamic"}
_GROUNDMORE = {"temporal": "Sequential", "multi-step": "Causal", "motion": "Descriptive", "attribute": "Descriptive"}


@dataclass(frozen=True)
class RenderedFrames:
    """The frames of a generated video, by the names that a layout gives them."""

    video: GeneratedVideo = field(compare=False)
    names: tuple[str, ...]
    jpeg_quality: int
    key: str = ""

    def read(self, name: str) -> NDArray[np.uint8]:
        return self.video.renderer.frame(self.names.index(name)).rgb

    def size(self, name: str) -> tuple[int, int]:
        return self.video.height, self.video.width

    def path(self, name: str) -> None:
        return None

    def encoded(self, name: str) -> tuple[bytes, str]:
        """The bytes of the frame as JPEG, and the ending of such files."""
        buffer = io.BytesIO()
        Image.fromarray(self.read(name)).save(buffer, format="JPEG", quality=self.jpeg_quality)
        return buffer.getvalue(), ".jpg"


@dataclass(frozen=True)
class RenderedMasks:
    """Where things are seen; empty outside of ``during``."""

    video: GeneratedVideo = field(compare=False)
    key: str
    ids: tuple[int, ...]
    during: range

    def mask(self, index: int) -> BoolMask | None:
        labels = self.video.renderer.labels(index)
        return np.isin(labels, self.ids) if index in self.during else np.zeros(labels.shape, bool)

    def void(self, index: int) -> BoolMask | None:
        return None


Adapt = Callable[[VideoContent], VideoContent]


def contents(
    videos: Iterable[GeneratedVideo], adapt: Adapt, name: str, frame_step: int, jpeg_quality: int
) -> Iterator[VideoContent]:
    """The videos one at a time; ``adapt`` brings them into a benchmark's terms, ``name`` formats a frame's number."""
    for video in videos:
        names = tuple(name.format(t * frame_step) for t in range(video.n_frames))
        yield adapt(_content(video, RenderedFrames(video, names, jpeg_quality, video.id)))


def for_revos(content: VideoContent) -> VideoContent:
    """In a folder named by the source, as ReVOS names its videos."""
    return replace(content, video=replace(content.video, id=f"{SOURCE}/{content.video.id}"))


def for_long_rvos(content: VideoContent) -> VideoContent:
    """With the types static, dynamic and both."""
    return _typed(content, lambda kind: _LONG_RVOS.get(kind, "static+dynamic"))


def for_groundmore(content: VideoContent) -> VideoContent:
    """A clip of six frames a second; every second question means the first half of it."""
    seconds = -(-len(content.video) // FPS)
    clip = f"{content.video.id}_0000_{clock(seconds).replace(':', '')}"
    typed = _typed(content, lambda kind: _GROUNDMORE.get(kind, "Counterfactual"))
    half = action_frames(clip, f"00:00-{clock(max(1, seconds // 2))}")
    truths = tuple(
        Masklet(t.frame_names, replace(t.source, during=half)) if k % 2 and t is not None else t  # type: ignore[type-var]
        for k, t in enumerate(content.truths)
    )
    return replace(typed, video=replace(content.video, id=clip), truths=truths)


@dataclass(frozen=True)
class Still:
    """One frame of a source under another name."""

    source: RenderedFrames
    frame: str

    def read(self, name: str) -> NDArray[np.uint8]:
        return self.source.read(self.frame)

    def size(self, name: str) -> tuple[int, int]:
        return self.source.size(self.frame)

    def path(self, name: str) -> None:
        return None

    def encoded(self, name: str) -> tuple[bytes, str]:
        return self.source.encoded(self.frame)


@dataclass(frozen=True)
class StillMasks:
    """The masks of one frame."""

    masklet: Masklet
    index: int

    def mask(self, index: int) -> BoolMask | None:
        return self.masklet.mask(self.index)

    def void(self, index: int) -> BoolMask | None:
        return None


def for_images(content: VideoContent) -> VideoContent:
    """The frame in the middle, and the sentences whose targets are seen in it."""
    video, middle = content.video, len(content.video) // 2
    assert isinstance(video.source, RenderedFrames)

    def still(masklet: Masklet) -> Masklet:
        return Masklet((video.id,), StillMasks(masklet, middle))

    pairs = [(e, still(t)) for e, t in zip(content.expressions, content.truths, strict=True) if t is not None]
    seen = [(e, truth) for e, truth in pairs if (mask := truth.mask(0)) is not None and mask.any()]
    image = Video(video.id, (video.id,), Still(video.source, video.frame_names[middle]), declared_size=video.size)
    objects = {name: still(masklet) for name, masklet in content.objects.items()}
    there = {name: m for name, m in objects.items() if (mask := m.mask(0)) is not None and mask.any()}
    return VideoContent(image, content.source, tuple(e for e, _ in seen), tuple(t for _, t in seen), there)


def for_refclef(content: VideoContent) -> VideoContent:
    """As for other images, in a folder, as SAIAPR TC-12 keeps them."""
    still = for_images(content)
    return replace(still, video=replace(still.video, id=f"00/images/{still.video.id}"))


def _content(video: GeneratedVideo, frames: RenderedFrames) -> VideoContent:
    def masklet(ids: tuple[int, ...]) -> Masklet:
        return Masklet(frames.names, RenderedMasks(video, video.id, ids, range(video.n_frames)))

    return VideoContent(
        Video(video.id, frames.names, frames, declared_size=(video.height, video.width)),
        SOURCE,
        tuple(_expression(sample) for sample in video.samples),
        tuple(masklet(sample.object_ids) for sample in video.samples),
        {str(thing.id): masklet((thing.id,)) for thing in video.things},
    )


def _expression(sample: GeneratedSample) -> Expression:
    return Expression(
        id=sample.id,
        text=sample.text,
        object_ids=tuple(str(i) for i in sample.object_ids),
        kind="referring" if sample.kind in REFERRING else "reasoning",
        is_sentence=sample.is_sentence,
        tags={"kind": sample.kind},
    )


def _typed(content: VideoContent, type_of: Callable[[str], str]) -> VideoContent:
    expressions = tuple(replace(e, tags={**e.tags, "type": type_of(str(e.tags["kind"]))}) for e in content.expressions)
    return replace(content, expressions=expressions)

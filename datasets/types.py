"""The vocabulary: Video, Expression, Sample, Masklet, RVOSDataset.

Everything is lazy and picklable: a frame or a mask is decoded when it is asked for and never kept, so memory is
bounded by a few frames, whatever the length of the video or the size of the split.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any, Literal, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from .errors import DatasetError, UnknownNameError

if TYPE_CHECKING:
    from .cards import Card
    from .checks import CheckReport
    from .statistics import Statistics

Kind = Literal["referring", "reasoning"]
BoolMask = NDArray[np.bool_]


@runtime_checkable
class FrameSource(Protocol):
    """Where the pixels of a video are (a folder of images, a video file, arrays). Hashable and picklable."""

    def read(self, name: str) -> NDArray[np.uint8]:
        """The frame as uint8 (H, W, 3) RGB. Raises ImageError."""
        ...

    def size(self, name: str) -> tuple[int, int]:
        """(height, width) of the frame, from its header alone. Raises ImageError."""
        ...

    def path(self, name: str) -> Path | None:
        """The frame's file, or None where it has none of its own."""
        ...


@dataclass(frozen=True)
class Video:
    """A video: the ordered names of the frames that are scored, and where their pixels are.

    Attributes:
        id: unique in its dataset.
        frame_names: the scored frames in temporal order, without file endings.
        source: reads frames by name; None for a dataset opened without its images.
        context_names: the full-rate frames around the scored ones, where the dataset has them; else ``frame_names``.
        fps: frames per second of ``frame_names``, None where unknown.
        declared_size: (height, width) as the annotations state it, used where the images are absent.
    """

    id: str
    frame_names: tuple[str, ...]
    source: FrameSource | None = None
    context_names: tuple[str, ...] = ()
    fps: float | None = None
    declared_size: tuple[int, int] | None = None

    def __len__(self) -> int:
        return len(self.frame_names)

    def __bool__(self) -> bool:
        return True

    def frame(self, index: int) -> NDArray[np.uint8]:
        """Frame ``index`` as uint8 (H, W, 3) RGB, values 0-255. Raises ImageError, DatasetError without images."""
        return self._source.read(self.frame_names[index])

    def frames(self, indices: Sequence[int] | None = None) -> NDArray[np.uint8]:
        """The frames at ``indices`` (all by default) stacked: uint8 (T, H, W, 3) RGB.

        A convenience for short videos; ``iter_frames`` holds one frame at a time.
        """
        chosen = range(len(self)) if indices is None else indices
        return np.stack([self.frame(i) for i in chosen])

    def iter_frames(self) -> Iterator[NDArray[np.uint8]]:
        """The frames in order, one in memory at a time, uint8 (H, W, 3) RGB."""
        return (self.frame(i) for i in range(len(self)))

    @property
    def height(self) -> int:
        return self.size[0]

    @property
    def width(self) -> int:
        return self.size[1]

    @cached_property
    def size(self) -> tuple[int, int]:
        """(height, width): as declared by the annotations, else of the first frame. Raises DatasetError, ImageError."""
        if self.declared_size is not None:
            return self.declared_size
        return self._source.size(self.frame_names[0])

    @property
    def _source(self) -> FrameSource:
        if self.source is None:
            raise DatasetError(f"Video {self.id} was opened without its images; give a root that holds JPEGImages.")
        return self.source


@dataclass(frozen=True)
class Expression:
    """A sentence about a video.

    Attributes:
        id: unique in its video and independent of any converter (Ref-DAVIS-17: ``<object>-annot<1|2>-<first|full>``;
            ReasonVOS: ``<object>_<exp_id>``).
        text: the sentence as annotated.
        object_ids: the objects meant; several are allowed, none means that the video holds no target. None where
            the split withholds them.
        kind: ``referring`` or ``reasoning``.
        is_sentence: a full sentence rather than a phrase; None where the dataset does not say.
        layout_id: the id that the dataset's files and prediction folders use; equal to ``id`` unless given.
        tags: further facts for break-downs, e.g. ``{"source": "MOSE", "annotator": 2}``.
    """

    id: str
    text: str
    object_ids: tuple[str, ...] | None = None
    kind: Kind = "referring"
    is_sentence: bool | None = None
    layout_id: str = ""
    tags: Mapping[str, str | int | float | bool] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        if not self.layout_id:
            object.__setattr__(self, "layout_id", self.id)


@dataclass(frozen=True)
class Sample:
    """What a model is asked: an expression about a video."""

    video: Video
    expression: Expression

    @property
    def key(self) -> str:
        """``<video id>/<expression id>``, unique and stable in its dataset."""
        return f"{self.video.id}/{self.expression.id}"


@runtime_checkable
class MaskSource(Protocol):
    """Where masks are (PNG files, RLE, label maps, arrays). Hashable, picklable, stateless.

    Equal sources give equal masks: evaluation decodes and prepares each distinct source once per frame.
    """

    def mask(self, index: int) -> BoolMask | None:
        """bool (H, W); all False where the object is absent; None where the frame is not annotated."""
        ...

    def void(self, index: int) -> BoolMask | None:
        """bool (H, W) of the pixels that no score may count, or None where there are none."""
        ...


@dataclass(frozen=True)
class Masklet:
    """The masks of one target over frames.

    Attributes:
        frame_names: the frames the masklet speaks about, in temporal order.
        source: gives the mask of frame number i.
    """

    frame_names: tuple[str, ...]
    source: MaskSource

    def __len__(self) -> int:
        return len(self.frame_names)

    def mask(self, index: int) -> BoolMask | None:
        """bool (H, W), all False where absent, None where not annotated. Raises ImageError, DatasetError."""
        return self.source.mask(index)

    def void(self, index: int) -> BoolMask | None:
        """bool (H, W) of uncounted pixels, or None. Raises ImageError."""
        return self.source.void(index)

    def dense(self) -> BoolMask:
        """All frames as bool (T, H, W), for short videos. Raises DatasetError where a frame is not annotated."""
        masks = [self.mask(i) for i in range(len(self))]
        for name, mask in zip(self.frame_names, masks, strict=True):
            if mask is None:
                raise DatasetError(
                    f"Frame {name} is not annotated, so the masklet has no dense form; read it by frame."
                )
        return np.stack([m for m in masks if m is not None])


class RVOSDataset(Sequence[Sample]):
    """A split of a dataset: a sequence of samples with ground truth. Also a map-style torch dataset.

    A loader subclasses this and sets ``name``; its constructor reads the annotation files, raises DatasetError where
    the layout is wrong, and calls ``super().__init__``.

    Attributes:
        name: the dataset, e.g. ``mevis``.
        split: e.g. ``valid_u``.
        version: the data's version as its authors state it, e.g. ``2024-12-27``; "unstated" where they do not.
        root: the folder given by the user.
        samples: all samples, grouped by video.
    """

    name: str = ""

    def __init__(self, root: Path, split: str, version: str, samples: Sequence[Sample]) -> None:
        self.root = root
        self.split = split
        self.version = version
        self.samples = tuple(samples)

    # What a loader provides -------------------------------------------------------------------------------------

    def ground_truth(self, sample: Sample) -> Masklet | None:
        """The target's masks, or None where the split withholds them."""
        raise NotImplementedError

    def objects(self, video: Video) -> dict[str, Masklet]:
        """Every annotated object of the video by id, asked for or not; empty where the split withholds them."""
        raise NotImplementedError

    def prediction_path(self, sample: Sample) -> PurePosixPath:
        """Folder of the sample's masks below a prediction folder, in the layout of the public inference scripts."""
        return PurePosixPath(sample.video.id) / sample.expression.layout_id

    def annotation_files(self) -> Sequence[Path]:
        """The files that hold expressions and masks, hashed into ``fingerprint``."""
        raise NotImplementedError

    # What every dataset has ---------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: Any) -> Any:
        return self.samples[index]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.id}: {len(self.videos)} videos, {len(self)} samples, root={self.root})"

    @property
    def id(self) -> str:
        """``name/split``, the form the registry and the command line use."""
        return f"{self.name}/{self.split}" if self.split else self.name

    @cached_property
    def videos(self) -> tuple[Video, ...]:
        """The videos in the order of their first sample."""
        return tuple({s.video.id: s.video for s in self.samples}.values())

    @cached_property
    def _by_video(self) -> dict[str, tuple[Sample, ...]]:
        groups: dict[str, list[Sample]] = {}
        for sample in self.samples:
            groups.setdefault(sample.video.id, []).append(sample)
        return {video_id: tuple(group) for video_id, group in groups.items()}

    def samples_of(self, video_id: str) -> tuple[Sample, ...]:
        """The samples of one video. Raises UnknownNameError."""
        if video_id not in self._by_video:
            raise UnknownNameError(f"video of {self.id}", video_id, self._by_video)
        return self._by_video[video_id]

    @cached_property
    def _by_key(self) -> dict[str, Sample]:
        return {s.key: s for s in self.samples}

    def sample(self, key: str) -> Sample:
        """The sample with this key. Raises UnknownNameError with near matches."""
        if key not in self._by_key:
            raise UnknownNameError(f"sample of {self.id}", key, self._by_key)
        return self._by_key[key]

    @cached_property
    def fingerprint(self) -> str:
        """SHA-256 over the contents of ``annotation_files`` and the sorted sample keys, as ``sha256:<hex>``."""
        from .fingerprint import dataset_fingerprint

        return dataset_fingerprint(self)

    @property
    def card(self) -> Card:
        """Licence, citation, download instructions, known counts and flaws."""
        from .cards import load_card

        return load_card(self.name)

    def statistics(self) -> Statistics:
        """Counts and distributions (frames, object size, words, expressions per video, sources)."""
        from .statistics import dataset_statistics

        return dataset_statistics(self)

    def check(self) -> CheckReport:
        """Every problem found in the files, not only the first."""
        from .checks import check_dataset

        return check_dataset(self)

"""Training images that tell what is in them only when they are opened: one sample a class or a part."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from functools import cached_property
from pathlib import Path

from .errors import DatasetError, UnknownNameError
from .types import RVOSDataset, Sample, Video


class ImageSet(RVOSDataset):
    """Images as videos of one frame, each with the samples that its annotation gives.

    Opening lists the images and reads no masks, so that 100,000 images open in a moment. ``videos`` and ``samples_of``
    are for training, which draws an image and then one of its samples; ``samples`` and ``len`` go through all images.
    """

    def __init__(self, root: Path, split: str, images: Sequence[Video]) -> None:
        """Raises DatasetError where there is no image."""
        if not images:
            raise DatasetError(f"{root}: holds no annotated image of {self.name}; give another --root.")
        self.root, self.split, self.version = root, split, "unstated"
        self._images = {video.id: video for video in images}

    @abstractmethod
    def read_samples(self, video: Video) -> Iterator[Sample]:
        """The samples of one image. Raises DatasetError, ImageError."""

    @property
    def videos(self) -> tuple[Video, ...]:
        """The images, in the order of their names; some may turn out to have no sample."""
        return tuple(self._images.values())

    def samples_of(self, video_id: str) -> tuple[Sample, ...]:
        """The samples of one image, read anew. Raises UnknownNameError, DatasetError, ImageError."""
        if video_id not in self._images:
            raise UnknownNameError(f"image of {self.id}", video_id, self._images)
        return tuple(self.read_samples(self._images[video_id]))

    @cached_property
    def samples(self) -> tuple[Sample, ...]:  # type: ignore[override]
        """All samples of all images, which reads every annotation."""
        return tuple(sample for video in self.videos for sample in self.read_samples(video))

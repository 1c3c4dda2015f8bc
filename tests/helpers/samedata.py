"""Whether two datasets are the same one: samples, frames and masks, as their loaders give them."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np

from rvos.benchmarks.predictions import export_masks
from rvos.benchmarks.predictions.memory import MemoryPredictions
from rvos.datasets.types import Masklet, RVOSDataset, Video


def masks_of(masklet: Masklet | None) -> list[bytes | None] | None:
    """The masks, frame by frame, as bytes to compare."""
    return None if masklet is None else [_bytes(masklet.mask(i)) for i in range(len(masklet))]


def voids_of(masklet: Masklet | None) -> list[bytes | None] | None:
    return None if masklet is None else [_bytes(masklet.void(i)) for i in range(len(masklet))]


def _bytes(mask: np.ndarray | None) -> bytes | None:
    return None if mask is None else np.packbits(mask).tobytes() + str(mask.shape).encode()


def files_of(video: Video) -> list[bytes | None]:
    """The bytes of the frames' files."""
    paths = [video.source.path(name) for name in video.frame_names] if video.source is not None else []
    return [path.read_bytes() if path is not None else None for path in paths]


def same(a: RVOSDataset, b: RVOSDataset, *, frames: str = "files", voids: bool = False) -> None:
    """Identical samples and masks; ``frames``: compare their ``files``, their ``pixels``, or ``none``."""
    assert [s.key for s in a] == [s.key for s in b]
    for ours, theirs in zip(a, b, strict=True):
        assert ours.expression == theirs.expression
        assert a.prediction_path(ours) == b.prediction_path(theirs)
        assert masks_of(a.ground_truth(ours)) == masks_of(b.ground_truth(theirs)), ours.key
        assert not voids or voids_of(a.ground_truth(ours)) == voids_of(b.ground_truth(theirs)), ours.key
    for first, second in zip(a.videos, b.videos, strict=True):
        assert (first.id, first.frame_names) == (second.id, second.frame_names)
        assert frames != "files" or files_of(first) == files_of(second)
        assert frames != "pixels" or np.array_equal(first.frames(), second.frames())
        found = {i: masks_of(m) for i, m in a.objects(first).items()}
        assert found == {i: masks_of(m) for i, m in b.objects(second).items()}, first.id


def shifted_masks(dataset: RVOSDataset, out: Path) -> Path:
    """A prediction folder: the ground truth moved by two pixels."""
    predictions = MemoryPredictions()
    for sample in dataset:
        truth = dataset.ground_truth(sample)
        assert truth is not None
        for index in range(len(sample.video)):
            mask = truth.mask(index)
            assert mask is not None
            predictions.update(sample, index, np.roll(mask, 2, axis=1))
    export_masks(predictions, dataset, out)
    return out


def only(dataset: RVOSDataset, *video_ids: str) -> RVOSDataset:
    """Some of its videos."""
    part = copy.copy(dataset)
    part.samples = tuple(sample for video_id in video_ids for sample in dataset.samples_of(video_id))
    return part

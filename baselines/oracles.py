"""Predictors that know the answer: the ceilings of a benchmark, each with one ability taken away.

They are made with the dataset and read its ground truth one frame at a time. Where a frame is not annotated they
predict nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..benchmarks.predictor import FrameMask
from ..datasets.errors import DatasetError
from ..datasets.types import BoolMask, Expression, Masklet, RVOSDataset, Sample, Video


class Perfect:
    """The ground truth itself.

    Its score is the ceiling of a protocol on the data; where it is below 1, the protocol itself takes points away
    (resizing, merging of overlapping objects, frames without ground truth).

    Raises:
        DatasetError: when asked about a sentence whose ground truth the split withholds.
    """

    def __init__(self, dataset: RVOSDataset) -> None:
        self.dataset = dataset

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        for expression in expressions:
            truth = ground_truth(self.dataset, video, expression)
            for index, mask in enumerate(masks_over(video, truth)):
                yield expression.id, index, self.change(mask)

    def change(self, mask: BoolMask) -> BoolMask:
        """What is handed out for a ground-truth mask, bool (H, W) to bool (H, W)."""
        return mask


class Shifted(Perfect):
    """The ground truth moved 7 pixels to the right.

    The right object with a sloppy outline: its score tells how much of J and F is about pixels rather than about
    finding the object, and how hard small objects are punished.
    """

    pixels = 7

    def change(self, mask: BoolMask) -> BoolMask:
        moved = np.zeros_like(mask)
        moved[:, self.pixels :] = mask[:, : -self.pixels]
        return moved


class FirstFrameCopied:
    """The ground truth of the first annotated frame, copied to all frames.

    Its score is what a model gains that finds the object in one frame and never tracks it; near the ceiling, a
    benchmark's objects hardly move.
    """

    def __init__(self, dataset: RVOSDataset) -> None:
        self.dataset = dataset

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        for expression in expressions:
            mask = first_annotated(video, ground_truth(self.dataset, video, expression))
            for index in range(len(video)):
                yield expression.id, index, mask


class BestObject:
    """The annotated object of the video that overlaps the ground truth best, chosen per sentence.

    Its score is the ceiling of every method that picks one object for the whole video, however well it picks. What it
    lacks to a perfect score are sentences about several objects or about none.
    """

    def __init__(self, dataset: RVOSDataset) -> None:
        self.dataset = dataset

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        objects = annotated_objects(self.dataset, video)
        for expression in expressions:
            truth = ground_truth(self.dataset, video, expression)
            best = max(objects, key=lambda name: mean_overlap(video, objects[name], truth))
            for index, mask in enumerate(masks_over(video, objects[best])):
                yield expression.id, index, mask


def ground_truth(dataset: RVOSDataset, video: Video, expression: Expression) -> Masklet:
    """The target's masks. Raises DatasetError where the split withholds them, UnknownNameError."""
    sample = dataset.sample(Sample(video, expression).key)
    truth = dataset.ground_truth(sample)
    if truth is None:
        raise DatasetError(f"{dataset.id} withholds the masks of {sample.key}: an oracle needs a split that has them.")
    return truth


def annotated_objects(dataset: RVOSDataset, video: Video) -> dict[str, Masklet]:
    """The annotated objects of the video by id.

    Where a split annotates sentences but no objects (Ref-YouTube-VOS valid), the targets of the video's sentences, by
    expression id.

    Raises:
        DatasetError: where the split withholds both.
    """
    targets = ((s.expression.id, dataset.ground_truth(s)) for s in dataset.samples_of(video.id))
    objects = dataset.objects(video) or {name: masklet for name, masklet in targets if masklet is not None}
    if not objects:
        raise DatasetError(f"{dataset.id} withholds the masks of video {video.id}: choose a split that has them.")
    return objects


def masks_over(video: Video, masklet: Masklet) -> Iterator[BoolMask]:
    """A mask per frame of the video, bool (H, W) at the video's size; all False where nothing is annotated."""
    positions = {name: i for i, name in enumerate(masklet.frame_names)}
    for name in video.frame_names:
        mask = masklet.mask(positions[name]) if name in positions else None
        yield np.zeros(video.size, bool) if mask is None else fit(mask, video.size)


def first_annotated(video: Video, masklet: Masklet) -> BoolMask:
    """The mask of the first annotated frame, bool (H, W) at the video's size."""
    for index in range(len(masklet)):
        mask = masklet.mask(index)
        if mask is not None:
            return fit(mask, video.size)
    return np.zeros(video.size, bool)


def mean_overlap(video: Video, masklet: Masklet, truth: Masklet) -> float:
    """Mean over frames of the intersection over union, 0-1; 1 in frames where both are empty, as J counts them."""
    pairs = zip(masks_over(video, masklet), masks_over(video, truth), strict=True)
    return float(np.mean([overlap(a, b) for a, b in pairs]))


def overlap(a: BoolMask, b: BoolMask) -> float:
    """Intersection over union of two bool (H, W), 1 where both are empty."""
    union = np.count_nonzero(a | b)
    return np.count_nonzero(a & b) / union if union else 1.0


def fit(mask: BoolMask, size: tuple[int, int]) -> BoolMask:
    """The mask at ``size`` by the nearest pixel; annotations of some datasets differ from their frames in size."""
    if mask.shape == size:
        return mask
    rows = np.arange(size[0]) * mask.shape[0] // size[0]
    columns = np.arange(size[1]) * mask.shape[1] // size[1]
    return mask[rows][:, columns]

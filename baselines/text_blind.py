"""Predictors that never read the sentence: how much of a benchmark can be had without language.

They may look at the annotated objects and at which object each sentence means, never at the words. The gap between
one of them and a model is the part of the model's score that language explains.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterator, Sequence

import numpy as np

from ..benchmarks.predictor import FrameMask
from ..datasets.types import Expression, RVOSDataset, Sample, Video
from .oracles import annotated_objects, ground_truth, masks_over


class OneObject:
    """Perfect masks of one annotated object for every sentence of its video; a subclass chooses the object."""

    def __init__(self, dataset: RVOSDataset) -> None:
        self.dataset = dataset

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        masklet = annotated_objects(self.dataset, video)[self.choose(video)]
        for index, mask in enumerate(masks_over(video, masklet)):
            for expression in expressions:
                yield expression.id, index, mask

    def choose(self, video: Video) -> str:
        """The id of the object."""
        raise NotImplementedError


class LargestObject(OneObject):
    """The annotated object that covers most pixels over the video, for every sentence.

    Its score is that of a saliency model with perfect masks: what is gained by always choosing what is prominent.
    """

    def choose(self, video: Video) -> str:
        objects = annotated_objects(self.dataset, video)
        return max(objects, key=lambda name: sum(int(np.count_nonzero(m)) for m in masks_over(video, objects[name])))


class OneMaskForAll(OneObject):
    """The object that the video's sentences mean most often, for every sentence; the earlier one of equals.

    Its score is about the best that can be had with perfect masks and without reading: a model that does not beat it
    has not shown that it understands the sentences.
    """

    def choose(self, video: Video) -> str:
        objects = annotated_objects(self.dataset, video)
        meant = Counter(
            name
            for sample in self.dataset.samples_of(video.id)
            for name in sample.expression.object_ids or ()
            if name in objects
        )
        return max(objects, key=lambda name: meant[name])


class PermutedSentences:
    """The ground truth of another sentence of the same video, drawn anew for each video from a fixed seed.

    Its score is what remains of a perfect model when sentences and masks are shuffled within each video: credit for
    sentences that share their target, and for protocols that match objects instead of reading sentences. The
    sentences of an annotator are rotated among themselves; a sentence that stands alone keeps its own masks, since it
    has no other.
    """

    def __init__(self, dataset: RVOSDataset) -> None:
        self.dataset = dataset

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        other = self.partners(video)
        for expression in expressions:
            truth = ground_truth(self.dataset, video, other[expression.id].expression)
            for index, mask in enumerate(masks_over(video, truth)):
                yield expression.id, index, mask

    def partners(self, video: Video) -> dict[str, Sample]:
        """For every expression id of the video the sample whose masks it gets."""
        groups: dict[object, list[Sample]] = {}
        for sample in self.dataset.samples_of(video.id):
            groups.setdefault(sample.expression.tags.get("annotator"), []).append(sample)
        out = {}
        for group in groups.values():
            step = _step(video.id, len(group))
            for position, sample in enumerate(group):
                out[sample.expression.id] = group[(position + step) % len(group)]
        return out


def _step(video_id: str, n: int) -> int:
    """How far the sentences of a video are rotated: 1 to n - 1, from a hash, so equal on every machine."""
    if n == 1:
        return 0
    digest = hashlib.sha256(video_id.encode("utf-8")).digest()
    return 1 + int.from_bytes(digest[:8], "big") % (n - 1)

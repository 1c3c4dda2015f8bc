"""The paper's data: several datasets drawn at fixed rates, videos as clips around an anchor, images as pseudo videos.

Source: the released training script and data sets (section 4.4 of the paper names the sets, the script the rates).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ...datasets.errors import DatasetError, UsageError
from ...datasets.types import Expression, RVOSDataset, Sample
from .. import prompts
from ..sampling import random_dense_positions, supervised_positions, training_clip
from ..training import TrainingSample, draw_conversation

#: Group -> how often it is drawn. A group of images is drawn as a whole; each video set has its own rate.
PAPER_RATES = {
    "sem_seg": 8,
    "refer_seg": 4,
    "reason_seg": 3,
    "vos": 4,
    "ref_youtube_vos": 6,
    "mevis": 6,
    "davis": 1,
}
#: Which datasets each group of the paper holds, as this package names them; ``youtube-vos`` is the user's own.
PAPER_GROUPS = {
    "sem_seg": ("ade20k/train", "coco-stuff/train", "pascal-part/train", "paco-lvis/train"),
    "refer_seg": ("refclef/train", "refcoco/train", "refcoco+/train", "refcocog/train"),
    "reason_seg": ("reasonseg/train",),
    "vos": ("youtube-vos/train",),
    "ref_youtube_vos": ("ref-youtube-vos/train",),
    "mevis": ("mevis/train", "mevis/valid_u"),
    "davis": ("ref-davis17/train",),
}
#: Of this package's names above, those without a loader here: a dataset of the user's own, see docs/training.md.
NO_LOADER = ("youtube-vos/train",)
#: Datasets of which the released code takes so many expressions a video, each listed once whatever the video's length.
FIRST_EXPRESSIONS = {"mevis/valid_u": 8}
#: An image may show none of the classes that are asked for; so many in a row are no accident.
MOST_EMPTY_IMAGES = 1000
#: Where an expression comes with an explanation (tag ``explanation``): the share of answers in words alone.
WORDS_ONLY = 0.1


@dataclass(frozen=True)
class Group:
    """Datasets that share a rate; one of them is chosen uniformly, or in proportion to its size.

    Attributes:
        name: of the group.
        rate: how often it is drawn, relative to the others.
        datasets: its datasets.
        by_size: choose in proportion to the number of entries (the paper's MeViS, train and valid_u), see ``Clips``.
    """

    name: str
    rate: float
    datasets: tuple[RVOSDataset, ...]
    by_size: bool = False


class Images:
    """An image uniformly, then one of its samples uniformly, as the released image sets draw.

    Nothing else is read: the image sets open without their annotations. An image without a sample is drawn again.
    """

    def __init__(self, data: RVOSDataset) -> None:
        self.data = data

    def __len__(self) -> int:
        return len(self.data.videos)

    def draw(self, rng: np.random.Generator) -> tuple[Sample, int]:
        """A sample and frame 0. Raises DatasetError where no image has a sample."""
        for _ in range(MOST_EMPTY_IMAGES):
            video = self.data.videos[int(rng.integers(len(self.data.videos)))]
            samples = self.data.samples_of(video.id)
            if samples:
                return samples[int(rng.integers(len(samples)))], 0
        raise DatasetError(f"{self.data.id}: none of {MOST_EMPTY_IMAGES} images drawn has a sample; check the dataset.")


class Clips:
    """An entry uniformly: a sample with an anchor frame.

    The released lists have an entry for every S-th frame of every sample, so that long videos are drawn more often;
    those in ``FIRST_EXPRESSIONS`` one for each of a video's first expressions, with any anchor.
    """

    def __init__(self, data: RVOSDataset, every: int) -> None:
        self.most, self.every = FIRST_EXPRESSIONS.get(data.id), every
        self.samples = list(_first_expressions(data, self.most) if self.most else data)
        counts = [1 if self.most else len(range(0, len(s.video), every)) for s in self.samples]
        self.ends = np.cumsum(counts, dtype=np.int64)

    def __len__(self) -> int:
        return int(self.ends[-1]) if len(self.ends) else 0

    def draw(self, rng: np.random.Generator) -> tuple[Sample, int]:
        """A sample and its anchor frame."""
        entry = int(rng.integers(len(self)))
        index = int(np.searchsorted(self.ends, entry, side="right"))
        sample = self.samples[index]
        if self.most:
            return sample, int(rng.integers(len(sample.video)))
        return sample, (entry - (int(self.ends[index - 1]) if index else 0)) * self.every


def _first_expressions(data: RVOSDataset, most: int) -> Iterator[Sample]:
    for video in data.videos:
        yield from data.samples_of(video.id)[:most]


def _pool(data: RVOSDataset, every: int) -> Images | Clips:
    videos = data.videos
    return Images(data) if videos and len(videos[0]) == 1 else Clips(data, every)


class Mixture:
    """Draws training samples from groups of datasets: videos by ``Clips``, images by ``Images``."""

    def __init__(
        self, groups: Sequence[Group], sparse: int, dense: int, association: str = "one-token-seg-all"
    ) -> None:
        """
        Args:
            groups: at least one, each with at least one dataset.
            sparse, dense: S and D of the model.
            association: see ``sampling.supervised_positions``.

        Raises:
            UsageError: without a group, for an empty group or a rate that is not positive.
        """
        if not groups:
            raise UsageError("A mixture needs at least one group of datasets, e.g. --data mevis=6:mevis/train.")
        self.pools = [[_pool(data, sparse) for data in group.datasets] for group in groups]
        for group, pools in zip(groups, self.pools, strict=True):
            if group.rate <= 0 or not any(map(len, pools)):
                raise UsageError(f"Group '{group.name}' needs a rate above 0 and samples, found rate {group.rate}.")
        self.groups, self.sparse, self.dense, self.association = tuple(groups), sparse, dense, association
        rates = np.array([group.rate for group in groups], float)
        self.shares = rates / rates.sum()

    def draw(self, rng: np.random.Generator) -> TrainingSample:
        """A training sample: group by rate, dataset, then one of its samples. Raises DatasetError."""
        number = int(rng.choice(len(self.groups), p=self.shares))
        group, pools = self.groups[number], self.pools[number]
        chosen = _which(pools, group.by_size, rng)
        sample, anchor = pools[chosen].draw(rng)
        return self.sample(group.datasets[chosen], sample, anchor, rng)

    def sample(self, data: RVOSDataset, sample: Sample, anchor: int, rng: np.random.Generator) -> TrainingSample:
        """One sample as the model trains on it, with frames around ``anchor``.

        Void pixels (ReasonSeg's ignored areas) are background, as in the released training.

        Raises:
            DatasetError: where the split withholds its masks, or a frame that is supervised has none.
        """
        clip, positions = self._frames(len(sample.video), anchor, rng)
        conversation, masked = _conversation(sample, rng)
        kept = supervised_positions(positions, self.association, rng)
        supervised = [clip[p] for p in kept]
        frames = {t: sample.video.frame(t) for t in sorted(set(clip))}
        height, width = frames[clip[0]].shape[:2]
        masks = _masks(data, sample, supervised) if masked else np.zeros((0, height, width), np.uint8)
        return TrainingSample(
            clip_frames=[frames[t] for t in clip],
            dense_positions=positions,
            sam_frames=[frames[t] for t in supervised],
            conversations=[conversation],
            masks=masks,
        )

    def _frames(self, total: int, anchor: int, rng: np.random.Generator) -> tuple[tuple[int, ...], tuple[int, ...]]:
        """Frame numbers of the clip and the dense positions among them; an image is repeated."""
        if total == 1:
            return (0,) * self.sparse, tuple(range(self.dense))
        clip = training_clip(total, anchor, self.sparse, rng)
        return clip, random_dense_positions(self.sparse, self.dense, rng)


def _which(pools: Sequence[Images | Clips], by_size: bool, rng: np.random.Generator) -> int:
    sizes = np.array([len(pool) for pool in pools], float)
    shares = sizes if by_size else (sizes > 0).astype(float)
    return int(rng.choice(len(sizes), p=shares / shares.sum()))


def _conversation(sample: Sample, rng: np.random.Generator) -> tuple[str, bool]:
    """A conversation and whether its answer has a mask."""
    expression = sample.expression
    explanation = str(expression.tags.get("explanation", ""))
    if not explanation:
        return draw_conversation(_words(expression, rng), bool(expression.is_sentence), rng), True
    if rng.random() < WORDS_ONLY:
        return prompts.conversation(expression.text, explanation), False
    if rng.random() < 0.5:
        return draw_conversation(expression.text, True, rng), True
    request = prompts.EXPLANATION_REQUESTS[int(rng.integers(len(prompts.EXPLANATION_REQUESTS)))]
    answer = prompts.TRAINING_ANSWERS[int(rng.integers(len(prompts.TRAINING_ANSWERS)))]
    return prompts.conversation(f"{expression.text} {request}", f"{answer} {explanation}"), True


def _words(expression: Expression, rng: np.random.Generator) -> str:
    """The text; of a part (PACO, PASCAL-Part) half of the time "the ear of the dog" in place of "dog ear"."""
    thing, part = expression.tags.get("object"), expression.tags.get("part")
    return f"the {part} of the {thing}" if thing and part and rng.random() < 0.5 else expression.text


def _masks(data: RVOSDataset, sample: Sample, frames: Sequence[int]) -> NDArray[np.uint8]:
    masklet = data.ground_truth(sample)
    if masklet is None:
        raise DatasetError(f"{data.id} withholds its masks, so nothing can be trained on it; choose a train split.")
    masks = [masklet.mask(t) for t in frames]
    for t, mask in zip(frames, masks, strict=True):
        if mask is None:
            raise DatasetError(f"{data.id} {sample.key}: frame {sample.video.frame_names[t]} is not annotated.")
    return np.stack([m for m in masks if m is not None]).astype(np.uint8)

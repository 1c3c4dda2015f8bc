"""Image benchmarks: gIoU, the mean IoU of images, and cIoU, the IoU of all images' pixels pooled.

As LISA (train_ds.py, dvlab-research/LISA@3cb2d43) and VideoLISA (showlab/VideoLISA@146f2bc) compute them, constants
included. Per mask, with the pixels labelled 255 taken out of both: IoU = I / (U + 1e-5), and 1 where U = 0, that is,
where nothing is there and nothing predicted. gIoU = sum of the masks' IoU / (number of masks + 1e-5),
cIoU = sum of I / (sum of U + 1e-10).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from ...datasets.bitmask import BitMask
from ...datasets.errors import PredictionInvalid, PredictionMissing
from ...datasets.masks import EmptyMasks, packed_mask
from ...datasets.refcoco import RefCOCO
from ...datasets.types import Masklet, RVOSDataset, Sample
from ..predictions.base import ExpressionPredictions, MergedPredictions, packed_prediction
from . import summaries
from .base import Metric, Status, Summary, Trait, UnitScore
from .per_expression import PerExpressionProtocol, no_ground_truth, unit_of

#: Added to the denominator of a mask's IoU and to the number of masks, and to the pooled union.
EPSILON, POOLED_EPSILON = 1e-5, 1e-10
#: Dense frames of VideoLISA's scripts: so many copies of an image, each with its mask.
VIDEOLISA_COPIES = 4


def iou(intersection: int, union: int) -> float:
    """The IoU of one mask, 0-1; 1 where both masks are empty."""
    return intersection / (union + EPSILON) if union else 1.0


def giou(ious: Sequence[float], copies: int = 1) -> float | None:
    """The mean IoU, each counted ``copies`` times; None of nothing."""
    return copies * sum(ious) / (copies * len(ious) + EPSILON) if ious else None


def ciou(intersections: Sequence[float], unions: Sequence[float], copies: int = 1) -> float | None:
    """The IoU of all pixels pooled, each mask counted ``copies`` times; None of nothing."""
    return copies * sum(intersections) / (copies * sum(unions) + POOLED_EPSILON) if unions else None


@dataclass(frozen=True)
class _Image:
    """What one sentence is compared with: the target and the pixels that count, both packed."""

    mask: BitMask
    void: BitMask

    @classmethod
    def of(cls, truth: Masklet) -> _Image | None:
        mask, void = packed_mask(truth.source, 0), truth.void(0)
        if mask is None:
            return None
        unseen = BitMask.zeros(*mask.shape) if void is None else BitMask.from_array(void)
        return cls(mask - unseen, unseen)

    @property
    def area(self) -> int:
        """The pixels that count."""
        return self.mask.height * self.mask.width - n_pixels(self.void)


def n_pixels(mask: BitMask) -> int:
    """How many pixels a mask has."""
    return int(mask.to_array().sum())


class ImageProtocol(PerExpressionProtocol):
    """gIoU and cIoU over the sentences of images, which are videos of one frame.

    A missing image counts as IoU 0, adds nothing to the pooled intersection and its whole area to the pooled union, so
    that leaving it out never pays.

    Class attributes:
        datasets: the names of the datasets that it is for.
        copies: how often every mask is counted, which only moves the weight of the constants.
    """

    metrics: ClassVar[tuple[Metric, ...]] = (Metric("gIoU", of="J"), Metric("cIoU", of="intersection", over="union"))
    datasets: ClassVar[tuple[str, ...]]
    copies: ClassVar[int] = 1

    def applies_to(self, dataset: RVOSDataset) -> str | None:
        if dataset.name not in self.datasets:
            return f"{self.id} is for {', '.join(self.datasets)}, not for {dataset.name}."
        return None

    def score_video(
        self,
        dataset: RVOSDataset,
        video_id: str,
        predictions: ExpressionPredictions | MergedPredictions,
        per_frame: bool = False,
    ) -> list[UnitScore]:
        masks = self.expression_masks(predictions)
        return [self._score(dataset, sample, masks, per_frame) for sample in dataset.samples_of(video_id)]

    def aggregate(self, scores: Sequence[UnitScore]) -> Summary:
        counted = [s for s in scores if s.counted and s.J is not None]
        pixels = [(s.value("intersection"), s.value("union")) for s in counted]
        known = [(i, u) for i, u in pixels if i is not None and u is not None]
        whole = len(known) == len(counted)  # else the area of an image whose ground truth cannot be read is unknown
        values = {
            "gIoU": giou([s.J for s in counted if s.J is not None], self.copies),
            "cIoU": ciou([i for i, _ in known], [u for _, u in known], self.copies) if whole else None,
        }
        warnings = [*summaries.warn_missing(scores), *summaries.warn_no_ground_truth(scores)]
        if not whole:
            warnings.append(f"No cIoU: the ground truth of {len(counted) - len(known)} images cannot be read.")
        return summaries.summarise(scores, warnings, values=values)

    def _score(
        self, dataset: RVOSDataset, sample: Sample, predictions: ExpressionPredictions, per_frame: bool
    ) -> UnitScore:
        truth = self.ground_truth(dataset, sample)
        image = None if truth is None else _Image.of(truth)
        if image is None:
            return no_ground_truth(unit_of(sample), "the split holds no mask for it")
        name = sample.video.frame_names[0]
        try:
            mask = packed_prediction(predictions, sample, name, self.foreground)
            if mask.shape != image.mask.shape:
                raise PredictionInvalid(
                    f"{predictions.path}: {dataset.prediction_path(sample)}/{name}: {mask.width}x{mask.height} pixels, "
                    f"the image has {image.mask.width}x{image.mask.height}; write masks at the image's own size."
                )
        except (PredictionMissing, PredictionInvalid) as error:
            status: Status = "missing" if isinstance(error, PredictionMissing) else "invalid"
            extras: dict[str, float | None] = {"intersection": 0.0, "union": float(image.area)}
            return UnitScore(unit_of(sample), status, 0.0, None, n_frames=1, reason=str(error), extras=extras)
        seen = mask - image.void
        intersection, union = n_pixels(seen & image.mask), n_pixels(seen | image.mask)
        value = iou(intersection, union)
        return UnitScore(
            unit_of(sample),
            "ok",
            value,
            None,
            n_frames=1,
            n_empty_frames=int(not seen.any()),
            frame_names=(name,) if per_frame else (),
            frame_J=(value,) if per_frame else (),
            extras={"intersection": float(intersection), "union": float(union)},
        )


_TRAITS: dict[Trait, str] = {
    "unit": "scores sentences about images",
    "matching": "compares each sentence with its own target, so swapped sentences are wrong",
    "frames": "scores the image",
    "void": "leaves out pixels labelled 255",
    "foreground": "takes masks of two values",
    "missing": "counts a missing image as IoU 0 and its whole area as union",
}


class ReasonSegStrict(ImageProtocol):
    """ReasonSeg, one mask an image: LISA's numbers where nothing is missing.

    An image whose annotation has no shapes (two of the test split, dvlab-research/LISA#157) has no ground truth and is
    outside the means.
    """

    id = "reasonseg@1"
    words = (
        "ReasonSeg: gIoU is the mean IoU over images, cIoU the IoU of all pixels pooled, ignored pixels left out; a "
        "missing image is 0."
    )
    source = "this project"
    strict = True
    datasets = ("reasonseg",)
    traits: ClassVar[Mapping[Trait, str]] = {**_TRAITS, "ground truth": "paints the polygons of the image"}


class ReasonSegVideoLISA(ReasonSegStrict):
    """VideoLISA's validation: an image is a clip of ``VIDEOLISA_COPIES`` copies, of which each mask is counted.

    Two more differences from ``reasonseg@1``: the constants weigh less, and an image without shapes has an empty ground
    truth. Runs on several GPUs, whose samplers repeat some images, printed other numbers still.
    """

    id = "reasonseg@videolisa"
    words = (
        "ReasonSeg as VideoLISA's script: every mask is counted four times, once a copy of the image, and an image "
        "without polygons has an empty ground truth."
    )
    source = "showlab/VideoLISA@146f2bc train_ds.py validate, utils/dataset.py"
    strict = False
    copies = VIDEOLISA_COPIES
    traits: ClassVar[Mapping[Trait, str]] = {
        **ReasonSegStrict.traits,
        "ground truth": "paints the polygons of the image, and takes an image without any for empty",
    }

    def ground_truth(self, dataset: RVOSDataset, sample: Sample) -> Masklet | None:
        found = dataset.ground_truth(sample)
        return found or Masklet(sample.video.frame_names, EmptyMasks(sample.video.size))


class RefCOCOStrict(ImageProtocol):
    """refCOCO, refCOCO+, refCOCOg and RefCLEF, one mask a sentence: the union of the annotation's polygons."""

    id = "refcoco@1"
    words = (
        "refCOCO, refCOCO+, refCOCOg, RefCLEF: cIoU is the IoU of all sentences' pixels pooled, gIoU the mean IoU over "
        "sentences; a missing image is 0."
    )
    source = "this project"
    strict = True
    metrics: ClassVar[tuple[Metric, ...]] = ImageProtocol.metrics[::-1]
    datasets = ("refcoco", "refcoco+", "refcocog", "refclef")
    traits: ClassVar[Mapping[Trait, str]] = {**_TRAITS, "ground truth": "reads the union of the annotation's parts"}


class RefCOCOVideoLISA(RefCOCOStrict):
    """VideoLISA's validation on refCOCO: an annotation's parts are added up, so that pixels of two parts are no target.

    Each mask is counted ``VIDEOLISA_COPIES`` times, as in ``reasonseg@videolisa``.
    """

    id = "refcoco@videolisa"
    words = (
        "refCOCO as LISA's and VideoLISA's scripts: pixels where two parts of an annotation overlap count as "
        "background; every mask is counted four times, once a copy of the image."
    )
    source = "showlab/VideoLISA@146f2bc train_ds.py validate, utils/dataset.py"
    strict = False
    copies = VIDEOLISA_COPIES
    traits: ClassVar[Mapping[Trait, str]] = {
        **RefCOCOStrict.traits,
        "ground truth": "adds the annotation's parts up, so that pixels of two parts are no target",
    }

    def applies_to(self, dataset: RVOSDataset) -> str | None:
        obstacle = super().applies_to(dataset)
        if obstacle is None and not isinstance(dataset, RefCOCO):
            return f"{self.id} looks at an annotation's single parts, which only refCOCO's own files hold."
        return obstacle

    def ground_truth(self, dataset: RVOSDataset, sample: Sample) -> Masklet | None:
        assert isinstance(dataset, RefCOCO)
        return dataset.single_cover(sample)

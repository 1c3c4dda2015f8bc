"""Protocols that compare the masks of an expression with the expression's own ground truth, frame by frame.

The loop of ``PerExpressionProtocol.score_video`` is shared by the strict protocols below and the script-named ones in
``scripts.py``; these override what happens before the first frame and when a frame cannot be used.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np

from ...datasets.bitmask import BitMask
from ...datasets.errors import PredictionInvalid, PredictionMissing, ProtocolError
from ...datasets.types import Masklet, RVOSDataset, Sample
from ..metrics import PreparedMask, prepare
from ..predictions.base import ExpressionPredictions, Foreground, MergedPredictions, packed_prediction
from . import summaries
from .base import Protocol, Status, Summary, Trait, Unit, UnitScore
from .ground_truth import Truth, TruthReader


@dataclass(frozen=True)
class ScoredFrame:
    """A frame with a usable mask; ``both`` counts the pixels in truth and prediction."""

    name: str
    truth: Truth
    mask: BitMask
    prediction: PreparedMask
    both: int


@dataclass
class Entry:
    """One expression while its video is being scored."""

    sample: Sample
    truth: Masklet | None
    names: list[str] = field(default_factory=list)
    J: list[float] = field(default_factory=list)
    F: list[float] = field(default_factory=list)
    n_empty: int = 0
    n_both_empty: int = 0
    n_full_against_empty: int = 0
    n_missing: int = 0
    n_invalid: int = 0
    first_problem: str = ""
    verdict: UnitScore | None = None  # decided before the last frame; no further frame is looked at
    size: tuple[int, int] | None = None  # (height, width) of the arrays that a script allocates first

    @property
    def unit(self) -> Unit:
        return unit_of(self.sample)

    def add(self, name: str, truth: Truth, mask: BitMask) -> None:
        """Score one frame; ``mask`` has the ground truth's shape."""
        prepared = prepare(mask, truth.void)
        both, j, f = truth.compare(prepared)
        self.names.append(name)
        self.J.append(j)
        self.F.append(f)
        self.measure(ScoredFrame(name, truth, mask, prepared, both))
        if prepared.empty:
            self.n_empty += 1
            self.n_both_empty += truth.empty
        elif truth.empty:
            self.n_full_against_empty += f == 1

    def add_zero(self, name: str, error: PredictionMissing | PredictionInvalid) -> None:
        """A frame without a usable mask: wrong, even where the target is absent."""
        self.names.append(name)
        self.J.append(0.0)
        self.F.append(0.0)
        self.n_missing += isinstance(error, PredictionMissing)
        self.n_invalid += isinstance(error, PredictionInvalid)
        self.first_problem = self.first_problem or str(error)

    def measure(self, frame: ScoredFrame) -> None:
        """What a protocol measures besides J and F in a frame with a usable mask."""

    def values(self) -> dict[str, float]:
        """What a protocol measures besides J and F, over all frames; unusable ones count as wrong."""
        return {}

    def result(self, per_frame: bool) -> UnitScore:
        """The unit's score, from what the frames gave."""
        if self.verdict is not None:
            return self.verdict
        n = len(self.J)
        if not n:
            return no_ground_truth(self.unit, "none of its frames is annotated")
        bad = self.n_missing + self.n_invalid
        return UnitScore(
            unit=self.unit,
            status="ok" if bad < n else ("invalid" if self.n_invalid else "missing"),
            J=float(np.mean(self.J)),
            F=float(np.mean(self.F)),
            n_frames=n,
            n_empty_frames=self.n_empty,
            flags=("partial",) if 0 < bad < n else (),
            reason=describe_frames(self.n_missing, self.n_invalid, n, self.first_problem),
            frame_names=tuple(self.names) if per_frame else (),
            frame_J=tuple(self.J) if per_frame else (),
            frame_F=tuple(self.F) if per_frame else (),
            extras={
                "frames_both_empty": float(self.n_both_empty),
                "frames_full_against_empty": float(self.n_full_against_empty),
                **self.values(),
            },
        )


class PerExpressionProtocol(Protocol):
    """J and F of every frame, mean over the frames of an expression, mean over expressions.

    Class attributes:
        dataset_name: the dataset it is for.
        foreground: how grey values become a mask.
    """

    dataset_name: ClassVar[str]
    foreground: ClassVar[Foreground] = "strict"

    def applies_to(self, dataset: RVOSDataset) -> str | None:
        if dataset.name != self.dataset_name:
            return f"{self.id} is for {self.dataset_name}, not for {dataset.name}."
        return None

    def units(self, dataset: RVOSDataset) -> Sequence[Unit]:
        return [unit_of(sample) for sample in dataset.samples]

    def ground_truth(self, dataset: RVOSDataset, sample: Sample) -> Masklet | None:
        """The masks that the sample is compared with; None where there are none."""
        return dataset.ground_truth(sample)

    def entries(self, dataset: RVOSDataset, samples: Sequence[Sample]) -> Sequence[Entry]:
        """Where the scores of a video's samples are collected; a subclass may measure more than J and F there."""
        return [Entry(sample, self.ground_truth(dataset, sample)) for sample in samples]

    def score_video(
        self,
        dataset: RVOSDataset,
        video_id: str,
        predictions: ExpressionPredictions | MergedPredictions,
        per_frame: bool = False,
    ) -> list[UnitScore]:
        masks = self.expression_masks(predictions)
        entries = self.entries(dataset, dataset.samples_of(video_id))
        self.before_frames(dataset, entries, masks)
        for entry, name, truth in _annotated_frames(entries):
            self.score_frame(dataset, entry, name, truth, masks)
        return [entry.result(per_frame) for entry in entries]

    def expression_masks(self, predictions: ExpressionPredictions | MergedPredictions) -> ExpressionPredictions:
        """The predictions, which must be a mask per expression. Raises ProtocolError for label maps."""
        if isinstance(predictions, ExpressionPredictions):
            return predictions
        raise ProtocolError(
            f"{self.id} scores a mask per expression, but {predictions.path} holds label maps; "
            "overlaps between objects are lost in them, so give the masks they were merged from."
        )

    def score_frame(
        self, dataset: RVOSDataset, entry: Entry, name: str, truth: Truth, predictions: ExpressionPredictions
    ) -> None:
        """Add one frame to the entry, as 0 where no mask of the right size is there."""
        try:
            mask = packed_prediction(predictions, entry.sample, name, self.foreground)
            if mask.shape != truth.shape:
                place = f"{predictions.path}: {dataset.prediction_path(entry.sample)}/{name}"
                raise PredictionInvalid(_wrong_size(place, mask, truth))
        except (PredictionMissing, PredictionInvalid) as error:
            entry.add_zero(name, error)
        else:
            entry.add(name, truth, mask)

    def before_frames(self, dataset: RVOSDataset, entries: Sequence[Entry], predictions: ExpressionPredictions) -> None:
        """Decide what needs no look at the masks."""
        for entry in entries:
            if entry.truth is None:
                entry.verdict = no_ground_truth(entry.unit, "the split holds no masks for it")

    def aggregate(self, scores: Sequence[UnitScore]) -> Summary:
        return summaries.summarise(scores, summaries.strict_warnings(scores))


def _annotated_frames(entries: Sequence[Entry]) -> Iterator[tuple[Entry, str, Truth]]:
    """Every (expression, frame name, truth) to score, frame by frame; equal ground truths are read once a frame."""
    groups: dict[tuple[str, ...], list[Entry]] = {}
    for entry in entries:
        if entry.verdict is None and entry.truth is not None:
            groups.setdefault(entry.truth.frame_names, []).append(entry)
    for names, members in groups.items():
        reader = TruthReader(e.truth.source for e in members if e.truth is not None)
        for index, name in enumerate(names):
            for entry, truth in zip(members, reader.frame(index), strict=True):
                if truth is not None and entry.verdict is None:
                    yield entry, name, truth


def unit_of(sample: Sample) -> Unit:
    """The unit of a protocol that scores samples."""
    expression = sample.expression
    annotator = expression.tags.get("annotator")
    return Unit(
        key=sample.key,
        video_id=sample.video.id,
        expression_id=expression.id,
        object_ids=expression.object_ids or (),
        annotator=annotator if isinstance(annotator, int) else None,
        tags=expression.tags,
    )


def no_ground_truth(unit: Unit, reason: str) -> UnitScore:
    """The score of a unit that cannot be compared with anything."""
    status: Status = "no-ground-truth"
    return UnitScore(unit, status, J=None, F=None, counted=False, reason=reason)


def describe_frames(n_missing: int, n_invalid: int, n: int, first: str) -> str:
    """``3 of 24 frames missing; first: …``, empty where all frames are usable."""
    parts = [f"{count} {word}" for count, word in ((n_missing, "missing"), (n_invalid, "unusable")) if count]
    return f"{' and '.join(parts)} of {n} frames; first: {first}" if parts else ""


def _wrong_size(place: str, mask: BitMask, truth: Truth) -> str:
    return (
        f"{place}: {mask.shape[1]}x{mask.shape[0]} pixels, the ground truth has {truth.shape[1]}x{truth.shape[0]}; "
        "write masks at the video's own size."
    )


# The strict protocols -----------------------------------------------------------------------------------------------

#: What the strict protocols per expression have in common.
STRICT_TRAITS: dict[Trait, str] = {
    "unit": "scores expressions",
    "matching": "compares each sentence with its own target, so swapped sentences are wrong",
    "void": "counts every pixel",
    "foreground": "takes masks of two values",
    "missing": "counts what is missing as 0",
}


class ReasonVOSStrict(PerExpressionProtocol):
    """ReasonVOS: J and F on the frames annotated for the object, mean over frames, mean over all expressions.

    Equals VideoLISA's evaluation/reason_vos/eval_reason_vos.py (showlab/VideoLISA@146f2bc) where nothing is missing
    and the masks are two-valued.
    """

    id = "reasonvos@1"
    words = "ReasonVOS: J and F of each expression over its annotated frames, mean over all expressions; missing is 0."
    source = "this project"
    strict = True
    dataset_name = "reasonvos"
    equals = "reasonvos@official"
    traits: ClassVar[Mapping[Trait, str]] = {
        **STRICT_TRAITS,
        "ground truth": "reads the object's own masks",
        "frames": "scores the annotated frames",
    }


class MeViSStrict(PerExpressionProtocol):
    """MeViS v1 annotations: the union of an expression's objects, all frames, mean over all expressions.

    Equals tools/eval_mevis.py (henghuiding/MeViS@7c0620b) where nothing is missing and the masks are two-valued.
    """

    id = "mevis@1"
    words = (
        "MeViS: J and F of each expression against the union of its objects, mean over all expressions; missing is 0."
    )
    source = "this project"
    strict = True
    dataset_name = "mevis"
    equals = "mevis@official"
    traits: ClassVar[Mapping[Trait, str]] = {
        **STRICT_TRAITS,
        "ground truth": "reads the union of the annotations named",
        "frames": "scores all listed frames",
    }


class RefYouTubeVOSStrict(PerExpressionProtocol):
    """Ref-YouTube-VOS: J and F over the listed frames, mean over expressions.

    The validation server's averaging is not published; all local scripts of the field average this way. Values from
    the validation masks that became public in 2026 are local values until shown equal to the server's.
    """

    id = "ref-youtube-vos@1"
    words = (
        "Ref-YouTube-VOS: J and F of each expression over the listed frames, mean over all expressions; missing is 0; "
        "a local value, not the server's."
    )
    source = "this project"
    strict = True
    dataset_name = "ref-youtube-vos"
    traits: ClassVar[Mapping[Trait, str]] = {
        **STRICT_TRAITS,
        "ground truth": "reads the masks of the expression's object",
        "frames": "scores the annotated frames",
    }


class ReasonShapesStrict(PerExpressionProtocol):
    """ReasonShapes: J and F over all frames, mean over expressions."""

    id = "reasonshapes@1"
    words = "ReasonShapes: J and F of each expression over all frames, mean over all expressions; missing is 0."
    source = "this project"
    strict = True
    dataset_name = "reasonshapes"
    traits: ClassVar[Mapping[Trait, str]] = {
        **STRICT_TRAITS,
        "ground truth": "reads the rendered masks",
        "frames": "scores all frames",
    }


class FoldersStrict(PerExpressionProtocol):
    """Two plain folders, ``<name>/<frame>.png``: J and F over the frames of the ground truth, mean over names."""

    id = "folders@1"
    words = (
        "Plain folders: J and F of each sequence over the frames of its ground truth, mean over sequences; "
        "missing is 0."
    )
    source = "this project"
    strict = True
    dataset_name = "folders"
    traits: ClassVar[Mapping[Trait, str]] = {
        **STRICT_TRAITS,
        "unit": "scores folders of masks",
        "ground truth": "reads the ground-truth folder",
        "void": "leaves out pixels labelled 255",
        "frames": "scores the annotated frames",
    }


class ExpressionsStrict(PerExpressionProtocol):
    """Any dataset without a protocol of its own: J and F on the annotated frames, mean over frames and expressions.

    For projects of the annotation workbench, exports of them and plug-ins, whatever their name.
    """

    id = "expressions@1"
    words = (
        "Datasets of one's own: J and F of each expression over its annotated frames, mean over all expressions; "
        "missing is 0."
    )
    source = "this project"
    strict = True
    dataset_name = ""
    traits: ClassVar[Mapping[Trait, str]] = {
        **STRICT_TRAITS,
        "ground truth": "reads the masks of the expression's target",
        "void": "leaves out pixels that the dataset marks as void",
        "frames": "scores the annotated frames",
    }

    def applies_to(self, dataset: RVOSDataset) -> str | None:
        from . import DEFAULTS

        if dataset.name in DEFAULTS:
            own = " and ".join(DEFAULTS[dataset.name])
            return f"{self.id} is for datasets without a protocol of their own; {dataset.name} has {own}."
        return None

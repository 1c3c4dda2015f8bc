"""ReVOS: J, F, accuracy A and robustness R, as a plain mean and as VISA's script forms them.

A is the share of pixels that are right. R punishes what is predicted where nothing is meant: 1 - |P \\ G| / |O| in a
frame, not below 0, where O is the union of the video's annotated objects (Li et al., R²VOS, ICCV 2023). R is meant for
sentences that mean nothing; VISA's script reports it for those that do mean something, and leaves the others out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from operator import or_
from typing import ClassVar

import numpy as np

from ...datasets.bitmask import BitMask
from ...datasets.masks import packed_mask
from ...datasets.types import RVOSDataset, Sample, Video
from ..predictions.base import ExpressionPredictions, Foreground, MergedPredictions
from . import summaries
from .base import J_AND_F, Metric, Status, Summary, Trait, Unit, UnitScore
from .ground_truth import Truth
from .per_expression import STRICT_TRAITS, Entry, PerExpressionProtocol, ScoredFrame

A, R, R_NO_TARGET = Metric("A"), Metric("R"), Metric("R-no-target")
COUNTED, NO_TARGET = ("referring", "reasoning"), "no-target"


class Instances:
    """The masks of a video's annotated objects, the latest frame in memory."""

    def __init__(self, dataset: RVOSDataset, video: Video) -> None:
        self._masklets = dataset.objects(video)
        self._places = {name: i for i, name in enumerate(video.frame_names)}
        self._latest: tuple[str, dict[str, BitMask], int] = ("", {}, 0)

    def at(self, name: str) -> dict[str, BitMask]:
        """The objects' masks in a frame by id."""
        return self._frame(name)[1]

    def area(self, name: str) -> int:
        """Pixels of any object in a frame."""
        return self._frame(name)[2]

    def _frame(self, name: str) -> tuple[str, dict[str, BitMask], int]:
        if self._latest[0] != name:
            index = self._places[name]
            found = ((i, packed_mask(masklet.source, index)) for i, masklet in self._masklets.items())
            masks = {i: mask for i, mask in found if mask is not None}
            area = np.count_nonzero(reduce(or_, masks.values()).to_array()) if masks else 0
            self._latest = (name, masks, int(area))
        return self._latest


@dataclass
class RobustEntry(Entry):
    """Collects A and R of the frames."""

    instances: Instances = field(kw_only=True)
    A: list[float] = field(default_factory=list)
    R: list[float] = field(default_factory=list)

    def measure(self, frame: ScoredFrame) -> None:
        height, width = frame.truth.shape
        outside, missed = frame.prediction.area - frame.both, frame.truth.prepared.area - frame.both
        self.A.append((height * width - outside - missed) / (height * width))
        self.R.append(robustness(outside, self.instances.area(frame.name)))

    def values(self) -> dict[str, float]:
        """A and R where something is meant, else R under its own name."""
        unusable = [0.0] * (self.n_missing + self.n_invalid)
        accuracy, robust = (float(np.mean(values + unusable)) for values in (self.A, self.R))
        if self.sample.expression.tags["type"] == NO_TARGET:
            return {"R-no-target": robust}
        return {"A": accuracy, "R": robust}


def robustness(outside: int, objects: int) -> float:
    """R of a frame with ``outside`` pixels predicted beside the target and ``objects`` pixels annotated.

    1 where nothing is predicted beside the target, 0 where anything is although nothing is annotated.
    """
    if not outside:
        return 1.0
    return max(0.0, 1 - outside / objects) if objects else 0.0


class ReVOSStrict(PerExpressionProtocol):
    """ReVOS: plain means over the expressions that mean something, and R over those that do not, by its own name."""

    id = "revos@1"
    words = (
        "ReVOS: J, F, accuracy A and robustness R of each referring or reasoning expression, mean over all of them, "
        "and R-no-target, the robustness over the expressions that mean nothing; missing is 0."
    )
    source = "this project"
    strict = True
    dataset_name = "revos"
    entry: ClassVar[type[RobustEntry]] = RobustEntry
    metrics = (*J_AND_F, A, R, R_NO_TARGET)
    traits: ClassVar[Mapping[Trait, str]] = {
        **STRICT_TRAITS,
        "unit": "scores expressions, those about nothing by their robustness alone",
        "ground truth": "reads the union of the annotations named",
        "frames": "scores all listed frames",
    }

    def entries(self, dataset: RVOSDataset, samples: Sequence[Sample]) -> Sequence[Entry]:
        instances = Instances(dataset, samples[0].video)
        return [self.entry(s, self.ground_truth(dataset, s), instances=instances) for s in samples]

    def score_video(
        self,
        dataset: RVOSDataset,
        video_id: str,
        predictions: ExpressionPredictions | MergedPredictions,
        per_frame: bool = False,
    ) -> list[UnitScore]:
        scores = super().score_video(dataset, video_id, predictions, per_frame)
        return [self.judged(score) for score in scores]

    def judged(self, score: UnitScore) -> UnitScore:
        """The score, without J and F where nothing is meant."""
        return replace(score, J=None, F=None) if score.unit.tags["type"] == NO_TARGET else score

    def failed(self, unit: Unit, reason: str) -> UnitScore:
        values = ("R-no-target",) if unit.tags["type"] == NO_TARGET else ("A", "R")
        return self.judged(replace(super().failed(unit, reason), extras=dict.fromkeys(values, 0.0)))

    def aggregate(self, scores: Sequence[UnitScore]) -> Summary:
        with_target = [s for s in scores if s.unit.tags["type"] != NO_TARGET]
        values = {**summaries.j_and_f(with_target), **{m.name: m.mean(scores) for m in (A, R, R_NO_TARGET)}}
        return summaries.summarise(scores, summaries.strict_warnings(scores), values=values)


# As VISA's script -----------------------------------------------------------------------------------------------------


@dataclass
class VisaEntry(RobustEntry):
    """A and R in the script's 8-bit arithmetic: masks of instances are added, so where two overlap the ground truth is
    2, no prediction is right there, and 1 - 2 counts as 255 pixels beside the target."""

    def measure(self, frame: ScoredFrame) -> None:
        counts = np.zeros(frame.truth.shape, np.uint8)
        masks = self.instances.at(frame.name)
        for object_id in self.sample.expression.object_ids or ():
            counts += masks[object_id].to_array()
        predicted = frame.mask.to_array().astype(np.uint8)
        outside = int(((np.uint8(1) - counts) * predicted).sum(dtype=np.uint64))
        self.A.append(float(np.mean(counts == predicted)))
        self.R.append(max(1 - outside / (self.instances.area(frame.name) + 1e-6), 0.0))

    def values(self) -> dict[str, float]:
        return {"A": float(np.mean(self.A)), "R": float(np.mean(self.R))}


class ReVOSVisa(ReVOSStrict):
    """VISA's tools/eval_revos.py (cilinyan/VISA@40ae6e8).

    Quirks: anything missing or ill-sized makes all values of the expression 0; each value is rounded to two decimals
    (of 100) before it is averaged; overall values are the mean of the referring and the reasoning mean, however many
    sentences each has; sentences that mean nothing are in no value, though R is meant for them; instances that overlap
    count as described in ``VisaEntry``. Predictions are taken as 0 and 1; files of 0 and 255 make the script's own A
    and R meaningless.
    """

    id = "revos@visa"
    words = (
        "ReVOS as VISA's script: J, F, A and R of each expression rounded to two decimals, mean of the referring and "
        "of the reasoning mean; expressions that mean nothing are left out, also of R."
    )
    source = "cilinyan/VISA@40ae6e8 tools/eval_revos.py"
    strict = False
    entry = VisaEntry
    foreground: ClassVar[Foreground] = "nonzero-grey"
    metrics = (*J_AND_F, A, R)
    traits: ClassVar[Mapping[Trait, str]] = {
        **ReVOSStrict.traits,
        "unit": "scores expressions, rounds their values and takes the mean of two means without those about nothing",
        "foreground": "takes every grey value above 0",
        "missing": "counts an expression with anything missing as 0",
    }

    def score_frame(
        self, dataset: RVOSDataset, entry: Entry, name: str, truth: Truth, predictions: ExpressionPredictions
    ) -> None:
        super().score_frame(dataset, entry, name, truth, predictions)
        if entry.first_problem:
            reason = f"the script counts it as 0: {entry.first_problem}"
            status: Status = "invalid" if entry.n_invalid else "missing"
            n_frames = 0 if entry.truth is None else len(entry.truth)
            entry.verdict = replace(self.failed(entry.unit, reason), status=status, n_frames=n_frames)

    def judged(self, score: UnitScore) -> UnitScore:
        """The score, outside every value where nothing is meant."""
        return replace(score, counted=False) if score.unit.tags["type"] == NO_TARGET else score

    def failed(self, unit: Unit, reason: str) -> UnitScore:
        score = UnitScore(unit, "failed", J=0.0, F=0.0, reason=reason, extras={"A": 0.0, "R": 0.0})
        return self.judged(score)

    def aggregate(self, scores: Sequence[UnitScore]) -> Summary:
        parts = {kind: _rounded_means([s for s in scores if s.unit.tags["type"] == kind]) for kind in COUNTED}
        overall = {m.name: _mean([part[m.name] for part in parts.values()]) for m in self.metrics}
        extras = {f"{kind}/{name}": value for kind, part in parts.items() for name, value in part.items()}
        warnings = [*_warn_left_out(scores), *summaries.strict_warnings(scores)]
        return summaries.summarise(scores, warnings, extras, overall)


def _rounded_means(scores: Sequence[UnitScore]) -> dict[str, float | None]:
    """Means of values that were rounded to two decimals of 100 before, 0-1; J&F is the mean of two means."""
    means = {}
    for name in ("J", "F", "A", "R"):
        values = [score.value(name) for score in scores if score.counted]
        means[name] = _mean([float(round(np.float64(100 * v), 2)) for v in values if v is not None])
    percent = {"J&F": _mean([means["J"], means["F"]]), **means}
    return {name: None if value is None else value / 100 for name, value in percent.items()}


def _mean(values: Sequence[float | None]) -> float | None:
    """None of nothing, or where one is None: the script prints nan there."""
    known = [value for value in values if value is not None]
    return float(np.mean(known)) if known and len(known) == len(values) else None


def _warn_left_out(scores: Sequence[UnitScore]) -> list[str]:
    n = sum(s.unit.tags["type"] == NO_TARGET for s in scores)
    return [f"{n} expressions that mean nothing are in no value; revos@1 has R-no-target for them."] if n else []

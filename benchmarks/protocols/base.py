"""What a protocol is: a named, versioned rule that turns ground truth and predictions into scores.

``name@<integer>`` is a strict protocol of this project: whatever is missing counts as wrong, and deleting predictions
never raises a score. ``name@<script>`` reproduces a published script with its quirks and says so in its results.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

import numpy as np

from ...datasets.types import RVOSDataset
from ..predictions.base import ExpressionPredictions, MergedPredictions

#: Every expected unit ends in exactly one of these.
#:  ``ok``               scored (the flag ``partial`` says that some of its frames were missing or invalid)
#:  ``missing``          nothing was predicted: J = F = 0 in strict protocols
#:  ``invalid``          predicted, but no frame could be used: J = F = 0 in strict protocols
#:  ``failed``           the model, or scoring itself, raised: J = F = 0 in strict protocols
#:  ``no-ground-truth``  nothing to compare with: J and F are None, outside every mean
Status = Literal["ok", "missing", "invalid", "failed", "no-ground-truth"]
STATUSES: tuple[Status, ...] = ("ok", "missing", "invalid", "failed", "no-ground-truth")

#: The questions on which protocols differ, those that move scores most first: how predictions are assigned to the
#: ground truth, what happens to what is missing, which masks are the ground truth, which frames count, which pixels do
#: not, what one score is about, and which values are foreground.
Trait = Literal["matching", "missing", "ground truth", "frames", "void", "unit", "foreground"]
TRAITS: tuple[Trait, ...] = get_args(Trait)


@dataclass(frozen=True)
class Metric:
    """A value that a protocol reports: a mean over its counted units, or the ratio of two sums over them.

    Attributes:
        name: as it is shown, e.g. ``gIoU``.
        of: the units' value that is averaged, see ``UnitScore.value``; the one called ``name`` unless given. Units
            that lack it are outside this mean.
        composite: formed from other metrics (MeViS v2's Final), so that no unit has it.
        over: the units' value in the denominator of a ratio of sums, e.g. ``union`` for cIoU; "" for a mean.
    """

    name: str
    of: str = ""
    over: str = ""
    composite: bool = False

    def __post_init__(self) -> None:
        if not self.of:
            object.__setattr__(self, "of", self.name)

    def pairs(self, scores: Iterable[UnitScore]) -> list[tuple[UnitScore, float, float]]:
        """The counted units that have the value: (unit, numerator, denominator); the denominator of a mean is 1."""
        found = []
        for score in scores:
            value, size = score.value(self.of), score.value(self.over) if self.over else 1.0
            if score.counted and value is not None and size is not None:
                found.append((score, value, size))
        return found

    def mean(self, scores: Iterable[UnitScore]) -> float | None:
        """The mean, or ratio of sums, over counted units; None where none has the value or all denominators are 0."""
        pairs = self.pairs(scores)
        if not self.over:
            return float(np.mean([value for _, value, _ in pairs])) if pairs else None
        total = sum(size for _, _, size in pairs)
        return sum(value for _, value, _ in pairs) / total if total else None


#: What most protocols report.
J_AND_F: tuple[Metric, ...] = (Metric("J&F"), Metric("J"), Metric("F"))


def unit_metric(metrics: Sequence[Metric]) -> Metric:
    """The metric by which single units are ranked: the first that is a mean over units."""
    return next(metric for metric in metrics if not (metric.composite or metric.over))


@dataclass(frozen=True)
class Unit:
    """What one score is about: a sample, or, for protocols that match objects, an annotated object.

    ``key`` is unique under the protocol: the sample's key, or ``<video>/annot<k>/<object>`` for DAVIS objects.
    """

    key: str
    video_id: str
    expression_id: str | None = None
    object_ids: tuple[str, ...] = ()
    annotator: int | None = None
    tags: Mapping[str, str | int | float | bool] = field(default_factory=dict)


@dataclass(frozen=True)
class UnitScore:
    """The score of one unit.

    Attributes:
        J: region similarity, mean over scored frames, 0-1; None where nothing counts (see ``reason``).
        F: contour accuracy, likewise; None under protocols that do not measure it (images: J alone, their IoU).
        counted: whether the unit enters the protocol's means. Script-named protocols leave out what their script
            leaves out; strict ones count everything but ``no-ground-truth``.
        n_frames: frames that the protocol scores.
        n_empty_frames: scored frames whose prediction is there and empty.
        flags: e.g. ``partial``.
        reason: why the status is not ``ok`` or what is partial, one line that names the first file concerned.
        frame_names, frame_J, frame_F: per scored frame, in order; empty unless asked for.
        extras: further values of the protocol, e.g. ``J-recall``, ``tIoU``; metrics name those they average.
    """

    unit: Unit
    status: Status
    J: float | None
    F: float | None
    counted: bool = True
    n_frames: int = 0
    n_empty_frames: int = 0
    flags: tuple[str, ...] = ()
    reason: str = ""
    frame_names: tuple[str, ...] = ()
    frame_J: tuple[float, ...] = ()
    frame_F: tuple[float, ...] = ()
    extras: Mapping[str, float | None] = field(default_factory=dict)
    seconds: float = 0.0

    @property
    def J_and_F(self) -> float | None:
        """Mean of J and F, 0-1."""
        return None if self.J is None or self.F is None else (self.J + self.F) / 2

    def value(self, name: str) -> float | None:
        """The unit's value of this name: ``J``, ``F``, ``J&F`` or one of ``extras``; None where it has none."""
        own = {"J": self.J, "F": self.F, "J&F": self.J_and_F}
        return own[name] if name in own else self.extras.get(name)


@dataclass(frozen=True)
class Summary:
    """Values over the units as the protocol forms them, 0-1; None where nothing was counted.

    Attributes:
        values: one for each of the protocol's metrics, by name.
        extras: what else the protocol reports, e.g. per annotator values under ``anno_0/J``.
    """

    values: Mapping[str, float | None]
    counts: Mapping[Status, int]
    n_counted: int
    extras: Mapping[str, float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()

    @property
    def J_and_F(self) -> float | None:
        return self.values.get("J&F")

    @property
    def J(self) -> float | None:
        return self.values.get("J")

    @property
    def F(self) -> float | None:
        return self.values.get("F")


class Protocol(ABC):
    """A protocol. Instances hold no state, are picklable, and are made by ``get_protocol(id)``.

    Class attributes:
        id: ``name@version``.
        words: the protocol in one sentence, printed first by every scoring command.
        source: the script it equals, with repository and commit, or "this project".
        strict: integer versions; missing counts as wrong.
        merged: True where it scores label maps per annotator (Ref-DAVIS-17), False for masks per expression.
        metrics: what it reports, in the order of its table; runs are ranked by the first.
        traits: how it decides each question on which protocols differ, as half sentences (see ``compare``).
        equals: id of the script-named protocol whose values it has where nothing is missing, "" where there is none.
    """

    id: ClassVar[str]
    words: ClassVar[str]
    source: ClassVar[str]
    strict: ClassVar[bool]
    merged: ClassVar[bool] = False
    metrics: ClassVar[tuple[Metric, ...]] = J_AND_F
    traits: ClassVar[Mapping[Trait, str]]
    equals: ClassVar[str] = ""

    @abstractmethod
    def applies_to(self, dataset: RVOSDataset) -> str | None:
        """None where the protocol applies; else the reason why not, for the user."""

    @abstractmethod
    def units(self, dataset: RVOSDataset) -> Sequence[Unit]:
        """Every expected unit, in a fixed order, grouped by video."""

    @abstractmethod
    def score_video(
        self,
        dataset: RVOSDataset,
        video_id: str,
        predictions: ExpressionPredictions | MergedPredictions,
        per_frame: bool = False,
    ) -> list[UnitScore]:
        """Scores of all units of one video, frame by frame, in bounded memory.

        Never raises for bad predictions (their status says it); raises DatasetError or ImageError where the ground
        truth cannot be read, and the caller records the video's units as ``failed``.
        """

    def failed(self, unit: Unit, reason: str) -> UnitScore:
        """The score of a unit that could not be scored: the worst of every value that its metrics average."""
        return UnitScore(unit, "failed", J=0.0, F=0.0, reason=reason)

    @abstractmethod
    def aggregate(self, scores: Sequence[UnitScore]) -> Summary:
        """A value for each of ``metrics``, from all unit scores of the split in the order of ``units``."""

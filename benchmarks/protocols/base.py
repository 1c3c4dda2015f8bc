"""What a protocol is: a named, versioned rule that turns ground truth and predictions into scores.

``name@<integer>`` is a strict protocol of this project: whatever is missing counts as wrong, and deleting predictions
never raises a score. ``name@<script>`` reproduces a published script with its quirks and says so in its results.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar, Literal, get_args

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
        F: contour accuracy, likewise.
        counted: whether the unit enters the protocol's means. Script-named protocols leave out what their script
            leaves out; strict ones count everything but ``no-ground-truth``.
        n_frames: frames that the protocol scores.
        n_empty_frames: scored frames whose prediction is there and empty.
        flags: e.g. ``partial``.
        reason: why the status is not ``ok`` or what is partial, one line that names the first file concerned.
        frame_names, frame_J, frame_F: per scored frame, in order; empty unless asked for.
        extras: further values of the protocol, e.g. ``J-recall``, ``J-decay``.
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


@dataclass(frozen=True)
class Summary:
    """Means over the units as the protocol forms them, 0-1; None where nothing was counted.

    ``extras`` holds what else the protocol reports, e.g. per annotator values under ``anno_0/J``.
    """

    J: float | None
    F: float | None
    J_and_F: float | None
    counts: Mapping[Status, int]
    n_counted: int
    extras: Mapping[str, float | None] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()


class Protocol(ABC):
    """A protocol. Instances hold no state, are picklable, and are made by ``get_protocol(id)``.

    Class attributes:
        id: ``name@version``.
        words: the protocol in one sentence, printed first by every scoring command.
        source: the script it equals, with repository and commit, or "this project".
        strict: integer versions; missing counts as wrong.
        merged: True where it scores label maps per annotator (Ref-DAVIS-17), False for masks per expression.
        traits: how it decides each question on which protocols differ, as half sentences (see ``compare``).
        equals: id of the script-named protocol whose values it has where nothing is missing, "" where there is none.
    """

    id: ClassVar[str]
    words: ClassVar[str]
    source: ClassVar[str]
    strict: ClassVar[bool]
    merged: ClassVar[bool] = False
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

    @abstractmethod
    def aggregate(self, scores: Sequence[UnitScore]) -> Summary:
        """The means, from all unit scores of the split in the order of ``units``."""

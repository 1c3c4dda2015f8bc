"""Ref-DAVIS-17 from merged label maps, one per annotator: every object scored once per annotator.

The protocols follow the DAVIS-2017 evaluation (Pont-Tuset et al. 2017, Caelles et al. 2019;
davis2017-evaluation@ac7c43f, which ReferFormer and its successors ship): one label map per frame and annotator, J and
F of every object over frames, mean over the objects of all videos, then mean over the four annotators. The number of
objects is the largest label of a video's first annotation.

A video is read frame by frame. A label that a frame does not hold is an empty mask there, and what an empty mask
scores depends on the ground truth alone, so nothing about the other frames must be known.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...datasets.errors import PredictionError, PredictionInvalid, PredictionMissing, ProtocolError
from ...datasets.images import png_labels
from ...datasets.masks import LabelMapMasks
from ...datasets.ref_davis17 import ANNOTATORS, VOID, Annotation, RefDAVIS17
from ...datasets.types import RVOSDataset, Video
from ..metrics import prepare
from ..predictions.base import ExpressionPredictions, MergedPredictions
from . import summaries
from .assignment import Matched, Scores, lowest_scores, optimal_scores, worst_of
from .base import Protocol, Status, Summary, Trait, Unit, UnitScore
from .ground_truth import Truth, TruthReader
from .per_expression import describe_frames

#: The DAVIS unsupervised task takes at most so many proposals a video.
MAX_PROPOSALS = 20
_VALUES = ("J-recall", "J-decay", "F-recall", "F-decay")


# The table of one (video, annotator) ------------------------------------------------------------------------------


@dataclass
class Table:
    """J and F of every label against every object in every frame, filled frame by frame.

    Attributes:
        n_objects, n_frames: G and T.
        empty: what an empty mask scores, float64 (2, G, T), J then F.
        pairs: label -> float64 (2, G, T), NaN in frames that do not hold the label.
        unusable: bool (T,), frames without a usable label map.
        size: (height, width) of the first map, which a script takes for all.
        stopped: nothing more is looked at, because a script exits.
    """

    n_objects: int
    n_frames: int
    pairs: dict[int, Scores] = field(default_factory=dict)
    n_missing: int = 0
    n_invalid: int = 0
    first_problem: str = ""
    size: tuple[int, ...] | None = None
    stopped: bool = False

    def __post_init__(self) -> None:
        self.empty = np.zeros((2, self.n_objects, self.n_frames))
        self.unusable = np.zeros(self.n_frames, bool)

    def add(self, t: int, label_map: NDArray[np.uint8], truths: Sequence[Truth], all_pairs: bool) -> None:
        """Score the labels of one frame against all objects, or each against the object of its own number."""
        void = truths[0].void
        for label in range(1, int(label_map.max()) + 1):
            mask = label_map == label
            wanted = range(self.n_objects) if all_pairs else range(label - 1, min(label, self.n_objects))
            if not wanted or not mask.any():
                continue
            prepared = prepare(mask, void)
            pair = self.pairs.setdefault(label, np.full(self.empty.shape, np.nan))
            for g in wanted:
                pair[:, g, t] = truths[g].score(prepared)

    def fail(self, t: int, error: PredictionError) -> None:
        """A frame without a usable label map."""
        self.unusable[t] = True
        self.n_missing += isinstance(error, PredictionMissing)
        self.n_invalid += isinstance(error, PredictionInvalid)
        self.first_problem = self.first_problem or str(error)

    @property
    def n_labels(self) -> int:
        """The largest label seen."""
        return max(self.pairs, default=0)

    def scores(self, n_proposals: int) -> tuple[Scores, Scores]:
        """J and F, float64 (P, G, T), of labels 1 to ``n_proposals``; labels that never occur are empty masks."""
        both = np.repeat(self.empty[None], n_proposals, axis=0)
        for label, pair in self.pairs.items():
            both[label - 1] = np.where(np.isnan(pair), self.empty, pair)
        return both[:, 0].copy(), both[:, 1].copy()

    def absent(self, label: int) -> NDArray[np.bool_]:
        """bool (T,): usable frames whose map does not hold the label."""
        if label not in self.pairs:
            return ~self.unusable
        return np.isnan(self.pairs[label][0]).all(axis=0) & ~self.unusable


# Merged protocols -------------------------------------------------------------------------------------------------


class DavisProtocol(Protocol):
    """What the merged protocols share: ground truth, units, the loop over frames, means.

    Class attributes:
        annotation: which of the two DAVIS mask sets is the ground truth.
        all_pairs: every label is compared with every object, or only with the object of its number.
    """

    merged = True
    annotation: ClassVar[Annotation] = "unsupervised"
    all_pairs: ClassVar[bool] = True

    def applies_to(self, dataset: RVOSDataset) -> str | None:
        if not isinstance(dataset, RefDAVIS17) and dataset.name == RefDAVIS17.name:
            return (
                f"{self.id} reads DAVIS's label maps, which the export {dataset.root} does not hold; "
                f"write them first: rvos datasets convert {dataset.id} --root … --to ref-davis17 --out FOLDER."
            )
        if not isinstance(dataset, RefDAVIS17):
            return f"{self.id} is for ref-davis17, not for {dataset.name}."
        return mask_obstacle(self.id, dataset, self.annotation)

    def units(self, dataset: RVOSDataset) -> Sequence[Unit]:
        return [unit for video in dataset.videos for unit in self._units(dataset, video)]

    def score_video(
        self,
        dataset: RVOSDataset,
        video_id: str,
        predictions: ExpressionPredictions | MergedPredictions,
        per_frame: bool = False,
    ) -> list[UnitScore]:
        if not isinstance(predictions, MergedPredictions):
            raise ProtocolError(
                f"{self.id} scores label maps per annotator, but {predictions.path} holds masks per expression; "
                "open it with the layout that merges them."
            )
        video = dataset.samples_of(video_id)[0].video
        units = self._units(dataset, video)
        sources = self._sources(dataset, video)
        frames = self.frames(sources[0]) if sources else []
        tables = [Table(len(sources), len(frames)) for _ in ANNOTATORS]
        reader = TruthReader(sources)
        for t, index in enumerate(frames):
            truths = [truth for truth in reader.frame(index) if truth is not None]
            blank = prepare(np.zeros(truths[0].shape, bool))
            empty = np.array([truth.score(blank) for truth in truths]).T
            for annotator, table in enumerate(tables):
                table.empty[:, :, t] = empty
                if not table.stopped:
                    self.add_frame(table, t, truths, predictions, video, annotator, index)
        names = tuple(video.frame_names[index] for index in frames)
        scores: list[UnitScore] = []
        for annotator, table in enumerate(tables):
            own = [unit for unit in units if unit.annotator == annotator]
            scores += self.judge(table, own, names if per_frame else ())
        return scores

    def add_frame(
        self,
        table: Table,
        t: int,
        truths: Sequence[Truth],
        predictions: MergedPredictions,
        video: Video,
        annotator: int,
        index: int,
    ) -> None:
        """Score one annotator's label map of one frame, or note that it cannot be used."""
        try:
            label_map = predictions.labels(video, annotator, index)
            self.check(label_map, truths, f"anno_{annotator}/{video.id}/{video.frame_names[index]}")
        except (PredictionMissing, PredictionInvalid) as error:
            table.fail(t, error)
        else:
            table.add(t, label_map, truths, self.all_pairs)

    def check(self, label_map: NDArray[np.uint8], truths: Sequence[Truth], where: str) -> None:
        """Raises PredictionInvalid for a map of the wrong size or with labels that no map can have."""
        if label_map.shape != truths[0].shape:
            found, expected = label_map.shape, truths[0].shape
            raise PredictionInvalid(
                f"{where}: {found[1]}x{found[0]} pixels, the ground truth has {expected[1]}x{expected[0]}; "
                "write label maps at the video's own size."
            )
        largest, limit = int(label_map.max()), self.largest_label(len(truths))
        if largest > limit:
            hint = "0/255 is a binary mask; " if largest == VOID else ""
            raise PredictionInvalid(
                f"{where}: label {largest}, at most {limit} allowed; {hint}write the number of the object, from 1."
            )

    def largest_label(self, n_objects: int) -> int:
        """The largest label that a map may hold."""
        return max(MAX_PROPOSALS, n_objects)

    def frames(self, source: LabelMapMasks) -> list[int]:
        """Indices of the frames that are scored."""
        return [index for index, path in enumerate(source.paths) if path is not None]

    def judge(self, table: Table, units: Sequence[Unit], names: tuple[str, ...]) -> list[UnitScore]:
        """The scores of one annotator's objects."""
        if not table.n_frames:
            reason = "no frame of the video is annotated"
            return [UnitScore(u, "no-ground-truth", J=None, F=None, counted=False, reason=reason) for u in units]
        results = self.match(table)
        return [self.unit_score(table, unit, m, names) for unit, m in zip(units, results, strict=True)]

    def match(self, table: Table) -> list[Matched]:
        """The objects' scores in the order of the units."""
        raise NotImplementedError

    def unit_score(self, table: Table, unit: Unit, result: Matched, names: tuple[str, ...]) -> UnitScore:
        """One object's score."""
        n, bad = table.n_frames, table.n_missing + table.n_invalid
        status: Status = "ok" if bad < n else ("invalid" if table.n_invalid else "missing")
        absent = table.absent(result.proposal)
        no_object = table.empty[0, result.object - 1] == 1  # where an empty mask has J = 1
        return UnitScore(
            unit=unit,
            status=status,
            J=float(np.mean(result.J)),
            F=float(np.mean(result.F)),
            n_frames=n,
            n_empty_frames=int(absent.sum()),
            flags=("partial",) if 0 < bad < n else (),
            reason=describe_frames(table.n_missing, table.n_invalid, n, table.first_problem),
            frame_names=names,
            frame_J=tuple(result.J.tolist()) if names else (),
            frame_F=tuple(result.F.tolist()) if names else (),
            extras={
                "J-recall": _number(result.J_recall),
                "J-decay": _number(result.J_decay),
                "F-recall": _number(result.F_recall),
                "F-decay": _number(result.F_decay),
                "object": float(result.object),
                "proposal": float(result.proposal),
                "frames_both_empty": float((absent & no_object).sum()),
            },
        )

    def aggregate(self, scores: Sequence[UnitScore]) -> Summary:
        """Mean over the objects of all videos for each annotator, then mean over annotators."""
        annotators = sorted({s.unit.annotator for s in scores if s.unit.annotator is not None})
        values = [self.annotator_means([s for s in scores if s.unit.annotator == k]) for k in annotators]
        extras = {
            f"anno_{k}/{name}": v for k, means in zip(annotators, values, strict=True) for name, v in means.items()
        }
        overall = {name: _mean_of([means[name] for means in values]) for name in ("J", "F", "J&F", *_VALUES)}
        return Summary(
            values={name: overall[name] for name in ("J&F", "J", "F")},
            counts=summaries.count_statuses(scores),
            n_counted=sum(s.counted and s.J is not None for s in scores),
            extras={**{name: overall[name] for name in _VALUES}, **extras},
            warnings=tuple(self.warnings(scores)),
        )

    def annotator_means(self, scores: Sequence[UnitScore]) -> dict[str, float | None]:
        """J, F, J&F, recall and decay of one annotator."""
        counted = [s for s in scores if s.counted and s.J is not None and s.F is not None]
        means = {name: _mean_of([s.extras.get(name) for s in counted]) for name in _VALUES}
        J, F = _mean_of([s.J for s in counted]), _mean_of([s.F for s in counted])
        return {"J": J, "F": F, "J&F": None if J is None or F is None else (J + F) / 2, **means}

    def warnings(self, scores: Sequence[UnitScore]) -> list[str]:
        """What the number hides."""
        return summaries.strict_warnings(scores)

    def perfect_labels(self, dataset: RVOSDataset, video: Video, index: int) -> NDArray[np.uint8] | None:
        """The label map of a perfect predictor, uint8 (H, W); None where the frame is not annotated."""
        sources = self._sources(dataset, video)
        path = davis(dataset).label_map_paths(self.annotation, video)[index]
        if path is None:
            return None
        labels = png_labels(path)
        return np.where(labels <= len(sources), labels, 0).astype(np.uint8)

    def _units(self, dataset: RVOSDataset, video: Video) -> list[Unit]:
        numbers = range(1, len(self._sources(dataset, video)) + 1)
        return [
            Unit(key=f"{video.id}/annot{k}/{g}", video_id=video.id, object_ids=(str(g),), annotator=k)
            for k in range(len(ANNOTATORS))
            for g in numbers
        ]

    def _sources(self, dataset: RVOSDataset, video: Video) -> list[LabelMapMasks]:
        """One source per object of the video's first annotation."""
        paths = davis(dataset).label_map_paths(self.annotation, video)
        first = next((path for path in paths if path is not None), None)
        if first is None:
            return []
        labels = png_labels(first)
        n_objects = int(np.where(labels == VOID, 0, labels).max())
        void = VOID if self.annotation == "unsupervised" else None
        return [LabelMapMasks(paths, (g,), void) for g in range(1, n_objects + 1)]


class HungarianStrict(DavisProtocol):
    """Objects matched to labels per video and annotator; unsupervised masks; 255 not counted; all frames.

    Equals davis17-hungarian-4ann@referformer where nothing is missing, except that scores are filed under the object
    they belong to. A frame without a usable map (any object's mask missing) scores 0 for all objects of that video
    and annotator, and deleting predictions raises no score: see ``assignment``.
    """

    id = "davis17-hungarian-4ann@1"
    words = (
        "Ref-DAVIS-17, objects matched to predictions by the Hungarian algorithm per video and annotator, "
        "unsupervised masks, mean over objects, then over 4 annotators; missing is 0."
    )
    source = "this project"
    strict = True
    equals = "davis17-hungarian-4ann@referformer"
    traits: ClassVar[Mapping[Trait, str]] = {
        "unit": "scores the objects of the first frame once per annotator",
        "matching": "matches objects to predictions by the best score, so swapped sentences are not punished",
        "ground truth": "reads the unsupervised masks",
        "frames": "scores all frames",
        "void": "leaves out pixels labelled 255",
        "foreground": "takes label maps, in which objects cannot overlap",
        "missing": "counts a frame that lacks any object's mask as 0 for all of them",
    }

    def match(self, table: Table) -> list[Matched]:
        if table.unusable.any():
            J, F = table.scores(self.largest_label(table.n_objects))
            return lowest_scores(J, F, table.unusable, table.n_labels)
        return optimal_scores(*table.scores(max(table.n_labels, table.n_objects)))


class IdentityStrict(DavisProtocol):
    """Label k of a map against object k of the unsupervised masks; otherwise as ``davis17-hungarian-4ann@1``.

    There is no official script for it; without swapped or absent objects it equals the Hungarian protocol.
    """

    id = "davis17-identity-4ann@1"
    words = (
        "Ref-DAVIS-17, label k of the merged map against object k, unsupervised masks, mean over objects, "
        "then over 4 annotators; missing is 0."
    )
    source = "this project"
    strict = True
    all_pairs = False
    traits: ClassVar[Mapping[Trait, str]] = {
        **HungarianStrict.traits,
        "matching": "compares label k with object k, so swapped sentences are wrong",
    }

    def match(self, table: Table) -> list[Matched]:
        J, F = table.scores(max(table.n_labels, table.n_objects))
        return [worst_of(g, [g], J[[g], g], F[[g], g], table.unusable) for g in range(table.n_objects)]


def davis(dataset: RVOSDataset) -> RefDAVIS17:
    """The dataset as the loader that knows both mask sets. Raises ProtocolError for any other."""
    if not isinstance(dataset, RefDAVIS17):
        raise ProtocolError(f"{dataset.id} is not Ref-DAVIS-17; choose a protocol that applies to it.")
    return dataset


def mask_obstacle(protocol_id: str, dataset: RVOSDataset, annotation: Annotation) -> str | None:
    """Why the protocol cannot score the dataset: it lacks the masks; None where it has them."""
    if any(any(davis(dataset).label_map_paths(annotation, video)) for video in dataset.videos):
        return None
    return f"{protocol_id} needs the {annotation} masks of DAVIS-2017, which {dataset.root} does not hold."


def _mean_of(values: Sequence[float | None]) -> float | None:
    """The mean, None where a value is None or there are none, as one NaN makes the script's mean NaN."""
    known = [v for v in values if v is not None]
    return summaries.mean(known) if len(known) == len(values) else None


def _number(value: float) -> float | None:
    return None if np.isnan(value) else value

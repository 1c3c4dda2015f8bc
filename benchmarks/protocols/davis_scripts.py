"""The DAVIS-2017 evaluation as published, quirks included, once per annotator and then averaged by hand.

davis2017-evaluation@ac7c43f; VideoLISA, ReferFormer and others ship the same evaluation. It exits without any number
for an annotator as soon as one frame of one video is missing or cannot be used.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

from ...datasets.errors import PredictionError, PredictionInvalid, PredictionMissing
from ...datasets.masks import LabelMapMasks
from ...datasets.ref_davis17 import Annotation
from ...datasets.types import RVOSDataset, Video
from ..metrics import decay_official, recall
from ..predictions.base import ExpressionPredictions, MergedPredictions
from . import summaries
from .assignment import Matched, Scores, optimal_pairs
from .base import Status, Trait, Unit, UnitScore
from .davis import MAX_PROPOSALS, DavisProtocol, HungarianStrict, Table, davis
from .ground_truth import Truth


class DavisScript(DavisProtocol):
    """The script's ways of stopping: the first unusable frame ends the annotator."""

    strict = False
    label_error: ClassVar[str]

    def score_video(
        self,
        dataset: RVOSDataset,
        video_id: str,
        predictions: ExpressionPredictions | MergedPredictions,
        per_frame: bool = False,
    ) -> list[UnitScore]:
        video = dataset.samples_of(video_id)[0].video
        paths = davis(dataset).label_map_paths(self.annotation, video)
        if None in paths:
            frame = video.frame_names[paths.index(None)]
            reason = f"AttributeError: 'int' object has no attribute 'read' ({video_id} has no annotation of {frame})"
            return [_stopped(unit, "failed", reason) for unit in self._units(dataset, video)]
        return super().score_video(dataset, video_id, predictions, per_frame)

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
        name = video.frame_names[index]
        try:
            label_map = predictions.labels(video, annotator, index)
            self.check_like_script(table, label_map, truths)
        except PredictionMissing as error:
            _stop(table, t, PredictionMissing(f"{video.id} frame {name} not found! ({error})"))
        except PredictionInvalid as error:
            _stop(table, t, PredictionInvalid(f"{error} (anno_{annotator}/{video.id}/{name})"))
        else:
            table.add(t, label_map, truths, self.all_pairs)

    def check_like_script(self, table: Table, label_map: NDArray[np.uint8], truths: Sequence[Truth]) -> None:
        """Raises PredictionInvalid with the script's own text."""
        table.size = table.size or label_map.shape
        if label_map.shape != table.size:
            shapes = f"from shape {_shape(label_map.shape)} into shape {_shape(table.size)}"
            raise PredictionInvalid(f"ValueError: could not broadcast input array {shapes}")
        if label_map.shape != truths[0].shape:
            expected, found = (table.n_frames, *truths[0].shape), (table.n_frames, *label_map.shape)
            raise PredictionInvalid(
                f"AssertionError: Annotation({expected}) and segmentation:{found} dimensions do not match."
            )
        if int(label_map.max()) > self.largest_label(len(truths)):
            raise PredictionInvalid(f"{self.label_error} Found {label_map.max()}; write the object's number, from 1.")

    def judge(self, table: Table, units: Sequence[Unit], names: tuple[str, ...]) -> list[UnitScore]:
        if not table.stopped:
            return super().judge(table, units, names)
        status: Status = "missing" if table.unusable[0] and table.n_missing else "failed"
        return [_stopped(unit, status, table.first_problem) for unit in units]

    def annotator_means(self, scores: Sequence[UnitScore]) -> dict[str, float | None]:
        """Nothing for an annotator on whose files the script exits."""
        means = super().annotator_means(scores)
        stopped = any("script-exit" in s.flags or s.status == "failed" for s in scores)
        return dict.fromkeys(means) if stopped else means

    def warnings(self, scores: Sequence[UnitScore]) -> list[str]:
        texts = []
        first = {s.unit.annotator: s for s in reversed(scores) if "script-exit" in s.flags}
        for annotator, score in sorted(first.items(), key=lambda item: item[0] or 0):
            texts.append(f"No value for annotator {annotator}, so no mean of four: {score.reason}")
        overflow = sorted({s.unit.video_id for s in scores if s.counted and s.extras.get("J-decay", 0.0) is None})
        if overflow:
            texts.append(f"No decay: the script counts frames in 8 bits, and {overflow[0]} has more than 255.")
        return texts + summaries.warn_empty_credit(scores)


class HungarianReferFormer(DavisScript):
    """DAVIS-2017 unsupervised evaluation as ReferFormer and VideoLISA use it for Ref-DAVIS-17, mean of 4 annotators.

    VideoLISA's evaluation/refdavis/davis2017 (showlab/VideoLISA@146f2bc), wjn922/ReferFormer@06fc218. Quirks:
    ``<video>/annot<k>/<i>`` names the i-th matched *proposal*, not object i (``extras["object"]`` says which object
    it was matched to); decay overflows above 255 frames; one missing frame ends the annotator without a number.
    """

    id = "davis17-hungarian-4ann@referformer"
    words = (
        "Ref-DAVIS-17 as ReferFormer's and VideoLISA's eval_davis.py: DAVIS unsupervised task with Hungarian matching, "
        "mean over objects, then over 4 annotators; one missing frame leaves no number."
    )
    source = "showlab/VideoLISA@146f2bc evaluation/refdavis/eval_davis.py; wjn922/ReferFormer@06fc218 eval_davis.py"
    label_error = (
        f"In your PNG files there is an index higher than the maximum number ({MAX_PROPOSALS}) of proposals allowed!"
    )
    traits: ClassVar[Mapping[Trait, str]] = {
        **HungarianStrict.traits,
        "missing": "gives no number when a frame is missing",
    }

    def largest_label(self, n_objects: int) -> int:
        return MAX_PROPOSALS

    def match(self, table: Table) -> list[Matched]:
        J, F = table.scores(max(table.n_labels, table.n_objects))
        return [_by_script(p, g, J, F) for p, g in optimal_pairs(J, F)]


class SemiSupervisedOfficial(DavisScript):
    """DAVIS-2017 semi-supervised evaluation of Ref-DAVIS-17 label maps, ``eval_davis.py --task semi-supervised``.

    Label k against object k of ``Annotations``; the first and the last frame are dropped; pixels labelled 255 are
    background; more labels than objects, or a missing frame, end the annotator without a number. No paper of the
    field reports it; it is here because the scripts offer it.
    """

    id = "davis17-semi-supervised@official"
    words = (
        "Ref-DAVIS-17 as eval_davis.py --task semi-supervised: label k against object k of the semi-supervised masks, "
        "first and last frame dropped, mean over objects, then over 4 annotators; one missing frame leaves no number."
    )
    source = "davisvideochallenge/davis2017-evaluation@ac7c43f; showlab/VideoLISA@146f2bc evaluation/refdavis"
    annotation: ClassVar[Annotation] = "semi-supervised"
    all_pairs = False
    label_error = "In your PNG files there is an index higher than the number of objects in the sequence!"
    traits: ClassVar[Mapping[Trait, str]] = {
        **HungarianReferFormer.traits,
        "matching": "compares label k with object k, so swapped sentences are wrong",
        "ground truth": "reads the semi-supervised masks",
        "frames": "drops the first and the last frame",
        "void": "takes pixels labelled 255 as background",
    }

    def largest_label(self, n_objects: int) -> int:
        return n_objects

    def frames(self, source: LabelMapMasks) -> list[int]:
        return super().frames(source)[1:-1]

    def match(self, table: Table) -> list[Matched]:
        J, F = table.scores(table.n_objects)
        return [_by_script(g, g, J, F) for g in range(table.n_objects)]


def _by_script(p: int, g: int, J: Scores, F: Scores) -> Matched:
    j, f = J[p, g], F[p, g]
    return Matched(g + 1, p + 1, j, f, recall(j), recall(f), decay_official(j), decay_official(f))


def _stopped(unit: Unit, status: Status, text: str) -> UnitScore:
    reason = f"the script stops: {text}"
    return UnitScore(unit, status, J=None, F=None, counted=False, flags=("script-exit",), reason=reason)


def _stop(table: Table, t: int, error: PredictionError) -> None:
    table.fail(t, error)
    table.stopped = True


def _shape(size: tuple[int, ...]) -> str:
    return f"({size[0]},{size[1]})"

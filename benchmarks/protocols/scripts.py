"""The published scripts for ReasonVOS and MeViS, quirks included: what they leave out, and where they crash.

Both scripts read masks as OpenCV's 8-bit grey, where every value above 0 is foreground, and run 64 workers. A worker
that meets a missing or ill-sized frame dies; the script prints its mean over the rest and exits with status 0. Here
such an expression ends with the script's own error text and outside the mean, as in the script.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import ClassVar

from ...datasets.bitmask import BitMask
from ...datasets.errors import PredictionError, PredictionInvalid, PredictionMissing
from ...datasets.types import RVOSDataset
from ..predictions.base import ExpressionPredictions, Foreground, MergedPredictions, packed_prediction
from . import summaries
from .base import Status, Summary, Trait, UnitScore
from .ground_truth import Truth
from .per_expression import Entry, PerExpressionProtocol

_NO_FRAME = "TypeError: int() argument must be a string, a bytes-like object or a real number, not 'NoneType'"
_NO_FIRST_FRAME = "AttributeError: 'NoneType' object has no attribute 'shape'"

_SCRIPT_TRAITS: dict[Trait, str] = {
    "unit": "scores expressions",
    "matching": "compares each sentence with its own target, so swapped sentences are wrong",
    "void": "counts every pixel",
    "foreground": "takes every grey value above 0",
}


class ScriptProtocol(PerExpressionProtocol):
    """The frame loop of the scripts: the first unusable frame ends the expression, outside the mean."""

    strict = False
    foreground: ClassVar[Foreground] = "nonzero-grey"

    def score_frame(
        self, dataset: RVOSDataset, entry: Entry, name: str, truth: Truth, predictions: ExpressionPredictions
    ) -> None:
        size = entry.size or truth.shape
        if truth.shape != size:
            if not truth.empty:
                sizes = f"{_shape(size)} {_shape(truth.shape)} {_shape(size)}"
                _crash(entry, f"ValueError: operands could not be broadcast together with shapes {sizes}")
                return
            truth = Truth.of(BitMask.zeros(*size))  # the script adds nothing for a frame without a mask
        try:
            mask = packed_prediction(predictions, entry.sample, name, self.foreground)
        except (PredictionMissing, PredictionInvalid) as error:
            _crash(entry, _NO_FRAME, error)
            return
        if mask.shape != size:
            shapes = f"from shape {_shape(mask.shape)} into shape {_shape(size)}"
            where = PredictionInvalid(f"{dataset.prediction_path(entry.sample)}/{name}")
            _crash(entry, f"ValueError: could not broadcast input array {shapes}", where)
            return
        entry.add(name, truth, mask)

    def aggregate(self, scores: Sequence[UnitScore]) -> Summary:
        return summaries.summarise(scores, summaries.script_warnings(scores))


class ReasonVOSOfficial(ScriptProtocol):
    """VideoLISA's evaluation/reason_vos/eval_reason_vos.py (showlab/VideoLISA@146f2bc).

    Quirks: an expression without a prediction folder is left out of the mean, which raises the score; so is one whose
    annotation folder is missing; a missing or ill-sized frame crashes a worker and leaves the expression out; of two
    expressions of one object with the same exp_id, the later overwrites the earlier.
    """

    id = "reasonvos@official"
    words = (
        "ReasonVOS as VideoLISA's script: mean over the expressions that have a prediction folder; "
        "missing ones are left out, which raises the score."
    )
    source = "showlab/VideoLISA@146f2bc evaluation/reason_vos/eval_reason_vos.py"
    dataset_name = "reasonvos"
    traits: ClassVar[Mapping[Trait, str]] = {
        **_SCRIPT_TRAITS,
        "ground truth": "reads the object's own masks",
        "frames": "scores the annotated frames",
        "missing": "leaves an expression with anything missing out of the mean",
    }

    def score_video(
        self,
        dataset: RVOSDataset,
        video_id: str,
        predictions: ExpressionPredictions | MergedPredictions,
        per_frame: bool = False,
    ) -> list[UnitScore]:
        scores = super().score_video(dataset, video_id, predictions, per_frame)
        samples = dataset.samples_of(video_id)
        last = {dataset.prediction_path(sample): sample.key for sample in samples}
        overwriters = [last[dataset.prediction_path(sample)] for sample in samples]
        return [
            score if key == score.unit.key else _overwritten(score, key)
            for score, key in zip(scores, overwriters, strict=True)
        ]

    def before_frames(self, dataset: RVOSDataset, entries: Sequence[Entry], predictions: ExpressionPredictions) -> None:
        super().before_frames(dataset, entries, predictions)
        for entry in entries:
            if entry.verdict is None and predictions.frame_names(entry.sample) is None:
                folder = dataset.prediction_path(entry.sample)
                _leave_out(entry, "missing", f"{folder} not found, not taken into the mean", "left-out")


class MeViSOfficial(ScriptProtocol):
    """MeViS' tools/eval_mevis.py (henghuiding/MeViS@7c0620b).

    Quirks: every expression of a video without a prediction folder scores 0, but a missing expression folder in a
    present video crashes a worker and leaves the expression out; the size of the arrays is that of the prediction
    ``00000.png``, whatever the first frame is called; a missing or ill-sized frame crashes. Frames of another size
    pass as long as the ground truth holds nothing in them.
    """

    id = "mevis@official"
    words = (
        "MeViS as its official script: a video without predictions scores 0; an expression with a missing or broken "
        "file is left out of the mean, which raises the score."
    )
    source = "henghuiding/MeViS@7c0620b tools/eval_mevis.py"
    dataset_name = "mevis"
    traits: ClassVar[Mapping[Trait, str]] = {
        **_SCRIPT_TRAITS,
        "ground truth": "reads the union of the annotations named",
        "frames": "scores all listed frames",
        "missing": "counts a missing video as 0 but leaves an expression with a missing file out of the mean",
    }

    def before_frames(self, dataset: RVOSDataset, entries: Sequence[Entry], predictions: ExpressionPredictions) -> None:
        super().before_frames(dataset, entries, predictions)
        video_is_there = _has_video_folder(dataset, entries, predictions)
        for entry in entries:
            if entry.verdict is not None:
                continue
            if not video_is_there:
                self.judge_missing_video(dataset, entry)
                continue
            try:
                entry.size = packed_prediction(predictions, entry.sample, "00000", self.foreground).shape
            except (PredictionMissing, PredictionInvalid) as error:
                _crash(entry, _NO_FIRST_FRAME, error)

    def judge_missing_video(self, dataset: RVOSDataset, entry: Entry) -> None:
        """A video without a prediction folder."""
        reason = f"{dataset.prediction_path(entry.sample).parts[0]} not found; the script counts it as 0"
        n = len(entry.truth) if entry.truth is not None else 0
        entry.verdict = UnitScore(entry.unit, "missing", J=0.0, F=0.0, n_frames=n, reason=reason)


class MeViSVideoLISA(MeViSOfficial):
    """VideoLISA's copy of the script, evaluation/mevis_val_u/eval_mevis.py (showlab/VideoLISA@146f2bc).

    As ``mevis@official``, but a video without a prediction folder is left out of the mean.
    """

    id = "mevis@videolisa"
    words = (
        "MeViS as VideoLISA's copy of the script: videos without predictions, and expressions with a missing or "
        "broken file, are left out of the mean, which raises the score."
    )
    source = "showlab/VideoLISA@146f2bc evaluation/mevis_val_u/eval_mevis.py"
    traits: ClassVar[Mapping[Trait, str]] = {
        **MeViSOfficial.traits,
        "missing": "leaves an expression with anything missing out of the mean",
    }

    def judge_missing_video(self, dataset: RVOSDataset, entry: Entry) -> None:
        folder = dataset.prediction_path(entry.sample).parts[0]
        _leave_out(entry, "missing", f"{folder} not found, not taken into the mean", "left-out")


def _has_video_folder(dataset: RVOSDataset, entries: Sequence[Entry], predictions: ExpressionPredictions) -> bool:
    if any(predictions.frame_names(entry.sample) is not None for entry in entries):
        return True
    folder = dataset.prediction_path(entries[0].sample).parts[0]
    return (predictions.path / folder).is_dir()  # there, though it holds none of the expressions


def _crash(entry: Entry, text: str, error: PredictionError | None = None) -> None:
    reason = f"the script crashes: {text}" + (f" ({error})" if error else "")
    status: Status = "missing" if isinstance(error, PredictionMissing) and not entry.J else "failed"
    _leave_out(entry, status, reason, "script-crash")


def _leave_out(entry: Entry, status: Status, reason: str, flag: str) -> None:
    entry.verdict = UnitScore(entry.unit, status, J=None, F=None, counted=False, flags=(flag,), reason=reason)


def _overwritten(score: UnitScore, key: str) -> UnitScore:
    reason = f"the script overwrites its score with that of {key}, which has the same exp_id"
    return replace(score, counted=False, flags=(*score.flags, "overwritten"), reason=reason)


def _shape(size: tuple[int, ...]) -> str:
    return f"({size[0]},{size[1]})"

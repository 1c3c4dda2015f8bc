"""What a score is made of: which object was chosen, how good its mask is, and where the rest of J was lost.

``analyse`` reads the same masks and the same ground truth as the protocol does and looks at every frame of every
sentence. A frame has one cause of loss, so the parts of a sample sum to 1 - J exactly:

    frame                                                                   its loss 1 - J_t goes to
    no usable mask (missing, unreadable, of another size)                   ``unusable``
    the target is absent and something is predicted                         ``false_positive``
    the target is present and nothing is predicted                          ``missed``
    the prediction overlaps the target at least as well as any other
    annotated object, and by at least 0.1 (intersection over union)         ``boundary``
    it lies elsewhere, and an earlier frame lay on the target               ``identity_switch``
    it lies elsewhere, and no earlier frame lay on the target               ``wrong_object``

A sample's parts are the means over its scored frames. ``elsewhere`` is on another annotated object or on none: a mask
of the whole picture, or a scrap of the ground, is no mask of the target with a bad boundary.

The *selection* of a sample is right where, of the target and all annotated objects that do not belong to it, the
target has the largest intersection over union with the prediction, both summed over the frames, and at least 0.1; of
a sentence without a target, where nothing is predicted in any frame. It is None where the video has no other annotated
object.

*Language sensitivity* is J minus the J that the same masks have for the other sentences of their video (mean over all
other sentences): 0 for a model that answers every sentence alike. Beside it stands the best that can be had on the
data without reading: perfect masks of the one object per video that fits its sentences best.

Jitter and the first correct frame are defined in ``over_time``.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.errors import PredictionInvalid, PredictionMissing, ProtocolError, RunError, UsageError
from ..datasets.registry import load
from ..datasets.types import BoolMask, Masklet, MaskSource, RVOSDataset, Sample
from .evaluator import Plan, choose_protocols
from .intervals import Interval, clustered_interval
from .machine import worker_count
from .over_time import CORRECT, Timeline
from .predictions import ExpressionPredictions, MergedPredictions, RunMasks, as_expressions, open_predictions
from .protocols.base import Protocol
from .protocols.per_expression import PerExpressionProtocol
from .results import MOST_GROUPS, Table, percent, shown
from .runs import Run, is_run
from .scheduler import run_tasks

if TYPE_CHECKING:
    from matplotlib.figure import Figure

PARTS = ("wrong_object", "identity_switch", "missed", "false_positive", "boundary", "unusable")
"""The causes of loss, in the order of the columns of tables and plots."""
WORDS = {
    "wrong_object": "wrong object",
    "identity_switch": "identity switch",
    "missed": "missed while present",
    "false_positive": "false positive while absent",
    "boundary": "boundary",
    "unusable": "no usable mask",
}
_SHORT = dict(zip(PARTS, ("wrong", "switch", "missed", "false pos.", "boundary", "unusable"), strict=True))
TWIN = "twin_"
"""Tags that begin so name pairs: two samples with equal values are twins, whose answers differ."""
LEAST_OVERLAP = 0.1
"""Intersection over union below which a mask is not of an object."""
_QUARTERS = 4
_Matrix = NDArray[np.float64]


@dataclass(frozen=True)
class UnitAnalysis:
    """What one sentence's score is made of.

    Attributes:
        key, video_id: of the sample.
        tags: of the expression, with ``kind`` and ``form``.
        J: mean over the scored frames, 0-1.
        parts: cause of loss -> its share, 0-1; they sum to 1 - J.
        selected: id of the best-overlapping annotated object; ``target`` for the target itself, "" where nothing
            overlaps by ``LEAST_OVERLAP``.
        right: whether the selection is right; None where the video has no other annotated object.
        J_permuted: mean J of these masks for the other sentences of the video; None where it is the only one.
        J_text_blind: J of perfect masks of the object that fits the video's sentences best; None without objects.
        n_frames: scored frames.
        jitter: how much more the masks change from frame to frame than their target, 0-1; None without two frames.
        first_correct: the first frame with J >= 0.5 of those in which the target is, from 0; None where none is.
        delay: the same as a share of them, 1 where none is; None where the target is in no frame.
    """

    key: str
    video_id: str
    tags: Mapping[str, str | int | float | bool]
    J: float
    parts: Mapping[str, float]
    selected: str
    right: bool | None
    J_permuted: float | None
    J_text_blind: float | None
    n_frames: int
    jitter: float | None = None
    first_correct: int | None = None
    delay: float | None = None


@dataclass(frozen=True)
class Analysis:
    """The analysis of one set of predictions under one protocol.

    Attributes:
        protocol: its id.
        dataset: ``name/split``.
        predictions: where the masks are.
        units: one per sentence that has ground truth.
        failed: videos whose analysis raised, with the reason.
    """

    protocol: str
    dataset: str
    predictions: str
    units: tuple[UnitAnalysis, ...]
    failed: Mapping[str, str] = field(default_factory=dict)

    # Values -------------------------------------------------------------------------------------------------------

    @property
    def J(self) -> Interval:
        """Mean J with its interval, clustered by video."""
        return _mean(self.units, [u.J for u in self.units])

    def part(self, name: str) -> Interval:
        """Mean loss of one cause (one of ``PARTS``)."""
        return _mean(self.units, [u.parts[name] for u in self.units])

    @property
    def selection_accuracy(self) -> Interval:
        """Share of sentences whose best-overlapping object is the target, of those that have a choice."""
        return _mean(*_known(self.units, lambda u: u.right))

    @property
    def mask_quality(self) -> Interval:
        """Mean J of the sentences with a right selection."""
        return _mean(*_known(self.units, lambda u: u.J if u.right else None))

    @property
    def language_sensitivity(self) -> Interval:
        """Mean of J minus the J of the same masks for the video's other sentences."""
        return _mean(*_known(self.units, lambda u: None if u.J_permuted is None else u.J - u.J_permuted))

    @property
    def text_blind(self) -> Interval:
        """Mean J of the best single object per video: what perfect masks reach without reading."""
        return _mean(*_known(self.units, lambda u: u.J_text_blind))

    @property
    def jitter(self) -> Interval:
        """Mean of how much more the masks change from frame to frame than their targets."""
        return _mean(*_known(self.units, lambda u: u.jitter))

    @property
    def found(self) -> Interval:
        """Share of the sentences whose target is found in some frame, of those whose target is in any."""
        return _mean(*_known(self.units, lambda u: None if u.delay is None else u.first_correct is not None))

    @property
    def delay(self) -> Interval:
        """Mean share of a target's frames before the first correct one; 1 where there is none."""
        return _mean(*_known(self.units, lambda u: u.delay))

    def pair_accuracy(self) -> dict[str, Interval]:
        """For every kind of twin the share of pairs in which both selections are right."""
        names = dict.fromkeys(name for u in self.units for name in u.tags if name.startswith(TWIN))
        return {name.removeprefix(TWIN): _pairs_right(self.units, name) for name in names}

    def groups(self) -> dict[str, dict[str, list[UnitAnalysis]]]:
        """Units by tag and value; numbers of many values in quarters, texts of many values left out."""
        names = dict.fromkeys(name for u in self.units for name in u.tags if not name.startswith(TWIN))
        found = {name: _grouped(self.units, name) for name in names}
        return {name: groups for name, groups in found.items() if 2 <= len(groups) <= MOST_GROUPS}

    # Forms --------------------------------------------------------------------------------------------------------

    def tables(self) -> list[Table]:
        """Selection and sensitivity, where J is lost, behaviour over time, twins, and a break-down by every tag."""
        pairs = tuple((name, shown(v), str(v.n_clusters)) for name, v in self.pair_accuracy().items())
        twins = [Table("Both of a pair right", ("twin", "pair accuracy", "pairs"), pairs)] if pairs else []
        groups = [_by(name, group) for name, group in self.groups().items()]
        return [self._choice_table(), self._loss_table(), self._time_table(), *twins, *groups]

    def _choice_table(self) -> Table:
        rows = (
            ("J", shown(self.J)),
            ("selection accuracy", shown(self.selection_accuracy)),
            ("J where the selection is right", shown(self.mask_quality)),
            ("language sensitivity of these masks", shown(self.language_sensitivity)),
            ("perfect masks without reading", shown(self.text_blind)),
        )
        return Table("What the score is made of", ("", "value"), rows)

    def _loss_table(self) -> Table:
        lost = 1 - (self.J.value or 0.0)
        rows = [(WORDS[p], shown(self.part(p)), _share(self.part(p).value, lost)) for p in PARTS]
        return Table("Where J is lost", ("cause", "loss", "share"), (*rows, ("sum = 1 - J", percent(lost), "")))

    def _time_table(self) -> Table:
        frames = [u.first_correct for u in self.units if u.first_correct is not None]
        rows = (
            ("jitter: change from frame to frame beyond the target's own", shown(self.jitter)),
            (f"target found in some frame (J >= {CORRECT})", shown(self.found)),
            ("share of the target's frames before that", shown(self.delay)),
            ("frames before that, median of those found", f"{np.median(frames):g}" if frames else "–"),
        )
        return Table("Over time", ("", "value"), rows)

    def __str__(self) -> str:
        head = f"{self.protocol} on {self.dataset}: {self.predictions}, {len(self.units)} sentences"
        failed = [f"Failed: {video}: {reason}" for video, reason in self.failed.items()]
        return "\n\n".join(["\n".join([head, *failed]), *(table.to_text() for table in self.tables())])

    def to_markdown(self) -> str:
        """The tables as Markdown."""
        head = f"`{self.protocol}` on `{self.dataset}`, {len(self.units)} sentences"
        return "\n\n".join([head, *(table.to_markdown() for table in self.tables())]) + "\n"

    def to_json(self, units: bool = True) -> str:
        """All values as JSON, 0-1, the summary first; ``units`` adds a record per sentence."""
        names = ["J", "selection_accuracy", "mask_quality", "language_sensitivity", "text_blind"]
        names += ["jitter", "found", "delay"]
        summary: dict[str, Any] = {name: asdict(getattr(self, name)) for name in names}
        summary["parts"] = {name: asdict(self.part(name)) for name in PARTS}
        summary["pair_accuracy"] = {name: asdict(value) for name, value in self.pair_accuracy().items()}
        summary["by"] = {
            name: {value: _brief(group) for value, group in groups.items()} for name, groups in self.groups().items()
        }
        data: dict[str, Any] = {
            "protocol": self.protocol,
            "dataset": self.dataset,
            "predictions": self.predictions,
            "failed": dict(self.failed),
            "summary": summary,
        }
        if units:
            data["units"] = [asdict(u) for u in self.units]
        return json.dumps(data, indent=1, ensure_ascii=False) + "\n"

    def plot(self, path: Path | str) -> None:
        """Draw where J is lost, over all sentences and by kind and family where they are tagged, into a PNG."""
        figure = self._figure()
        figure.savefig(Path(path), dpi=110, bbox_inches="tight")

    def _figure(self) -> Figure:
        from matplotlib.figure import Figure

        groups = self.groups()
        bars = {"all": list(self.units)}
        for name in ("kind", "family", "depth"):
            bars |= {f"{name}: {value}": group for value, group in groups.get(name, {}).items()}
        figure = Figure(figsize=(9, 1.3 + 0.36 * len(bars)))
        axes = figure.subplots()
        _draw_bars(axes, bars)
        axes.set_title(f"{self.protocol} on {self.dataset}: J and where the rest is lost", fontsize=10)
        return figure


def analyse(
    predictions: str | os.PathLike[str] | Run | ExpressionPredictions,
    dataset: RVOSDataset | str | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    protocol: str | Protocol | None = None,
    threshold: float | None = None,
    layout: str | None = None,
    workers: int | None = None,
) -> Analysis:
    """Take predictions apart: selection, mask quality, causes of loss, language sensitivity.

    Args:
        predictions: a folder, archive or JSON file in any layout with a mask per expression; a run that holds masks;
            or predictions that are already open.
        dataset: a dataset or its name as ``name/split``; a run knows its own.
        root: the dataset's folder.
        protocol: one that scores expressions (it says which masks are the ground truth and how grey values are
            read); by default the dataset's own.
        threshold, layout: how prediction files are read, as in ``evaluate``.
        workers: processes; by default what the machine allows.

    Raises:
        ProtocolError: a protocol that matches objects, or label maps in which overlaps are lost.
        RvosError: where data or predictions cannot be used.
    """
    masks, data, limit = _opened(predictions, dataset, root, threshold, layout)
    job = _Job(data, _expression_protocol(protocol, data), masks)
    plan = Plan(data, job.protocol, limit)
    videos, tags = plan.videos, {unit.key: unit.tags for units in plan.units.values() for unit in units}
    found: dict[int, list[UnitAnalysis]] = {}
    failed: dict[str, str] = {}
    for outcome in run_tasks(analyse_video, job, videos, worker_count(workers, len(videos))):
        if outcome.value is None:
            failed[videos[outcome.index]] = outcome.error
        else:
            found[outcome.index] = outcome.value
    units = tuple(replace(unit, tags=tags[unit.key]) for index in sorted(found) for unit in found[index])
    return Analysis(job.protocol.id, data.id, str(masks.path), units, failed)


@dataclass(frozen=True)
class _Job:
    dataset: RVOSDataset
    protocol: PerExpressionProtocol
    predictions: ExpressionPredictions


def _opened(
    predictions: Any,
    dataset: RVOSDataset | str | None,
    root: str | os.PathLike[str] | None,
    threshold: float | None,
    layout: str | None,
) -> tuple[ExpressionPredictions, RVOSDataset, int | None]:
    """The masks, the data they answer, and how many videos they cover where not all."""
    if isinstance(predictions, (str, os.PathLike)) and is_run(predictions):
        predictions = Run.open(predictions)
    limit = None
    if isinstance(predictions, Run):
        made_on, limit = predictions.record.dataset, predictions.record.limit
        dataset, root = dataset or made_on.id, root or made_on.root
        if not predictions.masks.is_dir():
            raise RunError(f"{predictions.path} holds no masks (no folder masks/); give the predictions it scored.")
        predictions = RunMasks(predictions.masks)
    if dataset is None:
        raise UsageError("Which dataset was predicted? Give it as name/split, e.g. rvos diagnose FOLDER mevis/valid_u.")
    data = dataset if isinstance(dataset, RVOSDataset) else load(dataset, root=root)
    if not isinstance(predictions, (ExpressionPredictions, MergedPredictions)):
        predictions = open_predictions(predictions, data, threshold=threshold, layout=layout)
    return as_expressions(predictions), data, limit


def _expression_protocol(asked: str | Protocol | None, dataset: RVOSDataset) -> PerExpressionProtocol:
    chosen = choose_protocols(asked, dataset)
    for protocol in chosen:
        if isinstance(protocol, PerExpressionProtocol):
            return protocol
    raise ProtocolError(
        f"{chosen[0].id} matches objects with masks, so a sentence has no score of its own to take apart; "
        "name a protocol that scores expressions (rvos protocols)."
    )


# One video ------------------------------------------------------------------------------------------------------------


def analyse_video(job: _Job, video_id: str) -> list[UnitAnalysis]:
    """The analyses of a video's sentences, read frame by frame. Raises where the ground truth cannot be read."""
    samples = [s for s in job.dataset.samples_of(video_id)]
    truths = [job.protocol.ground_truth(job.dataset, s) for s in samples]
    asked = [(s, t) for s, t in zip(samples, truths, strict=True) if t is not None]
    if not asked:
        return []
    video = _Video(job, [s for s, _ in asked], [t for _, t in asked])
    for name in video.names:
        video.look_at(name)
    return video.units()


class _Video:
    """Sums over the frames of one video, for every sentence and every candidate.

    Candidates are the distinct ground truths and the annotated objects, numbered together. All arrays are
    (sentences, candidates) or (candidates, candidates).
    """

    def __init__(self, job: _Job, samples: Sequence[Sample], truths: Sequence[Masklet]) -> None:
        self.job, self.samples, self.truths = job, samples, truths
        self.objects = job.dataset.objects(samples[0].video)
        numbers: dict[MaskSource, int] = {}
        self.target = [numbers.setdefault(t.source, len(numbers)) for t in truths]
        self.object = {name: numbers.setdefault(m.source, len(numbers)) for name, m in self.objects.items()}
        masklets = {m.source: m for m in (*truths, *self.objects.values())}
        self.candidates = [masklets[source] for source in numbers]
        self.index = [{name: i for i, name in enumerate(m.frame_names)} for m in self.candidates]
        self.names = list(dict.fromkeys(name for t in truths for name in t.frame_names))
        shape = (len(samples), len(self.candidates))
        self.inter, self.union, self.J_sum, self.J_count = (np.zeros(shape) for _ in range(4))
        pairs = (len(self.candidates), len(self.candidates))
        self.own_sum, self.own_count = np.zeros(pairs), np.zeros(pairs)
        self.losses: list[dict[str, list[float]]] = [{p: [] for p in PARTS} for _ in samples]
        self.J: list[list[float]] = [[] for _ in samples]
        self.timelines = [Timeline() for _ in samples]
        self.was_on_target = [False] * len(samples)
        self.silent = [True] * len(samples)

    def rivals(self, i: int) -> dict[str, int]:
        """The annotated objects that do not belong to the target of sentence ``i``."""
        meant = set(self.samples[i].expression.object_ids or ())
        return {n: c for n, c in self.object.items() if n not in meant and c != self.target[i]}

    def look_at(self, name: str) -> None:
        """Add one frame."""
        shown, voids = self._candidates_at(name)
        shape = next((m.shape for m in shown.values()), None)
        if shape is None:
            return
        void = np.logical_or.reduce(voids) if voids else None
        order = list(shown)
        known = _flat([shown[c] for c in order], void)
        guesses = {i: self._prediction(i, name, shape) for i, t in enumerate(self.target) if t in shown}
        usable = [i for i, guess in guesses.items() if guess is not None]
        masks = _flat([g for g in guesses.values() if g is not None], void)
        inter, union = _overlaps(masks, known)
        frame_J = _ratio(inter, union)
        self._add_pairs(order, known)
        rows, columns = np.array(usable, int)[:, None], np.array(order, int)[None, :]
        if usable:
            self.inter[rows, columns] += inter
            self.union[rows, columns] += union
            self.J_sum[rows, columns] += frame_J
        asked = np.array(list(guesses), int)[:, None]
        self.J_count[asked, columns] += 1
        position = {c: k for k, c in enumerate(order)}
        for i, guess in guesses.items():
            if guess is None:
                self._lose(i, "unusable", 0.0)
            else:
                row = usable.index(i)
                self._judge(i, frame_J[row], position, masks[row].any(), known)
            mask = None if guess is None else masks[usable.index(i)]
            self.timelines[i].add(known[position[self.target[i]]], mask, self.J[i][-1])

    def _candidates_at(self, name: str) -> tuple[dict[int, BoolMask], list[BoolMask]]:
        """The masks of the candidates that are annotated in this frame, and the pixels that the protocol leaves out."""
        shown: dict[int, BoolMask] = {}
        voids = []
        for c, masklet in enumerate(self.candidates):
            if name not in self.index[c]:
                continue
            mask = masklet.mask(self.index[c][name])
            if mask is not None:
                shown[c] = mask
                void = masklet.void(self.index[c][name]) if c in self.target else None
                voids += [] if void is None else [void]
        return shown, voids

    def _prediction(self, i: int, name: str, shape: tuple[int, ...]) -> BoolMask | None:
        """The sentence's mask; None where there is no usable one."""
        try:
            mask = self.job.predictions.mask(self.samples[i], name, self.job.protocol.foreground)
        except (PredictionMissing, PredictionInvalid):
            return None
        return mask if mask.shape == shape else None

    def _judge(
        self,
        i: int,
        J: NDArray[np.float64],
        position: Mapping[int, int],
        says_something: bool,
        known: NDArray[np.float32],
    ) -> None:
        """Find the cause of a frame's loss."""
        own = position[self.target[i]]
        present = bool(known[own].any())
        self.silent[i] &= not says_something
        best_rival = max((J[position[c]] for c in self.rivals(i).values() if c in position), default=0.0)
        on_target = present and J[own] >= max(best_rival, LEAST_OVERLAP)
        if not present:
            cause = "false_positive"
        elif not says_something:
            cause = "missed"
        elif on_target:
            cause = "boundary"
        else:
            cause = "identity_switch" if self.was_on_target[i] else "wrong_object"
        self.was_on_target[i] |= on_target
        self._lose(i, cause, float(J[own]))

    def _lose(self, i: int, cause: str, J: float) -> None:
        self.J[i].append(J)
        self.losses[i][cause].append(1.0 - J)

    def _add_pairs(self, order: Sequence[int], known: NDArray[np.float32]) -> None:
        """J of every candidate for every other one, as if it were a prediction."""
        grid = np.ix_(order, order)
        self.own_sum[grid] += _ratio(*_overlaps(known, known))
        self.own_count[grid] += 1

    # The sums as analyses -----------------------------------------------------------------------------------------

    def units(self) -> list[UnitAnalysis]:
        """One analysis per sentence that has scored frames."""
        blind = self._text_blind()
        return [self._unit(i, blind) for i in range(len(self.samples)) if self.J[i]]

    def _unit(self, i: int, blind: NDArray[np.float64] | None) -> UnitAnalysis:
        sample, n = self.samples[i], len(self.J[i])
        selected, right = self._selection(i)
        return UnitAnalysis(
            key=sample.key,
            video_id=sample.video.id,
            tags=sample.expression.tags,
            J=float(np.mean(self.J[i])),
            parts={p: float(np.sum(self.losses[i][p])) / n for p in PARTS},
            selected=selected,
            right=right,
            J_permuted=self._permuted(i),
            J_text_blind=None if blind is None else float(blind[i]),
            n_frames=n,
            jitter=self.timelines[i].jitter,
            first_correct=self.timelines[i].first_correct,
            delay=self.timelines[i].delay,
        )

    def _selection(self, i: int) -> tuple[str, bool | None]:
        rivals = self.rivals(i)
        overlaps = {name: self._tube_overlap(i, c) for name, c in rivals.items()}
        best = max(overlaps, key=lambda name: overlaps[name], default="")
        own = self._tube_overlap(i, self.target[i])
        if own >= max(LEAST_OVERLAP, overlaps.get(best, 0.0)):
            return "target", True if rivals else None
        selected = best if overlaps.get(best, 0.0) >= LEAST_OVERLAP else ""
        if self.samples[i].expression.object_ids == ():
            return selected, self.silent[i]
        return selected, False if rivals else None

    def _tube_overlap(self, i: int, c: int) -> float:
        """Intersection over union, both summed over the frames."""
        return float(self.inter[i, c] / self.union[i, c]) if self.union[i, c] else 0.0

    def _permuted(self, i: int) -> float | None:
        """Mean J of these masks for the other sentences' targets, over the frames that both are annotated in."""
        others = [self.target[k] for k in range(len(self.samples)) if k != i and self.J_count[i, self.target[k]]]
        values = [self.J_sum[i, c] / self.J_count[i, c] for c in others]
        return float(np.mean(values)) if values else None

    def _text_blind(self) -> NDArray[np.float64] | None:
        """J of the best single object of the video for every sentence."""
        if not self.object:
            return None
        J = _ratio(self.own_sum, self.own_count)[:, self.target]
        return J[max(self.object.values(), key=lambda c: float(J[c].mean()))]


def _flat(masks: Sequence[BoolMask], void: BoolMask | None) -> NDArray[np.float32]:
    """float32 (n, H * W) of 0 and 1, without the pixels that do not count."""
    if not masks:
        return np.zeros((0, 0), np.float32)
    kept = [mask if void is None else mask & ~void for mask in masks]
    return np.stack([mask.ravel() for mask in kept]).astype(np.float32)


def _overlaps(a: NDArray[np.float32], b: NDArray[np.float32]) -> tuple[_Matrix, _Matrix]:
    """Intersections and unions in pixels, float64 (n, m). Sums of 0 and 1 are exact up to 2**24 pixels a mask."""
    if not len(a) or not len(b):
        return np.zeros((len(a), len(b))), np.zeros((len(a), len(b)))
    exact = np.float32 if a.shape[1] < 1 << 24 else np.float64
    a, b = a.astype(exact, copy=False), b.astype(exact, copy=False)
    inter = (a @ b.T).astype(np.float64)
    return inter, a.sum(axis=1, dtype=np.float64)[:, None] + b.sum(axis=1, dtype=np.float64)[None, :] - inter


def _ratio(part: _Matrix, whole: _Matrix) -> _Matrix:
    """part / whole, 1 where the whole is 0, as J counts two empty masks."""
    return np.divide(part, whole, out=np.ones_like(part), where=whole > 0)


# Means and groups -----------------------------------------------------------------------------------------------------


def _known(units: Sequence[UnitAnalysis], value: Any) -> tuple[list[UnitAnalysis], list[float]]:
    found = [(u, value(u)) for u in units]
    return [u for u, v in found if v is not None], [float(v) for _, v in found if v is not None]


def _mean(units: Sequence[UnitAnalysis], values: Sequence[float]) -> Interval:
    return clustered_interval(values, [u.video_id for u in units])


def _pairs_right(units: Sequence[UnitAnalysis], tag: str) -> Interval:
    """Share of pairs with both selections right; pairs are what varies, so each is a cluster of its own."""
    pairs: dict[str, list[bool]] = {}
    for unit in units:
        if tag in unit.tags and unit.right is not None:
            pairs.setdefault(str(unit.tags[tag]), []).append(unit.right)
    whole = {name: rights for name, rights in pairs.items() if len(rights) == 2}
    return clustered_interval([float(all(rights)) for rights in whole.values()], list(whole))


def _grouped(units: Sequence[UnitAnalysis], tag: str) -> dict[str, list[UnitAnalysis]]:
    tagged = [u for u in units if tag in u.tags]
    values = {u.tags[tag] for u in tagged}
    numeric = all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in values)
    if numeric and len(values) > MOST_GROUPS:
        return _quarters(tagged, tag)
    ordered = sorted(values) if numeric else sorted(values, key=str)
    return {str(value): [u for u in tagged if u.tags[tag] == value] for value in ordered}


def _quarters(units: Sequence[UnitAnalysis], tag: str) -> dict[str, list[UnitAnalysis]]:
    """Four groups of about equal size by a number."""
    values = np.array([float(u.tags[tag]) for u in units])
    edges = np.unique(np.quantile(values, np.linspace(0, 1, _QUARTERS + 1)))
    places = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, max(len(edges) - 2, 0))
    groups: dict[str, list[UnitAnalysis]] = {}
    for k in range(len(edges) - 1):
        groups[f"{edges[k]:g} to {edges[k + 1]:g}"] = [u for u, p in zip(units, places, strict=True) if p == k]
    return {name: group for name, group in groups.items() if group}


def _brief(units: Sequence[UnitAnalysis]) -> dict[str, Any]:
    right = [u.right for u in units if u.right is not None]
    return {
        "n": len(units),
        "J": float(np.mean([u.J for u in units])),
        "selection_accuracy": float(np.mean(right)) if right else None,
        "parts": {p: float(np.mean([u.parts[p] for u in units])) for p in PARTS},
    }


def _by(name: str, groups: Mapping[str, Sequence[UnitAnalysis]]) -> Table:
    rows = []
    for value, units in groups.items():
        brief = _brief(units)
        parts = [percent(brief["parts"][p]) for p in PARTS]
        rows.append((value, str(len(units)), percent(brief["selection_accuracy"]), percent(brief["J"]), *parts))
    return Table(f"By {name}", (name, "n", "selection", "J", *_SHORT.values()), tuple(rows))


def _share(part: float | None, lost: float) -> str:
    return "" if part is None or lost <= 0 else f"{100 * part / lost:.0f} %"


def _draw_bars(axes: Any, bars: Mapping[str, Sequence[UnitAnalysis]]) -> None:
    """Stacked bars: J in green, then the causes of loss; together 100."""
    colours = ("#3a9d5d", "#c0392b", "#e67e22", "#7f8c8d", "#8e44ad", "#5dade2", "#2c3e50")
    names = list(bars)[::-1]
    left = np.zeros(len(names))
    briefs = [_brief(bars[name]) for name in names]
    layers = [("J", [b["J"] for b in briefs]), *((WORDS[p], [b["parts"][p] for b in briefs]) for p in PARTS)]
    for (label, values), colour in zip(layers, colours, strict=True):
        widths = 100 * np.array(values)
        axes.barh(range(len(names)), widths, left=left, color=colour, label=label)
        left += widths
    axes.set_yticks(range(len(names)), [f"{n} ({len(bars[n])})" for n in names], fontsize=8)
    axes.set_xlim(0, 100)
    axes.legend(
        fontsize=7, ncols=4, loc="upper center", bbox_to_anchor=(0.5, -0.02 - 0.6 / (len(names) + 1)), frameon=False
    )

"""From predictions to a result: ``evaluate`` for files and runs, ``Evaluator`` for training loops.

Both let the protocol score one video after the other with its own ``score_video`` and form the means with its own
``aggregate``, so the arithmetic is one.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ..datasets.errors import ProtocolError, RunError, UsageError
from ..datasets.types import RVOSDataset, Sample
from .bounds import Truth, cached_bounds
from .machine import worker_count
from .metrics import warm_up
from .predictions import (
    ExpressionPredictions,
    MemoryPredictions,
    MergedPredictions,
    MergeRule,
    RunMasks,
    as_expressions,
    as_merged,
    open_predictions,
)
from .protocols import default_protocols, get_protocol, protocols_for
from .protocols.base import Metric, Protocol, Summary, Unit, UnitScore, unit_metric
from .results import Result
from .runs import PredictionLine, PredictionsRecord, Run, SummaryRecord, is_run, new_record
from .scheduler import run_tasks

Predictions = ExpressionPredictions | MergedPredictions


@dataclass(frozen=True)
class Progress:
    """Where an evaluation stands.

    Attributes:
        task: what is being scored, e.g. ``mevis@1`` or ``ceiling of mevis@1``.
        done: videos scored so far, of ``total``.
        metric: what the protocol ranks units by.
        value: its mean over the units counted so far, 0-1; None before the first.
    """

    task: str
    done: int
    total: int
    metric: str
    value: float | None


def evaluate(
    predictions: str | os.PathLike[str] | Run | Predictions,
    dataset: RVOSDataset | str | None = None,
    *,
    root: str | os.PathLike[str] | None = None,
    protocol: str | Protocol | Sequence[str | Protocol] | None = None,
    out: str | os.PathLike[str] | None = None,
    workers: int | None = None,
    resume: bool = False,
    threshold: float | None = None,
    layout: str | None = None,
    merge_rule: MergeRule | None = None,
    per_frame: bool = False,
    limit: int | None = None,
    bounds: bool = False,
    progress: Callable[[Progress], None] | None = None,
) -> Result | list[Result]:
    """Score predictions under one or several protocols.

    Args:
        predictions: a prediction folder, archive or JSON file in any layout that rvos reads; a run of ``predict``;
            or predictions that are already open.
        dataset: a dataset or its name as ``name/split``; a run knows its own.
        root: the dataset's folder, where ``dataset`` is a name or comes from the run.
        protocol: an id, several, or ``all`` that apply; by default the dataset's own (for Ref-DAVIS-17 Hungarian and
            per-expression side by side).
        out: the run folder that scores are written to; with several protocols one folder per id below it. A run of
            ``predict`` keeps its scores itself; scores under further protocols lie in folders named by their ids.
            By default nothing is written for other predictions.
        workers: processes; by default one per core that affinity, cgroup quota and memory allow. Results do not
            depend on it.
        resume: continue the run in ``out``; scored videos are kept, failed ones tried again.
        threshold: share of the largest value (0-1] from which grey or soft values are foreground.
        layout: how to read ``predictions`` where it cannot be told from the files.
        merge_rule: how masks of single expressions become label maps for the protocols that score those.
        per_frame: keep J and F of every frame.
        limit: score only the first ``limit`` videos; the result says that it is partial.
        bounds: also score a perfect and an empty predictor, the protocol's ceiling and floor on this data; kept in
            the user's cache.
        progress: called after every video.

    Returns:
        A result; a list of them where several protocols were asked for.

    Raises:
        RvosError: where data, predictions or protocol cannot be used, or a folder cannot be written.
        KeyboardInterrupt: after what was finished is saved and the run marked ``interrupted``.
    """
    source = _source(predictions)
    data = _dataset(source, dataset, root)
    limit = _limit(limit, source)
    chosen = choose_protocols(protocol, data)
    options = _Options(workers, resume, threshold, merge_rule, per_frame, limit, bounds, progress)
    named = protocol is not None and protocol != "all"
    jobs, refusals = _jobs(chosen, _opened(source, data, threshold, layout), data, options, named)
    folders = _folders(source, out, [job.protocol.id for job in jobs], several=len(chosen) > 1)
    results = [_evaluate_one(job, source, f, refusals, options) for job, f in zip(jobs, folders, strict=True)]
    return _verified(jobs, results) if len(chosen) > 1 else results[0]


@dataclass(frozen=True)
class _Options:
    workers: int | None
    resume: bool
    threshold: float | None
    merge_rule: MergeRule | None
    per_frame: bool
    limit: int | None
    bounds: bool
    progress: Callable[[Progress], None] | None


# One protocol ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ScoringJob:
    """What scoring any video needs; picklable, sent to each worker once."""

    dataset: RVOSDataset
    protocol: Protocol
    predictions: Predictions
    per_frame: bool = False


def score_video(job: ScoringJob, video_id: str) -> list[UnitScore]:
    """Scores of a video's units, with the time spent shared among them. Raises what the protocol raises."""
    start = time.perf_counter()
    scores = job.protocol.score_video(job.dataset, video_id, job.predictions, job.per_frame)
    share = (time.perf_counter() - start) / max(1, len(scores))
    return [replace(s, seconds=s.seconds or share) for s in scores]


class Plan:
    """The units that a run must end with, by video, and what the model did not manage.

    Attributes:
        units: by video, in the protocol's order; with a limit those of the dataset's first videos.
    """

    def __init__(
        self, dataset: RVOSDataset, protocol: Protocol, limit: int | None = None, notes: Sequence[PredictionLine] = ()
    ) -> None:
        wanted = {video.id for video in dataset.videos[:limit]}
        self._protocol = protocol
        self.units: dict[str, list[Unit]] = {}
        for unit in protocol.units(dataset):
            if unit.video_id in wanted:
                self.units.setdefault(unit.video_id, []).append(_with_tags(unit, dataset))
        self._failures = {(n.video_id, n.expression_id): n.reason for n in notes if n.status == "failed"}

    @property
    def videos(self) -> list[str]:
        return list(self.units)

    def completed(self, video_id: str, scores: Sequence[UnitScore] | None, error: str = "") -> list[UnitScore]:
        """One score for every unit of the video, whatever scoring gave; what it did not give has ``failed``."""
        found = {s.unit.key: s for s in scores or ()}
        reason = error or "the protocol gave no score for it"
        return [
            self._with_failure(replace(found[u.key], unit=u)) if u.key in found else self._protocol.failed(u, reason)
            for u in self.units[video_id]
        ]

    def kept(self, scores: Sequence[UnitScore], per_frame: bool = False) -> list[UnitScore]:
        """The scores of videos that need no second look: all units are there, with their frames where these are asked
        for, and none failed while being scored."""
        found = {s.unit.key: s for s in scores if s.status != "failed" and (s.frame_J or s.J is None or not per_frame)}
        done = [[found[u.key] for u in units] for units in self.units.values() if all(u.key in found for u in units)]
        return [score for video in done for score in video]

    def in_order(self, scores: Sequence[UnitScore]) -> list[UnitScore]:
        """The scores in the protocol's order."""
        found = {s.unit.key: s for s in scores}
        return [found[u.key] for units in self.units.values() for u in units]

    def _with_failure(self, score: UnitScore) -> UnitScore:
        """A unit without predictions because the model raised has ``failed``, with what the model said."""
        reason = self._failures.get((score.unit.video_id, score.unit.expression_id or ""))
        if score.status != "missing" or reason is None:
            return score
        return replace(score, status="failed", reason=f"the model raised: {reason}")


def _with_tags(unit: Unit, dataset: RVOSDataset) -> Unit:
    """The unit with its expression's kind and form among its tags, so that results break down by them."""
    if unit.expression_id is None:
        return unit
    expression = dataset.sample(f"{unit.video_id}/{unit.expression_id}").expression
    tags: dict[str, Any] = {**expression.tags, "kind": expression.kind}
    if expression.is_sentence is not None:
        tags["form"] = "sentence" if expression.is_sentence else "phrase"
    return replace(unit, tags={**tags, **unit.tags})


def _evaluate_one(
    job: ScoringJob, source: Source, folder: Path | None, notes: Sequence[str], options: _Options
) -> Result:
    plan = Plan(job.dataset, job.protocol, options.limit, source.predictions() if isinstance(source, Run) else ())
    record = _predictions_record(job.predictions, options.threshold, notes)
    if folder is None:
        scores = [s for video in _scored(job, plan, plan.videos, options) for s in video]
        return _result(job, plan.in_order(scores), record, options)
    run = _run(job, source, folder, record, options)
    kept = plan.kept(run.scores(), job.per_frame) if options.resume else []
    run.replace_scores(kept)
    with _ending_noted(run):
        ordered = plan.in_order(kept + _scored_into(run, job, plan, kept, options))
        summary = _summary(job, ordered, options)
    run.replace_scores(ordered)
    run.finish(summary)
    return Result(run.record, tuple(ordered), run.path)


def _scored_into(
    run: Run, job: ScoringJob, plan: Plan, kept: Sequence[UnitScore], options: _Options
) -> list[UnitScore]:
    """Score what is left and write each video's lines as they come."""
    finished = {s.unit.video_id for s in kept}
    todo = [v for v in plan.videos if v not in finished]
    scores: list[UnitScore] = []
    with closing(_scored(job, plan, todo, options, kept)) as videos:
        for video in videos:
            run.append(video)
            scores += video
    return scores


@contextmanager
def _ending_noted(run: Run) -> Iterator[None]:
    """Write into the run how its scoring ended where that is not well; a folder that cannot be written stays."""
    try:
        yield
    except KeyboardInterrupt:
        run.save(status="interrupted", reason="stopped by Ctrl-C")
        raise
    except RunError:
        raise
    except Exception as error:
        run.save(status="failed", reason=str(error))
        raise


def _scored(
    job: ScoringJob,
    plan: Plan,
    videos: Sequence[str],
    options: _Options,
    kept: Sequence[UnitScore] = (),
    task: str = "",
) -> Generator[list[UnitScore], None, None]:
    """The scores of each video as it is ready, in any order."""
    meter = _Meter(task or job.protocol.id, unit_metric(job.protocol.metrics), len(plan.units), options.progress)
    meter.add(len(plan.units) - len(videos), kept)
    workers = worker_count(options.workers, len(videos))
    if workers > 1:
        warm_up()  # so that workers find the loops compiled, instead of each compiling them
    with closing(run_tasks(score_video, job, videos, workers)) as outcomes:
        for outcome in outcomes:
            scores = plan.completed(videos[outcome.index], outcome.value, outcome.error)
            yield scores
            meter.add(1, scores)


class _Meter:
    """Keeps the running mean that a progress bar shows."""

    def __init__(self, task: str, metric: Metric, total: int, report: Callable[[Progress], None] | None) -> None:
        self.task, self.metric, self.total, self.report = task, metric, total, report
        self.done, self.size, self.sum = 0, 0.0, 0.0

    def add(self, videos: int, scores: Sequence[UnitScore]) -> None:
        pairs = self.metric.pairs(scores)
        self.done += videos
        self.sum, self.size = self.sum + sum(p[1] for p in pairs), self.size + sum(p[2] for p in pairs)
        if self.report is not None:
            value = self.sum / self.size if self.size else None
            self.report(Progress(self.task, self.done, self.total, self.metric.name, value))


def _result(job: ScoringJob, scores: Sequence[UnitScore], predictions: PredictionsRecord, options: _Options) -> Result:
    record = new_record(job.dataset, job.protocol, predictions=predictions, limit=options.limit)
    record.summary = _summary(job, scores, options)
    record.status = "finished"
    return Result(record, tuple(scores))


def _summary(job: ScoringJob, scores: Sequence[UnitScore], options: _Options) -> SummaryRecord:
    summary = SummaryRecord.of(job.protocol, job.protocol.aggregate(scores), scores)
    summary.stamps = _stamps(job.protocol, scores, options)
    if options.bounds:
        bounds = cached_bounds(job.dataset, job.protocol, options.limit, lambda p: _bound(job, p, options))
        if bounds is not None:
            summary.ceiling, summary.floor = bounds.ceiling, bounds.floor
    return summary


def _bound(job: ScoringJob, predictions: Truth, options: _Options) -> Summary:
    """What the protocol gives the ground truth, or empty masks, in place of the predictions."""
    plan = Plan(job.dataset, job.protocol, options.limit)
    name = "floor" if predictions.empty else "ceiling"
    videos = _scored(
        replace(job, predictions=predictions), plan, plan.videos, options, task=f"{name} of {job.protocol.id}"
    )
    return job.protocol.aggregate(plan.in_order([s for video in videos for s in video]))


def _predictions_record(predictions: Predictions, threshold: float | None, notes: Sequence[str]) -> PredictionsRecord:
    return PredictionsRecord(
        path=str(predictions.path),
        layout=predictions.layout,
        merge_rule=getattr(predictions, "merge_rule", None),
        threshold=threshold,
        notes=list(notes),
    )


# What was given -------------------------------------------------------------------------------------------------------

Source = Run | Path | ExpressionPredictions | MergedPredictions


def _source(predictions: Any) -> Source:
    if isinstance(predictions, (str, os.PathLike)) and not isinstance(predictions, Run):
        path = Path(predictions)
        return _whole(Run.open(path)) if is_run(path) else path
    return _whole(predictions) if isinstance(predictions, Run) else predictions


def _whole(run: Run) -> Run:
    """The run. Raises UsageError for one shard of several: its score would be that of a part nobody named."""
    if run.record.shard is not None:
        raise UsageError(
            f"{run.path} holds {run.record.extent}; join the shards first: rvos runs merge SHARD SHARD ... --out RUN"
        )
    return run


def _dataset(source: Source, dataset: RVOSDataset | str | None, root: str | os.PathLike[str] | None) -> RVOSDataset:
    if isinstance(dataset, RVOSDataset):
        return dataset
    from ..datasets.registry import load

    if dataset is not None:
        return load(dataset, root=root)
    if isinstance(source, Run):
        made_on = source.record.dataset
        return load(made_on.id, root=root or made_on.root)
    raise UsageError("Which dataset was predicted? Give it as name/split, e.g. rvos.evaluate(path, 'mevis/valid_u').")


def _limit(limit: int | None, source: Source) -> int | None:
    if limit is not None and limit < 1:
        raise UsageError(f"The limit is {limit}; give a number of videos, at least 1.")
    return source.record.limit if limit is None and isinstance(source, Run) else limit


def choose_protocols(asked: str | Protocol | Sequence[str | Protocol] | None, dataset: RVOSDataset) -> list[Protocol]:
    """The protocols asked for; None for the dataset's own, ``all`` for every one that applies.

    Raises:
        UnknownNameError: no such protocol.
        ProtocolError: it does not apply to the dataset.
    """
    if asked == "all":
        return protocols_for(dataset)
    if asked is None:
        chosen = default_protocols(dataset)
    else:
        names = [asked] if isinstance(asked, (str, Protocol)) else list(asked)
        chosen = [get_protocol(name) if isinstance(name, str) else name for name in names]
    for protocol in chosen:
        obstacle = protocol.applies_to(dataset)
        if obstacle:
            raise ProtocolError(obstacle)
    return chosen


def _jobs(
    protocols: Sequence[Protocol], predictions: Predictions, dataset: RVOSDataset, options: _Options, explicit: bool
) -> tuple[list[ScoringJob], list[str]]:
    """A job for each protocol that can read the predictions, and why others cannot.

    Raises:
        ProtocolError: where a protocol that was named, or every one, cannot.
    """
    jobs, refusals = [], []
    for protocol in protocols:
        try:
            files = as_asked(protocol, predictions, dataset, options.merge_rule)
        except ProtocolError as error:
            if explicit or len(protocols) == 1:
                raise
            refusals.append(f"Not scored under {protocol.id}: {error}")
        else:
            jobs.append(ScoringJob(dataset, protocol, files, options.per_frame))
    if not jobs:
        raise ProtocolError(refusals[0])
    return jobs, refusals


def as_asked(
    protocol: Protocol, predictions: Predictions, dataset: RVOSDataset, rule: MergeRule | None = None
) -> Predictions:
    """The predictions in the form that the protocol scores: masks per expression, or merged label maps.

    Raises:
        ProtocolError: label maps for a protocol that scores expressions.
    """
    return as_merged(predictions, dataset, rule) if protocol.merged else as_expressions(predictions)


def _opened(source: Source, dataset: RVOSDataset, threshold: float | None, layout: str | None) -> Predictions:
    if isinstance(source, Run):
        if not source.masks.is_dir():
            raise RunError(f"{source.path} holds no masks to score (no folder masks/); give the predictions it scored.")
        return RunMasks(source.masks)
    if isinstance(source, Path):
        return open_predictions(source, dataset, threshold=threshold, layout=layout)
    if threshold is not None or layout is not None:
        raise UsageError("threshold and layout are for prediction files; these predictions are open already.")
    return source


# Run folders ----------------------------------------------------------------------------------------------------------


def _folders(
    source: Source, out: str | os.PathLike[str] | None, ids: Sequence[str], several: bool
) -> list[Path | None]:
    """Where each protocol's scores go; None for nowhere."""
    if out is not None:
        return [Path(out) / name if several else Path(out) for name in ids]
    if not isinstance(source, Run):
        return [None] * len(ids)
    own = source.record.protocol.id if source.record.protocol else ids[0]
    return [source.path if name == own else source.path / name for name in ids]


def _run(job: ScoringJob, source: Source, folder: Path, record: PredictionsRecord, options: _Options) -> Run:
    """The run that the scores go to: the run of the masks itself, or one of its own."""
    if isinstance(source, Run) and folder == source.path:
        source.start_scoring(job.dataset, job.protocol, record)
        return source
    # Below a run of masks, scores are derived and may be computed anew at any time.
    derived = isinstance(source, Run) and source.path in folder.parents
    predictor = source.record.predictor if isinstance(source, Run) else None
    return Run.create(
        folder,
        job.dataset,
        protocol=job.protocol,
        predictor=predictor,
        predictions=record,
        limit=options.limit,
        resume=options.resume or derived,
    )


# Training loops -------------------------------------------------------------------------------------------------------


class Evaluator:
    """Collects masks inside a training loop and scores them with the arithmetic of ``evaluate``.

        evaluator = Evaluator(dataset, "mevis@1")
        evaluator.update(sample, frame_index, mask)        # on every rank, in any order
        evaluator.merge(other)                             # evaluators gathered from the other ranks; picklable
        result = evaluator.compute()
        evaluator.reset()                                  # before the next epoch

    Masks are held as RLE. The first mask of a (sample, frame) stays, so a sample that a padded sampler shows twice
    counts once. What was never given is missing and counts as wrong.
    """

    def __init__(self, dataset: RVOSDataset, protocol: str | Protocol) -> None:
        """Raises ProtocolError where the protocol does not apply to the dataset."""
        self.dataset = dataset
        self.protocol = choose_protocols(protocol, dataset)[0]
        self.predictions = MemoryPredictions()

    def update(self, sample: Sample | str, frame_index: int, mask: Any) -> None:
        """Take one mask.

        Args:
            sample: the sample or its key.
            frame_index: index into the video's scored frames.
            mask: bool or integer (H, W) at the video's size, or float logits (h, w) on any device.

        Raises:
            UnknownNameError: no such sample in the dataset.
            PredictionInvalid: shape or dtype do not fit, or logits hold NaN.
            IndexError: the video has no such frame.
        """
        known = self.dataset.sample(sample if isinstance(sample, str) else sample.key)
        self.predictions.update(known, frame_index, mask)

    def merge(self, other: Evaluator) -> None:
        """Take over what another process collected.

        Raises:
            UsageError: where it works on other data or under another protocol.
        """
        mine = (self.protocol.id, self.dataset.id, self.dataset.fingerprint)
        theirs = (other.protocol.id, other.dataset.id, other.dataset.fingerprint)
        if mine != theirs:
            raise UsageError(f"Only evaluators of one protocol and dataset can be merged, found {mine} and {theirs}.")
        self.predictions.merge(other.predictions)

    def compute(self, per_frame: bool = False) -> Result:
        """The result over the whole dataset, scored in this process."""
        result = evaluate(self.predictions, self.dataset, protocol=self.protocol, workers=1, per_frame=per_frame)
        assert isinstance(result, Result)
        return result

    def reset(self) -> None:
        """Forget all masks."""
        self.predictions = MemoryPredictions()


# Stamps ---------------------------------------------------------------------------------------------------------------


def _stamps(protocol: Protocol, scores: Sequence[UnitScore], options: _Options) -> list[str]:
    """What a strict result may say of the script's number where nothing is missing; ``_verified`` has the last word."""
    complete = options.limit is None and all(s.status == "ok" and not s.flags for s in scores)
    if not (protocol.strict and protocol.equals and complete and options.threshold is None):
        return []
    return [f"Nothing is missing: {protocol.equals} gives the same number where it reads the files alike."]


def _verified(jobs: Sequence[ScoringJob], results: Sequence[Result]) -> list[Result]:
    """Where the script-named protocol was scored too, say whether the values are equal."""
    by_id = {r.protocol.id: r for r in results}
    for job, result in zip(jobs, results, strict=True):
        script = by_id.get(job.protocol.equals)
        if not result.summary.stamps or script is None:
            continue
        if _same_values(result, script):
            result.summary.stamps = [f"Nothing is missing: equals the official script ({script.protocol.id})."]
        else:
            result.summary.stamps.clear()
            result.summary.warnings.append(f"Differs from {script.protocol.id} although nothing is missing.")
        if result.path is not None:
            Run(result.path, result.record).save()
    return list(results)


def _same_values(one: Result, other: Result) -> bool:
    pairs = [(value.value, other.value(name)) for name, value in one.summary.values.items()]
    return all(a == b or (a is not None and b is not None and abs(a - b) <= 1e-12) for a, b in pairs)

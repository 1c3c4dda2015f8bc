"""The predict engine: a model goes over a dataset video by video, and its masks go to a run folder.

A video is the unit of work. Its masks are written as one file when it ends, and after that its lines; a video counts
as finished where both are there. Whatever stops a run, the finished videos stay and the next call predicts the others,
with the same masks as if nothing had happened. Any number of processes, on any machines that share the disk, may call
``predict`` for one folder at once: they share the videos out among themselves (``work``, ``leases``).
"""

from __future__ import annotations

import inspect
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, get_args

from ..datasets.errors import RunError, UsageError
from ..datasets.types import RVOSDataset, Video
from .answers import Answer, ask
from .costs import CostMeter
from .live_score import LiveScore
from .predictions.run_masks import write_video_masks
from .predictor import Predictor, as_predictor
from .prefetch import Prefetcher
from .progress import SegmentProgress
from .runs import PredictionLine, PredictorRecord, Run
from .work import Resume, Work, at_work

__all__ = ["ATTEMPTS", "Resume", "describe", "predict", "progress_of"]

#: A video at which so many processes of one session died is given up: its sentences have failed.
ATTEMPTS = 3


def predict(
    model: Any,
    dataset: RVOSDataset | str,
    *,
    root: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str],
    resume: Resume = "only-missing",
    limit: int | None = None,
    shard: str | None = None,
    progress: bool = True,
    predictor: PredictorRecord | None = None,
) -> Run:
    """Ask a model for the masks of every sentence of a dataset and write them to a run folder.

    A sentence for which the model raises, or gives masks that cannot be used, is noted with its reason in
    ``predictions.jsonl`` and the rest goes on. Memory holds the encoded masks of one video and a few frames, the next
    of which are decoded while the model works (``prefetch``). Where other processes predict into the same folder, this
    one shares the videos with them and returns when all are done.

    Args:
        model: an object with ``segment(video, expressions)`` or a function ``(video, text) -> (T, H, W)``. One that
            counts its tokens has an attribute ``tokens_used``, an int that only grows.
        dataset: a dataset, or its name as ``name/split``, e.g. ``mevis/valid_u``.
        root: the dataset's folder, where ``dataset`` is a name.
        out: the run folder; made where it does not exist.
        resume: what to do with a run that is already there.
        limit: only the first ``limit`` videos; the run says that it is partial.
        shard: only part ``i/n`` of the videos; shards go to folders of their own and are joined by ``merge_runs``.
        progress: show a progress bar on standard error.
        predictor: what the run records about the model; by default what ``model.describe()`` gives, else its name.

    Returns:
        The run, with status ``finished``; its scores come from ``rvos.evaluate``.

    Raises:
        TypeError: where ``model`` is neither an object with ``segment`` nor a function.
        UsageError: for other arguments that make no sense.
        RunError: where the folder holds another run or cannot be written (a full disk); finished videos stay.
        KeyboardInterrupt: after the run is marked ``interrupted``.
    """
    _check_arguments(model, resume, limit)
    answering = as_predictor(model)
    data = _loaded(dataset, root)
    record = predictor or describe(model)
    with (
        at_work(Path(out), data, predictor=record, limit=limit, shard=shard, resume=resume) as work,
        progress_of(work, progress) as bar,
        Prefetcher(work.upcoming) as frames,
    ):
        for video, attempt in work.hand_out():
            work.finish(video, _predict_video(answering, work, frames.video(video), attempt))
            bar.advance(work.news())
    return work.run


def describe(model: Any) -> PredictorRecord:
    """What a run records about a model: ``model.describe()`` (a PredictorRecord or its fields), else its name."""
    if hasattr(model, "describe"):
        return PredictorRecord.model_validate(model.describe())
    named = model if hasattr(model, "__qualname__") else type(model)
    return PredictorRecord(name=f"{named.__module__}.{named.__qualname__}")


def progress_of(work: Work, shown: bool) -> SegmentProgress:
    """The bar of a run at work; what others have finished before this process joined counts as finished."""
    n_before = len(work.news())
    score = LiveScore(work.dataset, work.run.masks) if shown else None
    n_todo = _sentences(work.dataset, work.todo) - n_before
    return SegmentProgress(_sentences(work.dataset, work.videos), n_todo, shown=shown, score=score)


def _predict_video(predictor: Predictor, work: Work, video: Video, attempt: int) -> list[PredictionLine]:
    """Segment one video, write its masks, and return its lines."""
    expressions = [sample.expression for sample in work.dataset.samples_of(video.id)]
    meter = CostMeter(predictor)
    if attempt > ATTEMPTS:
        death = RunError(f"the process died {attempt - 1} times at this video; out of memory?")
        answers = [Answer.cut_short(video, expression, death) for expression in expressions]
    else:
        answers = ask(predictor, video, expressions)
    cost = meter.read()
    masks = {a.expression.id: a.rles for a in answers if a.error is None}
    write_video_masks(work.run.masks, video, masks)
    return [answer.line(video, cost, 1 / len(expressions)) for answer in answers]


# What was given -------------------------------------------------------------------------------------------------------


def _check_arguments(model: Any, resume: str, limit: int | None) -> None:
    check_extent(resume, limit)
    if inspect.isclass(model):
        raise UsageError(f"predict() needs a model, found the class {model.__name__}; make one: {model.__name__}(...).")
    if isinstance(model, str):
        raise UsageError(
            f"predict() needs a model, found the name '{model}'; make it with "
            f"rvos.baselines.registry.make_predictor('{model}', dataset)."
        )


def check_extent(resume: str, limit: int | None) -> None:
    """Raises UsageError for values that mean nothing."""
    if resume not in get_args(Resume):
        raise UsageError(f"resume must be one of {', '.join(get_args(Resume))}, found '{resume}'.")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is a number of videos, at least 1, found {limit}.")


def _loaded(dataset: RVOSDataset | str, root: str | os.PathLike[str] | None) -> RVOSDataset:
    if isinstance(dataset, RVOSDataset):
        return dataset
    from ..datasets.registry import load

    return load(dataset, root=root)


def _sentences(dataset: RVOSDataset, videos: Sequence[Video]) -> int:
    return sum(len(dataset.samples_of(video.id)) for video in videos)

"""The predict engine: a model goes over a dataset video by video, and its masks go to a run folder.

A video is the unit of work. Its masks are written as one file when it ends, and after that its lines in
``predictions.jsonl``; a video counts as finished where both are there. Whatever stops a run, the finished videos stay
and the next call predicts the others, with the same masks as if nothing had happened.
"""

from __future__ import annotations

import inspect
import os
import sys
import time
import traceback
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np

from ..datasets.errors import PredictionInvalid, RunError, RvosError, UsageError
from ..datasets.masks import Rle, encode_rle
from ..datasets.types import Expression, RVOSDataset, Sample, Video
from .predictions.run_masks import video_masks_path, write_video_masks
from .predictor import Predictor, as_predictor, to_mask
from .progress import SegmentProgress
from .runs import PredictionLine, PredictionStatus, PredictorRecord, Run, RunStatus, is_run

#: What to do with a run that is already in the folder.
#:  ``only-missing``  predict the videos that are not finished, and those where the model raised; keep the others
#:  ``always``        predict every video again, replacing its masks one by one
#:  ``never``         refuse to touch it
Resume = Literal["only-missing", "always", "never"]


def predict(
    model: Any,
    dataset: RVOSDataset | str,
    *,
    root: str | os.PathLike[str] | None = None,
    out: str | os.PathLike[str],
    resume: Resume = "only-missing",
    limit: int | None = None,
    progress: bool = True,
    predictor: PredictorRecord | None = None,
) -> Run:
    """Ask a model for the masks of every sentence of a dataset and write them to a run folder.

    A sentence for which the model raises, or gives masks that cannot be used, is noted with its reason in
    ``predictions.jsonl`` and the rest goes on. Memory holds the encoded masks of one video.

    Args:
        model: an object with ``segment(video, expressions)`` or a function ``(video, text) -> (T, H, W)``.
        dataset: a dataset, or its name as ``name/split``, e.g. ``mevis/valid_u``.
        root: the dataset's folder, where ``dataset`` is a name.
        out: the run folder; made where it does not exist.
        resume: what to do with a run that is already there.
        limit: only the first ``limit`` videos; the run says that it is partial.
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
    asked = data.videos[:limit]
    before = Run.open(out).record if is_run(out) else None
    run = Run.create(
        out,
        data,
        predictor=predictor or describe(model),
        limit=None if len(asked) == len(data.videos) else limit,
        resume=resume != "never",
    )
    todo = _start(run, data, asked, resume)
    if not todo and before is not None:
        run.record = before  # with the scores that it may hold
    with _status_kept(run), SegmentProgress(_sentences(data, asked), _sentences(data, todo), shown=progress) as bar:
        for video in todo:
            bar.advance(_predict_video(answering, run, data, video))
    run.save(status="finished")
    return run


def describe(model: Any) -> PredictorRecord:
    """What a run records about a model: ``model.describe()`` (a PredictorRecord or its fields), else its name."""
    if hasattr(model, "describe"):
        return PredictorRecord.model_validate(model.describe())
    named = model if hasattr(model, "__qualname__") else type(model)
    return PredictorRecord(name=f"{named.__module__}.{named.__qualname__}")


# One video ------------------------------------------------------------------------------------------------------------


@dataclass
class Answer:
    """What the model gave for one sentence.

    Attributes:
        expression: the sentence.
        rles: a COCO RLE per frame; None where there is no usable mask.
        empty: per frame, whether its mask holds no pixel.
        problem: the first mask that could not be used, in words.
        error: what ended the answer before all frames were there.
    """

    expression: Expression
    rles: list[Rle | None]
    empty: list[bool]
    problem: str = ""
    error: Exception | None = None

    def line(self, video: Video, seconds: float) -> PredictionLine:
        """The sentence's line in ``predictions.jsonl``."""
        status, reason = self.verdict(video)
        return PredictionLine(
            key=Sample(video, self.expression).key,
            video_id=video.id,
            expression_id=self.expression.id,
            status=status,
            reason=reason,
            n_frames=len(video),
            n_empty_frames=sum(self.empty),
            seconds=round(seconds, 6),
            traceback="" if self.error is None else "".join(traceback.format_exception(self.error)),
        )

    def verdict(self, video: Video) -> tuple[PredictionStatus, str]:
        """The sentence's status and the reason why it is not ``ok``."""
        if self.error is not None:
            return ("invalid" if isinstance(self.error, PredictionInvalid) else "failed"), _words(self.error)
        missing = [i for i, rle in enumerate(self.rles) if rle is None]
        if not missing:
            return "ok", ""
        where = f"{len(missing)} of {len(video)} frames have no usable mask"
        if self.problem:
            return "invalid", f"{where}; {self.problem}"
        return "missing", f"{where}, the first is {video.frame_names[missing[0]]}: the model gave none."


def _predict_video(predictor: Predictor, run: Run, dataset: RVOSDataset, video: Video) -> list[PredictionLine]:
    """Segment one video, write its masks, then its lines."""
    expressions = [sample.expression for sample in dataset.samples_of(video.id)]
    begin = time.perf_counter()
    answers = _answers(predictor, video, expressions)
    seconds = (time.perf_counter() - begin) / len(expressions)
    masks = {a.expression.id: a.rles for a in answers if a.error is None}
    write_video_masks(run.masks, video, masks)
    lines = [answer.line(video, seconds) for answer in answers]
    run.append_predictions(lines)
    return lines


def _answers(predictor: Predictor, video: Video, expressions: Sequence[Expression]) -> list[Answer]:
    """The answers to all sentences; those that an exception cut short are asked again, each alone.

    So one sentence that a model cannot stand costs only its own score, not that of its video.
    """
    answers = _asked_together(predictor, video, expressions)
    if len(expressions) == 1:
        return answers
    return [a if a.error is None else _asked_together(predictor, video, [a.expression])[0] for a in answers]


def _asked_together(predictor: Predictor, video: Video, expressions: Sequence[Expression]) -> list[Answer]:
    answers = {e.id: Answer(e, [None] * len(video), [False] * len(video)) for e in expressions}
    try:
        size = video.size
        for item in predictor.segment(video, expressions):
            _take(answers, video, size, item)
    except Exception as error:  # whatever a model raises costs the sentences that it leaves open, nothing else
        for answer in answers.values():
            if None in answer.rles:
                answer.error = error
    return list(answers.values())


def _take(answers: dict[str, Answer], video: Video, size: tuple[int, int], item: Any) -> None:
    """Keep one (expression id, frame index, mask); a mask given twice replaces the earlier one.

    Raises:
        PredictionInvalid: where the item is not such a triple, or names a sentence or a frame that was not asked for.
    """
    expression_id, index = _address(answers, video, item)
    answer = answers[expression_id]
    try:
        mask = to_mask(item[2], size)
    except Exception as error:  # torch, numpy and to_mask each have their own ways to refuse an output
        answer.problem = answer.problem or f"frame {video.frame_names[index]}: {_words(error)}"
        return
    answer.rles[index], answer.empty[index] = encode_rle(mask), not mask.any()


def _address(answers: Mapping[str, Answer], video: Video, item: Any) -> tuple[str, int]:
    if not isinstance(item, tuple) or len(item) != 3:
        raise PredictionInvalid(
            f"segment() must yield (expression id, frame index, mask), found {type(item).__name__} {str(item)[:60]!r}."
        )
    expression_id, index, _ = item
    if expression_id not in answers:
        raise PredictionInvalid(
            f"segment() gave a mask for expression {expression_id!r}; asked for: {', '.join(list(answers)[:10])}."
        )
    if not isinstance(index, (int, np.integer)) or not 0 <= index < len(video):
        raise PredictionInvalid(
            f"segment() gave a mask for frame {index!r} of video {video.id}; its frames are 0 to {len(video) - 1}."
        )
    return expression_id, int(index)


def _words(error: BaseException) -> str:
    """An exception in one line; those that rvos words itself stand without their type."""
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, RvosError) else f"{type(error).__name__}: {text}"


# The run --------------------------------------------------------------------------------------------------------------


def _check_arguments(model: Any, resume: str, limit: int | None) -> None:
    if resume not in get_args(Resume):
        raise UsageError(f"resume must be one of {', '.join(get_args(Resume))}, found '{resume}'.")
    if limit is not None and limit < 1:
        raise UsageError(f"limit is a number of videos, at least 1, found {limit}.")
    if inspect.isclass(model):
        raise UsageError(f"predict() needs a model, found the class {model.__name__}; make one: {model.__name__}(...).")
    if isinstance(model, str):
        raise UsageError(
            f"predict() needs a model, found the name '{model}'; make it with "
            f"rvos.baselines.registry.make_predictor('{model}', dataset)."
        )


def _loaded(dataset: RVOSDataset | str, root: str | os.PathLike[str] | None) -> RVOSDataset:
    if isinstance(dataset, RVOSDataset):
        return dataset
    from ..datasets.registry import load

    return load(dataset, root=root)


def _sentences(dataset: RVOSDataset, videos: Sequence[Video]) -> int:
    return sum(len(dataset.samples_of(video.id)) for video in videos)


def _start(run: Run, dataset: RVOSDataset, asked: Sequence[Video], resume: Resume) -> list[Video]:
    """The videos still to do; the log keeps the lines of the others only."""
    kept = {} if resume == "always" else finished_videos(run, dataset, asked)
    run.replace_predictions([line for lines in kept.values() for line in lines])
    return [video for video in asked if video.id not in kept]


def finished_videos(run: Run, dataset: RVOSDataset, videos: Sequence[Video]) -> dict[str, list[PredictionLine]]:
    """The lines of the videos whose masks and lines are all on disk and for which the model did not raise, by id."""
    lines: dict[str, list[PredictionLine]] = {}
    for line in run.predictions():
        lines.setdefault(line.video_id, []).append(line)
    return {video.id: lines[video.id] for video in videos if _is_finished(run, dataset, video, lines.get(video.id, []))}


def _is_finished(run: Run, dataset: RVOSDataset, video: Video, lines: Sequence[PredictionLine]) -> bool:
    complete = {line.key for line in lines} == {sample.key for sample in dataset.samples_of(video.id)}
    failed = any(line.status == "failed" for line in lines)
    return complete and not failed and video_masks_path(run.masks, video.id).exists()


@contextmanager
def _status_kept(run: Run) -> Iterator[None]:
    """Write into ``run.json`` how a run ended that did not finish."""
    try:
        yield
    except RunError as error:
        _save_if_possible(run, "failed", str(error))
        raise
    except BaseException as error:
        _save_if_possible(run, "interrupted", _words(error))
        raise


def _save_if_possible(run: Run, status: RunStatus, reason: str) -> None:
    """Save the status; where the disk does not take it, the error that stopped the run matters more."""
    try:
        run.save(status=status, reason=reason)
    except RunError as error:
        print(f"rvos: {error}", file=sys.stderr)

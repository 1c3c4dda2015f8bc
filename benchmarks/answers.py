"""What a model answers about one video, sentence by sentence, whatever it raises or gives instead of masks."""

from __future__ import annotations

import traceback
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ..datasets.errors import PredictionInvalid, RvosError
from ..datasets.masks import Rle, encode_rle
from ..datasets.types import Expression, Sample, Video
from .costs import Cost
from .predictor import Predictor, to_mask
from .runs import PredictionLine, PredictionStatus


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

    @classmethod
    def cut_short(cls, video: Video, expression: Expression, error: Exception) -> Answer:
        """No mask at all, because of ``error``."""
        return cls(expression, [None] * len(video), [False] * len(video), error=error)

    def line(self, video: Video, cost: Cost, share: float) -> PredictionLine:
        """The sentence's line in ``predictions.jsonl``; ``share`` of the video's cost is its own."""
        status, reason = self.verdict(video)
        return PredictionLine(
            key=Sample(video, self.expression).key,
            video_id=video.id,
            expression_id=self.expression.id,
            status=status,
            reason=reason,
            n_frames=len(video),
            n_empty_frames=sum(self.empty),
            seconds=round(cost.seconds * share, 6),
            peak_memory_mib=cost.peak_memory_mib,
            peak_cuda_mib=cost.peak_cuda_mib,
            tokens=None if cost.tokens is None else cost.tokens * share,
            traceback="" if self.error is None else "".join(traceback.format_exception(self.error)),
        )

    def verdict(self, video: Video) -> tuple[PredictionStatus, str]:
        """The sentence's status and the reason why it is not ``ok``."""
        if self.error is not None:
            return ("invalid" if isinstance(self.error, PredictionInvalid) else "failed"), one_line(self.error)
        missing = [i for i, rle in enumerate(self.rles) if rle is None]
        if not missing:
            return "ok", ""
        where = f"{len(missing)} of {len(video)} frames have no usable mask"
        if self.problem:
            return "invalid", f"{where}; {self.problem}"
        return "missing", f"{where}, the first is {video.frame_names[missing[0]]}: the model gave none."


def ask(predictor: Predictor, video: Video, expressions: Sequence[Expression]) -> list[Answer]:
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
        answer.problem = answer.problem or f"frame {video.frame_names[index]}: {one_line(error)}"
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


def one_line(error: BaseException) -> str:
    """An exception in one line; those that rvos words itself stand without their type."""
    text = " ".join(str(error).split())[:500]
    return text if isinstance(error, RvosError) else f"{type(error).__name__}: {text}"

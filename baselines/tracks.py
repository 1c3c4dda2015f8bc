"""Point tracks and boxes that language models write, made masks by SAM 2.

``tracks:FILE,SAM2`` reads a file of answers and scores a model that knows points only: Molmo and Molmo 2, what the
``rvos`` tasks of lmms-eval save, or anything in the plain form. One answer belongs to one sentence:

* plain: ``{"video_id": …, "expression_id": …, "points": [[t, x, y], …], "boxes": [[t, x0, y0, x1, y1], …]}``, a line or
  a list entry each, ``object`` optional to tell several objects apart;
* text: the same two ids and a model's answer as ``text``, in any of the notations below;
* lmms-eval: the ``<task>_submission_<time>.json`` that its ``rvos_*`` tasks write, a list of records with ``video``,
  ``qid``, ``expression``, ``tracks`` (points per frame number, in pixels of ``width`` x ``height``), or the samples
  that ``--log_samples`` writes, which hold the same record as ``rvos_f1``. A record belongs to the sentence of its
  video with the same words; among several with the same words, to the one whose id is ``qid``.

Notations: Molmo's ``<point x="…" y="…">`` and ``<points x1=… y1=… x2=…>`` in percent of the image, with ``t`` or
``time`` in seconds, and its lines ``time 0.5`` and ``{1: [x, y, "no"]}``; Molmo 2's ``<tracks coords="t id x y id x y;t
id x y">`` and ``<points coords=…>``, seconds and thousandths, also where the answer was cut off in the middle; JSON
``bbox_2d``, ``point_2d`` with ``time``.

Seconds become frames by the video's fps, or by ``fps`` where it states none; times of the plain form and of lmms-eval
are frame numbers.
Where the object is between its points, and whether it is there at all, SAM 2 decides. The published rows (Molmo 2,
lmms-eval) use ``facebook/sam2.1-hiera-large``.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..benchmarks.predictor import FrameMask
from ..datasets.errors import PredictionError, PredictionInvalid, PredictionMissing
from ..datasets.types import Expression, Video
from .pretrained import device_of, load_model, two_paths
from .sam2_prompts import ObjectPrompts, Prompt, Sam2Prompts, box_of

#: Frames a second where neither the video nor the file says: what lmms-eval and Molmo 2 sample RVOS videos at.
DEFAULT_FPS = 6.0


#: What a record of lmms-eval is called among the metrics of a logged sample.
LMMS_RECORD = "rvos_f1"


@dataclass(frozen=True)
class Mark:
    """A point (x, y) or a box (x0, y0, x1, y1) of one object at a time.

    Attributes:
        time: seconds from the first frame; frame number where ``in_frames``.
        values: two or four numbers, in units of ``scale`` per image side, or pixels where that is None.
    """

    time: float
    values: tuple[float, ...]
    object: str = "0"
    scale: float | None = None
    in_frames: bool = False

    def frame(self, video: Video, fps: float) -> int:
        """The nearest frame of the video."""
        number = self.time if self.in_frames else self.time * (video.fps or fps)
        return min(max(round(number), 0), len(video) - 1)

    def pixels(self, size: tuple[int, int]) -> tuple[float, ...]:
        """The values in pixels of an image of ``size`` (height, width)."""
        if self.scale is None:
            return self.values
        return tuple(v / self.scale * (size[1] if i % 2 == 0 else size[0]) for i, v in enumerate(self.values))


@dataclass(frozen=True)
class Answer:
    """What a model said about one sentence.

    Attributes:
        video_id: the video's.
        expression_id: the sentence's.
        marks: none mean that the model saw no target.
        text: the sentence's words, where the file has them; then they tell which sentence it is.
    """

    video_id: str
    expression_id: str
    marks: tuple[Mark, ...]
    text: str = ""


class Tracks:
    """Answers of a model as points and boxes, and SAM 2.

    Its score is that of the model's pointing, with SAM 2's masks.
    """

    def __init__(
        self,
        answers: Sequence[Answer],
        sam2: Sam2Prompts,
        source: str = "memory",
        fps: float = DEFAULT_FPS,
    ) -> None:
        """
        Args:
            answers: one a sentence, in any order.
            fps: of videos that do not state theirs.
        """
        self.answers, self.sam2, self.source, self.fps = answers, sam2, source, fps

    @classmethod
    def from_pretrained(cls, paths: str, device: str | None = None) -> Tracks:
        """Read ``FILE,SAM2``. Raises PredictionError, CheckpointError, UsageError."""
        file, sam2 = two_paths(paths, "as tracks:FILE,SAM2")
        answers = read_answers(Path(file))
        return cls(answers, Sam2Prompts(load_model(sam2, "Sam2VideoModel").to(device_of(device))), paths)

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        return {"name": "tracks", "arguments": {"paths": self.source}, "resolved_arguments": {"fps": self.fps}}

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        """Yield (expression id, frame index, bool (H, W)); a sentence without an answer stays without."""
        own = [answer for answer in self.answers if answer.video_id == video.id]
        found = {expression.id: answer_to(expression, own) for expression in expressions}
        objects = {name: prompts_of(a.marks, video, self.fps) for name, a in found.items() if a is not None}
        yield from self.sam2.segment_objects(video, objects)


def answer_to(expression: Expression, answers: Sequence[Answer]) -> Answer | None:
    """The answer to a sentence among those about its video; None where there is none."""
    words = _words(expression.text)
    fits = [a for a in answers if a.text and _words(a.text) == words] or [a for a in answers if not a.text]
    by_id = [a for a in fits if a.expression_id in (expression.id, expression.layout_id)]
    same_words = [a for a in fits if a.text]
    return next(iter(by_id or same_words), None)


def _words(text: str) -> str:
    """Without what converters change: case, spaces, the full stop."""
    return " ".join(text.lower().split()).rstrip(".")


def prompts_of(marks: Sequence[Mark], video: Video, fps: float = DEFAULT_FPS) -> list[ObjectPrompts]:
    """Marks as prompts of SAM 2, an entry an object; marks of one object on one frame are joined."""
    found: dict[str, dict[int, list[Mark]]] = {}
    for mark in marks:
        found.setdefault(mark.object, {}).setdefault(mark.frame(video, fps), []).append(mark)
    return [{index: _prompt(group, video.size) for index, group in frames.items()} for frames in found.values()]


def _prompt(marks: Sequence[Mark], size: tuple[int, int]) -> Prompt:
    points = tuple(_inside(v, size) for m in marks if len(v := m.pixels(size)) == 2)
    boxes = [m.pixels(size) for m in marks if len(m.values) == 4]
    return Prompt(points, box_of(boxes[0], size) if boxes else None)


def _inside(point: Sequence[float], size: tuple[int, int]) -> tuple[float, float]:
    return min(max(point[0], 0.0), size[1] - 1.0), min(max(point[1], 0.0), size[0] - 1.0)


# Files ----------------------------------------------------------------------------------------------------------------


def read_answers(path: Path) -> list[Answer]:
    """The answers in a JSON or JSON-lines file, in any of the forms above; several entries of a sentence are joined.

    Raises:
        PredictionMissing: no such file.
        PredictionInvalid: it is not JSON, or an entry names no sentence or holds no marks that can be read.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise PredictionMissing(f"{path}: no such file; expected the answers as JSON or JSON lines.") from None
    marks: dict[tuple[str, str, str], list[Mark]] = {}
    for number, entry in enumerate(_entries(path, text), 1):
        answer = _answer(entry, f"{path}, answer {number}")
        marks.setdefault((answer.video_id, answer.expression_id, answer.text), []).extend(answer.marks)
    return [Answer(video, sentence, tuple(found), words) for (video, sentence, words), found in marks.items()]


def _entries(path: Path, text: str) -> list[dict[str, Any]]:
    try:
        content = json.loads(text) if text.lstrip().startswith("[") else [json.loads(x) for x in text.splitlines() if x]
    except ValueError as error:
        raise PredictionInvalid(f"{path}: neither a JSON list nor JSON lines ({error}).") from error
    if not all(isinstance(entry, dict) for entry in content):
        raise PredictionInvalid(f"{path}: every answer must be a JSON object.")
    return content


def _answer(entry: Mapping[str, Any], place: str) -> Answer:
    """Raises PredictionInvalid."""
    record = entry.get(LMMS_RECORD, entry)
    if isinstance(record, dict) and "qid" in record and "video" in record:
        return _lmms_answer(record, place)
    if "video_id" not in entry or "expression_id" not in entry:
        raise PredictionInvalid(
            f"{place}: names neither video_id and expression_id nor, as lmms-eval, video and qid; "
            f"found {', '.join(entry)[:100]}."
        )
    names = str(entry["video_id"]), str(entry["expression_id"])
    if isinstance(entry.get("text"), str):
        return Answer(*names, tuple(parse_marks(entry["text"])))
    if "points" not in entry and "boxes" not in entry:
        raise PredictionInvalid(f"{place}: holds neither points nor boxes nor a text; found {', '.join(entry)[:100]}.")
    kinds = (("points", 3), ("boxes", 5))
    return Answer(*names, tuple(_plain(v, n, entry, place) for name, n in kinds for v in entry.get(name, [])))


def _lmms_answer(record: Mapping[str, Any], place: str) -> Answer:
    try:
        width, height = float(record["width"]), float(record["height"])
        marks = tuple(
            Mark(float(moment["frame"]), (x / width, y / height), str(name), scale=1.0, in_frames=True)
            for moment in record["tracks"] or ()
            for name, point in moment["points"].items()
            for x, y in [point["point"]]
        )
    except (KeyError, TypeError, ValueError, AttributeError, ZeroDivisionError) as error:
        raise PredictionInvalid(
            f"{place}: expected lmms-eval's tracks, a list of {{frame, points: {{id: {{point: [x, y]}}}}}}, with width "
            f"and height; {type(error).__name__}: {error}."
        ) from error
    return Answer(str(record["video"]), str(record["qid"]), marks, str(record.get("expression", "")))


def _plain(values: Any, count: int, entry: Mapping[str, Any], place: str) -> Mark:
    numbers = isinstance(values, list) and all(isinstance(v, (int, float)) for v in values)
    if not numbers or len(values) != count:
        raise PredictionInvalid(
            f"{place}: found {str(values)[:60]}, expected {count} numbers, the first a frame number."
        )
    return Mark(float(values[0]), tuple(map(float, values[1:])), str(entry.get("object", "0")), in_frames=True)


# Text -----------------------------------------------------------------------------------------------------------------

_NUMBER = r"-?\d+(?:\.\d+)?"
_TAG = re.compile(r"<(?:points?|tracks)\b([^>]*)(?:>|$)", re.IGNORECASE)
_ATTRIBUTE = re.compile(r"([a-z_]+\d*)\s*=\s*[\"']([^\"']*)(?:[\"']|$)", re.IGNORECASE)
_MOMENT = re.compile(rf"\btime\s+({_NUMBER})\s*\n\s*\{{([^}}]*)\}}", re.IGNORECASE)
_OBJECT = re.compile(rf"(\d+)[\"']?\s*:\s*[\[(]\s*({_NUMBER})\s*,\s*({_NUMBER})")
_JSON_MARK = re.compile(rf"\"(bbox_2d|point_2d|bbox|box|point)\"\s*:\s*\[\s*({_NUMBER}(?:\s*,\s*{_NUMBER})+)\s*\]")
_JSON_TIME = re.compile(rf"\"(?:time|t|timestamp)\"\s*:\s*\"?({_NUMBER})")


def parse_marks(text: str, scale: float | None = None) -> list[Mark]:
    """The points and boxes in a language model's answer; empty where it has none.

    Args:
        text: the answer.
        scale: what JSON coordinates count per image side (1000 for Qwen3-VL, 1 for shares); None for pixels. The tags
            bring their own.
    """
    marks: list[Mark] = []
    for body in _TAG.findall(text):
        attributes = {name.lower(): value for name, value in _ATTRIBUTE.findall(body)}
        marks += _track_marks(attributes) if "coords" in attributes else _point_marks(attributes)
    return marks or _moment_marks(text) or _json_marks(text, scale)


def _point_marks(attributes: Mapping[str, str]) -> list[Mark]:
    """``x``/``y`` or ``x1``/``y1``, ``x2``/``y2``, … in percent, each pair an object of its own."""
    time = _seconds(next((attributes[n] for n in ("t", "time", "timestamp") if n in attributes), "0"))
    marks = []
    for name, value in attributes.items():
        number = name[1:]
        if name.startswith("x") and (not number or number.isdigit()) and f"y{number}" in attributes:
            point = (float(value), float(attributes[f"y{number}"]))
            marks.append(Mark(time, point, number or "0", scale=100.0))
    return marks


def _track_marks(attributes: Mapping[str, str]) -> list[Mark]:
    """``t id x y id x y; t id x y`` in thousandths."""
    marks = []
    for part in re.split(r"[;:,\t\n]", attributes["coords"]):
        numbers = [float(n) for n in re.findall(_NUMBER, part)]
        for i in range(1, len(numbers) - 2, 3):
            marks.append(Mark(numbers[0], (numbers[i + 1], numbers[i + 2]), f"{numbers[i]:g}", scale=1000.0))
    return marks


def _moment_marks(text: str) -> list[Mark]:
    """``time 0.5`` and on the next line ``{1: [x, y, "no"]}``, in percent."""
    return [
        Mark(float(time), (float(x), float(y)), name, scale=100.0)
        for time, objects in _MOMENT.findall(text)
        for name, x, y in _OBJECT.findall(objects)
    ]


def _json_marks(text: str, scale: float | None) -> list[Mark]:
    marks: list[Mark] = []
    for part in re.split(r"(?<=\})", text):
        time = _JSON_TIME.search(part)
        for number, (_, values) in enumerate(_JSON_MARK.findall(part)):
            numbers = tuple(float(n) for n in re.findall(_NUMBER, values))
            if len(numbers) in (2, 4):
                marks.append(
                    Mark(float(time[1]) if time else 0.0, numbers, f"{len(marks) if not time else number}", scale)
                )
    return marks


def _seconds(text: str) -> float:
    """``83.5``, ``01:23.5`` or ``0:01:23.5``. Raises PredictionError."""
    try:
        seconds = 0.0
        for part in text.split(":"):
            seconds = 60 * seconds + float(part)
        return seconds
    except ValueError:
        raise PredictionError(f"'{text}' is no time in seconds or minutes:seconds.") from None

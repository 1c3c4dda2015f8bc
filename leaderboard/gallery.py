"""Pictures of what went wrong, and a report in Markdown that shows them."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ..benchmarks.predictions import ExpressionPredictions, MergedPredictions
from ..benchmarks.protocols.base import Unit, UnitScore
from ..benchmarks.results import Result, percent, rows_of
from ..datasets.config import replace_file
from ..datasets.errors import DatasetError, ImageError, PredictionError, RunError
from ..datasets.overlay import Image, draw_overlay, film_strip, outline, write_image
from ..datasets.types import BoolMask, Masklet, RVOSDataset, Sample

#: Frames of a video that are looked at to find the worst one.
FRAMES_SEARCHED = 16
GROUND_TRUTH = (0, 220, 90)
PREDICTION = (230, 60, 60)
#: So many pixels a frame is high in a picture.
HEIGHT = 240


@dataclass(frozen=True)
class Picture:
    """A picture file and what it shows, one line."""

    path: Path
    caption: str


def worst_pictures(
    result: Result,
    dataset: RVOSDataset,
    predictions: ExpressionPredictions | MergedPredictions,
    folder: Path,
    count: int = 8,
) -> list[Picture]:
    """Draw the counted units of lowest J&F (or what the protocol ranks units by), each in its worst frame.

    Left the frame, in the middle the ground truth, right the prediction in red with the ground truth's outline in
    green. Where the images are absent, masks are drawn over grey.

    Args:
        result: under any protocol.
        dataset: what was scored.
        predictions: what was scored, as ``open_predictions`` gives it.
        folder: made where it does not exist.
        count: how many units.

    Raises:
        RunError: the folder cannot be written.
        DatasetError, ImageError: ground truth cannot be read.
    """
    pictures = []
    for rank, score in enumerate(result.worst(count), 1):
        sample = _sample_of(score.unit, dataset)
        truth = None if sample is None else dataset.ground_truth(sample)
        if sample is not None and truth is not None:
            path = folder / f"{rank:02d}-{re.sub(r'[^A-Za-z0-9._-]+', '_', score.unit.key)[:80]}.png"
            _save(path, _draw(score, sample, truth, predictions))
            pictures.append(Picture(path, _caption(score, sample, result)))
    return pictures


def write_report(
    results: Mapping[str, Result],
    out: Path,
    gallery: Sequence[Picture] = (),
    title: str = "Results",
) -> Path:
    """A Markdown report: one table over all results, each result in full, pictures with their captions.

    Args:
        results: by the name under which each is shown, e.g. the predictor's.
        out: the file; its folder is made where it does not exist.
        gallery: pictures, referred to by paths relative to the report.
        title: the heading.

    Returns:
        The file. Raises RunError where it cannot be written.
    """
    parts = [f"# {title}", *dict.fromkeys(r.head()[0] for r in results.values())]
    parts.append(rows_of(list(results.values()), list(results)).to_markdown())
    if gallery:
        parts += ["## Pictures", "Frame, ground truth, prediction (red) with the outline of the ground truth (green)."]
        parts += [f"![{p.caption}]({_relative(p.path, out.parent)})\n\n{p.caption}" for p in gallery]
    for name, result in results.items():
        parts += [f"## {name}", result.to_markdown().rstrip()]
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        replace_file(out, "\n\n".join(parts) + "\n")
    except OSError as error:
        raise RunError(f"{out} cannot be written: {error.strerror or error}; give another file.") from error
    return out


# One picture ----------------------------------------------------------------------------------------------------------


def _draw(
    score: UnitScore, sample: Sample, truth: Masklet, predictions: ExpressionPredictions | MergedPredictions
) -> Image:
    index, target, mask = _worst_frame(score, sample, truth, predictions)
    frame, what_frame = _frame(sample, index, target)
    predicted = frame if mask is None or mask.shape != target.shape else draw_overlay(frame, [mask], [PREDICTION])
    predicted = predicted.copy()
    predicted[outline(target, 2)] = GROUND_TRUTH
    what = "prediction" if mask is not None else "no usable prediction"
    panels = [frame, draw_overlay(frame, [target], [GROUND_TRUTH]), predicted]
    return film_strip(panels, [what_frame, "ground truth", what], height=HEIGHT)


def _worst_frame(
    score: UnitScore, sample: Sample, truth: Masklet, predictions: ExpressionPredictions | MergedPredictions
) -> tuple[int, BoolMask, BoolMask | None]:
    """Index, ground truth and prediction of the frame of least overlap among annotated ones at even distances."""
    positions = {name: i for i, name in enumerate(truth.frame_names)}
    shared = [(i, positions[n]) for i, n in enumerate(sample.video.frame_names) if n in positions]
    worst: tuple[float, int, BoolMask, BoolMask | None] | None = None
    for index, position in shared[:: max(1, -(-len(shared) // FRAMES_SEARCHED))]:
        target = truth.mask(position)
        if target is None:
            continue
        mask = _predicted(score, sample, index, predictions)
        overlap = _overlap(target, mask)
        if worst is None or overlap < worst[0]:
            worst = overlap, index, target, mask
    if worst is None:
        return 0, np.zeros(sample.video.size, bool), None
    return worst[1:]


def _predicted(
    score: UnitScore, sample: Sample, index: int, predictions: ExpressionPredictions | MergedPredictions
) -> BoolMask | None:
    """The mask that was scored; None where there is none that can be used."""
    try:
        if isinstance(predictions, ExpressionPredictions):
            return predictions.mask(sample, sample.video.frame_names[index], "nonzero-grey")
        label = score.extras.get("proposal") or 0
        return predictions.labels(sample.video, score.unit.annotator or 0, index) == int(label)
    except PredictionError:
        return None


def _overlap(truth: BoolMask, mask: BoolMask | None) -> float:
    if mask is None or mask.shape != truth.shape:
        return -1.0
    union = int((truth | mask).sum())
    return int((truth & mask).sum()) / union if union else 1.0


def _frame(sample: Sample, index: int, target: BoolMask) -> tuple[Image, str]:
    """The frame with its name; grey, and said so, where it cannot be had at the size of the masks."""
    name = f"frame {sample.video.frame_names[index]}"
    grey = np.full((*target.shape, 3), 110, np.uint8)
    try:
        frame = sample.video.frame(index)
    except (DatasetError, ImageError):
        return grey, f"{name}, no image"
    return (frame, name) if frame.shape[:2] == target.shape else (grey, f"{name}, image of another size")


def _sample_of(unit: Unit, dataset: RVOSDataset) -> Sample | None:
    """The sentence that a unit is about; for an object of one annotator the first one that asks for it."""
    samples = dataset.samples_of(unit.video_id)
    if unit.expression_id is not None:
        return next(s for s in samples if s.expression.id == unit.expression_id)
    same_object = [s for s in samples if s.expression.object_ids == unit.object_ids]
    by_annotator = [s for s in same_object if s.expression.tags.get("annotator") == unit.annotator]
    return next(iter(by_annotator or same_object), None)


def _caption(score: UnitScore, sample: Sample, result: Result) -> str:
    text = " ".join(sample.expression.text.split()).replace("[", "(").replace("]", ")")
    state = "" if score.status == "ok" else f", {score.status}"
    return f"{score.unit.key}: “{text}”, {result.unit_metric.name} {percent(result.rank(score))}{state}"


def _relative(path: Path, folder: Path) -> str:
    return Path(os.path.relpath(path, folder)).as_posix().replace(" ", "%20")


def _save(path: Path, image: Image) -> None:
    try:
        write_image(path, image)
    except OSError as error:
        raise RunError(f"{path} cannot be written: {error.strerror or error}; give a writable --out.") from error

"""The sample browser's data: scores of every sample, and frames with masks of the ones worth looking at."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ...benchmarks.predictions import ExpressionPredictions, RunMasks, open_predictions
from ...benchmarks.results import Result
from ...benchmarks.runs import Run, is_run
from ...datasets.errors import DatasetError, ImageError, PredictionError, RvosError
from ...datasets.types import BoolMask, Masklet, RVOSDataset, Sample
from ..archives import is_archive, unpack
from ..opening import data_at_hand

#: Frames of a sample that are shown, and the width to which larger ones are reduced.
MOST_FRAMES = 24
MOST_WIDTH = 480
#: Colours of the ground truth and of the runs, told apart also without red or green.
COLOURS = ((0, 200, 90), (40, 130, 255), (255, 150, 20), (220, 60, 200), (20, 190, 200), (250, 220, 60))
#: Runs that are overlaid at a time.
MOST_RUNS = len(COLOURS) - 1


@dataclass(frozen=True)
class Shown:
    """A run whose masks are overlaid: its name, its scores, and where the run or archive is."""

    name: str
    result: Result
    source: Path


def write_samples(folder: Path, slug: str, dataset: RVOSDataset, runs: Sequence[Shown], count: int) -> dict[str, Any]:
    """Write ``samples-<slug>.js`` and a folder of frames and masks.

    Args:
        folder: of the site.
        slug: names the files.
        dataset: what the runs are about.
        runs: at most ``MOST_RUNS`` are overlaid.
        count: how many samples can be played: a third the worst, a third the best, a third the most disagreed.

    Returns:
        ``{"worst": keys, "best": keys, "disagreed": keys}``.
    """
    runs = runs[:MOST_RUNS]
    chosen = choose([run.result for run in runs], count)
    keys = list(dict.fromkeys(key for group in chosen.values() for key in group))
    place = folder / f"samples-{slug}"
    with tempfile.TemporaryDirectory() as name:
        opened = [_predictions(run, dataset, Path(name) / str(i)) for i, run in enumerate(runs)]
        for number, key in enumerate(keys):
            _write_sample(place, number, dataset, dataset.sample(key), opened)
    data = {
        "folder": place.name,
        "colours": COLOURS[: len(runs) + 1],
        "viewable": {key: number for number, key in enumerate(keys)},
        "rows": _rows(dataset, [run.result for run in runs]),
    }
    text = f"window.RVOS_SAMPLES = {json.dumps(data, separators=(',', ':'), ensure_ascii=False)};\n"
    (folder / f"samples-{slug}.js").write_text(text, encoding="utf-8")
    return chosen


def choose(results: Sequence[Result], count: int) -> dict[str, list[str]]:
    """Keys of the samples of lowest and highest mean rank over the runs, and of those the runs disagree on most."""
    table = _scores(results)
    keys = sorted(key for key, values in table.items() if None not in values)
    each = max(1, count // (3 if len(results) > 1 else 2))
    mean = {key: float(np.mean([v for v in table[key] if v is not None])) for key in keys}
    spread = {key: float(np.ptp([v for v in table[key] if v is not None])) for key in keys}
    chosen = {
        "worst": sorted(keys, key=lambda k: (mean[k], k))[:each],
        "best": sorted(keys, key=lambda k: (-mean[k], k))[:each],
    }
    if len(results) > 1:
        chosen["disagreed"] = sorted(keys, key=lambda k: (-spread[k], k))[:each]
    return chosen


def _scores(results: Sequence[Result]) -> dict[str, list[float | None]]:
    """The rank (J&F, IoU) of every sample in every run, by key; units that are no samples are left out."""
    found: dict[str, list[float | None]] = {}
    for i, result in enumerate(results):
        for score in result.scores:
            if score.unit.expression_id is not None:
                found.setdefault(score.unit.key, [None] * len(results))[i] = result.rank(score)
    return found


def _rows(dataset: RVOSDataset, results: Sequence[Result]) -> list[list[Any]]:
    rows = []
    for key, values in _scores(results).items():
        expression = dataset.sample(key).expression
        kind = str(expression.tags.get("kind", expression.kind))
        rows.append([key, expression.text, kind, *(None if v is None else round(100 * v, 2) for v in values)])
    return rows


# One sample -----------------------------------------------------------------------------------------------------------


def _write_sample(
    place: Path, number: int, dataset: RVOSDataset, sample: Sample, runs: Sequence[ExpressionPredictions | None]
) -> None:
    """``<number>.js`` and its frames."""
    video = sample.video
    indices = np.unique(np.linspace(0, len(video) - 1, min(MOST_FRAMES, len(video))).round().astype(int))
    shrink = min(1.0, MOST_WIDTH / video.width)
    size = (max(1, round(video.width * shrink)), max(1, round(video.height * shrink)))
    place.mkdir(parents=True, exist_ok=True)
    frames = []
    for i in indices:
        path = place / f"{number}-{i}.jpg"
        _frame(sample, int(i)).resize(size, Image.Resampling.BILINEAR).save(path, quality=82)
        frames.append(f"{place.name}/{path.name}")
    truth = dataset.ground_truth(sample)
    masks = [[_lengths(_true_mask(truth, video.frame_names[i]), size) for i in indices]]
    masks += [[_lengths(_mask(run, sample, video.frame_names[i]), size) for i in indices] for run in runs]
    content = {
        "key": sample.key,
        "text": sample.expression.text,
        "width": size[0],
        "height": size[1],
        "names": [video.frame_names[i] for i in indices],
        "frames": frames,
        "masks": masks,
    }
    text = f"rvosSample({json.dumps(content, separators=(',', ':'), ensure_ascii=False)});\n"
    (place / f"{number}.js").write_text(text, encoding="utf-8")


def _frame(sample: Sample, index: int) -> Image.Image:
    """The frame; grey where its image cannot be had."""
    try:
        return Image.fromarray(sample.video.frame(index))
    except (DatasetError, ImageError):
        return Image.new("RGB", (sample.video.width, sample.video.height), (110, 110, 120))


def _true_mask(truth: Masklet | None, name: str) -> BoolMask | None:
    if truth is None or name not in truth.frame_names:
        return None
    return truth.mask(truth.frame_names.index(name))


def _mask(predictions: ExpressionPredictions | None, sample: Sample, name: str) -> BoolMask | None:
    if predictions is None:
        return None
    try:
        return predictions.mask(sample, name, "strict")
    except PredictionError:
        return None


def _lengths(mask: BoolMask | None, size: tuple[int, int]) -> list[int] | None:
    """Lengths of runs of equal pixels, row by row, beginning with those outside; None where there is no mask."""
    if mask is None:
        return None
    small = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).resize(size, Image.Resampling.NEAREST)) > 0
    flat: NDArray[np.bool_] = np.concatenate([[False], small.ravel()])
    changes = np.flatnonzero(np.diff(flat))
    bounds = np.concatenate([[0], changes, [flat.size - 1]])
    return [int(n) for n in np.diff(bounds)]


def _predictions(run: Shown, dataset: RVOSDataset, scratch: Path) -> ExpressionPredictions | None:
    """The run's masks per expression; None where they are gone or are label maps."""
    if is_archive(run.source):
        return RunMasks(unpack(run.source, scratch).masks)
    if not is_run(run.source):
        return None
    opened = Run.open(run.source)
    if opened.masks.is_dir():
        return RunMasks(opened.masks)
    given = opened.record.predictions
    try:
        found = None if given is None else open_predictions(given.path, dataset, threshold=given.threshold)
    except RvosError:
        return None  # the files that were scored lie elsewhere now: scores without masks
    return found if isinstance(found, ExpressionPredictions) else None


def datasets_of(results: Sequence[Result], given: Mapping[str, RVOSDataset]) -> dict[str, RVOSDataset]:
    """The data behind the results, by id: those given, else where the runs found them, with the same annotations."""
    found: dict[str, RVOSDataset] = {}
    for data in (result.dataset for result in results):
        if data.id in found:
            continue
        dataset = given.get(data.id) or data_at_hand(data)
        if dataset is not None and dataset.fingerprint == data.fingerprint:
            found[data.id] = dataset
    return found

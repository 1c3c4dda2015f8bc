"""Opening predictions: which of the known layouts a path holds."""

from __future__ import annotations

import random
import re
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TypeVar

from ...datasets.errors import PredictionInvalid, PredictionMissing, UnknownNameError, UsageError
from ...datasets.types import RVOSDataset
from .archives import ZipFiles
from .base import ExpressionPredictions, MergedPredictions
from .files import DirectoryFiles, MaskFiles
from .folders import PngPredictions, sample_folders
from .foreground import check_threshold, decode_flat_file, decode_mask_file
from .merged import N_ANNOTATORS, MergedFolders
from .rle_json import RleJsonPredictions
from .run_masks import RunMasks
from .soft import SoftArrayPredictions, SoftPngPredictions

#: What ``layout`` may be. All but the JSON ones are also read from a zip archive.
LAYOUTS = {
    "png-folders": "<video>/<expression>/<frame>.png, binary masks (1 bit, 0/1, 0/100, 0/255, palette, RGB, 16 bits)",
    "soft-png": "the same with 8- or 16-bit grey scores",
    "soft-npz": "<video>/<expression>/<frame>.npz (or .npy), or <video>/<expression>.npz with an array a frame: scores",
    "rle-json": "one JSON of COCO RLE, or one <video>.json a video",
    "run-masks": "a run folder of rvos, or its masks folder",
    "anno-folders": "anno_<k>/<video>/<frame>.png, label maps (Ref-DAVIS-17)",
    "label-maps": "<video>/<frame>.png, label maps that stand for all annotators (Ref-DAVIS-17)",
}

T = TypeVar("T")

_SAMPLED = 4  # samples whose files are looked at
_SOFT_LEVELS = 8  # more different grey values than any mask, however badly exported


def open_predictions(
    path: Path | str, dataset: RVOSDataset, threshold: float | None = None, layout: str | None = None
) -> ExpressionPredictions | MergedPredictions:
    """Open a prediction folder, zip archive, RLE JSON or run folder. Masks are read when they are asked for.

    Args:
        path: what the user gives.
        dataset: the split that the predictions answer.
        threshold: share of the value range in (0, 1] from which a grey value or score is foreground; needed for
            grey files in strict protocols, and refused for layouts that hold no grey values.
        layout: one of ``LAYOUTS``; found out by looking at names and a few files where it is None.

    Raises:
        PredictionMissing: no such path.
        PredictionInvalid: a file that is no archive and no RLE JSON.
        UnknownNameError: no such layout.
        UsageError: a threshold that is out of range, or that the layout has no use for.
    """
    path = Path(path)
    check_threshold(threshold)
    if layout is not None and layout not in LAYOUTS:
        raise UnknownNameError("prediction layout", layout, LAYOUTS)
    files = files_behind(path, dataset)
    layout = layout or (detect_layout(files, dataset) if files else "rle-json")
    if threshold is not None and layout not in ("png-folders", "soft-png", "soft-npz"):
        raise UsageError(f"{path}: layout {layout} holds no grey values, so a threshold means nothing; leave it out.")
    if layout == "rle-json":
        return RleJsonPredictions.open(path, dataset)
    if files is None:
        raise UsageError(f"{path}: a JSON file cannot have the layout {layout}; leave --layout out.")
    return _open_tree(files, layout, dataset, threshold)


def files_behind(path: Path, dataset: RVOSDataset) -> MaskFiles | None:
    """The folder or archive behind a path, None for a JSON file.

    Raises:
        PredictionMissing: no such path.
        PredictionInvalid: neither of them.
    """
    if path.is_dir():
        return DirectoryFiles(path)
    if not path.exists():
        raise PredictionMissing(f"{path}: no such folder or file; give the folder that the masks were written to.")
    if zipfile.is_zipfile(path):
        return ZipFiles.below(path, _top_names(dataset))
    if path.suffix == ".json":
        return None
    if path.suffix == ".zip":
        raise PredictionInvalid(f"{path}: a zip archive that is cut short or damaged; make it or copy it again.")
    raise PredictionInvalid(f"{path}: neither a folder, a zip archive nor a JSON of masks; see rvos evaluate --help.")


def detect_layout(files: MaskFiles, dataset: RVOSDataset) -> str:
    """The layout of a folder or archive; ``png-folders`` where nothing is recognised, so that all is missing."""
    names = set(files.names("") or ())
    if isinstance(files, DirectoryFiles) and (_run_masks_folder(files.path) is not None):
        return "run-masks"
    if annotator_roots(files):
        return "anno-folders"
    for folder in _present(files, dataset):
        found = files.names(folder) or ()
        if any(n.endswith((".npz", ".npy")) for n in found):
            return "soft-npz"
        if any(_is_soft(files, f"{folder}/{n}") for n in spread([n for n in found if n.endswith(".png")], 3)):
            return "soft-png"
    if next(_present(files, dataset), None) is None:
        if next(_bundles(files, dataset), None) is not None:
            return "soft-npz"
        if any(f"{video.id}.json" in names for video in dataset.videos):
            return "rle-json"
        if dataset.name == "ref-davis17" and any(_has_png(files, video.id) for video in dataset.videos):
            return "label-maps"
    return "png-folders"


def annotator_roots(files: MaskFiles) -> tuple[str, ...]:
    """The ``anno_<k>`` folders, also below ``valid`` as ReferFormer writes them; all four where any is there."""
    for parent in ("", "valid/"):
        names = files.names(parent.rstrip("/")) or ()
        if any(re.fullmatch(r"anno_[0-3]", n) for n in names):
            return tuple(f"{parent}anno_{k}" for k in range(N_ANNOTATORS))
    return ()


def _open_tree(
    files: MaskFiles, layout: str, dataset: RVOSDataset, threshold: float | None
) -> ExpressionPredictions | MergedPredictions:
    if layout == "run-masks":
        return RunMasks(_run_masks_folder(files.path) or files.path)
    if layout == "anno-folders":
        return MergedFolders(files, annotator_roots(files) or tuple(f"anno_{k}" for k in range(N_ANNOTATORS)))
    if layout == "label-maps":
        return MergedFolders(files, ("",), layout="label-maps")
    if layout == "soft-npz":
        return SoftArrayPredictions(files, sample_folders(dataset), threshold)
    if layout == "soft-png":
        return SoftPngPredictions(files, sample_folders(dataset), threshold)
    predictions = PngPredictions(files, sample_folders(dataset), threshold)
    return replace(predictions, layout="png-zip") if isinstance(files, ZipFiles) else predictions


def _run_masks_folder(path: Path) -> Path | None:
    """The masks folder of a run folder, or ``path`` itself where it is one."""
    if (path / "run.json").is_file():
        return path / "masks"
    return path if next(path.glob("*.json.gz"), None) is not None else None


def _top_names(dataset: RVOSDataset) -> set[str]:
    """First parts of all prediction paths, and the folders of merged annotators."""
    tops = {dataset.prediction_path(sample).parts[0] for sample in dataset.samples}
    return tops | {f"anno_{k}" for k in range(N_ANNOTATORS)}


def _present(files: MaskFiles, dataset: RVOSDataset) -> Iterator[str]:
    """Folders of a few samples, spread over the split, that are there."""
    folders = (str(dataset.prediction_path(s)) for s in spread(dataset.samples, 400))
    return islice((f for f in folders if files.names(f) is not None), _SAMPLED)


def _bundles(files: MaskFiles, dataset: RVOSDataset) -> Iterator[str]:
    """Samples whose scores are in one npz file beside the other expressions of the video."""
    for sample in spread(dataset.samples, 400):
        path = dataset.prediction_path(sample)
        if f"{path.name}.npz" in (files.names(str(path.parent)) or ()):
            yield str(path)


def _is_soft(files: MaskFiles, name: str) -> bool:
    """Whether a file holds so many grey values that they must be scores."""
    try:
        data = files.read(name)
        if decode_flat_file(data, files.where(name)) is not None:
            return False
        image = decode_mask_file(data, files.where(name))
    except (PredictionMissing, PredictionInvalid):
        return False
    return image.mode in ("L", "I;16") and len(image.values()) > _SOFT_LEVELS


def _has_png(files: MaskFiles, folder: str) -> bool:
    return any(n.endswith(".png") for n in files.names(folder) or ())


def spread(items: Sequence[T], count: int) -> list[T]:
    """At most ``count`` items in their order, always the same ones.

    Drawn rather than evenly spaced, because what differs between predictions often alternates.
    """
    if len(items) <= count:
        return list(items)
    return [items[i] for i in sorted(random.Random(0).sample(range(len(items)), count))]

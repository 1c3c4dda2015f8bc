"""Zips for the evaluation servers of MeViS and Ref-YouTube-VOS: written the one way they take, or not at all."""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from ..datasets.errors import DatasetError, ImageError, PredictionInvalid, PredictionMissing, UsageError
from ..datasets.types import BoolMask, RVOSDataset, Sample, Video
from .predictions import ExpressionPredictions, open_predictions

#: called with (videos done, videos in all)
Progress = Callable[[int, int], None]

_EPOCH = (1980, 1, 1, 0, 0, 0)  # the earliest time that a zip can state: the same masks always give the same bytes


@dataclass(frozen=True)
class Server:
    """What an evaluation server takes.

    Attributes:
        title: its name for people.
        split: the split that it scores.
        prefix: the folder of the zip that holds the video folders, "" for its root.
        n_videos, n_expressions: how many it expects.
        state: whether it can be reached, and what else to know.
    """

    title: str
    split: str
    prefix: str
    n_videos: int
    n_expressions: int
    state: str


#: MeViS: README, "Submission" (folders at the root). Ref-YouTube-VOS: ReferFormer's inference_ytvos.py, which makes
#: ``Annotations/``, and the zip keeps it.
SERVERS = {
    "mevis": Server(
        "MeViS",
        "valid",
        "",
        140,
        2523,
        "Version 2 is scored at codabench.org/competitions/11420; the server of version 1 is being closed.",
    ),
    "ref-youtube-vos": Server(
        "Ref-YouTube-VOS",
        "valid",
        "Annotations",
        202,
        834,
        "The server has taken no submissions since its move; the masks are public since 2026, so "
        "`rvos evaluate ref-youtube-vos/valid` scores locally.",
    ),
}


@dataclass
class Submission:
    """What ``write_submission`` did.

    Attributes:
        path: the zip, None where masks lack and nothing was written.
        n_videos, n_expressions, n_masks: what it holds.
        lacking: a line for every frame without a usable mask.
        filled: whether these were written as empty masks.
        unfillable: videos of unknown size with frames that lack, which cannot be filled.
        notes: what to know before sending it.
    """

    path: Path | None = None
    n_videos: int = 0
    n_expressions: int = 0
    n_masks: int = 0
    lacking: list[str] = field(default_factory=list)
    filled: bool = False
    unfillable: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {**self.__dict__, "path": None if self.path is None else str(self.path)}


def server_of(dataset: RVOSDataset) -> Server:
    """The server that scores the dataset. Raises UsageError where there is none."""
    if dataset.name not in SERVERS:
        raise UsageError(
            f"{dataset.id} has no evaluation server; its masks are public, so score it with rvos evaluate. "
            f"Servers: {', '.join(SERVERS)}."
        )
    return SERVERS[dataset.name]


def write_submission(
    predictions: ExpressionPredictions | Path | str,
    dataset: RVOSDataset,
    out: Path | str,
    *,
    threshold: float | None = None,
    layout: str | None = None,
    fill_missing: bool = False,
    progress: Progress | None = None,
) -> Submission:
    """Write the zip that the dataset's server takes: 8-bit grey PNGs of 0 and 255, one for every listed frame.

    The zip is there whole or not at all, and equal masks give equal bytes. A mask must have its video's size; nothing
    is resized. Where any mask lacks, nothing is written, unless ``fill_missing`` asks for empty masks in their place.

    Args:
        predictions: opened, or a path that ``open_predictions`` knows.
        dataset: ``mevis`` or ``ref-youtube-vos``; a split that the server does not score is noted.
        out: the zip; replaced where it exists.
        threshold, layout: as for ``open_predictions``.
        fill_missing: whether a frame without a usable mask becomes an empty one.
        progress: called after every video.

    Raises:
        UsageError: the dataset has no server, or the predictions are label maps.
        PredictionError: the predictions cannot be opened.
    """
    server, out = server_of(dataset), Path(out)
    masks = opened_masks(predictions, dataset, f"the {server.title} server", threshold, layout)
    report = Submission(filled=fill_missing, notes=list(_notes(server, dataset)))
    with whole_zip(out, report) as archive:
        for done, video in enumerate(dataset.videos, start=1):
            _add_video(archive, server, masks, dataset, video, report)
            if progress is not None:
                progress(done, len(dataset.videos))
    return report


def opened_masks(
    predictions: ExpressionPredictions | Path | str,
    dataset: RVOSDataset,
    receiver: str,
    threshold: float | None,
    layout: str | None,
) -> ExpressionPredictions:
    """Masks per expression. Raises UsageError for label maps, PredictionError where they cannot be opened."""
    if not isinstance(predictions, (str, Path)):
        return predictions
    opened = open_predictions(predictions, dataset, threshold=threshold, layout=layout)
    if not isinstance(opened, ExpressionPredictions):
        raise UsageError(f"{predictions} holds label maps; {receiver} takes a mask per expression.")
    return opened


@contextmanager
def whole_zip(out: Path, report: Submission) -> Iterator[zipfile.ZipFile]:
    """A zip that appears at ``out`` when it is complete and, unless masks were to be filled, nothing lacks."""
    temporary = out.with_name(f".{out.name}.{os.getpid()}.part")
    out.parent.mkdir(parents=True, exist_ok=True)
    try:
        with zipfile.ZipFile(temporary, "w", zipfile.ZIP_STORED) as archive:  # PNG is compressed already
            yield archive
        if not report.unfillable and (report.filled or not report.lacking):
            os.replace(temporary, out)
            report.path = out
    finally:
        temporary.unlink(missing_ok=True)


def entry_folder(server: Server, dataset: RVOSDataset, sample: Sample) -> str:
    """The folder of a sample's masks inside the zip."""
    folder = str(dataset.prediction_path(sample))
    return f"{server.prefix}/{folder}" if server.prefix else folder


def size_of(video: Video) -> tuple[int, int] | None:
    """(height, width); None where neither images nor annotations tell."""
    try:
        return video.size
    except (DatasetError, ImageError):
        return None


def _notes(server: Server, dataset: RVOSDataset) -> list[str]:
    notes = [server.state]
    if dataset.split != server.split:
        notes.append(f"The server scores {dataset.name}/{server.split}; this is {dataset.id}.")
    elif len(dataset.videos) != server.n_videos:
        notes.append(f"The server expects {server.n_videos} videos; this dataset folder lists {len(dataset.videos)}.")
    elif len(dataset) != server.n_expressions:
        version = f" (version {dataset.version.removeprefix('v')})" if dataset.version != "unstated" else ""
        notes.append(f"The server expects {server.n_expressions} sentences; this folder lists {len(dataset)}{version}.")
    if any(size_of(video) is None for video in dataset.videos):
        notes.append("The dataset folder has no images, so masks were only checked to share one size per video.")
    return notes


def _add_video(
    archive: zipfile.ZipFile,
    server: Server,
    predictions: ExpressionPredictions,
    dataset: RVOSDataset,
    video: Video,
    report: Submission,
) -> None:
    size = size_of(video)
    report.n_videos += 1
    for sample in dataset.samples_of(video.id):
        folder = entry_folder(server, dataset, sample)
        report.n_expressions += 1
        for name, mask in masks_to_send(predictions, sample, size, folder, report):
            size = size or (mask.shape[0], mask.shape[1])
            archive.writestr(zip_entry(f"{folder}/{name}.png"), grey_png(mask))
            report.n_masks += 1


def masks_to_send(
    predictions: ExpressionPredictions, sample: Sample, size: tuple[int, int] | None, folder: str, report: Submission
) -> Iterator[tuple[str, BoolMask]]:
    """The frames with their masks, empty ones for those that lack, which the report lists.

    Args:
        size: of the video; where unknown, that of the first mask, and earlier frames without one are left out.
        folder: where the masks will lie, for messages.
    """
    for name in sample.video.frame_names:
        try:
            mask = _sized(predictions.mask(sample, name, "strict"), size, f"{folder}/{name}.png")
        except (PredictionMissing, PredictionInvalid) as error:
            report.lacking.append(str(error))
            if size is None:
                report.unfillable.append(sample.video.id)
                continue
            mask = np.zeros(size, bool)
        size = size or (mask.shape[0], mask.shape[1])
        yield name, mask


def _sized(mask: BoolMask, size: tuple[int, int] | None, where: str) -> BoolMask:
    if size is not None and mask.shape != size:
        raise PredictionInvalid(
            f"{where}: the mask is {mask.shape[1]}x{mask.shape[0]}, its video {size[1]}x{size[0]}; "
            "resize the logits before they become masks."
        )
    return mask


def zip_entry(name: str) -> zipfile.ZipInfo:
    """An entry of a zip whose bytes depend on nothing but name and content."""
    entry = zipfile.ZipInfo(name, _EPOCH)
    entry.create_system = 3  # Unix, wherever it is made
    entry.external_attr = 0o100644 << 16
    return entry


def grey_png(mask: BoolMask) -> bytes:
    """A mask as the bytes of a PNG, mode L, 0 and 255."""
    from PIL import Image

    buffer = io.BytesIO()
    Image.fromarray(mask.astype(np.uint8) * np.uint8(255)).save(buffer, format="PNG")
    return buffer.getvalue()

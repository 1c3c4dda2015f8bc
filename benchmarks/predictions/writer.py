"""Writing masks as PNG files in the layouts of the public inference scripts; every file whole or not at all."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...datasets.errors import PredictionInvalid, PredictionMissing
from ...datasets.images import davis_palette, write_png
from ...datasets.types import BoolMask, RVOSDataset, Sample, Video
from .base import ExpressionPredictions, MergedPredictions
from .folders import sample_folders
from .merged import N_ANNOTATORS


@dataclass
class ExportReport:
    """What an export wrote.

    Attributes:
        n_written: number of files.
        skipped: one line for every frame that has no usable mask.
    """

    n_written: int = 0
    skipped: list[str] = field(default_factory=list)


class PredictionWriter:
    """Writes masks below ``path``, which is made where it is missing. Files that are there are replaced.

    Per-expression masks go to ``<dataset.prediction_path(sample)>/<frame>.png`` as 8-bit grey 0/255, what the
    evaluation servers of MeViS and Ref-YouTube-VOS take; label maps of Ref-DAVIS-17 to ``anno_<k>/<video>/<frame>.png``
    with the DAVIS palette.
    """

    def __init__(self, path: Path | str, dataset: RVOSDataset) -> None:
        self.path = Path(path)
        self._folders = sample_folders(dataset)

    def write_mask(self, sample: Sample, frame_name: str, mask: BoolMask) -> Path:
        """Write one mask, bool (H, W). Returns the file. Raises ImageError where it cannot be written."""
        file = self.path / self._folders[sample.key] / f"{frame_name}.png"
        write_png(file, mask)
        return file

    def write_labels(self, video: Video, annotator: int, frame_name: str, labels: NDArray[np.uint8]) -> Path:
        """Write one label map, uint8 (H, W). Returns the file. Raises ImageError where it cannot be written."""
        file = self.path / f"anno_{annotator}" / video.id / f"{frame_name}.png"
        write_png(file, labels, davis_palette())
        return file


def export_masks(predictions: ExpressionPredictions, dataset: RVOSDataset, out: Path | str) -> ExportReport:
    """Write every mask of every sample as PNG, by the strict rule for grey files. Frames without one are reported.

    Raises:
        ImageError: a file cannot be written.
    """
    writer, report = PredictionWriter(out, dataset), ExportReport()
    for sample in dataset.samples:
        for name in sample.video.frame_names:
            try:
                mask = predictions.mask(sample, name, "strict")
            except (PredictionMissing, PredictionInvalid) as error:
                report.skipped.append(str(error))
                continue
            writer.write_mask(sample, name, mask)
            report.n_written += 1
    return report


def export_labels(predictions: MergedPredictions, dataset: RVOSDataset, out: Path | str) -> ExportReport:
    """Write the label maps of all annotators as indexed PNG. Frames that lack any object's mask are reported.

    Raises:
        ImageError: a file cannot be written.
    """
    writer, report = PredictionWriter(out, dataset), ExportReport()
    for video in dataset.videos:
        for annotator in range(N_ANNOTATORS):
            for index, name in enumerate(video.frame_names):
                try:
                    labels = predictions.labels(video, annotator, index)
                except (PredictionMissing, PredictionInvalid) as error:
                    report.skipped.append(str(error))
                    continue
                writer.write_labels(video, annotator, name, labels)
                report.n_written += 1
    return report

"""Masks as PNG files: ``<dataset.prediction_path(sample)>/<frame>.png``, in a folder or a zip archive."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ...datasets.bitmask import BitMask
from ...datasets.errors import PredictionInvalid, PredictionMissing
from ...datasets.images import PngImage, grey_values
from ...datasets.types import BoolMask, RVOSDataset, Sample
from .base import Foreground
from .files import DirectoryFiles, MaskFiles
from .foreground import check_threshold, decode_flat_file, decode_mask_file, flat_foreground, foreground_mask


@dataclass(frozen=True)
class PngPredictions:
    """One PNG per expression and frame.

    Attributes:
        files: the folder or archive.
        folders: folder of each sample below the root, by sample key.
        threshold: see ``foreground``; None where the user gave none.
        layout: ``png-folders`` or ``png-zip``.
    """

    files: MaskFiles
    folders: Mapping[str, str]
    threshold: float | None = None
    layout: str = "png-folders"

    @classmethod
    def open(cls, path: Path, dataset: RVOSDataset, threshold: float | None = None) -> PngPredictions:
        """The masks below a folder. Raises UsageError for a threshold outside (0, 1]."""
        return cls(DirectoryFiles(Path(path)), sample_folders(dataset), check_threshold(threshold))

    @property
    def path(self) -> Path:
        return self.files.path

    def mask(self, sample: Sample, frame_name: str, foreground: Foreground) -> BoolMask:
        """bool (H, W) at the file's own size. Raises PredictionMissing, PredictionInvalid."""
        name = self._file(sample, frame_name)
        return self._mask(sample, self.files.read(name), foreground, self.files.where(name))

    def bits(self, sample: Sample, frame_name: str, foreground: Foreground) -> BitMask:
        """``mask``, packed."""
        name = self._file(sample, frame_name)
        data, where = self.files.read(name), self.files.where(name)
        if "label" not in sample.expression.tags:
            flat = decode_flat_file(data, where)
            bits = None if flat is None else flat_foreground(flat, foreground, self.threshold)
            if bits is not None:
                return bits
        return BitMask.from_array(self._mask(sample, data, foreground, where))

    def grey(self, sample: Sample, frame_name: str) -> NDArray[np.uint8]:
        """The 8-bit grey picture that OpenCV sees, uint8 (H, W). Raises as ``mask``."""
        return grey_values(self._image(self._file(sample, frame_name)))

    def scores(self, sample: Sample, frame_name: str) -> NDArray[np.float32] | None:
        """None: these files hold masks (see ``soft`` for files that hold scores)."""
        return None

    def frame_names(self, sample: Sample) -> list[str] | None:
        """Frames whose PNG is there, sorted; None where the sample's folder is missing."""
        names = self.files.names(self._folder(sample))
        return None if names is None else [n[:-4] for n in names if n.endswith(".png")]

    def _image(self, name: str) -> PngImage:
        return decode_mask_file(self.files.read(name), self.files.where(name))

    def _mask(self, sample: Sample, data: bytes, foreground: Foreground, where: str) -> BoolMask:
        image = decode_mask_file(data, where)
        label = sample.expression.tags.get("label")
        if label is not None:
            return _label_mask(image, int(label), where)
        return foreground_mask(image, foreground, self.threshold, where)

    def _file(self, sample: Sample, frame_name: str) -> str:
        return f"{self._folder(sample)}/{frame_name}.png"

    def _folder(self, sample: Sample) -> str:
        folder = self.folders.get(sample.key)
        if folder is None:
            raise PredictionMissing(f"{self.path}: opened for a split that has no sample {sample.key}.")
        return folder


def _label_mask(image: PngImage, label: int, where: str) -> BoolMask:
    """One object of an indexed file, for samples of a plain folder whose masks are indexed as well."""
    if image.mode not in ("P", "L", "1"):
        raise PredictionInvalid(
            f"{where}: mode {image.mode}; the ground truth is indexed, save label {label} likewise."
        )
    return image.pixels == label


def sample_folders(dataset: RVOSDataset) -> dict[str, str]:
    """Folder of every sample's masks below a prediction folder, by sample key."""
    return {sample.key: str(dataset.prediction_path(sample)) for sample in dataset.samples}

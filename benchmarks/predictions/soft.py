"""Soft scores per expression and frame: 8- or 16-bit grey PNG, or numpy arrays.

Ref-DAVIS-17 merges the objects of an annotator by comparing scores (ReferFormer, inference_davis.py), which binary
masks have lost. Scores are in 0-1: grey values divided by 255 or 65535, arrays of float as they are.

npz and npy layouts, below ``dataset.prediction_path(sample)``:

- ``<expression>/<frame>.npz`` (one array of any name) or ``<expression>/<frame>.npy``;
- ``<expression>.npz`` with one array per frame, under the frame's name.

Arrays are (H, W) of bool, uint8, uint16 or float. They are read one frame at a time; an array that stacks all frames
is refused, because it would have to be read whole for each of them.
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.errors import PredictionInvalid, PredictionMissing
from ...datasets.types import BoolMask, Sample
from .base import Foreground
from .files import MAX_FILE_BYTES, MaskFiles
from .folders import PngPredictions
from .foreground import cutoff


@dataclass(frozen=True)
class SoftPngPredictions(PngPredictions):
    """One grey PNG of scores per expression and frame. Masks need a threshold in strict protocols."""

    layout: str = "soft-png"

    def scores(self, sample: Sample, frame_name: str) -> NDArray[np.float32]:
        """Scores in 0-1, float32 (H, W). Raises PredictionMissing, PredictionInvalid."""
        name = self._file(sample, frame_name)
        image = self._image(name)
        if image.mode == "1":
            return image.pixels.astype(np.float32)
        if image.mode not in ("L", "I;16"):
            raise PredictionInvalid(
                f"{self.files.where(name)}: mode {image.mode}, scores are 8- or 16-bit grey; save them as such."
            )
        return _unit_range(image.pixels, self.files.where(name))


@dataclass(frozen=True)
class SoftArrayPredictions:
    """Scores in npz or npy files.

    Attributes:
        files: the folder or archive.
        folders: folder of each sample below the root, by sample key.
        threshold: share of the range from which a score is foreground; masks cannot be read without.
        layout: ``soft-npz``.
    """

    files: MaskFiles
    folders: Mapping[str, str]
    threshold: float | None = None
    layout: str = "soft-npz"

    @property
    def path(self) -> Path:
        return self.files.path

    def mask(self, sample: Sample, frame_name: str, foreground: Foreground) -> BoolMask:
        """bool (H, W), scores of at least ``threshold``, whatever ``foreground`` says: that speaks of grey values.

        Raises PredictionMissing, PredictionInvalid.
        """
        array, where = self._array(sample, frame_name)
        if array.dtype == np.bool_:
            return array
        if self.threshold is None:
            raise PredictionInvalid(f"{where}: holds scores; give a threshold (--threshold 0.5).")
        if array.dtype.kind == "u":
            return array >= cutoff(self.threshold, array.dtype)
        return _unit_range(array, where) >= np.float32(self.threshold)

    def scores(self, sample: Sample, frame_name: str) -> NDArray[np.float32]:
        """Scores in 0-1, float32 (H, W). Raises PredictionMissing, PredictionInvalid."""
        return _unit_range(*self._array(sample, frame_name))

    def frame_names(self, sample: Sample) -> list[str] | None:
        """Frames with scores, sorted; None where the sample has neither a folder nor a file."""
        folder = self.folders.get(sample.key, "")
        names = self.files.names(folder) if folder else None
        if names is not None:
            return [n[:-4] for n in names if n.endswith((".npz", ".npy"))]
        try:
            with self._bundle(f"{folder}.npz") as bundle:
                return sorted(bundle.files)
        except (PredictionMissing, PredictionInvalid):
            return None

    def _array(self, sample: Sample, frame_name: str) -> tuple[NDArray[Any], str]:
        """The frame's array as stored, and where it is."""
        folder = self.folders.get(sample.key)
        if folder is None:
            raise PredictionMissing(f"{self.path}: opened for a split that has no sample {sample.key}.")
        if self.files.names(folder) is None:
            with self._bundle(f"{folder}.npz") as bundle:
                where = f"{self.files.where(folder)}.npz, array {frame_name}"
                return _member(bundle, frame_name, where), where
        try:
            with self._bundle(f"{folder}/{frame_name}.npz") as bundle:
                where = self.files.where(f"{folder}/{frame_name}.npz")
                if len(bundle.files) != 1:
                    raise PredictionInvalid(f"{where}: {len(bundle.files)} arrays, expected one; save one a frame.")
                return _member(bundle, bundle.files[0], where), where
        except PredictionMissing:
            where = self.files.where(f"{folder}/{frame_name}.npy")
            return _plain_array(self.files.read(f"{folder}/{frame_name}.npy"), where), where

    def _bundle(self, name: str) -> np.lib.npyio.NpzFile:
        data, where = self.files.read(name), self.files.where(name)
        try:
            bundle = np.load(io.BytesIO(data), allow_pickle=False)
        except (ValueError, OSError, EOFError, zipfile.BadZipFile) as error:
            raise PredictionInvalid(f"{where}: not a readable npz file ({error}); write it again.") from error
        if not isinstance(bundle, np.lib.npyio.NpzFile):
            raise PredictionInvalid(f"{where}: not an npz file; write it with numpy.savez_compressed.")
        return bundle


def _member(bundle: np.lib.npyio.NpzFile, name: str, where: str) -> NDArray[Any]:
    """One array of a bundle, refused unread where it is larger than any frame."""
    archive = bundle.zip
    assert archive is not None  # the bundle is open
    try:
        if name not in bundle.files:
            shape = _stated_shape(archive, bundle.files)
            if len(shape) > 2:
                raise PredictionInvalid(f"{where}: one array {shape}; save one array per frame under the frame's name.")
            raise PredictionMissing(f"{where}: no such array.")
        if archive.getinfo(f"{name}.npy").file_size > MAX_FILE_BYTES:
            raise PredictionInvalid(f"{where}: larger than any frame; save one array per frame.")
        return _checked(bundle[name], where)
    except (ValueError, KeyError, OSError, EOFError, zipfile.BadZipFile) as error:
        raise PredictionInvalid(f"{where}: cannot be read ({error}); write it again.") from error


def _stated_shape(archive: zipfile.ZipFile, arrays: Sequence[str]) -> tuple[int, ...]:
    """The shape that the header of the first array states; () where there is none."""
    if not arrays:
        return ()
    with archive.open(f"{arrays[0]}.npy") as file:
        version = np.lib.format.read_magic(file)
        read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        return tuple(read(file)[0])


def _plain_array(data: bytes, where: str) -> NDArray[Any]:
    try:
        return _checked(np.load(io.BytesIO(data), allow_pickle=False), where)
    except (ValueError, OSError, EOFError) as error:
        raise PredictionInvalid(f"{where}: not a readable npy file ({error}); write it again.") from error


def _checked(array: Any, where: str) -> NDArray[Any]:
    if not isinstance(array, np.ndarray) or array.ndim != 2 or array.dtype not in _DTYPES:
        shape, dtype = getattr(array, "shape", None), getattr(array, "dtype", None)
        raise PredictionInvalid(f"{where}: {dtype} {shape}, expected (H, W) of bool, uint8, uint16 or float.")
    return array


_DTYPES = tuple(np.dtype(name) for name in ("bool", "uint8", "uint16", "float16", "float32", "float64"))


def _unit_range(array: NDArray[Any], where: str) -> NDArray[np.float32]:
    if array.dtype.kind == "u":
        return array.astype(np.float32) / np.float32(np.iinfo(array.dtype).max)
    scores = array.astype(np.float32)
    if not (scores.min(initial=0) >= 0 and scores.max(initial=0) <= 1):
        raise PredictionInvalid(f"{where}: scores outside 0-1 or NaN; apply a sigmoid to logits before saving them.")
    return scores

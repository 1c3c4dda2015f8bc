"""Any folder of ground-truth masks as a dataset, for scoring plain folders against each other."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import Literal

import numpy as np

from .errors import DatasetError, UsageError
from .files import names_in
from .frames import NoFrames
from .images import read_png
from .masks import GreyPngMasks, LabelMapMasks
from .types import Expression, Masklet, MaskSource, RVOSDataset, Sample, Video

MaskKind = Literal["binary", "indexed"]
VOID = 255
_MOST_LABELS = 64


class MaskFolders(RVOSDataset):
    """Masks in ``<video>/<frame>.png`` or ``<video>/<object>/<frame>.png``, at any depth; the root may be one video.

    *Binary* PNGs hold one object, every non-zero value is foreground. *Indexed* PNGs hold several: label k is object
    k, 255 is void; each object is a sample with the tag ``label``, and its predictions are the same label of a PNG in
    the same place. Predictions lie in the same sub-folders.

    Args:
        root: the folder.
        split: not used; for the registry.
        masks: what the PNGs hold; by default it is read off them, and refused where they leave it open.
    """

    name = "folders"

    def __init__(self, root: Path, split: str = "", masks: MaskKind | None = None) -> None:
        self.root = root
        if masks not in (None, "binary", "indexed"):
            raise UsageError(f"Unknown kind of masks '{masks}'; use 'binary' or 'indexed'.")
        if not root.is_dir():
            raise DatasetError(f"{root}: no such folder; expected <video>/<frame>.png or <video>/<object>/<frame>.png.")
        self._stems = dict(_folders_with_pngs(root))
        if not self._stems:
            raise DatasetError(f"{root}: holds no PNG; expected <video>/<frame>.png or <video>/<object>/<frame>.png.")
        self.masks: MaskKind = masks or _kind_of(self._some_files())
        frames_below: dict[PurePosixPath, set[str]] = {}
        for folder, stems in self._stems.items():
            frames_below.setdefault(folder.parent, set()).update(stems)
        samples = [sample for folder in self._stems for sample in self._samples(folder, frames_below)]
        super().__init__(root, split, "unstated", samples)

    def ground_truth(self, sample: Sample) -> Masklet:
        folder = self.prediction_path(sample)
        paths = self._paths(folder)
        source: MaskSource = GreyPngMasks(paths)
        if self.masks == "indexed":
            source = LabelMapMasks(paths, (int(sample.expression.tags["label"]),), void_label=VOID)
        return Masklet(tuple(self._stems[folder]), source)

    def objects(self, video: Video) -> dict[str, Masklet]:
        return {sample.expression.id: self.ground_truth(sample) for sample in self.samples_of(video.id)}

    def prediction_path(self, sample: Sample) -> PurePosixPath:
        """The folder of the sample's own masks, relative to the root."""
        return PurePosixPath(sample.expression.layout_id)

    def annotation_files(self) -> Sequence[Path]:
        return [path for folder in self._stems for path in self._paths(folder)]

    def _samples(self, folder: PurePosixPath, frames_below: dict[PurePosixPath, set[str]]) -> Iterator[Sample]:
        nested = self.masks == "binary" and len(folder.parts) > 1
        video_id = str(folder.parent if nested else folder) if folder.parts else self.root.absolute().name
        names = frames_below[folder.parent] if nested else self._stems[folder]
        video = Video(video_id, tuple(sorted(names)), NoFrames(self._paths(folder)[0]))
        if self.masks == "binary":
            object_id = folder.name if nested else "1"
            yield Sample(video, Expression(object_id, "", (object_id,), layout_id=str(folder)))
            return
        for label in _labels(self._paths(folder)):
            yield Sample(video, Expression(str(label), "", (str(label),), layout_id=str(folder), tags={"label": label}))

    def _paths(self, folder: PurePosixPath) -> tuple[Path, ...]:
        return tuple(self.root / folder / f"{stem}.png" for stem in self._stems[folder])

    def _some_files(self) -> Iterator[Path]:
        """The first, middle and last mask of every folder."""
        for folder in self._stems:
            paths = self._paths(folder)
            yield from dict.fromkeys((paths[0], paths[len(paths) // 2], paths[-1]))


def _folders_with_pngs(root: Path) -> Iterator[tuple[PurePosixPath, list[str]]]:
    for folder, children, _ in os.walk(root):
        children.sort()
        stems = names_in(Path(folder), ".png")
        if stems:
            yield PurePosixPath(Path(folder).relative_to(root).as_posix()), stems


def _kind_of(paths: Iterator[Path]) -> MaskKind:
    """Binary where all PNGs share one value besides 0; indexed where they hold several small ones."""
    values: set[int] = set()
    together, palettes = False, True
    for path in paths:
        image = read_png(path)
        if image.mode not in ("1", "L", "P"):
            raise DatasetError(f"{path}: mode {image.mode}; save masks as 8-bit grey or indexed PNG.")
        found = set(image.values().tolist()) - {0}
        values |= found
        together |= len(found) > 1
        palettes &= image.mode == "P"
    if len(values) <= 1:
        return "binary"
    if max(values - {VOID}, default=VOID) <= _MOST_LABELS and (together or palettes):
        return "indexed"
    raise DatasetError(
        f"{path.parent}: the PNGs hold the values {sorted(values)[:8]}, which may be labels or grey; say which with "
        "masks='binary' or masks='indexed'."
    )


def _labels(paths: Sequence[Path]) -> list[int]:
    present = np.zeros(256, bool)
    for path in paths:
        present |= np.bincount(np.ravel(read_png(path).pixels), minlength=256)[:256] > 0
    present[[0, VOID]] = False
    return [int(label) for label in np.flatnonzero(present)]

"""ReasonSeg (Lai et al., LISA, CVPR 2024): images with a sentence that needs reasoning; an image is one frame."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DatasetError
from .files import AnnotationErrors, names_in, read_json, require_root
from .frames import SUFFIXES, FrameFolder
from .images import image_size
from .polygons import FARTHEST, Points, paint_polygon
from .problems import Problem
from .types import BoolMask, Expression, Masklet, RVOSDataset, Sample, Video

#: Values of the painted map: the object, and pixels that no score counts.
TARGET, IGNORE = 1, 255
#: The one object of an image.
OBJECT = "1"


@dataclass(frozen=True)
class PaintedPolygons:
    """Polygons painted over each other from the largest to the smallest, as LISA's script paints them.

    Attributes:
        image: the image's file, which knows the size.
        polygons: value (``TARGET`` or ``IGNORE``) and corners.
    """

    image: Path
    polygons: tuple[tuple[int, tuple[tuple[float, float], ...]], ...]

    def mask(self, index: int) -> BoolMask:
        return self._painted() == TARGET

    def void(self, index: int) -> BoolMask | None:
        void = self._painted() == IGNORE
        return void if void.any() else None

    def _painted(self) -> NDArray[np.uint8]:
        """uint8 (H, W): 0, ``TARGET`` or ``IGNORE``. Of equal areas the later is painted first."""
        size = image_size(self.image)
        areas = [int(_drawn(size, points).sum()) for _, points in self.polygons]
        canvas = np.zeros(size, np.uint8)
        for k in np.argsort(areas, kind="stable")[::-1].tolist():
            value, points = self.polygons[k]
            paint_polygon(canvas, points, value)
        return canvas


class ReasonSeg(RVOSDataset):
    """``<train|val|test>/<name>.jpg`` with ``<name>.json``: ``{shapes: [{label, points}], text: [...], is_sentence}``.

    A benchmark split asks the first text of an image, ``train`` all of them (LISA utils/dataset.py). Shapes labelled
    "flag" are left out, labels with "ignore" are void (utils/data_processing.py). ``test-short`` and ``test-long`` are
    the phrases and the sentences of ``test``. An image without shapes has no ground truth. Answers that explain
    themselves (``explanatory/train.json``) are the tag ``explanation`` of ``train``.
    """

    name = "reasonseg"

    def __init__(self, root: Path, split: str) -> None:
        part, _, form = split.partition("-")
        require_root(root, f"ReasonSeg ({part})", part)
        self.root, self.folder = root, root / part
        self._explanations = _explanations(root / "explanatory" / "train.json") if part == "train" else {}
        self._names = names_in(self.folder, ".json")
        if not self._names:
            raise DatasetError(f"{self.folder}: holds no <name>.json; give the folder with train, val and test.")
        self._entries: dict[str, dict[str, Any]] = {}
        complaints: list[str] = []
        for name in self._names:
            try:
                self._entries[name] = _checked(_read(self.folder / f"{name}.json"))
            except (DatasetError, ValueError) as error:
                complaints.append(f"{name}.json: {str(error).removeprefix(f'{self.folder / name}.json: ')}")
        if complaints:
            raise AnnotationErrors(self.folder, complaints)
        wanted = {"short": False, "long": True}.get(form)
        entries = {n: e for n, e in self._entries.items() if wanted is None or e["is_sentence"] == wanted}
        most = None if part == "train" else 1
        samples = [sample for name, entry in entries.items() for sample in self._samples(name, entry, most)]
        super().__init__(root, split, "unstated", samples)

    def ground_truth(self, sample: Sample) -> Masklet | None:
        """The painted mask with its void pixels; None for an image without shapes."""
        return self.objects(sample.video).get(OBJECT)

    def objects(self, video: Video) -> dict[str, Masklet]:
        polygons = tuple(_polygons(self._entries[video.id]))
        image = FrameFolder(self.folder).path(video.id)
        if not polygons:
            return {}
        masks = PaintedPolygons(image or self.folder / f"{video.id}.jpg", polygons)
        return {OBJECT: Masklet(video.frame_names, masks)}

    def annotation_files(self) -> Sequence[Path]:
        return [self.folder / f"{video.id}.json" for video in self.videos]

    def own_checks(self) -> Iterator[Problem]:
        images = {stem for suffix in SUFFIXES for stem in names_in(self.folder, suffix)}
        for stem in sorted(images - set(self._names)):
            found, cure = "the image has no .json, so nothing is asked about it.", "Download the split again."
            yield Problem("warning", "image-without-annotation", str(self.folder / stem), found, cure)

    def own_video_checks(self, video: Video) -> Iterator[Problem]:
        n_flags = sum(_is_flag(shape) for shape in self._entries[video.id]["shapes"])
        if n_flags:
            found = f"{n_flags} shapes labelled 'flag' are left out, as in LISA's script."
            yield Problem("note", "flag", f"{video.id}.json", found, "")

    def _samples(self, name: str, entry: dict[str, Any], most: int | None) -> Iterator[Sample]:
        video = Video(name, (name,), FrameFolder(self.folder))
        for k, text in enumerate(entry["text"][:most]):
            form, why = entry["is_sentence"], self._explanations.get(name)
            tags = {"explanation": why} if why else {}
            yield Sample(video, Expression(str(k), text, (OBJECT,), "reasoning", form, tags=tags))


def _explanations(path: Path) -> dict[str, str]:
    """By image the answer that explains itself, for those that have one.

    Raises:
        DatasetError: the file is there and not as expected.
    """
    if not path.exists():
        return {}
    entries = read_json(path)
    known = isinstance(entries, list) and all(
        isinstance(e, dict) and isinstance(e.get("image"), str) and isinstance(e.get("outputs"), str) for e in entries
    )
    if not known:
        raise DatasetError(f"{path}: expected a list of objects with 'image' and 'outputs'.")
    return {Path(entry["image"]).stem: entry["outputs"] for entry in entries}


def _read(path: Path) -> Any:
    """UTF-8, else Windows' western encoding, as the files were written."""
    try:
        return read_json(path)
    except DatasetError as error:
        if not isinstance(error.__cause__, UnicodeDecodeError):
            raise
    return read_json(path, "cp1252")


def _checked(entry: Any) -> dict[str, Any]:
    """The entry. Raises ValueError with what is wrong."""
    if not isinstance(entry, dict) or not isinstance(entry.get("shapes"), list):
        raise ValueError("expected an object with 'shapes', 'text' and 'is_sentence'.")
    text = entry.get("text")
    if not isinstance(text, list) or not text or not all(isinstance(t, str) for t in text):
        raise ValueError("'text' is no list of sentences.")
    if not isinstance(entry.get("is_sentence"), bool):
        raise ValueError("'is_sentence' is neither true nor false.")
    for number, shape in enumerate(entry["shapes"]):
        if not isinstance(shape, dict) or not isinstance(shape.get("label"), str):
            raise ValueError(f"shape {number} has no 'label'.")
        points = shape.get("points")
        if not isinstance(points, list) or not points or not all(_is_corner(point) for point in points):
            raise ValueError(f"shape {number} has no 'points' [x, y], … of numbers.")
    return entry


def _is_corner(point: Any) -> bool:
    return (
        isinstance(point, list)
        and len(point) == 2
        and all(isinstance(v, (int, float)) and math.isfinite(v) and abs(v) <= FARTHEST for v in point)
    )


def _polygons(entry: dict[str, Any]) -> Iterator[tuple[int, tuple[tuple[float, float], ...]]]:
    for shape in entry["shapes"]:
        if not _is_flag(shape):
            value = IGNORE if "ignore" in shape["label"].lower() else TARGET
            yield value, tuple((x, y) for x, y in shape["points"])


def _is_flag(shape: dict[str, Any]) -> bool:
    return bool(shape["label"].lower() == "flag")


def _drawn(size: tuple[int, int], points: Points) -> NDArray[np.uint8]:
    canvas = np.zeros(size, np.uint8)
    paint_polygon(canvas, points, 1)
    return canvas

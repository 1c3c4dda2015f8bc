"""COCO annotation files: images, categories, and masks as polygons or RLE, checked entry by entry.

refCOCO, PACO-LVIS and PASCAL-Part keep their masks in one such JSON file.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import reduce
from pathlib import Path
from typing import Any

import numpy as np

from .bitmask import BitMask
from .errors import DatasetError
from .files import AnnotationErrors, is_plain_path, read_json, shown
from .frames import FrameFolder
from .types import BoolMask, Video

#: Corners further off than this belong to no picture; drawing them would take all memory.
FARTHEST = 1 << 20
#: A polygon has at least three corners; pycocotools would take four numbers for a box.
LEAST_NUMBERS = 6

#: A polygon as the bytes of its float64 coordinates x, y, x, y, …, or a compressed RLE.
Part = bytes | str


@dataclass(frozen=True)
class CocoMasks:
    """The mask of an annotation in its image: the union of its parts. One frame.

    Attributes:
        parts: polygons and RLE strings; none is an annotation without area.
        size: (height, width) of the image.
    """

    parts: tuple[Part, ...]
    size: tuple[int, int]

    def mask(self, index: int) -> BoolMask:
        return self.bits(index).to_array()

    def bits(self, index: int) -> BitMask:
        return reduce(BitMask.__or__, self._drawn(), BitMask.zeros(*self.size))

    def void(self, index: int) -> None:
        return None

    def _drawn(self) -> Iterator[BitMask]:
        from pycocotools import mask as coco

        for part in self.parts:
            rle = {"size": list(self.size), "counts": part}
            if isinstance(part, bytes):
                rle = coco.frPyObjects([np.frombuffer(part).tolist()], *self.size)[0]
            yield BitMask.from_rle(rle)


@dataclass(frozen=True)
class SingleCoverMasks(CocoMasks):
    """The pixels that exactly one part covers.

    LISA's scripts add the parts of an annotation up without clipping, so that where two overlap the label is 2, which
    counts as no object (utils/refer_seg_dataset.py, utils/dataset.py).
    """

    def bits(self, index: int) -> BitMask:
        once, twice = BitMask.zeros(*self.size), BitMask.zeros(*self.size)
        for part in self._drawn():
            twice = twice | (once & part)
            once = once | part
        return once - twice


@dataclass(frozen=True)
class CocoImage:
    """An image of the file: its path below the folder of images, and (height, width)."""

    id: int
    file_name: str
    size: tuple[int, int]

    @property
    def stem(self) -> str:
        """The path without the file's ending."""
        return str(Path(self.file_name).with_suffix(""))

    def video(self, folder: Path) -> Video:
        """The image as a video of one frame, which is called as the file; ``folder`` is that of all images."""
        path = Path(self.file_name)
        return Video(self.stem, (path.stem,), FrameFolder(folder / path.parent), declared_size=self.size)


@dataclass(frozen=True)
class CocoAnnotation:
    """One annotated thing of an image."""

    id: int
    image_id: int
    category_id: int
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class CocoFile:
    """What a COCO annotation file holds.

    Attributes:
        categories: names by id.
        by_image: annotations of every image in stored order.
    """

    path: Path
    images: Mapping[int, CocoImage]
    categories: Mapping[int, str]
    annotations: Mapping[int, CocoAnnotation]
    by_image: Mapping[int, tuple[CocoAnnotation, ...]]

    def masks(self, annotation: CocoAnnotation, kind: type[CocoMasks] = CocoMasks) -> CocoMasks:
        """The annotation's mask in its image."""
        return kind(annotation.parts, self.images[annotation.image_id].size)


def read_coco(path: Path) -> CocoFile:
    """A COCO annotation file.

    Polygons of fewer than three corners have no area and are left out, as the detection toolboxes do.

    Raises:
        AnnotationErrors: with every entry that is not as expected.
        DatasetError: missing or unreadable file, or none of COCO's.
    """
    content = read_json(path)
    lists = {name: content.get(name) for name in ("images", "annotations", "categories")} if content else {}
    if not isinstance(content, dict) or not all(isinstance(entries, list) for entries in lists.values()):
        raise DatasetError(f"{path}: expected an object with lists 'images', 'annotations' and 'categories'.")
    complaints: list[str] = []
    images = _by_id(lists["images"], "image", _image, complaints)
    categories = _by_id(lists["categories"], "category", lambda entry: str(entry["name"]), complaints)
    annotations = _by_id(lists["annotations"], "annotation", lambda e: _annotation(e, images, categories), complaints)
    if complaints:
        raise AnnotationErrors(path, complaints)
    grouped: dict[int, list[CocoAnnotation]] = {}
    for annotation in annotations.values():
        grouped.setdefault(annotation.image_id, []).append(annotation)
    return CocoFile(path, images, categories, annotations, {i: tuple(found) for i, found in grouped.items()})


def _by_id(entries: Any, what: str, parse: Callable[[dict[str, Any]], Any], complaints: list[str]) -> dict[int, Any]:
    found: dict[int, Any] = {}
    for entry in entries:
        number = entry.get("id") if isinstance(entry, dict) else None
        if not isinstance(number, int) or not is_whole(number):
            complaints.append(f"{what} {shown(str(entry))} has no whole number 'id'.")
        elif number in found:
            complaints.append(f"{what} {number} is there twice.")
        else:
            try:
                found[number] = parse(entry)
            except (KeyError, TypeError, ValueError) as error:
                reason = f"no {error}" if isinstance(error, KeyError) else str(error)
                complaints.append(f"{what} {number}: {shown(reason)}.")
    return found


def is_whole(value: Any) -> bool:
    """Whether a value of a JSON file is a whole number."""
    return isinstance(value, int) and not isinstance(value, bool)


def _image(entry: dict[str, Any]) -> CocoImage:
    name, height, width = entry["file_name"], entry["height"], entry["width"]
    if not isinstance(name, str) or not is_plain_path(name):
        raise ValueError(f"'file_name' holds {name!r}, expected a path inside the folder of images")
    if not (is_whole(height) and is_whole(width) and min(height, width) > 0):
        raise ValueError(f"the size is {height!r} x {width!r}, expected two whole numbers")
    return CocoImage(entry["id"], name, (height, width))


def _annotation(
    entry: dict[str, Any], images: Mapping[int, CocoImage], categories: Mapping[int, str]
) -> CocoAnnotation:
    image, category = entry["image_id"], entry["category_id"]
    if image not in images:
        raise ValueError(f"it is about image {image!r}, which is not in the file")
    if category not in categories:
        raise ValueError(f"it is of category {category!r}, which is not in the file")
    return CocoAnnotation(entry["id"], image, category, tuple(_parts(entry["segmentation"], images[image].size)))


def _parts(segmentation: Any, size: tuple[int, int]) -> Iterator[Part]:
    for part in segmentation if isinstance(segmentation, list) else [segmentation]:
        if isinstance(part, dict):
            yield _compressed(part, size)
        else:
            numbers = np.asarray(_coordinates(part), np.float64)
            if len(numbers) >= LEAST_NUMBERS:
                yield numbers.tobytes()


def _coordinates(part: Any) -> Sequence[float]:
    known = isinstance(part, list) and len(part) % 2 == 0 and all(isinstance(v, (int, float)) for v in part)
    if not known or not all(math.isfinite(v) and abs(v) <= FARTHEST for v in part):
        raise ValueError("'segmentation' holds no polygon x, y, x, y, … of numbers and no RLE")
    return list(part)


def _compressed(rle: dict[str, Any], size: tuple[int, int]) -> str:
    """An RLE of the image's size as COCO's string, its counts checked."""
    if rle.get("size") != list(size):
        raise ValueError(f"the RLE has the size {rle.get('size')!r}, the image {list(size)}")
    try:
        BitMask.from_rle(rle)
    except DatasetError as error:
        raise ValueError(str(error)) from error
    if isinstance(rle["counts"], str):
        return rle["counts"]
    from pycocotools import mask as coco

    counts: bytes = coco.frPyObjects(rle, *size)["counts"]
    return counts.decode("ascii")

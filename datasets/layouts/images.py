"""ReasonSeg and refCOCO with its siblings from videos of one frame; masks are read back to the pixel."""

from __future__ import annotations

import json
import pickle
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from ..masks import encode_rle
from ..refcoco import RefCLEF, RefCOCO, RefCOCOg, RefCOCOPlus
from ..types import BoolMask, Expression, Masklet
from .content import VideoContent, targets_of
from .files import made
from .job import Job, place_frames, union_of

#: the four that share a layout, by name
REFER = {kind.name: kind for kind in (RefCOCO, RefCOCOPlus, RefCOCOg, RefCLEF)}
#: of things that no sentence names, whose kind nobody told
UNKNOWN = "unknown"


# ReasonSeg -----------------------------------------------------------------------------------------------------------


def write_reasonseg(job: Job, videos: Iterable[VideoContent]) -> None:
    """A JSON an image; masks as rectangles, which the loader paints together again.

    An image has one target, that of its first sentence, and in a benchmark split one sentence.
    """
    folder = made(job.stage / job.split)
    for content, name in _images(job, videos):
        told = [(e, t) for e, t in zip(content.expressions, content.truths, strict=True) if t is not None]
        asked = [e for e, t in told if t.source == told[0][1].source][: None if job.split == "train" else 1]
        job.losses.add("sentences beyond the one target of an image", name, count=len(content.expressions) - len(asked))
        if not asked:
            continue
        if (folder / f"{name}.json").exists():
            job.losses.add("images in other folders under a name that is taken", content.video.id)
            continue
        job.losses.add("folders in names of images", content.video.id, count=name != content.video.id)
        form = asked[0].is_sentence
        job.losses.add("images that do not say whether they ask with a sentence", name, count=form is None)
        truth = told[0][1]
        shapes = [_shape("target", points) for points in _rectangles(truth.mask(0))]
        shapes += [_shape("ignore", points) for points in _rectangles(truth.void(0))]
        entry = {"shapes": shapes, "text": [e.text for e in asked], "is_sentence": bool(form)}
        (folder / f"{name}.json").write_text(json.dumps(entry), encoding="utf-8")
        place_frames(folder, content.video, job)
        job.wrote(asked)


def _shape(label: str, points: list[list[int]]) -> dict[str, Any]:
    return {"label": label, "shape_type": "polygon", "points": points}


def _rectangles(mask: BoolMask | None) -> Iterator[list[list[int]]]:
    """Corners of rectangles that together are the mask: runs of a row, joined while the next row has the same run."""
    if mask is None:
        return
    begun: dict[tuple[int, int], int] = {}
    for y in range(len(mask) + 1):
        runs = set(_runs(mask[y])) if y < len(mask) else set()
        for (left, right), top in [item for item in begun.items() if item[0] not in runs]:
            del begun[left, right]
            yield [[left, top], [right, top], [right, y - 1], [left, y - 1]]
        for run in runs:
            begun.setdefault(run, y)


def _runs(row: BoolMask) -> Iterator[tuple[int, int]]:
    """(first, last) of the pixels of every run."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], row, [False]]).astype(np.int8)))
    yield from ((int(a), int(b) - 1) for a, b in zip(edges[::2], edges[1::2], strict=True))


# refCOCO and its siblings ---------------------------------------------------------------------------------------------


@dataclass
class _CocoLists:
    """The lists of an ``instances.json`` as they grow."""

    images: list[dict[str, Any]] = field(default_factory=list)
    annotations: list[dict[str, Any]] = field(default_factory=list)
    categories: dict[str, int] = field(default_factory=dict)

    def annotate(self, number: int | None, image: int, category: str, masklet: Masklet) -> int:
        """Adds an annotation; its id."""
        number = len(self.annotations) + 1 if number is None else number
        mask = masklet.mask(0)
        assert mask is not None
        entry = {"id": number, "image_id": image, "category_id": self._category(category), "iscrowd": 0}
        self.annotations.append({**entry, "area": int(mask.sum()), "segmentation": [encode_rle(mask)]})
        return number

    def _category(self, name: str) -> int:
        return self.categories.setdefault(name, len(self.categories) + 1)

    def as_dict(self) -> dict[str, Any]:
        categories = [{"id": number, "name": name} for name, number in self.categories.items()]
        return {"images": self.images, "annotations": self.annotations, "categories": categories}


def write_refer(kind: type[RefCOCO], job: Job, videos: Iterable[VideoContent]) -> None:
    """Refs, instances with RLE masks, images, where the loader ``kind`` finds them.

    Ids are those of the refs where the data began in refCOCO or a sibling, else counted.
    """
    own = job.origin.partition("/")[0] in REFER
    lists, n_sentences = _CocoLists(), 0
    refs: list[dict[str, Any]] = []
    for content, name in _images(job, videos):
        targets = targets_of(content)
        asked = [(e, names) for e, names in zip(content.expressions, targets.of, strict=True) if names]
        job.losses.add("sentences without a target or mask", name, count=len(content.expressions) - len(asked))
        if not asked:
            continue
        image = int(asked[0][0].tags["image"]) if own else len(lists.images) + 1
        height, width = content.video.size
        path = content.video.source.path(name) if content.video.source is not None else None
        folder = PurePosixPath(content.video.id).parent
        file_name = str(folder / f"{name}{path.suffix if path is not None else '.jpg'}")
        lists.images.append({"id": image, "file_name": file_name, "height": height, "width": width})
        kinds = _categories(asked)
        numbers: dict[tuple[str, ...], int] = {
            (name,): lists.annotate(int(name) if own else None, image, kinds.get((name,), UNKNOWN), masklet)
            for name, masklet in targets.masks.items()
        }
        for names in dict.fromkeys(names for _, names in asked if names not in numbers):
            union = _Still(union_of([targets.masks[part].mask(0) for part in names]))
            numbers[names] = lists.annotate(None, image, kinds[names], Masklet(content.video.frame_names, union))
        for names in dict.fromkeys(names for _, names in asked):
            same = [e for e, means in asked if means == names]
            ref = int(same[0].tags["ref"]) if own else len(refs) + 1
            ids = [int(e.id) if own else n_sentences + k for k, e in enumerate(same)]
            n_sentences += len(same)
            refs.append(_ref(ref, numbers[names], image, job.split, same, ids))
        place_frames(job.stage / kind.image_folders[0] / folder, content.video, job)
        job.wrote([e for e, _ in asked])
    target = made(job.stage / kind.name)
    (target / "instances.json").write_text(json.dumps(lists.as_dict()), encoding="utf-8")
    (target / f"refs({kind.usual}).p").write_bytes(pickle.dumps(refs, protocol=2))


@dataclass(frozen=True, eq=False)
class _Still:
    """One mask, in memory."""

    array: BoolMask | None

    def mask(self, index: int) -> BoolMask | None:
        return self.array

    def void(self, index: int) -> BoolMask | None:
        return None


def _categories(asked: Iterable[tuple[Expression, tuple[str, ...]]]) -> Mapping[tuple[str, ...], str]:
    """What the targets are, where their sentences tell."""
    return {names: str(e.tags.get("category", UNKNOWN)) for e, names in asked}


def _ref(
    number: int, annotation: int, image: int, split: str, same: list[Expression], ids: list[int]
) -> dict[str, Any]:
    sentences = [
        {"sent_id": i, "sent": e.text, "raw": e.text, "tokens": e.text.split()} for i, e in zip(ids, same, strict=True)
    ]
    return {
        "ref_id": number,
        "ann_id": annotation,
        "image_id": image,
        "split": split,
        "sent_ids": ids,
        "sentences": sentences,
    }


def _images(job: Job, videos: Iterable[VideoContent]) -> Iterator[tuple[VideoContent, str]]:
    """The videos of one frame that is called as the video is, whose name may have folders; with the frame's name."""
    for content in videos:
        video = content.video
        if video.frame_names == (PurePosixPath(video.id).name,):
            yield content, video.frame_names[0]
        else:
            job.losses.add("videos that are no images (one frame, called as the video)", video.id)

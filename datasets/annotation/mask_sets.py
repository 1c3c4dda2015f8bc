"""Collections of masks without sentences, those that ReasonVOS took its videos from among them, as clips.

What each reader takes for granted, beyond what the collection's authors state:

- ``burst``: a track that an annotated frame does not list is absent there. Masks with ``is_gt`` false (train) are
  propagated, not drawn. Frames lie in ``IMAGES/<dataset>/<seq_name>/``; those between annotated ones are context.
- ``vipseg``: ``imgs/<video>/`` and ``panomasks/<video>/``, a PNG a frame with values of up to 16 bits; 1-124 is an area
  of that category, more is an instance of category value // 100, 0 is nothing. Areas become objects, too.
- ``mose`` and ``label-maps``: ``JPEGImages/<video>/`` and ``Annotations/<video>/`` in the root or in its folder of the
  split (DAVIS's resolution below), indexed PNGs; 255 is void. A frame without PNG is not annotated: MOSE's ``valid``
  has the first frame alone.
- ``coco``: an image is a clip of one frame. ``youtube-vis``: COCO with videos; null is absent.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from ..bitmask import BitMask
from ..errors import DatasetError, UsageError
from ..files import is_plain_path, names_in, read_json, shown
from ..frames import FrameFolder, png_paths
from ..images import png_labels, read_png
from ..masks import LabelMapMasks, encode_rle
from ..types import Masklet
from .importing import Imported, LazyTracks, Terms, frame_of, spans_of
from .native import Clip, Frame, Object, Rle, Source, Span

#: (root, images, split, terms) -> clips
Reader = Callable[[Path, "Path | None", str, Terms], Iterator[Imported]]

VOID_LABEL = 255


# Label maps -----------------------------------------------------------------------------------------------------------


def read_mose(root: Path, images: Path | None, split: str, terms: Terms) -> Iterator[Imported]:
    """MOSE, v1 or v2. Raises DatasetError, ImageError."""
    return _label_maps(root, images, split, terms, "MOSE")


def read_label_maps(root: Path, images: Path | None, split: str, terms: Terms) -> Iterator[Imported]:
    """Any folder of ``JPEGImages`` and ``Annotations`` (DAVIS, YouTube-VOS, …). Raises DatasetError, ImageError."""
    return _label_maps(root, images, split, terms, "")


def _label_maps(root: Path, images: Path | None, split: str, terms: Terms, collection: str) -> Iterator[Imported]:
    base = _first_with(root, "Annotations", [split] if split else ["", "train", "valid"])
    annotations = _below_resolution(base / "Annotations")
    frames = _below_resolution(images if images is not None else base / "JPEGImages")
    for video in names_in(annotations):
        yield _label_map_clip(annotations / video, frames / video, terms.source(collection, video))


def _label_map_clip(masks: Path, frames: Path, source: Source) -> Imported:
    stems = names_in(masks, ".png")
    folder = FrameFolder(frames, masks / f"{stems[0]}.png" if stems else None)
    names = sorted(set(_image_names(frames)) | set(stems))
    if not stems:
        raise DatasetError(f"{masks}: holds no PNG; expected an indexed mask for at least one frame.")
    present: set[int] = set()
    for stem in stems:
        present |= set(np.unique(png_labels(masks / f"{stem}.png")).tolist())
    paths = png_paths(masks, names, stems)
    has_void = VOID_LABEL in present
    void = VOID_LABEL if has_void else None
    labels = sorted(present - {0, VOID_LABEL})
    masklets = {str(k): Masklet(tuple(names), LabelMapMasks(paths, (k,), void_label=void)) for k in labels}
    position = {name: index for index, name in enumerate(names)}
    annotated = spans_of([position[stem] for stem in stems])
    height, width = folder.size(stems[0])
    clip = Clip(
        id=source.video,
        height=height,
        width=width,
        has_void=has_void and bool(labels),
        source=source,
        frames=tuple(frame_of(folder, name) for name in names),
        objects=tuple(Object(id=str(k), spans=annotated) for k in labels),
    )
    return Imported(clip, LazyTracks(masklets, position, clip.has_void), folder)


# VIPSeg ---------------------------------------------------------------------------------------------------------------


def read_vipseg(root: Path, images: Path | None, split: str, terms: Terms) -> Iterator[Imported]:
    """VIPSeg as it is downloaded; ``split`` is the list of videos ``<split>.txt``. Raises DatasetError, ImageError."""
    masks = _first_with(root, "panomasks", [""]) / "panomasks"
    frames = images if images is not None else root / "imgs"
    categories = _vipseg_categories(root)
    wanted = set((root / f"{split}.txt").read_text(encoding="utf-8").split()) if split else None
    for video in names_in(masks):
        if wanted is None or video in wanted:
            yield _vipseg_clip(masks / video, frames / video, categories, terms.source("VIPSeg", video))


def _vipseg_clip(masks: Path, frames: Path, categories: Mapping[int, str], source: Source) -> Imported:
    stems = names_in(masks, ".png")
    if not stems:
        raise DatasetError(f"{masks}: holds no PNG; expected a panoptic mask for every frame.")
    folder = FrameFolder(frames, masks / f"{stems[0]}.png")
    names = sorted(set(_image_names(frames)) | set(stems))
    position = {name: index for index, name in enumerate(names)}
    tracks: dict[int, list[Rle | None]] = {}
    for stem in stems:
        values = read_png(masks / f"{stem}.png").pixels
        if values.ndim != 2:
            raise DatasetError(f"{masks / stem}.png: has colours; expected category ids, see VIPSeg's README.")
        for value in np.unique(values).tolist():
            if value:
                tracks.setdefault(value, [None] * len(names))[position[stem]] = encode_rle(values == value)
    annotated = spans_of([position[stem] for stem in stems])
    height, width = folder.size(stems[0])
    clip = Clip(
        id=source.video,
        height=height,
        width=width,
        source=source,
        frames=tuple(frame_of(folder, name) for name in names),
        objects=tuple(
            Object(id=str(v), category=categories.get(v if v < 125 else v // 100, ""), spans=annotated)
            for v in sorted(tracks)
        ),
    )
    return Imported(clip, {str(value): track for value, track in tracks.items()}, folder)


def _vipseg_categories(root: Path) -> dict[int, str]:
    """Names by the numbers in the masks; the file counts from 0, the masks from 1, where 0 is nothing."""
    path = root / "panoVIPSeg_categories.json"
    if not path.is_file():
        return {}
    listed = read_json(path)
    try:
        return {int(entry["id"]) + 1: str(entry["name"]) for entry in listed}
    except (KeyError, TypeError, ValueError) as error:
        raise DatasetError(f"{path}: expected a list of categories with 'id' and 'name' ({error}).") from error


# BURST ----------------------------------------------------------------------------------------------------------------


def read_burst(root: Path, images: Path | None, split: str, terms: Terms) -> Iterator[Imported]:
    """BURST's ``all_classes.json`` (or any of its annotation files). Raises DatasetError."""
    content = _json_object(root, "sequences", "BURST")
    names = {int(c["id"]): str(c["name"]) for c in content.get("categories", ())}
    for sequence in content["sequences"]:
        try:
            yield _burst_clip(sequence, names, images, terms)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            name = shown(str(sequence.get("seq_name", sequence.get("id")) if isinstance(sequence, dict) else sequence))
            raise DatasetError(f"{root}: sequence '{name}' is not as BURST writes it ({error!r}).") from error


def _burst_clip(
    sequence: Mapping[str, Any], categories: Mapping[int, str], images: Path | None, terms: Terms
) -> Imported:
    place = f"{sequence['dataset']}/{sequence['seq_name']}"
    if not is_plain_path(place):
        raise ValueError(f"{place!r} is no plain path")
    size = int(sequence["height"]), int(sequence["width"])
    scored = [PurePosixPath(name).stem for name in sequence["annotated_image_paths"]]
    names = list(dict.fromkeys(PurePosixPath(name).stem for name in sequence.get("all_image_paths") or ())) or scored
    position = {name: index for index, name in enumerate(names)}
    source = None if images is None else FrameFolder(images / place)
    tracks: dict[str, list[Rle | None]] = {t: [None] * len(names) for t in sequence["track_category_ids"]}
    propagated: dict[str, list[int]] = {}
    for name, listed in zip(scored, sequence["segmentations"], strict=True):
        for track, entry in listed.items():
            tracks[track][position[name]] = _checked_rle(
                {"size": list(size), "counts": entry["rle"]}, f"{place} {name}"
            )
            if not entry.get("is_gt", True):
                propagated.setdefault(track, []).append(position[name])
    annotated = [position[name] for name in scored]
    role = {name: "scored" if name in set(scored) else "context" for name in names}
    clip = Clip(
        id=place.replace("/", "_"),
        height=size[0],
        width=size[1],
        fps=float(sequence["fps"]) if sequence.get("fps") else None,
        source=terms.source("BURST", place),
        frames=tuple(frame_of(source, name, role[name]) for name in names),
        objects=tuple(
            Object(
                id=track,
                category=categories.get(int(category), ""),
                spans=_burst_spans(annotated, propagated.get(track, [])),
            )
            for track, category in sequence["track_category_ids"].items()
        ),
    )
    return Imported(clip, tracks, source)


def _burst_spans(annotated: Sequence[int], propagated: Sequence[int]) -> tuple[Span, ...]:
    drawn = spans_of(set(annotated) - set(propagated))
    guessed = spans_of(propagated, origin="propagated", model="BURST (is_gt false)")
    return tuple(sorted((*drawn, *guessed), key=lambda span: span.first))


# COCO -----------------------------------------------------------------------------------------------------------------


def read_coco(root: Path, images: Path | None, split: str, terms: Terms) -> Iterator[Imported]:
    """COCO instances: polygons, RLE, crowds; every image a clip of one frame. Raises DatasetError."""
    content = _json_object(root, "images", "COCO")
    licences = {licence["id"]: licence for licence in content.get("licenses", ())}

    def clip(image: Mapping[str, Any], listed: Sequence[Mapping[str, Any]]) -> Imported:
        name = PurePosixPath(str(image["file_name"]))
        tracks = {str(a["id"]): [_coco_rle(a.get("segmentation"), image, root)] for a in listed}
        source = _coco_source(terms.source("COCO", name.stem), licences.get(image.get("license"), {}))
        return _coco_clip(name.stem, [str(name)], image, listed, tracks, _categories(content), images, source)

    return _each(content, "images", "image_id", root, clip)


def read_youtube_vis(root: Path, images: Path | None, split: str, terms: Terms) -> Iterator[Imported]:
    """COCO with videos, as YouTube-VIS, OVIS and LV-VIS write it. Raises DatasetError."""
    content = _json_object(root, "videos", "YouTube-VIS")

    def clip(video: Mapping[str, Any], listed: Sequence[Mapping[str, Any]]) -> Imported:
        files = [str(name) for name in video["file_names"]]
        tracks = {str(a["id"]): [_coco_rle(s, video, root) for s in a["segmentations"]] for a in listed}
        folder = PurePosixPath(files[0]).parent
        name = folder.as_posix() if folder.parts else str(video["id"])
        return _coco_clip(name, files, video, listed, tracks, _categories(content), images, terms.source("", name))

    return _each(content, "videos", "video_id", root, clip)


def _each(
    content: Mapping[str, Any],
    what: str,
    key: str,
    path: Path,
    clip: Callable[[Mapping[str, Any], Sequence[Mapping[str, Any]]], Imported],
) -> Iterator[Imported]:
    """Images or videos with their annotations, as clips. Raises DatasetError where one is not as COCO writes it."""
    try:
        ordered = sorted(content["annotations"], key=lambda a: str(a[key]))
        of = {name: list(group) for name, group in groupby(ordered, key=lambda a: str(a[key]))}
        for entry in content[what]:
            yield clip(entry, of.get(str(entry["id"]), []))
    except (KeyError, TypeError, ValueError, IndexError, AttributeError) as error:
        reason = f"{type(error).__name__}: {error}"
        raise DatasetError(f"{path}: {what} or annotations are not as COCO writes them ({reason}).") from error


def _categories(content: Mapping[str, Any]) -> dict[Any, str]:
    return {category["id"]: str(category["name"]) for category in content.get("categories", ())}


def _coco_source(source: Source, licence: Mapping[str, Any]) -> Source:
    """With the image's own licence, unless the person who imports said another."""
    if source.licence or not licence:
        return source
    stated = {"licence": str(licence.get("name", "")), "licence_url": str(licence.get("url", ""))}
    return source.model_copy(update={**stated, "consent": source.consent or "as the image's licence states"})


def _coco_clip(
    name: str,
    files: Sequence[str],
    entry: Mapping[str, Any],
    annotations: Sequence[Mapping[str, Any]],
    tracks: Mapping[str, list[Rle | None]],
    categories: Mapping[Any, str],
    images: Path | None,
    source: Source,
) -> Imported:
    parents = {PurePosixPath(file).parent for file in files}
    if len(parents) != 1 or not all(map(is_plain_path, files)):
        raise DatasetError(f"'{shown(name)}': its files are not plain names in one folder.")
    folder = None if images is None else FrameFolder(images / parents.pop())
    frames: list[Frame] = [frame_of(folder, PurePosixPath(file).stem) for file in files]
    whole = spans_of(range(len(frames)))
    objects = [
        Object(
            id=str(a["id"]),
            category=categories.get(a.get("category_id"), ""),
            note="crowd" if a.get("iscrowd") else "",
            spans=whole,
        )
        for a in annotations
    ]
    clip = Clip(
        id=name,
        height=int(entry["height"]),
        width=int(entry["width"]),
        source=source,
        frames=tuple(frames),
        objects=tuple(objects),
    )
    return Imported(clip, tracks, folder)


def _coco_rle(segmentation: Any, entry: Mapping[str, Any], path: Path) -> Rle | None:
    """Polygons (flat lists of x and y), an RLE of counts or of a string; None for nothing."""
    from pycocotools import mask as coco

    height, width = int(entry["height"]), int(entry["width"])
    if not segmentation:
        return None
    if isinstance(segmentation, dict):
        return _checked_rle(segmentation, str(path), (height, width))
    if not all(isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0 for p in segmentation):
        raise DatasetError(f"{path}: a polygon needs x and y of at least three points.")
    merged = coco.merge(coco.frPyObjects(segmentation, height, width))
    return {"size": [height, width], "counts": merged["counts"].decode("ascii")}


# Parts ----------------------------------------------------------------------------------------------------------------


def _checked_rle(rle: Mapping[str, Any], place: str, size: tuple[int, int] | None = None) -> Rle:
    """The RLE with its counts as a string; decoded once, because a broken one must not reach anybody's screen."""
    bits = BitMask.from_rle(rle, place)
    if size is not None and bits.shape != size:
        raise DatasetError(f"{place}: a mask is {bits.shape}, its image {size} (height, width); expected one size.")
    counts = rle["counts"]
    if isinstance(counts, str):
        return {"size": list(bits.shape), "counts": counts}
    return encode_rle(bits.to_array())


def _json_object(path: Path, key: str, what: str) -> dict[str, Any]:
    if path.is_dir():
        raise UsageError(f"{path}: a folder; give the JSON file of {what}'s annotations.")
    content = read_json(path)
    if not isinstance(content, dict) or not isinstance(content.get(key), list):
        raise DatasetError(f"{path}: expected an object with the list '{key}', as {what} writes it.")
    return content


def _first_with(root: Path, folder: str, below: Iterable[str]) -> Path:
    tried = [root / part if part else root for part in below]
    for base in tried:
        if (base / folder).is_dir():
            return base
    raise DatasetError(
        f"{root}: no folder {folder} in {' or '.join(str(t) for t in tried)}; give another root or split."
    )


def _below_resolution(folder: Path) -> Path:
    """DAVIS keeps videos below the name of a resolution."""
    resolutions = [name for name in ("480p", "Full-Resolution") if (folder / name).is_dir()]
    return folder / resolutions[0] if resolutions else folder


def _image_names(folder: Path) -> list[str]:
    from ..frames import SUFFIXES

    return [name for suffix in SUFFIXES for name in names_in(folder, suffix)]


#: name -> reader; each says in the docstring of this module what it assumes
COLLECTIONS: Mapping[str, Reader] = {
    "burst": read_burst,
    "vipseg": read_vipseg,
    "mose": read_mose,
    "coco": read_coco,
    "youtube-vis": read_youtube_vis,
    "label-maps": read_label_maps,
}

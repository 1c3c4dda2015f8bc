"""What a layout is filled with, a video at a time, and what a file carries for the way back.

The four layouts keep different facts. What one has no place for (ids of another layout, kinds, tags, frames without
annotation) a conversion writes under the key ``rvos`` of the meta file, where other tools do not look; ``contents``
reads it again, so that a dataset that comes back to its own layout is what it was.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from ..errors import DatasetError
from ..files import read_json
from ..masks import EmptyMasks, UnionMasks
from ..mevis import MeViS
from ..types import BoolMask, Expression, Masklet, RVOSDataset, Sample, Video
from .kept import KEY, Patched, expression_of, patched


@dataclass(frozen=True)
class VideoContent:
    """A video with everything that is said about it.

    Attributes:
        video: its frames.
        source: the collection that it comes from, e.g. ``MOSE``; the dataset's title where the file does not say.
        expressions: as they were in the dataset that the data began in.
        truths: their targets' masks in the same order, None where withheld.
        objects: every annotated object by id.
    """

    video: Video
    source: str
    expressions: tuple[Expression, ...]
    truths: tuple[Masklet | None, ...]
    objects: Mapping[str, Masklet]


@dataclass(frozen=True)
class Targets:
    """The masks that a video needs: its objects, and one more for every target that is no union of objects.

    Attributes:
        masks: by name; objects keep their id.
        of: for every expression the names whose union it means; empty for a no-target, None where withheld.
    """

    masks: Mapping[str, Masklet]
    of: tuple[tuple[str, ...] | None, ...]


def origin_of(dataset: RVOSDataset) -> str:
    """``name/split`` of the dataset in which the data began: its own, or that of a file that was converted."""
    return str(_kept_file(dataset).get("origin", dataset.id))


def is_kept(dataset: RVOSDataset) -> bool:
    """Whether the dataset's meta file was written by a conversion, with the key ``rvos``."""
    return bool(_kept_file(dataset))


def contents(dataset: RVOSDataset) -> Iterator[VideoContent]:
    """The dataset's videos in order, as they were in the dataset that the data began in.

    Raises:
        DatasetError: an annotation that cannot be read, or a key ``rvos`` that does not fit its file.
    """
    kept = _kept_videos(dataset)
    title = _title(origin_of(dataset).partition("/")[0])
    for video in dataset.videos:
        samples = dataset.samples_of(video.id)
        own = kept.get(video.id)
        if own is None:
            yield _as_it_is(dataset, video, samples, title)
        else:
            yield _restored(dataset, video, samples, own)


def targets_of(content: VideoContent) -> Targets:
    """Which masks the expressions mean, as unions of objects where their ids are among them."""
    masks = dict(content.objects)
    named: list[tuple[str, ...] | None] = []
    for expression, truth in zip(content.expressions, content.truths, strict=True):
        ids = expression.object_ids
        if truth is None:
            named.append(None)
        elif ids is not None and all(i in content.objects for i in ids):
            unique = tuple(dict.fromkeys(ids))
            if is_union(truth, [content.objects[i] for i in unique]):
                named.append(unique)
            else:  # the objects for some of the time (GroundMoRe), or drawn anew
                masks[f"expression-{expression.layout_id}"] = truth
                named.append((f"expression-{expression.layout_id}",))
        else:
            name = "+".join(ids) if ids else f"expression-{expression.layout_id}"
            masks.setdefault(name, truth)
            named.append((name,))
    return Targets(masks, tuple(named))


def is_union(truth: Masklet, objects: Sequence[Masklet]) -> bool:
    """Whether a target is all of its objects in every frame: by its source, or else by its pixels."""
    parts = truth.source.parts if isinstance(truth.source, UnionMasks) else (truth.source,)
    if {source for source in parts if not isinstance(source, EmptyMasks)} == {m.source for m in objects}:
        return True
    return all(_same(truth.mask(i), [m.mask(i) for m in objects]) for i in range(len(truth)))


def _same(mask: BoolMask | None, parts: Sequence[BoolMask | None]) -> bool:
    there = [part for part in parts if part is not None]
    if mask is None or not there:
        return (mask is None or not mask.any()) and not there
    return bool(np.array_equal(mask, np.logical_or.reduce(there)))


def meta_file_of(dataset: RVOSDataset) -> Path | None:
    """The dataset's file of sentences, None where it has none (DAVIS's own text files)."""
    own = getattr(dataset, "meta_file", None)
    files = [path for path in dataset.annotation_files() if path.name == "meta_expressions.json" or path == own]
    return files[0] if files else None


# Without and with a key ``rvos`` -------------------------------------------------------------------------------------


def _as_it_is(dataset: RVOSDataset, video: Video, samples: Sequence[Sample], title: str) -> VideoContent:
    expressions = tuple(sample.expression for sample in samples)
    source = str(expressions[0].tags.get("source", title))
    truths = tuple(dataset.ground_truth(sample) for sample in samples)
    return VideoContent(video, source, expressions, truths, dataset.objects(video))


def _restored(dataset: RVOSDataset, video: Video, samples: Sequence[Sample], kept: Mapping[str, Any]) -> VideoContent:
    try:
        masks = _restored_masks(dataset, video, kept)
        written = zip(samples, kept["expressions"], strict=True)
        told = [(expression_of(s.expression.text, r), r["target"], dataset.ground_truth(s)) for s, r in written]
        for record in kept["left_out"]:
            told.insert(record["position"], (expression_of(record["text"], record), record["target"], None))
        objects = {name: masks[name] for name in (*kept["objects"].values(), *kept["hidden"])}
        truths = tuple(_truth(video, own, target, masks) for _, target, own in told)
        source, fps = str(kept["source"]), kept["fps"]
    except (AttributeError, KeyError, TypeError, ValueError) as error:
        place = f"{meta_file_of(dataset)}: video '{video.id}'"
        raise DatasetError(
            f"{place}: the key '{KEY}' does not fit the video's expressions; convert again, or remove it."
        ) from error
    return VideoContent(replace(video, fps=fps), source, tuple(e for e, _, _ in told), truths, objects)


def _restored_masks(dataset: RVOSDataset, video: Video, kept: Mapping[str, Any]) -> dict[str, Masklet]:
    """Every target by the name that it had, also those of which the files show nothing."""
    frames = {name: index for index, name in enumerate(video.frame_names)}
    names = {**kept["objects"], **kept["extras"]}
    shown = {names[i]: masklet for i, masklet in _all_objects(dataset, video, names).items() if i in names}
    targets = dict.fromkeys((*names.values(), *kept["hidden"], *kept["hidden_extras"]))
    return {t: patched(shown.get(t) or _nothing(video, t, kept), t, kept, frames) for t in targets}


def _nothing(video: Video, target: str, kept: Mapping[str, Any]) -> Masklet:
    known = next(iter(kept["covered"].get(target, {}).values()), None)
    return Masklet(video.frame_names, EmptyMasks(video.size if known is None else tuple(known["size"])))


def _truth(
    video: Video, own: Masklet | None, target: Sequence[str] | None, masks: Mapping[str, Masklet]
) -> Masklet | None:
    """The files' own masks, or, where these show less than there was, the union of the target's."""
    if target is None or any(name not in masks for name in target):
        return own
    parts = [masks[name] for name in target]
    if own is not None and not any(isinstance(part.source, Patched) for part in parts):
        return own
    if not parts:
        return Masklet(video.frame_names, EmptyMasks(video.size))
    union = UnionMasks(tuple(part.source for part in parts))
    return parts[0] if len(parts) == 1 else Masklet(parts[0].frame_names, union)


def _all_objects(dataset: RVOSDataset, video: Video, names: Mapping[str, str]) -> Mapping[str, Masklet]:
    """Also those of MeViS that no sentence names; its own files do not tell whose they are, the key does."""
    if isinstance(dataset, MeViS) and dataset.masks is not None:
        masks = dataset.masks
        return {i: Masklet(video.frame_names, masks.source(i, video.size)) for i in names if i in masks}
    return dataset.objects(video)


def _kept_videos(dataset: RVOSDataset) -> dict[str, Any]:
    path = meta_file_of(dataset)
    videos = read_json(path)["videos"] if path is not None else {}
    return {name: entry[KEY] for name, entry in videos.items() if isinstance(entry.get(KEY), dict)}


def _kept_file(dataset: RVOSDataset) -> dict[str, Any]:
    """What the first video's key says about the whole file."""
    return next(iter(_kept_videos(dataset).values()), {})


def _title(name: str) -> str:
    from ..cards import load_card
    from ..errors import UnknownNameError

    try:
        return load_card(name).title
    except UnknownNameError:  # a dataset of another package, without a card
        return name

"""One function a layout: content, a video at a time, becomes its files; what does not fit is reported as a loss.

Frames are the files of the source, hard-linked or copied byte for byte. Memory is bounded by one video's RLE masks and
one frame.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError, ImageError, UsageError
from ..groundmore import CLIP_SPAN, FPS, N_SCORED, action_frames, clip_begin, clock
from ..groundmore import TYPES as GROUNDMORE_TYPES
from ..long_rvos import TYPES as LONG_RVOS_TYPES
from ..masks import decode_rle, encode_rle
from ..revos import TYPES as REVOS_TYPES
from ..types import BoolMask, Expression, Masklet, Video
from .content import Targets, VideoContent, targets_of
from .files import JsonObject, made, save_binary, save_indexed
from .job import (
    Job,
    as_number,
    count_beyond,
    fits,
    is_number,
    place_frames,
    track_of,
    union_of,
    unique_names,
)
from .kept import Patches

VOID = 255
ANNOTATORS = 4
NO_OBJECT, FIRST_GROUP = 0, 1000
"""Object ids in the ReasonVOS layout, which knows one object per expression: 0 where there is no target, and ids from
1000 on for targets of several things."""


# ReasonVOS -----------------------------------------------------------------------------------------------------------


def write_reasonvos(job: Job, videos: Iterable[VideoContent]) -> None:
    """A folder of binary masks per object; a target of several objects, or of none, gets a folder of its own."""
    with JsonObject(job.stage / "meta_expressions.json", "videos") as meta:
        for nested in videos:
            content = _flat(nested, job)
            video, targets = content.video, targets_of(content)
            numbers = _folder_ids(targets)
            expressions = []
            for expression, names in zip(content.expressions, targets.of, strict=True):
                if names is None:
                    job.left_out("sentences without masks", content, expression)
                    continue
                expressions.append((expression, numbers[names]))
            prefix, patches = f"{content.source}_{video.id}_", Patches(video)
            for names, number in numbers.items():
                folder = made(job.stage / "Annotations" / f"{prefix}{number}")
                _write_binary(folder, targets, names, patches, job)
            place_frames(job.stage / "JPEGImages" / video.id, video, job)
            ids = {names[0]: number for names, number in numbers.items() if len(names) == 1}
            kept = job.kept(content, targets, [e for e, _ in expressions], ids, patches)
            entry = {
                "source": content.source,
                "frames": list(video.frame_names),
                "expressions": [_reasonvos_expression(e, number, job) for e, number in expressions],
                **kept,
            }
            if fits(video, expressions, job):
                meta.add(video.id, entry)
                job.wrote([e for e, _ in expressions])


def _flat(content: VideoContent, job: Job) -> VideoContent:
    """The video under a name without folders, which are those of objects here (ReVOS names the folder of a source)."""
    video_id = content.video.id
    if "/" not in video_id:
        return content
    job.losses.add("folders in names of videos, which become '-'", video_id)
    return replace(content, video=replace(content.video, id=video_id.replace("/", "-")))


def _reasonvos_expression(expression: Expression, number: str, job: Job) -> dict[str, Any]:
    fields: dict[str, Any] = {
        "obj_id": int(number) if number.isdecimal() else number,
        "exp_id": int(expression.layout_id) if is_number(expression.layout_id) else expression.layout_id,
        "exp_text": expression.text,
        "is_sent": expression.is_sentence,
    }
    if job.origin.startswith("reasonshapes"):  # whose loader reads the same layout with these keys
        fields |= {
            "object_ids": [int(i) for i in expression.object_ids or ()],
            "kind": expression.tags["kind"],
            "tags": {key: value for key, value in expression.tags.items() if key != "kind"},
        }
    return fields


def _folder_ids(targets: Targets) -> dict[tuple[str, ...], str]:
    """The id of the folder of every object and of every other target; objects keep theirs where folders can."""
    singles = list(targets.masks)
    plain = all("_" not in name and "/" not in name and "+" not in name and " " not in name for name in singles)
    ids: dict[tuple[str, ...], str] = {(name,): name if plain else str(k) for k, name in enumerate(singles, start=1)}
    groups = sorted({names for names in targets.of if names is not None and len(names) > 1})
    free = (str(n) for n in range(FIRST_GROUP, FIRST_GROUP + len(groups) + len(ids) + 1) if str(n) not in ids.values())
    ids |= {names: next(free) for names in groups}
    if () in targets.of:
        ids[()] = str(NO_OBJECT) if str(NO_OBJECT) not in ids.values() else next(free)
    return ids


def _write_binary(folder: Path, targets: Targets, names: tuple[str, ...], patches: Patches, job: Job) -> None:
    """The union of the targets; no file for a frame in which none is annotated."""
    video, masklets = patches.video, [targets.masks[name] for name in names]
    for index, name in enumerate(video.frame_names):
        mask = union_of([m.mask(index) for m in masklets]) if masklets else np.zeros(video.size, bool)
        if mask is not None:
            save_binary(mask, folder / f"{name}.png")
            if len(names) == 1:
                patches.add(names[0], index, mask, mask, masklets[0].void(index))
    count_beyond(video, masklets, job)


# MeViS ---------------------------------------------------------------------------------------------------------------


def write_mevis(job: Job, videos: Iterable[VideoContent]) -> None:
    """RLE per annotation and frame; null is absent, so a frame without annotation cannot be told from one."""
    folder, withheld = made(job.stage / job.split), job.split == "valid"
    with ExitStack() as files:
        meta = files.enter_context(JsonObject(folder / "meta_expressions.json", "videos"))
        masks = None if withheld else files.enter_context(JsonObject(folder / "mask_dict.json"))
        for _ in _write_rle(job, videos, folder, meta, masks, lambda content, expression: {}):
            pass


@dataclass(frozen=True)
class _RleVideo:
    """What was written of a video: its entry of the meta file, which the caller may add to, and its tracks."""

    content: VideoContent
    entry: dict[str, Any]
    tracks: Sequence[Sequence[dict[str, Any] | None]]


def _write_rle(
    job: Job,
    videos: Iterable[VideoContent],
    folder: Path,
    meta: JsonObject,
    masks: JsonObject | None,
    fields: Callable[[VideoContent, Expression], dict[str, Any]],
) -> Iterator[_RleVideo]:
    """Write videos whose masks are RLE in one file, and give each before its entry is written.

    Args:
        folder: that of the images.
        meta, masks: the files; no ``masks`` for a split that withholds them.
        fields: what an expression has besides text and ids.
    """
    same_ids = job.keeps_ids or job.origin.startswith(("mevis/", "revos/"))
    next_anno = 0
    for number, content in enumerate(videos):
        video, targets = content.video, targets_of(content)
        annos = {name: name if same_ids else str(next_anno + k) for k, name in enumerate(targets.masks)}
        next_anno += len(annos)
        places = {name: k for k, name in enumerate(targets.masks)}
        expressions: list[Expression] = []
        entries: dict[str, dict[str, Any]] = {}
        for expression, name, means in zip(
            content.expressions, unique_names(content.expressions), targets.of, strict=True
        ):
            if means is None and masks is not None:
                job.left_out("sentences without masks", content, expression)
                continue
            entries[name] = {"exp": expression.text}
            if masks is not None and means is not None:
                entries[name] |= {"obj_id": [places[m] for m in means], "anno_id": [as_number(annos[m]) for m in means]}
            entries[name] |= fields(content, expression)
            expressions.append(expression)
        patches, tracks = Patches(video), []
        for name, masklet in targets.masks.items() if masks is not None else ():
            tracks.append(track_of(name, masklet, patches, job))
            masks.add(annos[name], tracks[-1])  # type: ignore[union-attr]
        place_frames(folder / "JPEGImages" / video.id, video, job)
        kept = job.kept(content, targets, expressions, annos if masks is not None else {}, patches)
        if masks is None:
            job.losses.add("masks of objects, which this split withholds", video.id, count=len(content.objects))
        if fits(video, expressions, job):
            entry = {"expressions": entries, "vid_id": number, "frames": list(video.frame_names), **kept}
            yield _RleVideo(content, entry, tracks)
            meta.add(video.id, entry)
            job.wrote(expressions)


# ReVOS ---------------------------------------------------------------------------------------------------------------


def write_revos(job: Job, videos: Iterable[VideoContent]) -> None:
    """As MeViS, with types of sentences, and beside the masks the union of those that a video's sentences name."""
    with ExitStack() as files:
        meta = files.enter_context(JsonObject(job.stage / f"meta_expressions_{job.split}_.json", "videos"))
        masks = files.enter_context(JsonObject(job.stage / "mask_dict.json"))
        foreground = files.enter_context(JsonObject(job.stage / "mask_dict_foreground.json"))
        for written in _write_rle(job, videos, job.stage, meta, masks, _revos_fields):
            height, width = written.content.video.size
            written.entry.update(height=height, width=width)
            named = {k for fields in written.entry["expressions"].values() for k in fields["obj_id"]}
            unions = [_union_of_rle(rles, named, height, width) for rles in zip(*written.tracks, strict=True)]
            rles = [encode_rle(union) for union in unions]
            ratios = [float(union.mean()) for union in unions]
            foreground.add(written.content.video.id, {"masks_rle": rles, "foreground_ratio": ratios})


def _revos_fields(content: VideoContent, expression: Expression) -> dict[str, Any]:
    kind = expression.tags.get("type")
    if kind not in REVOS_TYPES.values():
        kind = expression.kind if expression.object_ids else "no-target"
    return {"type_id": next(number for number, name in REVOS_TYPES.items() if name == kind)}


def _union_of_rle(rles: Sequence[dict[str, Any] | None], named: set[int], height: int, width: int) -> BoolMask:
    masks = [decode_rle(rle) for k, rle in enumerate(rles) if rle is not None and k in named]
    union: BoolMask = np.logical_or.reduce([np.zeros((height, width), bool), *masks])
    return union


# Long-RVOS -----------------------------------------------------------------------------------------------------------


def write_long_rvos(job: Job, videos: Iterable[VideoContent]) -> None:
    """A folder of binary masks per object with the frames in which it is seen; groups get folders of their own."""
    folder = made(job.stage / job.split)
    with JsonObject(folder / "meta_expressions.json", "videos") as meta:
        for content in videos:
            video, targets = content.video, targets_of(content)
            numbers = {means: number for means, number in _folder_ids(targets).items() if means}
            expressions, entries = [], {}
            for expression, name, means in zip(
                content.expressions, unique_names(content.expressions), targets.of, strict=True
            ):
                if not means:
                    what = "sentences without masks" if means is None else "sentences without a target"
                    job.left_out(what, content, expression)
                    continue
                kind = _known_type(expression, LONG_RVOS_TYPES, f"{video.id}/{expression.id}", job)
                entries[name] = {"exp": expression.text, "obj_id": as_number(numbers[means]), "type": kind}
                expressions.append(expression)
            if not fits(video, expressions, job):
                continue
            patches = Patches(video)
            for means, number in numbers.items():
                _write_sparse(made(folder / "Annotations" / video.id / number), targets, means, patches, job)
            place_frames(folder / "JPEGImages" / video.id, video, job)
            ids = {means[0]: number for means, number in numbers.items() if len(means) == 1}
            kept = job.kept(content, targets, expressions, ids, patches)
            meta.add(video.id, {"expressions": entries, "frames": list(video.frame_names), **kept})
            job.wrote(expressions)


def _write_sparse(folder: Path, targets: Targets, names: tuple[str, ...], patches: Patches, job: Job) -> None:
    """Masks of the frames that show anything, of the first one where none does."""
    video, masklets, seen = patches.video, [targets.masks[name] for name in names], False
    for index, name in enumerate(video.frame_names):
        mask = union_of([m.mask(index) for m in masklets])
        if len(names) == 1:
            patches.add(names[0], index, mask, mask, masklets[0].void(index))
        if mask is not None and mask.any():
            save_binary(mask, folder / f"{name}.png")
            seen = True
    if not seen:
        save_binary(np.zeros(video.size, bool), folder / f"{video.frame_names[0]}.png")
    count_beyond(video, masklets, job)


def _known_type(expression: Expression, known: Sequence[str], place: str, job: Job) -> str:
    """The sentence's type where the layout knows it, else the layout's last."""
    found = str(expression.tags.get("type", ""))
    if found in known:
        return found
    job.losses.add(f"sentences of no known type, written as {known[-1]}", place, kept=True)
    return known[-1]


# GroundMoRe ----------------------------------------------------------------------------------------------------------


def write_groundmore(job: Job, videos: Iterable[VideoContent]) -> None:
    """Label maps of a clip's objects, and for every sentence the seconds in which its object is meant.

    Raises:
        UsageError: frames are left out, although in this layout nothing else lists them.
    """
    if job.frames == "none":
        raise UsageError("In the layout groundmore the images list the frames; convert with frames='link' or 'copy'.")
    with JsonObject(job.stage / f"{job.split}_v2.json", "videos") as meta:
        for content in videos:
            clip, targets, patches = _clip(content.video, job), targets_of(content), Patches(content.video)
            labels = _labels(Targets(content.objects, ()))
            expressions, entries = [], {}
            for expression, name, truth in zip(
                content.expressions, unique_names(content.expressions), content.truths, strict=True
            ):
                object_id = (expression.object_ids or ("",))[0]
                moment = _moment(expression, truth, content.objects, clip)
                if moment is None or object_id not in labels:
                    what = "sentences about no object, several, or one in moments of no whole seconds"
                    job.left_out(what, content, expression)
                    continue
                kind = _known_type(expression, GROUNDMORE_TYPES, f"{content.video.id}/{expression.id}", job)
                entries[name] = {"question": expression.text, "obj_id": labels[object_id], "q_type": kind}
                entries[name] |= dict(zip(("action_start", "action_end"), moment.split("-"), strict=True))
                expressions.append(expression)
            if not fits(content.video, expressions, job):
                continue
            folder = job.stage / "annotations" / clip.name
            names = [f"frame_{i:06d}" for i in clip.numbers]
            _write_maps(made(folder / "masks"), names, content.objects, labels, patches, job, keep_void=False)
            place_frames(folder / "images", clip.video, job)
            # Its loader knows the objects that are asked for, and targets at moments of their own by the objects.
            asked = {str(e.object_ids[0]) for e in expressions if e.object_ids}
            for name, masklet in targets.masks.items():
                if name not in asked:
                    patches.hide(name, masklet)
            ids = {name: str(label) for name, label in labels.items() if name in asked}
            kept = job.kept(content, _own_moments(targets, content, expressions), expressions, ids, patches)
            meta.add(clip.name, {"questions": entries, **kept})
            job.wrote(expressions)


def _own_moments(targets: Targets, content: VideoContent, written: Sequence[Expression]) -> Targets:
    """The targets; None for written sentences, whose masks the layout knows from the object and the seconds."""
    there = {id(e) for e in written}
    of = [None if id(e) in there else means for e, means in zip(content.expressions, targets.of, strict=True)]
    return Targets(targets.masks, tuple(of))


@dataclass(frozen=True)
class _Clip:
    """A video as a clip: its name there, the frames that are written, and the numbers of those with masks."""

    name: str
    video: Video
    numbers: tuple[int, ...]


def _clip(video: Video, job: Job) -> _Clip:
    """The clip, with the frames around the scored ones where these have files."""
    around = video.context_names
    whole = around if around and all(video.source and video.source.path(name) for name in around) else ()
    if around and not whole and around != video.frame_names:
        job.losses.add("frames around the scored ones", video.id, count=len(around) - len(video))
    frames = whole or video.frame_names
    if list(frames) != sorted(frames):
        job.losses.add("orders of frames that are not those of their names", video.id)
    job.losses.add(f"frames beyond the {N_SCORED} that are scored", video.id, count=max(0, len(video) - N_SCORED))
    name = video.id
    if not CLIP_SPAN.search(name):
        name += f"_0000_{clock(-(-len(frames) // FPS)).replace(':', '')}"
        job.losses.add("names of videos, which now end in their times", video.id)
    places = {frame: i for i, frame in enumerate(sorted(frames))}
    written = replace(video, frame_names=tuple(frames), context_names=())
    return _Clip(name, written, tuple(places[frame] for frame in video.frame_names))


def _moment(expression: Expression, truth: Masklet | None, objects: Mapping[str, Masklet], clip: _Clip) -> str | None:
    """The times ``mm:ss-mm:ss`` in which the target is its one object, and outside of which it is empty."""
    ids = expression.object_ids or ()
    if truth is None or len(ids) != 1 or ids[0] not in objects:
        return None
    there = [_possible(truth.mask(k), objects[ids[0]].mask(k)) for k in range(len(clip.numbers))]
    fits = dict(zip(clip.numbers, there, strict=True))
    last = -(-len(clip.video) // FPS)
    begin = clip_begin(clip.name)
    spans = ((s, e) for s in range(last) for e in range(last, s, -1))
    known = [str(expression.tags["action"])] if "action" in expression.tags else []
    for action in (*known, *(f"{clock(begin + s)}-{clock(begin + e)}" for s, e in spans)):
        during = action_frames(clip.name, action)
        if all((number in during) in possible for number, possible in fits.items()):
            return action
    return None


def _possible(target: BoolMask | None, own: BoolMask | None) -> set[bool]:
    """Whether a frame may lie in the action (True: the target is the object), outside of it (False: it is empty)."""
    if target is None or own is None:
        return {True, False} if target is None and own is None else set()
    return {inside for inside, fits in ((True, np.array_equal(target, own)), (False, not target.any())) if fits}


# Ref-YouTube-VOS -----------------------------------------------------------------------------------------------------


def write_ref_youtube_vos(job: Job, videos: Iterable[VideoContent]) -> None:
    """``train``: label maps. ``valid``: binary masks per expression, as published in 2026."""
    if job.split == "train":
        _write_label_maps(job, videos, "train", _youtube_names, keep_void=False)
        return
    folder = made(job.stage / "valid")
    path = made(job.stage / "meta_expressions" / "valid") / "meta_expressions.json"
    with JsonObject(path, "videos") as meta:
        for content in videos:
            video, targets = content.video, targets_of(content)
            names_of, patches = unique_names(content.expressions), Patches(video)
            entries: dict[str, dict[str, Any]] = {}
            ids: dict[str, str] = {}
            for expression, name, means in zip(content.expressions, names_of, targets.of, strict=True):
                entries[name] = {"exp": expression.text}
                if means is not None:
                    _write_binary(made(folder / "Annotations" / video.id / name), targets, means, patches, job)
                if means is not None and len(means) == 1:
                    ids[means[0]] = means[0]
                    if means[0] in content.objects:  # a name that a target was given here is nobody's object
                        entries[name]["obj_id"] = means[0]
            _resized(video, content.truths, job)
            for name in content.objects.keys() - ids.keys():  # no sentence means it alone
                patches.hide(name, content.objects[name])
            place_frames(folder / "JPEGImages" / video.id, video, job)
            kept = job.kept(content, targets, content.expressions, ids, patches)
            meta.add(video.id, {"expressions": entries, "frames": list(video.frame_names), **kept})
            job.wrote(content.expressions)


def _resized(video: Video, truths: Sequence[Masklet | None], job: Job) -> None:
    """Its readers bring masks to the size of the frames."""
    try:
        size = video.size
    except (DatasetError, ImageError):  # no images, so no size to bring masks to
        return
    masks = (truth.mask(i) for truth in truths if truth is not None for i in range(len(video)))
    first = next((mask for mask in masks if mask is not None), None)
    if first is not None and first.shape != size and job.frames != "none":
        job.losses.add("videos with masks of another size than their frames, to which readers resize them", video.id)


def _youtube_names(expressions: Sequence[Expression], labels: Sequence[int]) -> list[str | None]:
    return list(unique_names(expressions))


# Ref-DAVIS-17 --------------------------------------------------------------------------------------------------------


def write_ref_davis17(job: Job, videos: Iterable[VideoContent]) -> None:
    """The converted layout: label maps, and up to four sentences an object, numbered 4 * object + annotator."""
    _write_label_maps(job, videos, job.split, _davis_names, keep_void=True)


def _davis_names(expressions: Sequence[Expression], labels: Sequence[int]) -> list[str | None]:
    """The numbers that the sentences had, or else the next annotator's of their object; None from the fifth on."""
    own = [e.layout_id for e in expressions]
    asked = {(label, int(name) % ANNOTATORS) for label, name in zip(labels, own, strict=True) if is_number(name)}
    if all(map(is_number, own)) and len(set(own)) == len(own) == len(asked) and _told_apart(expressions):
        return list(own)
    position = {label: k for k, label in enumerate(dict.fromkeys(labels))}
    said: dict[int, int] = {}
    names: list[str | None] = []
    for label in labels:
        annotator = said.setdefault(label, 0)
        said[label] += 1
        names.append(str(ANNOTATORS * position[label] + annotator) if annotator < ANNOTATORS else None)
    return names


def _told_apart(expressions: Sequence[Expression]) -> bool:
    return all(e.tags.get("annotator") == int(e.layout_id) % ANNOTATORS for e in expressions)


# Label maps ----------------------------------------------------------------------------------------------------------

Naming = Callable[[Sequence[Expression], Sequence[int]], "list[str | None]"]


def _write_label_maps(job: Job, videos: Iterable[VideoContent], split: str, naming: Naming, *, keep_void: bool) -> None:
    folder = made(job.stage / split)
    path = made(job.stage / "meta_expressions" / split) / "meta_expressions.json"
    with JsonObject(path, "videos") as meta, JsonObject(folder / "meta.json", "videos") as objects:
        for content in videos:
            video, targets = content.video, targets_of(content)
            labels, patches = _labels(targets), Patches(video)
            single = list(_single_targets(content, targets, labels, job))
            names_of = naming([e for e, _ in single], [label for _, label in single])
            entries, expressions = {}, []
            for (expression, label), name in zip(single, names_of, strict=True):
                if name is None:
                    job.left_out("sentences beyond four about one object", content, expression)
                    continue
                entries[name] = {"exp": expression.text, "obj_id": str(label)}
                expressions.append(expression)
            if not fits(video, expressions, job):
                continue
            maps = made(folder / "Annotations" / video.id)
            seen = _write_maps(maps, video.frame_names, targets.masks, labels, patches, job, keep_void)
            for name in targets.masks:
                if name not in seen:  # behind others all the time, or beyond the labels of a map
                    patches.hide(name, targets.masks[name])
            place_frames(folder / "JPEGImages" / video.id, video, job)
            listed = {str(label): {"category": "unknown"} for label in labels.values()}
            objects.add(video.id, {"objects": listed})
            ids = {name: str(label) for name, label in labels.items() if name in seen}
            kept = job.kept(content, targets, expressions, ids, patches)
            meta.add(video.id, {"expressions": entries, "frames": list(video.frame_names), **kept})
            job.wrote(expressions)


def _labels(targets: Targets) -> dict[str, int]:
    """A label from 1 to 254 for every target, as far as they go; objects keep theirs where all are such numbers."""
    names = list(targets.masks)
    if all(is_number(name) and 0 < int(name) < VOID for name in names):
        return {name: int(name) for name in names}
    return {name: k for k, name in enumerate(names[: VOID - 1], start=1)}


def _single_targets(
    content: VideoContent, targets: Targets, labels: Mapping[str, int], job: Job
) -> Iterator[tuple[Expression, int]]:
    for expression, names in zip(content.expressions, targets.of, strict=True):
        if names is None:
            job.left_out("sentences without masks", content, expression)
        elif not names:
            job.left_out("sentences without a target", content, expression)
        elif len(names) > 1:
            job.left_out("sentences about several objects", content, expression)
        elif names[0] in labels:
            yield expression, labels[names[0]]
        else:
            job.left_out("sentences about objects beyond the 254 labels of a map", content, expression)


def _write_maps(
    folder: Path,
    file_names: Sequence[str],
    masklets: Mapping[str, Masklet],
    labels: Mapping[str, int],
    patches: Patches,
    job: Job,
    keep_void: bool,
) -> set[str]:
    """Label maps of all frames that any object is annotated in, and the targets that are seen in any of them.

    ``file_names`` are those of the maps, in the order of frames.
    """
    seen: set[str] = set()
    for index, name in enumerate(file_names):
        masks = {target: masklets[target].mask(index) for target in labels}
        annotated = {labels[target]: mask for target, mask in masks.items() if mask is not None}
        if not annotated:
            continue
        voids = {target: masklets[target].void(index) for target in labels}
        areas = [void for void in voids.values() if void is not None] if keep_void else []
        painted = _painted(annotated, areas)
        save_indexed(painted, folder / f"{name}.png")
        shown_void = painted == VOID
        for target, label in labels.items():
            shown = painted == label
            seen |= {target} if shown.any() else set()
            patches.add(target, index, masks[target], shown, voids[target], shown_void)
    count_beyond(patches.video, [masklets[target] for target in labels], job)
    return seen


def _painted(masks: Mapping[int, BoolMask], voids: Sequence[BoolMask]) -> NDArray[np.uint8]:
    """The label map; where objects overlap, the first keeps the pixels."""
    labels = np.zeros(next(iter(masks.values())).shape, np.uint8)
    for label, mask in masks.items():
        labels[mask & (labels == 0)] = label
    for void in voids:
        labels[void & (labels == 0)] = VOID
    return labels

"""Writing generated videos in the on-disk layouts of the benchmarks, byte for byte as their tools expect them.

Everything is streamed: memory is bounded by one video's sentences and one frame, whatever the number of videos. Files
are made in a folder beside the destination and moved there when all are complete, so a killed writer leaves nothing
that looks like a data set.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import UnknownNameError
from ..layouts.files import JsonObject, made, save_binary, save_indexed, staged
from ..layouts.images import REFER, write_reasonseg, write_refer
from ..layouts.job import Job
from ..layouts.writers import FIRST_GROUP, NO_OBJECT, write_groundmore, write_long_rvos, write_revos
from ..masks import encode_rle
from .contents import (
    SOURCE,
    Adapt,
    VideoContent,
    contents,
    for_groundmore,
    for_images,
    for_long_rvos,
    for_refclef,
    for_revos,
)
from .davis import ANNOTATORS, DavisObject, describe_objects
from .generate import GeneratedSample, GeneratedVideo, generate
from .programs import to_json


@dataclass(frozen=True)
class Written:
    """What was written: where, and how much of what was given fitted into the layout."""

    root: Path
    n_videos: int
    n_expressions: int
    n_left_out: int


@dataclass(frozen=True)
class Options:
    """The arguments of ``write`` that some layouts know."""

    split: str
    no_target: bool
    frame_step: int
    test_videos: Iterable[GeneratedVideo]
    public_masks: bool
    jpeg_quality: int


def write(
    layout: str,
    root: Path | str,
    videos: Iterable[GeneratedVideo],
    *,
    split: str | None = None,
    no_target: bool = False,
    frame_step: int | None = None,
    test_videos: Iterable[GeneratedVideo] = (),
    public_masks: bool = True,
    jpeg_quality: int = 90,
) -> Written:
    """Writes videos, sentences and masks in a benchmark's layout.

    ``reasonvos``: ``meta_expressions.json``, ``JPEGImages/<video>/``, ``Annotations/<source>_<video>_<object>/`` with
    0/255 masks. Every thing has its masks, asked for or not. Beyond the benchmark's own keys an expression has
    ``object_ids``, ``kind``, ``tags`` and ``program``, a video its ``scene`` graph.

    ``mevis``: ``<split>/{meta_expressions.json, mask_dict.json, JPEGImages/<video>/}``; masks are COCO RLE per frame,
    null where nothing is seen. Split ``valid`` withholds masks and object ids. Targets may be several things.

    ``ref-youtube-vos``: ``train`` with indexed masks, ``meta.json`` and ``meta_expressions/train``; ``valid`` with
    0/255 masks per expression, and a meta file without object ids that also lists ``test_videos``, which alone are in
    ``meta_expressions/test`` and have no masks.

    ``ref-davis17``: sentences of two annotators, each for the first frame and for the full video, made for the things
    seen in frame 0. Split ``valid`` has the original folders (``DAVIS``, ``davis_text_annotations``) and the converted
    ones (``valid``, ``meta_expressions/valid``); ``train`` the converted ones alone. The videos' own sentences are not
    used.

    ``revos``: as ``mevis`` with types of sentences, in one folder; ``mask_dict_foreground.json`` beside the masks.
    No-target sentences are its third type.

    ``long-rvos``: a folder of 0/255 masks per thing with the frames in which it is seen.

    ``reasonseg``, ``refcoco``, ``refcoco+``, ``refcocog``, ``refclef``: the frame in the middle of every video as an
    image, with the sentences whose targets are seen in it; ReasonSeg takes the first of them. A root of refs holds one
    split, as all splits share a file.

    ``groundmore``: label maps of clips at six frames a second; every second question means the first half of its clip.

    Args:
        layout: one of the above.
        root: folder of the data set. What is already there is never overwritten.
        videos: consumed once, one at a time.
        split: for the layouts that have splits; their usual validation split by default.
        no_target: let ``mevis`` hold expressions without a target, as its second version does.
        frame_step: distance between the numbers in frame names; 5 for ``ref-youtube-vos``, otherwise 1.
        test_videos: for ``ref-youtube-vos`` split ``valid``.
        public_masks: whether ``ref-youtube-vos`` split ``valid`` has its masks.
        jpeg_quality: of the frames, 1-95.

    Raises:
        UnknownNameError: an unknown layout or split.
        UsageError: something is already there.
        DatasetError: two videos of one id.
    """
    if layout not in _LAYOUTS:
        raise UnknownNameError("layout", layout, _LAYOUTS)
    splits, step, writer = _LAYOUTS[layout]
    chosen = splits[0] if split is None else split
    if chosen not in splits:
        raise UnknownNameError(f"split of layout {layout}", chosen, [s for s in splits if s])
    options = Options(chosen, no_target, frame_step or step, test_videos, public_masks, jpeg_quality)
    with staged(Path(root)) as stage:
        return writer(stage, Path(root), videos, options)


def write_mask_dict_at_scale(
    root: Path | str,
    n_annotations: int,
    n_frames: int,
    *,
    height: int = 480,
    width: int = 854,
    objects_per_video: int = 6,
    pool: int = 48,
) -> Path:
    """A MeViS split of any size without images, for measuring readers: ``meta_expressions.json``, ``mask_dict.json``.

    MeViS train has about 8,200 annotations of about 54 frames, 443,000 masks. Every annotation is one of ``pool``
    rendered tracks, begun at another frame, so the file grows at the speed of the disk. One expression per annotation.

    Args:
        root: the folder to make; must not exist.
        n_annotations: entries of ``mask_dict.json``.
        n_frames: masks per annotation.
        height, width: of the masks.
        objects_per_video: annotations that share a video.
        pool: distinct tracks.

    Returns:
        ``root``.
    """
    tracks = _tracks(pool, n_frames, height, width)
    names = [f"{t:05d}" for t in range(n_frames)]
    with staged(Path(root)) as stage, JsonObject(stage / "mask_dict.json") as masks:
        for k in range(n_annotations):
            track, begin = tracks[k % len(tracks)], k // len(tracks) % n_frames
            masks.add_raw(str(k), "[" + ", ".join(track[begin:] + track[:begin]) + "]")
        with JsonObject(stage / "meta_expressions.json", "videos") as meta:
            for number, first in enumerate(range(0, n_annotations, objects_per_video)):
                ids = range(first, min(first + objects_per_video, n_annotations))
                expressions = {
                    str(i): {"exp": f"object number {i} of this video", "obj_id": [i], "anno_id": [anno]}
                    for i, anno in enumerate(ids)
                }
                entry = {"expressions": expressions, "vid_id": number, "frames": names}
                meta.add(f"video{number:06d}", entry)
    return Path(root)


# ReasonVOS -----------------------------------------------------------------------------------------------------------


def _write_reasonvos(stage: Path, root: Path, videos: Iterable[GeneratedVideo], options: Options) -> Written:
    n_videos = n_expressions = 0
    with JsonObject(stage / "meta_expressions.json", "videos") as meta:
        for video in videos:
            names = _names(video, options)
            targets = _reasonvos_targets(video)
            expressions = [
                {
                    "obj_id": targets[sample.object_ids],
                    "exp_id": int(sample.id),
                    "exp_text": sample.text,
                    "is_sent": sample.is_sentence,
                    "object_ids": list(sample.object_ids),
                    "kind": sample.kind,
                    "tags": sample.tags,
                    "program": to_json(sample.program),
                }
                for sample in video.samples
            ]
            meta.add(
                video.id, {"source": SOURCE, "frames": names, "expressions": expressions, "scene": video.scene.graph()}
            )
            folders = {ids: made(stage / "Annotations" / f"{SOURCE}_{video.id}_{n}") for ids, n in targets.items()}
            for name, labels in _write_frames(stage / "JPEGImages" / video.id, video, names, options):
                for ids, folder in folders.items():
                    save_binary(np.isin(labels, ids), folder / f"{name}.png")
            n_videos, n_expressions = n_videos + 1, n_expressions + len(expressions)
    return Written(root, n_videos, n_expressions, 0)


def _reasonvos_targets(video: GeneratedVideo) -> dict[tuple[int, ...], int]:
    """The object id of every thing and of every other set of things that a sentence means."""
    targets: dict[tuple[int, ...], int] = {(thing.id,): thing.id for thing in video.things}
    groups = sorted({s.object_ids for s in video.samples if len(s.object_ids) > 1})
    targets.update({ids: FIRST_GROUP + k for k, ids in enumerate(groups)})
    if any(not s.object_ids for s in video.samples):
        targets[()] = NO_OBJECT
    return targets


# MeViS ---------------------------------------------------------------------------------------------------------------


def _write_mevis(stage: Path, root: Path, videos: Iterable[GeneratedVideo], options: Options) -> Written:
    folder = made(stage / options.split)
    withheld = options.split == "valid"
    counts = _Counts()
    next_anno = 0
    with ExitStack() as files:
        meta = files.enter_context(JsonObject(folder / "meta_expressions.json", "videos"))
        masks = None if withheld else files.enter_context(JsonObject(folder / "mask_dict.json"))
        for number, (video, samples) in enumerate(counts.fitting(videos, 0 if options.no_target else 1, 255)):
            names = _names(video, options)
            annos = {thing.id: next_anno + k for k, thing in enumerate(video.things)}
            next_anno += len(annos)
            expressions = {str(k): _mevis_expression(sample, annos, withheld) for k, sample in enumerate(samples)}
            meta.add(video.id, {"expressions": expressions, "vid_id": number, "frames": names})
            frames = _write_frames(folder / "JPEGImages" / video.id, video, names, options)
            tracks = _mevis_tracks(annos, frames)
            if masks is not None:
                for anno, track in tracks.items():
                    masks.add(str(anno), track)
    return counts.written(root)


def _mevis_tracks(
    annos: dict[int, int], frames: Iterable[tuple[str, NDArray[np.uint8]]]
) -> dict[int, list[dict[str, Any] | None]]:
    """For every annotation id its masks over the frames as RLE, None where nothing is seen."""
    tracks: dict[int, list[dict[str, Any] | None]] = {anno: [] for anno in annos.values()}
    for _, labels in frames:
        for thing_id, anno in annos.items():
            mask = labels == thing_id
            tracks[anno].append(encode_rle(mask) if mask.any() else None)
    return tracks


def _mevis_expression(sample: GeneratedSample, annos: dict[int, int], withheld: bool) -> dict[str, Any]:
    """Object ids count from 0 in a video, annotation ids from 0 in the split."""
    if withheld:
        return {"exp": sample.text}
    ids = list(sample.object_ids)
    return {"exp": sample.text, "obj_id": [i - 1 for i in ids], "anno_id": [annos[i] for i in ids]}


# Ref-YouTube-VOS -----------------------------------------------------------------------------------------------------


def _write_ref_youtube_vos(stage: Path, root: Path, videos: Iterable[GeneratedVideo], options: Options) -> Written:
    if options.split == "train":
        return _write_ref_youtube_vos_train(stage, root, videos, options)
    counts = _Counts()
    folder = made(stage / "valid")
    valid = made(stage / "meta_expressions" / "valid") / "meta_expressions.json"
    test = made(stage / "meta_expressions" / "test") / "meta_expressions.json"
    with JsonObject(valid, "videos") as valid_meta, JsonObject(test, "videos") as test_meta:
        for video, samples in counts.fitting(videos, 1, 1):
            names = _names(video, options)
            valid_meta.add(video.id, _youtube_entry(samples, names, with_ids=False))
            for name, labels in _write_frames(folder / "JPEGImages" / video.id, video, names, options):
                for k, sample in enumerate(samples if options.public_masks else ()):
                    target = made(folder / "Annotations" / video.id / str(k))
                    save_binary(np.isin(labels, sample.object_ids), target / f"{name}.png")
        for video, samples in counts.fitting(options.test_videos, 1, 1):
            names = _names(video, options)
            for meta in (valid_meta, test_meta):
                meta.add(video.id, _youtube_entry(samples, names, with_ids=False))
            for _ in _write_frames(folder / "JPEGImages" / video.id, video, names, options):
                pass
        has_test = test_meta.n > 0
    if not has_test:
        shutil.rmtree(test.parent)
    return counts.written(root)


def _write_ref_youtube_vos_train(
    stage: Path, root: Path, videos: Iterable[GeneratedVideo], options: Options
) -> Written:
    counts = _Counts()
    folder = made(stage / "train")
    path = made(stage / "meta_expressions" / "train") / "meta_expressions.json"
    with JsonObject(path, "videos") as meta, JsonObject(folder / "meta.json", "videos") as objects:
        for video, samples in counts.fitting(videos, 1, 1):
            names = _names(video, options)
            meta.add(video.id, _youtube_entry(samples, names, with_ids=True))
            masks = made(folder / "Annotations" / video.id)
            seen: dict[int, list[str]] = {thing.id: [] for thing in video.things}
            for name, labels in _write_frames(folder / "JPEGImages" / video.id, video, names, options):
                save_indexed(labels, masks / f"{name}.png")
                for thing_id in np.unique(labels[labels > 0]):
                    seen[int(thing_id)].append(name)
            listed = {
                str(thing.id): {"category": thing.shape, "frames": seen[thing.id]}
                for thing in video.things
                if seen[thing.id]
            }
            objects.add(video.id, {"objects": listed})
    return counts.written(root)


def _youtube_entry(samples: Sequence[GeneratedSample], names: list[str], *, with_ids: bool) -> dict[str, Any]:
    expressions: dict[str, dict[str, str]] = {}
    for k, sample in enumerate(samples):
        expressions[str(k)] = {"exp": sample.text}
        if with_ids:
            expressions[str(k)]["obj_id"] = str(sample.object_ids[0])
    return {"expressions": expressions, "frames": names}


# Ref-DAVIS-17 --------------------------------------------------------------------------------------------------------


def _write_ref_davis17(stage: Path, root: Path, videos: Iterable[GeneratedVideo], options: Options) -> Written:
    original = stage / "DAVIS" if options.split == "valid" else None
    converted = made(stage / options.split)
    path = made(stage / "meta_expressions" / options.split) / "meta_expressions.json"
    semantics: dict[str, dict[str, str]] = {}
    texts: list[tuple[str, DavisObject]] = []
    with JsonObject(path, "videos") as meta, JsonObject(converted / "meta.json", "videos") as objects:
        for video in videos:
            described = describe_objects(video)
            semantics[video.id] = {str(o.label): o.category for o in described}
            asked = [o for o in described if o.texts]
            texts += [(video.id, o) for o in asked]
            names = _names(video, options)
            meta.add(video.id, {"expressions": _davis_expressions(asked), "frames": names})
            objects.add(video.id, {"objects": {k: {"category": c} for k, c in semantics[video.id].items()}})
            _write_davis_frames(converted, original, video, described, names, options)
    if original is not None:
        val = made(original / "ImageSets" / "2017") / "val.txt"
        val.write_text("".join(f"{video_id}\n" for video_id in semantics), encoding="utf-8")
        (original / "davis_semantics.json").write_text(json.dumps(semantics, indent=1), encoding="utf-8")
        write_davis_texts(made(stage / "davis_text_annotations"), texts)
    return Written(root, len(semantics), len(ANNOTATORS) * len(texts), 0)


def _davis_expressions(asked: Sequence[DavisObject]) -> dict[str, dict[str, str]]:
    """Numbered as ReferFormer's converter does: by object, then in the order of ``ANNOTATORS``."""
    return {
        str(len(ANNOTATORS) * k + j): {"exp": text, "obj_id": str(o.label)}
        for k, o in enumerate(asked)
        for j, text in enumerate(o.texts)
    }


def write_davis_texts(folder: Path, texts: Sequence[tuple[str, DavisObject]]) -> None:
    """The four files of ``davis_text_annotations``, one line ``<video> <object> "<text>"`` per object and file."""
    for j, (file_name, encoding) in enumerate(ANNOTATORS):
        lines = [f'{video_id} {o.label} "{o.texts[j]}"\n' for video_id, o in texts]
        (folder / file_name).write_bytes("".join(lines).encode(encoding))


def _write_davis_frames(
    converted: Path,
    original: Path | None,
    video: GeneratedVideo,
    described: Sequence[DavisObject],
    names: list[str],
    options: Options,
) -> None:
    relabel = np.zeros(256, np.uint8)
    for o in described:
        relabel[o.thing_id] = o.label
    folders = [converted / "JPEGImages" / video.id, converted / "Annotations" / video.id]
    copies = (
        []
        if original is None
        else [
            (folders[0], original / "JPEGImages" / "480p" / video.id),
            (folders[1], original / "Annotations" / "480p" / video.id),
            (folders[1], original / "Annotations_unsupervised" / "480p" / video.id),
        ]
    )
    made(folders[1])
    for name, labels in _write_frames(folders[0], video, names, options):
        save_indexed(relabel[labels], folders[1] / f"{name}.png")
    for source, copy in copies:
        shutil.copytree(source, copy)


# Files ---------------------------------------------------------------------------------------------------------------


class _Counts:
    """Goes through videos, keeps the samples that a layout can hold, and counts."""

    def __init__(self) -> None:
        self.n_videos = self.n_expressions = self.n_left_out = 0

    def fitting(
        self, videos: Iterable[GeneratedVideo], least: int, most: int
    ) -> Iterator[tuple[GeneratedVideo, list[GeneratedSample]]]:
        """Videos with their samples of ``least`` to ``most`` targets; those without any are left out."""
        for video in videos:
            samples = [s for s in video.samples if least <= len(s.object_ids) <= most]
            self.n_left_out += len(video.samples) - len(samples)
            if samples:
                self.n_videos += 1
                self.n_expressions += len(samples)
                yield video, samples

    def all(self, videos: Iterable[GeneratedVideo]) -> Iterator[GeneratedVideo]:
        """The videos as they are, counted."""
        for video in videos:
            self.n_videos, self.n_expressions = self.n_videos + 1, self.n_expressions + len(video.samples)
            yield video

    def written(self, root: Path) -> Written:
        return Written(root, self.n_videos, self.n_expressions, self.n_left_out)


def _names(video: GeneratedVideo, options: Options) -> list[str]:
    return [f"{t * options.frame_step:05d}" for t in range(video.n_frames)]


def _write_frames(
    folder: Path, video: GeneratedVideo, names: Sequence[str], options: Options
) -> Iterator[tuple[str, NDArray[np.uint8]]]:
    """Writes the JPEG of each frame and then gives its name and labels, uint8 (H, W)."""
    made(folder)
    for name, frame in zip(names, video.frames(), strict=True):
        Image.fromarray(frame.rgb).save(folder / f"{name}.jpg", quality=options.jpeg_quality)
        yield name, frame.labels


def _tracks(pool: int, n_frames: int, height: int, width: int) -> list[list[str]]:
    """Rendered tracks, each a list with the JSON text of an RLE or ``null`` per frame."""
    tracks: list[list[str]] = []
    number = 0
    while len(tracks) < pool:
        (video,) = generate("train", 1, height=height, width=width, n_frames=n_frames, first=number, n_sentences=0)
        found: list[list[str]] = [[] for _ in video.things]
        for t in range(n_frames):
            labels = video.renderer.labels(t)
            for thing, track in zip(video.things, found, strict=True):
                mask = labels == thing.id
                track.append(json.dumps(encode_rle(mask)) if mask.any() else "null")
        tracks += found
        number += 1
    return tracks[:pool]


# Layouts that are written as conversions write them ------------------------------------------------------------------


def _as_converted(write_layout: Callable[[Job, Iterable[VideoContent]], None], adapt: Adapt, name: str) -> Writer:
    """A writer from that of conversions; ``adapt`` brings a video into the benchmark's terms."""

    def writer(stage: Path, root: Path, videos: Iterable[GeneratedVideo], options: Options) -> Written:
        counts = _Counts()
        job = Job(stage, options.split, "", "copy")
        given = counts.all(videos)
        write_layout(job, contents(given, adapt, name, options.frame_step, options.jpeg_quality))
        return Written(root, job.n_videos, job.n_expressions, counts.n_expressions - job.n_expressions)

    return writer


def _refer(name: str, adapt: Adapt) -> Writer:
    return _as_converted(partial(write_refer, REFER[name]), adapt, "{:05d}")


Writer = Callable[[Path, Path, Iterable[GeneratedVideo], Options], Written]
_LAYOUTS: dict[str, tuple[tuple[str, ...], int, Writer]] = {
    "reasonvos": (("",), 1, _write_reasonvos),
    "mevis": (("valid_u", "train", "valid"), 1, _write_mevis),
    "ref-youtube-vos": (("valid", "train"), 5, _write_ref_youtube_vos),
    "ref-davis17": (("valid", "train"), 1, _write_ref_davis17),
    "revos": (("valid", "train"), 1, _as_converted(write_revos, for_revos, "{:05d}")),
    "long-rvos": (("valid", "train", "test"), 1, _as_converted(write_long_rvos, for_long_rvos, "{:05d}")),
    "groundmore": (("test", "trainval"), 1, _as_converted(write_groundmore, for_groundmore, "frame_{:06d}")),
    "reasonseg": (("val", "test", "train"), 1, _as_converted(write_reasonseg, for_images, "{:05d}")),
    "refcoco": (("val", "testA", "testB", "train"), 1, _refer("refcoco", for_images)),
    "refcoco+": (("val", "testA", "testB", "train"), 1, _refer("refcoco+", for_images)),
    "refcocog": (("val", "test", "train"), 1, _refer("refcocog", for_images)),
    "refclef": (("val", "testA", "testB", "testC", "train"), 1, _refer("refclef", for_refclef)),
}
LAYOUTS = tuple(_LAYOUTS)


def default_split(layout: str) -> str:
    """The split that ``write`` writes unless told otherwise, "" for a layout without splits."""
    return _LAYOUTS[layout][0][0]

"""Any of the layouts from any dataset: what fits is written exactly, what does not fit is listed."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, get_args

from .errors import UnknownNameError, UsageError
from .files import read_json
from .layouts.content import VideoContent, contents, is_kept, meta_file_of, origin_of
from .layouts.files import staged
from .layouts.images import REFER, write_reasonseg, write_refer
from .layouts.job import CRF, How, Job, Loss
from .layouts.kept import KEY
from .layouts.mp4_rle import write_mp4_rle
from .layouts.writers import (
    write_groundmore,
    write_long_rvos,
    write_mevis,
    write_reasonvos,
    write_ref_davis17,
    write_ref_youtube_vos,
    write_revos,
)
from .mevis import MeViS
from .mp4_rle import Mp4Rle
from .ref_davis17 import RefDAVIS17
from .types import RVOSDataset

#: called with (videos done, videos in all)
Progress = Callable[[int, int], None]


@dataclass(frozen=True)
class Layout:
    """How a layout is written.

    Attributes:
        splits: that it has, its default first; those in ``withheld`` hold sentences without masks.
    """

    write: Callable[[Job, Iterable[VideoContent]], None]
    splits: tuple[str, ...]
    withheld: tuple[str, ...] = ()


LAYOUTS = {
    "reasonvos": Layout(write_reasonvos, ("",)),
    "mevis": Layout(write_mevis, ("valid_u", "train", "valid"), ("valid",)),
    "ref-youtube-vos": Layout(write_ref_youtube_vos, ("valid", "train"), ("valid",)),
    "ref-davis17": Layout(write_ref_davis17, ("valid", "train")),
    "revos": Layout(write_revos, ("valid", "train")),
    "long-rvos": Layout(write_long_rvos, ("valid", "train", "test")),
    "groundmore": Layout(write_groundmore, ("test", "trainval")),
    "reasonseg": Layout(write_reasonseg, ("val", "test", "train")),
    "refcoco": Layout(partial(write_refer, REFER["refcoco"]), ("val", "testA", "testB", "train")),
    "refcoco+": Layout(partial(write_refer, REFER["refcoco+"]), ("val", "testA", "testB", "train")),
    "refcocog": Layout(partial(write_refer, REFER["refcocog"]), ("val", "test", "train")),
    "refclef": Layout(partial(write_refer, REFER["refclef"]), ("val", "testA", "testB", "testC", "train")),
    "mp4-rle": Layout(write_mp4_rle, ("",), ("",)),
}

#: what the loaders and converters read of a video and of an expression; anything else in a file is not carried over
_VIDEO_FIELDS = {"frames", "expressions", "questions", "source", "vid_id", "height", "width", KEY}
_EXPRESSION_FIELDS = {"exp", "obj_id", "anno_id", "exp_id", "exp_text", "is_sent", "type_id", "type", "mask_ids"}
_EXPRESSION_FIELDS |= {"question", "q_type", "action_start", "action_end"}
_REASONSHAPES_FIELDS = {"object_ids", "kind", "tags"}


@dataclass(frozen=True)
class Conversion:
    """What a conversion did, also written to ``conversion.json`` (``conversion-<split>.json``) in the new root.

    Attributes:
        source: ``name/split`` that was read; ``origin`` is where the data began, after earlier conversions.
        target: ``layout/split`` that was written, in which ``load`` opens ``root``.
        losses: what the layout has no place for; empty for a lossless conversion.
    """

    source: str
    origin: str
    fingerprint: str
    target: str
    root: Path
    n_videos: int
    n_expressions: int
    n_linked: int
    n_copied: int
    n_encoded: int
    losses: tuple[Loss, ...]

    @property
    def lossless(self) -> bool:
        """Whether nothing is lost, here or on the way back."""
        return all(loss.kept for loss in self.losses)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        losses = [vars(loss) for loss in self.losses]
        return {**vars(self), "root": str(self.root), "losses": losses, "lossless": self.lossless}


def convert(
    dataset: RVOSDataset,
    layout: str,
    out: Path | str,
    *,
    frames: How = "link",
    crf: int = CRF,
    progress: Progress | None = None,
) -> Conversion:
    """Write a dataset in another layout (or in its own, afresh). ``out`` is complete or not there.

    Ids, kinds, tags and missing annotations that the layout cannot express are kept under a key ``rvos`` of the meta
    file that other tools ignore; a conversion back restores them. What cannot be kept is listed in ``losses``.

    Args:
        dataset: opened by ``load``; DAVIS's own folders with ``layout="original"``.
        layout: ``reasonvos``, ``mevis[/valid_u|train|valid]``, ``ref-youtube-vos[/valid|train]``,
            ``ref-davis17[/valid|train]``, ``revos[/valid|train]``, ``long-rvos[/valid|train|test]``,
            ``groundmore[/test|trainval]``, ``mp4-rle``; images alone into ``reasonseg[/val|test|train]``,
            ``refcoco[/val|testA|testB|train]``, ``refcoco+`` with the same splits, ``refcocog[/val|test|train]`` and
            ``refclef[/val|testA|testB|testC|train]``.
        out: the new root. What is already there is never overwritten; another split may be added to it.
        frames: ``link`` the frames' files (copied where the disk differs), ``copy`` them, or leave them out: ``none``.
        crf: how far ``mp4-rle`` may change pixels: x264's rate factor, 0 (not at all) to 51; the change is measured.
        progress: called after every video.

    Raises:
        UnknownNameError: no such layout or split.
        UsageError: something is already there, or the dataset withholds its masks and the split needs them.
        DatasetError, ImageError: the dataset's files are not as expected.
    """
    name, split = _target(layout)
    if frames not in get_args(How):
        raise UsageError(f"frames={frames!r}: use {', '.join(get_args(How))}.")
    if not 0 <= crf <= 51:
        raise UsageError(f"crf={crf}: use 0 (no pixel changes) to 51.")
    _refuse_withheld(dataset, name, split)
    out = Path(out)
    origin, fingerprint = origin_of(dataset), dataset.fingerprint
    out.absolute().parent.mkdir(parents=True, exist_ok=True)
    with staged(out.absolute()) as stage:
        job = Job(stage, split, origin, frames, keeps_ids=bool(getattr(dataset, "unique_object_ids", False)), crf=crf)
        _unread_fields(dataset, origin, job)
        LAYOUTS[name].write(job, _counted(contents(dataset), len(dataset.videos), progress))
        done = Conversion(
            dataset.id,
            origin,
            fingerprint,
            f"{name}/{split}" if split else name,
            out,
            job.n_videos,
            job.n_expressions,
            job.n_linked,
            job.n_copied,
            job.n_encoded,
            tuple(job.losses.found.values()),
        )
        if not job.n_videos:
            raise UsageError(f"{dataset.id}: no sentence fits layout {layout} ({'; '.join(map(str, done.losses))})")
        record = stage / (f"conversion-{split}.json" if split else "conversion.json")
        record.write_text(json.dumps(done.as_dict(), indent=1), encoding="utf-8")
    return done


def _target(layout: str) -> tuple[str, str]:
    name, _, split = layout.partition("/")
    if name not in LAYOUTS:
        raise UnknownNameError("layout", name, LAYOUTS)
    splits = LAYOUTS[name].splits
    if split and split not in splits:
        raise UnknownNameError(f"split of layout {name}", split, [s or "(none)" for s in splits])
    return name, split or splits[0]


def _refuse_withheld(dataset: RVOSDataset, name: str, split: str) -> None:
    if split in LAYOUTS[name].withheld or any(dataset.ground_truth(sample) is not None for sample in dataset.samples):
        return
    able = [f"{n}/{s}".rstrip("/") for n, layout in LAYOUTS.items() for s in layout.withheld]
    raise UsageError(f"{dataset.id} withholds its masks, which {name} needs; convert to {' or '.join(able)}.")


def _counted(videos: Iterator[VideoContent], total: int, progress: Progress | None) -> Iterator[VideoContent]:
    for done, video in enumerate(videos, start=1):
        yield video
        if progress is not None:
            progress(done, total)


def unread(dataset: RVOSDataset) -> tuple[Loss, ...]:
    """What a dataset's files hold that ``contents`` does not give, so that nothing made from it can have it."""
    origin = origin_of(dataset)
    job = Job(Path(), dataset.split, origin, "none")
    _unread_fields(dataset, origin, job)
    return tuple(job.losses.found.values())


def _unread_fields(dataset: RVOSDataset, origin: str, job: Job) -> None:
    """Fields of the source's file that no layout of ours carries, and masks beside the ones that are read."""
    path = meta_file_of(dataset)
    of_video = _VIDEO_FIELDS | ({"fps", "masks"} if isinstance(dataset, Mp4Rle) else set())
    known = _EXPRESSION_FIELDS | (_REASONSHAPES_FIELDS if origin.startswith("reasonshapes") else set())
    for video_id, entry in read_json(path)["videos"].items() if path is not None else ():
        for key in entry.keys() - of_video:
            job.losses.add(f"fields '{key}' of videos", video_id)
        listed = entry["expressions"] if "expressions" in entry else entry["questions"]
        for fields in listed.values() if isinstance(listed, dict) else listed:
            for key in fields.keys() - known:
                job.losses.add(f"fields '{key}' of sentences", video_id)
    if isinstance(dataset, MeViS) and dataset.masks is not None and not is_kept(dataset):
        # The file does not tell which video an annotation belongs to that nobody names.
        named = {i for sample in dataset.samples for i in sample.expression.object_ids or ()}
        extra = [i for i in dataset.masks.ids if i not in named]
        job.losses.add("annotations that no sentence names", f"annotation {(extra or [''])[0]}", count=len(extra))
    if isinstance(dataset, RefDAVIS17):
        also = [v.id for v in dataset.videos if any(dataset.label_map_paths("semi-supervised", v))]
        job.losses.add(
            "videos' semi-supervised masks; the unsupervised ones are read", (also or [""])[0], count=len(also)
        )

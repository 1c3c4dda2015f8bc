"""Videos as mp4 and masks as RLE JSON (``datasets.mp4_rle`` reads it). The one layout whose frames are coded anew."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from ..errors import DatasetError, ImageError
from ..files import is_plain_path
from ..types import Video
from ..video_files import DEFAULT_FPS, Mp4Writer, decode_video
from .content import Targets, VideoContent, targets_of
from .files import JsonObject, made
from .job import Job, fits, track_of, unique_names
from .kept import Patches


def write_mp4_rle(job: Job, videos: Iterable[VideoContent]) -> None:
    """A video file a video, a JSON file a mask, ``meta_expressions.json``. What the coding changed is measured."""
    changed = _Changed()
    with JsonObject(job.stage / "meta_expressions.json", "videos") as meta:
        for content in videos:
            video, targets = content.video, targets_of(content)
            ids = _mask_ids(targets)
            entries, expressions = {}, []
            for expression, name, means in zip(
                content.expressions, unique_names(content.expressions), targets.of, strict=True
            ):
                named = {} if means is None else {"mask_ids": [ids[m] for m in means]}
                entries[name] = {"exp": expression.text, **named}
                expressions.append(expression)
            if not fits(video, expressions, job):
                continue
            patches = Patches(video)
            _write_masks(made(job.stage / "masks" / video.id), targets, ids, patches, job)
            _write_video(job.stage / "videos" / f"{video.id}.mp4", video, job, changed)
            kept = job.kept(content, targets, expressions, ids, patches)
            height, width = _size(video, targets)
            entry = {
                "height": height,
                "width": width,
                "fps": video.fps,
                "frames": list(video.frame_names),
                "masks": list(ids.values()),
                "expressions": entries,
                **kept,
            }
            meta.add(video.id, entry)
            job.wrote(expressions)
    changed.report(job)


def _mask_ids(targets: Targets) -> dict[str, str]:
    """A file name for every mask: its own where all are plain, else a number."""
    plain = all(is_plain_path(name) and "/" not in name for name in targets.masks)
    return {name: name if plain else str(k) for k, name in enumerate(targets.masks, start=1)}


def _size(video: Video, targets: Targets) -> tuple[int, int]:
    """Of the masks, which need not be that of the frames; of the frames where there are no masks."""
    for masklet in targets.masks.values():
        for index in range(len(video)):
            mask = masklet.mask(index)
            if mask is not None:
                return mask.shape[0], mask.shape[1]
    return video.size


def _write_masks(folder: Path, targets: Targets, ids: dict[str, str], patches: Patches, job: Job) -> None:
    for name, masklet in targets.masks.items():
        track = track_of(name, masklet, patches, job)
        (folder / f"{ids[name]}.json").write_text(json.dumps({ids[name]: track}), encoding="utf-8")


# Frames --------------------------------------------------------------------------------------------------------------


@dataclass
class _Changed:
    """How far decoded pixels are from those that were written, 0-255."""

    n_frames: int = 0
    n_pixels: int = 0
    total: int = 0
    squares: int = 0
    most: int = 0
    where: str = ""

    def add(self, before: NDArray[np.uint8], after: NDArray[np.uint8], place: str) -> None:
        difference = np.abs(before.astype(np.int16) - after)
        most = int(difference.max())
        if not most:
            return
        if most > self.most:
            self.most, self.where = most, place
        self.n_frames += 1
        self.n_pixels += difference.size
        self.total += int(difference.sum())
        self.squares += int((difference.astype(np.int64) ** 2).sum())

    def report(self, job: Job) -> None:
        if not self.n_frames:
            return
        psnr = 10 * math.log10(255**2 * self.n_pixels / self.squares)
        what = (
            f"frames whose pixels video coding changed (on average by {self.total / self.n_pixels:.2f} of 255, at most "
            f"by {self.most}; {psnr:.1f} dB; crf 0 changes nothing)"
        )
        job.losses.add(what, self.where, count=self.n_frames)


def _write_video(path: Path, video: Video, job: Job, changed: _Changed) -> None:
    """The frames as a video file, compared with what comes out of it; none where an image is absent."""
    if job.frames == "none":
        return
    if video.source is None:
        job.losses.add("videos without images", video.id)
        return
    made(path.parent)
    try:
        with Mp4Writer(path, video.fps, crf=job.crf) as writer:
            for frame in video.iter_frames():
                writer.write(frame)
    except ImageError:
        path.unlink(missing_ok=True)
        job.losses.add("videos of which not every image is there, in one size", video.id)
        return
    for index, (before, after) in enumerate(_pairs(video, path)):
        changed.add(before, after, f"{video.id}/{video.frame_names[index]}")
    job.n_encoded += len(video)
    if video.fps is None:
        what = f"videos of unknown speed, which play at {DEFAULT_FPS:g} frames a second"
        job.losses.add(what, video.id, kept=True)
    job.losses.add("image files, whose pixels became frames of a video file", video.id, count=len(video))


def _pairs(video: Video, path: Path) -> Iterator[tuple[NDArray[np.uint8], NDArray[np.uint8]]]:
    """Every frame as it was, and as it comes out of the file. Raises DatasetError where their numbers differ."""
    for before, after in zip_longest(video.iter_frames(), decode_video(path)):
        if before is None or after is None:
            raise DatasetError(f"{path.name}: not as many frames came out of it as were written; report this.")
        yield before, after

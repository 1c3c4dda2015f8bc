"""ReasonShapes as a dataset: generated into the user's cache when first asked for, then read like any other."""

from __future__ import annotations

import hashlib
import json
import multiprocessing
import os
import shutil
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from typing import Any

from ..config import cache_dir
from ..errors import DatasetError, UsageError
from ..files import MetaVideo
from ..frames import FrameFolder
from ..reasonvos import ReasonVOS
from ..types import Expression, Masklet, Sample, Video
from .benchmark import FROZEN_SEED, HEIGHT, PERIOD, SPLITS, VERSION, WIDTH, make_videos
from .writers import FIRST_GROUP, NO_OBJECT, write

#: How many videos a split has, unless asked otherwise.
N_VIDEOS = {name: rule.n_videos for name, rule in SPLITS.items()}
#: So many videos are made at a time; what is complete survives a killed process.
CHUNK = 5 * PERIOD
VERSION_FILE = "version.txt"
#: Kinds of sentences that only look at what is there; all others need reasoning over time, knowledge or several steps.
REFERRING = ("attribute", "spatial")
#: What an expression has beyond those of ReasonVOS.
_FIELDS = {"object_ids": list, "kind": str, "is_sent": bool, "tags": dict}


class ReasonShapes(ReasonVOS):
    """``reasonshapes/<split>`` in ReasonVOS's layout, with several targets, kinds and tags.

    The splits are those of ``benchmark.SPLITS``: train, valid, test, and the tests of generalisation test-combinations,
    test-depth, test-phrasings, test-distractors, test-long and test-textures.

    Expression tags hold ``kind`` (see ``questions.KINDS``) and everything that the generator measured: ``depth``,
    ``n_objects``, ``n_distractors``, ``family``, ``occlusion``, ``area`` and more.

    Args:
        root: a folder with ``meta_expressions.json``; None generates the split into the user's cache, once.
        split: one of ``benchmark.SPLITS``.
        n_videos: how many of the split's videos to generate, from its first; by default ``N_VIDEOS``.
        height: of the frames in pixels, 96 by default. The frozen scenes render at any height, e.g. 480.
        width: of the frames in pixels; by default four thirds of the height. Another shape makes other scenes.
        n_frames: per video; by default the split's. Another length makes other scenes.
        seed: 0 for the frozen data; from 2027 on a year, for that year's fresh set.

    Raises:
        DatasetError: where the cache cannot be written, or the root's files are not as expected.
        UsageError: where both a root and sizes are given: the files have the sizes they have.
    """

    name = "reasonshapes"

    def __init__(
        self,
        root: Path | None,
        split: str,
        *,
        n_videos: int | None = None,
        height: int | None = None,
        width: int | None = None,
        n_frames: int | None = None,
        seed: int | None = None,
    ) -> None:
        if root is None:
            tall = height or HEIGHT
            shape = (tall, width or tall * WIDTH // HEIGHT, n_frames or SPLITS[split].n_frames)
            root = _generated(split, n_videos or N_VIDEOS[split], *shape, seed or FROZEN_SEED)
        elif any(given is not None for given in (n_videos, height, width, n_frames, seed)):
            raise UsageError(f"{root} is read as it is: n_videos, height, width, n_frames, seed go without a root.")
        self._targets: dict[str, str] = {}
        super().__init__(root, split)
        stated = root / VERSION_FILE
        self.version = stated.read_text(encoding="utf-8").strip() if stated.exists() else "unstated"

    def objects(self, video: Video) -> dict[str, Masklet]:
        """Every thing of the scene; groups that a sentence means are no objects of their own."""
        return {name: m for name, m in super().objects(video).items() if NO_OBJECT < int(name) < FIRST_GROUP}

    def prediction_path(self, sample: Sample) -> PurePosixPath:
        return PurePosixPath(self._prefix(sample.video.id) + self._targets[sample.key]) / sample.expression.layout_id

    def _samples(self, entry: MetaVideo) -> Iterator[Sample]:
        video = Video(entry.id, entry.frames, FrameFolder(self.root / "JPEGImages" / entry.id, self._any_mask(entry)))
        for exp_id, fields in entry.expressions:
            self._check(entry.id, exp_id, fields)
            expression = Expression(
                id=exp_id,
                text=fields["exp_text"],
                object_ids=tuple(str(i) for i in fields["object_ids"]),
                kind="referring" if fields["kind"] in REFERRING else "reasoning",
                is_sentence=fields["is_sent"],
                tags={"kind": fields["kind"], **fields["tags"]},
            )
            sample = Sample(video, expression)
            self._targets[sample.key] = str(fields["obj_id"])
            yield sample

    def _check(self, video_id: str, expression_id: str, fields: dict[str, Any]) -> None:
        """Raises DatasetError where an expression lacks what ReasonVOS does not have, or holds something else."""
        for name, kind in _FIELDS.items():
            if not isinstance(fields.get(name), kind):
                raise DatasetError(
                    f"{self.meta_file}: video '{video_id}', expression '{expression_id}' has no '{name}' as "
                    "ReasonShapes writes it; is this another dataset (reasonvos)?"
                )


def _generated(split: str, n_videos: int, height: int, width: int, n_frames: int, seed: int) -> Path:
    """The folder of a generated split, whole or not there at all.

    Chunks are written beside it, on all cores where there are several, each moved into place when it is complete, so
    those of a killed process are taken over.
    """
    year = f"-{seed}" if seed else ""
    name = f"{_code_hash()}-{split}{year}-{n_videos}x{n_frames}x{height}x{width}"
    root = cache_dir() / "reasonshapes" / name
    if _whole(root):
        return root
    print(f"Generating reasonshapes/{split} ({n_videos} videos) once, into {root}", file=sys.stderr)
    scenes = (height, width, n_frames, seed)
    parts = {first: root.with_name(f"{name}.part{first:07d}") for first in range(0, n_videos, CHUNK)}
    tasks = [(part, split, min(CHUNK, n_videos - first), first, *scenes) for first, part in parts.items()]
    try:
        _write_all(tasks)
        _join(list(parts.values()), root, _version(split, height, width, n_frames))
    except OSError as error:
        if not _appears(root):  # unless another process made the same
            raise DatasetError(f"{root}: cannot be written ({error.strerror}); set RVOS_CACHE to a folder.") from error
    return root


def _whole(root: Path) -> bool:
    return (root / "meta_expressions.json").exists()


def _appears(root: Path, seconds: float = 2.0) -> bool:
    """Whether the folder is made whole by another process that joins the same chunks now."""
    until = time.monotonic() + seconds
    while not _whole(root):
        if time.monotonic() > until or not root.exists():
            return False
        time.sleep(0.05)
    return True


_Task = tuple[Path, str, int, int, int, int, int, int]


def _write_all(tasks: list[_Task]) -> None:
    """On all cores where a process may be forked safely; elsewhere callers would need a guard around their script."""
    cores = min(len(tasks), os.cpu_count() or 1)
    if cores == 1 or sys.platform != "linux" or threading.active_count() > 1:
        for task in tasks:
            _write_chunk(task)
        return
    with multiprocessing.get_context("fork").Pool(cores) as pool:
        pool.map(_write_chunk, tasks, chunksize=1)


def _write_chunk(task: _Task) -> None:
    """Write some videos into a folder, unless it is there already."""
    folder, split, n_videos, first, height, width, n_frames, seed = task
    if folder.exists():
        return
    videos = make_videos(split, n_videos, first=first, seed=seed, height=height, width=width, n_frames=n_frames)
    try:
        write("reasonvos", folder, videos)
    except UsageError:
        if not folder.exists():  # another process was faster
            raise


def _join(parts: list[Path], root: Path, version: str) -> None:
    """Move the chunks' videos into one folder; its meta file comes last and says that it is whole."""
    videos: dict[str, Any] = {}
    for part in parts:
        videos.update(json.loads((part / "meta_expressions.json").read_text(encoding="utf-8"))["videos"])
        for kind in ("JPEGImages", "Annotations"):
            (root / kind).mkdir(parents=True, exist_ok=True)
            for folder in (part / kind).iterdir():
                folder.rename(root / kind / folder.name)
    (root / VERSION_FILE).write_text(version + "\n", encoding="utf-8")
    unfinished = root / "meta_expressions.json.new"
    unfinished.write_text(json.dumps({"videos": videos}), encoding="utf-8")
    unfinished.replace(root / "meta_expressions.json")
    for part in parts:
        shutil.rmtree(part)


def _version(split: str, height: int, width: int, n_frames: int) -> str:
    """The version; of scenes that are not the frozen ones it says so."""
    frozen = width * HEIGHT == height * WIDTH and n_frames == SPLITS[split].n_frames
    return VERSION if frozen else f"{VERSION} with other scenes ({n_frames} frames of {height}x{width})"


def _code_hash() -> str:
    """A hash of the generator: data in the cache that other code made are not taken for this version's."""
    digest = hashlib.sha256()
    for path in sorted(Path(__file__).parent.glob("*.py")):
        digest.update(path.read_bytes())
    return digest.hexdigest()[:12]

"""The masks of a run folder: ``masks/<video>.json.gz``, one file a video, written whole or not at all.

The file is gzip-compressed JSON (any tool reads it)::

    {"schema_version": 1,
     "video_id": "kite-surf",
     "frame_names": ["00000", "00005"],
     "expressions": {"<expression id>": [{"size": [h, w], "counts": "<COCO RLE>"}, null]}}

One entry per frame name. ``null`` says that no mask was predicted for the frame, which is not the same as an empty
mask; an expression that is not listed has no masks at all. Characters of a video id that file systems refuse are
percent-encoded in the file's name, so that every id is one file in one folder.
"""

from __future__ import annotations

import gzip
import json
import re
import zlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from ...datasets.bitmask import BitMask, Rle
from ...datasets.config import replace_file
from ...datasets.errors import DatasetError, PredictionInvalid, PredictionMissing, RunError
from ...datasets.types import BoolMask, Sample, Video
from .base import Foreground

SCHEMA_VERSION = 1
_SUFFIX = ".json.gz"


def video_masks_path(folder: Path, video_id: str) -> Path:
    """The file of a video's masks in a run's masks folder."""
    name = re.sub(r'[\x00-\x1f%/\\:*?"<>|]', lambda match: f"%{ord(match[0]):02X}", video_id)
    return Path(folder) / f"{name}{_SUFFIX}"


def videos_with_masks(folder: Path) -> list[str]:
    """Ids of the videos whose masks lie in a run's masks folder, sorted."""
    return sorted(unquote(p.name.removesuffix(_SUFFIX)) for p in Path(folder).glob(f"*{_SUFFIX}"))


def write_video_masks(folder: Path, video: Video, masks: Mapping[str, Sequence[Rle | None]]) -> Path:
    """Write the masks of one video, replacing its file atomically.

    Args:
        folder: the run's masks folder, made where it is missing.
        video: names the frames.
        masks: per expression id one COCO RLE (``counts`` as str) or None per frame of the video.

    Returns:
        The file.

    Raises:
        RunError: a list is not as long as the video, or the file cannot be written.
    """
    path = video_masks_path(folder, video.id)
    for expression_id, rles in masks.items():
        if len(rles) != len(video):
            raise RunError(f"{path}: {len(rles)} masks for {expression_id}, the video has {len(video)} frames.")
    content = {
        "schema_version": SCHEMA_VERSION,
        "video_id": video.id,
        "frame_names": list(video.frame_names),
        "expressions": {k: [None if r is None else _plain(r) for r in rles] for k, rles in masks.items()},
    }
    text = json.dumps(content, separators=(",", ":"))
    try:
        replace_file(path, gzip.compress(text.encode(), compresslevel=6, mtime=0))
    except OSError as error:
        raise RunError(f"{path}: cannot be written ({error.strerror}); free space or choose another --out.") from error
    return path


def read_video_masks(path: Path) -> dict[str, Any]:
    """The content of one masks file as the module's documentation shows it.

    Raises:
        PredictionMissing: no such file.
        PredictionInvalid: damaged, of another schema, or not such a file.
    """
    try:
        content = json.loads(gzip.decompress(path.read_bytes()))
    except FileNotFoundError:
        raise PredictionMissing(f"{path}: no such file; the run has no masks of this video.") from None
    except (OSError, EOFError, zlib.error, ValueError, RecursionError) as error:
        raise PredictionInvalid(f"{path}: damaged ({error}); delete it and resume the run.") from error
    version = content.get("schema_version") if isinstance(content, dict) else None
    if version != SCHEMA_VERSION:
        raise PredictionInvalid(f"{path}: schema_version {version}, this version of rvos reads {SCHEMA_VERSION}.")
    names, expressions = content.get("frame_names"), content.get("expressions")
    if not isinstance(names, list) or not isinstance(expressions, dict):
        raise PredictionInvalid(f"{path}: has no 'frame_names' and 'expressions'; delete it and resume the run.")
    for expression_id, rles in expressions.items():
        if not isinstance(rles, list) or len(rles) != len(names):
            raise PredictionInvalid(f"{path}: {expression_id} does not list one mask for each of {len(names)} frames.")
    return content


class RunMasks:
    """The masks of a run folder as predictions, by expression id. Holds the encoded masks of one video at a time.

    Attributes:
        path: the run's masks folder.
        layout: ``run-masks``.
    """

    layout = "run-masks"

    def __init__(self, path: Path) -> None:
        self.path = Path(path)
        self._latest: tuple[str, _VideoMasks] | None = None

    def mask(self, sample: Sample, frame_name: str, foreground: Foreground) -> BoolMask:
        """bool (H, W); ``foreground`` has no say, the masks are binary. Raises PredictionMissing, PredictionInvalid."""
        return self.bits(sample, frame_name, foreground).to_array()

    def bits(self, sample: Sample, frame_name: str, foreground: Foreground) -> BitMask:
        """``mask``, packed."""
        return self._video(sample.video.id).bits(sample.expression.id, frame_name)

    def scores(self, sample: Sample, frame_name: str) -> NDArray[np.float32] | None:
        """None: a run keeps masks, no scores."""
        return None

    def frame_names(self, sample: Sample) -> list[str] | None:
        """Frames with a mask, sorted; None where the sample has none or the video's file cannot be used."""
        try:
            return self._video(sample.video.id).frame_names(sample.expression.id)
        except (PredictionMissing, PredictionInvalid):
            return None

    def rles(self, sample: Sample) -> list[Rle | None]:
        """One COCO RLE or None per frame of the sample's video. Raises PredictionMissing, PredictionInvalid."""
        return self._video(sample.video.id).rles(sample)

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_latest": None}

    def _video(self, video_id: str) -> _VideoMasks:
        if self._latest is None or self._latest[0] != video_id:
            self._latest = (video_id, _VideoMasks.read(video_masks_path(self.path, video_id)))
        return self._latest[1]


class _VideoMasks:
    """The masks file of one video; a file that cannot be used is remembered with the reason, and not read again."""

    def __init__(self, path: Path, content: Mapping[str, Any] | PredictionMissing | PredictionInvalid) -> None:
        self.path = path
        self._content = content
        self._positions = {} if isinstance(content, Exception) else {n: i for i, n in enumerate(content["frame_names"])}

    @classmethod
    def read(cls, path: Path) -> _VideoMasks:
        try:
            return cls(path, read_video_masks(path))
        except (PredictionMissing, PredictionInvalid) as error:
            return cls(path, error)

    def bits(self, expression_id: str, frame_name: str) -> BitMask:
        rles, position = self._of(expression_id), self._positions.get(frame_name)
        rle = None if position is None else rles[position]
        place = f"{self.path}: expression {expression_id}, frame {frame_name}"
        if rle is None:
            raise PredictionMissing(f"{place}: no mask was predicted.")
        try:
            return BitMask.from_rle(rle, place)
        except DatasetError as error:
            raise PredictionInvalid(str(error)) from error

    def frame_names(self, expression_id: str) -> list[str]:
        rles = self._of(expression_id)
        return sorted(name for name, i in self._positions.items() if rles[i] is not None)

    def rles(self, sample: Sample) -> list[Rle | None]:
        rles = self._of(sample.expression.id)
        spots = (self._positions.get(name) for name in sample.video.frame_names)
        return [None if i is None else rles[i] for i in spots]

    def _of(self, expression_id: str) -> list[Rle | None]:
        if isinstance(self._content, Exception):
            raise type(self._content)(str(self._content))
        rles: list[Rle | None] | None = self._content["expressions"].get(expression_id)
        if rles is None:
            raise PredictionMissing(f"{self.path}: no masks for expression {expression_id}.")
        return rles


def _plain(rle: Rle) -> dict[str, Any]:
    counts = rle["counts"]
    return {"size": [int(v) for v in rle["size"]], "counts": counts.decode() if isinstance(counts, bytes) else counts}

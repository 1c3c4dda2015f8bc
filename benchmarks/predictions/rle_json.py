"""COCO RLE in JSON, as Sa2VA's and similar inference scripts write it, in one file or one file a video.

``{"<video>": {"<expression id>": {"prediction_masks": [RLE, …], "frames": ["00000", …]}}}``; the list of RLE may also
stand in place of the inner object. A file ``<video>.json`` may leave out the outer level. Without ``frames`` the
list must be as long as the video. ``null`` for a frame counts as missing. Ids are those of the dataset's files.

A file may be larger than memory: one pass finds where each video's part begins and ends, and a part is parsed when a
mask of its video is first asked for.
"""

from __future__ import annotations

import json
import mmap
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.bitmask import BitMask, Rle
from ...datasets.errors import DatasetError, PredictionInvalid, PredictionMissing
from ...datasets.types import BoolMask, RVOSDataset, Sample
from .base import Foreground
from .folders import sample_folders

#: a string with its escapes, or a bracket; brackets inside strings are swallowed with the string
_TOKEN = re.compile(rb'"[^"\\]*(?:\\.[^"\\]*)*"|[{}\[\]]', re.DOTALL)


@dataclass(frozen=True)
class JsonPart:
    """Bytes ``start`` to ``end`` of a file."""

    path: Path
    start: int
    end: int

    def read(self) -> Any:
        """The parsed JSON value. Raises PredictionMissing, PredictionInvalid."""
        try:
            with open(self.path, "rb") as file:
                file.seek(self.start)
                return json.loads(file.read(self.end - self.start))
        except FileNotFoundError:
            raise PredictionMissing(f"{self.path}: no such file.") from None
        except OSError as error:
            raise PredictionInvalid(f"{self.path}: cannot be read ({error.strerror}).") from error
        except (ValueError, RecursionError) as error:
            raise PredictionInvalid(
                f"{self.path}: not valid JSON between bytes {self.start} and {self.end} ({error})."
            ) from error


class RleJsonPredictions:
    """Masks in one JSON file, or in a folder of one JSON file a video. Parses one video's part at a time.

    Attributes:
        path: the file or folder.
        layout: ``rle-json``.
        parts: where each video's masks are, by the video's name in the files.
    """

    layout = "rle-json"

    def __init__(self, path: Path, parts: Mapping[str, JsonPart], folders: Mapping[str, str]) -> None:
        self.path = path
        self.parts = parts
        self._folders = folders
        self._latest: tuple[str, dict[str, Any] | PredictionInvalid | PredictionMissing] | None = None

    @classmethod
    def open(cls, path: Path, dataset: RVOSDataset) -> RleJsonPredictions:
        """Find every video's part.

        Raises:
            PredictionMissing: no such file or folder.
            PredictionInvalid: the file is not a JSON object of objects, or is cut short.
        """
        path = Path(path)
        if path.is_dir():
            names = sorted(n for n in os.listdir(path) if n.endswith(".json"))
            parts = {n[:-5]: JsonPart(path / n, 0, _length(path / n)) for n in names}
        else:
            parts = index_members(path)
        return cls(path, parts, sample_folders(dataset))

    def mask(self, sample: Sample, frame_name: str, foreground: Foreground) -> BoolMask:
        """bool (H, W); ``foreground`` has no say, the masks are binary. Raises PredictionMissing, PredictionInvalid."""
        return self.bits(sample, frame_name, foreground).to_array()

    def bits(self, sample: Sample, frame_name: str, foreground: Foreground) -> BitMask:
        """``mask``, packed."""
        place = f"{self.path}: {self._folders.get(sample.key, sample.key)}, frame {frame_name}"
        rle = self._rles(sample).get(frame_name)
        if rle is None:
            raise PredictionMissing(f"{place}: no mask.")
        try:
            return BitMask.from_rle(rle, place)
        except DatasetError as error:
            raise PredictionInvalid(str(error)) from error

    def scores(self, sample: Sample, frame_name: str) -> NDArray[np.float32] | None:
        """None: RLE holds masks, no scores."""
        return None

    def frame_names(self, sample: Sample) -> list[str] | None:
        """Frames with a mask, sorted; None where the sample has no entry that can be used."""
        try:
            return sorted(name for name, rle in self._rles(sample).items() if rle is not None)
        except (PredictionMissing, PredictionInvalid):
            return None

    def rles(self, sample: Sample) -> list[Rle | None]:
        """One COCO RLE or None per frame of the sample's video. Raises PredictionMissing, PredictionInvalid."""
        by_name = self._rles(sample)
        return [by_name.get(name) for name in sample.video.frame_names]

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_latest": None}

    def _rles(self, sample: Sample) -> dict[str, Any]:
        """RLE or None by frame name."""
        entry = self._entry(sample)
        place = f"{self.path}: {self._folders.get(sample.key, sample.key)}"
        frames = entry.get("frames") if isinstance(entry, dict) else None
        rles = entry.get("prediction_masks") if isinstance(entry, dict) else entry
        if rles is None:
            raise PredictionMissing(f"{place}: 'prediction_masks' is absent or null; export the masks as RLE.")
        if frames is not None and not (isinstance(frames, list) and all(isinstance(f, str) for f in frames)):
            raise PredictionInvalid(f"{place}: 'frames' must be a list of frame names, found {str(frames)[:40]}.")
        names = [re.sub(r"\.(jpe?g|png)$", "", f) for f in frames] if frames else sample.video.frame_names
        if not isinstance(rles, list) or len(rles) != len(names):
            found = f"{len(rles)} masks" if isinstance(rles, list) else type(rles).__name__
            raise PredictionInvalid(f"{place}: {found} for {len(names)} frames; write one RLE for each frame.")
        return dict(zip(names, rles, strict=True))

    def _entry(self, sample: Sample) -> Any:
        """What the files hold for the sample, under the folder name of its predictions or under its video's id."""
        folder, _, leaf = self._folders.get(sample.key, sample.key).rpartition("/")
        for video_name in dict.fromkeys((folder, sample.video.id)):
            if video_name in self.parts:
                video = self._video(video_name)
                for expression_id in dict.fromkeys((leaf, sample.expression.layout_id, sample.expression.id)):
                    if expression_id in video:
                        return video[expression_id]
        raise PredictionMissing(f"{self.path}: no entry '{folder}' → '{leaf}'.")

    def _video(self, name: str) -> dict[str, Any]:
        if self._latest is None or self._latest[0] != name:
            self._latest = (name, self._parse(name))
        video = self._latest[1]
        if isinstance(video, Exception):
            raise type(video)(str(video))
        return video

    def _parse(self, name: str) -> dict[str, Any] | PredictionInvalid | PredictionMissing:
        """The video's expressions; a part that cannot be used is remembered with the reason, and not read again."""
        try:
            content = self.parts[name].read()
        except (PredictionMissing, PredictionInvalid) as error:
            return error
        if isinstance(content, dict) and list(content) == [name]:
            content = content[name]
        if not isinstance(content, dict):
            return PredictionInvalid(f"{self.path}: '{name}' holds no object of expressions.")
        return content


def index_members(path: Path) -> dict[str, JsonPart]:
    """Where the value of every key of a JSON object of objects is, in one pass that parses none of them.

    Raises:
        PredictionMissing: no such file.
        PredictionInvalid: empty, unreadable, not an object of objects, or cut short.
    """
    try:
        with open(path, "rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            return _members(path, data)
    except FileNotFoundError:
        raise PredictionMissing(f"{path}: no such file.") from None
    except ValueError:
        raise PredictionInvalid(f"{path}: the file is empty (0 bytes); write it again.") from None
    except OSError as error:
        raise PredictionInvalid(f"{path}: cannot be read ({error.strerror}).") from error


def _members(path: Path, data: mmap.mmap) -> dict[str, JsonPart]:
    members: dict[str, JsonPart] = {}
    depth, start, key = 0, 0, b""
    for token in _TOKEN.finditer(data):
        character = data[token.start()]
        if character == ord('"'):
            if depth == 1:
                key = token.group()
        elif character in b"{[":
            depth += 1
            if depth == 1 and character == ord("["):
                raise PredictionInvalid(f"{path}: a JSON list, expected an object with a key for each video.")
            if depth == 2:
                start = token.start()
        else:
            depth -= 1
            if depth == 1:
                members[_key(path, key)] = JsonPart(path, start, token.end())
            if depth == 0:
                break
    if depth != 0:
        raise PredictionInvalid(f"{path}: JSON cut short, its brackets do not close; write it again.")
    if not members and not re.fullmatch(rb"\s*\{\s*\}\s*", data[:64]):
        raise PredictionInvalid(f"{path}: not a JSON object of videos; see the layout rle-json.")
    return members


def _key(path: Path, quoted: bytes) -> str:
    try:
        return str(json.loads(quoted))
    except ValueError as error:
        raise PredictionInvalid(f"{path}: {quoted[:40]!r} is no JSON key ({error}).") from error


def _length(path: Path) -> int:
    try:
        return os.path.getsize(path)
    except OSError:
        return 0  # reading it will say what is wrong

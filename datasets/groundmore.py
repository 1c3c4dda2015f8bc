"""GroundMoRe (Deng et al., CVPR 2025): questions about actions, answered by an object while the action lasts."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from .errors import DatasetError
from .files import AnnotationErrors, MetaVideo, id_list, is_plain_path, names_in, parse_meta, read_videos, require_root
from .frames import SUFFIXES, FrameFolder
from .images import png_labels
from .types import BoolMask, Expression, Masklet, RVOSDataset, Sample, Video

#: ``q_type`` of a question
TYPES = ("Causal", "Sequential", "Counterfactual", "Descriptive")
FPS = 6
N_SCORED = 20
"""Frames of a clip that are scored, evenly spaced from its first to its last."""
CLIP_SPAN = re.compile(r"(\d\d)(\d\d)_\d{4}$", re.ASCII)
_ACTION = re.compile(r"((?:\d{1,3}:)?\d{1,3}:\d{1,3})-((?:\d{1,3}:)?\d{1,3}:\d{1,3})", re.ASCII)


class GroundMoRe(RVOSDataset):
    """``<split>_v2.json``, ``annotations/<clip>/{images, masks}/``; masks are label maps, value == object id.

    As evaluate_groundmore.py: a clip's name ends in ``mmss_mmss``, its place in the film; frames come six a second;
    20 of them are scored; the target is empty outside ``action_start`` to ``action_end`` (not included), and where a
    mask file is missing. The files do not list the frames, so the images are needed even where only masks are scored.
    """

    name = "groundmore"

    def __init__(self, root: Path, split: str) -> None:
        require_root(root, f"GroundMoRe ({split})", f"{split}_v2.json")
        self.meta_file = root / f"{split}_v2.json"
        self.clips = root / "annotations"
        videos = {name: self._with_frames(name, entry) for name, entry in read_videos(self.meta_file).items()}
        needed = ("obj_id", "q_type", "action_start", "action_end")
        entries = parse_meta(self.meta_file, videos, text_key="question", required=needed)
        super().__init__(root, split, "v2", [sample for entry in entries for sample in self._samples(entry)])

    def ground_truth(self, sample: Sample) -> Masklet | None:
        """The object's masks during the action, empty masks otherwise; None where the clip has no masks."""
        assert sample.expression.object_ids
        during = action_frames(sample.video.id, str(sample.expression.tags["action"]))
        return self._masklet(sample.video, sample.expression.object_ids[0], during)

    def objects(self, video: Video) -> dict[str, Masklet]:
        """The objects asked for, with their masks of the whole clip; the file does not tell of others."""
        asked = dict.fromkeys(i for s in self.samples_of(video.id) for i in s.expression.object_ids or ())
        masklets = {i: self._masklet(video, i, range(len(video.context_names))) for i in asked}
        return {i: masklet for i, masklet in masklets.items() if masklet is not None}

    def annotation_files(self) -> Sequence[Path]:
        return [self.meta_file, *(path for video in self.videos for path in self._mask_paths(video) if path)]

    def _with_frames(self, name: str, entry: Any) -> Any:
        """The entry of a clip as other datasets write it, with the names of its frames."""
        if not isinstance(entry, dict) or not is_plain_path(name):
            return entry
        folder = self.clips / name / "images"
        frames = sorted({stem for suffix in SUFFIXES for stem in names_in(folder, suffix)})
        if not frames:
            raise DatasetError(f"{folder}: holds no frames of clip '{name}'; unpack the images, which list the frames.")
        return {**entry, "frames": frames, "expressions": entry.get("questions")}

    def _samples(self, entry: MetaVideo) -> Iterator[Sample]:
        numbers = dict.fromkeys(np.linspace(0, len(entry.frames) - 1, num=N_SCORED, dtype=int).tolist())
        video = Video(
            entry.id,
            tuple(entry.frames[i] for i in numbers),
            FrameFolder(self.clips / entry.id / "images"),
            context_names=entry.frames,
        )
        for question_id, fields in entry.expressions:
            ids = id_list(fields["obj_id"])
            tags = {"type": fields["q_type"], "action": f"{fields['action_start']}-{fields['action_end']}"}
            if odd := _odd_fields(ids, entry.id, tags):
                raise AnnotationErrors(self.meta_file, [f"clip '{entry.id}', question '{question_id}': {odd}"])
            yield Sample(video, Expression(question_id, fields["question"], ids, kind="reasoning", tags=tags))

    def _masklet(self, video: Video, object_id: str, during: range) -> Masklet | None:
        paths = self._mask_paths(video)
        if not any(paths):
            return None
        shown = tuple(p if i in during else None for i, p in zip(_numbers(video), paths, strict=True))
        return Masklet(video.frame_names, ClipMasks(shown, int(object_id), video.size))

    def _mask_paths(self, video: Video) -> list[Path | None]:
        """The mask file of every scored frame, by its number in the clip, in either way of writing it."""
        folder = self.clips / video.id / "masks"
        there = set(names_in(folder, ".png"))
        names = ((f"frame_{i:06d}", f"{i:07d}") for i in _numbers(video))
        return [next((folder / f"{name}.png" for name in pair if name in there), None) for pair in names]


@dataclass(frozen=True)
class ClipMasks:
    """Label maps of some frames; the object is absent from the others."""

    paths: tuple[Path | None, ...]
    label: int
    size: tuple[int, int]

    def mask(self, index: int) -> BoolMask | None:
        path = self.paths[index]
        return np.zeros(self.size, bool) if path is None else png_labels(path) == self.label

    def void(self, index: int) -> BoolMask | None:
        return None


def clip_begin(clip: str) -> int:
    """The second of the film at which a clip begins. Raises ValueError: its name does not end in its place."""
    span = CLIP_SPAN.search(clip)
    if span is None:
        raise ValueError("the clip's name must end in mmss_mmss, its place in the film.")
    return 60 * int(span[1]) + int(span[2])


def clock(seconds: int) -> str:
    """``mm:ss``."""
    return f"{seconds // 60:02d}:{seconds % 60:02d}"


def action_frames(clip: str, action: str) -> range:
    """The frames of an action ``mm:ss-mm:ss``, numbered in the clip; times are those of the film.

    Raises:
        ValueError: the clip's name does not end in its place in the film, or the times are none.
    """
    begin, times = clip_begin(clip), _ACTION.fullmatch(action)
    if times is None:
        raise ValueError("'action_start' and 'action_end' must be times such as 01:05.")
    return range(FPS * (_seconds(times[1]) - begin), FPS * (_seconds(times[2]) - begin))


def _seconds(time: str) -> int:
    hours, minutes, seconds = ([0] + [int(part) for part in time.split(":")])[-3:]
    return 3600 * hours + 60 * minutes + seconds


def _numbers(video: Video) -> list[int]:
    """The numbers of the scored frames in the clip."""
    places = {name: i for i, name in enumerate(video.context_names)}
    return [places[name] for name in video.frame_names]


def _odd_fields(ids: Sequence[str], clip: str, tags: dict[str, Any]) -> str:
    """What is wrong with a question, "" where nothing is."""
    if len(ids) != 1 or not ids[0].isdecimal() or not 0 < int(ids[0]) < 256:
        return f"object id '{', '.join(ids)}', expected 1 to 255, the value in the PNG masks."
    if tags["type"] not in TYPES:
        return f"'q_type' must be one of {', '.join(TYPES)}."
    try:
        action_frames(clip, tags["action"])
    except ValueError as error:
        return str(error)
    return ""

"""ReasonShapes' train scenes in memory, with many more sentences than the frozen split and dense facts about things.

Only scenes of the split ``train`` (or ``valid``, for choosing) are made, by the generator's own rules: its wordings,
depths, textures, combinations and uses are train's, so nothing that a test split holds out is ever seen.
"""

from __future__ import annotations

import hashlib
import json
import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ...datasets.config import cache_dir
from ...datasets.reasonshapes.benchmark import SPLITS, make_videos
from ...datasets.reasonshapes.facts import UNCLEAR, Facts, Measurements
from ...datasets.reasonshapes.generate import GeneratedVideo
from ...datasets.reasonshapes.loader import REFERRING, _code_hash
from ...datasets.reasonshapes.prng import Stream
from ...datasets.reasonshapes.programs import UNSEEN_USES, Program, Usable, depth, steps
from ...datasets.reasonshapes.questions import KINDS, ask
from ...datasets.reasonshapes.scene import COLOURS, RADII
from ...datasets.reasonshapes.shapes import SILHOUETTES
from ...datasets.types import Expression

COLOUR_NAMES, SHAPE_NAMES, SIZE_NAMES = tuple(COLOURS), tuple(SILHOUETTES), tuple(RADII)
#: What can happen to a thing, in the order of ``SceneVideo.moments``.
EVENTS = ("start", "stop", "enter", "exit", "reverse", "turn", "strike", "struck")
#: In ``SceneVideo.moments``: never, and too close to call.
NEVER, NOT_CLEAR = 10_000, -1
#: Directions of motion, in the order of ``SceneVideo.motion``.
MOTIONS = ("still", "right", "left", "down", "up")
_ARRAYS = ("frames", "labels", "looks", "places", "motion", "moments")
#: A thing that covers less of a cell than this is not what the cell shows.
LEAST_SHARE = 0.1


@dataclass(frozen=True)
class Sentence:
    """What is asked and what it means.

    Attributes:
        expression: as a predictor gets it.
        kind: one of ReasonShapes' kinds.
        targets: indices of the things meant, from 0.
    """

    expression: Expression
    kind: str
    targets: tuple[int, ...]


@dataclass(frozen=True)
class SceneVideo:
    """A rendered scene with its sentences; n things, T frames.

    Attributes:
        id: of the generated video.
        frames: uint8 (T, H, W, 3).
        labels: uint8 (T, H, W), 0 or the index of the thing seen, plus one.
        looks: int64 (n, 3), indices of colour, shape and size.
        places: float32 (n, T, 2), where the middle of what is seen of a thing is, x and y in 0 - 1; NaN where unseen.
        motion: int64 (n, T), index into ``MOTIONS`` of the way since two frames before.
        moments: int64 (n, 8), frame at which each of ``EVENTS`` happens, ``NEVER`` or ``NOT_CLEAR``.
        sentences: what is asked.
    """

    id: str
    frames: NDArray[np.uint8]
    labels: NDArray[np.uint8]
    looks: NDArray[np.int64]
    places: NDArray[np.float32]
    motion: NDArray[np.int64]
    moments: NDArray[np.int64]
    sentences: tuple[Sentence, ...]

    def masks(self, targets: Sequence[int], frames: Sequence[int]) -> NDArray[np.uint8]:
        """Where any of the targets is seen: 0 or 1, (len(frames), H, W)."""
        return np.isin(self.labels[list(frames)], [t + 1 for t in targets]).astype(np.uint8)

    def mean_places(self) -> NDArray[np.float32]:
        """Where each thing is on average while it is seen: float32 (n, 2), the middle for one that never is."""
        seen = ~np.isnan(self.places[..., :1])
        total = np.where(seen, self.places, 0).sum(1)
        return np.where(seen.any(1), total / np.maximum(seen.sum(1), 1), 0.5).astype(np.float32)

    def cells(self, frame: int, rows: int, columns: int) -> NDArray[np.int64]:
        """What each cell of a grid over a frame shows most of: int64 (rows, columns), 0 or index of the thing + 1."""
        labels, n = self.labels[frame], len(self.looks) + 1
        height, width = labels.shape
        cell = (np.arange(height) * rows // height)[:, None] * columns + (np.arange(width) * columns // width)
        counts = np.bincount((cell * n + labels).ravel(), minlength=rows * columns * n).reshape(rows, columns, n)
        things = counts[..., 1:]
        return np.where(things.max(-1) >= LEAST_SHARE * counts.sum(-1), things.argmax(-1) + 1, 0)


def make_scenes(split: str, n_videos: int, n_sentences: int) -> list[SceneVideo]:
    """The first scenes of a split, each with its own sentences and ``n_sentences`` more.

    A video costs about a tenth of a second and 0.8 MB. They are kept in the user's cache, so that the next run reads
    them in seconds.
    """
    generator = _code_hash()
    file = cache_dir() / "reasonshapes" / f"scenes-{generator}-{_own_hash()}-{split}-{n_videos}-{n_sentences}.npz"
    if not file.is_file():
        print(f"Making {n_videos} scenes of reasonshapes/{split} once, into {file}", file=sys.stderr)
        _store(file, [scene_video(split, v, n_sentences) for v in make_videos(split, n_videos)])
    return _stored(file)


def _own_hash() -> str:
    return hashlib.sha256(Path(__file__).read_bytes()).hexdigest()[:12]


def _store(file: Path, scenes: Sequence[SceneVideo]) -> None:
    """Arrays by number and field, sentences as JSON; whole or not there at all."""
    arrays = {f"{i}.{name}": getattr(v, name) for i, v in enumerate(scenes) for name in _ARRAYS}
    words = [(v.id, [(_plain(s.expression), s.kind, s.targets) for s in v.sentences]) for v in scenes]
    file.parent.mkdir(parents=True, exist_ok=True)
    partial = file.with_name(f".{os.getpid()}.{file.name}")
    np.savez(partial, words=np.array(json.dumps(words)), **arrays)
    partial.replace(file)


def _stored(file: Path) -> list[SceneVideo]:
    with np.load(file) as arrays:
        words = json.loads(str(arrays["words"]))
        return [
            SceneVideo(
                id=video_id,
                sentences=tuple(Sentence(Expression("0", **e), kind, tuple(t)) for e, kind, t in sentences),
                **{name: arrays[f"{i}.{name}"] for name in _ARRAYS},
            )
            for i, (video_id, sentences) in enumerate(words)
        ]


def _plain(expression: Expression) -> dict[str, Any]:
    return {"text": expression.text, "kind": expression.kind, "is_sentence": expression.is_sentence}


def scene_video(split: str, video: GeneratedVideo, n_sentences: int) -> SceneVideo:
    """One generated video with its own sentences and up to ``n_sentences`` more."""
    rendered = list(video.frames())
    labels = np.stack([frame.labels for frame in rendered])
    facts = Facts(Measurements(video.scene))
    own = [_sentence(s.text, s.kind, s.is_sentence, s.object_ids) for s in video.samples]
    return SceneVideo(
        id=video.id,
        frames=np.stack([frame.rgb for frame in rendered]),
        labels=labels,
        looks=np.array([_look(thing.look) for thing in video.things], np.int64),
        places=_places(labels, len(video.things)),
        motion=_motion(video.scene.positions),
        moments=_moments(facts),
        sentences=(*own, *_more(split, video, facts, n_sentences)),
    )


def _more(split: str, video: GeneratedVideo, facts: Facts, count: int) -> list[Sentence]:
    """Sentences of every kind that the split's rule allows, drawn by the generator."""
    rule = SPLITS[split]

    def allowed(program: Program) -> bool:
        uses = {step.use for step in steps(program) if isinstance(step, Usable)}
        return not uses & set(UNSEEN_USES) and rule.depth[0] <= depth(program) <= rule.depth[1]

    asked = ask(facts, Stream(video.scene.seed).fork(f"training {video.id}"), count, KINDS, keep=allowed)
    return [_sentence(w.text, q.kind, form == "long", tuple(q.targets)) for q, form, w in asked]


def _sentence(text: str, kind: str, is_sentence: bool, object_ids: Sequence[int]) -> Sentence:
    expression = Expression("0", text, kind="referring" if kind in REFERRING else "reasoning", is_sentence=is_sentence)
    return Sentence(expression, kind, tuple(sorted(i - 1 for i in object_ids)))


def _look(look: tuple[str, str, str]) -> tuple[int, int, int]:
    size, colour, shape = look
    return COLOUR_NAMES.index(colour), SHAPE_NAMES.index(shape), SIZE_NAMES.index(size)


def _places(labels: NDArray[np.uint8], count: int) -> NDArray[np.float32]:
    height, width = labels.shape[1:]
    places = np.full((count, len(labels), 2), np.nan, np.float32)
    for t, frame in enumerate(labels):
        seen = np.bincount(frame.ravel(), minlength=count + 1)[1:]
        x = np.bincount(frame.ravel(), np.tile(np.arange(width) + 0.5, height), count + 1)[1:] / width
        y = np.bincount(frame.ravel(), np.repeat(np.arange(height) + 0.5, width), count + 1)[1:] / height
        present = seen > 0
        places[present, t] = np.stack([x, y], 1)[present] / seen[present, None]
    return places


def _motion(positions: NDArray[np.int64]) -> NDArray[np.int64]:
    """The main direction of each thing's way from two frames before (the first frames: from frame 0)."""
    before = positions[:, np.maximum(np.arange(positions.shape[1]) - 2, 0)]
    dx, dy = np.moveaxis(positions - before, -1, 0)
    sideways = np.where(dx > 0, MOTIONS.index("right"), MOTIONS.index("left"))
    upright = np.where(dy > 0, MOTIONS.index("down"), MOTIONS.index("up"))
    return np.where((dx == 0) & (dy == 0), 0, np.where(abs(dx) > abs(dy), sideways, upright))


def _moments(facts: Facts) -> NDArray[np.int64]:
    rows = []
    for thing in facts.scene.things:
        history = facts.history(thing.id)
        found = [getattr(history, event) for event in EVENTS]
        rows.append([NEVER if m is None else NOT_CLEAR if m is UNCLEAR else m for m in found])
    return np.array(rows, np.int64)

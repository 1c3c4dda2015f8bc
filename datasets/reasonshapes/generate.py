"""ReasonShapes as a stream of videos with sentences and executed ground truth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from ..errors import UnknownNameError, UsageError
from .choreography import make_scene
from .facts import Facts, Measurements, beginnings
from .language import Wording
from .prng import Stream
from .programs import Ids, Program, depth, execute, narrowing, show
from .questions import KINDS, Question, ask, disambiguation_frame, has_double
from .render import RenderedFrame, Renderer
from .scene import Scene, Thing

SPLITS = ("train", "valid", "test")
_SEEDS_PER_SPLIT = 1 << 40
_VIDEOS_PER_SEED = 1 << 24


@dataclass(frozen=True)
class GeneratedSample:
    """A sentence about a generated video.

    Attributes:
        id: a number unique in its video, as text.
        text: the sentence.
        is_sentence: a whole sentence rather than a noun phrase.
        object_ids: the ids of the things meant; empty for a no-target sentence.
        kind: one of ``questions.KINDS``.
        program: what the sentence means.
        tags: plain facts for break-downs, described in ``describe``.
    """

    id: str
    text: str
    is_sentence: bool
    object_ids: tuple[int, ...]
    kind: str
    program: Program
    tags: dict[str, str | int | float | bool] = field(hash=False)


@dataclass(frozen=True)
class GeneratedVideo:
    """A scene to be rendered at one size, with its sentences.

    Attributes:
        id: unique over splits and seeds.
        scene: the scene graph.
        samples: the sentences.
        height: rendered height in pixels; the width follows from the scene.
    """

    id: str
    scene: Scene
    samples: tuple[GeneratedSample, ...]
    height: int

    @property
    def width(self) -> int:
        return self.scene.size_at(self.height)[1]

    @property
    def n_frames(self) -> int:
        return self.scene.n_frames

    @property
    def things(self) -> tuple[Thing, ...]:
        return self.scene.things

    @cached_property
    def renderer(self) -> Renderer:
        return Renderer(self.scene, self.height)

    def frames(self) -> Iterator[RenderedFrame]:
        """RGB and labels of every frame, one in memory at a time."""
        return self.renderer.frames()

    def mask(self, sample: GeneratedSample, t: int) -> NDArray[np.bool_]:
        """Where the sample's targets are seen in frame ``t``, bool (H, W)."""
        return np.isin(self.renderer.labels(t), sample.object_ids)


def generate(
    split: str,
    n_videos: int,
    seed: int = 0,
    *,
    height: int = 64,
    width: int = 64,
    n_frames: int = 16,
    n_sentences: int = 5,
    max_things: int = 6,
    kinds: Sequence[str] = KINDS[:-1],
    first: int = 0,
) -> Iterator[GeneratedVideo]:
    """Videos number ``first`` … ``first + n_videos - 1`` of a split, one at a time.

    Seeds of different splits never meet. A video depends on its split, number and seed and on the arguments about
    the scene, not on how many others are asked for.

    Args:
        split: ``train``, ``valid`` or ``test``.
        n_videos: how many.
        seed: which of 65,536 sets of the split.
        height, width: in pixels; small sizes (64 to 96) for nano models, 480 by 854 for full-size ones.
        n_frames: length; fewer than 8 give things that lie still.
        n_sentences: at most so many per video.
        max_things: at most so many objects per video.
        kinds: kinds of sentences wanted, of ``KINDS``; ``no-target`` has to be asked for.
        first: number of the first video, for resuming and for sharing the work.

    Raises:
        UnknownNameError: an unknown split or kind.
        UsageError: a number out of range.
    """
    _check(split, n_videos, seed, first, kinds)
    for number in range(first, first + n_videos):
        scene_seed = SPLITS.index(split) * _SEEDS_PER_SPLIT + seed * _VIDEOS_PER_SEED + number
        scene = make_scene(scene_seed, height, width, n_frames, max_things)
        yield describe(f"{split}-{seed}-{number:06d}", scene, n_sentences, kinds)


def describe(video_id: str, scene: Scene, n_sentences: int = 5, kinds: Sequence[str] = KINDS[:-1]) -> GeneratedVideo:
    """A scene with sentences about it, rendered at its nominal size."""
    watched = beginnings(Measurements(scene))
    asked = ask(watched[-1], Stream(scene.seed).fork("questions"), n_sentences, kinds)
    samples = tuple(
        make_sample(str(number), question, form == "long", wording, watched)
        for number, (question, form, wording) in enumerate(asked)
    )
    return GeneratedVideo(video_id, scene, samples, scene.height)


def _check(split: str, n_videos: int, seed: int, first: int, kinds: Sequence[str]) -> None:
    if split not in SPLITS:
        raise UnknownNameError("split of reasonshapes", split, SPLITS)
    for kind in kinds:
        if kind not in KINDS:
            raise UnknownNameError("kind of sentence", kind, KINDS)
    if not 0 <= seed < 1 << 16 or first < 0 or n_videos < 0 or first + n_videos > _VIDEOS_PER_SEED:
        raise UsageError(
            f"ReasonShapes has seeds 0 to 65535 with {_VIDEOS_PER_SEED} videos each; found seed {seed}, "
            f"videos {first} to {first + n_videos}."
        )


def make_sample(
    sample_id: str, question: Question, is_sentence: bool, wording: Wording, watched: Sequence[Facts]
) -> GeneratedSample:
    """The sample and its tags.

    Tags: ``depth`` steps of reasoning; ``n_objects`` in the video; ``n_distractors`` things that fit all but the last
    step; ``narrowing`` how many things fit after each step; ``family`` (``look-alike`` where another thing looks the
    same as a target, else ``appearance-unique``); ``unambiguous_from`` the first frame by which the answer is settled;
    ``occlusion`` mean hidden share of the targets while in the frame; ``area`` their mean share of the frame while
    seen; ``n_visible_frames``; ``n_frames``; ``phrasing`` the wordings used; ``program`` in one line.
    """
    facts, measured = watched[-1], watched[-1].measured
    program, targets = question.program, question.targets
    left = narrowing(program, facts)
    tags: dict[str, str | int | float | bool] = {
        "depth": depth(program),
        "n_objects": len(facts.present),
        "n_distractors": (left[-2] if len(left) > 1 else len(facts.present)) - len(targets),
        "narrowing": ">".join(str(n) for n in left),
        "family": "look-alike" if has_double(measured.scene, facts.present, targets) else "appearance-unique",
        "unambiguous_from": disambiguation_frame(program, targets, watched),
        **_sight(measured, targets),
        "n_frames": measured.scene.n_frames,
        "phrasing": wording.phrasing,
        "program": show(program),
    }
    if execute(program, facts) != targets:
        raise AssertionError(f"{show(program)} does not select {sorted(targets)} in scene {measured.scene.seed}.")
    return GeneratedSample(sample_id, wording.text, is_sentence, tuple(sorted(targets)), question.kind, program, tags)


def _sight(measured: Measurements, targets: Ids) -> dict[str, int | float]:
    rows = [i - 1 for i in sorted(targets)]
    seen = measured.seen[rows].sum(axis=0)
    inside = measured.in_frame[rows] > 0
    height, width = measured.raster
    hidden = measured.hidden[rows][inside]
    return {
        "occlusion": round(float(hidden.mean()) / 1000, 3) if hidden.size else 0.0,
        "area": round(float(seen[seen > 0].mean()) / (height * width), 4) if seen.any() else 0.0,
        "n_visible_frames": int((seen > 0).sum()),
    }

"""Sentences in the manner of Ref-DAVIS-17: two annotators, each for the first frame and for the full video."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from .facts import Facts, Measurements
from .generate import GeneratedVideo
from .language import say
from .prng import Stream
from .programs import Undecided, execute, steps
from .questions import Question, questions

ANNOTATORS = (
    ("Davis17_annot1.txt", "utf-8"),
    ("Davis17_annot1_full_video.txt", "utf-8"),
    ("Davis17_annot2.txt", "latin-1"),
    ("Davis17_annot2_full_video.txt", "latin-1"),
)
"""The files of ``davis_text_annotations`` in the order of the converter's expression ids, and their encodings."""


@dataclass(frozen=True)
class DavisObject:
    """A thing as DAVIS would list it.

    Attributes:
        label: its value in the masks. Things that are asked for come first, so that their labels have no gaps.
        thing_id: its id in the scene.
        category: its shape.
        texts: four sentences in the order of ``ANNOTATORS``; none where nobody asks for it.
    """

    label: int
    thing_id: int
    category: str
    texts: tuple[str, ...]


def describe_objects(video: GeneratedVideo) -> list[DavisObject]:
    """All things of a video; those in view in frame 0 that can be told apart there have their four sentences."""
    measured = Measurements(video.scene)
    facts = Facts(measured)
    found = [q for q in questions(facts) if len(q.targets) == 1]
    texts = {thing.id: _texts(thing.id, found, measured, video.scene.seed) for thing in video.things}
    order = sorted(facts.present, key=lambda i: (not texts[i], i))
    return [DavisObject(label, i, video.scene.thing(i).shape, texts[i]) for label, i in enumerate(order, start=1)]


def _texts(thing_id: int, found: Sequence[Question], measured: Measurements, seed: int) -> tuple[str, ...]:
    about = [q for q in found if thing_id in q.targets]
    at_first = [q for q in about if _tells_at_first(q, measured)]
    if not at_first or measured.in_frame[thing_id - 1, 0] == 0:
        return ()
    moving = [q for q in about if q.kind in ("motion", "temporal")] or about
    stream = Stream(seed).fork(f"davis {thing_id}")
    chosen = [stream.choice(pool) for pool in (at_first, moving, at_first, moving)]
    return tuple(say(q.program, "short", stream).text for q in chosen)


def _tells_at_first(question: Question, measured: Measurements) -> bool:
    """Whether somebody who sees frame 0 alone could say it of the same thing."""
    if any(
        step.kind in ("motion", "temporal") or getattr(step, "when", "") == "at last"
        for step in steps(question.program)
    ):
        return False
    try:
        return execute(question.program, Facts(measured, 1)) == question.targets
    except Undecided:
        return False

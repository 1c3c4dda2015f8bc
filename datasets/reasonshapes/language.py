"""A small grammar that puts programs into words.

A program becomes a noun phrase: adjectives and a noun from its attribute steps, a clause from each other step; the
long forms put the phrase or its last clause into a sentence or a question. Every choice between wordings is recorded,
so that wordings can be held out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from .prng import Stream
from .programs import (
    Beside,
    Both,
    Does,
    Heads,
    Outermost,
    Passes,
    Program,
    Ranks,
    Same,
    Travels,
    Usable,
    With,
    chain,
)

Form = Literal["short", "long"]


@dataclass(frozen=True)
class Wording:
    """A text and the numbers of the wordings that were chosen for it, in order, e.g. ``ranks.1 question.0``."""

    text: str
    phrasing: str


DOES = {
    "start": ("that lies still at first and moves off later", "that rests for a while before it begins to move"),
    "stop": ("that comes to a stop", "that moves and then stands still"),
    "enter": ("that comes into the picture", "that enters from outside the picture"),
    "exit": ("that leaves the picture", "that moves out of the picture"),
    "reverse": ("that turns back", "that goes back the way it came"),
    "turn": ("that turns off at a right angle", "that turns by 90°"),
    "still": ("that never moves", "that stays in its place"),
}
HEADS = {
    "right": ("that moves from left to right", "that travels to the right"),
    "left": ("that moves from right to left", "that travels to the left"),
    "down": ("that moves from top to bottom", "that travels downwards"),
    "up": ("that moves from bottom to top", "that travels upwards"),
}
RANKS = {
    "start": ("that starts to move {rank}", "that is the {rank} to start moving"),
    "stop": ("that stops {rank}", "that is the {rank} to come to rest"),
    "enter": ("that comes into the picture {rank}", "that is the {rank} to enter the picture"),
    "exit": ("that leaves the picture {rank}", "that is the {rank} to move out of the picture"),
    "reverse": ("that turns back {rank}", "that is the {rank} to go back the way it came"),
    "turn": ("that turns off {rank}", "that is the {rank} to change its course"),
}
TRAVELS = {
    "most": ("that travels the furthest", "that covers the longest distance"),
    "least": ("that travels the shortest way", "that covers the shortest distance"),
}
SUPERLATIVES = {
    "leftmost": "furthest to the left",
    "rightmost": "furthest to the right",
    "topmost": "nearest to the top",
    "lowest": "nearest to the bottom",
}
SIDES = {"left of": "to the left of", "right of": "to the right of", "above": "above", "below": "below"}
WHENS = {
    "throughout": ("{place}", "that is always {place}"),
    "at first": ("that starts out {place}", "that at the beginning is {place}"),
    "at last": ("that ends up {place}", "that at the end is {place}"),
}
PASSES = {
    "behind": ("that passes behind {anchor}", "that gets hidden by {anchor}"),
    "in front of": ("that passes in front of {anchor}", "that moves across {anchor}"),
}
SAME = {
    "colour": ("of the same colour as {anchor}", "that shares its colour with {anchor}"),
    "shape": ("of the same shape as {anchor}", "that has the same shape as {anchor}"),
}
USES = {
    "eat": ("that one can eat", "that would make a snack"),
    "drink from": ("that one can drink from", "that one fills with tea"),
    "open a door": ("that opens a lock", "that one needs to unlock a door"),
    "keep off the rain": ("that keeps off the rain", "that one holds up in a shower"),
    "live in": ("that people live in", "that has a roof and a front door"),
    "swim": ("that lives under water", "that has fins"),
    "drive on a road": ("that drives on roads", "that has an engine and wheels"),
    "cross a lake": ("that crosses a lake by the wind", "that sails"),
}
SCENARIOS = {
    "eat": "If you felt hungry, which {scope} here would you reach for?",
    "drink from": "Which {scope} would you fill to quench your thirst?",
    "open a door": "You stand in front of a locked door: which {scope} do you need?",
    "keep off the rain": "It begins to rain while you walk: which {scope} would keep you dry?",
    "live in": "A family looks for a home: which {scope} would do?",
    "swim": "Which {scope} would feel at ease in an aquarium?",
    "drive on a road": "Which {scope} would you take for a trip along the motorway?",
    "cross a lake": "Which {scope} would bring you to the other shore of a lake?",
}
OPENINGS = {
    "start": "Not everything moves from the beginning on.",
    "stop": "Some of the motion in this video comes to an end.",
    "enter": "The picture does not stay as it is at the beginning.",
    "exit": "Not everything stays in the picture.",
    "reverse": "Some ways in this video lead back again.",
    "turn": "Not every way in this video is straight.",
}
REQUESTS = (
    "Please find {phrase} and follow it through the video.",
    "Several things can be seen here; the one that I mean is {phrase}.",
    "Watch the whole video and mark {phrase} wherever it can be seen.",
)
REQUESTS_FOR_MANY = (
    "Please find {phrase}, and nothing else.",
    "Watch the whole video and mark {phrase}.",
)


def say(program: Program, form: Form, stream: Stream, n_targets: int = 1) -> Wording:
    """The program in words.

    Args:
        program: what is meant.
        form: ``short``, a noun phrase, or ``long``, a whole sentence.
        stream: chooses between wordings.
        n_targets: how many things are meant: of several the phrase says "every", and where there is none nothing
            is said that would presuppose one.
    """
    speaker = _Speaker(stream)
    text = speaker.phrase(program, n_targets > 1) if form == "short" else speaker.sentence(program, n_targets)
    return Wording(text, " ".join(speaker.chosen))


class _Speaker:
    """Words for one sentence; remembers which wordings it chose."""

    def __init__(self, stream: Stream) -> None:
        self._stream = stream
        self.chosen: list[str] = []

    def phrase(self, program: Program, many: bool = False) -> str:
        """``the small red circle that stops first``."""
        if isinstance(program, Both):
            return f"{self.phrase(program.one)} and {self.phrase(program.other)}"
        return f"{'every' if many else 'the'} {self._scope(chain(program))}"

    def sentence(self, program: Program, n_targets: int) -> str:
        many = n_targets > 1
        if isinstance(program, Usable) and not many:
            self.chosen.append("scenario.0")
            return SCENARIOS[program.use].format(scope=self._scope(chain(program)[:-1]))
        if not many and not isinstance(program, (With, Both)) and self._stream.chance(2, 3):
            return self._question(program, opened=n_targets == 1)
        requests = REQUESTS_FOR_MANY if many or isinstance(program, Both) else REQUESTS
        return self._pick("request", requests).format(phrase=self.phrase(program, many))

    def _question(self, program: Program, opened: bool) -> str:
        """``Some of the motion … comes to an end. Which circle stops first?``"""
        self.chosen.append("question.0")
        scope, clause = self._scope(chain(program)[:-1]), self._clause(program)
        predicate = clause.removeprefix("that ") if clause.startswith("that ") else f"is {clause}"
        opening = OPENINGS.get(getattr(program, "event", ""), "") if opened else ""
        return f"{opening} Which {scope} {predicate}?".strip()

    def _scope(self, steps: list[Program]) -> str:
        """Adjectives, noun and clauses, without an article."""
        words = {step.attribute: step.value for step in steps if isinstance(step, With)}
        noun = words.get("shape", "object")
        clauses = [self._clause(step) for step in steps if step.kind != "none" and not isinstance(step, With)]
        return " ".join(w for w in (words.get("size"), words.get("colour"), noun, *clauses) if w)

    def _clause(self, step: Program) -> str:
        if isinstance(step, Does):
            return self._pick("does", DOES[step.event])
        if isinstance(step, Heads):
            return self._pick("heads", HEADS[step.heading])
        if isinstance(step, Ranks):
            return self._pick("ranks", RANKS[step.event]).format(rank=step.rank)
        if isinstance(step, Travels):
            return self._pick("travels", TRAVELS[step.rank])
        if isinstance(step, Outermost):
            return self._pick("outermost", WHENS[step.when]).format(place=SUPERLATIVES[step.side])
        if isinstance(step, Beside):
            place = f"{SIDES[step.side]} {self.phrase(step.anchor)}"
            return self._pick("beside", WHENS[step.when]).format(place=place)
        if isinstance(step, Passes):
            return self._pick("passes", PASSES[step.where]).format(anchor=self.phrase(step.anchor))
        if isinstance(step, Same):
            return self._pick("same", SAME[step.attribute]).format(anchor=self.phrase(step.anchor))
        if isinstance(step, Usable):
            return self._pick("use", USES[step.use])
        raise TypeError(f"No words for a step of type {type(step).__name__}.")

    def _pick(self, what: str, wordings: tuple[str, ...]) -> str:
        k = self._stream.below(len(wordings))
        self.chosen.append(f"{what}.{k}")
        return wordings[k]

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


# The last wording of every list is held out: it occurs in the test of new phrasings alone.
DOES = {
    "start": (
        "that lies still at first and moves off later",
        "that rests for a while before it begins to move",
        "that is set going only after a while",
    ),
    "stop": ("that comes to a stop", "that moves and then stands still", "whose motion ends during the video"),
    "enter": (
        "that comes into the picture",
        "that enters from outside the picture",
        "that shows up from beyond the edge",
    ),
    "exit": ("that leaves the picture", "that moves out of the picture", "that vanishes beyond the edge"),
    "reverse": ("that turns back", "that goes back the way it came", "that retraces its path"),
    "turn": ("that turns off at a right angle", "that turns by 90°", "whose path has a corner"),
    "strike": ("that bumps into another object", "that pushes another object", "that knocks another object away"),
    "struck": ("that is pushed by another object", "that gets hit and slides away", "that is knocked away"),
    "still": ("that never moves", "that stays in its place", "that is at rest from beginning to end"),
}
HEADS = {
    "right": ("that moves from left to right", "that travels to the right", "that makes its way rightwards"),
    "left": ("that moves from right to left", "that travels to the left", "that makes its way leftwards"),
    "down": ("that moves from top to bottom", "that travels downwards", "that sinks through the picture"),
    "up": ("that moves from bottom to top", "that travels upwards", "that rises through the picture"),
}
RANKS = {
    "start": ("that starts to move {rank}", "that is the {rank} to start moving", "that sets off {rank}"),
    "stop": ("that stops {rank}", "that is the {rank} to come to rest", "whose motion ends {rank}"),
    "enter": ("that comes into the picture {rank}", "that is the {rank} to enter the picture", "that shows up {rank}"),
    "exit": ("that leaves the picture {rank}", "that is the {rank} to move out of the picture", "that vanishes {rank}"),
    "reverse": (
        "that turns back {rank}",
        "that is the {rank} to go back the way it came",
        "that is {rank} on its way back",
    ),
    "turn": ("that turns off {rank}", "that is the {rank} to change its course", "that rounds its corner {rank}"),
    "strike": (
        "that bumps into another one {rank}",
        "that is the {rank} to bump into something",
        "that hits something {rank}",
    ),
    "struck": ("that is pushed {rank}", "that is the {rank} to be pushed", "that is knocked away {rank}"),
}
TRAVELS = {
    "most": ("that travels the furthest", "that covers the longest distance", "that has the longest way behind it"),
    "least": ("that travels the shortest way", "that covers the shortest distance", "that gets along the least"),
}
SUPERLATIVES = {
    "leftmost": "furthest to the left",
    "rightmost": "furthest to the right",
    "topmost": "nearest to the top",
    "lowest": "nearest to the bottom",
}
SIDES = {"left of": "to the left of", "right of": "to the right of", "above": "above", "below": "below"}
WHENS = {
    "throughout": ("{place}", "that is always {place}", "that can be seen {place} all the time"),
    "at first": ("that starts out {place}", "that at the beginning is {place}", "that in the first frame is {place}"),
    "at last": ("that ends up {place}", "that at the end is {place}", "that in the last frame is {place}"),
}
PASSES = {
    "behind": ("that passes behind {anchor}", "that gets hidden by {anchor}", "that slips underneath {anchor}"),
    "in front of": (
        "that passes in front of {anchor}",
        "that moves across {anchor}",
        "that for a while covers {anchor}",
    ),
}
SAME = {
    "colour": ("of the same colour as {anchor}", "that shares its colour with {anchor}", "coloured like {anchor}"),
    "shape": ("of the same shape as {anchor}", "that has the same shape as {anchor}", "shaped like {anchor}"),
}
USES = {
    "eat": ("that one can eat", "that would make a snack", "that belongs in a fruit bowl"),
    "drink from": ("that one can drink from", "that one fills with tea", "that one lifts to one's lips"),
    "open a door": ("that opens a lock", "that one needs to unlock a door", "that turns in a keyhole"),
    "keep off the rain": ("that keeps off the rain", "that one holds up in a shower", "that one opens in bad weather"),
    "live in": ("that people live in", "that has a roof and a front door", "that one pays rent for"),
    "swim": ("that lives under water", "that has fins", "that would die on land"),
    "drive on a road": ("that drives on roads", "that has an engine and wheels", "that needs a licence plate"),
    "cross a lake": ("that crosses a lake by the wind", "that sails", "that a breeze drives over the water"),
    "pick from a tree": ("that grows on a tree", "that is ripe in autumn", "that falls from a branch"),
    "put on a saucer": ("that one puts on a saucer", "that has its place in a kitchen cupboard", "that one washes up"),
    "lose and be locked out": (
        "that one must not lose",
        "that hangs on a ring",
        "that fits into a pocket and is of metal",
    ),
    "fold up after a shower": (
        "that one folds up when it is dry",
        "that has ribs and a handle",
        "that drips in the hall",
    ),
    "wipe one's feet before": ("that has a doormat", "that is built of bricks", "that stands at an address"),
    "catch with a rod": ("that an angler hopes for", "that breathes with gills", "that takes the bait"),
    "stop at a red light": ("that waits at a red light", "that runs out of petrol", "that one parks"),
    "moor in a harbour": ("that is moored in a harbour", "that has a mast", "that drops an anchor"),
}
SCENARIOS = {
    "eat": ("If you felt hungry, which {scope} here would you reach for?", "Lunch is late: which {scope} would help?"),
    "drink from": ("Which {scope} would you fill to quench your thirst?", "Coffee is ready: which {scope} takes it?"),
    "open a door": (
        "You stand in front of a locked door: which {scope} do you need?",
        "Which {scope} would a burglar like to find under the doormat?",
    ),
    "keep off the rain": (
        "It begins to rain while you walk: which {scope} would keep you dry?",
        "Dark clouds come up: which {scope} do you take along?",
    ),
    "live in": ("A family looks for a home: which {scope} would do?", "Which {scope} could an estate agent sell?"),
    "swim": ("Which {scope} would feel at ease in an aquarium?", "Which {scope} would you put back into the pond?"),
    "drive on a road": (
        "Which {scope} would you take for a trip along the motorway?",
        "The bus is gone: which {scope} would bring you to work?",
    ),
    "cross a lake": (
        "Which {scope} would bring you to the other shore of a lake?",
        "The island has no bridge: which {scope} do you need?",
    ),
    "pick from a tree": (
        "Harvest has begun: which {scope} goes into the basket?",
        "Which {scope} hung on a branch before?",
    ),
    "put on a saucer": ("The table is laid for tea: which {scope} is set out?", "Which {scope} would a waiter bring?"),
    "lose and be locked out": (
        "Somebody cannot get into the flat: which {scope} was left inside?",
        "Which {scope} would a locksmith copy?",
    ),
    "fold up after a shower": (
        "The sun is out again: which {scope} is folded up now?",
        "Which {scope} is most often forgotten on a train after a wet morning?",
    ),
    "wipe one's feet before": (
        "A guest wipes their shoes: which {scope} is about to be entered?",
        "Which {scope} would a postman look for?",
    ),
    "catch with a rod": (
        "An angler had luck: which {scope} is in the bucket?",
        "Which {scope} would a heron be after?",
    ),
    "stop at a red light": (
        "The traffic light is red: which {scope} has to wait?",
        "Which {scope} would a mechanic lift to change a tyre?",
    ),
    "moor in a harbour": (
        "A storm is coming: which {scope} is tied up at the pier?",
        "Which {scope} would a pirate board?",
    ),
}
OPENINGS = {
    "start": "Not everything moves from the beginning on.",
    "stop": "Some of the motion in this video comes to an end.",
    "enter": "The picture does not stay as it is at the beginning.",
    "exit": "Not everything stays in the picture.",
    "reverse": "Some ways in this video lead back again.",
    "turn": "Not every way in this video is straight.",
    "strike": "Things meet in this video.",
    "struck": "Things meet in this video.",
}
QUESTIONS = ("{opening} Which {scope} {predicate}?", "{opening} Can you tell which {scope} it is that {predicate}?")
REQUESTS = (
    "Please find {phrase} and follow it through the video.",
    "Several things can be seen here; the one that I mean is {phrase}.",
    "Watch the whole video and mark {phrase} wherever it can be seen.",
    "Could you outline {phrase} for me?",
)
REQUESTS_FOR_MANY = (
    "Please find {phrase}, and nothing else.",
    "Watch the whole video and mark {phrase}.",
    "Could you outline {phrase} for me, one and all?",
)
ARTICLES_FOR_MANY = ("every", "each", "any")


def say(program: Program, form: Form, stream: Stream, n_targets: int = 1, *, held_out: bool = False) -> Wording:
    """The program in words.

    Args:
        program: what is meant.
        form: ``short``, a noun phrase, or ``long``, a whole sentence.
        stream: chooses between wordings.
        n_targets: how many things are meant: of several the phrase says "every", and where there is none nothing
            is said that would presuppose one.
        held_out: use the wordings that are kept for the test of new phrasings, and only those.
    """
    speaker = _Speaker(stream, held_out)
    text = speaker.phrase(program, n_targets > 1) if form == "short" else speaker.sentence(program, n_targets)
    return Wording(text, " ".join(speaker.chosen))


class _Speaker:
    """Words for one sentence; remembers which wordings it chose."""

    def __init__(self, stream: Stream, held_out: bool) -> None:
        self._stream, self._held_out = stream, held_out
        self.chosen: list[str] = []

    def phrase(self, program: Program, many: bool = False) -> str:
        """``the small red circle that stops first``."""
        if isinstance(program, Both):
            return f"{self.phrase(program.one)} and {self.phrase(program.other)}"
        article = self._pick("article", ARTICLES_FOR_MANY) if many else "the"
        return f"{article} {self._scope(chain(program))}"

    def sentence(self, program: Program, n_targets: int) -> str:
        many = n_targets > 1
        if isinstance(program, Usable) and not many:
            return self._pick("scenario", SCENARIOS[program.use]).format(scope=self._scope(chain(program)[:-1]))
        if not many and not isinstance(program, (With, Both)) and self._stream.chance(2, 3):
            return self._question(program, opened=n_targets == 1)
        if many or isinstance(program, Both):
            request = self._pick("request-for-many", REQUESTS_FOR_MANY)
        else:
            request = self._pick("request", REQUESTS)
        return request.format(phrase=self.phrase(program, many))

    def _question(self, program: Program, opened: bool) -> str:
        """``Some of the motion … comes to an end. Which circle stops first?``"""
        scope, clause = self._scope(chain(program)[:-1]), self._clause(program)
        predicate = clause.removeprefix("that ") if clause.startswith("that ") else f"is {clause}"
        if clause.startswith("whose "):
            predicate = f"is the one {clause}"
        opening = OPENINGS.get(getattr(program, "event", ""), "") if opened else ""
        words = self._pick("question", QUESTIONS)
        return words.format(opening=opening, scope=scope, predicate=predicate).strip()

    def _scope(self, steps: list[Program]) -> str:
        """Adjectives, noun and clauses, without an article."""
        words = {step.attribute: step.value for step in steps if isinstance(step, With)}
        noun = words.get("shape", "object")
        clauses = [self._clause(step) for step in steps if step.kind != "none" and not isinstance(step, With)]
        if len(clauses) > 1:
            clauses = [" and ".join(c if c.startswith(("that ", "whose ")) else f"that is {c}" for c in clauses)]
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
        usual = len(wordings) - 1
        k = usual if self._held_out else self._stream.below(usual)
        self.chosen.append(f"{what}.{k}")
        return wordings[k]

"""Words of sentences: what they are without case and endings, and which are spelt wrong.

The list of known words is this package's own (``words.txt``); words that a project uses often are known as well.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import lru_cache
from importlib.resources import files

from .native import Clip

#: words that say nothing about what is meant
_STOP = frozenset(
    re.findall(
        r"\w+",
        "a an the this that these those which who whom whose what is are was were be been being it its of in on at to "
        "from and or with by for as there one please segment find show me",
    )
)


def normalised(text: str) -> str:
    """In lower case, without punctuation and accents."""
    plain = unicodedata.normalize("NFKD", text.casefold())
    return " ".join(re.findall(r"[^\W_]+", "".join(c for c in plain if not unicodedata.combining(c))))


def content_words(text: str) -> frozenset[str]:
    """The words that say something, without their plural s."""
    return frozenset(_singular(word) for word in normalised(text).split() if word not in _STOP)


def misspelt(text: str, words: frozenset[str] = frozenset()) -> Iterator[tuple[str, str]]:
    """Unknown words one letter (or two exchanged ones) away from a known word, with that word.

    Words with a capital, a digit or a hyphen are names, and short ones too near to each other; they are left alone.
    """
    known = known_words() | words
    for word in dict.fromkeys(re.findall(r"(?<![\w'-])[a-z]{5,}(?![\w'-])", text)):
        if any(stem in known for stem in _stems(word)):
            continue
        near = sorted(candidate for candidate in _one_edit(word) if candidate in known)
        if near:
            yield word, near[0]


@lru_cache(maxsize=1)
def known_words() -> frozenset[str]:
    """Words that describe what videos show, as this package's own sentences and texts use them."""
    return frozenset((files(__package__) / "words.txt").read_text(encoding="utf-8").split())


def project_words(clips: Iterable[Clip], least: int = 3) -> frozenset[str]:
    """Words that at least ``least`` sentences of a project use: those are no slips."""
    counted: Counter[str] = Counter()
    for clip in clips:
        for expression in clip.expressions:
            counted.update(set(re.findall(r"[a-z]{3,}", expression.text.lower())))
    return frozenset(word for word, count in counted.items() if count >= least)


def _stems(word: str) -> Iterator[str]:
    """The word, and what it may be an ending of: wags, wagged, wagging, wider, quietly, berries."""
    yield word
    for ending in ("s", "es", "d", "ed", "ing", "er", "est", "r", "st", "ly", "y", "n", "en", "ness", "less", "ful"):
        if word.endswith(ending) and len(word) - len(ending) >= 2:
            stem = word[: -len(ending)]
            yield from (stem, f"{stem}e")
            if len(stem) > 2 and stem[-1] == stem[-2]:
                yield stem[:-1]
    for ending in ("ies", "ied", "ier", "iest", "ily"):
        if word.endswith(ending):
            yield word[: -len(ending)] + "y"


def _one_edit(word: str) -> set[str]:
    letters = "abcdefghijklmnopqrstuvwxyz"
    parts = [(word[:i], word[i:]) for i in range(len(word) + 1)]
    left_out = {a + b[1:] for a, b in parts if b}
    exchanged = {a + b[1] + b[0] + b[2:] for a, b in parts if len(b) > 1}
    replaced = {a + c + b[1:] for a, b in parts if b for c in letters}
    inserted = {a + c + b for a, b in parts for c in letters}
    return left_out | exchanged | replaced | inserted


def _singular(word: str) -> str:
    plural = len(word) > 3 and word.endswith("s") and not word.endswith("ss")
    return word[:-1] if plural else word

"""Paraphrases from a language model behind any OpenAI-compatible address: suggestions, until a person accepts each."""

from __future__ import annotations

import json
import re
import urllib.error
import urllib.request
from dataclasses import dataclass
from typing import Any

from ..errors import RvosError
from .edits import MOST_TEXT, blank_expression, plain_text
from .journal import Author, Change, Row
from .refusals import Invalid, Unknown
from .store import new_id

MOST_TEXTS = 50
_MOST_ANSWER = 1 << 20
_NUMBERING = re.compile(r"^\s*(?:[-*•]|\(?\d+[.):])\s*")
_PROMPT = (
    "Rewrite the sentence below in {count} different ways. Every rewrite must ask for exactly the same thing: add no "
    "information, drop none, and keep what has to be reasoned out unsaid. One rewrite per line, nothing else.\n\n{text}"
)


class ParaphraseError(RvosError):
    """The address of the language model does not answer, or not with sentences."""


@dataclass(frozen=True)
class Paraphraser:
    """A language model behind an address.

    Attributes:
        url: base of the interface, e.g. ``http://127.0.0.1:8000/v1``.
        model: its name there.
        key: sent as a bearer token where it is not empty.
    """

    url: str
    model: str
    key: str = ""

    def ask(self, text: str, count: int, seconds: float = 120.0) -> list[str]:
        """Up to ``count`` rewrites of a sentence. Raises ParaphraseError."""
        message = {"role": "user", "content": _PROMPT.format(count=count, text=text)}
        body = {"model": self.model, "messages": [message], "temperature": 0.9, "stream": False}
        headers = {"Content-Type": "application/json"}
        if self.key:
            headers["Authorization"] = f"Bearer {self.key}"
        address = f"{self.url.rstrip('/')}/chat/completions"
        request = urllib.request.Request(address, json.dumps(body).encode(), headers)
        try:
            with urllib.request.urlopen(request, timeout=seconds) as answer:
                content = json.loads(answer.read(_MOST_ANSWER))["choices"][0]["message"]["content"]
        except (urllib.error.URLError, OSError) as error:
            raise ParaphraseError(f"{address}: no answer ({error}); is the language model running?") from error
        except (ValueError, KeyError, IndexError, TypeError) as error:
            raise ParaphraseError(f"{address}: not the answer of a chat interface ({error!r}).") from error
        return sentences(str(content), text)[:count]


def sentences(answer: str, original: str) -> list[str]:
    """The lines of an answer, without numbering and quotes; none twice, none equal to the original."""
    seen = {original.strip().casefold()}
    found = []
    for line in answer.splitlines():
        text = _NUMBERING.sub("", line).strip().strip('"“”').strip()
        if text and text.casefold() not in seen and len(text) <= MOST_TEXT:
            seen.add(text.casefold())
            found.append(text)
    return found


def suggest(change: Change, clip: int, expression: str, texts: list[str], model: str, author: Author) -> list[Row]:
    """Add paraphrases of a sentence to its group, marked machine-made until a person accepts them.

    Raises:
        Unknown: no such sentence.
        Invalid: a text that is none.
    """
    row = change.row("expression", clip, expression)
    if row is None:
        raise Unknown(f"There is no expression '{expression[:80]}' in this clip.")
    if row["group"] is None:
        row = change.put("expression", {**row, "group": f"paraphrases-of-{row['id']}"})
    shared = ("object_ids", "kind", "tags", "condition", "rationale", "group", "state")
    made: dict[str, Any] = {"origin": "machine", "model": model, **{name: row[name] for name in shared}}
    added = []
    for text in texts:
        try:
            text = plain_text(text).strip()
        except ValueError as error:
            raise Invalid(f"A paraphrase {error}.") from None
        if not 0 < len(text) <= MOST_TEXT:
            raise Invalid(f"A paraphrase has 1 to {MOST_TEXT} characters.")
        blank = blank_expression(clip, new_id(change, clip, "expression"), author.person)
        added.append(change.put("expression", {**blank, **made, "text": text}))
    return added

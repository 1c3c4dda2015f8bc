"""Why two protocols give different numbers for the same masks, in words."""

from __future__ import annotations

from collections.abc import Mapping

from . import get_protocol
from .base import TRAITS, Protocol


def compare_words(a: Protocol, b: Protocol) -> str:
    """One sentence with every question that the two protocols answer differently."""
    questions = [q for q in TRAITS if a.traits[q] != b.traits[q]]
    if not questions:
        return f"{a.id} and {b.id} follow the same rules."
    return f"{a.id} {_joined([a.traits[q] for q in questions])}; {b.id} {_joined([b.traits[q] for q in questions])}."


def explain_differences(scores: Mapping[str, float | None]) -> list[str]:
    """One sentence for each protocol after the first: its J&F beside the first one's, and why they differ.

    Args:
        scores: J&F in 0-1 by protocol id, all for the same predictions; None where the protocol gives no value.
    """
    first, *others = scores
    return [_explain(first, other, scores[first], scores[other]) for other in others]


def _explain(a: str, b: str, value_a: float | None, value_b: float | None) -> str:
    words = compare_words(get_protocol(a), get_protocol(b))
    if value_a is None or value_b is None:
        silent = " and ".join(name for name, value in ((a, value_a), (b, value_b)) if value is None)
        return f"No value under {silent}: {words}"
    if value_a == value_b:
        return f"Equal here, {100 * value_a:.2f}: {words}"
    return f"{100 * value_a:.2f} and {100 * value_b:.2f} ({100 * (value_b - value_a):+.2f}): {words}"


def _joined(parts: list[str]) -> str:
    return parts[0] if len(parts) == 1 else f"{', '.join(parts[:-1])} and {parts[-1]}"

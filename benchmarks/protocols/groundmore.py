"""GroundMoRe: questions about actions, in 20 frames of which most may show no target."""

from __future__ import annotations

from collections.abc import Mapping
from typing import ClassVar

from .base import Trait
from .per_expression import STRICT_TRAITS, PerExpressionProtocol


class GroundMoReStrict(PerExpressionProtocol):
    """GroundMoRe: J and F over 20 frames of a clip, mean over questions.

    As evaluate_groundmore.py (dengandong/GroundMoRe@290613e), but frames are in the order of their names, and a
    question without answer counts as wrong.
    """

    id = "groundmore@1"
    words = (
        "GroundMoRe: J and F of each question over 20 frames, evenly spaced over the clip, with a target only while "
        "the action lasts; mean over all questions; missing is 0."
    )
    source = "this project"
    strict = True
    dataset_name = "groundmore"
    traits: ClassVar[Mapping[Trait, str]] = {
        **STRICT_TRAITS,
        "unit": "scores questions",
        "ground truth": "reads the object's masks while the action lasts, and none before and after",
        "frames": "scores 20 frames of a clip",
    }

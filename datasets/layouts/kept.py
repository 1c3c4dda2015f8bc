"""What a layout's files cannot say about a video, for the way back: written under the key ``rvos`` of the meta file.

Other tools ignore the key. A layout may show less of a mask than there was (a label map shows one object a pixel), has
no place for void pixels or for frames without annotation, or takes no sentence about several objects: the rest is kept
here, as differences to the files, so that a mask that somebody corrects in the files stays corrected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..masks import decode_rle, encode_rle
from ..types import BoolMask, Expression, Masklet, MaskSource, Video

KEY = "rvos"
FORMAT = 2

Rle = dict[str, Any]


@dataclass
class Patches:
    """How the masks of a video differ from what its files show, by target and frame name."""

    video: Video
    unannotated: dict[str, list[str]] = field(default_factory=dict)
    covered: dict[str, dict[str, Rle]] = field(default_factory=dict)
    void: dict[str, dict[str, Rle]] = field(default_factory=dict)
    hidden: list[str] = field(default_factory=list)
    n_covered: int = 0

    def add(
        self,
        target: str,
        index: int,
        mask: BoolMask | None,
        shown: BoolMask | None,
        void: BoolMask | None = None,
        shown_void: BoolMask | None = None,
    ) -> None:
        """One frame of a target.

        Args:
            target, index: which.
            mask: bool (H, W); None where the frame is not annotated, which the files show as an absent object.
            shown: what the files show of it, None where that is nothing.
            void, shown_void: the same for pixels that no score may count.
        """
        name = self.video.frame_names[index]
        if mask is None:
            self.unannotated.setdefault(target, []).append(name)
        elif (rest := mask if shown is None else mask & ~shown).any():
            self.covered.setdefault(target, {})[name] = encode_rle(rest)
            self.n_covered += int(rest.sum())
        if void is not None and (rest := void if shown_void is None else void & ~shown_void).any():
            self.void.setdefault(target, {})[name] = encode_rle(rest)

    def hide(self, target: str, masklet: Masklet) -> None:
        """A target of which the files show nothing."""
        self.hidden.append(target)
        for kind in (self.unannotated, self.covered, self.void):
            kind.pop(target, None)
        n_covered = self.n_covered
        for index in range(len(self.video)):
            self.add(target, index, masklet.mask(index), None, masklet.void(index))
        self.n_covered = n_covered

    def n_frames(self, kind: Mapping[str, Any]) -> int:
        """How many frames of targets ``unannotated``, ``covered`` or ``void`` speaks of, but for those hidden."""
        return sum(len(frames) for target, frames in kind.items() if target not in self.hidden)

    def as_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return {"unannotated": self.unannotated, "covered": self.covered, "void": self.void}


@dataclass(frozen=True)
class Patched:
    """Masks as they were before they were written: what the files show, and what was kept about the rest.

    Attributes:
        source: of the files.
        unannotated: frames that are not annotated, although the files cannot say so.
        covered, void: RLE by frame that the files do not show.
    """

    source: MaskSource
    unannotated: frozenset[int] = frozenset()
    covered: Mapping[int, Rle] = field(default_factory=dict, hash=False)
    void_areas: Mapping[int, Rle] = field(default_factory=dict, hash=False)

    def mask(self, index: int) -> BoolMask | None:
        if index in self.unannotated:
            return None
        return _with(self.source.mask(index), self.covered.get(index))

    def void(self, index: int) -> BoolMask | None:
        return _with(self.source.void(index), self.void_areas.get(index))


def _with(shown: BoolMask | None, rle: Rle | None) -> BoolMask | None:
    if rle is None:
        return shown
    rest: NDArray[np.bool_] = decode_rle(rle)
    return rest if shown is None else shown | rest


def patched(masklet: Masklet, target: str, kept: Mapping[str, Any], frames: Mapping[str, int]) -> Masklet:
    """The target's masks with what is kept about them; the masklet itself where nothing is.

    Raises:
        AttributeError, KeyError, TypeError: the kept values are not as ``Patches`` writes them.
    """
    unannotated = frozenset(frames[name] for name in kept["unannotated"].get(target, ()))
    covered = {frames[name]: rle for name, rle in kept["covered"].get(target, {}).items()}
    void = {frames[name]: rle for name, rle in kept["void"].get(target, {}).items()}
    if not (unannotated or covered or void):
        return masklet
    return Masklet(masklet.frame_names, Patched(masklet.source, unannotated, covered, void))


def kept_expression(expression: Expression, target: tuple[str, ...] | None) -> dict[str, Any]:
    """What is written about an expression; ``target`` are the names of the masks whose union it means."""
    return {
        "id": expression.id,
        "layout_id": expression.layout_id,
        "object_ids": None if expression.object_ids is None else list(expression.object_ids),
        "kind": expression.kind,
        "is_sentence": expression.is_sentence,
        "tags": dict(expression.tags),
        "target": None if target is None else list(target),
    }


def expression_of(text: str, record: Mapping[str, Any]) -> Expression:
    """The expression that ``kept_expression`` wrote. Raises KeyError, TypeError."""
    ids = record["object_ids"]
    return Expression(
        id=record["id"],
        text=text,
        object_ids=None if ids is None else tuple(ids),
        kind=record["kind"],
        is_sentence=record["is_sentence"],
        layout_id=record["layout_id"],
        tags=record["tags"],
    )

"""How masks behave over time: whether they flicker, and how long a target waits to be found.

*Jitter* of a pair of neighbouring scored frames is how much more the prediction changes than its target does:
max(0, c(P) - c(G)) with c(M) = 1 - |M_t-1 ∩ M_t| / |M_t-1 ∪ M_t|, 0 where both masks are empty. A sample's jitter is
the mean over its pairs with usable masks: 0 for perfect, for fixed and for empty masks, towards 1 for masks that come
and go.

The *first correct frame* is the first one with J >= 0.5 of those in which the target is seen, counted from the first of
these. *Delay* is its share of them: 0 where the target is found at once, 1 where it never is. Neither is measured for a
sentence whose target is in no frame.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

CORRECT = 0.5
"""J from which a frame counts as correct."""

_Flat = NDArray[np.float32]


@dataclass
class Timeline:
    """What is noted of a sentence from frame to frame."""

    jitters: list[float] = field(default_factory=list)
    n_present: int = 0
    first_correct: int | None = None
    _previous: tuple[_Flat, _Flat] | None = None

    def add(self, truth: _Flat, guess: _Flat | None, J: float) -> None:
        """Take a frame: flat masks of 0 and 1, ``guess`` None where there is no usable one."""
        if guess is not None and self._previous is not None:
            self.jitters.append(max(0.0, change(self._previous[1], guess) - change(self._previous[0], truth)))
        self._previous = None if guess is None else (truth, guess)
        if truth.any():
            if self.first_correct is None and J >= CORRECT:
                self.first_correct = self.n_present
            self.n_present += 1

    @property
    def jitter(self) -> float | None:
        """Mean over pairs of frames, 0-1; None where there is no pair."""
        return float(np.mean(self.jitters)) if self.jitters else None

    @property
    def delay(self) -> float | None:
        """Share of the target's frames before the first correct one, 0-1; None where it is in no frame."""
        if not self.n_present:
            return None
        return 1.0 if self.first_correct is None else self.first_correct / self.n_present


def change(before: _Flat, after: _Flat) -> float:
    """1 - intersection over union of two flat masks of 0 and 1; 0 where both are empty."""
    both = float(np.minimum(before, after).sum(dtype=np.float64))
    either = float(np.maximum(before, after).sum(dtype=np.float64))
    return 1 - both / either if either else 0.0

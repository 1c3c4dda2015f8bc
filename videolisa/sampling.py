"""Sparse Dense Sampling: which frames the language model sees, and which of them in full.

A video of T frames is reduced to S *sparse* frames, each worth one averaged token (temporal context); D of those S
are *dense* and keep all their tokens (spatial detail). Paper: section 4.2; index formulas: the released code, which
truncates numpy ``linspace`` edges to integers. Other temporal strategies of the paper (Tables 5 and 8) are named
options of ``sample_frames``; ``pooling.visual_rows`` turns their frames into rows of the language model's input.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import numpy as np
from numpy.typing import NDArray

from ..datasets.errors import UnknownNameError, UsageError

Strategy = Literal["sparse-dense", "n-frame", "spatial-temporal-pooling", "slow-fast-pooling"]
STRATEGIES: tuple[str, ...] = get_args(Strategy)

Association = Literal["one-token-seg-all", "one-token-seg-one"]
ASSOCIATIONS: tuple[str, ...] = get_args(Association)

#: How far before and after the anchor the two neighbouring frames of a training clip lie, in frames.
NEIGHBOUR_DISTANCES = (1, 2, 3)


@dataclass(frozen=True)
class FrameSample:
    """The frames of a video that reach the language model.

    Attributes:
        frames: frame numbers, ascending; frames repeat where the video is shorter than the sample.
        dense_positions: positions *in* ``frames`` (not frame numbers), ascending, whose tokens are all kept.
    """

    frames: tuple[int, ...]
    dense_positions: tuple[int, ...]

    @property
    def dense_frames(self) -> tuple[int, ...]:
        """Frame numbers of the dense frames."""
        return tuple(self.frames[p] for p in self.dense_positions)


def sample_frames(total: int, sparse: int, dense: int, strategy: str = "sparse-dense") -> FrameSample:
    """The frames for inference under a temporal strategy.

    Args:
        total: T >= 1, frames in the video.
        sparse: S, frames that are pooled to one token each.
        dense: D, frames that keep their tokens.
        strategy: ``sparse-dense`` (VideoLISA), ``n-frame`` (D uniform frames, nothing pooled),
            ``spatial-temporal-pooling`` (Video-ChatGPT: S frames, none dense) or ``slow-fast-pooling`` (LITA: S
            frames fast, D of them slow).

    Raises:
        UnknownNameError: a strategy that does not exist.
        UsageError: an empty video, or S and D that give no valid dense position.
    """
    if strategy == "n-frame":
        return FrameSample(sparse_frames(total, dense), tuple(range(dense)))
    if strategy == "spatial-temporal-pooling":
        return FrameSample(sparse_frames(total, sparse), ())
    if strategy in ("sparse-dense", "slow-fast-pooling"):
        return FrameSample(sparse_frames(total, sparse), dense_positions(sparse, dense))
    raise UnknownNameError("temporal strategy", strategy, STRATEGIES)


def uniform_indices(total: int, count: int) -> NDArray[np.int64]:
    """The middle of each of ``count`` equal bins of ``range(total)``: int64 (count,).

    With edges e = trunc(linspace(0, total, count + 1)), index k is (e_k + e_{k+1} - 1) // 2. The truncation of
    numpy's float edges is part of the formula: some edges are one lower than floor(k * total / count).
    """
    edges = np.linspace(0, total, count + 1).astype(np.int64)
    return (edges[:-1] + edges[1:] - 1) // 2


def sparse_frames(total: int, count: int) -> tuple[int, ...]:
    """S frame numbers in 0 … total - 1, ascending; whole copies of a shorter video plus a uniform rest.

    Raises:
        UsageError: for an empty video or a count below 1.
    """
    if total < 1 or count < 1:
        raise UsageError(f"Cannot sample {count} frames from a video of {total}; both must be at least 1.")
    if total > count:
        return tuple(uniform_indices(total, count).tolist())
    copies, rest = divmod(count, total)
    repeated = np.concatenate([np.tile(np.arange(total), copies), uniform_indices(total, rest)])
    return tuple(np.sort(repeated).tolist())


def dense_positions(sparse: int, dense: int) -> tuple[int, ...]:
    """D positions in the list of S sparse frames, uniform over 0 … S - 2 (the released formula uses S - 1).

    Raises:
        UsageError: where the formula leaves the list (D >= S does) or D is below 1.
    """
    positions = uniform_indices(sparse - 1, dense) if dense >= 1 else np.array([-1])
    if positions.min() < 0:
        raise UsageError(f"{dense} dense frames cannot be placed among {sparse} sparse ones; use 1 <= D < S.")
    return tuple(positions.tolist())


def random_dense_positions(sparse: int, dense: int, rng: np.random.Generator) -> tuple[int, ...]:
    """D of S positions, uniformly without replacement, ascending: the dense frames of a training sample."""
    return tuple(np.sort(rng.choice(sparse, size=dense, replace=False)).tolist())


def training_clip(total: int, anchor: int, count: int, rng: np.random.Generator) -> tuple[int, ...]:
    """S ascending frame numbers of a training clip around an anchor frame; repeats happen.

    The anchor, a neighbour 1-3 frames before and one after (clamped to the video), and ``count - 3`` frames that give
    the global context: from outside the local three where there are enough, else from the whole video, else whole
    copies of the video plus a random rest. Source: the released training data sets.

    Args:
        total: T, frames in the video.
        anchor: frame number in 0 … T - 1.
        count: S >= 3.

    Raises:
        UsageError: for an anchor outside the video or a count below 3.
    """
    if not 0 <= anchor < total or count < 3:
        raise UsageError(f"A clip of {count} frames around frame {anchor} of {total} is not possible (count >= 3).")
    before = max(0, anchor - int(rng.choice(NEIGHBOUR_DISTANCES)))
    after = min(total - 1, anchor + int(rng.choice(NEIGHBOUR_DISTANCES)))
    context = _context_frames(total, before, after, count - 3, rng)
    return tuple(sorted([anchor, before, after, *context]))


def supervised_positions(dense: tuple[int, ...], association: str, rng: np.random.Generator) -> tuple[int, ...]:
    """The dense positions whose masks a training step supervises.

    ``one-token-seg-all`` (VideoLISA) supervises the one token on all of them, ``one-token-seg-one`` (ablation,
    Tables 6 and 9) on one drawn uniformly; both let the language model see the whole video.

    Raises:
        UnknownNameError: an association that does not exist.
    """
    if association == "one-token-seg-all":
        return dense
    if association == "one-token-seg-one":
        return (dense[int(rng.integers(len(dense)))],)
    raise UnknownNameError("mask association", association, ASSOCIATIONS)


def _context_frames(total: int, before: int, after: int, count: int, rng: np.random.Generator) -> list[int]:
    outside = np.concatenate([np.arange(before), np.arange(after, total)])
    if len(outside) > count:
        return rng.choice(outside, size=count, replace=False).tolist()
    copies, rest = divmod(count, total)
    return [*list(range(total)) * copies, *rng.choice(total, size=rest, replace=False).tolist()]

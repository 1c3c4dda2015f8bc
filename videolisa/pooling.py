"""Temporal strategies: projected frame tokens become the visual rows of the language model's input.

Sparse Dense Sampling (paper, section 4.2) is compared in Tables 5 and 8 with the n-frame, spatial & temporal pooling
(Video-ChatGPT) and slow-fast pooling (LITA) strategies; all are here under their names.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
import torch.nn.functional as F

from ..datasets.errors import UnknownNameError, UsageError
from .sampling import STRATEGIES

#: LITA pools a slow frame over 2 x 2 tokens.
SLOW_POOL = 2


def visual_rows(tokens: torch.Tensor, dense_positions: Sequence[int], strategy: str = "sparse-dense") -> torch.Tensor:
    """The rows that replace the video placeholder.

    Args:
        tokens: float (S, N, hidden), projected tokens of the sampled frames in order, N tokens a frame.
        dense_positions: positions in 0 … S - 1 of the dense (slow) frames; the model sorts them itself.
        strategy: see ``sampling.sample_frames``.

    Returns:
        float (V, hidden): ``sparse-dense`` S means then D blocks of N; ``n-frame`` S blocks of N;
        ``spatial-temporal-pooling`` S means over space then N means over time; ``slow-fast-pooling`` S means then D
        blocks of N / 4.

    Raises:
        UnknownNameError: for an unknown strategy.
    """
    dense = sorted(dense_positions)
    if strategy == "sparse-dense":
        return torch.cat([tokens.mean(1), tokens[dense].flatten(0, 1)])
    if strategy == "n-frame":
        return tokens.flatten(0, 1)
    if strategy == "spatial-temporal-pooling":
        return torch.cat([tokens.mean(1), tokens.mean(0)])
    if strategy == "slow-fast-pooling":
        return torch.cat([tokens.mean(1), _pool_grid(tokens[dense]).flatten(0, 1)])
    raise UnknownNameError("temporal strategy", strategy, STRATEGIES)


def _pool_grid(tokens: torch.Tensor) -> torch.Tensor:
    """(D, N, hidden) -> (D, N / 4, hidden), averaging 2 x 2 neighbours of the square token grid."""
    side = math.isqrt(tokens.shape[1])
    if side * side != tokens.shape[1] or side % SLOW_POOL:
        raise UsageError(f"Slow-fast pooling needs an even square grid of tokens, found {tokens.shape[1]} a frame.")
    grid = tokens.transpose(1, 2).unflatten(2, (side, side))
    return F.avg_pool2d(grid, SLOW_POOL).flatten(2).transpose(1, 2)

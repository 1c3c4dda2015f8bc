"""The training loss: text cross entropy, and BCE and dice on the mask logits (paper, section 4.4)."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import torch.nn.functional as F

#: Weights of the released training script.
CE_WEIGHT = 1.0
BCE_WEIGHT = 2.0
DICE_WEIGHT = 0.5

#: Dice sums are scaled down before they are divided, which sets the relative size of its epsilon.
DICE_SCALE = 1000.0
DICE_EPS = 1e-6

IGNORE_INDEX = -100


def text_loss(logits: torch.Tensor, labels: torch.Tensor) -> torch.Tensor:
    """Mean cross entropy over all counted tokens of the batch, each predicted from the row before it.

    Args:
        logits: float (N, rows, vocabulary).
        labels: int64 (N, rows), ``IGNORE_INDEX`` where a row does not count.
    """
    return F.cross_entropy(logits[:, :-1].flatten(0, 1).float(), labels[:, 1:].flatten(), ignore_index=IGNORE_INDEX)


def mask_losses(logits: Sequence[torch.Tensor], targets: Sequence[torch.Tensor]) -> tuple[torch.Tensor, torch.Tensor]:
    """BCE and dice, each the mean over all masks of the batch; zero where the batch has no mask.

    Args:
        logits: per video float32 (masks, H, W) at label size.
        targets: per video (masks, H, W), 0 or 1 (sums of overlapping objects may exceed 1).

    Returns:
        (bce, dice), float32 scalars without their weights.
    """
    count = sum(len(target) for target in targets)
    if count == 0:
        return torch.zeros(()), torch.zeros(())
    pairs = [(p, t.to(p)) for p, t in zip(logits, targets, strict=True)]
    bce = torch.cat([_bce(p, t) for p, t in pairs]).sum() / count
    dice = torch.cat([_dice(p, t) for p, t in pairs]).sum() / count
    return bce, dice


def _bce(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Mean over the pixels of each mask: (masks,)."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none").flatten(1).mean(1)


def _dice(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """1 - dice of each mask: (masks,)."""
    p, t = logits.sigmoid().flatten(1), target.flatten(1)
    overlap = 2 * (p / DICE_SCALE * t).sum(1)
    return 1 - (overlap + DICE_EPS) / ((p / DICE_SCALE).sum(1) + (t / DICE_SCALE).sum(1) + DICE_EPS)

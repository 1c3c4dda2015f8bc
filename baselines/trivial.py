"""Predictors that look at nothing: what a benchmark gives away for free."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from ..benchmarks.predictor import FrameMask
from ..datasets.types import BoolMask, Expression, Video


class ConstantPredictor:
    """One fixed mask for every frame of every video; a subclass says which."""

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        mask = self.mask(video.size)
        for expression in expressions:
            for index in range(len(video)):
                yield expression.id, index, mask

    def mask(self, size: tuple[int, int]) -> BoolMask:
        """bool (H, W) for a video of ``size``."""
        raise NotImplementedError


class Empty(ConstantPredictor):
    """No pixel, ever.

    Its score is the credit that a protocol gives for absent targets: frames without the object and sentences that
    mean nothing in the video. A model near it has learned to stay silent.
    """

    def mask(self, size: tuple[int, int]) -> BoolMask:
        return np.zeros(size, bool)


class Full(ConstantPredictor):
    """Every pixel, always.

    Its J score is the mean share of the frame that the targets cover: high where targets are large, so that J alone
    flatters a model that segments too much.
    """

    def mask(self, size: tuple[int, int]) -> BoolMask:
        return np.ones(size, bool)


class CentreBox(ConstantPredictor):
    """A box of half the height and half the width in the middle of every frame.

    Its score is the photographer's bias: what is gained by knowing that the thing of interest is in the middle.
    """

    def mask(self, size: tuple[int, int]) -> BoolMask:
        height, width = size
        mask = np.zeros(size, bool)
        mask[height // 4 : height - height // 4, width // 4 : width - width // 4] = True
        return mask

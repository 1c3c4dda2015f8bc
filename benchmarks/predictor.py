"""What a model is to rvos: an object with ``segment``, or a plain function."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from ..datasets.errors import PredictionInvalid
from ..datasets.types import BoolMask, Expression, Video

#: (expression id, index into ``video.frame_names``, mask)
FrameMask = tuple[str, int, Any]


@runtime_checkable
class Predictor(Protocol):
    """A model that answers all sentences about one video at once, so that it can share the video's features."""

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterable[FrameMask]:
        """Yield (expression id, frame index, mask) for every expression and frame, in any order, as they are ready.

        A mask is bool (H, W) at the video's size; or logits, float (h, w) at any resolution, a numpy array or a torch
        tensor on any device, which are resized bilinearly (half-pixel centres, no antialiasing) to the video's size
        and are foreground where > 0.
        """
        ...


@dataclass(frozen=True)
class FunctionPredictor:
    """Adapts ``function(video, text) -> (T, H, W)`` bool masks or logits to the Predictor protocol."""

    function: Callable[[Video, str], Any]

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        for expression in expressions:
            masks = self.function(video, expression.text)
            if len(masks) != len(video):
                raise PredictionInvalid(
                    f"The function gave {len(masks)} masks for video {video.id}, which has {len(video)} frames."
                )
            for index in range(len(video)):
                yield expression.id, index, masks[index]


def as_predictor(model: Any) -> Predictor:
    """A Predictor from an object with ``segment`` or from any callable ``(video, text) -> (T, H, W)``.

    Raises:
        TypeError: for anything else.
    """
    if isinstance(model, Predictor):
        return model
    if callable(model):
        return FunctionPredictor(model)
    raise TypeError(f"Expected an object with segment(video, expressions) or a callable, found {type(model).__name__}.")


def to_mask(output: Any, size: tuple[int, int]) -> BoolMask:
    """A predictor's output for one frame as bool (H, W) at ``size``.

    Args:
        output: bool or integer (H, W) at exactly ``size`` (non-zero is the object), or float logits (h, w).
        size: (height, width) of the video.

    Raises:
        PredictionInvalid: where shape or dtype do not fit, or logits hold NaN.
    """
    array = _to_numpy(output)
    if array.ndim != 2:
        raise PredictionInvalid(f"A mask must have two dimensions (H, W), found shape {array.shape}.")
    if array.dtype.kind in "bui":
        if array.shape != size:
            raise PredictionInvalid(f"The mask is {array.shape}, the video is {size}; only logits are resized.")
        return array != 0
    if array.dtype.kind != "f":
        raise PredictionInvalid(f"A mask must be bool, integer or float logits, found dtype {array.dtype}.")
    if np.isnan(array).any():
        raise PredictionInvalid("The logits hold NaN.")
    return resize_bilinear(array, size) > 0


def resize_bilinear(logits: NDArray[Any], size: tuple[int, int]) -> NDArray[np.float32]:
    """Bilinear resize of (h, w) to ``size`` with half-pixel centres and no antialiasing, edges replicated.

    The rule of ``torch.nn.functional.interpolate(mode="bilinear", align_corners=False)``.
    """
    rows = _weights(logits.shape[0], size[0])
    columns = _weights(logits.shape[1], size[1])
    values = logits.astype(np.float32, copy=False)
    if values.shape == tuple(size):
        return values
    top, bottom, down = rows
    left, right, across = columns
    upper = values[top][:, left] * (1 - across) + values[top][:, right] * across
    lower = values[bottom][:, left] * (1 - across) + values[bottom][:, right] * across
    return np.asarray(upper * (1 - down[:, None]) + lower * down[:, None], np.float32)


def _weights(source: int, target: int) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float32]]:
    position = np.maximum((np.arange(target) + 0.5) * (source / target) - 0.5, 0)
    low = np.minimum(position.astype(np.intp), source - 1)
    return low, np.minimum(low + 1, source - 1), (position - low).astype(np.float32)


def _to_numpy(output: Any) -> NDArray[Any]:
    """A numpy array from an array, a nested list, or a torch tensor on any device (torch is not imported here)."""
    if hasattr(output, "detach"):
        tensor = output.detach().cpu()
        return (
            tensor if str(tensor.dtype) == "torch.bool" or not tensor.is_floating_point() else tensor.float()
        ).numpy()
    return np.asarray(output)

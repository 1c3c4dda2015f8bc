"""SAM 2 prompted with points and boxes on a few frames: what turns detections, answers and tracks into masks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from ..benchmarks.predictor import FrameMask
from ..datasets.errors import UsageError
from ..datasets.types import BoolMask, Video
from ..videolisa.propagation import Sam2Propagator

#: Labels of SAM 2's prompt encoder.
OBJECT, CORNER_0, CORNER_1 = 1, 2, 3


@dataclass(frozen=True)
class Prompt:
    """Where one object is on one frame, in pixels of the video.

    Attributes:
        points: (x, y) on the object.
        box: (x0, y0, x1, y1), or None.
    """

    points: tuple[tuple[float, float], ...] = ()
    box: tuple[float, float, float, float] | None = None

    def __post_init__(self) -> None:
        if not self.points and self.box is None:
            raise UsageError("A prompt needs a point or a box.")

    def coordinates(self) -> tuple[list[tuple[float, float]], list[int]]:
        """Corners and points with their labels, as SAM 2's prompt encoder takes them."""
        if self.box is None:
            return list(self.points), [OBJECT] * len(self.points)
        corners = [(self.box[0], self.box[1]), (self.box[2], self.box[3])]
        return [*corners, *self.points], [CORNER_0, CORNER_1, *[OBJECT] * len(self.points)]


#: frame number -> prompt, of one object
ObjectPrompts = Mapping[int, Prompt]


class Sam2Prompts(Sam2Propagator):
    """SAM 2's video model, prompted with points and boxes; streaming like ``Sam2Propagator``.

    Frames before the first prompt are conditioned by it too. Objects whose prompts are on the same frames go through
    the model together.
    """

    def segment_objects(
        self,
        video: Video,
        objects: Mapping[str, Sequence[ObjectPrompts]],
    ) -> Iterator[FrameMask]:
        """Masks from prompts.

        Args:
            objects: per expression id its objects; their masks are united. None gives empty masks.

        Yields:
            (expression id, frame index, bool (H, W)).
        """
        for name in (name for name, parts in objects.items() if not parts):
            empty = np.zeros(video.size, bool)
            yield from ((name, index, empty) for index in range(len(video)))
        streams = [self._stream(video, frames, group) for frames, group in _groups(objects)]
        for index, found in enumerate(zip(*streams, strict=True)):
            united: dict[str, BoolMask] = {}
            for name, mask in (pair for group in found for pair in group):
                united[name] = united[name] | mask if name in united else mask
            yield from ((name, index, mask) for name, mask in united.items())

    @torch.inference_mode()
    def _stream(
        self, video: Video, frames: Sequence[int], group: Sequence[tuple[str, ObjectPrompts]]
    ) -> Iterator[list[tuple[str, BoolMask]]]:
        """Frame by frame the masks of objects that are prompted on the same frames."""
        session = self._session(video)
        for index in frames:
            self._prompt(session, video, index, [prompts[index] for _, prompts in group])
        for index in range(len(video)):
            output = self.model(inference_session=session, frame=self._pixels(video.frame(index)), frame_idx=index)
            logits = F.interpolate(output.pred_masks.float(), video.size, mode="bilinear", align_corners=False)
            self._forget(session, index)
            found = (logits[:, 0] > 0).cpu().numpy()
            yield [(name, mask) for (name, _), mask in zip(group, found, strict=True)]

    def _prompt(self, session: Any, video: Video, index: int, prompts: Sequence[Prompt]) -> None:
        """Let one frame's prompts condition the others, one object each."""
        session.add_new_frame(self._pixels(video.frame(index)), index)
        scale = torch.tensor([self.model.config.image_size / video.width, self.model.config.image_size / video.height])
        for number, prompt in enumerate(prompts):
            points, labels = prompt.coordinates()
            inputs = {
                "point_coords": (torch.tensor(points, dtype=torch.float32) * scale)[None, None],
                "point_labels": torch.tensor(labels, dtype=torch.int32)[None, None],
            }
            session.add_point_inputs(session.obj_id_to_idx(number), index, inputs)
        session.obj_with_new_inputs = list(range(len(prompts)))
        self.model(inference_session=session, frame_idx=index)
        session.processed_frames.pop(index)


def _groups(
    objects: Mapping[str, Sequence[ObjectPrompts]],
) -> list[tuple[tuple[int, ...], list[tuple[str, ObjectPrompts]]]]:
    groups: dict[tuple[int, ...], list[tuple[str, ObjectPrompts]]] = {}
    for name, parts in objects.items():
        for prompts in parts:
            groups.setdefault(tuple(sorted(prompts)), []).append((name, prompts))
    return list(groups.items())


def box_of(values: Sequence[float] | NDArray[np.floating], size: tuple[int, int]) -> tuple[float, float, float, float]:
    """A box (x0, y0, x1, y1) with its corners in order and inside an image of ``size`` (height, width)."""
    height, width = size
    x0, x1 = sorted(min(max(float(v), 0.0), float(width)) for v in (values[0], values[2]))
    y0, y1 = sorted(min(max(float(v), 0.0), float(height)) for v in (values[1], values[3]))
    return x0, y0, x1, y1


def spread(total: int, count: int) -> list[int]:
    """``count`` frame numbers of 0 to total - 1, evenly spread, each once."""
    return sorted({round(i * (total - 1) / max(1, count - 1)) for i in range(count)})

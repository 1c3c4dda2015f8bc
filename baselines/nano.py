"""The nano models as predictors: with the weights that ship in the package, or with those of a folder.

They are trained in ReasonShapes' world, 96 x 128 pixels; other videos mean nothing to them. All of them work in float32
on every device, so that their masks do not depend on it more than rounding does.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import torch
import torch.nn.functional as F

from ..datasets.types import Video
from ..videolisa.checkpoints import VideoLisa, open_checkpoint
from ..videolisa.nano.shipped import shipped
from ..videolisa.predictor import VideoLisaPredictor
from ..videolisa.propagation import FeaturePropagator, FrameFeatures, PostOptimised
from ..videolisa.sampling import sample_frames
from .lisa import LisaFirstFrame, LisaPredictor, LisaPropagation, open_lisa

#: Cells of propagation along a side of SAM nano's image: 2 pixels each, where its own of 8 are as wide as a thing.
CELLS = 64


class VideoLisaNano(VideoLisaPredictor):
    """VideoLISA's own classes with 2.7 million parameters, trained from nothing on ReasonShapes' train videos.

    Its score shows what one token for the whole video can tell: looks, places and the order of events, not which of
    two things that look alike.
    """

    def __init__(self, path: str | None = None, device: str | None = None) -> None:
        """
        Args:
            path: folder with weights; the shipped ones where None.
            device: ``cuda`` where there is one, else ``cpu``, where None.

        Raises:
            WeightsAbsentError: where the shipped weights are not there.
            CheckpointError: where the folder holds no such model.
        """
        super().__init__(_videolisa(path, device))
        self.path = path

    @classmethod
    def from_pretrained(  # type: ignore[override]  # no choice of precision, attention or batch
        cls, path: str, device: str | None = None
    ) -> VideoLisaNano:
        """With the weights of a folder that ``rvos train --preset nano`` wrote."""
        return cls(path, device)

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        return _described(super().describe(), "videolisa-nano", self.path)


class VideoLisaNanoPostOptimised(PostOptimised):
    """videolisa-nano's masks on its dense frames, carried on to the others by matching SAM features and colours.

    Its score shows what post-optimisation adds to videolisa-nano.
    """

    def __init__(self, path: str | None = None, device: str | None = None) -> None:
        """See ``VideoLisaNano``."""
        nano = VideoLisaNano(path, device)
        config = nano.videolisa.model.config
        super().__init__(
            nano,
            pixel_propagator(nano),
            lambda total: sample_frames(total, config.sparse_frames, config.dense_frames).dense_frames,
        )
        self.nano = nano

    @classmethod
    def from_pretrained(cls, path: str, device: str | None = None) -> VideoLisaNanoPostOptimised:
        """See ``VideoLisaNano.from_pretrained``."""
        return cls(path, device)

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        facts = self.nano.describe()
        rule = f"{facts['sampling_rule']}; masks of the dense frames, propagated by SAM features and colours"
        return {**facts, "name": "videolisa-nano-post-optimised", "sampling_rule": rule}


class LisaNano(LisaPredictor):
    """The image-only counterpart of videolisa-nano, asked anew on every frame.

    Its score shows what can be told without time: looks and places, not the order of events.
    """

    def __init__(self, path: str | None = None, device: str | None = None) -> None:
        """See ``VideoLisaNano``."""
        super().__init__(_lisa(path, device))
        self.path = path

    @classmethod
    def from_pretrained(  # type: ignore[override]  # no choice of precision
        cls, path: str, device: str | None = None
    ) -> LisaNano:
        """With the weights of a folder that ``rvos train --preset lisa-nano`` wrote."""
        return cls(path, device)

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        return _described(super().describe(), "lisa-nano", self.path)


class LisaNanoFirstFrame(LisaFirstFrame):
    """lisa-nano whose token of the first frame segments all frames.

    Its score shows how far one image's token carries.
    """

    def __init__(self, path: str | None = None, device: str | None = None) -> None:
        """See ``VideoLisaNano``."""
        super().__init__(_lisa(path, device))
        self.path = path

    @classmethod
    def from_pretrained(  # type: ignore[override]  # no choice of precision
        cls, path: str, device: str | None = None
    ) -> LisaNanoFirstFrame:
        """See ``LisaNano.from_pretrained``."""
        return cls(path, device)

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        return _described(super().describe(), "lisa-nano-first-frame", self.path)


class LisaNanoPropagation(LisaPropagation):
    """lisa-nano's masks on the first frame, carried on by matching SAM features and colours.

    Its score shows what a tracker adds to an image model, and that it cannot mend a wrong first choice.
    """

    def __init__(self, path: str | None = None, device: str | None = None) -> None:
        """See ``VideoLisaNano``."""
        lisa = LisaNano(path, device)
        super().__init__(lisa, pixel_propagator(lisa))

    @classmethod
    def from_pretrained(  # type: ignore[override]  # no choice of precision
        cls, path: str, device: str | None = None
    ) -> LisaNanoPropagation:
        """See ``LisaNano.from_pretrained``."""
        return cls(path, device)

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        rule = "the first frame, propagated by SAM features and colours"
        return {**super().describe(), "name": "lisa-nano-propagation", "sampling_rule": rule}


def pixel_propagator(predictor: VideoLisaPredictor) -> FeaturePropagator:
    """Propagation that suits frames of 96 x 128: SAM features between their cells, and the colours themselves.

    SAM nano's own cells are as wide as a thing, which they lose soon. The options were chosen on ``valid``.
    """

    def features(video: Video, frames: Sequence[int] | None) -> Iterator[FrameFeatures]:
        processor = predictor.videolisa.processor
        for index, padded_from, cells in predictor.sam_features(video, frames):
            fine = F.interpolate(F.normalize(cells, dim=1), (CELLS, CELLS), mode="bilinear", align_corners=False)
            pixels = processor.sam_pixels(video.frame(index))[None].to(fine.device)
            colours = F.interpolate(pixels, (CELLS, CELLS), mode="area")
            yield index, padded_from, torch.cat([fine, colours], 1)

    size = predictor.videolisa.processor.pixels.sam_size
    return FeaturePropagator(features, size, matches=8, temperature=0.01, edge_radius=0)


def _videolisa(path: str | None, device: str | None) -> VideoLisa:
    return open_checkpoint(path or shipped("videolisa-nano"), dtype=torch.float32, device=_chosen(device))


def _lisa(path: str | None, device: str | None) -> VideoLisa:
    return open_lisa(path or shipped("lisa-nano"), torch.float32, _chosen(device))


def _chosen(device: str | None) -> str:
    return device or ("cuda" if torch.cuda.is_available() else "cpu")


def _described(facts: dict[str, Any], name: str, path: str | None) -> dict[str, Any]:
    """A predictor's description under its own name; where the weights are the shipped ones, without their place."""
    return {**facts, "name": name, "arguments": {} if path is None else {"path": path}}

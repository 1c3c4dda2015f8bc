"""Propagators and click segmenters: the built-in one, and SAM and SAM 2 where their weights are given."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from ..errors import MissingExtraError
from ..types import BoolMask, Video
from .colourflow import ColourFlow
from .refusals import Invalid


@dataclass(frozen=True)
class Click:
    """A point in pixels of the frame: on the object, or (not ``positive``) off it."""

    x: float
    y: float
    positive: bool = True


Box = tuple[float, float, float, float]
#: masks by object of every frame on the way, in the order of the way
Masks = Iterator[tuple[int, dict[str, BoolMask]]]


class Propagator(Protocol):
    """Follows masks from one frame along a way of frames."""

    id: str
    name: str

    def follow(
        self, video: Video, way: Sequence[int], masks: Mapping[str, BoolMask], wanted: Callable[[], set[str]]
    ) -> Masks:
        """Yield (frame, masks) for every frame of ``way`` after its first, where ``masks`` were drawn.

        ``wanted`` tells at any time which objects are still to be followed.
        """
        ...


class Segmenter(Protocol):
    """Turns clicks and a box on one frame into a mask."""

    id: str
    name: str

    def segment(self, video: Video, frame: int, clicks: Sequence[Click], box: Box | None) -> BoolMask:
        """The mask, bool (H, W)."""
        ...


@dataclass
class Models:
    """What this server can run; weights are loaded when they are first asked for.

    Attributes:
        sam, sam2: a folder of weights, or ``owner/name`` on the hub; None where not given.
        device: where they run.
    """

    sam: str | None = None
    sam2: str | None = None
    device: str = "cpu"
    _loaded: dict[str, Any] = field(default_factory=dict, init=False, repr=False)
    _lock: threading.Lock = field(default_factory=threading.Lock, init=False, repr=False)

    def describe(self) -> dict[str, list[dict[str, Any]]]:
        """What a page offers: propagators and segmenters, also those that are not there, with the reason."""
        flow = {"id": ColourFlow.id, "name": ColourFlow.name, "available": True, "reason": ""}
        sam2 = {"id": "sam2", "name": "SAM 2", **_available(self.sam2, "--sam2")}
        sam = {"id": "sam", "name": "SAM", **_available(self.sam, "--sam")}
        clicks = [{**one, "prompts": ["point", "box"]} for one in (sam2, sam)]
        matching = {**sam, "name": "SAM features"}
        return {"propagators": [flow, sam2, matching], "segmenters": clicks}

    def propagator(self, model: str) -> Propagator:
        """Raises Invalid for one that is not there, MissingExtraError, CheckpointError."""
        if model == ColourFlow.id:
            return FlowPropagator()
        if model == "sam2" and self.sam2 is not None:
            return ModelPropagator(self._load("sam2", self._load_sam2), "SAM 2", f"sam2:{_short(self.sam2)}")
        if model == "sam" and self.sam is not None:
            clicks: SamClicks = self._load("sam", self._load_sam)
            return ModelPropagator(clicks.matcher(), "SAM features", f"sam-features:{_short(self.sam)}")
        raise Invalid(f"There is no propagator '{model[:40]}' here; start with --sam or --sam2 WEIGHTS.")

    def segmenter(self, model: str) -> Segmenter:
        """Raises Invalid for one that is not there, MissingExtraError, CheckpointError."""
        if model == "sam2" and self.sam2 is not None:
            return Sam2Clicks(self._load("sam2", self._load_sam2), f"sam2:{_short(self.sam2)}")
        if model == "sam" and self.sam is not None:
            found: Segmenter = self._load("sam", self._load_sam)
            return found
        raise Invalid(f"There is no segmenter '{model[:40]}' here; start with --sam or --sam2 WEIGHTS.")

    def _load(self, name: str, loader: Callable[[], Any]) -> Any:
        with self._lock:
            if name not in self._loaded:
                try:
                    self._loaded[name] = loader()
                except ImportError as error:
                    raise MissingExtraError(f"The model '{name}'", "models") from error
            return self._loaded[name]

    def _load_sam2(self) -> Any:
        from ...baselines.pretrained import load_model
        from ...baselines.sam2_prompts import Sam2Prompts

        assert self.sam2 is not None
        return Sam2Prompts(load_model(self.sam2, "Sam2VideoModel").to(self.device))

    def _load_sam(self) -> SamClicks:
        from ...baselines.pretrained import load_model

        assert self.sam is not None
        return SamClicks(load_model(self.sam, "SamModel").to(self.device), f"sam:{_short(self.sam)}")


def _available(weights: str | None, option: str) -> dict[str, Any]:
    reason = "" if weights else f"start the server with {option} WEIGHTS"
    return {"available": weights is not None, "reason": reason}


def _short(weights: str) -> str:
    return Path(weights).name or weights


class FlowPropagator:
    """``ColourFlow`` along a way."""

    id, name = ColourFlow.id, ColourFlow.name

    def follow(
        self, video: Video, way: Sequence[int], masks: Mapping[str, BoolMask], wanted: Callable[[], set[str]]
    ) -> Masks:
        """See ``Propagator.follow``."""
        following = ColourFlow().start(video, way[0], masks)
        for frame in way[1:]:
            for name in set(masks) - wanted():
                following.drop(name)
            yield frame, following.step(frame)


class ModelPropagator:
    """A propagator of ``videolisa.propagation`` along a way: the way is the video that it sees."""

    def __init__(self, model: Any, name: str, identity: str) -> None:
        """``model`` is a ``Sam2Propagator`` or ``FeaturePropagator``."""
        self.model, self.name, self.id = model, name, identity

    def follow(
        self, video: Video, way: Sequence[int], masks: Mapping[str, BoolMask], wanted: Callable[[], set[str]]
    ) -> Masks:
        """See ``Propagator.follow``."""
        travelled = Video(video.id, tuple(video.frame_names[i] for i in way), video.source, declared_size=video.size)
        found: dict[str, BoolMask] = {}
        for name, number, mask in self.model.propagate(travelled, {o: {0: m} for o, m in masks.items()}):
            if number == 0:
                continue
            found[name] = mask
            if len(found) == len(masks):
                still = wanted()
                yield way[number], {o: m for o, m in found.items() if o in still}
                found = {}


class Sam2Clicks:
    """SAM 2 prompted on one frame."""

    name = "SAM 2"

    def __init__(self, model: Any, identity: str) -> None:
        """``model`` is a ``Sam2Prompts``."""
        self.model, self.id = model, identity

    def segment(self, video: Video, frame: int, clicks: Sequence[Click], box: Box | None) -> BoolMask:
        """See ``Segmenter.segment``."""
        from ...baselines.sam2_prompts import CORNER_0, CORNER_1, Prompt

        class Clicks(Prompt):
            def coordinates(self) -> tuple[list[tuple[float, float]], list[int]]:
                corners = [] if box is None else [(box[0], box[1]), (box[2], box[3])]
                labels = [] if box is None else [CORNER_0, CORNER_1]
                return [*corners, *((c.x, c.y) for c in clicks)], [*labels, *(int(c.positive) for c in clicks)]

        one = Video(video.id, (video.frame_names[frame],), video.source, declared_size=video.size)
        prompt = Clicks(tuple((c.x, c.y) for c in clicks), box)
        ((_, _, mask),) = self.model.segment_objects(one, {"object": [{0: prompt}]})
        return np.asarray(mask, bool)


class SamClicks:
    """SAM prompted on one frame; a frame's features are kept while clicks are added."""

    name = "SAM"

    def __init__(self, model: Any, identity: str) -> None:
        """``model`` is a ``transformers.SamModel``."""
        from ...videolisa.processor import Pixels, Processor

        self.model, self.id = model.eval(), identity
        pixels = Pixels(sam_size=model.config.vision_config.image_size)
        self._processor = Processor(None, pixels)  # type: ignore[arg-type]
        self._kept: tuple[tuple[str, int], Any] | None = None
        self._lock = threading.Lock()

    def segment(self, video: Video, frame: int, clicks: Sequence[Click], box: Box | None) -> BoolMask:
        """See ``Segmenter.segment``."""
        import torch
        import torch.nn.functional as F

        with self._lock, torch.inference_mode():
            features = self._features(video, frame)
            inner = self._processor.sam_size(*video.size)
            scale = torch.tensor([inner[1] / video.width, inner[0] / video.height], device=features.device)
            prompts: dict[str, Any] = {}
            if clicks:
                points = torch.tensor([[[(c.x, c.y) for c in clicks]]], device=features.device)
                prompts["input_points"] = points * scale
                prompts["input_labels"] = torch.tensor([[[int(c.positive) for c in clicks]]], device=features.device)
            if box is not None:
                corners = torch.tensor([[list(box)]], device=features.device)
                prompts["input_boxes"] = corners * torch.cat([scale, scale])
            found = self.model(image_embeddings=features, multimask_output=False, **prompts)
            side = self._processor.pixels.sam_size
            square = F.interpolate(found.pred_masks[:, 0].float(), (side, side), mode="bilinear", align_corners=False)
            image = square[..., : inner[0], : inner[1]]
            logits = F.interpolate(image, video.size, mode="bilinear", align_corners=False)
            return np.asarray((logits[0, 0] > 0).cpu().numpy(), bool)

    def matcher(self) -> Any:
        """A ``FeaturePropagator`` on this SAM: training-free, it matches image features of frames."""
        from ...videolisa.propagation import FeaturePropagator

        return FeaturePropagator(self._all_features, self._processor.pixels.sam_size)

    def _all_features(self, video: Video, frames: Sequence[int] | None) -> Iterator[tuple[int, tuple[int, int], Any]]:
        for frame in range(len(video)) if frames is None else frames:
            pixels = self._processor.sam_pixels(video.frame(frame))[None].to(self.model.device, self.model.dtype)
            yield frame, self._processor.sam_size(*video.size), self.model.get_image_embeddings(pixels)

    def _features(self, video: Video, frame: int) -> Any:
        place = (video.id, frame)
        if self._kept is None or self._kept[0] != place:
            ((_, _, features),) = self._all_features(video, [frame])
            self._kept = (place, features)
        return self._kept[1]


def check_prompt(video: Video, frame: int, clicks: Sequence[Click], box: Box | None) -> None:
    """Raises Invalid for a prompt without a positive hint, or off the picture."""
    if not 0 <= frame < len(video):
        raise Invalid(f"Frame {frame}: the clip has frames 0 to {len(video) - 1}.")
    if box is None and not any(click.positive for click in clicks):
        raise Invalid("Click on the object, or draw a box around it.")
    xs = [c.x for c in clicks] + ([] if box is None else [box[0], box[2]])
    ys = [c.y for c in clicks] + ([] if box is None else [box[1], box[3]])
    if min(xs) < 0 or min(ys) < 0 or max(xs) > video.width or max(ys) > video.height:
        raise Invalid("A click lies outside the picture.")

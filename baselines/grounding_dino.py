"""Grounded SAM: Grounding DINO finds a box for the sentence, SAM makes it a mask.

* ``grounding-dino-sam:DINO,SAM``: a box and a mask on every frame by itself, as Grounded-SAM does for images.
* ``grounding-dino-sam2:DINO,SAM2``: the best box among a few frames prompts SAM 2's video model.

Weights: ``IDEA-Research/grounding-dino-base`` (or -tiny); ``facebook/sam-vit-huge``;
``facebook/sam2.1-hiera-large``. Corresponds to the "Grounded-SAM(-2)" rows that training-free papers compare with on
Ref-DAVIS-17, MeViS and ReasonVOS. They differ among themselves in threshold and frame; here the best box of the whole
sentence is taken whatever its score, so a target is always found, also where there is none.

Liu et al.: Grounding DINO, ECCV 2024. Ren et al.: Grounded SAM, 2024.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from PIL import Image

from ..benchmarks.predictor import FrameMask
from ..datasets.types import Expression, Video
from ..videolisa.processor import Pixels, Processor
from .clipseg import MEAN, STD
from .pretrained import device_of, image_settings, load_model, load_tokenizer, two_paths
from .sam2_prompts import Prompt, Sam2Prompts, box_of, spread

#: Grounding DINO's input where the checkpoint does not say: shorter and longest side in pixels.
SHORTER, LONGEST = 800, 1333
#: Frames of a video among which the best box is sought.
FRAMES_SEARCHED = 8


class BoxFinder:
    """Grounding DINO: the best box of a sentence in an image."""

    def __init__(self, model: Any, tokenizer: Any, shorter: int = SHORTER, longest: int = LONGEST) -> None:
        self.model, self.tokenizer, self.shorter, self.longest = model.eval(), tokenizer, shorter, longest

    @classmethod
    def from_pretrained(cls, path: str, device: str | None = None) -> BoxFinder:
        """Load a ``GroundingDinoForObjectDetection``. Raises CheckpointError."""
        model = load_model(path, "GroundingDinoForObjectDetection")
        size = image_settings(path).get("size", {})
        sides = size.get("shortest_edge", SHORTER), size.get("longest_edge", LONGEST)
        return cls(model.to(device_of(device)), load_tokenizer(path), *sides)

    @torch.inference_mode()
    def best(self, frame: NDArray[np.uint8], text: str) -> tuple[tuple[float, float, float, float], float]:
        """(box (x0, y0, x1, y1) in pixels, score 0-1) of the best match in an image uint8 (H, W, 3)."""
        words = self.tokenizer(caption(text), return_tensors="pt", truncation=True, max_length=self.longest_text)
        pixels = self._pixels(frame)
        mask = torch.ones(1, *pixels.shape[-2:], dtype=torch.int64, device=self.model.device)
        found = self.model(pixel_values=pixels, pixel_mask=mask, **words.to(self.model.device))
        scores = found.logits[0].sigmoid().max(dim=-1).values
        best = int(scores.argmax())
        x, y, width, height = found.pred_boxes[0, best].tolist()
        rows, columns = frame.shape[:2]
        corners = (x - width / 2, y - height / 2, x + width / 2, y + height / 2)
        box = [value * (columns, rows)[i % 2] for i, value in enumerate(corners)]
        return box_of(box, (rows, columns)), float(scores[best])

    @property
    def longest_text(self) -> int:
        """In tokens."""
        return int(self.model.config.max_text_len)

    def _pixels(self, frame: NDArray[np.uint8]) -> torch.Tensor:
        """A frame with its shorter side resized, normalised: float32 (1, 3, h, w)."""
        height, width = frame.shape[:2]
        scale = min(self.shorter / min(height, width), self.longest / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        image = np.asarray(Image.fromarray(frame).resize(size, Image.Resampling.BILINEAR), np.float32) / 255
        normalised = (image - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
        pixels = torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))[None]
        return pixels.to(self.model.device, self.model.dtype)


def caption(text: str) -> str:
    """A sentence as Grounding DINO was trained on captions: lower case, one full stop at the end."""
    return f"{text.strip().lower().rstrip('.?! ')}."


class GroundedSam:
    """Grounding DINO and SAM on every frame.

    Its score is what detection by words gives, frame by frame: identities are found anew each time.
    """

    def __init__(self, boxes: BoxFinder, sam: Any, source: str = "memory") -> None:
        """
        Args:
            boxes: finds the box.
            sam: a ``transformers.SamModel``.
        """
        self.boxes, self.sam, self.source = boxes, sam.eval(), source
        self._processor = Processor(None, Pixels(sam_size=sam.config.vision_config.image_size))  # type: ignore[arg-type]

    @classmethod
    def from_pretrained(cls, paths: str, device: str | None = None) -> GroundedSam:
        """Load ``DINO,SAM``, each a folder or ``owner/name`` on the hub. Raises CheckpointError, UsageError."""
        dino, sam = two_paths(paths, "as grounding-dino-sam:DINO,SAM")
        model = load_model(sam, "SamModel").to(device_of(device))
        return cls(BoxFinder.from_pretrained(dino, device), model, paths)

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        return {
            "name": "grounding-dino-sam",
            "arguments": {"paths": self.source},
            "prompt_template": "the sentence in lower case with a full stop",
            "sampling_rule": "every frame by itself, best box",
        }

    @torch.inference_mode()
    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        """Yield (expression id, frame index, bool (H, W)); SAM encodes a frame once for all sentences."""
        for index in range(len(video)):
            frame = video.frame(index)
            pixels = self._processor.sam_pixels(frame)[None].to(self.sam.device, self.sam.dtype)
            features = self.sam.get_image_embeddings(pixels)
            for expression in expressions:
                box, _ = self.boxes.best(frame, expression.text)
                yield expression.id, index, self._mask(features, box, video.size)

    def _mask(self, features: torch.Tensor, box: Sequence[float], size: tuple[int, int]) -> NDArray[np.bool_]:
        padded_from = self._processor.sam_size(*size)
        scale = (padded_from[1] / size[1], padded_from[0] / size[0])
        corners = torch.tensor([[[v * scale[i % 2] for i, v in enumerate(box)]]], device=features.device)
        found = self.sam(image_embeddings=features, input_boxes=corners, multimask_output=False)
        side = self._processor.pixels.sam_size
        square = F.interpolate(found.pred_masks[:, 0].float(), (side, side), mode="bilinear", align_corners=False)
        image = square[..., : padded_from[0], : padded_from[1]]
        logits = F.interpolate(image, size, mode="bilinear", align_corners=False)
        return (logits[0, 0] > 0).cpu().numpy()


class GroundedSam2:
    """The best box of a few frames, tracked by SAM 2.

    Its score is what detection by words and a strong tracker give without any reasoning about the video.
    """

    def __init__(self, boxes: BoxFinder, sam2: Sam2Prompts, source: str = "memory") -> None:
        self.boxes, self.sam2, self.source = boxes, sam2, source

    @classmethod
    def from_pretrained(cls, paths: str, device: str | None = None) -> GroundedSam2:
        """Load ``DINO,SAM2``, each a folder or ``owner/name`` on the hub. Raises CheckpointError, UsageError."""
        dino, sam2 = two_paths(paths, "as grounding-dino-sam2:DINO,SAM2")
        model = load_model(sam2, "Sam2VideoModel").to(device_of(device))
        return cls(BoxFinder.from_pretrained(dino, device), Sam2Prompts(model), paths)

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        return {
            "name": "grounding-dino-sam2",
            "arguments": {"paths": self.source},
            "prompt_template": "the sentence in lower case with a full stop",
            "sampling_rule": f"best box among {FRAMES_SEARCHED} evenly spread frames, then SAM 2 both ways",
        }

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        """Yield (expression id, frame index, bool (H, W))."""
        objects = {e.id: [self._best_of(video, e.text)] for e in expressions}
        yield from self.sam2.segment_objects(video, objects)

    def _best_of(self, video: Video, text: str) -> dict[int, Prompt]:
        found = [(index, *self.boxes.best(video.frame(index), text)) for index in spread(len(video), FRAMES_SEARCHED)]
        index, box, _ = max(found, key=lambda entry: entry[2])
        return {index: Prompt(box=box)}

"""Frames and text to model inputs.

Two image branches: CLIP (sampled frames; shorter side resized, centre cropped) and SAM (every frame; longer side
resized, zero-padded after normalisation). Pillow resizes uint8 images, as the released code does: other libraries
round differently, which changes masks.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..datasets.errors import UsageError
from .configuration import VideoLisaConfig
from .modeling import IMAGE_TOKEN
from .prompts import VIDEO
from .tokenizer import Tokenizer

CONFIG_FILE = "processor_config.json"


@dataclass(frozen=True)
class Pixels:
    """Sizes and normalisation of the two image branches, means and deviations per RGB channel.

    CLIP's are for values in 0-1, SAM's for values in 0-255. ``clip_fit`` says how a frame becomes CLIP's square:
    ``crop`` (released: shorter side resized, centre cut out, so a wide frame loses its sides) or ``stretch`` (both
    sides resized, nothing lost; what the nano models are trained with).
    """

    clip_size: int = 336
    clip_fit: str = "crop"
    clip_mean: tuple[float, ...] = (0.48145466, 0.4578275, 0.40821073)
    clip_std: tuple[float, ...] = (0.26862954, 0.26130258, 0.27577711)
    sam_size: int = 1024
    sam_mean: tuple[float, ...] = (123.675, 116.28, 103.53)
    sam_std: tuple[float, ...] = (58.395, 57.12, 57.375)


@dataclass(frozen=True)
class Processor:
    """Tokenizer and image branches of one checkpoint.

    Attributes:
        tokenizer: the checkpoint's tokenizer.
        pixels: sizes and normalisation.
    """

    tokenizer: Tokenizer
    pixels: Pixels

    @classmethod
    def for_config(cls, tokenizer: Tokenizer, config: VideoLisaConfig, **changes: Any) -> Processor:
        """A processor whose image sizes are the model's; ``changes`` replaces means or deviations."""
        sizes = {
            "clip_size": config.vision_config.image_size,
            "sam_size": config.sam_config.vision_config.image_size,
        }
        return cls(tokenizer, Pixels(**sizes, **changes))

    # Text ---------------------------------------------------------------------------------------------------------

    def input_ids(self, text: str) -> torch.Tensor:
        """A conversation's token ids with ``IMAGE_TOKEN`` in place of the video: int64 (L,).

        The parts before and after the placeholder are tokenised alone and keep one BOS between them.

        Raises:
            UsageError: unless the text holds one placeholder.
        """
        parts = text.split(VIDEO)
        if len(parts) != 2:
            raise UsageError(f"A conversation must hold {VIDEO} once, found {len(parts) - 1} in: {text!r}")
        before, after = parts
        ids = [*self.tokenizer.encode(before), IMAGE_TOKEN, *self.tokenizer.encode(after, bos=False)]
        return torch.tensor(ids, dtype=torch.int64)

    # CLIP branch --------------------------------------------------------------------------------------------------

    def clip_image(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A frame fitted to CLIP's square (bicubic), see ``Pixels``: uint8 (size, size, 3).

        To crop: the shorter side to ``clip_size``, the longer truncated, the centre cut out.
        """
        size, (height, width) = self.pixels.clip_size, frame.shape[:2]
        if self.pixels.clip_fit == "stretch":
            return np.asarray(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))
        short, long = sorted((height, width))
        other = int(size * long / short)
        new = (size, other) if width <= height else (other, size)  # (width, height)
        image = np.asarray(Image.fromarray(frame).resize(new, Image.Resampling.BICUBIC))
        top, left = (image.shape[0] - size) // 2, (image.shape[1] - size) // 2
        return image[top : top + size, left : left + size]

    def clip_pixels(self, frame: NDArray[np.uint8]) -> torch.Tensor:
        """A frame uint8 (H, W, 3) RGB for CLIP: float32 (3, size, size), rescaled to 0-1 and normalised."""
        scaled = (self.clip_image(frame) * (1 / 255)).astype(np.float32)
        mean, std = (np.array(values, np.float32) for values in (self.pixels.clip_mean, self.pixels.clip_std))
        return torch.from_numpy(np.ascontiguousarray(((scaled - mean) / std).transpose(2, 0, 1)))

    # SAM branch ---------------------------------------------------------------------------------------------------

    def sam_size(self, height: int, width: int) -> tuple[int, int]:
        """(height, width) of the SAM image before padding: the longer side at ``sam_size``, half rounded up."""
        scale = self.pixels.sam_size / max(height, width)
        return int(height * scale + 0.5), int(width * scale + 0.5)

    def sam_image(self, frame: NDArray[np.uint8]) -> NDArray[np.uint8]:
        """A frame resized (bilinear) to ``sam_size(H, W)``: uint8 (h, w, 3)."""
        height, width = self.sam_size(*frame.shape[:2])
        return np.asarray(Image.fromarray(frame).resize((width, height), Image.Resampling.BILINEAR))

    def sam_pixels(self, frame: NDArray[np.uint8]) -> torch.Tensor:
        """A frame uint8 (H, W, 3) RGB for SAM: float32 (3, size, size), normalised, then zero-padded right/bottom."""
        return self.normalise_sam(torch.from_numpy(self.sam_image(frame).copy()))

    def normalise_sam(self, image: torch.Tensor) -> torch.Tensor:
        """A SAM image uint8 (h, w, 3) to float32 (3, size, size), on the image's device."""
        mean, std = (
            torch.tensor(values, dtype=torch.float32, device=image.device)[:, None, None]
            for values in (self.pixels.sam_mean, self.pixels.sam_std)
        )
        height, width = image.shape[:2]
        padded = torch.zeros(3, self.pixels.sam_size, self.pixels.sam_size, device=image.device)
        padded[:, :height, :width] = (image.permute(2, 0, 1).float() - mean) / std
        return padded

    # Files --------------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path) -> None:
        """Write the tokenizer's files and ``processor_config.json``."""
        self.tokenizer.save(folder)
        (Path(folder) / CONFIG_FILE).write_text(json.dumps(asdict(self.pixels), indent=1) + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: str | Path) -> Processor:
        """Read what ``save`` wrote.

        Raises:
            UsageError: where a file is absent.
        """
        path = Path(folder) / CONFIG_FILE
        if not path.is_file():
            raise UsageError(f"No {CONFIG_FILE} in {folder}: expected a checkpoint written by save_pretrained.")
        stored: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        values: dict[str, Any] = {k: tuple(v) if isinstance(v, list) else v for k, v in stored.items()}
        return cls(Tokenizer(folder), Pixels(**values))

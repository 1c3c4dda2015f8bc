"""CLIPSeg on every frame by itself: open-vocabulary segmentation without video and without reasoning.

Weights: ``CIDAS/clipseg-rd64-refined``, or any ``CLIPSegForImageSegmentation``. The whole sentence is the prompt, cut
to CLIP's 77 tokens; the mask is where the logits are > 0. No published row of the four benchmarks uses it; it stands
for what image-text matching alone can do.

Lüddecke, Ecker: Image Segmentation Using Text and Image Prompts, CVPR 2022.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..benchmarks.predictor import FrameMask
from ..datasets.types import Expression, Video
from .pretrained import device_of, load_model, load_tokenizer

#: ImageNet statistics of values 0-1.
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)


class ClipSeg:
    """CLIPSeg per frame.

    Its score is what matching words with image regions gives, without time and without reasoning.
    """

    def __init__(self, model: Any, tokenizer: Any, source: str = "memory") -> None:
        """
        Args:
            model: a ``transformers.CLIPSegForImageSegmentation``.
            tokenizer: its tokenizer.
        """
        self.model, self.tokenizer, self.source = model.eval(), tokenizer, source

    @classmethod
    def from_pretrained(cls, path: str, device: str | None = None) -> ClipSeg:
        """Load a folder or ``owner/name`` on the hub. Raises CheckpointError."""
        model = load_model(path, "CLIPSegForImageSegmentation").to(device_of(device))
        return cls(model, load_tokenizer(path), path)

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        return {"name": "clipseg", "arguments": {"path": self.source}, "prompt_template": "the sentence"}

    @torch.inference_mode()
    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        """Yield (expression id, frame index, logits float32 (h, w)); a frame is encoded once for all sentences."""
        longest = self.model.config.text_config.max_position_embeddings
        words = self.tokenizer(
            [e.text for e in expressions], padding=True, truncation=True, max_length=longest, return_tensors="pt"
        ).to(self.model.device)
        conditions = self.model.get_conditional_embeddings(
            batch_size=len(expressions), input_ids=words.input_ids, attention_mask=words.attention_mask
        )
        for index in range(len(video)):
            for expression, logits in zip(expressions, self._logits(video.frame(index), conditions), strict=True):
                yield expression.id, index, logits.float().cpu().numpy()

    def _logits(self, frame: NDArray[np.uint8], conditions: torch.Tensor) -> torch.Tensor:
        """(N, h, w) for N conditions."""
        pixels = pixels_of(frame, self.model.config.vision_config.image_size).to(self.model.device, self.model.dtype)
        # The sizes of CLIPSeg's release differ from CLIP's position table, so positions are interpolated.
        vision = self.model.clip.vision_model(pixels, output_hidden_states=True, interpolate_pos_encoding=True)
        states = [vision.hidden_states[i + 1].expand(len(conditions), -1, -1) for i in self.model.extract_layers]
        logits = self.model.decoder(states, conditions).logits
        return logits.reshape(len(conditions), *logits.shape[-2:])


def pixels_of(frame: NDArray[np.uint8], side: int) -> torch.Tensor:
    """A frame uint8 (H, W, 3) stretched to a square and normalised: float32 (1, 3, side, side)."""
    image = np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.BICUBIC), np.float32) / 255
    normalised = (image - np.array(MEAN, np.float32)) / np.array(STD, np.float32)
    return torch.from_numpy(np.ascontiguousarray(normalised.transpose(2, 0, 1)))[None]

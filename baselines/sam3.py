"""SAM 3 prompted with the sentence: it finds every instance of the words and tracks them.

``sam3:CHECKPOINT``. Weights: ``facebook/sam3``. Its processors need torchvision, so frames are prepared with Pillow and
the inference session is driven directly, frame by frame; its hole filling and duplicate removal need
``pip install kernels`` and are left out without it, as transformers warns. The prompt holds 32 tokens, longer sentences
are cut. The union of all instances is the answer. Corresponds to the "SAM 3" rows (text prompt, no language model) that
agents on SAM 3 compare with; those run it offline, where the first 15 frames may be revised, and here it streams.

Carion et al.: SAM 3: Segment Anything with Concepts, 2025.
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
from ..datasets.types import BoolMask, Expression, Video
from .pretrained import device_of, load_model, load_tokenizer

#: Tokens of a prompt.
PROMPT_LENGTH = 32


class Sam3:
    """SAM 3's video model with the sentence as its prompt.

    Its score is what naming things gives: it finds and tracks every instance and reasons about none.
    """

    def __init__(self, model: Any, tokenizer: Any, source: str = "memory") -> None:
        """
        Args:
            model: a ``transformers.Sam3VideoModel``.
            tokenizer: its tokenizer.
        """
        self.model, self.tokenizer, self.source = model.eval(), tokenizer, source

    @classmethod
    def from_pretrained(cls, path: str, device: str | None = None) -> Sam3:
        """Load a folder or ``owner/name`` on the hub. Raises CheckpointError, UsageError."""
        return cls(load_model(path, "Sam3VideoModel").to(device_of(device)), load_tokenizer(path), path)

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        return {
            "name": "sam3",
            "arguments": {"path": self.source},
            "prompt_template": "the sentence",
            "sampling_rule": "every frame, streaming; the union of all instances",
            "dtype": str(self.model.dtype).removeprefix("torch."),
        }

    @torch.inference_mode()
    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        """Yield (expression id, frame index, bool (H, W)).

        A session a sentence: within one, objects compete for pixels, so other sentences would change the answer.
        """
        for expression in expressions:
            session = self._session(video, expression.text)
            for index in range(len(video)):
                found = self.model(inference_session=session, frame=self._pixels(video.frame(index)), frame_idx=index)
                self._forget(session, index)
                yield expression.id, index, _union(found, video.size)

    def _session(self, video: Video, text: str) -> Any:
        from transformers.models.sam3_video.modeling_sam3_video import Sam3VideoInferenceSession

        device = self.model.device
        session = Sam3VideoInferenceSession(
            video_height=video.height,
            video_width=video.width,
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=self.model.dtype,
        )
        number = session.add_prompt(text)
        words = self.tokenizer(
            text, return_tensors="pt", padding="max_length", truncation=True, max_length=PROMPT_LENGTH
        )
        session.prompt_input_ids[number] = words.input_ids.to(device)
        session.prompt_attention_masks[number] = words.attention_mask.to(device)
        return session

    def _pixels(self, frame: NDArray[np.uint8]) -> torch.Tensor:
        """A frame stretched to the model's square input, values from -1 to 1: float32 (3, side, side)."""
        side = self.model.config.detector_config.image_size
        image = np.asarray(Image.fromarray(frame).resize((side, side), Image.Resampling.BILINEAR), np.float32)
        return torch.from_numpy((image / 127.5 - 1).transpose(2, 0, 1).copy()).to(self.model.device)

    def _forget(self, session: Any, index: int) -> None:
        """Drop the frame's pixels and the memories that lie further back than the tracker looks."""
        session.processed_frames.pop(index, None)
        tracker = self.model.config.tracker_config
        oldest = index - max(tracker.num_maskmem, tracker.max_object_pointers_in_encoder)
        for outputs in session.output_dict_per_obj.values():
            outputs["non_cond_frame_outputs"].pop(oldest, None)


def _union(found: Any, size: tuple[int, int]) -> BoolMask:
    """The instances of a frame that are neither removed nor suppressed, as one bool (H, W)."""
    hidden = set(found.removed_obj_ids or ()) | set(found.suppressed_obj_ids or ())
    logits = [mask.float() for number, mask in found.obj_id_to_mask.items() if number not in hidden]
    if not logits:
        return np.zeros(size, bool)
    whole = F.interpolate(torch.stack(logits).reshape(len(logits), 1, *logits[0].shape[-2:]), size, mode="bilinear")
    return (whole[:, 0] > 0).any(dim=0).cpu().numpy()

"""A multimodal language model says where the target is, SAM 2 segments it from there.

``multimodal-llm:LLM,SAM2`` with any model that transformers loads for images and text: Qwen2.5-VL and Qwen3-VL answer
with boxes in JSON, Molmo with points. The sentence is asked about a few frames one by one; the first on which the model
gives a place prompts SAM 2, which tracks both ways. Corresponds to the "LLM + SAM 2" rows (e.g. Qwen2.5-VL + SAM 2) of
ReasonVOS and MeViS comparisons. Those differ among themselves in prompt and key frame: numbers are of the same kind,
not the same.

Processors that need torchvision say so with the line that installs it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..benchmarks.predictor import FrameMask
from ..datasets.types import Expression, Video
from .pretrained import device_of, load_model, load_processor, two_paths
from .sam2_prompts import Sam2Prompts, spread
from .tracks import Mark, parse_marks, prompts_of

PROMPT = (
    "{text}\nLocate what this refers to in the image. Answer with JSON only: "
    '[{{"bbox_2d": [x1, y1, x2, y2]}}], or [] where it is not in the image.'
)
#: Frames of a video that the model is shown until it finds the target.
FRAMES_SHOWN = 4
#: What the coordinates of a model family count per image side; None is pixels of the image that it was given.
SCALES = {"qwen3_vl": 1000.0, "qwen3_vl_moe": 1000.0, "internvl": 1000.0}


class MultimodalLlm:
    """Asks a multimodal language model for a place and SAM 2 for the masks.

    Its score shows the model's grounding; time is only seen through the frames that it is shown one by one.
    """

    def __init__(
        self,
        ask: Callable[[NDArray[np.uint8], str], tuple[str, tuple[int, int]]],
        sam2: Sam2Prompts,
        scale: float | None = None,
        record: dict[str, Any] | None = None,
    ) -> None:
        """
        Args:
            ask: gives the model's answer to an image uint8 (H, W, 3) and a question, and the (height, width) at
                which the model saw the image, which is what coordinates in pixels count.
            scale: what its coordinates count per image side; None for pixels.
            record: what a run notes about it.
        """
        self.ask, self.sam2, self.scale = ask, sam2, scale
        self._record = record or {"name": "multimodal-llm"}

    @property
    def tokens_used(self) -> int:
        """Tokens read and written so far, where the model counts them."""
        return getattr(self.ask, "tokens_used", 0)

    @classmethod
    def from_pretrained(cls, paths: str, device: str | None = None) -> MultimodalLlm:
        """Load ``LLM,SAM2``. Raises CheckpointError, UsageError, or RvosError where torchvision is needed."""
        llm, sam2 = two_paths(paths, "as multimodal-llm:LLM,SAM2")
        answering = ImageChat(load_model(llm, "AutoModelForImageTextToText").to(device_of(device)), load_processor(llm))
        tracker = Sam2Prompts(load_model(sam2, "Sam2VideoModel").to(device_of(device)))
        record = {
            "name": "multimodal-llm",
            "arguments": {"paths": paths},
            "prompt_template": PROMPT,
            "sampling_rule": f"up to {FRAMES_SHOWN} evenly spread frames, the first with an answer; greedy decoding",
        }
        return cls(answering, tracker, SCALES.get(answering.model.config.model_type), record)

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        return self._record

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        """Yield (expression id, frame index, bool (H, W)); empty where the model finds nothing."""
        objects = {e.id: prompts_of(self._marks(video, e), video) for e in expressions}
        yield from self.sam2.segment_objects(video, objects)

    def _marks(self, video: Video, expression: Expression) -> list[Mark]:
        for index in spread(len(video), FRAMES_SHOWN):
            answer, seen = self.ask(video.frame(index), PROMPT.format(text=expression.text))
            found = parse_marks(answer, self.scale)
            if found:
                return [replace(_as_shares(mark, seen), time=index, in_frames=True) for mark in found]
        return []


def _as_shares(mark: Mark, seen: tuple[int, int]) -> Mark:
    """A mark in pixels of the image that the model saw as shares of its sides; others as they are."""
    if mark.scale is not None:
        return mark
    return replace(mark, values=tuple(v / seen[1 - i % 2] for i, v in enumerate(mark.values)), scale=1.0)


class ImageChat:
    """A model of transformers with its processor: one image and one question in, the answer out, decoded greedily."""

    def __init__(self, model: Any, processor: Any, max_new_tokens: int = 128) -> None:
        self.model, self.processor, self.max_new_tokens = model.eval(), processor, max_new_tokens
        self.tokens_used = 0

    @torch.inference_mode()
    def __call__(self, image: NDArray[np.uint8], question: str) -> tuple[str, tuple[int, int]]:
        """The answer and the (height, width) at which the model saw the image."""
        content = [{"type": "image"}, {"type": "text", "text": question}]
        text = self.processor.apply_chat_template([{"role": "user", "content": content}], add_generation_prompt=True)
        inputs = self.processor(images=Image.fromarray(image), text=text, return_tensors="pt").to(self.model.device)
        inputs["pixel_values"] = inputs["pixel_values"].to(self.model.dtype)
        said = self.model.generate(**inputs, max_new_tokens=self.max_new_tokens, do_sample=False)[0]
        self.tokens_used += len(said)
        answer = self.processor.tokenizer.decode(said[inputs["input_ids"].shape[1] :], skip_special_tokens=True)
        return answer, self._seen(inputs, image.shape[:2])

    def _seen(self, inputs: Any, size: tuple[int, int]) -> tuple[int, int]:
        """Qwen's processors resize to whole patches; the others' coordinates count the image's own pixels."""
        if "image_grid_thw" not in inputs:
            return size
        _, rows, columns = inputs["image_grid_thw"][0].tolist()
        patch = self.model.config.vision_config.patch_size
        return rows * patch, columns * patch

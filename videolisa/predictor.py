"""The engine: VideoLISA as a predictor that answers all sentences about a video at once.

What depends on the video only is computed once: CLIP features and the language model's keys and values (``prefix``),
SAM features frame by frame. A frame is encoded once, decoded for all sentences, and forgotten, so memory does not grow
with the length of the video. The released code repeats all of it for every sentence.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

import numpy as np
import torch
from numpy.typing import NDArray

from ..benchmarks.predictor import FrameMask
from ..datasets.types import Expression, Video
from .checkpoints import VideoLisa, open_checkpoint, weights_hash
from .prefix import VideoPrefix
from .prompts import ANSWER, IMAGE_ANSWER, question, template_for

A = TypeVar("A")
B = TypeVar("B")

#: Frames that SAM encodes at a time, by device type. On a CPU a batch gains nothing.
FRAMES_PER_BATCH = {"cuda": 4, "cpu": 1}
#: Sentences that the mask decoder and the upsampling take at a time, by device type. One by one, as on a CPU, a
#: sentence takes the same steps in the same shapes whatever else is asked, so its masks are the same; batches may round
#: differently, but a GPU needs them.
SENTENCES_PER_STEP = {"cuda": 16, "cpu": 1}


class VideoLisaPredictor:
    """VideoLISA behind the Predictor protocol.

    A video of one frame is an image, asked about with the questions of the released image benchmarks. These make it a
    clip of equal frames, S for the language model and D for SAM; where among the S the D stand then changes nothing,
    and of the D equal masks one is enough.
    """

    def __init__(self, videolisa: VideoLisa, frames_per_batch: int | None = None) -> None:
        """
        Args:
            videolisa: model and processor.
            frames_per_batch: frames that SAM encodes at a time; by device where None.
        """
        self.videolisa = videolisa
        device = videolisa.model.device.type
        self.frames_per_batch = frames_per_batch or FRAMES_PER_BATCH.get(device, FRAMES_PER_BATCH["cpu"])

    @classmethod
    def from_pretrained(
        cls,
        path: str,
        device: str | None = None,
        dtype: torch.dtype | None = None,
        attn_implementation: str = "sdpa",
        frames_per_batch: int | None = None,
    ) -> VideoLisaPredictor:
        """Load a checkpoint of our or the released layout.

        Args:
            path: a folder, or ``owner/name`` on the Hugging Face hub.
            device: ``cuda`` where there is one, else ``cpu``, where None.
            dtype: bfloat16 on CUDA (as the released scripts), float32 on CPU, where None.

        Raises:
            CheckpointError: where the folder is no VideoLISA checkpoint or its keys do not fit.
        """
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        precision = dtype or (torch.bfloat16 if where.startswith("cuda") else torch.float32)
        loaded = open_checkpoint(path, dtype=precision, device=where, attn_implementation=attn_implementation)
        return cls(loaded, frames_per_batch)

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor, see ``benchmarks.runs.PredictorRecord``."""
        config, model = self.videolisa.model.config, self.videolisa.model
        return {
            "name": "videolisa",
            "weights_hash": weights_hash(self.videolisa.source),
            "arguments": {"path": self.videolisa.source},
            "resolved_arguments": {
                "device": str(model.device),
                "attention": config.text_config._attn_implementation,
                "frames_per_batch": self.frames_per_batch,
            },
            "prompt_template": "released scripts', by expression: reasonvos-*, referring, image-*",
            "sampling_rule": f"{config.temporal_strategy} S={config.sparse_frames} D={config.dense_frames}",
            "dtype": str(model.dtype).removeprefix("torch."),
        }

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        """Yield (expression id, frame index, bool (H, W)) frame by frame, all sentences of a frame together."""
        return self.segment_frames(video, expressions, range(len(video)))

    def segment_frames(
        self, video: Video, expressions: Sequence[Expression], frames: Sequence[int]
    ) -> Iterator[FrameMask]:
        """``segment`` for chosen frames only; the language model sees the whole video all the same."""
        image = len(video) == 1
        questions = [question(e.text, template_for(e, image)) for e in expressions]
        answer = IMAGE_ANSWER if image else ANSWER
        for index, masks in self.segment_questions(video, questions, frames, answer):
            for expression, mask in zip(expressions, masks, strict=True):
                yield expression.id, index, mask

    @torch.inference_mode()
    def segment_questions(
        self, video: Video, questions: Sequence[str], frames: Sequence[int] | None = None, answer: str = ANSWER
    ) -> Iterator[tuple[int, NDArray[np.bool_]]]:
        """Masks for questions in their final wording.

        Args:
            frames: frame numbers to segment; all where None. The language model sees the whole video either way.
            answer: what the model is taken to answer, with one ``[SEG]``.

        Yields:
            (frame index, bool (len(questions), H, W)).
        """
        if not questions:
            return
        prompts = VideoPrefix(self.videolisa, video).prompt_vectors(questions, answer)
        for index, padded_from, features in self.sam_features(video, frames):
            yield index, self.masks(features, prompts, padded_from, video.size)

    @torch.inference_mode()
    def sam_features(
        self, video: Video, frames: Sequence[int] | None = None
    ) -> Iterator[tuple[int, tuple[int, int], torch.Tensor]]:
        """SAM's image embedding of every frame, in order: (index, size before padding, (1, C, g, g)).

        A thread reads and resizes the next frames while the model works on these.
        """
        model, processor = self.videolisa.model, self.videolisa.processor
        chosen = range(len(video)) if frames is None else frames
        images = read_ahead(chosen, lambda i: processor.sam_image(video.frame(i)), 2 * self.frames_per_batch)
        for batch in batches(zip(chosen, images, strict=True), self.frames_per_batch):
            on_device = [torch.tensor(image, device=model.device) for _, image in batch]
            features = model.sam_features(torch.stack([processor.normalise_sam(image) for image in on_device]))
            for n, (index, image) in enumerate(batch):
                yield index, image.shape[:2], features[n : n + 1]

    def masks(
        self, features: torch.Tensor, prompts: torch.Tensor, padded_from: tuple[int, int], size: tuple[int, int]
    ) -> NDArray[np.bool_]:
        """Masks of all sentences on one frame.

        Args:
            features: (1, C, g, g), a frame's SAM embedding.
            prompts: (N, C), a vector a sentence.
            padded_from: (height, width) of the SAM image before padding.
            size: (H, W) of the video.

        Returns:
            bool (N, H, W).
        """
        model = self.videolisa.model
        step = SENTENCES_PER_STEP.get(model.device.type, 1)
        steps = [
            (model.upsample_masks(model.decode_masks(features, some), padded_from, size)[0] > 0).cpu()
            for some in prompts.split(step)
        ]
        return torch.cat(steps).numpy()


def read_ahead(items: Iterable[A], function: Callable[[A], B], ahead: int) -> Iterator[B]:
    """``map`` with one thread that works up to ``ahead`` items in front of the reader."""
    waiting: deque[Future[B]] = deque()
    pool = ThreadPoolExecutor(1)
    try:
        for item in items:
            waiting.append(pool.submit(function, item))
            if len(waiting) > ahead:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def batches(items: Iterable[A], size: int) -> Iterator[list[A]]:
    """Consecutive lists of ``size`` items; the last may be shorter."""
    batch: list[A] = []
    for item in items:
        batch.append(item)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch

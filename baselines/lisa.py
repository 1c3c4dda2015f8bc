"""LISA, the image model that VideoLISA started from, on video: what one ``[SEG]`` token per image can do.

Three rows of the literature:

* ``lisa``: every frame is asked anew, one token a frame (the rows "LISA" of ReVOS and of later papers, where each frame
  is an image).
* ``lisa-first-frame``: the token of the first frame segments all frames (the baseline rows of VideoLISA's tables 5, 6,
  8 and 9).
* ``lisa-propagation``: the mask of the first frame is carried on to all others (the rows "LISA + XMem" of tables 6 and
  9). They use XMem; here the propagator is ``videolisa.propagation.FeaturePropagator``, which needs no further
  weights, so numbers are near those rows and not theirs.

Weights: ``xinlai/LISA-7B-v1``, ``xinlai/LISA-13B-llama2-v1`` and the ``-explanatory`` ones, as released (LLaVA keys,
SAM inside; CLIP ViT-L/14 beside: ``clip/`` in the folder, or the release that the config names). The sentence is worded
and the answer ``[SEG].`` given as in LISA's own validation; its chat demo generates the answer instead. Text is
tokenised as by the slow Llama tokenizer of that time: the pieces around added tokens are stripped and begin with ``▁``.

Lai et al.: LISA: Reasoning Segmentation via Large Language Model, CVPR 2024.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn
from transformers import CLIPVisionConfig, CLIPVisionModel, DynamicCache, LlamaConfig, LlamaForCausalLM, SamModel

from ..benchmarks.predictor import FrameMask
from ..datasets.types import Expression, Video
from ..videolisa.checkpoints import (
    SAM_DECODER_HEADS,
    CheckpointError,
    VideoLisa,
    clip_folder,
    clip_pixels,
    fill,
    load_own,
    local_folder,
    released_tensors,
    released_values,
    sam_config_from_shapes,
    weights_hash,
)
from ..videolisa.configuration import VideoLisaConfig
from ..videolisa.modeling import VideoLisaModel
from ..videolisa.predictor import VideoLisaPredictor
from ..videolisa.processor import Processor
from ..videolisa.propagation import FeaturePropagator, PostOptimised, Propagator
from ..videolisa.tokenizer import Tokenizer

SYSTEM = (
    "A chat between a curious human and an artificial intelligence assistant. "
    "The assistant gives helpful, detailed, and polite answers to the human's questions. USER:"
)
QUESTIONS = {
    "sentence": "{text} Please output segmentation mask. ASSISTANT:",
    "phrase": "What is {text} in this image? Please output segmentation mask. ASSISTANT:",
}
IMAGE_START, IMAGE_END = "<im_start>", "<im_end>"

#: Fields of the released config that are Llama's.
LLAMA_FIELDS = [
    "hidden_size",
    "intermediate_size",
    "num_hidden_layers",
    "num_attention_heads",
    "num_key_value_heads",
    "hidden_act",
    "max_position_embeddings",
    "rms_norm_eps",
    "rope_theta",
    "bos_token_id",
    "eos_token_id",
    "pad_token_id",
]


class LisaConfig(VideoLisaConfig):
    """Configuration of ``LisaModel``: ``text_config`` is a Llama's.

    Args:
        projector_type: ``linear`` or ``mlp2x_gelu``.
        values: as for ``VideoLisaConfig``.
    """

    model_type = "rvos-lisa"
    sub_configs = {**VideoLisaConfig.sub_configs, "text_config": LlamaConfig}  # noqa: RUF012

    def __init__(self, text_config: Any = None, projector_type: str = "linear", **values: Any) -> None:
        self.projector_type = projector_type
        llama: Any = LlamaConfig(**text_config) if isinstance(text_config, dict) else text_config
        llama = llama or LlamaConfig(vocab_size=32012)
        super().__init__(text_config=llama, **values)


class LisaModel(VideoLisaModel):
    """VideoLISA's parts around a Llama instead of a Phi-3, with LLaVA's projector of one layer or two."""

    config_class = LisaConfig  # type: ignore[assignment]  # a kind of VideoLisaConfig

    def __init__(self, config: VideoLisaConfig) -> None:
        super(VideoLisaModel, self).__init__(config)
        hidden, width = config.text_config.hidden_size, config.vision_config.hidden_size
        self.vision_tower = CLIPVisionModel(config.vision_config)
        projector: Any = _projector(getattr(config, "projector_type", "linear"), width, hidden)
        language_model: Any = LlamaForCausalLM(config.text_config)
        self.projector, self.language_model = projector, language_model
        self.prompt_head = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, config.prompt_dim))
        self.sam = SamModel(config.sam_config)
        self.post_init()


class LisaPredictor(VideoLisaPredictor):
    """LISA with one token a frame.

    Its score shows what an image model understands of a video that it sees frame by frame.
    """

    name = "lisa"

    @classmethod
    def from_pretrained(  # type: ignore[override]  # no choice of attention or batch
        cls, path: str, device: str | None = None, dtype: torch.dtype | None = None
    ) -> Any:
        """Load a released LISA checkpoint.

        Args:
            path: a folder, or ``owner/name`` on the Hugging Face hub.
            device: ``cuda`` where there is one, else ``cpu``, where None.
            dtype: bfloat16 on CUDA, float32 on CPU, where None.

        Raises:
            CheckpointError: where it is no LISA checkpoint or its keys do not fit; lists them.
        """
        where = device or ("cuda" if torch.cuda.is_available() else "cpu")
        precision = dtype or (torch.bfloat16 if where.startswith("cuda") else torch.float32)
        return cls(open_lisa(path, precision, where))

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        model = self.videolisa.model
        return {
            "name": self.name,
            "weights_hash": weights_hash(self.videolisa.source),
            "arguments": {"path": self.videolisa.source},
            "resolved_arguments": {"device": str(model.device)},
            "prompt_template": "LISA's validation: sentence or phrase, by expression; answer [SEG].",
            "sampling_rule": "every frame by itself",
            "dtype": str(model.dtype).removeprefix("torch."),
        }

    @torch.inference_mode()
    def segment_frames(
        self, video: Video, expressions: Sequence[Expression], frames: Sequence[int]
    ) -> Iterator[FrameMask]:
        """Yield (expression id, frame index, bool (H, W)) for chosen frames."""
        for index, padded_from, features in self.sam_features(video, frames):
            prompts = self.prompts(video, index, expressions)
            for expression, mask in zip(
                expressions, self.masks(features, prompts, padded_from, video.size), strict=True
            ):
                yield expression.id, index, mask

    def prompts(self, video: Video, index: int, expressions: Sequence[Expression]) -> torch.Tensor:
        """The vectors that prompt SAM on a frame: (len(expressions), prompt_dim)."""
        return self.prompt_vectors(video.frame(index), expressions)

    @torch.inference_mode()
    def prompt_vectors(self, frame: NDArray[np.uint8], expressions: Sequence[Expression]) -> torch.Tensor:
        """What LISA says about each sentence when it sees this image: (len(expressions), prompt_dim).

        Text before the image and the image itself go through the language model once for all sentences.
        """
        model, processor = self.videolisa.model, self.videolisa.processor
        tokens = model.encode_frames(processor.clip_pixels(frame)[None].to(model.device))[0]
        tokenizer = processor.tokenizer
        before = self._embedded([*tokenizer.encode(SYSTEM), tokenizer.token_id(IMAGE_START)])
        after = self._embedded([tokenizer.token_id(IMAGE_END)])
        cache = DynamicCache()
        prefix = torch.cat([before, tokens.to(before.dtype), after])
        self._run(prefix, cache)
        vectors = []
        for expression in expressions:
            # The row before [SEG] is the last of the question: what follows has no effect on it.
            hidden = self._run(self._embedded(tokenizer.encode(question(expression), bos=False)), cache)
            vectors.append(model.prompt_vector(hidden[-1]))
            cache.crop(len(prefix) - cache.get_seq_length())
        return torch.stack(vectors)

    def _embedded(self, ids: Sequence[int]) -> torch.Tensor:
        model = self.videolisa.model
        return model.language_model.model.embed_tokens(torch.tensor(ids, device=model.device))

    def _run(self, rows: torch.Tensor, cache: DynamicCache) -> torch.Tensor:
        language_model = self.videolisa.model.language_model.model
        return language_model(inputs_embeds=rows[None], past_key_values=cache, use_cache=True).last_hidden_state[0]

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        """Yield (expression id, frame index, bool (H, W)), all sentences of a frame together."""
        return self.segment_frames(video, expressions, range(len(video)))


class LisaFirstFrame(LisaPredictor):
    """LISA whose token of the first frame segments all frames.

    Its score shows how far one image's token carries: it drifts once the target moves or a look-alike appears.
    """

    name = "lisa-first-frame"

    def describe(self) -> dict[str, Any]:
        return {**super().describe(), "sampling_rule": "the first frame, for all"}

    def segment_frames(
        self, video: Video, expressions: Sequence[Expression], frames: Sequence[int]
    ) -> Iterator[FrameMask]:
        prompts = self.prompt_vectors(video.frame(0), expressions)
        return self._with_prompts(video, expressions, frames, prompts)

    @torch.inference_mode()
    def _with_prompts(
        self, video: Video, expressions: Sequence[Expression], frames: Sequence[int], prompts: torch.Tensor
    ) -> Iterator[FrameMask]:
        for index, padded_from, features in self.sam_features(video, frames):
            for number, mask in enumerate(self.masks(features, prompts, padded_from, video.size)):
                yield expressions[number].id, index, mask


class LisaPropagation(PostOptimised):
    """LISA's masks on the first frame, carried on by matching SAM features.

    Its score shows what a tracker adds to an image model, and that it cannot mend a wrong first choice.
    """

    def __init__(self, lisa: LisaPredictor, propagator: Propagator | None = None) -> None:
        """
        Args:
            lisa: gives the first frame's masks.
            propagator: carries them on; by LISA's own SAM features where None.
        """
        super().__init__(lisa, propagator or FeaturePropagator.of(lisa), reference_frames=lambda total: [0])
        self.lisa = lisa

    @classmethod
    def from_pretrained(cls, path: str, device: str | None = None, dtype: torch.dtype | None = None) -> LisaPropagation:
        """See ``LisaPredictor.from_pretrained``."""
        return cls(LisaPredictor.from_pretrained(path, device, dtype))

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        rule = "the first frame, propagated by SAM features"
        return {**self.lisa.describe(), "name": "lisa-propagation", "sampling_rule": rule}


def question(expression: Expression) -> str:
    """The sentence as LISA's validation words it, up to where the answer begins."""
    is_sentence = expression.kind == "reasoning" and expression.is_sentence is not False
    return QUESTIONS["sentence" if is_sentence else "phrase"].format(text=expression.text.strip())


# Checkpoints ----------------------------------------------------------------------------------------------------------


def open_lisa(path: str | Path, dtype: torch.dtype | None = None, device: str = "cpu") -> VideoLisa:
    """A released LISA checkpoint, or one in our format. Raises CheckpointError, which lists what does not fit."""
    folder = local_folder(path)
    values = released_values(folder)
    if values.get("model_type") == LisaConfig.model_type:
        own, own_processor = load_own(LisaModel, folder, dtype, "sdpa")
        return VideoLisa(own.to(torch.device(device)).eval(), own_processor, str(folder))
    if "mm_vision_select_layer" not in values or "hidden_size" not in values:
        raise CheckpointError(f"{folder} is no LISA checkpoint: its config.json has no mm_vision_select_layer.")
    if "train_mask_decoder" in values and "Phi3" in str(values.get("architectures")):
        raise CheckpointError(f"{folder} is a VideoLISA checkpoint; load it as videolisa:{path}.")
    clip = clip_folder(folder)
    tensors = released_tensors(folder, clip)
    tokenizer = Tokenizer(folder)
    for token in ("[SEG]", IMAGE_START, IMAGE_END):
        if token not in tokenizer.added:
            raise CheckpointError(f"{folder}: the tokenizer has no {token}, which LISA adds; is this a plain LLaVA?")
    config = lisa_config(values, clip, tensors.shapes, tokenizer.seg_id)
    with torch.device("meta"):
        model: Any = LisaModel(config)
    fill(model, tensors, str(folder), dtype)
    processor = Processor.for_config(tokenizer, config, **clip_pixels(clip))
    return VideoLisa(model.to(torch.device(device)).eval(), processor, str(folder))


def lisa_config(
    values: Mapping[str, Any], clip: Path, shapes: Mapping[str, tuple[int, ...]], seg_token_id: int
) -> LisaConfig:
    """The sizes of a released LISA: Llama from its config, CLIP from its release, SAM and vocabulary from its shapes.

    Raises:
        CheckpointError: where the weights hold no language model.
    """
    embedding = shapes.get("language_model.model.embed_tokens.weight")
    if embedding is None:
        raise CheckpointError("The checkpoint has no model.embed_tokens.weight; expected LISA's whole model, merged.")
    llama: Any = LlamaConfig(**{k: values[k] for k in LLAMA_FIELDS if k in values}, vocab_size=embedding[0])
    return LisaConfig(
        text_config=llama,
        vision_config=CLIPVisionConfig.from_pretrained(clip),
        sam_config=sam_config_from_shapes(shapes, SAM_DECODER_HEADS),
        seg_token_id=seg_token_id,
        clip_layer=values["mm_vision_select_layer"],
        projector_type="linear" if "projector.weight" in shapes else "mlp2x_gelu",
    )


def _projector(kind: str, width: int, hidden: int) -> nn.Module:
    layers: Mapping[str, Callable[[], nn.Module]] = {
        "linear": lambda: nn.Linear(width, hidden),
        "mlp2x_gelu": lambda: nn.Sequential(nn.Linear(width, hidden), nn.GELU(), nn.Linear(hidden, hidden)),
    }
    return layers[kind]()

"""What training adds to the model: samples, collation, which parameters learn, LoRA (paper, section 4.4).

The released recipe trains LoRA on the fused query-key-value projections, both embedding tables, the prompt head and
SAM's mask decoder; CLIP, projector, SAM's encoders and the rest of the language model stay frozen.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from ..datasets.errors import MissingExtraError, UsageError
from . import prompts
from .losses import IGNORE_INDEX
from .modeling import TrainingBatch, VideoLisaModel
from .processor import Processor

#: LoRA of the released recipe.
LORA_RANK = 8
LORA_ALPHA = 16
LORA_DROPOUT = 0.05
LORA_TARGET = "qkv_proj"

#: Parts that the released recipe trains in full.
TRAINED_PARTS = ("language_model.model.embed_tokens", "language_model.lm_head", "prompt_head", "sam.mask_decoder")


@dataclass(frozen=True)
class TrainingSample:
    """One video, or an image as a pseudo video (repeated S and K times), and what is said about it.

    Attributes:
        clip_frames: the S sampled frames, uint8 (H, W, 3) RGB.
        dense_positions: D positions among them.
        sam_frames: the K supervised frames in temporal order.
        conversations: whole conversations (see ``prompts.conversation``), questions and answers.
        masks: (conversations with ``[SEG]`` x K, H, W), 0 or 1, conversation by conversation.
    """

    clip_frames: Sequence[NDArray[np.uint8]]
    dense_positions: Sequence[int]
    sam_frames: Sequence[NDArray[np.uint8]]
    conversations: Sequence[str]
    masks: NDArray[np.uint8]


def draw_conversation(text: str, is_sentence: bool, rng: np.random.Generator) -> str:
    """A training conversation about an expression; question and answer are drawn uniformly from the released ones.

    Args:
        text: the expression; lower-cased here, with runs of whitespace as one space, as for video data.
        is_sentence: True for reasoning sentences, False for phrases.
    """
    questions = prompts.TRAINING_SENTENCE_QUESTIONS if is_sentence else prompts.TRAINING_PHRASE_QUESTIONS
    clean = " ".join(text.lower().split())
    question = questions[int(rng.integers(len(questions)))].format(clean)
    return prompts.conversation(question, prompts.TRAINING_ANSWERS[int(rng.integers(len(prompts.TRAINING_ANSWERS)))])


def collate(samples: Sequence[TrainingSample], processor: Processor) -> TrainingBatch:
    """Samples of equal S, D and K as one batch, padded at the right."""
    ids = [processor.input_ids(text) for sample in samples for text in sample.conversations]
    pad = processor.tokenizer.pad_id
    padded = nn.utils.rnn.pad_sequence(ids, batch_first=True, padding_value=pad)
    labels = [answer_labels(i, processor.tokenizer.token_id("<|assistant|>")) for i in ids]
    owners = [n for n, sample in enumerate(samples) for _ in sample.conversations]
    return TrainingBatch(
        input_ids=padded,
        attention_mask=padded != pad,
        labels=nn.utils.rnn.pad_sequence(labels, batch_first=True, padding_value=IGNORE_INDEX),
        video_index=torch.tensor(owners),
        clip_pixels=torch.stack([_stack(processor.clip_pixels, s.clip_frames) for s in samples]),
        dense_positions=torch.tensor([list(s.dense_positions) for s in samples]),
        sam_pixels=torch.stack([_stack(processor.sam_pixels, s.sam_frames) for s in samples]),
        sam_sizes=[processor.sam_size(*s.sam_frames[-1].shape[:2]) for s in samples],
        masks=[torch.from_numpy(s.masks) for s in samples],
    )


def answer_labels(input_ids: torch.Tensor, assistant_id: int) -> torch.Tensor:
    """Labels that count the answer and the closing tag only: ``IGNORE_INDEX`` up to and including the assistant tag.

    Raises:
        UsageError: where the conversation has no assistant tag.
    """
    places = torch.nonzero(input_ids == assistant_id).flatten()
    if not len(places):
        raise UsageError("A training conversation needs an answer behind <|assistant|>, found none.")
    labels = input_ids.clone()
    labels[: int(places[-1]) + 1] = IGNORE_INDEX
    return labels


def freeze_but_trained(model: VideoLisaModel) -> None:
    """Let only the parts that the recipe trains in full take gradients; LoRA is added by ``add_lora``."""
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(TRAINED_PARTS) or "lora_" in name)


def add_lora(
    model: VideoLisaModel, rank: int = LORA_RANK, alpha: int = LORA_ALPHA, dropout: float = LORA_DROPOUT
) -> None:
    """Put LoRA adapters on every layer's fused ``qkv_proj``, in place; call ``freeze_but_trained`` afterwards.

    Raises:
        MissingExtraError: where peft is not installed.
    """
    try:
        from peft import LoraConfig, inject_adapter_in_model
    except ImportError as error:
        raise MissingExtraError("LoRA training", "train") from error
    config = LoraConfig(r=rank, lora_alpha=alpha, lora_dropout=dropout, target_modules=[LORA_TARGET], bias="none")
    inject_adapter_in_model(config, model.language_model)


def merge_lora(model: VideoLisaModel) -> None:
    """Add every adapter to its weight, W + (alpha / r) B A, and take the adapters out, in place."""
    for layer in model.language_model.model.layers:
        adapted: Any = layer.self_attn.qkv_proj
        if hasattr(adapted, "merge"):
            adapted.merge()
            layer.self_attn.qkv_proj = adapted.get_base_layer()


def _stack(prepare: Any, frames: Sequence[NDArray[np.uint8]]) -> torch.Tensor:
    return torch.stack([prepare(frame) for frame in frames])

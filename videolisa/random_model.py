"""Models with random weights at any size: for tests, speed measurements and dry runs without a download."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import CLIPVisionConfig, Phi3Config

from ..datasets.errors import MissingExtraError
from .checkpoints import VideoLisa, empty_model
from .configuration import VideoLisaConfig, sam_config
from .processor import Processor
from .prompts import QUESTIONS, SYSTEM, TRAINING_PHRASE_QUESTIONS, TRAINING_SENTENCE_QUESTIONS
from .tokenizer import CONFIG_FILE, MODEL_FILE, Tokenizer

#: Phi-3's added tokens in their order, and the one that VideoLISA adds. All but the first and last swallow the
#: whitespace after them.
ADDED_TOKENS = (
    "<|endoftext|>",
    "<|assistant|>",
    "<|placeholder1|>",
    "<|placeholder2|>",
    "<|placeholder3|>",
    "<|placeholder4|>",
    "<|system|>",
    "<|end|>",
    "<|placeholder5|>",
    "<|placeholder6|>",
    "<|user|>",
    "[SEG]",
)
KEEPS_WHITESPACE = ("<|endoftext|>", "[SEG]")


def tiny_config(tokenizer: Tokenizer) -> VideoLisaConfig:
    """A VideoLISA of 0.1 M parameters with every part in it: 56-pixel CLIP, 64-pixel SAM, an active sliding window."""
    return VideoLisaConfig(
        text_config=Phi3Config(
            vocab_size=len(tokenizer),
            hidden_size=48,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=4,
            sliding_window=40,
            pad_token_id=tokenizer.pad_id,
            eos_token_id=tokenizer.eos_id,
        ),
        vision_config=CLIPVisionConfig(
            hidden_size=32,
            intermediate_size=48,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=56,
            patch_size=14,
        ),
        sam_config=sam_config(
            width=32,
            layers=2,
            heads=2,
            global_layers=(1,),
            image_size=64,
            window_size=3,
            prompt_dim=32,
            decoder_heads=4,
            decoder_mlp_dim=48,
            iou_head_dim=32,
        ),
        seg_token_id=tokenizer.seg_id,
        sparse_frames=8,
        dense_frames=2,
    )


def tiny_videolisa(folder: str | Path, seed: int = 0) -> VideoLisa:
    """A tiny random model; its tokenizer is trained on the question templates and its files go to ``folder``."""
    tokenizer = train_tokenizer(folder)
    return random_videolisa(tiny_config(tokenizer), tokenizer, seed)


def random_videolisa(
    config: VideoLisaConfig,
    tokenizer: Tokenizer,
    seed: int = 0,
    dtype: torch.dtype = torch.float32,
    device: str | torch.device = "cpu",
) -> VideoLisa:
    """A model of any size with seeded random weights, made directly on its device and in its dtype.

    Weights are scaled by their fan-in, norms are near one, so that every part's input shows in its output.
    """
    model: Any = empty_model(config)
    model = model.to(dtype).to_empty(device=device)
    generator = torch.Generator(device=device).manual_seed(seed)
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            fan_in = parameter[0].numel() if parameter.ndim > 1 and "embed" not in name else 100
            parameter.normal_(0, fan_in**-0.5, generator=generator)
            if parameter.ndim == 1 and "norm" in name and name.endswith("weight"):
                parameter.add_(1)
    model.sam.prompt_encoder.shared_embedding = model.sam.shared_image_embedding
    model.restore_buffers()
    return VideoLisa(model.eval(), Processor.for_config(tokenizer, config), f"random (seed {seed})")


def train_tokenizer(
    folder: str | Path,
    texts: Iterable[str] = (),
    vocab_size: int = 400,
    more_tokens: Sequence[str] = (),
    words: Sequence[str] = (),
) -> Tokenizer:
    """A small SentencePiece tokenizer with Phi-3's added tokens, trained on the question templates and ``texts``.

    Args:
        folder: its files go there.
        texts: to train on.
        vocab_size: at most so many pieces.
        more_tokens: further added tokens, behind ``[SEG]``.
        words: where given, pieces may be whole phrases, but each of these words stays a piece of its own.

    Raises:
        MissingExtraError: where sentencepiece is not installed.
    """
    try:
        from sentencepiece import SentencePieceTrainer
    except ImportError as error:
        raise MissingExtraError("The VideoLISA tokenizer", "models") from error
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    templates = [*QUESTIONS.values(), *TRAINING_PHRASE_QUESTIONS, *TRAINING_SENTENCE_QUESTIONS, SYSTEM]
    phrases: dict[str, Any] = {}
    if words:
        phrases = {
            "split_by_whitespace": False,
            "user_defined_symbols": [f"\u2581{word}" for word in words],
            "max_sentencepiece_length": 48,
            "add_dummy_prefix": False,
            "character_coverage": 1.0,
        }
    with (folder / MODEL_FILE).open("wb") as file:
        SentencePieceTrainer.train(
            sentence_iterator=iter([*templates, *texts]),
            model_writer=file,
            model_type="bpe",
            vocab_size=vocab_size,
            byte_fallback=True,
            normalization_rule_name="identity",
            remove_extra_whitespaces=False,
            hard_vocab_limit=False,
            minloglevel=2,
            **phrases,
        )
    (folder / CONFIG_FILE).unlink(missing_ok=True)  # an earlier tokenizer's added tokens are none of this one's
    _write_flags(folder, (*ADDED_TOKENS, *more_tokens))
    return Tokenizer(folder)


def _write_flags(folder: Path, tokens: Sequence[str]) -> None:
    base = len(Tokenizer(folder))
    added = {
        str(base + i): {"content": text, "lstrip": False, "rstrip": text not in KEEPS_WHITESPACE}
        for i, text in enumerate(tokens)
    }
    config = {
        "added_tokens_decoder": added,
        "bos_token": "<s>",
        "eos_token": "<|endoftext|>",
        "unk_token": "<unk>",
        "pad_token": "<unk>",
    }
    (folder / CONFIG_FILE).write_text(json.dumps(config, indent=1) + "\n", encoding="utf-8")

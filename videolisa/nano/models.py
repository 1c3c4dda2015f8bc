"""The sizes of videolisa-nano and lisa-nano, and how they begin: every weight drawn from a seed."""

from __future__ import annotations

from collections.abc import Iterable
from copy import deepcopy
from pathlib import Path

import torch
from transformers import CLIPVisionConfig, Phi3Config

from ...datasets.reasonshapes.scene import COLOURS, RADII
from ...datasets.reasonshapes.shapes import SILHOUETTES
from ..checkpoints import VideoLisa
from ..configuration import VideoLisaConfig, sam_config
from ..modeling import VideoLisaModel
from ..processor import Processor
from ..random_model import train_tokenizer
from ..tokenizer import Tokenizer

#: ReasonShapes frames are 96 x 128: SAM sees them as they are, CLIP stretched to a square.
SAM_SIZE, SAM_PATCH = 128, 8
CLIP_SIZE, CLIP_PATCH = 96, 16
#: Recurring phrases of ReasonShapes' grammar become single tokens; what a test words anew is spelt out.
VOCABULARY = 1500
#: Words that combine freely, and longer ones that begin like them.
WORDS = (
    *COLOURS,
    *SILHOUETTES,
    *RADII,
    *("object", "first", "last", "left", "right", "top", "bottom", "above", "below", "behind", "front"),
    *("start", "starts", "crosses", "cupboard"),
)
#: LISA puts its image between these.
MORE_TOKENS = ("<im_start>", "<im_end>")


def nano_config(tokenizer: Tokenizer) -> VideoLisaConfig:
    """Every part of VideoLISA in less than three million parameters; S = 32 and D = 8 of ReasonShapes' 16 frames."""
    return VideoLisaConfig(
        text_config=nano_text(tokenizer),
        vision_config=CLIPVisionConfig(
            hidden_size=128,
            intermediate_size=256,
            num_hidden_layers=3,
            num_attention_heads=4,
            image_size=CLIP_SIZE,
            patch_size=CLIP_PATCH,
        ),
        sam_config=sam_config(
            width=128,
            layers=4,
            heads=4,
            global_layers=(1, 3),
            mlp_dim=256,
            image_size=SAM_SIZE,
            patch_size=SAM_PATCH,
            window_size=8,
            prompt_dim=64,
            decoder_heads=4,
            decoder_layers=2,
            decoder_mlp_dim=64,
            iou_head_dim=32,
        ),
        seg_token_id=tokenizer.seg_id,
        clip_layer=-1,
        sparse_frames=32,
        dense_frames=8,
    )


def nano_text(tokenizer: Tokenizer) -> Phi3Config:
    """The language model: Phi-3 of six layers, 128 wide."""
    return Phi3Config(
        vocab_size=len(tokenizer),
        hidden_size=128,
        intermediate_size=256,
        num_hidden_layers=6,
        num_attention_heads=4,
        num_key_value_heads=4,
        sliding_window=None,
        initializer_range=0.06,  # the default, 0.02, is for models twenty times as wide
        pad_token_id=tokenizer.pad_id,
        bos_token_id=tokenizer.bos_id,
        eos_token_id=tokenizer.eos_id,
    )


def new_videolisa(tokenizer: Tokenizer, seed: int) -> VideoLisa:
    """An untrained videolisa-nano; equal seeds give equal weights."""
    config = nano_config(tokenizer)
    model = new_seeded(VideoLisaModel, config, seed)
    return VideoLisa(model, nano_processor(tokenizer, config), f"nano (seed {seed})")


def new_language(base: VideoLisa, seed: int) -> VideoLisa:
    """An untrained model of a base's sizes and temporal strategy, with its CLIP, SAM and tokenizer."""
    new = VideoLisa(new_seeded(VideoLisaModel, deepcopy(base.model.config), seed), base.processor, base.source)
    copy_image_branches(base, new)
    return new


def copy_image_branches(source: VideoLisa, target: VideoLisa) -> None:
    """Give a model the CLIP and the SAM of another."""
    for part in ("vision_tower", "sam"):
        getattr(target.model, part).load_state_dict(getattr(source.model, part).state_dict())


def new_seeded(kind: type[VideoLisaModel], config: VideoLisaConfig, seed: int) -> VideoLisaModel:
    """A model of this class, untrained; torch's own random state is left as it is."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return kind(config)


def nano_processor(tokenizer: Tokenizer, config: VideoLisaConfig) -> Processor:
    """Text and pixels for a nano model: CLIP's frames are stretched, because objects at the sides matter."""
    return Processor.for_config(tokenizer, config, clip_fit="stretch")


def nano_tokenizer(folder: str | Path, texts: Iterable[str]) -> Tokenizer:
    """A tokenizer trained on train's sentences, for both nano models; its files go to ``folder``.

    Phrases that recur become one piece, which makes questions a third as long; words that combine freely stay apart.
    """
    return train_tokenizer(folder, texts, VOCABULARY, MORE_TOKENS, WORDS)

"""The sizes of every part of VideoLISA; the defaults are the released 3.8B model's."""

from __future__ import annotations

from typing import Any

from transformers import CLIPVisionConfig, Phi3Config, PreTrainedConfig, SamConfig
from transformers.models.sam import SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig

from ..datasets.errors import UnknownNameError, UsageError
from .sampling import STRATEGIES

#: LayerNorm epsilon of SAM's two-way transformer; transformers' own default for it (1e-6) is not SAM's.
SAM_DECODER_LAYER_NORM_EPS = 1e-5


class VideoLisaConfig(PreTrainedConfig):
    """Configuration of ``VideoLisaModel``.

    ``text_config.sliding_window`` is the number of keys a row sees, itself included: the released value plus one,
    because the released code lets a row see ``w`` rows before its own (2047 there is 2048 here).

    Args:
        text_config: Phi-3 language model.
        vision_config: CLIP image encoder, the visual tokenizer.
        sam_config: SAM image encoder, prompt encoder and mask decoder.
        seg_token_id: id of ``[SEG]``, the paper's ``<TRK>``.
        clip_layer: index into CLIP's hidden states (embeddings first) of the features that are projected.
        sparse_frames: S, frames of a video that the language model sees.
        dense_frames: D, frames among them that keep all their tokens.
        temporal_strategy: how frames become rows of the language model's input, see ``sampling.sample_frames``.

    Raises:
        UsageError: where parts do not fit together.
        UnknownNameError: for an unknown temporal strategy.
    """

    model_type = "videolisa"
    sub_configs = {"text_config": Phi3Config, "vision_config": CLIPVisionConfig, "sam_config": SamConfig}  # noqa: RUF012

    def __init__(
        self,
        text_config: Phi3Config | dict[str, Any] | None = None,
        vision_config: CLIPVisionConfig | dict[str, Any] | None = None,
        sam_config: SamConfig | dict[str, Any] | None = None,
        seg_token_id: int = 32011,
        clip_layer: int = -2,
        sparse_frames: int = 32,
        dense_frames: int = 4,
        temporal_strategy: str = "sparse-dense",
        **kwargs: Any,
    ) -> None:
        self.text_config = _as(Phi3Config, text_config, released_phi3)
        self.vision_config = _as(CLIPVisionConfig, vision_config, released_clip)
        self.sam_config = _as(SamConfig, sam_config, released_sam)
        self.seg_token_id = seg_token_id
        self.clip_layer = clip_layer
        self.sparse_frames = sparse_frames
        self.dense_frames = dense_frames
        self.temporal_strategy = temporal_strategy
        kwargs.setdefault("tie_word_embeddings", False)
        super().__init__(**kwargs)
        self._check()

    @property
    def tokens_per_frame(self) -> int:
        """N, tokens of one frame: patches of the CLIP image without CLS (576 at 336/14)."""
        return (self.vision_config.image_size // self.vision_config.patch_size) ** 2

    @property
    def prompt_dim(self) -> int:
        """Width of the vector that prompts the mask decoder (256)."""
        return self.sam_config.prompt_encoder_config.hidden_size

    def _check(self) -> None:
        if self.temporal_strategy not in STRATEGIES:
            raise UnknownNameError("temporal strategy", self.temporal_strategy, STRATEGIES)
        if self.seg_token_id >= self.text_config.vocab_size:
            raise UsageError(
                f"[SEG] is token {self.seg_token_id} but the vocabulary has {self.text_config.vocab_size} rows; "
                "resize the embeddings or correct seg_token_id."
            )
        rope = self.text_config.rope_parameters["rope_type"]
        if rope != "default":
            raise UsageError(f"Phi-3's rotary embedding must be the default one, found '{rope}' (longer contexts).")
        decoder = self.sam_config.mask_decoder_config
        if decoder.hidden_size != self.prompt_dim:
            raise UsageError(
                f"SAM's prompts are {self.prompt_dim} wide and its decoder {decoder.hidden_size}; they must be equal."
            )


def released_phi3() -> Phi3Config:
    """Phi-3-mini-4k with the vocabulary cut to tokenizer + ``[SEG]``, as the released checkpoint holds it."""
    return Phi3Config(vocab_size=32012, num_key_value_heads=32, sliding_window=2048, pad_token_id=0)


def released_clip() -> CLIPVisionConfig:
    """CLIP ViT-L/14 at 336 pixels."""
    return CLIPVisionConfig(
        hidden_size=1024,
        intermediate_size=4096,
        projection_dim=768,
        num_hidden_layers=24,
        num_attention_heads=16,
        image_size=336,
        patch_size=14,
    )


def released_sam() -> SamConfig:
    """SAM ViT-H at 1024 pixels."""
    return sam_config(width=1280, layers=32, heads=16, global_layers=(7, 15, 23, 31))


def sam_config(
    *,
    width: int,
    layers: int,
    heads: int,
    global_layers: tuple[int, ...],
    mlp_dim: int | None = None,
    image_size: int = 1024,
    patch_size: int = 16,
    window_size: int = 14,
    prompt_dim: int = 256,
    mask_channels: int = 16,
    decoder_layers: int = 2,
    decoder_heads: int = 8,
    decoder_mlp_dim: int = 2048,
    iou_head_dim: int = 256,
) -> SamConfig:
    """A SAM of any size, with the epsilons and the position encoding that SAM has and transformers does not default to.

    Args:
        width: channels of the image encoder, ``layers`` deep with ``heads`` heads.
        global_layers: indices of the layers without windowed attention.
        prompt_dim: channels of image embedding, prompts and mask decoder.
    """
    return SamConfig(
        vision_config=SamVisionConfig(
            hidden_size=width,
            num_hidden_layers=layers,
            num_attention_heads=heads,
            mlp_dim=4 * width if mlp_dim is None else mlp_dim,
            image_size=image_size,
            patch_size=patch_size,
            window_size=window_size,
            global_attn_indexes=list(global_layers),
            output_channels=prompt_dim,
            num_pos_feats=prompt_dim // 2,
            initializer_range=0.02,
        ),
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=prompt_dim, image_size=image_size, patch_size=patch_size, mask_input_channels=mask_channels
        ),
        mask_decoder_config=SamMaskDecoderConfig(
            hidden_size=prompt_dim,
            mlp_dim=decoder_mlp_dim,
            num_hidden_layers=decoder_layers,
            num_attention_heads=decoder_heads,
            iou_head_hidden_dim=iou_head_dim,
            layer_norm_eps=SAM_DECODER_LAYER_NORM_EPS,
        ),
    )


def _as(kind: type[Any], value: Any, released: Any) -> Any:
    if value is None:
        return released()
    return kind(**value) if isinstance(value, dict) else value

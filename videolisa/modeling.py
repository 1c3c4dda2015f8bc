"""VideoLISA: one token segments all frames.

Sampled frames go through CLIP and a projector into Phi-3, together with the question and an answer that contains
``[SEG]`` (the paper's ``<TRK>``). The language model's last hidden state in the row *before* ``[SEG]`` becomes, through
a small head, one vector; SAM's mask decoder, prompted with it, gives the mask of every frame (One-Token-Seg-All).

    frames ─ encode_frames ─ visual_rows ─┐
    text ── embed_sequence ───────────────┴─ language model ─ prompt_vector ─┐
    every frame ─ sam_features ──────────────────────────────────────────────┴─ decode_masks ─ upsample_masks

Built from transformers' CLIP, Phi-3 and SAM. Sizes always come from the config.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch
import torch.nn.functional as F
from torch import nn
from transformers import CLIPVisionModel, Phi3ForCausalLM, PreTrainedModel, SamModel
from transformers.utils import ModelOutput

from ..datasets.errors import UsageError
from .configuration import VideoLisaConfig
from .losses import BCE_WEIGHT, CE_WEIGHT, DICE_WEIGHT, IGNORE_INDEX, mask_losses, text_loss
from .pooling import visual_rows

#: Stands in the token ids where the video's rows go.
IMAGE_TOKEN = -200


@dataclass
class TrainingBatch:
    """Inputs of ``VideoLisaModel.forward``: B videos and the N conversations about them.

    Attributes:
        input_ids: int64 (N, L), one ``IMAGE_TOKEN`` each, padded at the right.
        attention_mask: bool (N, L), False on padding.
        labels: int64 (N, L), ``IGNORE_INDEX`` where a token does not count.
        video_index: int64 (N,), the video that each conversation is about, ascending.
        clip_pixels: float (B, S, 3, h, w), normalised frames for CLIP.
        dense_positions: int64 (B, D), positions among the S frames, in any order.
        sam_pixels: float (B, K, 3, size, size), the K supervised frames in temporal order (K = D for
            One-Token-Seg-All, 1 for One-Token-Seg-One).
        sam_sizes: per video (height, width) of the SAM image before padding.
        masks: per video (conversations with ``[SEG]`` x K, H, W), conversation by conversation, values 0 or 1.
    """

    input_ids: torch.Tensor
    attention_mask: torch.Tensor
    labels: torch.Tensor
    video_index: torch.Tensor
    clip_pixels: torch.Tensor
    dense_positions: torch.Tensor
    sam_pixels: torch.Tensor
    sam_sizes: Sequence[tuple[int, int]]
    masks: Sequence[torch.Tensor] = field(default_factory=list)


@dataclass
class VideoLisaOutput(ModelOutput):
    """What a training step computes; losses are float32 scalars with their weights applied.

    Attributes:
        loss: ce_loss + mask_bce_loss + mask_dice_loss.
        mask_logits: per video that has masks, float32 (masks, H, W) at label size.
        low_res_logits: per video that has masks, (masks, h, w) as the mask decoder gives them.
        prompt_vectors: (conversations with [SEG], prompt_dim).
        prompt_rows: int64 (conversations with [SEG],), the row of the expanded sequence each was read from.
        last_hidden_state: (N, rows, hidden).
        labels: int64 (N, rows), the labels with the video's rows in place.
        attention_mask: bool (N, rows).
    """

    loss: torch.Tensor | None = None
    ce_loss: torch.Tensor | None = None
    mask_bce_loss: torch.Tensor | None = None
    mask_dice_loss: torch.Tensor | None = None
    mask_loss: torch.Tensor | None = None
    mask_logits: list[torch.Tensor] | None = None
    low_res_logits: list[torch.Tensor] | None = None
    prompt_vectors: torch.Tensor | None = None
    prompt_rows: torch.Tensor | None = None
    last_hidden_state: torch.Tensor | None = None
    labels: torch.Tensor | None = None
    attention_mask: torch.Tensor | None = None


class VideoLisaModel(PreTrainedModel):
    """CLIP, projector, Phi-3, prompt head and SAM under one roof."""

    config_class = VideoLisaConfig
    config: VideoLisaConfig
    base_model_prefix = ""
    supports_gradient_checkpointing = True
    _supports_sdpa = True
    _supports_flash_attn = True
    _no_split_modules = ["Phi3DecoderLayer", "CLIPEncoderLayer", "SamVisionLayer"]  # noqa: RUF012

    def __init__(self, config: VideoLisaConfig) -> None:
        super().__init__(config)
        hidden = config.text_config.hidden_size
        self.vision_tower = CLIPVisionModel(config.vision_config)
        self.projector = nn.Sequential(
            nn.Linear(config.vision_config.hidden_size, hidden), nn.GELU(), nn.Linear(hidden, hidden)
        )
        self.language_model = Phi3ForCausalLM(config.text_config)
        self.prompt_head = nn.Sequential(nn.Linear(hidden, hidden), nn.ReLU(), nn.Linear(hidden, config.prompt_dim))
        self.sam = SamModel(config.sam_config)
        self.sam.shared_image_embedding.positional_embedding.requires_grad_(False)  # a constant, in SAM a buffer
        self.post_init()

    # What the language model sees --------------------------------------------------------------------------------

    def clip_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """CLIP features that enter the projector.

        Layers above the selected hidden state, and the final LayerNorm, are not run.

        Args:
            pixels: float (F, 3, h, w), normalised.

        Returns:
            (F, N, CLIP width), the patches of hidden state ``config.clip_layer`` without CLS.
        """
        return self.clip_hidden_states(pixels)[-1][:, 1:]

    def clip_hidden_states(self, pixels: torch.Tensor) -> list[torch.Tensor]:
        """CLIP's hidden states, embeddings first, up to the selected one: each (F, 1 + N, CLIP width)."""
        tower = self.vision_tower
        states = [tower.pre_layrnorm(tower.embeddings(pixels.to(self.dtype)))]
        count = self.config.clip_layer % (len(tower.encoder.layers) + 1)
        for layer in tower.encoder.layers[:count]:
            states.append(layer(states[-1], attention_mask=None))
        return states

    def encode_frames(self, pixels: torch.Tensor) -> torch.Tensor:
        """The visual tokenizer: frames (F, 3, h, w), normalised, to projected tokens (F, N, hidden)."""
        with torch.no_grad():
            features = self.clip_features(pixels)
        return self.projector(features)

    def visual_rows(self, tokens: torch.Tensor, dense_positions: Sequence[int]) -> torch.Tensor:
        """Projected tokens (S, N, hidden) of a video to its rows (V, hidden); see ``pooling.visual_rows``."""
        return visual_rows(tokens, dense_positions, self.config.temporal_strategy)

    def embed_sequence(self, input_ids: torch.Tensor, rows: torch.Tensor) -> torch.Tensor:
        """Token embeddings with the video's rows in place of the placeholder.

        Args:
            input_ids: int64 (L,) with one ``IMAGE_TOKEN``.
            rows: (V, hidden).

        Returns:
            (L - 1 + V, hidden).

        Raises:
            UsageError: unless the ids hold exactly one placeholder.
        """
        place = _placeholder(input_ids)
        embed = self.language_model.model.embed_tokens
        return torch.cat([embed(input_ids[:place]), rows.to(self.dtype), embed(input_ids[place + 1 :])])

    # The token ----------------------------------------------------------------------------------------------------

    def prompt_positions(self, input_ids: torch.Tensor, n_rows: int) -> torch.Tensor:
        """The rows that prompt SAM: for ``[SEG]`` at text position p, row p + V - 2, the one before it.

        Args:
            input_ids: int64 (L,) with one ``IMAGE_TOKEN`` before every ``[SEG]``.
            n_rows: V.

        Returns:
            int64 (number of ``[SEG]``,).
        """
        return torch.nonzero(input_ids == self.config.seg_token_id).flatten() + n_rows - 2

    def prompt_vector(self, hidden: torch.Tensor) -> torch.Tensor:
        """Hidden states after the last RMSNorm (…, hidden) to the vectors that prompt SAM (…, prompt_dim)."""
        return self.prompt_head(hidden)

    # The masks ----------------------------------------------------------------------------------------------------

    @torch.no_grad()
    def sam_features(self, pixels: torch.Tensor) -> torch.Tensor:
        """Frames (B, 3, size, size), normalised and padded, to SAM's image embeddings (B, C, g, g)."""
        return self.sam.vision_encoder(pixels.to(self.dtype)).last_hidden_state

    def decode_masks(self, features: torch.Tensor, prompts: torch.Tensor) -> torch.Tensor:
        """Mask logits of every prompt on every frame: one token segments all.

        The prompt is SAM's only sparse prompt, the dense one is its no-mask embedding; mask token 0 is taken and its
        quality score ignored.

        Args:
            features: (B, C, g, g), see ``sam_features``.
            prompts: (N, C), see ``prompt_vector``.

        Returns:
            (B, N, 4g, 4g), low resolution, in the model's dtype.
        """
        batch, count = len(features), len(prompts)
        no_mask = self.sam.prompt_encoder.no_mask_embed.weight.reshape(1, -1, 1, 1)
        logits, _ = self.sam.mask_decoder(
            image_embeddings=features,
            image_positional_embeddings=self.sam.get_image_wide_positional_embeddings().expand(batch, -1, -1, -1),
            sparse_prompt_embeddings=prompts.to(self.dtype)[None, :, None].expand(batch, count, 1, -1),
            dense_prompt_embeddings=no_mask,
            multimask_output=False,
        )
        return logits[:, :, 0]

    def upsample_masks(
        self, low_res: torch.Tensor, padded_from: tuple[int, int], size: tuple[int, int]
    ) -> torch.Tensor:
        """Low-resolution logits to the video's size, in float32; the mask is where they are > 0.

        First to SAM's input size, then cut to the image without padding, then to the video, bilinear both times
        (half-pixel centres, no antialiasing). One resize instead of two moves boundaries.

        Args:
            low_res: (B, N, h, w).
            padded_from: (height, width) of the SAM image before padding.
            size: (height, width) of the video.

        Returns:
            float32 (B, N, height, width).
        """
        side = self.config.sam_config.vision_config.image_size
        square = F.interpolate(low_res.float(), (side, side), mode="bilinear", align_corners=False)
        image = square[..., : padded_from[0], : padded_from[1]]
        return F.interpolate(image, size, mode="bilinear", align_corners=False)

    # Training -----------------------------------------------------------------------------------------------------

    def forward(self, batch: TrainingBatch) -> VideoLisaOutput:
        """A training step's losses (also the image benchmarks' forward, with the gradient switched off).

        The one ``[SEG]`` vector of a conversation prompts all K supervised frames of its video.

        Raises:
            UsageError: where masks and ``[SEG]`` tokens do not fit together.
        """
        inputs, labels, attention, n_rows = self._expand(batch)
        hidden = self.language_model.model(inputs_embeds=inputs, attention_mask=attention).last_hidden_state
        ce_loss = CE_WEIGHT * text_loss(self.language_model.lm_head(hidden), labels)
        owners, prompt_rows = self._prompt_rows(batch.input_ids, n_rows)
        prompts = self.prompt_vector(hidden[owners, prompt_rows])
        low_res, logits = self._training_masks(batch, prompts, batch.video_index.to(owners.device)[owners])
        bce, dice = mask_losses(logits, [m.to(hidden.device) for m in batch.masks if len(m)])
        bce_loss, dice_loss = BCE_WEIGHT * bce.to(ce_loss), DICE_WEIGHT * dice.to(ce_loss)
        return VideoLisaOutput(
            loss=ce_loss + bce_loss + dice_loss,
            ce_loss=ce_loss,
            mask_bce_loss=bce_loss,
            mask_dice_loss=dice_loss,
            mask_loss=bce_loss + dice_loss,
            mask_logits=logits,
            low_res_logits=low_res,
            prompt_vectors=prompts,
            prompt_rows=prompt_rows,
            last_hidden_state=hidden,
            labels=labels,
            attention_mask=attention,
        )

    def _expand(self, batch: TrainingBatch) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, int]:
        """Embeddings, labels and attention mask of all conversations with the video's rows put in."""
        tokens = self.encode_frames(batch.clip_pixels.flatten(0, 1)).unflatten(0, batch.clip_pixels.shape[:2])
        rows = [
            self.visual_rows(t, d) for t, d in zip(tokens, batch.dense_positions.tolist(), strict=True)
        ]  # one entry a video
        n_rows = len(rows[0])
        embeds, labels, attention = [], [], []
        for n, video in enumerate(batch.video_index.tolist()):
            place = _placeholder(batch.input_ids[n])
            embeds.append(self.embed_sequence(batch.input_ids[n], rows[video]))
            labels.append(_put_rows(batch.labels[n], place, n_rows, IGNORE_INDEX))
            attention.append(_put_rows(batch.attention_mask[n].bool(), place, n_rows, True))
        visible = torch.stack(attention)
        inputs = torch.stack(embeds) * visible[..., None]  # padding is zeros, not the padding token's embedding
        return inputs, torch.stack(labels), visible, n_rows

    def _prompt_rows(self, input_ids: torch.Tensor, n_rows: int) -> tuple[torch.Tensor, torch.Tensor]:
        """(conversation, row) of every ``[SEG]`` in the batch, each int64 (M,)."""
        owners, places = torch.nonzero(input_ids == self.config.seg_token_id, as_tuple=True)
        return owners, places + n_rows - 2

    def _training_masks(
        self, batch: TrainingBatch, prompts: torch.Tensor, video_of_prompt: torch.Tensor
    ) -> tuple[list[torch.Tensor], list[torch.Tensor]]:
        low_res, logits = [], []
        for video, (pixels, padded_from, target) in enumerate(
            zip(batch.sam_pixels, batch.sam_sizes, batch.masks, strict=True)
        ):
            mine = prompts[video_of_prompt == video]
            if len(target) != len(mine) * len(pixels):
                raise UsageError(
                    f"Video {video} of the batch has {len(mine)} [SEG] tokens and {len(pixels)} supervised frames, "
                    f"so {len(mine) * len(pixels)} masks are needed; found {len(target)}."
                )
            if len(target) == 0:
                continue
            low = self.decode_masks(self.sam_features(pixels), mine).transpose(0, 1)
            low_res.append(low.flatten(0, 1))
            height, width = target.shape[-2:]
            logits.append(self.upsample_masks(low, padded_from, (height, width)).flatten(0, 1))
        return low_res, logits

    # Precision ----------------------------------------------------------------------------------------------------

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> Any:
        """Moves and casts as usual, but keeps the rotary frequencies in float32.

        Rounding them to bfloat16 with everything else moves the prompt vector several times further from float32.
        """
        super()._apply(fn, recurse)
        self.restore_buffers()
        return self

    def restore_buffers(self) -> None:
        """Recompute the buffers that no checkpoint holds, on the model's device: rotary frequencies (float32) and
        CLIP's position ids. Needed after the model was built on the meta device."""
        embeddings = self.vision_tower.embeddings
        device = embeddings.class_embedding.device
        embeddings.register_buffer(
            "position_ids", torch.arange(embeddings.num_positions, device=device)[None], persistent=False
        )
        rotary = self.language_model.model.rotary_emb
        inv_freq, rotary.attention_scaling = rotary.compute_default_rope_parameters(rotary.config, device=device)
        rotary.register_buffer("inv_freq", inv_freq, persistent=False)
        rotary.register_buffer("original_inv_freq", inv_freq.clone(), persistent=False)


def _placeholder(input_ids: torch.Tensor) -> int:
    places = torch.nonzero(input_ids == IMAGE_TOKEN).flatten()
    if len(places) != 1:
        raise UsageError(f"A conversation must hold one video placeholder ({IMAGE_TOKEN}), found {len(places)}.")
    return int(places[0])


def _put_rows(values: torch.Tensor, place: int, n_rows: int, fill: int | bool) -> torch.Tensor:
    """(L,) -> (L - 1 + V,) with ``fill`` in the video's rows."""
    return torch.cat([values[:place], values.new_full((n_rows,), fill), values[place + 1 :]])

"""Names of the released layout for the parameters of a model: the inverse of the rename table, written out."""

from __future__ import annotations

from rvos.videolisa.checkpoints import CLIP_PREFIX, SAM_PREFIX

BACK = [
    ("language_model.model.", "model."),
    ("language_model.lm_head.", "lm_head."),
    ("projector.", "model.mm_projector."),
    ("prompt_head.", "model.text_hidden_fcs.0."),
    ("vision_tower.", CLIP_PREFIX + "vision_model."),
    ("sam.vision_encoder.patch_embed.projection.", SAM_PREFIX + "image_encoder.patch_embed.proj."),
    ("sam.vision_encoder.neck.conv1.", SAM_PREFIX + "image_encoder.neck.0."),
    ("sam.vision_encoder.neck.layer_norm1.", SAM_PREFIX + "image_encoder.neck.1."),
    ("sam.vision_encoder.neck.conv2.", SAM_PREFIX + "image_encoder.neck.2."),
    ("sam.vision_encoder.neck.layer_norm2.", SAM_PREFIX + "image_encoder.neck.3."),
    ("sam.vision_encoder.layers.", SAM_PREFIX + "image_encoder.blocks."),
    ("sam.vision_encoder.", SAM_PREFIX + "image_encoder."),
    (
        "sam.shared_image_embedding.positional_embedding",
        SAM_PREFIX + "prompt_encoder.pe_layer.positional_encoding_gaussian_matrix",
    ),
    ("sam.prompt_encoder.point_embed.", SAM_PREFIX + "prompt_encoder.point_embeddings."),
    ("sam.prompt_encoder.mask_embed.conv1.", SAM_PREFIX + "prompt_encoder.mask_downscaling.0."),
    ("sam.prompt_encoder.mask_embed.layer_norm1.", SAM_PREFIX + "prompt_encoder.mask_downscaling.1."),
    ("sam.prompt_encoder.mask_embed.conv2.", SAM_PREFIX + "prompt_encoder.mask_downscaling.3."),
    ("sam.prompt_encoder.mask_embed.layer_norm2.", SAM_PREFIX + "prompt_encoder.mask_downscaling.4."),
    ("sam.prompt_encoder.mask_embed.conv3.", SAM_PREFIX + "prompt_encoder.mask_downscaling.6."),
    ("sam.mask_decoder.upscale_conv1.", SAM_PREFIX + "mask_decoder.output_upscaling.0."),
    ("sam.mask_decoder.upscale_layer_norm.", SAM_PREFIX + "mask_decoder.output_upscaling.1."),
    ("sam.mask_decoder.upscale_conv2.", SAM_PREFIX + "mask_decoder.output_upscaling.3."),
    ("sam.", SAM_PREFIX),
]  # fmt: skip


def released_name(name: str) -> str:
    for ours, theirs in BACK:
        if name.startswith(ours):
            name = theirs + name.removeprefix(ours)
            break
    if "visual_model" in name:
        name = name.replace("layer_norm_final_attn", "norm_final_attn")
        if "neck" not in name and "layer_norm" in name:
            name = name.replace("layer_norm", "norm")
        if "mlps." in name or "iou_prediction_head" in name:
            name = name.replace("proj_out", "layers.2").replace("layers.0.", "layers.1.").replace("proj_in", "layers.0")
    return name

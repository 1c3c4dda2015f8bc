"""Tiny random models in the layouts that baselines load. Each is made in well under a second."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any


def tiny_lisa_folder(folder: Path, seed: int = 0, projector: str = "linear") -> Path:
    """A released LISA checkpoint: LLaVA keys, SAM inside, CLIP beside, the tokenizer with LISA's added tokens."""
    import torch
    from releasednames import released_name
    from transformers import LlamaConfig

    from rvos.baselines.lisa import LisaModel
    from rvos.videolisa import random_model
    from rvos.videolisa.checkpoints import CLIP_PREFIX, SAM_ALIAS
    from rvos.videolisa.configuration import VideoLisaConfig

    random_model.train_tokenizer(folder)
    path = folder / "tokenizer_config.json"
    config = json.loads(path.read_text())
    added = config["added_tokens_decoder"]
    top = max(map(int, added)) + 1
    for number, text in enumerate(("<im_start>", "<im_end>")):
        added[str(top + number)] = {"content": text, "lstrip": False, "rstrip": False}
    path.write_text(json.dumps(config))
    tokenizer = random_model.Tokenizer(folder)
    tiny = random_model.tiny_config(tokenizer)
    text = LlamaConfig(
        vocab_size=len(tokenizer),
        hidden_size=48,
        intermediate_size=64,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=4,
    )
    sizes = VideoLisaConfig(text, tiny.vision_config, tiny.sam_config, tokenizer.seg_id)
    sizes.projector_type = projector
    torch.manual_seed(seed)
    model: Any = LisaModel(sizes).eval()
    with torch.no_grad():
        for name, value in model.named_parameters():
            if value.ndim > 1:
                value.normal_(0, (100 if "embed" in name else value[0].numel()) ** -0.5)
    # LISA's decoder has 8 heads whatever its width; no weight's shape tells.
    state = {released_name(n): p.detach().clone() for n, p in model.state_dict().items() if n != SAM_ALIAS}
    torch.save({k: v for k, v in state.items() if not k.startswith(CLIP_PREFIX)}, folder / "pytorch_model.bin")
    (folder / "clip").mkdir()
    tiny.vision_config.save_pretrained(folder / "clip")
    clip = {f"vision_model.{name}": value for name, value in model.vision_tower.state_dict().items()}
    torch.save(clip, folder / "clip" / "pytorch_model.bin")
    fields = {k: getattr(text, k) for k in ("hidden_size", "intermediate_size", "num_hidden_layers")}
    fields |= {"num_attention_heads": 4, "num_key_value_heads": 4, "mm_vision_select_layer": -2}
    (folder / "config.json").write_text(json.dumps({**fields, "architectures": ["LISAForCausalLM"]}))
    return folder


def tiny_sam2(seed: int = 0) -> Any:
    """A ``Sam2VideoModel`` of 64-pixel frames."""
    import torch
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig
    from transformers.models.sam2_video import Sam2VideoMaskDecoderConfig, Sam2VideoPromptEncoderConfig

    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[64, 64],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[8, 16, 32, 64],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[4, 4, 4, 4],
        global_attention_blocks=[3],
        window_positional_embedding_background_size=[4, 4],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=[64, 32, 16, 8],
        backbone_feature_sizes=[[16, 16], [8, 8], [4, 4]],
    )
    torch.manual_seed(seed)
    return Sam2VideoModel(
        Sam2VideoConfig(
            vision_config=vision,
            prompt_encoder_config=Sam2VideoPromptEncoderConfig(image_size=64),
            mask_decoder_config=Sam2VideoMaskDecoderConfig(),
            image_size=64,
            memory_attention_num_layers=1,
            memory_attention_rope_feat_sizes=[4, 4],
        )
    ).eval()

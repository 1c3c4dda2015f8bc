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


def word_tokenizer(folder: Path, kind: str) -> None:
    """A fast tokenizer of single characters, in BERT's form (for Grounding DINO) or CLIP's."""
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import PreTrainedTokenizerFast

    special = {"bert": ("[CLS]", "[SEP]"), "clip": ("<s>", "</s>"), "chat": ("<s>", "</s>")}[kind]
    marks = ["[PAD]", "[UNK]", *special, "<image>"]
    letters = "abcdefghijklmnopqrstuvwxyz0123456789.,?:;![]{}\"'_ ABCDEFGHIJKLMNOPQRSTUVWXYZ"
    vocabulary = {token: number for number, token in enumerate([*marks, *letters])}
    tokenizer = Tokenizer(models.WordLevel(vocabulary, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = pre_tokenizers.Split("", "isolated")
    tokenizer.post_processor = processors.TemplateProcessing(
        single=f"{special[0]} $A {special[1]}" if kind != "chat" else f"{special[0]} $A",
        special_tokens=[(token, vocabulary[token]) for token in special],
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer,
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token=special[0],
        eos_token=special[1],
        extra_special_tokens={"image_token": "<image>"},
    )
    fast.save_pretrained(folder)


def tiny_clipseg_folder(folder: Path, seed: int = 0) -> Path:
    import torch
    from transformers import CLIPSegConfig, CLIPSegForImageSegmentation

    torch.manual_seed(seed)
    text = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    vision = {**text, "num_hidden_layers": 3, "image_size": 32, "patch_size": 8}
    config = CLIPSegConfig(
        text_config={**text, "vocab_size": 100, "eos_token_id": 3},
        vision_config=vision,
        projection_dim=16,
        extract_layers=[0, 1, 2],
        reduce_dim=8,
        decoder_num_attention_heads=2,
        decoder_intermediate_size=16,
    )
    CLIPSegForImageSegmentation(config).save_pretrained(folder)
    word_tokenizer(folder, "clip")
    return folder


def tiny_sam_folder(folder: Path, seed: int = 0) -> Path:
    import torch
    from transformers import SamModel

    from rvos.videolisa.configuration import sam_config

    torch.manual_seed(seed)
    sizes = {"width": 32, "layers": 2, "heads": 2, "global_layers": (1,), "image_size": 64, "window_size": 3}
    config = sam_config(**sizes, prompt_dim=32, decoder_heads=4, decoder_mlp_dim=48, iou_head_dim=32)
    SamModel(config).save_pretrained(folder)
    return folder


def tiny_grounding_dino_folder(folder: Path, seed: int = 0) -> Path:
    import torch
    from transformers import BertConfig, GroundingDinoConfig, GroundingDinoForObjectDetection, SwinConfig

    torch.manual_seed(seed)
    backbone = SwinConfig(
        image_size=64,
        window_size=4,
        embed_dim=8,
        depths=[1, 1, 1],
        num_heads=[1, 2, 2],
        out_features=["stage1", "stage2", "stage3"],
        out_indices=[1, 2, 3],
    )
    text = BertConfig(vocab_size=100, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    config = GroundingDinoConfig(
        backbone_config=backbone,
        text_config=text,
        d_model=32,
        encoder_layers=1,
        decoder_layers=2,
        encoder_attention_heads=2,
        decoder_attention_heads=2,
        encoder_ffn_dim=16,
        decoder_ffn_dim=16,
        num_queries=10,
        num_feature_levels=3,
        encoder_n_points=2,
        decoder_n_points=2,
    )
    GroundingDinoForObjectDetection(config).save_pretrained(folder)
    size = {"shortest_edge": 64, "longest_edge": 96}
    (folder / "preprocessor_config.json").write_text(json.dumps({"size": size}))
    word_tokenizer(folder, "bert")
    return folder


def tiny_llava_folder(folder: Path, seed: int = 0) -> Path:
    """A multimodal language model whose processor needs no torchvision."""
    import torch
    from transformers import (
        CLIPImageProcessor,
        CLIPVisionConfig,
        LlamaConfig,
        LlavaConfig,
        LlavaForConditionalGeneration,
        LlavaProcessor,
        PreTrainedTokenizerFast,
    )

    torch.manual_seed(seed)
    word_tokenizer(folder, "chat")
    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2}
    config = LlavaConfig(
        vision_config=CLIPVisionConfig(**sizes, image_size=16, patch_size=8),
        text_config=LlamaConfig(**sizes, vocab_size=100, max_position_embeddings=1024),
        image_token_index=4,
        vision_feature_layer=-1,
    )
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    size = {"height": 16, "width": 16}
    images = CLIPImageProcessor(size={"shortest_edge": 16}, crop_size=size)
    template = (
        "{% for m in messages %}{% for c in m['content'] %}{{ '<image>' if c['type'] == 'image' else c['text'] }}"
    )
    template += "{% endfor %}{% endfor %}"
    processor = LlavaProcessor(
        images,
        PreTrainedTokenizerFast.from_pretrained(folder),
        patch_size=8,
        vision_feature_select_strategy="default",
        chat_template=template,
        num_additional_image_tokens=1,
    )
    processor.save_pretrained(folder)
    return folder


def tiny_sam2_folder(folder: Path, seed: int = 0) -> Path:
    import torch

    model = tiny_sam2(seed)
    with torch.no_grad():  # else random weights find no object anywhere
        model.mask_decoder.pred_obj_score_head.proj_out.bias.fill_(5.0)
    model.save_pretrained(folder)
    return folder


def tiny_sam3_folder(folder: Path, seed: int = 0) -> Path:
    """A SAM 3 that takes everything it looks at for an instance; 4 M parameters, the least its memory allows."""
    import torch
    from transformers import Sam3Config, Sam3VideoConfig, Sam3VideoModel
    from transformers.models.sam3_tracker_video import Sam3TrackerVideoConfig

    torch.manual_seed(seed)
    width = 128
    small = {"hidden_size": 32, "intermediate_size": 32, "num_attention_heads": 2}
    layer = {"hidden_size": width, "intermediate_size": 32, "num_attention_heads": 2}
    backbone = {**small, "model_type": "sam3_vit_model", "num_hidden_layers": 2, "image_size": 56, "patch_size": 14}
    backbone |= {"window_size": 2, "global_attn_indexes": [1], "pretrain_image_size": 56}
    sizes = [[16, 16], [8, 8], [4, 4]]
    vision = {"backbone_config": backbone, "fpn_hidden_size": width, "backbone_feature_sizes": sizes}
    text = {"model_type": "clip_text_model", "vocab_size": 100, "projection_dim": 32, "num_hidden_layers": 1}
    detector = Sam3Config(
        vision_config=vision,
        text_config={**small, **text, "max_position_embeddings": 32, "bos_token_id": 2, "eos_token_id": 3},
        geometry_encoder_config={**layer, "num_layers": 1},
        detr_encoder_config={**layer, "num_layers": 1},
        detr_decoder_config={**layer, "num_layers": 1, "num_queries": 4},
        mask_decoder_config={"hidden_size": width, "num_attention_heads": 2},
    )
    tracker = Sam3TrackerVideoConfig(
        vision_config=vision,
        prompt_encoder_config={"hidden_size": width, "image_size": 56, "patch_size": 14},
        mask_decoder_config={"hidden_size": width, "num_attention_heads": 2, "mlp_dim": 32, "iou_head_hidden_dim": 32},
        image_size=56,
        memory_attention_hidden_size=width,
        memory_attention_num_layers=1,
        memory_attention_num_attention_heads=1,
        memory_attention_feed_forward_hidden_size=32,
        memory_attention_rope_feat_sizes=[4, 4],
        memory_encoder_hidden_size=width,
        memory_encoder_output_channels=64,
        mask_downsampler_embed_dim=width,
        memory_fuser_embed_dim=width,
        memory_fuser_intermediate_dim=32,
    )
    config = Sam3VideoConfig(
        detector_config=detector.to_dict(),
        tracker_config=tracker.to_dict(),
        low_res_mask_size=16,
        score_threshold_detection=0.0,
        new_det_thresh=0.0,
    )
    Sam3VideoModel(config).save_pretrained(folder)
    word_tokenizer(folder, "clip")
    return folder

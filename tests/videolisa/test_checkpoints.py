from __future__ import annotations

import copy
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from releasednames import released_name
from safetensors.torch import save_file

from rvos.videolisa.checkpoints import (
    CLIP_PREFIX,
    SAM_ALIAS,
    SAM_PREFIX,
    CheckpointError,
    VideoLisa,
    attention_by_part,
    empty_model,
    load_sam,
    our_name,
    sam_name,
)
from rvos.videolisa.configuration import VideoLisaConfig

LAYOUT = json.loads((Path(__file__).parent / "data" / "released_layout.json").read_text())


def released_state(model: Any) -> dict[str, Any]:
    return {released_name(n): p.detach().clone() for n, p in model.state_dict().items() if n != SAM_ALIAS}


@pytest.fixture
def released(tiny: Any, tmp_path: Path) -> Path:
    """A checkpoint in the released layout, CLIP left out and beside it."""
    config = tiny.model.config
    text, clip = config.text_config.to_dict(), tmp_path / "clip"
    values = {
        **{k: text[k] for k in text if k not in ("rope_parameters", "model_type")},
        "rope_theta": 10000.0,
        "model_type": "llava_phi",
        "sliding_window": config.text_config.sliding_window - 1,
        "train_mask_decoder": True,
        "mm_projector_type": "mlp2x_gelu",
        "mm_vision_select_feature": "patch",
        "mm_vision_select_layer": -2,
        "sam": {"decoder_num_heads": config.sam_config.mask_decoder_config.num_attention_heads},
    }
    (tmp_path / "config.json").write_text(json.dumps(values))
    clip.mkdir()
    config.vision_config.save_pretrained(clip)
    state = released_state(tiny.model)
    image_side = {k.removeprefix(CLIP_PREFIX): v for k, v in state.items() if k.startswith(CLIP_PREFIX)}
    save_file({**image_side, "text_model.embeddings.x": torch.zeros(1)}, clip / "model.safetensors")
    rest = {k: v for k, v in state.items() if not k.startswith(CLIP_PREFIX)}
    half = len(rest) // 2
    for n, keys in enumerate((list(rest)[:half], list(rest)[half:]), 1):
        torch.save({k: rest[k] for k in keys}, tmp_path / f"pytorch_model-0000{n}-of-00002.bin")
    tiny.processor.tokenizer.save(tmp_path)
    return tmp_path


def equal(a: Any, b: Any) -> bool:
    mine, other = a.state_dict(), b.state_dict()
    return mine.keys() == other.keys() and all(torch.equal(mine[k], other[k]) for k in mine)


def test_released_layout_round_trip(tiny: Any, released: Path) -> None:
    loaded = VideoLisa.from_reference(released)
    assert equal(loaded.model, tiny.model)
    assert not any(t.is_meta for t in [*loaded.model.parameters(), *loaded.model.buffers()])
    assert loaded.model.config.text_config.sliding_window == tiny.model.config.text_config.sliding_window
    assert loaded.processor.pixels == tiny.processor.pixels
    assert loaded.model.config.seg_token_id == tiny.processor.tokenizer.seg_id


def test_our_format_round_trip(tiny: Any, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path)
    loaded = VideoLisa.from_pretrained(tmp_path)
    assert equal(loaded.model, tiny.model)
    assert loaded.processor.pixels == tiny.processor.pixels
    shared = loaded.model.sam
    assert shared.prompt_encoder.shared_embedding.positional_embedding is not None
    ids = loaded.processor.input_ids("a<image>b [SEG]")
    assert torch.equal(ids, tiny.processor.input_ids("a<image>b [SEG]"))
    rotary = loaded.model.language_model.model.rotary_emb.inv_freq
    assert torch.equal(rotary, tiny.model.language_model.model.rotary_emb.inv_freq)


@pytest.mark.parametrize("attention", ["sdpa", "eager"])
def test_attention_reaches_every_part(tiny: Any, tmp_path: Path, attention: str) -> None:
    tiny.save_pretrained(tmp_path)
    model = VideoLisa.from_pretrained(tmp_path, attn_implementation=attention).model
    for part in (model.language_model, model.vision_tower, model.sam, model.sam.mask_decoder):
        assert part.config._attn_implementation == attention
    sdpa = "Sdpa" in type(model.sam.vision_encoder.layers[0].attn).__name__
    assert sdpa == (attention == "sdpa")
    assert attention_by_part("flash_attention_2")["sam_config"] == "sdpa"


def test_casting_keeps_rotary_frequencies(tiny: Any, tmp_path: Path) -> None:
    exact = tiny.model.language_model.model.rotary_emb.inv_freq
    cast = copy.deepcopy(tiny.model).to(torch.bfloat16)
    assert torch.equal(cast.language_model.model.rotary_emb.inv_freq, exact)
    tiny.save_pretrained(tmp_path)
    loaded = VideoLisa.from_pretrained(tmp_path, dtype=torch.bfloat16).model
    assert loaded.dtype == torch.bfloat16
    assert torch.equal(loaded.language_model.model.rotary_emb.inv_freq, exact)


def test_wrong_keys_are_listed(released: Path) -> None:
    file = released / "pytorch_model-00002-of-00002.bin"
    state = torch.load(file, weights_only=True)
    gone = next(iter(state))
    state["model.extra.weight"] = state.pop(gone)
    state["model.norm.weight"] = torch.zeros(3)
    torch.save(state, file)
    with pytest.raises(CheckpointError) as error:
        VideoLisa.from_reference(released)
    message = str(error.value)
    assert "1 missing: " + str(our_name(gone)) in message
    assert "1 unexpected: model.extra.weight" in message
    assert "language_model.model.norm.weight (3,) (expected (48,))" in message


def test_our_format_refuses_missing_keys(tiny: Any, tmp_path: Path) -> None:
    tiny.save_pretrained(tmp_path)
    from safetensors.torch import load_file

    state = load_file(tmp_path / "model.safetensors")
    state.pop("projector.0.bias")
    save_file(state, tmp_path / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(CheckpointError, match=r"1 missing: projector\.0\.bias"):
        VideoLisa.from_pretrained(tmp_path)


def test_code_in_a_checkpoint_is_not_run(released: Path, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> Any:
            return (Path.touch, (tmp_path / "ran",))

    torch.save({"x": Evil()}, released / "pytorch_model-00001-of-00002.bin")
    with pytest.raises(CheckpointError, match="weights_only"):
        VideoLisa.from_reference(released)
    assert not (tmp_path / "ran").exists()


def test_other_checkpoints_are_refused(released: Path, tmp_path: Path) -> None:
    values = json.loads((released / "config.json").read_text())
    values.pop("train_mask_decoder")
    (released / "config.json").write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match="no VideoLISA checkpoint"):
        VideoLisa.from_reference(released)
    with pytest.raises(CheckpointError, match="expected a folder, or owner/name"):
        VideoLisa.from_pretrained(tmp_path / "nowhere")


def test_clip_is_found_where_the_config_says(tiny: Any, released: Path, tmp_path_factory: Any) -> None:
    elsewhere = tmp_path_factory.mktemp("release") / "clip-release"
    (released / "clip").rename(elsewhere)
    with pytest.raises(CheckpointError, match="vision_tower"):
        VideoLisa.from_reference(released)
    assert equal(VideoLisa.from_reference(released, clip=elsewhere).model, tiny.model)
    values = json.loads((released / "config.json").read_text())
    (released / "config.json").write_text(json.dumps({**values, "vision_tower": str(elsewhere)}))
    assert equal(VideoLisa.from_reference(released).model, tiny.model)
    (elsewhere / "model.safetensors").unlink()
    with pytest.raises(CheckpointError, match="No weights at"):
        VideoLisa.from_reference(released)


def test_sam_beside_the_checkpoint(tiny: Any, released: Path, tmp_path: Path) -> None:
    files = sorted(released.glob("pytorch_model*.bin"))
    state = {k: v for f in files for k, v in torch.load(f, weights_only=True).items()}
    inside = {k: v for k, v in state.items() if not k.startswith(SAM_PREFIX)}
    decoder = {k: v for k, v in state.items() if k.startswith(SAM_PREFIX + "mask_decoder")}
    sam = {k.removeprefix(SAM_PREFIX): v for k, v in state.items() if k.startswith(SAM_PREFIX)}
    torch.save({k: v + 1 if k.startswith("mask_decoder") else v for k, v in sam.items()}, tmp_path / "sam.pth")
    files[1].unlink()
    torch.save(inside, files[0])
    with pytest.raises(CheckpointError, match="no SAM inside"):
        VideoLisa.from_reference(released)
    with_sam = VideoLisa.from_reference(released, sam=tmp_path / "sam.pth").model
    assert not torch.equal(with_sam.sam.mask_decoder.iou_token.weight, tiny.model.sam.mask_decoder.iou_token.weight)
    torch.save({**inside, **decoder}, files[0])
    trained = VideoLisa.from_reference(released, sam=tmp_path / "sam.pth").model
    assert equal(trained, tiny.model)
    load_sam(trained, tmp_path / "sam.pth")
    assert torch.equal(trained.sam.mask_decoder.iou_token.weight, sam["mask_decoder.iou_token.weight"] + 1)
    shutil.copy(files[0], tmp_path / "no_sam.bin")
    with pytest.raises(CheckpointError, match="missing"):
        load_sam(trained, tmp_path / "no_sam.bin")


# The released sizes ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def full_size() -> Any:
    return empty_model(VideoLisaConfig())


def count(model: Any, *prefixes: str) -> int:
    return sum(p.numel() for n, p in model.named_parameters() if n.startswith(prefixes))


def test_parameter_counts_of_the_released_sizes(full_size: Any) -> None:
    expected = LAYOUT["parameters"]
    language = "language_model.model."
    assert count(full_size, language + "embed_tokens") == expected["model.embed_tokens"] == 98_340_864
    assert count(full_size, language + "layers") == expected["model.layers"] == 3_624_075_264
    assert count(full_size, language + "norm") == expected["model.norm"]
    assert count(full_size, "language_model.lm_head") == expected["lm_head"]
    assert count(full_size, "projector") == expected["model.mm_projector"] == 12_589_056
    assert count(full_size, "prompt_head") == expected["model.text_hidden_fcs"] == 10_226_944
    assert count(full_size, "sam.vision_encoder") == expected["model.visual_model.image_encoder"] == 637_026_048
    prompt_side = ("sam.prompt_encoder", "sam.shared_image_embedding")
    assert count(full_size, *prompt_side) == expected["model.visual_model.prompt_encoder"] == 6_476
    assert count(full_size, "sam.mask_decoder") == expected["model.visual_model.mask_decoder"] == 4_058_340
    assert count(full_size, "vision_tower") == expected["clip (not in the checkpoint)"] == 303_507_456
    total = sum(p.numel() for p in full_size.parameters())
    assert total - count(full_size, "vision_tower") == expected["total in checkpoint"] == 4_484_666_928


def test_every_released_key_fills_one_parameter(full_size: Any) -> None:
    shapes = {n: list(p.shape) for n, p in full_size.named_parameters(remove_duplicate=False) if n != SAM_ALIAS}
    keys = LAYOUT["checkpoint"]
    names = [our_name(key) for key in keys]
    assert len(keys) == len(set(names)) == 797
    assert all(shapes[our_name(key)] == shape for key, shape in keys.items())
    left = shapes.keys() - set(names)
    assert all(name.startswith("vision_tower.") for name in left) and len(left) == 391
    clip_keys = [CLIP_PREFIX + "vision_model." + name.removeprefix("vision_tower.") for name in left]
    assert {our_name(key) for key in clip_keys} == left
    sam_keys = [key.removeprefix(SAM_PREFIX) for key in keys if key.startswith(SAM_PREFIX)]
    assert {sam_name(key) for key in sam_keys} == {our_name(SAM_PREFIX + key) for key in sam_keys}


def test_trained_values_of_the_recipe(full_size: Any) -> None:
    """214,112,740 values: LoRA on 32 fused projections, two tables, prompt head, mask decoder."""
    from rvos.videolisa.training import LORA_RANK, freeze_but_trained

    freeze_but_trained(full_size)
    trained = sum(p.numel() for p in full_size.parameters() if p.requires_grad)
    text = full_size.config.text_config
    lora = text.num_hidden_layers * LORA_RANK * (text.hidden_size + 3 * text.hidden_size)
    assert trained + lora == 214_112_740

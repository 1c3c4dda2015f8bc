"""One recorded training step, without and with LoRA, and the image benchmarks' forward."""

from __future__ import annotations

import copy
import hashlib
from typing import Any

import numpy as np
import pytest
import torch

from rvos.videolisa.checkpoints import our_name
from rvos.videolisa.training import (
    LORA_ALPHA,
    LORA_RANK,
    TrainingSample,
    add_lora,
    collate,
    freeze_but_trained,
    merge_lora,
)

LOSSES = ("loss", "ce_loss", "mask_bce_loss", "mask_dice_loss", "mask_loss")
RELATIVE_LOSS, GRADIENT, NORM = 1e-5, 1e-4, 1e-4


class Step:
    def __init__(self, reference: Any) -> None:
        self.reference = reference
        self.expected = reference.tensors("expected_train.safetensors")
        self.info = reference.json("expected_train_info.json")
        self.batch = collate([self._sample(s) for s in self.info["samples"]], reference.videolisa.processor)

    def model(self) -> Any:
        return copy.deepcopy(self.reference.videolisa.model).train()

    def _sample(self, entry: dict[str, Any]) -> TrainingSample:
        frames, masks = self.reference.frames, self.reference.annotations
        if entry["kind"] == "video":
            clip = [frames[i] for i in entry["frames"]]
            dense = sorted(entry["dense_indices_given"])
            targets = np.stack([masks[entry["frames"][i]] for i in dense])
            return TrainingSample(
                clip, entry["dense_indices_given"], [clip[i] for i in dense], [entry["prompt"]], targets
            )
        left, top, right, bottom = entry["crop"]
        image = frames[entry["frame"]][top:bottom, left:right]
        target = masks[entry["frame"]][top:bottom, left:right]
        sparse, dense_count = self.info["num_frames_sparse"], self.info["num_frames_dense"]
        return TrainingSample(
            [image] * sparse,
            entry["dense_indices_given"],
            [image] * dense_count,
            [entry["prompt"]],
            np.stack([target] * dense_count),
        )


@pytest.fixture(scope="module")
def step(reference: Any) -> Step:
    return Step(reference)


def sha(tensor: Any) -> str:
    return hashlib.sha256(tensor.contiguous().numpy().tobytes()).hexdigest()


def check_losses(output: Any, expected: Any) -> None:
    found = torch.tensor([getattr(output, name).item() for name in LOSSES])
    assert ((found - expected).abs() <= RELATIVE_LOSS * expected.abs()).all()


def check_gradient(found: Any, expected: Any) -> None:
    assert (found - expected).abs().max() <= GRADIENT * expected.abs().max() + 1e-7


def test_collation(step: Step) -> None:
    batch, expected = step.batch, step.expected
    assert torch.equal(batch.input_ids, expected["input_ids"])
    assert torch.equal(batch.labels, expected["labels"])
    assert torch.equal(batch.attention_mask, expected["attention_masks"].bool())
    assert sha(batch.sam_pixels) == step.info["images_sha256_float32"]
    assert sha(batch.clip_pixels) == step.info["images_clip_sha256_float32"]
    for n, mask in enumerate(batch.masks):
        packed = expected[f"gt_masks_packed/{n}"].numpy()
        assert np.array_equal(np.packbits(mask.numpy().reshape(len(mask), -1), axis=1), packed)


def test_step_with_all_language_model_weights(step: Step) -> None:
    model, expected = step.model(), step.expected
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name.startswith(("language_model.", "prompt_head.", "sam.mask_decoder.")))
    output = model(step.batch)
    output.loss.backward()

    check_losses(output, expected["losses"])
    assert torch.equal(output.labels, expected["expanded_labels"])
    assert torch.equal(output.attention_mask, expected["expanded_attention_mask"].bool())
    assert output.prompt_rows.tolist() == expected["prompt_embedding_positions"].tolist()
    assert (output.prompt_vectors - expected["prompt_embeddings"]).abs().max() <= 3e-5
    assert (output.last_hidden_state[:, -48:] - expected["final_hidden_tail"]).abs().max() <= 1e-4
    low_res = torch.cat(output.low_res_logits)[:, ::3, ::3]
    assert (low_res - expected["low_res_logits_stride3"]).abs().max() <= 1e-4
    for n, logits in enumerate(output.mask_logits):
        assert (logits[:, ::5, ::5] - expected[f"pred_mask_logits_stride5/{n}"]).abs().max() <= 1e-4

    parameters = dict(model.named_parameters())
    for key, norm in step.info["grad_l2_norms"].items():
        assert abs(parameters[our_name(key)].grad.norm().item() - norm) <= NORM * max(norm, 1e-2)
    for key in (k for k in expected if k.startswith("grad/")):
        check_gradient(parameters[our_name(key.removeprefix("grad/"))].grad, expected[key])
    for key in (k for k in expected if k.startswith("grad_rows/") and not k.endswith("/ids")):
        rows = expected[f"{key}/ids"]
        check_gradient(parameters[our_name(key.removeprefix("grad_rows/"))].grad[rows], expected[key])
    for key in step.info["requires_grad_but_no_grad"]:
        assert parameters[our_name(key)].grad is None


def test_step_with_lora(step: Step) -> None:
    pytest.importorskip("peft")
    model, expected, lora = step.model(), step.expected, step.info["lora"]
    add_lora(model, dropout=0.0)
    freeze_but_trained(model)
    trained = [p.numel() for p in model.parameters() if p.requires_grad]
    assert (lora["r"], lora["alpha"]) == (LORA_RANK, LORA_ALPHA)
    assert sum(trained) == lora["num_trainable"]

    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for key in (k for k in expected if k.startswith("lora_weight/")):
            parameters[_adapter(key)].copy_(expected[key])
    output = model(step.batch)
    output.loss.backward()
    check_losses(output, expected["lora_losses"])
    for key in (k for k in expected if k.startswith("lora_grad/")):
        check_gradient(parameters[_adapter(key)].grad, expected[key])
    for key, norm in lora["grad_l2_norms"].items():
        name = _adapter(key) if "lora_" in key else our_name(key.removeprefix("base_model.model."))
        assert abs(parameters[name].grad.norm().item() - norm) <= NORM * max(norm, 1e-2)

    merge_lora(model)
    merged = model.language_model.model.layers[0].self_attn.qkv_proj.weight
    assert torch.equal(merged, expected["lora_merged/model.layers.0.self_attn.qkv_proj.weight"])
    assert not any("lora_" in name for name, _ in model.named_parameters())


def _adapter(key: str) -> str:
    name = key.split("base_model.model.", 1)[1]
    return "language_model." + name


def test_image_benchmark_forward(reference: Any) -> None:
    """An image as a pseudo video, several sentences in one batch; the D copies of a mask are equal."""
    expected = reference.tensors("expected_image_eval.safetensors")
    info = reference.json("expected_image_eval_info.json")
    sparse, dense = info["num_frames_sparse"], info["num_frames_dense"]
    for n, entry in enumerate(info["samples"]):
        left, top, right, bottom = entry["crop"]
        image = reference.frames[entry["frame"]][top:bottom, left:right]
        masks = np.zeros((len(entry["prompts"]) * dense, *image.shape[:2]), np.uint8)
        sample = TrainingSample([image] * sparse, range(dense), [image] * dense, entry["prompts"], masks)
        batch = collate([sample], reference.videolisa.processor)
        assert batch.input_ids.tolist() == entry["input_ids"]
        with torch.no_grad():
            logits = reference.videolisa.model(batch).mask_logits[0].unflatten(0, (-1, dense))
        assert (logits[:, 0] - logits[:, 1]).abs().max() <= 1e-5
        assert (logits[:, 0, ::3, ::3] - expected[f"image/{n}/pred_logits_stride3"]).abs().max() <= 1e-4
        packed = expected[f"image/{n}/binary_masks_packed"].numpy()
        bits = np.unpackbits(packed, axis=1)[:, : logits[0, 0].numel()].reshape(logits[:, 0].shape).astype(bool)
        differs = (logits[:, 0] > 0).numpy() != bits
        assert not (differs & (logits[:, 0].abs() > 1e-4).numpy()).any()

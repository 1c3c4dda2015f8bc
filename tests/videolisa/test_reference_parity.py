"""Every recorded intermediate of the reference, within the tolerances its README suggests for float32."""

from __future__ import annotations

import hashlib
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from PIL import Image

from rvos.videolisa import prompts
from rvos.videolisa.sampling import sample_frames

FEATURES, HIDDEN, PROMPT, LOGITS = 3e-5, 1e-4, 3e-5, 1e-4


def sha(array: NDArray[Any]) -> str:
    return hashlib.sha256(np.ascontiguousarray(array).tobytes()).hexdigest()


def close(found: Any, expected: Any, tolerance: float) -> None:
    assert found.shape == expected.shape
    assert (found - expected).abs().max().item() <= tolerance


def question_of(case: dict[str, Any]) -> str:
    templates = {True: "reasonvos-sentence", False: "reasonvos-phrase"}
    template = templates[case["is_sent"]] if case["script"] == "reason_vos" else "referring"
    return prompts.question(case["exp"], template)


def hidden_of(model: Any, ids: Any, rows: Any) -> tuple[Any, list[Any]]:
    """Last hidden state (rows, hidden) and every layer's output."""
    layers: list[Any] = []
    hooks = [
        layer.register_forward_hook(lambda _m, _i, out: layers.append(out[0] if isinstance(out, tuple) else out))
        for layer in model.language_model.model.layers
    ]
    try:
        hidden = model.language_model.model(inputs_embeds=model.embed_sequence(ids, rows)[None]).last_hidden_state[0]
    finally:
        for hook in hooks:
            hook.remove()
    return hidden, [out.reshape(hidden.shape) for out in layers]


def test_images_are_bit_equal(reference: Any) -> None:
    processor, info = reference.videolisa.processor, reference.info
    for index in map(int, info["pixel_values"]["clip_sha256_float32"]):
        frame = reference.frames[index]
        assert sha(processor.clip_image(frame)) == info["clip_resized_uint8_sha256"][str(index)]
        assert sha(processor.clip_pixels(frame).numpy()) == info["pixel_values"]["clip_sha256_float32"][str(index)]
    for index in map(int, info["pixel_values"]["sam_sha256_float32"]):
        pixels = processor.sam_pixels(reference.frames[index])
        assert sha(pixels.numpy()) == info["pixel_values"]["sam_sha256_float32"][str(index)]
    assert sha(processor.sam_image(reference.frames[0])) == info["sam_resized_uint8_sha256_frame0"]


def test_clip_and_projector(reference: Any) -> None:
    model, expected = reference.videolisa.model, reference.expected
    with torch.no_grad():
        states = model.clip_hidden_states(reference.clip_pixels)
    recorded = expected["shared/clip_hidden_states_frame0"]
    for level, state in enumerate(states):
        close(state[0, ::48], recorded[level], FEATURES)
    close(states[-1][0, 1:], expected["shared/clip_features_frame0"], FEATURES)
    unique = expected["shared/unique_sparse_frames"]
    close(states[-1][unique, 1::8], expected["shared/clip_features_stride8"], FEATURES)
    close(reference.tokens[0], expected["shared/projected_tokens_frame0"], FEATURES)
    close(reference.tokens[unique][:, ::16], expected["shared/projected_tokens_stride16"], FEATURES)
    close(reference.tokens[unique].mean(1), expected["shared/sparse_tokens"], FEATURES)


def test_sam_encoder(reference: Any) -> None:
    model, expected = reference.videolisa.model, reference.expected
    encoder = model.sam.vision_encoder
    outputs: list[Any] = []
    modules = [encoder.patch_embed, *encoder.layers]
    hooks = [m.register_forward_hook(lambda _m, _i, out: outputs.append(out)) for m in modules]
    first = model.sam_features(reference.videolisa.processor.sam_pixels(reference.frames[0])[None])[0]
    for hook in hooks:
        hook.remove()
    close(outputs[0][0, ::16, ::16], expected["shared/sam_patch_embed_frame0"], FEATURES)
    for block, recorded in zip(outputs[1:], expected["shared/sam_blocks_frame0"], strict=True):
        close(block[0, ::16, ::16], recorded, FEATURES)
    close(first, expected["shared/sam_embedding_frame0"], FEATURES)
    close(reference.sam_features[:, :, ::8, ::8], expected["shared/sam_embedding_stride8"], FEATURES)
    dense_pe = model.sam.get_image_wide_positional_embeddings()[0, :, ::8, ::8]
    close(dense_pe, expected["shared/sam_dense_pe_stride8"], FEATURES)
    no_mask = model.sam.prompt_encoder.no_mask_embed.weight[0]
    close(no_mask, expected["shared/dense_prompt_embedding"], 0)


@pytest.mark.parametrize("number", [0, 1])
def test_case(reference: Any, number: int) -> None:
    case = reference.config["cases"][number]
    name, info = case["name"], reference.info["cases"][case["name"]]
    model, processor = reference.videolisa.model, reference.videolisa.processor
    expected = {k.removeprefix(f"{name}/"): v for k, v in reference.expected.items() if k.startswith(f"{name}/")}

    sample = sample_frames(len(reference.frames), case["num_frames_sparse"], case["num_frames_dense"])
    assert list(sample.frames) == expected["sparse_indices"].tolist()
    assert list(sample.dense_positions) == expected["dense_indices"].tolist()
    assert list(sample.dense_frames) == expected["dense_frame_indices"].tolist()

    text = prompts.conversation(question_of(case))
    assert text == info["prompt"]
    ids = processor.input_ids(text)
    assert ids.tolist() == expected["input_ids"][0].tolist()

    with torch.no_grad():
        rows = model.visual_rows(reference.tokens[list(sample.frames)], sample.dense_positions)
        positions = model.prompt_positions(ids, len(rows))
        assert len(rows) == info["num_visual_tokens"]
        assert positions.tolist() == [info["prompt_embedding_position"]]
        text_rows = torch.cat([ids[: info["image_token_position"]], ids[info["image_token_position"] + 1 :]])
        close(model.language_model.model.embed_tokens(text_rows), expected["text_embeds"], 0)
        _check_rows(rows, expected, case["num_frames_sparse"])
        hidden, layers = hidden_of(model, ids, rows)
        _check_hidden(hidden, layers, expected)
        logits = model.language_model.lm_head(hidden[positions[0]])
        close(logits, expected["logits_at_prompt_position"], HIDDEN)
        prompt = model.prompt_vector(hidden[positions])
        close(prompt[0], expected["prompt_embedding"], PROMPT)
        logits = _check_masks(reference, prompt, expected, info)
    _check_files(reference, f"{name}_{case['script']}_float32", logits, info)


def _check_rows(rows: Any, expected: dict[str, Any], sparse: int) -> None:
    if "video_tokens" in expected:
        close(rows, expected["video_tokens"], FEATURES)
    if "video_tokens_sparse_part" in expected:
        close(rows[:sparse], expected["video_tokens_sparse_part"], FEATURES)
        close(rows[sparse::16], expected["video_tokens_dense_part_stride16"], FEATURES)


def _check_hidden(hidden: Any, layers: list[Any], expected: dict[str, Any]) -> None:
    close(torch.stack([layer[-64:] for layer in layers]), expected["layer_outputs_tail"], HIDDEN)
    close(hidden[-64:], expected["final_hidden_tail"], HIDDEN)
    if "final_hidden" in expected:
        close(hidden, expected["final_hidden"], HIDDEN)
    if "final_hidden_stride16" in expected:
        close(hidden[::16], expected["final_hidden_stride16"], HIDDEN)


def _check_masks(reference: Any, prompt: Any, expected: dict[str, Any], info: dict[str, Any]) -> Any:
    model = reference.videolisa.model
    tokens: list[Any] = []
    scores: list[Any] = []
    decoder = model.sam.mask_decoder
    hooks = [
        decoder.transformer.register_forward_hook(lambda _m, _i, out: tokens.append(out[0])),
        decoder.iou_prediction_head.register_forward_hook(lambda _m, _i, out: scores.append(out)),
    ]
    low_res = model.decode_masks(reference.sam_features, prompt)
    for hook in hooks:
        hook.remove()
    close(tokens[0][:, 0], expected["decoder_tokens"], HIDDEN)
    close(scores[0][:, 0, :1], expected["iou_predictions"], HIDDEN)
    frames = expected.get("low_res_logits_frames", torch.arange(len(low_res)))
    close(low_res[frames, 0], expected["low_res_logits"], LOGITS)
    close(low_res[:, 0, ::5, ::5], expected["low_res_logits_stride5"], LOGITS)

    padded_from = reference.videolisa.processor.sam_size(*reference.size)
    assert list(padded_from) == info["sam_resized_hw"]
    logits = model.upsample_masks(low_res, padded_from, reference.size)[:, 0]
    close(logits[:, ::5, ::5], expected["final_logits_stride5"], LOGITS)
    if "final_logits_frame0" in expected:
        close(logits[0], expected["final_logits_frame0"], LOGITS)
    height, width = reference.size
    bits = np.unpackbits(expected["binary_masks_packed"].numpy(), axis=1)[:, : height * width]
    differs = (logits > 0).numpy() != bits.reshape(-1, height, width).astype(bool)
    assert not (differs & (logits.abs() > 1e-4).numpy()).any()
    return logits


def _check_files(reference: Any, folder: str, logits: Any, info: dict[str, Any]) -> None:
    """The PNG files that the script wrote hold the same masks."""
    for path, logit in zip(info["output_files"], logits, strict=True):
        written = np.asarray(Image.open(reference.folder / "script_output" / folder / path)) > 0
        assert not ((written != (logit > 0).numpy()) & (logit.abs() > 1e-4).numpy()).any()


def test_bfloat16_stays_as_near_as_the_reference(reference: Any) -> None:
    """For information in the recording: bf16 weights with float32 rotary frequencies."""
    from rvos.videolisa.checkpoints import VideoLisa

    recorded = reference.tensors("expected_bf16.safetensors")
    case = next(c for c in reference.config["cases"] if c.get("bf16"))
    name, info = case["name"], reference.info["cases"][case["name"]]
    model = VideoLisa.from_reference(reference.folder, dtype=torch.bfloat16).model
    sample = sample_frames(len(reference.frames), case["num_frames_sparse"], case["num_frames_dense"])
    ids = reference.videolisa.processor.input_ids(info["prompt"])
    with torch.no_grad():
        tokens = model.encode_frames(reference.clip_pixels)[list(sample.frames)]
        rows = model.visual_rows(tokens, sample.dense_positions)
        hidden, _ = hidden_of(model, ids, rows)
        prompt = model.prompt_vector(hidden[info["prompt_embedding_position"]]).float()
    exact = reference.expected[f"{name}/prompt_embedding"]
    reference_error = (recorded[f"{name}/bf16_rope32/prompt_embedding"].float() - exact).abs().max()
    assert (prompt - exact).abs().max() <= 2 * reference_error

"""The mistakes that the reference's README lists must show: each lies outside the tolerances of the parity tests.

RMSNorm's epsilon is the one row it exempts.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from PIL import Image
from torch import nn
from transformers.models.phi3 import modeling_phi3

from rvos.videolisa.sampling import FrameSample, sample_frames, sparse_frames

PROMPT, LOGITS = 3e-5, 1e-4


class Case:
    """The first recorded case, computed from any step on with something changed."""

    def __init__(self, reference: Any) -> None:
        self.reference = reference
        self.model, self.processor = reference.videolisa.model, reference.videolisa.processor
        self.case = reference.config["cases"][0]
        self.name = self.case["name"]
        self.ids = self.processor.input_ids(reference.info["cases"][self.name]["prompt"])
        self.dense_count = self.case["num_frames_dense"]
        self.sample = sample_frames(len(reference.frames), self.case["num_frames_sparse"], self.dense_count)
        self.n_rows = self.case["num_frames_sparse"] + self.dense_count * self.model.config.tokens_per_frame
        self.row = int(self.model.prompt_positions(self.ids, self.n_rows)[0])

    def expected(self, key: str) -> Any:
        return self.reference.expected[f"{self.name}/{key}"]

    def rows(self, sample: FrameSample | None = None, tokens: Any = None) -> Any:
        sample = sample or self.sample
        tokens = self.reference.tokens if tokens is None else tokens
        return self.model.visual_rows(tokens[list(sample.frames)], sample.dense_positions)

    def hidden(self, rows: Any = None, ids: Any = None) -> Any:
        embeds = self.model.embed_sequence(self.ids if ids is None else ids, self.rows() if rows is None else rows)
        return self.model.language_model.model(inputs_embeds=embeds[None]).last_hidden_state[0]

    def prompt(self, rows: Any = None) -> Any:
        return self.model.prompt_vector(self.hidden(rows)[self.row])

    def tokens_from(self, clip_pixels: Callable[[Any], Any]) -> Any:
        return self.model.encode_frames(torch.stack([clip_pixels(f) for f in self.reference.frames]))

    def prompt_from_clip(self, clip_pixels: Callable[[Any], Any]) -> Any:
        return self.prompt(self.rows(tokens=self.tokens_from(clip_pixels)))

    def clip_normalised(self, image: Any) -> Any:
        pixels = self.processor.pixels
        scaled = (np.asarray(image) / 255).astype(np.float32)
        return torch.from_numpy(
            ((scaled - np.float32(pixels.clip_mean)) / np.float32(pixels.clip_std)).transpose(2, 0, 1)
        )

    def low_res(self, features: Any = None, frame: int = 0) -> Any:
        features = self.reference.sam_features[[frame]] if features is None else features
        return self.model.decode_masks(features, self.expected("prompt_embedding")[None])

    def logits(self, features: Any = None) -> Any:
        padded_from = self.processor.sam_size(*self.reference.size)
        return self.model.upsample_masks(self.low_res(features), padded_from, self.reference.size)[0, 0, ::5, ::5]

    def logits_from_sam(self, pixels: Any) -> Any:
        return self.logits(self.model.sam_features(pixels[None]))


@pytest.fixture(scope="module")
def case(reference: Any) -> Case:
    return Case(reference)


@pytest.fixture(autouse=True)
def _inference() -> Any:
    with torch.no_grad():
        yield


def away(found: Any, expected: Any, tolerance: float) -> None:
    assert (found - expected).abs().max().item() > tolerance


# The prompt vector ----------------------------------------------------------------------------------------------------


def test_nothing_changed(case: Case) -> None:
    assert (case.prompt() - case.expected("prompt_embedding")).abs().max() <= PROMPT
    assert (case.logits() - case.expected("final_logits_stride5")[0]).abs().max() <= LOGITS


def test_row_of_seg_itself(case: Case) -> None:
    away(case.model.prompt_vector(case.hidden()[case.row + 1]), case.expected("prompt_embedding"), PROMPT)


@pytest.mark.parametrize("change", ["off", "one key narrower", "one key wider"])
def test_sliding_window(case: Case, change: str, monkeypatch: pytest.MonkeyPatch) -> None:
    config = case.model.config.text_config
    window = config.sliding_window
    if case.n_rows + len(case.ids) - 1 <= window:
        pytest.skip("the window is not active in this case")
    new = {"off": None, "one key narrower": window - 1, "one key wider": window + 1}[change]
    monkeypatch.setattr(config, "sliding_window", new)
    away(case.prompt(), case.expected("prompt_embedding"), PROMPT)


def test_clip_layer(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(case.model.config, "clip_layer", -1)
    away(case.prompt_from_clip(case.processor.clip_pixels), case.expected("prompt_embedding"), PROMPT)


def test_before_the_last_norm(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(case.model.language_model.model._modules, "norm", nn.Identity())
    away(case.prompt(), case.expected("prompt_embedding"), PROMPT)


def test_dense_before_sparse(case: Case) -> None:
    rows, sparse = case.rows(), case.case["num_frames_sparse"]
    away(case.prompt(torch.cat([rows[sparse:], rows[:sparse]])), case.expected("prompt_embedding"), PROMPT)


def test_pool_then_project(case: Case) -> None:
    frames = list(case.sample.frames)
    pooled = case.model.projector(case.model.clip_features(case.reference.clip_pixels)[frames].mean(1))
    rows = torch.cat([pooled, case.rows()[len(frames) :]])
    away(case.prompt(rows), case.expected("prompt_embedding"), PROMPT)


def test_dense_positions_from_s_instead_of_s_minus_1(case: Case) -> None:
    from rvos.videolisa.sampling import uniform_indices

    wrong = tuple(uniform_indices(len(case.sample.frames), case.dense_count).tolist())
    assert wrong != case.sample.dense_positions
    rows = case.rows(FrameSample(case.sample.frames, wrong))
    away(case.prompt(rows), case.expected("prompt_embedding"), PROMPT)


def test_repeats_not_sorted(case: Case) -> None:
    total, count = len(case.reference.frames), case.case["num_frames_sparse"]
    if total >= count:
        pytest.skip("the video is longer than the sample, so no frame repeats")
    unsorted = (*list(range(total)) * (count // total), *sparse_frames(total, max(count % total, 1))[: count % total])
    rows = case.rows(FrameSample(unsorted, case.sample.dense_positions))
    away(case.prompt(rows), case.expected("prompt_embedding"), PROMPT)


@pytest.mark.parametrize("part", ["projector tanh", "clip gelu", "head gelu"])
def test_activations(case: Case, part: str, monkeypatch: pytest.MonkeyPatch) -> None:
    model = case.model
    if part == "projector tanh":
        monkeypatch.setattr(model.projector[1], "approximate", "tanh")
    if part == "clip gelu":
        for layer in model.vision_tower.encoder.layers:
            monkeypatch.setitem(layer.mlp._modules, "activation_fn", nn.GELU())
    if part == "head gelu":
        monkeypatch.setitem(model.prompt_head._modules, "1", nn.GELU())
    away(case.prompt_from_clip(case.processor.clip_pixels), case.expected("prompt_embedding"), PROMPT)


def test_rope_interleaved(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    def interleaved(x: Any) -> Any:
        return torch.stack([-x[..., 1::2], x[..., ::2]], -1).flatten(-2)

    monkeypatch.setattr(modeling_phi3, "rotate_half", interleaved)
    away(case.prompt(), case.expected("prompt_embedding"), PROMPT)


def test_clip_images(case: Case) -> None:
    size = case.processor.pixels.clip_size

    def bilinear(frame: Any) -> Any:
        height, width = frame.shape[:2]
        scale = size / min(height, width)
        image = Image.fromarray(frame).resize((int(width * scale), int(height * scale)), Image.Resampling.BILINEAR)
        array = np.asarray(image)
        top, left = (array.shape[0] - size) // 2, (array.shape[1] - size) // 2
        return case.clip_normalised(array[top : top + size, left : left + size])

    def squeezed(frame: Any) -> Any:
        return case.clip_normalised(Image.fromarray(frame).resize((size, size), Image.Resampling.BICUBIC))

    def padded(frame: Any) -> Any:
        side = max(frame.shape[:2])
        square = np.zeros((side, side, 3), np.uint8)
        square[: frame.shape[0], : frame.shape[1]] = frame
        return squeezed(square)

    def bgr(frame: Any) -> Any:
        return case.processor.clip_pixels(np.ascontiguousarray(frame[..., ::-1]))

    for wrong in (bilinear, squeezed, padded, bgr):
        away(case.prompt_from_clip(wrong), case.expected("prompt_embedding"), PROMPT)


def test_ids_of_the_fast_tokenizer(case: Case) -> None:
    # It leaves out the lone prefix piece between the start of the text and the first role.
    assert int(case.ids[0]) == case.processor.tokenizer.bos_id
    fewer = torch.cat([case.ids[:1], case.ids[2:]])
    found = case.model.prompt_vector(case.hidden(ids=fewer)[case.row - 1])
    away(found, case.expected("prompt_embedding"), PROMPT)


def test_text_after_seg_does_not_matter(case: Case) -> None:
    seg = int(torch.nonzero(case.ids == case.model.config.seg_token_id)[0])
    hidden = case.hidden(ids=case.ids[:seg])
    found = case.model.prompt_vector(hidden[case.row])
    assert (found - case.expected("prompt_embedding")).abs().max() <= PROMPT


# The masks ------------------------------------------------------------------------------------------------------------


def test_sam_images(case: Case) -> None:
    frame, processor = case.reference.frames[0], case.processor
    height, width = processor.sam_size(*case.reference.size)
    side = processor.pixels.sam_size
    expected = case.expected("final_logits_stride5")[0]

    def resized(to: tuple[int, int], how: Any) -> Any:
        return torch.from_numpy(np.asarray(Image.fromarray(frame).resize(to[::-1], how)).copy())

    bicubic = processor.normalise_sam(resized((height, width), Image.Resampling.BICUBIC))
    stretched = processor.normalise_sam(resized((side, side), Image.Resampling.BILINEAR))
    bgr = processor.sam_pixels(np.ascontiguousarray(frame[..., ::-1]))
    raw = torch.zeros(side, side, 3, dtype=torch.uint8)
    raw[:height, :width] = torch.from_numpy(processor.sam_image(frame).copy())
    padded_first = processor.normalise_sam(raw)
    planes = torch.from_numpy(frame.copy()).permute(2, 0, 1)[None].float()
    without_antialiasing = F.interpolate(planes, (height, width), mode="bilinear", align_corners=False)  # as OpenCV's
    opencv = processor.normalise_sam(without_antialiasing[0].permute(1, 2, 0).round().to(torch.uint8))
    for pixels in (bicubic, stretched, bgr, padded_first, opencv):
        away(case.logits_from_sam(pixels), expected, LOGITS)


def test_sam_encoder(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    pixels = case.processor.sam_pixels(case.reference.frames[0])
    expected = case.expected("final_logits_stride5")[0]
    layers = case.model.sam.vision_encoder.layers
    with monkeypatch.context() as patch:
        for layer in layers:
            patch.setattr(layer.attn, "use_rel_pos", False)
        away(case.logits_from_sam(pixels), expected, LOGITS)
    if case.reference.config["fixture"] == "b":
        return  # its README exempts the encoder's LayerNorm epsilon
    with monkeypatch.context() as patch:
        for layer in layers:
            patch.setattr(layer.layer_norm1, "eps", 1e-5)
            patch.setattr(layer.layer_norm2, "eps", 1e-5)
        away(case.logits_from_sam(pixels), expected, LOGITS)


def test_mask_decoder(case: Case, monkeypatch: pytest.MonkeyPatch) -> None:
    model, expected = case.model, case.expected("final_logits_stride5")[0]
    with monkeypatch.context() as patch:
        no_mask = model.sam.prompt_encoder.no_mask_embed
        patch.setitem(no_mask._parameters, "weight", torch.zeros_like(no_mask.weight))
        away(case.logits(), expected, LOGITS)
    with monkeypatch.context() as patch:
        pe = model.sam.get_image_wide_positional_embeddings()
        patch.setattr(model.sam, "get_image_wide_positional_embeddings", lambda: pe.transpose(2, 3))
        away(case.logits(), expected, LOGITS)
    with monkeypatch.context() as patch:
        mlps = model.sam.mask_decoder.output_hypernetworks_mlps
        tokens = model.sam.mask_decoder.mask_tokens.weight
        swapped = nn.ModuleList([mlps[1], mlps[0], *mlps[2:]])
        patch.setitem(model.sam.mask_decoder._modules, "output_hypernetworks_mlps", swapped)
        patch.setitem(model.sam.mask_decoder.mask_tokens._parameters, "weight", tokens[[1, 0, 2, 3]])
        away(case.logits(), expected, LOGITS)


def test_upsampling(case: Case) -> None:
    low, size = case.low_res(), case.reference.size
    height, width = case.processor.sam_size(*size)
    side = case.processor.pixels.sam_size
    expected = case.expected("final_logits_stride5")[0]
    factor = low.shape[-1] / side
    cropped = low[..., : round(height * factor), : round(width * factor)]
    once = F.interpolate(cropped, size, mode="bilinear", align_corners=False)
    away(once[0, 0, ::5, ::5], expected, LOGITS)
    square = F.interpolate(low, (side, side), mode="bilinear", align_corners=True)[..., :height, :width]
    corners = F.interpolate(square, size, mode="bilinear", align_corners=True)
    away(corners[0, 0, ::5, ::5], expected, LOGITS)

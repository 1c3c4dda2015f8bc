from __future__ import annotations

import copy
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from transformers import Phi3Config

from rvos.datasets.errors import UnknownNameError, UsageError
from rvos.videolisa.configuration import VideoLisaConfig
from rvos.videolisa.losses import mask_losses, text_loss
from rvos.videolisa.pooling import visual_rows
from rvos.videolisa.prompts import conversation
from rvos.videolisa.random_model import tiny_config
from rvos.videolisa.sampling import STRATEGIES, sample_frames
from rvos.videolisa.training import (
    TrainingSample,
    add_lora,
    answer_labels,
    collate,
    draw_conversation,
    freeze_but_trained,
    merge_lora,
)


def test_visual_rows_of_every_strategy() -> None:
    tokens = torch.arange(6 * 16 * 2, dtype=torch.float32).reshape(6, 16, 2)
    rows = visual_rows(tokens, [4, 1])
    assert torch.equal(rows[:6], tokens.mean(1)) and torch.equal(rows[6:], torch.cat([tokens[1], tokens[4]]))
    assert torch.equal(visual_rows(tokens, [], "n-frame"), tokens.reshape(-1, 2))
    pooled = visual_rows(tokens, [], "spatial-temporal-pooling")
    assert torch.equal(pooled, torch.cat([tokens.mean(1), tokens.mean(0)]))
    slow = visual_rows(tokens, [2], "slow-fast-pooling")
    assert slow.shape == (6 + 4, 2)
    assert torch.equal(slow[6], tokens[2][[0, 1, 4, 5]].mean(0))
    assert torch.equal(slow[7], tokens[2][[2, 3, 6, 7]].mean(0))
    with pytest.raises(UnknownNameError):
        visual_rows(tokens, [], "other")
    with pytest.raises(UsageError, match="even square"):
        visual_rows(tokens[:, :9], [2], "slow-fast-pooling")


@pytest.mark.parametrize("strategy", STRATEGIES)
def test_every_strategy_runs_through_the_engine(tiny: Any, strategy: str) -> None:
    from rvos.videolisa.predictor import VideoLisaPredictor
    from rvos.videolisa.speed import moving_video

    videolisa = copy.copy(tiny)
    videolisa.model = copy.deepcopy(tiny.model)
    videolisa.model.config.temporal_strategy = strategy
    video = moving_video(5, (30, 40))
    masks = list(VideoLisaPredictor(videolisa).segment_questions(video, ["what moves?"]))
    assert len(masks) == 5 and masks[0][1].shape == (1, 30, 40)


def test_config_refuses_parts_that_do_not_fit(tiny: Any) -> None:
    tokenizer = tiny.processor.tokenizer
    config = tiny_config(tokenizer)
    with pytest.raises(UsageError, match="vocabulary"):
        VideoLisaConfig(config.text_config, config.vision_config, config.sam_config, seg_token_id=10**6)
    with pytest.raises(UnknownNameError):
        VideoLisaConfig(config.text_config, seg_token_id=1, temporal_strategy="dense")
    long = Phi3Config(
        hidden_size=32,
        num_attention_heads=4,
        pad_token_id=0,
        rope_parameters={"rope_type": "longrope", "short_factor": [1.0] * 4, "long_factor": [1.0] * 4},
    )
    with pytest.raises(UsageError, match="rotary"):
        VideoLisaConfig(long, config.vision_config, config.sam_config, seg_token_id=1)
    again = VideoLisaConfig.from_dict(config.to_dict())
    assert again.to_dict() == config.to_dict() and again.tokens_per_frame == 16


def test_upsampling_is_two_steps(tiny: Any) -> None:
    low = torch.randn(2, 3, 16, 16)
    found = tiny.model.upsample_masks(low, (38, 64), (30, 50))
    square = F.interpolate(low, (64, 64), mode="bilinear")[..., :38, :64]
    assert torch.equal(found, F.interpolate(square, (30, 50), mode="bilinear"))
    assert tiny.model.upsample_masks(low.bfloat16(), (38, 64), (30, 50)).dtype == torch.float32


def test_one_prompt_on_all_frames(tiny: Any) -> None:
    """Batched over frames and prompts, the decoder gives what it gives one by one."""
    features, prompts = torch.randn(3, 32, 4, 4), torch.randn(5, 32)
    with torch.no_grad():
        together = tiny.model.decode_masks(features, prompts)
        alone = [[tiny.model.decode_masks(f[None], p[None])[0, 0] for p in prompts] for f in features]
    assert together.shape == (3, 5, 16, 16)
    assert (together - torch.stack([torch.stack(row) for row in alone])).abs().max() < 1e-4


def test_placeholder_is_needed_once(tiny: Any) -> None:
    rows = torch.zeros(4, tiny.model.config.text_config.hidden_size)
    with pytest.raises(UsageError, match="one video placeholder"):
        tiny.model.embed_sequence(torch.tensor([1, 2, 3]), rows)


def test_losses_against_plain_formulas() -> None:
    rng = torch.Generator().manual_seed(0)
    logits = [torch.randn(2, 5, 6, generator=rng), torch.randn(1, 4, 4, generator=rng)]
    targets = [(torch.rand(2, 5, 6, generator=rng) > 0.5).long(), torch.zeros(1, 4, 4)]
    bce, dice = mask_losses(logits, targets)
    bces, dices = [], []
    for p, t in ((p, t.double()) for ps, ts in zip(logits, targets, strict=True) for p, t in zip(ps, ts, strict=True)):
        q = 1 / (1 + torch.exp(-p.double()))
        bces.append(-(t * q.log() + (1 - t) * (1 - q).log()).mean())
        dices.append(1 - (2 * (q * t).sum() / 1000 + 1e-6) / ((q.sum() + t.sum()) / 1000 + 1e-6))
    assert abs(bce - sum(bces) / 3) < 1e-6 and abs(dice - sum(dices) / 3) < 1e-6
    assert mask_losses([], []) == (0, 0)
    scores, labels = torch.randn(1, 4, 7, generator=rng), torch.tensor([[-100, -100, 3, 5]])
    expected = -(scores[0, 1].log_softmax(0)[3] + scores[0, 2].log_softmax(0)[5]) / 2
    assert abs(text_loss(scores, labels) - expected) < 1e-6


def sample(text: str, masks: int, size: tuple[int, int], seed: int) -> TrainingSample:
    rng = np.random.default_rng(seed)
    frames = [rng.integers(0, 256, (*size, 3), np.uint8) for _ in range(6)]
    targets = rng.integers(0, 2, (masks, *size)).astype(np.uint8)
    return TrainingSample(frames, [4, 1], [frames[1], frames[4]], [text], targets)


def test_a_step_learns_and_text_only_samples_take_part(tiny: Any) -> None:
    model = copy.deepcopy(tiny.model).train()
    freeze_but_trained(model)
    batch = collate(
        [
            sample(conversation("Where is it?", "Sure, it is [SEG]."), 2, (30, 40), 0),
            sample(conversation("Hello", "There is nothing."), 0, (20, 20), 1),
        ],
        tiny.processor,
    )
    output = model(batch)
    assert len(output.mask_logits) == 1 and output.mask_logits[0].shape == (2, 30, 40)
    assert torch.isclose(output.loss, output.ce_loss + output.mask_bce_loss + output.mask_dice_loss)
    optimiser = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=3e-3)
    for _ in range(5):
        optimiser.zero_grad()
        model(batch).loss.backward()
        optimiser.step()
    assert model(batch).loss < output.loss
    frozen = dict(tiny.model.named_parameters())
    for name, parameter in model.named_parameters():
        if not parameter.requires_grad:
            assert torch.equal(parameter, frozen[name]), name


def test_one_token_seg_one_is_one_supervised_frame(tiny: Any) -> None:
    full = sample(conversation("Where?"), 2, (30, 40), 0)
    one = TrainingSample(
        full.clip_frames, full.dense_positions, full.sam_frames[:1], full.conversations, full.masks[:1]
    )
    with torch.no_grad():
        all_frames = tiny.model(collate([full], tiny.processor))
        one_frame = tiny.model(collate([one], tiny.processor))
    assert torch.equal(one_frame.prompt_vectors, all_frames.prompt_vectors)
    assert torch.allclose(one_frame.mask_logits[0][0], all_frames.mask_logits[0][0], atol=1e-5)
    wrong = replace(full, masks=full.masks[:1])
    with pytest.raises(UsageError, match="2 masks are needed"):
        tiny.model(collate([wrong], tiny.processor))


def test_labels_count_the_answer_only(tiny: Any) -> None:
    tokenizer = tiny.processor.tokenizer
    ids = tiny.processor.input_ids(conversation("Where is it?", "Sure, [SEG]."))
    labels = answer_labels(ids, tokenizer.token_id("<|assistant|>"))
    counted = labels[labels != -100].tolist()
    assert counted == ids.tolist()[-len(counted) :]
    assert tokenizer.decode(counted) == "Sure, [SEG]."
    with pytest.raises(UsageError, match="assistant"):
        answer_labels(torch.tensor([1, 2]), tokenizer.token_id("<|assistant|>"))


def test_training_conversations_use_the_released_words() -> None:
    rng = np.random.default_rng(0)
    drawn = {draw_conversation("The  Red car ", False, rng) for _ in range(200)}
    assert len(drawn) == 4 * 5
    assert all("the red car" in text and "[SEG]" in text for text in drawn)
    assert len({draw_conversation("Why?", True, rng) for _ in range(200)}) == 2 * 5


def test_lora_merges_into_its_weights(tiny: Any) -> None:
    pytest.importorskip("peft")
    model = copy.deepcopy(tiny.model)
    add_lora(model)
    freeze_but_trained(model)
    adapters = {n: p for n, p in model.named_parameters() if "lora_" in n}
    assert len(adapters) == 2 * 2 and all(p.requires_grad for p in adapters.values())
    with torch.no_grad():
        for parameter in adapters.values():
            parameter.normal_()
    a, b = (adapters[f"language_model.model.layers.0.self_attn.qkv_proj.lora_{x}.default.weight"] for x in "AB")
    expected = tiny.model.language_model.model.layers[0].self_attn.qkv_proj.weight + 2.0 * b @ a
    merge_lora(model)
    assert torch.allclose(model.language_model.model.layers[0].self_attn.qkv_proj.weight, expected, atol=1e-5)
    assert model.state_dict().keys() == tiny.model.state_dict().keys()


@pytest.mark.filterwarnings("ignore:.*gradient_checkpointing_enable:FutureWarning")
def test_gradient_checkpointing_changes_nothing(tiny: Any) -> None:
    batch = collate([sample(conversation("Where?"), 2, (30, 40), 0)], tiny.processor)
    plain, saving = copy.deepcopy(tiny.model).train(), copy.deepcopy(tiny.model).train()
    saving.language_model.model.gradient_checkpointing_enable()
    plain(batch).loss.backward()
    saving(batch).loss.backward()
    name = "language_model.model.layers.0.self_attn.qkv_proj.weight"
    assert torch.allclose(plain.get_parameter(name).grad, saving.get_parameter(name).grad, atol=1e-6)


def test_sampled_frames_match_the_config(tiny: Any) -> None:
    config = tiny.model.config
    assert len(sample_frames(60, config.sparse_frames, config.dense_frames).frames) == config.sparse_frames

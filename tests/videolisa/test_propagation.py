from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from numpy.typing import NDArray

from rvos.datasets.errors import PredictionInvalid, UsageError
from rvos.datasets.frames import ArrayFrames
from rvos.datasets.types import Expression, Video
from rvos.videolisa.predictor import VideoLisaPredictor
from rvos.videolisa.propagation import (
    FeaturePropagator,
    PostOptimised,
    Sam2Propagator,
    dense_frames,
    guided_filter,
)

SIDE, CELL = 512, 32
SIZE = (288, 512)
TOTAL = 12


def moving_square(index: int) -> NDArray[np.bool_]:
    mask = np.zeros(SIZE, bool)
    mask[80:200, 40 + 20 * index : 180 + 20 * index] = True
    return mask


def video_of(colours: Sequence[tuple[int, int, int]]) -> Video:
    """A square that moves and may change its colour, before a still background."""
    frames = np.full((TOTAL, *SIZE, 3), (40, 60, 50), np.uint8)
    for index in range(TOTAL):
        frames[index][moving_square(index)] = colours[index]
    names = tuple(f"{i:03d}" for i in range(TOTAL))
    return Video("v", names, ArrayFrames(names, frames))


def colour_features(video: Video, frames: Sequence[int] | None) -> Iterator[Any]:
    """Stands in for SAM: the mean colour of each cell, centred."""
    for index in range(len(video)) if frames is None else frames:
        image = torch.from_numpy(video.frame(index)).permute(2, 0, 1).float()[None] / 255 - 0.5
        padded = F.pad(image, (0, SIDE - SIZE[1], 0, SIDE - SIZE[0]))
        yield index, SIZE, F.avg_pool2d(padded, CELL)


def iou(a: NDArray[np.bool_], b: NDArray[np.bool_]) -> float:
    return (a & b).sum() / (a | b).sum()


RED, BLUE = (220, 30, 30), (30, 30, 220)


def test_a_moving_object_is_followed_to_its_edges() -> None:
    video = video_of([RED] * TOTAL)
    references = {"a": {3: moving_square(3)}, "empty": {3: np.zeros(SIZE, bool)}}
    found = list(FeaturePropagator(colour_features, SIDE).propagate(video, references))
    coarse = list(FeaturePropagator(colour_features, SIDE, edge_radius=0).propagate(video, references))
    assert len(found) == 2 * TOTAL
    assert iou(coarse[0][2], moving_square(0)) < 0.9, "without the filter a boundary is as coarse as the grid"
    for name, index, mask in found:
        assert mask.shape == SIZE and mask.dtype == bool
        if name == "empty":
            assert not mask.any()
        else:
            assert iou(mask, moving_square(index)) > 0.9, index


def test_reference_frames_keep_their_masks() -> None:
    video = video_of([RED] * TOTAL)
    odd = np.zeros(SIZE, bool)
    odd[:5, :5] = True
    masks = {i: m for _, i, m in FeaturePropagator(colour_features, SIDE).propagate(video, {"a": {2: odd, 7: odd}})}
    assert np.array_equal(masks[2], odd) and np.array_equal(masks[7], odd)


def test_several_references_follow_a_change_of_looks() -> None:
    video = video_of([RED] * 6 + [BLUE] * 6)
    options = {"edge_radius": 0, "recent": 0}
    propagator = FeaturePropagator(colour_features, SIDE, **options)
    one = {i: m for _, i, m in propagator.propagate(video, {"a": {1: moving_square(1)}})}
    both = {i: m for _, i, m in propagator.propagate(video, {"a": {1: moving_square(1), 9: moving_square(9)}})}
    assert iou(both[10], moving_square(10)) > 0.75 and iou(both[4], moving_square(4)) > 0.75
    assert iou(one[10], moving_square(10)) < 0.5


def test_expressions_with_other_references_do_not_mix() -> None:
    video = video_of([RED] * TOTAL)
    references = {"a": {1: moving_square(1)}, "b": {8: ~moving_square(8)}}
    found = {(n, i): m for n, i, m in FeaturePropagator(colour_features, SIDE).propagate(video, references)}
    assert len(found) == 2 * TOTAL
    assert iou(found["a", 5], moving_square(5)) > 0.8 and iou(found["b", 5], ~moving_square(5)) > 0.8
    with pytest.raises(UsageError, match="no reference"):
        list(FeaturePropagator(colour_features, SIDE).propagate(video, {"a": {}}))


def test_guided_filter_is_exact_on_linear_maps() -> None:
    guide = torch.rand(20, 30, generator=torch.Generator().manual_seed(0))
    values = torch.stack([2 * guide + 1, torch.full_like(guide, 0.3)])
    filtered = guided_filter(guide, values, 3, eps=1e-9)
    assert (filtered - values).abs().max() < 1e-3


class Square:
    """A predictor that is right on the frames it is asked for."""

    def __init__(self) -> None:
        self.asked: list[int] = []

    def segment_frames(self, video: Video, expressions: Sequence[Expression], frames: Sequence[int]) -> Iterator[Any]:
        for index in frames:
            self.asked.append(index)
            for expression in expressions:
                yield expression.id, index, moving_square(index)

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[Any]:
        return self.segment_frames(video, expressions, range(len(video)))


class PlainSquare:
    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[Any]:
        for index in range(len(video)):
            for expression in expressions:
                yield expression.id, index, moving_square(index).astype(np.float32) - 0.5


@pytest.mark.parametrize("predictor", [Square(), PlainSquare()])
def test_post_optimised_predictor(predictor: Any) -> None:
    video = video_of([RED] * TOTAL)
    optimised = PostOptimised(predictor, FeaturePropagator(colour_features, SIDE))
    found = list(optimised.segment(video, [Expression("a", "x"), Expression("b", "y")]))
    assert {(n, i) for n, i, _ in found} == {(n, i) for n in "ab" for i in range(TOTAL)}
    assert all(iou(mask, moving_square(index)) > 0.9 for _, index, mask in found)
    if isinstance(predictor, Square):
        assert predictor.asked == sorted(set(dense_frames(TOTAL)))


def test_missing_reference_masks_are_an_error() -> None:
    class Silent:
        def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[Any]:
            return iter(())

    optimised = PostOptimised(Silent(), FeaturePropagator(colour_features, SIDE))
    with pytest.raises(PredictionInvalid, match="reference frames"):
        list(optimised.segment(video_of([RED] * TOTAL), [Expression("a", "x")]))


def test_on_the_engine(tiny: Any) -> None:
    """The engine gives references and features; reference frames equal its own masks."""
    video = video_of([RED] * TOTAL)
    predictor = VideoLisaPredictor(tiny)
    expressions = [Expression("a", "the red square"), Expression("b", "the background")]
    optimised = PostOptimised(predictor, FeaturePropagator.of(predictor))
    found = {(n, i): m for n, i, m in optimised.segment(video, expressions)}
    assert len(found) == 2 * TOTAL
    own = {(n, i): m for n, i, m in predictor.segment(video, expressions)}
    for index in dense_frames(TOTAL):
        assert np.array_equal(found["a", index], own["a", index])


@pytest.fixture(scope="module")
def sam2() -> Any:
    transformers = pytest.importorskip("transformers")
    if not hasattr(transformers, "Sam2VideoModel"):
        pytest.skip("this transformers has no SAM 2 video model")
    from transformers import Sam2HieraDetConfig, Sam2VideoConfig, Sam2VideoModel, Sam2VisionConfig
    from transformers.models.sam2_video import Sam2VideoMaskDecoderConfig, Sam2VideoPromptEncoderConfig

    side = 64
    backbone = Sam2HieraDetConfig(
        hidden_size=8,
        image_size=[side, side],
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
    torch.manual_seed(0)
    return Sam2VideoModel(
        Sam2VideoConfig(
            vision_config=vision,
            prompt_encoder_config=Sam2VideoPromptEncoderConfig(image_size=side),
            mask_decoder_config=Sam2VideoMaskDecoderConfig(),
            image_size=side,
            memory_attention_num_layers=1,
            memory_attention_rope_feat_sizes=[4, 4],
        )
    )


def test_sam2_with_masks_on_several_frames(sam2: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sam2.config, "max_object_pointers_in_encoder", 2)
    monkeypatch.setattr(sam2.config, "num_maskmem", 3)
    video = video_of([RED] * TOTAL)
    references = {n: {2: moving_square(2), 5: moving_square(5)} for n in "ab"}
    sessions = []
    propagator = Sam2Propagator(sam2)
    start = propagator._session
    monkeypatch.setattr(propagator, "_session", lambda v: sessions.append(start(v)) or sessions[-1])
    found = {(n, i): m for n, i, m in propagator.propagate(video, references)}
    assert set(found) == {(n, i) for n in "ab" for i in range(TOTAL)}
    assert all(mask.shape == SIZE and mask.dtype == bool for mask in found.values())
    assert np.array_equal(found["a", 5], moving_square(5))
    kept = sessions[0].output_dict_per_obj[0]
    assert sorted(kept["cond_frame_outputs"]) == [2, 5]
    assert len(kept["non_cond_frame_outputs"]) <= 3 and not sessions[0].processed_frames

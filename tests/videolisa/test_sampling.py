from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rvos.datasets.errors import UnknownNameError, UsageError
from rvos.videolisa.sampling import (
    STRATEGIES,
    dense_positions,
    random_dense_positions,
    sample_frames,
    sparse_frames,
    supervised_positions,
    training_clip,
    uniform_indices,
)


def span(first: int, last: int) -> list[int]:
    return list(range(first, last + 1))


SPARSE_TABLE = [
    (5, 8, [0, 0, 1, 1, 2, 3, 3, 4]),
    (1, 8, [0] * 8),
    (8, 8, span(0, 7)),
    (9, 8, span(0, 7)),
    (11, 8, [0, 1, 2, 4, 5, 6, 8, 9]),
    (13, 8, [0, 1, 3, 4, 6, 8, 9, 11]),
    (
        20,
        32,
        [
            0,
            0,
            1,
            1,
            2,
            3,
            3,
            4,
            5,
            5,
            6,
            6,
            7,
            8,
            8,
            9,
            10,
            10,
            11,
            11,
            12,
            13,
            13,
            14,
            15,
            15,
            16,
            16,
            17,
            18,
            18,
            19,
        ],
    ),
    (31, 32, [*span(0, 15), *span(15, 30)]),
    (36, 32, [*span(0, 7), *span(9, 16), *span(18, 25), *span(27, 34)]),
    (64, 32, list(range(0, 63, 2))),
    (
        70,
        32,
        [
            *(0, 2, 4, 6, 8, 11, 13, 15, 17, 19, 22, 24, 26, 28, 30, 33),
            *(35, 37, 39, 41, 43, 46, 48, 50, 52, 54, 57, 59, 61, 63, 65, 68),
        ],
    ),
    (
        100,
        32,
        [
            *(1, 4, 7, 10, 13, 16, 19, 22, 26, 29, 32, 35, 38, 41, 44, 47),
            *(51, 54, 57, 60, 63, 66, 69, 72, 76, 79, 82, 85, 88, 91, 94, 97),
        ],
    ),
]


@pytest.mark.parametrize(("total", "count", "expected"), SPARSE_TABLE)
def test_sparse_frames_equal_the_released_table(total: int, count: int, expected: list[int]) -> None:
    assert list(sparse_frames(total, count)) == expected


@pytest.mark.parametrize(
    ("sparse", "dense", "expected"),
    [(8, 2, (1, 4)), (32, 4, (3, 10, 18, 26)), (50, 4, (5, 17, 29, 42)), (32, 8, (1, 4, 8, 12, 16, 20, 24, 28))],
)
def test_dense_positions_equal_the_released_table(sparse: int, dense: int, expected: tuple[int, ...]) -> None:
    assert dense_positions(sparse, dense) == expected


@pytest.mark.parametrize(
    ("total", "expected"),
    [(20, (1, 6, 11, 16)), (33, (3, 10, 18, 26)), (60, (5, 18, 33, 48)), (100, (10, 32, 57, 82))],
)
def test_dense_frames_equal_the_released_table(total: int, expected: tuple[int, ...]) -> None:
    assert sample_frames(total, 32, 4).dense_frames == expected


@pytest.mark.parametrize(("sparse", "dense"), [(4, 4), (2, 4), (8, 0), (1, 1)])
def test_impossible_dense_positions_are_refused(sparse: int, dense: int) -> None:
    with pytest.raises(UsageError, match="dense frames cannot be placed"):
        dense_positions(sparse, dense)


def test_edges_keep_the_truncation_of_numpy() -> None:
    # Edge 25 of 50 over 58 frames is 28.999…, so bin 24 ends one frame earlier than integer arithmetic says.
    edges = np.linspace(0, 58, 51).astype(int)
    assert edges[25] == 28 and 25 * 58 // 50 == 29
    assert uniform_indices(58, 50)[24] == (edges[24] + 28 - 1) // 2
    lower = 0
    for total in range(51, 400):
        floor = np.arange(51) * total // 50
        lower += int((np.linspace(0, total, 51).astype(int) < floor).sum())
    assert lower > 0


@settings(max_examples=200, deadline=None)
@given(total=st.integers(1, 3000), count=st.integers(1, 64))
def test_sparse_frames_are_ascending_and_inside(total: int, count: int) -> None:
    frames = sparse_frames(total, count)
    assert len(frames) == count
    assert list(frames) == sorted(frames)
    assert 0 <= frames[0] <= frames[-1] < total
    if total > count:
        assert len(set(frames)) == count


def test_strategies_choose_their_frames() -> None:
    assert sample_frames(60, 32, 4, "n-frame").dense_positions == (0, 1, 2, 3)
    assert sample_frames(60, 32, 4, "n-frame").frames == sparse_frames(60, 4)
    assert sample_frames(60, 32, 4, "spatial-temporal-pooling").dense_positions == ()
    assert sample_frames(60, 32, 4, "slow-fast-pooling") == sample_frames(60, 32, 4)
    with pytest.raises(UnknownNameError, match="sparse-dense"):
        sample_frames(60, 32, 4, "sparse_dense")
    assert len(STRATEGIES) == 4


def test_empty_videos_are_refused() -> None:
    with pytest.raises(UsageError, match="at least 1"):
        sparse_frames(0, 8)


@settings(max_examples=200, deadline=None)
@given(data=st.data(), total=st.integers(1, 80), count=st.integers(3, 40), seed=st.integers(0, 1000))
def test_training_clip(data: st.DataObject, total: int, count: int, seed: int) -> None:
    anchor = data.draw(st.integers(0, total - 1))
    clip = training_clip(total, anchor, count, np.random.default_rng(seed))
    assert len(clip) == count and list(clip) == sorted(clip)
    assert anchor in clip and clip[0] >= 0 and clip[-1] < total
    # Each of the three local frames can appear once more as context, and a short video's context as often as it
    # fits into the rest; never more.
    assert max(np.bincount(clip)) <= 3 + -(-(count - 3) // total)
    if anchor > 0:
        assert any(max(0, anchor - 3) <= frame < anchor for frame in clip)


def test_training_clip_takes_context_from_outside_the_local_frames() -> None:
    for seed in range(50):
        clip = list(training_clip(100, 50, 8, np.random.default_rng(seed)))
        assert clip.count(50) == 1
        assert any(47 <= frame < 50 for frame in clip) and any(50 < frame <= 53 for frame in clip)


def test_random_dense_positions_and_supervision() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(100):
        dense = random_dense_positions(6, 2, rng)
        assert dense[0] < dense[1] and dense[1] < 6
        assert supervised_positions(dense, "one-token-seg-all", rng) == dense
        assert supervised_positions(dense, "one-token-seg-one", rng)[0] in dense
        seen.add(dense)
    assert len(seen) == 15
    with pytest.raises(UnknownNameError):
        supervised_positions((0,), "one", rng)

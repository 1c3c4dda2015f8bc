"""The metrics equal their definition, the official numbers, and themselves under every way of calling them."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import oracle
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray
from pycocotools import mask as coco

from rvos.benchmarks.metrics import (
    BitMask,
    boundary_radius,
    decay,
    decay_official,
    j_and_f,
    prepare,
    recall,
    score,
)
from rvos.datasets.errors import DatasetError, UsageError
from rvos.datasets.images import png_grey

CASES = Path(__file__).parents[3] / "shared" / "packs" / "metrics_cases"
TOLERANCE = 1e-12

Mask = NDArray[np.bool_]


# The official numbers -------------------------------------------------------------------------------------------------


def official(name: str) -> list[Any]:
    if not CASES.is_dir():
        return [pytest.param(None, marks=pytest.mark.skip(reason="../shared/packs/metrics_cases is not there"))]
    cases = json.loads((CASES / name).read_text())["cases"]
    return [pytest.param(case, id=case["name"]) for case in cases]


@pytest.mark.parametrize("case", official("expected.json"))
def test_equals_the_davis_script(case: dict[str, Any]) -> None:
    folder = CASES / case["name"]
    gt, pred = png_grey(folder / "gt.png"), png_grey(folder / "pred.png")
    void = png_grey(folder / "void.png") if case["void"] else None
    scores = j_and_f(gt, pred, void)
    assert boundary_radius(*gt.shape) == case["radius"]
    assert abs(scores.J[0] - case["J"]) <= TOLERANCE
    assert abs(scores.F[0] - case["F"]) <= TOLERANCE


@pytest.mark.parametrize("case", official("db_statistics.json"))
def test_statistics_equal_the_davis_script(case: dict[str, Any]) -> None:
    values = [math.nan if v is None else v for v in case["values"]]
    assert abs(recall(values) - case["R"]) <= TOLERANCE
    if case["D_is_nan"]:
        assert math.isnan(decay_official(values))
    else:
        assert abs(decay_official(values) - case["D"]) <= TOLERANCE
    if len(values) <= 256 and not case["D_is_nan"]:
        assert decay(values) == decay_official(values)


# The definition -------------------------------------------------------------------------------------------------------


@st.composite
def masks(draw: st.DrawFn, height: int, width: int) -> Mask:
    """Noise, blobs, lines, or their mix: all that boundaries and words of 64 pixels can stumble over."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    mask = rng.random((height, width)) < draw(st.sampled_from([0.0, 0.01, 0.3, 0.97, 1.0]))
    for _ in range(draw(st.integers(0, 3))):
        y, x = rng.integers(0, height), rng.integers(0, width)
        mask[y : y + rng.integers(1, height + 1), x : x + rng.integers(1, width + 1)] ^= True
    return mask


@st.composite
def pairs(draw: st.DrawFn) -> tuple[Mask, Mask, Mask | None]:
    height = draw(st.one_of(st.integers(1, 40), st.sampled_from([1, 2, 63, 64, 65])))
    width = draw(st.one_of(st.integers(1, 140), st.sampled_from([1, 2, 63, 64, 65, 127, 128, 129])))
    void = draw(st.one_of(st.none(), masks(height, width)))
    return draw(masks(height, width)), draw(masks(height, width)), void


@settings(max_examples=100, deadline=None)
@given(pairs())
def test_equals_the_definition(pair: tuple[Mask, Mask, Mask | None]) -> None:
    scores = j_and_f(*pair)
    assert (scores.J[0], scores.F[0]) == oracle.scores(*pair)


@st.composite
def sparse_pairs(draw: st.DrawFn) -> tuple[Mask, Mask]:
    """A few small things near each other in a wide image: what a crop that is one pixel short loses."""
    height, width = draw(st.integers(1, 20)), draw(st.integers(130, 460))
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    gt, pred = np.zeros((2, height, width), bool)
    for mask in (gt, pred) * draw(st.integers(1, 2)):
        y, x = rng.integers(0, height), (rng.integers(0, width) // 64) * 64 + rng.integers(-6, 7)
        mask[y : y + rng.integers(1, 4), max(0, x) : max(0, x) + rng.integers(1, 5)] = True
    return gt, np.roll(gt, rng.integers(-6, 7), axis=1) if draw(st.booleans()) else pred


@settings(max_examples=120, deadline=None)
@given(sparse_pairs())
def test_small_objects_equal_the_definition(pair: tuple[Mask, Mask]) -> None:
    for gt, pred in (pair, (pair[0].T, pair[1].T)):
        scores = j_and_f(gt, pred)
        assert (scores.J[0], scores.F[0]) == oracle.scores(gt, pred)


@pytest.mark.parametrize("size", [(700, 9), (9, 700), (97, 1300), (1300, 70)])
def test_equals_the_definition_with_a_wide_tolerance(size: tuple[int, int]) -> None:
    rng = np.random.default_rng(size[0])
    gt, pred = rng.random(size) < 0.002, rng.random(size) < 0.002
    scores = j_and_f(gt, pred)
    assert (scores.J[0], scores.F[0]) == oracle.scores(gt, pred)


def test_equals_the_definition_beyond_a_word_of_tolerance() -> None:
    size = (6, 8200)  # a tolerance of 66 pixels
    gt, pred = np.zeros(size, bool), np.zeros(size, bool)
    gt[2:4, 4000:4100] = pred[1:5, 4040:4166] = pred[:, 10] = gt[0, 76] = gt[5, 8199] = pred[0, 8133] = True
    assert boundary_radius(*size) == 66
    scores = j_and_f(gt, pred)
    assert (scores.J[0], scores.F[0]) == oracle.scores(gt, pred)


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_symmetric_and_bounded(pair: tuple[Mask, Mask, Mask | None]) -> None:
    gt, pred, void = pair
    there, back = j_and_f(gt, pred, void), j_and_f(pred, gt, void)
    assert there.J == back.J
    assert pytest.approx(back.F, abs=1e-15) == there.F
    assert 0 <= there.J[0] <= 1
    assert 0 <= there.F[0] <= 1


@settings(max_examples=40, deadline=None)
@given(pairs())
def test_identical_masks_score_one(pair: tuple[Mask, Mask, Mask | None]) -> None:
    scores = j_and_f(pair[0], pair[0], pair[2])
    assert (scores.J[0], scores.F[0]) == (1.0, 1.0)


@settings(max_examples=40, deadline=None)
@given(masks(30, 90), masks(30, 90), st.integers(0, 20), st.integers(0, 80))
def test_translation_away_from_the_border_changes_nothing(gt: Mask, pred: Mask, dy: int, dx: int) -> None:
    def placed(mask: Mask, y: int, x: int) -> Mask:
        frame = np.zeros((56, 176), bool)
        frame[y : y + 30, x : x + 90] = mask
        return frame

    here = j_and_f(placed(gt, 3, 3), placed(pred, 3, 3))
    there = j_and_f(placed(gt, 3 + dy, 3 + dx), placed(pred, 3 + dy, 3 + dx))
    assert (here.J, here.F) == (there.J, there.F)


@settings(max_examples=30, deadline=None)
@given(masks(30, 90), masks(30, 90))
def test_transposition_changes_nothing(gt: Mask, pred: Mask) -> None:
    scores, turned = j_and_f(gt, pred), j_and_f(gt.T, pred.T)
    assert (scores.J, scores.F) == (turned.J, turned.F)


# Rules of the empty and the full --------------------------------------------------------------------------------------


@pytest.mark.parametrize("left", [64, 100, 121, 124, 126, 127, 128])
def test_small_objects_in_a_wide_image(left: int) -> None:
    """An object within one 64-pixel word whose surroundings reach into the next."""
    gt, pred = np.zeros((2, 12, 320), bool)
    gt[4:8, left : left + 2] = True
    pred[4:8, left + 3 : left + 5] = True
    scores = j_and_f(gt, pred)
    assert scores.F[0] == pytest.approx(oracle.boundary_f(gt, pred), abs=1e-12)
    assert scores.J[0] == 0


def test_empty_and_full_masks() -> None:
    empty, full = np.zeros((48, 70), bool), np.ones((48, 70), bool)
    dot = empty.copy()
    dot[20, 30] = True
    values = {
        (name_a, name_b): (scores.J[0], scores.F[0])
        for name_a, a in {"empty": empty, "full": full, "dot": dot}.items()
        for name_b, b in {"empty": empty, "full": full, "dot": dot}.items()
        for scores in [j_and_f(a, b)]
    }
    assert values["empty", "empty"] == values["full", "full"] == values["dot", "dot"] == (1.0, 1.0)
    assert values["full", "empty"] == values["empty", "full"] == (0.0, 1.0)  # a full mask has no boundary
    assert values["dot", "empty"] == values["empty", "dot"] == (0.0, 0.0)
    assert values["full", "dot"] == (1 / full.size, 0.0)


def test_void_leaves_both_masks_before_the_boundary() -> None:
    gt, pred, void = (np.zeros((60, 80), bool) for _ in range(3))
    gt[10:30, 10:30] = True
    pred[10:30, 10:50] = True
    void[:, 30:60] = True
    scores = j_and_f(gt, pred, void)
    assert (scores.J[0], scores.F[0]) == (1.0, 1.0)
    assert j_and_f(gt, pred).J[0] == 0.5


# Every way of calling -------------------------------------------------------------------------------------------------


def test_videos_chunks_and_types_agree() -> None:
    rng = np.random.default_rng(0)
    gt, pred = rng.random((2, 5, 33, 70)) < 0.4
    void = rng.random((33, 70)) < 0.1
    whole = j_and_f(gt, pred, void)
    assert whole.J.shape == whole.F.shape == (5,)
    assert whole.J.dtype == whole.F.dtype == np.float64
    for t in range(5):
        single = j_and_f(gt[t], pred[t], void)
        assert (single.J[0], single.F[0]) == (whole.J[t], whole.F[t])
    others = (gt.astype(np.uint8) * 255, pred.astype(np.int64) * -3, np.repeat(void[None], 5, axis=0).astype(np.uint16))
    again = j_and_f(*others)
    assert np.array_equal(again.J, whole.J)
    assert np.array_equal(again.F, whole.F)
    strided = j_and_f(np.repeat(gt, 2, axis=2)[:, :, ::2], np.asfortranarray(pred), void)
    assert np.array_equal(strided.F, whole.F)


def test_no_frames_give_no_scores() -> None:
    assert j_and_f(np.zeros((0, 4, 5), bool), np.zeros((0, 4, 5), bool)).J.shape == (0,)


def test_a_prepared_mask_serves_many_pairs() -> None:
    rng = np.random.default_rng(1)
    gt, *preds = rng.random((4, 40, 100)) < 0.5
    truth = prepare(gt)
    assert truth.area == gt.sum()
    assert truth.n_boundary == oracle.boundary(gt).sum()
    assert not truth.empty
    for pred in preds:
        assert score(truth, prepare(BitMask.from_array(pred))) == oracle.scores(gt, pred)


@settings(max_examples=60, deadline=None)
@given(pairs())
def test_bit_masks_from_arrays_and_rle(pair: tuple[Mask, Mask, Mask | None]) -> None:
    a, b, _ = pair
    packed = coco.encode(np.asfortranarray(a, dtype=np.uint8))
    text = {"size": packed["size"], "counts": packed["counts"].decode()}
    runs = np.diff(np.flatnonzero(np.diff(a.T.reshape(-1), prepend=False, append=not a[-1, -1])), prepend=0)
    bits = BitMask.from_array(a)
    for form in (packed, text, {"size": list(a.shape), "counts": runs.tolist()}):
        assert np.array_equal(BitMask.from_rle(form).words, bits.words)
    assert np.array_equal(bits.to_array(), a)
    other = BitMask.from_array(b)
    assert np.array_equal((bits | other).to_array(), a | b)
    assert np.array_equal((bits & other).to_array(), a & b)
    assert np.array_equal((bits - other).to_array(), a & ~b)


@pytest.mark.parametrize(
    "rle",
    [
        {},
        {"size": [4, 5]},
        {"size": [4], "counts": [20]},
        {"size": [4, 5], "counts": [19]},
        {"size": [4, 5], "counts": [21]},
        {"size": [4, 5], "counts": [-1, 21]},
        {"size": [4, 5], "counts": []},
        {"size": [4, 5], "counts": ["x"]},
        {"size": [4, 5], "counts": None},
        {"size": [4, 5], "counts": b""},
        {"size": [4, 5], "counts": "\x01\x02"},
        {"size": [4, 5], "counts": "é"},
        {"size": [4, 5], "counts": "o" * 40},
        {"size": [0, 5], "counts": [0]},
        {"size": [-4, -5], "counts": [20]},
        {"size": [10**9, 10**9], "counts": [10**18]},
        {"size": [10**30, 1], "counts": [10**30]},
        {"size": [math.nan, 1], "counts": [1]},
    ],
)
def test_refuses_what_is_no_rle(rle: dict[str, Any]) -> None:
    with pytest.raises(DatasetError, match="RLE"):
        BitMask.from_rle(rle)


@pytest.mark.parametrize(
    ("gt", "pred", "void", "words"),
    [
        (np.zeros((4, 5), bool), np.zeros((5, 4), bool), None, "resize"),
        (np.zeros((4, 5), bool), np.zeros((4, 5)), None, "threshold"),
        (np.zeros((2, 4, 5), bool), np.zeros((3, 4, 5), bool), None, "resize"),
        (np.zeros((2, 4, 5), bool), np.zeros((2, 4, 5), bool), np.zeros((4, 4), bool), "void"),
        (np.zeros((3, 4, 5), bool), np.zeros((3, 4, 5), bool), np.zeros((2, 4, 5), bool), "void"),
        (np.zeros(4, bool), np.zeros(4, bool), None, "shape"),
        (np.zeros((4, 0), bool), np.zeros((4, 0), bool), None, "shape"),
    ],
)
def test_refuses_what_cannot_be_compared(gt: Mask, pred: Mask, void: Mask | None, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        j_and_f(gt, pred, void)


def test_refuses_prepared_masks_of_different_sizes() -> None:
    a, b = prepare(np.ones((4, 5), bool)), prepare(np.ones((5, 4), bool))
    with pytest.raises(UsageError, match="4x5 and 5x4"):
        score(a, b)


# Statistics -----------------------------------------------------------------------------------------------------------


def test_decay_compares_first_and_last_quarter_at_any_length() -> None:
    values = np.linspace(1, 0, 300)
    assert decay(values) == pytest.approx(0.75, abs=0.01)
    assert math.isnan(decay_official(values))
    assert decay(values[:200]) == decay_official(values[:200])


def test_statistics_of_nothing() -> None:
    assert math.isnan(recall([]))
    assert math.isnan(decay([]))
    assert math.isnan(decay_official([]))
    assert recall([0.5, 0.6]) == 0.5  # 0.5 itself is not above
    assert recall([math.nan, 1.0]) == 0.5

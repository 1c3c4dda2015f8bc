"""Agreement, against values worked out by hand and against the published example of alpha."""

from __future__ import annotations

from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toyproject import box, toy_clip, tracks, write_frames, write_project

from rvos.benchmarks.metrics import j_and_f
from rvos.datasets.annotation import agreement, native
from rvos.datasets.annotation.agreement import krippendorff_alpha
from rvos.datasets.masks import decode_rle


def test_alpha_of_two_coders_by_hand() -> None:
    # units (a, a), (a, b), (b, b), (b, b): o_ab = 1 each way, n_a = 3, n_b = 5, n = 8: 1 - 7 * 2 / (2 * 15)
    assert krippendorff_alpha(["aa", "ab", "bb", "bb"]) == float(1 - Fraction(7 * 2, 30))


def test_alpha_of_krippendorffs_own_example() -> None:
    """The nominal example with four observers and missing data of 'Computing Krippendorff's Alpha-Reliability' (2011).

    Twelve units; published alpha 0.743.
    """
    observers = [
        "1 2 3 3 2 1 4 1 2 . . .",
        "1 2 3 3 2 2 4 1 2 5 . 3",
        ". 3 3 3 2 3 4 2 2 5 1 .",
        "1 2 3 3 2 4 4 1 2 5 1 .",
    ]
    columns = zip(*(row.split() for row in observers), strict=True)
    units = [[value for value in column if value != "."] for column in columns]
    assert krippendorff_alpha(units) == pytest.approx(0.743, abs=5e-4)


def test_alpha_at_its_ends() -> None:
    assert krippendorff_alpha(["aa", "bb", "cc"]) == 1
    assert krippendorff_alpha(["ab", "ba"]) == float(1 - Fraction(3 * 4, 2 * 4))  # -0.5: worse than chance
    assert krippendorff_alpha([]) is None
    assert krippendorff_alpha(["a", "b"]) is None  # nobody answered the same
    assert krippendorff_alpha(["aa", "aa"]) is None  # nothing to disagree about


@settings(max_examples=40, deadline=None)
@given(st.lists(st.lists(st.sampled_from("abc"), max_size=4), max_size=6))
def test_alpha_does_not_depend_on_order_or_names(units: list[list[str]]) -> None:
    alpha = krippendorff_alpha(units)
    renamed = [[{"a": "x", "b": "a", "c": "b"}[value] for value in reversed(unit)] for unit in reversed(units)]
    assert krippendorff_alpha(renamed) == alpha
    assert alpha is None or alpha <= 1


def test_choices_of_the_toy_project(tmp_path: Path) -> None:
    """Per clip: one frame, 'a': wrong, right. Video, 'a': right, right; 'c': right, right; 'd': right, wrong."""
    found = agreement.report(write_project(tmp_path / "p", tmp_path / "w"))
    assert (found.one_frame.n_answers, found.one_frame.n_people, found.one_frame.n_sentences) == (4, 2, 2)
    assert found.one_frame.accuracy == 0.5 and found.one_frame.chance == 0.25
    assert found.one_frame.corrected == pytest.approx((0.5 - 0.25) / 0.75)
    assert found.video.accuracy == 10 / 12 and found.video.corrected == pytest.approx((10 / 12 - 0.25) / 0.75)
    # values {1} x4, {1, 2} x4, {} x2, {3} x2: two of six units disagree, 2 pairs each
    assert found.video.alpha == pytest.approx(1 - 11 * 4 / (144 - 16 - 16 - 4 - 4))
    assert found.clips["park"]["video"].n_answers == 6
    assert found.n_verdicts == 4 and found.verdict_alpha is None  # one reviewer


def test_chance_is_that_of_each_answers_own_candidates(tmp_path: Path) -> None:
    clip = toy_clip(write_frames(tmp_path))
    few = clip.choices[1].model_copy(update={"candidates": ("1",)})
    assert agreement.chance_of(few) == Fraction(1, 2) and agreement.chance_of(clip.choices[1]) == Fraction(1, 4)
    mixed = clip.model_copy(update={"choices": (few, clip.choices[3])})
    found = agreement.accuracy([mixed], "video")
    assert found.chance == 3 / 8 and found.corrected == pytest.approx((2 - 3 / 4) / (2 - 3 / 4))


def test_masks_of_second_drawings(tmp_path: Path) -> None:
    project = write_project(tmp_path / "p", tmp_path / "w")
    found = agreement.report(project).masks
    assert (found.n_pairs, found.n_frames) == (2, 10)
    scores = []
    for shift in (0, 1):
        a, b = tracks(shift)["1"], tracks(shift)["1b"]
        per_frame = [j_and_f(decode_rle(x), decode_rle(y)) for x, y in zip(a, b, strict=True) if x and y]
        scores.append(([s.J[0] for s in per_frame] + [1, 1], [s.F[0] for s in per_frame] + [1, 1]))
    assert found.J == pytest.approx(np.mean([np.mean(j) for j, _ in scores])) and 0.8 < found.J < 0.95
    assert found.F == pytest.approx(np.mean([np.mean(f) for _, f in scores]))
    assert 90 / 110 == pytest.approx(scores[0][0][0])


def test_drawn_by_one_and_absent_for_the_other_is_zero(tmp_path: Path) -> None:
    clip = toy_clip(write_frames(tmp_path / "w"))
    masks = {**tracks(), "1b": [None] * 5}
    with native.Writer(tmp_path / "p", native.Head(name="x")) as writer:
        writer.add(clip, masks)
    found = agreement.report(native.read(tmp_path / "p")).masks
    assert found.J == pytest.approx(2 / 5) and found.F == pytest.approx(2 / 5)


def test_what_nobody_did_is_not_measured(tmp_path: Path) -> None:
    frames = write_frames(tmp_path / "w")
    clip = toy_clip(frames, choices=(), verdicts=(), objects=toy_clip(frames).objects[:3])
    with native.Writer(tmp_path / "p", native.Head(name="x")) as writer:
        writer.add(clip, {"1": [box(0, 0, 9)] * 5})
    found = agreement.report(native.read(tmp_path / "p"))
    plain = found.as_dict()
    assert plain["video"]["accuracy"] == plain["masks"]["J"] == plain["verdict_alpha"] == "not measured"
    assert plain["clips"] == {}
    assert str(found).count("not measured") == 4

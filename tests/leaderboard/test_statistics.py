"""Statistics of comparisons. About 8 s, most of it the simulation."""

from __future__ import annotations

import itertools
import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats
from toyprotocol import ToyProtocol
from toyset import ToyDataset

from rvos import compare
from rvos.benchmarks.evaluator import Evaluator
from rvos.benchmarks.intervals import clustered_interval
from rvos.benchmarks.results import Result
from rvos.datasets.errors import RunError, UsageError
from rvos.leaderboard.statistics import (
    cluster_sums,
    clustered_t,
    compare_results,
    detectable,
    holm,
    paired,
    sign_flip_p,
    videos_needed,
)


def scored(shift: int, n_videos: int = 8) -> Result:
    evaluator = Evaluator(ToyDataset(n_videos), ToyProtocol())
    for i, sample in enumerate(evaluator.dataset):
        truth = evaluator.dataset.ground_truth(sample)
        assert truth is not None
        for index in range(len(sample.video)):
            mask = truth.mask(index)
            assert mask is not None
            evaluator.update(sample, index, np.roll(mask, shift + i % 3, axis=1))
    return evaluator.compute()


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {"far": scored(5), "near": scored(1), "same": scored(1)}


def test_a_paired_difference_by_hand() -> None:
    values, videos = [0.2, 0.1, -0.1, 0.3], ["a", "a", "b", "c"]
    sums, counts = cluster_sums(values, videos)
    np.testing.assert_allclose(sums, [0.3, -0.1, 0.3])
    test = clustered_t(sums, counts)
    interval = clustered_interval(values, videos)
    assert test.mean == pytest.approx(0.125) and test.half_width == pytest.approx(interval.half_width)
    t = test.mean / test.error
    assert test.p == pytest.approx(2 * stats.t.sf(t, 2))


def test_clusters_of_one_unit_are_the_ordinary_paired_t_test() -> None:
    differences = np.random.default_rng(3).normal(0.02, 0.1, 40)
    test = clustered_t(*cluster_sums(differences.tolist(), [str(i) for i in range(40)]))
    assert test.p == pytest.approx(stats.ttest_1samp(differences, 0).pvalue, rel=1e-9)


def test_all_sign_patterns_are_tried_where_few() -> None:
    sums = np.array([0.3, -0.1, 0.25, 0.4, 0.05])
    patterns = [
        abs(sum(s * x for s, x in zip(signs, sums, strict=True))) for signs in itertools.product((1, -1), repeat=5)
    ]
    assert sign_flip_p(sums) == pytest.approx(np.mean([v >= abs(sums.sum()) - 1e-12 for v in patterns]))
    assert sign_flip_p(np.full(6, 0.1)) == 2 / 64
    assert sign_flip_p(np.zeros(20)) == 1.0


def test_random_signs_agree_with_the_exact_test() -> None:
    sums = np.random.default_rng(0).normal(0.05, 0.1, 13)
    exact = sign_flip_p(sums)
    padded = sign_flip_p(np.append(sums, 0.0), n_flips=20_000)  # a video without a difference changes nothing
    assert padded == pytest.approx(exact, abs=0.012)
    assert sign_flip_p(np.append(sums, 0.0), seed=1) == sign_flip_p(np.append(sums, 0.0), seed=1)


def test_holm_by_hand() -> None:
    assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
    assert holm([0.5, 0.9]) == [1.0, 1.0] and holm([]) == []


def test_power_formula_is_kept_by_simulation() -> None:
    rng = np.random.default_rng(0)
    need = videos_needed(error=0.1 / np.sqrt(40), n_videos=40, difference=0.03)
    assert need == pytest.approx((1.96 + 0.8416) ** 2 * (0.1 / 0.03) ** 2, abs=1)
    draws = rng.normal(0.03, 0.1, (4000, need))
    t = draws.mean(1) / (draws.std(1, ddof=1) / np.sqrt(need))
    assert np.mean(np.abs(t) > stats.t.ppf(0.975, need - 1)) == pytest.approx(0.8, abs=0.03)
    assert detectable(0.1 / np.sqrt(need), need) == pytest.approx(0.03, rel=0.02)


@pytest.mark.parametrize(("n_videos", "most_sentences"), [(50, 24), (91, 9), (30, 12)])
def test_intervals_cover_and_false_positives_are_rare_enough(n_videos: int, most_sentences: int) -> None:
    """Sentences of a video share its difficulty (a beta-like J&F with intra-video correlation of about one half)."""
    rng = np.random.default_rng(n_videos)
    n_trials, truth = 2000, 0.5
    counts = rng.integers(2, most_sentences + 1, n_videos).astype(float)
    video = np.where(rng.random((n_trials, n_videos)) < 0.5, 0.2, 0.8)
    noise = rng.normal(0, 0.3, (n_trials, n_videos)) / np.sqrt(counts)
    sums = (video + noise) * counts
    tests = [clustered_t(row, counts) for row in sums]
    covered = np.mean([abs(t.mean - truth) <= t.half_width for t in tests])
    assert 0.93 <= covered <= 0.97

    total = counts.sum()
    within = 0.3**2 * (total - n_videos) / (total - 1)
    between = np.sum(counts * (video - 0.5) ** 2, axis=1) / total
    naive = 1.96 * np.sqrt((within + between) / total)
    assert np.mean(np.abs(sums.sum(1) / total - truth) <= naive) < 0.75  # sentences taken for independent

    effect = (rng.normal(0, 0.15, (n_trials, n_videos)) + noise * 0.5) * counts  # two equal runs, paired
    false_t = np.mean([clustered_t(row, counts).p < 0.05 for row in effect])
    false_flip = np.mean([sign_flip_p(row, n_flips=399, seed=i) < 0.05 for i, row in enumerate(effect[:1000])])
    assert 0.03 <= false_t <= 0.07 and 0.03 <= false_flip <= 0.07


def test_compare_names_the_best_and_what_cannot_be_told_from_it(results: dict[str, Result]) -> None:
    found = compare_results(results)
    assert found.best in ("near", "same") and set(found.not_separable) == {"near", "same"}
    far = next(p for p in found.against_best if p.b == "far")
    assert far.difference > 0.1 and far.p == pytest.approx(2 / 2**8) and far.separable and far.half_width is not None
    assert far.p_holm == pytest.approx(4 / 2**8)
    twins = next(p for p in found.pairs if {p.a, p.b} == {"near", "same"})
    assert (twins.difference, twins.half_width, twins.p) == (0.0, 0.0, 1.0)
    text = str(found)
    assert "≈ best" in text and "±" in text and "0.008" in text
    content = json.loads(found.to_json())
    assert content["not_separable"] == list(found.not_separable) and len(content["pairs"]) == 3
    assert "videos to see 1 point" in found.to_markdown()


def test_too_few_videos_are_said_to_be_too_few(results: dict[str, Result]) -> None:
    few = compare_results({"far": scored(5, n_videos=4), "near": scored(1, n_videos=4)})
    assert any("4 videos are too few" in line for line in few.remarks()) and len(few.not_separable) == 2
    assert not any("too few" in line for line in compare_results(results).remarks())


def test_runs_of_other_data_or_protocols_are_refused(results: dict[str, Result]) -> None:
    near = results["near"]
    other = near.record.model_copy(update={"dataset": near.record.dataset.model_copy(update={"fingerprint": "x"})})
    with pytest.raises(RunError, match="fingerprint"):
        paired(near, Result(other, near.scores))
    partial = near.record.model_copy(update={"limit": 2})
    with pytest.raises(RunError, match="extent"):
        paired(near, Result(partial, near.scores))
    with pytest.raises(UsageError, match="two runs"):
        compare(near)
    with pytest.raises(UsageError, match="Known: F, J, J&F"):
        compare(near, near, metric="IoU", names=("a", "b"))


def test_a_value_that_is_no_plain_mean_has_no_interval(results: dict[str, Result]) -> None:
    near, far = results["near"], results["far"]
    assert near.record.summary is not None
    values = {**near.summary.values, "J&F": near.summary.J_and_F.model_copy(update={"value": 0.123})}
    moved = near.record.summary.model_copy(update={"values": values})
    pair = paired(Result(near.record.model_copy(update={"summary": moved}), near.scores), far)
    assert pair.half_width is None and pair.p is None and "plain mean" in pair.reason


def test_the_command_compares_runs_of_the_embedded_benchmark(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    from rvos.baselines.registry import make_predictor
    from rvos.benchmarks.engine import predict
    from rvos.benchmarks.evaluator import evaluate
    from rvos.cli import main
    from rvos.datasets.reasonshapes.generate import generate
    from rvos.datasets.reasonshapes.writers import write
    from rvos.datasets.registry import load

    write("mevis", tmp_path / "data", generate("valid", 4, height=48, width=64, n_frames=6), split="valid_u")
    dataset = load("mevis/valid_u", root=tmp_path / "data")
    for name in ("perfect", "shifted", "empty"):
        evaluate(predict(make_predictor(name, dataset), dataset, out=tmp_path / name, progress=False), workers=1)
    with pytest.raises(SystemExit) as ended:
        main(["compare", *(str(tmp_path / n) for n in ("shifted", "perfect", "empty"))])
    assert ended.value.code == 0
    printed = capsys.readouterr().out
    assert printed.startswith("mevis@1: ") and "perfect" in printed and "±" in printed and "p (Holm)" in printed

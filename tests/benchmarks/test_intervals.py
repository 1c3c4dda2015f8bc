from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from rvos.benchmarks.intervals import clustered_interval


def test_clusters_of_one_size_give_the_t_interval_over_cluster_means() -> None:
    values = np.random.default_rng(0).random((7, 4))
    interval = clustered_interval(values.ravel().tolist(), np.repeat(list("abcdefg"), 4).tolist())
    means = values.mean(axis=1)
    expected = stats.t.ppf(0.975, 6) * means.std(ddof=1) / np.sqrt(7)
    assert interval.value == pytest.approx(values.mean(), abs=1e-15)
    assert interval.half_width == pytest.approx(expected, rel=1e-12)
    assert interval.n_clusters == 7


def test_clusters_of_different_sizes_by_hand() -> None:
    interval = clustered_interval([1.0, 0.0, 0.5], ["a", "a", "b"])
    # mean 0.5, residual sums 0 and 0
    assert (interval.value, interval.half_width) == (0.5, 0.0)
    interval = clustered_interval([1.0, 1.0, 0.0], ["a", "a", "b"])
    # mean 2/3, residual sums 2/3 and -2/3: se^2 = 2 * (8/9) / 9
    assert interval.half_width == pytest.approx(stats.t.ppf(0.975, 1) * np.sqrt(16 / 81), rel=1e-12)


def test_sentences_of_one_video_are_no_independent_evidence() -> None:
    few = clustered_interval([0.2, 0.8], ["a", "b"])
    copied = clustered_interval([0.2] * 50 + [0.8] * 50, ["a"] * 50 + ["b"] * 50)
    assert copied.half_width == pytest.approx(few.half_width)


def test_one_video_and_nothing_have_no_interval_but_a_reason() -> None:
    one, none = clustered_interval([0.3, 0.5], ["a", "a"]), clustered_interval([], [])
    assert (one.value, one.half_width) == (0.4, None) and "one video" in one.reason
    assert (none.value, none.half_width) == (None, None) and none.reason

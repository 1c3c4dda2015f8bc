"""Plots for papers. About 4 s."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toyprotocol import ToyProtocol
from toyset import ToyDataset

from rvos.benchmarks.evaluator import Evaluator
from rvos.benchmarks.results import Result
from rvos.datasets.errors import UsageError
from rvos.leaderboard.plots import by_group, by_length, by_size, over_time, paired_differences, save_plots


def scored(shift: int) -> Result:
    evaluator = Evaluator(ToyDataset(4), ToyProtocol())
    for i, sample in enumerate(evaluator.dataset):
        truth = evaluator.dataset.ground_truth(sample)
        assert truth is not None
        for index in range(len(sample.video)):
            mask = truth.mask(index)
            assert mask is not None
            evaluator.update(sample, index, np.roll(mask, shift + i % 4, axis=1))
    return evaluator.compute(per_frame=True)


@pytest.fixture(scope="module")
def results() -> dict[str, Result]:
    return {"near": scored(0), "far": scored(4)}


def test_bars_are_the_videos_differences(results: dict[str, Result]) -> None:
    axes = paired_differences(results["near"], results["far"], ("near", "far")).axes[0]
    heights = [bar.get_height() for bar in axes.patches[:4]]  # type: ignore[attr-defined]
    expected = []
    for video in ("video0", "video1", "video2", "video3"):
        both = [[s.J_and_F for s in r.scores if s.unit.video_id == video] for r in results.values()]
        expected.append(100 * (np.mean(both[0]) - np.mean(both[1])))  # type: ignore[arg-type]
    assert heights == pytest.approx(sorted(expected))
    assert "p = " in axes.get_title()


def test_lengths_split_the_samples(results: dict[str, Result]) -> None:
    axes = by_length(results).axes[0]
    assert [label.get_text() for label in axes.get_xticklabels()] == ["5", "6", "7", "8"]
    with pytest.raises(UsageError, match="weather"):
        by_group(results, "weather")


def test_sizes_split_the_samples(results: dict[str, Result]) -> None:
    dataset = ToyDataset(4)
    axes = by_size(results, dataset).axes[0]
    labels = [label.get_text() for label in axes.get_xticklabels()]
    truth = dataset.ground_truth(dataset[0])
    assert truth is not None
    share = np.mean([100 * np.mean(m) for i in range(len(truth)) if (m := truth.mask(i)) is not None and m.any()])
    bounds = [[float(end) for end in label.split("–")] for label in labels]
    assert any(0.95 * ends[0] <= share <= 1.05 * ends[-1] for ends in bounds)
    assert [ends[0] for ends in bounds] == sorted(ends[0] for ends in bounds)


def test_frames_of_a_sample(results: dict[str, Result]) -> None:
    axes = over_time(results, "video2/1").axes[0]
    assert len(axes.lines) == 4 and len(axes.lines[0].get_ydata()) == 7  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="--per-frame"):
        over_time(results, "video9/1")


def test_files_are_written(results: dict[str, Result], tmp_path: Path) -> None:
    paths = save_plots(results, tmp_path / "plots", "png", "video0/0")
    assert {"difference-near-far.png", "by-frames.png", "frames-video0-0.png"} <= {p.name for p in paths}
    for path in paths:
        with Image.open(path) as picture:
            assert len(picture.convert("RGB").getcolors(1 << 24) or ()) > 20
    with pytest.raises(UsageError, match="pdf, png, svg"):
        save_plots(results, tmp_path, "gif")

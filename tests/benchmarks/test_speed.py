"""The benchmark program measures what it says, on data that it draws itself."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import oracle
import pytest

from rvos.benchmarks import speed


def test_report_names_workloads_tools_and_what_is_absent(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(speed, "installed", lambda tool: tool.name == "rvos")
    real = speed.write_workload("real", speed.draw_videos(1, 2, 1, 5), tmp_path / "real")
    (real.root / "predictions").rename(tmp_path / "osvos")
    (real.root / "reasonvos" / "predictions").mkdir()
    (tmp_path / "osvos").rename(real.root / "reasonvos" / "predictions" / "osvos")
    page = tmp_path / "docs" / "benchmarks.md"
    arguments = [
        "--frames",
        "1",
        "--rounds",
        "1",
        "--longest",
        "3",
        "--shared",
        "2",
        "--real",
        str(real.root / "reasonvos"),
    ]
    speed.main([*arguments, "--write", str(page)])
    text = page.read_text(encoding="utf-8")
    assert text.count("| rvos |") == 4 and "real videos" in text
    assert text.count("the same scores") == 2 and "OTHER" not in text
    assert re.search(r"\| 3 \| \d+ MiB \|", text)
    assert "vos-benchmark is not installed and was left out: pip install vos-benchmark" in text
    assert "trackeval is not installed" in text


def test_drawn_objects_cover_what_the_report_claims() -> None:
    for video in speed.draw_videos(6, 1, 2, seed=0):
        (gt, preds), *_ = video
        assert 0.08 <= gt.mean() <= 0.45
        assert len(preds) == 2
        assert all(0.5 < oracle.jaccard(gt != 0, pred != 0) < 1 for pred in preds)


def test_plain_implementation_equals_the_definition() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        gt, pred = rng.random((2, rng.integers(1, 30), rng.integers(1, 60))) < rng.choice([0, 0.02, 0.5, 1], (2, 1, 1))
        assert speed.plain_scores(gt, pred) == oracle.scores(gt, pred)


def test_tools_that_disagree_are_named() -> None:
    rows = [speed.Row("w", "rvos", 1.0, (0.5, 0.6)), speed.Row("w", "vos-benchmark", 9.0, (0.5, 0.61))]
    assert speed.disagreements(rows) == ["vos-benchmark gives other values on: w."]
    assert "| w | vos-benchmark | 9.000 | 9.0x | 50.0000 | 61.0000 |" in speed.table(rows)


@pytest.mark.long
def test_memory_is_small_and_does_not_grow_with_the_video(tmp_path: Path) -> None:
    """About 15 s."""
    peaks = speed.measure_memory(tmp_path, (100, 2000))
    assert peaks[2000] < 400
    assert peaks[2000] - peaks[100] < 20

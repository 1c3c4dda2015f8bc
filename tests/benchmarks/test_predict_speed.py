"""The program that measures what a second process and decoding ahead gain. Under 1 s; the whole of it about 10 s."""

from __future__ import annotations

from pathlib import Path

import pytest

from rvos.benchmarks import predict_speed
from rvos.benchmarks.predict_speed import Process, Round, jpeg_video, measure_ahead, processes_table
from rvos.datasets.registry import load


def test_the_table_takes_wall_time_apart_and_says_both_ratios() -> None:
    one = Round(12.0, (Process(1.0, 10.0, 0.5, 0.5, 11.0),))
    two = Round(7.5, (Process(1.0, 5.0, 0.5, 1.0, 6.0), Process(1.2, 4.0, 0.3, 2.0, 5.5)))
    table = processes_table({1: one, 2: two})
    assert table[-1] == "Wall time: 1.60 times as fast. CPU time: 1.83 times."
    assert table[3] == "| process 1 | | 1.00 | 10.00 | 0.50 | 0.50 | 11.00 |"


def test_decoding_ahead_is_measured_on_the_same_video(tmp_path: Path) -> None:
    plain, ahead = measure_ahead(jpeg_video(tmp_path / "frames", 4), rounds=1)
    assert min(plain, ahead) >= 1000 * predict_speed.GPU_SECONDS


@pytest.mark.long
def test_the_whole_program(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    predict_speed.main(["--videos", "3", "--frames", "12", "--rounds", "1", "--height", "32"])
    printed = capsys.readouterr().out
    assert "| 2 processes |" in printed and "times as fast. CPU time:" in printed and "with decoding ahead" in printed
    data = load("reasonshapes/test", n_videos=3, height=32, width=48, n_frames=12)
    one = predict_speed.run_command(data, tmp_path / "one", 1)
    assert len(one.processes) == 1 and one.wall > one.processes[0].work > 0

"""The examples of docs/evaluate-your-model.md, executed. About 4 s."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

import rvos
from rvos.benchmarks.runs import Run
from rvos.datasets.reasonshapes import loader

PAGE = Path(__file__).parents[2] / "docs" / "evaluate-your-model.md"
BLOCKS = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)


@pytest.mark.parametrize("number", range(len(BLOCKS)))
def test_an_example_runs_as_it_stands(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)  # as for a script that lies there
    monkeypatch.setitem(loader.N_VIDEOS, "test", 6)
    exec(compile(BLOCKS[number], f"{PAGE.name}, example {number + 1}", "exec"), {"__name__": "example"})
    runs = list((tmp_path / "runs").iterdir())
    assert [Run.open(r).record.status for r in runs] == ["finished"]
    if number == 0:
        printed = capsys.readouterr().out
        assert printed.startswith("reasonshapes@1") and "J&F" in printed


def test_the_first_example_has_ten_lines_and_its_score_is_that_of_its_masks(tmp_path: Path) -> None:
    assert len([line for line in BLOCKS[0].splitlines() if line.strip()]) <= 10
    data = rvos.load("reasonshapes/test", n_videos=2)
    run = rvos.predict(lambda video, text: video.frames().mean(axis=-1) > 180, data, out=tmp_path, progress=False)
    result = rvos.evaluate(run, data, workers=1)
    by_hand = []
    for sample in data:
        truth = data.ground_truth(sample).dense()
        by_hand.append(rvos.j_and_f(truth, sample.video.frames().mean(axis=-1) > 180).J.mean())
    assert pytest.approx(sum(by_hand) / len(by_hand), abs=1e-12) == result.J

"""``rvos demo``: the whole flow, once. About 8 s."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from PIL import Image

from rvos.benchmarks.runs import Run
from rvos.cli import main
from rvos.cli.demo import DRAWN, PREDICTORS


def demo(out: Path) -> int | str | None:
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--out", str(out), "--videos", "2"])
    return stop.value.code


def test_demo_prints_tables_and_writes_runs_pictures_and_a_report(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "demo"
    assert demo(out) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("reasonshapes@1: ")
    assert printed[-1] == str(out)
    rows = {words[0]: words for words in (line.split() for line in printed) if words and words[0] in PREDICTORS}
    assert set(rows) == set(PREDICTORS)
    assert any(line.split()[:3] == ["perfect", "100.00", "±0.00"] for line in printed)

    summaries = {name: json.loads((out / "runs" / name / "run.json").read_text())["summary"] for name in PREDICTORS}
    scores = {name: summary["J&F"]["value"] for name, summary in summaries.items()}
    assert scores["perfect"] == 1 and all(0 < s <= 1 for n, s in scores.items() if n in DRAWN)
    assert scores["best-object"] >= scores["one-mask-for-all"]
    assert all(Run.open(out / "runs" / name).record.status == "finished" for name in PREDICTORS)

    svg = (out / "table.svg").read_text(encoding="utf-8")
    assert "one-mask-for-all" in svg and "font-face" not in svg

    report = (out / "report.md").read_text(encoding="utf-8")
    pictures = sorted((out / "pictures").iterdir())
    assert pictures and all(f"pictures/{p.name}" in report for p in pictures)
    for path in pictures:
        with Image.open(path) as picture:
            assert min(picture.size) > 400
    assert all(f"- **{name}**:" in report for name in PREDICTORS)

"""``rvos demo``: the whole flow, once, and a benchmark in miniature. About 15 s."""

from __future__ import annotations

import json
from importlib.util import find_spec
from pathlib import Path

import pytest
from absent import without_torch
from PIL import Image

from rvos import miniature
from rvos.benchmarks.protocols import DEFAULTS
from rvos.benchmarks.runs import Run
from rvos.cli import main
from rvos.cli.demo import DRAWN, MODELS, PREDICTORS, _models
from rvos.videolisa.nano import shipped

#: Where the models' packages are absent, the demo does without the models.
RUNNABLE = MODELS if all(map(find_spec, ("torch", "transformers", "sentencepiece"))) else ()


def demo(out: Path, *words: str) -> int | str | None:
    with pytest.raises(SystemExit) as stop:
        main(["demo", "--out", str(out), "--videos", "2", *words])
    return stop.value.code


@pytest.fixture
def untrained(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Untrained models in place of the shipped ones: what the demo does is the same."""
    if RUNNABLE:
        from nanomodels import untrained_nano

        monkeypatch.setattr(shipped, "WEIGHTS", untrained_nano(tmp_path / "weights"))


def test_demo_prints_tables_and_writes_runs_pictures_and_a_report(
    untrained: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out, names = tmp_path / "demo", (*RUNNABLE, *PREDICTORS)
    assert demo(out) == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[0].startswith("reasonshapes@1: ")
    assert printed[-1] == str(out)
    rows = {words[0]: words for words in (line.split() for line in printed) if words and words[0] in names}
    assert set(rows) == set(names) and sum("The right object chosen" in line for line in printed) == 1
    assert bool(RUNNABLE) == (not any(line.startswith("Left out: videolisa-nano and") for line in printed))
    assert any(line.split()[:3] == ["perfect", "100.00", "±0.00"] for line in printed)

    summaries = {name: json.loads((out / "runs" / name / "run.json").read_text())["summary"] for name in names}
    scores = {name: summary["J&F"]["value"] for name, summary in summaries.items()}
    assert scores["perfect"] == 1 and all(0 < s <= 1 for n, s in scores.items() if n in DRAWN)
    assert scores["best-object"] >= scores["one-mask-for-all"]
    assert all(Run.open(out / "runs" / name).record.status == "finished" for name in names)

    svg = (out / "table.svg").read_text(encoding="utf-8")
    assert "one-mask-for-all" in svg and "font-face" not in svg

    report = (out / "report.md").read_text(encoding="utf-8")
    pictures = sorted((out / "pictures").iterdir())
    assert pictures and all(f"pictures/{p.name}" in report for p in pictures)
    for path in pictures:
        with Image.open(path) as picture:
            assert min(picture.size) > 400
    assert all(f"- **{name}**:" in report for name in names) and ("Left out" in report) != bool(RUNNABLE)


def test_models_that_cannot_run_are_left_out_aloud(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "WEIGHTS", tmp_path)
    names, notice = _models()
    assert names == () and notice.startswith("Left out: videolisa-nano and lisa-nano. ") and "\n" not in notice
    without_torch(monkeypatch)
    names, notice = _models()
    assert names == () and "pip install 'rvos[models]'" in notice and "\n" not in notice


#: names without a layout of their own: the generated benchmark, plain folders
NO_LAYOUT = {"reasonshapes", "folders"}


def test_whatever_has_a_protocol_has_a_miniature(tmp_path: Path) -> None:
    assert {name.partition("/")[0] for name in miniature.names()} | NO_LAYOUT >= set(DEFAULTS)
    dataset = miniature.make("groundmore/test", tmp_path / "data", 1)
    scores = miniature.score(dataset, tmp_path / "runs")
    (row,) = miniature.table(scores).rows
    assert row[:2] == ("groundmore@1", "groundmore/test") and float(row[4]) < float(row[-1]) == 100
    assert "- `groundmore@1`: GroundMoRe" in miniature.report(scores)


@pytest.mark.long
def test_every_benchmark_in_miniature(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The truth gets everything, or all that its protocol leaves (DAVIS asks for objects that no sentence means)."""
    out = tmp_path / "all"
    assert demo(out, "--all") == 0
    printed = capsys.readouterr().out.splitlines()
    assert printed[-1] == str(out) and "Every benchmark in miniature" in "".join(printed)
    rows = [line.split() for line in printed if "@" in line]
    assert {row[1] for row in rows} == set(miniature.names())
    assert all(float(row[-1]) == 100 or row[0].startswith("davis17-") for row in rows), rows
    assert all(float(row[-4]) < float(row[-1]) for row in rows)
    report = (out / "report.md").read_text(encoding="utf-8")
    assert all(f"- `{row[0]}`: " in report for row in rows)
    assert Run.open(out / "mevis-valid_u" / "runs" / "empty").record.status == "finished"

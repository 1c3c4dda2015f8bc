"""The tables of a paper with measured values. About 8 s."""

from __future__ import annotations

import csv
import io
import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from latexcheck import problems
from toyprotocol import ToyProtocol
from toyset import ToyDataset

from rvos.benchmarks.evaluator import Evaluator
from rvos.benchmarks.results import Result
from rvos.benchmarks.runs import PredictorRecord, ValueRecord
from rvos.datasets.errors import UnknownNameError, UsageError
from rvos.leaderboard.literature import load_source
from rvos.leaderboard.reproduction import STATES, PaperTable, reproduce
from rvos.leaderboard.reproduction_formats import FORMATS

TABLES = range(1, 11)


@pytest.fixture(scope="module")
def tables() -> dict[int, PaperTable]:
    return {number: reproduce("videolisa", number) for number in TABLES}


@pytest.fixture(scope="module")
def scored() -> Result:
    evaluator = Evaluator(ToyDataset(3), ToyProtocol())
    for sample in evaluator.dataset:
        truth = evaluator.dataset.ground_truth(sample)
        assert truth is not None
        for index in range(len(sample.video)):
            mask = truth.mask(index)
            assert mask is not None
            evaluator.update(sample, index, mask)
    return evaluator.compute()


def as_run(result: Result, dataset: str, protocol: str, version: str = "v1", **more: object) -> Result:
    """The result as if it were of another dataset and protocol."""
    name, _, split = dataset.partition("/")
    assert result.record.protocol is not None
    record = result.record.model_copy(
        update={
            "dataset": result.record.dataset.model_copy(update={"name": name, "split": split, "version": version}),
            "protocol": result.record.protocol.model_copy(update={"id": protocol}),
            "predictor": PredictorRecord(name="mine"),
            **more,
        }
    )
    return Result(record, result.scores)


@pytest.mark.parametrize("number", TABLES)
def test_every_published_number_is_in_every_form(number: int, tables: dict[int, PaperTable]) -> None:
    table = tables[number]
    rows = load_source("videolisa").table(f"Table {number}")
    numbers = [(r.name, r.place, m, v) for r in rows for m, v in r.metrics.items()]
    content = json.loads(table.render("json"))["numbers"]
    assert [(n["label"], n["dataset"], n["metric"], n["published"]) for n in content] == numbers
    lines = list(csv.DictReader(io.StringIO(table.render("csv"))))
    assert [line["published"] for line in lines] == ["" if v is None else str(v) for *_, v in numbers]
    for form in ("text", "markdown", "latex", "html"):
        text = re.sub(r"\$?\^\{[\d,]+\}\$?|<sup>.*?</sup>|\[\d+\]", "", table.render(form))
        for *_, value in numbers:
            assert value is None or re.search(rf"(?<![\d.]){re.escape(str(value))}(?![\d.])", text), (form, value)


@pytest.mark.parametrize("number", TABLES)
def test_latex_is_well_formed(number: int, tables: dict[int, PaperTable], scored: Result, tmp_path: Path) -> None:
    runs = [as_run(scored, "mevis/valid_u", "mevis@1")] if number in (5, 6, 8, 9, 10) else []
    text = reproduce("videolisa", number, runs).render("latex") if runs else tables[number].render("latex")
    assert problems(text) == []
    if shutil.which("pdflatex"):
        page = rf"\documentclass{{article}}\usepackage{{booktabs,amssymb}}\begin{{document}}{text}\end{{document}}"
        (tmp_path / "page.tex").write_text(page, encoding="utf-8")
        done = subprocess.run(["pdflatex", "-halt-on-error", "page.tex"], cwd=tmp_path, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout[-2000:]


def test_the_latex_checker_can_fail() -> None:
    good = "\\begin{tabular}{lr}\na & $^{1}$ \\\\\n\\end{tabular}\n"
    assert problems(good) == []
    broken = (good.replace("a &", "a & b &"), good.replace("$^", "^"), good[:-2], good.replace("a", "a_b", 1) + "{")
    assert all(problems(text) for text in broken)


def test_flags_stand_on_the_rows_they_concern(tables: dict[int, PaperTable]) -> None:
    flags = {(n, c.row.row, c.place.id): c.flags for n, t in tables.items() for _, c in t.cells() if c.row}
    assert any("identical" in f for f in flags[3, 0, "reasonvos/test"])
    assert any("identical" in f for f in flags[3, 5, "reasonvos/test"])
    assert any("swapped" in f for f in flags[1, 16, "ref-youtube-vos/valid"])
    assert any("64.65" in f for f in flags[1, 11, "ref-davis17/valid"])
    assert any("62.35" in f for f in flags[8, 4, "ref-davis17/valid"])
    assert flags[1, 1, "ref-youtube-vos/valid"] == ()
    line = next(x for x in tables[3].render("markdown").splitlines() if x.startswith("| LISA |"))
    marks = re.findall(r"\[(\d+)\]", line)
    notes = dict(re.findall(r"^- \[(\d+)\] (.*)$", tables[3].render("markdown"), re.MULTILINE))
    assert any("identical" in notes[m] for m in marks)
    assert "2024-12-27" in " ".join(tables[3].notes) and "not name the split" in " ".join(tables[2].notes)


def test_every_cell_says_how_reproducible_it_is(tables: dict[int, PaperTable]) -> None:
    states = {n: {s for _, c in t.cells() for s in c.states} for n, t in tables.items()}
    assert all(states.values()) and set().union(*states.values()) == set(STATES)
    assert all("server only" in c.states for _, c in tables[2].cells())
    assert all("data changed since" in c.states for _, c in tables[3].cells())
    final = {c.place.id: c for line, c in tables[1].cells() if line.stub[0].endswith("(One-Token-Seg-All)")}
    assert final["ref-davis17/valid"].states == ("reproducible",)
    assert final["ref-youtube-vos/valid"].states == ("local ground truth only",)
    for table in tables.values():
        for _, cell in table.cells():
            assert bool(cell.commands) == bool(cell.place.protocols or "weights absent" not in cell.states)


def test_commands_of_cells_are_commands_of_rvos(tables: dict[int, PaperTable]) -> None:
    from typer.testing import CliRunner

    from rvos.cli import _app

    known = {"predict": ("--root", "--out"), "evaluate": ("--root", "--predictions", "--protocol", "--out")}
    known["reproduce"] = ("--table", "--run")
    seen = {command for t in tables.values() for _, c in t.cells() for command in c.commands}
    assert len(seen) > 60
    for command in seen:
        program, name, *words = command.split()
        assert program == "rvos" and {w for w in words if w.startswith("--")} <= set(known[name])
    for name, options in known.items():
        page = (
            CliRunner(env={"COLUMNS": "200", "NO_COLOR": "1", "TERM": "dumb"})
            .invoke(_app([name, "doctor"]), [name, "--help"])
            .output
        )
        assert all(option in page for option in options), page


def test_a_run_stands_beside_the_published_number(scored: Result) -> None:
    label = "VideoLISA-3.8B (Sparse Dense Sampling)"
    table = reproduce("videolisa", 8, [as_run(scored, "mevis/valid_u", "mevis@1")])
    line = table.lines[-1]
    cell = line.cells["mevis/valid_u"]
    assert line.stub == ("mine",) and cell.row is None and cell.measured is not None
    assert cell.measured.values["J&F"] == pytest.approx(100) and "15 of 15 units" in cell.measured.coverage
    assert cell.measured.data.startswith("v1")
    folder = as_run(scored, "mevis/valid_u", "mevis@1")
    found = reproduce("videolisa", 8, [labelled(folder, label)])
    cell = next(line for line in found.lines if line.stub == (label,)).cells["mevis/valid_u"]
    assert cell.difference("J&F") == pytest.approx(100 - 51.7)
    assert "100.00" in found.render("markdown") and "+48.30" in found.render("markdown")


@pytest.mark.parametrize(
    ("number", "dataset", "protocol", "published", "metrics"),
    [
        (4, "reasonseg/val", "reasonseg@1", "reasonseg/val", ("gIoU", "cIoU")),
        (4, "reasonseg/test-short", "reasonseg@videolisa", "reasonseg/test/short query", ("gIoU", "cIoU")),
        (7, "refcoco+/testA", "refcoco@1", "refcoco+/testA", ("cIoU",)),
        (7, "refcocog/val", "refcoco@1", "refcocog/val(U)", ("cIoU",)),
    ],
)
def test_image_benchmarks_are_measured_by_their_own_metrics(
    number: int, dataset: str, protocol: str, published: str, metrics: tuple[str, ...], scored: Result
) -> None:
    released = PredictorRecord(name="videolisa", arguments={"path": "ZechenBai/VideoLISA-3.8B"})
    run = as_run(scored, dataset, protocol, predictor=released)
    values = {"gIoU": ValueRecord(value=0.5, half_width=0.01), "cIoU": ValueRecord(value=0.625)}
    summary = run.summary.model_copy(update={"values": values})
    run = Result(run.record.model_copy(update={"summary": summary}), run.scores)
    table = reproduce("videolisa", number, [run])
    (cell,) = [c for _, c in table.cells() if c.measured]
    assert cell.place.id == published and cell.place.metrics == metrics and cell.states == ("reproducible",)
    assert cell.difference("cIoU") == pytest.approx(62.5 - (cell.metrics["cIoU"] or 0))
    text = table.render("markdown")
    assert "62.50" in text and ("50.00 ±1.00" in text) == ("gIoU" in metrics) and f"Δ{metrics[0]}" in text


def labelled(result: Result, label: str) -> Result:
    """A run of the predictor that the label names."""
    record = result.record.model_copy(update={"predictor": PredictorRecord(name=label)})
    return Result(record, result.scores)


@pytest.mark.parametrize(
    ("number", "dataset", "protocol", "version", "reason"),
    [
        (2, "mevis/valid_u", "mevis@1", "v1", "other splits are never put in"),
        (2, "mevis/valid", "mevis@1", "v1", "scored by a server"),
        (6, "mevis/valid", "mevis@1", "v1", "other splits are never put in"),
        (6, "mevis/valid_u", "mevis@1", "v2", "version v2"),
        (1, "ref-davis17/valid", "davis17-per-expression-unsup@1", "unstated", "protocol"),
    ],
)
def test_what_does_not_fit_is_listed_and_not_put_in(
    scored: Result, number: int, dataset: str, protocol: str, version: str, reason: str
) -> None:
    table = reproduce("videolisa", number, [as_run(scored, dataset, protocol, version)])
    assert all(cell.measured is None for _, cell in table.cells())
    assert len(table.refused) == 1 and reason in table.refused[0]
    assert reason in table.render("markdown")


def test_a_partial_run_gives_no_difference(scored: Result) -> None:
    run = labelled(as_run(scored, "mevis/valid_u", "mevis@1", limit=3), "VideoLISA-3.8B (One-Token-Seg-All)")
    table = reproduce("videolisa", 6, [run])
    cell = next(c for _, c in table.cells() if c.measured)
    assert cell.difference("J&F") is None and "first 3 of 3 videos" in cell.measured.coverage  # type: ignore[union-attr]
    assert "Partial run" in table.render("text")


def test_videolisa_on_valid_u_is_marked_as_trained_on_it(tables: dict[int, PaperTable]) -> None:
    for number in (5, 6, 8, 9, 10):
        for _, cell in tables[number].cells():
            marked = any("trained on mevis/valid_u" in note for note in cell.notes)
            assert marked == (cell.place.id == "mevis/valid_u" and cell.row.method.startswith("VideoLISA"))  # type: ignore[union-attr]


def test_table_3_has_a_column_for_the_new_data(tables: dict[int, PaperTable], scored: Result) -> None:
    assert "measured, data of 2024-12-27" in tables[3].render("html")
    run = labelled(as_run(scored, "reasonvos", "reasonvos@1", "unstated"), "SgMg")
    cell = next(c for _, c in reproduce("videolisa", 3, [run]).cells() if c.measured)
    assert cell.row is not None and cell.row.method == "SgMg"


def test_two_runs_for_one_cell_and_unknown_names_are_refused(scored: Result) -> None:
    run = as_run(scored, "mevis/valid_u", "mevis@1")
    with pytest.raises(UsageError, match="Two runs for mine"):
        reproduce("videolisa", 6, [run, run])
    for paper, number in (("videolisa", 11), ("lisa", 1)):
        with pytest.raises(UnknownNameError):
            reproduce(paper, number)
    with pytest.raises(UnknownNameError, match="markdown"):
        reproduce("videolisa", 2).render("word")
    assert set(FORMATS) == {"text", "markdown", "latex", "html", "csv", "json"}


def test_the_command_puts_a_run_into_the_row_of_a_label(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rvos.baselines.registry import make_predictor
    from rvos.benchmarks.engine import predict
    from rvos.benchmarks.evaluator import evaluate
    from rvos.cli import main
    from rvos.datasets.reasonshapes.generate import generate
    from rvos.datasets.reasonshapes.writers import write
    from rvos.datasets.registry import load

    write("mevis", tmp_path / "data", generate("valid", 2, height=48, width=64, n_frames=6), split="valid_u")
    dataset = load("mevis/valid_u", root=tmp_path / "data")
    run = predict(make_predictor("perfect", dataset), dataset, out=tmp_path / "run", progress=False)
    evaluate(run, dataset, workers=1)
    run.record.dataset = run.record.dataset.model_copy(update={"version": "v1"})
    run.save()
    words = ["reproduce", "videolisa", "--table", "6", "--format", "csv"]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--run", f"VideoLISA-3.8B (One-Token-Seg-One)={tmp_path / 'run'}"])
    lines = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    filled = [line for line in lines if line["measured"]]
    assert ended.value.code == 0 and {line["label"] for line in filled} == {"VideoLISA-3.8B (One-Token-Seg-One)"}
    assert len(filled) == 3 and float(filled[0]["difference"]) == pytest.approx(100 - float(filled[0]["published"]))
    with pytest.raises(SystemExit):
        main([*words, "--run", f"Nobody={tmp_path / 'run'}"])
    assert "Unknown row of the table 'Nobody'" in capsys.readouterr().err

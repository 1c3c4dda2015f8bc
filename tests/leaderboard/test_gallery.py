from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toyprotocol import ToyProtocol
from toyset import ToyDataset

from rvos.benchmarks.evaluator import Evaluator
from rvos.benchmarks.results import Result, Table
from rvos.datasets.errors import RunError
from rvos.leaderboard.gallery import GROUND_TRUTH, PREDICTION, worst_pictures, write_report
from rvos.leaderboard.tables import print_results, print_table, worst_table


@pytest.fixture(scope="module")
def scored() -> tuple[Evaluator, Result]:
    evaluator = Evaluator(ToyDataset(2), ToyProtocol())
    for sample in evaluator.dataset:
        truth = evaluator.dataset.ground_truth(sample)
        assert truth is not None
        for index in range(len(sample.video)):
            if sample.key != "video1/3":
                moved = np.roll(truth.mask(index), 5 if sample.expression.id == "1" else 0, axis=1)  # type: ignore[arg-type]
                evaluator.update(sample, index, moved)
    return evaluator, evaluator.compute()


def test_the_worst_units_are_drawn_first(scored: tuple[Evaluator, Result], tmp_path: Path) -> None:
    evaluator, result = scored
    pictures = worst_pictures(result, evaluator.dataset, evaluator.predictions, tmp_path / "overlays", count=3)
    assert [p.path.name for p in pictures] == ["01-video1_3.png", "02-video0_1.png", "03-video1_1.png"]
    assert pictures[0].caption == "video1/3: “sentence 3”, J&F 0.00, missing"
    colours = {tuple(c) for c in np.asarray(Image.open(pictures[1].path)).reshape(-1, 3)[::3].tolist()}
    near = lambda wanted: any(np.abs(np.subtract(c, wanted)).sum() < 40 for c in colours)  # noqa: E731
    assert near(GROUND_TRUTH) and near(PREDICTION)


def test_a_report_shows_tables_and_pictures(scored: tuple[Evaluator, Result], tmp_path: Path) -> None:
    evaluator, result = scored
    pictures = worst_pictures(result, evaluator.dataset, evaluator.predictions, tmp_path / "my overlays", count=2)
    text = write_report({"moved": result, "again": result}, tmp_path / "report.md", pictures, title="Demo").read_text()
    assert text.startswith("# Demo\n\ntoy@1: Toy")
    assert text.count("| moved |") == 1 and "my%20overlays/01-video1_3.png" in text and "## again" in text
    (tmp_path / "file").touch()
    with pytest.raises(RunError, match="cannot be written"):
        write_report({"moved": result}, tmp_path / "file" / "report.md")


def test_tables_in_a_terminal_hold_what_the_text_holds(
    scored: tuple[Evaluator, Result], capsys: pytest.CaptureFixture[str]
) -> None:
    from rich.console import Console

    _, result = scored
    print_results([result], Console(width=120))
    printed = capsys.readouterr().out
    for table in result.tables():
        assert all(cell in printed for row in table.rows for cell in row)
    assert "video1/3: missing, 6 missing of 6 frames" in printed
    assert worst_table(result, 1).rows[0][0] == "video1/3"


def test_markup_in_names_stays_text() -> None:
    table = Table("", ("a|b", "n"), (("[red]x|y", "1"),))
    assert "a\\|b" in table.to_markdown() and "[red]x\\|y" in table.to_markdown()
    assert table.to_text().splitlines()[1].startswith("[red]x|y")


def test_names_and_numbers_survive_narrow_terminals(capsys: pytest.CaptureFixture[str]) -> None:
    from rich.console import Console

    table = Table("", ("kind", *(f"column {n}" for n in range(8))), (("world-knowledge", *["12.34"] * 8), ("a" * 60,)))
    print_table(table, Console(width=40))
    lines = capsys.readouterr().out.splitlines()
    assert any("world-knowledge" in line and line.count("12.34") == 8 for line in lines)
    assert sum(line.count("a") for line in lines if line.strip(" a") == "") == 60

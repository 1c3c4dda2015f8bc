"""Explaining a quoted number, citing a run. About 8 s."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from latexcheck import problems

from rvos.baselines.registry import make_predictor
from rvos.benchmarks.engine import predict
from rvos.benchmarks.evaluator import evaluate
from rvos.benchmarks.predictions import RunMasks, export_masks
from rvos.benchmarks.results import Result
from rvos.benchmarks.runs import Run
from rvos.cli import main
from rvos.datasets.errors import UsageError
from rvos.datasets.reasonshapes.generate import generate
from rvos.datasets.reasonshapes.writers import write
from rvos.datasets.registry import load
from rvos.datasets.types import RVOSDataset
from rvos.leaderboard.cite import cite
from rvos.leaderboard.explain import explain

PACK = Path(__file__).resolve().parents[3] / "shared" / "packs" / "reasonvos"


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    write("mevis", root, generate("valid", 3, height=48, width=64, n_frames=6), split="valid_u")
    return root


@pytest.fixture(scope="module")
def dataset(root: Path) -> RVOSDataset:
    return load("mevis/valid_u", root=root)


@pytest.fixture(scope="module")
def folder(dataset: RVOSDataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """PNG masks in which the whole first video is missing."""
    here = tmp_path_factory.mktemp("masks")
    run = predict(make_predictor("shifted", dataset), dataset, out=here / "run", progress=False)
    export_masks(RunMasks(run.masks), dataset, here / "png")
    shutil.rmtree(here / "png" / dataset.videos[0].id)
    return here / "png"


def test_a_number_of_a_script_that_skips_what_is_missing_is_found(folder: Path, dataset: RVOSDataset) -> None:
    skipping = evaluate(folder, dataset, protocol="mevis@videolisa", workers=1)
    assert isinstance(skipping, Result) and skipping.J_and_F is not None
    quoted = f"{100 * skipping.J_and_F:.1f}"
    found = explain(folder, quoted, dataset.id, root=dataset.root, workers=1)
    matching = {(r.protocol, r.missing) for r, metric in found.matches if metric == "J&F"}
    assert ("mevis@videolisa", "the script's rule") in matching and ("mevis@1", "left out") in matching
    assert ("mevis@1", "0") not in matching
    assert {r.missing for r in found.readings} >= {"0", "left out", "an empty mask"}
    page = found.to_markdown()
    assert page.startswith(f"# Where does {quoted} come from?") and "matches" in page and "mevis@videolisa: " in page


def test_rounding_is_that_of_the_printed_digits(folder: Path, dataset: RVOSDataset) -> None:
    strict = evaluate(folder, dataset, workers=1)
    assert isinstance(strict, Result) and strict.J_and_F is not None
    value = 100 * strict.J_and_F
    for digits in (0, 1, 2):
        found = explain(folder, f"{value:.{digits}f}", dataset.id, root=dataset.root, workers=1)
        assert any(r.protocol == "mevis@1" and r.missing == "0" for r, _ in found.matches)
    found = explain(folder, f"{value + 0.02:.2f}", dataset.id, root=dataset.root, workers=1)
    assert not any(r.protocol == "mevis@1" and r.missing == "0" and m == "J&F" for r, m in found.matches)


@pytest.mark.skipif(not PACK.is_dir(), reason="the pack of real ReasonVOS masks is not here")
def test_a_script_that_leaves_failures_out_is_recognised_on_real_masks() -> None:
    found = explain(PACK / "predictions" / "partial", "69.6", "reasonvos", root=PACK, workers=1)
    assert ("reasonvos@official", "the script's rule") in {(r.protocol, r.missing) for r, _ in found.matches}
    strict = next(r for r in found.readings if (r.protocol, r.missing, r.averaged) == ("reasonvos@1", "0", "protocol"))
    assert strict.headline == pytest.approx(42.80, abs=0.005)


def test_no_match_names_the_nearest(folder: Path, dataset: RVOSDataset, capsys: pytest.CaptureFixture[str]) -> None:
    words = [
        "explain",
        str(folder),
        "mevis/valid_u",
        "--root",
        str(dataset.root),
        "--against",
        "99.9",
        "--workers",
        "1",
    ]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--json"])
    content = json.loads(capsys.readouterr().out)
    assert ended.value.code == 0 and content["verdict"].startswith("No reading") and content["matches"] == []


def test_numbers_in_print_are_named(folder: Path, dataset: RVOSDataset) -> None:
    printed = explain(folder, "44.4", dataset.id, root=dataset.root, workers=1).printed
    assert any("VideoLISA-3.8B (Post-optimization), mevis/valid" in line and "Table 2" in line for line in printed)


@pytest.mark.parametrize("against", ["much", "-3", "101"])
def test_a_number_that_is_none_is_refused(folder: Path, dataset: RVOSDataset, against: str) -> None:
    with pytest.raises(UsageError, match="no score in percent"):
        explain(folder, against, dataset.id, root=dataset.root)
    with pytest.raises(UsageError, match="Which dataset"):
        explain(folder, "50")


def test_davis_is_read_in_all_its_ways(tmp_path: Path) -> None:
    write("ref-davis17", tmp_path / "data", generate("valid", 2, height=48, width=64, n_frames=6), split="valid")
    dataset = load("ref-davis17/valid", root=tmp_path / "data")
    run = predict(make_predictor("shifted", dataset), dataset, out=tmp_path / "run", progress=False)
    evaluate(run, dataset, protocol="davis17-per-expression-unsup@1", workers=1)
    found = explain(tmp_path / "run", "64.8", workers=1)
    protocols = {r.protocol for r in found.readings}
    assert {"davis17-hungarian-4ann@1", "davis17-identity-4ann@1", "davis17-per-expression-unsup@1"} <= protocols
    assert {"lower-object-wins", "brighter-wins"} <= {r.merged for r in found.readings}


def test_a_run_is_cited(folder: Path, dataset: RVOSDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate(folder, dataset, out=tmp_path / "run", workers=1)
    found = cite(Result.of_run(Run.open(tmp_path / "run")), "Mine & yours")
    assert "mevis@1" in found.methods and "clustered by video" in found.methods and "±" in found.methods
    assert "ding2023mevis" in found.bibtex and "@software{rvos-mevis-1" in found.bibtex
    assert problems(f"\\begin{{tabular}}{{lrrr}}\n{found.latex_row}\n\\end{{tabular}}\n") == []
    assert "5 of 15 units have missing" in found.methods
    with pytest.raises(SystemExit) as ended:
        main(["cite", str(tmp_path / "run")])
    assert ended.value.code == 0 and "@inproceedings{ding2023mevis" in capsys.readouterr().out

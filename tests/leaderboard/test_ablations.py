"""Tables of ablations, from runs of predictors whose worth is known. About 2 s; the long test trains every variant."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rvos.baselines.ablations import ABLATIONS
from rvos.baselines.registry import make_predictor
from rvos.benchmarks.engine import predict
from rvos.benchmarks.error_analysis import analyse
from rvos.benchmarks.evaluator import evaluate
from rvos.cli import main
from rvos.datasets.registry import load
from rvos.leaderboard.ablations import PLAIN, SUBSETS, Report, Seeds, difference, page
from rvos.videolisa.sampling import STRATEGIES

#: Variant -> the predictor that stands in for it, with two seeds.
STAND_INS = {
    "lisa-first-frame": ("empty", "empty"),
    "lisa": ("shifted", "perfect"),
    "lisa-propagation": ("perfect", "perfect"),
    "videolisa": ("largest-object", "shifted"),
}


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Report:
    folder = tmp_path_factory.mktemp("runs")
    data = load("reasonshapes/test", n_videos=8, height=48, width=64)
    made: dict[str, tuple[Any, Any]] = {}
    for name in {one for pair in STAND_INS.values() for one in pair}:
        run = predict(make_predictor(name, data), data, out=folder / name, progress=False)
        made[name] = (evaluate(run, data, workers=1), analyse(run, data, workers=1))
    lisa = ABLATIONS["lisa"]
    rows = tuple(
        Seeds(
            variant.name,
            tuple(made[one][0] for one in STAND_INS[variant.name]),
            tuple(made[one][1] for one in STAND_INS[variant.name]),
            dict(variant.printed),
        )
        for variant in lisa.variants
    )
    return Report(lisa.name, lisa.title, rows, lisa.reference, {"seeds": "0, 1", "training videos": None})


def test_seeds_are_pooled_and_differences_paired(report: Report) -> None:
    first, lisa, carried, videolisa = report.variants
    assert carried.mean("all").value == 1 and carried.mean("all").half_width == 0
    each = [result.J_and_F for result in lisa.results]
    assert lisa.mean("all").value == pytest.approx(sum(each) / 2) and lisa.range() == tuple(sorted(each))
    assert difference(videolisa, videolisa).value == 0
    there = difference(first, carried)
    assert there.value == pytest.approx(first.mean("all").value - 1) and there.n_clusters == 8
    for subset in SUBSETS:
        assert difference(lisa, carried, subset).value == pytest.approx(
            lisa.mean(subset).value - carried.mean(subset).value
        )
    whole, parts = lisa.values("temporal"), [lisa.values(f"temporal, {f}") for f in ("appearance-unique", "look-alike")]
    assert parts[0] and not parts[0].keys() & parts[1].keys() and parts[0].keys() | parts[1].keys() <= whole.keys()


def test_selection_and_twins(report: Report) -> None:
    first, _, carried, _ = report.variants
    assert carried.selection("all").value == 1 and first.selection("temporal").value == 0
    assert carried.pairs().keys() == {"minimal", "reversed", "swapped"} and set(carried.pairs().values()) == {1}


def test_the_papers_orders_are_judged(report: Report) -> None:
    assert [one.paper("mevis") for one in report.variants] == [43.2, None, 45.6, 51.7]
    assert [one.paper("ref-davis17") for one in report.variants] == [58.8, None, 62.7, 67.8]
    verdicts = {order["pair"]: order["holds"] for order in report.orders()}
    assert verdicts == {
        "lisa-propagation > lisa-first-frame": "holds here",
        "videolisa > lisa-first-frame": "not told apart here",
        "videolisa > lisa-propagation": "reversed here",
    }
    assert "reversed here: videolisa > lisa-propagation." in report.in_words()


def test_every_row_that_names_a_printed_one_finds_it() -> None:
    for one in ABLATIONS.values():
        assert one.reference in {variant.name for variant in one.variants}
        for variant in one.variants:
            found = Seeds(variant.name, (), (), dict(variant.printed))
            assert all((found.paper(d) is not None) == bool(variant.printed) for d in ("mevis", "ref-davis17"))


def test_a_report_in_all_forms(report: Report, tmp_path: Path) -> None:
    text = page([report.to_markdown()])
    assert PLAIN in text and text.count("\n| ") > 15 and "training videos" not in text
    found = json.loads(report.to_json())
    assert [row["variant"] for row in found["variants"]] == list(STAND_INS) and len(found["orders"]) == 3
    report.plot(tmp_path / "plot.svg")
    assert "<svg" in (tmp_path / "plot.svg").read_text()


# The command ----------------------------------------------------------------------------------------------------------

Ablate = Callable[..., tuple[int | str | None, str]]


@pytest.fixture
def ablate(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Ablate:
    def run(name: str, *words: str) -> tuple[int | str | None, str]:
        base, out = tmp_path / "weights", tmp_path / "out"
        bases = ("--base", str(base / "videolisa-nano"), "--lisa-base", str(base / "lisa-nano"))
        with pytest.raises(SystemExit) as stop:
            main(["ablate", name, *bases, "--out", str(out), *words])
        said = capsys.readouterr()
        return stop.value.code, said.out + said.err

    return run


def test_wrong_calls_say_what_is_right(ablate: Ablate) -> None:
    pytest.importorskip("torch", reason="trainings need torch (pip install 'rvos[models]')")
    assert "Known: association, lisa, post-optimisation, temporal" in ablate("temporl")[1]
    assert "expected different numbers" in ablate("temporal", "--seeds", "0,0")[1]


@pytest.mark.long
def test_every_variant_from_training_to_table(ablate: Ablate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("accelerate", reason="trainings need accelerate (pip install 'rvos[train]')")
    from nanomodels import untrained_nano

    untrained_nano(tmp_path / "weights")
    from rvos.videolisa.nano.recipe import WHOLE

    for name, value in (("WHOLE", replace(WHOLE, exams=1)), ("VALID_VIDEOS", 1)):
        monkeypatch.setattr(f"rvos.videolisa.nano.recipe.{name}", value)
    small = ("--scale", "0.0004", "--videos", "2", "--limit", "2")
    document = tmp_path / "docs" / "ablations.md"
    for name in ABLATIONS:
        code, said = ablate(name, *small, "--seeds", "0", "--write", str(document))
        assert code == 0, said
    trained = {path.name for path in (tmp_path / "out" / "trained").iterdir()}
    with_masks = {f"{t}-seed0" for t in ("videolisa", "n-frame", "st-pooling", "slow-fast", "seg-one", "lisa")}
    assert trained == with_masks | {f"{name}-language-seed0" for name in (*STRATEGIES, "lisa")}
    text = document.read_text(encoding="utf-8")
    assert PLAIN in text and all(f"`rvos ablate {name}`" in text for name in ABLATIONS)
    assert all((document.parent / "images" / f"ablation-{name}.svg").is_file() for name in ABLATIONS)

    code, said = ablate("post-optimisation", *small, "--seeds", "0,1")
    assert code == 0 and said.count("training ") == 2, said
    found = json.loads((tmp_path / "out" / "post-optimisation.json").read_text())
    assert all(len(row["runs"]) == 2 for row in found["variants"])
    config = json.loads((tmp_path / "out" / "trained" / "slow-fast-seed0" / "weights" / "config.json").read_text())
    assert config["temporal_strategy"] == "slow-fast-pooling"
    assert "give another --out" in ablate("temporal", "--scale", "0.1")[1]

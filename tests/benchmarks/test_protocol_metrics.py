"""A protocol names what it reports: means, ratios of sums, values formed from others; all that shows it follows."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import pytest
from toyprotocol import ToyProtocol
from toyset import ToyDataset

from rvos.benchmarks.evaluator import Progress, evaluate
from rvos.benchmarks.intervals import clustered_interval
from rvos.benchmarks.predictions import MemoryPredictions
from rvos.benchmarks.protocols import summaries
from rvos.benchmarks.protocols.base import Metric, Summary, Unit, UnitScore, unit_metric
from rvos.benchmarks.results import Result, side_by_side
from rvos.benchmarks.runs import ProtocolRecord, Run, RunRecord
from rvos.leaderboard.cite import cite
from rvos.leaderboard.statistics import compare_results, paired
from rvos.leaderboard.tables import worst_table

UNION = Metric("IoU of all", of="intersection", over="union")


class ImageLike(ToyProtocol):
    """Reports no F, a ratio of sums, and a value formed from others, which ranks runs."""

    id = "image-like@1"
    equals = ""
    metrics: ClassVar[tuple[Metric, ...]] = (Metric("Final", composite=True), Metric("mean", of="J"), UNION)

    def score_video(self, *arguments: object, **more: object) -> list[UnitScore]:
        scores = super().score_video(*arguments, **more)  # type: ignore[arg-type]
        return [
            replace(s, F=None, extras={"intersection": (s.J or 0) * (10 + i), "union": 10.0 + i})
            for i, s in enumerate(scores)
        ]

    def aggregate(self, scores: Sequence[UnitScore]) -> Summary:
        mean, ratio = self.metrics[1].mean(scores), UNION.mean(scores)
        final = None if mean is None or ratio is None else (mean + ratio) / 2
        return summaries.summarise(scores, values={"Final": final, "mean": mean, UNION.name: ratio})


def unit(key: str, J: float | None, **extras: float) -> UnitScore:
    return UnitScore(
        Unit(key, key[0]), "ok" if J is not None else "no-ground-truth", J, None, J is not None, extras=extras
    )


def test_a_mean_is_over_the_units_that_have_the_value() -> None:
    scores = [unit("a1", 0.5, hit=1.0), unit("a2", 0.1), unit("b1", 0.3, hit=0.0), unit("b2", None, hit=1.0)]
    assert Metric("N-acc", of="hit").mean(scores) == 0.5  # b2 is not counted, a2 is not asked
    assert Metric("J").mean(scores) == pytest.approx(0.3)
    assert Metric("F").mean(scores) is None and Metric("J&F").mean(scores) is None


def test_a_ratio_of_sums_lets_large_units_weigh_more() -> None:
    scores = [unit("a1", 0.5, intersection=1, union=2), unit("b1", 0.25, intersection=25, union=100)]
    assert UNION.mean(scores) == 26 / 102
    assert UNION.mean([unit("a1", 1.0, intersection=0, union=0)]) is None


def test_the_interval_of_a_ratio_is_that_of_its_linearised_residuals() -> None:
    values, sizes, clusters = [1.0, 25.0, 3.0, 8.0], [2.0, 100.0, 4.0, 20.0], ["a", "b", "b", "c"]
    ratio = sum(values) / sum(sizes)
    sums = [1 - ratio * 2, 28 - ratio * 104, 8 - ratio * 20]
    error = np.sqrt(3 / 2 * np.sum(np.square(sums))) / 126
    found = clustered_interval(values, clusters, over=sizes)
    assert found.value == ratio and found.half_width == pytest.approx(4.302652729911275 * error)  # t, 2 d.o.f.
    assert clustered_interval([0.0], ["a"], over=[0.0]).value is None
    equal = clustered_interval(values, clusters, over=[1.0] * 4)
    assert equal.half_width == pytest.approx(clustered_interval(values, clusters).half_width)


def test_units_are_ranked_by_the_first_metric_that_units_have() -> None:
    assert unit_metric(ImageLike.metrics).name == "mean" and unit_metric(ToyProtocol.metrics).name == "J&F"


@pytest.fixture(scope="module")
def results(tmp_path_factory: pytest.TempPathFactory) -> list[Result]:
    """Two runs under ``ImageLike``: masks of object 1 for all sentences, and of object 2."""
    data, found = ToyDataset(3), []
    for box in ("1", "2"):
        masks = MemoryPredictions()
        for sample in data:
            for t in range(len(sample.video)):
                masks.update(sample, t, data.boxes[sample.video.id][box].mask(t))
        out = tmp_path_factory.mktemp("runs") / box
        result = evaluate(masks, data, protocol=ImageLike(), out=out, workers=1, bounds=True)
        assert isinstance(result, Result)
        found.append(result)
    return found


def test_a_run_folder_keeps_the_metrics_of_its_protocol(results: list[Result]) -> None:
    first = results[0]
    assert first.path is not None
    record = json.loads((first.path / "run.json").read_text())
    assert {"Final", "mean", "IoU of all"} < record["summary"].keys() and "J&F" not in record["summary"]
    assert record["protocol"]["metrics"][2] == {
        "name": "IoU of all",
        "of": "intersection",
        "over": "union",
        "composite": False,
    }
    again = Result.of_run(Run.open(first.path))
    assert again.record.summary == first.summary and again.metrics == ImageLike.metrics
    assert first.value("Final") == pytest.approx((first.value("mean") + first.value("IoU of all")) / 2)  # type: ignore[operator]
    assert first.J_and_F is None and "does not report J&F" in first.summary.J_and_F.reason
    assert first.headline.half_width is None and "other metrics" in first.headline.reason
    assert (
        first.summary.value("mean").half_width is not None and first.summary.value("IoU of all").half_width is not None
    )


def test_everything_that_shows_a_result_follows_its_metrics(results: list[Result]) -> None:
    first = results[0]
    table = first.tables()[0]
    assert table.header == ("", "Final", "mean", "IoU of all", "n") and [row[0] for row in table.rows] == [
        "score",
        "ceiling",
        "floor",
    ]
    assert first.worst(1)[0].J == min(s.J for s in first.scores if s.J is not None)
    assert side_by_side(results).header == ("protocol", "Final", "mean", "IoU of all", "n")
    assert worst_table(first, 2).header == ("worst units", "mean", "remark")
    text = cite(first)
    assert "Final is" in text.methods and "IoU of all" in text.methods and text.latex_row.count("&") == 3


def test_runs_are_compared_by_any_metric_of_their_protocol(results: list[Result]) -> None:
    named = dict(zip(("one", "two"), results, strict=True))
    found = compare_results(named)
    assert found.metric == "Final" and found.against_best[0].p is None  # no unit has it
    assert found.table().header[:4] == ("run", "Final", "mean", "IoU of all")
    assert paired(*results, metric="mean").p is not None


def test_a_ratio_of_sums_is_compared_by_what_every_unit_gives_to_it(results: list[Result]) -> None:
    one, two = results
    found = paired(one, two, metric=UNION.name)
    assert found.difference == pytest.approx((one.value(UNION.name) or 0) - (two.value(UNION.name) or 0))
    shares = []
    for result in results:  # by hand: leaving a unit out moves the ratio by minus its share / n, to first order
        x, y = (np.array([s.value(n) for s in result.scores]) for n in ("intersection", "union"))
        m = x.sum() / y.sum()
        shares.append((x - m * y) / y.mean())
    videos = [s.unit.video_id for s in one.scores]
    sums = [
        sum(d for d, v in zip(shares[0] - shares[1], videos, strict=True) if v == video)
        for video in sorted(set(videos))
    ]
    error = np.sqrt(3 / 2 * np.sum(np.square(sums))) / len(videos)
    assert found.half_width == pytest.approx(4.302652729911275 * error) and found.p is not None
    assert paired(one, one, metric=UNION.name).p == 1


def test_progress_is_in_the_metric_of_the_units() -> None:
    seen: list[Progress] = []
    evaluate(MemoryPredictions(), ToyDataset(1), protocol=ImageLike(), workers=1, progress=seen.append)
    assert (seen[-1].metric, seen[-1].value) == ("mean", 0.0)


def test_a_run_of_an_earlier_version_is_read(tmp_path: Path) -> None:
    result = evaluate(MemoryPredictions(), ToyDataset(1), protocol=ToyProtocol(), out=tmp_path / "run", workers=1)
    assert isinstance(result, Result)
    content = json.loads((tmp_path / "run" / "run.json").read_text())
    assert set(content["summary"]) > {"J&F", "J", "F", "counts"}  # as before protocols named their metrics
    del content["protocol"]["metrics"]
    assert RunRecord.model_validate(content).protocol == ProtocolRecord.of(ToyProtocol())

"""What a score is made of, on cases whose causes are known, and on real masks. About 10 s."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any, ClassVar

import numpy as np
import pytest
from toyset import ToyDataset

from rvos.baselines.registry import make_predictor
from rvos.benchmarks.engine import predict
from rvos.benchmarks.error_analysis import PARTS, Analysis, UnitAnalysis, analyse
from rvos.benchmarks.evaluator import evaluate
from rvos.benchmarks.over_time import Timeline
from rvos.benchmarks.predictions import MemoryPredictions
from rvos.benchmarks.protocols.per_expression import PerExpressionProtocol
from rvos.cli import main
from rvos.datasets.errors import ProtocolError
from rvos.datasets.registry import load
from rvos.datasets.types import Sample

PACKS = Path(__file__).parents[3] / "shared" / "packs"


class ToyProtocol(PerExpressionProtocol):
    id = "toy@1"
    words = "for tests"
    source = "tests"
    strict = True
    dataset_name = "toy"
    traits: ClassVar[Any] = {}


@pytest.fixture()
def data() -> ToyDataset:
    return ToyDataset(2)


def object_mask(data: ToyDataset, sample: Sample, name: str, t: int) -> np.ndarray:
    mask = data.objects(sample.video)[name].mask(t)
    assert mask is not None
    return mask


def predicted(data: ToyDataset, answer: Any) -> Analysis:
    """``answer(sample, t, truth)`` gives the mask of a frame, None for none; checked against the protocol's J."""
    predictions = MemoryPredictions()
    for sample in data:
        truth = data.ground_truth(sample)
        for t in range(len(sample.video)):
            mask = answer(sample, t, truth.mask(t))
            if mask is not None:
                predictions.update(sample, t, mask)
    analysis = analyse(predictions, data, protocol=ToyProtocol(), workers=1)
    scores = {s.unit.key: s for s in evaluate(predictions, data, protocol=ToyProtocol(), workers=1).scores}
    assert len(scores) == len(analysis.units) == len(data)
    for unit in analysis.units:
        assert set(unit.parts) == set(PARTS) and min(unit.parts.values()) >= 0
        assert abs(unit.J - (scores[unit.key].J or 0.0)) < 1e-12
        assert abs(sum(unit.parts.values()) - (1 - (scores[unit.key].J or 0.0))) < 1e-12
    return analysis


def unit(analysis: Analysis, expression: str, video: str = "video0") -> UnitAnalysis:
    return next(u for u in analysis.units if u.key == f"{video}/{expression}")


def blamed(u: UnitAnalysis) -> set[str]:
    return {part for part, loss in u.parts.items() if loss > 0}


def test_perfect_masks_lose_nothing(data: ToyDataset) -> None:
    analysis = predicted(data, lambda sample, t, truth: truth)
    assert all(not blamed(u) and u.right for u in analysis.units)
    assert analysis.selection_accuracy.value == analysis.mask_quality.value == analysis.J.value == 1
    assert analysis.language_sensitivity.value is not None and analysis.language_sensitivity.value > 0.5


def test_swapped_ids_are_the_wrong_object(data: ToyDataset) -> None:
    analysis = predicted(
        data,
        lambda sample, t, truth: object_mask(data, sample, "2" if sample.expression.id == "0" else "1", t),
    )
    for name, other in (("0", "2"), ("1", "1")):
        assert blamed(unit(analysis, name)) == {"wrong_object"}
        assert unit(analysis, name).selected == other and unit(analysis, name).right is False
    assert blamed(unit(analysis, "4")) == {"false_positive"}


def test_a_late_switch_is_an_identity_switch(data: ToyDataset) -> None:
    analysis = predicted(data, lambda sample, t, truth: truth if t < 4 else object_mask(data, sample, "1", t))
    late = unit(analysis, "1")
    assert blamed(late) == {"identity_switch"} and late.parts["identity_switch"] == pytest.approx(1 / 5)
    assert late.right is True
    early = predicted(data, lambda sample, t, truth: truth if t > 0 else object_mask(data, sample, "1", t))
    assert blamed(unit(early, "1")) == {"wrong_object"}


def test_a_shrunken_mask_loses_at_the_boundary(data: ToyDataset) -> None:
    def shrunken(sample: Sample, t: int, truth: np.ndarray) -> np.ndarray:
        return truth & np.roll(truth, 1, 0) & np.roll(truth, -1, 0)

    analysis = predicted(data, shrunken)
    assert blamed(unit(analysis, "0")) == {"boundary"} and unit(analysis, "0").right
    assert unit(analysis, "0").J < 1


def test_hallucinated_frames_are_false_positives(data: ToyDataset) -> None:
    analysis = predicted(
        data, lambda sample, t, truth: object_mask(data, sample, "1", t) if not truth.any() and t >= 3 else truth
    )
    nothing = unit(analysis, "4")
    assert blamed(nothing) == {"false_positive"} and nothing.parts["false_positive"] == pytest.approx(2 / 5)
    assert nothing.right is False
    assert not blamed(unit(analysis, "0"))


def test_silence_is_missed_and_missing_files_are_unusable(data: ToyDataset) -> None:
    silent = predicted(data, lambda sample, t, truth: np.zeros_like(truth))
    assert blamed(unit(silent, "0")) == {"missed"} and unit(silent, "0").selected == ""
    assert unit(silent, "0").right is False and unit(silent, "4").right is True
    absent = predicted(data, lambda sample, t, truth: None)
    assert all(u.parts["unusable"] == 1 for u in absent.units)


def test_one_mask_for_all_sentences_shows_no_sensitivity(data: ToyDataset) -> None:
    analysis = predicted(data, lambda sample, t, truth: object_mask(data, sample, "2", t))
    assert analysis.language_sensitivity.value == pytest.approx(0, abs=1e-12)
    blind = [u.J for u in analysis.units if u.video_id == "video0"]
    assert np.mean([u.J_text_blind for u in analysis.units if u.video_id == "video0"]) >= np.mean(blind) - 1e-12


def test_pairs_count_where_both_are_right() -> None:
    def made(key: str, pair: str, right: bool) -> UnitAnalysis:
        parts = dict.fromkeys(PARTS, 0.0)
        return UnitAnalysis(key, key, {"twin_minimal": pair}, 1.0, parts, "target", right, None, None, 1)

    units = (made("a", "1", True), made("b", "1", True), made("c", "2", True), made("d", "2", False))
    analysis = Analysis("toy@1", "toy", "x", units)
    assert analysis.pair_accuracy()["minimal"].value == 0.5


def test_forms(data: ToyDataset, tmp_path: Path) -> None:
    analysis = predicted(data, lambda sample, t, truth: object_mask(data, sample, "1", t))
    text = str(analysis)
    assert "wrong object" in text and "sum = 1 - J" in text and "By form" not in text
    record = json.loads(analysis.to_json())
    assert record["summary"]["J"]["value"] == analysis.J.value and len(record["units"]) == len(data)
    assert "units" not in json.loads(analysis.to_json(units=False))
    assert "| cause |" in analysis.to_markdown()
    analysis.plot(tmp_path / "analysis.png")
    assert (tmp_path / "analysis.png").stat().st_size > 5000


def test_masks_that_flicker_and_targets_that_wait(data: ToyDataset) -> None:
    """Box "1" moves a pixel a frame; video0 has 5 frames."""
    steady = predicted(data, lambda sample, t, truth: truth)
    assert steady.jitter.value == 0 and steady.found.value == 1 and steady.delay.value == 0
    assert unit(steady, "4").delay is None and unit(steady, "4").jitter == 0

    flicker = predicted(data, lambda sample, t, truth: truth if t % 2 else np.zeros_like(truth))
    own = object_mask(data, data.sample("video0/0"), "1", 0), object_mask(data, data.sample("video0/0"), "1", 1)
    change = 1 - (own[0] & own[1]).sum() / (own[0] | own[1]).sum()
    assert unit(flicker, "0").jitter == pytest.approx(1 - change)
    assert (unit(flicker, "0").first_correct, unit(flicker, "0").delay) == (1, 1 / 5)

    late = predicted(data, lambda sample, t, truth: truth if t >= 3 else None)
    assert (unit(late, "0").first_correct, unit(late, "0").delay, unit(late, "0").jitter) == (3, 3 / 5, 0)
    never = predicted(data, lambda sample, t, truth: np.zeros_like(truth))
    assert unit(never, "0").first_correct is None and unit(never, "0").delay == 1
    assert (never.found.value, never.delay.value, never.jitter.value) == (0, 1, 0)
    assert "target found in some frame" in str(never) and json.loads(never.to_json())["summary"]["delay"]["value"] == 1


def test_frames_without_the_target_are_no_waiting() -> None:
    timeline, there = Timeline(), np.ones(4, np.float32)
    for truth, guess, J in ((0 * there, 0 * there, 1.0), (there, None, 0.0), (there, there, 1.0), (there, there, 1.0)):
        timeline.add(truth, guess, J)
    assert (timeline.first_correct, timeline.delay, timeline.jitters) == (1, 1 / 3, [0.0])


PACK_CASES = (
    ("reasonvos", "reasonvos", "osvos", None),
    ("mevis/valid_u", "mevis", "osvos", None),
    ("ref-youtube-vos/train", "ref_youtube_vos", "rvos", None),
    ("ref-davis17/valid", "ref_davis17", "rvos", "davis17-per-expression-unsup@1"),
)


@pytest.mark.skipif(not PACKS.is_dir(), reason="the folder of real masks is not there")
@pytest.mark.parametrize(("name", "folder", "predictions", "protocol"), PACK_CASES)
def test_real_masks_sum_to_their_loss(name: str, folder: str, predictions: str, protocol: str | None) -> None:
    dataset = load(name, root=PACKS / folder)
    path = PACKS / folder / "predictions" / predictions
    analysis = analyse(path, dataset, protocol=protocol, workers=1)
    scores = {s.unit.key: s.J for s in evaluate(path, dataset, protocol=analysis.protocol, workers=1).scores}
    assert not analysis.failed and set(scores) == {u.key for u in analysis.units}
    for u in analysis.units:
        assert abs(sum(u.parts.values()) - (1 - scores[u.key])) < 1e-12


@pytest.mark.skipif(not PACKS.is_dir(), reason="the folder of real masks is not there")
def test_label_maps_cannot_be_taken_apart() -> None:
    dataset = load("ref-davis17/valid", root=PACKS / "ref_davis17")
    with pytest.raises(ProtocolError):
        analyse(PACKS / "ref_davis17/predictions/rvos_processed", dataset, protocol="davis17-per-expression-unsup@1")
    with pytest.raises(ProtocolError, match="scores expressions"):
        analyse(PACKS / "ref_davis17/predictions/rvos", dataset, protocol="davis17-hungarian-4ann@1")


def test_the_whole_picture_is_no_object(data: ToyDataset) -> None:
    analysis = predicted(data, lambda sample, t, truth: np.ones_like(truth))
    small = unit(analysis, "1")
    assert blamed(small) == {"wrong_object"} and small.selected in ("", "1") and small.right is False


def test_the_command_writes_into_the_run(data: ToyDataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    made = load("reasonshapes/test", n_videos=8)
    run = predict(make_predictor("largest-object", made), made, out=tmp_path / "run", progress=False)
    with pytest.raises(SystemExit) as stop:
        main(["diagnose", str(run.path), "--root", str(made.root), "--workers", "1"])
    printed = capsys.readouterr().out
    assert stop.value.code == 0 and "Where J is lost" in printed and printed.splitlines()[-1] == str(run.path)
    assert {"analysis.json", "analysis.md", "analysis.png"} <= {p.name for p in run.path.iterdir()}
    assert "reversed" in printed and "By kind" in printed

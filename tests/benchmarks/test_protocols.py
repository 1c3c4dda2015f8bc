"""Protocols per expression: what is counted, what is missing, and where they differ from the scripts. About 2 s."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

import numpy as np
import pytest
from toymasks import Masks, run
from toyset import HEIGHT, WIDTH, ToyDataset

from rvos.benchmarks.metrics import j_and_f
from rvos.benchmarks.protocols import DEFAULTS, REGISTRY, default_protocols, get_protocol, protocols_for
from rvos.benchmarks.protocols.base import TRAITS
from rvos.benchmarks.protocols.bounds import bounds
from rvos.benchmarks.protocols.compare import compare_words, explain_differences
from rvos.datasets.errors import DatasetError, PredictionInvalid, UnknownNameError
from rvos.datasets.types import BoolMask, Masklet, RVOSDataset, Sample


class Toy(ToyDataset):
    name = "reasonshapes"


class ToyMeViS(ToyDataset):
    name = "mevis"


class ToyReasonVOS(ToyDataset):
    """Two sentences of every video share one prediction folder."""

    name = "reasonvos"

    def prediction_path(self, sample: Sample) -> PurePosixPath:
        shared = {"1": "0"}
        return PurePosixPath(sample.video.id) / shared.get(sample.expression.id, sample.expression.id)


# Names ----------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol_id", REGISTRY)
def test_every_protocol_says_what_it_is(protocol_id: str) -> None:
    protocol = get_protocol(protocol_id)
    assert protocol.id == protocol_id
    assert protocol.strict == protocol_id.rsplit("@", 1)[1].isdigit()
    assert (protocol.source == "this project") == protocol.strict
    assert protocol.words.endswith(".") and protocol.__doc__
    assert set(protocol.traits) == set(TRAITS)
    assert not protocol.equals or not get_protocol(protocol.equals).strict
    assert type(pickle.loads(pickle.dumps(protocol))) is type(protocol)
    page = Path(__file__).parents[2] / "docs" / "protocols.md"
    assert f"## {protocol_id}\n" in page.read_text(encoding="utf-8")


def test_unknown_names_are_answered_with_near_ones() -> None:
    with pytest.raises(UnknownNameError, match=r"Did you mean mevis@1"):
        get_protocol("mevis@3")


def test_defaults_are_known_and_strict() -> None:
    assert all(get_protocol(i).strict for ids in DEFAULTS.values() for i in ids)
    assert [p.id for p in default_protocols(Toy())] == ["reasonshapes@1"]
    assert [p.id for p in protocols_for(ToyMeViS())] == ["mevis@1", "mevis@official", "mevis@videolisa", "mevis-v2@1"]
    assert len(DEFAULTS["ref-davis17"]) == 2
    assert [p.id for p in default_protocols(ToyDataset())] == ["expressions@1"]
    assert [p.id for p in protocols_for(ToyDataset())] == ["expressions@1"]


def test_protocols_refuse_other_datasets() -> None:
    assert "is for mevis, not for reasonshapes" in (get_protocol("mevis@1").applies_to(Toy()) or "")
    assert "mevis has mevis@1" in (get_protocol("expressions@1").applies_to(ToyMeViS()) or "")
    assert "is for ref-davis17" in (get_protocol("davis17-hungarian-4ann@1").applies_to(Toy()) or "")


# Strict ---------------------------------------------------------------------------------------------------------------


def test_perfect_masks_score_one() -> None:
    scores, summary = run("reasonshapes@1", Masks(Toy()))
    assert (summary.J, summary.F, summary.J_and_F, summary.n_counted) == (1, 1, 1, 15)
    assert summary.counts == {"ok": 15, "missing": 0, "invalid": 0, "failed": 0, "no-ground-truth": 0}
    assert [s.unit for s in scores.values()] == list(get_protocol("reasonshapes@1").units(Toy()))
    empty = scores["video1/4"]
    assert (empty.n_frames, empty.n_empty_frames, empty.extras["frames_both_empty"]) == (6, 6, 6)


def test_scores_are_those_of_the_metrics() -> None:
    dataset = Toy()
    scores, summary = run("reasonshapes@1", Masks(dataset, shift=3), per_frame=True)
    for sample in dataset:
        truth = dataset.ground_truth(sample).dense()
        wanted = j_and_f(truth, np.roll(truth, 3, axis=2))
        score = scores[sample.key]
        assert score.frame_names == sample.video.frame_names
        assert np.array_equal(score.frame_J, wanted.J) and np.array_equal(score.frame_F, wanted.F)
        assert np.array_equal((score.J, score.F), (wanted.J.mean(), wanted.F.mean()))
    assert np.array_equal(summary.J, np.mean([s.J for s in scores.values()]))
    assert summary.J_and_F == (summary.J + (summary.F or 0)) / 2
    assert run("reasonshapes@1", Masks(dataset, shift=3))[0]["video0/0"].frame_J == ()


def test_a_missing_frame_counts_as_zero_even_without_a_target() -> None:
    masks = Masks(Toy(), deleted={"video0/0/00001", "video0/4/00002"})
    scores, summary = run("reasonshapes@1", masks, per_frame=True)
    for key in ("video0/0", "video0/4"):
        assert (scores[key].status, scores[key].J, scores[key].F) == ("ok", 0.8, 0.8)
        assert scores[key].flags == ("partial",)
    assert scores["video0/4"].frame_F == (1, 1, 0, 1, 1)
    assert scores["video0/0"].reason == "1 missing of 5 frames; first: masks/video0/0/00001.png: no such file."
    assert any("2 units lack some frames" in w for w in summary.warnings)


def test_statuses() -> None:
    broken = PredictionInvalid("video0/1/00000.png: corrupt.")
    masks = Masks(
        Toy(),
        deleted={"video0/0"} | {f"video0/1/0000{i}" for i in range(1, 5)},
        replaced={"video0/1/00000": broken, "video0/2/00001": np.ones((HEIGHT, WIDTH - 1), bool)},
    )
    scores, summary = run("reasonshapes@1", masks)
    assert (scores["video0/0"].status, scores["video0/0"].J, scores["video0/0"].flags) == ("missing", 0, ())
    assert (scores["video0/1"].status, scores["video0/1"].F) == ("invalid", 0)
    assert "4 missing and 1 unusable of 5 frames; first: video0/1/00000.png: corrupt." in scores["video0/1"].reason
    assert "video0/2/00001: 59x40 pixels, the ground truth has 60x40" in scores["video0/2"].reason
    assert summary.counts["missing"] == summary.counts["invalid"] == 1
    assert summary.n_counted == 15
    assert "2 of 15 units count as 0 (1 missing, 1 invalid)" in summary.warnings[0]


def test_without_ground_truth_nothing_is_scored() -> None:
    class Withheld(Toy):
        def ground_truth(self, sample: Sample) -> Masklet | None:  # type: ignore[override]
            return None if sample.expression.id == "0" else super().ground_truth(sample)

    scores, summary = run("reasonshapes@1", Masks(Withheld()))
    bare = scores["video0/0"]
    assert (bare.status, bare.J, bare.F, bare.J_and_F, bare.counted) == ("no-ground-truth", None, None, None, False)
    assert (summary.n_counted, summary.counts["no-ground-truth"], summary.J) == (12, 3, 1)
    assert "3 units have no ground truth" in summary.warnings[0]


def test_nothing_to_score_gives_no_number() -> None:
    summary = get_protocol("mevis@1").aggregate([])
    assert (summary.J, summary.F, summary.J_and_F, summary.n_counted) == (None, None, None, 0)


def test_unreadable_ground_truth_is_raised() -> None:
    class Broken(Toy):
        def ground_truth(self, sample: Sample) -> Masklet:
            raise DatasetError("masks.json: cut short.")

    with pytest.raises(DatasetError, match="cut short"):
        run("reasonshapes@1", Masks(Broken()))


@dataclass(frozen=True)
class CountingSource:
    """Counts how often each frame is decoded; equal to every other of its name."""

    name: str
    calls: dict[int, int] = field(compare=False, hash=False)

    def mask(self, index: int) -> BoolMask:
        self.calls[index] = self.calls.get(index, 0) + 1
        return np.ones((HEIGHT, WIDTH), bool)

    def void(self, index: int) -> None:
        return None


def test_each_ground_truth_is_decoded_once_a_frame() -> None:
    calls: dict[int, int] = {}

    class Shared(Toy):
        def ground_truth(self, sample: Sample) -> Masklet:
            return Masklet(sample.video.frame_names, CountingSource("all", calls))

    dataset = Shared(n_videos=1)
    full = {f"{s.key}/{n}": np.ones((HEIGHT, WIDTH), bool) for s in dataset for n in s.video.frame_names}
    scores, _ = run("reasonshapes@1", Masks(dataset, replaced=dict(full)))
    assert [s.J for s in scores.values()] == [1] * 5
    assert calls == dict.fromkeys(range(5), 1)


def test_credit_for_empty_masks_and_full_frames_is_announced() -> None:
    dataset = Toy()
    everywhere = {
        f"{s.key}/{n}": np.ones((HEIGHT, WIDTH), bool)
        for s in dataset
        for n in s.video.frame_names
        if s.expression.id == "4"
    }
    scores, summary = run("reasonshapes@1", Masks(dataset, replaced=dict(everywhere)))
    assert (scores["video0/4"].J, scores["video0/4"].F) == (0, 1)
    assert any("20.0 points of F come from masks that fill the frame" in w for w in summary.warnings)
    assert any(
        "20.0 points of J and F" in w and "empty" in w for w in run("reasonshapes@1", Masks(dataset))[1].warnings
    )


# As the scripts -----------------------------------------------------------------------------------------------------


def test_mevis_scripts_and_a_missing_video() -> None:
    gone = {f"video0/{e}" for e in range(5)}
    _, official = run("mevis@official", Masks(ToyMeViS(), deleted=gone))
    scores, videolisa = run("mevis@videolisa", Masks(ToyMeViS(), deleted=gone))
    assert (official.J, official.n_counted) == (10 / 15, 15)
    assert (videolisa.J, videolisa.n_counted) == (1, 10)
    assert scores["video0/1"].flags == ("left-out",) and scores["video0/1"].status == "missing"
    assert "5 of 15 expressions are left out" in videolisa.warnings[0] and "66.67" in videolisa.warnings[0]


def half(key: str, dataset: RVOSDataset) -> dict[str, BoolMask | Exception]:
    names = dataset.sample(key).video.frame_names
    return {f"{key}/{name}": np.zeros((HEIGHT // 2, WIDTH // 2), bool) for name in names}


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (lambda m: m.deleted.add("video1/0"), "AttributeError: 'NoneType' object has no attribute 'shape'"),
        (lambda m: m.deleted.add("video1/0/00000"), "AttributeError: 'NoneType' object has no attribute 'shape'"),
        (lambda m: m.deleted.add("video1/0/00003"), "TypeError: int() argument must be a string"),
        (
            lambda m: m.replaced.update(half("video1/0", m.dataset)),
            "could not be broadcast together with shapes (20,30)",
        ),
        (
            lambda m: m.replaced.update({"video1/0/00003": np.zeros((20, 30), bool)}),
            "could not broadcast input array from shape (20,30) into shape (40,60)",
        ),
    ],
)
def test_mevis_script_crashes_leave_one_expression_out(change: Callable[[Masks], None], text: str) -> None:
    masks = Masks(ToyMeViS())
    change(masks)
    scores, summary = run("mevis@official", masks)
    assert (summary.J, summary.n_counted) == (1, 14)
    crashed = scores["video1/0"]
    assert crashed.flags == ("script-crash",) and not crashed.counted and crashed.J is None
    assert text in crashed.reason
    assert any("crashes on 1 of 15 expressions" in w for w in summary.warnings)


def test_mevis_script_accepts_any_size_where_the_ground_truth_is_empty() -> None:
    masks = Masks(ToyMeViS())
    masks.replaced |= half("video1/4", masks.dataset)
    assert run("mevis@official", masks)[0]["video1/4"].J == 1
    strict = run("mevis@1", masks)[0]["video1/4"]
    assert (strict.status, strict.J) == ("invalid", 0)


def test_many_crashes_end_the_script() -> None:
    dataset = ToyMeViS(n_videos=16)
    gone = {f"video{v}/{e}/00000" for v in range(16) for e in range(4)}
    summary = run("mevis@official", Masks(dataset, deleted=gone))[1]
    assert any("64 crashes" in w and "nan" in w for w in summary.warnings)


def test_reasonvos_script_leaves_out_what_is_missing_and_overwrites() -> None:
    masks = Masks(ToyReasonVOS(), deleted={"video0/2", "video0/3/00001"})
    scores, summary = run("reasonvos@official", masks)
    assert summary.n_counted == 15 - 3 - 2  # three overwritten, one left out, one crash
    assert scores["video0/2"].flags == ("left-out",) and "video0/2 not found" in scores["video0/2"].reason
    assert "TypeError: int() argument" in scores["video0/3"].reason
    assert scores["video0/0"].flags == ("overwritten",) and scores["video0/1"].counted
    texts = " ".join(summary.warnings)
    assert "3 expressions share an exp_id" in texts and "2 of 12 expressions are left out" in texts


def test_scripts_print_nothing_where_nothing_is_there() -> None:
    dataset = ToyReasonVOS()
    summary = run("reasonvos@official", Masks(dataset, deleted={s.key for s in dataset}))[1]
    assert (summary.J, summary.n_counted) == (None, 0)
    assert summary.warnings


# Words and bounds ---------------------------------------------------------------------------------------------------


def test_differences_are_explained() -> None:
    words = compare_words(get_protocol("davis17-hungarian-4ann@1"), get_protocol("davis17-identity-4ann@1"))
    assert "swapped sentences are not punished; davis17-identity-4ann@1 compares label k with object k" in words
    assert "same rules" in compare_words(get_protocol("mevis@1"), get_protocol("mevis@1"))
    texts = explain_differences({"mevis@1": 0.5, "mevis@official": 0.857, "mevis@videolisa": None})
    assert texts[0].startswith("50.00 and 85.70 (+35.70): mevis@1 counts what is missing as 0")
    assert texts[1].startswith("No value under mevis@videolisa:")
    assert explain_differences({"mevis@1": 0.5, "mevis@official": 0.5})[0].startswith("Equal here, 50.00:")


def test_every_pair_of_protocols_that_meet_differs_in_words() -> None:
    for dataset in DEFAULTS:
        ids = [i for i in REGISTRY if i.split("@")[0].replace("davis17", "ref-davis17").startswith(dataset)]
        pairs = {(a, b) for a in ids for b in ids if a != b}
        assert not [p for p in pairs if "same rules" in compare_words(*map(get_protocol, p))]


def test_ceiling_and_floor() -> None:
    found = bounds(get_protocol("mevis@1"), ToyMeViS())
    assert found.ceiling.J_and_F == 1
    assert found.floor.J_and_F == pytest.approx(0.2)  # one sentence of five has no target
    assert bounds(get_protocol("mevis@1"), ToyMeViS(), ["video1"]).floor.n_counted == 5

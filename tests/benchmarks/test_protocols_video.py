"""ReVOS, MeViS v2, Long-RVOS and GroundMoRe: against slow oracles, and every special rule by hand. About 2 s."""

from __future__ import annotations

from typing import Any

import numpy as np
import oracle
import pytest
from toymasks import Masks, run
from toyset import HEIGHT, TYPES, WIDTH, toy

from rvos.benchmarks.protocols import get_protocol
from rvos.benchmarks.protocols.base import Unit, UnitScore
from rvos.benchmarks.protocols.revos import robustness
from rvos.datasets.masks import ArrayMasks, EmptyMasks, UnionMasks
from rvos.datasets.types import BoolMask, Expression, Masklet, RVOSDataset, Sample, Video

PROTOCOLS = {
    "revos@1": "revos",
    "revos@visa": "revos",
    "mevis-v2@1": "mevis",
    "long-rvos@1": "long-rvos",
    "groundmore@1": "groundmore",
}


class Drawn(RVOSDataset):
    """One video; ``objects`` are arrays, bool (T, H, W), by id, and sentences name them."""

    def __init__(self, name: str, objects: dict[str, np.ndarray], sentences: dict[str, tuple[tuple[str, ...], str]]):
        self.name = name
        first = next(iter(objects.values()))
        self.sources = {i: ArrayMasks(masks) for i, masks in objects.items()}
        video = Video("v", tuple(f"{t:05d}" for t in range(len(first))), declared_size=first.shape[1:])
        samples = [
            Sample(video, Expression(key, "words", ids, tags={"type": kind})) for key, (ids, kind) in sentences.items()
        ]
        super().__init__(root=None, split="", version="", samples=samples)  # type: ignore[arg-type]

    def ground_truth(self, sample: Sample) -> Masklet:
        parts = tuple(self.sources[i] for i in sample.expression.object_ids or ())
        source: Any = UnionMasks(parts) if len(parts) > 1 else parts[0] if parts else EmptyMasks(sample.video.size)
        return Masklet(sample.video.frame_names, source)

    def objects(self, video: Video) -> dict[str, Masklet]:
        return {i: Masklet(video.frame_names, source) for i, source in self.sources.items()}


def given(dataset: RVOSDataset, answers: dict[str, list[BoolMask | None]]) -> Masks:
    """Predictions by sentence; None for a frame without a mask."""
    masks = Masks(dataset)
    for sample in dataset:
        for name, mask in zip(sample.video.frame_names, answers[sample.expression.id], strict=True):
            if mask is None:
                masks.deleted.add(f"{sample.key}/{name}")
            else:
                masks.replaced[f"{sample.key}/{name}"] = mask
    return masks


def random_answers(dataset: RVOSDataset, rng: np.random.Generator, gaps: bool) -> dict[str, list[BoolMask | None]]:
    """Masks like the truth, with noise; some empty, some (with ``gaps``) not there."""
    answers = {}
    for sample in dataset:
        truth = dataset.ground_truth(sample).dense()
        found: list[BoolMask | None] = []
        for mask in truth:
            choice = rng.integers(0, 6)
            noisy = np.roll(mask, rng.integers(-3, 4), axis=1) ^ (rng.random(mask.shape) < 0.03)
            found.append(None if gaps and choice == 0 else np.zeros_like(mask) if choice in (1, 2) else noisy)
        answers[sample.expression.id] = found
    return answers


def random_video(name: str, rng: np.random.Generator) -> Drawn:
    """Three blobs that come, go and overlap, in four small frames."""
    objects = {i: rng.random((4, 9, 11)) < 0.3 for i in "abc"}
    for masks in objects.values():
        masks[rng.integers(0, 4)] = False
    kinds = TYPES[name]
    ids = (("a",), ("b",), ("a", "b"), ("b", "c"), ())
    return Drawn(name, objects, {str(k): (ids[k], kinds[k]) for k in range(5)})


# Against the oracles --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
def test_values_are_those_of_the_oracles(seed: int) -> None:
    rng = np.random.default_rng(seed)
    for protocol_id in ("revos@1", "long-rvos@1", "mevis-v2@1"):
        dataset = random_video(PROTOCOLS[protocol_id], rng)
        answers = random_answers(dataset, rng, gaps=seed % 2 == 0)
        scores, summary = run(protocol_id, given(dataset, answers))
        things = [[m.dense()[t] for m in dataset.objects(dataset.videos[0]).values()] for t in range(4)]
        for sample in dataset:
            truth, answer = list(dataset.ground_truth(sample).dense()), answers[sample.expression.id]
            wanted = {
                "A": oracle.accuracy(truth, answer),
                "R": oracle.robustness(truth, answer, things),
                "R-no-target": oracle.robustness(truth, answer, things),
                "tIoU": oracle.t_iou(truth, answer),
                "vIoU": oracle.v_iou(truth, answer),
            }
            extras = scores[sample.key].extras
            assert wanted.keys() & extras.keys() or protocol_id == "mevis-v2@1"
            for name in wanted.keys() & extras.keys():
                assert extras[name] == pytest.approx(wanted[name], abs=1e-12), (protocol_id, sample.key, name)
        if protocol_id == "mevis-v2@1":
            n_acc, t_acc = oracle.n_acc([answers["4"]]), oracle.t_acc([answers[k] for k in "0123"])
            assert summary.values["N-acc"] == n_acc and summary.values["T-acc"] == pytest.approx(t_acc, abs=1e-12)
            mean = (summary.values["J&F"] + n_acc + t_acc) / 3
            assert summary.values["Final"] == pytest.approx(mean, abs=1e-12)


@pytest.mark.parametrize("seed", range(6))
def test_visa_counts_overlaps_in_8_bits(seed: int) -> None:
    rng = np.random.default_rng(100 + seed)
    dataset = random_video("revos", rng)
    answers = random_answers(dataset, rng, gaps=False)
    scores, _ = run("revos@visa", given(dataset, answers))
    objects = dataset.objects(dataset.videos[0])
    things = [[m.dense()[t] for m in objects.values()] for t in range(4)]
    for sample in dataset:
        instances = [[objects[i].dense()[t] for i in sample.expression.object_ids or ()] for t in range(4)]
        A, R = oracle.visa(instances, answers[sample.expression.id], things)
        extras = scores[sample.key].extras
        assert (extras["A"], extras["R"]) == (pytest.approx(A, abs=1e-12), pytest.approx(R, abs=1e-12))


# ReVOS by hand --------------------------------------------------------------------------------------------------------


def frame(*boxes: tuple[int, int, int, int], size: tuple[int, int] = (10, 20)) -> BoolMask:
    """bool (H, W): boxes as top, left, bottom, right."""
    mask = np.zeros(size, bool)
    for top, left, bottom, right in boxes:
        mask[top:bottom, left:right] = True
    return mask


def test_robustness() -> None:
    assert robustness(10, 50) == 0.8
    assert robustness(60, 50) == 0.0
    assert robustness(0, 0) == robustness(0, 50) == 1.0
    assert robustness(1, 0) == 0.0


def test_revos_by_hand() -> None:
    left, right, small = frame((0, 0, 10, 5)), frame((0, 10, 10, 15)), frame((0, 0, 2, 5))
    dataset = Drawn(
        "revos",
        {"1": np.stack([left, left]), "2": np.stack([right, np.zeros_like(right)])},
        {"0": (("1",), "referring"), "1": (("1", "2"), "reasoning"), "2": ((), "no-target")},
    )
    answers = {"0": [left, left | small], "1": [right, None], "2": [small, np.zeros_like(small)]}
    answers["0"][1] = left | frame((0, 5, 10, 6))  # 10 pixels beside a target of 50; 50 pixels are annotated
    scores, summary = run("revos@1", given(dataset, answers))
    assert scores["v/0"].extras["A"] == (1 + 190 / 200) / 2
    assert scores["v/0"].extras["R"] == (1 + 0.8) / 2
    # Half of the two objects is found in frame 0, frame 1 is missing: 0 in everything.
    assert (scores["v/1"].J, scores["v/1"].extras["A"], scores["v/1"].extras["R"]) == (0.25, 150 / 200 / 2, 0.5)
    # 10 pixels where nothing is meant, 100 are annotated; then silence.
    assert scores["v/2"].extras == {
        "R-no-target": (0.9 + 1) / 2,
        "frames_both_empty": 1,
        "frames_full_against_empty": 0,
    }
    assert scores["v/2"].J is None and scores["v/2"].status == "ok" and scores["v/2"].counted
    assert summary.values["R-no-target"] == 0.95 and summary.values["R"] == (0.9 + 0.5) / 2
    assert summary.J == (scores["v/0"].J + 0.25) / 2


def test_visa_by_hand() -> None:
    one, two = frame((0, 0, 1, 10)), frame((0, 8, 1, 18))  # 10 pixels each, 2 in both
    dataset = Drawn(
        "revos",
        {"1": np.stack([one, one]), "2": np.stack([two, two])},
        {"0": (("1", "2"), "referring"), "1": (("1",), "reasoning"), "2": ((), "no-target")},
    )
    answers = {"0": [one | two, one | two], "1": [one, None], "2": [one, one]}
    scores, summary = run("revos@visa", given(dataset, answers))
    assert scores["v/0"].J == 1 and scores["v/0"].extras["A"] == 198 / 200
    assert scores["v/0"].extras["R"] == 0  # 2 * 255 pixels beside a target, of 18
    only_two, _ = run("revos@visa", given(dataset, {**answers, "0": [frame((0, 9, 1, 10)), np.zeros_like(one)]}))
    assert only_two["v/0"].extras["R"] == pytest.approx((0 + 1) / 2)
    # Anything missing makes all of the expression 0; under revos@1 one frame of two.
    assert (scores["v/1"].status, scores["v/1"].J, scores["v/1"].extras["A"]) == ("missing", 0, 0)
    assert "the script counts it as 0: 1 missing" not in scores["v/1"].reason and "00001.png" in scores["v/1"].reason
    assert run("revos@1", given(dataset, answers))[0]["v/1"].J == 0.5
    assert not scores["v/2"].counted and "1 expressions that mean nothing are in no value" in summary.warnings[0]
    assert summary.J == 0.5 and summary.values["A"] == 0.495


def scored(kind: str, **values: float) -> UnitScore:
    unit = Unit(f"v/{kind}{values['J']}", "v", tags={"type": kind})
    return UnitScore(unit, "ok", values["J"], values["J"], extras={"A": values["J"], "R": values["J"]})


def test_visa_rounds_and_takes_the_mean_of_two_means() -> None:
    units = [scored("referring", J=1 / 3), scored("referring", J=2 / 3), scored("reasoning", J=1)]
    visa, plain = (get_protocol(name).aggregate(units) for name in ("revos@visa", "revos@1"))
    assert (visa.J, visa.F, visa.J_and_F, visa.values["A"], visa.values["R"]) == (0.75,) * 5
    assert plain.J == pytest.approx(2 / 3) and visa.extras["referring/J&F"] == 0.5
    # 0.123456 and 0.123444 are 12.35 and 12.34 of 100 each on its own; their mean would be 12.34 or 12.35.
    rounded = get_protocol("revos@visa").aggregate(
        [scored("referring", J=0.123456), scored("referring", J=0.123444), scored("reasoning", J=0.123456)]
    )
    assert rounded.J == pytest.approx((12.345 + 12.35) / 200, abs=1e-12)
    assert get_protocol("revos@visa").aggregate(units[:2]).J is None  # the script prints nan


# MeViS v2 by hand -----------------------------------------------------------------------------------------------------


def test_an_expression_about_nothing_is_answered_by_nothing_at_all() -> None:
    box, empty = frame((0, 0, 5, 5)), frame()
    dataset = Drawn(
        "mevis",
        {"1": np.stack([box, box])},
        {"silent": ((), ""), "late": ((), ""), "gap": ((), ""), "said": (("1",), ""), "unsaid": (("1",), "")},
    )
    answers = {
        "silent": [empty, empty],
        "late": [empty, frame((9, 19, 10, 20))],
        "gap": [empty, None],
        "said": [empty, frame((9, 19, 10, 20))],  # anything is an answer, also a wrong one
        "unsaid": [empty, empty],
    }
    scores, summary = run("mevis-v2@1", given(dataset, answers))
    assert [scores[f"v/{k}"].extras["N-acc"] for k in ("silent", "late", "gap")] == [1, 0, 0]
    assert [scores[f"v/{k}"].extras["T-acc"] for k in ("said", "unsaid")] == [1, 0]
    assert (summary.values["N-acc"], summary.values["T-acc"]) == (1 / 3, 0.5)
    J_and_F = (1 + 0.5 + 0.5 + 0 + 0) / 5
    assert summary.J == pytest.approx(J_and_F) and summary.extras["target/J"] == 0
    assert summary.values["Final"] == pytest.approx((summary.J_and_F + 1 / 3 + 0.5) / 3)
    nothing_said = {key: [None, None] for key in answers}
    wrong = run("mevis-v2@1", given(dataset, nothing_said))[1]
    assert (wrong.values["Final"], wrong.values["N-acc"], wrong.values["T-acc"]) == (0, 0, 0)


def test_version_1_has_no_final() -> None:
    box = frame((0, 0, 5, 5))
    dataset = Drawn("mevis", {"1": np.stack([box])}, {"0": (("1",), "")})
    protocol = get_protocol("mevis-v2@1")
    assert "none of these expressions is without a target" in (protocol.applies_to(dataset) or "")
    values = run("mevis-v2@1", given(dataset, {"0": [box]}))[1].values
    assert values["Final"] is None and values["N-acc"] is None and values["T-acc"] == values["J&F"] == 1


# Long-RVOS by hand ----------------------------------------------------------------------------------------------------


def test_when_and_where() -> None:
    box, half, empty = frame((0, 0, 10, 10)), frame((0, 0, 10, 5)), frame()
    truth = np.stack([box, box, box, empty, empty])
    dataset = Drawn("long-rvos", {"1": truth, "2": np.stack([empty] * 5)}, {
        "0": (("1",), "static"), "1": (("2",), "dynamic"), "2": (("2",), "dynamic"),
    })  # fmt: skip
    answers = {
        "0": [empty, half, box, box, empty],  # both in 2 frames, either in 4
        "1": [empty] * 5,
        "2": [empty, empty, empty, empty, None],
    }
    scores, summary = run("long-rvos@1", given(dataset, answers))
    assert scores["v/0"].extras["tIoU"] == 2 / 4 and scores["v/0"].extras["vIoU"] == 1.5 / 4
    assert (scores["v/0"].J, scores["v/1"].extras["tIoU"], scores["v/1"].extras["vIoU"]) == (2.5 / 5, 1, 1)
    # The script takes the missing frame for an empty mask and gives 1.
    assert (scores["v/2"].J, scores["v/2"].extras["tIoU"], scores["v/2"].extras["vIoU"]) == (0.8, 0, 0)
    assert summary.values["tIoU"] == 0.5 and summary.values["vIoU"] == pytest.approx((0.375 + 1 + 0) / 3)


# All of them ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol_id", PROTOCOLS)
def test_perfect_masks_get_everything(protocol_id: str) -> None:
    values = run(protocol_id, Masks(toy(PROTOCOLS[protocol_id])))[1].values
    assert values == dict.fromkeys([m.name for m in get_protocol(protocol_id).metrics], 1)


@pytest.mark.parametrize("protocol_id", PROTOCOLS)
def test_units_that_fail_are_wrong_in_every_value(protocol_id: str) -> None:
    protocol = get_protocol(protocol_id)
    scores, summary = run(protocol_id, Masks(toy(PROTOCOLS[protocol_id])))
    failed = [protocol.failed(score.unit, "out of memory") for score in scores.values()]
    assert protocol.aggregate(failed).values == dict.fromkeys(summary.values, 0)
    for score, other in zip(scores.values(), failed, strict=True):
        assert {n for n in score.extras if not n.startswith("frames_")} == set(other.extras)
        assert (score.J is None) == (other.J is None) and score.counted == other.counted


def test_other_sizes_are_wrong() -> None:
    dataset = toy("revos")
    small = {f"video0/0/{n}": np.ones((HEIGHT // 2, WIDTH), bool) for n in dataset.videos[0].frame_names[:1]}
    assert run("revos@visa", Masks(dataset, replaced=dict(small)))[0]["video0/0"].status == "invalid"
    assert run("revos@1", Masks(dataset, replaced=dict(small)))[0]["video0/0"].J == 0.8

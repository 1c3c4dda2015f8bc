"""gIoU and cIoU against slow oracles, and every special rule by hand. About 2 s."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import oracle
import pytest
from toyimages import Drawn, drawn
from toymasks import Masks, run

from rvos.benchmarks.evaluator import evaluate
from rvos.benchmarks.predictions import MemoryPredictions
from rvos.benchmarks.protocols import default_protocols, get_protocol
from rvos.benchmarks.protocols.base import UnitScore
from rvos.benchmarks.protocols.images import ciou, giou, iou
from rvos.benchmarks.results import Result
from rvos.datasets.coco import CocoMasks, SingleCoverMasks
from rvos.datasets.errors import PredictionInvalid
from rvos.datasets.types import BoolMask

PROTOCOLS = {"reasonseg@1": 1, "reasonseg@videolisa": 4, "refcoco@1": 1, "refcoco@videolisa": 4}


def given(dataset: Drawn, answers: Sequence[BoolMask | Exception | None]) -> Masks:
    """Predictions by image; None for an image without one."""
    masks = Masks(dataset)
    for sample, answer in zip(dataset, answers, strict=True):
        if answer is None:
            masks.deleted.add(sample.key)
        else:
            masks.replaced[f"{sample.key}/{sample.video.id}"] = answer
    return masks


def grid(*rows: str) -> np.ndarray:
    """ "#" is the object, "?" does not count."""
    return np.array([[{"#": 1, "?": 255}.get(c, 0) for c in row] for row in rows], np.uint8)


# Against the oracles --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("protocol_id", PROTOCOLS)
@pytest.mark.parametrize("seed", range(6))
def test_values_are_those_of_the_oracles(protocol_id: str, seed: int) -> None:
    rng = np.random.default_rng(seed)
    maps, answers = [], []
    for _ in range(8):
        shape = tuple(rng.integers(3, 12, 2))
        labels = rng.choice([0, 1, 255], shape, p=[0.5, 0.35, 0.15]).astype(np.uint8)
        kind = rng.integers(0, 6)
        maps.append(np.where(labels == 1, 0, labels).astype(np.uint8) if kind == 0 else labels)
        answers.append(None if kind == 1 else rng.random(shape) < (0 if kind == 2 else 0.4))
    dataset = drawn(protocol_id, maps)
    scores, summary = run(protocol_id, given(dataset, answers))
    pairs = list(zip(maps, answers, strict=True))
    for sample, (labels, answer) in zip(dataset, pairs, strict=True):
        found = scores[sample.key]
        assert found.J == pytest.approx(oracle.image_iou(labels, answer), abs=1e-12) and found.F is None
        assert (found.value("intersection"), found.value("union")) == oracle.counts(labels, answer)
    assert summary.values["gIoU"] == pytest.approx(oracle.g_iou(pairs, PROTOCOLS[protocol_id]), abs=1e-12)
    assert summary.values["cIoU"] == pytest.approx(oracle.c_iou(pairs, PROTOCOLS[protocol_id]), abs=1e-12)


# By hand --------------------------------------------------------------------------------------------------------------


def test_the_constants() -> None:
    assert iou(1, 2) == 1 / 2.00001 and iou(0, 0) == 1 and iou(0, 5) == 0
    assert giou([1.0, 0.5]) == 1.5 / 2.00001 and giou([1.0, 0.5], copies=4) == 6 / 8.00001
    assert ciou([1, 3], [2, 4]) == 4 / (6 + 1e-10) and ciou([1, 3], [2, 4], copies=4) == 16 / (24 + 1e-10)
    assert giou([]) is None and ciou([], []) is None and ciou([0], [0]) == 0


def test_an_empty_ground_truth_wants_an_empty_answer() -> None:
    dataset = drawn("reasonseg@1", [grid("..", ".."), grid("..", "..")])
    one_pixel = np.array([[True, False], [False, False]])
    scores, summary = run("reasonseg@1", given(dataset, [np.zeros((2, 2), bool), one_pixel]))
    assert (scores["i0/0"].J, scores["i1/0"].J) == (1, 0)
    assert summary.values == {"gIoU": 1 / 2.00001, "cIoU": 0 / (1 + 1e-10)}
    assert scores["i0/0"].n_empty_frames == 1


def test_ignored_pixels_leave_both_masks() -> None:
    dataset = drawn("reasonseg@1", [grid("##??", "..??"), grid("??", "??")])
    answers = [np.array([[1, 0, 1, 1], [0, 0, 1, 0]], bool), np.ones((2, 2), bool)]
    scores, summary = run("reasonseg@1", given(dataset, answers))
    assert scores["i0/0"].J == 1 / 2.00001  # one of two pixels, three more are not looked at
    assert scores["i1/0"].J == 1  # nothing that counts is there, or predicted
    assert summary.values["cIoU"] == 1 / (2 + 1e-10)


def test_a_missing_image_is_its_whole_area_in_the_pooled_union() -> None:
    dataset = drawn("reasonseg@1", [grid("##..", "...?"), grid("#."), grid("..", "..")])
    answers = [None, np.array([[True, False]]), PredictionInvalid("i2/0/i2.png: corrupt.")]
    scores, summary = run("reasonseg@1", given(dataset, answers))
    assert [scores[f"i{n}/0"].status for n in range(3)] == ["missing", "ok", "invalid"]
    assert [scores[f"i{n}/0"].J for n in range(3)] == [0, 1 / 1.00001, 0]  # also where the ground truth is empty
    assert summary.values["cIoU"] == 1 / (7 + 1 + 4 + 1e-10)
    assert summary.n_counted == 3 and "2 of 3 units count as 0 (1 missing, 1 invalid)" in summary.warnings[0]


def test_a_mask_of_another_size_cannot_be_used() -> None:
    dataset = drawn("refcoco@1", [grid("##", "..")])
    scores, _ = run("refcoco@1", given(dataset, [np.ones((3, 2), bool)]))
    assert scores["i0/0"].status == "invalid" and "2x3 pixels, the image has 2x2" in scores["i0/0"].reason


def test_an_image_without_shapes_is_left_out_or_empty() -> None:
    maps, answers = [grid("#."), None], [np.array([[True, False]]), np.zeros((1, 2), bool)]
    strict, summary = run("reasonseg@1", given(drawn("reasonseg@1", maps), answers))
    assert strict["i1/0"].status == "no-ground-truth" and summary.n_counted == 1
    script, summary = run("reasonseg@videolisa", given(drawn("reasonseg@videolisa", maps), answers))
    assert script["i1/0"].J == 1 and summary.n_counted == 2


def test_pixels_of_two_parts_are_no_target_in_the_scripts() -> None:
    """Two rectangles of 2 x 3 share a column: 10 pixels are covered, 8 of them once."""
    square = lambda left: np.array([left, 0, left + 3, 0, left + 3, 2, left, 2], float).tobytes()  # noqa: E731
    parts, size = (square(0), square(2)), (2, 6)
    union, once = CocoMasks(parts, size).mask(0), SingleCoverMasks(parts, size).mask(0)
    assert union.sum() == 10 and union[:, :5].all()
    assert (union & ~once).sum() == 2 and (union & ~once)[:, 2].all()


def test_unreadable_ground_truth_leaves_no_pooled_value() -> None:
    protocol = get_protocol("reasonseg@1")
    dataset = drawn("reasonseg@1", [grid("#."), grid("#.")])
    good = protocol.score_video(dataset, "i0", given(dataset, [np.array([[True, False]])] * 2))
    failed = UnitScore(protocol.units(dataset)[1], "failed", J=0.0, F=0.0)
    summary = protocol.aggregate([*good, failed])
    assert summary.values["cIoU"] is None and summary.values["gIoU"] == (1 / 1.00001) / 2.00001
    assert "No cIoU: the ground truth of 1 images" in summary.warnings[-1]


# Through the machinery ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("name", ["reasonseg", "refcoco", "refcoco+", "refcocog", "refclef"])
def test_a_dataset_has_its_protocol(name: str, tmp_path: Path) -> None:
    dataset = Drawn(name, [grid("##", ".."), grid("#.", "..")])
    (protocol,) = default_protocols(dataset)
    masks = MemoryPredictions()
    for sample in dataset:
        masks.update(sample, 0, np.array([[True, False], [False, False]]))
    result = evaluate(masks, dataset, out=tmp_path / "run", workers=1, bounds=True, per_frame=True)
    assert isinstance(result, Result) and result.protocol.id == protocol.id
    assert [m.name for m in result.metrics] == (["gIoU", "cIoU"] if name == "reasonseg" else ["cIoU", "gIoU"])
    assert result.value("cIoU") == 2 / (3 + 1e-10)
    assert result.summary.value("gIoU").half_width is not None  # the constants do not cost the interval
    assert result.summary.ceiling is not None and result.summary.ceiling["cIoU"] == pytest.approx(1)
    assert result.summary.floor == {"gIoU": 0, "cIoU": 0} and result.scores[0].frame_J == (result.scores[0].J,)


def test_what_does_not_fit_is_refused() -> None:
    assert "not for toy" in (get_protocol("refcoco@1").applies_to(Drawn("toy", [grid("#")])) or "")
    exported = Drawn("refcoco", [grid("#")])
    assert "own files" in (get_protocol("refcoco@videolisa").applies_to(exported) or "")

"""Soft scores; label maps of Ref-DAVIS-17, merged from expressions or read from files. About 8 s with the packs."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from toyset import ToyDataset

from rvos.benchmarks.predictions import (
    MergedFolders,
    MergedFromExpressions,
    MergedPredictions,
    annotator_samples,
    as_expressions,
    as_merged,
    export_labels,
    export_masks,
    open_predictions,
)
from rvos.datasets.errors import PredictionInvalid, PredictionMissing, ProtocolError
from rvos.datasets.images import davis_palette, read_png
from rvos.datasets.types import Expression, RVOSDataset, Sample, Video

SIZE = (12, 16)
VIDEO = Video("dog", ("00000", "00001"), declared_size=SIZE)
WHO = ("annot1-first", "annot1-full", "annot2-first", "annot2-full")
PACK = Path(__file__).parents[2].parent / "shared" / "packs" / "ref_davis17"


class TwelveObjects(RVOSDataset):
    """One video, twelve objects (numbers of two digits), four annotators, numbered as the converter does."""

    name = "ref-davis17"

    def __init__(self) -> None:
        samples = [
            Sample(VIDEO, Expression(f"{o}-{WHO[k]}", "it", (str(o),), layout_id=str(4 * o + k), tags={"annotator": k}))
            for k in range(4)
            for o in range(12)
        ]
        super().__init__(Path(), "valid", "1", samples)


DATASET = TwelveObjects()


def write(folder: Path, picture: Callable[[int, int], np.ndarray]) -> Path:
    """``picture(annotator, object)`` for both frames of every expression."""
    for sample in DATASET.samples:
        number = int(sample.expression.layout_id)
        for name in VIDEO.frame_names:
            file = folder / "dog" / str(number) / f"{name}.png"
            file.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(picture(number % 4, number // 4)).save(file)
    return folder


def soft_values(annotator: int, number: int) -> np.ndarray:
    """Few values, so that there are ties; 127 and 128 lie on both sides of one half."""
    choices = np.array([0, 25, 60, 100, 127, 128, 128, 200, 255, 255], np.uint8)
    return np.random.default_rng([annotator, number]).choice(choices, SIZE)


def argmax_over_background(annotator: int, scale: float, background: float) -> np.ndarray:
    """The published rule with all planes in memory."""
    planes = np.stack([soft_values(annotator, number) / scale for number in range(12)])
    planes = np.where(planes >= 0.5, planes, 0)
    return np.concatenate([np.full((1, *SIZE), background), planes]).argmax(0).astype(np.uint8)


# Merging ------------------------------------------------------------------------------------------------------------


def test_samples_of_an_annotator_follow_the_objects() -> None:
    for k in range(4):
        assert [s.expression.id for s in annotator_samples(DATASET, "dog", k)] == [f"{o}-{WHO[k]}" for o in range(12)]
    with pytest.raises(ProtocolError, match="no annotator"):
        annotator_samples(ToyDataset(1), "video0", 0)


def test_soft_argmax_is_the_published_rule(tmp_path: Path) -> None:
    predictions = open_predictions(write(tmp_path, soft_values), DATASET, layout="soft-png")
    merged = pickle.loads(pickle.dumps(as_merged(predictions, DATASET)))
    assert isinstance(merged, MergedPredictions) and merged.merge_rule == "soft-argmax-0.1"
    for k in range(4):
        assert np.array_equal(merged.labels(VIDEO, k, 1), argmax_over_background(k, 255, 0.1))


def test_brighter_wins_is_videolisas_rule(tmp_path: Path) -> None:
    predictions = open_predictions(write(tmp_path, soft_values), DATASET, layout="png-folders")
    merged = as_merged(predictions, DATASET, "brighter-wins")
    for k in range(4):
        assert np.array_equal(merged.labels(VIDEO, k, 0), argmax_over_background(k, 100, 0.1))


def test_of_binary_masks_the_lower_object_wins_under_every_rule(tmp_path: Path) -> None:
    folder = write(tmp_path, lambda k, o: (soft_values(k, o) > 200).astype(np.uint8) * 255)
    masks = open_predictions(folder, DATASET)
    maps = [
        as_merged(masks, DATASET).labels(VIDEO, 2, 0),
        as_merged(masks, DATASET, "brighter-wins").labels(VIDEO, 2, 0),
        as_merged(open_predictions(folder, DATASET, layout="soft-png"), DATASET).labels(VIDEO, 2, 0),
    ]
    planes = np.stack([soft_values(2, o) > 200 for o in range(12)])
    expected = np.where(planes.any(0), planes.argmax(0) + 1, 0)
    assert all(np.array_equal(labels, expected) for labels in maps)
    with pytest.raises(PredictionInvalid, match=r"no scores for .*lower-object-wins"):
        as_merged(masks, DATASET, "soft-argmax-0.1").labels(VIDEO, 2, 0)


def test_a_missing_or_broken_object_is_never_read_as_an_empty_one(tmp_path: Path) -> None:
    folder = write(tmp_path, lambda k, o: np.full(SIZE, 255, np.uint8))
    merged = as_merged(open_predictions(folder, DATASET), DATASET)
    (folder / "dog" / "5" / "00001.png").unlink()  # annotator 1, object 1
    Image.new("L", (3, 3), 255).save(folder / "dog" / "10" / "00000.png")  # annotator 2, object 2
    with pytest.raises(PredictionMissing, match=r"dog/5/00001\.png"):
        merged.labels(VIDEO, 1, 1)
    with pytest.raises(PredictionInvalid, match="16x12 for dog/0-annot2-first, 3x3 for dog/2-annot2-first"):
        merged.labels(VIDEO, 2, 0)
    assert (merged.labels(VIDEO, 1, 0) == 1).all()


# Label maps in files ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("parent", ["", "valid/"])
def test_label_maps_in_files(tmp_path: Path, parent: str) -> None:
    merged = as_merged(open_predictions(write(tmp_path / "raw", soft_values), DATASET, layout="soft-png"), DATASET)
    report = export_labels(merged, DATASET, tmp_path / "out" / parent)
    assert report.n_written == 8 and not report.skipped
    back = pickle.loads(pickle.dumps(open_predictions(tmp_path / "out", DATASET)))
    assert isinstance(back, MergedFolders) and back.n_annotators == 4 and as_merged(back, DATASET) is back
    for k in range(4):
        assert np.array_equal(back.labels(VIDEO, k, 1), merged.labels(VIDEO, k, 1))
    image = read_png(tmp_path / "out" / parent / "anno_3" / "dog" / "00001.png")
    assert image.mode == "P" and np.array_equal(image.palette, davis_palette())
    with pytest.raises(ProtocolError, match="overlaps are lost"):
        as_expressions(back)


def test_one_set_of_label_maps_stands_for_all_annotators(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    Image.fromarray(np.full(SIZE, 7, np.uint8), "L").save(tmp_path / "dog" / "00000.png")
    predictions = open_predictions(tmp_path, DATASET)
    assert predictions.layout == "label-maps" and predictions.n_annotators == 1
    assert all((predictions.labels(VIDEO, k, 0) == 7).all() for k in range(4))
    with pytest.raises(PredictionMissing):
        predictions.labels(VIDEO, 0, 1)
    Image.new("RGB", SIZE[::-1]).save(tmp_path / "dog" / "00001.png")
    with pytest.raises(PredictionInvalid, match="mode RGB"):
        predictions.labels(VIDEO, 0, 1)


def test_renumbered_label_maps_are_read_by_position(tmp_path: Path) -> None:
    video = Video("cat", ("00010", "00020"))
    for folder, names in (("own", ("00010", "00020")), ("numbered", ("00000", "00001"))):
        (tmp_path / folder / "cat").mkdir(parents=True)
        for value, name in enumerate(names):
            Image.new("L", SIZE, value).save(tmp_path / folder / "cat" / f"{name}.png")
        labels = open_predictions(tmp_path / folder, DATASET, layout="label-maps")
        assert [int(labels.labels(video, 0, i).max()) for i in (0, 1)] == [0, 1], folder


def test_export_of_masks_reads_back_and_reports_what_is_missing(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", lambda k, o: (soft_values(k, o) > 127).astype(np.uint8))
    (folder / "dog" / "5" / "00001.png").unlink()
    masks = open_predictions(folder, DATASET)
    report = export_masks(masks, DATASET, tmp_path / "out")
    assert report.n_written == 95 and len(report.skipped) == 1 and "dog/5/00001.png" in report.skipped[0]
    again = open_predictions(tmp_path / "out", DATASET)
    for sample in DATASET.samples:
        assert np.array_equal(again.mask(sample, "00000", "strict"), masks.mask(sample, "00000", "strict"))
    assert set(np.unique(np.asarray(Image.open(tmp_path / "out" / "dog" / "0" / "00000.png")))) == {0, 255}


# Scores -------------------------------------------------------------------------------------------------------------

SAMPLE = DATASET.samples[0]
SCORES = np.random.default_rng(0).random(SIZE).astype(np.float32)


def as_uint(dtype: str) -> np.ndarray:
    return np.round(SCORES * np.iinfo(dtype).max).astype(dtype)


def save_scores(folder: Path, layout: str) -> Path:
    place = folder / "dog" / "0"
    (place.parent if layout == "npz of frames" else place).mkdir(parents=True)
    if layout.startswith("png"):
        Image.fromarray(as_uint("uint8" if layout == "png8" else "uint16")).save(place / "00000.png")
    elif layout == "npz a frame":
        np.savez_compressed(place / "00000.npz", SCORES)
    elif layout == "npy a frame":
        np.save(place / "00000.npy", as_uint("uint16"))
    else:
        np.savez(f"{place}.npz", **{"00000": SCORES.astype(np.float16)})
    return folder


@pytest.mark.parametrize("layout", ["png8", "png16", "npz a frame", "npy a frame", "npz of frames"])
def test_scores_come_back_in_unit_range(tmp_path: Path, layout: str) -> None:
    folder = save_scores(tmp_path, layout)
    predictions = open_predictions(folder, DATASET, threshold=0.4)
    assert predictions.layout == ("soft-png" if layout.startswith("png") else "soft-npz")
    scores = predictions.scores(SAMPLE, "00000")
    assert scores.dtype == np.float32 and np.abs(scores - SCORES).max() < 0.003
    assert np.array_equal(predictions.mask(SAMPLE, "00000", "strict"), scores >= np.float32(0.4))
    assert predictions.frame_names(SAMPLE) == ["00000"]
    with pytest.raises(PredictionMissing):
        predictions.scores(SAMPLE, "00001")
    with pytest.raises(PredictionInvalid, match="--threshold"):
        open_predictions(folder, DATASET).mask(SAMPLE, "00000", "strict")


BAD_ARRAYS = {
    "logits": (SCORES * 9 - 4, "apply a sigmoid"),
    "nan": (SCORES * np.nan, "apply a sigmoid"),
    "stack": (np.stack([SCORES, SCORES]), r"\(2, 12, 16\)"),
    "objects": (np.array([[None]]), "npy file|cannot be read"),
    "int64": (np.zeros(SIZE, np.int64), "int64"),
}


@pytest.mark.parametrize("name", BAD_ARRAYS)
def test_arrays_that_are_no_scores(tmp_path: Path, name: str) -> None:
    array, words = BAD_ARRAYS[name]
    (tmp_path / "dog" / "0").mkdir(parents=True)
    np.save(tmp_path / "dog" / "0" / "00000.npy", array)
    with pytest.raises(PredictionInvalid, match=words):
        open_predictions(tmp_path, DATASET).scores(SAMPLE, "00000")


def test_a_stack_of_frames_in_one_npz_is_refused_with_the_cure(tmp_path: Path) -> None:
    (tmp_path / "dog").mkdir()
    np.savez_compressed(tmp_path / "dog" / "0.npz", scores=np.stack([SCORES, SCORES]))
    with pytest.raises(PredictionInvalid, match="save one array per frame under the frame's name"):
        open_predictions(tmp_path, DATASET).scores(SAMPLE, "00000")
    (tmp_path / "dog" / "0.npz").write_bytes(b"PK nothing")
    with pytest.raises(PredictionInvalid, match="npz"):
        open_predictions(tmp_path, DATASET).scores(SAMPLE, "00000")


# Real merges --------------------------------------------------------------------------------------------------------


@pytest.mark.skipif(not PACK.is_dir(), reason=f"the Ref-DAVIS-17 pack is not at {PACK}")
@pytest.mark.parametrize("name", ["rvos", "noisy", "gray"])
def test_merging_equals_videolisas_post_processing(name: str) -> None:
    from rvos.datasets.registry import load

    dataset = load("ref-davis17/valid", root=PACK)
    raw = open_predictions(PACK / "predictions" / name, dataset)
    processed = open_predictions(PACK / "predictions" / f"{name}_processed", dataset)
    rules: list[MergedFromExpressions] = [MergedFromExpressions(raw, dataset, "brighter-wins")]
    if name != "gray":  # files of two values, for which the strict merge must be the same
        rules.append(MergedFromExpressions(raw, dataset, "lower-object-wins"))
    for video in dataset.videos:
        for annotator in range(4):
            for index in range(len(video)):
                expected = processed.labels(video, annotator, index)
                assert all(np.array_equal(rule.labels(video, annotator, index), expected) for rule in rules)

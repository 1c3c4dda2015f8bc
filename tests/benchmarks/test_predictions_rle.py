"""Masks as RLE: run folders, memory, JSON of other projects. About 2 s."""

from __future__ import annotations

import gzip
import json
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from toyset import HEIGHT, WIDTH, ToyDataset

from rvos.benchmarks.predictions import (
    ExpressionPredictions,
    MemoryPredictions,
    RunMasks,
    open_predictions,
    video_masks_path,
    videos_with_masks,
    write_video_masks,
)
from rvos.benchmarks.predictions.rle_json import index_members
from rvos.datasets.errors import PredictionInvalid, PredictionMissing, RunError, UsageError
from rvos.datasets.masks import encode_rle
from rvos.datasets.types import Expression, Sample, Video

DATASET = ToyDataset()
SAMPLE = DATASET.samples[0]
FRAMES = SAMPLE.video.frame_names


def truth(sample: Sample) -> list[np.ndarray]:
    return list(DATASET.ground_truth(sample).dense())


def rles(sample: Sample) -> list[dict[str, Any] | None]:
    return [encode_rle(mask) for mask in truth(sample)]


def assert_equal_masks(predictions: ExpressionPredictions) -> None:
    assert isinstance(predictions, ExpressionPredictions)
    for sample in DATASET.samples:
        assert predictions.frame_names(sample) == list(sample.video.frame_names)
        assert predictions.scores(sample, sample.video.frame_names[0]) is None
        for name, mask in zip(sample.video.frame_names, truth(sample), strict=True):
            assert np.array_equal(predictions.mask(sample, name, "strict"), mask)


# Run folders --------------------------------------------------------------------------------------------------------


def write_all(folder: Path) -> None:
    for video in DATASET.videos:
        write_video_masks(folder, video, {s.expression.id: rles(s) for s in DATASET.samples_of(video.id)})


def test_run_masks_come_back_as_they_were(tmp_path: Path) -> None:
    write_all(tmp_path / "masks")
    assert videos_with_masks(tmp_path / "masks") == [video.id for video in DATASET.videos]
    assert_equal_masks(pickle.loads(pickle.dumps(RunMasks(tmp_path / "masks"))))
    assert_equal_masks(open_predictions(tmp_path / "masks", DATASET))
    (tmp_path / "run.json").write_text("{}")
    predictions = open_predictions(tmp_path, DATASET)
    assert isinstance(predictions, RunMasks) and predictions.path == tmp_path / "masks"
    assert predictions.rles(SAMPLE) == rles(SAMPLE)
    with pytest.raises(UsageError, match="threshold means nothing"):
        open_predictions(tmp_path, DATASET, threshold=0.5)


def test_the_file_is_plain_json_and_the_same_every_time(tmp_path: Path) -> None:
    path = write_video_masks(tmp_path, SAMPLE.video, {"0": rles(SAMPLE)})
    content = json.loads(gzip.decompress(path.read_bytes()))
    assert content["schema_version"] == 1 and content["expressions"]["0"] == rles(SAMPLE)
    before = path.read_bytes()
    assert write_video_masks(tmp_path, SAMPLE.video, {"0": rles(SAMPLE)}).read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_unpredicted_frames_expressions_and_videos_are_missing(tmp_path: Path) -> None:
    partial = [None, *rles(SAMPLE)[1:]]
    write_video_masks(tmp_path, SAMPLE.video, {"0": partial})
    predictions = RunMasks(tmp_path)
    assert predictions.frame_names(SAMPLE) == list(FRAMES[1:])
    assert predictions.frame_names(DATASET.samples[1]) is None
    for sample, words in ((SAMPLE, "no mask"), (DATASET.samples[1], "no masks for"), (DATASET.samples[-1], "no such")):
        with pytest.raises(PredictionMissing, match=words):
            predictions.mask(sample, FRAMES[0], "strict")


@pytest.mark.parametrize("video_id", ["a/b", "..", "a%2Fb", "视频 1", 'x:"y"', "con\n"])
def test_every_video_id_is_one_file_in_the_folder(tmp_path: Path, video_id: str) -> None:
    video = Video(video_id, ("0",))
    path = write_video_masks(tmp_path, video, {"e": [encode_rle(np.ones((2, 3)))]})
    assert path.parent == tmp_path and path == video_masks_path(tmp_path, video_id)
    assert videos_with_masks(tmp_path) == [video_id]
    assert RunMasks(tmp_path).mask(Sample(video, Expression("e", "t")), "0", "strict").all()


@pytest.mark.parametrize(
    "content",
    [b"", b"no gzip", gzip.compress(b'{"schema_version": 2}'), gzip.compress(b"[1")],
    ids=["no bytes", "no gzip", "newer schema", "cut json"],
)
def test_damaged_mask_files_are_invalid(tmp_path: Path, content: bytes) -> None:
    path = write_video_masks(tmp_path, SAMPLE.video, {"0": rles(SAMPLE)})
    path.write_bytes(content)
    predictions = RunMasks(tmp_path)
    for _ in range(2):
        with pytest.raises(PredictionInvalid, match=path.name):
            predictions.mask(SAMPLE, FRAMES[0], "strict")
    assert predictions.frame_names(SAMPLE) is None


def test_masks_that_do_not_fit_the_video_are_not_written(tmp_path: Path) -> None:
    with pytest.raises(RunError, match="1 masks for 0, the video has 5 frames"):
        write_video_masks(tmp_path, SAMPLE.video, {"0": [None]})
    (tmp_path / "file").write_text("x")
    with pytest.raises(RunError, match="cannot be written"):
        write_video_masks(tmp_path / "file", SAMPLE.video, {})


# Memory -------------------------------------------------------------------------------------------------------------


def test_memory_keeps_what_it_is_given_and_merges() -> None:
    parts = [MemoryPredictions(), MemoryPredictions()]
    for n, sample in enumerate(DATASET.samples):
        for i, mask in enumerate(truth(sample)):
            parts[(n + i) % 2].update(sample, i, mask)
            parts[0].update(sample, i, mask)  # as a padded sampler would
    merged = pickle.loads(pickle.dumps(parts[1]))
    merged.merge(parts[0])
    assert_equal_masks(merged)
    assert len(merged) == sum(len(s.video) for s in DATASET.samples)
    assert merged.rles(SAMPLE) == rles(SAMPLE)


def test_memory_takes_logits_and_refuses_what_does_not_fit() -> None:
    predictions = MemoryPredictions()
    predictions.update(SAMPLE, 0, np.full((4, 6), 2.0))
    predictions.update(SAMPLE, 0, np.zeros((HEIGHT, WIDTH), bool))  # the first one stays
    assert predictions.mask(SAMPLE, FRAMES[0], "strict").all()
    with pytest.raises(PredictionInvalid, match="NaN"):
        predictions.update(SAMPLE, 1, np.full((4, 6), np.nan))
    assert predictions.frame_names(SAMPLE) == [FRAMES[0]]
    with pytest.raises(PredictionMissing, match="No mask was given"):
        predictions.mask(SAMPLE, FRAMES[1], "strict")
    with pytest.raises(IndexError):
        predictions.update(SAMPLE, 99, np.zeros((HEIGHT, WIDTH), bool))


# JSON ---------------------------------------------------------------------------------------------------------------


def sa2va() -> dict[str, Any]:
    """What Sa2VA's inference writes: a record per expression."""
    content: dict[str, Any] = {}
    for index, s in enumerate(DATASET.samples):
        record = {
            "index": index,
            "exp": 'say "[SEG]" {',
            "frames": list(s.video.frame_names),
            "prediction_masks": rles(s),
        }
        content.setdefault(s.video.id, {})[s.expression.layout_id] = record
    return content


def test_json_of_sa2va_and_plain_lists(tmp_path: Path) -> None:
    path = tmp_path / "results.json"
    path.write_text(json.dumps(sa2va(), indent=1))
    predictions = open_predictions(path, DATASET)
    assert predictions.layout == "rle-json"
    assert_equal_masks(pickle.loads(pickle.dumps(predictions)))
    path.write_text(json.dumps({v: {e: r["prediction_masks"] for e, r in es.items()} for v, es in sa2va().items()}))
    assert_equal_masks(open_predictions(path, DATASET))


@pytest.mark.parametrize("outer", [True, False])
def test_one_json_per_video(tmp_path: Path, outer: bool) -> None:
    for video_id, content in sa2va().items():
        (tmp_path / f"{video_id}.json").write_text(json.dumps({video_id: content} if outer else content))
    assert_equal_masks(open_predictions(tmp_path, DATASET))


def test_index_finds_members_whatever_their_strings_hold(tmp_path: Path) -> None:
    content = {'a"[': {"x": ["}{", '\\"', "]"]}, "é\\": {}, "n": {"deep": [[{"k": {}}]]}}
    path = tmp_path / "x.json"
    for ascii_only in (True, False):
        path.write_text(json.dumps(content, ensure_ascii=ascii_only), encoding="utf-8")
        assert {key: part.read() for key, part in index_members(path).items()} == content
    path.write_text(" {} ")
    assert index_members(path) == {}


BAD_ENTRIES = {
    "short list": (rles(SAMPLE)[:2], PredictionInvalid, "2 masks for 5 frames"),
    "no list": ("x", PredictionInvalid, "str for 5 frames"),
    "null": ({"prediction_masks": None}, PredictionMissing, "'prediction_masks' is absent or null"),
    "null frame": ([None] * 5, PredictionMissing, "no mask"),
    "no RLE": ([{"size": [4, 5]}] * 5, PredictionInvalid, "not a COCO RLE"),
    "garbage": ([{"size": [4, 5], "counts": "ooo"}] * 5, PredictionInvalid, "not a COCO RLE"),
    "giant": ([{"size": [10**9, 10**9], "counts": "0"}] * 5, PredictionInvalid, "not a COCO RLE"),
}


@pytest.mark.parametrize("name", BAD_ENTRIES)
def test_bad_entries(tmp_path: Path, name: str) -> None:
    entry, error, words = BAD_ENTRIES[name]
    path = tmp_path / "results.json"
    path.write_text(json.dumps({SAMPLE.video.id: {SAMPLE.expression.id: entry}}))
    with pytest.raises(error, match=words) as raised:
        open_predictions(path, DATASET).mask(SAMPLE, FRAMES[0], "strict")
    assert "results.json" in str(raised.value) and "\n" not in str(raised.value)


@pytest.mark.parametrize("text", ["", "[1, 2]", '{"a": {"b": [', "12", '{"a": 1}', "<html>"])
def test_bad_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "results.json"
    path.write_text(text)
    with pytest.raises(PredictionInvalid, match=r"results\.json"):
        open_predictions(path, DATASET)


def test_damaged_part_of_one_video_leaves_the_others(tmp_path: Path) -> None:
    text = json.dumps(sa2va())
    path = tmp_path / "results.json"
    path.write_text(text.replace('"prediction_masks"', "prediction_masks", 1))
    predictions = open_predictions(path, DATASET)
    with pytest.raises(PredictionInvalid, match="not valid JSON between bytes"):
        predictions.mask(SAMPLE, FRAMES[0], "strict")
    last = DATASET.samples[-1]
    assert predictions.frame_names(last) == list(last.video.frame_names)

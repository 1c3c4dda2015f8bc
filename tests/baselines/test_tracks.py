"""Points and boxes that language models write, read and made masks. About 5 s."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="SAM 2 needs torch (pip install 'rvos[models]')")
transformers = pytest.importorskip("transformers", reason="SAM 2 needs transformers (pip install 'rvos[models]')")

import tinymodels  # noqa: E402
from toyset import HEIGHT, WIDTH, ToyDataset  # noqa: E402

from rvos.baselines.registry import make_predictor  # noqa: E402
from rvos.baselines.sam2_prompts import Prompt  # noqa: E402
from rvos.baselines.tracks import Mark, parse_marks, prompts_of, read_answers  # noqa: E402
from rvos.benchmarks.engine import predict  # noqa: E402
from rvos.benchmarks.predictions.run_masks import RunMasks  # noqa: E402
from rvos.datasets.errors import PredictionError  # noqa: E402

TEXTS = {
    '<point x="50.0" y="25" alt="the cat">the cat</point>': [Mark(0, (50, 25), scale=100)],
    '<points x1="10" y1="20" x2="30.5" y2="40" t="01:02.5">': [
        Mark(62.5, (10, 20), "1", 100),
        Mark(62.5, (30.5, 40), "2", 100),
    ],
    '<tracks coords="0.0 1 635 522;0.5 1 606 490 2 511 124">the dogs</tracks>': [
        Mark(0, (635, 522), "1", 1000),
        Mark(0.5, (606, 490), "1", 1000),
        Mark(0.5, (511, 124), "2", 1000),
    ],
    '<points coords="1.5 1 520 168"> x </points>': [Mark(1.5, (520, 168), "1", 1000)],
    '```json\n[{"bbox_2d": [10, 20, 30, 40], "label": "a"}, {"bbox_2d": [1, 2, 3, 4]}]```': [
        Mark(0, (10, 20, 30, 40), "0"),
        Mark(0, (1, 2, 3, 4), "1"),
    ],
    '[{"time": 0.5, "point_2d": [7, 8]}, {"time": 1.0, "point_2d": [9, 8]}]': [
        Mark(0.5, (7, 8), "0"),
        Mark(1.0, (9, 8), "0"),
    ],
    "There are none.": [],
    "": [],
}


@pytest.mark.parametrize("text", TEXTS)
def test_what_models_write(text: str) -> None:
    assert parse_marks(text) == TEXTS[text]


def test_a_time_that_is_none_ends_with_a_clear_error() -> None:
    with pytest.raises(PredictionError, match="'soon' is no time"):
        parse_marks('<point x="1" y="2" t="soon">')


def test_times_become_frames_and_shares_pixels() -> None:
    video = ToyDataset(1).videos[0]
    marks = [
        Mark(0.5, (500, 500), "1", 1000),
        Mark(99, (0.5, 0.25), "1", 1),
        Mark(2, (3, 4, 30, 40), "2", in_frames=True),
        Mark(2, (5, 6), "2", in_frames=True),
    ]
    one, two = prompts_of(marks, video, fps=4)
    assert one == {2: Prompt(points=((30.0, 20.0),)), 4: Prompt(points=((30.0, 10.0),))}
    assert two == {2: Prompt(points=((5.0, 6.0),), box=(3.0, 4.0, 30.0, 40.0))}


def test_files_of_every_form(tmp_path: Path) -> None:
    entries = [
        {"video_id": "a", "expression_id": "0", "points": [[3, 10, 20]], "boxes": [[0, 1, 2, 3, 4]], "object": 7},
        {"doc": {"video": "b.mp4", "exp_id": 1}, "resps": [['<point x="1" y="2">']]},
        {"submission": {"video_name": "c", "qid": "2"}, "filtered_resps": ["There are none."]},
    ]
    expected = {
        ("a", "0"): [Mark(3, (10, 20), "7", in_frames=True), Mark(0, (1, 2, 3, 4), "7", in_frames=True)],
        ("b", "1"): [Mark(0, (1, 2), scale=100)],
        ("c", "2"): [],
    }
    (tmp_path / "list.json").write_text(json.dumps(entries))
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert read_answers(tmp_path / "list.json") == read_answers(tmp_path / "lines.jsonl") == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "neither a JSON list nor JSON lines"),
        ("[1]", "must be a JSON object"),
        ('{"points": []}', "answer 1: names no video_id and expression_id"),
        ('{"video_id": "a", "expression_id": "0"}', "holds neither points nor boxes nor a text"),
        ('{"video_id": "a", "expression_id": "0", "points": [[1, 2]]}', "expected 3 numbers, the first a frame number"),
    ],
)
def test_files_that_cannot_be_read(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "answers.jsonl").write_text(text)
    with pytest.raises(PredictionError, match=words):
        read_answers(tmp_path / "answers.jsonl")
    with pytest.raises(PredictionError, match="no such file"):
        read_answers(tmp_path / "nowhere.jsonl")


@pytest.mark.skipif(not hasattr(transformers, "Sam2VideoModel"), reason="this transformers has no SAM 2 video model")
def test_answers_become_masks_and_sentences_without_one_are_missing(tmp_path: Path) -> None:
    torch.set_num_threads(1)
    data = ToyDataset(1)
    answers = [
        {"video_id": "video0", "expression_id": "0", "points": [[0, 10, 10], [4, 14, 10]]},
        {"video_id": "video0", "expression_id": "1", "response": "There are none."},
    ]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in answers))
    sam2 = tinymodels.tiny_sam2_folder(tmp_path / "sam2")
    model = make_predictor(f"tracks:{tmp_path / 'answers.jsonl'},{sam2}")
    run = predict(model, data, out=tmp_path / "run", progress=False)
    lines = {line.expression_id: line for line in run.predictions()}
    assert {e: line.status for e, line in lines.items()} == {"0": "ok", "1": "ok", **dict.fromkeys("234", "missing")}
    assert lines["1"].n_empty_frames == lines["1"].n_frames
    names = data.videos[0].frame_names
    mask = RunMasks(run.masks).mask(data.sample("video0/0"), names[2], "strict")
    assert mask.shape == (HEIGHT, WIDTH) and isinstance(mask, np.ndarray)

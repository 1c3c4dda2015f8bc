"""Points and boxes that language models write, read and made masks. About 5 s."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="SAM 2 needs torch (pip install 'rvos[models]')")
transformers = pytest.importorskip("transformers", reason="SAM 2 needs transformers (pip install 'rvos[models]')")

import tinymodels  # noqa: E402
from toyset import HEIGHT, ToyDataset  # noqa: E402

from rvos.baselines.pretrained import load_model  # noqa: E402
from rvos.baselines.registry import make_predictor  # noqa: E402
from rvos.baselines.sam2_prompts import Prompt, Sam2Prompts  # noqa: E402
from rvos.baselines.tracks import Answer, Mark, answer_to, parse_marks, prompts_of, read_answers  # noqa: E402
from rvos.benchmarks.engine import predict  # noqa: E402
from rvos.benchmarks.predictions.run_masks import RunMasks  # noqa: E402
from rvos.datasets.errors import PredictionError  # noqa: E402
from rvos.datasets.types import Expression  # noqa: E402

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
    '<tracks coords="0.0 1.0 635.5 522.0, 0.5 1.0 606 490;1.0 1 5': [
        Mark(0, (635.5, 522), "1", 1000),
        Mark(0.5, (606, 490), "1", 1000),
    ],
    'time 0.5\n{1: [50.5, 20, "no"], 2: [7, 8]}\ntime 1.0\n{1: (51, 21, "yes")}': [
        Mark(0.5, (50.5, 20), "1", 100),
        Mark(0.5, (7, 8), "2", 100),
        Mark(1.0, (51, 21), "1", 100),
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
        Mark(2, (-5, 600), "2", in_frames=True),
    ]
    one, two = prompts_of(marks, video, fps=4)
    assert one == {2: Prompt(points=((30.0, 20.0),)), 4: Prompt(points=((30.0, 10.0),))}
    assert two == {2: Prompt(points=((0.0, HEIGHT - 1.0),), box=(3.0, 4.0, 30.0, 40.0))}


#: As ``rvos_process_results`` of lmms-eval makes it.
LMMS_RECORD = {
    "id": "mevis_track_0",
    "qid": "3",
    "video": "b",
    "expression": "The cat.",
    "prediction": '<tracks coords="0.5 1 500 250">cat</tracks>',
    "tracks": [{"time": 0.5, "frame": 3, "points": {"1": {"point": [30.0, 10.0]}, "2": {"point": [0, 40]}}}],
    "height": 40,
    "width": 60,
    "fps": 6,
    "sampling_fps": 1,
    "n_frames": 9,
    "mask_ids": ["7"],
    "f1": 0.5,
}
LMMS_MARKS = (
    Mark(3, (0.5, 0.25), "1", scale=1.0, in_frames=True),
    Mark(3, (0.0, 1.0), "2", scale=1.0, in_frames=True),
)


def test_files_of_every_form(tmp_path: Path) -> None:
    entries = [
        {"video_id": "a", "expression_id": "0", "points": [[3, 10, 20]], "object": 7},
        {"video_id": "a", "expression_id": "0", "boxes": [[0, 1, 2, 3, 4]], "object": 7},
        {"video_id": "a", "expression_id": 1, "text": '<point x="1" y="2">'},
        {"video_id": "c", "expression_id": "2", "text": "There are none."},
        LMMS_RECORD,
        {"doc_id": 4, "target": "cat", "filtered_resps": ["..."], "rvos_f1": {**LMMS_RECORD, "qid": 4, "tracks": []}},
    ]
    expected = [
        Answer("a", "0", (Mark(3, (10, 20), "7", in_frames=True), Mark(0, (1, 2, 3, 4), "7", in_frames=True))),
        Answer("a", "1", (Mark(0, (1, 2), scale=100),)),
        Answer("c", "2", ()),
        Answer("b", "3", LMMS_MARKS, "The cat."),
        Answer("b", "4", (), "The cat."),
    ]
    (tmp_path / "list.json").write_text(json.dumps(entries))
    (tmp_path / "lines.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in entries))
    assert read_answers(tmp_path / "list.json") == read_answers(tmp_path / "lines.jsonl") == expected


def test_an_answer_belongs_to_the_sentence_with_its_words_else_to_its_id() -> None:
    cat, dog, again = Expression("0", "the  cat"), Expression("1", "A dog"), Expression("2", "The cat.", layout_id="9")
    by_words = [Answer("v", "9", (), "the cat"), Answer("v", "0", (), "a dog."), Answer("v", "4", (), "the cat")]
    assert answer_to(cat, by_words) is by_words[0] and answer_to(dog, by_words) is by_words[1]
    assert answer_to(again, by_words) is by_words[0] and answer_to(again, by_words[1:]) is by_words[2]
    by_id = [Answer("v", "1", ()), Answer("v", "9", ())]
    assert answer_to(dog, by_id) is by_id[0] and answer_to(again, by_id) is by_id[1] and answer_to(cat, by_id) is None
    assert answer_to(Expression("0", "a bird"), by_words) is None, "another sentence's answer is none to this one"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{", "neither a JSON list nor JSON lines"),
        ("[1]", "must be a JSON object"),
        ('{"points": []}', "answer 1: names neither video_id and expression_id nor, as lmms-eval, video and qid"),
        ('{"video": "a", "qid": 1, "width": 9, "height": 9, "tracks": [[1]]}', "expected lmms-eval's tracks"),
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
    data = ToyDataset(1)
    answers = [
        {"video_id": "video0", "expression_id": "0", "points": [[0, 10, 10], [4, 14, 10]]},
        {"video_id": "video0", "expression_id": "1", "text": "There are none."},
    ]
    (tmp_path / "answers.jsonl").write_text("".join(json.dumps(entry) + "\n" for entry in answers))
    sam2 = tinymodels.tiny_sam2_folder(tmp_path / "sam2")
    model = make_predictor(f"tracks:{tmp_path / 'answers.jsonl'},{sam2}")
    run = predict(model, data, out=tmp_path / "run", progress=False)
    lines = {line.expression_id: line for line in run.predictions()}
    assert {e: line.status for e, line in lines.items()} == {"0": "ok", "1": "ok", **dict.fromkeys("234", "missing")}
    assert lines["1"].n_empty_frames == lines["1"].n_frames
    names = data.videos[0].frame_names
    prompts = [{0: Prompt(points=((10.0, 10.0),)), 4: Prompt(points=((14.0, 10.0),))}]
    for _, index, expected in Sam2Prompts(load_model(str(sam2), "Sam2VideoModel")).segment_objects(
        data.videos[0], {"0": prompts}
    ):
        assert np.array_equal(RunMasks(run.masks).mask(data.sample("video0/0"), names[index], "strict"), expected)

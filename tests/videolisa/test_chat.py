from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rvos.datasets.errors import UsageError
from rvos.datasets.video_files import open_video
from rvos.videolisa.chat import chat, paint
from rvos.videolisa.predictor import VideoLisaPredictor
from rvos.videolisa.speed import moving_video
from rvos.videolisa.video_files import OverlayWriter

COUNT = 40


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film whose frame i has the grey value 5 i."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with OverlayWriter(path, 10) as writer:
        for index in range(COUNT):
            writer.write(np.full((48, 64, 3), 5 * index, np.uint8))
    return path


def test_paint_is_half_image_half_colour() -> None:
    frame = np.full((2, 3, 3), 100, np.uint8)
    mask = np.zeros((2, 3), bool)
    mask[0, 0] = True
    painted = paint(frame, [mask])
    assert painted[0, 0].tolist() == [177, 50, 50] and painted[1, 2].tolist() == [100, 100, 100]
    assert frame[0, 0].tolist() == [100, 100, 100]


@pytest.mark.parametrize("overlay", ["mp4", "gif"])
def test_chat_writes_masks_overlay_and_answers(tiny: Any, mp4: Path, tmp_path: Path, overlay: Any) -> None:
    predictor = VideoLisaPredictor(tiny)
    prompts = ["Where is the grey thing?", "what moves"]
    result = chat(predictor, mp4, prompts, tmp_path, overlay=overlay, answer_tokens=4)
    expected = dict(predictor.segment_questions(open_video(mp4), prompts))
    for number, reply in enumerate(result.replies):
        files = sorted(reply.masks.iterdir())
        assert len(files) == reply.frames == COUNT
        assert np.array_equal(np.asarray(Image.open(files[5])), expected[5][number] * np.uint8(255))
        assert reply.frames_with_object == sum(expected[t][number].any() for t in expected)
        assert isinstance(reply.answer, str)
    report = json.loads(result.report.read_text())
    assert [r["prompt"] for r in report["replies"]] == prompts
    if overlay == "mp4":
        assert len(open_video(result.overlay)) == COUNT
    else:
        assert Image.open(result.overlay).n_frames > 1


def test_chat_on_a_folder_without_answers(tiny: Any, tmp_path: Path) -> None:
    frames = tmp_path / "frames"
    frames.mkdir()
    for index, frame in enumerate(moving_video(3, (30, 41)).iter_frames()):
        Image.fromarray(frame).save(frames / f"{index:03d}.png")
    result = chat(VideoLisaPredictor(tiny), frames, ["x"], tmp_path / "out", answer_tokens=0)
    assert result.replies[0].answer is None
    assert sorted(p.name for p in result.replies[0].masks.iterdir()) == ["000.png", "001.png", "002.png"]
    with pytest.raises(UsageError, match="needs a prompt"):
        chat(VideoLisaPredictor(tiny), frames, [], tmp_path / "out")


def test_command_line(tiny: Any, mp4: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from rvos.cli import main

    tiny.save_pretrained(tmp_path / "model")
    words = ["chat", "--video", str(mp4), "--prompt", "the thing", "--model", str(tmp_path / "model")]
    with pytest.raises(SystemExit) as ended:
        main([*words, "--out", str(tmp_path / "out"), "--device", "cpu", "--answer-tokens", "2"])
    printed = capsys.readouterr().out.splitlines()
    assert ended.value.code in (0, None)
    assert printed[0] == "the thing" and printed[-1] == str(tmp_path / "out" / "overlay.mp4")
    with pytest.raises(SystemExit) as ended:
        main(["chat", "--video", str(mp4), "--prompt", "x", "--model", str(tmp_path / "none")])
    assert ended.value.code == 2
    assert "No checkpoint at" in capsys.readouterr().err

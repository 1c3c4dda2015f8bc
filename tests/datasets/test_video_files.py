"""Video files as frames, in any order, and frames as video files: what comes back, and what coding changes. 1 s."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest

from rvos.datasets import video_files
from rvos.datasets.errors import DatasetError, ImageError
from rvos.datasets.video_files import KEPT_FRAMES, Mp4Writer, VideoFile, decode_video, open_video

pytest.importorskip("av", reason="video files need pip install 'rvos[video]'")

COUNT = KEPT_FRAMES + 8


@pytest.fixture(scope="module")
def mp4(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A film whose frame i has the grey value 5 i."""
    path = tmp_path_factory.mktemp("film") / "film.mp4"
    with Mp4Writer(path, 10) as writer:
        for index in range(COUNT):
            writer.write(np.full((48, 64, 3), 5 * index, np.uint8))
    return path


def test_video_files_read_in_any_order(mp4: Path) -> None:
    video = open_video(mp4)
    assert len(video) == COUNT and video.size == (48, 64) and video.fps == 10
    for index in (0, 30, 39, 38, 2, 39, 7):
        assert abs(float(video.frame(index).mean()) - 5 * index) < 4
    again = pickle.loads(pickle.dumps(video))
    assert again == video and np.array_equal(again.frame(3), video.frame(3))
    with pytest.raises(ImageError, match=f"ends after {COUNT} frames"):
        VideoFile(mp4).read("00099")


def test_ascending_reads_decode_once(mp4: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[Path] = []
    decode = video_files.decode_video
    monkeypatch.setattr(video_files, "decode_video", lambda file: opened.append(file) or decode(file))
    source = VideoFile(mp4)
    for index in range(COUNT):
        source.read(f"{index:05d}")
        source.read(f"{max(0, index - 5):05d}")
    assert len(opened) == 1


def test_things_that_are_no_video(tmp_path: Path) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(DatasetError, match="cannot be decoded"):
        open_video(tmp_path / "text.mp4")
    with pytest.raises(DatasetError, match="No video at"):
        open_video(tmp_path / "nothing.mp4")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no frames"):
        open_video(tmp_path / "empty")


def test_frames_have_the_names_given(mp4: Path) -> None:
    source = VideoFile(mp4, tuple(f"{5 * i:05d}" for i in range(COUNT)))
    assert np.array_equal(source.read("00015"), VideoFile(mp4).read("00003"))


def test_few_files_stay_open(mp4: Path, tmp_path: Path) -> None:
    for k in range(8):
        copy = tmp_path / f"{k}.mp4"
        copy.write_bytes(mp4.read_bytes())
        VideoFile(copy).read("00001")
    assert video_files._reader.cache_info().currsize <= 4
    (tmp_path / "7.mp4").unlink()
    with pytest.raises(ImageError, match=r"7.mp4: cannot be read"):
        VideoFile(tmp_path / "7.mp4").read("00001")


@pytest.mark.parametrize("size", [(48, 64), (47, 63), (1, 1)])
def test_nothing_is_lost_at_factor_zero(size: tuple[int, int], tmp_path: Path) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (5, *size, 3)).astype(np.uint8)
    for crf, most in ((0, 0), (18, 255)):
        with Mp4Writer(tmp_path / "a.mp4", None, crf=crf) as writer:
            for frame in frames:
                writer.write(frame)
        back = np.stack(list(decode_video(tmp_path / "a.mp4")))
        assert back.shape == frames.shape and np.abs(back.astype(int) - frames).max() <= most


def test_one_size_a_file(tmp_path: Path) -> None:
    with Mp4Writer(tmp_path / "a.mp4", None) as writer:
        writer.write(np.zeros((4, 4, 3), np.uint8))
        with pytest.raises(ImageError, match="a frame of 6x4 after frames of 4x4"):
            writer.write(np.zeros((4, 6, 3), np.uint8))

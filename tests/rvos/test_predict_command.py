"""``rvos predict``: what it prints and its exit codes. About 5 s."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rvos.benchmarks.evaluator import evaluate
from rvos.benchmarks.predictions.run_masks import video_masks_path
from rvos.benchmarks.runs import Run
from rvos.cli import main
from rvos.datasets.reasonshapes import loader
from rvos.datasets.registry import load

MODELS = """
import time
import numpy as np

def nothing(video, text):
    return np.zeros((len(video), *video.size), bool)

def broken(video, text):
    if "the" in text:
        raise ValueError("no article, please")
    return nothing(video, text)

class Spoilt:
    def segment(self, video, expressions):
        for expression in expressions:
            for index in range(len(video)):
                good = np.zeros(video.size, bool)
                if expression.id == "1":
                    yield from self.spoil(expression.id, index, good)
                else:
                    yield expression.id, index, good

class Raises(Spoilt):
    def spoil(self, name, index, good):
        raise ArithmeticError("no answer to that")

class WrongShape(Spoilt):
    def spoil(self, name, index, good):
        yield name, index, good[:-1]

class NotANumber(Spoilt):
    def spoil(self, name, index, good):
        yield name, index, np.where(good, 1.0, np.nan)

class Nothing(Spoilt):
    def spoil(self, name, index, good):
        return ()

def slow(video, text):
    time.sleep(0.05)
    return nothing(video, text)
"""


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a module of models."""
    (tmp_path / "own_models.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setitem(loader.N_VIDEOS, "test", 4)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.delitem(sys.modules, "own_models", raising=False)
    return tmp_path


def finished_masks(run: Run) -> set[Path]:
    """Files of the videos that have lines; masks without lines belong to a video that was interrupted."""
    return {video_masks_path(run.masks, line.video_id) for line in run.predictions()}


def rvos(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return stop.value.code


def test_exit_0_and_the_run_folder_as_last_line(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rvos("predict", "own_models:nothing", "reasonshapes/test", "--limit", "2", "--out", "runs/mine") == 0
    printed = capsys.readouterr()
    assert printed.out.splitlines()[-1] == "runs/mine"
    assert "12 sentences about 2 videos" in printed.out and "12 ok" in printed.out
    run = Run.open("runs/mine")
    assert run.record.predictor.name == "own_models:nothing" and run.record.limit == 2


def test_exit_1_where_sentences_failed(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rvos("predict", "own_models:broken", "reasonshapes/test", "--limit", "2", "--out", "run", "-q") == 1
    assert "failed: ValueError: no article, please" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("model", "status", "reason"),
    [
        ("Raises", "failed", "ArithmeticError: no answer to that"),
        ("WrongShape", "invalid", "The mask is (31, 48), the video is (32, 48); only logits are resized."),
        ("NotANumber", "invalid", "The logits hold NaN."),
        ("Nothing", "missing", "12 of 12 frames have no usable mask, the first is"),
    ],
)
def test_exit_1_the_reason_is_kept_and_the_rest_goes_on(
    model: str, status: str, reason: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    data = load("reasonshapes/test", n_videos=2, height=32, width=48, n_frames=12)
    words = ("predict", f"own_models:{model}", "reasonshapes/test", "--root", str(data.root), "--out", "run", "-q")
    assert rvos(*words) == 1
    assert f"{status}: " in (printed := capsys.readouterr().out) and reason in printed
    run = Run.open("run")
    spoilt = {sample.key for sample in data if sample.expression.id == "1"}
    lines = {line.key: line for line in run.predictions()}
    assert run.record.status == "finished" and set(lines) == {sample.key for sample in data}
    assert {key for key, line in lines.items() if line.status != "ok"} == spoilt and len(spoilt) == 2
    assert all(lines[key].status == status and reason in lines[key].reason for key in spoilt)
    result = evaluate(run, data, workers=1)
    scored = {score.unit.key: score for score in result.scores}
    assert all((scored[key].J, scored[key].F) == (0, 0) and scored[key].counted for key in spoilt)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("emtpy", "reasonshapes/test", "--out", "run"), "Did you mean empty"),
        (("empty", "reasonshapes/tset", "--out", "run"), "Did you mean test"),
        (("empty", "reasonshapes/test"), "--out"),
        (("empty", "reasonshapes/test", "--out", "run", "--resume", "maybe"), "only-missing, always, never"),
        (("empty", "reasonshapes/test", "--out", "own_models.py"), "own_models.py is a file"),
        (("empty", "reasonvos", "--root", "nowhere", "--out", "run"), "nowhere"),
        (("own_models:nothin", "reasonshapes/test", "--out", "run"), "has no 'nothin'"),
    ],
)
def test_exit_2_and_one_clear_line(
    words: tuple[str, ...], message: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert rvos("predict", *words) == 2
    error = capsys.readouterr().err
    assert message in error and "Traceback" not in error


def test_help_shows_an_example(capsys: pytest.CaptureFixture[str]) -> None:
    assert rvos("predict", "--help") == 0
    assert "rvos predict one-mask-for-all reasonshapes/test --out runs/blind" in " ".join(
        capsys.readouterr().out.split()
    )


@pytest.mark.skipif(os.name == "nt", reason="sends SIGINT")
def test_exit_130_on_ctrl_c_and_the_same_command_continues(here: Path) -> None:
    data = load("reasonshapes/test", n_videos=12, height=48, width=64)
    command = [sys.executable, "-m", "rvos", "predict", "own_models:slow", "reasonshapes/test", "--out", "run"]
    command += ["--root", str(data.root)]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 60
    # Where the second video's masks lie, the first is finished: masks and lines.
    while len(list(here.glob("run/masks/[!.]*"))) < 2 and time.monotonic() < deadline:
        time.sleep(0.05)
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=60)
    assert process.returncode == 130 and "Traceback" not in error and "the same command continues" in error
    stopped = Run.open("run")
    assert stopped.record.status == "interrupted"
    finished = {path: path.stat().st_mtime_ns for path in finished_masks(stopped)}
    assert 0 < len(finished) < 12
    again = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert again.returncode == 0 and "are finished already" in again.stderr
    assert len(list((here / "run" / "masks").iterdir())) == 12
    assert all(path.stat().st_mtime_ns == then for path, then in finished.items())

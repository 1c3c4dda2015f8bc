from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from rvos.cli import main


@dataclass
class Done:
    returncode: int
    stdout: str
    stderr: str


class Call:
    """Runs a command line in this process."""

    def __init__(self, capsys: pytest.CaptureFixture[str]) -> None:
        self.capsys = capsys

    def __call__(self, *arguments: str | Path) -> Done:
        with pytest.raises(SystemExit) as stop:
            main([str(a) for a in arguments])
        printed = self.capsys.readouterr()
        return Done(int(stop.value.code or 0), printed.out, printed.err)


@pytest.fixture
def rvos(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Call:
    monkeypatch.setenv("COLUMNS", "120")
    return Call(capsys)


def write_masks(root: Path, n_videos: int, n_frames: int, moved: int, size: tuple[int, int] = (120, 160)) -> Path:
    """A noisy disc, ``<video>/<frame>.png``, 0/255, the same in all frames."""
    rows, columns = np.mgrid[: size[0], : size[1]]
    noise = np.random.default_rng(0).random(size) < 0.05
    disc = (rows - size[0] / 2) ** 2 + (columns - size[1] / 3 - moved) ** 2 < (size[0] / 4) ** 2
    root.mkdir()
    Image.fromarray(((disc & ~noise) * 255).astype(np.uint8)).save(root.parent / f"{root.name}.png")
    for v in range(n_videos):
        (root / f"video{v:02d}").mkdir()
        for t in range(n_frames):
            (root / f"video{v:02d}" / f"{t:05d}.png").hardlink_to(root.parent / f"{root.name}.png")
    return root


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    base = tmp_path_factory.mktemp("masks")
    return write_masks(base / "gt", 4, 3, 0), write_masks(base / "pred", 4, 3, 2)


def test_the_first_line_is_the_protocol_and_the_last_the_run(
    rvos: Call, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gt, pred = folders
    files = ("--csv", tmp_path / "scores.csv", "--markdown", tmp_path / "table.md", "--overlays", "2")
    done = rvos("evaluate", "--gt-dir", gt, "--pred-dir", pred, "--out", tmp_path / "run", *files)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].startswith("folders@1: Plain folders") and lines[-1] == f"Run: {tmp_path / 'run'}"
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    shown = f"{100 * record['summary']['J&F']['value']:.2f} ±{100 * record['summary']['J&F']['half_width']:.2f}"
    assert shown in done.stdout and shown in (tmp_path / "table.md").read_text()
    assert record["status"] == "finished" and record["summary"]["ceiling"]["J"] == 1
    assert len((tmp_path / "scores.csv").read_text().splitlines()) == 5
    assert len(list((tmp_path / "run" / "overlays").iterdir())) == 2

    again = rvos("runs", "show", tmp_path / "run", "--worst", "1")
    assert shown in again.stdout and again.stdout.splitlines()[-1] == f"Run: {tmp_path / 'run'}"
    exported = rvos("runs", "export", tmp_path / "run", "--csv", tmp_path / "again.csv")
    assert exported.returncode == 0
    assert (tmp_path / "again.csv").read_text() == (tmp_path / "scores.csv").read_text()


def test_json_alone_goes_to_standard_output(
    rvos: Call, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gt, pred = folders
    monkeypatch.chdir(tmp_path)
    done = rvos("evaluate", "--gt-dir", gt, "--pred-dir", pred, "--json")
    record = json.loads(done.stdout)
    assert done.returncode == 0 and record["protocol"]["id"] == "folders@1"
    assert re.fullmatch(r"runs/folders-\d{8}-\d{6}", record["path"]) and (tmp_path / record["path"]).is_dir()


def test_missing_predictions_are_exit_code_1_and_bad_calls_2(
    rvos: Call, folders: tuple[Path, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gt, pred = folders
    monkeypatch.chdir(tmp_path)
    partly = tmp_path / "partly"
    partly.mkdir()
    (partly / "video00").symlink_to(pred / "video00")
    done = rvos("evaluate", "--gt-dir", gt, "--pred-dir", partly, "--out", tmp_path / "run", "--no-bounds")
    assert done.returncode == 1 and "video01/1: missing" in done.stdout
    calls = {
        "give --predictions": (),
        "together": ("--gt-dir", gt),
        "Did you mean folders@1": (
            "--gt-dir",
            gt,
            "--pred-dir",
            pred,
            "--protocol",
            "folder@1",
            "--out",
            tmp_path / "x",
        ),
        "already holds this run": ("--gt-dir", gt, "--pred-dir", partly, "--out", tmp_path / "run"),
        "--resume needs": ("--gt-dir", gt, "--pred-dir", pred, "--resume"),
        "cannot be written": ("--gt-dir", gt, "--pred-dir", pred, "--out", "/proc/run"),
        "Unknown merge rule": ("--gt-dir", gt, "--pred-dir", pred, "--merge-rule", "best", "--out", tmp_path / "x"),
    }
    for words, arguments in calls.items():
        done = rvos("evaluate", *arguments)
        assert done.returncode == 2 and words in done.stderr, (words, done.stderr)
        assert done.stderr.startswith("rvos: ") and len(done.stderr.splitlines()) == 1


@pytest.fixture(scope="module")
def slow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Any]:
    """Masks that take a second or two to score, and the summary of having done so without a break."""
    base, size = tmp_path_factory.mktemp("slow"), (720, 1280)
    gt, pred = write_masks(base / "gt", 24, 20, 0, size), write_masks(base / "pred", 24, 20, 2, size)
    with pytest.raises(SystemExit) as stop:
        main(["evaluate", "--gt-dir", f"{gt}", "--pred-dir", f"{pred}", "--no-bounds", "--out", f"{base / 'fresh'}"])
    assert stop.value.code == 0
    return gt, pred, json.loads((base / "fresh" / "run.json").read_text())["summary"]


def slow_evaluation(gt: Path, pred: Path, base: Path) -> tuple[list[str | Path], subprocess.Popen[str]]:
    """An evaluation that is past its first video."""
    call: list[str | Path] = ["evaluate", "--gt-dir", gt, "--pred-dir", pred, "--no-bounds", "--out", base / "run"]
    command = [sys.executable, "-m", "rvos", *map(str, call), "--workers", "2"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    samples, end = base / "run" / "samples.jsonl", time.monotonic() + 60
    while not (samples.exists() and samples.stat().st_size):
        assert time.monotonic() < end and process.poll() is None, process.communicate()
        time.sleep(0.005)
    return call, process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL])
def test_a_stopped_evaluation_is_resumed(
    rvos: Call, slow: tuple[Path, Path, Any], number: signal.Signals, tmp_path: Path
) -> None:
    *folders, uninterrupted = slow
    call, process = slow_evaluation(*folders, tmp_path)
    process.send_signal(number)
    _, errors = process.communicate(timeout=20)
    record = json.loads((tmp_path / "run" / "run.json").read_text())
    kept = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    assert 0 < len(kept) < 24
    if number == signal.SIGINT:
        assert process.returncode == 130 and record["status"] == "interrupted"
        assert "Traceback" not in errors and "--resume" in errors
    else:
        assert process.returncode == -9 and record["status"] == "started"
    resumed = rvos(*call, "--resume")
    assert resumed.returncode == 0, resumed.stderr
    lines = (tmp_path / "run" / "samples.jsonl").read_text().splitlines()
    assert [json.loads(line)["key"] for line in lines] == [f"video{v:02d}/1" for v in range(24)]
    assert set(kept[:-1]) <= set(lines)
    assert json.loads((tmp_path / "run" / "run.json").read_text())["summary"] == uninterrupted


def test_protocols_and_doctor_speak_json(rvos: Call) -> None:
    listed = json.loads(rvos("protocols", "mevis", "--json").stdout)
    assert {p["id"] for p in listed} >= {"mevis@1", "mevis@official"} and all(p["words"] for p in listed)
    assert "Did you mean" in rvos("protocols", "mevvis@1").stderr
    facts = json.loads(rvos("doctor", "--json").stdout)
    assert facts["numpy"] == np.__version__ and facts["workers"] >= 1


@pytest.mark.parametrize(
    "command", [("evaluate",), ("runs",), ("runs", "show"), ("runs", "export"), ("protocols",), ("doctor",)]
)
def test_every_help_has_an_example(rvos: Call, command: tuple[str, ...]) -> None:
    done = rvos(*command, "--help")
    assert done.returncode == 0 and f"Example: rvos {' '.join(command)}" in " ".join(done.stdout.split())

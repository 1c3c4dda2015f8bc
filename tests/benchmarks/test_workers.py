"""Models in other environments: the client on Python 3.8 without numpy, and workers that misbehave. About 6 s."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from toyset import HEIGHT, WIDTH, ToyDataset

from rvos.baselines.registry import make_predictor
from rvos.benchmarks import worker_client
from rvos.benchmarks.engine import predict
from rvos.benchmarks.predictions.run_masks import RunMasks
from rvos.benchmarks.workers import WorkerPredictor
from rvos.datasets.errors import UsageError
from rvos.datasets.masks import decode_rle
from rvos.datasets.registry import load

PAGE = Path(__file__).parents[2] / "docs" / "workers.md"
EXAMPLE = re.findall(r"```python\n(.*?)```", PAGE.read_text(encoding="utf-8"), flags=re.S)[0]


def python38() -> str | None:
    """The machine's Python 3.8."""
    for candidate in (*sorted(Path.home().glob(".pyenv/versions/3.8*/bin/python3.8")), shutil.which("python3.8")):
        if candidate and subprocess.run([candidate, "-c", ""], capture_output=True).returncode == 0:
            return str(candidate)
    return None


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with the client in it, as somebody else's repository has it."""
    shutil.copy(worker_client.__file__, tmp_path / "worker_client.py")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def worker(folder: Path, body: str, python: str = sys.executable) -> str:
    (folder / "my_worker.py").write_text(body)
    return f"{python} my_worker.py"


def box(height: int, width: int) -> np.ndarray:
    mask = np.zeros((height, width), bool)
    mask[height // 4 : 3 * (height // 4), width // 4 : 3 * (width // 4)] = True
    return mask


def test_the_documented_worker_has_ten_lines_and_runs_on_python_38_without_numpy(folder: Path) -> None:
    assert len([line for line in EXAMPLE.splitlines() if line.strip()]) <= 10
    python = python38()
    if python is None:
        pytest.skip("no Python 3.8 on this machine")
    guard = "import sys\nassert sys.version_info[:2] == (3, 8)\nsys.modules['numpy'] = None\n"
    command = worker(folder, guard + EXAMPLE, python)
    data = load("reasonshapes/test", n_videos=2, height=32, width=48, n_frames=12)
    run = predict(make_predictor(f"worker:{command}"), data, out=folder / "run", progress=False)
    assert {line.status for line in run.predictions()} == {"ok"}
    assert run.record.predictor is not None and run.record.predictor.arguments == {"command": command}
    for sample in data:
        mask = RunMasks(run.masks).mask(sample, sample.video.frame_names[-1], "strict")
        assert np.array_equal(mask, box(*sample.video.size))


READS_FRAMES = """
import sys
sys.path.append(SITE)
from PIL import Image
import numpy as np
from worker_client import serve

def segment(video, expressions):
    print("a library that talks")
    for index in reversed(range(len(video.frames))):
        with Image.open(video.frames[index]) as image:
            red = np.asarray(image)[..., 0].astype(int)
        for e in expressions:
            yield e.id, index, red - 200

serve(segment, name="reader", frames="png")
"""


def test_arrays_frames_in_memory_and_models_that_print(folder: Path) -> None:
    """The toy data have no files, so frames are written for the worker; answers come backwards."""
    data = ToyDataset(2)
    model = make_predictor("worker:" + worker(folder, READS_FRAMES.replace("SITE", repr(sys.path))))
    run = predict(model, data, out=folder / "run", progress=False)
    assert run.record.predictor.name == "reader"
    assert {line.status for line in run.predictions()} == {"ok"}
    for sample in data:
        for index, name in enumerate(sample.video.frame_names):
            expected = sample.video.frame(index)[..., 0] > 200
            assert np.array_equal(RunMasks(run.masks).mask(sample, name, "strict"), expected)


def test_encoding_of_lists_and_arrays_is_that_of_coco() -> None:
    draw = np.random.default_rng(0)
    masks = [draw.random((5, 7)) < 0.5 for _ in range(20)] + [np.ones((2, 3), bool), np.zeros((2, 3), bool)]
    for mask in masks:
        counts = worker_client.encode(mask)
        assert counts == worker_client.encode(mask.tolist()) and sum(counts) == mask.size
        assert np.array_equal(decode_rle({"size": list(mask.shape), "counts": counts}), mask)


MISBEHAVES = """
import json, os, sys, time
from pathlib import Path
from worker_client import serve, encode

def segment(video, expressions):
    empty = [[0] * video.width for _ in range(video.height)]
    for e in expressions:
        for index in range(len(video.frames)):
            if (video.id, e.id, index) == ("video1", "2", 3):
                MISCHIEF
            yield e.id, index, empty

serve(segment, timeout=0.5)
"""
MISCHIEF = {
    "hangs": ("time.sleep(9)", "failed", "said nothing for 0.5 s"),
    "dies": ("os._exit(7)", "failed", "exit code 7"),
    "raises": ("raise MemoryError('no room')", "failed", "the model raised MemoryError: no room"),
    "garbage": ("SAY('<<< not JSON')", "failed", "expected one JSON object"),
    "another request": ('SAY(\'{"type": "mask", "request": 99}\')', "failed", "answered request 99"),
    "unknown type": (
        'SAY(\'{"type": "hm", "request": 1}\')',
        "failed",
        "sent a message of type 'hm'|answered request 1",
    ),
    "no address": (
        'SAY(\'{"type": "mask", "request": REQUEST}\')',
        "failed",
        "has no 'expression_id'|answered request",
    ),
    "wrong size": ("yield e.id, index, empty[1:]; continue", "invalid", "only logits are resized"),
    "no RLE": ("yield e.id, index, {'counts': [1, 2, 3]}; continue", "invalid", "The worker's mask"),
    "no file": ("yield e.id, index, {'png': 'nowhere.png'}; continue", "invalid", "nowhere.png"),
    "unknown sentence": ("yield 'seven', 0, empty", "invalid", "expression 'seven'"),
}


@pytest.mark.parametrize("name", MISCHIEF)
def test_a_worker_that_misbehaves_costs_only_the_sentence(name: str, folder: Path) -> None:
    mischief, status, words = MISCHIEF[name]
    said = re.sub(r"SAY\((.*)\)$", r"__import__('worker_client').RAW(\1)", mischief.replace("REQUEST", "1"))
    client = (folder / "worker_client.py").read_text()
    # A client of somebody else's that breaks the protocol: it can write what it likes to the message pipe.
    hook = "\n    globals()['RAW'] = lambda text: (messages.write(text + '\\n'), messages.flush())\n    requests ="
    (folder / "worker_client.py").write_text(client.replace("\n    requests =", hook))
    command = worker(folder, MISBEHAVES.replace("MISCHIEF", said))
    data = ToyDataset(3)
    run = predict(WorkerPredictor(command), data, out=folder / "run", progress=False)
    wrong = {line.key: line for line in run.predictions() if line.status != "ok"}
    assert set(wrong) == {"video1/2"} and len(run.predictions()) == 15
    assert wrong["video1/2"].status == status and re.search(words, wrong["video1/2"].reason), wrong["video1/2"].reason


def test_a_worker_that_dies_once_loses_nothing(folder: Path) -> None:
    mischief = "\n                ".join(
        ["if not Path('died').exists():", "    Path('died').touch()", "    os.kill(os.getpid(), 9)"]
    )
    run = predict(
        WorkerPredictor(worker(folder, MISBEHAVES.replace("MISCHIEF", mischief))),
        ToyDataset(3),
        out=folder / "run",
        progress=False,
    )
    assert Path("died").exists() and {line.status for line in run.predictions()} == {"ok"}


TOKENS = """
import json, sys
print(json.dumps({"type": "ready", "protocol": 1}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    for e in asked["expressions"]:
        for i in range(len(asked["frames"])):
            mask = {"type": "mask", "request": asked["request"], "expression_id": e["id"], "frame": i}
            print(json.dumps({**mask, "counts": [asked["height"] * asked["width"]]}))
    print(json.dumps({"type": "done", "request": asked["request"], "tokens": 50}), flush=True)
"""


def test_a_worker_without_the_client_and_its_tokens(folder: Path) -> None:
    run = predict(WorkerPredictor(worker(folder, TOKENS)), ToyDataset(2), out=folder / "run", progress=False)
    assert {line.status for line in run.predictions()} == {"ok"}
    assert {line.tokens for line in run.predictions()} == {10.0}
    assert run.record.cost is not None and run.record.cost.tokens == 100
    assert RunMasks(run.masks).mask(ToyDataset()[0], "00000", "strict").shape == (HEIGHT, WIDTH)


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("no-such-program-here", "cannot be started"),
        ("", "cannot be started"),
        (f"{sys.executable} -c 'raise SystemExit(3)'", "exit code 3"),
        (f"{sys.executable} -c 'print(1)'", "expected one JSON object"),
        (f"{sys.executable} -c 'print({{}})'", "expected type ready"),
    ],
)
def test_a_worker_that_cannot_be_used(command: str, words: str) -> None:
    with pytest.raises(UsageError, match=words):
        make_predictor(f"worker:{command}")


@pytest.mark.skipif(os.name == "nt", reason="looks for a process")
def test_a_worker_ends_with_its_predictor(folder: Path) -> None:
    model = WorkerPredictor(worker(folder, EXAMPLE))
    pid = model._started().process.pid
    del model
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)

"""SIGKILL at every step that ``predict`` takes on the disk, and at random moments of ``rvos predict``. About 3 s."""

from __future__ import annotations

import io
import os
import random
import signal
import subprocess
import sys
import time
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from toyset import ToyDataset

from rvos.baselines.oracles import Perfect
from rvos.benchmarks import leases
from rvos.benchmarks.engine import predict
from rvos.benchmarks.evaluator import evaluate
from rvos.benchmarks.runs import PredictorRecord, Run
from rvos.datasets.registry import load
from rvos.datasets.types import RVOSDataset

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="kills forked processes")

RECORD = PredictorRecord(name="perfect")
CHANGES = {"open", "os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.truncate", "os.utime"}


class Fatal:
    """Counts what this process changes below a folder and kills it before change number ``step``; a write counts twice,
    for nothing and for half of it. To be installed in a process that ends soon: an audit hook cannot be removed."""

    def __init__(self, folder: Path, step: int) -> None:
        self.folder, self.left = str(folder), step

    def install(self) -> None:
        real_open, real_write = io.open, os.write

        def opened(file: Any, mode: str = "r", *rest: Any, **options: Any) -> Any:
            stream = real_open(file, mode, *rest, **options)
            return HalfWritten(stream, self) if set(mode) & set("wxa+") else stream

        def write(handle: int, content: Any) -> int:
            self.change()
            self.change(lambda: real_write(handle, content[: len(content) // 2]))
            return real_write(handle, content)

        io.open, os.write = opened, write
        sys.addaudithook(self.audit)

    def audit(self, event: str, arguments: tuple[Any, ...]) -> None:
        if event not in CHANGES or (event == "open" and not (arguments[2] or 0) & (os.O_WRONLY | os.O_RDWR)):
            return
        is_handle = isinstance(arguments[0], int)
        if (is_handle and event != "open") or (not is_handle and str(arguments[0]).startswith(self.folder)):
            self.change()

    def change(self, half: Callable[[], object] = lambda: None) -> None:
        self.left -= 1
        if self.left == 0:
            half()
            os.kill(os.getpid(), signal.SIGKILL)


class HalfWritten:
    """A stream that writes half and kills the process where it is time."""

    def __init__(self, stream: Any, fatal: Fatal) -> None:
        self._stream, self._fatal = stream, fatal

    def write(self, content: Any) -> int:
        def half() -> None:
            self._stream.write(content[: len(content) // 2])
            self._stream.flush()

        self._fatal.change()
        self._fatal.change(half)
        return int(self._stream.write(content))

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def __enter__(self) -> HalfWritten:
        return self

    def __exit__(self, *error: object) -> None:
        self._stream.close()


def begun(step: int, data: RVOSDataset, out: Path) -> int:
    """A forked process that predicts and is killed at a step; its id."""
    process = os.fork()
    if process:
        return process
    code = 1
    try:
        Fatal(out, step).install()
        predict(Perfect(data), data, out=out, progress=False, predictor=RECORD)
        code = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def was_killed(process: int) -> bool:
    """Whether it was killed, else it finished; waits for its end."""
    code = os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])
    assert code in (0, -signal.SIGKILL)
    return code != 0


def content(run: Path) -> tuple[dict[str, bytes], list[dict[str, Any]]]:
    """The bits of the masks, and the lines of all sentences but for what they cost."""
    masks = {path.name: path.read_bytes() for path in sorted((run / "masks").iterdir())}
    return masks, [line.model_dump(exclude={"seconds", "peak_memory_mib"}) for line in Run.open(run).predictions()]


def whole_masks(run: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in run.glob("masks/[!.]*")}


@pytest.mark.parametrize("every", [8, pytest.param(1, marks=pytest.mark.long)])
def test_killed_at_any_step_on_the_disk(every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each run is killed at one step, its successor at another, and the third finishes what they left."""
    monkeypatch.setattr(leases, "NAMELESS", 0.05)
    data = ToyDataset(2)
    predict(Perfect(data), data, out=tmp_path / "reference", progress=False, predictor=RECORD)
    reference = content(tmp_path / "reference")
    step = 1
    while was_killed(begun(step, data, out := tmp_path / f"step{step}")):
        was_killed(begun(1 + 7 * step % 67, data, out))
        assert whole_masks(out).items() <= reference[0].items(), f"step {step}: masks appear whole or not at all"
        run = predict(Perfect(data), data, out=out, progress=False, predictor=RECORD)
        assert run.record.status == "finished" and content(out) == reference, f"step {step}"
        left = {path.name for path in out.iterdir()} - {"work"}  # that of a process killed while it joined
        assert left == {"run.json", "predictions.jsonl", "masks"}, f"step {step}"
        step += every
    assert step > 80


@pytest.mark.parametrize("every", [16, pytest.param(1, marks=pytest.mark.long)])
def test_one_of_two_killed_at_any_step(every: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The other takes over and finishes by itself."""
    monkeypatch.setattr(leases, "NAMELESS", 0.05)
    data = ToyDataset(3)
    predict(Perfect(data), data, out=tmp_path / "reference", progress=False, predictor=RECORD)
    reference = content(tmp_path / "reference")
    for step in range(3, 100, every):
        out = tmp_path / f"step{step}"
        victim, other = begun(step, data, out), begun(sys.maxsize, data, out)
        was_killed(victim)
        assert not was_killed(other)
        assert Run.open(out).record.status == "finished" and content(out) == reference, f"step {step}"


# The command ----------------------------------------------------------------------------------------------------------

MODEL = """
import time
import numpy as np

def disc(video, text):
    height, width = video.size
    y, x = np.mgrid[:height, :width]
    time.sleep(0.004 * len(video))
    return np.stack([(y - 9 - i) ** 2 + (x - len(text) % width) ** 2 < 99 for i in range(len(video))])
"""


def children(parent: int) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()]


def kill_some(process: subprocess.Popen[bytes], draw: random.Random) -> None:
    """Kill the whole group, as a machine that goes down does, or the command alone, or one of its processes."""
    members = children(process.pid)
    victims = draw.choice([[process.pid, *members], [process.pid], members[:1] or [process.pid]])
    for victim in victims:
        os.kill(victim, signal.SIGKILL)


def ended(processes: list[int]) -> bool:
    return not any(Path(f"/proc/{pid}").exists() for pid in processes)


def values(run: Path, data: RVOSDataset) -> list[tuple[str, float | None, float | None]]:
    return [(s.unit.key, s.J, s.F) for s in evaluate(Run.open(run), data, workers=1).scores]


@pytest.mark.long
@pytest.mark.skipif(not Path("/proc/self/task").exists(), reason="looks for processes in /proc")
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("workers", [None, 2])
def test_twenty_random_kills_of_the_command(
    workers: int | None, seed: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run is killed and resumed until it is finished; new ones begin until there were twenty kills."""
    (tmp_path / "their_disc.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    data = load("reasonshapes/test", n_videos=8, height=32, width=48, n_frames=12)
    words = ("predict", "their_disc:disc", "reasonshapes/test", "--root", str(data.root), "-q", "--out")
    share = () if workers is None else ("--workers", str(workers))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}

    def start(out: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", "rvos", *words, out, *share]
        return subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    begin = time.monotonic()
    assert start("reference").wait() == 0
    whole = time.monotonic() - begin
    reference, scores = content(tmp_path / "reference"), values(tmp_path / "reference", data)
    draw = random.Random(seed)
    kills = n_runs = 0
    while kills < 20:
        out = f"run{n_runs}"
        n_runs += 1
        code: int | None = 1
        while code != 0:
            process = start(out)
            if kills < 20:
                time.sleep(draw.uniform(0.2, 1.1) * whole)
                members = children(process.pid)
                if process.poll() is None:
                    kill_some(process, draw)
                    kills += 1
                process.wait()
                while not ended(members):  # they end by themselves soon after the command
                    time.sleep(0.05)
            code = process.wait()
        assert Run.open(out).record.status == "finished"
        assert content(tmp_path / out) == reference and values(tmp_path / out, data) == scores
    print(f"\n{kills} kills over {n_runs} runs")

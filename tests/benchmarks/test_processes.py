"""Several processes on one run: equal bits whoever dies, shards, merging, torchrun. About 8 s."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rvos.benchmarks.engine import predict
from rvos.benchmarks.evaluator import evaluate
from rvos.benchmarks.fleet import predict_with
from rvos.benchmarks.merge import merge_runs
from rvos.benchmarks.runs import PredictorRecord, Run, is_run
from rvos.cli import main
from rvos.cli.member import Job
from rvos.datasets.errors import RunError, UsageError
from rvos.datasets.reasonshapes.generate import generate
from rvos.datasets.reasonshapes.writers import write
from rvos.datasets.registry import load
from rvos.datasets.types import RVOSDataset, Video

pytestmark = pytest.mark.skipif(os.name == "nt", reason="sends signals")

MODELS = """
import os, signal, time
import numpy as np

def disc(video, text):
    height, width = video.size
    y, x = np.mgrid[:height, :width]
    time.sleep(float(os.environ.get("SECONDS_A_FRAME", 0)) * len(video))
    return np.stack([(y - 9 - i) ** 2 + (x - len(text) % width) ** 2 < 99 for i in range(len(video))])

def fatal(video, text):
    if video.id == os.environ["FATAL"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return disc(video, text)
"""
RECORD = PredictorRecord(name="their_discs:disc")
#: What members take, so that there is something to kill.
SECONDS_A_FRAME = 0.0005
#: Frames of the videos are all 12; their sentences differ.
SMALL = {"n_videos": 12, "height": 32, "width": 48, "n_frames": 12}


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with a module of models, importable by this process and those it starts."""
    (tmp_path / "their_discs.py").write_text(MODELS)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "their_discs", raising=False)
    return tmp_path


@pytest.fixture(scope="module")
def data() -> RVOSDataset:
    return load("reasonshapes/test", **SMALL)


@dataclass(frozen=True)
class Reference:
    """What one process that nothing disturbs comes to. Its run is for reading only."""

    run: Run
    bits: dict[str, bytes]
    values: list[tuple[str, float | None, float | None]]


@pytest.fixture(scope="module")
def one(data: RVOSDataset, tmp_path_factory: pytest.TempPathFactory) -> Reference:
    run = predict(disc(), data, out=tmp_path_factory.mktemp("reference") / "one", progress=False, predictor=RECORD)
    return Reference(run, bits(run), values(run, data))


def disc() -> Any:
    """The function, in this process."""
    models: dict[str, Any] = {}
    exec(MODELS, models)
    return models["disc"]


def bits(run: Run | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((Path(run) / "masks").iterdir())}


def values(run: Run | Path, data: RVOSDataset) -> list[tuple[str, float | None, float | None]]:
    result = evaluate(Run.open(run), data, workers=1)
    return [(s.unit.key, s.J, s.F) for s in result.scores]


def member(data: RVOSDataset, out: Path, model: str = "disc") -> Callable[[], subprocess.Popen[bytes]]:
    job = Job(f"their_discs:{model}", "reasonshapes/test", str(out), str(data.root))
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "SECONDS_A_FRAME": str(SECONDS_A_FRAME)}
    return partial(subprocess.Popen, job.command(), env=environment)


def test_two_processes_equal_one_and_leave_nothing_behind(
    here: Path, data: RVOSDataset, one: Reference, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ("predict", "their_discs:disc", "reasonshapes/test", "--root", str(data.root), "--out", "two")
    assert rvos(*words, "--workers", "2") == 0
    assert "sentences about 12 videos" in capsys.readouterr().out
    two = Run.open("two")
    assert two.record.status == "finished" and bits(two) == one.bits
    assert [line.key for line in two.predictions()] == [line.key for line in one.run.predictions()]
    assert two.record.predictor == Run.open(one.run).record.predictor
    assert {p.name for p in Path("two").iterdir()} == {"run.json", "predictions.jsonl", "masks"}
    cost = two.record.cost
    assert cost is not None and cost.seconds > 0 and (cost.peak_memory_mib or 0) > 20 and cost.tokens is None
    assert values(two, data) == one.values


def kill_some(processes: list[subprocess.Popen[bytes]], kills: int, run: Path, draw: random.Random) -> int:
    """Kill members of a run at random moments while it is at work; how many were killed."""
    while not list(run.glob("work/members/*")) and any(p.poll() is None for p in processes):
        time.sleep(0.01)
    for number in range(kills):
        time.sleep(draw.uniform(0.0, 0.3))
        alive = [p for p in processes if p.poll() is None]
        if not alive:
            return number
        victim = draw.choice(alive)
        victim.kill()
        victim.wait()
    return kills


@pytest.mark.long
def test_eight_members_killed_at_random_change_no_bit(here: Path, data: RVOSDataset, one: Reference) -> None:
    """A few steps of it, one after the other, are in ``test_kills``."""
    kills, count = 20, 8
    draw = random.Random(kills)
    out = here / "run"
    killed = n_rounds = 0
    while killed < kills and n_rounds < 3 * kills:
        n_rounds += 1
        processes = [member(data, out)() for _ in range(count)]
        killed += kill_some(processes, min(kills - killed, count), out, draw)
        codes = {process.wait(timeout=120) for process in processes}
        assert codes <= {0, -signal.SIGKILL}
        if is_run(out) and Run.open(out).record.status == "finished":
            assert bits(out) == one.bits and values(out, data) == one.values
            out = here / f"run{n_rounds}"
    assert killed == kills
    run = predict_with([member(data, out)], data, out=out, progress=False)
    assert run.record.status == "finished" and bits(run) == one.bits and values(run, data) == one.values


def test_a_member_that_dies_is_replaced_and_a_video_that_kills_fails(
    here: Path, data: RVOSDataset, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fatal = {data.videos[3].id}
    monkeypatch.setenv("FATAL", data.videos[3].id)
    run = predict_with([member(data, here / "run", "fatal")], data, out=here / "run", progress=False)
    failed = {line.video_id for line in run.predictions() if line.status == "failed"}
    assert run.record.status == "finished" and failed == fatal
    assert "the process died 3 times at this video" in next(x.reason for x in run.predictions() if x.status == "failed")
    assert "killed by signal 9); another one is started" in capfd.readouterr().err
    with pytest.raises(RunError, match="predictor"):
        predict(disc(), data, out=here / "run", progress=False, predictor=RECORD)


def test_members_that_cannot_work_end_the_run_with_a_clear_error(here: Path, data: RVOSDataset) -> None:
    with pytest.raises(RunError, match="all 1 processes have ended"):
        predict_with([member(data, here / "run", "nothing_like_it")], data, out=here / "run", progress=False)
    assert Run.open(here / "run").record.status == "failed"


def test_shards_merged_equal_one_process(here: Path, data: RVOSDataset, one: Reference) -> None:
    model = disc()
    parts = [
        predict(model, data, out=here / f"part{i}", shard=f"{i}/3", progress=False, predictor=RECORD) for i in (1, 2, 3)
    ]
    assert sorted(name for part in parts for name in bits(part)) == sorted(one.bits)
    with pytest.raises(UsageError, match="shard 1/3 of complete; join the shards"):
        evaluate(parts[0], data)
    merged = merge_runs(parts, here / "merged")
    assert merged.record.status == "finished" and bits(merged) == one.bits
    assert values(merged, data) == one.values
    without = {"seconds", "peak_memory_mib"}
    for mine, theirs in zip(merged.predictions(), sorted(one.run.predictions(), key=lambda x: x.video_id), strict=True):
        assert mine.model_dump(exclude=without) == theirs.model_dump(exclude=without)
    half = merge_runs(parts[:2], here / "half")
    assert half.record.status == "interrupted" and "8 of 12 videos" in half.record.reason
    predict(model, data, out=here / "half", progress=False, predictor=RECORD)
    assert bits(half) == one.bits


def test_shards_are_even_and_wrong_ones_refused(data: RVOSDataset) -> None:
    from rvos.benchmarks.work import shard_of, video_cost

    loads = [sum(video_cost(data, v) for v in shard_of(data, data.videos, f"{i}/4")) for i in (1, 2, 3, 4)]
    assert max(loads) <= 1.2 * min(loads)
    for wrong in ("0/2", "3/2", "1", "a/b", "-1/2"):
        with pytest.raises(UsageError, match="A shard is i/n"):
            shard_of(data, data.videos, wrong)


def test_merging_refuses_what_does_not_belong_together(here: Path, data: RVOSDataset, one: Reference) -> None:
    def empty(video: Video, text: str) -> np.ndarray:
        return np.zeros((len(video), *video.size), bool)

    other = predict(empty, data, out=here / "other", progress=False)
    same_name = predict(empty, data, out=here / "same", progress=False, predictor=RECORD)
    with pytest.raises(RunError, match="another predictor"):
        merge_runs([one.run, other], here / "out")
    with pytest.raises(RunError, match="differ in the masks of"):
        merge_runs([one.run, same_name], here / "out1")
    with pytest.raises(RunError, match="already holds a run"):
        merge_runs([one.run, one.run], here / "other")
    with pytest.raises(UsageError, match="two runs or more"):
        merge_runs([one.run], here / "out2")


def start(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rvos", *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def rvos(*words: str) -> int | str | None:
    with pytest.raises(SystemExit) as stop:
        main(list(words))
    return stop.value.code


def test_ranks_of_torchrun_share_one_run(here: Path, data: RVOSDataset, one: Reference) -> None:
    words = ("predict", "their_discs:disc", "reasonshapes/test", "--root", str(data.root), "--out", "run")
    ranks = [start(*words, RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank)) for rank in (0, 1)]
    printed = [process.communicate(timeout=120) for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], printed
    assert printed[0][0].splitlines()[-1] == "run" and printed[1] == ("", "")
    assert bits(here / "run") == one.bits


def test_processes_that_make_no_sense(
    here: Path, data: RVOSDataset, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    words = ("predict", "their_discs:disc", "reasonshapes/test", "--root", str(data.root), "--out", "run")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "")
    for extra, message in {
        ("--gpus", "3"): "--gpus 3: found 0 GPUs here (none)",
        ("--suite", "four"): "Name one DATASET/SPLIT, or --suite four",
    }.items():
        assert rvos(*words, *extra) == 2 and message in capsys.readouterr().err
    monkeypatch.setenv("WORLD_SIZE", "2")
    assert rvos(*words, "--workers", "2") == 2 and "leave --workers" in capsys.readouterr().err


def test_the_four_benchmarks_with_one_command(
    here: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts = {"reasonvos": "", "mevis": "valid_u", "ref-youtube-vos": "valid", "ref-davis17": "valid"}
    for layout, split in layouts.items():
        write(layout, here / "data" / layout, generate("valid", 2, height=32, width=48, n_frames=12), split=split)
    monkeypatch.setenv("RVOS_DATA_ROOT", str(here / "data"))
    assert rvos("predict", "empty", "--suite", "four", "--out", "runs", "--limit", "1", "-q") == 0
    folders = {"reasonvos", "mevis-valid_u", "ref-youtube-vos-valid", "ref-davis17-valid"}
    assert {p.name for p in (here / "runs").iterdir()} == folders
    assert capsys.readouterr().out.count("Score it with") == 4
    assert all(Run.open(p).record.status == "finished" for p in (here / "runs").iterdir())

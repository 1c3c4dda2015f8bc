"""Several processes on one run: equal bits whoever dies, shards, merging, torchrun. About 40 s."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from rvos.benchmarks.engine import predict
from rvos.benchmarks.evaluator import evaluate
from rvos.benchmarks.fleet import predict_with
from rvos.benchmarks.merge import merge_runs
from rvos.benchmarks.runs import PredictorRecord, Run, is_run
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
    time.sleep(0.002 * len(video))
    return np.stack([(y - 9 - i) ** 2 + (x - len(text) % width) ** 2 < 99 for i in range(len(video))])

def fatal(video, text):
    if video.id == os.environ["FATAL"]:
        os.kill(os.getpid(), signal.SIGKILL)
    return disc(video, text)

def busy(video, text):
    deadline = time.process_time() + 0.01 * len(video)
    while time.process_time() < deadline:
        sum(range(1000))
    return disc(video, text)
"""
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


@pytest.fixture
def data() -> RVOSDataset:
    return load("reasonshapes/test", **SMALL)


def bits(run: Run | Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted((Path(run) / "masks").iterdir())}


def values(run: Run | Path, data: RVOSDataset) -> list[tuple[str, float | None, float | None]]:
    result = evaluate(Run.open(run), data, workers=1)
    return [(s.unit.key, s.J, s.F) for s in result.scores]


def reference(data: RVOSDataset, out: Path) -> Run:
    from their_discs import disc

    return predict(disc, data, out=out, progress=False, predictor=PredictorRecord(name="their_discs:disc"))


def member(data: RVOSDataset, out: Path, model: str = "disc") -> Callable[[], subprocess.Popen[bytes]]:
    job = Job(f"their_discs:{model}", "reasonshapes/test", str(out), str(data.root))
    return partial(subprocess.Popen, job.command(), env={**os.environ, "OMP_NUM_THREADS": "1"})


def test_two_processes_equal_one_and_leave_nothing_behind(here: Path, data: RVOSDataset) -> None:
    one = reference(data, here / "one")
    two = predict_with([member(data, here / "two")] * 2, data, out=here / "two", progress=False)
    assert two.record.status == "finished" and bits(two) == bits(one) and values(two, data) == values(one, data)
    assert [line.key for line in two.predictions()] == [line.key for line in one.predictions()]
    assert Run.open(two).record.predictor == Run.open(one).record.predictor
    assert {p.name for p in (here / "two").iterdir()} == {"run.json", "predictions.jsonl", "samples.jsonl", "masks"}
    cost = Run.open(two).record.cost
    assert cost is not None and cost.seconds > 0 and (cost.peak_memory_mib or 0) > 20 and cost.tokens is None


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


@pytest.mark.parametrize("kills", [3, pytest.param(20, marks=pytest.mark.long)])
def test_members_killed_at_random_change_no_bit(kills: int, here: Path, data: RVOSDataset) -> None:
    one = reference(data, here / "one")
    draw = random.Random(kills)
    out = here / "run"
    killed = n_rounds = 0
    while killed < kills and n_rounds < 3 * kills:
        n_rounds += 1
        count = 3 if kills == 3 else 8
        processes = [member(data, out)() for _ in range(count)]
        killed += kill_some(processes, min(kills - killed, count), out, draw)
        codes = {process.wait(timeout=120) for process in processes}
        assert codes <= {0, -signal.SIGKILL}
        if is_run(out) and Run.open(out).record.status == "finished":
            assert bits(out) == bits(one) and values(out, data) == values(one, data)
            out = here / f"run{n_rounds}"
    assert killed == kills
    run = predict_with([member(data, out)], data, out=out, progress=False)
    assert run.record.status == "finished" and bits(run) == bits(one) and values(run, data) == values(one, data)


def test_a_member_that_dies_is_replaced_and_a_video_that_kills_fails(
    here: Path, data: RVOSDataset, capfd: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    fatal = {data.videos[3].id}
    monkeypatch.setenv("FATAL", data.videos[3].id)
    run = predict_with([member(data, here / "run", "fatal")] * 2, data, out=here / "run", progress=False)
    failed = {line.video_id for line in run.predictions() if line.status == "failed"}
    assert run.record.status == "finished" and failed == fatal
    assert "the process died 3 times at this video" in next(x.reason for x in run.predictions() if x.status == "failed")
    assert "killed by signal 9); another one is started" in capfd.readouterr().err
    with pytest.raises(RunError, match="predictor"):
        reference(data, here / "run")


def test_members_that_cannot_work_end_the_run_with_a_clear_error(here: Path, data: RVOSDataset) -> None:
    with pytest.raises(RunError, match="all 2 processes have ended"):
        predict_with([member(data, here / "run", "nothing_like_it")] * 2, data, out=here / "run", progress=False)
    assert Run.open(here / "run").record.status == "failed"


def test_shards_merged_equal_one_process(here: Path, data: RVOSDataset) -> None:
    from their_discs import disc

    one = reference(data, here / "one")
    record = PredictorRecord(name="their_discs:disc")
    parts = [
        predict(disc, data, out=here / f"part{i}", shard=f"{i}/3", progress=False, predictor=record) for i in (1, 2, 3)
    ]
    assert sorted(name for part in parts for name in bits(part)) == sorted(bits(one))
    with pytest.raises(UsageError, match="shard 1/3 of complete; join the shards"):
        evaluate(parts[0], data)
    merged = merge_runs(parts, here / "merged")
    assert merged.record.status == "finished" and bits(merged) == bits(one)
    assert values(merged, data) == values(one, data)
    without = {"seconds", "peak_memory_mib"}
    for mine, theirs in zip(merged.predictions(), sorted(one.predictions(), key=lambda x: x.video_id), strict=True):
        assert mine.model_dump(exclude=without) == theirs.model_dump(exclude=without)
    half = merge_runs(parts[:2], here / "half")
    assert half.record.status == "interrupted" and "8 of 12 videos" in half.record.reason
    predict(disc, data, out=here / "half", progress=False, predictor=record)
    assert bits(half) == bits(one)


def test_shards_are_even_and_wrong_ones_refused(here: Path, data: RVOSDataset) -> None:
    from rvos.benchmarks.work import shard_of, video_cost

    loads = [sum(video_cost(data, v) for v in shard_of(data, data.videos, f"{i}/4")) for i in (1, 2, 3, 4)]
    assert max(loads) <= 1.2 * min(loads)
    for wrong in ("0/2", "3/2", "1", "a/b", "-1/2"):
        with pytest.raises(UsageError, match="A shard is i/n"):
            shard_of(data, data.videos, wrong)


def test_merging_refuses_what_does_not_belong_together(here: Path, data: RVOSDataset) -> None:
    def empty(video: Video, text: str) -> np.ndarray:
        return np.zeros((len(video), *video.size), bool)

    one = reference(data, here / "one")
    other = predict(empty, data, out=here / "other", progress=False)
    same_name = predict(empty, data, out=here / "same", progress=False, predictor=one.record.predictor)
    with pytest.raises(RunError, match="another predictor"):
        merge_runs([one, other], here / "out")
    with pytest.raises(RunError, match="differ in the masks of"):
        merge_runs([one, same_name], here / "out1")
    with pytest.raises(RunError, match="already holds a run"):
        merge_runs([one, one], here / "other")
    with pytest.raises(UsageError, match="two runs or more"):
        merge_runs([one], here / "out2")


def rvos(*words: str, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "rvos", *words],
        env={**os.environ, **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_ranks_of_torchrun_share_one_run(here: Path, data: RVOSDataset) -> None:
    words = ("predict", "their_discs:disc", "reasonshapes/test", "--root", str(data.root), "--out", "run")
    ranks = [rvos(*words, RANK=str(rank), WORLD_SIZE="2", LOCAL_RANK=str(rank)) for rank in (0, 1)]
    printed = [process.communicate(timeout=120) for process in ranks]
    assert [process.returncode for process in ranks] == [0, 0], printed
    assert printed[0][0].splitlines()[-1] == "run" and printed[1] == ("", "")
    assert bits(here / "run") == bits(reference(data, here / "one"))


def test_workers_from_the_command_line_and_what_makes_no_sense(here: Path, data: RVOSDataset) -> None:
    words = ("predict", "their_discs:disc", "reasonshapes/test", "--root", str(data.root), "--out", "run")
    done = rvos(*words, "--workers", "2", "--limit", "4")
    out, error = done.communicate(timeout=120)
    assert done.returncode == 0 and "sentences about 4 videos" in out, error
    wrong = {
        ("--gpus", "3"): "--gpus 3: found 0 GPUs here (none)",
        ("--suite", "four"): "Name one DATASET/SPLIT, or --suite four",
    }
    for extra, message in wrong.items():
        failed = rvos(*words, *extra, CUDA_VISIBLE_DEVICES="")
        assert message in failed.communicate(timeout=60)[1] and failed.returncode == 2
    ranked = rvos(*words, "--workers", "2", WORLD_SIZE="2", RANK="0")
    assert "leave --workers" in ranked.communicate(timeout=60)[1]


def test_the_four_benchmarks_with_one_command(here: Path) -> None:
    layouts = {"reasonvos": "", "mevis": "valid_u", "ref-youtube-vos": "valid", "ref-davis17": "valid"}
    for layout, split in layouts.items():
        write(layout, here / "data" / layout, generate("valid", 2, height=32, width=48, n_frames=12), split=split)
    command = ("predict", "empty", "--suite", "four", "--out", "runs", "--limit", "1", "-q")
    done = rvos(*command, RVOS_DATA_ROOT=str(here / "data"))
    out, error = done.communicate(timeout=120)
    assert done.returncode == 0, error
    folders = {"reasonvos", "mevis-valid_u", "ref-youtube-vos-valid", "ref-davis17-valid"}
    assert {p.name for p in (here / "runs").iterdir()} == folders and out.count("Score it with") == 4
    assert all(Run.open(p).record.status == "finished" for p in (here / "runs").iterdir())


@pytest.mark.long
def test_two_processes_are_faster_than_one(here: Path, data: RVOSDataset) -> None:
    """Prints the ratio; a machine that does other things at the same time can have any."""
    seconds = {}
    for count in (1, 2):
        begin = time.perf_counter()
        run = predict_with([member(data, here / f"{count}", "busy")] * count, data, out=here / f"{count}")
        seconds[count] = time.perf_counter() - begin
        assert run.record.status == "finished"
    print(f"\none process {seconds[1]:.1f} s, two {seconds[2]:.1f} s: {seconds[1] / seconds[2]:.2f} times as fast")

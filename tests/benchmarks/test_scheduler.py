from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from rvos.benchmarks.machine import cgroup_cores, cgroup_memory_left, usable_cores, worker_count
from rvos.benchmarks.scheduler import Outcome, run_tasks
from rvos.datasets.errors import DatasetError

METHODS = ["fork", "forkserver", "spawn"] if sys.platform == "linux" else ["spawn"]


def square(job: int, task: int) -> int:
    return job * task * task


def sometimes_wrong(job: None, task: int) -> int:
    if task == 1:
        raise DatasetError("mask_dict.json is damaged.")
    if task == 2:
        raise MemoryError
    if task == 3:
        return [][task]
    return task


def die_once(job: str, task: int) -> int:
    marker = Path(job) / "died"
    if task == 2 and not marker.exists():
        marker.touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def die_late_once(job: str, task: int) -> int:
    if task == 2:
        time.sleep(0.5)  # by then the other worker has nothing left to do
    return die_once(job, task)


def die_always(job: None, task: int) -> int:
    if task == 2:
        os.kill(os.getpid(), signal.SIGKILL)
    return task


def wait_and_see(job: str, task: int) -> int:
    (Path(job) / f"{os.getpid()}").touch()
    time.sleep(0.05 if task else 30)
    return task


def pid(job: None, task: int) -> int:
    return os.getpid()


def by_index(outcomes: list[Outcome[int]]) -> list[tuple[int | None, str]]:
    return [(o.value, o.error) for o in sorted(outcomes, key=lambda o: o.index)]


@pytest.mark.parametrize("method", METHODS)
def test_any_number_of_workers_gives_the_same(method: str) -> None:
    alone = by_index(list(run_tasks(square, 3, range(17))))
    assert alone == [(3 * i * i, "") for i in range(17)]
    assert by_index(list(run_tasks(square, 3, range(17), workers=3, start_method=method))) == alone


def test_one_worker_is_this_process_and_two_are_others() -> None:
    assert {o.value for o in run_tasks(pid, None, range(3))} == {os.getpid()}
    others = {o.value for o in run_tasks(pid, None, range(40), workers=2)}
    assert os.getpid() not in others and len(others) <= 2


@pytest.mark.parametrize("workers", [1, 2])
def test_what_a_task_raises_becomes_its_error(workers: int) -> None:
    found = by_index(list(run_tasks(sometimes_wrong, None, range(5), workers=workers)))
    assert [value for value, _ in found] == [0, None, None, None, 4]
    assert found[1][1] == "mask_dict.json is damaged."
    assert found[2][1].startswith("MemoryError: no message (test_scheduler.py, line")
    assert found[3][1].startswith("IndexError: list index out of range (test_scheduler.py, line")


@pytest.mark.parametrize("method", METHODS)
def test_a_killed_worker_is_replaced_and_its_task_tried_again(method: str, tmp_path: Path) -> None:
    outcomes = run_tasks(die_once, str(tmp_path), range(12), workers=2, start_method=method)
    assert by_index(list(outcomes)) == [(i, "") for i in range(12)]
    assert (tmp_path / "died").exists()


def test_a_task_that_kills_its_workers_is_reported_and_the_others_go_on() -> None:
    found = by_index(list(run_tasks(die_always, None, range(8), workers=2)))
    assert [value for value, _ in found] == [0, 1, None, 3, 4, 5, 6, 7]
    assert found[2][1] == "the worker process died 2 times (killed by SIGKILL, usually out of memory)"


def test_a_task_that_kills_its_worker_last_is_reported_too() -> None:
    found = list(run_tasks(die_always, None, [2], workers=2))
    assert by_index(found)[0][0] is None
    assert len(found) == 1


def test_an_idle_worker_takes_over_from_one_that_dies_late(tmp_path: Path) -> None:
    begin = time.monotonic()
    found = by_index(list(run_tasks(die_late_once, str(tmp_path), [0, 1, 2], workers=2)))
    assert found == [(0, ""), (1, ""), (2, "")]
    assert time.monotonic() - begin < 20


def test_workers_are_ended_when_the_caller_stops_listening(tmp_path: Path) -> None:
    outcomes = run_tasks(wait_and_see, str(tmp_path), [0, 1, 2, 3], workers=2)
    assert next(outcomes).value in (1, 2, 3)
    begin = time.monotonic()
    outcomes.close()  # type: ignore[attr-defined]
    assert time.monotonic() - begin < 5
    assert not any(alive(int(p.name)) for p in tmp_path.iterdir())


@pytest.mark.skipif(sys.platform != "linux", reason="looks for processes in /proc")
def test_workers_end_when_their_parent_is_killed(tmp_path: Path) -> None:
    code = "import sys; sys.path.insert(0, sys.argv[2]); import test_scheduler as t; from rvos.benchmarks.scheduler "
    code += "import run_tasks; list(run_tasks(t.wait_and_see, sys.argv[1], [1, 0] + [1] * 20, workers=2))"
    parent = subprocess.Popen([sys.executable, "-c", code, str(tmp_path), str(Path(__file__).parent)])
    wait_for(lambda: len(list(tmp_path.iterdir())) == 2)
    parent.kill()
    parent.wait()
    workers = [int(p.name) for p in tmp_path.iterdir()]
    # One is idle, or soon will be; the other sleeps in its task and looks up only afterwards.
    wait_for(lambda: sum(alive(pid) for pid in workers) <= 1)
    for worker in filter(alive, workers):
        os.kill(worker, signal.SIGKILL)


def test_a_script_without_main_guard_is_told_what_to_do(tmp_path: Path) -> None:
    script = tmp_path / "script.py"
    script.write_text(
        "from rvos.benchmarks.scheduler import run_tasks\n"
        "from rvos.datasets.errors import RvosError\n"
        "import sys; sys.path.insert(0, sys.argv[1])\n"
        "from test_scheduler import square\n"
        "try:\n"
        "    list(run_tasks(square, 1, range(4), workers=2, start_method='spawn'))\n"
        "except RvosError as error:\n"
        "    print(error)\n"
    )
    done = subprocess.run(
        [sys.executable, str(script), str(Path(__file__).parent)], capture_output=True, text=True, timeout=60
    )
    assert "__main__" in done.stdout and "workers=1" in done.stdout


def test_workers_fit_the_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    from rvos.benchmarks import machine

    assert 1 <= usable_cores() <= (os.cpu_count() or 1)
    assert worker_count(7, n_tasks=3) == 3 and worker_count(None, n_tasks=1) == 1 and worker_count(2, n_tasks=0) == 1
    monkeypatch.setattr(machine, "usable_cores", lambda: 64)
    monkeypatch.setattr(machine, "usable_memory", lambda: 3 * machine.WORKER_BYTES + 5)
    assert worker_count(None, n_tasks=1000) == 3
    monkeypatch.setattr(machine, "usable_memory", lambda: 5)
    assert worker_count(None, n_tasks=1000) == 1


def test_cgroup_v2_limits_of_all_parents_count(tmp_path: Path) -> None:
    proc, mount = tmp_path / "cgroup", tmp_path / "fs"
    child = mount / "pod" / "job"
    child.mkdir(parents=True)
    proc.write_text("0::/pod/job\n")
    assert cgroup_cores(proc, mount) is None and cgroup_memory_left(proc, mount) is None
    (child / "cpu.max").write_text("max 100000\n")
    (mount / "pod" / "cpu.max").write_text("250000 100000\n")
    (mount / "pod" / "memory.max").write_text("1000\n")
    (mount / "pod" / "memory.current").write_text("900\n")
    (mount / "pod" / "memory.stat").write_text("anon 500\nfile 300\n")
    (child / "memory.max").write_text("max\n")
    assert cgroup_cores(proc, mount) == 2.5
    assert cgroup_memory_left(proc, mount) == 400


def test_cgroup_v1_limits_count(tmp_path: Path) -> None:
    proc, mount = tmp_path / "cgroup", tmp_path / "fs"
    (mount / "cpu,cpuacct" / "job").mkdir(parents=True)
    (mount / "memory" / "job").mkdir(parents=True)
    proc.write_text("4:cpu,cpuacct:/job\n3:memory:/job\n")
    (mount / "cpu,cpuacct" / "job" / "cpu.cfs_quota_us").write_text("150000\n")
    (mount / "cpu,cpuacct" / "job" / "cpu.cfs_period_us").write_text("100000\n")
    (mount / "memory" / "memory.limit_in_bytes").write_text(f"{2**63 - 4096}\n")
    (mount / "memory" / "memory.usage_in_bytes").write_text("5\n")
    (mount / "memory" / "job" / "memory.limit_in_bytes").write_text("2000\n")
    (mount / "memory" / "job" / "memory.usage_in_bytes").write_text("500\n")
    assert cgroup_cores(proc, mount) == 1.5
    assert cgroup_memory_left(proc, mount) == 1500


def alive(process: int) -> bool:
    try:
        return "Z" not in Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False


def wait_for(condition: object, seconds: float = 20) -> None:
    assert callable(condition)
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "waited too long"
        time.sleep(0.02)

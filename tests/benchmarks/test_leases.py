"""Claims on videos: exclusive, overtaken from the dead, nobody idle. About 1 s."""

from __future__ import annotations

import heapq
import os
import random
import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from rvos.benchmarks import leases
from rvos.benchmarks.leases import Session, hand_out
from rvos.datasets.errors import RunError
from rvos.datasets.types import Video

pytestmark = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="looks for processes in /proc")


def videos(count: int) -> list[Video]:
    return [Video(f"set/{n}", ("0",)) for n in range(count)]


def dead_session(run: Path, video_id: str) -> None:
    """A process that claims a video and is gone without a word."""
    process = os.fork()
    if process == 0:
        Session(run).__enter__().take(video_id)
        os._exit(9)
    os.waitpid(process, 0)


def test_a_claim_is_exclusive_until_it_is_given_back(tmp_path: Path) -> None:
    with Session(tmp_path) as one, Session(tmp_path) as two:
        assert (one.take("a/b"), two.take("a/b"), two.take("a")) == (1, None, 1)
        one.release("a/b")
        assert two.take("a/b") == 1
        two.mark_done("a/b")
        assert one.done() == {"a/b"}
    assert one.folder.exists(), "marks are for the next process"


def test_leaving_gives_everything_back_and_tidies_up(tmp_path: Path) -> None:
    with Session(tmp_path) as one, Session(tmp_path) as two:
        with one.locked():
            one.join()
        assert (one.others(), two.others()) == ([], [one.name])
        one.take("a")
        one.__exit__(None, None, None)
        assert two.others() == [] and two.take("a") == 1
    assert not (tmp_path / "work").exists()


def test_the_claim_of_a_dead_process_is_overtaken_and_counted(tmp_path: Path) -> None:
    dead_session(tmp_path, "a")
    dead_session(tmp_path, "a")
    with Session(tmp_path) as session:
        assert session.take("a") == 3
        session.clear()
        assert [p.name for p in (session.folder / "processes").iterdir()] == [session.name]
        assert session.take("a") == 1, "a new session counts anew"


def test_a_process_elsewhere_is_dead_when_its_file_gets_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with Session(tmp_path) as here, monkeypatch.context() as patch:
        patch.setattr(leases, "_machine", lambda: "elsewhere")
        there = Session(tmp_path).__enter__()
        assert there.take("a") == 1
        patch.undo()
        assert here.take("a") is None
        old = time.time() - leases.EXPIRY - 10
        os.utime(there.folder / "processes" / there.name, (old, old))
        assert here.take("a") == 2
        there.__exit__(None, None, None)


def test_a_process_keeps_itself_alive(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "HEARTBEAT", 0.01)
    with Session(tmp_path) as session:
        presence = session.folder / "processes" / session.name
        os.utime(presence, (0, 0))
        deadline = time.monotonic() + 10
        while presence.stat().st_mtime == 0 and time.monotonic() < deadline:
            time.sleep(0.01)
        assert presence.stat().st_mtime > 0


def test_a_claim_without_a_name_holds_for_a_while(tmp_path: Path) -> None:
    with Session(tmp_path) as session:
        claim = session.folder / "leases" / "a.1"
        claim.parent.mkdir()
        claim.touch()
        assert session.take("a") is None
        os.utime(claim, (0, 0))
        assert session.take("a") == 2


def test_a_lock_that_nobody_gives_back_ends_with_a_clear_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leases, "PATIENCE", 0.05)
    with (
        Session(tmp_path) as one,
        Session(tmp_path) as two,
        one.locked(),
        pytest.raises(RunError, match="end the process"),
        two.locked(),
    ):
        raise AssertionError("two hold the lock")


def eight_workers(seed: int, folder: Path) -> tuple[list[int], int]:
    """What 80 videos cost, and when the last of eight sessions is done with them.

    Real claims against a simulated clock: who is free first asks for the next video.
    """
    draw = random.Random(seed)
    todo = videos(80)
    costs = [int(10 * draw.lognormvariate(0, 1.2)) + 1 for _ in todo]
    assert max(costs) > 40 * min(costs)
    of = {video.id: cost for video, cost in zip(todo, costs, strict=True)}
    with ExitStack() as stack:
        sessions = [stack.enter_context(Session(folder)) for _ in range(8)]
        workers = [hand_out(session, todo, costs) for session in sessions]
        free = [(0, number) for number in range(8)]
        for _ in todo:
            now, number = heapq.heappop(free)
            video, attempt = next(workers[number])
            assert attempt == 1
            sessions[number].mark_done(video.id)
            heapq.heappush(free, (now + of.pop(video.id), number))
        assert not of, "every video was handed out once"
        assert all(next(worker, None) is None for worker in workers)
    return costs, max(time for time, _ in free)


@pytest.mark.parametrize("seed", [0, 1, 4])
def test_eight_workers_on_very_unequal_videos_are_idle_less_than_a_tenth_of_the_time(seed: int, tmp_path: Path) -> None:
    costs, end = eight_workers(seed, tmp_path)
    assert 1 - sum(costs) / (8 * end) < 0.1


@pytest.mark.parametrize("seed", [5, 6, 8])
def test_a_video_that_outlasts_an_eighth_of_all_work_is_begun_first(seed: int, tmp_path: Path) -> None:
    """A video is never split: the others can only wait for it, and nothing waits behind it."""
    costs, end = eight_workers(seed, tmp_path)
    assert max(costs) > sum(costs) / 8
    assert end == max(costs)

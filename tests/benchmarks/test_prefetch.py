"""Frames that are decoded ahead: the same frames, a few at a time, only where they are read in order. Under 1 s."""

from __future__ import annotations

import os
import pickle
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray
from toyset import ToyDataset

from rvos.benchmarks.engine import predict
from rvos.benchmarks.prefetch import AHEAD, FramesAhead, Prefetcher
from rvos.datasets.errors import ImageError
from rvos.datasets.types import Expression, Video


@dataclass(frozen=True)
class Numbers:
    """Frame ``n`` is full of n. Notes who reads what."""

    reads: list[tuple[int, bool]] = field(default_factory=list, compare=False)
    broken: int = -1

    def read(self, name: str) -> NDArray[np.uint8]:
        self.reads.append((int(name), threading.current_thread() is threading.main_thread()))
        if int(name) == self.broken:
            raise ImageError(f"{name} is broken")
        return np.full((2, 3, 3), int(name), np.uint8)

    def size(self, name: str) -> tuple[int, int]:
        return 2, 3

    def path(self, name: str) -> Path | None:
        return Path(name)

    @property
    def ahead(self) -> list[int]:
        return [number for number, by_main in list(self.reads) if not by_main]


def video(count: int = 20, **options: Any) -> Video:
    return Video(f"v{count}", tuple(map(str, range(count))), Numbers(**options))


def source_of(some: Video) -> Numbers:
    assert isinstance(some.source, Numbers)
    return some.source


def until(condition: Any) -> bool:
    deadline = time.monotonic() + 10
    while not condition() and time.monotonic() < deadline:
        time.sleep(0.001)
    return bool(condition())


@pytest.fixture
def alone() -> Iterator[Prefetcher]:
    with Prefetcher(lambda: None) as frames:
        yield frames


def test_frames_read_in_order_come_ahead_a_few_at_a_time(alone: Prefetcher) -> None:
    plain = video()
    watched = alone.video(plain)
    assert [int(watched.frame(i)[0, 0, 0]) for i in (0, 1)] == [0, 1]
    assert until(lambda: source_of(plain).ahead == [2, 3, 4, 5]), "decoded before anybody asks, and no more than that"
    assert [int(f[0, 0, 0]) for f in watched.iter_frames()] == list(range(20))
    reads = [number for number, _ in source_of(plain).reads]
    assert max(len([r for r in reads[:n] if r > 1]) for n in range(7)) <= AHEAD
    assert sorted(set(reads)) == list(range(20))


def test_a_second_pass_and_other_orders_give_the_same_frames(alone: Prefetcher) -> None:
    plain = video(9)
    watched = alone.video(plain)
    order = [0, 1, 2, 5, 6, 3, 8, 7, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, 0, 4]
    assert [int(watched.frame(i)[0, 0, 0]) for i in order] == order
    assert np.array_equal(watched.frames(), plain.frames())


def test_jumps_cause_no_reading_ahead(alone: Prefetcher) -> None:
    plain = video()
    watched = alone.video(plain)
    for index in (0, 5, 10, 15, 3, 2, 1):
        watched.frame(index)
    assert source_of(plain).ahead == []
    watched.frame(2)
    watched.frame(9)  # what was decoded for the order that ended here is dropped
    watched.frame(4)
    assert source_of(plain).reads[-1] == (4, True)


def test_the_first_frames_of_the_next_video_come_at_the_end_of_this_one() -> None:
    first, second, third = video(6), video(7), video(8)
    with Prefetcher(iter([second, third]).__next__) as frames:
        list(frames.video(first).iter_frames())
        assert until(lambda: source_of(second).ahead == [0, 1, 2, 3])
        watched = frames.video(second)
        assert [int(f[0, 0, 0]) for f in watched.iter_frames()] == list(range(7))
        assert sorted(number for number, _ in source_of(second).reads) == list(range(7)), "no frame is decoded twice"
        frames.video(first)  # somebody else got the third
        assert source_of(third).ahead in ([], [0], [0, 1], [0, 1, 2], [0, 1, 2, 3])


def test_threads_of_the_predictor_and_files_are_left_alone(alone: Prefetcher) -> None:
    plain = video()
    watched = alone.video(plain)
    reader = threading.Thread(target=lambda: list(watched.iter_frames()), name="their own")
    reader.start()
    reader.join()
    assert [number for number, _ in source_of(plain).reads] == list(range(20)), "in order, each once, by them"
    assert watched.source is not None and watched.source.path("7") == Path("7") and watched.size == (2, 3)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="forks")
def test_a_forked_process_reads_for_itself(alone: Prefetcher) -> None:
    watched = alone.video(video())
    watched.frames([0, 1, 2])
    process = os.fork()
    if process == 0:
        os._exit(int(watched.frame(3)[0, 0, 0]))
    assert os.waitstatus_to_exitcode(os.waitpid(process, 0)[1]) == 3


def test_a_watched_video_equals_the_video_and_is_pickled_as_it(alone: Prefetcher) -> None:
    plain = video()
    watched = alone.video(plain)
    assert watched == plain and plain == watched and hash(watched) == hash(plain) and watched != video(3)
    again = pickle.loads(pickle.dumps(watched))
    assert again == plain and isinstance(again.source, Numbers)
    no_images = Video("v", ("0",))
    assert alone.video(no_images) is no_images


def test_a_broken_frame_is_an_error_where_it_is_asked_for(alone: Prefetcher) -> None:
    watched = alone.video(video(broken=4))
    watched.frames([0, 1, 2, 3])
    with pytest.raises(ImageError, match="4 is broken"):
        watched.frame(4)
    assert int(watched.frame(5)[0, 0, 0]) == 5


def test_predict_hands_out_watched_videos_and_stops_its_thread(tmp_path: Path) -> None:
    seen: list[Any] = []

    class Model:
        def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[tuple[str, int, Any]]:
            seen.append(video.source)
            for index, frame in enumerate(video.iter_frames()):
                yield from ((e.id, index, frame[..., 0] > 200) for e in expressions)

    run = predict(Model(), ToyDataset(3), out=tmp_path / "run", progress=False)
    assert {line.status for line in run.predictions()} == {"ok"} and run.record.status == "finished"
    assert all(isinstance(source, FramesAhead) for source in seen) and len(seen) == 3
    assert not [t for t in threading.enumerate() if t.name.startswith("rvos-prefetch")]

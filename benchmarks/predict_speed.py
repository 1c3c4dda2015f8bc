"""What a second process gains ``rvos predict``, where the rest goes, and what decoding ahead gains.

    python -m rvos.benchmarks.predict_speed

Processes: a model of numpy alone, one thread, about 0.05 s a frame, over ReasonShapes videos of unequal work, once by
``rvos predict`` and once by ``rvos predict --workers 2``, in turns; the median round counts. The model notes when it
works, so that the wall time of a process falls into start-up, work, waiting in between and the end. The ratio of CPU
times (the one process over the busier of the two) is what the wall ratio comes to where nothing else runs and the two
cores do not slow each other down.

Decoding ahead: a model that waits 10 ms a frame, as for a GPU, over JPEG frames of 854x480, with and without.
"""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..datasets.frames import FrameFolder
from ..datasets.registry import load
from ..datasets.types import Expression, RVOSDataset, Video
from .answers import ask
from .machine import usable_cores
from .prefetch import Prefetcher
from .speed import load as load_of_the_machine

#: Where the model notes its work: an environment variable, for processes inherit those.
LOG = "RVOS_PREDICT_SPEED_LOG"
#: Sides of the matrices that a frame is multiplied with: 2 * SIDE**3 operations, about 0.05 s on one core.
SIDE = 1024
GPU_SECONDS = 0.01


@dataclass(frozen=True)
class Process:
    """What one predicting process did, in seconds; wall time but for ``cpu``.

    Attributes:
        start: from the command to the first frame.
        work: in the model.
        between: from the first frame to the last, not in the model: claims, masks, waiting.
        end: from the last frame to the end of the command.
        cpu: of its whole life up to the last frame.
    """

    start: float
    work: float
    between: float
    end: float
    cpu: float


@dataclass(frozen=True)
class Round:
    """One run of the command: wall seconds and what its processes did."""

    wall: float
    processes: tuple[Process, ...]


class Busy:
    """A model of numpy alone; the mask is where a frame is brighter than its mean."""

    def __init__(self) -> None:
        self.weights = np.random.default_rng(0).standard_normal((SIDE, SIDE), np.float32)

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[tuple[str, int, Any]]:
        begin = time.time()
        for index, frame in enumerate(video.iter_frames()):
            grey = frame.mean(axis=-1, dtype=np.float32)
            features = np.resize(grey, (SIDE, SIDE)) @ self.weights
            level = grey.mean() + 0.0 * features.max()
            for expression in expressions:
                yield expression.id, index, grey > level
        note = {"pid": os.getpid(), "begin": begin, "end": time.time(), "cpu": time.process_time()}
        with open(os.environ[LOG], "a", encoding="utf-8") as log:
            log.write(json.dumps(note) + "\n")


# Processes ------------------------------------------------------------------------------------------------------------


def measure(data: RVOSDataset, folder: Path, rounds: int) -> dict[int, Round]:
    """The median round of one process and of two, in turns."""
    found: dict[int, list[Round]] = {1: [], 2: []}
    for number in range(rounds):
        for count, done in found.items():
            done.append(run_command(data, folder / f"{count}-{number}", count))
    return {count: sorted(done, key=lambda one: one.wall)[len(done) // 2] for count, done in found.items()}


def run_command(data: RVOSDataset, out: Path, count: int) -> Round:
    """``rvos predict`` as a user calls it."""
    log = out.with_suffix(".log")
    words = ["predict", f"{__spec__.name}:Busy", data.id, "--root", str(data.root), "--out", str(out), "--quiet"]
    words += ["--workers", str(count)] if count > 1 else []
    begin = time.time()
    subprocess.run(
        [sys.executable, "-m", "rvos", *words],
        env={**os.environ, LOG: str(log), "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1"},
        stdout=subprocess.DEVNULL,
        check=True,
    )
    end = time.time()
    notes = [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]
    members = [[note for note in notes if note["pid"] == pid] for pid in sorted({note["pid"] for note in notes})]
    return Round(end - begin, tuple(_process(own, begin, end) for own in members))


def _process(notes: Sequence[dict[str, float]], begin: float, end: float) -> Process:
    work = sum(note["end"] - note["begin"] for note in notes)
    first, last = notes[0]["begin"], notes[-1]["end"]
    return Process(first - begin, work, last - first - work, end - last, notes[-1]["cpu"])


def processes_table(found: dict[int, Round]) -> list[str]:
    """Markdown."""
    lines = ["| | wall s | start | in the model | between | end | CPU s |", "|---|---|---|---|---|---|---|"]
    for count, one in found.items():
        lines.append(f"| {'one process' if count == 1 else f'{count} processes'} | {one.wall:.1f} | | | | | |")
        for number, p in enumerate(one.processes, 1):
            cells = (p.start, p.work, p.between, p.end, p.cpu)
            lines.append(f"| process {number} | | " + " | ".join(f"{v:.2f}" for v in cells) + " |")
    one, two = found[1], found[2]
    of_cpu = one.processes[0].cpu / max(p.cpu for p in two.processes)
    return [*lines, "", f"Wall time: {one.wall / two.wall:.2f} times as fast. CPU time: {of_cpu:.2f} times."]


# Decoding ahead -------------------------------------------------------------------------------------------------------


class Waiting:
    """Waits for a device that computes."""

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[tuple[str, int, Any]]:
        empty = np.zeros(video.size, bool)
        for index, _ in enumerate(video.iter_frames()):
            time.sleep(GPU_SECONDS)
            yield from ((expression.id, index, empty) for expression in expressions)


def jpeg_video(folder: Path, count: int) -> Video:
    """A video of smooth noise, 854x480."""
    folder.mkdir()
    draw = np.random.default_rng(0)
    names = tuple(f"{index:05d}" for index in range(count))
    for name in names:
        coarse: NDArray[np.uint8] = draw.integers(0, 256, (30, 54, 3), np.uint8)
        Image.fromarray(coarse).resize((854, 480), Image.Resampling.BICUBIC).save(folder / f"{name}.jpg", quality=90)
    return Video("smooth", names, FrameFolder(folder))


def measure_ahead(video: Video, rounds: int) -> tuple[float, float]:
    """Milliseconds a frame without and with decoding ahead, the medians of rounds in turns."""
    expressions = [Expression("0", "anything")]
    plain, ahead = [], []
    with Prefetcher(lambda: None) as frames:
        for _ in range(rounds):
            plain.append(_milliseconds(video, expressions))
            ahead.append(_milliseconds(frames.video(video), expressions))
    return statistics.median(plain), statistics.median(ahead)


def _milliseconds(video: Video, expressions: Sequence[Expression]) -> float:
    begin = time.perf_counter()
    ask(Waiting(), video, expressions)
    return 1000 * (time.perf_counter() - begin) / len(video)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--videos", type=int, default=24)
    parser.add_argument("--frames", type=int, default=36, help="of each video")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--height", type=int, default=96)
    asked = parser.parse_args(arguments)
    print(f"{usable_cores()} cores, {load_of_the_machine()}\n")
    sizes = {"height": asked.height, "width": asked.height * 3 // 2, "n_frames": asked.frames}
    data = load("reasonshapes/test", n_videos=asked.videos, **sizes)
    with tempfile.TemporaryDirectory(prefix="rvos-speed-") as name:
        print(*processes_table(measure(data, Path(name), asked.rounds)), sep="\n")
        plain, ahead = measure_ahead(jpeg_video(Path(name) / "jpeg", asked.frames), asked.rounds)
    print(f"\nA model that waits {1000 * GPU_SECONDS:.0f} ms a frame for a device, over JPEG frames of 854x480:")
    print(f"{plain:.1f} ms a frame, {ahead:.1f} with decoding ahead: {plain / ahead:.2f} times as fast.")


if __name__ == "__main__":
    main()

"""Several processes on this machine predict into one run folder: started, watched, restarted where they die."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ..datasets.errors import RunError, UsageError
from ..datasets.types import RVOSDataset
from .engine import ATTEMPTS, check_extent, progress_of
from .progress import SegmentProgress
from .runs import PredictorRecord, Run
from .work import Resume, Work, at_work

#: So often in a row a member may die before any video gets done; then its place stays empty. Once more than a video
#: that kills is tried, so that one process alone gets over it.
DEATHS = ATTEMPTS + 1
#: Exit codes of a member that has said all it has to say: fine, or the input's fault.
SAID = (0, 2)
#: How often the members are looked at, in seconds.
INTERVAL = 0.1


def predict_with(
    members: Sequence[Callable[[], subprocess.Popen[Any]]],
    dataset: RVOSDataset,
    *,
    out: Path,
    predictor: PredictorRecord | None = None,
    resume: Resume = "only-missing",
    limit: int | None = None,
    shard: str | None = None,
    progress: bool = True,
) -> Run:
    """Predict with one process per entry of ``members``.

    Args:
        members: each starts a process that calls ``predict`` for the same dataset, extent and folder, with resume
            ``only-missing``, and exits with 0 when all videos are done or 2 where it cannot work at all.
        predictor: what the run records about the model; where None, what the members say.
        out, resume, limit, shard, progress: as for ``predict``.

    Raises:
        RunError: where no member is left and videos are; or the folder cannot be used.
        KeyboardInterrupt: after the members were ended and the run is marked ``interrupted``.
    """
    check_extent(resume, limit)
    if not members:
        raise UsageError("At least one process is needed to predict.")
    with (
        at_work(out, dataset, predictor=predictor, limit=limit, shard=shard, resume=resume) as work,
        progress_of(work, progress) as bar,
    ):
        places = [_Place(start) for start in members] if work.todo else []
        try:
            _watch(places, work, bar)
        finally:
            _end(places)
    return work.run


@dataclass
class _Place:
    """One member and its successors."""

    start: Callable[[], subprocess.Popen[Any]]
    process: subprocess.Popen[Any] | None = field(init=False)
    deaths: int = 0

    def __post_init__(self) -> None:
        self.process = self.start()

    def look(self, n_news: int) -> None:
        """Replace a member that died; leave the place empty where it has ended for good."""
        if n_news:
            self.deaths = 0
        code = None if self.process is None else self.process.poll()
        if code is None:
            return
        self.deaths += 1
        gone = code in SAID or self.deaths >= DEATHS
        if code not in SAID:
            then = "its place stays empty" if gone else "another one is started"
            print(f"rvos: a process at work ended ({_cause(code)}); {then}.", file=sys.stderr)
        self.process = None if gone else self.start()


def _watch(places: Sequence[_Place], work: Work, bar: SegmentProgress) -> None:
    while not work.is_done:
        if all(place.process is None for place in places):
            raise RunError(f"{work.run.path}: all {len(places)} processes have ended, see above; videos are left.")
        time.sleep(INTERVAL)
        news = work.news()
        bar.advance(news)
        for place in places:
            place.look(len(news))
    bar.advance(work.news())
    for place in places:
        if place.process is not None:
            place.process.wait()


def _end(places: Sequence[_Place]) -> None:
    """End what still runs: politely, so that it gives its video back, then at once."""
    running = [place.process for place in places if place.process is not None and place.process.poll() is None]
    for process in running:
        process.terminate()
    deadline = time.monotonic() + 10
    for process in running:
        try:
            process.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _cause(code: int) -> str:
    return f"killed by signal {-code}" if code < 0 else f"exit code {code}"

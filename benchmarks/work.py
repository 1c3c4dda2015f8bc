"""A run folder at work: this process and whoever else has joined segment its videos until none is left."""

from __future__ import annotations

import heapq
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Literal

from ..datasets.errors import RunError, UsageError
from ..datasets.types import RVOSDataset, Video
from .leases import Session, costliest_first, hand_out
from .predictions.run_masks import video_masks_path
from .runs import CostRecord, PredictionLine, PredictorRecord, Run, RunRecord, RunStatus, is_run

#: What to do with a run that is already in the folder.
#:  ``only-missing``  predict the videos that are not finished, and those where the model raised; keep the others
#:  ``always``        predict every video again, replacing its masks one by one
#:  ``never``         refuse to touch it
Resume = Literal["only-missing", "always", "never"]


@dataclass
class Work:
    """What this process does in a run folder.

    Attributes:
        videos: those of the run, whoever segments them.
        todo: those that were not finished when the session began.
        session: this process and the others.
    """

    run: Run
    dataset: RVOSDataset
    videos: Sequence[Video]
    todo: Sequence[Video]
    session: Session
    _read: dict[str, int] = field(default_factory=dict)
    _seen: set[str] = field(default_factory=set)

    def hand_out(self) -> Iterator[tuple[Video, int]]:
        """(video, number of the attempt) for this process, until all videos are done; see ``leases.hand_out``."""
        return hand_out(self.session, self.todo, self._costs)

    def upcoming(self) -> Video | None:
        """The video that this process is likely to get next; others may be faster."""
        return self.session.first_free(costliest_first(self.todo, self._costs))

    @cached_property
    def _costs(self) -> list[int]:
        return [video_cost(self.dataset, video) for video in self.todo]

    def finish(self, video: Video, lines: Sequence[PredictionLine]) -> None:
        """Note the lines of a video whose masks are on disk. Raises RunError."""
        self.session.log.parent.mkdir(parents=True, exist_ok=True)
        self.run.append_predictions(lines, self.session.log)
        self.session.mark_done(video.id)

    def news(self) -> list[PredictionLine]:
        """The lines that members of the session have written since the last call, each sentence once."""
        fresh = []
        for log in sorted(self.session.log.parent.glob("*.jsonl")):
            with log.open("rb") as file:
                file.seek(self._read.get(log.name, 0))
                whole, end, _torn = file.read().rpartition(b"\n")
            self._read[log.name] = self._read.get(log.name, 0) + len(whole) + len(end)
            fresh += [PredictionLine.model_validate_json(line) for line in whole.splitlines()]
        fresh = [line for line in fresh if line.key not in self._seen]
        self._seen |= {line.key for line in fresh}
        return fresh

    @property
    def is_done(self) -> bool:
        """Whether all videos are."""
        return {video.id for video in self.todo} <= self.session.done()


@contextmanager
def at_work(
    out: Path,
    dataset: RVOSDataset,
    *,
    predictor: PredictorRecord | None,
    limit: int | None = None,
    shard: str | None = None,
    resume: Resume = "only-missing",
) -> Iterator[Work]:
    """Join the run in ``out``, beginning it where nobody has; on leaving, its record says how it stands.

    Raises:
        RunError: where the folder holds something else or another run, cannot be written, or others are at work in it
            and ``resume`` is not ``only-missing``.
    """
    _check_folder(out)
    videos = shard_of(dataset, dataset.videos[:limit], shard)
    with Session(out) as session:
        with session.locked():
            others = session.others()
            if others and resume != "only-missing":
                raise RunError(f"{out}: {others[0]} is at work there; resume only-missing joins it, not {resume}.")
            before = Run.open(out).record if is_run(out) else None
            partial = None if limit is None or limit >= len(dataset.videos) else limit
            run = Run.create(
                out, dataset, predictor=predictor, limit=partial, shard=shard, resume=resume != "never" or bool(others)
            )
            todo = _todo(run, videos) if others else _begin(run, session, dataset, videos, resume)
            if not todo and before is not None:
                run.record = before  # with the scores that it may hold
            session.join()
        work = Work(run, dataset, videos, todo, session)
        try:
            yield work
        except BaseException as error:
            _leave_after(work, error)
            raise
        _leave(work, "interrupted", "videos are left")


def shard_of(dataset: RVOSDataset, videos: Sequence[Video], shard: str | None) -> list[Video]:
    """The videos of shard ``i/n``, in their order: as even in work as handing out the costliest first makes them.

    Raises:
        UsageError: for a shard that is not i/n with 1 <= i <= n.
    """
    if shard is None:
        return list(videos)
    number, _, count = shard.partition("/")
    if not (number.isdigit() and count.isdigit() and 1 <= int(number) <= int(count)):
        raise UsageError(f"A shard is i/n with i from 1 to n, e.g. 2/4, found '{shard}'.")
    loads = [(0, i) for i in range(int(count))]
    mine = set()
    for video in sorted(videos, key=lambda v: -video_cost(dataset, v)):
        load, lightest = heapq.heappop(loads)
        heapq.heappush(loads, (load + video_cost(dataset, video), lightest))
        if lightest == int(number) - 1:
            mine.add(video.id)
    return [video for video in videos if video.id in mine]


def video_cost(dataset: RVOSDataset, video: Video) -> int:
    """How long a video takes, compared with others: frames, and masks of all sentences on them."""
    return len(video) * (1 + len(dataset.samples_of(video.id)))


# The record -----------------------------------------------------------------------------------------------------------


def _check_folder(out: Path) -> None:
    """Nothing is put into a folder that is somebody else's. Raises RunError."""
    if is_run(out) or not out.exists():
        return
    try:
        Run.check_empty(out)
    except RunError:
        if not is_run(out):  # else another process has begun it since
            raise


def _begin(run: Run, session: Session, dataset: RVOSDataset, videos: Sequence[Video], resume: Resume) -> list[Video]:
    """Settle what earlier sessions left; the videos still to do."""
    kept = {} if resume == "always" else finished_videos(run, dataset, videos)
    run.replace_predictions([line for lines in kept.values() for line in lines])
    session.clear()
    run.clear_half_written()
    return [video for video in videos if video.id not in kept]


def _todo(run: Run, videos: Sequence[Video]) -> list[Video]:
    """The videos that were not finished when the others began."""
    settled = {line.video_id for line in run.settled_predictions()}
    return [video for video in videos if video.id not in settled]


def finished_videos(run: Run, dataset: RVOSDataset, videos: Sequence[Video]) -> dict[str, list[PredictionLine]]:
    """The lines of the videos whose masks and lines are all on disk and for which the model did not raise, by id."""
    lines: dict[str, list[PredictionLine]] = {}
    for line in run.predictions():
        lines.setdefault(line.video_id, []).append(line)
    return {video.id: lines[video.id] for video in videos if _is_finished(run, dataset, video, lines.get(video.id, []))}


def _is_finished(run: Run, dataset: RVOSDataset, video: Video, lines: Sequence[PredictionLine]) -> bool:
    complete = {line.key for line in lines} == {sample.key for sample in dataset.samples_of(video.id)}
    failed = any(line.status == "failed" for line in lines)
    return complete and not failed and video_masks_path(run.masks, video.id).exists()


def _leave_after(work: Work, error: BaseException) -> None:
    """Leave because of an error; where the disk does not take that, the error itself matters more."""
    words = " ".join(str(error).split())[:500]
    status: RunStatus = "failed" if isinstance(error, RunError) else "interrupted"
    try:
        _leave(work, status, words if status == "failed" else f"{type(error).__name__}: {words}")
    except RunError as second:
        print(f"rvos: {second}", file=sys.stderr)


def _leave(work: Work, status: RunStatus, reason: str) -> None:
    """Write what the run has come to: finished by whom finds all videos done, ``status`` by the last to leave."""
    with work.session.locked():
        work.session.leave()
        others = work.session.others()
        if work.is_done:
            _settle(work)
            work.run.save(status="finished")
        elif not others:
            _settle(work)
            work.run.save(status=status, reason=reason)
        if not others:
            work.session.clear()
            work.run.clear_half_written()


def _settle(work: Work) -> None:
    """All lines in the dataset's order in ``predictions.jsonl``, their costs in the record."""
    lines = {line.key: line for line in work.run.predictions()}
    samples = [sample for video in work.videos for sample in work.dataset.samples_of(video.id)]
    ordered = [lines[sample.key] for sample in samples if sample.key in lines]
    work.run.replace_predictions(ordered)
    if work.todo:
        record: RunRecord = Run.open(work.run.path).record  # another member may have named the predictor
        work.run.record = record
        work.run.record.cost = CostRecord.of(ordered)

"""Work in the background: propagation, exports, imports. One at a time, with progress, and it can be cancelled."""

from __future__ import annotations

import logging
import shutil
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import RvosError
from .records import now
from .refusals import Busy, Unknown

State = Literal["waiting", "running", "done", "failed", "cancelled"]
JobKind = Literal["propagate", "paraphrase", "export", "import", "clip"]
#: called with (done, in all); raises Cancelled
Progress = Callable[[int, int], None]
Work = Callable[[Progress], dict[str, Any]]

_MOST_WAITING = 20
_KEPT = 50
_log = logging.getLogger(__name__)


class Cancelled(Exception):
    """Raised inside a job that somebody cancelled."""


@dataclass
class Job:
    """A piece of work, as pages see it."""

    id: str
    kind: JobKind
    key: int | None
    person: str
    state: State = "waiting"
    done: int = 0
    total: int = 0
    message: str = ""
    result: dict[str, Any] | None = None
    started: str = field(default_factory=now)
    ended: str = ""


class Jobs:
    """A queue with one worker thread, and the list of what was done last."""

    def __init__(self) -> None:
        self._jobs: dict[str, Job] = {}
        self._queue: deque[tuple[Job, Work, Path | None]] = deque()
        self._wake = threading.Condition()
        self._version = 0
        self._number = 0
        self._thread: threading.Thread | None = None
        self._closed = False

    @property
    def version(self) -> int:
        """Grows with every change of any job."""
        return self._version

    def start(self, kind: JobKind, key: int | None, person: str, work: Work, folder: Path | None = None) -> Job:
        """Put work into the queue; ``folder`` is removed once the job has ended, however it ends.

        Raises:
            Busy: the queue is full.
        """
        with self._wake:
            if len(self._queue) >= _MOST_WAITING:
                raise Busy(f"{_MOST_WAITING} jobs are waiting; cancel some or wait.")
            self._number += 1
            job = Job(str(self._number), kind, key, person)
            self._jobs[job.id] = job
            self._forget_old()
            self._queue.append((job, work, folder))
            self._version += 1
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="rvos-jobs", daemon=True)
                self._thread.start()
            self._wake.notify_all()
            return job

    def cancel(self, job_id: str) -> Job:
        """End a job at its next step; what it wrote stays. Raises Unknown."""
        job = self.get(job_id)
        with self._wake:
            if job.state in ("waiting", "running"):
                self._set(job, state="cancelled", ended=now())
            return job

    def get(self, job_id: str) -> Job:
        """A job that was started not long ago. Raises Unknown."""
        with self._wake:
            if job_id not in self._jobs:
                raise Unknown(f"There is no job '{job_id[:40]}'.")
            return self._jobs[job_id]

    def list(self) -> list[dict[str, Any]]:
        """All jobs as plain values, newest last."""
        with self._wake:
            return [asdict(job) for job in self._jobs.values()]

    def close(self) -> None:
        """Cancel everything and end the worker."""
        with self._wake:
            self._closed = True
            for job in self._jobs.values():
                if job.state in ("waiting", "running"):
                    self._set(job, state="cancelled", ended=now())
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join(timeout=10)

    def _run(self) -> None:
        while (found := self._next()) is not None:
            job, work, folder = found
            if job.state == "running":
                self._carry_out(job, work, folder)
            else:
                _remove(folder)

    def _next(self) -> tuple[Job, Work, Path | None] | None:
        """What is to be done next, or to be removed as it was cancelled; None where the queue is closed and empty."""
        with self._wake:
            self._wake.wait_for(lambda: self._queue or self._closed)
            if not self._queue:
                return None
            job, work, folder = self._queue.popleft()
            if job.state == "waiting" and not self._closed:
                self._set(job, state="running")
            return job, work, folder

    def _carry_out(self, job: Job, work: Work, folder: Path | None) -> None:
        def progress(done: int, total: int) -> None:
            with self._wake:
                if job.state == "cancelled":
                    raise Cancelled
                self._set(job, done=done, total=total)

        try:
            try:
                result = work(progress)
            finally:
                _remove(folder)
        except Cancelled:
            return
        except RvosError as error:
            self._end(job, state="failed", message=str(error))
        except Exception:
            _log.exception("job %s (%s) failed", job.id, job.kind)
            self._end(job, state="failed", message="It failed for a reason of its own; the server's output says why.")
        else:
            self._end(job, state="done", result=result)

    def _end(self, job: Job, **values: Any) -> None:
        with self._wake:
            if job.state != "cancelled":
                self._set(job, ended=now(), **values)

    def _set(self, job: Job, **values: Any) -> None:
        for name, value in values.items():
            setattr(job, name, value)
        self._version += 1
        self._wake.notify_all()

    def _forget_old(self) -> None:
        ended = [job_id for job_id, job in self._jobs.items() if job.ended]
        for job_id in ended[: max(0, len(self._jobs) - _KEPT)]:
            del self._jobs[job_id]


def _remove(folder: Path | None) -> None:
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)

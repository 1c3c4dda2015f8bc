"""Tasks over worker processes: handed out one by one, nothing lost and nothing stuck when a worker dies.

The standard library's pools either wait for ever for a killed worker or give up all tasks with it; here its task is
tried once more in a fresh worker, then reported, and the others go on.
"""

from __future__ import annotations

import multiprocessing
import os
import pickle
import signal
import sys
import threading
import traceback
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.context import BaseContext
from pathlib import Path
from typing import Any, Generic, TypeVar

from ..datasets.errors import RvosError

Task = TypeVar("Task")
Value = TypeVar("Value")

#: How often a task is begun before its death is taken as its own fault.
ATTEMPTS = 2
#: How often an idle worker looks whether its parent is still there, in seconds.
HEARTBEAT = 1.0


@dataclass(frozen=True)
class Outcome(Generic[Value]):
    """How task number ``index`` ended: with a value, or with an error in one line."""

    index: int
    value: Value | None
    error: str = ""


def run_tasks(
    function: Callable[[Any, Task], Value],
    job: Any,
    tasks: Sequence[Task],
    workers: int = 1,
    start_method: str | None = None,
) -> Generator[Outcome[Value], None, None]:
    """Call ``function(job, task)`` for every task and yield the outcomes as they come.

    Args:
        function: a module-level function. What it raises becomes the outcome's error.
        job: what all tasks share; sent to each worker once.
        tasks: small and picklable. A worker holds one at a time.
        workers: processes; 1 runs everything in this process.
        start_method: ``fork``, ``forkserver`` or ``spawn``; by default fork where this process has one thread and
            the system can (no start-up cost, no ``__main__`` guard needed), else spawn.

    Raises:
        RvosError: where a worker cannot start.
        KeyboardInterrupt: on Ctrl-C, after the workers were ended.
    """
    if workers <= 1:
        for index, task in enumerate(tasks):
            yield _attempt(function, job, index, task)
        return
    crew = _Crew(function, job, tasks, workers, multiprocessing.get_context(start_method or default_start_method()))
    try:
        yield from crew.outcomes()
    finally:
        crew.end()


def default_start_method() -> str:
    """``fork`` on Linux while this process has a single thread, else ``spawn``: locks do not survive a fork."""
    return "fork" if sys.platform == "linux" and threading.active_count() == 1 else "spawn"


# This process ---------------------------------------------------------------------------------------------------------


@dataclass
class _Worker:
    process: Any
    connection: Connection
    task: int | None = None
    ready: bool = False


class _Crew(Generic[Task, Value]):
    """The workers and what they are doing."""

    def __init__(
        self, function: Callable[[Any, Task], Value], job: Any, tasks: Sequence[Task], size: int, context: BaseContext
    ) -> None:
        self.function, self.job, self.tasks, self.context = function, job, tasks, context
        self.waiting = deque(range(len(tasks)))
        self.attempts = [0] * len(tasks)
        self.size = min(size, len(tasks))
        self.workers: list[_Worker] = []

    def outcomes(self) -> Iterator[Outcome[Value]]:
        left = len(self.tasks)
        while left:
            self._fill_up()
            for worker in self._reporting():
                outcome = self._hear(worker)
                self._hand_out()  # before the caller takes its time
                if outcome is not None:
                    left -= 1
                    yield outcome

    def end(self) -> None:
        """End all workers at once: what they were doing is not wanted any more, or there is nothing left to do."""
        for worker in self.workers:
            worker.process.kill()
        for worker in self.workers:
            worker.process.join()
            worker.connection.close()
        self.workers.clear()

    def _fill_up(self) -> None:
        """As many workers as there are tasks for."""
        busy = sum(w.task is not None for w in self.workers)
        while len(self.workers) < min(self.size, busy + len(self.waiting)):
            self.workers.append(self._hire())

    def _hire(self) -> _Worker:
        ours, theirs = self.context.Pipe()
        process = self.context.Process(target=_work, args=(theirs, self.function, self.job), daemon=True)  # type: ignore[attr-defined]
        try:
            process.start()
        except (pickle.PicklingError, AttributeError, TypeError) as error:
            raise RvosError(f"The work cannot be sent to worker processes ({error}); pass workers=1.") from error
        theirs.close()
        return _Worker(process, ours)

    def _reporting(self) -> list[_Worker]:
        """The workers that have something to say or have died; waits until there is one."""
        sources: dict[Any, _Worker] = {w.connection: w for w in self.workers}
        sources |= {w.process.sentinel: w for w in self.workers}
        return list({id(sources[s]): sources[s] for s in wait(list(sources))}.values())

    def _hear(self, worker: _Worker) -> Outcome[Value] | None:
        try:
            # A worker may have died after its last message: what was sent is still there to be read.
            if not worker.connection.poll():
                return self._bury(worker)
            message = worker.connection.recv()
        except (EOFError, OSError, pickle.UnpicklingError):
            return self._bury(worker)
        worker.ready, worker.task = True, None
        return message

    def _hand_out(self) -> None:
        """A task for every worker that has none, among them those that were idle when another one died."""
        for worker in self.workers:
            if worker.ready and worker.task is None and self.waiting:
                self._send(worker, self.waiting.popleft())

    def _send(self, worker: _Worker, index: int) -> None:
        self.attempts[index] += 1
        worker.task = index
        try:
            worker.connection.send((index, self.tasks[index]))
        except OSError:
            return  # it has just died: its sentinel reports that, and the task with it

    def _bury(self, worker: _Worker) -> Outcome[Value] | None:
        worker.process.join()
        worker.connection.close()
        self.workers.remove(worker)
        if not worker.ready:
            raise RvosError(
                f"A worker process ended before its first task ({_cause(worker.process.exitcode)}). In a script, put "
                "the call below `if __name__ == '__main__':`, or pass workers=1."
            )
        index = worker.task
        if index is None:
            return None
        if self.attempts[index] < ATTEMPTS:
            self.waiting.appendleft(index)
            return None
        return Outcome(index, None, f"the worker process died {ATTEMPTS} times ({_cause(worker.process.exitcode)})")


def _cause(exit_code: int) -> str:
    if exit_code >= 0:
        return f"exit code {exit_code}"
    name = signal.Signals(-exit_code).name
    hint = ", usually out of memory" if name == "SIGKILL" else ""
    return f"killed by {name}{hint}"


# A worker process -----------------------------------------------------------------------------------------------------


def _work(connection: Connection, function: Callable[[Any, Any], Any], job: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the parent's to handle; it ends the workers
    parent = os.getppid()
    connection.send(None)  # ready
    # Asking for the parent, rather than waiting for the pipe's end: forked siblings keep the pipe open.
    while os.getppid() == parent:
        if not connection.poll(HEARTBEAT):
            continue
        try:
            index, task = connection.recv()
            connection.send(_attempt(function, job, index, task))
        except (EOFError, BrokenPipeError, ConnectionResetError):
            return


def _attempt(function: Callable[[Any, Any], Any], job: Any, index: int, task: Any) -> Outcome[Any]:
    try:
        return Outcome(index, function(job, task))
    except RvosError as error:
        return Outcome(index, None, str(error))
    except Exception as error:  # a defect in one task must not take the others' results with it
        return Outcome(index, None, _one_line(error))


def _one_line(error: Exception) -> str:
    place = traceback.extract_tb(error.__traceback__)[-1]
    words = " ".join(str(error).split()) or "no message"
    return f"{type(error).__name__}: {words} ({Path(place.filename).name}, line {place.lineno})"

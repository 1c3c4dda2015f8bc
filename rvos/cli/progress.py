"""The progress bar of scoring: videos done, time left, and the mean so far."""

from __future__ import annotations

import sys
import time
from types import TracebackType
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress

    from ..benchmarks.evaluator import Progress

SECONDS_BETWEEN_LINES = 60.0


class EvaluationBar:
    """Bars on standard error, one for each thing that is scored; a plain line a minute where that is no terminal.

    It draws when it is called and starts no thread: workers are forked only from processes with a single one.
    """

    def __init__(self) -> None:
        self._bar: RichProgress | None = None
        self._tasks: dict[str, int] = {}
        self._last_line = time.monotonic()

    def __enter__(self) -> EvaluationBar:
        if sys.stderr.isatty():
            self._bar = _bar()
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()

    def __call__(self, progress: Progress) -> None:
        mean = f"{progress.metric} so far " + ("–" if progress.value is None else f"{100 * progress.value:.2f}")
        if self._bar is not None:
            task = self._task(self._bar, progress)
            self._bar.update(task, completed=progress.done, mean=mean)  # type: ignore[arg-type]
            self._bar.refresh()
        elif time.monotonic() - self._last_line > SECONDS_BETWEEN_LINES:
            self._last_line = time.monotonic()
            print(f"{progress.task}: {progress.done} of {progress.total} videos, {mean}", file=sys.stderr)

    def _task(self, bar: RichProgress, progress: Progress) -> int:
        if progress.task not in self._tasks:
            self._tasks[progress.task] = bar.add_task(progress.task, total=progress.total, mean="")
        return self._tasks[progress.task]


def _bar() -> RichProgress:
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
    from rich.progress import Progress as RichProgress

    return RichProgress(
        TextColumn("{task.description}"),
        BarColumn(bar_width=30),
        MofNCompleteColumn(),
        TextColumn("videos,"),
        TimeRemainingColumn(),
        TextColumn("left, {task.fields[mean]}"),
        console=Console(stderr=True),
        auto_refresh=False,
        transient=True,
    )

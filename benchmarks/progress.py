"""The progress bar of a model at work: sentences done, sentences per second, time left, what went wrong."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import TYPE_CHECKING

from .live_score import LiveScore
from .runs import PredictionLine

if TYPE_CHECKING:
    from rich.progress import Progress


class SegmentProgress:
    """A bar over sentences on standard error; one plain line a minute where that is no terminal.

    The first sentence that fails is shown at once: a model that fails everywhere should not run for hours unnoticed.
    """

    seconds_between_lines = 60.0

    def __init__(self, n_sentences: int, n_todo: int, shown: bool = True, score: LiveScore | None = None) -> None:
        """
        Args:
            n_sentences: all of the run.
            n_todo: those that are not finished yet; speed and time left come from them alone.
            shown: False prints nothing.
            score: gives the running J&F.
        """
        self.total, self.todo, self.score = n_sentences, n_todo, score
        self.done = self.bad = 0
        self.shown = shown
        self._bar: Progress | None = None
        self._begin = self._last_line = time.monotonic()

    def __enter__(self) -> SegmentProgress:
        self._begin = self._last_line = time.monotonic()
        if self.shown and self.todo < self.total:
            print(f"{self.total - self.todo} of {self.total} sentences are finished already.", file=sys.stderr)
        if self.shown and sys.stderr.isatty():
            self._bar = _bar()
            self._task = self._bar.add_task("", total=self.todo, status=self.status)
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()
        elif self.shown and self.done:
            print(self.status, file=sys.stderr)

    def advance(self, lines: Sequence[PredictionLine]) -> None:
        """Count the sentences of finished videos."""
        if self.score is not None:
            self.score.offer(line.video_id for line in reversed(lines))
        wrong = [line for line in lines if line.status != "ok"]
        if wrong and not self.bad and self.shown:
            self._print(f"The first sentence that is not ok: {wrong[0].key} ({wrong[0].status}): {wrong[0].reason}")
        self.done += len(lines)
        self.bad += len(wrong)
        if self._bar is not None:
            self._bar.update(self._task, completed=self.done, status=self.status)
        elif self.shown and time.monotonic() - self._last_line > self.seconds_between_lines:
            self._last_line = time.monotonic()
            print(self.status, file=sys.stderr)

    @property
    def status(self) -> str:
        """E.g. ``120 of 500 sentences, 3.1 a second, 0:02:03 left, mevis@1 J&F 61.2 over 40 of them, 2 not ok``."""
        seconds = time.monotonic() - self._begin
        parts = [f"{self.total - self.todo + self.done} of {self.total} sentences"]
        if self.done:
            speed = self.done / max(seconds, 1e-9)
            parts += [f"{speed:.3g} a second", f"{_clock((self.todo - self.done) / speed)} left"]
        if self.score is not None and self.score.words:
            parts.append(self.score.words)
        if self.bad:
            parts.append(f"{self.bad} not ok")
        return ", ".join(parts)

    def _print(self, text: str) -> None:
        if self._bar is not None:
            self._bar.console.print(text, markup=False, highlight=False)
        else:
            print(text, file=sys.stderr)


def _bar() -> Progress:
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

    columns = (BarColumn(bar_width=30), TextColumn("{task.fields[status]}"), TimeElapsedColumn())
    return Progress(*columns, console=Console(stderr=True), transient=False)


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes // 60}:{minutes % 60:02d}:{rest:02d}"

"""A model in another environment: a process that is started once and answers one video a message (docs/workers.md).

A worker that hangs, dies or says what no worker may say is ended and started anew. The masks it gave before count; the
engine asks once more, alone, for each sentence that was left open, and notes the reason where that fails too.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import queue
import shlex
import subprocess
import tempfile
import threading
import weakref
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..datasets.errors import PredictionInvalid, RvosError, UsageError
from ..datasets.images import png_grey
from ..datasets.masks import decode_rle
from ..datasets.types import Expression, Video
from .predictor import FrameMask

PROTOCOL = 1
#: How long a worker may take to load its model, in seconds.
START_TIMEOUT = 1800.0
#: How long a worker may say nothing while it answers, in seconds, unless it asks for another limit.
ANSWER_TIMEOUT = 600.0
#: Lines of a worker that wait to be read; bounds memory where it is faster than the reader.
LINES_AHEAD = 256
#: How a worker may want the frames: the data's own files, or files in this format.
FRAME_FORMATS = ("paths", "png", "jpeg")
SUFFIXES = {"png": (".png",), "jpeg": (".jpg", ".jpeg")}


class WorkerError(RvosError):
    """A worker that hung, died or broke the protocol."""


class WorkerPredictor:
    """A worker's command as a predictor.

    Attributes:
        tokens_used: language-model tokens that the worker has reported.
    """

    def __init__(self, command: str) -> None:
        """Start the worker and wait until its model is loaded.

        Args:
            command: a shell-like command line, e.g. ``python3.8 my_worker.py --weights model.pt``.

        Raises:
            UsageError: where it cannot be started or does not become ready.
        """
        self.command = command
        self.tokens_used = 0
        self._numbers = itertools.count(1)
        self._worker: _Worker | None = None
        try:
            self._name = self._started().hello.get("name")
        except WorkerError as error:
            raise UsageError(f"The worker cannot be used: {error}") from error

    def describe(self) -> dict[str, Any]:
        """What a run records about this predictor."""
        return {"name": self._name or f"worker:{self.command}", "arguments": {"command": self.command}}

    def segment(self, video: Video, expressions: Sequence[Expression]) -> Iterator[FrameMask]:
        """Yield the worker's masks as they come.

        Raises:
            WorkerError: where it hangs, dies or breaks the protocol; it is started anew for the next call.
        """
        worker = self._started()
        number = next(self._numbers)
        with _ended_unless_done(self, worker), _frame_files(video, worker.frames) as files:
            worker.send(_request(number, video, expressions, files))
            yield from self._answers(worker, number, video)

    def _answers(self, worker: _Worker, number: int, video: Video) -> Iterator[FrameMask]:
        while True:
            message = worker.hear(worker.timeout)
            kind = message.get("type")
            if message.get("request") != number:
                raise WorkerError(f"the worker answered request {message.get('request')}, asked was {number}.")
            if kind == "mask":
                yield _field(message, "expression_id"), _field(message, "frame"), EncodedMask(message, video)
            elif kind == "error":
                worker.is_idle = True
                raise WorkerError(f"the model raised {message.get('message')}")
            elif kind == "done":
                worker.is_idle = True
                self.tokens_used += int(message.get("tokens", 0))
                return
            else:
                raise WorkerError(f"the worker sent a message of type {kind!r}; expected mask, done or error.")

    def _started(self) -> _Worker:
        if self._worker is None:
            self._worker = _Worker(self.command)
            weakref.finalize(self, self._worker.end)
        return self._worker

    def forget(self) -> None:
        """End the worker; the next call starts another."""
        if self._worker is not None:
            self._worker.end()
            self._worker = None


class EncodedMask:
    """A mask as a worker sends it, decoded where it is looked at, so that what is wrong with it costs one frame."""

    def __init__(self, message: dict[str, Any], video: Video) -> None:
        self._message, self._video = message, video

    def __array__(self, dtype: Any = None, copy: bool | None = None) -> NDArray[np.bool_]:
        """bool (H, W). Raises DatasetError, ImageError, PredictionInvalid."""
        if "png" in self._message:
            return png_grey(Path(self._message["png"])) > 0
        if "counts" not in self._message:
            raise PredictionInvalid("The worker's mask has neither counts nor png.")
        size = self._message.get("size", self._video.size)
        return decode_rle({"size": size, "counts": self._message["counts"]}, place="The worker's mask")


class _Worker:
    """A process and its two pipes."""

    def __init__(self, command: str) -> None:
        self.is_idle = True
        try:
            self.process = subprocess.Popen(
                shlex.split(command), stdin=subprocess.PIPE, stdout=subprocess.PIPE, encoding="utf-8", errors="replace"
            )
        except (OSError, ValueError, IndexError) as error:
            raise WorkerError(f"'{command}' cannot be started ({error}).") from error
        self._lines: queue.Queue[str | None] = queue.Queue(LINES_AHEAD)
        threading.Thread(target=_read, args=(self.process.stdout, self._lines), daemon=True).start()
        try:
            self.hello = self.hear(START_TIMEOUT)
            self.frames = self.hello.get("frames", "paths")
            self.timeout = float(self.hello.get("timeout", ANSWER_TIMEOUT))
            if self.hello.get("type") != "ready" or self.hello.get("protocol") != PROTOCOL:
                raise WorkerError(f"it said {str(self.hello)[:100]}, expected type ready, protocol {PROTOCOL}.")
            if self.frames not in FRAME_FORMATS:
                raise WorkerError(f"it wants frames as {self.frames!r}, known are {', '.join(FRAME_FORMATS)}.")
        except BaseException:
            self.end()
            raise

    def send(self, request: dict[str, Any]) -> None:
        """Raises WorkerError where the worker is gone."""
        assert self.process.stdin is not None
        self.is_idle = False
        try:
            self.process.stdin.write(json.dumps(request) + "\n")
            self.process.stdin.flush()
        except OSError as error:
            raise WorkerError(f"the worker has ended (exit code {self.process.wait()}).") from error

    def hear(self, timeout: float) -> dict[str, Any]:
        """The next message. Raises WorkerError."""
        try:
            line = self._lines.get(timeout=timeout)
        except queue.Empty:
            raise WorkerError(f"the worker said nothing for {timeout:g} s and was ended.") from None
        if line is None:
            raise WorkerError(f"the worker has ended (exit code {self.process.wait()}); its last words are above.")
        try:
            message = json.loads(line)
        except ValueError:
            message = None
        if not isinstance(message, dict):
            raise WorkerError(
                f"the worker wrote {line[:80]!r} to its standard output; expected one JSON object a line."
            )
        return message

    def end(self) -> None:
        """End the process at once."""
        self.process.kill()
        self.process.wait()
        with contextlib.suppress(OSError):  # what was on its way to the dead
            if self.process.stdin is not None:
                self.process.stdin.close()


def _read(lines: Any, into: queue.Queue[str | None]) -> None:
    for line in lines:
        into.put(line)
    into.put(None)


@contextmanager
def _ended_unless_done(predictor: WorkerPredictor, worker: _Worker) -> Iterator[None]:
    """A worker that was left in the middle of an answer cannot be asked again."""
    try:
        yield
    finally:
        if not worker.is_idle:
            predictor.forget()


def _request(number: int, video: Video, expressions: Sequence[Expression], files: Sequence[Path]) -> dict[str, Any]:
    return {
        "type": "video",
        "request": number,
        "video_id": video.id,
        "height": video.height,
        "width": video.width,
        "fps": video.fps,
        "frames": [str(file) for file in files],
        "frame_names": list(video.frame_names),
        "expressions": [{"id": e.id, "text": e.text, "kind": e.kind} for e in expressions],
    }


@contextmanager
def _frame_files(video: Video, wanted: str) -> Iterator[list[Path]]:
    """A file for every frame: the data's own where there is one in the wanted format, else written for the moment."""
    own = [None if video.source is None else video.source.path(name) for name in video.frame_names]
    fits = [p is not None and (wanted == "paths" or p.suffix.lower() in SUFFIXES[wanted]) for p in own]
    if all(fits):
        yield [p.absolute() for p in own if p is not None]
        return
    with tempfile.TemporaryDirectory(prefix="rvos-frames-") as folder:
        yield [_write_frame(Path(folder), video, index, wanted) for index in range(len(video))]


def _write_frame(folder: Path, video: Video, index: int, wanted: str) -> Path:
    path = folder / f"{index:06d}{'.jpg' if wanted == 'jpeg' else '.png'}"
    # PNG is exact; JPEG at a quality at which the difference is invisible, for workers that cannot read PNG.
    options: dict[str, Any] = {"quality": 95} if wanted == "jpeg" else {"compress_level": 1}
    Image.fromarray(video.frame(index)).save(path, **options)
    return path


def _field(message: dict[str, Any], name: str) -> Any:
    if name not in message:
        raise WorkerError(f"a mask of the worker has no {name!r}.")
    return message[name]

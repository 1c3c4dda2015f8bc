"""Frames are decoded in a thread while the model works on those before them.

Where a predictor reads a video frame by frame, the next frames are decoded meanwhile, and towards the end of a video
the first of the next one; never more than ``AHEAD`` of each. Predictors that jump about, that open the files
themselves, or that read in threads of their own get what they ask for, and nothing is decoded beside. The bytes of a
frame do not depend on who decodes it.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ..datasets.types import FrameSource, Video

#: So many frames are decoded ahead of the reader; bounds memory.
AHEAD = 4


class Prefetcher:
    """One thread that decodes ahead for a predictor. A context manager, to be used by the thread that predicts."""

    def __init__(self, upcoming: Callable[[], Video | None]) -> None:
        """
        Args:
            upcoming: the video that this process is likely to get next; asked towards the end of each.
        """
        self._upcoming = upcoming
        self._pool = ThreadPoolExecutor(1, thread_name_prefix="rvos-prefetch")
        self._next: tuple[Video, FramesAhead] | None = None

    def __enter__(self) -> Prefetcher:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._pool.shutdown(wait=True, cancel_futures=True)

    def video(self, video: Video) -> Video:
        """The same video, whose frames come ahead; frames of earlier ones that nobody asked for are forgotten."""
        if video.source is None:
            return video
        source = FramesAhead(video, self._pool, at_end=self._begin_next)
        if self._next is not None and self._next[0] == video:
            source = self._next[1]
        elif self._next is not None:
            self._next[1].forget()
        self._next = None
        return replace(video, source=source)

    def _begin_next(self) -> None:
        """Decode the first frames of the next video."""
        video = self._upcoming()
        if self._next is not None or video is None or video.source is None:
            return
        self._next = video, FramesAhead(video, self._pool, at_end=self._begin_next)
        self._next[1].begin()


class FramesAhead:
    """A frame source that reads ahead of its reader. Equal to the source that it reads from, and pickled as that."""

    def __init__(self, video: Video, pool: ThreadPoolExecutor, at_end: Callable[[], None]) -> None:
        assert video.source is not None
        self.source: FrameSource = video.source
        self._names = video.frame_names
        self._index = {name: index for index, name in enumerate(video.frame_names)}
        self._pool, self._at_end = pool, at_end
        self._waiting: dict[str, Future[NDArray[np.uint8]]] = {}
        self._latest: int | None = None
        self._owner = _me()

    def read(self, name: str) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB. Raises what the source raises."""
        index = self._index.get(name)
        if index is None or _me() != self._owner:  # another thread reads ahead by itself; a fork has no thread here
            return self.source.read(name)
        frame = self._waiting.pop(name, None)
        if self._latest is not None and index == self._latest + 1:
            self._decode(self._names[index + 1 : index + 1 + AHEAD])
            if index == len(self._names) - 1:
                self._at_end()
        elif frame is None:
            self.forget()
        self._latest = index
        return self.source.read(name) if frame is None else frame.result()

    def begin(self) -> None:
        """Decode the first frames before anybody asks."""
        self._decode(self._names[:AHEAD])

    def forget(self) -> None:
        """Drop what nobody has asked for."""
        for frame in self._waiting.values():
            frame.cancel()
        self._waiting.clear()

    def _decode(self, names: tuple[str, ...]) -> None:
        for name in names:
            if name not in self._waiting:
                self._waiting[name] = self._pool.submit(self.source.read, name)

    def size(self, name: str) -> tuple[int, int]:
        return self.source.size(name)

    def path(self, name: str) -> Path | None:
        return self.source.path(name)

    def __eq__(self, other: object) -> bool:
        return self.source == (other.source if isinstance(other, FramesAhead) else other)

    def __hash__(self) -> int:
        return hash(self.source)

    def __reduce__(self) -> tuple[Any, ...]:
        return _itself, (self.source,)


def _itself(source: FrameSource) -> FrameSource:
    return source


def _me() -> tuple[int, int]:
    """This thread of this process."""
    return os.getpid(), threading.get_ident()

"""Video files (mp4 and whatever FFmpeg reads) as frames, and frames as mp4."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .errors import DatasetError, ImageError, MissingExtraError
from .frames import SUFFIXES, FrameFolder
from .types import Video

#: Decoded frames that a file keeps, so that a reader may look back a little without decoding from the start.
KEPT_FRAMES = 32
#: Frames a second of a written file where the video's own rate is unknown.
DEFAULT_FPS = 12.0
#: Files that are open at a time in a process.
_OPEN_FILES = 4


def open_video(path: str | Path) -> Video:
    """A video from a file or from a folder of frames in the order of their names.

    Raises:
        DatasetError: where there is no such file or folder, or it holds no frame.
        MissingExtraError: for a file, where PyAV is not installed.
    """
    path = Path(path)
    if path.is_dir():
        names = sorted(p.stem for p in path.iterdir() if p.suffix in SUFFIXES)
        if not names:
            raise DatasetError(f"{path} holds no frames; expected images named in temporal order (*.jpg, *.png).")
        return Video(path.name, tuple(names), FrameFolder(path))
    if not path.is_file():
        raise DatasetError(f"No video at {path}; expected a video file or a folder of frames.")
    source = VideoFile(path)
    count, fps, size = source.facts()
    return Video(path.stem, tuple(f"{i:05d}" for i in range(count)), source, fps=fps, declared_size=size)


@dataclass(frozen=True)
class VideoFile:
    """A video file as a frame source.

    Reading in ascending order decodes once; a step back by more than a few frames decodes from the start again.
    Several threads may read. A process keeps few files open, whatever the number of videos.

    Attributes:
        file: the video file.
        names: of its frames in temporal order; without them a frame is named by its number.
    """

    file: Path
    names: tuple[str, ...] = ()

    def facts(self) -> tuple[int, float | None, tuple[int, int]]:
        """(number of frames, frames a second or None, (height, width)), by decoding the file once.

        The header's frame count is not trusted: it is absent or wrong in many files.
        """
        count, size = 0, (0, 0)
        for frame in decode_video(self.file):
            size = size if count else frame.shape[:2]
            count += 1
        if count == 0:
            raise DatasetError(f"{self.file} holds no video frame.")
        return count, _frame_rate(self.file), size

    def read(self, name: str) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB. Raises ImageError for a frame behind the end, DatasetError for no video."""
        try:
            changed = self.file.stat().st_mtime_ns
        except OSError as error:
            raise ImageError(f"{self.file}: cannot be read ({error.strerror}); the video is needed here.") from error
        return _reader(self.file, changed).read(self.names.index(name) if self.names else int(name))

    def size(self, name: str) -> tuple[int, int]:
        """(height, width)."""
        return self.read(name).shape[:2]

    def path(self, name: str) -> Path | None:
        return None


@lru_cache(maxsize=_OPEN_FILES)
def _reader(file: Path, changed: int) -> _Reader:
    return _Reader(file)


class _Reader:
    """A forward decoder with a little memory, safe for threads."""

    def __init__(self, file: Path) -> None:
        self.file = file
        self.lock = threading.Lock()
        self.frames: Iterator[NDArray[np.uint8]] = iter(())
        self.next = -1
        self.kept: OrderedDict[int, NDArray[np.uint8]] = OrderedDict()

    def read(self, index: int) -> NDArray[np.uint8]:
        with self.lock:
            if index not in self.kept:
                self._decode_up_to(index)
            return self.kept[index]

    def _decode_up_to(self, index: int) -> None:
        if self.next < 0 or index < self.next:
            self.frames, self.next = decode_video(self.file), 0
        while self.next <= index:
            frame = next(self.frames, None)
            if frame is None:
                raise ImageError(f"{self.file} ends after {self.next} frames; frame {index} was asked for.")
            self.kept[self.next] = frame
            self.next += 1
            if len(self.kept) > KEPT_FRAMES:
                self.kept.popitem(last=False)


class Mp4Writer:
    """Writes frames of one size to an mp4 (H.264); a context manager.

    At ``crf`` 0 every pixel comes back as it was (RGB, for players that know H.264's High 4:4:4 profile). Otherwise the
    colours are stored as YUV, at half resolution where both sides are even (4:2:0, for every player), at full
    resolution where one is odd.

    Args:
        path: the file, replaced where it exists.
        fps: frames a second; ``DEFAULT_FPS`` where None.
        crf: x264's rate factor, 0 (nothing is lost) to 51.
    """

    def __init__(self, path: Path, fps: float | None, crf: int = 23) -> None:
        self.path, self.fps, self.crf = path, fps or DEFAULT_FPS, crf
        self._container: Any = None
        self._stream: Any = None

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append a frame, uint8 (H, W, 3) RGB. Raises ImageError where its size is not that of the first."""
        if self._container is None:
            self._begin(*frame.shape[:2])
        if frame.shape[:2] != (self._stream.height, self._stream.width):
            raise ImageError(
                f"{self.path}: a frame of {frame.shape[1]}x{frame.shape[0]} after frames of "
                f"{self._stream.width}x{self._stream.height}; a video file has one size."
            )
        picture = video_library().VideoFrame.from_ndarray(np.ascontiguousarray(frame), format="rgb24")
        for packet in self._stream.encode(picture):
            self._container.mux(packet)

    def _begin(self, height: int, width: int) -> None:
        colours = "rgb24" if self.crf == 0 else "yuv420p" if height % 2 == width % 2 == 0 else "yuv444p"
        codec = "libx264rgb" if self.crf == 0 else "libx264"
        rate = Fraction(self.fps).limit_denominator(1000)
        self._container = video_library().open(str(self.path), "w", format="mp4")
        self._stream = self._container.add_stream(codec, rate=rate, options={"crf": str(self.crf)})
        self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, colours

    def __enter__(self) -> Mp4Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            for packet in self._stream.encode() if error is None else ():
                self._container.mux(packet)
            self._container.close()


def decode_video(file: Path) -> Iterator[NDArray[np.uint8]]:
    """All frames in display order, turned as the file says: uint8 (H, W, 3) RGB. Raises DatasetError."""
    av = video_library()
    failure = av.error.FFmpegError  # named here: at the interpreter's end the module may be gone before the generator
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise DatasetError(f"{file} has no video stream.")
            container.streams.video[0].thread_type = "AUTO"
            for frame in container.decode(video=0):
                turns = round(getattr(frame, "rotation", 0) / 90) % 4
                yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
    except failure as error:
        raise DatasetError(f"{file} cannot be decoded as a video: {error}") from error


def _frame_rate(file: Path) -> float | None:
    with video_library().open(str(file)) as container:
        rate = container.streams.video[0].average_rate
    return float(rate) if rate else None


def video_library() -> Any:
    """PyAV. Raises MissingExtraError."""
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("Reading and writing video files", "video") from error
    return av

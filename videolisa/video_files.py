"""Video files (mp4 and whatever FFmpeg reads) as frames, and overlays written as video or GIF."""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..datasets.errors import DatasetError, ImageError, MissingExtraError
from ..datasets.frames import SUFFIXES, FrameFolder
from ..datasets.types import Video

#: Decoded frames that a file keeps, so that a reader may look back a little without decoding from the start.
KEPT_FRAMES = 32
#: Frames a second of a written overlay where the video's own rate is unknown.
DEFAULT_FPS = 12.0
#: Longer side of a GIF, and the most frames it holds.
GIF_SIDE, GIF_FRAMES = 480, 200


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
    """A video file as a frame source; frames are named by their number.

    Reading in ascending order decodes once; a step back by more than a few frames decodes from the start again.
    Several threads may read.
    """

    file: Path
    _reader: _Reader = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_reader", _Reader(self.file))

    def __reduce__(self) -> tuple[Any, ...]:
        return VideoFile, (self.file,)

    def facts(self) -> tuple[int, float | None, tuple[int, int]]:
        """(number of frames, frames a second or None, (height, width)), by decoding the file once.

        The header's frame count is not trusted: it is absent or wrong in many files.
        """
        count, size = 0, (0, 0)
        for frame in _decode(self.file):
            size = size if count else frame.shape[:2]
            count += 1
        if count == 0:
            raise DatasetError(f"{self.file} holds no video frame.")
        return count, _frame_rate(self.file), size

    def read(self, name: str) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB. Raises ImageError for a number behind the end."""
        return self._reader.read(int(name))

    def size(self, name: str) -> tuple[int, int]:
        """(height, width)."""
        return self.read(name).shape[:2]

    def path(self, name: str) -> Path | None:
        return None


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
            self.frames, self.next = _decode(self.file), 0
        while self.next <= index:
            frame = next(self.frames, None)
            if frame is None:
                raise ImageError(f"{self.file} ends after {self.next} frames; frame {index} was asked for.")
            self.kept[self.next] = frame
            self.next += 1
            if len(self.kept) > KEPT_FRAMES:
                self.kept.popitem(last=False)


class OverlayWriter:
    """Writes frames to an mp4 (H.264) or a GIF, by the file's ending; a context manager."""

    def __init__(self, path: Path, fps: float | None) -> None:
        """
        Args:
            path: ends in ``.mp4`` or ``.gif``.
            fps: frames a second; ``DEFAULT_FPS`` where None.
        """
        self.path, self.fps = path, fps or DEFAULT_FPS
        self._container: Any = None
        self._stream: Any = None
        self._gif: list[Image.Image] = []

    def write(self, frame: NDArray[np.uint8]) -> None:
        """Append a frame, uint8 (H, W, 3) RGB."""
        if self.path.suffix == ".gif":
            self._keep_for_gif(frame)
        else:
            self._encode(frame)

    def __enter__(self) -> OverlayWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._container is not None:
            for packet in self._stream.encode():
                self._container.mux(packet)
            self._container.close()
        if self._gif and error is None:
            first, *rest = self._gif
            first.save(self.path, save_all=True, append_images=rest, duration=round(1000 / self.fps), loop=0)

    def _keep_for_gif(self, frame: NDArray[np.uint8]) -> None:
        if len(self._gif) < GIF_FRAMES:
            image = Image.fromarray(frame)
            image.thumbnail((GIF_SIDE, GIF_SIDE))
            self._gif.append(image.quantize(128))

    def _encode(self, frame: NDArray[np.uint8]) -> None:
        av = _av()
        height, width = (side - side % 2 for side in frame.shape[:2])  # H.264 needs even sides
        if self._container is None:
            self._container = av.open(str(self.path), "w")
            self._stream = self._container.add_stream("libx264", rate=Fraction(self.fps).limit_denominator(1000))
            self._stream.width, self._stream.height, self._stream.pix_fmt = width, height, "yuv420p"
        picture = av.VideoFrame.from_ndarray(np.ascontiguousarray(frame[:height, :width]), format="rgb24")
        for packet in self._stream.encode(picture):
            self._container.mux(packet)


def _decode(file: Path) -> Iterator[NDArray[np.uint8]]:
    """All frames in display order, turned as the file says: uint8 (H, W, 3) RGB."""
    av = _av()
    try:
        with av.open(str(file)) as container:
            if not container.streams.video:
                raise DatasetError(f"{file} has no video stream.")
            container.streams.video[0].thread_type = "AUTO"
            for frame in container.decode(video=0):
                turns = round(getattr(frame, "rotation", 0) / 90) % 4
                yield np.ascontiguousarray(np.rot90(frame.to_ndarray(format="rgb24"), turns))
    except av.error.FFmpegError as error:
        raise DatasetError(f"{file} cannot be decoded as a video: {error}") from error


def _frame_rate(file: Path) -> float | None:
    with _av().open(str(file)) as container:
        rate = container.streams.video[0].average_rate
    return float(rate) if rate else None


def _av() -> Any:
    try:
        import av
    except ImportError as error:
        raise MissingExtraError("Reading and writing video files", "models") from error
    return av

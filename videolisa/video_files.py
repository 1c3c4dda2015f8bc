"""Overlays written as video or GIF; ``datasets.video_files`` reads and writes the video files themselves."""

from __future__ import annotations

from pathlib import Path
from types import TracebackType

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..datasets.video_files import DEFAULT_FPS, Mp4Writer

#: Longer side of a GIF, and the most frames it holds.
GIF_SIDE, GIF_FRAMES = 480, 200


class OverlayWriter:
    """Writes frames to an mp4 (H.264) or a GIF, by the file's ending; a context manager."""

    def __init__(self, path: Path, fps: float | None) -> None:
        """
        Args:
            path: ends in ``.mp4`` or ``.gif``.
            fps: frames a second; ``DEFAULT_FPS`` where None.
        """
        self.path, self.fps = path, fps or DEFAULT_FPS
        self._mp4: Mp4Writer | None = None
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
        if self._mp4 is not None:
            self._mp4.__exit__(kind, error, trace)
        if self._gif and error is None:
            first, *rest = self._gif
            first.save(self.path, save_all=True, append_images=rest, duration=round(1000 / self.fps), loop=0)

    def _keep_for_gif(self, frame: NDArray[np.uint8]) -> None:
        if len(self._gif) < GIF_FRAMES:
            image = Image.fromarray(frame)
            image.thumbnail((GIF_SIDE, GIF_SIDE))
            self._gif.append(image.quantize(128))

    def _encode(self, frame: NDArray[np.uint8]) -> None:
        if self._mp4 is None:
            self._mp4 = Mp4Writer(self.path, self.fps)
        height, width = (side - side % 2 for side in frame.shape[:2])  # players want even sides
        self._mp4.write(frame[:height, :width])

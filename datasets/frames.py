"""Frame sources: where the pixels of a video are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from .errors import DatasetError, ImageError
from .images import image_size, read_rgb

SUFFIXES = (".jpg", ".jpeg", ".png", ".JPG", ".JPEG")


@dataclass(frozen=True)
class FrameFolder:
    """A folder with one image a frame, ``<name>.jpg`` (or .jpeg, .png).

    Attributes:
        folder: the video's folder; it need not exist where only masks are scored.
        size_from: an image (a mask) that tells the video's size where a frame is absent.
    """

    folder: Path
    size_from: Path | None = None

    def read(self, name: str) -> NDArray[np.uint8]:
        """uint8 (H, W, 3) RGB. Raises ImageError."""
        return read_rgb(self._existing(name))

    def size(self, name: str) -> tuple[int, int]:
        """(height, width) from the header. Raises ImageError."""
        path = self.path(name)
        if path is None and self.size_from is not None:
            return image_size(self.size_from)
        return image_size(self._existing(name))

    def path(self, name: str) -> Path | None:
        """The frame's file, or None where there is none."""
        candidates = (self.folder / f"{name}{suffix}" for suffix in SUFFIXES)
        return next((path for path in candidates if path.exists()), None)

    def _existing(self, name: str) -> Path:
        path = self.path(name)
        if path is None:
            raise ImageError(f"{self.folder / name}.jpg: no such frame; the folder must hold every listed frame.")
        return path


@dataclass(frozen=True)
class ArrayFrames:
    """Frames in memory: uint8 (T, H, W, 3) RGB; compared by identity of the array."""

    names: tuple[str, ...]
    array: NDArray[np.uint8] = field(compare=False)
    identity: int = field(init=False)

    def __post_init__(self) -> None:
        if self.array.ndim != 4 or self.array.shape[3] != 3 or len(self.array) != len(self.names):
            raise DatasetError(f"Expected frames of shape ({len(self.names)}, H, W, 3), found {self.array.shape}.")
        object.__setattr__(self, "identity", id(self.array))

    def read(self, name: str) -> NDArray[np.uint8]:
        return self.array[self.names.index(name)]

    def size(self, name: str) -> tuple[int, int]:
        return self.array.shape[1], self.array.shape[2]

    def path(self, name: str) -> Path | None:
        return None


@dataclass(frozen=True)
class NoFrames:
    """Stands in for images that are not there where only masks are scored: knows the size, from a mask's header."""

    size_from: Path

    def read(self, name: str) -> NDArray[np.uint8]:
        raise DatasetError(f"Frame {name}: opened without images, {self.size_from.parent} holds masks only.")

    def size(self, name: str) -> tuple[int, int]:
        return image_size(self.size_from)

    def path(self, name: str) -> Path | None:
        return None


def png_paths(folder: Path, frame_names: Sequence[str], present: Sequence[str]) -> tuple[Path | None, ...]:
    """The mask file of every frame, None where ``present`` (stems of the PNGs in ``folder``) has none."""
    stems = set(present)
    return tuple(folder / f"{name}.png" if name in stems else None for name in frame_names)

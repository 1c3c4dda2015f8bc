"""The files that layouts are made of: JSON written entry by entry, masks as PNG, folders that appear when complete."""

from __future__ import annotations

import io
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from ..errors import DatasetError, UsageError
from ..images import davis_palette


class JsonObject:
    """Writes a JSON object entry by entry; with ``wrap``, the object is the one value of another object."""

    def __init__(self, path: Path, wrap: str | None = None) -> None:
        self._path = path
        self._wrap = wrap
        self._keys: set[str] = set()

    def __enter__(self) -> JsonObject:
        self._file = self._path.open("w", encoding="utf-8")
        self._file.write("{" if self._wrap is None else f'{{"{self._wrap}": {{')
        return self

    def __exit__(self, *exception: object) -> None:
        self._file.write("}" if self._wrap is None else "}}")
        self._file.close()

    @property
    def n(self) -> int:
        return len(self._keys)

    def add(self, key: str, value: Any) -> None:
        self.add_raw(key, json.dumps(value))

    def add_raw(self, key: str, text: str) -> None:
        """An entry whose value is already JSON text. Raises DatasetError where the key was there before."""
        if key in self._keys:
            raise DatasetError(f"'{key}' occurs twice in {self._path.name}; give every video its own id.")
        self._file.write(f"{', ' if self._keys else ''}{json.dumps(key)}: {text}")
        self._keys.add(key)


@contextmanager
def staged(root: Path) -> Iterator[Path]:
    """A folder beside ``root`` whose contents are moved into it at the end, or removed where something went wrong.

    Raises:
        UsageError: something is already there.
    """
    stage = root.parent / f".{root.name}.partial-{os.getpid()}"
    stage.mkdir(parents=True)
    try:
        yield stage
        _move_into(stage, root)
    finally:
        shutil.rmtree(stage, ignore_errors=True)


def _move_into(stage: Path, root: Path) -> None:
    """Renames, which is atomic where ``root`` is new; into an existing root folder by folder, never over anything."""
    if not root.exists():
        stage.rename(root)
        return
    units = list(_units(stage, root))
    taken = [str(target) for _, target in units if target.exists() or target.is_symlink()]
    if taken:
        raise UsageError(f"Already there: {', '.join(taken)}. Remove it or give another folder.")
    for source, target in units:
        target.parent.mkdir(parents=True, exist_ok=True)
        source.rename(target)


def _units(stage: Path, root: Path) -> Iterator[tuple[Path, Path]]:
    """What to rename: top-level entries, except that splits share the folder ``meta_expressions``."""
    for entry in sorted(stage.iterdir()):
        if entry.name == "meta_expressions":
            yield from ((part, root / entry.name / part.name) for part in sorted(entry.iterdir()))
        else:
            yield entry, root / entry.name


def made(folder: Path) -> Path:
    """The folder, created where it is missing."""
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def save_binary(mask: NDArray[np.bool_], path: Path) -> None:
    """Mode L, values 0 and 255."""
    _save_png(Image.fromarray(mask.astype(np.uint8) * np.uint8(255)), path)


def save_indexed(labels: NDArray[np.uint8], path: Path) -> None:
    """Mode P with the DAVIS palette, values are object labels."""
    image = Image.fromarray(labels)
    image.putpalette(davis_palette().tobytes())
    _save_png(image, path)


def _save_png(image: Image.Image, path: Path) -> None:
    buffer = io.BytesIO()
    image.save(buffer, format="PNG", compress_level=1)
    path.write_bytes(buffer.getvalue())

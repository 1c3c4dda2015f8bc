"""A zip archive read as if it were a folder: nothing is extracted, one entry is inflated at a time."""

from __future__ import annotations

import os
import zipfile
import zlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ...datasets.errors import PredictionInvalid, PredictionMissing
from .files import MAX_FILE_BYTES

_UTF8_NAME = 0x800  # general purpose flag: the name is UTF-8


@dataclass(frozen=True)
class _Opened:
    """An archive opened in one process; a forked child must not share its file position."""

    process: int
    archive: zipfile.ZipFile
    entries: Mapping[str, zipfile.ZipInfo]
    folders: Mapping[str, Collection[str]]
    unsafe: tuple[str, ...]


class ZipFiles:
    """The files in a zip archive, below ``prefix``. Opened when first read, and again in every worker process.

    Attributes:
        path: the archive.
        prefix: folder inside the archive that counts as its root, e.g. ``Annotations``; "" for none.
    """

    def __init__(self, path: Path, prefix: str = "") -> None:
        self.path = Path(path)
        self.prefix = prefix
        self._opened: _Opened | None = None

    @classmethod
    def below(cls, path: Path, expected: Collection[str]) -> ZipFiles:
        """The archive, below that folder (up to three deep) which holds most of the ``expected`` folder names.

        Raises:
            PredictionInvalid: not a zip archive, or a damaged one.
        """
        folders = cls(path)._open().folders
        wanted = set(expected)
        candidates = sorted((f for f in folders if f.count("/") < 3), key=lambda f: (f.count("/") if f else -1, f))
        found = [len(wanted.intersection(folders[f])) for f in candidates]
        best = max(range(len(candidates)), key=lambda i: found[i], default=None)
        return cls(path, "" if best is None or not found[best] else candidates[best])

    def read(self, name: str) -> bytes:
        opened, where = self._open(), self.where(name)
        entry = opened.entries.get(self._inside(name))
        if entry is None:
            raise PredictionMissing(f"{where}: no such entry in the archive.")
        if entry.file_size > MAX_FILE_BYTES:
            raise PredictionInvalid(f"{where}: would inflate to {entry.file_size} bytes, more than any mask needs.")
        try:
            return opened.archive.read(entry)
        except (zipfile.BadZipFile, zlib.error, EOFError, OSError, RuntimeError, ValueError) as error:
            raise PredictionInvalid(f"{where}: cannot be read ({error}); make the archive again.") from error

    def names(self, folder: str) -> list[str] | None:
        names = self._open().folders.get(self._inside(folder))
        return None if names is None else sorted(names)

    def where(self, name: str) -> str:
        return f"{self.path}!{self._inside(name)}"

    @property
    def unsafe_names(self) -> tuple[str, ...]:
        """Entries that point outside the archive (absolute or with ``..``), which are never read."""
        return self._open().unsafe

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "prefix": self.prefix, "_opened": None}

    def _inside(self, name: str) -> str:
        return "/".join(part for part in (self.prefix, name) if part)

    def _open(self) -> _Opened:
        if self._opened is None or self._opened.process != os.getpid():
            self._opened = _open_archive(self.path)
        return self._opened


def _open_archive(path: Path) -> _Opened:
    try:
        archive = zipfile.ZipFile(path)
    except FileNotFoundError:
        raise PredictionMissing(f"{path}: no such file.") from None
    except (zipfile.BadZipFile, OSError, ValueError) as error:
        raise PredictionInvalid(f"{path}: not a readable zip archive ({error}); make it again.") from error
    entries: dict[str, zipfile.ZipInfo] = {}
    folders: dict[str, set[str]] = {"": set()}
    unsafe = []
    for entry in archive.infolist():
        name = _entry_name(entry)
        if name.startswith("/") or ".." in name.split("/") or ":" in name.split("/")[0]:
            unsafe.append(name)
            continue
        if name.startswith("__MACOSX/"):
            continue
        if not entry.is_dir():
            entries[name] = entry
        _add_to_folders(folders, name.rstrip("/"), is_folder=entry.is_dir())
    return _Opened(os.getpid(), archive, entries, folders, tuple(unsafe))


def _entry_name(entry: zipfile.ZipInfo) -> str:
    """The entry's name with slashes; names that a tool wrote as UTF-8 without saying so are read as UTF-8."""
    name = entry.filename
    if not entry.flag_bits & _UTF8_NAME and not name.isascii():
        try:
            name = name.encode("cp437").decode("utf-8")
        except UnicodeError:
            name = entry.filename
    return name.replace("\\", "/").removeprefix("./")


def _add_to_folders(folders: dict[str, set[str]], name: str, is_folder: bool) -> None:
    if is_folder:
        folders.setdefault(name, set())
    while name:
        parent, _, leaf = name.rpartition("/")
        siblings = folders.setdefault(parent, set())
        if leaf in siblings:
            return
        siblings.add(leaf)
        name = parent

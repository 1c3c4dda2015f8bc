"""Where the bytes of prediction files are: a folder on disk here, a zip archive in ``archives``."""

from __future__ import annotations

import os
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from ...datasets.errors import PredictionInvalid, PredictionMissing

#: No mask file is larger; what is larger is refused unread.
MAX_FILE_BYTES = 1 << 26


class MaskFiles(Protocol):
    """A tree of files addressed by posix paths below its root. Picklable; nothing is written."""

    @property
    def path(self) -> Path:
        """The folder or archive."""
        ...

    def read(self, name: str) -> bytes:
        """The file's bytes. Raises PredictionMissing, PredictionInvalid."""
        ...

    def names(self, folder: str) -> list[str] | None:
        """Sorted names of the files and folders in ``folder`` ("" is the root); None where it is no readable folder."""
        ...

    def where(self, name: str) -> str:
        """How an error message names the file."""
        ...


@dataclass(frozen=True)
class DirectoryFiles:
    """The files below a folder on disk."""

    path: Path

    def read(self, name: str) -> bytes:
        where = self.where(name)
        try:
            with open(where, "rb", buffering=0, opener=_open_without_waiting) as file:
                status = os.fstat(file.fileno())
                if not stat.S_ISREG(status.st_mode):
                    raise PredictionInvalid(f"{where}: not a regular file, a mask file is expected; replace it.")
                if status.st_size > MAX_FILE_BYTES:
                    raise PredictionInvalid(
                        f"{where}: {status.st_size} bytes, more than any mask needs; write it again."
                    )
                return file.read()
        except (FileNotFoundError, NotADirectoryError):
            raise PredictionMissing(f"{where}: no such file.") from None
        except IsADirectoryError:
            raise PredictionInvalid(f"{where}: a folder, where a mask file is expected; remove it.") from None
        except PermissionError:
            raise PredictionInvalid(f"{where}: no permission to read it; change its mode (chmod u+r).") from None
        except (OSError, ValueError) as error:
            reason = error.strerror if isinstance(error, OSError) and error.strerror else error
            raise PredictionInvalid(f"{where}: cannot be read ({reason}).") from error

    def names(self, folder: str) -> list[str] | None:
        try:
            return sorted(os.listdir(self.where(folder)))
        except (OSError, ValueError):
            return None

    def where(self, name: str) -> str:
        return os.path.join(self.path, name) if name else str(self.path)


def _open_without_waiting(path: str, flags: int) -> int:
    """A named pipe must not block the reader until somebody writes into it."""
    return os.open(path, flags | getattr(os, "O_NONBLOCK", 0))

"""Files that commands write where the user says."""

from __future__ import annotations

from pathlib import Path

from ..datasets.config import replace_file
from ..datasets.errors import UsageError


def write_text(path: Path, text: str) -> None:
    """Write a file, atomically. Raises UsageError where it cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        replace_file(path, text)
    except OSError as error:
        raise UsageError(f"{path} cannot be written: {error.strerror or error}; give another file.") from error

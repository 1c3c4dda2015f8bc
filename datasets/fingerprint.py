"""What data a score was made with, as one hash."""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from .config import cache_dir, replace_file
from .errors import DatasetError

if TYPE_CHECKING:
    from .types import RVOSDataset

#: path -> (size, time of change in nanoseconds, SHA-256)
_Known = dict[str, tuple[int, int, str]]


def dataset_fingerprint(dataset: RVOSDataset) -> str:
    """``sha256:<hex>`` over the names and contents of the annotation files and the sorted sample keys.

    Frames are left out: they do not enter a score except through a model. Hashes of files are kept in the user's
    cache, keyed by path, size and time of change, so that a second call only looks at the files' states.

    Raises:
        DatasetError: an annotation file that cannot be read.
    """
    root = str(dataset.root.absolute())
    digest = hashlib.sha256()
    here = os.getcwd()  # paths as text: Path objects would take longer than all that is done with them
    paths = [os.path.join(here, path) for path in dataset.annotation_files()]
    files = {_relative(path, root): path for path in paths}
    hashes = hash_files(files.values(), cache_name=f"{dataset.id} {root}")
    for name in sorted(files):
        digest.update(f"{name}\0{hashes[files[name]]}\n".encode())
    for key in sorted(sample.key for sample in dataset.samples):
        digest.update(f"{key}\n".encode())
    return f"sha256:{digest.hexdigest()}"


def hash_files(paths: Iterable[str], cache_name: str) -> dict[str, str]:
    """SHA-256 of every file by its path, in hexadecimal; unchanged files are taken from the cache entry ``cache_name``.

    Raises:
        DatasetError: a file that cannot be read.
    """
    cache_file = cache_dir() / "hashes" / f"{hashlib.sha256(cache_name.encode()).hexdigest()[:32]}.json"
    known = _load(cache_file)
    current: _Known = {}
    hashes: dict[str, str] = {}
    for path in paths:
        try:
            state = os.stat(path)
            before = known.get(path)
            fresh = before is None or (before[0], before[1]) != (state.st_size, state.st_mtime_ns)
            hashes[path] = _hash(path) if fresh or before is None else before[2]
        except OSError as error:
            raise DatasetError(
                f"{path}: cannot be read ({error.strerror}); the data's fingerprint needs it."
            ) from error
        current[path] = (state.st_size, state.st_mtime_ns, hashes[path])
    if current != known:
        _keep(cache_file, current)
    return hashes


def _relative(path: str, root: str) -> str:
    below = os.path.join(root, "")
    name = path[len(below) :] if path.startswith(below) else os.path.relpath(path, root)
    return name.replace(os.sep, "/")


def _hash(path: str) -> str:
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _load(cache_file: Path) -> _Known:
    if not cache_file.exists():
        return {}
    try:
        content = json.loads(cache_file.read_text(encoding="utf-8"))
        return {str(path): (int(size), int(stamp), str(sha)) for path, (size, stamp, sha) in content.items()}
    except (OSError, ValueError, TypeError, AttributeError) as error:
        warnings.warn(f"{cache_file}: damaged cache, files are hashed again ({error}).", stacklevel=2)
        return {}


def _keep(cache_file: Path, known: _Known) -> None:
    try:
        replace_file(cache_file, json.dumps(known).encode())
    except OSError as error:
        warnings.warn(f"{cache_file}: cannot be written ({error.strerror}); set RVOS_CACHE to a folder.", stacklevel=2)

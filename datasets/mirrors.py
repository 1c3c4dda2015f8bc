"""Public mirrors of benchmarks on the Hugging Face hub, in layouts of their own: fetched, laid out, opened.

A mirror holds archives, tables and folders. They are laid out as a person would do it: every archive is unpacked where
it lies, safely (``unpacking``), and the folder in which the benchmark's loader finds its files is opened.
"""

from __future__ import annotations

import os
import shutil
from collections import deque
from collections.abc import Callable, Iterator
from pathlib import Path

from .config import cache_dir
from .errors import DatasetError, RvosError
from .files import names_in
from .hub import SCHEME, download, parse, resolved
from .layouts.files import staged
from .types import RVOSDataset
from .unpacking import SUFFIXES, extract, merge

#: called with (files done, files in all)
Progress = Callable[[int, int], None]

#: repository -> the dataset whose loader reads what it holds. Only those whose layout is stated somewhere.
MIRRORS = {
    "FudanCVL/MeViS": "mevis",
    "FudanCVL/MeViSv2": "mevis",
    "iSEE-Laboratory/Long-RVOS": "long-rvos",  # tar.gz a split (its README)
    "groundmore/GroundMoRe": "groundmore",
    # mp4, masks/<video>/<mask>.json, a table (lmms-eval, tasks/rvos/utils.py)
    "kcz358/RVOS-Ref-DAVIS17": "mp4-rle",
    "kcz358/RVOS-MeViS-ValidU": "mp4-rle",
    "kcz358/RVOS-Ref-YT-VOS": "mp4-rle",
    "kcz358/RVOS-ReasonVOS": "mp4-rle",
}

#: what ``rvos datasets download NAME`` fetches: mirrors of the benchmark's own files, the newest version
SOURCES = {"mevis": "FudanCVL/MeViSv2", "long-rvos": "iSEE-Laboratory/Long-RVOS", "groundmore": "groundmore/GroundMoRe"}


def open_mirror(name: str) -> RVOSDataset:
    """Open ``hf://owner/name[@revision][/split]`` of a known mirror, whose files are fetched to the cache once.

    Raises:
        UsageError: no such name, or no split named where there are several.
        DatasetError: it cannot be fetched or unpacked, or its files are not in the layout that is stated of it.
    """
    from .registry import entry_of

    repo, revision, split = parse(name)
    commit = resolved(repo, revision)
    root = cache_dir() / "mirrors" / repo.replace("/", "--") / commit
    if not root.exists():
        fetch_mirror(f"{SCHEME}{repo}@{commit}", root)
    dataset = MIRRORS[repo]
    return _opened(f"{dataset}/{split}" if split and entry_of(dataset).splits != ("",) else dataset, root, name)


def fetch_mirror(name: str, out: Path, progress: Progress | None = None) -> str:
    """Fetch a repository and lay its files out at ``out``, complete or not there. Gives the commit.

    What is fetched lies in ``<out>-files`` until it is laid out, so that the same call resumes one that stopped.

    Raises:
        UsageError: something is already at ``out``.
        DatasetError: it cannot be fetched, or an archive is damaged or not safe.
    """
    out = out.absolute()
    fetched = out.with_name(f"{out.name}-files")
    fetched.mkdir(parents=True, exist_ok=True)
    commit, files = download(name, fetched, progress)
    with staged(out) as stage:
        for file in files:
            _lay_out(file, stage / file.relative_to(fetched), stage)
    shutil.rmtree(fetched)
    return commit


def find_root(dataset: str, out: Path) -> Path:
    """The folder at or below ``out`` that the dataset's loader opens. Raises DatasetError with its first complaint."""
    from .registry import entry_of, loader_class

    complaint = ""
    for folder in _folders(out):
        for split in entry_of(dataset).splits:
            try:
                loader_class(dataset)(folder, split)  # type: ignore[call-arg]
            except RvosError as error:
                complaint = complaint or str(error)
            else:
                return folder
    raise DatasetError(f"{out}: no folder in it is laid out as {dataset}; {complaint}")


def _opened(dataset: str, out: Path, name: str) -> RVOSDataset:
    from .registry import load, resolve

    own, _ = resolve(dataset)
    try:
        return load(dataset, find_root(own, out))
    except DatasetError as error:
        raise DatasetError(f"{name}: its files are not as expected: {error}") from error


def _lay_out(file: Path, target: Path, stage: Path) -> None:
    """Unpack an archive where it belongs, or link the file there."""
    target.parent.mkdir(parents=True, exist_ok=True)
    if not file.name.endswith(SUFFIXES):
        _link(file, target)
        return
    unpacked = stage / f".unpacked-{file.name}"
    extract(file, unpacked)
    around = unpacked / target.parent.name  # train/frames.tar.gz that holds train/… goes into one train
    inner = around if target.parent != stage and os.listdir(unpacked) == [around.name] else unpacked
    for entry in sorted(inner.iterdir()):
        merge(entry, target.parent / entry.name)
    shutil.rmtree(unpacked, ignore_errors=True)


def _link(file: Path, target: Path) -> None:
    try:
        os.link(file, target)
    except OSError:  # another disk, or a file system without links
        shutil.copyfile(file, target)


def _folders(root: Path, most: int = 200) -> Iterator[Path]:
    """The folder and those below it, breadth first; of folders with hundreds of others only the first."""
    queue = deque([(root, 0)])
    for _ in range(most):
        if not queue:
            return
        folder, depth = queue.popleft()
        yield folder
        if depth < 3:
            queue.extend((folder / name, depth + 1) for name in names_in(folder)[:20])

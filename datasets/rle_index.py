"""Random access to a ``mask_dict.json`` of any size: where in the file each annotation's masks are.

MeViS keeps the masks of a whole split in one JSON object, ``{"<anno_id>": [RLE or null per frame]}``, of up to
hundreds of megabytes. One pass over its bytes finds every annotation; the result is kept in the user's cache, keyed
by path, size and time of change, so that every later opening only reads the index. Masks are read on demand.
"""

from __future__ import annotations

import hashlib
import io
import json
import os
import warnings
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from .bitmask import MAX_PIXELS, BitMask
from .config import cache_dir, replace_file
from .errors import DatasetError
from .files import repeated_in
from .types import BoolMask

_CHUNK = 4 << 20  # bytes held at once
_QUOTE, _BACKSLASH, _COMMA, _OBJECT, _OBJECT_END, _LIST, _LIST_END = b'"\\,{}[]'
_FORMAT = 1  # of the index file

Ints = NDArray[np.int64]


class RleFile:
    """An indexed ``mask_dict.json``; ``open_rle_file`` makes it. Picklable; holds no masks.

    Attributes:
        path: the file.
        repeated_ids: ids that occur more than once; the last one counts, as for every JSON reader.
    """

    def __init__(self, path: Path, stamp: int, ids: list[str], columns: Ints) -> None:
        self.path = path
        self._stamp = stamp
        self._columns = columns  # (n, 5): start and end of the list, its number of frames, height and width or -1
        self._rows = {anno_id: row for row, anno_id in enumerate(ids)}
        self.repeated_ids = repeated_in(ids)

    def __contains__(self, anno_id: object) -> bool:
        return anno_id in self._rows

    def __len__(self) -> int:
        return len(self._rows)

    @property
    def ids(self) -> tuple[str, ...]:
        """The annotations in the order of the file."""
        return tuple(self._rows)

    def n_frames(self, anno_id: str) -> int:
        """Number of frames (RLE or null) that the annotation lists."""
        return int(self._columns[self._rows[anno_id], 2])

    def size(self, anno_id: str) -> tuple[int, int] | None:
        """(height, width) as the annotation's first mask states it, None where all its frames are null."""
        height, width = self._columns[self._rows[anno_id], 3:5]
        return None if height < 0 else (int(height), int(width))

    def source(self, anno_id: str, size: tuple[int, int] | None = None) -> RleFileMasks:
        """The annotation's masks. ``size`` stands in where all its frames are null."""
        start, end = self._columns[self._rows[anno_id], :2]
        return RleFileMasks(self.path, self._stamp, int(start), int(end), self.size(anno_id) or size)

    def track(self, anno_id: str) -> list[dict[str, Any] | None]:
        """All of the annotation's entries at once, as the file has them: RLE or None per frame. Raises DatasetError."""
        start, end = (int(v) for v in self._columns[self._rows[anno_id], :2])
        with _open_unchanged(self.path, self._stamp) as file:
            file.seek(start)
            text = file.read(end - start)
        try:
            entries: list[dict[str, Any] | None] = json.loads(text)
        except ValueError as error:
            raise DatasetError(f"{self.path}, annotation {anno_id}: not JSON ({error}); write it again.") from error
        return entries


@dataclass(frozen=True)
class RleFileMasks:
    """The masks of one annotation, read from the file frame by frame; null is *absent* (eval_mevis.py).

    Attributes:
        path: the ``mask_dict.json``.
        stamp: its time of change when it was indexed, in nanoseconds.
        start, end: the bytes of the annotation's list in the file.
        size: (height, width) of an absent mask; None where the file states none.
    """

    path: Path
    stamp: int
    start: int
    end: int
    size: tuple[int, int] | None

    def mask(self, index: int) -> BoolMask | None:
        return self.bits(index).to_array()

    def bits(self, index: int) -> BitMask:
        spans = _item_spans(self.path, self.stamp, self.start, self.end)
        if not 0 <= index < len(spans):
            raise DatasetError(f"{self._place}: holds {len(spans)} frames, frame number {index} was asked for.")
        rle = self._read_item(*spans[index])
        if rle is not None:
            return BitMask.from_rle(rle, place=f"{self._place}, frame number {index}")
        if self.size is None:
            raise DatasetError(f"{self._place}: every frame is null, so the size of the masks is unknown.")
        return BitMask.zeros(*self.size)

    def void(self, index: int) -> BoolMask | None:
        return None

    @property
    def _place(self) -> str:
        return f"{self.path}, annotation at byte {self.start}"

    def _read_item(self, start: int, end: int) -> Any:
        with _open_unchanged(self.path, self.stamp) as file:
            file.seek(start)
            text = file.read(end - start)
        try:
            rle = json.loads(text)
        except ValueError as error:
            raise DatasetError(f"{self._place}: not a mask ({error}): {text[:60]!r}.") from error
        if rle is not None and not isinstance(rle, dict):
            raise DatasetError(f"{self._place}: expected RLE or null, found {text[:60]!r}.")
        return rle


def open_rle_file(path: Path) -> RleFile:
    """Open a ``mask_dict.json`` by its index, which is written to the cache the first time.

    Raises:
        DatasetError: missing, unreadable, cut short, or not an object of lists.
    """
    path = path.absolute()
    try:
        state = path.stat()
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}).") from error
    key = hashlib.sha256(f"{path}|{state.st_size}|{state.st_mtime_ns}|{_FORMAT}".encode()).hexdigest()[:32]
    index_file = cache_dir() / "rle-index" / f"{key}.npz"
    ids, columns = _load_index(index_file) or _build_and_keep(path, index_file)
    return RleFile(path, state.st_mtime_ns, ids, columns)


# The index ----------------------------------------------------------------------------------------------------------


def _build_and_keep(path: Path, index_file: Path) -> tuple[list[str], Ints]:
    with _open(path) as file:
        ids, columns = build_index(file, path)
    buffer = io.BytesIO()
    np.savez(buffer, ids=np.frombuffer(json.dumps(ids).encode(), np.uint8), columns=columns)
    try:
        replace_file(index_file, buffer.getvalue())
    except OSError as error:
        warnings.warn(
            f"{index_file}: cannot keep the index of {path} ({error.strerror}); it is built again at every opening. "
            "Set RVOS_CACHE to a folder that can be written.",
            stacklevel=3,
        )
    return ids, columns


def _load_index(index_file: Path) -> tuple[list[str], Ints] | None:
    """The kept index, or None where there is none or it is damaged (then it is built again)."""
    if not index_file.exists():
        return None
    try:
        with np.load(index_file, allow_pickle=False) as arrays:
            ids, columns = json.loads(arrays["ids"].tobytes()), arrays["columns"]
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        warnings.warn(f"{index_file}: damaged index is built again ({error}).", stacklevel=3)
        return None
    return ids, columns


def build_index(file: io.BufferedIOBase, path: Path) -> tuple[list[str], Ints]:
    """One pass over the file: ids, and per id (start, end, number of frames, height, width), int64 (n, 5)."""
    builder = _IndexBuilder(path)
    for block in _structure(file, 0, None):
        builder.add(block)
    return builder.finish(file)


class _IndexBuilder:
    """Collects the spans of keys, lists and first masks of a JSON object of lists, block by block."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.depth = 0
        self.n_top = 0
        self.last_quotes: list[int] = []
        self.keys: list[Ints] = []  # (n, 2) start and end of the key's quotes, per opened list
        self.lists: dict[str, list[Ints]] = {"open": [], "close": [], "item": [], "mask": []}

    def add(self, block: _Block) -> None:
        self._check_shape(block)
        opened = block.at(2, _LIST)
        quotes = np.concatenate([np.array(self.last_quotes, np.int64), block.quotes])
        before = np.searchsorted(quotes, opened)
        if len(opened) and before.min() < 2:
            raise DatasetError(f"{self.path}: a list without an annotation id; is this a mask_dict.json?")
        self.keys.append(np.stack([quotes[before - 2], quotes[before - 1]], axis=1))
        self.lists["open"].append(opened)
        self.lists["close"].append(block.at(1, _LIST_END))
        self.lists["item"].append(block.at(2, _COMMA))
        self.lists["mask"].append(block.at(3, _OBJECT))
        self.last_quotes = [int(q) for q in quotes[-2:]]
        self.depth = int(block.depth_after[-1]) if len(block.depth_after) else self.depth

    def finish(self, file: io.BufferedIOBase) -> tuple[list[str], Ints]:
        spots = {name: np.concatenate(parts) if parts else np.zeros(0, np.int64) for name, parts in self.lists.items()}
        if self.depth != 0 or len(spots["open"]) != len(spots["close"]):
            raise DatasetError(f"{self.path}: cut short, its brackets do not close; download the file again.")
        if not len(spots["open"]):
            raise DatasetError(f"{self.path}: holds no annotations; expected lists of RLE by annotation id.")
        start, end = spots["open"], spots["close"] + 1
        keys = np.concatenate(self.keys)
        ids = [self._id(_read_at(file, a, b + 1)) for a, b in keys.tolist()]
        commas = np.searchsorted(spots["item"], end) - np.searchsorted(spots["item"], start)
        first = np.searchsorted(spots["mask"], start)
        has_mask = first < np.searchsorted(spots["mask"], end)
        columns = np.full((len(ids), 5), -1, np.int64)
        columns[:, 0], columns[:, 1], columns[:, 2] = start, end, commas + 1
        for row in np.flatnonzero(commas == 0).tolist():
            columns[row, 2] = bool(_read_at(file, start[row] + 1, end[row] - 1).strip())
        for row in np.flatnonzero(has_mask).tolist():
            columns[row, 3:5] = _stated_size(_read_at(file, spots["mask"][first[row]], end[row], 160))
        return ids, columns

    def _check_shape(self, block: _Block) -> None:
        """One object, which holds only lists (and plain values, which are left out)."""
        self.n_top += len(block.at(1, _OBJECT))
        misplaced = len(block.at(1, _LIST)) or len(block.at(2, _OBJECT)) or (block.depth_after < 0).any()
        if misplaced or self.n_top > 1:
            raise DatasetError(
                f"{self.path}: expected one JSON object of lists of RLE by annotation id, found another."
            )

    def _id(self, quoted: bytes) -> str:
        try:
            return str(json.loads(quoted))
        except ValueError as error:
            raise DatasetError(f"{self.path}: {quoted[:40]!r} is no annotation id ({error}).") from error


def _stated_size(head: bytes) -> tuple[int, int]:
    """(height, width) from the beginning of an RLE object, (-1, -1) where it states none, or an impossible one."""
    _, found, rest = head.partition(b'"size"')
    numbers = [n.strip() for n in rest.partition(b"[")[2].partition(b"]")[0].split(b",")] if found else []
    if len(numbers) != 2 or not all(n.isdigit() and len(n) < 10 for n in numbers):
        return -1, -1
    height, width = int(numbers[0]), int(numbers[1])
    return (height, width) if 0 < height * width <= MAX_PIXELS else (-1, -1)


@lru_cache(maxsize=128)
def _item_spans(path: Path, stamp: int, start: int, end: int) -> tuple[tuple[int, int], ...]:
    """(start, end) in the file of every item of the list at bytes start to end."""
    commas: list[int] = []
    with _open_unchanged(path, stamp) as file:
        for block in _structure(file, start, end):
            commas.extend(block.at(1, _COMMA).tolist())
        if not commas and not _read_at(file, start + 1, end - 1).strip():
            return ()
    return tuple(zip([start + 1, *(c + 1 for c in commas)], [*commas, end - 1], strict=True))


# Reading JSON's structure without parsing it ------------------------------------------------------------------------


@dataclass(frozen=True)
class _Block:
    """The structural characters of a stretch of JSON, those inside strings left out.

    Attributes:
        positions: of brackets and commas in the file, ascending.
        chars: the characters there.
        depth_after: number of brackets open after each of them.
        quotes: positions of the quotes that begin and end strings.
    """

    positions: Ints
    chars: NDArray[np.uint8]
    depth_after: Ints
    quotes: Ints

    def at(self, depth: int, *chars: int) -> Ints:
        """Positions of ``chars`` after which ``depth`` brackets are open."""
        wanted = self.depth_after == depth
        wanted &= np.isin(self.chars, chars)
        return self.positions[wanted]


_STEP = np.zeros(256, np.int8)  # change of depth
_STEP[[_OBJECT, _LIST]], _STEP[[_OBJECT_END, _LIST_END]] = 1, -1
_STRUCTURAL = _STEP != 0
_STRUCTURAL[_COMMA] = True


def _structure(file: io.BufferedIOBase, start: int, end: int | None) -> Iterator[_Block]:
    """Blocks of structural characters from ``start`` to ``end``, a few megabytes in memory at a time.

    RLE strings hold brackets and backslashes, so brackets count only outside of strings.
    """
    file.seek(start)
    offset, in_string, escaped, depth = start, False, False, 0
    while chunk := file.read(_CHUNK if end is None else min(_CHUNK, end - offset)):
        data = np.frombuffer(chunk, np.uint8)
        quotes, escaped = _string_quotes(data, escaped)
        spots = np.flatnonzero(_STRUCTURAL[data])
        quoted = (np.searchsorted(quotes, spots) + in_string) % 2 == 1
        spots = spots[~quoted]
        depth_after = depth + np.cumsum(_STEP[data[spots]], dtype=np.int64)
        yield _Block(spots + offset, data[spots], depth_after, quotes + offset)
        depth = int(depth_after[-1]) if len(depth_after) else depth
        in_string = bool((len(quotes) + in_string) % 2)
        offset += len(chunk)


def _string_quotes(data: NDArray[np.uint8], escaped: bool) -> tuple[Ints, bool]:
    """Positions of the quotes that are not escaped, and whether the byte after ``data`` is.

    ``escaped`` tells whether the first byte of ``data`` is. A quote is escaped by an odd number of backslashes.
    """
    quotes = np.flatnonzero(data == _QUOTE)
    doubtful = quotes[data[np.maximum(quotes - 1, 0)] == _BACKSLASH]
    wrong = [q for q in doubtful.tolist() if q > 0 and _is_escaped(data, q, escaped)]
    if escaped and len(quotes) and quotes[0] == 0:
        wrong.append(0)
    return np.setdiff1d(quotes, wrong, assume_unique=True) if wrong else quotes, _is_escaped(data, len(data), escaped)


def _is_escaped(data: NDArray[np.uint8], position: int, first_escaped: bool) -> bool:
    run = 0
    while run < position and data[position - 1 - run] == _BACKSLASH:
        run += 1
    reaches_further_back = run == position and first_escaped
    return (run + reaches_further_back) % 2 == 1


def _read_at(file: io.BufferedIOBase, start: int, end: int, most: int | None = None) -> bytes:
    file.seek(int(start))
    length = int(end) - int(start)
    return file.read(length if most is None else min(length, most))


def _open(path: Path) -> io.BufferedReader:
    try:
        return path.open("rb")
    except OSError as error:
        raise DatasetError(f"{path}: cannot be read ({error.strerror}); check its permissions.") from error


def _open_unchanged(path: Path, stamp: int) -> io.BufferedReader:
    file = _open(path)
    if os.fstat(file.fileno()).st_mtime_ns != stamp:
        file.close()
        raise DatasetError(f"{path}: changed since it was opened; open the dataset again.")
    return file

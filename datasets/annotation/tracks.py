"""Tracks in short: which frames of an object are annotated, by whom, and how, as runs; and masks by frame windows.

200 objects over 2,000 frames are 400,000 masks. A page reads their runs (some kilobytes) and the masks of the frames it
shows; no answer holds a whole clip.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from . import database as db
from .store import VOID, Store

#: [first, last, origin, absent, reviewed, by, model]
Span = list[Any]
Row = dict[str, Any]

FRAMES_PER_WINDOW = 64
BYTES_PER_WINDOW = 4 << 20
_KEPT_CLIPS = 8
_TRACKS = 'SELECT object, frame, origin, absent, reviewed, "by", model FROM mask WHERE clip = ?'


class Tracks:
    """The runs of all objects of the clips that were asked for last; only what changed is read again."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self._lock = threading.Lock()
        self._kept: OrderedDict[int, tuple[int, dict[str, list[Span]]]] = OrderedDict()

    def spans(self, key: int) -> dict[str, list[Span]]:
        """Runs of every object of a clip that has a mask."""
        with self._lock, self.store.reading() as connection:
            newest, spans = self._kept.pop(key, (0, {}))
            changed, seq = _changed_since(connection, key, newest)
            if changed is None:
                spans = dict(_spans(connection, key, None))
            elif changed:
                kept = {name: runs for name, runs in spans.items() if name not in changed}
                spans = {**kept, **_spans(connection, key, changed)}
            self._kept[key] = (seq, spans)
            if len(self._kept) > _KEPT_CLIPS:
                self._kept.popitem(last=False)
            return spans


def _changed_since(connection: Connection, key: int, seq: int) -> tuple[set[str] | None, int]:
    """Objects whose masks changed after a record (None: all may have), and the newest record of the clip."""
    rows = db.journal.c
    newest = connection.execute(sa.select(sa.func.max(rows.seq)).where(rows.clip == key)).scalar() or 0
    if seq == 0:
        return None, newest
    found = connection.execute(sa.select(rows.touched).where(rows.clip == key, rows.seq > seq))
    return {name for (touched,) in found for name in touched["masks"]}, newest


def _spans(connection: Connection, key: int, objects: Iterable[str] | None) -> dict[str, list[Span]]:
    """Runs of all or some objects, read from an index that holds no masks."""
    if objects is not None:
        return {name: runs for one in objects for name, runs in _runs(connection, "AND object = ?", (key, one)).items()}
    return _runs(connection, "", (key,))


def _runs(connection: Connection, only: str, values: tuple[Any, ...]) -> dict[str, list[Span]]:
    # Plain tuples of the driver: with 400,000 rows, rows of SQLAlchemy take most of the time.
    cursor: Any = connection.connection.cursor()  # sqlite3's, which can be iterated over
    cursor.execute(f"{_TRACKS} {only} ORDER BY object, frame", values)
    spans: dict[str, list[Span]] = {}
    before: tuple[Any, ...] = ()
    for row in cursor:
        name, frame, *_ = row
        if before and before[0] == name and before[1] == frame - 1 and before[2:] == row[2:]:
            spans[name][-1][1] = frame
        else:
            origin, absent, reviewed, by, model = row[2:]
            spans.setdefault(name, []).append([frame, frame, origin, bool(absent), bool(reviewed), by, model])
        before = row
    cursor.close()
    return spans


def window(store: Store, key: int, first: int, last: int, objects: Sequence[str] | None) -> Row:
    """Masks of a range of frames, as many whole frames as fit into one answer: {first, last, next, frames}."""
    n_frames = store.clip(key)["n_frames"]
    last = min(last, n_frames - 1, first + FRAMES_PER_WINDOW - 1)
    frames: dict[str, dict[str, Row]] = {}
    n_bytes, frame = 0, first
    for row in store.masks(key, first, last, objects):
        if row["object"] == VOID:
            continue
        if row["frame"] != frame and n_bytes > BYTES_PER_WINDOW:
            last = row["frame"] - 1
            break
        frame = row["frame"]
        frames.setdefault(str(frame), {})[row["object"]] = shown_mask(row)
        n_bytes += len(row["counts"]) + 120
    return {"first": first, "last": last, "next": last + 1 if last + 1 < n_frames else None, "frames": frames}


def shown_mask(row: Row) -> Row:
    """A mask as a page gets it."""
    return {name: row[name] for name in ("counts", "origin", "by", "model", "reviewed", "revision")}

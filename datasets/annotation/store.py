"""A project on disk: opened, read, and changed one transaction at a time.

PROJECT/
  project.sqlite        everything people made, and the journal of how
  frames/<key>/         one image a frame, named by its number: no name of a user's is ever a path
  cache/                thumbnails; may be removed at any time
  exports/              what was exported
  refused.log           requests that were refused
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from types import TracebackType
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from ..errors import DatasetError, UsageError
from . import database as db
from . import journal, native
from .journal import Author, Change, Kind, Record
from .records import now
from .refusals import Conflict, Unknown

Row = dict[str, Any]

#: stands for an object in the masks of pixels that no score may count
VOID = native.VOID
#: the person who starts the server; comes with the project
OWNER = "owner"


class Store:
    """An open project; several threads and processes may use it at once."""

    def __init__(self, folder: Path) -> None:
        """Open an existing project; see ``open``."""
        self.folder = folder.resolve()
        _refuse_links(self.folder)
        self._engine = db.connect(self.folder / db.FILE)
        self._writer = threading.Lock()
        db.migrate(self._engine, self.folder / db.FILE)
        self.frames_of = lru_cache(maxsize=32)(self._frames_of)

    @classmethod
    def create(cls, folder: Path | str, name: str = "", licence: str = "") -> Store:
        """Make a new project. Raises UsageError where one, or something else, is there."""
        folder = Path(folder)
        if (folder / db.FILE).exists():
            raise UsageError(f"{folder} is a project already; open it with: rvos annotate serve {folder}")
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UsageError(f"{folder} exists and is not empty; give a new folder for the project.")
        folder.mkdir(parents=True, exist_ok=True)
        folder.chmod(0o700)
        store = cls(folder)
        with db.writing(store._engine) as connection:
            connection.execute(sa.insert(db.secret).values(name="choices", value=secrets.token_bytes(32)))
        with store.change(None, Author(OWNER), "new project", kind="record") as change:
            names = {"name": name or folder.resolve().name, "annotations_licence": licence}
            empty = dict.fromkeys(("version", "split", "title", "description"), "")
            change.put("project", {"id": secrets.token_hex(8), "created_at": now(), **empty, **names})
            owner = {"id": OWNER, "name": OWNER, "role": "owner", "created_at": now(), "revoked": False}
            change.put("person", owner)
        return store

    @classmethod
    def open(cls, folder: Path | str) -> Store:
        """Open a project. Raises DatasetError where there is none, or it is of a newer version."""
        path = Path(folder) / db.FILE
        if not path.is_file():
            raise DatasetError(f"{folder}: no annotation project (no {db.FILE}); make one with: rvos annotate init")
        return cls(Path(folder))

    def __enter__(self) -> Store:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the database's files."""
        self._engine.dispose()

    # Writing ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def change(
        self,
        clip: int | None,
        author: Author,
        label: str,
        *,
        kind: Kind = "edit",
        batch: str | None = None,
        steps: list[int] | None = None,
    ) -> Iterator[Change]:
        """One transaction with one journal record; nothing is written where the block raises or changes nothing.

        Args:
            clip: key of the clip, None for what belongs to the project.
            author: who makes the change.
            label: what it is, in a word or two.
            kind: ``record`` for what nobody can undo.
            batch: records of one batch that follow each other are undone together.
            steps: of an undo or redo, filled in the block: the records it takes back or repeats.
        """
        record = Record(author, kind, label, batch, [] if steps is None else steps)
        with self._writer, db.writing(self._engine) as connection:
            change = Change(connection, journal.latest(connection) + 1, clip, record)
            yield change
            if change.entries or kind in ("undo", "redo"):
                journal.append(change, record)
            else:
                change.seq -= 1

    @contextmanager
    def keeping(self) -> Iterator[Connection]:
        """A transaction for what is not journaled: credentials, counters."""
        with self._writer, db.writing(self._engine) as connection:
            yield connection

    # Reading ---------------------------------------------------------------------------------------------------------

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """A transaction that sees one state of the project."""
        with db.reading(self._engine) as connection:
            yield connection

    def latest(self) -> int:
        """Number of the newest journal record."""
        with self.reading() as connection:
            return journal.latest(connection)

    def secret(self, name: str) -> bytes:
        """A random value of this project that never leaves the server."""
        with self.reading() as connection:
            return bytes(connection.execute(sa.select(db.secret.c.value).where(db.secret.c.name == name)).scalar_one())

    def integrity_problems(self) -> list[str]:
        """What SQLite's own check finds; empty where the file is sound."""
        return db.integrity_problems(self._engine)

    def project(self) -> Row:
        """id, name, version, split, title, description, annotations_licence, created_at, revision."""
        return self._rows(sa.select(db.project))[0]

    def people(self) -> list[Row]:
        """All people, the owner first: id, name, role, created_at, revoked."""
        rows = self._rows(sa.select(db.person).order_by(db.person.c.created_at, db.person.c.id))
        return sorted(rows, key=lambda row: row["id"] != OWNER)

    def person(self, person_id: str) -> Row:
        """One person. Raises Unknown."""
        return self._one(sa.select(db.person).where(db.person.c.id == person_id), "person", person_id)

    def clips(self) -> list[Row]:
        """All clips in the order in which they came."""
        return self._rows(sa.select(db.clip).order_by(db.clip.c.key))

    def clip(self, key: int) -> Row:
        """One clip by its key. Raises Unknown."""
        return self._one(sa.select(db.clip).where(db.clip.c.key == key), "clip", key)

    def clip_of(self, clip_id: str) -> Row:
        """One clip by its id. Raises Unknown."""
        return self._one(sa.select(db.clip).where(db.clip.c.id == clip_id), "clip", clip_id)

    def _frames_of(self, key: int) -> tuple[Row, ...]:
        """The frames of a clip, which never change: name, suffix, sha256, role, position. Raises Unknown."""
        return tuple(self._one(sa.select(db.frames).where(db.frames.c.clip == key), "clip", key)["list"])

    def objects(self, key: int) -> list[Row]:
        """The objects of a clip, in the order of their numbers."""
        return sorted(
            self._rows(sa.select(db.object_).where(db.object_.c.clip == key)), key=lambda row: natural(row["id"])
        )

    def expressions(self, key: int) -> list[Row]:
        """The expressions of a clip, in the order of their numbers."""
        rows = self._rows(sa.select(db.expression).where(db.expression.c.clip == key))
        return sorted(rows, key=lambda row: natural(row["id"]))

    def verdicts(self, key: int | None = None) -> list[Row]:
        """Verdicts of a clip or of all, oldest first."""
        return self._made("verdict", key)

    def choices(self, key: int | None = None) -> list[Row]:
        """Choices of blind people in a clip or in all, oldest first."""
        return self._made("choice", key)

    def comments(self, key: int | None = None) -> list[Row]:
        """Comments of a clip or of all, oldest first."""
        return self._made("comment", key)

    def assignments(self) -> list[Row]:
        """Which person works on which clip: person, clip (key), state."""
        return self._rows(sa.select(db.assignment).order_by(db.assignment.c.person, db.assignment.c.clip))

    def masks(
        self, key: int, first: int = 0, last: int | None = None, objects: Sequence[str] | None = None
    ) -> Iterator[Row]:
        """Masks of a clip by frame, then object, one at a time; of frames ``first`` to ``last``, both included."""
        query = sa.select(db.mask).where(db.mask.c.clip == key, db.mask.c.frame >= first)
        if last is not None:
            query = query.where(db.mask.c.frame <= last)
        if objects is not None:
            query = query.where(db.mask.c.object.in_(list(objects)))
        with self.reading() as connection:
            result = connection.execution_options(yield_per=500).execute(
                query.order_by(db.mask.c.frame, db.mask.c.object)
            )
            for row in result.mappings():
                yield dict(row)

    def track(self, key: int, object_id: str) -> Iterator[Row]:
        """The masks of one object by frame, one at a time."""
        query = sa.select(db.mask).where(db.mask.c.clip == key, db.mask.c.object == object_id)
        with self.reading() as connection:
            result = connection.execution_options(yield_per=500).execute(query.order_by(db.mask.c.frame))
            for row in result.mappings():
                yield dict(row)

    def mask(self, key: int, object_id: str, frame: int) -> Row | None:
        """One mask, None where the frame is not annotated."""
        return next(self.masks(key, frame, frame, [object_id]), None)

    def frame_file(self, key: int, number: int) -> Path:
        """Where a frame's image is. Raises Unknown for a frame or a clip that is not there."""
        frames = self.frames_of(key)
        if not 0 <= number < len(frames):
            raise Unknown(f"Frame {number}: the clip has frames 0 to {len(frames) - 1}.")
        return self.folder / "frames" / str(key) / f"{number:06d}{frames[number]['suffix']}"

    def _made(self, table: str, key: int | None) -> list[Row]:
        columns = db.JOURNALED[table].c
        query = sa.select(db.JOURNALED[table])
        if key is not None:
            query = query.where(columns.clip == key)
        return sorted(self._rows(query), key=lambda row: (row["at"], row["clip"], natural(row["id"])))

    def _rows(self, query: sa.Select[Any]) -> list[Row]:
        with self.reading() as connection:
            return [dict(row) for row in connection.execute(query).mappings()]

    def _one(self, query: sa.Select[Any], what: str, name: object) -> Row:
        rows = self._rows(query)
        if not rows:
            raise Unknown(f"There is no {what} '{str(name)[:80]}'.")
        return rows[0]


#: what a project consists of; a link in place of one would lead what is written there out of the project
PARTS = (db.FILE, f"{db.FILE}-wal", f"{db.FILE}-shm", "frames", "cache", "exports", "refused.log", "refused.old.log")


def _refuse_links(folder: Path) -> None:
    """Raises DatasetError where a part of a project is a link."""
    for name in PARTS:
        if (folder / name).is_symlink():
            raise DatasetError(f"{folder / name}: is a link; a project keeps everything in its own folder. Remove it.")


def new_id(change: Change, clip: int, kind: str) -> str:
    """The next free number as an id of a ``kind`` (a journaled table) in a clip; no number is ever given twice."""
    where = (db.counter.c.clip == clip, db.counter.c.kind == kind)
    number = change.connection.execute(sa.select(db.counter.c.next).where(*where)).scalar() or 1
    while change.row(kind, clip, str(number)) is not None:
        number += 1
    change.connection.execute(sa.delete(db.counter).where(*where))
    change.connection.execute(sa.insert(db.counter).values(clip=clip, kind=kind, next=number + 1))
    return str(number)


def expect(change: Change, table: str, key: tuple[Any, ...], base: int, op: int | None = None) -> Row:
    """The row that a page wants to change, if it is still the one that the page read. Raises Conflict, Unknown."""
    row = change.row(table, *key)
    if row is None and base == 0:
        raise Unknown(f"There is no {table} '{str(key[-1])[:80]}'.")
    if row is None or row["revision"] not in (base, change.seq):
        raise Conflict([journal.conflict(change.connection, table, key, row, base, op)])
    return row


def natural(text: str) -> tuple[int, int, str]:
    """Sorts ids that are numbers by value, before all others."""
    return (0, int(text), text) if text.isdecimal() and len(text) < 18 else (1, 0, text)

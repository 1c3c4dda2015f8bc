"""Every change is one transaction that writes its rows and its journal record: what is answered is journaled.

A record holds each row it wrote before and after. So the journal alone rebuilds the project (``replay``), shows who did
what, and undoes and repeats a person's steps across frames and objects, in this session or the next.
"""

from __future__ import annotations

import json
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import sqlalchemy as sa
from sqlalchemy.engine import Connection

from .database import JOURNALED, dumps, journal
from .records import now
from .refusals import Conflict, NothingToRedo, NothingToUndo

Kind = Literal["edit", "undo", "redo", "record"]
Row = dict[str, Any]
Key = tuple[Any, ...]
#: (table, primary key)
Place = tuple[str, Key]

#: a record that touches more masks than this names their objects only
MOST_FRAMES_NAMED = 4000


@dataclass
class Author:
    """Who makes a change: a person, in a tab of their browser."""

    person: str
    tab: str = ""


@dataclass
class Step:
    """What a person undoes at once: one record, or all of a batch."""

    seqs: list[int]
    label: str
    batch: str | None = None


@dataclass(frozen=True)
class Record:
    """What a journal record says beside the rows.

    Attributes:
        author: who makes the change.
        kind: ``record`` for what nobody can undo.
        label: what it is, in a word or two.
        batch: records of one batch that follow each other are undone together.
        steps: of an undo or redo: the records it takes back or repeats.
    """

    author: Author
    kind: Kind
    label: str
    batch: str | None = None
    steps: list[int] = field(default_factory=list)


class Change:
    """The rows of one transaction; made by ``Store.change``.

    ``revision`` of a row is the number of the transaction that wrote it last.
    """

    def __init__(self, connection: Connection, seq: int, clip: int | None, record: Record) -> None:
        self.connection = connection
        self.seq = seq
        self.clip = clip
        self._record = record
        self._written: dict[Place, list[Row | None]] = {}

    def row(self, table: str, *key: Any) -> Row | None:
        """The row as it is now, with its revision; None where there is none."""
        found = self.connection.execute(sa.select(JOURNALED[table]).where(_is(table, key))).mappings().first()
        return None if found is None else dict(found)

    def rows(self, table: str, **equal: Any) -> list[Row]:
        """The rows whose columns have these values, in the order of their keys."""
        columns = JOURNALED[table].c
        query = sa.select(JOURNALED[table]).where(*(columns[n] == v for n, v in equal.items()))
        found = self.connection.execute(query.order_by(*JOURNALED[table].primary_key.columns))
        return [dict(row) for row in found.mappings()]

    def put(self, table: str, row: Mapping[str, Any]) -> Row:
        """Write a whole row, new or not. Gives it with its revision."""
        content = _complete(table, row)
        key = _key_of(table, content)
        before = self.row(table, *key)
        if before is not None and _content(before) == content:
            return before
        written = {**content, "revision": self.seq}
        if before is None:
            self.connection.execute(sa.insert(JOURNALED[table]).values(written))
        else:
            self.connection.execute(sa.update(JOURNALED[table]).where(_is(table, key)).values(written))
        self._note((table, key), before, content)
        return written

    def insert_all(self, table: str, rows: Sequence[Mapping[str, Any]]) -> None:
        """Write many rows that are all new. Raises IntegrityError where one is not."""
        if not rows:
            return
        contents = [_complete(table, row) for row in rows]
        self.connection.execute(sa.insert(JOURNALED[table]), [{**row, "revision": self.seq} for row in contents])
        for row in contents:
            self._note((table, _key_of(table, row)), None, row)

    def delete(self, table: str, *key: Any) -> None:
        """Remove a row, if it is there."""
        before = self.row(table, *key)
        if before is not None:
            self.connection.execute(sa.delete(JOURNALED[table]).where(_is(table, key)))
            self._note((table, key), before, None)

    def end_record(self) -> None:
        """Journal what was written so far and go on with the next number, in the same transaction.

        For what is too much for one record, as the masks of an import.
        """
        if self.entries:
            append(self, self._record)
            self.seq += 1
            self._written = {}

    def _note(self, place: Place, before: Row | None, after: Row | None) -> None:
        entry = self._written.setdefault(place, [None if before is None else _content(before), None])
        entry[1] = after

    @property
    def entries(self) -> list[tuple[str, Key, Row | None, Row | None]]:
        """(table, key, before, after) of every row that is not what it was."""
        return [(*place, before, after) for place, (before, after) in self._written.items() if before != after]

    def touched(self) -> dict[str, Any]:
        """What a page must look at again: ids of objects and expressions, frames of masks by object."""
        return _touched(self.entries)


def _touched(entries: Sequence[tuple[str, Key, Row | None, Row | None]]) -> dict[str, Any]:
    names: dict[str, set[str]] = {"object": set(), "expression": set()}
    frames: dict[str, list[int]] = {}
    tables = set()
    for table, key, _, _ in entries:
        tables.add(table)
        if table in names:
            names[table].add(key[1])
        elif table == "mask":
            frames.setdefault(key[2], []).append(key[1])
    many = sum(map(len, frames.values())) > MOST_FRAMES_NAMED
    return {
        "objects": sorted(names["object"]),
        "expressions": sorted(names["expression"]),
        "masks": {o: None if many else sorted(f) for o, f in frames.items()},
        "clip": bool(tables & {"clip", "frames"}),
        "other": bool(tables - {"clip", "frames", "object", "expression", "mask"}),
    }


# Records -------------------------------------------------------------------------------------------------------------


def append(change: Change, record: Record) -> None:
    """Add the record of a change, in its own transaction."""
    change.connection.execute(
        sa.insert(journal).values(
            seq=change.seq,
            at=now(),
            person=record.author.person,
            tab=record.author.tab,
            clip=change.clip,
            kind=record.kind,
            label=record.label,
            batch=record.batch,
            steps=record.steps,
            touched=change.touched(),
            content=zlib.compress(dumps(change.entries).encode("utf-8"), 1),
        )
    )


def entries_of(content: bytes) -> Iterator[tuple[str, Key, Row | None, Row | None]]:
    """The rows of a record: (table, key, before, after)."""
    for table, key, before, after in json.loads(zlib.decompress(content)):
        yield table, tuple(key), before, after


def latest(connection: Connection) -> int:
    """The number of the newest record, 0 where there is none."""
    return int(connection.execute(sa.select(sa.func.max(journal.c.seq))).scalar() or 0)


def replay(source: Connection, target: Connection) -> int:
    """Write what the journal of ``source`` says into the empty tables of ``target``. Gives the number of records."""
    n = 0
    for seq, content in source.execute(sa.select(journal.c.seq, journal.c.content).order_by(journal.c.seq)):
        for table, key, _, after in entries_of(content):
            target.execute(sa.delete(JOURNALED[table]).where(_is(table, key)))
            if after is not None:
                target.execute(sa.insert(JOURNALED[table]).values({**after, "revision": seq}))
        n += 1
    return n


# Undo and redo -------------------------------------------------------------------------------------------------------


@dataclass
class Steps:
    """A person's steps in a clip; undo takes back the last of ``done``, redo repeats the last of ``undone``."""

    done: list[Step] = field(default_factory=list)
    undone: list[Step] = field(default_factory=list)


def steps_of(connection: Connection, person: str, clip: int) -> Steps:
    """Read a person's undo and redo lists from the journal."""
    columns = (journal.c.seq, journal.c.kind, journal.c.label, journal.c.batch)
    query = sa.select(*columns).where(journal.c.person == person, journal.c.clip == clip, journal.c.kind != "record")
    steps = Steps()
    for seq, kind, label, batch in connection.execute(query.order_by(journal.c.seq)):
        if kind == "undo":
            steps.undone.append(steps.done.pop())
        elif kind == "redo":
            steps.done.append(steps.undone.pop())
        elif batch is not None and steps.done and steps.done[-1].batch == batch and not steps.undone:
            steps.done[-1].seqs.append(seq)
        else:
            steps.done.append(Step([seq], label, batch))
            steps.undone.clear()
    return steps


def undo(change: Change, person: str) -> Step:
    """Take back the person's last step in the change's clip. Raises NothingToUndo, Conflict."""
    assert change.clip is not None
    steps = steps_of(change.connection, person, change.clip)
    if not steps.done:
        raise NothingToUndo("There is nothing of yours to undo in this clip.")
    _write_back(change, steps.done[-1], back=True)
    return steps.done[-1]


def redo(change: Change, person: str) -> Step:
    """Repeat the step that the person undid last. Raises NothingToRedo, Conflict."""
    assert change.clip is not None
    steps = steps_of(change.connection, person, change.clip)
    if not steps.undone:
        raise NothingToRedo("There is nothing to redo in this clip.")
    _write_back(change, steps.undone[-1], back=False)
    return steps.undone[-1]


def _write_back(change: Change, step: Step, back: bool) -> None:
    """Give every row of a step the content from before it (or after it), if nobody has written it since."""
    conflicts = []
    for (table, key), (before, after) in _joined(change.connection, step.seqs).items():
        expected, wanted = (after, before) if back else (before, after)
        current = change.row(table, *key)
        if (None if current is None else _content(current)) != expected:
            conflicts.append(conflict(change.connection, table, key, current))
        elif wanted is None:
            change.delete(table, *key)
        else:
            change.put(table, wanted)
    if conflicts:
        raise Conflict(conflicts)


def _joined(connection: Connection, seqs: Iterable[int]) -> dict[Place, tuple[Row | None, Row | None]]:
    """Rows of several records: as they were before the first and after the last that wrote them."""
    joined: dict[Place, tuple[Row | None, Row | None]] = {}
    for seq in sorted(seqs):
        content = connection.execute(sa.select(journal.c.content).where(journal.c.seq == seq)).scalar_one()
        for table, key, before, after in entries_of(content):
            joined[table, key] = (joined[table, key][0] if (table, key) in joined else before, after)
    return joined


def conflict(
    connection: Connection,
    table: str,
    key: Key,
    current: Row | None,
    base: int | None = None,
    op: int | None = None,
) -> dict[str, Any]:
    """What a page is told about a row that is not what it thinks: its content now, and who wrote it when."""
    found: dict[str, Any] = {"kind": table, "id": str(key[-1]), "current": _shown(current)}
    if table == "mask":
        found["frame"] = key[1]
    if base is not None:
        found |= {"op": op, "base": base}
    if current is not None:
        writer = sa.select(journal.c.person, journal.c.at).where(journal.c.seq == current["revision"])
        person, at = connection.execute(writer).one()
        row = connection.execute(sa.select(JOURNALED["person"].c.name).where(JOURNALED["person"].c.id == person))
        found |= {"by": row.scalar() or person, "at": at}
    return found


def _shown(row: Row | None) -> Row | None:
    return None if row is None else {name: value for name, value in row.items() if name not in ("clip", "absent")}


# Rows ----------------------------------------------------------------------------------------------------------------


def _complete(table: str, row: Mapping[str, Any]) -> Row:
    """A row as it is journaled: without its revision, and with what follows from it."""
    content = _content(row)
    return {**content, "absent": row["counts"] == ""} if table == "mask" else content


def _key_of(table: str, row: Mapping[str, Any]) -> Key:
    return tuple(row[c.name] for c in JOURNALED[table].primary_key.columns)


def _is(table: str, key: Sequence[Any]) -> sa.ColumnElement[bool]:
    columns = JOURNALED[table].primary_key.columns
    return sa.and_(*(column == value for column, value in zip(columns, key, strict=True)))


def _content(row: Mapping[str, Any]) -> Row:
    return {name: value for name, value in row.items() if name != "revision"}

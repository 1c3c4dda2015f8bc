"""The project's database: SQLite in WAL mode, its tables, and the numbered migrations that make them.

Two kinds of tables: those of ``JOURNALED`` hold what people made, and only ``journal.Change`` writes them; the others
hold what is derived or secret (journal, credentials, counters) and belong to no replay.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.engine import Connection, Engine
from sqlalchemy.schema import SchemaItem

from ..errors import DatasetError

FILE = "project.sqlite"

metadata = sa.MetaData()


def _table(name: str, *items: SchemaItem, **options: Any) -> sa.Table:
    return sa.Table(name, metadata, *items, **options)


def _key(name: str, kind: Any = sa.Text) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, nullable=False, autoincrement=False)


def _column(name: str, kind: Any = sa.Text, nullable: bool = False) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=nullable)


project = _table(
    "project",
    _key("id"),
    *(_column(n) for n in ("name", "version", "split", "title", "description", "annotations_licence", "created_at")),
    _column("revision", sa.Integer),
)
person = _table(
    "person",
    _key("id"),
    *(_column(n) for n in ("name", "role", "created_at")),
    _column("revoked", sa.Boolean),
    _column("revision", sa.Integer),
)
clip = _table(
    "clip",
    _key("key", sa.Integer),
    sa.Column("id", sa.Text, nullable=False, unique=True),
    _column("title"),
    _column("n_frames", sa.Integer),
    *(_column(n, sa.Integer, nullable=True) for n in ("height", "width", "frame_height", "frame_width")),
    _column("fps", sa.Float, nullable=True),
    _column("source", sa.JSON),
    _column("state"),
    _column("has_void", sa.Boolean),
    _column("created_at"),
    _column("revision", sa.Integer),
)
#: apart from the clip, so that a change of its title does not journal the names of 2,000 frames
frames = _table("frames", _key("clip", sa.Integer), _column("list", sa.JSON), _column("revision", sa.Integer))
object_ = _table(
    "object",
    _key("clip", sa.Integer),
    _key("id"),
    *(_column(n) for n in ("name", "category", "colour", "note", "author")),
    _column("second_of", nullable=True),
    _column("role"),
    _column("stated_ids", sa.JSON(none_as_null=True), nullable=True),
    _column("revision", sa.Integer),
)
mask = _table(
    "mask",
    _key("clip", sa.Integer),
    _key("frame", sa.Integer),
    _key("object"),
    *(_column(n) for n in ("counts", "origin", "by", "model")),
    _column("reviewed", sa.Boolean),
    _column("revision", sa.Integer),
    _column("absent", sa.Boolean),  # counts = ''; a column, for an index over a computed one is read beside its table
    sa.CheckConstraint("absent = (counts = '')"),
    sa.Index("mask_tracks", "clip", "object", "frame", "origin", "absent", "reviewed", "by", "model"),
    sqlite_with_rowid=False,
)
expression = _table(
    "expression",
    _key("clip", sa.Integer),
    _key("id"),
    _column("layout_id"),
    _column("text"),
    _column("object_ids", sa.JSON(none_as_null=True), nullable=True),
    _column("kind"),
    _column("tags", sa.JSON),
    _column("is_sentence", sa.Boolean, nullable=True),
    _column("condition", nullable=True),
    _column("rationale"),
    _column("group", nullable=True),
    *(_column(n) for n in ("state", "origin", "author", "model")),
    *(_column(n) for n in ("accepted_by", "accepted_at", "created_at", "modified_at")),
    _column("properties", sa.JSON),
    _column("revision", sa.Integer),
)
choice = _table(
    "choice",
    _key("clip", sa.Integer),
    _key("id"),
    *(_column(n) for n in ("expression", "person", "stage", "frame")),
    _column("answer", sa.JSON),
    _column("candidates", sa.JSON),
    _column("seconds", sa.Float, nullable=True),
    _column("text"),
    _column("at"),
    _column("revision", sa.Integer),
)
verdict = _table(
    "verdict",
    _key("clip", sa.Integer),
    _key("id"),
    _column("about", sa.JSON),
    *(_column(n) for n in ("person", "decision", "comment", "at")),
    _column("judged_revision", sa.Integer),
    _column("revision", sa.Integer),
)
comment = _table(
    "comment",
    _key("clip", sa.Integer),
    _key("id"),
    _column("about", sa.JSON),
    *(_column(n) for n in ("person", "text", "at")),
    _column("resolved", sa.Boolean),
    _column("revision", sa.Integer),
)
assignment = _table(
    "assignment", _key("person"), _key("clip", sa.Integer), _column("state"), _column("revision", sa.Integer)
)

#: what people made, by name; in the order in which a replay may write them
JOURNALED: dict[str, sa.Table] = {
    t.name: t for t in (project, person, clip, frames, object_, mask, expression, choice, verdict, comment, assignment)
}

journal = _table(
    "journal",
    _key("seq", sa.Integer),
    *(_column(n) for n in ("at", "person", "tab")),
    _column("clip", sa.Integer, nullable=True),
    _column("kind"),  # edit, undo, redo: a person's step in a clip; record: what no undo takes back
    _column("label"),
    _column("batch", nullable=True),
    _column("steps", sa.JSON),  # of an undo or redo: the records it takes back or repeats
    _column("touched", sa.JSON),
    _column("content", sa.LargeBinary),
    sa.Index("journal_steps", "person", "clip", "seq"),
    sa.Index("journal_clip", "clip", "seq"),
)
#: hashes of token links and of browser sessions, never the tokens
credential = _table(
    "credential",
    _key("hash"),
    _column("person"),
    _column("kind"),  # link or session
    _column("created_at"),
    _column("expires_at", sa.Float),
    _column("seen_at", sa.Float),
)
#: the next free number of an id, so that an id that was deleted is never given to something else
counter = _table("counter", _key("clip", sa.Integer), _key("kind"), _column("next", sa.Integer))
secret = _table("secret", _key("name"), _column("value", sa.LargeBinary))


# Migrations ----------------------------------------------------------------------------------------------------------


Migration = Callable[[Connection], None]


def _script(name: str) -> Migration:
    """The statements of a file."""

    def run(connection: Connection) -> None:
        text = (Path(__file__).parent / "migrations" / name).read_text(encoding="utf-8")
        for statement in text.split(";\n\n"):
            connection.exec_driver_sql(statement)

    return run


#: number n - 1 leads from version n - 1 to version n; never changed once released
MIGRATIONS: tuple[Migration, ...] = (_script("0001_first_version.sql"), _script("0002_sizes.sql"))


def migrate(engine: Engine, path: Path, migrations: Sequence[Migration] = MIGRATIONS) -> None:
    """Bring a database to the newest version, each step in a transaction of its own.

    Raises:
        DatasetError: written by a newer version of the program, or no database.
    """
    while True:
        with writing(engine) as connection:
            version = connection.exec_driver_sql("PRAGMA user_version").scalar_one()
            if version > len(migrations):
                raise DatasetError(
                    f"{path}: written by a newer rvos (schema {version}, this one knows {len(migrations)}); "
                    "update rvos to open it."
                )
            if version == len(migrations):
                return
            migrations[version](connection)
            connection.exec_driver_sql(f"PRAGMA user_version = {version + 1}")


# Connections ---------------------------------------------------------------------------------------------------------


def connect(path: Path) -> Engine:
    """An engine whose transactions are the ones written here: no implicit BEGIN, every commit synced to disk."""
    engine = sa.create_engine(
        f"sqlite+pysqlite:///{path}",
        isolation_level="AUTOCOMMIT",
        pool_size=8,
        max_overflow=56,
        json_serializer=dumps,
        connect_args={"check_same_thread": False, "timeout": 30},
    )

    @sa.event.listens_for(engine, "connect")
    def prepare(connection: Any, _: Any) -> None:
        for pragma in ("journal_mode = WAL", "synchronous = FULL", "cache_size = -4096", "trusted_schema = OFF"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def dumps(value: Any) -> str:
    """JSON as it is stored: compact, text as it is."""
    import json

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), allow_nan=False)


@contextmanager
def reading(engine: Engine) -> Iterator[Connection]:
    """A transaction that sees one state of the database."""
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN")
        try:
            yield connection
        finally:
            connection.exec_driver_sql("ROLLBACK")


@contextmanager
def writing(engine: Engine) -> Iterator[Connection]:
    """A transaction that is the only writer from its start, so that what it read is still true when it writes."""
    with engine.connect() as connection:
        connection.exec_driver_sql("BEGIN IMMEDIATE")
        try:
            yield connection
        except BaseException:
            connection.exec_driver_sql("ROLLBACK")
            raise
        connection.exec_driver_sql("COMMIT")


def integrity_problems(engine: Engine) -> list[str]:
    """What SQLite's own check finds; empty where the file is sound."""
    with engine.connect() as connection:
        found = [row[0] for row in connection.exec_driver_sql("PRAGMA integrity_check")]
    return [line for line in found if line != "ok"]

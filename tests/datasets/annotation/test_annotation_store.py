"""The project on disk: transactions, journal, replay, migrations."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import annotationclient
import numpy as np
import pytest

annotationclient.require()

import sqlalchemy as sa  # noqa: E402

from rvos.datasets.annotation import database as db  # noqa: E402
from rvos.datasets.annotation import edits, journal  # noqa: E402
from rvos.datasets.annotation.conversion import native_clip  # noqa: E402
from rvos.datasets.annotation.journal import Author  # noqa: E402
from rvos.datasets.annotation.people import Person, assign, invite  # noqa: E402
from rvos.datasets.annotation.refusals import Refusal  # noqa: E402
from rvos.datasets.annotation.store import OWNER, Store  # noqa: E402
from rvos.datasets.annotation.videos import Incoming, add_clip  # noqa: E402
from rvos.datasets.errors import DatasetError, UsageError  # noqa: E402

PERSON = Person(OWNER, OWNER, "owner")


def apply(store: Store, *ops: dict[str, Any], person: Person = PERSON) -> edits.Done:
    return edits.apply(store, 1, person, edits.Batch.model_validate({"label": "x", "ops": list(ops)}))


def random_op(store: Store, rng: np.random.Generator) -> dict[str, Any]:
    """Any operation on anything that is there, often with an old revision."""
    objects, expressions = store.objects(1), store.expressions(1)
    kind = rng.choice(["new", "mask", "mask", "mask", "set", "split", "merge", "delete", "say", "say", "unsay", "clip"])
    stale = int(rng.random() < 0.1)
    if kind == "clip":
        return {"op": "clip.set", "base": store.clip(1)["revision"], "title": f"t{rng.integers(9)}"}
    if kind == "new" or len(objects) < 2:
        return {"op": "object.new", "name": f"n{rng.integers(9)}"}
    one, other = (objects[i] for i in rng.choice(len(objects), 2, replace=False))
    named = {"object": one["id"], "base": one["revision"] - stale}
    if kind == "mask":
        frame = int(rng.integers(annotationclient.FRAMES))
        now = store.mask(1, one["id"], frame)
        drawn = annotationclient.counts(annotationclient.box(*rng.integers(0, 30, 2)))
        text = [None, "", drawn, drawn][rng.integers(4)]
        return {"op": "mask", **named, "frame": frame, "counts": text, "base": 0 if now is None else now["revision"]}
    if kind == "set":
        return {"op": "object.set", **named, "name": f"m{rng.integers(9)}"}
    if kind == "split":
        return {"op": "object.split", **named, "frame": int(rng.integers(annotationclient.FRAMES))}
    if kind == "merge":
        return {"op": "object.merge", **named, "other": other["id"], "other_base": other["revision"]}
    if kind == "delete":
        return {"op": "object.delete", **named, "unlink": bool(rng.random() < 0.5)}
    if kind == "say" or not expressions:
        return {"op": "expression.new", "text": f"s{rng.integers(99)}", "object_ids": [one["id"]], "tags": ["a"]}
    row = expressions[int(rng.integers(len(expressions)))]
    said = {"expression": row["id"], "base": row["revision"]}
    ids = [[], None, [one["id"], other["id"]]][rng.integers(3)]
    return (
        {"op": "expression.delete", **said}
        if rng.random() < 0.3
        else {"op": "expression.set", **said, "object_ids": ids}
    )


@pytest.mark.parametrize("seed", [0, pytest.param(1, marks=pytest.mark.long), pytest.param(2, marks=pytest.mark.long)])
def test_the_journal_alone_gives_the_state(store: Store, tmp_path: Path, seed: int) -> None:
    rng = np.random.default_rng(seed)
    invite(store, "Ana", "author")
    assign(store, "ana", 1, "open")
    ana = Person("ana", "Ana", "author")
    refused = 0
    for _ in range(60):
        try:
            action = rng.random()
            if action < 0.8:
                apply(store, random_op(store, rng), person=[PERSON, ana][rng.integers(2)])
            else:
                edits.undo(store, 1, [PERSON, ana][rng.integers(2)], again=bool(action > 0.9))
        except Refusal:
            refused += 1
    assert 0 < refused < 60
    assert_replayed(store, tmp_path / "replayed")


def assert_replayed(store: Store, folder: Path) -> None:
    """Replaying the journal into an empty database gives the same rows in every table."""
    folder.mkdir()
    engine = db.connect(folder / db.FILE)
    db.migrate(engine, folder / db.FILE)
    with store.reading() as source, db.writing(engine) as target:
        journal.replay(source, target)
        for name, table in db.JOURNALED.items():
            order = list(table.primary_key.columns)
            rows = [c.execute(sa.select(table).order_by(*order)).all() for c in (source, target)]
            assert rows[0] == rows[1], name
    assert db.integrity_problems(engine) == []
    engine.dispose()


def test_the_journal_is_only_added_to(store: Store) -> None:
    for statement in ("UPDATE journal SET label = 'x'", "DELETE FROM journal"):
        with pytest.raises(sa.exc.IntegrityError, match="only added to"), store.keeping() as connection:
            connection.exec_driver_sql(statement)


def test_what_fails_leaves_nothing(store: Store) -> None:
    before = store.latest()
    with pytest.raises(RuntimeError), store.change(1, Author(OWNER), "x") as change:
        change.put("mask", {"clip": 1, "frame": 0, "object": "1", "counts": "", "origin": "human", "by": "",
                            "model": "", "reviewed": True})  # fmt: skip
        raise RuntimeError
    assert store.latest() == before and store.mask(1, "1", 0) is None


def test_a_change_that_changes_nothing_is_no_record(store: Store) -> None:
    before, clip = store.latest(), store.clip(1)
    done = apply(store, {"op": "clip.set", "base": clip["revision"], "title": clip["title"]})
    assert store.latest() == before == done.seq


def test_two_processes_may_write_at_once(store: Store) -> None:
    with Store.open(store.folder) as other:
        for i in range(5):
            apply([store, other][i % 2], {"op": "object.new"})
    assert [o["id"] for o in store.objects(1)] == ["1", "2", "3", "4", "5"]


def test_tables_are_what_the_migrations_make(tmp_path: Path) -> None:
    engine = db.connect(tmp_path / db.FILE)
    db.migrate(engine, tmp_path / db.FILE)
    inspector = sa.inspect(engine)
    assert set(inspector.get_table_names()) == set(db.metadata.tables)
    for name, table in db.metadata.tables.items():
        made = {c["name"]: (str(c["type"]), c["nullable"]) for c in inspector.get_columns(name)}
        wanted = {c.name: (str(c.type.compile(engine.dialect)), bool(c.nullable)) for c in table.columns}
        assert made == wanted, name
        assert {i["name"] for i in inspector.get_indexes(name)} == {i.name for i in table.indexes}
    engine.dispose()


def test_an_old_project_is_migrated_step_by_step_and_a_newer_one_refused(tmp_path: Path) -> None:
    def second(connection: Any) -> None:
        connection.exec_driver_sql("ALTER TABLE clip ADD COLUMN mood TEXT NOT NULL DEFAULT 'calm'")

    def broken(connection: Any) -> None:
        connection.exec_driver_sql("ALTER TABLE clip DROP COLUMN title")
        raise RuntimeError

    with annotationclient.make_project(tmp_path) as store:
        path = store.folder / db.FILE
        engine = db.connect(path)
        with pytest.raises(RuntimeError):
            db.migrate(engine, path, (*db.MIGRATIONS, broken))
        assert store.clip(1)["title"] == ""
        db.migrate(engine, path, (*db.MIGRATIONS, second))
        with db.reading(engine) as connection:
            assert connection.exec_driver_sql("SELECT mood FROM clip").scalars().all() == ["calm", "calm"]
        engine.dispose()
    with pytest.raises(DatasetError, match="newer rvos"):
        Store.open(tmp_path / "project")


def test_the_size_of_images_is_known_where_the_project_did_not_note_it(tmp_path: Path) -> None:
    """Version 1 took images of another size than the masks without a word of it."""
    annotationclient.write_frames(tmp_path / "frames")
    frames = [Incoming(path.stem, path.suffix, path) for path in sorted((tmp_path / "frames").iterdir())]
    double = {"height": 2 * annotationclient.HEIGHT, "width": 2 * annotationclient.WIDTH}
    with Store.create(tmp_path / "project") as store:
        add_clip(store, {"id": "thumbnails", **double}, frames, Author(OWNER))
        add_clip(store, {"id": "plain"}, frames, Author(OWNER))
        with store.keeping() as connection:
            connection.execute(sa.update(db.clip).values(frame_height=None, frame_width=None))
        wanted = (annotationclient.HEIGHT, annotationclient.WIDTH)
        assert [native_clip(store, key).frame_size for key in (1, 2)] == [wanted, None]


def test_folders_that_are_no_project_are_refused(tmp_path: Path, store: Store) -> None:
    with pytest.raises(DatasetError, match="no annotation project"):
        Store.open(tmp_path)
    with pytest.raises(UsageError, match="not empty"):
        Store.create(tmp_path)
    with pytest.raises(UsageError, match="project already"):
        Store.create(store.folder)


def test_frames_are_taken_in_natural_order_and_must_share_a_size(tmp_path: Path) -> None:
    from PIL import Image

    from rvos.datasets.annotation.videos import add_video, find_videos, video_of

    folder = tmp_path / "videos" / "clip"
    folder.mkdir(parents=True)
    for i in (1, 2, 10):
        Image.new("RGB", (16, 12), (i, 0, 0)).save(folder / f"frame_{i}.png")
    with Store.create(tmp_path / "project") as store:
        (found,) = find_videos(tmp_path / "videos")
        key = add_video(store, found, Author(OWNER))["key"]
        video = video_of(store, key)
        assert video.frame_names == ("frame_1", "frame_2", "frame_10") and video.frame(2)[0, 0, 0] == 10
        with pytest.raises(UsageError, match="already"):
            add_video(store, found, Author(OWNER))
        (tmp_path / "videos" / "odd").mkdir()
        for i, size in enumerate([(16, 12), (12, 16)]):
            Image.new("RGB", size).save(tmp_path / "videos" / "odd" / f"{i}.png")
        with pytest.raises(DatasetError, match="share one size"):
            add_video(store, find_videos(tmp_path / "videos")[1], Author(OWNER))
        assert [p.name for p in (store.folder / "frames").iterdir()] == [str(key)]
    (tmp_path / "empty").mkdir()
    with pytest.raises(DatasetError, match="holds no videos"):
        find_videos(tmp_path / "empty")


def test_a_project_goes_through_the_native_format_and_back(store: Store, tmp_path: Path) -> None:
    from rvos.datasets.annotation import native
    from rvos.datasets.annotation.conversion import add_imported, write_native
    from rvos.datasets.annotation.importing import import_dataset

    rng = np.random.default_rng(5)
    for _ in range(40):
        try:
            apply(store, random_op(store, rng))
        except Refusal as refusal:
            assert refusal.status in (409, 422)
    write_native(store, tmp_path / "native")
    with Store.create(tmp_path / "second") as second:
        add_imported(second, import_dataset("annotation", tmp_path / "native"), Author(OWNER))
        for table in ("object", "mask", "expression"):
            assert _content(second, table) == _content(store, table)
        write_native(second, tmp_path / "again")
    first, again = native.read(tmp_path / "native"), native.read(tmp_path / "again")
    assert [c.model_dump() for c in again] == [c.model_dump() for c in first]


def _content(store: Store, table: str) -> list[Any]:
    columns = [c for c in db.JOURNALED[table].columns if c.name != "revision"]
    with store.reading() as connection:
        return list(connection.execute(sa.select(*columns).order_by(*columns[:3])).all())

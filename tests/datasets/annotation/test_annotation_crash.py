"""A server that is killed at any moment: what it had acknowledged is there after the restart.

Three kills of a server that programs talk to; ``test_annotate_crash.py`` kills one fifty times under two browsers.
"""

from __future__ import annotations

import multiprocessing
import os
import random
import signal
import socket
import sys
import threading
import time
from pathlib import Path
from typing import Any

import annotationclient
import pytest
from annotationclient import FRAMES, box, counts

annotationclient.require()
httpx = pytest.importorskip("httpx", reason="httpx is not installed (pip install httpx)")

import sqlalchemy as sa  # noqa: E402
from test_annotation_store import assert_replayed  # noqa: E402

from rvos.datasets.annotation import database as db  # noqa: E402
from rvos.datasets.annotation import journal, people  # noqa: E402
from rvos.datasets.annotation.store import Store  # noqa: E402

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="there is no kill -9 on Windows")


def _serve(folder: Path, listening: socket.socket) -> None:
    from rvos.datasets.annotation.server import create_app, serve

    serve(create_app(Store.open(folder)), listening)


class Tab(threading.Thread):
    """A tab that draws without pause, and notes what was acknowledged: (seq, frame, object, RLE)."""

    def __init__(self, address: str, token: str, seed: int) -> None:
        super().__init__()
        self.address, self.token = address, token
        self.random = random.Random(seed)
        self.acknowledged: list[tuple[int, int, str, str]] = []
        self.refused = 0

    def run(self) -> None:
        headers = {"X-Rvos": "1", "authorization": f"Bearer {self.token}"}
        known: dict[tuple[str, int], int] = {}
        try:
            with httpx.Client(base_url=self.address, headers=headers, timeout=20) as client:
                while True:
                    self._stroke(client, known)
        except httpx.TransportError:
            return  # the server is gone

    def _stroke(self, client: Any, known: dict[tuple[str, int], int]) -> None:
        name, frame = self.random.choice("12"), self.random.randrange(FRAMES)
        drawn = counts(box(self.random.randrange(30), self.random.randrange(30)))
        op = {"op": "mask", "object": name, "frame": frame, "counts": drawn, "base": known.get((name, frame), 0)}
        answer = client.post("/api/clips/1/changes", json={"label": "stroke", "ops": [op]})
        if answer.status_code == 409:
            self.refused += 1
            (conflict,) = answer.json()["error"]["conflicts"]
            known[name, frame] = conflict["current"]["revision"] if conflict["current"] else 0
            return
        assert answer.status_code == 200, answer.text
        known[name, frame] = answer.json()["seq"]
        self.acknowledged.append((answer.json()["seq"], frame, name, drawn))


def _killed_and_checked(folder: Path, tokens: list[str], seed: int) -> int:
    """One server's life. Gives how many strokes it acknowledged."""
    with Store.open(folder) as store:
        before = store.latest()
    with socket.create_server(("127.0.0.1", 0)) as listening:
        process = multiprocessing.get_context("fork").Process(target=_serve, args=(folder, listening), daemon=True)
        process.start()
        address = f"http://127.0.0.1:{listening.getsockname()[1]}"
    tabs = [Tab(address, token, 2 * seed + i) for i, token in enumerate(tokens)]
    for tab in tabs:
        tab.start()
    end = time.monotonic() + 60
    while not all(tab.acknowledged for tab in tabs) and time.monotonic() < end:
        time.sleep(0.01)
    time.sleep(random.Random(seed).uniform(0, 0.3))
    assert process.pid is not None
    os.kill(process.pid, signal.SIGKILL)
    process.join()
    for tab in tabs:
        tab.join()
    done = sorted(stroke for tab in tabs for stroke in tab.acknowledged)
    assert all(tab.acknowledged for tab in tabs)
    with Store.open(folder) as store:
        assert store.integrity_problems() == []
        with store.reading() as connection:
            records = dict(
                connection.execute(
                    sa.select(db.journal.c.seq, db.journal.c.content).where(db.journal.c.seq > before)
                ).all()
            )
        for seq, frame, name, drawn in done:
            ((_, key, _, after),) = journal.entries_of(records[seq])
            assert key == (1, frame, name) and after is not None and after["counts"] == drawn
        assert len(records) - len(done) <= len(tabs), "more was written than the strokes in hand"
    return len(done)


def _project(tmp_path: Path) -> tuple[Path, list[str]]:
    with annotationclient.make_project(tmp_path, clips=("one",)) as store, annotationclient.served(store) as app:
        annotationclient.page(app).change({"op": "object.new"}, {"op": "object.new"})
    with Store.open(tmp_path / "project") as store:
        return store.folder, [people.invite(store, name, "author")[1] for name in ("Ana", "Ben")]


def test_a_change_that_is_sent_again_is_not_made_twice(owner: annotationclient.Page) -> None:
    """The page's answer was lost with the server: it cannot know whether the change was written."""
    sent = [
        {"op": "object.new", "temp": "$box", "name": "box"},
        {"op": "expression.new", "temp": "$said", "text": "the box", "object_ids": ["$box"]},
        {"op": "mask", "object": "$box", "frame": 0, "counts": counts(box(3, 4)), "base": 0},
    ]
    first = owner.change(*sent, batch="a-stroke")
    again = owner.change(*sent, batch="a-stroke", again=True)
    assert again == first
    assert [e["text"] for e in owner.get("/api/clips/1")["expressions"]] == ["the box"]
    never_arrived = owner.change(*sent, batch="another", again=True)
    assert never_arrived["seq"] == first["seq"] + 1 and never_arrived["ids"] != first["ids"]


def test_what_was_acknowledged_survives_three_kills(tmp_path: Path) -> None:
    folder, tokens = _project(tmp_path)
    assert sum(_killed_and_checked(folder, tokens, seed) for seed in range(3)) >= 6
    with Store.open(folder) as store:
        assert_replayed(store, tmp_path / "replayed")

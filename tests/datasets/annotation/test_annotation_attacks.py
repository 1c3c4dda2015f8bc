"""Requests that are refused: each is logged, none changes anything, none reaches a file outside the project."""

from __future__ import annotations

import io
import json
import re
import struct
import zipfile
import zlib
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import annotationclient
import pytest
from annotationclient import Page, box, counts, draw_two, endpoints, page

annotationclient.require()

RAW = {"content-type": "application/octet-stream"}


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Page]:
    """The owner's page of a project that stays as it is."""
    with (
        annotationclient.make_project(tmp_path_factory.mktemp("site")) as store,
        annotationclient.served(store) as app,
    ):
        owner = page(app)
        draw_two(owner)
        yield owner


@pytest.fixture
def guarded(site: Page) -> Iterator[Page]:
    """The owner's page; afterwards nothing may have changed and every refusal must be in the log."""
    store = site.client.app.state.bench.store
    before, known, refused = everything(store), len(logged(store)), []
    hooks = site.client.event_hooks
    site.client.event_hooks = {"response": [lambda answer: refused.append(answer) if answer.is_error else None]}
    yield site
    site.client.event_hooks = hooks
    assert everything(store) == before
    entries = logged(store)[known:]
    assert entries, "nothing was logged"
    assert [e["status"] for e in entries if e["code"] != "refused-upload"] == [a.status_code for a in refused]
    assert all(e["status"] >= 400 and e["client"] for e in entries)
    assert store.integrity_problems() == []


def logged(store: Any) -> list[dict[str, Any]]:
    """The entries of the log of refusals."""
    path = store.folder / "refused.log"
    return [json.loads(line) for line in path.read_text(encoding="ascii").splitlines()] if path.exists() else []


def everything(store: Any) -> Any:
    """All rows but sessions and counters of ids, and all files of the project and beside it with their sizes."""
    import sqlalchemy as sa

    from rvos.datasets.annotation import database as db

    with store.reading() as connection:
        tables = [table for name, table in db.metadata.tables.items() if name not in ("credential", "counter")]
        rows = {t.name: connection.execute(sa.select(t).order_by(*t.primary_key.columns)).all() for t in tables}
    inside = (
        p
        for p in store.folder.parent.rglob("*")
        if p.is_file() and not p.name.startswith(("project.sqlite", "refused"))
    )
    return rows, sorted((str(path), path.stat().st_size) for path in inside)


@pytest.mark.parametrize(
    "path",
    [
        "/web/../server.py",
        "/web/..%2fserver.py",
        "/web/%2e%2e/server.py",
        "/web/....//server.py",
        "/web//etc/passwd",
        "/web/.hidden.js",
        "/api/clips/..%2f..%2fetc/frames/0",
        "/api/clips/1/frames/-1",
        "/api/clips/1/frames/..%2f0",
        "/api/exports/..%2fproject.sqlite",
        "/api/exports/project.sqlite",
        "/api/exports/%2e%2e%2fx.zip",
        "/project.sqlite",
        "/docs",
        "/openapi.json",
    ],
)
def test_no_path_leads_out_of_the_project(guarded: Page, path: str) -> None:
    answer = guarded.client.get(path)
    assert answer.status_code in (400, 404), answer.text
    assert "root:" not in answer.text and "def " not in answer.text and b"SQLite" not in answer.content


def test_links_out_of_the_project_are_not_followed(owner: Page, store: Any, tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(b"secret")
    frame = store.folder / "frames" / "1" / "000002.png"
    frame.unlink()
    frame.symlink_to(secret)
    owner.get("/api/clips/1/frames/2", 404)
    owner.get("/api/clips/1/frames/2?width=80", 404)
    (store.folder / "frames" / "2").rename(tmp_path / "moved")
    (store.folder / "frames" / "2").symlink_to(tmp_path / "moved")
    owner.get("/api/clips/2/frames/0", 404)
    (store.folder / "exports").mkdir()
    (store.folder / "exports" / "x.zip").symlink_to(secret)
    owner.get("/api/exports/x.zip", 404)
    assert [entry["path"] for entry in logged(store)] == [
        *["/api/clips/1/frames/2"] * 2,
        "/api/clips/2/frames/0",
        "/api/exports/x.zip",
    ]


def test_nothing_is_written_through_a_link(owner: Page, store: Any, tmp_path: Path) -> None:
    from rvos.datasets.annotation.store import Store
    from rvos.datasets.errors import DatasetError

    outside = tmp_path / "outside"
    outside.mkdir()
    (store.folder / "cache").mkdir(exist_ok=True)
    (store.folder / "cache" / "1").symlink_to(outside)
    owner.get("/api/clips/1/frames/0?width=80", 404)
    for name in ("exports", "refused.old.log"):
        (store.folder / name).symlink_to(outside)
        with pytest.raises(DatasetError, match="is a link; a project keeps everything in its own folder"):
            Store.open(store.folder)
        (store.folder / name).unlink()
    assert not list(outside.iterdir())


def test_links_out_of_a_video_folder_are_refused(tmp_path: Path) -> None:
    from rvos.datasets.annotation.videos import find_videos
    from rvos.datasets.errors import DatasetError

    annotationclient.write_frames(tmp_path / "videos" / "one")
    annotationclient.write_frames(tmp_path / "elsewhere")
    (tmp_path / "videos" / "one" / "00009.png").symlink_to(tmp_path / "elsewhere" / "00000.png")
    with pytest.raises(DatasetError, match="a link out of"):
        find_videos(tmp_path / "videos")


@pytest.mark.parametrize(
    ("headers", "code"),
    [
        ({"X-Rvos": "0"}, "cross-site"),
        ({"Origin": "http://evil.example"}, "cross-site"),
        ({"Origin": "null"}, "cross-site"),
        ({"Origin": "http://127.0.0.1:9999"}, "cross-site"),
        ({"Sec-Fetch-Site": "cross-site"}, "cross-site"),
        ({"Sec-Fetch-Site": "same-site"}, "cross-site"),
        ({"Content-Type": "text/plain"}, "content-type"),
        ({"Content-Type": "application/x-www-form-urlencoded"}, "content-type"),
        ({"Content-Type": "multipart/form-data; boundary=x"}, "content-type"),
        ({"Host": "evil.example:8765"}, "host"),
        ({"Host": "192.168.0.7:8765"}, "host"),
        ({"Host": ""}, "host"),
        ({"Content-Length": "abc"}, "malformed"),
    ],
)
def test_pages_of_other_sites_change_nothing(guarded: Page, headers: dict[str, str], code: str) -> None:
    body = json.dumps({"label": "x", "ops": [{"op": "object.new"}]}).encode()
    sent = {"content-type": "application/json", **{k.lower(): v for k, v in headers.items()}}
    answer = guarded.client.post("/api/clips/1/changes", content=body, headers=sent)
    assert answer.status_code in (400, 403, 415, 421) and answer.json()["error"]["code"] == code


def test_a_name_rebound_to_this_machine_reaches_no_route(guarded: Page) -> None:
    for method, path, _ in endpoints(guarded.client.app):
        headers = {"host": "rebound.example:8765", "content-type": "application/json"}
        answer = guarded.client.request(method, re.sub(r"\{\w+(:\w+)?\}", "1", path), headers=headers)
        assert answer.status_code == 421 and answer.json()["error"]["code"] == "host", (method, path)


def test_pages_of_other_sites_read_nothing(guarded: Page) -> None:
    assert guarded.client.get("/api/clips", headers={"sec-fetch-site": "cross-site"}).status_code == 403
    assert guarded.client.get("/api/clips", headers={"host": "rebound.example"}).status_code == 421
    answer = guarded.client.get("/api/clips")
    assert "access-control-allow-origin" not in answer.headers
    assert answer.headers["content-security-policy"].startswith("default-src 'self'")
    assert answer.headers["x-content-type-options"] == "nosniff" and answer.headers["cache-control"] == "no-store"
    assert guarded.client.options("/api/clips", headers={"content-type": "application/json"}).status_code == 405


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (b"", 400),
        (b"{", 400),
        (b"[]", 400),
        (b"\xff\xfe", 400),
        (b'{"label": "x", "ops": []}', 400),
        (b'{"label": "x", "ops": [{"op": "no.such"}]}', 400),
        (b'{"label": "x", "ops": [{"op": "object.new", "more": 1}]}', 400),
        (b'{"label": "x", "ops": [{"op": "object.new", "id": "../x"}]}', 400),
        (b'{"label": "x", "ops": [{"op": "object.new", "name": "a\\u0000b"}]}', 400),
        (b'{"label": "x", "ops": [{"op": "object.new", "name": "\\ud800"}]}', 400),
        (b'{"label": "x", "ops": [{"op": "object.new", "colour": "red;}"}]}', 400),
        (b'{"label": "x", "ops": [{"op": "mask", "object": "1", "frame": 0.5, "counts": "", "base": 0}]}', 400),
        (b'{"label": "x", "ops": [{"op": "mask", "object": "1", "frame": NaN, "counts": "", "base": 0}]}', 400),
        (b'{"label": "x", "ops": [{"op": "mask", "object": "1", "frame": 1e400, "counts": "", "base": 0}]}', 400),
        (b'{"label": "x", "ops": [{"op": "mask", "object": "9", "frame": 0, "counts": "", "base": 0}]}', 422),
        (b'{"label": "x", "ops": [{"op": "expression.new", "text": "  "}]}', 422),
        (b'{"label": "x", "ops": [{"op": "expression.new", "text": "a", "object_ids": ["9"]}]}', 422),
        (b'{"label": "x", "ops": [{"op": "expression.new", "text": "' + b"a" * 2001 + b'"}]}', 400),
        (b'{"label": "x", "ops": ' + b"[" * 100_000 + b"]" * 100_000 + b"}", 400),
        (b'{"label": "x", "ops": [' + b'{"op": "object.new"},' * 2000 + b'{"op": "object.new"}]}', 400),
    ],
    ids=range(20),
)
def test_malformed_bodies_are_refused(guarded: Page, body: bytes, status: int) -> None:
    answer = guarded.client.post("/api/clips/1/changes", content=body, headers={"content-type": "application/json"})
    assert answer.status_code in (status, 404), answer.text[:300]
    assert set(answer.json()) == {"error"} and len(answer.text) < 2000


@pytest.mark.parametrize(
    "rle", ["0", "not an rle", "\u20ac", "P" * 5000, "oPQR~", counts(box(0, 0)) + "1"], ids=range(6)
)
def test_masks_that_do_not_fill_the_frame_are_refused(guarded: Page, rle: str) -> None:
    guarded.change({"op": "mask", "object": "1", "frame": 0, "counts": rle, "base": 4}, status=422)


def test_bodies_are_bounded(guarded: Page, monkeypatch: pytest.MonkeyPatch) -> None:
    from rvos.datasets.annotation import security

    json_type = {"content-type": "application/json"}
    announced = guarded.client.post("/api/clips/1/changes", content=b" " * ((8 << 20) + 1), headers=json_type)
    assert announced.status_code == 413

    def endless() -> Any:
        for _ in range(20):
            yield b" " * (1 << 19)

    sent = guarded.client.post("/api/clips/1/changes", content=endless(), headers=json_type)
    assert sent.status_code == 413 and sent.json()["error"]["code"] == "too-large"
    monkeypatch.setattr(security, "MOST_UPLOAD", 1000)
    refused = guarded.client.post("/api/clips?name=x&kind=zip", content=b"x" * 1001, headers=RAW)
    assert refused.status_code == 413
    assert guarded.client.get("/api/clips?" + "x" * 5000).status_code == 413


def _zip(*entries: tuple[str, bytes], mode: int = 0) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in entries:
            info = zipfile.ZipInfo(name)
            info.external_attr = mode << 16
            info.compress_type = zipfile.ZIP_DEFLATED
            archive.writestr(info, data)
    return stream.getvalue()


def _lying(archive: bytes) -> bytes:
    """The same where every header says that ten bytes come out of it."""
    size = (80 << 20).to_bytes(4, "little")
    assert archive.count(size) == 2
    return archive.replace(size, (10).to_bytes(4, "little"))


def _vast_png() -> bytes:
    """A PNG of 60,000 x 60,000 pixels in a few bytes."""
    header = b"IHDR" + struct.pack(">IIBBBBB", 60_000, 60_000, 8, 0, 0, 0, 0)
    chunks = b"".join(struct.pack(">I", len(c) - 4) + c + struct.pack(">I", zlib.crc32(c)) for c in (header, b"IEND"))
    return b"\x89PNG\r\n\x1a\n" + chunks


@cache
def _hostile() -> dict[str, tuple[bytes, str]]:
    return {
        "bomb": (_zip(("a.png", bytes(80 << 20))), "unpacks to more than"),
        "bomb that lies about its size": (_lying(_zip(("a.png", bytes(80 << 20)))), ""),
        "picture that is a bomb": (_zip(("00000.png", _vast_png())), "more than a frame may have"),
        "traversal": (_zip(("../../evil.png", b"x")), "points outside"),
        "absolute": (_zip(("/etc/evil.png", b"x")), "points outside"),
        "link": (_zip(("a.png", b"/etc/passwd"), mode=0o120777), "link"),
        "no zip": (b"<html>", "no zip"),
        "no image": (_zip(("00000.png", b"<script>")), "PNG"),
    }


def test_hostile_archives_are_refused_and_leave_nothing(guarded: Page) -> None:
    store = guarded.client.app.state.bench.store
    files = _files(store.folder)
    for name, (data, why) in _hostile().items():
        for url in ("/api/clips?name=x&kind=zip", "/api/imports?format=annotation"):
            sent = guarded.client.post(url, content=data, headers=RAW)
            job = guarded.job(sent.json())
            assert job.state == "failed", name
            assert why in job.message or url.startswith("/api/imports"), job.message
            assert logged(store)[-1]["code"] == "refused-upload" and logged(store)[-1]["path"] == url.partition("?")[0]
    assert _files(store.folder) - files <= {"refused.log"}
    assert not (store.folder.parent / "evil.png").exists()


def _files(folder: Path) -> set[str]:
    return {str(p.relative_to(folder)) for p in folder.rglob("*") if p.is_file() and "sqlite" not in p.name}


def test_a_script_in_a_sentence_stays_text(owner: Page) -> None:
    text = "<script>alert(1)</script><img src=x onerror=alert(1)>"
    owner.change({"op": "expression.new", "text": text, "object_ids": []})
    answer = owner.client.get("/api/clips/1")
    assert answer.headers["content-type"] == "application/json"
    assert answer.json()["expressions"][0]["text"] == text


def test_wrong_tokens_are_refused_and_slowed_down(app: Any, store: Any) -> None:
    from fastapi.testclient import TestClient

    stranger = TestClient(app, base_url=annotationclient.BASE, headers={"X-Rvos": "1"})
    codes = [stranger.post("/api/session", json={"token": f"guess-{i}"}).status_code for i in range(32)]
    assert codes == [401] * 30 + [429] * 2
    assert stranger.get("/api/clips", headers={"authorization": "Bearer x"}).status_code == 429
    stranger.cookies.set(app.state.bench.cookie, "forged")
    assert stranger.get("/api/clips").status_code == 401
    log = (store.folder / "refused.log").read_text(encoding="ascii")
    assert '"code": "session"' in log and "guess-3" not in log


def test_another_host_needs_to_be_named(store: Any) -> None:
    with annotationclient.served(store, loopback_only=False, names=("lab.example",)) as app:
        client = page(app).client
        for host, status in (
            ("192.168.0.7:8765", 200),
            ("[::1]:8765", 200),
            ("lab.example", 200),
            ("evil.example", 421),
        ):
            assert client.get("/api/clips", headers={"host": host}).status_code == status


def test_the_log_stays_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from rvos.datasets.annotation import security

    monkeypatch.setattr(security, "_MOST_LOG", 1000)
    log = security.RefusedLog(tmp_path / "refused.log")
    for _ in range(50):
        log.add({"method": "GET", "path": "/\n\x1b[31m" + "x" * 1000, "client": ("1.2.3.4", 5)}, 404, "unknown", "no")
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) < 4000
    assert all(json.loads(line)["client"] == "1.2.3.4" for line in log.path.read_text().splitlines())

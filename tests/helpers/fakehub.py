"""A Hugging Face hub on this machine: enough of its HTTP interface to fetch dataset files, with faults on demand."""

from __future__ import annotations

import hashlib
import json
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class FakeHub:
    """Repositories are folders ``<root>/<owner>/<name>``.

    Attributes:
        faults: file name -> what happens to its next fetches, one each: ``drop`` (the connection ends half-way),
            ``429``, ``503``, ``corrupt`` (another content of the same length).
        fetched: (file, Range header or "") of every GET of a file.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.fetched: list[tuple[str, str]] = []
        self.url = ""

    def files(self, repo: str) -> dict[str, Path]:
        folder = self.root / repo
        return {p.relative_to(folder).as_posix(): p for p in sorted(folder.rglob("*")) if p.is_file()}

    def info(self, repo: str) -> dict[str, Any]:
        siblings = []
        for name, path in self.files(repo).items():
            entry: dict[str, Any] = {"rfilename": name, "size": path.stat().st_size, "blobId": "0" * 40}
            if name.endswith((".parquet", ".zip")):
                digest = hashlib.sha256(path.read_bytes()).hexdigest()
                entry["lfs"] = {"sha256": digest, "size": path.stat().st_size, "pointerSize": 130}
            siblings.append(entry)
        return {"id": repo, "sha": COMMIT, "private": True, "tags": [], "downloads": 0, "siblings": siblings}

    @contextmanager
    def serving(self) -> Iterator[FakeHub]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        def do_HEAD(self) -> None:
            self._answer(with_body=False)

        def do_GET(self) -> None:
            self._answer(with_body=True)

        def _answer(self, with_body: bool) -> None:
            parts = urlsplit(self.path).path.strip("/").split("/")
            if parts[:2] == ["api", "datasets"]:
                self._info("/".join(parts[2:4]))
            elif parts[0] == "datasets" and parts[3] == "resolve":
                self._file("/".join(parts[1:3]), "/".join(parts[5:]), with_body)
            else:
                self.send_error(404)

        def _info(self, repo: str) -> None:
            if not (hub.root / repo).is_dir():
                self._refuse(404, "RepoNotFound")
                return
            body = json.dumps(hub.info(repo)).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _file(self, repo: str, name: str, with_body: bool) -> None:
            path = hub.root / repo / name
            if not path.is_file():
                self._refuse(404, "EntryNotFound")
                return
            data = path.read_bytes()
            etag = hashlib.sha256(data).hexdigest()
            fault = ""
            if with_body:
                hub.fetched.append((name, self.headers.get("Range", "")))
                fault = hub.faults[name].pop(0) if hub.faults[name] else ""
            if fault in ("429", "503"):
                self._refuse(int(fault), "")
                return
            begin = 0
            if (wanted := self.headers.get("Range", "")).startswith("bytes="):
                begin = int(wanted.removeprefix("bytes=").split("-")[0])
            total, data = len(data), data[begin:]
            if fault == "corrupt":
                data = bytes(len(data))
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(data)))
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{etag}"')
            self.send_header("X-Repo-Commit", COMMIT)
            self.end_headers()
            if with_body:
                self.wfile.write(data[: len(data) // 2] if fault == "drop" else data)
                if fault == "drop":
                    self.close_connection = True

        def _refuse(self, status: int, code: str) -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    return Handler

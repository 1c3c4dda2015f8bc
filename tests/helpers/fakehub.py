"""A Hugging Face hub on this machine: its HTTP interface for dataset repositories, with faults on demand.

Made for the real client: commits, LFS uploads, resolved files with ranges, private repositories, tokens.
"""

from __future__ import annotations

import base64
import hashlib
import json
import socket
import threading
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

import pytest

TOKEN = "hf_of_the_tests"
LARGE = (".parquet", ".zip", ".tar.gz", ".mp4", ".jpg", ".png")


@dataclass
class Repository:
    """Commits in order, each a mapping from file name to the SHA-256 of its content."""

    private: bool
    commits: dict[str, dict[str, str]] = field(default_factory=dict)

    @property
    def head(self) -> str:
        return next(reversed(self.commits))


class FakeHub:
    """Dataset repositories in memory.

    Attributes:
        faults: file name, or ``preupload``, ``batch``, ``PUT``, ``commit``, ``create``, ``info``, -> what happens to
            its next requests, one each: ``drop`` (the connection ends half-way), ``429``, ``503``, ``corrupt``
            (another content of the same length).
        fetched: (file, Range header or "") of every GET of a file.
        calls: every other request that changes something, by kind.
    """

    def __init__(self) -> None:
        self.repos: dict[str, Repository] = {}
        self.blobs: dict[str, bytes] = {}
        self.faults: dict[str, list[str]] = defaultdict(list)
        self.fetched: list[tuple[str, str]] = []
        self.calls: list[str] = []
        self.lock = threading.Lock()
        self.url = ""

    def create(self, repo: str, private: bool = False) -> None:
        self.repos[repo] = Repository(private)
        self.commit(repo, {".gitattributes": b"*.parquet filter=lfs\n"})

    def commit(self, repo: str, files: dict[str, bytes], deleted: tuple[str, ...] = ()) -> str:
        """A commit on top of the last one. Gives its id."""
        known = self.repos[repo]
        tree = dict(known.commits[known.head]) if known.commits else {}
        for name, data in files.items():
            tree[name] = digest = hashlib.sha256(data).hexdigest()
            self.blobs[digest] = data
        for name in deleted:
            del tree[name]
        sha = hashlib.sha1(f"{repo}{len(known.commits)}{sorted(tree.items())}".encode()).hexdigest()
        known.commits[sha] = tree
        return sha

    def put(self, repo: str, folder: Path, private: bool = False) -> str:
        """A repository that holds what a folder holds."""
        self.create(repo, private)
        return self.commit(
            repo, {p.relative_to(folder).as_posix(): p.read_bytes() for p in sorted(folder.rglob("*")) if p.is_file()}
        )

    def files(self, repo: str) -> dict[str, bytes]:
        """Of the last commit, without git's own."""
        tree = self.repos[repo].commits[self.repos[repo].head]
        return {name: self.blobs[digest] for name, digest in tree.items() if name != ".gitattributes"}

    def fault(self, key: str) -> str:
        with self.lock:
            return self.faults[key].pop(0) if self.faults[key] else ""

    @contextmanager
    def serving(self) -> Iterator[FakeHub]:
        server = ThreadingHTTPServer(("127.0.0.1", 0), _handler(self))
        server.daemon_threads = True
        self.url = f"http://127.0.0.1:{server.server_address[1]}"
        thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            server.shutdown()
            server.server_close()
            thread.join()


def git_hash(data: bytes) -> str:
    """What git calls a file's content."""
    return hashlib.sha1(b"blob %d\0" % len(data) + data).hexdigest()


def _handler(hub: FakeHub) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_HEAD(self) -> None:
            self._route()

        def do_GET(self) -> None:
            self._route()

        def do_POST(self) -> None:
            self._route()

        def do_PUT(self) -> None:
            self._route()

        # Which request -------------------------------------------------------------------------------------------

        def _route(self) -> None:
            parts = [unquote(part) for part in urlsplit(self.path).path.strip("/").split("/")]
            match parts:
                case ["api", "validate-yaml"]:
                    self._body()
                    self._json({"errors": [], "warnings": []})
                case ["api", "repos", "create"]:
                    self._create()
                case ["api", "datasets", owner, name, "preupload", _]:
                    self._preupload(f"{owner}/{name}")
                case ["api", "datasets", owner, name, "commit", _]:
                    self._commit(f"{owner}/{name}")
                case ["api", "datasets", owner, name]:
                    self._info(f"{owner}/{name}", "main")
                case ["api", "datasets", owner, name, "revision", revision]:
                    self._info(f"{owner}/{name}", revision)
                case ["datasets", owner, name, "info", "lfs", "objects", "batch"] if name.endswith(".git"):
                    self._batch(f"{owner}/{name.removesuffix('.git')}")
                case ["datasets", owner, name, "resolve", revision, *file]:
                    self._file(f"{owner}/{name}", revision, "/".join(file))
                case ["lfs", digest]:
                    self._store(digest)
                case _:
                    self._refuse(404)

        def _create(self) -> None:
            asked = json.loads(self._body())
            repo = f"{asked['organization']}/{asked['name']}"
            if self._failed("create") or not self._allowed():
                return
            hub.calls.append("create")
            if repo in hub.repos:
                self._json({"url": f"{hub.url}/datasets/{repo}"}, 409)
                return
            private = asked.get("visibility") == "private" or asked.get("private") is True
            hub.create(repo, private)
            self._json({"url": f"{hub.url}/datasets/{repo}"})

        def _preupload(self, repo: str) -> None:
            asked = json.loads(self._body())["files"]
            if self._failed("preupload") or not self._allowed():
                return
            there = hub.files(repo)
            self._json(
                {
                    "files": [
                        {
                            "path": f["path"],
                            "uploadMode": "lfs" if f["path"].endswith(LARGE) else "regular",
                            "shouldIgnore": False,
                            "oid": git_hash(there[f["path"]]) if f["path"] in there else None,
                        }
                        for f in asked
                    ]
                }
            )

        def _batch(self, repo: str) -> None:
            asked = json.loads(self._body())["objects"]
            if self._failed("batch") or not self._allowed():
                return
            objects = [
                {**o, "actions": {"upload": {"href": f"{hub.url}/lfs/{o['oid']}"}}} if o["oid"] not in hub.blobs else o
                for o in asked
            ]
            self._json({"transfer": "basic", "objects": objects})

        def _store(self, digest: str) -> None:
            fault = hub.fault("PUT")
            if fault == "drop":
                self.rfile.read(min(64, int(self.headers["Content-Length"])))
                self._hang_up()
                return
            data = self._body()
            if fault:
                self._refuse(int(fault))
                return
            hub.calls.append("PUT")
            if hashlib.sha256(data).hexdigest() != digest:
                self._refuse(400)
                return
            hub.blobs[digest] = data
            self._json({})

        def _commit(self, repo: str) -> None:
            lines = [json.loads(line) for line in self._body().splitlines()]
            if self._failed("commit") or not self._allowed():
                return
            hub.calls.append("commit")
            files = {}
            for line in lines:
                value = line["value"]
                if line["key"] == "file":
                    files[value["path"]] = base64.b64decode(value["content"])
                elif line["key"] == "lfsFile":
                    files[value["path"]] = hub.blobs[value["oid"]]
            sha = hub.commit(repo, files)
            self._json({"commitUrl": f"{hub.url}/datasets/{repo}/commit/{sha}", "commitOid": sha, "success": True})

        def _info(self, repo: str, revision: str) -> None:
            if self._failed("info") or not self._visible(repo):
                return
            known = hub.repos[repo]
            sha = known.head if revision == "main" else revision
            if sha not in known.commits:
                self._refuse(404, "RevisionNotFound")
                return
            siblings = []
            for name, digest in known.commits[sha].items():
                data = hub.blobs[digest]
                entry: dict[str, Any] = {"rfilename": name, "size": len(data), "blobId": git_hash(data)}
                if name.endswith(LARGE):
                    entry["lfs"] = {"sha256": digest, "size": len(data), "pointerSize": 130}
                siblings.append(entry)
            self._json(
                {"id": repo, "sha": sha, "private": known.private, "tags": [], "downloads": 0, "siblings": siblings}
            )

        def _file(self, repo: str, revision: str, name: str) -> None:
            if not self._visible(repo):
                return
            known = hub.repos[repo]
            sha = known.head if revision == "main" else revision
            if name not in known.commits.get(sha, {}):
                self._refuse(404, "EntryNotFound")
                return
            data = hub.blobs[known.commits[sha][name]]
            etag = hashlib.sha256(data).hexdigest() if name.endswith(LARGE) else git_hash(data)
            wanted, fault = self.headers.get("Range", ""), ""
            if self.command == "GET":
                hub.fetched.append((name, wanted))
                fault = hub.fault(name)
            if fault in ("429", "503"):
                self._refuse(int(fault))
                return
            begin = int(wanted.removeprefix("bytes=").split("-")[0]) if wanted.startswith("bytes=") else 0
            total, data = len(data), data[begin:]
            if fault == "corrupt":
                data = bytes(len(data))
            self.send_response(206 if begin else 200)
            self.send_header("Content-Length", str(len(data)))
            if begin:
                self.send_header("Content-Range", f"bytes {begin}-{total - 1}/{total}")
            self.send_header("Accept-Ranges", "bytes")
            self.send_header("ETag", f'"{etag}"')
            self.send_header("X-Repo-Commit", sha)
            self.end_headers()
            if self.command == "GET":
                self.wfile.write(data[: len(data) // 2] if fault == "drop" else data)
                if fault == "drop":
                    self._hang_up()

        # Answers ---------------------------------------------------------------------------------------------------

        def _body(self) -> bytes:
            if self.headers.get("Transfer-Encoding", "").lower() == "chunked":
                return b"".join(iter(self._chunk, b""))
            return self.rfile.read(int(self.headers.get("Content-Length") or 0))

        def _chunk(self) -> bytes:
            size = int(self.rfile.readline().split(b";")[0], 16)
            data = self.rfile.read(size)
            self.rfile.readline()
            return data

        def _failed(self, key: str) -> bool:
            fault = hub.fault(key)
            if fault == "drop":
                self._hang_up()
            elif fault:
                self._refuse(int(fault))
            return bool(fault)

        def _allowed(self) -> bool:
            allowed = self.headers.get("Authorization") == f"Bearer {TOKEN}"
            if not allowed:
                self._refuse(401)
            return allowed

        def _visible(self, repo: str) -> bool:
            """As the real one, which does not tell a private repository from none."""
            known = hub.repos.get(repo)
            if known is None or (known.private and self.headers.get("Authorization") != f"Bearer {TOKEN}"):
                self._refuse(404 if self.headers.get("Authorization") else 401, "RepoNotFound")
                return False
            return True

        def _json(self, content: Any, status: int = 200) -> None:
            body = json.dumps(content).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def _refuse(self, status: int, code: str = "") -> None:
            self.send_response(status)
            if code:
                self.send_header("X-Error-Code", code)
            self.send_header("Retry-After", "0")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def _hang_up(self) -> None:
            self.close_connection = True
            self.connection.shutdown(socket.SHUT_RDWR)

        def log_message(self, *_: object) -> None:
            return

    return Handler


@contextmanager
def client_of(hub: FakeHub, cache: Path) -> Iterator[None]:
    """The installed ``huggingface_hub`` speaks with the fake hub, waits for nothing, and reaches nothing else."""
    from huggingface_hub import constants

    with pytest.MonkeyPatch.context() as patch, only_this_machine():
        patch.setenv("HF_ENDPOINT", hub.url)
        patch.setenv("HF_TOKEN", TOKEN)
        patch.setattr(constants, "HF_HUB_CACHE", str(cache))
        patch.setattr(constants, "HF_HUB_DISABLE_XET", True, raising=False)  # speaks by way of Rust, not of HTTP
        patch.setattr("time.sleep", _nap())
        yield


def _nap() -> Any:
    from time import sleep

    return lambda seconds: sleep(min(seconds, 0.01))


@contextmanager
def only_this_machine() -> Iterator[None]:
    """Python's sockets refuse every other address, and names other than this machine's."""
    connect, resolve = socket.socket.connect, socket.getaddrinfo

    def guarded_connect(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and address[0] not in ("127.0.0.1", "::1"):
            raise AssertionError(f"a call left the machine: {address}")
        connect(self, address)

    def guarded_resolve(host: Any, *args: Any, **options: Any) -> Any:
        if isinstance(host, str) and any(c.isalpha() for c in host) and host != "localhost":
            raise AssertionError(f"a name of another machine was looked up: {host}")
        return resolve(host, *args, **options)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(socket.socket, "connect", guarded_connect)
        patch.setattr(socket, "getaddrinfo", guarded_resolve)
        yield

"""The door of the server: what is refused before a route sees it, the headers of every answer, the log of refusals.

A page of another site must reach nothing: its requests carry no session (SameSite=Strict), cannot set our header, and
say where they come from; a name that it rebinds to this machine's address fails at the Host header.
"""

from __future__ import annotations

import asyncio
import ipaddress
import json
import os
import threading
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from pathlib import Path
from typing import Any

from .records import now
from .refusals import CrossSite, Malformed, Refusal, Stopping, TooLarge, WrongContentType, WrongHost

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

MOST_BODY = 8 << 20
MOST_UPLOAD = 512 << 20
MOST_URL = 4096
#: (method, path) whose bodies are files
UPLOADS = {("POST", "/api/clips"), ("POST", "/api/imports")}
_MOST_LOG = 2 << 20
_SAFE_METHODS = ("GET", "HEAD")

HEADERS = {
    "content-security-policy": (
        "default-src 'self'; img-src 'self' blob: data:; style-src 'self'; script-src 'self'; worker-src 'self'; "
        "connect-src 'self'; object-src 'none'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "x-frame-options": "DENY",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
    "permissions-policy": "camera=(), microphone=(), geolocation=()",
}


class RefusedLog:
    """One JSON line per refused request; the file is kept below 2 MB, with one older one beside it."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()

    def add(self, scope: Scope, status: int, code: str, message: str) -> None:
        """Note a refusal; never the token or the body."""
        client = scope.get("client") or ("", 0)
        entry = {
            "at": now(),
            "client": client[0],
            "method": str(scope.get("method", ""))[:10],
            "path": str(scope.get("path", ""))[:300],
            "status": status,
            "code": code,
            "message": message[:300],
            "person": scope.get("rvos.person", ""),
        }
        line = json.dumps(entry) + "\n"  # ASCII: a control character cannot forge a line
        with self._lock:
            if self.path.exists() and self.path.stat().st_size > _MOST_LOG:
                os.replace(self.path, self.path.with_suffix(".old.log"))
            with open(self.path, "a", encoding="ascii", opener=_no_link) as file:
                file.write(line)


def _no_link(path: str, flags: int) -> int:
    return os.open(path, flags | os.O_NOFOLLOW, 0o600)


class Door:
    """ASGI middleware that checks Host, origin, content type and size, and sets the headers of answers."""

    def __init__(
        self, app: Any, names: Iterable[str], loopback_only: bool, log: RefusedLog, is_stopping: Callable[[], bool]
    ) -> None:
        """
        Args:
            app: what is behind the door.
            names: host names by which the server may be called, beside addresses.
            loopback_only: whether only loopback addresses are names of this server.
            log: gets what is refused.
            is_stopping: whether the server is being stopped, so that what is cancelled now is no fault.
        """
        self.app = app
        self.is_stopping = is_stopping
        self.names = {name.lower() for name in names} | {"localhost"}
        self.loopback_only = loopback_only
        self.log = log

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "websocket":
            self.log.add(scope, 403, "method", "There are no web sockets here.")
            await send({"type": "websocket.close", "code": 1008})
            return
        if scope["type"] != "http":
            await self.app(scope, receive, send)
            return
        answer = _Answer(send)
        try:
            headers = _headers(scope)
            self._check_host(headers)
            self._check_origin(scope, headers)
            limit = _check_body(scope, headers)
            bounded = _bounded(receive, limit)
            if limit == MOST_BODY:
                bounded = _replayed(await _body(bounded), receive)
            await self.app(scope, bounded, answer.send)
        except Refusal as refusal:
            self.log.add(scope, refusal.status, refusal.code, str(refusal))
            if not answer.started:
                await _send_refusal(answer.send, refusal)
        except asyncio.CancelledError:
            if not self.is_stopping():
                raise
            if not answer.started:
                await _send_refusal(answer.send, Stopping("The server is being stopped; nothing was written."))

    def _check_host(self, headers: dict[str, str]) -> None:
        host = _host_name(headers.get("host", ""))
        if host in self.names:
            return
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            raise WrongHost(f"This server is not called '{host[:80]}'; start it with --name to allow that.") from None
        if self.loopback_only and not address.is_loopback:
            raise WrongHost("This server answers on this machine only; start it with --host to open it to others.")

    def _check_origin(self, scope: Scope, headers: dict[str, str]) -> None:
        api = scope["path"].startswith("/api")
        site = headers.get("sec-fetch-site", "same-origin")
        if api and site not in ("same-origin", "none"):
            raise CrossSite("A page of another site asked for this.")
        if scope["method"] in _SAFE_METHODS:
            return
        if headers.get("x-rvos") != "1":
            raise CrossSite("The header 'X-Rvos: 1' is missing.")
        origin = headers.get("origin")
        if origin is not None and origin.partition("://")[2] != headers.get("host"):
            raise CrossSite("The Origin header names another site.")


def _headers(scope: Scope) -> dict[str, str]:
    found: dict[str, str] = {}
    for raw, value in scope["headers"]:
        name = raw.decode("latin-1").lower()
        if name in ("host", "origin", "content-length", "x-rvos") and name in found:
            raise Malformed(f"The header '{name}' occurs twice.")
        found[name] = value.decode("latin-1")
    if len(scope.get("raw_path") or b"") + len(scope.get("query_string", b"")) > MOST_URL:
        raise TooLarge(f"The address is longer than {MOST_URL} bytes.")
    return found


def _host_name(host: str) -> str:
    """The host without its port: ``[::1]:8000`` is ``::1``."""
    if host.startswith("["):
        return host[1:].partition("]")[0].lower()
    return host.partition(":")[0].lower()


def _check_body(scope: Scope, headers: dict[str, str]) -> int:
    """The most bytes the body may have, 0 where there is none. Raises TooLarge, WrongContentType, Malformed."""
    if scope["method"] in _SAFE_METHODS:
        return 0
    upload = (scope["method"], scope["path"]) in UPLOADS
    limit = MOST_UPLOAD if upload else MOST_BODY
    length = headers.get("content-length", "0")
    if not length.isdecimal() or len(length) > 18:
        raise Malformed("Content-Length is no number.")
    if int(length) > limit:
        raise TooLarge(f"The body has {length} bytes; this takes {limit} at most.")
    wanted = "application/octet-stream" if upload else "application/json"
    given = headers.get("content-type", "").partition(";")[0].strip().lower()
    empty = scope["method"] == "DELETE" or (length == "0" and "transfer-encoding" not in headers)
    if given != wanted and not (empty and not given):
        raise WrongContentType(f"The body's type is '{given[:60]}'; this takes {wanted}.")
    return limit


def _bounded(receive: Receive, limit: int) -> Receive:
    """A body that ends in TooLarge where it is longer than announced or allowed."""
    seen = 0

    async def read() -> Message:
        nonlocal seen
        message = await receive()
        seen += len(message.get("body", b""))
        if seen > limit:
            raise TooLarge(f"The body has more than {limit} bytes.")
        return message

    return read


async def _body(receive: Receive) -> bytes:
    """A whole body, read before any route sees a part of it."""
    parts = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if not message.get("more_body", False):
            return b"".join(parts)


def _replayed(body: bytes, receive: Receive) -> Receive:
    """Gives a body that was read already, then what comes after it."""
    given = False

    async def read() -> Message:
        nonlocal given
        if given:
            return await receive()
        given = True
        return {"type": "http.request", "body": body, "more_body": False}

    return read


class _Answer:
    """Adds the headers of every answer; knows whether one was started."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self.started = False

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.started = True
            given = {name.lower() for name, _ in message["headers"]}
            more = [(n.encode(), v.encode()) for n, v in HEADERS.items() if n.encode() not in given]
            if b"cache-control" not in given:
                more.append((b"cache-control", b"no-store"))
            message["headers"] = [*message["headers"], *more]
        await self._send(message)


def refusal_body(refusal: Refusal) -> dict[str, Any]:
    """The JSON of a refusal."""
    return {"error": {"code": refusal.code, "message": str(refusal), **refusal.extra}}


async def _send_refusal(send: Send, refusal: Refusal) -> None:
    body = json.dumps(refusal_body(refusal)).encode("ascii")
    headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
    await send(
        {"type": "http.response.start", "status": refusal.status, "headers": [*headers, (b"connection", b"close")]}
    )
    await send({"type": "http.response.body", "body": body})

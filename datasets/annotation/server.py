"""The workbench as a web application: routes, static pages, and how it is run."""

from __future__ import annotations

import hashlib
import os
import re
import signal
import socket
from collections.abc import AsyncIterator, Iterable
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from types import FrameType
from urllib.parse import urlsplit

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from starlette.exceptions import HTTPException
from starlette.responses import JSONResponse, Response

from ..errors import RvosError, UsageError
from . import routes_clips, routes_jobs, routes_people
from .bench import Bench
from .jobs import Jobs
from .models import Models
from .paraphrases import Paraphraser
from .refusals import Invalid, Malformed, Refusal, Unknown
from .security import Door, RefusedLog, refusal_body
from .store import Store

WEB = Path(__file__).parent / "web"
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
    ".woff2": "font/woff2",
    ".json": "application/json",
}
_PART = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]*\Z")
_CODES = {404: "unknown", 405: "method"}


def create_app(
    store: Store,
    models: Models | None = None,
    paraphrase: Paraphraser | None = None,
    names: Iterable[str] = (),
    loopback_only: bool = True,
) -> FastAPI:
    """The application of one project.

    Args:
        store: the open project; closed with the application.
        models: propagators and segmenters; only the built-in one by default.
        paraphrase: a language model for paraphrases.
        names: host names by which the server is called, beside addresses.
        loopback_only: refuse every Host that is not this machine.
    """
    routes_jobs.remove_old_uploads(store.folder)
    log = RefusedLog(store.folder / "refused.log")
    bench = Bench(store, models or Models(), Jobs(), log, paraphrase)

    @asynccontextmanager
    async def life(_: FastAPI) -> AsyncIterator[None]:
        yield
        bench.jobs.close()
        store.close()

    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, lifespan=life, redirect_slashes=False)
    app.state.bench = bench
    for module in (routes_clips, routes_people, routes_jobs):
        app.include_router(module.router)
    app.add_api_route("/", index, methods=["GET"])
    app.add_api_route("/web/{path:path}", web_file, methods=["GET"])
    app.add_exception_handler(RvosError, _refused)
    app.add_exception_handler(RequestValidationError, _refused)
    app.add_exception_handler(RecursionError, _refused)
    app.add_exception_handler(HTTPException, _refused)
    app.add_exception_handler(Exception, _broken)
    app.add_middleware(
        Door, names=tuple(names), loopback_only=loopback_only, log=log, is_stopping=bench.stopping.is_set
    )
    return app


def index(request: Request) -> Response:
    """The one page."""
    return web_file(request, "index.html")


def web_file(request: Request, path: str) -> Response:
    """A file of the front end. It holds nothing of a project, so it needs no session."""
    parts = path.split("/")
    file = WEB.joinpath(*parts)
    if not all(_PART.match(part) for part in parts) or file.suffix not in _TYPES or not file.is_file():
        raise Unknown("There is no such page.")
    data = file.read_bytes()
    headers = {"etag": f'"{hashlib.sha256(data).hexdigest()[:32]}"', "cache-control": "no-cache"}
    if request.headers.get("if-none-match") == headers["etag"]:
        return Response(status_code=304, headers=headers)
    return Response(data, media_type=_TYPES[file.suffix], headers=headers)


async def _refused(request: Request, error: Exception) -> Response:
    """A refusal as JSON, noted in the log."""
    refusal = _as_refusal(error)
    bench: Bench = request.app.state.bench
    bench.log.add(request.scope, refusal.status, refusal.code, str(refusal))
    return JSONResponse(refusal_body(refusal), status_code=refusal.status)


def _as_refusal(error: Exception) -> Refusal:
    if isinstance(error, Refusal):
        return error
    if isinstance(error, RequestValidationError):
        first = error.errors()[0]
        place = ".".join(str(part) for part in first["loc"])
        return Malformed(f"{place[:200]}: {first['msg'][:200]}", field=place[:200])
    if isinstance(error, HTTPException):
        refusal = Refusal(str(error.detail))
        refusal.status, refusal.code = error.status_code, _CODES.get(error.status_code, "malformed")
        return refusal
    if isinstance(error, RecursionError):
        return Malformed("The body is nested too deep.")
    return Invalid(str(error))


async def _broken(request: Request, error: Exception) -> Response:
    """A fault of the program: the client learns no more than that; the trace goes to the server's output."""
    body = {"error": {"code": "internal", "message": "The server failed; its output says why. Nothing was written."}}
    return JSONResponse(body, status_code=500)


def paraphraser(url: str, model: str) -> Paraphraser:
    """A language model at an address; its key, if it needs one, is in the environment variable OPENAI_API_KEY."""
    if urlsplit(url).scheme not in ("http", "https"):
        raise UsageError(f"{url}: expected an address such as http://127.0.0.1:8000/v1.")
    return Paraphraser(url, model, os.environ.get("OPENAI_API_KEY", ""))


def listen(host: str, port: int) -> socket.socket:
    """A listening socket. Raises UsageError where the address or port cannot be had."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        return socket.create_server((host, port), family=family)
    except (OSError, OverflowError) as error:
        raise UsageError(f"{host}:{port} cannot be listened at ({error}); give another --host or --port.") from error


def serve(app: FastAPI, listening: socket.socket) -> None:
    """Run the application until Ctrl-C or SIGTERM; pages that wait for news are answered, then it ends."""
    import uvicorn

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            app.state.bench.stopping.set()
            super().handle_exit(sig, frame)

    config = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        h11_max_incomplete_event_size=64 << 10,
        timeout_keep_alive=30,
        timeout_graceful_shutdown=3,
    )
    # uvicorn raises a signal again once it has ended: both are to end as KeyboardInterrupt, and that is expected
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        with suppress(KeyboardInterrupt):
            Server(config).run([listening])
    finally:
        signal.signal(signal.SIGTERM, before)

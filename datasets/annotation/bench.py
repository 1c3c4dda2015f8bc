"""What the routes share: the project, its caches, jobs and models, and who is asking."""

from __future__ import annotations

import re
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from fastapi import Depends, Request
from starlette.responses import JSONResponse

from .blind import Desk
from .database import dumps
from .jobs import Jobs
from .models import Models
from .paraphrases import Paraphraser
from .people import Person, Role, identify, may_edit
from .refusals import Busy, NoSession, WrongRole
from .security import RefusedLog
from .store import Store
from .tracks import Tracks

_TAB = re.compile(r"[A-Za-z0-9-]{8,40}\Z")
_MOST_FAILURES, _FAILURE_SECONDS = 30, 60.0

EVERYBODY: tuple[Role, ...] = ("owner", "author", "reviewer", "blind")
READERS: tuple[Role, ...] = ("owner", "author", "reviewer")
EDITORS: tuple[Role, ...] = ("owner", "author")
JUDGES: tuple[Role, ...] = ("owner", "reviewer")
OWNERS: tuple[Role, ...] = ("owner",)
BLIND: tuple[Role, ...] = ("blind",)


class Answer(JSONResponse):
    """JSON as it is stored: text as it is, no number that is none."""

    def render(self, content: Any) -> bytes:
        return dumps(content).encode("utf-8", "replace")


@dataclass
class Bench:
    """An open project and what serves it."""

    store: Store
    models: Models
    jobs: Jobs
    log: RefusedLog
    paraphrase: Paraphraser | None = None
    tracks: Tracks = field(init=False)
    desk: Desk = field(init=False)
    cookie: str = field(init=False)
    failures: deque[float] = field(default_factory=lambda: deque(maxlen=_MOST_FAILURES))
    stopping: threading.Event = field(default_factory=threading.Event)
    _report: tuple[int, dict[str, Any]] | None = None
    _reporting: threading.Lock = field(default_factory=threading.Lock)

    def __post_init__(self) -> None:
        self.tracks = Tracks(self.store)
        self.desk = Desk(self.store)
        # Cookies are shared by all ports of a host: two projects must not end each other's sessions.
        self.cookie = f"rvos-{self.store.project()['id'][:8]}"

    def report(self) -> dict[str, Any]:
        """What ``agreement`` measures, and how much there is; worked out again when something changed."""
        from .report import report_of

        with self._reporting:
            seq = self.store.latest()
            if self._report is None or self._report[0] != seq:
                self._report = (seq, report_of(self.store))
            return self._report[1]

    def expect_patience(self) -> None:
        """Raises Busy where too many wrong tokens came in the last minute."""
        recent = [at for at in self.failures if time.monotonic() - at < _FAILURE_SECONDS]
        if len(recent) == _MOST_FAILURES:
            raise Busy("Too many wrong tokens; wait a minute.")


@dataclass(frozen=True)
class Call:
    """A request of a known person that their role allows."""

    bench: Bench
    person: Person
    tab: str

    @property
    def store(self) -> Store:
        return self.bench.store

    def expect_editor(self, clip: int) -> None:
        """Raises WrongRole where the clip is assigned to others, Unknown where there is none."""
        self.store.clip(clip)
        if not may_edit(self.store, self.person, clip):
            raise WrongRole("This clip is not assigned to you.")


F = TypeVar("F", bound=Callable[..., Any])


def allowed(*roles: Role) -> Callable[[F], F]:
    """Says which roles may call a route; a route that does not say so is open to nobody."""

    def mark(endpoint: F) -> F:
        endpoint.roles = roles  # type: ignore[attr-defined]
        return endpoint

    return mark


def call(request: Request) -> Call:
    """Who asks, if their role may. Raises NoSession, WrongRole."""
    bench: Bench = request.app.state.bench
    person = _person(bench, request)
    request.scope["rvos.person"] = person.id
    if person.role not in getattr(request.scope["endpoint"], "roles", ()):
        raise WrongRole(f"This is not for the role '{person.role}'.")
    tab = request.headers.get("x-rvos-tab", "")
    return Call(bench, person, tab if _TAB.match(tab) else "")


def _person(bench: Bench, request: Request) -> Person:
    scheme, _, token = request.headers.get("authorization", "").partition(" ")
    if scheme.lower() == "bearer":
        bench.expect_patience()
        try:
            return identify(bench.store, token.strip(), "link")
        except NoSession:
            bench.failures.append(time.monotonic())
            raise
    session = request.cookies.get(bench.cookie)
    if session is None:
        raise NoSession("Nobody is logged in here; open your link again.")
    return identify(bench.store, session, "session")


Caller = Annotated[Call, Depends(call)]

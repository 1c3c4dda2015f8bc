"""What the workbench refuses to do, with the HTTP status and the code that the page acts on."""

from __future__ import annotations

from typing import Any

from ..errors import RvosError


class Refusal(RvosError):
    """A request that is not carried out; nothing was changed.

    Attributes:
        status: of the HTTP answer.
        code: one word for the page.
        extra: further fields of the answer.
    """

    status = 400
    code = "malformed"

    def __init__(self, message: str, **extra: Any) -> None:
        super().__init__(message)
        self.extra = extra


class Malformed(Refusal):
    """Not what the route takes: no JSON, a field of another type, an unknown field."""


class NoSession(Refusal):
    """Nobody is logged in, or the token is wrong."""

    status, code = 401, "session"


class WrongRole(Refusal):
    """The person's role may not do this."""

    status, code = 403, "role"


class CrossSite(Refusal):
    """A request that a page of another site may have caused."""

    status, code = 403, "cross-site"


class Unknown(Refusal):
    """Something that does not exist, or that the person may not know of."""

    status, code = 404, "unknown"


class Conflict(Refusal):
    """Somebody else changed the same thing since the page read it.

    ``conflicts`` lists per operation what is there now.
    """

    status, code = 409, "conflict"

    def __init__(self, conflicts: list[dict[str, Any]]) -> None:
        first = conflicts[0]
        who = f" by {first['by']}" if first.get("by") else ""
        super().__init__(
            f"{first['kind']} {first['id']} was changed{who} since this page read it; nothing was written.",
            conflicts=conflicts,
        )
        self.conflicts = conflicts


class InUse(Refusal):
    """An object that sentences mean."""

    status, code = 409, "in-use"


class NothingToUndo(Refusal):
    """The person's undo list of this clip is empty."""

    status, code = 409, "nothing-to-undo"


class NothingToRedo(Refusal):
    """The person's redo list of this clip is empty."""

    status, code = 409, "nothing-to-redo"


class TooLarge(Refusal):
    """More bytes than the route takes."""

    status, code = 413, "too-large"


class WrongContentType(Refusal):
    """A body of another type than the route takes."""

    status, code = 415, "content-type"


class WrongHost(Refusal):
    """A Host header that does not name this server: a name that was rebound to its address."""

    status, code = 421, "host"


class Invalid(Refusal):
    """Well-formed, and not acceptable."""

    status, code = 422, "invalid"


class Stopping(Refusal):
    """The server is being stopped; nothing of the request was written."""

    status, code = 503, "stopping"


class Busy(Refusal):
    """Too much at once; try again later."""

    status, code = 429, "busy"

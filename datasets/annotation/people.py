"""People without accounts: a token link for each, browser sessions, and what each role may do.

Only hashes of tokens are stored; a token has 256 random bits, so that a plain hash is enough.
"""

from __future__ import annotations

import hashlib
import re
import secrets
import time
from dataclasses import dataclass
from typing import Any, Literal, get_args

import sqlalchemy as sa

from . import database as db
from .journal import Author
from .records import now
from .refusals import Invalid, NoSession, Unknown
from .store import OWNER, Store

Role = Literal["owner", "author", "reviewer", "blind"]
#: roles that a person can be invited as
INVITED = ("author", "blind", "reviewer")
SESSION_SECONDS = 30 * 24 * 3600.0
_FOREVER = 1e12
_SEEN_EVERY = 60.0


@dataclass(frozen=True)
class Person:
    """Who asks."""

    id: str
    name: str
    role: Role


def invite(store: Store, name: str, role: str, by: str = OWNER) -> tuple[Person, str]:
    """A new person, or a new link for one who is there. Gives the person and the token, which nothing else knows.

    Raises:
        Invalid: another role than that person has, a name that is none, an unknown role.
    """
    name = " ".join(name.split())
    if role not in INVITED:
        raise Invalid(f"'{role}' is no role; roles are {', '.join(INVITED)}.")
    if not name.isprintable() or not 0 < len(name) <= 80:
        raise Invalid("A person's name has 1 to 80 printable characters.")
    known = next((p for p in store.people() if p["name"].casefold() == name.casefold()), None)
    if known is not None and known["role"] != role:
        raise Invalid(f"{known['name']} is {known['role']} already, and who has seen answers cannot be blind to them.")
    person_id = _new_person(store, name, role, by) if known is None else known["id"]
    if known is not None and known["revoked"]:
        _set_revoked(store, person_id, False, by)
    return _person(store.person(person_id)), new_link(store, person_id)


def new_link(store: Store, person_id: str) -> str:
    """A new token of a person; the former one stops working, sessions go on."""
    token = secrets.token_urlsafe(32)
    with store.keeping() as connection:
        rows = db.credential.c
        connection.execute(sa.delete(db.credential).where(rows.person == person_id, rows.kind == "link"))
        connection.execute(_credential(token, person_id, "link", _FOREVER))
    return token


def revoke(store: Store, person_id: str, by: str = OWNER) -> None:
    """End a person's access; what they made stays. Raises Unknown, Invalid for the owner."""
    if person_id == OWNER:
        raise Invalid("The owner cannot be revoked.")
    _set_revoked(store, person_id, True, by)
    with store.keeping() as connection:
        connection.execute(sa.delete(db.credential).where(db.credential.c.person == person_id))


def log_in(store: Store, token: str) -> tuple[Person, str]:
    """A browser session for who holds a link's token: the person and the session's token. Raises NoSession."""
    person = identify(store, token, "link")
    session = secrets.token_urlsafe(32)
    with store.keeping() as connection:
        connection.execute(sa.delete(db.credential).where(db.credential.c.expires_at < time.time()))
        connection.execute(_credential(session, person.id, "session", time.time() + SESSION_SECONDS))
    return person, session


def log_out(store: Store, session: str) -> None:
    """End a browser session."""
    with store.keeping() as connection:
        connection.execute(sa.delete(db.credential).where(db.credential.c.hash == _hash(session)))


def identify(store: Store, token: str, kind: str) -> Person:
    """Whose token this is; ``kind`` is link or session. Raises NoSession."""
    rows = db.credential.c
    query = sa.select(db.person, rows.seen_at).join(db.credential, rows.person == db.person.c.id)
    with store.reading() as connection:
        wanted = (rows.hash == _hash(token), rows.kind == kind, rows.expires_at > time.time())
        found = connection.execute(query.where(*wanted)).mappings().first()
    if found is None or found["revoked"]:
        raise NoSession("This link is not valid (any more); ask for a new one: rvos annotate invite.")
    if time.time() - found["seen_at"] > _SEEN_EVERY:
        with store.keeping() as connection:
            seen = sa.update(db.credential).where(rows.hash == _hash(token)).values(seen_at=time.time())
            connection.execute(seen)
    return _person(found)


def last_seen(store: Store) -> dict[str, float]:
    """Seconds since 1970 at which each person was last there, by id."""
    rows = db.credential.c
    with store.reading() as connection:
        found = connection.execute(sa.select(rows.person, sa.func.max(rows.seen_at)).group_by(rows.person))
        return {person: seen for person, seen in found if seen}


def assign(store: Store, person_id: str, clip: int, state: str | None, by: str = OWNER) -> None:
    """Give a clip to a person (``open``), mark it ``done``, or take it back (None). Raises Unknown, Invalid."""
    person, name = store.person(person_id), store.clip(clip)["id"]
    if state not in ("open", "done", None):
        raise Invalid(f"An assignment is open or done, not '{state}'.")
    with store.change(clip, Author(by), f"assignment of {name} to {person['name']}", kind="record") as change:
        if state is None:
            change.delete("assignment", person_id, clip)
        else:
            change.put("assignment", {"person": person_id, "clip": clip, "state": state})


def may_edit(store: Store, person: Person, clip: int) -> bool:
    """Whether a person may change a clip: the owner any, an author those assigned to them, or all if none is."""
    if person.role == "owner":
        return True
    if person.role != "author":
        return False
    own = {a["clip"] for a in store.assignments() if a["person"] == person.id}
    return not own or clip in own


def _new_person(store: Store, name: str, role: str, by: str) -> str:
    taken = {p["id"] for p in store.people()}
    stem = re.sub(r"[^a-z0-9]+", "-", name.casefold().encode("ascii", "ignore").decode()).strip("-") or "person"
    numbered = (f"{stem}-{n}" if n > 1 else stem for n in range(1, len(taken) + 2))
    person_id = next(name for name in numbered if name not in taken)
    with store.change(None, Author(by), f"invite {role}", kind="record") as change:
        row = {"id": person_id, "name": name, "role": role, "created_at": now(), "revoked": False}
        change.put("person", row)
    return person_id


def _set_revoked(store: Store, person_id: str, revoked: bool, by: str) -> None:
    with store.change(None, Author(by), "revoke" if revoked else "invite", kind="record") as change:
        row = change.row("person", person_id)
        if row is None:
            raise Unknown(f"There is no person '{person_id[:80]}'.")
        change.put("person", {**row, "revoked": revoked})


def _person(row: Any) -> Person:
    assert row["role"] in get_args(Role)
    return Person(row["id"], row["name"], row["role"])


def _credential(token: str, person_id: str, kind: str, expires_at: float) -> sa.Insert:
    return sa.insert(db.credential).values(
        hash=_hash(token), person=person_id, kind=kind, created_at=now(), expires_at=expires_at, seen_at=0.0
    )


def _hash(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).hexdigest()

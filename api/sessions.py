"""``/api/v1/session``: logging in to the page and out of it, and who one is there."""

import time
from typing import Final

import gevent
import msgspec
from flask import Blueprint, Response, g, request
from gevent.lock import BoundedSemaphore

from api.access import COOKIE, Access, Visitor
from api.endpoints import JSON, endpoint
from api.limits import Buckets
from api.problems import ProblemError
from engine.people import is_password_of
from engine.sessions import Session, csrf_token

PATH: Final = "/api/v1/session"
HASHES_AT_ONCE: Final = 2
"""Each takes a core and 32 MiB for a tenth of a second."""
HASH_WITHIN_S: Final = 5.0
TRIES_PER_S: Final = 0.1
TRIES_OF_ADDRESS: Final = 5
"""Log-ins at once from one address; then one every ten seconds."""
TRIES_FOR_NAME: Final = 30
"""For one name from everywhere: more, so that a stranger locks nobody out easily."""


class LogIn(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A name and a password, or a key."""

    name: str = ""
    password: str = ""
    key: str = ""


class WhoAmI(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking; all empty while nobody is logged in."""

    name: str = ""
    scope: str = ""
    csrf: str = ""
    """What a page says in ``X-CSRF-Token`` with every change."""
    open: bool = False
    """No password is needed: only this machine reaches this front, and there is no key."""


class LogInRoom:
    """Checks passwords, slowly and not often."""

    def __init__(self, access: Access, session_hours: float) -> None:
        self._access = access
        self._seconds = int(session_hours * 3_600)
        self._of_address = Buckets(TRIES_PER_S, TRIES_OF_ADDRESS)
        self._for_name = Buckets(TRIES_PER_S, TRIES_FOR_NAME)
        self._hashing = BoundedSemaphore(HASHES_AT_ONCE)

    def log_in(self, said: LogIn) -> Response:
        """Return who logged in, and the cookie.

        Raises:
            ProblemError: 401 name, password or key is wrong; 429 too many tries.
        """
        self._access.limit(self._of_address, g.origin.network)
        named = self._access.people.of(said.name)  # a password in the wrong field is not noted
        g.what = "with a key" if said.key else f"as {named.name if named else 'nobody known'}"
        visitor, session = self._by_key(said.key) if said.key else self._by_password(said)
        token = self._access.sessions.begin(session)
        g.actor, g.what = visitor.who, ""
        answer = WhoAmI(name=visitor.who, scope=visitor.scope, csrf=csrf_token(token))
        response = Response(msgspec.json.encode(answer), mimetype=JSON)
        response.set_cookie(
            COOKIE,
            token,
            max_age=self._seconds,
            secure=g.origin.is_secure,
            httponly=True,
            samesite="Strict",
        )
        return response

    def _by_key(self, text: str) -> tuple[Visitor, Session]:
        key = self._access.keys.known(text)
        if key is None:
            raise ProblemError(401, "this key is not known here", field="key")
        visitor = Visitor(who=key.title, scope=key.scope)
        return visitor, self._session(key_id=key.id, since_unix_ms=key.made_unix_ms)

    def _by_password(self, said: LogIn) -> tuple[Visitor, Session]:
        self._access.limit(self._for_name, said.name[:64])
        person = self._access.people.of(said.name)
        if not self._hashing.acquire(timeout=HASH_WITHIN_S):
            raise ProblemError(503, "too many log in at once", retry_after_s=2)
        try:  # in a native thread: the other greenlets go on meanwhile
            threads = gevent.get_hub().threadpool
            right = threads.apply(is_password_of, (person, said.password))
        finally:
            self._hashing.release()
        if person is None or not right:
            raise ProblemError(401, "the name or the password is wrong", field="password")
        visitor = Visitor(who=person.name, scope=person.scope)
        return visitor, self._session(person=person.name, since_unix_ms=person.made_unix_ms)

    def _session(self, since_unix_ms: int, person: str = "", key_id: str = "") -> Session:
        expires_ms = time.time_ns() // 1_000_000 + self._seconds * 1_000
        return Session(
            sha256="", person=person, key_id=key_id,
            since_unix_ms=since_unix_ms, expires_unix_ms=expires_ms,
        )  # fmt: skip


def blueprint(access: Access, session_hours: float) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("sessions", __name__)
    room = LogInRoom(access, session_hours)

    @routes.post(PATH)
    @endpoint(needs=None, body=LogIn, answers=WhoAmI)
    def log_in(body: LogIn) -> Response:
        """Log in with a name and a password, or with a key; sets the session's cookie."""
        return room.log_in(body)

    @routes.get(PATH)
    @endpoint(needs=None, answers=WhoAmI)
    def who_am_i() -> WhoAmI:
        """Who is asking, what they may do, and what the page says with changes."""
        visitor: Visitor | None = g.visitor
        if visitor is None:
            return WhoAmI()
        return WhoAmI(name=visitor.who, scope=visitor.scope, csrf=visitor.csrf, open=access.is_open)

    @routes.delete(PATH)
    @endpoint(needs=None, status=204)
    def log_out() -> Response:
        """Log out; harmless where nobody is logged in."""
        token = request.cookies.get(COOKIE, "")
        if token:
            access.sessions.end(token)
        response = Response(status=204)
        response.delete_cookie(COOKIE, httponly=True, samesite="Strict")
        return response

    return routes

"""Who is asking, and may they: checked before every view, by what the view declares.

A program shows a key in ``Authorization: Bearer`` or ``X-API-Key``. Agents, scrapers and players
that can send no header put one of a narrow scope into the URL; it is taken out before anything else
sees the URL. The page has a session. A front that only this machine reaches, and for which nobody
has made a key or added a person, is open: everybody there may do everything.
"""

import hmac
import re
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, Final
from urllib.parse import unquote_plus

import msgspec
from flask import Flask, Request, Response, current_app, g, request

from api.endpoints import declared_by
from api.limits import Buckets, Origin, Proxies, is_loopback
from api.problems import ProblemError
from api.stays import Claim, while_it_holds
from engine.board import Count, Row
from engine.config import ApiSettings
from engine.errors import PreflightError
from engine.keys import Key, Keys
from engine.people import People
from engine.records import FOLDER
from engine.scopes import Scope
from engine.sessions import Sessions, csrf_token

COOKIE: Final = "platering_session"
CSRF_HEADER: Final = "X-CSRF-Token"
URL_KEY: Final = "platering.url_key"
"""Where the WSGI environment has the key that stood in the URL."""
IN_URL: Final = frozenset({Scope.INGEST, Scope.METRICS, Scope.STREAM})
"""What keys in URLs are for: others' logs keep URLs, so only narrow keys may stand there."""
UNLIMITED: Final = frozenset({Scope.INGEST, Scope.STREAM})
"""Needs that known visitors may have as often as they like.

A full queue tells agents to wait, and streams have limits of their own: a browser that is told to
wait when it comes back to one never tries again.
"""
STATIC: Final = "static"
"""Flask's own view of the page's files."""
LOG_IN: Final = "sessions.log_in"
BURST_S: Final = 5.0
"""So many seconds' worth of requests may come at once."""

_SAFE: Final = frozenset({"GET", "HEAD", "OPTIONS"})
_SHOW_A_KEY: Final = "log in, or show a key: Authorization: Bearer KEY"


class Visitor(msgspec.Struct, frozen=True, kw_only=True):
    """Who is asking, once it is known."""

    who: str
    """As the audit log says it."""
    scope: Scope
    csrf: str = ""
    """What must be said with changes; empty where no cookie was shown, as no page does that."""


LOCAL: Final = Visitor(who="this machine", scope=Scope.ADMIN)
"""Everybody, while the front is open."""


class KeyOutOfUrl:
    """WSGI middleware: takes ``?key=`` out of the URL, so that nothing behind it can tell of it."""

    def __init__(self, application: Callable[..., Iterable[bytes]]) -> None:
        self._application = application

    def __call__(self, environ: dict[str, Any], start_response: Any) -> Iterable[bytes]:
        """Serve a request."""
        kept = []
        for part in environ.get("QUERY_STRING", "").split("&"):
            name, _, value = part.partition("=")
            if unquote_plus(name) == "key":
                environ[URL_KEY] = unquote_plus(value)
            else:
                kept.append(part)
        environ["QUERY_STRING"] = "&".join(kept)
        return self._application(environ, start_response)


class Access:
    """The check, and what it looks into."""

    def __init__(self, data_dir: Path, settings: ApiSettings, row: Row, *, loopback: bool) -> None:
        """Be open until there is a key if only this machine reaches us (``loopback``)."""
        folder = data_dir / FOLDER
        self.keys, self.people, self.sessions = Keys(folder), People(folder), Sessions(folder)
        self.proxies = Proxies(settings.trusted_proxies)
        self._loopback = loopback and not settings.trusted_proxies
        rate = settings.requests_per_s
        self._buckets = Buckets(rate, max(1.0, BURST_S * rate))
        self._row = row

    def install(self, app: Flask) -> None:
        """Let the check run before every view."""
        app.wsgi_app = KeyOutOfUrl(app.wsgi_app)  # type: ignore[method-assign]  # as Flask says
        app.before_request(self.admit)
        app.after_request(_say_how_to_log_in)
        app.after_request(self._end_with_the_claim)

    @property
    def is_open(self) -> bool:
        """Tell whether no password is needed.

        Raises:
            PreflightError: the keys cannot be read.
        """
        return self._loopback and not self.keys.all() and not self.people.all()

    def admit(self) -> None:
        """Let a request through to its view, or refuse it.

        Sets ``flask.g``: ``origin``; ``claim``; ``visitor`` (None: nobody knows); ``actor`` and
        ``scope``.

        Raises:
            ProblemError: 401 who are you, 403 you may not, 429 not so often.
        """
        g.origin, g.visitor, g.actor, g.scope = self.proxies.origin(request.environ), None, "", None
        needs = _needs()
        g.claim = _claim(needs)
        visitor, why = self._recognized(g.claim)
        if visitor is LOCAL:
            _check_is_local(g.origin)
        if visitor is not None:
            g.visitor, g.actor, g.scope = visitor, visitor.who, visitor.scope
        if visitor is None or (visitor is not LOCAL and needs not in UNLIMITED):
            self.limit(self._buckets, g.actor or g.origin.network)
        if needs is not None and visitor is None:
            raise self._denied(401, why)
        if needs is not None and visitor is not None and not visitor.scope.includes(needs):
            raise self._denied(403, f"this needs the scope {needs}, {visitor.who} has another")
        if visitor is not None and visitor.csrf and request.endpoint != LOG_IN:
            self._check_csrf(visitor)

    def holds(self, claim: Claim) -> bool:
        """Tell whether what was let in with this claim may go on."""
        try:
            visitor, _ = self._recognized(claim)
        except PreflightError:  # who may do what cannot be read: new requests are told so
            return False
        return claim.needs is None or (visitor is not None and visitor.scope.includes(claim.needs))

    def _end_with_the_claim(self, response: Response) -> Response:
        """Let an answer that is sent as it arises end when its visitor may not have it any more."""
        if response.is_streamed and not response.direct_passthrough:
            response.response = while_it_holds(response.iter_encoded(), g.claim, self.holds)
        return response

    def limit(self, buckets: Buckets, name: str) -> None:
        """Refuse what comes too often under this name.

        Raises:
            ProblemError: 429, and how long to wait.
        """
        wait_s = buckets.take(name)
        if wait_s:
            self._row.count(Count.REQUESTS_LIMITED)
            raise ProblemError(
                429, "too many requests, wait a little", retry_after_s=int(wait_s) + 1
            )

    def _recognized(self, claim: Claim) -> tuple[Visitor | None, str]:
        """Return who is asking, and what to say where that is nobody."""
        if self.is_open:
            return LOCAL, ""
        if not claim.key and not claim.url_key:
            return self._of_session(claim.session), _SHOW_A_KEY
        key = self.keys.known(claim.key or claim.url_key)
        why = "" if claim.key else _why_not(key, claim.needs)
        if key is None or why:
            return None, why or "this key is not known here: it is mistyped, or was removed"
        return Visitor(who=key.title, scope=key.scope), ""

    def _of_session(self, token: str) -> Visitor | None:
        """Return who logged in and got this token, unless that is over."""
        session = self.sessions.of(token) if token else None
        if session is None:
            return None
        csrf = csrf_token(token)
        person, key = self.people.of(session.person), self.keys.of(session.key_id)
        if person is not None and person.made_unix_ms == session.since_unix_ms:
            return Visitor(who=person.name, scope=person.scope, csrf=csrf)
        if key is not None and key.made_unix_ms == session.since_unix_ms:
            return Visitor(who=key.title, scope=key.scope, csrf=csrf)
        return None

    def _check_csrf(self, visitor: Visitor) -> None:
        if request.method in _SAFE:
            return
        said = request.headers.get(CSRF_HEADER, "")
        if not hmac.compare_digest(said.encode(), visitor.csrf.encode()):
            raise self._denied(403, f"changes need the header {CSRF_HEADER}: GET /api/v1/session")

    def _denied(self, status: int, why: str) -> ProblemError:
        self._row.count(Count.REQUESTS_DENIED)
        return ProblemError(status, why)


def _needs() -> Scope | None:
    """Return what the view needs; what declares nothing is for nobody."""
    if request.endpoint in (None, STATIC):  # None: there is no view, which is said afterwards
        return None
    declared = declared_by(current_app.view_functions[request.endpoint or ""])
    if declared is None:
        raise ProblemError(403, "it is not said who may use this address, so nobody may")
    return declared.needs


def _claim(needs: Scope | None) -> Claim:
    """Return what this request shows."""
    return Claim(
        key=_shown_key(request),
        url_key=request.environ.get(URL_KEY, ""),
        session=request.cookies.get(COOKIE, ""),
        needs=needs,
    )


def _shown_key(of: Request) -> str:
    """Return the key in a header."""
    kind, _, said = of.headers.get("Authorization", "").partition(" ")
    if kind.lower() == "bearer" and said:
        return said.strip()
    return of.headers.get("X-API-Key", "").strip()


def _why_not(key: Key | None, needs: Scope | None) -> str:
    """Return why a key may not stand in this URL; empty where it may."""
    if needs is not None and needs not in IN_URL:
        return "a key in the URL is only for ingest, metrics and streams: send it in a header"
    if key is not None and key.scope not in IN_URL:
        return f"a key of the scope {key.scope} may not stand in a URL, which others' logs keep"
    return ""


def _check_is_local(origin: Origin) -> None:
    """Refuse those who reach an open front in spite of its loopback address.

    A proxy brings strangers in. A page of another site may have its own name point to this
    machine, so that the browser takes us for that site; such names have dots. And a page of another
    site may post to this one: browsers say which, also those that know no ``Sec-Fetch-Site``.
    """
    if origin.is_forwarded:
        raise ProblemError(
            403, "this came through a proxy: name it in api.trusted_proxies and add a key"
        )
    said = request.headers.get("Host", "")
    host = re.sub(r":\d*$", "", said).strip("[]")
    if "." in host and not is_loopback(host) and not host.endswith(".localhost"):
        raise ProblemError(
            403, "without a key this is for this machine alone: use http://127.0.0.1"
        )
    page = request.headers.get("Origin")
    if page is not None and request.method not in _SAFE and page.partition("://")[2] != said:
        raise ProblemError(403, "pages of other sites may not post here")


def _say_how_to_log_in(response: Response) -> Response:
    if response.status_code == 401:
        response.headers.setdefault("WWW-Authenticate", 'Bearer realm="platering"')
    return response

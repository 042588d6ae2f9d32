"""Sessions of the page: who logged in, and until when that counts.

A session is a random token in a cookie; here lies its hash. They are kept in a file like keys, and
neither signed into the cookie nor in Redis: logging out, a new password or a removed key must end a
session at once, in every process and over restarts, also while Redis is away.
"""

import hashlib
import secrets
import time
from pathlib import Path
from typing import Final

import msgspec

from engine.records import Records

FILE_NAME: Final = "sessions.json"
MOST: Final = 1_000
"""The oldest go."""
_TOKEN_BYTES: Final = 32


class Session(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a session."""

    sha256: str
    """Of its token."""
    person: str = ""
    key_id: str = ""
    """One of the two: who logged in."""
    since_unix_ms: int
    """When the password was set, or the key made: a newer one ends the session."""
    expires_unix_ms: int


class Sessions:
    """The sessions of a machine."""

    def __init__(self, folder: Path) -> None:
        """Keep them in a file of this folder."""
        self._records = Records(folder / FILE_NAME, Session)

    def begin(self, session: Session) -> str:
        """Keep a session, whose ``sha256`` is put in here; return its token.

        Raises:
            ControlError, PreflightError: it cannot be kept.
        """
        token = secrets.token_urlsafe(_TOKEN_BYTES)
        session = msgspec.structs.replace(session, sha256=_hash(token))
        self._records.change(lambda sessions: (*_living(sessions)[1 - MOST :], session))
        return token

    def of(self, token: str) -> Session | None:
        """Return the session of a token, None where it is over.

        Raises:
            PreflightError: the file cannot be read.
        """
        hashed = _hash(token)
        return next((one for one in _living(self._records.all()) if one.sha256 == hashed), None)

    def end(self, token: str) -> None:
        """End a session.

        Raises:
            ControlError, PreflightError: the file cannot be changed.
        """
        hashed = _hash(token)
        self._records.change(
            lambda sessions: tuple(one for one in _living(sessions) if one.sha256 != hashed)
        )


def csrf_token(token: str) -> str:
    """Return what a page with this session says in ``X-CSRF-Token``.

    Other sites' pages may make a browser send the cookie; they can read neither it nor this.
    """
    return _hash(f"csrf {token}")


def _living(sessions: tuple[Session, ...]) -> tuple[Session, ...]:
    now_ms = time.time_ns() // 1_000_000
    return tuple(session for session in sessions if session.expires_unix_ms > now_ms)


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

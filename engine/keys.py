"""Keys of programs: made for one scope, shown once, kept as a hash.

A key is ``plt_ID_SECRET``. The id is no secret, it names the key in lists and in the audit log.
The secret is 256 random bits, so nobody can guess it or try all of them, not even with the file in
hand: one SHA-256 is enough to keep it there. A slow hash like scrypt makes guessing words dear,
which people choose and random bits are not, and would cost each request of a camera's agent 100 ms.
"""

import hashlib
import hmac
import secrets
import time
from pathlib import Path
from typing import Final

import msgspec

from engine.records import Records
from engine.scopes import Scope

FILE_NAME: Final = "keys.json"
PREFIX: Final = "plt"
_ID_BYTES: Final = 4
_SECRET_BYTES: Final = 32
_LONGEST: Final = 128
"""Anything longer is no key and not worth a hash."""


class Key(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a key."""

    id: str
    name: str = ""
    """What its owner calls it."""
    scope: Scope
    sha256: str
    """Of the whole key, in hexadecimal digits."""
    made_unix_ms: int

    @property
    def title(self) -> str:
        """How logs and lists call it."""
        return f"key {self.id} ({self.name})" if self.name else f"key {self.id}"


class Keys:
    """The keys of a machine."""

    def __init__(self, folder: Path) -> None:
        """Keep them in a file of this folder."""
        self._records = Records(folder / FILE_NAME, Key)

    def all(self) -> tuple[Key, ...]:
        """Return all keys, the oldest first.

        Raises:
            PreflightError: the file cannot be read.
        """
        return self._records.all()

    def add(self, scope: Scope, name: str = "") -> tuple[Key, str]:
        """Make a key; return what is kept of it, and the key itself, which nothing shows again.

        Raises:
            ControlError, PreflightError: it cannot be kept; no key was made.
        """
        key_id = secrets.token_hex(_ID_BYTES)
        text = f"{PREFIX}_{key_id}_{secrets.token_urlsafe(_SECRET_BYTES)}"
        made_ms = time.time_ns() // 1_000_000
        key = Key(id=key_id, name=name, scope=scope, sha256=_hash(text), made_unix_ms=made_ms)
        self._records.change(lambda keys: (*keys, key))
        return key, text

    def remove(self, key_id: str) -> bool:
        """Forget a key; False where there is none of this id.

        Raises:
            ControlError, PreflightError: the file cannot be changed.
        """
        there = self.of(key_id) is not None
        if there:
            self._records.change(lambda keys: tuple(key for key in keys if key.id != key_id))
        return there

    def of(self, key_id: str) -> Key | None:
        """Return the key of this id.

        Raises:
            PreflightError: the file cannot be read.
        """
        return next((key for key in self.all() if key.id == key_id), None)

    def known(self, text: str) -> Key | None:
        """Return what is kept of a key that somebody shows, None if it is none of ours.

        Raises:
            PreflightError: the file cannot be read.
        """
        prefix, _, rest = text.partition("_")
        key = self.of(rest.partition("_")[0]) if prefix == PREFIX else None
        if key is None or len(text) > _LONGEST:
            return None
        return key if hmac.compare_digest(_hash(text), key.sha256) else None


def _hash(text: str) -> str:
    return hashlib.sha256(text.encode("utf-8", "surrogateescape")).hexdigest()

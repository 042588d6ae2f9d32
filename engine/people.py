"""People who log in to the page: a name, a role, and a password that is kept as scrypt's hash.

People choose words for passwords, so the hash is slow and takes 32 MiB of memory on purpose:
whoever has the file can try a few a second on a core, not billions on a graphics card.
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

FILE_NAME: Final = "people.json"
ROLES: Final = {"viewer": Scope.READ, "operator": Scope.OPERATE, "admin": Scope.ADMIN}
SHORTEST_PASSWORD: Final = 8
LONGEST_PASSWORD: Final = 256

_COST = 1 << 15
_BLOCK = 8
_MEMORY_BYTES: Final = 64 << 20
_SALT_BYTES: Final = 16


class Person(msgspec.Struct, frozen=True, kw_only=True):
    """What is kept of a person."""

    name: str
    role: str
    """One of ``ROLES``."""
    salt: str
    scrypt: str
    """Salt and hash in hexadecimal digits."""
    made_unix_ms: int
    """When the password was set."""

    @property
    def scope(self) -> Scope:
        """What the role allows; a role of a later version allows only to look."""
        return ROLES.get(self.role, Scope.READ)


class People:
    """The people of a machine."""

    def __init__(self, folder: Path) -> None:
        """Keep them in a file of this folder."""
        self._records = Records(folder / FILE_NAME, Person)

    def all(self) -> tuple[Person, ...]:
        """Return everybody.

        Raises:
            PreflightError: the file cannot be read.
        """
        return self._records.all()

    def of(self, name: str) -> Person | None:
        """Return the person of this name.

        Raises:
            PreflightError: the file cannot be read.
        """
        return next((person for person in self.all() if person.name == name), None)

    def put(self, name: str, role: str, password: str) -> None:
        """Add a person, or give one a new role and password, which ends their sessions.

        Raises:
            ControlError, PreflightError: it cannot be kept; nothing was changed.
        """
        salt = secrets.token_bytes(_SALT_BYTES)
        person = Person(
            name=name,
            role=role,
            salt=salt.hex(),
            scrypt=_hash(password, salt),
            made_unix_ms=time.time_ns() // 1_000_000,
        )
        self._records.change(
            lambda people: (*(other for other in people if other.name != name), person)
        )

    def remove(self, name: str) -> bool:
        """Forget a person; False where there is none of this name.

        Raises:
            ControlError, PreflightError: the file cannot be changed.
        """
        there = self.of(name) is not None
        if there:
            self._records.change(
                lambda people: tuple(person for person in people if person.name != name)
            )
        return there


def is_password_of(person: Person | None, password: str) -> bool:
    """Tell whether this is the person's password; takes as long where there is no such person.

    About 0.1 s of one core and 32 MiB of memory; lets other threads run meanwhile.
    """
    salt = bytes.fromhex(person.salt) if person else bytes(_SALT_BYTES)
    found = _hash(password[:LONGEST_PASSWORD], salt)
    return hmac.compare_digest(found, person.scrypt if person else "") and person is not None


def _hash(password: str, salt: bytes) -> str:
    return hashlib.scrypt(
        password.encode("utf-8", "surrogateescape"),
        salt=salt, n=_COST, r=_BLOCK, p=1, maxmem=_MEMORY_BYTES,
    ).hex()  # fmt: skip

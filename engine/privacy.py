"""Plates that nobody looks for, stored as a keyed hash: the same plate is known again, not read.

With ``privacy = "hash"`` the publisher disguises every event whose plate is on no watchlist before
it is written anywhere for a sink: the plate becomes ``~`` and 16 letters and digits, candidates and
pictures, which show it, are left out. Whoever has the key can look for an exact plate. The key is a
file in ``data_dir`` that only its owner reads; machines that share a Redis need the same one.

Tracks of vehicles that are in the picture now need their readings and pictures until their end,
also over a restart: they lie on disk sealed (AES-GCM, with a key made of that one).
"""

import base64
import hashlib
import os
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Final

import msgspec

from engine.errors import ConfigError, PreflightError
from engine.track import Event
from engine.types import DISGUISED as MARK

KEY_FILE: Final = "privacy.key"
_KEY_BYTES: Final = 32
_HASH_BYTES: Final = 10
_SEALED: Final = b"\xc1"
"""What a sealed value begins with; neither MessagePack nor a JPEG does."""
_NONCE_BYTES: Final = 12


def own_key(path: Path) -> bytes:
    """Return the key of a file, which is made where there is none.

    Raises:
        PreflightError: the file holds no key, or cannot be read or made.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        try:
            fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = path.read_bytes()
        else:
            key = secrets.token_bytes(_KEY_BYTES)
            with os.fdopen(fd, "wb") as file:
                file.write(key)
                file.flush()
                os.fsync(fd)
    except OSError as error:
        raise PreflightError(
            f"{path}: {error.strerror} — its owner must be able to read and write it"
        ) from error
    if len(key) != _KEY_BYTES:
        raise PreflightError(
            f"{path} holds no key — put the file of before in its place; without it, plates that "
            "were stored as hashes are found no more"
        )
    return key


def disguised(plate: str, key: bytes) -> str:
    """Return what is stored in the place of a plate."""
    if not plate or plate.startswith(MARK):
        return plate
    digest = hashlib.blake2b(plate.encode(), key=key, digest_size=_HASH_BYTES).digest()
    return MARK + base64.b32encode(digest).decode()


def disguise(event: Event, key: bytes) -> Event:
    """Return the event as it may leave us: as it is where its plate is on a watchlist."""
    sighting = event.sighting
    if sighting.hits:
        return event
    changed = msgspec.structs.replace(
        sighting,
        plate=disguised(sighting.plate, key),
        candidates=(),
        has_crop=False,
        has_frame=False,
        has_clip=False,
    )
    return Event(changed)


def disguise_of(path: Path) -> Callable[[str], str]:
    """Return how to look for plates beside the plain ones: by the key of a file, if it is there."""

    def look_up(plate: str) -> str:
        try:
            key = path.read_bytes()
        except OSError:
            return plate
        return disguised(plate, key)

    return look_up


class Seal:
    """Closes values that lie on disk, and opens them again."""

    def __init__(self, key: bytes) -> None:
        """Take the key of ``own_key``.

        Raises:
            ConfigError: the library is not installed; names its extra.
        """
        try:
            from cryptography.exceptions import InvalidTag  # noqa: PLC0415  # only where it is used
            from cryptography.hazmat.primitives.ciphers.aead import AESGCM  # noqa: PLC0415  # same
        except ImportError as error:
            remedy = 'install it: pip install "platering[privacy]"'
            raise ConfigError("privacy", "the library of hash is not installed", remedy) from error
        own = hashlib.blake2b(b"spool", key=key, digest_size=_KEY_BYTES).digest()
        self._cipher = AESGCM(own)
        self._broken = InvalidTag

    def close(self, value: bytes) -> bytes:
        """Return a value sealed; an empty one, or one that is sealed, stays as it is."""
        if not value or value.startswith(_SEALED):
            return value
        nonce = os.urandom(_NONCE_BYTES)
        return _SEALED + nonce + self._cipher.encrypt(nonce, value, None)

    def open(self, value: bytes) -> bytes:
        """Return what was sealed; what never was, like that of an earlier run, is as it is.

        Raises:
            ValueError: it was sealed with another key, or is damaged.
        """
        if not value.startswith(_SEALED):
            return value
        nonce, sealed = value[1 : 1 + _NONCE_BYTES], value[1 + _NONCE_BYTES :]
        try:
            return self._cipher.decrypt(nonce, sealed, None)
        except self._broken as error:
            raise ValueError("sealed with another key") from error

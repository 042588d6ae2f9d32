"""Small files of records that several processes read and change: keys, people, sessions.

A file is JSON that its owner alone may read. It is replaced whole, so that nobody reads half of a
change, and under a lock, so that no change is lost. Readers look at the file's inode, size and time
whenever they ask: a change counts from the next question on, in every process of the machine.
"""

import fcntl
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, Generic, TypeVar

import msgspec

from engine.errors import ControlError, PreflightError

FOLDER: Final = "access"
"""Of ``data_dir``: who may do what, and who did what."""

_LOCKED_WITHIN_S: Final = 5.0
_LOCK_AGAIN_S: Final = 0.005

R = TypeVar("R", bound=msgspec.Struct)
_Signature = tuple[int, int, int]


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold the lock of a file for as long as the block runs; the lock is a file beside it.

    Raises:
        ControlError: somebody else holds it for too long.
        PreflightError: the folder cannot be written.
    """
    lock = path.with_name(f"{path.name}.lock")
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        fd = os.open(lock, os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
    except OSError as error:
        raise PreflightError(
            f"{lock} cannot be written: {error.strerror} — let this user write in its folder"
        ) from error
    try:
        _take(fd, lock)
        yield
    finally:
        os.close(fd)


def _take(fd: int, lock: Path) -> None:
    deadline = time.monotonic() + _LOCKED_WITHIN_S
    while True:
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                raise ControlError(f"{lock} is held by another process — try again") from None
            time.sleep(_LOCK_AGAIN_S)
        else:
            return


class Records(Generic[R]):
    """The records of one file, none where there is no file."""

    def __init__(self, path: Path, kind: type[R]) -> None:
        self._path = path
        self._decoder: msgspec.json.Decoder[tuple[R, ...]] = msgspec.json.Decoder(
            tuple[kind, ...]  # type: ignore[valid-type]  # a type that is known when it runs
        )
        self._seen: _Signature | None = None
        self._records: tuple[R, ...] = ()

    def all(self) -> tuple[R, ...]:
        """Return the records as they are now.

        Raises:
            PreflightError: the file cannot be read, or holds something else.
        """
        try:
            found = self._path.stat()
            seen = found.st_ino, found.st_size, found.st_mtime_ns
            if seen != self._seen:
                self._records = self._decoder.decode(self._path.read_bytes())
                self._seen = seen
        except (FileNotFoundError, NotADirectoryError):
            self._seen, self._records = None, ()
        except OSError as error:
            raise PreflightError(
                f"{self._path} cannot be read: {error.strerror} — let this user read it"
            ) from error
        except (msgspec.DecodeError, UnicodeDecodeError) as error:
            raise PreflightError(
                f"{self._path} is damaged: {error} — put back a copy of it, or remove it and make "
                "what it held anew"
            ) from error
        return self._records

    def change(self, change: Callable[[tuple[R, ...]], tuple[R, ...]]) -> None:
        """Replace the records by what ``change`` makes of them, while nobody else does.

        Raises:
            ControlError: somebody else is changing them for too long.
            PreflightError: the file cannot be read or written.
        """
        with locked(self._path):
            text = msgspec.json.format(msgspec.json.encode(change(self.all())), indent=1)
            fresh = self._path.with_name(f"{self._path.name}.new")
            try:
                fresh.unlink(missing_ok=True)
                fd = os.open(fresh, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o600)
                with os.fdopen(fd, "wb") as file:
                    file.write(text)
                    file.flush()
                    os.fsync(fd)
                fresh.replace(self._path)
            except OSError as error:
                raise PreflightError(
                    f"{self._path} cannot be written: {error.strerror} — nothing was changed"
                ) from error

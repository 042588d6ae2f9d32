"""The audit log: who did what, when, and from where.

JSON lines in files of ``data_dir/access``, appended to and never changed, so that a line is there
the moment that it is written, also while Redis is away, and no program that shares the Redis can
change it. Files are numbered; when one has a quarter of ``api.audit_mib``, the next begins, and the
oldest of more than four goes.
"""

import os
import re
from pathlib import Path
from typing import Final

import msgspec

from engine.errors import PreflightError
from engine.records import locked

FILES: Final = 4
_NAME: Final = re.compile(r"audit-(\d{6,})\.jsonl")
_BLOCK_BYTES: Final = 1 << 16
_LONGEST_WHAT: Final = 500


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One line; it holds no secret."""

    at_unix_ms: int
    who: str
    """A person, a key, or ``nobody``."""
    address: str
    action: str
    """A method and the pattern of an address, like ``GET /api/v1/sightings``."""
    what: str = ""
    """The address as it was asked for, without keys, or what a log-in was about."""
    status: int = 200
    """Of the answer: 200 and the like are done, 400 and above refused."""


class AuditPage(msgspec.Struct, frozen=True):
    """Entries, the newest first; ``next`` is the cursor of older ones, empty at the end."""

    entries: list[Entry]
    next: str = ""


_decoder = msgspec.json.Decoder(Entry)


class AuditLog:
    """The files of a folder; any process may write, each entry with one call of the kernel."""

    def __init__(self, folder: Path, max_bytes: int) -> None:
        self._folder = folder
        self._file_bytes = max_bytes // FILES

    def write(self, entry: Entry) -> None:
        """Append an entry.

        Raises:
            PreflightError: it cannot be written.
            ControlError: somebody else holds the lock for too long.
        """
        entry = msgspec.structs.replace(entry, what=entry.what[:_LONGEST_WHAT])
        line = msgspec.json.encode(entry) + b"\n"
        with locked(self._folder / "audit"):
            numbers = self._numbers()
            newest = numbers[-1] if numbers else 1
            try:
                if self._size(newest) + len(line) > self._file_bytes and numbers:
                    newest += 1
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC
                fd = os.open(self._path(newest), flags, 0o600)
                try:
                    os.write(fd, line)
                finally:
                    os.close(fd)
                for number in numbers:
                    if number <= newest - FILES:
                        self._path(number).unlink(missing_ok=True)
            except OSError as error:
                raise PreflightError(
                    f"{self._path(newest)} cannot be written: {error.strerror} — make room, or let "
                    "this user write there"
                ) from error

    def page(self, cursor: str, limit: int) -> AuditPage:
        """Return entries before a cursor, the newest where it is empty.

        Raises:
            ValueError: this is no cursor.
        """
        numbers = self._numbers()
        number, end = _place(cursor) if cursor else ((numbers or [1])[-1], -1)
        entries: list[Entry] = []
        for each in reversed([one for one in numbers if one <= number]):
            found, end = self._before(each, end if each == number else -1, limit - len(entries))
            entries += found
            if len(entries) >= limit:
                older = end > 0 or each > numbers[0]
                return AuditPage(entries, f"{each}-{end}" if older else "")
        return AuditPage(entries)

    def _before(self, number: int, end: int, limit: int) -> tuple[list[Entry], int]:
        """Return a file's last entries before ``end`` (-1: all), newest first, and their place."""
        entries: list[Entry] = []
        try:
            with self._path(number).open("rb") as file:
                size = os.fstat(file.fileno()).st_size
                end = size if end < 0 else min(end, size)
                while end > 0 and len(entries) < limit:
                    begin = max(0, end - _BLOCK_BYTES)
                    file.seek(begin)
                    block = file.read(end - begin)
                    cut = block.find(b"\n") + 1 if begin else 0
                    lines = block[cut:].splitlines(keepends=True)
                    for line in reversed(lines):
                        if len(entries) >= limit:
                            break
                        end -= len(line)
                        entries += _entry(line)
                    if not lines:
                        break
        except FileNotFoundError:  # the oldest goes when a new one begins
            return entries, 0
        return entries, end

    def _numbers(self) -> list[int]:
        """Return the numbers of the files, the oldest first."""
        if not self._folder.is_dir():
            return []
        found = (_NAME.fullmatch(path.name) for path in self._folder.iterdir())
        return sorted(int(match[1]) for match in found if match)

    def _path(self, number: int) -> Path:
        return self._folder / f"audit-{number:06}.jsonl"

    def _size(self, number: int) -> int:
        path = self._path(number)
        return path.stat().st_size if path.exists() else 0


def _entry(line: bytes) -> list[Entry]:
    """Return a line's entry; none of one that a full disk cut off."""
    try:
        return [_decoder.decode(line)]
    except (msgspec.DecodeError, UnicodeDecodeError):
        return []


def _place(cursor: str) -> tuple[int, int]:
    """Return the file and the byte that a cursor names."""
    match = re.fullmatch(r"(\d{1,9})-(\d{1,12})", cursor)
    if match is None:
        raise ValueError("is no cursor of this log")
    return int(match[1]), int(match[2])

"""Sightings that a sink refused for good, kept in SQLite until somebody sends or drops them.

Bounded: beyond ``MAX_LETTERS`` or ``MAX_BYTES`` the oldest go. One file in ``data_dir``, written by
the publisher and by ``platering deadletters``, which may run at the same time.
"""

import sqlite3
import time
from pathlib import Path
from typing import Final

import msgspec

from engine.errors import SinkError
from engine.track import Event
from engine.types import Evidence, Sighting

FILE_NAME: Final = "deadletters.sqlite"
MAX_LETTERS: Final = 10_000
MAX_BYTES: Final = 256 << 20

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS letters (
    id INTEGER PRIMARY KEY AUTOINCREMENT, target TEXT NOT NULL, unix_ms INTEGER NOT NULL,
    reason TEXT NOT NULL, sighting BLOB NOT NULL, crop BLOB NOT NULL, frame BLOB NOT NULL,
    clip BLOB NOT NULL DEFAULT x'');
"""
_SIZE: Final = "LENGTH(sighting) + LENGTH(crop) + LENGTH(frame) + LENGTH(clip)"

_encode = msgspec.msgpack.Encoder().encode
_decode = msgspec.msgpack.Decoder(Sighting).decode


class Letter(msgspec.Struct, frozen=True):
    """One event that did not reach its target."""

    id: int
    target: str
    """The webhook's name, or ``redis``, ``mqtt``, ``rabbitmq``, ``kafka``."""
    unix_ms: int
    """When it was given up."""
    reason: str
    event: Event


class DeadLetters:
    """The file; any thread and process opens its own."""

    def __init__(self, path: Path) -> None:
        """Open or make the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, timeout=10.0, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL").fetchall()
        with self._db:
            self._db.executescript(_SCHEMA)
            columns = {column[1] for column in self._db.execute("PRAGMA table_info(letters)")}
            if "clip" not in columns:  # a file of an older version
                self._db.execute("ALTER TABLE letters ADD COLUMN clip BLOB NOT NULL DEFAULT x''")

    def add(self, target: str, event: Event, reason: str) -> int:
        """Keep an event; return how many older ones had to go for it.

        Raises:
            SinkError: the disk refuses; nothing was kept.
        """
        shown = event.evidence or Evidence()  # what was posted is for Redis alone
        row = (
            target, time.time_ns() // 1_000_000, reason,
            _encode(event.sighting), shown.crop_jpeg, shown.frame_jpeg, shown.clip,
        )  # fmt: skip
        try:
            with self._db:
                self._db.execute(
                    "INSERT INTO letters (target, unix_ms, reason, sighting, crop, frame, clip)"
                    " VALUES (?, ?, ?, ?, ?, ?, ?)",
                    row,
                )
                return self._trim()
        except sqlite3.OperationalError as error:
            raise SinkError(
                f"a dead letter cannot be kept ({error}): make room on the disk of data_dir"
            ) from error

    def letters(self, target: str | None = None, after: int = 0, count: int = 100) -> list[Letter]:
        """Return at most ``count`` letters after one, oldest first, of one target or all."""
        rows = self._db.execute(
            "SELECT id, target, unix_ms, reason, sighting, crop, frame, clip FROM letters"
            " WHERE id > ? AND (? IS NULL OR target = ?) ORDER BY id LIMIT ?",
            (after, target, target, count),
        ).fetchall()
        return [
            Letter(
                number, to, unix_ms, reason,
                Event(_decode(sighting), Evidence(*shown) if any(shown) else None),
            )
            for number, to, unix_ms, reason, sighting, *shown in rows
        ]  # fmt: skip

    def drop(self, letter: int) -> bool:
        """Forget a letter; False where it is not there."""
        with self._db:
            return self._db.execute("DELETE FROM letters WHERE id = ?", (letter,)).rowcount > 0

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    def _trim(self) -> int:
        """Let the oldest go until both bounds hold."""
        gone = self._db.execute(
            "DELETE FROM letters WHERE id <= (SELECT MAX(id) FROM letters) - ?", (MAX_LETTERS,)
        ).rowcount
        one = self._db.execute
        while one(f"SELECT COALESCE(SUM({_SIZE}), 0) FROM letters").fetchone()[0] > MAX_BYTES:  # noqa: S608  # a constant of ours
            gone += one("DELETE FROM letters WHERE id = (SELECT MIN(id) FROM letters)").rowcount
        return gone

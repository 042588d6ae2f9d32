"""The spool's file: its tables, how it is opened, and how progress is kept in it."""

import logging
import sqlite3
import time
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from engine.progress import Progress

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS tracks (id TEXT PRIMARY KEY, track BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS track_evidence (
    id TEXT PRIMARY KEY, crop BLOB NOT NULL, frame BLOB NOT NULL);
CREATE TABLE IF NOT EXISTS cursors (
    run TEXT, worker TEXT, incarnation INTEGER, sequence INTEGER NOT NULL,
    PRIMARY KEY (run, worker, incarnation)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS uuids (
    number INTEGER PRIMARY KEY AUTOINCREMENT, uuid TEXT UNIQUE NOT NULL, sighting TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS events (
    seq INTEGER PRIMARY KEY AUTOINCREMENT,
    bytes INTEGER NOT NULL, -- before the pictures, so that adding them up reads none of them
    unix_s INTEGER NOT NULL,
    camera TEXT NOT NULL,
    sighting BLOB NOT NULL, crop BLOB, frame BLOB, clip BLOB, payload BLOB);
CREATE INDEX IF NOT EXISTS events_of_camera ON events (camera, seq);
CREATE TABLE IF NOT EXISTS positions (sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS positions_ahead (
    sink TEXT, camera TEXT, seq INTEGER NOT NULL, PRIMARY KEY (sink, camera)) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled_ahead (
    sink TEXT, camera TEXT, seq INTEGER NOT NULL, PRIMARY KEY (sink, camera)) WITHOUT ROWID;
"""

_HELD_BY_OTHERS_S: Final = 1.0
"""Waited for whoever else writes; then the turn is tried again, and nobody has waited long."""

log = logging.getLogger(__name__)


class _OnlyCamera(msgspec.Struct):
    camera: str


class _OnlyPlate(msgspec.Struct):
    plate: str


_decode_plate = msgspec.msgpack.Decoder(_OnlyPlate).decode
_decode_camera = msgspec.msgpack.Decoder(_OnlyCamera).decode


def open_spool(path: Path) -> sqlite3.Connection:
    """Open the file; one that is no database any more is put aside, not deleted."""
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    try:
        return _prepared(path)
    except sqlite3.OperationalError:
        raise
    except sqlite3.DatabaseError as error:
        aside = path.with_name(f"{path.name}.damaged-{time.time_ns()}")
        log.error("%s is damaged (%s): put aside as %s", path, error, aside.name)  # noqa: TRY400  # expected, one line
        path.rename(aside)
        for suffix in ("-wal", "-shm"):
            path.with_name(path.name + suffix).unlink(missing_ok=True)
        return _prepared(path)


@contextmanager
def transaction(db: sqlite3.Connection) -> Iterator[None]:
    """Write all that is done within, or nothing of it."""
    db.execute("BEGIN IMMEDIATE")
    try:
        yield
        db.execute("COMMIT")
    except BaseException:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _prepared(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)  # plates are nobody else's business; SQLite's side files follow it
    db = sqlite3.connect(path, isolation_level=None, timeout=_HELD_BY_OTHERS_S)
    try:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        _take_over(db)
        db.executescript(_SCHEMA)
    except sqlite3.Error:
        db.close()
        raise
    return db


def _take_over(db: sqlite3.Connection) -> None:
    """Give the events of an older version the columns that they lack."""
    columns = {column[1] for column in db.execute("PRAGMA table_info(events)")}
    if not columns or {"unix_s", "clip", "camera", "payload"} <= columns:
        return
    with transaction(db):  # a column that is added and not filled would stay so
        _add_columns(db, columns)


def _add_columns(db: sqlite3.Connection, columns: Collection[str]) -> None:
    if "unix_s" not in columns:
        db.execute("ALTER TABLE events ADD COLUMN unix_s INTEGER NOT NULL DEFAULT 0")
        db.execute("UPDATE events SET unix_s = ?", (int(time.time()),))
    for column in ("clip", "payload"):
        if column not in columns:
            db.execute(f"ALTER TABLE events ADD COLUMN {column} BLOB")
    if "camera" not in columns:
        db.execute("ALTER TABLE events ADD COLUMN camera TEXT NOT NULL DEFAULT ''")
        rows = db.execute("SELECT seq, sighting FROM events").fetchall()
        named = [(_decode_camera(sighting).camera, seq) for seq, sighting in rows]
        db.executemany("UPDATE events SET camera = ? WHERE seq = ?", named)


def delete_events_of(db: sqlite3.Connection, plates: Collection[str]) -> tuple[int, int]:
    """Delete events of these texts; return how many they were, and their bytes."""
    rows = db.execute("SELECT seq, bytes, sighting FROM events")
    gone = [(seq, size) for seq, size, packed in rows if _decode_plate(packed).plate in plates]
    db.executemany("DELETE FROM events WHERE seq = ?", [(seq,) for seq, _ in gone])
    return len(gone), sum(size for _, size in gone)


def read_progress(db: sqlite3.Connection, table: str) -> dict[str, Progress]:
    """Return how far each sink is, from ``positions`` or ``settled``."""
    found = {
        sink: Progress(seq)
        for sink, seq in db.execute(f"SELECT sink, seq FROM {table}").fetchall()  # noqa: S608  # one of our two tables
    }
    ahead: dict[str, dict[str, int]] = {}
    for sink, camera, seq in db.execute(f"SELECT sink, camera, seq FROM {table}_ahead"):  # noqa: S608  # same
        ahead.setdefault(sink, {})[camera] = seq
    return {sink: progress.with_ahead(ahead.get(sink, {})) for sink, progress in found.items()}


def write_progress(
    db: sqlite3.Connection, table: str, sink: str, before: Progress, now: Progress
) -> None:
    """Write how far a sink is now; ``before`` is what stands there, only the rest is touched."""
    changed = [
        (sink, camera, seq) for camera, seq in now.ahead.items() if before.ahead.get(camera) != seq
    ]
    gone = [(sink, camera) for camera in before.ahead.keys() - now.ahead.keys()]
    db.execute(f"INSERT OR REPLACE INTO {table} VALUES (?, ?)", (sink, now.base))  # noqa: S608  # one of our two tables
    db.executemany(f"INSERT OR REPLACE INTO {table}_ahead VALUES (?, ?, ?)", changed)  # noqa: S608  # same
    db.executemany(f"DELETE FROM {table}_ahead WHERE sink = ? AND camera = ?", gone)  # noqa: S608  # same


def keep_progress_of(db: sqlite3.Connection, table: str, sinks: Collection[str]) -> None:
    """Forget how far sinks were that are no more."""
    marks = ", ".join("?" * len(sinks))
    for one in (table, f"{table}_ahead"):
        db.execute(f"DELETE FROM {one} WHERE sink NOT IN ({marks})", tuple(sinks))  # noqa: S608  # same

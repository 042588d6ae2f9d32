"""What the publisher must not forget, in one SQLite file: every turn of its loop is one commit.

A commit holds the open tracks, the read cursors, the ids of ingested bodies and the outgoing
events together, so that a publisher killed at any instruction goes on as if it had not done its
last, unacknowledged turn. Events wait here for their sinks; the oldest go first when the spool is
full, or they are too old. Delivered events are held for a few seconds more: a sink that lost its
server starts again with what it delivered in those (a server killed outright may have lost what it
acknowledged last; the markers of ``engine.store`` make the repeat harmless).

SQLite runs in WAL mode. ``synchronous`` is NORMAL: a killed process loses nothing, a power cut
may lose the last turns, whose events have long reached Redis in all but the last moments. A turn
that carries an ingested body is promised to be durable and is written with FULL (one fsync).
"""

import contextlib
import logging
import os
import sqlite3
import time
from collections import deque
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import msgspec

from engine.track import Event, Track
from engine.tracker import Changes
from engine.types import Evidence, Sighting

HELD_S: Final = 5.0
"""Delivered events stay this long. An embedded Redis writes its log at most 2 s late."""
MAX_AGE_S: Final = 7 * 86_400.0
"""Undelivered events are given up after this long: Redis forgets which ones it has (markers)."""
_KEPT_UUIDS: Final = 100_000
_ROW_BYTES: Final = 128
_PRUNE_EVERY: Final = 512
_DROP_CHUNK: Final = 256
_BALLAST_BYTES: Final = 8 << 20
"""More than the log that SQLite must write into the file to be rid of it: 4 MiB and a turn."""
_READ_BYTES: Final = 4 << 20
_LOOK_AT_AGE_EVERY: Final = 64

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
    sighting BLOB NOT NULL, crop BLOB, frame BLOB, clip BLOB);
CREATE TABLE IF NOT EXISTS positions (sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
CREATE TABLE IF NOT EXISTS settled (sink TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;
"""

log = logging.getLogger(__name__)

_encode = msgspec.msgpack.Encoder().encode
_decode_track = msgspec.msgpack.Decoder(Track).decode
_decode_sighting = msgspec.msgpack.Decoder(Sighting).decode


class Turn(msgspec.Struct):
    """All that one turn of the publisher's loop commits."""

    changes: Changes
    events: list[Event] = []
    cursors: dict[tuple[str, int], int] = {}
    """(worker, incarnation) to the last sequence number taken."""
    uuids: dict[str, str] = {}
    """Ids of ingested bodies to the sighting each became, empty where it fed the tracker."""
    positions: dict[str, int] = {}
    """How far each sink has delivered."""
    durable: bool = False
    """Survive a power cut, not only a kill."""

    def __bool__(self) -> bool:
        return bool(self.changes or self.events or self.cursors or self.uuids or self.positions)


class SpooledEvent(msgspec.Struct, frozen=True):
    """An event and its place in the spool."""

    seq: int
    event: Event


class Spool:
    """The writing side; one thread. Readers open a ``SpoolReader`` of their own."""

    def __init__(self, path: Path, max_bytes: int, run: str, max_age_s: float = MAX_AGE_S) -> None:
        """Open or make the file; ``run`` tells the workers of this run from those of others."""
        self.path = path
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._run = run
        self._db = _opened(path)
        self._ballast = path.with_name(f"{path.name}-ballast")
        self._take_ballast()
        with self._transaction():
            self._db.execute("DELETE FROM cursors WHERE run <> ?", (run,))
        one = self._db.execute
        self._bytes: int = one("SELECT COALESCE(SUM(bytes), 0) FROM events").fetchone()[0]
        oldest, newest = one("SELECT MIN(seq), MAX(seq) FROM events").fetchone()
        used = one("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        self.last_seq: int = max(newest or 0, used[0] if used else 0)
        self._first_seq: int = oldest if oldest is not None else self.last_seq + 1
        self.positions: dict[str, int] = dict(one("SELECT sink, seq FROM positions").fetchall())
        self.settled: dict[str, int] = dict(one("SELECT sink, seq FROM settled").fetchall())
        """How far each sink had delivered ``HELD_S`` ago; what lies before is never said again."""
        self._delivered: deque[tuple[float, dict[str, int]]] = deque()
        self._commits = 0
        self._refused = False

    def feed(self, sinks: Collection[str]) -> None:
        """Say which sinks there are from now on.

        A new one begins with the next event; one that is no more holds nothing any longer.
        """
        known = {name: self.positions.get(name, self.last_seq) for name in sinks}
        settled = {name: self.settled.get(name, seq) for name, seq in known.items()}
        with self._transaction():
            for table, rows in (("positions", known), ("settled", settled)):
                self._db.execute(f"DELETE FROM {table}")  # noqa: S608  # one of our two tables
                self._db.executemany(
                    f"INSERT INTO {table} VALUES (?, ?)",  # noqa: S608  # same
                    rows.items(),
                )
        self.positions, self.settled = known, settled

    def tracks(self) -> Iterator[tuple[Track, Evidence]]:
        """Yield the tracks of the last commit with their pictures."""
        rows = self._db.execute(
            "SELECT track, crop, frame FROM tracks LEFT JOIN track_evidence USING (id)"
        )
        for track, crop, frame in rows.fetchall():
            try:
                yield _decode_track(track), Evidence(crop or b"", frame or b"")
            except msgspec.DecodeError as error:
                log.warning("an open track of another version is given up: %s", error)

    def cursors(self) -> dict[tuple[str, int], int]:
        """Return (worker, incarnation) to the last sequence number committed in this run."""
        rows = self._db.execute("SELECT worker, incarnation, sequence FROM cursors")
        return {(worker, incarnation): sequence for worker, incarnation, sequence in rows}

    def sighting_of(self, uuid: str) -> str | None:
        """Return what an ingested body became, None where it was never seen."""
        row = self._db.execute("SELECT sighting FROM uuids WHERE uuid = ?", (uuid,)).fetchone()
        return row[0] if row else None

    def commit(self, turn: Turn) -> int | None:
        """Write one turn; return how many undelivered events it pushed out.

        Returns None where the disk refused: nothing was written, try again.
        """
        try:
            if turn.durable:
                self._db.execute("PRAGMA synchronous = FULL")
            try:
                with self._transaction():
                    added = self._write(turn)
                    dropped, freed = self._trim(turn.positions)
            finally:
                if turn.durable:
                    self._db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.OperationalError as error:
            if not self._refused:
                log.error("the spool cannot be written, tracking waits: %s", error)  # noqa: TRY400  # expected, one line
            self._refused = True
            return None
        self._refused = False
        self._bytes += added - freed
        self.positions |= turn.positions
        return dropped

    def depth(self, sink: str) -> int:
        """Return how many events wait for a sink."""
        return self.last_seq - max(self.positions.get(sink, 0), self._first_seq - 1)

    def drop_oldest(self, share: float) -> int:
        """Give up this share of the events to free the disk; return how many were undelivered.

        Their pages are used again by the next commits. A file of ballast goes first, and is made
        again after. Where all that is not enough, 0.
        """
        up_to = self._first_seq + max(1, int((self.last_seq - self._first_seq + 1) * share))
        self._ballast.unlink(missing_ok=True)  # to delete, SQLite must write
        try:
            with self._transaction():
                dropped, freed = self._delete(up_to, self._slowest({}))
        except sqlite3.OperationalError:
            return 0
        self._bytes -= freed
        with contextlib.suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._take_ballast()
        return dropped

    def _take_ballast(self) -> None:
        """Keep some of the disk back for the moment when it is full."""
        disk = os.statvfs(self.path.parent)
        if disk.f_bavail * disk.f_frsize < 2 * _BALLAST_BYTES:
            return
        try:
            with self._ballast.open("wb") as file:
                os.fchmod(file.fileno(), 0o600)
                os.posix_fallocate(file.fileno(), 0, _BALLAST_BYTES)
        except OSError:
            self._ballast.unlink(missing_ok=True)

    def close(self) -> None:
        """Close the file."""
        self._db.close()

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise
        self._db.execute("COMMIT")

    def _write(self, turn: Turn) -> int:
        """Write all parts of a turn; return the bytes of its events."""
        many, changes = self._db.executemany, turn.changes
        many(
            "INSERT OR REPLACE INTO tracks VALUES (?, ?)",
            [(track.id, _encode(track)) for track in changes.tracks],
        )
        many(
            "INSERT OR REPLACE INTO track_evidence VALUES (?, ?, ?)",
            [(one, e.crop_jpeg, e.frame_jpeg) for one, e in changes.evidence.items()],
        )
        done = [(track.id,) for track in changes.tracks if track.final and not track.changed]
        gone = [(one,) for one in changes.gone]
        many("DELETE FROM tracks WHERE id = ?", gone)
        many("DELETE FROM track_evidence WHERE id = ?", gone + done)
        for (worker, incarnation), sequence in turn.cursors.items():
            self._db.execute(
                "INSERT OR REPLACE INTO cursors VALUES (?, ?, ?, ?)",
                (self._run, worker, incarnation, sequence),
            )
        many("INSERT OR IGNORE INTO uuids (uuid, sighting) VALUES (?, ?)", turn.uuids.items())
        many("INSERT OR REPLACE INTO positions VALUES (?, ?)", turn.positions.items())
        added, now_s = 0, int(time.time())
        for event in turn.events:
            packed, pictures = _encode(event.sighting), event.evidence or Evidence()
            crop, frame = pictures.crop_jpeg or None, pictures.frame_jpeg or None
            clip = pictures.clip or None
            size = len(packed) + len(crop or b"") + len(frame or b"") + _ROW_BYTES
            size += len(pictures.clip)
            self.last_seq = (
                self._db.execute(
                    "INSERT INTO events (bytes, unix_s, sighting, crop, frame, clip)"
                    " VALUES (?, ?, ?, ?, ?, ?)",
                    (size, now_s, packed, crop, frame, clip),
                ).lastrowid
                or self.last_seq
            )
            added += size
        self._prune()
        return added

    def _prune(self) -> None:
        """Now and then, forget the oldest uuids and give freed pages back to the disk."""
        self._commits += 1
        if self._commits % _PRUNE_EVERY == 0:
            self._db.execute(
                "DELETE FROM uuids WHERE number <= (SELECT MAX(number) FROM uuids) - ?",
                (_KEPT_UUIDS,),
            )
            self._db.execute("PRAGMA incremental_vacuum(1024)").fetchall()
            if not self._ballast.exists():
                self._take_ballast()

    def _trim(self, positions: dict[str, int]) -> tuple[int, int]:
        """Delete what was delivered a while ago and, over the bound, the oldest.

        Returns how many of them were undelivered, and the bytes freed.
        """
        now, slowest = time.monotonic(), self._slowest(positions)
        dropped = freed = 0
        if positions:
            self._delivered.append((now, positions))
        settled: dict[str, int] = {}
        while self._delivered and self._delivered[0][0] <= now - HELD_S:
            settled |= self._delivered.popleft()[1]
        if settled:
            told = self.positions | positions  # they may have gone back since
            settled = {sink: min(seq, told.get(sink, seq)) for sink, seq in settled.items()}
            rows = settled.items()
            self._db.executemany("INSERT OR REPLACE INTO settled VALUES (?, ?)", rows)
            self.settled |= settled
        done = min((self.settled.get(sink, 0) for sink in self.positions | positions), default=0)
        if done >= self._first_seq:
            freed += self._delete(done, slowest)[1]
        outdated = self._outdated() if self._commits % _LOOK_AT_AGE_EVERY == 0 else 0
        if outdated >= self._first_seq:
            dropped, gone = self._delete(outdated, slowest)
            freed += gone
        while self._bytes - freed > self._max_bytes and self._first_seq <= self.last_seq:
            lost, gone = self._delete(self._first_seq + _DROP_CHUNK - 1, slowest)
            dropped, freed = dropped + lost, freed + gone
        return dropped, freed

    def _outdated(self) -> int:
        """Return up to where events are too old, 0 where none is."""
        before_s = time.time() - self._max_age_s
        oldest = self._db.execute("SELECT unix_s FROM events ORDER BY seq LIMIT 1").fetchone()
        if oldest is None or oldest[0] >= before_s:
            return 0
        found = self._db.execute("SELECT MAX(seq) FROM events WHERE unix_s < ?", (before_s,))
        return int(found.fetchone()[0])

    def _slowest(self, positions: dict[str, int]) -> int:
        return min((self.positions | positions).values(), default=0)

    def _delete(self, up_to: int, delivered: int) -> tuple[int, int]:
        """Delete the events up to a place; return how many were undelivered, and their bytes."""
        lost, freed = self._db.execute(
            "SELECT COALESCE(SUM(seq > ?), 0), COALESCE(SUM(bytes), 0) FROM events WHERE seq <= ?",
            (delivered, up_to),
        ).fetchone()
        self._db.execute("DELETE FROM events WHERE seq <= ?", (up_to,))
        self._first_seq = min(max(self._first_seq, up_to + 1), self.last_seq + 1)
        return lost, freed


class SpoolReader:
    """Reads events in their order over a connection of its own; one thread."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        self.cut_short = False
        """The last read returned fewer than asked for although more are there: big pictures."""

    def read(self, after_seq: int, count: int) -> list[SpooledEvent]:
        """Return at most ``count`` events after a place, oldest first, and few MiB at most."""
        rows = self._db.execute(
            "SELECT seq, bytes, sighting, crop, frame, clip FROM events WHERE seq > ?"
            " ORDER BY seq LIMIT ?",
            (after_seq, count),
        )
        self.cut_short = False
        events: list[SpooledEvent] = []
        total = 0
        for seq, size, sighting, *shown in rows:
            total += size
            if total > _READ_BYTES and events:
                self.cut_short = True
                break
            evidence = Evidence(*(one or b"" for one in shown)) if any(shown) else None
            events.append(SpooledEvent(seq, Event(_decode_sighting(sighting), evidence)))
        rows.close()
        return events

    def close(self) -> None:
        """Close the connection."""
        self._db.close()


def _opened(path: Path) -> sqlite3.Connection:
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


def _prepared(path: Path) -> sqlite3.Connection:
    path.touch(mode=0o600)  # plates are nobody else's business; SQLite's side files follow it
    db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
    try:
        db.execute("PRAGMA auto_vacuum = INCREMENTAL")
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = NORMAL")
        db.executescript(_SCHEMA)
        columns = {column[1] for column in db.execute("PRAGMA table_info(events)")}
        if "clip" not in columns:
            db.execute("ALTER TABLE events ADD COLUMN clip BLOB")
        if "unix_s" not in columns:
            db.execute("ALTER TABLE events ADD COLUMN unix_s INTEGER NOT NULL DEFAULT 0")
            db.execute("UPDATE events SET unix_s = ?", (int(time.time()),))
    except sqlite3.Error:
        db.close()
        raise
    return db

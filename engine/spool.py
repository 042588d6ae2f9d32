"""What the publisher must not forget, in one SQLite file: every turn of its loop is one commit.

A commit holds the open tracks, the read cursors, the ids of ingested bodies and the outgoing
events together, so that a publisher killed at any instruction goes on as if it had not done its
last, unacknowledged turn. Events wait here for their sinks; the oldest go first when the spool is
full, or they are too old. Delivered events are held for a few seconds more: a sink that lost its
server starts again with what it delivered in those (a server killed outright may have lost what it
acknowledged last; the markers of ``engine.store`` make the repeat harmless).

Each sink has a progress of its own (``engine.progress``), kept in the same commit: one place for
all, and while it catches up one more for every camera that it is ahead in.

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
from collections.abc import Callable, Collection, Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from engine.privacy import Seal
from engine.progress import Progress
from engine.spool_file import (
    delete_events_of,
    keep_progress_of,
    open_spool,
    read_progress,
    transaction,
    write_progress,
)
from engine.track import Event, Track
from engine.tracker import Changes
from engine.types import Evidence

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
_WANTS_ROOM: Final = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_CANTOPEN}
"""Refusals that a full disk may be the reason of; a file that somebody else holds is none."""
_LOOK_AT_AGE_EVERY: Final = 64
_MOST_OUTDATED: Final = 4_096
"""Given up in one look: more than come between two looks, and soon done."""

log = logging.getLogger(__name__)

T = TypeVar("T")

_encode = msgspec.msgpack.Encoder().encode
_decode_track = msgspec.msgpack.Decoder(Track).decode


def _wants_room(error: sqlite3.OperationalError) -> bool:
    return error.sqlite_errorcode & 0xFF in _WANTS_ROOM


class Turn(msgspec.Struct):
    """All that one turn of the publisher's loop commits."""

    changes: Changes
    events: list[Event] = []
    cursors: dict[tuple[str, int], int] = {}
    """(worker, incarnation) to the last sequence number taken."""
    uuids: dict[str, str] = {}
    """Ids of ingested bodies to the sighting each became, empty where it fed the tracker."""
    positions: dict[str, Progress] = {}
    """How far each sink has delivered, where that changed."""
    durable: bool = False
    """Survive a power cut, not only a kill."""

    def __bool__(self) -> bool:
        return bool(self.changes or self.events or self.cursors or self.uuids or self.positions)


class Spool:
    """The writing side; one thread. Readers open an ``engine.spool_reader`` of their own."""

    def __init__(
        self,
        path: Path,
        max_bytes: int,
        run: str,
        max_age_s: float = MAX_AGE_S,
        seal: Seal | None = None,
    ) -> None:
        """Open or make the file; ``run`` tells the workers of this run from those of others.

        With a ``seal``, open tracks and their pictures lie in it sealed.
        """
        self.path = path
        self._seal = seal
        self._ballast = path.with_name(f"{path.name}-ballast")
        self._max_age_s = max_age_s
        self._max_bytes = max_bytes
        self._run = run
        self._db = self._on_a_full_disk_too(lambda: open_spool(path))
        if seal is not None:
            self._seal_tracks(seal)
        self._on_a_full_disk_too(self._forget_other_runs)
        self._take_ballast()
        one = self._db.execute
        self._bytes: int = one("SELECT COALESCE(SUM(bytes), 0) FROM events").fetchone()[0]
        oldest, newest = one("SELECT MIN(seq), MAX(seq) FROM events").fetchone()
        used = one("SELECT seq FROM sqlite_sequence WHERE name = 'events'").fetchone()
        self.last_seq: int = newest or (used[0] if used else 0)
        """Of the newest event that is there; numbers behind it may be of events forgotten."""
        self._first_seq: int = oldest if oldest is not None else self.last_seq + 1
        self.positions = read_progress(self._db, "positions")
        self.settled = read_progress(self._db, "settled")
        """How far each sink had delivered ``HELD_S`` ago; what lies before is never said again."""
        self._delivered: deque[tuple[float, dict[str, Progress]]] = deque()
        self._freed: dict[str, int] = {}
        """Of cameras that all sinks are ahead in: up to where their events are deleted."""
        self._commits = 0
        self._refused = False
        self.is_full = False
        """The last commit was refused because the disk has no room."""

    def _on_a_full_disk_too(self, step: Callable[[], T]) -> T:
        """Do a step of the start; where the disk has no room for it, at the ballast's cost."""
        try:
            return step()
        except sqlite3.OperationalError as error:
            if not _wants_room(error):
                raise
            self._ballast.unlink(missing_ok=True)
            return step()

    def _forget_other_runs(self) -> None:
        with transaction(self._db):
            self._db.execute("DELETE FROM cursors WHERE run <> ?", (self._run,))

    def feed(self, sinks: Mapping[str, Collection[str]]) -> None:
        """Say which sinks there are from now on, and by which other names each may be known.

        A new one begins with the next event; one that is no more holds nothing any longer.
        """
        new = Progress(self.last_seq)
        known: dict[str, Progress] = {}
        for name, formerly in sinks.items():
            names = [name] if name in self.positions else formerly
            found = [self.positions[one] for one in names if one in self.positions]
            known[name] = reduce(Progress.back_to, found) if found else new
        settled = {name: self.settled.get(name, at) for name, at in known.items()}
        with transaction(self._db):
            for table, rows in (("positions", known), ("settled", settled)):
                keep_progress_of(self._db, table, rows)
                for sink, progress in rows.items():
                    write_progress(self._db, table, sink, Progress(), progress)
        self.positions, self.settled = known, settled

    def tracks(self) -> Iterator[tuple[Track, Evidence]]:
        """Yield the tracks of the last commit with their pictures."""
        rows = self._db.execute(
            "SELECT track, crop, frame FROM tracks LEFT JOIN track_evidence USING (id)"
        )
        for track, crop, frame in rows.fetchall():
            try:
                yield (
                    _decode_track(self._opened(track)),
                    Evidence(self._opened(crop or b""), self._opened(frame or b"")),
                )
            except (msgspec.DecodeError, ValueError) as error:
                log.warning("an open track of another version or key is given up: %s", error)

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

        Returns None where the file refused: nothing was written, try again; where ``is_full``, it
        is for want of room.
        """
        try:
            if turn.durable:
                self._db.execute("PRAGMA synchronous = FULL")
            try:
                with transaction(self._db):
                    added = self._write(turn)
                    dropped, freed = self._trim(turn.positions)
            finally:
                if turn.durable:
                    self._db.execute("PRAGMA synchronous = NORMAL")
        except sqlite3.OperationalError as error:
            if not self._refused:
                log.error("the spool cannot be written, tracking waits: %s", error)  # noqa: TRY400  # expected, one line
            self._refused = True
            self.is_full = _wants_room(error)
            return None
        self._refused = self.is_full = False
        self._bytes += added - freed
        self.positions |= turn.positions
        return dropped

    def depth(self, sink: str) -> int:
        """Return how many events wait for a sink, had it none of what lies behind its base."""
        base = self.positions.get(sink, Progress()).base
        return max(0, self.last_seq - max(base, self._first_seq - 1))

    def oldest_unix_s(self, sink: str) -> int:
        """Return when the oldest event was written that is part of ``depth``; 0: there is none."""
        base = self.positions.get(sink, Progress()).base
        query = "SELECT unix_s FROM events WHERE seq > ? ORDER BY seq LIMIT 1"
        try:
            found = self._db.execute(query, (base,)).fetchone()
        except sqlite3.OperationalError:  # the next commit meets it, too, and says so
            return 0
        return int(found[0]) if found else 0

    def drop_oldest(self, share: float) -> int:
        """Give up this share of the events to free the disk; return how many were undelivered.

        Their pages are used again by the next commits. A file of ballast goes first, and is made
        again after. Where all that is not enough, 0.
        """
        up_to = self._first_seq + max(1, int((self.last_seq - self._first_seq + 1) * share))
        self._ballast.unlink(missing_ok=True)  # to delete, SQLite must write
        try:
            with transaction(self._db):
                dropped, freed = self._delete(up_to, self.positions)
        except sqlite3.OperationalError:
            return 0
        self._bytes -= freed
        with contextlib.suppress(sqlite3.OperationalError):
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        self._take_ballast()
        return dropped

    def forget(self, plates: Collection[str], tracks: Collection[str]) -> int | None:
        """Delete events of these texts, and tracks, so that no byte of them stays in the file.

        Returns how many events they were, None where the file refuses: nothing was deleted.
        """
        ids = [(one,) for one in tracks]
        try:
            self._db.execute("PRAGMA secure_delete = ON").fetchall()
            try:
                with transaction(self._db):
                    count, freed = delete_events_of(self._db, plates)
                    self._db.executemany("DELETE FROM tracks WHERE id = ?", ids)
                    self._db.executemany("DELETE FROM track_evidence WHERE id = ?", ids)
                    newest = self._db.execute("SELECT MAX(seq) FROM events").fetchone()[0]
            finally:
                self._db.execute("PRAGMA secure_delete = OFF").fetchall()
        except sqlite3.OperationalError as error:
            log.error("the spool cannot be written, nothing of it is forgotten: %s", error)  # noqa: TRY400  # expected, one line
            return None
        self._bytes -= freed
        self.last_seq = newest or self._first_seq - 1  # else sinks would wait for what is gone
        return count

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

    def _seal_tracks(self, seal: Seal) -> None:
        """Seal what an earlier run, which did not, has left; nothing deleted can be read again."""
        self._db.execute("PRAGMA secure_delete = ON").fetchall()
        tracks = self._db.execute("SELECT id, track FROM tracks").fetchall()
        shown = self._db.execute("SELECT id, crop, frame FROM track_evidence").fetchall()
        with transaction(self._db):
            self._db.executemany(
                "UPDATE tracks SET track = ? WHERE id = ?",
                [(seal.close(track), one) for one, track in tracks],
            )
            self._db.executemany(
                "UPDATE track_evidence SET crop = ?, frame = ? WHERE id = ?",
                [(seal.close(crop), seal.close(frame), one) for one, crop, frame in shown],
            )
        self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def _closed(self, value: bytes) -> bytes:
        return value if self._seal is None else self._seal.close(value)

    def _opened(self, value: bytes) -> bytes:
        return value if self._seal is None else self._seal.open(value)

    def _write(self, turn: Turn) -> int:
        """Write all parts of a turn; return the bytes of its events."""
        many, changes = self._db.executemany, turn.changes
        many(
            "INSERT OR REPLACE INTO tracks VALUES (?, ?)",
            [(track.id, self._closed(_encode(track))) for track in changes.tracks],
        )
        many(
            "INSERT OR REPLACE INTO track_evidence VALUES (?, ?, ?)",
            [
                (one, self._closed(shown.crop_jpeg), self._closed(shown.frame_jpeg))
                for one, shown in changes.evidence.items()
            ],
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
        for sink, now in turn.positions.items():
            before = self.positions.get(sink, Progress())
            write_progress(self._db, "positions", sink, before, now)
        added, now_s = 0, int(time.time())
        for event in turn.events:
            packed, pictures = _encode(event.sighting), event.evidence or Evidence()
            shown = pictures.crop_jpeg, pictures.frame_jpeg, pictures.clip, pictures.payload
            size = len(packed) + sum(map(len, shown)) + _ROW_BYTES
            self.last_seq = (
                self._db.execute(
                    "INSERT INTO events (bytes, unix_s, camera, sighting, crop, frame, clip,"
                    " payload) VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                    (size, now_s, event.sighting.camera, packed, *(one or None for one in shown)),
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

    def _trim(self, positions: dict[str, Progress]) -> tuple[int, int]:
        """Delete what was delivered a while ago and, over the bound, the oldest.

        Returns how many of them were undelivered, and the bytes freed.
        """
        told = self.positions | positions
        self._settle(positions, told)
        freed = self._free_settled(told)
        dropped = 0
        outdated = self._outdated() if self._commits % _LOOK_AT_AGE_EVERY == 0 else 0
        if outdated >= self._first_seq:
            dropped, gone = self._delete(outdated, told)
            freed += gone
        while self._bytes - freed > self._max_bytes and self._first_seq <= self.last_seq:
            lost, gone = self._delete(self._first_seq + _DROP_CHUNK - 1, told)
            dropped, freed = dropped + lost, freed + gone
        return dropped, freed

    def _settle(self, positions: dict[str, Progress], told: dict[str, Progress]) -> None:
        """Note what was delivered ``HELD_S`` ago."""
        now = time.monotonic()
        if positions:
            self._delivered.append((now, positions))
        settled: dict[str, Progress] = {}
        while self._delivered and self._delivered[0][0] <= now - HELD_S:
            settled |= self._delivered.popleft()[1]
        for sink, progress in settled.items():
            before = self.settled.get(sink, Progress())
            after = progress.back_to(told.get(sink, progress))  # it may have gone back since
            write_progress(self._db, "settled", sink, before, after)
            self.settled[sink] = after

    def _free_settled(self, told: dict[str, Progress]) -> int:
        """Delete what no sink is told again; return the bytes freed."""
        settled = [self.settled.get(sink, Progress()) for sink in told]
        done = min((one.base for one in settled), default=0)
        freed = self._delete(done, told)[1] if done >= self._first_seq else 0
        for camera in {name for one in settled for name in one.ahead}:
            up_to = min(one.of(camera) for one in settled)
            if up_to > max(done, self._freed.get(camera, 0)):
                freed += self._delete_of_camera(camera, up_to)
                self._freed[camera] = up_to
        if self._freed and not any(one.ahead for one in settled):
            self._freed = {}
        return freed

    def _delete_of_camera(self, camera: str, up_to: int) -> int:
        """Delete delivered events of one camera; return their bytes."""
        which = "FROM events WHERE camera = ? AND seq <= ?"
        values = (camera, up_to)
        freed = self._db.execute(f"SELECT COALESCE(SUM(bytes), 0) {which}", values).fetchone()[0]
        self._db.execute(f"DELETE {which}", values)
        return int(freed)

    def _outdated(self) -> int:
        """Return up to where events are too old, a bounded number of them, 0 where none is."""
        before_s = time.time() - self._max_age_s
        oldest = self._db.execute("SELECT unix_s FROM events ORDER BY seq LIMIT 1").fetchone()
        if oldest is None or oldest[0] >= before_s:
            return 0
        found = self._db.execute(
            "SELECT MAX(seq) FROM (SELECT seq, unix_s FROM events ORDER BY seq LIMIT ?)"
            " WHERE unix_s < ?",
            (_MOST_OUTDATED, before_s),
        )
        return int(found.fetchone()[0])

    def _delete(self, up_to: int, told: dict[str, Progress]) -> tuple[int, int]:
        """Delete the events up to a place; return how many were undelivered, and their bytes."""
        slowest = min((one.base for one in told.values()), default=0)
        lost, freed = self._db.execute(
            "SELECT COALESCE(SUM(seq > ?), 0), COALESCE(SUM(bytes), 0) FROM events WHERE seq <= ?",
            (slowest, up_to),
        ).fetchone()
        if lost and any(one.ahead for one in told.values()):
            rows = self._db.execute(
                "SELECT seq, camera FROM events WHERE seq > ? AND seq <= ?", (slowest, up_to)
            )
            lost = sum(not all(one.has(*row) for one in told.values()) for row in rows)
        self._db.execute("DELETE FROM events WHERE seq <= ?", (up_to,))
        self._first_seq = min(max(self._first_seq, up_to + 1), self.last_seq + 1)
        return lost, freed

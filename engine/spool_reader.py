"""Reads the spool for one sink: what waits for it, in order, all of it or one camera's."""

import sqlite3
from pathlib import Path
from typing import Final

import msgspec

from engine.progress import Progress
from engine.track import Event
from engine.types import Evidence, Sighting

_READ_BYTES: Final = 4 << 20

_decode_sighting = msgspec.msgpack.Decoder(Sighting).decode


class SpooledEvent(msgspec.Struct, frozen=True):
    """An event and its place in the spool."""

    seq: int
    event: Event

    @property
    def camera(self) -> str:
        """Whose event it is."""
        return self.event.sighting.camera


_EVENTS: Final = "SELECT seq, bytes, sighting, crop, frame, clip, payload FROM events "
"""The last four as ``Evidence`` has them."""


class SpoolReader:
    """Reads events in their order over a connection of its own; one thread."""

    def __init__(self, path: Path) -> None:
        self._db = sqlite3.connect(path, isolation_level=None, timeout=5.0)
        self.cut_short = False
        """The last read returned fewer than asked for although more are there: big pictures."""

    def read(self, after_seq: int, count: int) -> list[SpooledEvent]:
        """Return at most ``count`` events after a place, oldest first, and few MiB at most."""
        return self._events(
            _EVENTS + "WHERE seq > ? ORDER BY seq LIMIT ?",
            (after_seq, count),
        )

    def read_camera(self, camera: str, after_seq: int, count: int) -> list[SpooledEvent]:
        """Return at most ``count`` events of one camera after a place, as ``read`` does."""
        return self._events(
            _EVENTS + "WHERE camera = ? AND seq > ? ORDER BY seq LIMIT ?",
            (camera, after_seq, count),
        )

    def waiting(self, done: Progress) -> dict[str, int]:
        """Return the cameras of which events wait for a sink, and how many of each."""
        rows = self._db.execute(
            "SELECT camera, COUNT(*) FROM events WHERE seq > ? GROUP BY camera", (done.base,)
        )
        found: dict[str, int] = dict(rows.fetchall())
        for camera, seq in done.ahead.items():
            if camera in found:
                (found[camera],) = self._db.execute(
                    "SELECT COUNT(*) FROM events WHERE camera = ? AND seq > ?", (camera, seq)
                ).fetchone()
        return {camera: count for camera, count in found.items() if count}

    def newest_seq(self) -> int:
        """Return the place of the newest event, 0 where there is none."""
        (newest,) = self._db.execute("SELECT COALESCE(MAX(seq), 0) FROM events").fetchone()
        return int(newest)

    def _events(self, query: str, values: tuple[int | str, ...]) -> list[SpooledEvent]:
        """Return the events of a query, as many as fit into few MiB."""
        rows = self._db.execute(query, values)
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

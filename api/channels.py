"""What a client of the live stream wants to hear, and how it is written down for it.

A ``Channel`` is a value: clients with equal wishes share one, and the hub encodes once for all.
"""

import fnmatch
from collections.abc import Iterable
from enum import StrEnum
from typing import Final

import msgspec

from api.feed import Event, Mark, Missed, missed
from engine.event_stream import Gap
from engine.types import Sighting

RETRY_MS: Final = 2_000
"""How long a browser waits before it connects again."""


class Ending(StrEnum):
    """Why the server ends a stream; the client comes back and resumes by id."""

    SLOW = "slow"
    """It took less than it was sent."""
    CLOSING = "closing"
    """The process that served it closes."""
    DENIED = "denied"
    """Its key or session counts no more, or for less."""


class Channel(msgspec.Struct, frozen=True, kw_only=True):
    """A form and a filter; empty fields let everything through."""

    plain: bool = False
    """Only the plate text of each sighting, once, when it is first announced."""
    phase: str = ""
    camera: str = ""
    plate: str = ""
    """A normalised plate in which ``*`` stands for any characters and ``?`` for one."""
    list: str = ""
    """A watchlist; only plates that are on it."""
    min_confidence: float = 0.0
    cameras: bool = False
    """Also how cameras turn, as events named ``camera`` without an id."""

    def wants_camera(self, camera: str) -> bool:
        """Tell whether a turn of this camera passes the filter."""
        return self.cameras and (not self.camera or camera == self.camera)

    def wants(self, sighting: Sighting) -> bool:
        """Tell whether this event passes the filter."""
        if self.plain:
            return sighting.revision == 1
        return (
            (not self.phase or sighting.phase == self.phase)
            and (not self.camera or sighting.camera == self.camera)
            and sighting.confidence >= self.min_confidence
            and (not self.plate or fnmatch.fnmatchcase(sighting.plate, self.plate))
            and (not self.list or any(hit.list == self.list for hit in sighting.hits))
        )

    def encode(self, events: Iterable[Event], seen: Mark | None = None) -> tuple[bytes, int]:
        """Return what follows ``seen`` as bytes of an event stream, and how many events pass.

        Where events are missing between them, as our own sequence tells, a gap says how many.
        """
        parts: list[bytes] = []
        count = 0
        for event in events:
            lost = None if seen is None else missed(seen, event.mark)
            if lost is not None:
                parts.append(self.gap(lost, event.mark.before_it()))
            if event.sighting is not None and self.wants(event.sighting):
                parts.append(self._written(event, event.sighting))
                count += 1
            seen = event.mark
        return b"".join(parts), count

    def _written(self, event: Event, sighting: Sighting) -> bytes:
        if self.plain:
            return b"data: %b\n\n" % sighting.plate.encode()
        return b"id: %b\ndata: %b\n\n" % (str(event.mark).encode(), event.json)

    def heartbeat(self, position: Mark | None) -> bytes:
        """Return a comment; with the id a filtered client resumes behind what it did not want."""
        if self.plain or position is None:
            return b": \n\n"
        return b": \nid: %b\n\n" % str(position).encode()

    def greeting(self, position: Mark | None) -> bytes:
        """Return what a new client is sent at once, so that it knows the line is open."""
        return b"retry: %d\n" % RETRY_MS + self.heartbeat(position)

    def gap(self, lost: Missed, position: Mark) -> bytes:
        """Return the event that says how many events nobody can bring back; plain has none.

        They are counted whatever was in them: whether they would have passed nobody can tell.
        """
        if self.plain:
            return b""
        body = msgspec.json.encode(Gap(lost.count, str(position)))
        return b"event: gap\nid: %b\ndata: %b\n\n" % (str(position).encode(), body)

    def farewell(self, ending: Ending, again_ms: int) -> bytes:
        """Return the last of a stream: why it ends, and when its client should come back."""
        if self.plain:
            return b"retry: %d\n\n" % again_ms
        body = msgspec.json.encode(End(ending))
        return b"event: end\nretry: %d\ndata: %b\n\n" % (again_ms, body)


class End(msgspec.Struct, frozen=True):
    """The body of an ``end`` event."""

    reason: Ending

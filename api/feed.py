"""Events of the Redis stream, and marks: how far in it a reader is.

A mark is written ``1732332000000-0.4711``: Redis's id of an entry and our own sequence number.
Clients get it as the id of each event and give it back to resume. The sequence has no gaps, so
the distance of two marks tells exactly how many events lie between them, also when the entries
themselves were trimmed long ago. A bare stream id is taken, too; then that count is unknown.
"""

import logging
import re
from typing import Final

import msgspec

from api.canary import KEPT, CanaryEar
from engine.store import Store, StreamEntry
from engine.types import Sighting

log = logging.getLogger(__name__)

_MARK = re.compile(r"(\d{1,20})(?:-(\d{1,20}))?(?:\.(\d{1,18}))?", re.ASCII)
_WORD: Final = (1 << 64) - 1
_sightings = msgspec.json.Decoder(Sighting)


class Mark(msgspec.Struct, frozen=True):
    """A place in the stream: behind the entry of this id; ``seq`` -1 where it is unknown."""

    ms: int
    number: int
    seq: int

    @classmethod
    def parse(cls, text: str) -> "Mark":
        """Return the mark that ``text`` writes; ``0`` is before everything.

        Raises:
            ValueError: it is none.
        """
        found = _MARK.fullmatch(text)
        if found is None:
            raise ValueError(f"{text[:40]!r} is no id of an event")
        ms, number = int(found[1]), int(found[2] or 0)
        if ms > _WORD or number > _WORD:
            raise ValueError(f"{text[:48]!r} is no id of an event")
        unknown = 0 if (ms, number) == (0, 0) else -1
        return cls(ms, number, int(found[3]) if found[3] else unknown)

    @property
    def id(self) -> str:
        """Redis's id."""
        return f"{self.ms}-{self.number}"

    def __str__(self) -> str:
        return self.id if self.seq < 0 else f"{self.id}.{self.seq}"

    def is_after(self, other: "Mark") -> bool:
        """Tell whether this place is later in the stream."""
        return (self.ms, self.number) > (other.ms, other.number)

    def before_it(self) -> "Mark":
        """Return the place right before this entry: reading after it finds the entry itself."""
        seq = self.seq - 1 if self.seq > 0 else self.seq
        if self.number:
            return Mark(self.ms, self.number - 1, seq)
        return Mark(self.ms - 1, _WORD, seq) if self.ms else self


START: Final = Mark(0, 0, 0)
"""Before everything."""


class Event(msgspec.Struct, frozen=True):
    """One entry of the stream; ``json`` is the sighting as stored."""

    mark: Mark
    json: bytes
    sighting: Sighting | None
    """None where a later version wrote another form: nobody is told of it."""


class Missed(msgspec.Struct, frozen=True):
    """Events that were trimmed before this reader came: how many, None where unknowable."""

    count: int | None


def missed(seen: Mark, first: Mark) -> Missed | None:
    """Return what lies between a place and the next entry that is still there.

    None where nothing does, and where ``seq`` of the place is unknown.
    """
    if seen.seq < 0 or first.seq == seen.seq + 1:
        return None
    if first.seq <= seen.seq:  # the sequence began anew: Redis lost its data
        return Missed(None)
    return Missed(first.seq - seen.seq - 1)


class Feed:
    """Reads the stream; every method raises ``SinkError`` while Redis is away."""

    def __init__(self, store: Store, canaries: CanaryEar | None = None) -> None:
        """Read ``store``; what comes of canaries on the way goes to ``canaries``."""
        self._store = store
        self._canaries = canaries

    def forgotten(self) -> int:
        """Return how often plates were forgotten."""
        return self._store.forgotten()

    def newest(self, count: int) -> tuple[Mark, list[Event]]:
        """Return the newest events, oldest first, and a place behind which they are all."""
        start = Mark(0, 0, self._store.sequence())  # where there is no event left to tell it
        events = [_event(entry) for entry in self._store.stream_tail(count)]
        if self._canaries is not None:
            self._canaries.remember(self._store.newest_canaries(KEPT))
        if len(events) == count:
            return events[0].mark, events[1:]
        return (START if events else start), events

    def after(self, mark: Mark, count: int, wait_ms: int = 0) -> list[Event]:
        """Return the events behind a place, oldest first; waits when there are none."""
        canaries = self._canaries
        if canaries is None:
            return [_event(entry) for entry in self._store.read_stream(mark.id, wait_ms, count)]
        entries, new = self._store.read_both(mark.id, canaries.place, wait_ms, count)
        canaries.hear(new)
        return [_event(entry) for entry in entries]

    def missed_behind(self, bare: Mark) -> Missed | None:
        """Return what a reader that comes back with a bare id has lost for ever, if anything."""
        entries = self._store.read_stream(START.id, count=1)
        if not entries:
            return Missed(None)
        oldest = _mark(entries[0])
        return Missed(None) if oldest.is_after(bare) and oldest.seq > 1 else None


def _mark(entry: StreamEntry) -> Mark:
    ms, number = entry.id.split("-")
    return Mark(int(ms), int(number), entry.seq)


def _event(entry: StreamEntry) -> Event:
    try:
        sighting = _sightings.decode(entry.json)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("an event of the stream cannot be read: %s", error)
        sighting = None
    return Event(_mark(entry), entry.json, sighting)

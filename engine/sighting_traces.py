"""The publisher's part of the traces: from the capture of a sighting's newest read to Redis.

One trace tells of the first news of a sighting. Its times are known anyway: they come with each
frame's reads, and are kept until that news is stored.
"""

import time
from collections.abc import Iterable
from typing import Final, TypeVar

import msgspec

from engine.canary import is_hidden
from engine.messages import ReadsRecord
from engine.traces import Step, Traces
from engine.track import NS_PER_MS, Event
from engine.types import Phase, Sighting

REMEMBERED: Final = 4_096
"""Frames, and sightings that are not stored yet; beyond, the oldest get no trace."""

K = TypeVar("K")
V = TypeVar("V")


class _Way(msgspec.Struct, frozen=True):
    """When a frame came where; nanoseconds UTC."""

    captured_ns: int
    slot_ns: int
    begun_ns: int
    recognized_ns: int
    tracked_ns: int


class _Told(msgspec.Struct, frozen=True):
    """The first news of a sighting that are on their way to Redis."""

    sighting: Sighting
    way: _Way
    told_ns: int


class SightingTraces:
    """Remembers when frames came where; does nothing where no traces are wanted."""

    def __init__(self, traces: Traces | None) -> None:
        self._traces = traces
        self._ways: dict[tuple[str, int], _Way] = {}
        self._told: dict[str, _Told] = {}

    def note(self, record: ReadsRecord) -> None:
        """Note a frame whose reads were tracked just now."""
        if self._traces is None or not record.offered_monotonic_ns:
            return
        stamp = record.reads.stamp
        since_ns = stamp.captured_unix_ns - stamp.captured_monotonic_ns
        way = _Way(
            stamp.captured_unix_ns,
            since_ns + record.offered_monotonic_ns,
            since_ns + record.begun_monotonic_ns,
            since_ns + record.recognized_monotonic_ns,
            since_ns + time.monotonic_ns(),
        )
        _remember(self._ways, (stamp.camera, stamp.captured_unix_ns // NS_PER_MS), way)

    def told(self, events: Iterable[Event]) -> None:
        """Note the first news of sightings, about to be written to the spool."""
        if self._traces is None:
            return
        for event in events:
            one = event.sighting
            way = self._ways.get((one.camera, one.last_unix_ms))
            if one.phase is Phase.PROVISIONAL and way is not None and not is_hidden(one.camera):
                told = _Told(one, way, max(way.tracked_ns, time.time_ns()))
                _remember(self._told, one.id, told)

    def stored(self, sighting: str, elapsed_ns: int) -> None:
        """Make the trace of a sighting that was stored so long after its capture."""
        told = self._told.pop(sighting, None)
        if told is None or self._traces is None:
            return
        one, way = told.sighting, told.way
        stored_ns = max(told.told_ns, one.last_unix_ms * NS_PER_MS + elapsed_ns)
        steps = (
            Step("slot", way.captured_ns, way.slot_ns),
            Step("wait", way.slot_ns, way.begun_ns),
            Step("recognize", way.begun_ns, way.recognized_ns),
            Step("track", way.recognized_ns, way.tracked_ns),
            Step("announce", way.tracked_ns, told.told_ns),
            Step("store", told.told_ns, stored_ns),
        )
        about = {
            "platering.sighting": one.id,
            "platering.camera": one.camera,
            "platering.recognizer": one.recognizer,
            "platering.confidence": one.confidence,
            "platering.hits": len(one.hits),
        }
        self._traces.add(one.id, Step("sighting", way.captured_ns, stored_ns), steps, about)

    def close(self) -> None:
        """Send what waits, for a moment at most."""
        if self._traces is not None:
            self._traces.close()


def _remember(memory: dict[K, V], key: K, value: V) -> None:
    while len(memory) >= REMEMBERED:
        del memory[next(iter(memory))]
    memory[key] = value

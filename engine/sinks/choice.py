"""Which events a sink gets: its filters, and a lane of its own for what a watchlist marked."""

import logging
from collections.abc import Sequence
from enum import Enum

import msgspec

from engine.canary import is_canary
from engine.deadletters import DeadLetters
from engine.plates import Pattern
from engine.sink_settings import SinkSettings, plate_pattern
from engine.sinks.base import RefusedEventsError, Sink, Tally
from engine.track import Event
from engine.types import Sighting

log = logging.getLogger(__name__)


class Lane(Enum):
    """Which part of a sink's events one connection carries."""

    ALL = ""
    HITS = ".hits"
    OTHERS = ".others"


class Choice(msgspec.Struct, frozen=True):
    """The filters of one sink, compiled."""

    phases: frozenset[str]
    cameras: frozenset[str]
    patterns: tuple[Pattern, ...]
    min_confidence: float
    hits_only: bool
    lane: Lane

    @classmethod
    def of(cls, settings: SinkSettings, lane: Lane) -> "Choice":
        """Compile the filters of a section."""
        return cls(
            frozenset(settings.phases),
            frozenset(settings.cameras),
            tuple(plate_pattern(text) for text in settings.plates),
            settings.min_confidence,
            settings.hits_only,
            lane,
        )

    def takes(self, sighting: Sighting) -> bool:
        """Tell whether an event of this sighting goes there, in this lane."""
        hit = bool(sighting.hits)
        return (
            not is_canary(sighting.camera)
            and (self.lane is Lane.ALL or hit == (self.lane is Lane.HITS))
            and (hit or not self.hits_only)
            and sighting.news in self.phases
            and (not self.cameras or sighting.camera in self.cameras)
            and sighting.confidence >= self.min_confidence
            and (not self.patterns or any(one.matches(sighting.plate) for one in self.patterns))
        )


class ChosenSink:
    """A sink that gets only what it asked for; what it refuses for good becomes a dead letter."""

    def __init__(self, sink: Sink, choice: Choice, tally: Tally, letters: DeadLetters) -> None:
        self._sink = sink
        self._choice = choice
        self._tally = tally
        self._letters = letters
        self.name = sink.name + choice.lane.value

    @property
    def formerly(self) -> tuple[str, ...]:
        """The names that it has where its hits go first, or do not."""
        lanes = (Lane.HITS, Lane.OTHERS) if self._choice.lane is Lane.ALL else (Lane.ALL,)
        return tuple(self._sink.name + lane.value for lane in lanes)

    @property
    def connected(self) -> bool:
        """See ``Sink``."""
        return self._sink.connected

    def deliver(self, events: Sequence[Event]) -> None:
        """See ``Sink``; an event that is not chosen counts as delivered."""
        chosen = [event for event in events if self._choice.takes(event.sighting)]
        if not chosen:
            return
        refused: tuple[tuple[Event, str], ...] = ()
        try:
            self._sink.deliver(chosen)
        except RefusedEventsError as error:
            refused = error.refused
        for event, reason in refused:
            self._put_aside(event, reason)
        self._tally.delivered += len(chosen) - len(refused)

    def close(self) -> None:
        """See ``Sink``."""
        self._sink.close()
        self._letters.close()

    def _put_aside(self, event: Event, reason: str) -> None:
        sighting = event.sighting
        log.warning(
            "%s: %s revision %d is a dead letter: %s",
            *(self.name, sighting.id, sighting.revision, reason),
            extra={"camera": sighting.camera, "sighting": sighting.id},
        )
        gone = self._letters.add(self._sink.name, event, reason)
        if gone:
            log.error("too many dead letters: the oldest %d are gone", gone)
        self._tally.dead_letters += 1

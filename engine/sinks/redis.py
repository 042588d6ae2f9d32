"""The sink that all the rest of Platering reads from: Redis."""

import logging
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Final

from engine.config import RedisSettings
from engine.deadletters import DeadLetters
from engine.retention import Kept, Retention
from engine.sinks.base import Tally
from engine.store_writer import StoreWriter
from engine.track import Event

NAME: Final = "redis"
_REMEMBERED: Final = 256

log = logging.getLogger(__name__)


class RedisSink:
    """Commits events to the schema of ``engine.store``.

    One that Redis refuses for what it is becomes a dead letter, and the others go on.
    """

    name = NAME

    def __init__(
        self,
        settings: RedisSettings,
        letters: DeadLetters,
        tally: Tally,
        cameras: Mapping[str, Kept] | None = None,
    ) -> None:
        """Deliver to ``settings.url``; some ``cameras`` are kept longer or shorter than others."""
        cameras = cameras or {}
        self._days_of = {name: kept.days for name, kept in cameras.items() if kept.days}
        self._letters = letters
        self._tally = tally
        self._put: deque[tuple[str, int]] = deque(maxlen=_REMEMBERED)
        self._writer = StoreWriter(settings.url, settings, self._put_aside, self._days_of)
        self._retention = Retention(settings.url, settings, cameras)

    @property
    def connected(self) -> bool:
        """See ``Sink``; asks Redis, after a break, whether it still has what it acknowledged."""
        return self._writer.resumes()

    def deliver(self, events: Sequence[Event]) -> None:
        """See ``Sink``; repeats are found by their markers."""
        self._writer.commit(events)
        self._retention.meet(event.sighting for event in events)
        self._retention.sweep()

    def keep(self, camera: str, kept: Kept) -> None:
        """See ``KeepsCameras``; called from the publisher's loop."""
        if kept.days:
            self._days_of[camera] = kept.days
        else:
            self._days_of.pop(camera, None)
        self._retention.keep(camera, kept)

    def close(self) -> None:
        """See ``Sink``."""
        self._writer.close()
        self._retention.close()
        self._letters.close()

    def _put_aside(self, event: Event, reason: str) -> None:
        """Keep what Redis refuses; the batch may be tried again and refuse it once more."""
        sighting = event.sighting
        one = sighting.id, sighting.revision
        if one in self._put:
            return
        log.error(
            "redis refuses %s revision %d, it is a dead letter: %s",
            *(*one, reason),
            extra={"camera": sighting.camera, "sighting": sighting.id},
        )
        self._letters.add(NAME, event, reason)
        self._put.append(one)  # only now: where it cannot be kept, it is tried again
        self._tally.dead_letters += 1

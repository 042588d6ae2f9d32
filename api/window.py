"""The newest events, decoded once: clients that come back soon are served from here, not by Redis.

After a restart of the front thousands come back within seconds, and each wants the same.
"""

from bisect import bisect_right
from collections.abc import Sequence
from typing import Final

from api.feed import Event, Mark

MOST: Final = 2_000
LIFE_MS: Final = 60_000
"""Older events are not kept: Redis may have been made to forget them."""


class Window:
    """What follows ``since``, without anything left out."""

    def __init__(self) -> None:
        self._events: list[Event] = []
        self._since: Mark | None = None

    def begin(self, since: Mark, events: Sequence[Event]) -> None:
        """Hold these, which are all that follows a place."""
        self._since, self._events = since, list(events)

    def add(self, events: Sequence[Event]) -> None:
        """Hold these, too, which follow right behind."""
        self._events += events
        self._leave_out(len(self._events) - MOST)

    def grow_old(self, unix_ms: int) -> None:
        """Let go of what is old now."""
        oldest_ms = unix_ms - LIFE_MS
        self._leave_out(bisect_right(self._events, oldest_ms, key=lambda event: event.mark.ms))

    def after(self, seen: Mark) -> list[Event] | None:
        """Return the events behind a place; None where it is not known here what follows it."""
        if self._since is None or seen.seq < 0 or self._since.is_after(seen):
            return None
        place = (seen.ms, seen.number)
        first = bisect_right(self._events, place, key=lambda one: (one.mark.ms, one.mark.number))
        return self._events[first:]

    def _leave_out(self, count: int) -> None:
        if count > 0:
            self._since = self._events[count - 1].mark
            del self._events[:count]

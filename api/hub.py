"""The hub of the live stream: one reader of Redis, bytes encoded once, sent to all who listen.

``Hub.run`` tails the stream. Each batch of events is encoded once per *channel* (a form and a
filter) and the bytes are written straight to the clients' non-blocking sockets: no queue and no
greenlet wakes per client. The first event after a quiet moment leaves at once; after a delivery
that took long the hub rests a multiple of that time, so that events gather in Redis and the next
write to each socket carries several: coalescing begins exactly when there is load, and from the
beginning of one delivery to that of the next it is a tenth of a second at most.

A client that takes less than it is sent has a backlog (``api.subscriber``). Where that outgrows its
bound the client is cut, told why, counted, and resumes by id.
"""

import logging
import random
import time
from collections.abc import Iterable
from typing import Final

import gevent
from gevent.event import Event as GeventEvent

from api.channels import Channel, Ending
from api.feed import Event, Feed, Mark
from api.subscriber import Subscriber
from api.window import MOST, Window
from engine.board import Count, Row, Stage
from engine.errors import SinkError
from engine.types import Phase

HEARTBEAT_S: Final = 10.0
BATCH: Final = 500
REST_FACTOR: Final = 6.0
"""Deliveries use at most one part in seven of the time, until one and its rest fill a period."""
PERIOD_S: Final = 0.1
MIN_REST_S: Final = 0.02
"""After a delivery that took longer than the period."""
TURN: Final = 250
"""Sends between two chances for the other greenlets."""
RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)
ROTATE_S: Final = 0.8
"""How long it takes to send all clients away when this process closes."""
BACK_AFTER_MS: Final = (100, 1_000)
"""After so long, by chance, they come back; later by a millisecond for each client that is sent."""

log = logging.getLogger(__name__)


class Hub:
    """All live clients of this process, by channel."""

    def __init__(self, feed: Feed, row: Row) -> None:
        self._feed = feed
        self._row = row
        self._channels: dict[Channel, set[Subscriber]] = {}
        self._ahead: dict[Subscriber, Mark] = {}
        """Who has read events from Redis that this hub has yet to deliver to the others."""
        self._clients = 0
        self._failures = 0
        self._heartbeat_due = time.monotonic() + HEARTBEAT_S
        self._placed = GeventEvent()
        self.window = Window()
        self.closing = False
        self.position: Mark | None = None
        """Where the last event delivered stands; None until Redis was first reached."""

    @property
    def clients(self) -> int:
        """How many are live."""
        return self._clients

    def join(self, subscriber: Subscriber, seen: Mark | None) -> None:
        """Deliver to this client what comes next and behind ``seen``; it must be ``is_level``."""
        if seen is not None and seen != self.position:
            self._ahead[subscriber] = seen
        self._channels.setdefault(subscriber.channel, set()).add(subscriber)
        self._clients += 1
        self._row.gauge(Count.SSE_CLIENTS, self._clients)

    def leave(self, subscriber: Subscriber) -> None:
        """Forget a client; harmless when it had not joined."""
        subscriber.let_go()
        self._drop(subscriber)

    def _drop(self, subscriber: Subscriber) -> None:
        """Deliver nothing more to this client; it may still be taking its backlog."""
        self._ahead.pop(subscriber, None)
        members = self._channels.get(subscriber.channel, set())
        if subscriber not in members:
            return
        members.remove(subscriber)
        if not members:
            del self._channels[subscriber.channel]
        self._clients -= 1
        self._row.gauge(Count.SSE_CLIENTS, self._clients)

    def run(self) -> None:
        """Tail the stream and deliver until ``close``; Redis may come and go."""
        while not self.closing:
            try:
                events = self._next_events()
            except SinkError as error:
                self._wait_out(error)
                continue
            self._failures = 0
            if events:
                began = time.monotonic()
                self._deliver(events)
                gevent.sleep(_rest_s(time.monotonic() - began))
            self.window.grow_old(time.time_ns() // 1_000_000)
            self._beat_if_due()

    def wait_for_place(self, seconds: float) -> None:
        """Wait until ``run`` knows the newest event, so that nobody who comes then misses one.

        Redis may be away: no longer than so many seconds.
        """
        self._placed.wait(seconds)

    def _next_events(self) -> list[Event]:
        """Wait for events after the last one; the first time only find out which that is."""
        if self.position is None:
            since, events = self._feed.newest(MOST)
            self.window.begin(since, events)
            self.position = events[-1].mark if events else since
            self._placed.set()
            return []
        return self._feed.after(self.position, count=BATCH, wait_ms=500)

    def _wait_out(self, error: SinkError) -> None:
        """Rest while Redis is away; clients stay and their heartbeats go on."""
        if not self._failures:
            log.warning("the live stream waits for Redis: %s", error)
        pause_s = RETRY_S[min(self._failures, len(RETRY_S) - 1)]
        self._failures += 1
        gevent.sleep(pause_s)
        self._beat_if_due()

    def _deliver(self, events: list[Event]) -> None:
        """Send a batch to everybody whose channel lets one of its events through."""
        # The position moves first: a client that joins while this loop gives way has been
        # replayed up to here, and a snapshot of the members is taken before anybody can join.
        members = [(channel, list(each)) for channel, each in self._channels.items()]
        before, self.position = self.position, events[-1].mark
        self.window.add(events)
        for channel, listening in members:
            subscribers = self._deliver_ahead(listening, events)
            payload, count = channel.encode(events, before)
            if payload and subscribers:
                self._send(subscribers, payload)
                self.count_delivered(count * len(subscribers))
        self._observe(events)

    def _deliver_ahead(
        self, subscribers: list[Subscriber], events: list[Event]
    ) -> list[Subscriber]:
        """Send those who are ahead only what they have not seen; return all others."""
        if not self._ahead:
            return subscribers
        ahead = {each for each in subscribers if each in self._ahead}
        for subscriber in ahead:
            seen = self._ahead[subscriber]
            unseen = [event for event in events if event.mark.is_after(seen)]
            if unseen:
                del self._ahead[subscriber]
                payload, count = subscriber.channel.encode(unseen, seen)
                self._send([subscriber], payload)
                self.count_delivered(count)
        return [each for each in subscribers if each not in ahead]

    def _observe(self, events: list[Event]) -> None:
        """Measure from the capture of the newest read to its delivery; finals wait on purpose."""
        now_ms = time.time_ns() // 1_000_000
        for event in events:
            sighting = event.sighting
            if sighting is None or sighting.origin != "camera":
                continue
            if sighting.phase is not Phase.FINAL:
                elapsed_ns = (now_ms - sighting.last_unix_ms) * 1_000_000
                self._row.observe(Stage.CAPTURE_TO_DELIVERED, elapsed_ns)
                self._row.exemplify(Stage.CAPTURE_TO_DELIVERED, sighting.id, elapsed_ns)

    def _send(self, subscribers: Iterable[Subscriber], payload: bytes) -> None:
        """Write to each socket; those that are too slow are cut, they resume by id."""
        if not payload:
            return
        for number, subscriber in enumerate(subscribers, start=1):
            if not subscriber.dismissed and not subscriber.offer(payload):
                self._let_go(subscriber)
            if number % TURN == 0:
                gevent.sleep(0)

    def _let_go(self, subscriber: Subscriber) -> None:
        """Part from a client that is gone or too slow."""
        if subscriber.is_slow:
            self._row.count(Count.SSE_CUT)
            subscriber.dismiss(subscriber.channel.farewell(Ending.SLOW, BACK_AFTER_MS[1]))
        else:
            subscriber.end()
        self._drop(subscriber)

    def deny(self, subscriber: Subscriber) -> None:
        """Part from a client that may not listen any more."""
        if subscriber in self._channels.get(subscriber.channel, ()):
            subscriber.dismiss(subscriber.channel.farewell(Ending.DENIED, BACK_AFTER_MS[1]))
            self._drop(subscriber)
        else:  # it is still being sent what it missed, by its own greenlet
            subscriber.end()

    def _beat_if_due(self) -> None:
        """Say that the line is alive, with the id up to which a client has seen everything."""
        now = time.monotonic()
        if now < self._heartbeat_due:
            return
        self._heartbeat_due = now + HEARTBEAT_S
        for channel, members in list(self._channels.items()):
            level = [each for each in members if each not in self._ahead]
            for subscriber in members - set(level):  # the hub's place lies behind theirs
                self._send([subscriber], channel.heartbeat(self._ahead[subscriber]))
            self._send(level, channel.heartbeat(self.position))

    def count_delivered(self, events: int) -> None:
        """Count events sent to clients, also those that a client is sent while it catches up."""
        self._row.count(Count.SSE_DELIVERIES, events)

    def count_refused(self) -> None:
        """Count a stream that a limit forbade."""
        self._row.count(Count.SSE_REFUSED)

    def tell_camera(self, camera: str, payload: bytes) -> None:
        """Send a turn of a camera to those who want to hear of it; it moves no position."""
        for channel, members in list(self._channels.items()):
            if channel.wants_camera(camera):
                self._send(list(members), payload)

    def close(self) -> None:
        """Send every client away, one after the other; each comes back at a time of its own.

        Takes ``ROTATE_S`` at most. They resume by id, here or at another process.
        """
        self.closing = True
        leaving = [each for members in self._channels.values() for each in members]
        latest_ms = BACK_AFTER_MS[1] + len(leaving)
        for number, subscriber in enumerate(leaving, start=1):
            again_ms = random.randint(BACK_AFTER_MS[0], latest_ms)
            subscriber.dismiss(subscriber.channel.farewell(Ending.CLOSING, again_ms))
            if number % TURN == 0:
                gevent.sleep(ROTATE_S * TURN / len(leaving))

    def is_level(self, mark: Mark) -> bool:
        """Tell whether a client that has seen everything up to ``mark`` may join now."""
        return self.position is not None and not self.position.is_after(mark)


def _rest_s(took_s: float) -> float:
    """Return how long events may gather after a delivery that took so long."""
    return min(REST_FACTOR * took_s, max(PERIOD_S - took_s, MIN_REST_S))

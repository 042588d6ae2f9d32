"""The hub of the live stream: one reader of Redis, bytes encoded once, sent to all who listen.

``Hub.run`` tails the stream. Each batch of events is encoded once per *channel* (a form and a
filter) and the bytes are written straight to the clients' non-blocking sockets: no queue and no
greenlet wakes per client. The first event after a quiet moment leaves at once; after a delivery
that took long the hub rests a multiple of that time, so that events gather in Redis and the next
write to each socket carries several: coalescing begins exactly when there is load.

A socket that takes no more keeps its remainder in ``Subscriber.backlog``, which a write watcher
empties; a client whose backlog outgrows ``MAX_BACKLOG_BYTES`` is cut, counted, and resumes by id.
"""

import contextlib
import logging
import ssl
import time
from collections.abc import Callable, Iterable
from typing import Any, Final

import gevent
from gevent import get_hub
from gevent.event import Event as GeventEvent

from api.channels import Channel
from api.feed import Event, Feed, Mark, missed
from engine.board import Count, Row, Stage
from engine.errors import SinkError
from engine.types import Phase

MAX_BACKLOG_BYTES: Final = 1 << 18
"""What may wait for one slow client."""

HEARTBEAT_S: Final = 10.0
BATCH: Final = 500
REST_FACTOR: Final = 6.0
"""Deliveries use at most one part in seven of the time, until the rest reaches its maximum."""
MAX_REST_S: Final = 0.1
TURN: Final = 250
"""Sends between two chances for the other greenlets."""
RETRY_S: Final = (0.1, 0.2, 0.5, 1.0, 2.0)

FULL: Final = (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError)
"""How a socket, plain or encrypted, says that it takes no more now."""

WRITE: Final = 2
"""libev's event mask for a writable descriptor."""

log = logging.getLogger(__name__)


class Subscriber:
    """One live client: its socket and what it has not taken yet."""

    __slots__ = ("_raw", "_send", "_socket", "_watcher", "backlog", "channel", "cut")

    def __init__(self, sock: Any, channel: Channel) -> None:
        """Take a connected gevent socket; the caller closes it after ``Hub.leave``."""
        self._socket = sock
        self._raw = sock._sock  # noqa: SLF001  # the plain socket below gevent's: send() that returns at once
        tls = getattr(sock, "_sslobj", None)
        self._send: Callable[[bytes], int] = self._raw.send if tls is None else tls.write
        self._watcher: Any = None
        self.channel = channel
        self.backlog = b""
        self.cut = ""

    def offer(self, payload: bytes) -> bool:
        """Send what the socket takes now and keep the rest; False when the client must go."""
        if self.backlog:
            self.backlog += payload
        else:
            try:
                sent = self._send(payload)
            except FULL:
                sent = 0
            except OSError:
                return False
            if sent == len(payload):
                return True
            self.backlog = payload[sent:]
            self._watcher = get_hub().loop.io(self._raw.fileno(), WRITE)
            self._watcher.start(self._drain)
        return len(self.backlog) <= MAX_BACKLOG_BYTES

    def _drain(self) -> None:
        """Send more of the backlog, now that the socket takes some."""
        try:
            self.backlog = self.backlog[self._send(self.backlog) :]
        except FULL:
            return
        except OSError:
            self.backlog = b""
        if not self.backlog:
            self.stop_watching()

    def stop_watching(self) -> None:
        """Let go of the write watcher, before the descriptor is closed."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None

    def end(self, reason: str) -> None:
        """Shut the connection down: the greenlet parked on it wakes up and cleans up."""
        self.cut = reason
        with contextlib.suppress(OSError):
            self._raw.shutdown(2)


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
        self.closing = False
        self.position: Mark | None = None
        self._placed = GeventEvent()
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
        subscriber.stop_watching()
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
                gevent.sleep(min(MAX_REST_S, REST_FACTOR * (time.monotonic() - began)))
            self._beat_if_due()

    def wait_for_place(self, seconds: float) -> None:
        """Wait until ``run`` knows the newest event, so that nobody who comes then misses one.

        Redis may be away: no longer than so many seconds.
        """
        self._placed.wait(seconds)

    def _next_events(self) -> list[Event]:
        """Wait for events after the last one; the first time only find out which that is."""
        if self.position is None:
            self.position = self._feed.end()
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
        lost = missed(self.position, events[0].mark) if self.position else None
        self.position = events[-1].mark
        for channel, listening in members:
            subscribers = self._deliver_ahead(channel, listening, events)
            payload, count = channel.encode(events)
            if lost is not None:
                payload = channel.gap(lost, events[0].mark.before_it()) + payload
            if payload:
                self._send(subscribers, payload)
                self.count_delivered(count * len(subscribers))
        self._observe(events)

    def _deliver_ahead(
        self, channel: Channel, subscribers: list[Subscriber], events: list[Event]
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
                payload, count = channel.encode(unseen)
                self._send([subscriber], payload)
                self.count_delivered(count)
        return [each for each in subscribers if each not in ahead]

    def _observe(self, events: list[Event]) -> None:
        """Measure from the capture of the newest read to its delivery; finals wait on purpose."""
        now_ms = time.time_ns() // 1_000_000
        for event in events:
            sighting = event.sighting
            if sighting.origin == "camera" and sighting.phase is not Phase.FINAL:
                elapsed_ms = now_ms - sighting.last_unix_ms
                self._row.observe(Stage.CAPTURE_TO_DELIVERED, elapsed_ms * 1_000_000)

    def _send(self, subscribers: Iterable[Subscriber], payload: bytes) -> None:
        """Write to each socket; those that are too slow are cut, they resume by id."""
        for number, subscriber in enumerate(subscribers, start=1):
            if not subscriber.offer(payload) and not subscriber.cut:
                if subscriber.backlog:
                    self._row.count(Count.SSE_CUT)
                subscriber.end("too slow")
                self.leave(subscriber)
            if number % TURN == 0:
                gevent.sleep(0)

    def _beat_if_due(self) -> None:
        """Say that the line is alive, with the id up to which a client has seen everything."""
        now = time.monotonic()
        if now < self._heartbeat_due:
            return
        self._heartbeat_due = now + HEARTBEAT_S
        for channel, members in list(self._channels.items()):
            self._send(list(members), channel.heartbeat(self.position))

    def count_delivered(self, events: int) -> None:
        """Count events sent to clients, also those that a client is sent while it catches up."""
        self._row.count(Count.SSE_DELIVERIES, events)

    def tell_camera(self, camera: str, payload: bytes) -> None:
        """Send a turn of a camera to those who want to hear of it; it moves no position."""
        for channel, members in list(self._channels.items()):
            if channel.wants_camera(camera):
                self._send(list(members), payload)

    def close(self) -> None:
        """End every stream; browsers come back by themselves and resume by id."""
        self.closing = True
        for members in list(self._channels.values()):
            for subscriber in list(members):
                subscriber.end("closing")

    def is_level(self, mark: Mark) -> bool:
        """Tell whether a client that has seen everything up to ``mark`` may join now."""
        return self.position is not None and not self.position.is_after(mark)

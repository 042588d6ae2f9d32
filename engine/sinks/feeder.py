"""Feeds one sink from the spool in a thread of its own, so that nothing waits for a slow sink."""

import logging
import random
import threading
import time
from collections import deque
from typing import Final

from engine.errors import SinkError
from engine.sinks.base import SinkPlan
from engine.spool import Spool, SpooledEvent, SpoolReader
from engine.types import Phase

_FIRST_PAUSE_S: Final = 0.1
_LOOK_EVERY_S: Final = 0.5

log = logging.getLogger(__name__)


class Feeder:
    """Takes batches to a sink; the numbers it keeps are read by the publisher's loop.

    The first event after a pause goes at once; under load events gather for ``wait_s`` or until
    ``batch`` of them wait, whichever is first; where still more have gathered, deliveries grow to
    ``batch_under_load``. What gathered while the sink was away, or we were, is delivered first and
    in order, at ``replay_per_s`` at most, so that nobody behind the sink is run over; new events
    wait behind it.
    """

    def __init__(self, plan: SinkPlan, spool: Spool) -> None:
        """Go on where this sink had come to; ``spool`` knows it already."""
        self.sink = sink = plan.sink
        self.position = spool.positions[sink.name]
        self.after = self.position
        """Up to where the sink has all, as far as we know; goes back when a server lost some."""
        self.settled = spool.settled[sink.name]
        """Where a sink that lost its server begins again; raised by the publisher's loop."""
        self._retries = self._failures = 0
        self._tally = plan.tally
        self._told = self._told_tally = 0, 0
        self.delays_ns: deque[int] = deque(maxlen=4096)
        """Capture to delivery of the announcements delivered since it was emptied."""
        self.broken: Exception | None = None
        self._spool = spool.path
        self._batch = self._size = plan.batch
        self._largest = max(plan.batch, plan.batch_under_load)
        self._replay_per_s = plan.replay_per_s
        self._replaying = True
        self._wait_s = plan.wait_s
        self._longest_pause_s = plan.longest_pause_s
        self._wake = threading.Condition()
        self._notified = False
        self._closing = False
        self._attempts = 0
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)

    @property
    def away(self) -> bool:
        """True while the sink takes nothing."""
        return self._attempts > 0

    def take_troubles(self) -> tuple[int, int]:
        """Return deliveries tried again, and times the sink went away, since the last call."""
        now, told = (self._retries, self._failures), self._told
        self._told = now
        return now[0] - told[0], now[1] - told[1]

    def take_tally(self) -> tuple[int, int]:
        """Return events that the sink counted as taken and as dead letters since the last call."""
        now, told = (self._tally.delivered, self._tally.dead_letters), self._told_tally
        self._told_tally = now
        return now[0] - told[0], now[1] - told[1]

    def start(self) -> None:
        """Start delivering."""
        self._thread.start()

    def notify(self) -> None:
        """There is something new in the spool."""
        with self._wake:
            self._notified = True
            self._wake.notify()

    def stop(self) -> None:
        """Begin no other batch."""
        with self._wake:
            self._closing = True
            self._wake.notify()

    def join(self, timeout_s: float) -> None:
        """Wait for a batch under way, for so long at most."""
        self._thread.join(timeout_s)

    def _run(self) -> None:
        reader = SpoolReader(self._spool)
        try:
            while not self._closing:
                self._turn(reader)
        except Exception as error:  # noqa: BLE001  # handed to the publisher's loop, which raises it
            self.broken = error
        finally:
            self.sink.close()
            reader.close()

    def _turn(self, reader: SpoolReader) -> None:
        """Deliver what there is, or wait for news."""
        if not self.sink.connected:
            self.after = min(self.after, self.settled)
        while not self._closing:
            began = time.monotonic()
            batch = reader.read(self.after, self._size)
            if not batch:
                self._replaying = False
                self._await_news(_LOOK_EVERY_S)
                return
            if not self._delivered(batch):
                return
            self.after = batch[-1].seq
            self.position = max(self.position, self.after)
            if len(batch) == self._size or reader.cut_short:
                self._size = min(self._size * 2, self._largest)
                if self._replaying and self._replay_per_s:
                    self._pause(began + len(batch) / self._replay_per_s - time.monotonic())
                continue
            self._replaying = False
            if len(batch) < self._batch:
                self._size = self._batch
                self._await_news(_LOOK_EVERY_S)
                self._pause(began + self._wait_s - time.monotonic())

    def _delivered(self, batch: list[SpooledEvent]) -> bool:
        """Deliver one batch; when the sink is away, wait a while and return False."""
        try:
            self.sink.deliver([spooled.event for spooled in batch])
        except SinkError as error:
            if self._attempts == 0:
                log.warning("%s is away, sightings wait on disk: %s", self.sink.name, error)
                self._failures += 1
            pause_s = min(self._longest_pause_s, _FIRST_PAUSE_S * 2.0 ** min(self._attempts, 10))
            self._attempts += 1
            self._retries += 1
            self._replaying = True
            self._size = self._batch
            self._pause(pause_s * random.uniform(0.5, 1.0))
            return False
        if self._attempts:
            log.info("%s is back after %d attempts", self.sink.name, self._attempts)
        self._attempts = 0
        now_ns = time.time_ns()
        for spooled in batch:
            sighting = spooled.event.sighting
            if spooled.seq > self.position and sighting.phase is Phase.PROVISIONAL:
                self.delays_ns.append(now_ns - sighting.last_unix_ms * 1_000_000)
        return True

    def _await_news(self, timeout_s: float) -> None:
        with self._wake:
            if not self._notified and not self._closing:
                self._wake.wait(timeout_s)
            self._notified = False

    def _pause(self, pause_s: float) -> None:
        """Wait out a pause; news do not shorten it, the end does."""
        deadline = time.monotonic() + pause_s
        with self._wake:
            while not self._closing and (left := deadline - time.monotonic()) > 0:
                self._wake.wait(left)

"""Feeds one sink from the spool in a thread of its own, so that nothing waits for a slow sink."""

import logging
import random
import threading
import time
from collections import deque
from pathlib import Path
from typing import Final

from engine.errors import SinkError
from engine.sinks.base import Sink
from engine.spool import SpooledEvent, SpoolReader
from engine.types import Phase

_FIRST_PAUSE_S: Final = 0.1
_LONGEST_PAUSE_S: Final = 2.0
_LOOK_EVERY_S: Final = 0.5

log = logging.getLogger(__name__)


class Feeder:
    """Takes batches to a sink; the numbers it keeps are read by the publisher's loop.

    The first event after a pause goes at once; under load events gather for ``wait_s`` or until
    ``batch`` of them wait, whichever is first.
    """

    def __init__(self, sink: Sink, spool: Path, position: int, batch: int, wait_s: float) -> None:
        """Deliver what comes after ``position``, as far as this sink had come."""
        self.sink = sink
        self.position = position
        self.retries = 0
        """Deliveries that failed and were tried again."""
        self.failures = 0
        """Times the sink went away."""
        self.delays_ns: deque[int] = deque(maxlen=4096)
        """Capture to delivery of the announcements delivered since it was emptied."""
        self.broken: Exception | None = None
        self._spool = spool
        self._batch = batch
        self._wait_s = wait_s
        self._wake = threading.Condition()
        self._notified = False
        self._closing = False
        self._attempts = 0
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)

    def start(self) -> None:
        """Start delivering."""
        self._thread.start()

    def notify(self) -> None:
        """There is something new in the spool."""
        with self._wake:
            self._notified = True
            self._wake.notify()

    def close(self, timeout_s: float) -> None:
        """Stop delivering; waits for a batch under way."""
        with self._wake:
            self._closing = True
            self._wake.notify()
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
        after = self.position
        if not self.sink.connected:
            after = min(after, max(0, reader.oldest() - 1))
        while not self._closing:
            began = time.monotonic()
            batch = reader.read(after, self._batch)
            if not batch:
                self._await_news(_LOOK_EVERY_S)
                return
            if not self._delivered(batch):
                return
            after = batch[-1].seq
            self.position = max(self.position, after)
            if len(batch) < self._batch:
                self._await_news(_LOOK_EVERY_S)
                self._pause(began + self._wait_s - time.monotonic())

    def _delivered(self, batch: list[SpooledEvent]) -> bool:
        """Deliver one batch; when the sink is away, wait a while and return False."""
        try:
            self.sink.deliver([spooled.event for spooled in batch])
        except SinkError as error:
            if self._attempts == 0:
                log.warning("%s is away, sightings wait on disk: %s", self.sink.name, error)
                self.failures += 1
            pause_s = min(_LONGEST_PAUSE_S, _FIRST_PAUSE_S * 2.0 ** min(self._attempts, 10))
            self._attempts += 1
            self.retries += 1
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

"""Feeds one sink from the spool in a thread of its own, so that nothing waits for a slow sink."""

import logging
import random
import threading
import time
from collections import deque
from typing import Final, NamedTuple

from engine.canary import is_canary
from engine.errors import SinkError
from engine.messages import SinkFigures
from engine.progress import Progress
from engine.sinks.backlog import Backlog
from engine.sinks.base import SinkPlan
from engine.spool import Spool
from engine.spool_reader import SpooledEvent, SpoolReader
from engine.types import Phase

_FIRST_PAUSE_S: Final = 0.1
_LOOK_EVERY_S: Final = 0.5
_LOOK_AHEAD: Final = 256
"""Events looked at for live ones in one go: many belong to cameras of which others wait."""

log = logging.getLogger(__name__)


class Delay(NamedTuple):
    """From the capture of a sighting's newest read to its delivery."""

    sighting: str
    elapsed_ns: int


class _AwayError(Exception):
    """The sink took nothing: begin anew with what waits."""


class Feeder:
    """Takes batches to a sink; the numbers it keeps are read by the publisher's loop.

    The first event after a pause goes at once; under load events gather for ``wait_s`` or until
    ``batch`` of them wait, whichever is first; where still more have gathered, deliveries grow to
    ``batch_under_load``.

    What gathered while the sink was away, or we were, is delivered at ``replay_per_s`` at most, so
    that nobody behind the sink is run over, and camera by camera, those with the least of it first:
    the order of a camera is kept, and a camera of which nothing waits goes on live beside it.
    """

    def __init__(self, plan: SinkPlan, spool: Spool) -> None:
        """Go on where this sink had come to; ``spool`` knows it already."""
        self.sink = sink = plan.sink
        self.after = spool.positions[sink.name]
        """What the sink has, as far as we know; goes back when a server lost some."""
        self.settled = spool.settled[sink.name]
        """Where a sink that lost its server begins again; raised by the publisher's loop."""
        self._reached = self.after
        """All that it ever had."""
        self.taken = 0
        """Events delivered since the start, each counted once."""
        self.taken_ahead = 0
        """Those of them that lie behind the base of ``after``: in the midst of a replay."""
        self._retries = self._failures = 0
        self._tally = plan.tally
        self._told = self._told_tally = 0, 0
        self.passes = 0
        """Rises whenever all that was read before is delivered, or will be read again."""
        self.delays: deque[Delay] = deque(maxlen=4096)
        """Of the announcements delivered since it was emptied."""
        self.broken: Exception | None = None
        self._spool = spool.path
        self._batch = self._size = plan.batch
        self._largest = max(plan.batch, plan.batch_under_load)
        self._pace_s = 1.0 / plan.replay_per_s if plan.replay_per_s else 0.0
        """From one event of a backlog to the next, at least."""
        self._replaying = True
        self._wait_s = plan.wait_s
        self._longest_pause_s = plan.longest_pause_s
        self._wake = threading.Condition()
        self._notified = False
        self._closing = False
        self._attempts = 0
        self._thread = threading.Thread(target=self._run, name=f"sink-{sink.name}", daemon=True)

    @property
    def position(self) -> int:
        """Up to where the sink had everything, at the furthest."""
        return self._reached.base

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

    def figures(self, waiting: int, oldest_unix_ms: int) -> SinkFigures:
        """Return how the sink is; what waits for it is the spool's to know."""
        return SinkFigures(
            name=self.sink.name,
            waiting=waiting,
            oldest_unix_ms=oldest_unix_ms,
            away=self.away,
            taken=self.taken,
            retries=self._retries,
            failures=self._failures,
            dead_letters=self._tally.dead_letters,
        )

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
        self.passes += 1
        if not self.sink.connected:
            self.after = self.after.back_to(self.settled)
        try:
            if self._replaying:
                self._replay(reader)
            else:
                self._follow(reader)
        except _AwayError:
            self._replaying = True
            self._size = self._batch

    # --- live -------------------------------------------------------------------------------

    def _follow(self, reader: SpoolReader) -> None:
        """Deliver everything in its order until there is no more."""
        while not self._closing:
            self.passes += 1
            began = time.monotonic()
            batch = reader.read(self.after.base, self._size)
            if not batch:
                self._await_news(_LOOK_EVERY_S)
                return
            self._deliver([one for one in batch if not self.after.has(one.seq, one.camera)])
            self._advance(self.after.up_to(batch[-1].seq))
            if len(batch) == self._size or reader.cut_short:
                self._grow()
            elif len(batch) < self._batch:
                self._size = self._batch
                self._await_news(_LOOK_EVERY_S)
                self._pause(began + self._wait_s - time.monotonic())

    # --- beside a backlog -------------------------------------------------------------------

    def _replay(self, reader: SpoolReader) -> None:
        """Deliver what waits and, beside it, what comes."""
        backlog = Backlog.of(reader, self.after)
        if backlog is not None and backlog.count > self._batch:
            self._catch_up(reader, backlog)
        self._replaying = self._closing

    def _catch_up(self, reader: SpoolReader, backlog: Backlog) -> None:
        """Take turns: a batch of live events, then one of the backlog when it is due."""
        due = time.monotonic()
        while not self._closing:
            self.passes += 1
            began = time.monotonic()
            level = self._deliver_live(reader, backlog)
            if backlog.is_done:
                self._advance(self.after.up_to(backlog.live_seq))
                return
            if began >= due:
                due = began + self._deliver_waiting(reader, backlog) * self._pace_s
            if level and due > time.monotonic():
                self._await_news(due - time.monotonic())
                self._pause(min(due, began + self._wait_s) - time.monotonic())

    def _deliver_live(self, reader: SpoolReader, backlog: Backlog) -> bool:
        """Deliver new events of cameras of which nothing waits; False where there may be more."""
        looked_at = max(self._size, _LOOK_AHEAD)
        found = reader.read(backlog.live_seq, looked_at)
        cut_short = reader.cut_short
        live = [
            one
            for one in found
            if one.camera not in backlog.cameras and not self.after.has(one.seq, one.camera)
        ]
        for start in range(0, len(live), self._size):
            if self._closing:
                return True
            self._deliver_ahead(live[start : start + self._size])
        if found:
            backlog.live_seq = found[-1].seq
        return len(found) < looked_at and not cut_short

    def _deliver_waiting(self, reader: SpoolReader, backlog: Backlog) -> int:
        """Deliver the next of the backlog; return how many events."""
        camera = backlog.next_camera
        batch = reader.read_camera(camera, self.after.of(camera), self._size)
        whole = len(batch) == self._size or reader.cut_short
        self._deliver_ahead(batch)
        if whole:
            self._grow()
        else:
            backlog.camera_is_done()
        return len(batch)

    # --- delivering -------------------------------------------------------------------------

    def _deliver_ahead(self, batch: list[SpooledEvent]) -> None:
        """Deliver events behind the base; each is the next of its camera."""
        before = self.taken
        self._deliver(batch)
        self._advance(self.after.with_ahead({one.camera: one.seq for one in batch}))
        self.taken_ahead += self.taken - before

    def _advance(self, after: Progress) -> None:
        self.after = after
        self._reached = self._reached.joined(after)
        if not after.ahead:  # also where a replay that broke off ends in following
            self.taken_ahead = 0

    def _grow(self) -> None:
        self._size = min(self._size * 2, self._largest)

    def _deliver(self, batch: list[SpooledEvent]) -> None:
        """Deliver one batch.

        Raises:
            _AwayError: the sink takes nothing; a while was waited out.
        """
        if not batch:
            return
        try:
            self.sink.deliver([spooled.event for spooled in batch])
        except SinkError as error:
            self._wait_out(error)
            raise _AwayError from error
        if self._attempts:
            log.info("%s is back; failed attempts: %d", self.sink.name, self._attempts)
        self._attempts = 0
        now_ns = time.time_ns()
        for spooled in batch:
            if not self._reached.has(spooled.seq, spooled.camera):
                self.taken += 1
                sighting = spooled.event.sighting
                if sighting.phase is Phase.PROVISIONAL and not is_canary(sighting.camera):
                    delay_ns = now_ns - sighting.last_unix_ms * 1_000_000
                    self.delays.append(Delay(sighting.id, delay_ns))

    def _wait_out(self, error: SinkError) -> None:
        """Note that the sink takes nothing now, and wait; longer each time."""
        if self._attempts == 0:
            log.warning("%s is away, sightings wait on disk: %s", self.sink.name, error)
            self._failures += 1
        pause_s = min(self._longest_pause_s, _FIRST_PAUSE_S * 2.0 ** min(self._attempts, 10))
        self._attempts += 1
        self._retries += 1
        self._pause(pause_s * random.uniform(0.5, 1.0))

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

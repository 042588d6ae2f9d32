"""All sinks of a publisher: opened together, each fed by a thread of its own, and told of."""

import time
from collections.abc import Mapping
from typing import Final

from engine.board import Board, Count, Row, Stage
from engine.due import Due
from engine.messages import SinkFigures, TellSinks
from engine.progress import Progress
from engine.retention import Kept
from engine.sections import PublisherSection
from engine.sighting_traces import SightingTraces
from engine.sinks.feeder import Feeder
from engine.sinks.registry import open_sinks
from engine.spool import Spool

_SHOW_EVERY_S: Final = 0.5
_TELL_EVERY_S: Final = 1.0


class Feeders:
    """The sinks' side of the publisher's loop, which alone calls it; nothing here waits."""

    def __init__(self, section: PublisherSection, spool: Spool) -> None:
        """Open all sinks; none is fed before ``start``.

        Raises:
            ConfigError: the library of a sink is not installed; names its extra.
        """
        plans = open_sinks(section)
        spool.feed({plan.sink.name: plan.formerly for plan in plans})
        self._spool = spool
        self._feeders = [Feeder(plan, spool) for plan in plans]
        self._redis = self._feeders[0]
        self._keepers = [plan.keeper for plan in plans if plan.keeper is not None]
        self._screens = [plan.screen for plan in plans if plan.screen is not None]
        self._show_due, self._tell_due = Due(_SHOW_EVERY_S), Due(_TELL_EVERY_S)
        self._told_taken = 0

    def start(self) -> None:
        """Begin to deliver."""
        for feeder in self._feeders:
            feeder.start()

    def notify(self) -> None:
        """There is something new in the spool."""
        for feeder in self._feeders:
            feeder.notify()

    def keep(self, camera: str, kept: Kept) -> None:
        """Keep the sightings of a camera that was added or changed for so long."""
        for keeper in self._keepers:
            keeper.keep(camera, kept)

    def moved(self) -> dict[str, Progress]:
        """Return how far the sinks are by now, where the spool does not know it yet."""
        told = self._spool.positions
        now = {feeder.sink.name: feeder.after for feeder in self._feeders}
        return {sink: after for sink, after in now.items() if after != told[sink]}

    @property
    def waiting(self) -> bool:
        """Tell whether events wait for a sink that takes them."""
        last_seq = self._spool.last_seq
        return any(feeder.position < last_seq and not feeder.away for feeder in self._feeders)

    @property
    def passes_of_redis(self) -> int:
        """See ``Feeder.passes``, of the sink that is Redis."""
        return self._redis.passes

    def report(self, row: Row, traces: SightingTraces) -> None:
        """Put what was delivered, and what was not, on the board; tell ``traces`` what Redis has.

        Raises:
            Exception: what ended the thread of a sink.
        """
        for feeder in self._feeders:
            if feeder.broken is not None:
                raise feeder.broken
            retries, failures = feeder.take_troubles()
            row.count(Count.SINK_RETRIES, retries)
            row.count(Count.SINK_FAILURES, failures)
            delivered, dead = feeder.take_tally()
            row.count(Count.SINK_DELIVERED, delivered)
            row.count(Count.DEAD_LETTERS, dead)
            feeder.settled = self._spool.settled[feeder.sink.name]
        row.gauge(Count.SINKS_AWAY, sum(feeder.away for feeder in self._feeders))
        redis = self._redis
        told_before, self._told_taken = self._told_taken, redis.taken
        row.count(Count.STORED, self._told_taken - told_before)
        while redis.delays:
            delay = redis.delays.popleft()
            row.observe(Stage.CAPTURE_TO_STORED, delay.elapsed_ns)
            row.exemplify(Stage.CAPTURE_TO_STORED, delay.sighting, delay.elapsed_ns)
            traces.stored(delay.sighting, delay.elapsed_ns)
        row.gauge(Count.SPOOL_DEPTH, self._depth(redis))

    def figures(self) -> TellSinks | None:
        """Return, now and then, how the sinks are; None in between."""
        if not self._tell_due.now():
            return None
        return TellSinks(sinks=tuple(map(self._figures, self._feeders)))

    def show(self, board: Board, cameras: Mapping[str, int]) -> None:
        """Now and then, tell the sinks that show it how cameras are, given with their cells."""
        if not self._screens or not self._show_due.now():
            return
        seen = board.camera_states()
        states = {name: seen[at] for name, at in cameras.items() if at in seen}
        for screen in self._screens:
            screen.show(states)

    def stop(self, deadline_s: float) -> None:
        """Begin no other batch, and wait for those under way, until then at most (monotonic)."""
        for feeder in self._feeders:
            feeder.stop()
        for feeder in self._feeders:
            feeder.join(max(0.0, deadline_s - time.monotonic()))

    def _depth(self, feeder: Feeder) -> int:
        """Return how many events wait for a sink."""
        return max(0, self._spool.depth(feeder.sink.name) - feeder.taken_ahead)

    def _figures(self, feeder: Feeder) -> SinkFigures:
        """Return how a sink is."""
        waiting = self._depth(feeder)
        oldest_s = self._spool.oldest_unix_s(feeder.sink.name) if waiting else 0
        return feeder.figures(waiting, oldest_s * 1_000)

"""The end of the canary's way: it is met where the live stream is read, and metrics tell of it.

``engine.canary`` tells of the beginning. Every API process meets the canaries of all machines on
the same Redis, so each of their fronts shows how the canaries of all of them fare; what became of
those of its own machine is counted on the board, where the largest count of its processes is true.
"""

import logging
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Final

import gevent
import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.board import COUNT_BASE, Board, Count, Fate, Row
from engine.errors import SinkError
from engine.sections import ApiSection
from engine.store import Store, StreamEntry
from engine.types import Sighting

KEPT: Final = 100
"""Canaries looked at when a reader begins: each machine's last one among them, most likely."""
FORGOTTEN_AFTER_S: Final = 86_400.0
"""A machine whose canaries stay away for so long is gone."""
STAGES: Final = {
    "captured": Fate.CAPTURED,
    "recognized": Fate.RECOGNIZED,
    "read": Fate.PLATE_READS,
    "tracked": Fate.READS_TRACKED,
}
"""What a canary passes on its machine, and the word of its cell that says so."""
COUNTS: Final = (Count.CANARIES_DELIVERED, Count.CANARIES_LOST)
"""What every API process counts for itself; the largest is true."""
_WAIT_MS: Final = 500
_RETRY_S: Final = 1.0

log = logging.getLogger(__name__)
_sightings = msgspec.json.Decoder(Sighting)


class Met(msgspec.Struct, frozen=True):
    """The newest canary of a machine that came through."""

    captured_unix_ms: int
    stored_s: float
    """From its capture until Redis had it, by Redis's clock."""
    delivered_unix_s: float
    delivered_s: float
    """From its capture until it was met here."""


class CanaryEar(Collector):
    """What this process knows of canaries."""

    def __init__(self, section: ApiSection, row: Row, board: Board) -> None:
        self._node = section.node
        self._every_s = section.canary_every_s
        self._cell = section.canary_cell
        self._row = row
        self._board = board
        self.place = "$"
        """Redis's id of the last entry that was heard of."""
        self._met: dict[str, Met] = {}
        self._is_counting = False
        """Since one was met: what was missed before is not told from what was never sent."""

    def run(self, store: Store) -> None:
        """Meet canaries for ever, where no live stream is read; Redis may come and go."""
        begun = False
        while True:
            try:
                if not begun:
                    self.remember(store.newest_canaries(KEPT))
                    begun = True
                self.hear(store.read_canaries(self.place, _WAIT_MS))
            except SinkError:  # others say so
                gevent.sleep(_RETRY_S)

    def remember(self, entries: Sequence[StreamEntry]) -> None:
        """Take what came before this process listened, and go on with what others counted."""
        for which in COUNTS:
            self._row.count(which, self._most(which) - self._row.total(which))
        self.place = entries[-1].id if entries else "0-0"
        for entry in entries:
            sighting = _decoded(entry)
            if sighting is not None:
                self._met[sighting.node] = _met(entry, sighting, _unix_s(entry))

    def hear(self, entries: Iterable[StreamEntry]) -> None:
        """Meet canaries that have come; later events about the same one say nothing new."""
        for entry in entries:
            self.place = entry.id
            sighting = _decoded(entry)
            if sighting is None:
                continue
            before = self._met.get(sighting.node)
            if before is not None and sighting.last_unix_ms <= before.captured_unix_ms:
                continue
            met = self._met[sighting.node] = _met(entry, sighting, time.time())
            if sighting.node == self._node and self._cell >= 0:
                self._count(met, before)

    def _count(self, met: Met, before: Met | None) -> None:
        """Count one of ours, and those that should have come between it and the one before."""
        self._row.count(Count.CANARIES_DELIVERED)
        if before is not None and self._is_counting:
            apart_s = (met.captured_unix_ms - before.captured_unix_ms) / 1_000
            self._row.count(Count.CANARIES_LOST, max(0, round(apart_s / self._every_s) - 1))
        self._is_counting = True

    def collect(self) -> Iterator[Metric]:
        """Yield how canaries fare; series of this machine's are there from the start."""
        every = "Seconds from one canary to the next; 0: there are none."
        yield GaugeMetricFamily("platering_canary_period_seconds", every, value=self._every_s)
        yield from self._counted()
        delivered = GaugeMetricFamily(
            "platering_canary_delivered_timestamp_seconds",
            "When the last canary of a machine came through to the live stream; 0: none yet.",
            labels=("node",),
        )
        took = GaugeMetricFamily(
            "platering_canary_latency_seconds",
            "How long that took from its capture, the tracker's wait for a second read included.",
            labels=("node", "stage"),
        )
        for node, met in sorted(self._known().items()):
            delivered.add_metric((node,), met.delivered_unix_s)
            took.add_metric((node, "stored"), met.stored_s)
            took.add_metric((node, "delivered"), met.delivered_s)
        yield from (delivered, took)

    def _counted(self) -> Iterator[Metric]:
        met, lost = map(self._most, COUNTS)
        passed = CounterMetricFamily(
            "platering_canaries", "Canaries that came through a stage.", labels=("stage",)
        )
        if self._cell >= 0:
            cell = self._board.ledger()[self._cell]
            for stage, fate in STAGES.items():
                passed.add_metric((stage,), int(cell[fate]))
            passed.add_metric(("delivered",), met)
        yield passed
        yield CounterMetricFamily(
            "platering_canaries_lost", "Canaries that never came through.", value=lost
        )

    def _most(self, which: Count) -> int:
        """Return the largest count of any process, those that have ended among them."""
        return int(self._board.processes()[:, COUNT_BASE + which].max())

    def _known(self) -> dict[str, Met]:
        """Return the newest canary of every machine that is not gone."""
        late_s = time.time() - FORGOTTEN_AFTER_S
        known = {node: met for node, met in self._met.items() if met.delivered_unix_s > late_s}
        if self._cell >= 0:
            known.setdefault(self._node, Met(0, 0.0, 0.0, 0.0))
        return known


def _met(entry: StreamEntry, sighting: Sighting, delivered_unix_s: float) -> Met:
    captured_ms = sighting.last_unix_ms
    captured_s = captured_ms / 1_000
    stored_s, delivered_s = _unix_s(entry) - captured_s, delivered_unix_s - captured_s
    return Met(captured_ms, max(0.0, stored_s), delivered_unix_s, max(0.0, delivered_s))


def _unix_s(entry: StreamEntry) -> float:
    """Return when Redis took an entry."""
    return int(entry.id.partition("-")[0]) / 1_000


def _decoded(entry: StreamEntry) -> Sighting | None:
    try:
        return _sightings.decode(entry.json)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("a canary cannot be read: %s", error)
        return None

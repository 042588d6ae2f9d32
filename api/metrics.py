"""``GET /metrics``: the stats board as Prometheus reads it; no file, no lock, no own counters.

The board lies in shared memory and holds every process's row, so any API process answers for the
whole engine. Labels are camera names, kinds of processes and words of ours: never a plate or URL.
``platering_node_info`` names the machine; ``?node=NAME`` gives what another one on the same Redis
reported of itself last.
"""

import time
from collections.abc import Iterable, Iterator
from typing import Annotated, Final

import msgspec
import numpy as np
from flask import Blueprint, Response
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    HistogramMetricFamily,
    Metric,
)
from prometheus_client.registry import Collector

from api.endpoints import endpoint
from api.engine_link import EngineLink
from api.nodes import Nodes
from api.problems import ProblemError
from engine.board import (
    BUCKET_BOUNDS_MS,
    BUCKETS,
    COUNT_BASE,
    HISTOGRAM_BASE,
    Board,
    Count,
    Fate,
    Kind,
    Stage,
    Words,
)
from engine.messages import EngineStatus
from engine.scopes import Scope
from engine.types import CameraState

OUTCOMES: Final = ("skipped", "dropped", "recognized", "failed")
FATES: Final = {
    fate: (word, reason)
    for fate in Fate
    for word, _, reason in [fate.name.lower().partition("_")]
    if word in OUTCOMES
}
"""How a captured frame can end (``DROPPED_LEASED`` is dropped, leased): all else is in flight."""

PER_CAMERA: Final = {
    Fate.CAPTURED: ("frames_captured", "Frames a camera delivered."),
    Fate.PLATE_READS: ("plate_reads", "Plates read in frames."),
    Fate.READS_TRACKED: ("reads_tracked", "Plate reads that the tracker took."),
    Fate.READS_REJECTED: ("reads_rejected", "Plate reads that the camera's filters did not take."),
    Fate.TRACKS_FILTERED: ("tracks_filtered", "Vehicles that the camera's filters kept silent."),
    Fate.FRAMES_FOCUSED: ("frames_focused", "Recognized frames of which a part was searched."),
    Fate.PLATES_SPARED: ("plates_spared", "Plates in view that needed no reading: well known."),
    Fate.SIGHTINGS: ("sightings", "Final sightings: one per passage."),
    Fate.REVISIONS: ("sighting_events", "Events about sightings, of all phases."),
    Fate.RECONNECTS: ("camera_reconnects", "Times a camera had to be connected again."),
    Fate.DECODE_ERRORS: ("decode_errors", "Frames that could not be decoded."),
    Fate.BYTES: ("slot_bytes", "Bytes of pixels written into shared memory."),
}

TOTALS: Final = {
    Count.READS_SENT: ("frame_reads_sent", "Frame reads that workers handed over."),
    Count.READS_RECEIVED: ("frame_reads_received", "Frame reads tracked, each once."),
    Count.READS_REPEATED: ("frame_reads_repeated", "Frame reads that came twice."),
    Count.READS_LOST: ("frame_reads_lost", "Frame reads that were lost on their way."),
    Count.INGESTED: ("ingested", "Payloads taken from outside."),
    Count.INGEST_REFUSED: ("ingest_refused", "Payloads from outside that were refused."),
    Count.SPOOLED: ("events_spooled", "Sighting events that had to wait on disk."),
    Count.STORED: ("events_stored", "Sighting events stored in Redis."),
    Count.SPOOL_DROPPED: ("spool_dropped", "Sighting events given up: the spool was full."),
    Count.SINK_RETRIES: ("sink_retries", "Batches that had to be sent again."),
    Count.SINK_FAILURES: ("sink_failures", "Batches that a sink did not take."),
    Count.SSE_DELIVERIES: ("sse_deliveries", "Events delivered to clients of the live stream."),
    Count.SSE_CUT: ("sse_clients_cut", "Clients of the live stream cut for being too slow."),
    Count.REQUESTS: ("http_requests", "HTTP requests answered."),
    Count.RESTARTS: ("restarts", "Children started again after they ended unasked."),
    Count.QUARANTINED: ("frames_quarantined", "Frames set aside: their recognizer died."),
    Count.STALE_DESCRIPTORS: ("stale_descriptors", "Descriptors whose slot had moved on."),
    Count.SINK_DELIVERED: ("sink_delivered", "Sighting events that sinks besides Redis took."),
    Count.DEAD_LETTERS: ("dead_letters", "Sighting events that a sink refused for good."),
    Count.GROUPS_JOINED: ("groups_joined", "Sightings of vehicles known from another camera."),
    Count.GROUPS_MISSED: ("groups_missed", "Events whose group Redis did not tell in time."),
    Count.WATCHLIST_HITS: ("watchlist_hits", "Sightings that met a watchlist."),
    Count.UPLOADS_READ: ("uploads_read", "Uploads that were read to their end."),
    Count.UPLOADS_FAILED: ("uploads_failed", "Uploads whose reading ended before its time."),
    Count.CLIPS: ("clips", "Clips of video that sightings got."),
    Count.CLIPS_FAILED: ("clips_failed", "Clips that sightings should have got and did not."),
    Count.CAMERA_EVENTS: ("camera_events", "Turns of cameras from one state to another."),
    Count.CAMERA_EVENTS_LOST: ("camera_events_lost", "Turns of cameras that Redis never heard."),
    Count.REQUESTS_DENIED: ("requests_denied", "Requests without a key that allows them."),
    Count.REQUESTS_LIMITED: ("requests_limited", "Requests and log-ins beyond a limit."),
    Count.CONNECTIONS_CUT: ("connections_cut", "Connections closed as too many or too slow."),
    Count.AUDIT_LOST: ("audit_lost", "Entries that the audit log could not take."),
}

GAUGES: Final = {
    Count.SPOOL_DEPTH: ("spool_depth_events", "Sighting events waiting for Redis now."),
    Count.TRACKS_OPEN: ("tracks_open", "Plates in view now."),
    Count.SSE_CLIENTS: ("sse_clients", "Clients of the live stream now."),
    Count.SINKS_AWAY: ("sinks_away", "Sinks that take nothing now."),
    Count.CLIP_KEPT_BYTES: ("clip_kept_bytes", "Packets of video kept in memory for clips."),
}

STALE_NS: Final = 10_000_000_000
"""A process that has not completed a turn for this long counts as down."""


class BoardCollector(Collector):
    """Reads the board anew at each scrape."""

    def __init__(
        self, board: Board, engine: EngineLink, fallback: tuple[str, ...], node: str = ""
    ) -> None:
        """Take the names of cameras from ``engine``, or ``fallback`` while it does not answer."""
        self.node = node
        self._registry = CollectorRegistry()
        self._registry.register(self)
        self._board = board
        self._engine = engine
        self._fallback = fallback

    def describe(self) -> Iterable[Metric]:
        """Say nothing before the first scrape."""
        return []

    def text(self) -> bytes:
        """Return every metric in Prometheus's text format."""
        return exposition.generate_latest(self._registry)

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        info = GaugeMetricFamily("platering_node_info", "The machine.", labels=("node",))
        info.add_metric((self.node,), 1.0)
        yield info
        status = self._engine.status()
        rows = self._board.processes()
        if status is not None:
            names = {camera.index: camera.name for camera in status.cameras}
            yield from _states(status)
        else:
            names = dict(enumerate(self._fallback))
        yield from _cameras(names, self._board.ledger())
        yield from _totals(rows)
        yield _latencies(rows)
        yield from _processes(rows)


def _states(status: EngineStatus) -> Iterator[Metric]:
    """Yield what only the supervisor knows."""
    state = GaugeMetricFamily(
        "platering_camera_state", "1 for the state a camera is in.", labels=("camera", "state")
    )
    flight = GaugeMetricFamily(
        "platering_frames_in_flight",
        "Frames captured and not yet settled, counted from the slots.",
        labels=("camera",),
    )
    for camera in status.cameras:
        flight.add_metric((camera.name,), camera.in_flight)
        for each in CameraState:
            state.add_metric((camera.name, each.value), float(camera.state is each))
    yield state
    yield flight
    restarts = CounterMetricFamily(
        "platering_process_restarts", "Starts after the first one.", labels=("process",)
    )
    for process in status.processes:
        restarts.add_metric((process.name,), process.restarts)
    yield restarts


def _cameras(names: dict[int, str], ledger: Words) -> Iterator[Metric]:
    """Yield the ledger: captured = every fate + in flight, per camera."""
    fates = CounterMetricFamily(
        "platering_frames", "What became of frames.", labels=("camera", "fate", "reason")
    )
    for index, name in names.items():
        cell = ledger[index].tolist()
        for fate, (word, reason) in FATES.items():
            fates.add_metric((name, word, reason), cell[fate])
    yield fates
    for fate, (word, sentence) in PER_CAMERA.items():
        family = CounterMetricFamily(f"platering_{word}", sentence, labels=("camera",))
        for index, name in names.items():
            family.add_metric((name,), int(ledger[index, fate]))
        yield family


def _totals(rows: Words) -> Iterator[Metric]:
    """Yield what belongs to no camera, summed over all processes."""
    sums = rows[:, COUNT_BASE : COUNT_BASE + len(Count)].sum(0, dtype=np.uint64)
    for which, (word, sentence) in TOTALS.items():
        yield CounterMetricFamily(f"platering_{word}", sentence, value=int(sums[which]))
    for which, (word, sentence) in GAUGES.items():
        yield GaugeMetricFamily(f"platering_{word}", sentence, value=int(sums[which]))


def _latencies(rows: Words) -> Metric:
    """Return the histograms of all stages, summed over all processes."""
    family = HistogramMetricFamily(
        "platering_stage_seconds", "How long each stage takes.", labels=("stage",)
    )
    bounds = [str(bound / 1_000) for bound in BUCKET_BOUNDS_MS] + ["+Inf"]
    for stage in Stage:
        base = HISTOGRAM_BASE + stage * (BUCKETS + 1)
        words = rows[:, base : base + BUCKETS + 1].sum(0, dtype=np.uint64)
        cumulated = np.cumsum(words[:BUCKETS]).tolist()
        buckets = [(bound, float(count)) for bound, count in zip(bounds, cumulated, strict=True)]
        family.add_metric((stage.name.lower(),), buckets, int(words[BUCKETS]) / 1e9)
    return family


def _processes(rows: Words) -> Iterator[Metric]:
    """Yield who is alive: a process is up while its heartbeat moves."""
    up = GaugeMetricFamily(
        "platering_process_up", "1 while a process completes turns.", labels=("kind", "row")
    )
    busy = CounterMetricFamily(
        "platering_worker_busy_seconds", "Time spent recognizing.", labels=("row",)
    )
    now_ns = time.monotonic_ns()
    for index, row in enumerate(rows.tolist()):
        if not row[0]:
            continue
        kind = Kind(row[0])
        up.add_metric((kind.name.lower(), str(index)), float(now_ns - row[2] < STALE_NS))
        if kind is Kind.WORKER:
            busy.add_metric((str(index),), row[7] / 1e9)
    yield up
    yield busy


class NodesCollector(Collector):
    """What is known of all machines on the same Redis."""

    def __init__(self, nodes: Nodes) -> None:
        self._nodes = nodes

    def collect(self) -> Iterator[Metric]:
        """Yield who listens where, and who has cameras."""
        clients = GaugeMetricFamily(
            "platering_stream_clients", "Clients of live streams.", labels=("node",)
        )
        for node, count in sorted(self._nodes.clients.items()):
            clients.add_metric((node,), count)
        yield clients
        cameras = GaugeMetricFamily(
            "platering_node_cameras", "Cameras of other machines that report.", labels=("node",)
        )
        for report in self._nodes.others:
            cameras.add_metric((report.node,), len(report.cameras))
        yield cameras


class Scrape(msgspec.Struct, frozen=True):
    """Whose metrics are asked for."""

    node: Annotated[
        str, msgspec.Meta(max_length=128, description="A machine; left out: this one.")
    ] = ""


def blueprint(collector: BoardCollector, nodes: Nodes) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("metrics", __name__)
    shared = CollectorRegistry()
    shared.register(NodesCollector(nodes))

    @routes.get("/metrics")
    @endpoint(needs=Scope.METRICS, query=Scrape, answers="text/plain")
    def metrics(query: Scrape) -> Response:
        """The stats board in Prometheus's text format, this machine's or another one's."""
        node = query.node or collector.node
        if node == collector.node:
            found: bytes | None = collector.text() + exposition.generate_latest(shared)
        else:
            found = nodes.metrics(node)
        if found is None:
            raise ProblemError(404, "no machine of this name reports", field="node")
        return Response(found, content_type=exposition.CONTENT_TYPE_PLAIN_0_0_4)

    return routes

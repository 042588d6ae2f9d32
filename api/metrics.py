"""``GET /metrics``: the stats board as Prometheus reads it; no file, no lock, no own counters.

The board lies in shared memory and holds every process's row, so any API process answers for the
whole engine. Labels are camera names, kinds of processes and words of ours: never a plate or URL.
``platering_node_info`` names the machine; ``?node=NAME`` gives what another one on the same Redis
reported of itself last.
"""

import time
from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Annotated, Final

import msgspec
import numpy as np
from flask import Blueprint, Response, request
from prometheus_client import exposition
from prometheus_client.core import (
    CounterMetricFamily,
    GaugeMetricFamily,
    Metric,
    SummaryMetricFamily,
)
from prometheus_client.registry import Collector

from api.endpoints import endpoint
from api.engine_link import EngineLink
from api.exposition import Exposition
from api.metrics_histograms import of_confidence, of_recognizers, of_stages
from api.metrics_machine import MachineMetrics
from api.metrics_status import build, lasting, of_status
from api.nodes import Nodes
from api.problems import ProblemError
from api.redis_watch import RedisWatch
from engine.board import (
    BUSY_NS,
    CAMERA,
    COUNT_BASE,
    HEARTBEAT_NS,
    KIND,
    LAST_FRAME_UNIX_NS,
    Board,
    Count,
    Fate,
    Kind,
    Words,
)
from engine.scopes import Scope

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
    Count.SSE_REFUSED: ("sse_refused", "Live streams refused: the key or address has its share."),
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
        self,
        board: Board,
        engine: EngineLink,
        fallback: tuple[str, ...],
        node: str = "",
        data_dir: str = "/",
    ) -> None:
        """Take the names of cameras from ``engine``, or ``fallback`` while it does not answer."""
        self.node = node
        self._exposition = Exposition()
        self._board = board
        self._engine = engine
        self._cameras = dict(enumerate(fallback))
        self._processes: dict[int, str] = {}
        """Names of cells and rows as they were told last: labels must not change in silence."""
        self._machine = MachineMetrics(data_dir)

    def describe(self) -> Iterable[Metric]:
        """Say nothing before the first scrape."""
        return []

    def text(self) -> bytes:
        """Return every metric in Prometheus's text format."""
        return self._exposition.text(self.collect())

    def collect(self) -> Iterator[Metric]:
        """Yield every metric."""
        info = GaugeMetricFamily("platering_node_info", "The machine.", labels=("node",))
        info.add_metric((self.node,), 1.0)
        yield info
        yield from build()
        status = self._engine.status()
        rows = self._board.processes()
        if status is not None:
            status = lasting(status)
            self._cameras = {camera.index: camera.name for camera in status.cameras}
            self._processes = {process.row: process.name for process in status.processes}
            yield from self._machine.processes(status)
        yield from of_status(status)
        yield from self._machine.disks()
        yield from _cameras(self._cameras, self._board.ledger())
        yield _last_frames(self._cameras, rows)
        yield from _totals(rows)
        yield of_stages(rows)
        yield of_recognizers(rows)
        yield of_confidence(rows)
        yield from _processes(rows, self._processes)


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
    sure = SummaryMetricFamily(
        "platering_sighting_confidence_ratio",
        "Confidence of final sightings, 0 to 1.",
        labels=("camera",),
    )
    for index, name in names.items():
        count, hundredths = ledger[index, [Fate.SIGHTINGS, Fate.CONFIDENCE]].tolist()
        sure.add_metric((name,), count, hundredths / 1e4)
    yield sure
    lag = SummaryMetricFamily(
        "platering_camera_lag_seconds",
        "From the capture of a camera's frames to the end of their recognition.",
        labels=("camera",),
    )
    for index, name in names.items():
        count, microseconds = ledger[index, [Fate.RECOGNIZED, Fate.LAG_US]].tolist()
        lag.add_metric((name,), count, microseconds / 1e6)
    yield lag


def _totals(rows: Words) -> Iterator[Metric]:
    """Yield what belongs to no camera, summed over all processes."""
    sums = rows[:, COUNT_BASE : COUNT_BASE + len(Count)].sum(0, dtype=np.uint64)
    for which, (word, sentence) in TOTALS.items():
        yield CounterMetricFamily(f"platering_{word}", sentence, value=int(sums[which]))
    for which, (word, sentence) in GAUGES.items():
        yield GaugeMetricFamily(f"platering_{word}", sentence, value=int(sums[which]))


def _last_frames(names: dict[int, str], rows: Words) -> Metric:
    """Return when each camera's newest frame was captured, 0 where none was since its start."""
    family = GaugeMetricFamily(
        "platering_camera_last_frame_timestamp_seconds",
        "Capture of a camera's newest frame; 0: none yet.",
        labels=("camera",),
    )
    newest = dict.fromkeys(names, 0)
    for row in rows[rows[:, KIND] == Kind.DECODER].tolist():
        if row[CAMERA] in newest:
            newest[row[CAMERA]] = max(newest[row[CAMERA]], row[LAST_FRAME_UNIX_NS])
    for index, name in names.items():
        family.add_metric((name,), newest[index] / 1e9)
    return family


def _processes(rows: Words, names: dict[int, str]) -> Iterator[Metric]:
    """Yield who is alive: a process is up while its heartbeat moves."""
    up = GaugeMetricFamily(
        "platering_process_up", "1 while a process completes turns.", labels=("kind", "process")
    )
    busy = CounterMetricFamily(
        "platering_worker_busy_seconds", "Time spent recognizing.", labels=("process",)
    )
    now_ns = time.monotonic_ns()
    for index, row in enumerate(rows.tolist()):
        kind = Kind(row[KIND])
        is_left_over = bool(names) and index not in names and kind is not Kind.SUPERVISOR
        if kind is Kind.FREE or is_left_over:  # of a recognizer or camera that was removed
            continue
        name = "supervisor" if kind is Kind.SUPERVISOR else names.get(index, f"row-{index}")
        is_alive = now_ns - row[HEARTBEAT_NS] < STALE_NS
        up.add_metric((kind.name.lower(), name), float(is_alive))
        if kind is Kind.WORKER:
            busy.add_metric((name,), row[BUSY_NS] / 1e9)
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


def blueprint(collector: BoardCollector, nodes: Nodes, redis_watch: RedisWatch) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("metrics", __name__)
    sources = (collector, NodesCollector(nodes), redis_watch)
    written = Exposition()

    @routes.get("/metrics")
    @endpoint(needs=Scope.METRICS, query=Scrape, answers="text/plain")
    def metrics(query: Scrape) -> Response:
        """This machine's metrics, as OpenMetrics for who asks so, or another one's as text."""
        node = query.node or collector.node
        if node == collector.node:
            _encoder, kind = exposition.choose_encoder(request.headers.get("Accept", ""))
            families = chain.from_iterable(source.collect() for source in sources)
            wants_openmetrics = kind.startswith("application/openmetrics-text")
            write = written.openmetrics if wants_openmetrics else written.text
            return Response(write(families), content_type=kind)
        found = nodes.metrics(node)
        if found is None:
            raise ProblemError(404, "no machine of this name reports", field="node")
        return Response(found, content_type=exposition.CONTENT_TYPE_PLAIN_0_0_4)

    return routes

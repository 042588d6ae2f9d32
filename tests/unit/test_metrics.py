"""Nothing is counted that no metric tells of, all is written as the library would write it."""

import os
import re
import resource
import secrets
import shutil
import subprocess
import time
from pathlib import Path

import msgspec
import pytest
from prometheus_client import CollectorRegistry, exposition
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily
from prometheus_client.openmetrics import exposition as openmetrics
from prometheus_client.openmetrics import parser as openmetrics_parser
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.samples import Exemplar

from api.canary import COUNTS as CANARY_COUNTS
from api.engine_link import EngineLink
from api.exposition import Exposition
from api.metrics import FATES, GAUGES, PER_CAMERA, TOTALS, BoardCollector
from api.metrics_status import SINK_TOTALS
from engine.board import (
    BUSY_NS,
    CAMERA,
    KIND,
    LAST_FRAME_UNIX_NS,
    STATE,
    Board,
    Count,
    Fate,
    Kind,
    Stage,
)
from engine.messages import (
    CameraStatus,
    EngineStatus,
    ProcessStatus,
    ReloadFigures,
    RestartReason,
    RingHandle,
    SinkFigures,
)
from engine.types import CameraState
from engine.uploads import camera_of

ROOT = Path(__file__).resolve().parents[2]
SIGHTING = "01a21809-fc48-7594-9c2f-44c02a86097f"
RING = RingHandle(
    ring=1, segment="s", camera=0, camera_name="gate", width_px=4, height_px=2, format="gray",
    slots=3, lossless=False,
)  # fmt: skip
STATUS = EngineStatus(
    node="north",
    started_unix_ms=1_700_000_000_000,
    pid=os.getpid(),
    recognizer="auto",
    privacy="plain",
    cameras=(
        CameraStatus(
            name="gate", index=0, state=CameraState.LIVE, ring=RING, in_flight=2,
            oldest_unix_ms=1_700_000_001_500, ring_bytes=4_096,
        ),
    ),
    processes=(
        ProcessStatus(
            name="worker-0", kind=Kind.WORKER, row=1, pid=os.getpid(), restarts=3,
            reasons={RestartReason.KILLED: 2, RestartReason.STUCK: 1},
        ),
        ProcessStatus(name="decoder-gate", kind=Kind.DECODER, row=2, up=False),
        ProcessStatus(name="gone", kind=Kind.API, row=3, pid=2**22 + 1),
    ),
    sinks=(
        SinkFigures(
            name="webhook:barrier", waiting=7, oldest_unix_ms=1_700_000_000_250, away=True,
            taken=5, retries=4, failures=1, dead_letters=2,
        ),
    ),
    renewing=("worker-0", "api-0"),
    reloads=ReloadFigures(
        applied=3, refused=2, reverted=1, applied_unix_ms=1_700_000_002_500,
    ),
)  # fmt: skip


class Link(EngineLink):
    """A supervisor that answers as told."""

    def __init__(self) -> None:
        super().__init__("")
        self.answer: EngineStatus | None = STATUS

    def status(self) -> EngineStatus | None:
        return self.answer


@pytest.fixture
def board():
    found = Board.create(f"platering.test{secrets.token_hex(4)}.board", 4, 2)
    yield found
    found.close()
    found.unlink()


@pytest.fixture
def link():
    return Link()


@pytest.fixture
def collector(board, link, tmp_path):
    return BoardCollector(board, link, ("gate", "yard"), "north", str(tmp_path))


def samples(collector) -> dict[str, float]:
    """Return each sample by its name and labels as they are written."""
    lines = collector.text().decode().splitlines()
    pairs = (line.rpartition(" ") for line in lines if not line.startswith("#"))
    return {head: float(value) for head, _, value in pairs}


def test_every_count_and_every_fate_has_one_metric():
    assert TOTALS.keys() | GAUGES.keys() | set(CANARY_COUNTS) == set(Count)
    assert FATES.keys() | PER_CAMERA.keys() | {Fate.CONFIDENCE, Fate.LAG_US} == set(Fate)
    assert SINK_TOTALS.keys() | {"name", "waiting", "oldest_unix_ms", "away"} == set(
        SinkFigures.__struct_fields__
    )
    words = [word for table in (TOTALS, GAUGES, PER_CAMERA) for word, _ in table.values()]
    assert len(set(words)) == len(TOTALS) + len(GAUGES) + len(PER_CAMERA)
    assert len(set(FATES.values())) == len(FATES)


def test_a_supervisor_tells_of_cameras_processes_and_sinks(collector):
    found = samples(collector)
    assert found["platering_engine_up"] == 1
    assert found["platering_engine_start_time_seconds"] == 1_700_000_000
    assert found['platering_config_info{privacy="plain",recognizer="auto"}'] == 1
    gate = '{camera="gate"}'
    assert found[f"platering_ring_slots{gate}"] == 3
    assert found[f"platering_frames_in_flight{gate}"] == 2
    assert found[f"platering_ring_memory_bytes{gate}"] == 4_096
    assert found[f"platering_ring_oldest_frame_timestamp_seconds{gate}"] == 1_700_000_001.5
    reasons = {
        reason: found[f'platering_process_restarts_total{{process="worker-0",reason="{reason}"}}']
        for reason in RestartReason
    }
    assert reasons == {"failed": 0, "killed": 2, "stuck": 1, "ordered": 0}
    reloads = {
        outcome: found[f'platering_config_reloads_total{{outcome="{outcome}"}}']
        for outcome in ("applied", "refused", "reverted")
    }
    assert reloads == {"applied": 3, "refused": 2, "reverted": 1}
    assert found["platering_config_last_reload_success_timestamp_seconds"] == 1_700_000_002.5
    assert found["platering_processes_replacing"] == 2
    sink = '{sink="webhook:barrier"}'
    assert found[f"platering_sink_up{sink}"] == 0
    assert found[f"platering_sink_waiting_events{sink}"] == 7
    assert found[f"platering_sink_oldest_event_timestamp_seconds{sink}"] == 1_700_000_000.25
    totals = ("events", "attempts_repeated", "went_away", "dead_letters")
    assert [found[f"platering_sink_{word}_total{sink}"] for word in totals] == [5, 4, 1, 2]


def test_the_kernel_tells_what_processes_take(collector):
    before_s = time.process_time()
    found = samples(collector)
    labels = '{kind="worker",process="worker-0"}'
    assert 1e6 < found[f"platering_process_resident_memory_bytes{labels}"] < 1e10
    shared = found[f"platering_process_shared_memory_bytes{labels}"]
    assert 0 < shared < found[f"platering_process_resident_memory_bytes{labels}"]
    assert found[f"platering_process_cpu_seconds_total{labels}"] >= before_s - 0.1
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert found[f"platering_process_max_fds{labels}"] == limit
    assert 3 < found[f"platering_process_open_fds{labels}"] < limit
    age_s = time.time() - found[f"platering_process_start_time_seconds{labels}"]
    assert 0 <= age_s + 1 < 3_600
    assert 'platering_process_open_fds{kind="supervisor",process="supervisor"}' in found
    assert not any('"decoder-gate"' in head and "open_fds" in head for head in found)
    assert not any('"gone"' in head and "open_fds" in head for head in found)
    for disk in ("data", "shared_memory"):
        free = found[f'platering_disk_free_bytes{{disk="{disk}"}}']
        assert 0 < free <= found[f'platering_disk_size_bytes{{disk="{disk}"}}']


def test_rows_bear_the_names_of_their_processes_also_when_the_supervisor_is_silent(
    board, collector, link
):
    worker, decoder = board.row(1), board.row(2)
    for row, kind in ((worker, Kind.WORKER), (decoder, Kind.DECODER)):
        row.words[KIND] = kind
        row.beat(time.monotonic_ns())
    worker.words[STATE], worker.words[BUSY_NS] = 1, 2_500_000_000
    worker.observe(Stage.RECOGNIZE, 30_000_000)
    decoder.words[CAMERA], decoder.words[LAST_FRAME_UNIX_NS] = 0, 1_700_000_002_000_000_000
    for answer in (STATUS, None):
        link.answer = answer
        found = samples(collector)
        assert found["platering_engine_up"] == float(answer is not None)
        assert found['platering_process_up{kind="worker",process="worker-0"}'] == 1
        assert found['platering_worker_busy_seconds_total{process="worker-0"}'] == 2.5
        newest = found['platering_camera_last_frame_timestamp_seconds{camera="gate"}']
        assert newest == 1_700_000_002
        seconds = 'platering_recognition_seconds_count{recognizer="builtin"}'
        assert (found[seconds], found[seconds.replace("builtin", "openalpr")]) == (1, 0)
    for row in (worker, decoder):
        row.release()


def test_a_process_that_was_taken_off_is_not_down(board, collector, link):
    row = board.row(1)
    row.words[KIND] = Kind.WORKER  # as a removed recognizer leaves it
    row.release()
    down = 'platering_process_up{kind="worker",process="worker-0"}'
    assert samples(collector)[down] == 0
    link.answer = msgspec.structs.replace(STATUS, processes=STATUS.processes[1:])
    assert not any("_up{" in head and "worker" in head for head in samples(collector))


def test_uploads_leave_no_labels_behind(board, collector, link):
    name = f"decoder-{camera_of('0' * 16)}"
    row = board.row(3)
    row.words[KIND] = Kind.DECODER
    row.release()
    reader = ProcessStatus(name=name, kind=Kind.DECODER, row=3, pid=os.getpid(), restarts=1)
    link.answer = msgspec.structs.replace(STATUS, processes=(*STATUS.processes[:2], reader))
    found = samples(collector)
    assert any("decoder-gate" in head for head in found)
    assert not [head for head in found if name in head or "row-3" in head]


def test_confidence_is_a_ratio(board, collector):
    row = board.row(1)
    row.fate(0, Fate.SIGHTINGS, 2)
    row.fate(0, Fate.CONFIDENCE, 9_000 + 8_000)
    row.release()
    found = samples(collector)
    name = "platering_sighting_confidence_ratio"
    assert found[f'{name}_sum{{camera="gate"}}'] == pytest.approx(1.7)
    assert found[f'{name}_count{{camera="gate"}}'] == 2


def test_confidence_of_reads_is_a_histogram_by_recognizer(board, collector):
    for index, recognizer, reads in ((1, 1, (45.0, 60.0, 99.5)), (2, 1, (92.0,)), (3, 2, (95.5,))):
        row = board.row(index)
        row.words[KIND], row.words[STATE] = Kind.WORKER, recognizer
        for percent in reads:
            row.add_confidence(percent)
        row.release()
    found = samples(collector)
    name = "platering_read_confidence_ratio"
    below = {
        bound: found[f'{name}_bucket{{le="{bound}",recognizer="builtin"}}']
        for bound in ("0.5", "0.6", "0.7", "0.8", "0.9", "0.95", "+Inf")
    }
    assert list(below.values()) == [1, 2, 2, 2, 2, 3, 4]
    assert found[f'{name}_sum{{recognizer="builtin"}}'] == pytest.approx(2.965)
    assert found[f'{name}_count{{recognizer="openalpr"}}'] == 1
    assert found[f'{name}_bucket{{le="0.95",recognizer="openalpr"}}'] == 0


def test_lag_is_told_in_seconds_by_camera(board, collector):
    row = board.row(1)
    row.fate(0, Fate.RECOGNIZED, 4)
    row.fate(0, Fate.LAG_US, 500_000)
    row.release()
    found = samples(collector)
    name = "platering_camera_lag_seconds"
    assert found[f'{name}_sum{{camera="gate"}}'] == 0.5
    assert found[f'{name}_count{{camera="gate"}}'] == 4


def test_the_newest_sighting_of_a_stage_is_its_exemplar(board, collector):
    one, other = board.row(1), board.row(2)
    one.observe(Stage.CAPTURE_TO_STORED, 40_000_000)
    one.exemplify(Stage.CAPTURE_TO_STORED, "named by somebody else", 40_000_000)
    other.observe(Stage.CAPTURE_TO_STORED, 90_000_000)
    other.exemplify(Stage.CAPTURE_TO_STORED, SIGHTING, 90_000_000)
    text = Exposition().openmetrics(collector.collect()).decode()
    for row in (one, other):
        row.release()
    assert text.count(" # {") == 1
    (sample,) = [
        sample
        for family in openmetrics_parser.text_string_to_metric_families(text)
        for sample in family.samples
        if sample.exemplar is not None
    ]
    assert sample.labels == {"stage": "capture_to_stored", "le": "0.1"}
    assert sample.exemplar.labels == {"sighting": SIGHTING}
    assert sample.exemplar.value == 0.09
    assert abs(float(sample.exemplar.timestamp) - time.time()) < 60


class Strange:
    """Families with all that labels and values can be."""

    def collect(self):
        gauge = GaugeMetricFamily("g", "A gauge.", labels=("z", "a"))
        for value in (0, 1, -1.5, 1e21, 12_345_678, float("inf"), float("-inf"), float("nan")):
            gauge.add_metric((f"{value}", 'a "b" \\ \n ü {}'), value)
        yield gauge
        yield CounterMetricFamily("c", "A counter.", value=3)
        histogram = HistogramMetricFamily("h_seconds", "A histogram.", labels=("stage",))
        seen = Exemplar({"sighting": SIGHTING}, 0.07, 1_700_000_000.5)
        histogram.add_metric(("s",), [("0.1", 1.0, seen), ("+Inf", 2.0, None)], 3.25)
        yield histogram


def test_it_is_written_as_the_library_writes_it(collector):
    written = Exposition()
    for source in (Strange(), Strange(), collector):
        registry = CollectorRegistry()
        registry.register(source)
        theirs = exposition.generate_latest(registry).splitlines()
        ours = written.text(source.collect()).splitlines()
        assert [still(line) for line in ours] == [still(line) for line in theirs]
        theirs = openmetrics.generate_latest(registry).splitlines()
        ours = written.openmetrics(source.collect()).splitlines()
        assert [still(line) for line in ours] == [still(line) for line in theirs]


def still(line: bytes) -> bytes:
    """Leave out what may change between two looks."""
    return re.sub(rb"((_fds|cpu_seconds_total|_bytes)\{.*\}) .*", rb"\1", line)


def test_no_camera_leaves_a_hole_in_the_series(board, tmp_path):
    """Every family is there from the start, of every camera, before anything has happened."""
    text = BoardCollector(board, Link(), (), "north", str(tmp_path)).text().decode()
    families = {family.name: family for family in text_string_to_metric_families(text)}
    for name in ("frames", "plate_reads", "camera_last_frame_timestamp_seconds", "ring_slots"):
        found = families[f"platering_{name}"].samples
        assert {sample.labels["camera"] for sample in found} == {"gate"}
    stages = {sample.labels["stage"] for sample in families["platering_stage_seconds"].samples}
    assert stages == {stage.name.lower() for stage in Stage}


@pytest.mark.skipif(not shutil.which("promtool"), reason="promtool: apt install prometheus")
def test_promtool_finds_nothing_to_say(collector):
    done = subprocess.run(
        ["promtool", "check", "metrics"], input=collector.text(), capture_output=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    bad = subprocess.run(
        ["promtool", "check", "metrics"], input=b"a_ms 1\n", capture_output=True, check=False
    )
    assert bad.returncode, "a promtool that finds fault with nothing"


def test_no_module_of_metrics_labels_by_plate_or_address():
    source = "".join(path.read_text() for path in (ROOT / "api").glob("metrics*.py"))
    labels = set(re.findall(r"labels=\(([^)]*)\)", source))
    words = {word for each in labels for word in re.findall(r'"(\w+)"', each)}
    assert words <= {"camera", "fate", "reason", "stage", "kind", "process", "node", "state",
                     "recognizer", "disk", "outcome"}  # fmt: skip

"""Redis dies, is cut off, fails over, the disk fills: ids sent are ids in the stream, each once."""

import contextlib
import random
import subprocess
import threading
import time
from collections import Counter

import msgspec
import pytest
from conftest import redis_binary
from cutting_proxy import CuttingProxy
from polling import wait_until
from publisher_rig import PublisherRig, report, running
from redis_shapes import behind_sentinels, cluster, yard

from engine.board import Count
from engine.config import SpoolSettings
from engine.errors import SinkError
from engine.ingest_channel import IngestClient
from engine.spool_reader import SpoolReader
from engine.store import SEQUENCE, STREAM, Store, connect
from engine.types import Evidence, Phase, Sighting

PER_S = 200
LANES = 8
QUICK = {"max_gap_s": 0.4, "announce_after_s": 0.1, "reappear_after_s": 20.0}


def bare(number):
    at_ms = time.time_ns() // 1_000_000
    return Sighting(
        id="", revision=1, phase=Phase.FINAL, camera=f"c{number % 4}", node="",
        plate=f"P{number}", confidence=100, first_unix_ms=at_ms, last_unix_ms=at_ms,
        best_unix_ms=at_ms, origin="ingest",
    )  # fmt: skip


class Traffic:
    """Posts sightings at a steady pace from threads; keeps the ids that were promised."""

    def __init__(self, rig, per_s=PER_S, pictures=None):
        self._client = IngestClient(rig.ingest_path)
        self._pictures = pictures
        self._numbers = iter(range(10**9))
        self._lock = threading.Lock()
        self._ended = threading.Event()
        self._began = time.monotonic()
        self._per_s = per_s
        self.promised = []
        self._threads = [threading.Thread(target=self._post, daemon=True) for _ in range(LANES)]
        for thread in self._threads:
            thread.start()

    def _post(self):
        while not self._ended.is_set():
            with self._lock:
                number = next(self._numbers)
            due = self._began + number / self._per_s
            self._ended.wait(max(0.0, due - time.monotonic()))
            done = None
            while done is None and not self._ended.is_set():
                with contextlib.suppress(SinkError):  # not promised: said again
                    one = bare(number)
                    done = self._client.sighting(f"uuid-{number}", one, self._pictures)
            if done is not None:
                self.promised.append(done.sighting_id)

    def for_s(self, seconds):
        """Let it run for a while."""
        threading.Event().wait(seconds)

    def end(self):
        """Stop posting; return the ids that were promised."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._client.close()
        return self.promised


def stream_of(url):
    """Return (id, revision) of every entry of the stream and the sequence numbers."""
    with connect(url) as client:
        entries = Store(client).read_stream("0-0", count=1_000_000)
        assert client.xlen(STREAM) == len(entries)
        assert int(client.get(SEQUENCE)) >= len(entries)
    decoded = [msgspec.json.decode(entry.json, type=Sighting) for entry in entries]
    return [(one.id, one.revision) for one in decoded], [entry.seq for entry in entries]


def delivered(rig, promised):
    """Wait until nothing waits any more; return the figures of a run for the report."""
    settled = lambda: rig.total(Count.STORED) + rig.total(Count.SPOOL_DROPPED) >= len(promised)  # noqa: E731  # read aloud below
    wait_until(settled, 60.0, "everything promised is stored")
    return {
        "promised": len(promised),
        "failures": rig.total(Count.SINK_FAILURES),
        "retries": rig.total(Count.SINK_RETRIES),
        "dropped": rig.total(Count.SPOOL_DROPPED),
    }


def assert_each_once(rig, url, promised):
    """Assert that the stream holds what was promised, each id once, numbered without gaps."""
    figures = delivered(rig, promised)
    wait_until(lambda: len(stream_of(url)[0]) >= len(promised), 10.0, "all are in the stream")
    told, numbers = stream_of(url)
    assert max(Counter(told).values()) == 1
    assert {sighting_id for sighting_id, _ in told} >= set(promised)
    assert len(told) - len(promised) <= LANES  # posted, but the end came before the answer
    assert numbers == list(range(1, len(told) + 1))
    assert figures["dropped"] == 0
    report(f"{figures}, {len(told)} in the stream, each once")


@pytest.fixture
def place():
    binary = redis_binary()
    if binary is None:
        pytest.skip("needs a redis-server: install the package redis-server")
    with yard(binary) as one:
        yield one


@pytest.mark.parametrize(
    ("seconds", "kills"), [(4, 2), pytest.param(60, 15, marks=pytest.mark.long)]
)
def test_redis_is_killed_and_restarted_under_traffic(tmp_path, redis_server, rng, seconds, kills):
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        traffic = Traffic(rig)
        for _ in range(kills):
            traffic.for_s(seconds / kills * rng.uniform(0.3, 0.7))
            redis_server.stop()
            traffic.for_s(seconds / kills * rng.uniform(0.0, 0.3))
            redis_server.start()
        traffic.for_s(seconds * 0.2)
        promised = traffic.end()
        assert len(promised) > seconds * PER_S * 0.5
        assert_each_once(rig, redis_server.url, promised)


@pytest.mark.parametrize(
    ("seconds", "cuts"), [(3, 4), pytest.param(60, 50, marks=pytest.mark.long)]
)
def test_connections_are_cut_in_mid_answer(tmp_path, redis_server, rng, seconds, cuts):
    at = redis_server.folder / "proxy.sock"
    proxy = CuttingProxy(at, redis_server.socket, random.Random(rng.random()), 8_000)
    try:
        with running(tmp_path, f"unix://{at}", **QUICK) as rig:
            traffic = Traffic(rig)
            traffic.for_s(seconds)
            promised = traffic.end()
            assert_each_once(rig, redis_server.url, promised)
            assert proxy.cuts >= cuts
            report(f"{proxy.cuts} cuts")
    finally:
        proxy.close()


def test_a_slow_redis_delays_nobody_who_posts(tmp_path, redis_server, rng):
    at = redis_server.folder / "proxy.sock"
    proxy = CuttingProxy(at, redis_server.socket, rng, 0)
    proxy.slow_s = 0.1
    try:
        with running(tmp_path, f"unix://{at}", **QUICK) as rig:
            traffic = Traffic(rig)
            traffic.for_s(2.0)
            promised = traffic.end()
            assert len(promised) > 200  # a post does not wait for Redis
            assert_each_once(rig, redis_server.url, promised)
    finally:
        proxy.close()


def test_a_camera_without_a_backlog_is_live_beside_those_with_one(tmp_path, redis_server):
    with running(tmp_path, redis_server.url, **QUICK) as rig:
        rig.stop()
        spool = SpoolSettings(replay_per_s=200.0)
        rig.section = rig.section.model_copy(update={"spool": spool})
        rig.start()
        redis_server.stop()
        traffic = Traffic(rig, 400)  # of cameras c0 to c3
        traffic.for_s(2.5)
        promised = traffic.end()
        waiting = spooled(rig)
        redis_server.start()
        wait_until(lambda: rig.total(Count.STORED) > 0, 10.0, "the replay has begun")
        with contextlib.closing(IngestClient(rig.ingest_path)) as client:
            live = msgspec.structs.replace(bare(1), camera="barrier")
            began = time.monotonic()
            promised.append(client.sighting("", live).sighting_id)
        with connect(redis_server.url) as reader:
            wait_until(lambda: Store(reader).get(promised[-1]), 5.0, "the live one is there")
            late_s = time.monotonic() - began
        left = len(promised) - rig.total(Count.STORED)
        assert late_s < 1.0
        assert left > 100, "the backlog was gone before"
        assert_each_once(rig, redis_server.url, promised)
        report(f"live after {late_s:.3f} s, while {left} of {len(promised)} waited")
        with connect(redis_server.url) as reader:
            entries = Store(reader).read_stream("0-0", count=1_000_000)
        told = [msgspec.json.decode(entry.json, type=Sighting) for entry in entries]
        in_stream = by_camera((one.camera, one.id) for one in told)
        assert in_stream.pop("barrier") == promised[-1:]
        assert in_stream == by_camera(waiting)


def spooled(rig):
    """Return camera and id of everything in the spool, in its order."""
    reader, after, found = SpoolReader(rig.section.directory / "spool.sqlite"), 0, []
    while some := reader.read(after, 1_000):
        found += [(one.camera, one.event.sighting.id) for one in some]
        after = some[-1].seq
    reader.close()
    return found


def by_camera(pairs):
    """Return the ids of each camera, in their order."""
    found = {}
    for camera, sighting_id in pairs:
        found.setdefault(camera, []).append(sighting_id)
    return found


MOUNT = "mount -t tmpfs -o size=32m tmpfs '{}' && exec \"$@\""


def small_disk(folder):
    """Return how to start a process for which a folder is a disk of 32 MiB.

    It is a tmpfs that only the process sees.
    """
    for namespace in (["unshare", "-m"], ["unshare", "-Urm"]):
        prefix = [*namespace, "sh", "-c", MOUNT.format(folder), "sh"]
        with contextlib.suppress(FileNotFoundError):
            if not subprocess.run([*prefix, "true"], check=False, capture_output=True).returncode:
                return prefix
    return pytest.skip("needs the right to mount a tmpfs in a namespace of its own (unshare -m)")


class SmallDiskRig(PublisherRig):
    """A publisher whose spool lies on a small disk of its own."""

    def start(self):
        spool = self.folder / "engine"
        spool.mkdir(exist_ok=True)
        self.prefix = tuple(small_disk(spool))
        super().start()


def test_a_full_disk_costs_the_oldest_counted(tmp_path, redis_server, capfd):
    rig = SmallDiskRig(tmp_path, redis_server.url, **QUICK)
    rig.section = rig.section.model_copy(update={"spool": SpoolSettings(max_mib=64)})
    try:
        redis_server.stop()
        rig.start()
        traffic = Traffic(rig, pictures=Evidence(b"x" * 60_000))
        wait_until(lambda: rig.total(Count.SPOOL_DROPPED) > 0, 20.0, "the disk is full")
        traffic.for_s(1.0)
        redis_server.start()
        traffic.for_s(0.5)
        promised = traffic.end()
        delivered(rig, promised)
        told, _ = stream_of(redis_server.url)
        dropped = rig.total(Count.SPOOL_DROPPED)
        assert max(Counter(told).values()) == 1
        kept = {sighting_id for sighting_id, _ in told}
        assert 0 <= len(kept) + dropped - len(promised) <= LANES
        assert set(promised[-50:]) <= kept  # the oldest went
        assert "the oldest" in capfd.readouterr().err
        report(f"promised {len(promised)}, in the stream {len(kept)}, dropped {dropped}")
    finally:
        rig.close()


@pytest.mark.long
def test_sentinels_promote_a_replica_under_traffic(tmp_path, place):
    shape = behind_sentinels(place, watchers=3)
    with running(tmp_path, shape.url, **QUICK) as rig:
        traffic = Traffic(rig)
        traffic.for_s(10.0)
        shape.master.kill()
        traffic.for_s(20.0)
        promised = traffic.end()
        assert_none_missing(rig, shape.url, promised)


@pytest.mark.long
def test_a_master_of_a_cluster_dies_under_traffic(tmp_path, place):
    shape = cluster(place, replicas=True)
    with connect(shape.url) as client:
        slots = [client.keyslot(key) for key in (STREAM, "platering:camera:c1")]
    with running(tmp_path, shape.url, **QUICK) as rig:
        traffic = Traffic(rig)
        traffic.for_s(10.0)
        shape.master_of(slots[0]).kill()
        traffic.for_s(20.0)
        promised = traffic.end()
        assert_none_missing(rig, shape.url, promised)


def assert_none_missing(rig, url, promised):
    """Assert that no id is missing, and that repeats are of the same id and revision."""
    figures = delivered(rig, promised)
    told, _ = stream_of(url)
    missing = set(promised) - {sighting_id for sighting_id, _ in told}
    repeats = sum(number - 1 for number in Counter(told).values())
    report(f"{figures}, in the stream {len(told)}, repeats {repeats}, missing {len(missing)}")
    assert not missing
    assert figures["dropped"] == 0
    assert len(promised) > 20 * PER_S * 0.5
    assert {revision for _, revision in told} == {1}

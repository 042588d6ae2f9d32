"""Group ``redis``: sightings a second into one Redis on one unix socket, three ways.

One command at a time and one pipeline of redis-py do exactly what ours does, with the same keys
and the same script. Run: ``pytest bench/bench_redis.py``.
"""

import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path

import msgspec
import pytest
import redis
from pytest_benchmark.fixture import BenchmarkFixture

from engine.config import RedisSettings
from engine.embedded_redis import find_redis_server
from engine.store import LATEST as LATEST_KEY
from engine.store import (
    PLATES_CHANNEL,
    SIGHTINGS_CHANNEL,
    camera_key,
    connect,
    marker_key,
    plate_key,
    sighting_key,
)
from engine.store import SEQUENCE as SEQUENCE_KEY
from engine.store import STREAM as STREAM_KEY
from engine.store_writer import MARKER_LIFE_S, SCRIPT, StoreWriter
from engine.track import Event
from engine.types import Box, Candidate, PathPoint, Phase, Sighting

BATCH = 64
KEEP_S = 30 * 86_400
_numbers = count()


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A real server with the persistence of the embedded one."""
    folder = Path(tempfile.mkdtemp(prefix="plt-bench-"))
    socket = folder / "redis.sock"
    command = [find_redis_server(), "--port", "0", "--unixsocket", str(socket)]
    command += ["--dir", str(folder), "--save", "", "--appendonly", "yes", "--logfile", "log"]
    process = subprocess.Popen(command)
    try:
        client = connect(f"unix://{socket}")
        deadline = time.monotonic() + 10
        while True:
            try:
                client.ping()
                break
            except redis.ConnectionError:
                assert time.monotonic() < deadline
                time.sleep(0.01)
        yield f"unix://{socket}"
        client.close()
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def make_events(number: int) -> list[Event]:
    """Return new events of ordinary size."""
    return [Event(_sighting(next(_numbers))) for _ in range(number)]


def _sighting(number: int) -> Sighting:
    plate, now_ms = f"P{number % 46_656:05d}", time.time_ns() // 1_000_000
    box = Box(812.5, 403.25, 110.0, 26.5)
    return Sighting(
        id=f"0199c1f0-{number:012x}-7000-8000",
        revision=1,
        phase=Phase.PROVISIONAL,
        camera=f"camera-{number % 16}",
        node="bench",
        plate=plate,
        confidence=91.25,
        candidates=(Candidate(plate, 91.25), Candidate(plate[:-1] + "B", 12.5)),
        first_unix_ms=now_ms,
        last_unix_ms=now_ms,
        best_unix_ms=now_ms,
        path=tuple(PathPoint(now_ms + step * 40, box) for step in range(4)),
    )


def _commands(event: Event, digest: str) -> list[tuple[str | bytes | int | float, ...]]:
    """Return the commands of one sighting, as one would write them by hand."""
    one, raw = event.sighting, msgspec.json.encode(event.sighting)
    key = sighting_key(one.id)
    fields = ("json", raw, "plate", one.plate, "camera", one.camera, "node", one.node)
    more = ("phase", one.phase.value, "revision", one.revision, "confidence", one.confidence)
    times = ("first_unix_ms", one.first_unix_ms, "last_unix_ms", one.last_unix_ms)
    old_ms = one.first_unix_ms - KEEP_S * 1_000
    plate, camera = plate_key(one.plate), camera_key(one.camera)
    keys = (SEQUENCE_KEY, STREAM_KEY, LATEST_KEY, marker_key(one.id))
    bounds = (100_000, 1_000, MARKER_LIFE_S, PLATES_CHANNEL, SIGHTINGS_CHANNEL)
    return [
        ("HSET", key, *fields, *more, *times),
        ("EXPIRE", key, KEEP_S),
        ("ZADD", plate, one.first_unix_ms, one.id),
        ("EXPIRE", plate, KEEP_S),
        ("ZADD", camera, one.first_unix_ms, one.id),
        ("ZREMRANGEBYSCORE", camera, "-inf", old_ms),
        ("EXPIRE", camera, KEEP_S),
        ("EVALSHA", digest, len(keys), *keys, *bounds, one.id, one.revision, one.plate, raw),
    ]


def one_at_a_time(client: redis.Redis, digest: str) -> Callable[[Sequence[Event]], None]:
    """One command, one answer."""

    def deliver(events: Sequence[Event]) -> None:
        for event in events:
            for command in _commands(event, digest):
                client.execute_command(*command)  # type: ignore[no-untyped-call]

    return deliver


def pipelined(client: redis.Redis, digest: str) -> Callable[[Sequence[Event]], None]:
    """One pipeline of redis-py a batch."""

    def deliver(events: Sequence[Event]) -> None:
        for start in range(0, len(events), BATCH):
            pipeline = client.pipeline(transaction=False)
            for event in events[start : start + BATCH]:
                for command in _commands(event, digest):
                    pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            pipeline.execute()

    return deliver


def ours(url: str) -> Callable[[Sequence[Event]], None]:
    """The writer that the publisher uses."""
    writer = StoreWriter(url, RedisSettings())

    def deliver(events: Sequence[Event]) -> None:
        for start in range(0, len(events), BATCH):
            writer.commit(events[start : start + BATCH])

    return deliver


@pytest.mark.parametrize("way", ["single", "pipeline", "ours"])
@pytest.mark.benchmark(group="redis")
def test_sightings_delivered(benchmark: BenchmarkFixture, url: str, way: str) -> None:
    """Deliver new sightings with the full schema of keys."""
    client = connect(url)
    digest = str(client.script_load(SCRIPT))
    ways = {
        "single": lambda: one_at_a_time(client, digest),
        "pipeline": lambda: pipelined(client, digest),
        "ours": lambda: ours(url),
    }
    deliver = ways[way]()
    size = 640 if way == "single" else 6_400
    deliver(make_events(BATCH))
    benchmark.pedantic(deliver, setup=lambda: ((make_events(size),), {}), rounds=5)  # type: ignore[no-untyped-call]
    if benchmark.stats is not None:
        benchmark.extra_info["sightings_per_s"] = round(size / benchmark.stats.stats.median)
    print(f"\n{way}: {benchmark.extra_info}")
    client.close()

"""Group ``ingest``: how soon posts are answered, through one API process and a real publisher.

Posts come at a fixed pace, however late the answers are, over connections that are kept alive, as
those of agents are. A time runs from the moment at which a post was due to the end of its answer,
which comes once the sighting is on disk. Run: ``pytest bench/bench_ingest.py -s``; pace and length
by ``PLATERING_INGEST_PER_S`` and ``PLATERING_INGEST_S``.
"""

import http.client
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import pytest
from conftest import RedisServer, redis_binary  # type: ignore[import-not-found]  # of the tests
from ingest_front import ingest_front  # type: ignore[import-not-found]  # same
from payload_fuzz import GROUP  # type: ignore[import-not-found]  # same
from pytest_benchmark.fixture import BenchmarkFixture

PER_S: Final = float(os.environ.get("PLATERING_INGEST_PER_S", "500"))
SECONDS: Final = float(os.environ.get("PLATERING_INGEST_S", "10"))
CONNECTIONS: Final = 50
PICTURE: Final = "/9j/" + "A" * 40_000
"""A crop and a view of a vehicle together, as agents send them."""


class Figures(msgspec.Struct):
    """What one run showed."""

    posts: int
    refused: int
    per_s: float
    p50_ms: float
    p99_ms: float
    worst_ms: float
    front_cpu_us: float
    """Of the API process, per post."""
    publisher_cpu_us: float


@pytest.fixture(scope="module")
def ports(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, int, int]]:
    """Yield the port of a front, and the process ids of it and of its publisher."""
    folder = tmp_path_factory.mktemp("ingest")
    server = RedisServer(redis_binary(), folder)
    server.start()
    try:
        with ingest_front(folder, server.url) as both:
            yield both.front.port, both.front.process.pid, both.publisher.process.pid
    finally:
        server.stop()


def _bodies(kind: str) -> Iterator[bytes]:
    """Yield a body after the other, each of a vehicle of its own."""
    number = 0
    while True:
        number += 1
        if kind == "bare plates":
            yield json.dumps({"plate": f"B{number:06}", "camera": "gate"}).encode()
        else:
            group: dict[str, Any] = GROUP | {"best_uuid": f"{time.time_ns()}", "overview_jpeg": ""}
            yield json.dumps(group | {"vehicle_crop_jpeg": PICTURE}).encode()


def _run(kind: str, ports: tuple[int, int, int]) -> Figures:
    """Post at the pace, from as many threads as there are connections."""
    port, front, publisher = ports
    count = int(PER_S * SECONDS)
    made = _bodies(kind)
    bodies = [next(made) for _ in range(count)]
    times_s, refused = np.zeros(count), [0]
    cpu = _cpu_s(front), _cpu_s(publisher)
    began = time.monotonic() + 0.2

    def client(first: int) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
        for number in range(first, count, CONNECTIONS):
            due = began + number / PER_S
            time.sleep(max(0.0, due - time.monotonic()))
            connection.request(
                "POST", "/alpr_data", bodies[number], {"Content-Type": "application/json"}
            )
            response = connection.getresponse()
            response.read()
            times_s[number] = time.monotonic() - due
            refused[0] += response.status != 200
        connection.close()

    threads = [threading.Thread(target=client, args=(first,)) for first in range(CONNECTIONS)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    took_s = time.monotonic() - began
    p50, p99, worst = np.percentile(times_s * 1_000, [50, 99, 100]).round(1).tolist()
    return Figures(
        posts=count,
        refused=refused[0],
        per_s=round(count / took_s),
        p50_ms=p50,
        p99_ms=p99,
        worst_ms=worst,
        front_cpu_us=round(1e6 * (_cpu_s(front) - cpu[0]) / count),
        publisher_cpu_us=round(1e6 * (_cpu_s(publisher) - cpu[1]) / count),
    )


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@pytest.mark.parametrize("kind", ["bare plates", "groups with a picture"])
@pytest.mark.benchmark(group="ingest")
def test_posts_are_answered(
    benchmark: BenchmarkFixture, ports: tuple[int, int, int], kind: str
) -> None:
    """Post for some seconds at the pace; none is refused."""
    figures = benchmark.pedantic(_run, args=(kind, ports), rounds=1)  # type: ignore[no-untyped-call]
    if benchmark.stats is not None:
        benchmark.extra_info.update(msgspec.structs.asdict(figures))
    print(f"\n{kind}: {figures}")
    assert figures.refused == 0

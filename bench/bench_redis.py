"""Group ``redis``: sightings a second into one Redis on one unix socket, three ways.

One command at a time and one pipeline of redis-py do exactly what ours does, with the same keys
and the same script. Run: ``pytest bench/bench_redis.py``; ``platering bench delivery`` says more.
"""

from collections.abc import Iterator

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from engine.benchmarks.delivery import (
    BATCH,
    make_events,
    measure,
    ours,
    own_server,
    pipelined,
    single,
)
from engine.config import RedisSettings
from engine.store import connect
from engine.store_writer import StoreWriter


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A real server with the persistence of the embedded one."""
    with own_server() as one:
        yield one


@pytest.mark.parametrize("way", ["single", "pipeline", "ours"])
@pytest.mark.benchmark(group="redis")
def test_sightings_delivered(benchmark: BenchmarkFixture, url: str, way: str) -> None:
    """Deliver new sightings with the full schema of keys."""
    client, writer = connect(url), StoreWriter(url, RedisSettings())
    deliver = {"single": single(client), "pipeline": pipelined(client), "ours": ours(writer)}[way]
    size = 640 if way == "single" else 6_400
    deliver(make_events(BATCH))
    benchmark.pedantic(deliver, setup=lambda: ((make_events(size),), {}), rounds=5)  # type: ignore[no-untyped-call]
    if benchmark.stats is not None:
        benchmark.extra_info["sightings_per_s"] = round(size / benchmark.stats.stats.median)
    print(f"\n{way}: {benchmark.extra_info}")
    writer.close()
    client.close()


@pytest.mark.long
def test_ours_against_single_commands_and_the_servers_limit() -> None:
    """Ours is ten times as fast as single commands, and within four times of the limit."""
    figures = measure()
    print(figures)
    assert figures.delivery_vs_single >= 10
    assert figures.delivery_vs_server_limit >= 0.25

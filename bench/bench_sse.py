"""Group ``sse``: what a delivery to a browser costs: ours, a tutorial's and C's, one run.

Run: ``pytest bench/bench_sse.py -s``; ``platering bench sse`` does the same with 5,000 clients.
"""

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from engine.benchmarks.sse import CLIENTS, Load, SseFigures, affordable_clients, measure


def _measured(benchmark: BenchmarkFixture, load: Load, rounds: int) -> SseFigures:
    """Measure once, and put the figures into the record."""
    figures: SseFigures = benchmark.pedantic(  # type: ignore[no-untyped-call]
        measure, args=(load, rounds, print), rounds=1, iterations=1
    )
    benchmark.extra_info.update(msgspec.structs.asdict(figures))
    print(benchmark.extra_info)
    return figures


@pytest.mark.benchmark(group="sse")
def test_a_few_hundred_clients(benchmark: BenchmarkFixture) -> None:
    """Even without load, where nothing coalesces, a delivery is cheap and soon there."""
    figures = _measured(benchmark, Load(clients=300, naive_clients=100, seconds=2.0), rounds=1)
    assert figures.sse_cpu_vs_naive > 3
    assert figures.sse_p99_ms < 250


@pytest.mark.long
@pytest.mark.benchmark(group="sse")
def test_five_thousand_clients(benchmark: BenchmarkFixture) -> None:
    """The crowd that a page open on every desk would be."""
    if affordable_clients() < CLIENTS:
        pytest.skip("needs 5,500 open files: raise the limit with ulimit -Hn")
    figures = _measured(benchmark, Load(clients=CLIENTS), rounds=3)
    assert figures.sse_cpu_vs_naive >= 20
    assert figures.sse_cpu_vs_c is None or figures.sse_cpu_vs_c <= 1.5
    assert figures.sse_p99_ms < 250

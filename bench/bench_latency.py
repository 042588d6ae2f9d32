"""Group ``latency``: from the camera to the browser at 80 % load, by stage, on a machine at rest.

Run: ``pytest -m long bench/bench_latency.py -s``; ``platering bench latency`` does the same.
"""

from pathlib import Path

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from engine.benchmarks.latency import SECONDS, LatencyFigures, measure


@pytest.mark.long
@pytest.mark.benchmark(group="latency")
def test_from_camera_to_browser(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """p50 and p99 are not more than 30 and 150 ms beyond a recognition."""
    figures: LatencyFigures = benchmark.pedantic(  # type: ignore[no-untyped-call]
        measure, args=(tmp_path, SECONDS, print), rounds=1
    )
    benchmark.extra_info.update(msgspec.to_builtins(figures))
    print(figures)
    assert figures.is_on_target

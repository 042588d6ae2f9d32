"""Many live cameras on one pool, part of the group ``handoff``: ages, shares, footprint.

``tests/process/test_traffic.py`` holds the bounds; here the figures are printed.
Run: ``pytest bench/bench_traffic.py -s``.
"""

import os

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from engine.benchmarks.stand_in import Cost, cost_s
from engine.benchmarks.traffic import LiveCamera, TrafficFigures, drive

SEED = 1
SECONDS = 6.0

pytestmark = pytest.mark.benchmark(group="handoff")


def _driven(
    benchmark: BenchmarkFixture, workers: int, cost: Cost, cameras: list[LiveCamera]
) -> TrafficFigures:
    """Drive them once and note the figures."""
    figures: TrafficFigures = benchmark.pedantic(  # type: ignore[no-untyped-call]
        drive, args=(workers, cost, cameras, SECONDS, SEED), rounds=1
    )
    benchmark.extra_info |= {
        "fps": round(figures.fps, 1),
        "load": round(figures.load, 2),
        "service_ms": round(figures.service_ms, 2),
        "age_p50_ms": round(figures.age_ms(0.5), 1),
        "age_p99_ms": round(figures.age_ms(0.99), 1),
        "age_p99_services": round(figures.age_ms(0.99) / figures.service_ms, 2),
        "worst_lost_share": round(max(camera.lost_share for camera in figures.cameras[1:]), 4),
        "own_mib": [round(one.own_mib, 1) for one in figures.footprints],
        "fds": [one.fds for one in figures.footprints],
    }
    print(benchmark.extra_info)
    assert all(camera.imbalance == 0 for camera in figures.cameras)
    return figures


@pytest.mark.parametrize("workers", sorted({1, os.cpu_count() or 1}))
def test_twice_the_load(benchmark: BenchmarkFixture, workers: int) -> None:
    """One camera at 60 fps, seven at 5, a service time that makes this twice too much."""
    cameras = [LiveCamera(fps=60), *[LiveCamera(fps=5)] * 7]
    _driven(benchmark, workers, Cost(sleep_us=21_000 * workers), cameras)


@pytest.mark.parametrize("workers", sorted({1, os.cpu_count() or 1}))
def test_equal_cameras_at_twice_the_load(benchmark: BenchmarkFixture, workers: int) -> None:
    """Eight cameras at 15 fps, a service time that makes this twice too much."""
    _driven(benchmark, workers, Cost(sleep_us=16_600 * workers), [LiveCamera(fps=15)] * 8)


def test_sixty_four_cameras(benchmark: BenchmarkFixture) -> None:
    """64 cameras at 15 fps on 8 workers whose recognizer takes 1 ms of CPU time."""
    cost = Cost(rounds=max(1, round(0.001 / cost_s(1))))
    _driven(benchmark, 8, cost, [LiveCamera(fps=15)] * 64)

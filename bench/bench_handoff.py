"""Group ``handoff``: a frame's way through the ring, beside a bare copy and a queue with the array.

One round is ``FRAMES`` 1080p luma frames, written here and taken by a worker process; CPU figures
and ratios are in each benchmark's ``extra_info``. ``platering bench handoff`` measures the same
in turns and prints the figures. Run: ``pytest bench/bench_handoff.py``.
"""

import os
import statistics
from collections.abc import Callable, Iterator

import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from engine.benchmarks import handoff
from engine.benchmarks.plane import FULL_HD, Plane
from engine.benchmarks.stand_in import Cost

FRAMES = 200

pytestmark = pytest.mark.benchmark(group="handoff")


@pytest.fixture(scope="module")
def frames() -> handoff.Frames:
    """Different luma frames."""
    return handoff.source_frames()


@pytest.fixture
def plane() -> Iterator[Plane]:
    """A ring and one worker that does nothing with its frames."""
    with Plane(1, Cost(), [handoff.FRAMES_IN_MEMORY]) as plane:
        yield plane


def _rounds(benchmark: BenchmarkFixture, rounds: int, measure: Callable[[], float]) -> float:
    """Run it that often after once for warming up; return the median of what it measured."""
    measured: list[float] = []
    benchmark.pedantic(  # type: ignore[no-untyped-call]
        lambda: measured.append(measure()), rounds=rounds, warmup_rounds=1
    )
    return statistics.median(measured[1:])


def test_bare_copies(benchmark: BenchmarkFixture, frames: handoff.Frames) -> None:
    """Copies into as many buffers as the ring has slots."""
    buffers = list(np.zeros((handoff.SLOTS, *FULL_HD[::-1]), np.uint8))
    fps = _rounds(benchmark, 7, lambda: handoff.memcpy_fps(frames, buffers, FRAMES))
    benchmark.extra_info["fps"] = fps


def test_ring(benchmark: BenchmarkFixture, plane: Plane, frames: handoff.Frames) -> None:
    """The same frames through the ring."""
    fps = _rounds(benchmark, 7, lambda: handoff.ring_fps(plane, frames, FRAMES))
    benchmark.extra_info["fps"] = fps


def test_ring_wakes_a_sleeping_worker(
    benchmark: BenchmarkFixture, plane: Plane, frames: handoff.Frames
) -> None:
    """CPU beside the pixel write when each frame wakes a worker."""
    cpu_us = _rounds(benchmark, 7, lambda: handoff.idle_handoff_us(plane, frames, FRAMES))
    benchmark.extra_info["cpu_us"] = cpu_us


def test_ring_of_waiting_frames(benchmark: BenchmarkFixture) -> None:
    """CPU without pixels while frames wait for the worker."""
    with Plane(1, Cost(), [handoff.WAITING_FRAMES]) as plane:
        cpu_us = _rounds(benchmark, 15, lambda: handoff.busy_handoff_us(plane, 5))
    benchmark.extra_info["cpu_us"] = cpu_us


def test_queue_with_the_array(benchmark: BenchmarkFixture, frames: handoff.Frames) -> None:
    """CPU of ``multiprocessing.Queue`` with the array, both processes."""
    cpu_us = _rounds(benchmark, 3, lambda: handoff.queue_us(frames, 40))
    benchmark.extra_info["cpu_us"] = cpu_us


@pytest.mark.parametrize("workers", sorted({1, os.cpu_count() or 1}))
def test_saturation(benchmark: BenchmarkFixture, workers: int) -> None:
    """The pool's frames per second over those of as many bare loops at once."""
    ratio = _rounds(benchmark, 3, lambda: handoff.saturation(workers, turns=1)[0])
    benchmark.extra_info["of_bare_loops"] = ratio

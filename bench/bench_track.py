"""Group ``track``: plate reads a second through tracker and voting, on one core.

A hundred cameras with many vehicles in view each; four of five reads are right, the others have
a misread character or lack one. Run: ``pytest bench/bench_track.py``.
"""

import random
import statistics
import time
import tracemalloc

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from engine.config import TrackerSettings
from engine.filters import Rules
from engine.plates import ALPHABET
from engine.track import MAX_PATH
from engine.tracker import SightingIds, Tracker
from engine.types import Candidate, FrameReads, FrameStamp, PlateRead

CAMERAS = 100
MAX_TRACK_BYTES = 40_000
READS_PER_S = 20_000
"""Of CPU time: what one core does that has nothing else to do."""
EVERY_NS = 100_000_000
EPOCH_NS = 1_790_000_000_000_000_000


def make_tracker(rng: random.Random) -> Tracker:
    """Return a tracker of all cameras."""
    rules = {f"camera-{index}": Rules(60.0, 2) for index in range(CAMERAS)}
    return Tracker(rules, TrackerSettings(), "node", SightingIds("node", rng))


def make_read(rng: random.Random, plate: str, x: float, y: float) -> PlateRead:
    """Return a read of this plate there, one in five of them wrong."""
    if rng.random() < 0.2:
        at = rng.randrange(len(plate))
        plate = plate[:at] + rng.choice(["", *ALPHABET]) + plate[at + 1 :]
    sure = rng.uniform(62, 99)
    return PlateRead(
        plate=plate,
        confidence=sure,
        candidates=(Candidate(plate, sure), Candidate(plate[:-1] + "8", sure / 3)),
        corners=((x, y), (x + 100, y), (x + 100, y + 25), (x, y + 25)),
        recognizer="bench",
        elapsed_ms=1.0,
    )


def make_frames(rng: random.Random, vehicles: int, steps: int) -> list[FrameReads]:
    """Return what all cameras see in so many steps, with these vehicles in view of each."""
    plates = {
        camera: ["".join(rng.choices(ALPHABET, k=7)) for _ in range(vehicles)]
        for camera in range(CAMERAS)
    }
    return [
        FrameReads(
            stamp=FrameStamp(
                camera=f"camera-{camera}",
                generation=1,
                captured_unix_ns=EPOCH_NS + step * EVERY_NS,
                captured_monotonic_ns=step * EVERY_NS,
                width_px=1920,
                height_px=1080,
            ),
            reads=tuple(
                make_read(
                    rng, plate, 20 + 170.0 * (lane % 10) + 3 * step, 20 + 100.0 * (lane // 10)
                )
                for lane, plate in enumerate(plates[camera])
            ),
        )
        for step in range(steps)
        for camera in range(CAMERAS)
    ]


@pytest.mark.parametrize("vehicles", [1, 10, 100])
@pytest.mark.benchmark(group="track")
def test_reads_through_the_tracker(benchmark: BenchmarkFixture, vehicles: int) -> None:
    """Feed every frame, take down the changes after each step as the publisher does."""
    rng = random.Random(5)
    frames = make_frames(rng, vehicles, max(4, 60 // vehicles))
    told: list[int] = []
    cpu_s: list[float] = []

    def prepare() -> tuple[tuple[Tracker], dict[str, object]]:
        return (make_tracker(rng),), {}

    def run(tracker: Tracker) -> None:
        count, began_s = 0, time.process_time()
        for number, frame in enumerate(frames):
            clock_ns = frame.stamp.captured_unix_ns
            count += len(tracker.feed(frame, clock_ns).events)
            if number % CAMERAS == 0:
                tracker.tick(clock_ns)
                tracker.take_changes()
        cpu_s.append(time.process_time() - began_s)
        told.append(count)

    benchmark.pedantic(run, setup=prepare, rounds=3)  # type: ignore[no-untyped-call]
    reads_per_s = CAMERAS * vehicles * (len(frames) // CAMERAS) / statistics.median(cpu_s)
    benchmark.extra_info["reads_per_cpu_s"] = round(reads_per_s)
    benchmark.extra_info["live_tracks"] = CAMERAS * vehicles
    benchmark.extra_info["announced"] = told[-1]
    print(f"\n{benchmark.extra_info}")
    assert reads_per_s >= READS_PER_S


@pytest.mark.parametrize(("vehicles", "steps"), [(10, 80), (100, 8)])
@pytest.mark.benchmark(group="track")
def test_memory_of_a_track(benchmark: BenchmarkFixture, vehicles: int, steps: int) -> None:
    """Bytes of a live track in memory: bounded, and no longer growing once it is old."""
    rng = random.Random(5)
    frames = make_frames(rng, vehicles, steps)
    tracker = make_tracker(rng)
    sizes: list[int] = []

    def run() -> None:
        tracemalloc.start()
        before = tracemalloc.get_traced_memory()[0]
        for number, frame in enumerate(frames):
            tracker.feed(frame, frame.stamp.captured_unix_ns)
            if (number + 1) % (steps // 4 * CAMERAS) == 0:
                tracker.take_changes()
                sizes.append((tracemalloc.get_traced_memory()[0] - before) // tracker.open_tracks)
        tracemalloc.stop()

    benchmark.pedantic(run, rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info["bytes_per_track"] = sizes[-1]
    benchmark.extra_info["live_tracks"] = tracker.open_tracks
    print(f"\n{benchmark.extra_info} after a quarter of {steps} reads, a half, ...: {sizes}")
    assert tracker.open_tracks >= CAMERAS * vehicles
    assert sizes[-1] < MAX_TRACK_BYTES
    if steps > MAX_PATH:
        assert sizes[-1] < 1.5 * sizes[-3]

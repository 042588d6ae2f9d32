"""Many cameras at the limit of the pool: nobody starves, nothing is old, nothing grows.

The recognizer of the overload tests sleeps for its service time, so that the load is the same
whoever else uses the cores; that of the soak test uses them. Figures: ``--log-cli-level=info``.
"""

import logging

import pytest

from engine.benchmarks.stand_in import Cost, cost_s
from engine.benchmarks.traffic import LiveCamera, TrafficFigures, drive

log = logging.getLogger(__name__)

FAST, SLOW = LiveCamera(fps=60), LiveCamera(fps=5)
ONE_FAST_SEVEN_SLOW = [FAST, *[SLOW] * 7]
SERVICE_MS = 21
"""Per worker: 95 frames per second are then twice what the pool can take."""


def _overloaded(workers: int, seconds: float, seed: int) -> TrafficFigures:
    cost = Cost(sleep_us=1000 * SERVICE_MS * workers)
    figures = drive(workers, cost, ONE_FAST_SEVEN_SLOW, seconds, seed)
    log.info("%s", _story(figures))
    assert figures.load > 1.8, "the pool is not overloaded"
    return figures


def _story(figures: TrafficFigures) -> str:
    """Say what a run showed."""
    ages = [round(figures.age_ms(share), 1) for share in (0.5, 0.9, 0.99)]
    served = [f"{camera.recognized}/{camera.captured}" for camera in figures.cameras[:8]]
    first, last = figures.footprints[0], figures.footprints[-1]
    return (
        f"{figures.fps:.1f} fps of {figures.load:.2f} x that, service {figures.service_ms:.2f} ms, "
        f"ages p50, p90, p99 {ages} ms, served {served}, RSS {first.rss_mib:.1f} to "
        f"{last.rss_mib:.1f} MiB, own {first.own_mib:.1f} to {last.own_mib:.1f} MiB, "
        f"descriptors {first.fds} to {last.fds}"
    )


def _assert_fresh_and_fair(figures: TrafficFigures, workers: int) -> None:
    bound_ms = (len(figures.cameras) / workers + 1) * figures.service_ms
    assert figures.age_ms(0.99) <= bound_ms, (bound_ms, _story(figures))
    assert all(camera.lost_share < 0.02 for camera in figures.cameras[1:]), _story(figures)
    assert all(camera.imbalance == 0 for camera in figures.cameras), figures.cameras
    assert figures.cameras[0].replaced > 0


@pytest.mark.parametrize("workers", [1, 2])
def test_at_twice_the_load_frames_are_fresh_and_slow_cameras_lose_none(
    workers: int, seed: int
) -> None:
    _assert_fresh_and_fair(_overloaded(workers, 4.0, seed), workers)


@pytest.mark.long
@pytest.mark.parametrize("workers", [1, 2])
def test_a_minute_at_twice_the_load(workers: int, seed: int) -> None:
    _assert_fresh_and_fair(_overloaded(workers, 60.0, seed), workers)


def test_a_weight_brings_a_camera_more_of_an_overloaded_pool(seed: int) -> None:
    weights = (1.0, 1.0, 1.0, 3.0)
    cameras = [LiveCamera(fps=60, weight=weight) for weight in weights]
    figures = drive(1, Cost(sleep_us=15_000), cameras, 3.0, seed)
    *others, favoured = [camera.recognized for camera in figures.cameras]
    assert favoured > 1.6 * max(others), _story(figures)
    assert favoured < 4.0 * min(others), _story(figures)
    assert max(others) < 1.3 * min(others), _story(figures)


def _soaked(seconds: float, fps: float, seed: int) -> None:
    """Run 64 cameras on 8 workers of 1 ms; assert that nothing is missing and nothing grows."""
    cost = Cost(rounds=max(1, round(0.001 / cost_s(1))))
    figures = drive(8, cost, [LiveCamera(fps=fps)] * 64, seconds, seed)
    log.info("%s", _story(figures))
    assert [camera.imbalance for camera in figures.cameras] == [0] * 64
    assert all(camera.captured > 0.5 * fps * seconds for camera in figures.cameras)
    assert all(camera.recognized > 0 for camera in figures.cameras)
    first, last = figures.footprints[0], figures.footprints[-1]
    assert last.fds == first.fds
    assert last.own_mib - first.own_mib < 4.0, _story(figures)


def test_sixty_four_cameras_on_eight_workers(seed: int) -> None:
    _soaked(6.0, 15.0, seed)


@pytest.mark.long
def test_sixty_four_cameras_on_eight_workers_for_a_minute(seed: int) -> None:
    _soaked(60.0, 15.0, seed)

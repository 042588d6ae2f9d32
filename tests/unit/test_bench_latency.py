"""Figures of latency: quantiles of the stages, the way of an event, and the target."""

import math

import pytest

from engine.benchmarks import latency, stages
from engine.benchmarks.latency import LatencyFigures

BOUNDS_MS = (1, 2, 5, 10, math.inf)


@pytest.mark.parametrize(
    ("counts", "p50", "p99"),
    [
        ((0, 0, 100, 0, 0), 3.5, 4.97),
        ((50, 50, 0, 0, 0), 1, 1.98),
        ((0, 0, 0, 1, 99), 10, 10),  # beyond the last bound nobody knows more
        ((0, 0, 0, 0, 0), 0, 0),
    ],
)
def test_quantiles_are_interpolated_as_prometheus_does_it(counts, p50, p99):
    found = stages.Histogram(BOUNDS_MS, counts, sum_ms=300.0).figures("any")
    assert (found.p50_ms, found.p99_ms) == (p50, p99)
    assert found.mean_ms == pytest.approx(300 / max(1, sum(counts)))


@pytest.mark.parametrize(
    ("p50", "p99", "kept"), [(30, 150, True), (31, 40, False), (9, 151, False)]
)
def test_the_target_is_beyond_a_recognition(p50, p99, kept):
    figures = LatencyFigures(
        cameras=4, saturation_fps=100, fps=80, load=0.8, lost_share=0, events=9, decode_ms=3,
        recognition_ms=12,
        over_recognition_p50_ms=p50, over_recognition_p99_ms=p99, stages=(), machine_load=(0, 0),
    )  # fmt: skip
    assert figures.is_on_target is kept


def test_a_way_is_measured_from_the_capture_to_the_client():
    done = latency._Done(recognized_fps=80.0, lost_share=0.01, cpu_s=1.0, seconds=1.0)
    early = [
        stages.Histogram(BOUNDS_MS, (0, 0, 0, 10, 0), 80.0).figures(stage)
        for stage in stages.STAGES.values()
    ]
    arrivals = [latency._Arrival(1_000, 1_020 + late, 1_025.5 + late) for late in (0, 0, 40)]
    rates = latency._Rates(4, 100.0, decode_ms=3.0)
    found = latency._figures(rates, done, (early, arrivals), 0.5)
    whole = found.stages[-1]
    assert (whole.stage, whole.p50_ms) == ("capture → delivered", 25.5)
    assert whole.p99_ms == pytest.approx(64.7, abs=0.1)
    by_name = {stage.stage: stage for stage in found.stages}
    assert by_name["stored → delivered"].p99_ms == 5.5
    assert (found.load, found.recognition_ms, found.over_recognition_p50_ms) == (0.8, 8, 20.5)

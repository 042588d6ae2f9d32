"""The whole engine beside a bare loop of the same recognizer over the same frames."""

import os
from pathlib import Path

import msgspec
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from engine.benchmarks.end_to_end import EndToEndFigures, measure

SHORT = {"workers": 1, "frames": 180, "rounds": 1}
FULL = {"workers": len(os.sched_getaffinity(0)), "frames": 240, "rounds": 3}


def _run(benchmark: BenchmarkFixture, folder: Path, size: dict[str, int]) -> None:
    figures: EndToEndFigures = benchmark.pedantic(measure, args=(folder,), kwargs=size, rounds=1)  # type: ignore[no-untyped-call]
    benchmark.extra_info.update(msgspec.to_builtins(figures))
    print(figures)
    assert figures.dropped == 0
    assert figures.other_share < 0.3  # wall time depends on who else uses the cores


@pytest.mark.benchmark(group="end-to-end")
def test_one_recognizer(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """One worker: decoding, publishing and Redis have the other cores."""
    _run(benchmark, tmp_path, SHORT)


@pytest.mark.long
@pytest.mark.benchmark(group="end-to-end")
def test_a_recognizer_per_core(benchmark: BenchmarkFixture, tmp_path: Path) -> None:
    """As many workers as cores: all else is taken from them."""
    _run(benchmark, tmp_path, FULL)

"""The group ``decode``: what one 1080p frame costs from the stream into each slot format."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from engine.benchmarks.decode import FRAMES, Slot, bare_pyav, make_clip, opencv, ours
from engine.sources.base import SourceFrame


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 1080p H.264 clip: texture that moves, some noise."""
    return make_clip(tmp_path_factory.mktemp("decode") / "clip.mp4")


@pytest.fixture
def slot() -> Iterator[Slot]:
    """A frame's room in shared memory."""
    with Slot() as room:
        yield room


@pytest.mark.benchmark(group="decode", max_time=0.5, min_rounds=3)
@pytest.mark.parametrize("form", ["gray", "i420", "bgr24"])
def test_into_shared_memory(benchmark: BenchmarkFixture, clip: Path, slot: Slot, form: str) -> None:
    """Every slot format, converted in the one write."""
    writes: dict[str, tuple[Callable[[SourceFrame], None], int]] = {
        "gray": (lambda frame: frame.write_luma(slot.luma), slot.luma.nbytes),
        "i420": (lambda frame: frame.write_i420(slot.i420), slot.i420.nbytes),
        "bgr24": (lambda frame: frame.write_bgr(slot.bgr), slot.bgr.nbytes),
    }
    write, written_bytes = writes[form]
    assert benchmark(ours, clip, write) == FRAMES
    benchmark.extra_info["bytes_per_frame"] = written_bytes


@pytest.mark.benchmark(group="decode", max_time=0.5, min_rounds=3)
@pytest.mark.parametrize("way", [bare_pyav, opencv])
def test_others(benchmark: BenchmarkFixture, clip: Path, way: Callable[[Path], int]) -> None:
    """PyAV without any output, and OpenCV's BGR."""
    assert benchmark(way, clip) == FRAMES

"""What decoding costs: luma into shared memory, beside bare PyAV and beside OpenCV.

Rounds of the three alternate (A B C A B C ...), so that a machine that slows down slows all of
them; compared are medians of CPU time, all three with one decoder thread.
"""

import os
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from pytest_benchmark.fixture import BenchmarkFixture

from engine.shm import Segment
from engine.sources import SourceOptions, open_source
from engine.types import Luma

WIDTH_PX, HEIGHT_PX, FRAMES, ROUNDS = 1920, 1080, 60, 9


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A 1080p H.264 clip: texture that moves, some noise."""
    path = tmp_path_factory.mktemp("decode") / "clip.mp4"
    rng = np.random.default_rng(1)
    coarse = rng.integers(30, 220, (HEIGHT_PX // 8 + 32, WIDTH_PX // 8 + 32), np.uint8)
    texture = cv2.resize(coarse, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    grain = rng.integers(0, 8, texture.shape, np.uint8)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "23"}
        for index in range(FRAMES):
            moved = cv2.add(texture, np.roll(grain, 37 * index, axis=1))
            view = moved[index : index + HEIGHT_PX, 2 * index : 2 * index + WIDTH_PX]
            frame = av.VideoFrame.from_ndarray(np.array(view, np.uint8, order="C"), format="gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    return path


@pytest.fixture
def slot() -> Iterator[Luma]:
    """A frame's room in shared memory."""
    segment = Segment.create(f"plt-bench-{os.getpid()}", WIDTH_PX * HEIGHT_PX)
    try:
        yield np.frombuffer(segment.buffer, np.uint8).reshape(HEIGHT_PX, WIDTH_PX)
    finally:
        segment.unlink()


def luma_into_shared_memory(clip: Path, slot: Luma) -> int:
    """Decode every frame and write its luma into the slot."""
    count = 0
    for frame in open_source(str(clip), SourceOptions(play="fast")).frames(lambda: False):
        frame.write_luma(slot)
        count += 1
    return count


def bare_pyav(clip: Path) -> int:
    """Decode every frame and look at none."""
    with av.open(str(clip)) as container:
        stream = container.streams.video[0]
        stream.thread_count, stream.thread_type = 1, "NONE"
        return sum(1 for _ in container.decode(stream))


def opencv(clip: Path) -> int:
    """Read every frame as OpenCV gives it (BGR)."""
    capture = cv2.VideoCapture(str(clip), cv2.CAP_FFMPEG, [cv2.CAP_PROP_N_THREADS, 1])
    count = 0
    while capture.read()[0]:
        count += 1
    capture.release()
    return count


@pytest.mark.benchmark(group="decode")
def test_luma_into_shared_memory(benchmark: BenchmarkFixture, clip: Path, slot: Luma) -> None:
    """Ours against both others; the ratios are frames per CPU second, above 1 is faster."""
    ways: dict[str, Callable[[], int]] = {
        "ours": lambda: luma_into_shared_memory(clip, slot),
        "bare_pyav": lambda: bare_pyav(clip),
        "opencv": lambda: opencv(clip),
    }
    spent_s: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(ROUNDS):
        for name, way in ways.items():
            began = time.process_time()
            assert way() == FRAMES
            spent_s[name].append(time.process_time() - began)
    median_s = {name: statistics.median(times) for name, times in spent_s.items()}
    for name, seconds in median_s.items():
        benchmark.extra_info[f"{name}_cpu_ms_per_frame"] = round(seconds / FRAMES * 1e3, 3)
    for other in ("bare_pyav", "opencv"):
        ratio = median_s[other] / median_s["ours"]
        benchmark.extra_info[f"times_{other}"] = round(ratio, 3)
    assert benchmark(ways["ours"]) == FRAMES
    benchmark.extra_info["frames"] = FRAMES
    print({key: benchmark.extra_info[key] for key in sorted(benchmark.extra_info)})

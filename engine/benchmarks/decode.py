"""What decoding costs: luma into shared memory, beside bare PyAV and beside OpenCV.

Rounds of all ways alternate (A B C A B C …), so that a machine that slows down slows all of them;
compared are medians of paired CPU times, every way with one decoder thread.
"""

import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Final, Self

import av
import cv2
import msgspec
import numpy as np

from engine.benchmarks.answer import print_figures, say
from engine.benchmarks.clip import write_clip
from engine.shm import RunLock, Segment
from engine.sources import SourceOptions, open_source
from engine.sources.base import SourceFrame
from engine.types import Bgr, Luma

WIDTH_PX: Final = 1920
HEIGHT_PX: Final = 1080
FRAMES: Final = 60
ROUNDS: Final = 9
FEW_ROUNDS: Final = 5


class DecodeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What ``platering bench decode`` prints; ratios above 1 are in our favour."""

    decode_vs_bare: float
    """CPU of PyAV decoding without any output over ours, luma into shared memory."""
    decode_vs_opencv: float
    """CPU of ``cv2.VideoCapture.read()`` over ours."""
    decode_bytes_per_frame: int
    """Bytes written per 1080p frame, all of them into the slot."""
    decode_cpu_ms: float
    """CPU of ours per frame."""
    decode_i420_vs_opencv: float
    decode_bgr24_vs_opencv: float


def make_clip(path: Path) -> Path:
    """Write a 1080p H.264 clip: texture that moves, some noise; return its path."""
    rng = np.random.default_rng(1)
    coarse = rng.integers(30, 220, (HEIGHT_PX // 8 + 32, WIDTH_PX // 8 + 32), np.uint8)
    texture = cv2.resize(coarse, None, fx=8, fy=8, interpolation=cv2.INTER_CUBIC)
    grain = rng.integers(0, 8, texture.shape, np.uint8)

    def views() -> Iterator[Luma]:
        for index in range(FRAMES):
            moved = cv2.add(texture, np.roll(grain, 37 * index, axis=1))
            view = moved[index : index + HEIGHT_PX, 2 * index : 2 * index + WIDTH_PX]
            yield np.array(view, np.uint8, order="C")

    return write_clip(path, views(), fps=25)


class Slot:
    """A frame's room in shared memory, large enough for every format, for use with ``with``."""

    def __enter__(self) -> Self:
        self._lock = RunLock()
        self._segment = Segment.create(self._lock.name("bench"), 3 * WIDTH_PX * HEIGHT_PX)
        flat = np.frombuffer(self._segment.buffer, np.uint8)
        size = WIDTH_PX * HEIGHT_PX
        self.luma: Luma = flat[:size].reshape(HEIGHT_PX, WIDTH_PX)
        self.i420: Luma = flat[: size * 3 // 2].reshape(HEIGHT_PX * 3 // 2, WIDTH_PX)
        self.bgr: Bgr = flat.reshape(HEIGHT_PX, WIDTH_PX, 3)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        del self.luma, self.i420, self.bgr
        self._segment.close()
        self._lock.release()


def ours(clip: Path, write: Callable[[SourceFrame], None]) -> int:
    """Decode every frame and write it as the decoder does; return how many there were."""
    count = 0
    for frame in open_source(str(clip), SourceOptions(play="fast")).frames(lambda: False):
        write(frame)
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


def cpu_times_s(ways: dict[str, Callable[[], int]], rounds: int) -> dict[str, list[float]]:
    """Return the CPU seconds of every round of each way, taken in turns."""
    spent_s: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            began = time.process_time()
            frames = way()
            spent_s[name].append(time.process_time() - began)
            if frames != FRAMES:
                raise ValueError(f"{name} gave {frames} frames of {FRAMES}")
    return spent_s


def measure(tell: Callable[[str], None], rounds: int = ROUNDS) -> DecodeFigures:
    """Run everything that often; ``tell`` hears what goes on."""
    with tempfile.TemporaryDirectory() as folder, Slot() as slot:
        tell("a clip of 1080p")
        clip = make_clip(Path(folder) / "clip.mp4")
        ways: dict[str, Callable[[], int]] = {
            "ours": lambda: ours(clip, lambda frame: frame.write_luma(slot.luma)),
            "bare": lambda: bare_pyav(clip),
            "opencv": lambda: opencv(clip),
            "i420": lambda: ours(clip, lambda frame: frame.write_i420(slot.i420)),
            "bgr24": lambda: ours(clip, lambda frame: frame.write_bgr(slot.bgr)),
        }
        tell(f"{rounds} rounds of {len(ways)} ways")
        spent_s = cpu_times_s(ways, rounds)
        written_bytes = slot.luma.nbytes
    return DecodeFigures(
        decode_vs_bare=_over(spent_s["bare"], spent_s["ours"]),
        decode_vs_opencv=_over(spent_s["opencv"], spent_s["ours"]),
        decode_bytes_per_frame=written_bytes,
        decode_cpu_ms=statistics.median(spent_s["ours"]) / FRAMES * 1e3,
        decode_i420_vs_opencv=_over(spent_s["opencv"], spent_s["i420"]),
        decode_bgr24_vs_opencv=_over(spent_s["opencv"], spent_s["bgr24"]),
    )


def _over(one: list[float], other: list[float]) -> float:
    """Return the median of the ratios of the pairs."""
    return statistics.median(a / b for a, b in zip(one, other, strict=True))


def run(*, as_json: bool, brief: bool) -> int:
    """Measure and print, for ``platering bench decode``; return the exit code."""
    return print_figures(measure(say, FEW_ROUNDS if brief else ROUNDS), as_json=as_json)

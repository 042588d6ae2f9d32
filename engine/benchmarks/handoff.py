"""What a hand-off costs beside the pixels, and how much of the machine the pool gets to use.

All figures come from real processes on this machine in one run; what is compared is measured in
turns (A B A B), and ratios are medians of the pairs. The workers are the engine's own with a
stand-in recognizer; the decoder's part is played here with 1080p luma from memory.
"""

import multiprocessing
import multiprocessing.queues
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt

from engine.benchmarks.answer import print_figures, say
from engine.benchmarks.plane import FULL_HD, Plane, RingPlan
from engine.benchmarks.stand_in import Cost, cost_s

SLOTS: Final = 16
"""Slots of the ring, buffers of the equal ring of bare copies, and different source frames."""
BURST: Final = 256
"""Frames that wait for the worker while the cost of a hand-off is measured."""
FRAMES_IN_MEMORY: Final = RingPlan(slots=SLOTS)
WAITING_FRAMES: Final = RingPlan(slots=BURST, size_px=(64, 48))
"""Their pixels are not written."""
TURNS: Final = 7
FEW_TURNS: Final = 3
"""Of pool and bare loops, where the saturation is measured."""
STAND_IN_S: Final = 0.02
"""CPU time of one frame in the stand-in that measures saturation."""

Frames = list[npt.NDArray[np.uint8]]


class HandoffFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What ``platering bench handoff`` prints."""

    handoff_cpu_us: float
    """CPU of decoder and worker per frame without the pixels, while frames wait for workers."""
    handoff_wakeup_cpu_us: float
    """On an idle pool, beside the pixel write: each frame wakes a sleeping worker, in caches that
    the pixels have emptied."""
    handoff_vs_memcpy: float
    """Frames per second through the ring over bare copies into as many buffers."""
    handoff_vs_queue_cpu: float
    """CPU of ``multiprocessing.Queue`` with the array over ``handoff_cpu_us``."""
    queue_cpu_us: float
    saturation: float
    """Frames per second of the pool over as many bare loops at once: the lower of the next two."""
    saturation_one: float
    saturation_cores: float
    saturation_feeder: float
    """What feeding it cost, as a share of the machine's cores, with as many workers as cores."""


def source_frames() -> Frames:
    """Return different luma frames: (1080, 1920) uint8 noise."""
    rng = np.random.default_rng(1)
    return list(rng.integers(0, 256, (SLOTS, *FULL_HD[::-1]), np.uint8))


def busy_handoff_us(plane: Plane, bursts: int) -> float:
    """Return the CPU-µs per hand-off while frames wait for the worker; no pixels are written.

    The worker is stopped while the decoder fills the ring, so that neither sleeps in between.
    """
    decoder_ns, worker_ns, frames = 0, plane.workers_cpu_ns(), 0
    for _ in range(bursts):
        plane.signal(signal.SIGSTOP)
        began_ns = time.thread_time_ns()
        for _ in range(BURST):
            plane.writer.publish(plane.acquire(), 1, 1)
        decoder_ns += time.thread_time_ns() - began_ns
        frames += BURST
        plane.signal(signal.SIGCONT)
        plane.settle()
    worker_ns = plane.workers_cpu_ns() - worker_ns
    return (decoder_ns + worker_ns) / frames / 1e3


def idle_handoff_us(plane: Plane, frames: Frames, count: int) -> float:
    """Return the CPU-µs per hand-off when each frame is written and wakes a sleeping worker."""
    write_ns, clock_ns = 0, _clock_cost_ns()
    worker_ns, decoder_ns = plane.workers_cpu_ns(), time.thread_time_ns()
    for index in range(count):
        slot = plane.acquire()
        began = time.thread_time_ns()
        plane.writer.memory.frame(slot)[:] = frames[index % SLOTS]
        write_ns += time.thread_time_ns() - began + clock_ns
        plane.writer.publish(slot, 1, 1)
    decoder_ns = time.thread_time_ns() - decoder_ns
    plane.settle()
    worker_ns = plane.workers_cpu_ns() - worker_ns
    return (decoder_ns - write_ns + worker_ns) / count / 1e3


def _clock_cost_ns() -> int:
    """Return what one reading of the CPU clock adds to a measured stretch."""
    clock = time.thread_time_ns
    return int(statistics.median(-(clock() - clock()) for _ in range(2000)))


def ring_fps(plane: Plane, frames: Frames, count: int) -> float:
    """Return frames per second through the ring into a worker that does nothing."""
    began = time.perf_counter()
    for index in range(count):
        slot = plane.acquire()
        plane.writer.memory.frame(slot)[:] = frames[index % SLOTS]
        plane.writer.publish(slot, 1, 1)
    elapsed = time.perf_counter() - began
    plane.settle()
    return count / elapsed


def memcpy_fps(frames: Frames, buffers: Frames, count: int) -> float:
    """Return frames per second of bare copies into an equal ring of buffers."""
    began = time.perf_counter()
    for index in range(count):
        buffers[index % SLOTS][:] = frames[index % SLOTS]
    return count / (time.perf_counter() - began)


def _consume(queue: "multiprocessing.queues.Queue[npt.NDArray[np.uint8] | None]") -> None:
    """Take arrays off a queue until None comes."""
    while queue.get() is not None:
        pass


def queue_us(frames: Frames, count: int) -> float:
    """Return the CPU-µs per frame of ``multiprocessing.Queue`` with the array, both processes."""
    spawn = multiprocessing.get_context("spawn")
    queue = spawn.Queue(maxsize=4)
    consumer = spawn.Process(target=_consume, args=(queue,), daemon=True)
    consumer.start()
    for frame in frames[:8]:  # the consumer has started and imported everything once these fit
        queue.put(frame)
    consumer_clock = (~(consumer.pid or 0) << 3) | 2  # clock_getcpuclockid(3)
    ours_ns, theirs_ns = time.process_time_ns(), time.clock_gettime_ns(consumer_clock)
    for index in range(count):
        queue.put(frames[index % SLOTS])
    spent_ns = time.process_time_ns() - ours_ns + time.clock_gettime_ns(consumer_clock) - theirs_ns
    queue.put(None)
    queue.close()
    consumer.join(30.0)
    consumer.close()
    return spent_ns / count / 1e3


class BareLoops:
    """Processes that run the stand-in in a bare loop, at once, when they are told to."""

    def __init__(self, count: int, rounds: int) -> None:
        self._processes = [
            subprocess.Popen(
                [sys.executable, "-m", "engine.benchmarks.stand_in", "bare", str(rounds)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
            for _ in range(count)
        ]
        self._lines()

    def _lines(self) -> list[str]:
        return [process.stdout.readline() for process in self._processes if process.stdout]

    def fps(self, seconds: float) -> float:
        """Return the frames per second of all loops together."""
        for process in self._processes:
            if process.stdin is not None:
                process.stdin.write(f"{seconds}\n")
                process.stdin.flush()
        return sum(float(line) for line in self._lines())

    def end(self) -> None:
        """End them."""
        for process in self._processes:
            process.communicate()


def pool_fps(plane: Plane, frames: Frames, seconds: float) -> tuple[float, float]:
    """Return the pool's frames per second, kept busy that long, and the CPU share of feeding it."""
    index = 0
    for _ in range(SLOTS):
        _feed(plane, frames[index % SLOTS])
        index += 1
    cpu_ns, done, began = time.thread_time_ns(), plane.recognized(), time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        _feed(plane, frames[index % SLOTS])
        index += 1
    fps = (plane.recognized() - done) / elapsed
    share = (time.thread_time_ns() - cpu_ns) / 1e9 / elapsed / (os.cpu_count() or 1)
    plane.settle()
    return fps, share


def _feed(plane: Plane, frame: npt.NDArray[np.uint8]) -> None:
    slot = plane.acquire()
    plane.writer.memory.frame(slot)[:] = frame
    plane.writer.publish(slot, 1, 1)


def saturation(workers: int, turns: int = TURNS, seconds: float = 0.8) -> tuple[float, float]:
    """Return the pool's rate over that of bare loops, and the share that feeding took."""
    rounds = max(1, round(STAND_IN_S / cost_s(1)))
    frames = source_frames()
    loops = BareLoops(workers, rounds)
    try:
        with Plane(workers, Cost(rounds=rounds), [FRAMES_IN_MEMORY]) as plane:
            pool_fps(plane, frames, 0.2)
            pairs = [(loops.fps(seconds), *pool_fps(plane, frames, seconds)) for _ in range(turns)]
    finally:
        loops.end()
    ratio = statistics.median(pool / bare for bare, pool, _share in pairs)
    return ratio, statistics.median(share for _bare, _pool, share in pairs)


def measure(tell: Callable[[str], None], turns: int = TURNS) -> HandoffFigures:
    """Measure everything, in less than a minute; ``tell`` hears what goes on."""
    frames = source_frames()
    buffers = list(np.zeros((SLOTS, *FULL_HD[::-1]), np.uint8))
    tell("the cost of a hand-off")
    with Plane(1, Cost(), [WAITING_FRAMES]) as plane:
        busy_handoff_us(plane, 5)
        busy = statistics.median(busy_handoff_us(plane, 20) for _ in range(9))
    with Plane(1, Cost(), [FRAMES_IN_MEMORY]) as plane:
        idle_handoff_us(plane, frames, 500)
        idle = statistics.median(idle_handoff_us(plane, frames, 500) for _ in range(5))
        tell("beside bare copies")
        ratio = statistics.median(
            ring_fps(plane, frames, 500) / memcpy_fps(frames, buffers, 500) for _ in range(9)
        )
    tell("beside multiprocessing.Queue")
    queue = statistics.median(queue_us(frames, 60) for _ in range(3))
    tell("the saturation of the pool")
    one, _feeder = saturation(1, turns)
    cores, feeder = saturation(os.cpu_count() or 1, turns)
    return HandoffFigures(
        handoff_cpu_us=busy,
        handoff_wakeup_cpu_us=idle,
        handoff_vs_memcpy=ratio,
        handoff_vs_queue_cpu=queue / busy,
        queue_cpu_us=queue,
        saturation=min(one, cores),
        saturation_one=one,
        saturation_cores=cores,
        saturation_feeder=feeder,
    )


def run(*, as_json: bool, brief: bool) -> int:
    """Measure and print, for ``platering bench handoff``; return the exit code."""
    return print_figures(measure(say, FEW_TURNS if brief else TURNS), as_json=as_json)

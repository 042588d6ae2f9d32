"""A recognizer worker whose recognizer is a stand-in of known cost; all else is the engine's own.

Run as ``python -m engine.benchmarks.stand_in FD``, like ``engine.worker``. Run with ``bare ROUNDS``
it is the bare loop of the same recognizer: for every line of its standard input, a number of
seconds, it recognizes that long and prints how many frames it did per second.
"""

import sys
import time
import zlib
from unittest import mock

import msgspec
import numpy as np

from engine.board import Kind
from engine.process import Child, run_child
from engine.recognizers.base import NO_HINTS, RecognizeHints
from engine.recognizers.registry import Opened
from engine.types import Luma, PlateRead
from engine.worker import Worker

STRIP_BYTES = 1 << 18
"""What one round of the stand-in reads: 256 KiB, about 0.1 ms."""


class Cost(msgspec.Struct, frozen=True, kw_only=True):
    """What a frame costs the stand-in: CPU time in rounds, and time in which it sleeps.

    A recognizer that sleeps has a service time that does not depend on who else uses the cores.
    """

    rounds: int = 0
    sleep_us: int = 0

    def worker_name(self) -> str:
        """Return a worker's name, which brings it the cost."""
        return f"bench-{self.rounds}-{self.sleep_us}"

    @classmethod
    def of_name(cls, name: str) -> "Cost":
        """Return the cost in a worker's name."""
        _bench, rounds, sleep_us = name.split("-")
        return cls(rounds=int(rounds), sleep_us=int(sleep_us))


class StandIn:
    """A recognizer that reads a strip of the frame some times and finds nothing."""

    name = "stand-in"
    version = "1"

    def __init__(self, cost: Cost) -> None:
        self._rounds = cost.rounds
        self._sleep_s = cost.sleep_us / 1e6

    def recognize(self, frame: Luma, _hints: RecognizeHints = NO_HINTS) -> list[PlateRead]:
        """Cost ``rounds`` checksums of the frame's first 256 KiB, and sleep."""
        strip = frame.reshape(-1)[:STRIP_BYTES].data
        for _ in range(self._rounds):
            zlib.crc32(strip)
        if self._sleep_s:
            time.sleep(self._sleep_s)
        return []

    def close(self) -> None:
        """Nothing to free."""


def main(child: Child) -> None:
    """Run the engine's worker; ``Start.name`` tells the stand-in's cost."""
    stand_in = StandIn(Cost.of_name(child.name))

    opened = Opened(stand_in, "a stand-in")
    with mock.patch("engine.worker.open_recognizer", return_value=opened):
        worker = Worker(child)
    worker.run()


def cost_s(rounds: int) -> float:
    """Return the CPU time of one frame."""
    frame, recognizer = np.ones((1080, 1920), np.uint8), StandIn(Cost(rounds=rounds))
    began = time.thread_time()
    for _ in range(10):
        recognizer.recognize(frame)
    return (time.thread_time() - began) / 10


def bare_loop(rounds: int, seconds: float) -> float:
    """Return the stand-in's frames per second on one frame in this process, without an engine."""
    frame, recognizer, done = np.ones((1080, 1920), np.uint8), StandIn(Cost(rounds=rounds)), 0
    began = time.perf_counter()
    while (elapsed := time.perf_counter() - began) < seconds:
        recognizer.recognize(frame)
        done += 1
    return done / elapsed


def _answer(rounds: int) -> None:
    """Run a bare loop for every line of standard input."""
    print("ready", flush=True)  # noqa: T201  # what its parent reads
    for line in sys.stdin:
        print(bare_loop(rounds, float(line)), flush=True)  # noqa: T201  # same


if __name__ == "__main__":
    if sys.argv[1] == "bare":
        _answer(int(sys.argv[2]))
    else:
        run_child(Kind.WORKER, main)

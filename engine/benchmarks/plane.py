"""The frame plane alone: a ring, a token pipe and real worker processes with a stand-in inside."""

import os
import socket
import subprocess
import sys
import time
from types import TracebackType
from typing import Final, Self

from engine.board import INCARNATION, KIND, Board, Fate, Kind, Seat
from engine.config import LogSettings, OpenAlprSettings
from engine.errors import PlateringError
from engine.messages import AttachRing, Message, RingHandle, Start, encode
from engine.process import MESSAGE_BYTES, log_section
from engine.reaper import OwnedRing
from engine.ring import RingWriter
from engine.ring_memory import RingMemory
from engine.sections import WorkerSection
from engine.shm import RunLock

FULL_HD: Final = (1920, 1080)
START_S: Final = 30.0


class StandInWorker:
    """One worker process with the stand-in recognizer, and its link."""

    def __init__(self, board: Board, row_index: int, rounds: int, tokens: tuple[int, int]) -> None:
        self._row = board.row(row_index)
        self._link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._link.settimeout(START_S)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "engine.benchmarks.stand_in", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
        )
        theirs.close()
        section = WorkerSection(
            recognizer="stand-in",
            openalpr=OpenAlprSettings().model_dump_json(),
            batch=1,
            batch_wait_ms=0.0,
            core=-1,
        )
        start = Start(
            seat=Seat(board.name, row_index, 1),
            name=f"bench-{rounds}",
            section=section.encode(),
            log=log_section(LogSettings(level="warning")),
        )
        self.send(start, list(tokens))

    def send(self, message: Message, fds: list[int]) -> None:
        """Send a message and its descriptors."""
        socket.send_fds(self._link, [encode(message)], fds)

    def wait_ready(self) -> None:
        """Wait until it works."""
        self._link.recv(MESSAGE_BYTES)

    def cpu_ns(self) -> int:
        """Return the CPU time this process has used, all threads, user and kernel."""
        return time.clock_gettime_ns((~self._process.pid << 3) | 2)  # clock_getcpuclockid(3)

    def signal(self, number: int) -> None:
        """Send it a signal."""
        self._process.send_signal(number)

    def end(self) -> None:
        """End it and let go of its row."""
        self._process.kill()
        self._process.wait()
        self._link.close()
        self._row.release()


def _handle(segment: str, slots: int, size_px: tuple[int, int]) -> RingHandle:
    return RingHandle(
        ring=1,
        segment=segment,
        camera=0,
        camera_name="bench",
        width_px=size_px[0],
        height_px=size_px[1],
        format="gray",
        slots=slots,
        lossless=True,
    )


class Plane:
    """A lossless ring of luma, whose writer is here, and worker processes that take from it."""

    def __init__(
        self, workers: int, rounds: int, slots: int, size_px: tuple[int, int] = FULL_HD
    ) -> None:
        """Start the workers and wait until they work; ``rounds`` is the cost of a frame."""
        self._lock = RunLock()
        self._board = Board.create(self._lock.name("board"), workers + 1, cameras=1)
        self._row = self._board.row(0)
        self._row.words[KIND], self._row.words[INCARNATION] = Kind.DECODER, 1
        self._tokens = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._workers = [
            StandInWorker(self._board, 1 + index, rounds, self._tokens) for index in range(workers)
        ]
        self._ring = OwnedRing(_handle(self._lock.name("ring1"), slots, size_px))
        self.writer = self._writer(self._ring)
        for worker in self._workers:
            worker.wait_ready()
            worker.send(AttachRing(handle=self._ring.handle, weight=1.0), self._ring.taker_fds)

    def _writer(self, ring: OwnedRing) -> RingWriter:
        fds = [os.dup(fd) for fd in (*ring.writer_fds, self._tokens[1])]
        writer = RingWriter(RingMemory.attach(ring.handle), self._row, fds, max_unread=1)
        writer.adopt()
        return writer

    def acquire(self) -> int:
        """Return a free slot, waiting for one.

        Raises:
            PlateringError: none came back within a minute.
        """
        deadline = time.monotonic() + 60.0
        while (slot := self.writer.acquire()) is None:
            self.writer.wait_for_return(1.0)
            if time.monotonic() > deadline:
                raise PlateringError("the workers of the benchmark do not work")
        return slot

    def settle(self) -> None:
        """Wait until every frame is recognized and every slot is back."""
        deadline = time.monotonic() + 60.0
        while not self.writer.drain(take_back=False):
            time.sleep(0.0005)  # not asleep at the pipe: a live camera's decoder is not, either
            if time.monotonic() > deadline:
                raise PlateringError("the workers of the benchmark do not work")

    def recognized(self) -> int:
        """Return how many frames the workers have settled."""
        return int(self._board.ledger()[:, Fate.RECOGNIZED].sum())

    def workers_cpu_ns(self) -> int:
        """Return the CPU time of all workers."""
        return sum(worker.cpu_ns() for worker in self._workers)

    def signal(self, number: int) -> None:
        """Send all workers a signal."""
        for worker in self._workers:
            worker.signal(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        for worker in self._workers:
            worker.end()
        self.writer.close()
        self._ring.remove()
        for fd in self._tokens:
            os.close(fd)
        self._row.release()
        self._board.close()
        self._lock.release()

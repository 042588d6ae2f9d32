"""The frame plane alone: rings, a token pipe and real worker processes with a stand-in inside."""

import contextlib
import os
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from types import TracebackType
from typing import Final, Self

import msgspec

from engine.benchmarks.stand_in import Cost
from engine.board import INCARNATION, KIND, Board, Fate, Kind, Row, Seat
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

    def __init__(self, board: Board, row_index: int, cost: Cost, tokens: tuple[int, int]) -> None:
        self.row = board.row(row_index)
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
            provider="cpu",
            batch=1,
            batch_wait_ms=0.0,
            core=-1,
        )
        start = Start(
            seat=Seat(board.name, row_index, 1),
            name=cost.worker_name(),
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

    @property
    def pid(self) -> int:
        """Its process id."""
        return self._process.pid

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
        self.row.release()


class RingPlan(msgspec.Struct, frozen=True, kw_only=True):
    """A camera of the plane; its number in the plane is its cell and, plus one, its ring."""

    slots: int
    size_px: tuple[int, int] = FULL_HD
    lossless: bool = True
    weight: float = 1.0

    def handle(self, camera: int, segment: str) -> RingHandle:
        """Return what names the ring."""
        return RingHandle(
            ring=camera + 1,
            segment=segment,
            camera=camera,
            camera_name=f"bench-{camera}",
            width_px=self.size_px[0],
            height_px=self.size_px[1],
            format="gray",
            slots=self.slots,
            lossless=self.lossless,
        )


class Plane:
    """Rings of luma, whose writers are here, and worker processes that take from them."""

    def __init__(self, workers: int, cost: Cost, plans: Sequence[RingPlan]) -> None:
        """Start the workers and wait until they work; ``cost`` is that of a frame."""
        self._stack = contextlib.ExitStack()
        try:
            self._open(workers, cost, plans)
        except BaseException:  # Ctrl-C, too, leaves nothing in shared memory
            self._stack.close()
            raise

    def _open(self, workers: int, cost: Cost, plans: Sequence[RingPlan]) -> None:
        lock = RunLock()
        self._stack.callback(lock.release)
        self.board = Board.create(lock.name("board"), workers + 1, cameras=len(plans))
        self._stack.callback(self.board.close)
        self.row = self.board.row(0)
        """The writers' row."""
        self._stack.callback(self.row.release)
        self.row.words[KIND], self.row.words[INCARNATION] = Kind.DECODER, 1
        self._tokens = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        for fd in self._tokens:
            self._stack.callback(os.close, fd)
        self._rings: list[OwnedRing] = []
        self.writers: list[RingWriter] = []
        for camera, plan in enumerate(plans):
            ring = OwnedRing(plan.handle(camera, lock.name(f"ring{camera + 1}")))
            self._stack.callback(ring.remove)
            writer = self._writer(ring)
            self._stack.callback(writer.close)
            self._rings.append(ring)
            self.writers.append(writer)
        self.workers: list[StandInWorker] = []
        for index in range(workers):
            worker = StandInWorker(self.board, 1 + index, cost, self._tokens)
            self._stack.callback(worker.end)
            self.workers.append(worker)
        self._introduce(plans)

    def _introduce(self, plans: Sequence[RingPlan]) -> None:
        """Wait until the workers work, and let them take from the rings."""
        for worker in self.workers:
            worker.wait_ready()
            for ring, plan in zip(self._rings, plans, strict=True):
                attach = AttachRing(handle=ring.handle, weight=plan.weight)
                worker.send(attach, ring.taker_fds)

    def _writer(self, ring: OwnedRing) -> RingWriter:
        fds = [os.dup(fd) for fd in (*ring.writer_fds, self._tokens[1])]
        writer = RingWriter(RingMemory.attach(ring.handle), self.row, fds, max_unread=1)
        writer.adopt()
        return writer

    @property
    def writer(self) -> RingWriter:
        """The first camera's."""
        return self.writers[0]

    @property
    def worker_rows(self) -> list[Row]:
        """The workers' rows, to be read."""
        return [worker.row for worker in self.workers]

    def acquire(self) -> int:
        """Return a free slot of the first camera, waiting for one.

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
        while not all(writer.drain(take_back=False) for writer in self.writers):
            time.sleep(0.0005)  # not asleep at the pipe: a live camera's decoder is not, either
            if time.monotonic() > deadline:
                raise PlateringError("the workers of the benchmark do not work")

    def recognized(self) -> int:
        """Return how many frames the workers have settled."""
        return int(self.board.ledger()[:, Fate.RECOGNIZED].sum())

    def workers_cpu_ns(self) -> int:
        """Return the CPU time of all workers."""
        return sum(worker.cpu_ns() for worker in self.workers)

    def signal(self, number: int) -> None:
        """Send all workers a signal."""
        for worker in self.workers:
            worker.signal(number)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        _kind: type[BaseException] | None,
        _error: BaseException | None,
        _trace: TracebackType | None,
    ) -> None:
        self._stack.close()

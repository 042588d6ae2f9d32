"""A ring with its pipes, board rows and roles, as the supervisor would lay it out, for tests."""

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import numpy as np

from engine.board import CELL_WORDS, Board, Fate, Row
from engine.messages import RingHandle
from engine.reaper import OwnedRing, reap_decoder
from engine.ring import RingTaker, RingWriter
from engine.ring_memory import DESCRIPTOR, RingMemory, bytes_in, read_descriptor
from engine.shm import RunLock

TORN = 7
"""Exit code of a child that met a frame that is not whole."""

OUTCOMES = tuple(
    fate for fate in Fate if fate.name.startswith(("SKIPPED_", "DROPPED_", "RECOGNIZED", "FAILED_"))
)
"""The fates of which each captured frame meets exactly one."""


def fill_of(generation: int) -> int:
    """Return the grey value of a test frame."""
    return generation % 251


class Rig:
    """One camera's ring: row 0 of the board is the decoder's, then workers, the last one ours."""

    def __init__(
        self,
        size_px: tuple[int, int] = (33, 17),
        *,
        slots: int = 4,
        lossless: bool = False,
        form: str = "gray",
        workers: int = 2,
        max_unread: int = 1,
    ) -> None:
        self.lock = RunLock()
        self.board = Board.create(self.lock.name("board"), workers + 2, 1)
        self.rows = [self.board.row(index) for index in range(workers + 2)]
        self.handle = RingHandle(
            ring=1,
            segment=self.lock.name("ring1"),
            camera=0,
            camera_name="gate",
            width_px=size_px[0],
            height_px=size_px[1],
            format=form,
            slots=slots,
            lossless=lossless,
        )
        self.owned = OwnedRing(self.handle)
        self.memory = self.owned.memory
        self.max_unread = max_unread
        self.tokens = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        self._roles: list[RingWriter | RingTaker] = []

    @property
    def supervisor_row(self) -> Row:
        """The row that a reaper counts in."""
        return self.rows[-1]

    def writer(self) -> RingWriter:
        """Return a new decoder's side, with descriptors of its own."""
        fds = [os.dup(fd) for fd in (*self.owned.writer_fds, self.tokens[1])]
        memory = RingMemory.attach(self.handle)
        writer = RingWriter(memory, self.rows[0], fds, self.max_unread)
        self._roles.append(writer)
        return writer

    def reap_decoder(self) -> None:
        """Complete the step that the decoder died in, as the supervisor does."""
        lost = reap_decoder(self.rows[0], 0, {1: self.memory})
        self.supervisor_row.fate(0, Fate.FAILED_LOST, lost)

    def started_writer(self) -> RingWriter:
        """Return the first decoder's side."""
        writer = self.writer()
        writer.adopt()
        return writer

    def taker(self, worker: int = 0, weight: float = 1.0) -> RingTaker:
        """Return a new worker's side, with descriptors of its own."""
        memory = RingMemory.attach(self.handle)
        ready_read, return_write = (os.dup(fd) for fd in self.owned.taker_fds)
        taker = RingTaker(memory, self.rows[1 + worker], ready_read, return_write, weight)
        self._roles.append(taker)
        return taker

    def forget(self, role: RingWriter | RingTaker) -> None:
        """Close a role before the end of the test."""
        self._roles.remove(role)
        role.close()

    def tokens_waiting(self) -> int:
        """Return how many wake-ups are in the token pipe."""
        return bytes_in(self.tokens[0])

    def fill_token_pipe(self) -> None:
        """Put wake-ups in until the kernel refuses."""
        while True:
            os.write(self.tokens[1], b"\0" * 4096)

    def announced(self) -> list[tuple[int, int]]:
        """Return what waits in the ready pipe, and put it back; nobody else may use it now."""
        found = []
        while (descriptor := read_descriptor(self.owned.ready_read)) is not None:
            found.append(descriptor)
        for descriptor in found:
            os.write(self.owned.ready_write, DESCRIPTOR.pack(*descriptor))
        return found

    def fates(self) -> dict[Fate, int]:
        """Return what was counted for the camera, as far as it is not zero."""
        cells = self.board.ledger()[0].tolist()
        return {fate: cells[fate] for fate in Fate if cells[fate]}

    def imbalance(self) -> int:
        """Return captured frames minus counted outcomes minus frames in flight: 0 at rest."""
        cells = self.board.ledger()[0].tolist()
        assert len(cells) == CELL_WORDS
        outcomes = sum(cells[fate] for fate in OUTCOMES)
        return cells[Fate.CAPTURED] - outcomes - self.memory.in_flight()

    def close(self) -> None:
        """Remove everything."""
        for role in [*self._roles]:
            self.forget(role)
        self.owned.remove()
        for fd in self.tokens:
            os.close(fd)
        for row in self.rows:
            row.release()
        self.board.close()
        self.lock.release()


@contextlib.contextmanager
def rigged(size_px: tuple[int, int] = (33, 17), **layout: object) -> Iterator[Rig]:
    """Lay out a rig and remove it at the end."""
    rig = Rig(size_px, **layout)
    try:
        yield rig
    finally:
        rig.close()


class ChildRole:
    """A process of ``ring_child.py`` at this rig's ring, ended with the block."""

    def __init__(self, rig: Rig, role: str, worker: int = 0) -> None:
        fds = rig.owned.writer_fds if role == "write" else rig.owned.taker_fds
        tokens = rig.tokens[1:] if role == "write" else rig.tokens
        numbers = [*fds, *tokens]
        row = 0 if role == "write" else 1 + worker
        handle = msgspec.json.encode(rig.handle).decode()
        words = [role, rig.board.name, str(row), handle, *map(str, numbers)]
        self.process = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("ring_child.py")), *words],
            stdin=subprocess.PIPE,
            pass_fds=numbers,
        )

    def __enter__(self) -> subprocess.Popen[bytes]:
        return self.process

    def __exit__(self, *_error: object) -> None:
        self.process.kill()
        self.process.communicate()
        assert self.process.returncode != TORN


def offer(writer: RingWriter) -> int | None:
    """Write and announce one frame of one grey; return its generation, or None without a slot."""
    slot = writer.acquire()
    if slot is None:
        return None
    generation = writer.memory.stamp(slot).generation
    writer.memory.frame(slot)[:] = fill_of(generation)
    writer.publish(slot, time.time_ns(), time.monotonic_ns())
    return generation


def is_whole(luma: np.ndarray, generation: int) -> bool:
    """Tell whether every pixel is of this generation's frame."""
    return bool((luma == fill_of(generation)).all())

"""The memory of a ring, its pipes' descriptors and the token pipe; ``engine.ring`` has the rules.

Layout of a segment, in 64-bit words (headers) and bytes (frames)::

    header   0 magic  1 layout version  2 ring id  3 slots  4 width_px  5 height_px
    (64)     6 format  7 frame_bytes
             15 next          newest generation given out                (decoder writes)
             16 offered       generation of the newest announced frame   (decoder writes)
             17 since_ns      when the camera began to wait for a worker (decoder writes)
             24 taken         generation last taken, 25 taken_ns: hints  (workers write)
    slots    [slots][16]: 0 state  1 generation (unique in the ring, rises with every frame)
                                   0: none, or its writing was given up
             2 captured_unix_ns  3 captured_monotonic_ns
             4 offered_ns  5 settled (generation whose fate has been counted; its owner writes)
             6 areas       [4]: where to look, (x, y, width, height) in 16 bits each; 0: nothing
    frames   [slots][frame_bytes rounded up to pages]
"""

import array
import fcntl
import os
import struct
import sys
import termios
from collections.abc import Iterable, Sequence
from enum import IntEnum
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.attention import MOST_AREAS
from engine.errors import RingError
from engine.feedback import packed_box, unpacked_box
from engine.messages import RingHandle
from engine.shm import Segment
from engine.slot_formats import FORMATS, as_frame, frame_bytes, luma_of
from engine.types import Bgr, Box, FrameStamp, Luma

MAGIC: Final = 0x5249_4E47_504C_4154  # "RINGPLAT"
LAYOUT_VERSION: Final = 2
HEADER_WORDS: Final = 64
SLOT_WORDS: Final = 16
PAGE: Final = 4096
DESCRIPTOR: Final = struct.Struct("=QQ")
DESCRIPTOR_BYTES: Final = DESCRIPTOR.size
MANY_BYTES: Final = 512 * DESCRIPTOR_BYTES

_NEVER: Final = (1 << 64) - 1

_pack, _unpack = DESCRIPTOR.pack, DESCRIPTOR.unpack

NEXT, OFFERED, SINCE_NS = 15, 16, 17
TAKEN, TAKEN_NS = 24, 25
STATE, GENERATION, UNIX_NS, MONOTONIC_NS, OFFERED_NS, SETTLED, AREAS = 0, 1, 2, 3, 4, 5, 6


class SlotState(IntEnum):
    """Where a slot is in its round."""

    FREE = 0
    WRITING = 1
    READY = 2


def _rounded(size_bytes: int, to_bytes: int) -> int:
    return -(-size_bytes // to_bytes) * to_bytes


def _frames_start(slots: int) -> int:
    return _rounded(8 * (HEADER_WORDS + slots * SLOT_WORDS), PAGE)


def ring_bytes(handle: RingHandle) -> int:
    """Return the size of the segment that holds this ring."""
    frame = frame_bytes(handle.width_px, handle.height_px, handle.format)
    return _frames_start(handle.slots) + handle.slots * _rounded(frame, PAGE)


class RingMemory:
    """A mapped ring: its words and frames. Roles below decide who may write what."""

    def __init__(self, handle: RingHandle, segment: Segment) -> None:
        self.handle = handle
        self._segment = segment
        self.header = segment.buffer[: 8 * HEADER_WORDS].cast("Q")
        end = 8 * (HEADER_WORDS + handle.slots * SLOT_WORDS)
        self.slots = segment.buffer[8 * HEADER_WORDS : end].cast("Q")
        self._frame_bytes = frame_bytes(handle.width_px, handle.height_px, handle.format)
        self._stride_bytes = _rounded(self._frame_bytes, PAGE)
        self._frames: dict[int, Luma | Bgr] = {}

    @classmethod
    def create(cls, handle: RingHandle) -> "RingMemory":
        """Create the segment of a ring (supervisor only).

        Raises:
            PreflightError: ``/dev/shm`` has too little space.
        """
        memory = cls(handle, Segment.create(handle.segment, ring_bytes(handle)))
        memory.restore_identity()
        return memory

    def restore_identity(self) -> bool:
        """Write what the header must begin with (supervisor only); return True if it was not so."""
        identity = self._identity()
        if self.header[: len(identity)].tolist() == identity:
            return False
        for index, word in enumerate(identity):
            self.header[index] = word
        return True

    @classmethod
    def attach(cls, handle: RingHandle) -> "RingMemory":
        """Map an existing ring.

        Raises:
            RingError: the segment is gone, too small, or its header is not what the handle says.
        """
        segment = Segment.attach(handle.segment, ring_bytes(handle))
        memory = cls(handle, segment)
        found = memory.header[:8].tolist()
        if found != memory._identity():
            memory.close()
            raise RingError(
                f"the header of {handle.segment} ({handle.camera_name}) is corrupted or of "
                f"another version: {found}"
            )
        return memory

    def _identity(self) -> list[int]:
        ring = self.handle
        form = FORMATS.index(ring.format)
        size = (ring.slots, ring.width_px, ring.height_px, form, self._frame_bytes)
        return [MAGIC, LAYOUT_VERSION, ring.ring, *size]

    def frame(self, slot: int) -> Luma | Bgr:
        """Return a slot's frame, shaped as ``engine.slot_formats`` says: uint8, a writable view."""
        frame = self._frames.get(slot)
        if frame is None:
            start = _frames_start(self.handle.slots) + slot * self._stride_bytes
            flat = np.frombuffer(self._segment.buffer, np.uint8, self._frame_bytes, start)
            frame = as_frame(flat, self.handle.width_px, self.handle.format)
            self._frames[slot] = frame
        return frame[:]

    def luma(self, slot: int) -> Luma:
        """Return a slot's luma: (H, W) uint8, a view, of a bgr24 ring a copy."""
        return luma_of(self.frame(slot), self.handle.height_px)

    def word(self, slot: int, which: int) -> int:
        """Return one word of a slot's header."""
        return self.slots[slot * SLOT_WORDS + which]

    def put(self, slot: int, which: int, value: int) -> None:
        """Write one word of a slot's header; only its present owner may."""
        self.slots[slot * SLOT_WORDS + which] = value

    def stamp(self, slot: int) -> FrameStamp:
        """Return which frame a slot holds."""
        return FrameStamp(
            camera=self.handle.camera_name,
            generation=self.word(slot, GENERATION),
            captured_unix_ns=self.word(slot, UNIX_NS),
            captured_monotonic_ns=self.word(slot, MONOTONIC_NS),
            width_px=self.handle.width_px,
            height_px=self.handle.height_px,
        )

    def put_areas(self, slot: int, areas: Sequence[Box]) -> None:
        """Note where in a slot's frame to look; none: everywhere. Only its present owner may."""
        base = slot * SLOT_WORDS + AREAS
        for index in range(MOST_AREAS):
            self.slots[base + index] = packed_box(areas[index]) if index < len(areas) else 0

    def areas(self, slot: int) -> tuple[Box, ...]:
        """Return where in a slot's frame to look; empty: everywhere."""
        base = slot * SLOT_WORDS + AREAS
        if not self.slots[base]:
            return ()
        packed = self.slots[base : base + MOST_AREAS].tolist()
        return tuple(unpacked_box(word) for word in packed if word)

    def ready_slots(self) -> list[tuple[int, int]]:
        """Return (slot, generation) of every READY slot."""
        table = self._table()
        ready = np.flatnonzero(table[:, STATE] == SlotState.READY)
        return [(int(slot), int(table[slot, GENERATION])) for slot in ready]

    def in_flight(self) -> int:
        """Count the frames whose fate is still open: READY and not settled."""
        table = self._table()
        ready = table[:, STATE] == SlotState.READY
        return int(np.count_nonzero(ready & (table[:, SETTLED] != table[:, GENERATION])))

    def oldest_unix_ns(self) -> int:
        """Return when the oldest frame whose fate is open was captured; 0: there is none."""
        table = self._table()
        is_open = table[:, STATE] == SlotState.READY
        is_open &= table[:, SETTLED] != table[:, GENERATION]
        return int(table[is_open, UNIX_NS].min(initial=_NEVER)) % _NEVER

    def newest(self) -> tuple[int, int]:
        """Return (slot, generation) of the newest frame that is whole; generation 0: none."""
        table = self._table()
        generations = table[:, GENERATION].copy()  # before the states: see RingReader
        generations[table[:, STATE] == SlotState.WRITING] = 0
        slot = int(generations.argmax())
        return slot, int(generations[slot])

    def _table(self) -> npt.NDArray[np.uint64]:
        flat = np.frombuffer(self.slots, np.uint64)
        return flat.reshape(self.handle.slots, SLOT_WORDS)

    def close(self) -> None:
        """Unmap it; raises BufferError while a view of a frame is alive."""
        self._frames.clear()
        self.header.release()
        self.slots.release()
        self._segment.close()

    def unlink(self) -> None:
        """Remove the segment's name (supervisor only)."""
        self._segment.unlink()


class Tokens:
    """The pipe on which idle workers sleep; a token says: look at the rings."""

    def __init__(self, write_fd: int) -> None:
        self._fd = write_fd
        self._waiting = array.array("i", [0])

    def put(self) -> None:
        """Wake one worker, unless a wake-up is already on its way."""
        fcntl.ioctl(self._fd, termios.FIONREAD, self._waiting)
        if not self._waiting[0]:
            try:
                os.write(self._fd, b"\0")
            except BlockingIOError:  # full: wake-ups abound
                return


def bytes_in(fd: int) -> int:
    """Return how many bytes wait in a pipe."""
    count = bytearray(4)  # written in place: half the cost of a result in bytes
    fcntl.ioctl(fd, termios.FIONREAD, count)
    return int.from_bytes(count, sys.byteorder)


def read_descriptor(fd: int) -> tuple[int, int] | None:
    """Take one (slot, generation) out of a pipe, or None when it is empty."""
    try:
        found: tuple[int, int] = _unpack(os.read(fd, DESCRIPTOR_BYTES))
    except BlockingIOError:
        return None
    return found


def read_descriptors(fd: int) -> Iterable[tuple[int, int]]:
    """Take all (slot, generation) out of a pipe at once; only for its single reader."""
    try:
        return DESCRIPTOR.iter_unpack(os.read(fd, MANY_BYTES))
    except BlockingIOError:
        return ()


def write_descriptor(fd: int, slot: int, generation: int) -> None:
    """Put one (slot, generation) into a pipe; there is room for thousands."""
    os.write(fd, _pack(slot, generation))

"""``FrameRing``: frames of one camera in shared memory, leased by workers without a lock.

``engine.ring_memory`` draws the bytes; here are the rules and the three roles: ``RingWriter`` (the
decoder), ``RingTaker`` (a worker) and ``RingReader`` (snapshots, without a lease).

States of a slot and who moves it on::

      FREE ──decoder──▶ WRITING ──decoder──▶ READY ──────────────▶ FREE
     (in the decoder's             (generation + 1      worker: lease row, settled, return pipe;
      LIFO free list)               before a pixel)     decoder: reads the return, or takes back
                                                        an unread frame that a newer one replaces

A READY slot is announced by a 16-byte descriptor (slot, generation) in the ring's *ready pipe*:
whoever reads it may lease the slot. Reads and writes below PIPE_BUF are atomic (POSIX, pipe(7)),
so a descriptor has one reader, and no lock can die with its holder. Freed slots come back through
the *return pipe*; a return whose generation is not the slot's is stale and discarded.

Python has no compare-and-swap, so every word has one writer. A lease is a line in the worker's own
row on the board: (ring, slot, generation, since when). The worker signs it, *then* checks the
slot's generation. Leases are given back in this order: fate counted, slot marked settled, return
written, line cleared; killed anywhere in between, the line still stands, and the supervisor reads
from ``settled`` and the journal words (``Row``) whether the frame is already counted.

Between reading a descriptor and signing, a slot is in no pipe and no line, but the worker's
``intent`` word names the ring. After a death the decoder says which slots are outstanding (READY,
not announced); those in nobody's line, once every living worker has been seen without this intent,
are given back (``engine.reaper``). Nothing is ever reclaimed by age: a stopped process may wake up.

Waking: workers sleep on one *token pipe* for all rings. A decoder that announced a frame puts one
token in, unless one is there; the kernel wakes one worker, and a worker that takes a frame while
others wait puts a token in for the next. No herd wakes, no wake-up is lost: a token follows every
announcement, and whoever consumes it looks at all rings afterwards.

``offered`` and ``taken`` are only hints: two workers may write theirs in the wrong order, and a
decoder may die before its announcement. Then a ring looks ready that is not (a read finds an empty
pipe), never the other way round.
"""

import os
import select
import time
from collections.abc import Sequence

import msgspec

from engine.board import INTENT, LEASE_BASE, LEASE_WORDS, Count, Fate, Row
from engine.messages import RingHandle
from engine.ring_memory import (
    AREAS,
    DESCRIPTOR_BYTES,
    GENERATION,
    MONOTONIC_NS,
    NEXT,
    OFFERED,
    OFFERED_NS,
    SETTLED,
    SINCE_NS,
    SLOT_WORDS,
    STATE,
    TAKEN,
    TAKEN_NS,
    UNIX_NS,
    RingMemory,
    SlotState,
    Tokens,
    bytes_in,
    read_descriptor,
    read_descriptors,
    write_descriptor,
)
from engine.types import Box, FrameStamp, Luma

_FREE, _WRITING, _READY = int(SlotState.FREE), int(SlotState.WRITING), int(SlotState.READY)
_CAPTURED = Fate.CAPTURED


class RingWriter:
    """The decoder's side: fill a free slot, announce it, take back what nobody read.

    Not thread-safe: its decoder holds one lock around every call.
    """

    def __init__(self, memory: RingMemory, row: Row, fds: Sequence[int], max_unread: int) -> None:
        """Take a ring, new or of a dead predecessor (then ``adopt`` it).

        ``fds`` are those of ``GrantRing``; a live ring offers at most ``max_unread`` frames.
        """
        self.memory = memory
        self.handle = memory.handle
        self._ring, self._camera = memory.handle.ring, memory.handle.camera
        self._is_live = not memory.handle.lossless
        self._row = row
        self._ready_read, self._ready_write, self._return_read, tokens = fds
        self._fds = fds
        self._tokens = Tokens(tokens)
        self._max_unread = max_unread
        self._free: list[int] = []

    def adopt(self) -> None:
        """Put every slot where it belongs, whatever step a predecessor died in; called first.

        The supervisor has completed that step before (``engine.reaper.reap_decoder``).
        """
        for slot in range(self.handle.slots):
            state = self.memory.word(slot, STATE)
            if state == SlotState.WRITING:
                self.abandon(slot)
            elif state == SlotState.FREE:
                self._free.append(slot)

    def outstanding(self) -> list[tuple[int, int]]:
        """Return (slot, generation) of what is READY but not announced: leased, or lost.

        The ready pipe is emptied and refilled in order, which only its writer may do.
        """
        announced = []
        while (descriptor := read_descriptor(self._ready_read)) is not None:
            announced.append(descriptor)
        for descriptor in announced:
            write_descriptor(self._ready_write, *descriptor)
        if announced:
            self._tokens.put()
        self._collect()
        return [held for held in self.memory.ready_slots() if held not in announced]

    def reclaim(self, slots: Sequence[tuple[int, int]]) -> int:
        """Free outstanding slots that are in nobody's hands; return how many frames were lost."""
        lost = 0
        for slot, generation in slots:
            if not self._is_held(slot, generation):
                continue
            if self.memory.word(slot, SETTLED) == generation:
                self._release(slot)
            else:
                self._settle(slot, Fate.FAILED_LOST)
                lost += 1
        return lost

    def acquire(self) -> int | None:
        """Return a slot to write, or None when every slot is leased (or, lossless, unread).

        A live ring without a free slot gives up its oldest unread frame, counted as replaced.
        """
        self._collect()
        header = self.memory.header
        if self._is_live and not self._free and header[TAKEN] < header[OFFERED]:
            self._take_back(Fate.DROPPED_REPLACED)
        if not self._free:
            return None
        slot, words = self._free.pop(), self.memory.slots
        generation = header[NEXT] + 1
        header[NEXT] = generation
        words[slot * SLOT_WORDS + STATE] = _WRITING  # before the generation: see RingReader
        words[slot * SLOT_WORDS + GENERATION] = generation
        return slot

    def wait_for_return(self, timeout_s: float) -> None:
        """Sleep until a slot may have come back."""
        select.select([self._return_read], [], [], timeout_s)

    def abandon(self, slot: int) -> None:
        """Give an acquired slot back unwritten."""
        self.memory.put(slot, GENERATION, 0)
        self._release(slot)

    def publish(
        self,
        slot: int,
        captured_unix_ns: int,
        captured_monotonic_ns: int,
        areas: Sequence[Box] = (),
    ) -> None:
        """Announce a written slot; from here on it belongs to whoever reads the descriptor.

        ``areas``: where to look in the frame, at most four; none: everywhere.

        A live ring gives up its oldest unread frame now, when enough wait already: until then a
        worker may take it, and snapshots have a whole frame while the next one is written.
        """
        header, words, now_ns = self.memory.header, self.memory.slots, time.monotonic_ns()
        base = slot * SLOT_WORDS
        generation = words[base + GENERATION]
        words[base + UNIX_NS] = captured_unix_ns
        words[base + MONOTONIC_NS] = captured_monotonic_ns
        words[base + OFFERED_NS] = now_ns
        if areas or words[base + AREAS]:
            self.memory.put_areas(slot, areas)
        if self._is_live and header[TAKEN] < header[OFFERED]:
            unread = bytes_in(self._ready_read) // DESCRIPTOR_BYTES
            if unread >= self._max_unread:
                self._take_back(Fate.DROPPED_REPLACED)
        self._row.count_slot(self._ring, slot, self._camera, _CAPTURED)
        words[base + STATE] = _READY
        self._row.close_journal()
        if header[TAKEN] >= header[OFFERED]:
            header[SINCE_NS] = now_ns
        header[OFFERED] = generation  # before the announcement: dead in between, it only looks so
        write_descriptor(self._ready_write, slot, generation)
        self._tokens.put()

    def drain(self, *, take_back: bool) -> bool:
        """Empty a ring that is left behind; return True when every slot is free.

        What nobody has read yet is taken back and counted as ended, or left to its readers.
        """
        while take_back and self._take_back(Fate.DROPPED_ENDED):
            pass
        if take_back:
            self.memory.header[OFFERED] = 0
        self._collect()
        return len(self._free) == self.handle.slots

    def _collect(self) -> None:
        """Take the returned slots into the free list, last one on top: it is hottest in cache."""
        words = self.memory.slots
        for slot, generation in read_descriptors(self._return_read):
            base = slot * SLOT_WORDS
            if words[base + STATE] == _READY and words[base + GENERATION] == generation:
                words[base + STATE] = _FREE
                self._free.append(slot)

    def _is_held(self, slot: int, generation: int) -> bool:
        words, base = self.memory.slots, slot * SLOT_WORDS
        return words[base + STATE] == _READY and words[base + GENERATION] == generation

    def _take_back(self, fate: Fate) -> bool:
        """Take the oldest unread frame back, if there is one, and count its fate."""
        descriptor = read_descriptor(self._ready_read)
        if descriptor is not None and self._is_held(*descriptor):
            self._settle(descriptor[0], fate)
        return descriptor is not None

    def _settle(self, slot: int, fate: Fate) -> None:
        """Count a READY slot's fate once, whatever dies, and free it."""
        self._row.count_slot(self._ring, slot, self._camera, fate)
        self.memory.put(slot, SETTLED, self.memory.word(slot, GENERATION))
        self._row.close_journal()
        self._release(slot)

    def _release(self, slot: int) -> None:
        self.memory.slots[slot * SLOT_WORDS + STATE] = _FREE
        self._free.append(slot)

    def close(self) -> None:
        """Let go of the ring; its descriptors are closed, too."""
        for fd in self._fds:
            os.close(fd)
        self.memory.close()


class Lease(msgspec.Struct, frozen=True, gc=False):
    """A worker's right to one frame, until it is settled and returned."""

    ring: "RingTaker"
    line: int
    slot: int
    generation: int

    @property
    def luma(self) -> Luma:
        """The frame's luma: (H, W) uint8, a view in the ring, valid until the lease ends."""
        return self.ring.memory.luma(self.slot)

    @property
    def stamp(self) -> FrameStamp:
        """Which frame it is."""
        return self.ring.memory.stamp(self.slot)

    @property
    def areas(self) -> tuple[Box, ...]:
        """Where to look in it; empty: everywhere."""
        return self.ring.memory.areas(self.slot)

    @property
    def offered_ns(self) -> int:
        """Monotonic time of its announcement."""
        return self.ring.memory.word(self.slot, OFFERED_NS)


class RingTaker:
    """A worker's side: take the announced frame, sign, use it in place, settle, return."""

    def __init__(
        self, memory: RingMemory, row: Row, ready_read: int, return_write: int, weight: float
    ) -> None:
        self.memory = memory
        self.words = memory.header
        """The ring's header: frames wait, it seems, while ``TAKEN`` is below ``OFFERED``."""
        self.handle = memory.handle
        self._ring, self._camera = memory.handle.ring, memory.handle.camera
        self._row = row
        self._ready_read = ready_read
        self._return_write = return_write
        self._weight = weight

    def waited_ns(self, now_ns: int) -> float:
        """Return how long this camera has waited for a worker, times its weight; 0: nothing."""
        header = self.memory.header
        if header[TAKEN] >= header[OFFERED]:
            return 0.0
        waited_ns = now_ns - max(header[SINCE_NS], header[TAKEN_NS])
        return waited_ns * self._weight if waited_ns > 0 else self._weight

    def take(self, line: int) -> Lease | None:
        """Take the oldest unread frame into a free lease line, or None when another was faster."""
        words, header, slots = self._row.words, self.memory.header, self.memory.slots
        words[INTENT] = self._ring
        descriptor = read_descriptor(self._ready_read)
        if descriptor is None:
            words[INTENT] = 0
            return None
        slot, generation = descriptor
        now_ns = time.monotonic_ns()
        base = LEASE_BASE + LEASE_WORDS * line
        words[base + 1] = slot
        words[base + 2] = generation
        words[base + 3] = now_ns
        words[base] = self._ring
        words[INTENT] = 0
        header[TAKEN] = generation
        header[TAKEN_NS] = now_ns
        at = slot * SLOT_WORDS
        if slots[at + GENERATION] != generation or slots[at + STATE] != _READY:
            words[base] = 0
            self._row.count(Count.STALE_DESCRIPTORS)
            return None
        return Lease(self, line, slot, generation)

    def begin(self, lease: Lease, now_ns: int) -> None:
        """Note that recognition of a leased frame begins: its deadline counts from here."""
        self._row.words[LEASE_BASE + LEASE_WORDS * lease.line + 3] = now_ns

    def give_back(self, lease: Lease, fate: Fate) -> None:
        """End a lease: count the frame's fate, mark it settled, return the slot, clear the line.

        Every view of the frame must be gone: from here on a newer one may be written there.
        """
        row, slot, generation = self._row, lease.slot, lease.generation
        row.count_slot(self._ring, slot, self._camera, fate)
        self.memory.slots[slot * SLOT_WORDS + SETTLED] = generation
        row.close_journal()
        write_descriptor(self._return_write, slot, generation)
        row.words[LEASE_BASE + LEASE_WORDS * lease.line] = 0

    def close(self) -> None:
        """Let go of the ring; no lease may be open."""
        os.close(self._ready_read)
        os.close(self._return_write)
        self.memory.close()


class RingReader:
    """A look at the newest frame without a lease, for snapshots: verified, never torn.

    A slot keeps its frame until the next one is written there, also while it is free. The decoder
    sets WRITING, then the new generation, then the pixels, then READY. So who reads a generation,
    then a state other than WRITING, then pixels, then the same generation again, has them whole.
    """

    def __init__(self, handle: RingHandle) -> None:
        self.memory = RingMemory.attach(handle)

    def snapshot(self, attempts: int = 5) -> tuple[Luma, FrameStamp] | None:
        """Return a copy of the newest frame's luma and its stamp, or None.

        None: no frame yet, or each of the attempts was overtaken by the decoder in mid-copy.
        """
        memory = self.memory
        for _ in range(attempts):
            slot, generation = memory.newest()
            if not generation:
                return None
            stamp, luma = memory.stamp(slot), memory.luma(slot).copy()
            if memory.word(slot, GENERATION) == generation:
                return luma, stamp
        return None

    def close(self) -> None:
        """Let go of the ring."""
        self.memory.close()

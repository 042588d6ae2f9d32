"""The supervisor's side of a ring: it owns segment and pipes, and takes back what the dead held.

Two ways a slot can be left behind, and what brings it back:

* its worker died with a signed lease line: ``reap_worker`` reads the line, counts the frame unless
  the journal says that it is counted, and writes the return in the dead worker's place;
* its worker or decoder died between two steps, so that it is in no pipe and no line: the decoder
  says what is outstanding (``Outstanding``), and a ``Sweep`` waits until every living worker has
  been seen not taking from this ring, then gives back what stands in nobody's line.
"""

import os
from collections.abc import Callable, Iterable, Mapping

import msgspec

from engine.board import BUSY, INTENT, LEASE_BASE, LEASE_WORDS, MAX_BATCH, Fate, Row
from engine.messages import RingHandle
from engine.ring_memory import DESCRIPTOR, GENERATION, SETTLED, STATE, RingMemory, SlotState


class OwnedRing:
    """A ring as its creator holds it: the memory and both ends of both pipes."""

    def __init__(self, handle: RingHandle) -> None:
        """Create the segment and the pipes.

        Raises:
            PreflightError: ``/dev/shm`` has too little space.
        """
        self.handle = handle
        self.memory = RingMemory.create(handle)
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self.ready_read, self.ready_write = os.pipe2(flags)
        self.return_read, self.return_write = os.pipe2(flags)

    @property
    def writer_fds(self) -> list[int]:
        """What its decoder needs, without the token pipe."""
        return [self.ready_read, self.ready_write, self.return_read]

    @property
    def taker_fds(self) -> list[int]:
        """What a worker needs."""
        return [self.ready_read, self.return_write]

    def is_held(self, slot: int, generation: int) -> bool:
        """Return True while the slot is READY with this generation."""
        memory = self.memory
        ready = memory.word(slot, STATE) == SlotState.READY
        return ready and memory.word(slot, GENERATION) == generation

    def give_back(self, slot: int, generation: int) -> None:
        """Return a slot in the place of its dead holder."""
        os.write(self.return_write, DESCRIPTOR.pack(slot, generation))

    def remove(self) -> int:
        """Unlink it and close everything; return how many frames had no fate yet."""
        open_frames = self.memory.in_flight()
        for fd in (self.ready_read, self.ready_write, self.return_read, self.return_write):
            os.close(fd)
        self.memory.unlink()
        self.memory.close()
        return open_frames


def reap_worker(
    row: Row,
    rings: Mapping[int, OwnedRing],
    uncounted: Callable[[OwnedRing, int, bool], None],
) -> int | None:
    """Give back all that a dead worker held; return the ring it was taking from, if any.

    ``row`` is the dead worker's, inherited by the caller until its heir starts. ``uncounted`` is
    called for every leased frame whose fate is still open, with its ring, its slot, and whether it
    was the one in work (others of a batch are innocent), before the slot goes back: it counts the
    fate and may save the picture.
    """
    journal = row.peek_journal()
    settled_by_journal = None
    if journal is not None:
        ring = rings.get(journal.ring)
        if ring is not None and (journal := row.take_journal(ring.handle.camera)) is not None:
            settled_by_journal = (journal.ring, journal.slot) if journal.counted else None
    begun_ns = frame_begun_ns(row)
    for line in range(MAX_BATCH):
        base = LEASE_BASE + LEASE_WORDS * line
        ring_id, slot, generation, since_ns = row.words[base : base + LEASE_WORDS].tolist()
        ring = rings.get(ring_id)
        if ring is not None and ring.is_held(slot, generation):
            counted = ring.memory.word(slot, SETTLED) == generation
            if not counted and (ring_id, slot) != settled_by_journal:
                uncounted(ring, slot, since_ns == begun_ns)
            ring.memory.put(slot, SETTLED, generation)
            ring.give_back(slot, generation)
        row.words[base] = 0
    taking_from = row.words[INTENT]
    row.words[INTENT] = 0
    row.words[BUSY] = 0
    return taking_from if taking_from in rings else None


def reap_decoder(row: Row, camera: int, rings: Mapping[int, RingMemory]) -> int:
    """Complete the step that a dead decoder was in; return how many frames were lost in it.

    ``row`` is the dead decoder's and ``camera`` its cell. A frame that was counted as captured and
    never announced is lost: the caller counts it. One whose fate was counted is marked settled.
    """
    journal = row.take_journal(camera)
    if journal is None or not journal.counted or journal.ring not in rings:
        return 0
    memory = rings[journal.ring]
    if journal.fate is not Fate.CAPTURED:
        memory.put(journal.slot, SETTLED, memory.word(journal.slot, GENERATION))
        return 0
    return int(memory.word(journal.slot, STATE) == SlotState.WRITING)


class WatchedWorker(msgspec.Struct, frozen=True):
    """A living worker that may still be between reading a descriptor and signing."""

    row: Row
    incarnation: int
    turn: int

    def is_past(self, ring: int) -> bool:
        """Return True once it is not, or no longer, taking from the ring since it was watched."""
        return (
            self.row.words[INTENT] != ring
            or self.row.turn != self.turn
            or self.row.incarnation != self.incarnation
        )


class Sweep:
    """Outstanding slots of one ring that may be in nobody's hands."""

    def __init__(self, ring: int, slots: Iterable[tuple[int, int]], living: Iterable[Row]) -> None:
        self.ring = ring
        self._slots = tuple(slots)
        self._watched = [WatchedWorker(row, row.incarnation, row.turn) for row in living]

    def is_ready(self) -> bool:
        """Return True once every living worker has been seen past its intent; never by age."""
        self._watched = [worker for worker in self._watched if not worker.is_past(self.ring)]
        return not self._watched

    def unclaimed(self, living: Iterable[Row]) -> tuple[tuple[int, int], ...]:
        """Return the slots that stand in nobody's lease line; call once ``is_ready``."""
        claimed = leased(self.ring, living)
        return tuple(slot for slot in self._slots if slot not in claimed)


def leased(ring: int, living: Iterable[Row]) -> set[tuple[int, int]]:
    """Return (slot, generation) of a ring's frames that stand in somebody's lease line."""
    held = set()
    for row in living:
        for line in range(MAX_BATCH):
            base = LEASE_BASE + LEASE_WORDS * line
            number, slot, generation = row.words[base : base + 3].tolist()
            if number == ring:
                held.add((slot, generation))
    return held


def frame_begun_ns(row: Row) -> int:
    """Return when a worker began with the frame it works on (monotonic), 0 without a lease.

    A line's time is that of its signing, and then of the beginning of its recognition: of a batch,
    the frame in work has the latest.
    """
    lines = range(LEASE_BASE, LEASE_BASE + LEASE_WORDS * MAX_BATCH, LEASE_WORDS)
    return max((row.words[line + 3] for line in lines if row.words[line]), default=0)


def fate_of_killed(*, stuck: bool) -> Fate:
    """Return how to count a frame whose worker died: by itself, or after its deadline."""
    return Fate.FAILED_STUCK if stuck else Fate.FAILED_KILLED

"""The stats board: counters and histograms of every process in one shared segment.

Every process has one row and is its only writer; anybody reads without a lock. A word is a
64-bit unsigned integer, aligned, so that a reader sees the old or the new value, never half of
one. Layout, in words::

    header   magic, layout version, rows, cameras, words of a row, words of a cell, 0, 0
    rows     [rows][ROW_WORDS]
             0  kind            who writes this row (``Kind``; 0 = free)
             1  incarnation     rises with every start of a process on this row
             2  heartbeat_ns    monotonic clock of its last turn
             3  turn            completed turns of its loop
             4  busy            1 between taking work and finishing the turn, 0 while waiting
             5  state           1 + a decoder's ``CameraState``, 1 + a worker's ``RECOGNIZERS``
             6  intent          worker: id of the ring it is taking a frame from, else 0
             7  busy_ns         nanoseconds spent recognizing (worker)
             8  camera          decoder: its camera's index
             9  last_frame_unix_ns   decoder: capture time of its newest frame
             10 journal         [5]: ring id, slot + 1 (0 = closed), fate, two counts before
             16 leases          [MAX_BATCH][4]: ring id, slot, generation, since_ns
             80 counters        one word per ``Count``
             128 histograms     [Stage][BUCKETS + 1]: counts per bucket, then the sum in ns
             224 exemplars      [Stage][4]: a sighting's id in two words, its latency in ns, and
                                when it was measured in ms UTC (0: none)
             248 confidences    worker: plate reads per bucket of confidence [7], then their sum in
                                hundredths of a percent
    cells    [rows][cameras][CELL_WORDS]: one word per ``Fate``
    feedback [cameras][FEEDBACK_WORDS]: see ``engine.feedback``; the only words that two processes
             write, each its own half: the publisher, and the camera's decoder

A camera's ledger is the sum of its cells over all rows. Cells are never set back while the run
lives, not even when a row passes to another process: the sums stay monotonic over restarts.
"""

import time
from bisect import bisect_left
from enum import IntEnum
from typing import Final
from uuid import UUID

import msgspec
import numpy as np
import numpy.typing as npt

from engine.errors import RingError
from engine.shm import Segment
from engine.types import CameraState

MAGIC: Final = 0x504C_4154_4552_4E47  # "PLATERNG"
LAYOUT_VERSION: Final = 4
HEADER_WORDS: Final = 8
ROW_WORDS: Final = 256
CELL_WORDS: Final = 32
FEEDBACK_WORDS: Final = 160
MAX_BATCH: Final = 16
LEASE_BASE: Final = 16
LEASE_WORDS: Final = 4
COUNT_BASE: Final = 80
HISTOGRAM_BASE: Final = 128
EXEMPLAR_BASE: Final = 224
EXEMPLAR_WORDS: Final = 4
BUCKET_BOUNDS_MS: Final = (0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000, 2_000, 5_000, 10_000)
BUCKETS: Final = len(BUCKET_BOUNDS_MS) + 1
CONFIDENCE_BASE: Final = 248
CONFIDENCE_BOUNDS: Final = (50.0, 60.0, 70.0, 80.0, 90.0, 95.0)
"""Percent, the upper ends of all buckets but the last."""
RECOGNIZERS: Final = ("builtin", "openalpr")
"""Names of recognizers; a worker notes which of them it runs."""
_BOUNDS_NS: Final = [int(bound * 1e6) for bound in BUCKET_BOUNDS_MS]

KIND, INCARNATION, HEARTBEAT_NS, TURN, BUSY, STATE, INTENT, BUSY_NS = range(8)
CAMERA, LAST_FRAME_UNIX_NS, JOURNAL = 8, 9, 10

Words = npt.NDArray[np.uint64]


class Kind(IntEnum):
    """Who writes a row."""

    FREE = 0
    SUPERVISOR = 1
    DECODER = 2
    WORKER = 3
    PUBLISHER = 4
    API = 5


class Fate(IntEnum):
    """What became of a camera's frames, and what was found in them: one word of a cell each.

    The ledger: captured = skipped + dropped + recognized + failed + in flight (READY slots).
    """

    CAPTURED = 0
    SKIPPED_STATIC = 1
    SKIPPED_RATE = 2
    DROPPED_REPLACED = 3
    DROPPED_LEASED = 4
    DROPPED_ENDED = 5
    """Unread when its ring was re-made or its camera removed."""
    RECOGNIZED = 6
    FAILED_ERROR = 7
    """The recognizer refused the frame."""
    FAILED_KILLED = 8
    """Its worker died over it."""
    FAILED_STUCK = 9
    """Its worker was killed after the deadline."""
    FAILED_LOST = 10
    """Its worker or decoder died between two steps of a hand-off."""
    PLATE_READS = 11
    READS_TRACKED = 12
    READS_REJECTED = 13
    """Too unsure or small for the camera's filters, cut off, or outside of its zones and hours."""
    SIGHTINGS = 14
    """Finals: one per passage."""
    REVISIONS = 15
    """Events of all phases."""
    RECONNECTS = 16
    DECODE_ERRORS = 17
    BYTES = 18
    """Bytes of pixels written into slots."""
    DROPPED_NO_RING = 19
    """No ring was granted: too little shared memory, or the supervisor was busy."""
    SKIPPED_KNOWN = 20
    """All that moved were vehicles whose plates are known with certainty."""
    SKIPPED_PACED = 21
    """Something unknown moved, and a frame of it was recognized a moment ago."""
    TRACKS_FILTERED = 22
    """Vehicles that the camera's filters kept silent."""
    FRAMES_FOCUSED = 23
    """Recognized frames of which only what moved was searched."""
    PLATES_SPARED = 24
    """Plates in recognized frames that needed no reading: they are known with certainty."""
    CONFIDENCE = 25
    """The confidence of all finals added up, in hundredths of a percent."""
    LAG_US = 26
    """From capture to the end of recognition, added up over all recognized frames, microseconds."""


class Count(IntEnum):
    """Counters that belong to no camera."""

    READS_SENT = 0
    """Frame reads a worker handed to its channel."""
    READS_RECEIVED = 1
    """Frame reads the publisher tracked, each once."""
    READS_REPEATED = 2
    """Frame reads that came again after a restart and were recognized as known."""
    READS_LOST = 3
    INGESTED = 4
    INGEST_REFUSED = 5
    SPOOLED = 6
    STORED = 7
    SPOOL_DROPPED = 8
    SINK_RETRIES = 9
    SINK_FAILURES = 10
    SPOOL_DEPTH = 11
    """A gauge: events waiting for Redis."""
    TRACKS_OPEN = 12
    """A gauge."""
    SSE_CLIENTS = 13
    """A gauge."""
    SSE_DELIVERIES = 14
    SSE_CUT = 15
    REQUESTS = 16
    RESTARTS = 17
    QUARANTINED = 18
    STALE_DESCRIPTORS = 19
    """Descriptors whose slot had moved on when they were read."""
    SINK_DELIVERED = 20
    """Events that sinks other than Redis took."""
    SINKS_AWAY = 21
    """A gauge: sinks that take nothing now, Redis among them."""
    DEAD_LETTERS = 22
    """Events that a sink refused for good and that were put aside."""
    WATCHLIST_HITS = 23
    """Finals whose plate is on a watchlist."""
    CLIPS = 24
    """Clips told with a sighting."""
    CLIPS_FAILED = 25
    """Clips that were wanted and did not come."""
    CLIP_KEPT_BYTES = 26
    """A gauge: packets that a decoder keeps for clips."""
    CAMERA_EVENTS = 27
    """Turns of cameras written to Redis."""
    CAMERA_EVENTS_LOST = 28
    """Turns of cameras given up while Redis was away."""
    GROUPS_JOINED = 29
    """Sightings that joined the group of one at another camera of the site."""
    GROUPS_MISSED = 30
    """Events of cameras with a site for which Redis told no group in time."""
    REQUESTS_DENIED = 31
    """Requests without a key, or with one of too narrow a scope."""
    REQUESTS_LIMITED = 32
    """Requests and log-ins beyond the limits of a key or an address."""
    CONNECTIONS_CUT = 33
    """Connections closed for too many of one address, or for sending too slowly."""
    AUDIT_LOST = 34
    """Entries that could not be written to the audit log."""
    SSE_REFUSED = 35
    """Live streams refused because their key or address has as many as it may."""
    UPLOADS_READ = 36
    UPLOADS_FAILED = 37


class Stage(IntEnum):
    """Latencies that are measured, each a histogram."""

    CAPTURE_TO_SLOT = 0
    SLOT_TO_LEASE = 1
    RECOGNIZE = 2
    RECOGNIZED_TO_TRACKED = 3
    CAPTURE_TO_STORED = 4
    CAPTURE_TO_DELIVERED = 5


_HISTOGRAM_AT: Final = [HISTOGRAM_BASE + stage * (BUCKETS + 1) for stage in range(len(Stage))]


class Seat(msgspec.Struct, frozen=True):
    """Where a process finds its row: small, picklable, sent to it at its start."""

    board: str
    row: int
    incarnation: int


class Journal(msgspec.Struct, frozen=True):
    """A step that a process died in: which slot, which fate, and whether it was counted."""

    ring: int
    slot: int
    fate: Fate
    counted: bool


class Row:
    """One process's words; only that process may call the writing methods."""

    def __init__(self, words: memoryview, cells: memoryview) -> None:
        """Take ``words`` (ROW_WORDS,) and ``cells`` (cameras * CELL_WORDS,), both of ``Q``."""
        self.words = words
        self._cells = cells

    def count(self, which: Count, amount: int = 1) -> None:
        """Raise a counter."""
        self.words[COUNT_BASE + which] += amount

    def gauge(self, which: Count, value: int) -> None:
        """Set a counter that is a gauge."""
        self.words[COUNT_BASE + which] = value

    def fate(self, camera: int, which: Fate, amount: int = 1) -> None:
        """Raise a word of a camera's cell."""
        self._cells[camera * CELL_WORDS + which] += amount

    def fate_so_far(self, camera: int, which: Fate) -> int:
        """Return what this row has counted of a camera's fate."""
        return self._cells[camera * CELL_WORDS + which]

    def pass_by(self, camera: int, which: Fate) -> None:
        """Count a frame that was captured and met its fate without a slot."""
        self._open_journal(0, 0, camera, Fate.CAPTURED)
        self.words[JOURNAL + 2] = which
        self.words[JOURNAL + 4] = self.fate_so_far(camera, which)
        self.fate(camera, Fate.CAPTURED)
        self.fate(camera, which)
        self.close_journal()

    def _open_journal(self, ring: int, slot: int, camera: int, which: Fate) -> int:
        """Note what is about to be counted; return the index of its word in the cells."""
        words, cell = self.words, camera * CELL_WORDS + which
        words[JOURNAL] = ring
        words[JOURNAL + 2] = which
        words[JOURNAL + 3] = self._cells[cell]
        words[JOURNAL + 1] = slot + 1
        return cell

    def count_slot(self, ring: int, slot: int, camera: int, which: Fate) -> None:
        """Count the fate of a slot's frame so that a death does not count it twice.

        The journal stays open until the caller has marked the slot and calls ``close_journal``.
        """
        cell = self._open_journal(ring, slot, camera, which)
        self._cells[cell] += 1

    def close_journal(self) -> None:
        """The step is complete."""
        self.words[JOURNAL + 1] = 0

    def peek_journal(self) -> Journal | None:
        """Return the open step as it stands, its count not judged; see ``take_journal``."""
        ring, slot, which = self.words[JOURNAL : JOURNAL + 3].tolist()
        return Journal(ring, slot - 1, Fate(which), counted=False) if slot else None

    def take_journal(self, camera: int) -> Journal | None:
        """Return the step a dead predecessor was in, if any, and close it.

        Called by the heir of the row (or the reaper, which inherits it until then).
        """
        words = self.words
        ring, slot, which, base, second = words[JOURNAL : JOURNAL + 5].tolist()
        if slot == 0:
            return None
        fate = Fate(which)
        if ring == 0:  # pass_by: complete its second count
            counted = self.fate_so_far(camera, Fate.CAPTURED) != base
            if counted and self.fate_so_far(camera, fate) == second:
                self.fate(camera, fate)
        else:
            counted = self.fate_so_far(camera, fate) != base
        self.close_journal()
        return Journal(ring, slot - 1, fate, counted)

    def observe(self, stage: Stage, elapsed_ns: int) -> None:
        """Add one latency to a histogram; a clock that ran backwards counts as zero."""
        elapsed_ns = max(elapsed_ns, 0)
        words, base = self.words, _HISTOGRAM_AT[stage]
        words[base + bisect_left(_BOUNDS_NS, elapsed_ns)] += 1
        words[base + BUCKETS] += elapsed_ns

    def add_confidence(self, percent: float) -> None:
        """Add the confidence of one plate read to this worker's histogram."""
        words = self.words
        words[CONFIDENCE_BASE + bisect_left(CONFIDENCE_BOUNDS, percent)] += 1
        words[CONFIDENCE_BASE + len(CONFIDENCE_BOUNDS) + 1] += round(100 * percent)

    def exemplify(self, stage: Stage, sighting_id: str, elapsed_ns: int) -> None:
        """Name a sighting that took so long; ids that others gave and are no UUIDs are left out.

        Of its four words a reader may once in a blue moon see old and new ones: it is a hint.
        """
        try:
            bits = UUID(sighting_id).int
        except ValueError:
            return
        words, base = self.words, EXEMPLAR_BASE + stage * EXEMPLAR_WORDS
        words[base + 3] = 0
        words[base], words[base + 1] = bits >> 64, bits & (1 << 64) - 1
        words[base + 2] = max(elapsed_ns, 0)
        words[base + 3] = time.time_ns() // 1_000_000

    def beat(self, monotonic_ns: int) -> None:
        """Complete a turn: the supervisor restarts a process whose heartbeat stops."""
        self.words[HEARTBEAT_NS] = monotonic_ns
        self.words[TURN] += 1

    @property
    def kind(self) -> Kind:
        """Who writes this row now."""
        return Kind(self.words[KIND])

    @property
    def incarnation(self) -> int:
        """How often a process was started on this row."""
        return self.words[INCARNATION]

    @property
    def heartbeat_ns(self) -> int:
        """Monotonic time of the last turn."""
        return self.words[HEARTBEAT_NS]

    @property
    def turn(self) -> int:
        """Completed turns."""
        return self.words[TURN]

    def total(self, which: Count) -> int:
        """Return a counter."""
        return self.words[COUNT_BASE + which]

    def release(self) -> None:
        """Let go of the memory, so that the board can be closed."""
        self.words.release()
        self._cells.release()


def _feedback_base(rows: int, cameras: int) -> int:
    return 8 * (HEADER_WORDS + rows * (ROW_WORDS + cameras * CELL_WORDS))


def _board_bytes(rows: int, cameras: int) -> int:
    return _feedback_base(rows, cameras) + 8 * cameras * FEEDBACK_WORDS


class Board:
    """The whole board, mapped: the supervisor hands out rows, ``/metrics`` reads them all."""

    def __init__(self, segment: Segment, rows: int, cameras: int) -> None:
        self._segment = segment
        self.name = segment.name
        self.rows = rows
        self.cameras = cameras

    @classmethod
    def create(cls, name: str, rows: int, cameras: int) -> "Board":
        """Create a board with this many rows and camera cells per row (supervisor only)."""
        segment = Segment.create(name, _board_bytes(rows, cameras))
        header = segment.buffer[: 8 * HEADER_WORDS].cast("Q")
        for index, word in enumerate(
            (MAGIC, LAYOUT_VERSION, rows, cameras, ROW_WORDS, CELL_WORDS, 0, 0)
        ):
            header[index] = word
        header.release()
        return cls(segment, rows, cameras)

    @classmethod
    def attach(cls, name: str) -> "Board":
        """Attach a board by name.

        Raises:
            RingError: it is gone, or of another layout.
        """
        segment = Segment.attach(name, 8 * HEADER_WORDS)
        header = np.frombuffer(segment.buffer, np.uint64, HEADER_WORDS).tolist()
        if header[:2] != [MAGIC, LAYOUT_VERSION] or header[4:6] != [ROW_WORDS, CELL_WORDS]:
            segment.close()
            raise RingError(f"the segment {name} is no stats board of this version")
        rows, cameras = int(header[2]), int(header[3])
        segment.close()
        return cls(Segment.attach(name, _board_bytes(rows, cameras)), rows, cameras)

    def row(self, index: int) -> Row:
        """Return one row's words; writing them is its owner's right alone."""
        start = 8 * (HEADER_WORDS + index * ROW_WORDS)
        words = self._segment.buffer[start : start + 8 * ROW_WORDS].cast("Q")
        width = 8 * self.cameras * CELL_WORDS
        start = 8 * (HEADER_WORDS + self.rows * ROW_WORDS) + index * width
        return Row(words, self._segment.buffer[start : start + width].cast("Q"))

    def feedback(self, camera: int) -> memoryview:
        """Return one camera's words of feedback, of ``Q``; ``engine.feedback`` knows them."""
        start = _feedback_base(self.rows, self.cameras) + 8 * camera * FEEDBACK_WORDS
        return self._segment.buffer[start : start + 8 * FEEDBACK_WORDS].cast("Q")

    def processes(self) -> Words:
        """Return a copy of all rows: (rows, ROW_WORDS) uint64."""
        flat = np.frombuffer(
            self._segment.buffer, np.uint64, self.rows * ROW_WORDS, 8 * HEADER_WORDS
        )
        return flat.reshape(self.rows, ROW_WORDS).copy()

    def camera_states(self) -> dict[int, CameraState]:
        """Return the state of every camera, by its index, that has a decoder now."""
        states = list(CameraState)
        return {
            row[CAMERA]: states[row[STATE] - 1]
            for row in self.processes()[:, : CAMERA + 1].tolist()
            if row[KIND] == Kind.DECODER and 0 < row[STATE] <= len(states)
        }

    def last_frames_unix_ns(self) -> dict[int, int]:
        """Return when every camera, by its index, captured its newest frame; 0: none yet."""
        return {
            row[CAMERA]: row[LAST_FRAME_UNIX_NS]
            for row in self.processes()[:, : LAST_FRAME_UNIX_NS + 1].tolist()
            if row[KIND] == Kind.DECODER
        }

    def ledger(self) -> Words:
        """Return every camera's cell summed over all rows: (cameras, CELL_WORDS) uint64."""
        start = 8 * (HEADER_WORDS + self.rows * ROW_WORDS)
        flat = np.frombuffer(
            self._segment.buffer, np.uint64, self.rows * self.cameras * CELL_WORDS, start
        )
        summed: Words = flat.reshape(self.rows, self.cameras, CELL_WORDS).sum(0, dtype=np.uint64)
        return summed

    def close(self) -> None:
        """Unmap it; every row taken from it must have been released."""
        self._segment.close()

    def unlink(self) -> None:
        """Remove its name (supervisor only)."""
        self._segment.unlink()

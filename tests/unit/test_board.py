import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.board import (
    BUCKET_BOUNDS_MS,
    BUCKETS,
    CELL_WORDS,
    COUNT_BASE,
    EXEMPLAR_BASE,
    EXEMPLAR_WORDS,
    HISTOGRAM_BASE,
    INCARNATION,
    JOURNAL,
    KIND,
    LEASE_BASE,
    MAX_BATCH,
    ROW_WORDS,
    Board,
    Count,
    Fate,
    Journal,
    Kind,
    Stage,
)
from engine.errors import RingError
from engine.shm import RunLock, Segment

ROWS, CAMERAS = 3, 4


@pytest.fixture
def board():
    lock = RunLock()
    board = Board.create(lock.name("board"), ROWS, CAMERAS)
    yield board
    board.close()
    lock.release()


@pytest.fixture
def row(board):
    row = board.row(1)
    yield row
    row.release()


def _words(row, stage: Stage) -> list[int]:
    base = HISTOGRAM_BASE + stage * (BUCKETS + 1)
    return row.words[base : base + BUCKETS + 1].tolist()


def test_the_parts_of_a_row_do_not_overlap():
    assert JOURNAL + 5 <= LEASE_BASE
    assert LEASE_BASE + 4 * MAX_BATCH <= COUNT_BASE
    assert COUNT_BASE + len(Count) <= HISTOGRAM_BASE
    assert HISTOGRAM_BASE + len(Stage) * (BUCKETS + 1) <= EXEMPLAR_BASE
    assert EXEMPLAR_BASE + len(Stage) * EXEMPLAR_WORDS <= ROW_WORDS
    assert max(Fate) < CELL_WORDS


def test_rows_and_cells_are_separate_words(board):
    rows = [board.row(index) for index in range(ROWS)]
    for index, row in enumerate(rows):
        row.words[0] = row.words[ROW_WORDS - 1] = 10 + index
        for camera in range(CAMERAS):
            row.fate(camera, Fate.CAPTURED, 100 * index + camera)
            row.fate(camera, Fate.DROPPED_NO_RING, 1)
    table = board.processes()
    assert table.shape == (ROWS, ROW_WORDS)
    assert table[:, 0].tolist() == table[:, -1].tolist() == [10, 11, 12]
    ledger = board.ledger()
    assert ledger.shape == (CAMERAS, CELL_WORDS)
    assert ledger[:, Fate.CAPTURED].tolist() == [300 + 3 * camera for camera in range(CAMERAS)]
    assert ledger[:, Fate.DROPPED_NO_RING].tolist() == [ROWS] * CAMERAS
    assert ledger.sum() == 4 * 300 + 3 * 6 + ROWS * CAMERAS
    for row in rows:
        row.release()


def test_copies_do_not_change_with_the_board(board, row):
    before = board.ledger()
    row.fate(0, Fate.CAPTURED)
    assert before.sum() == 0
    assert board.ledger().sum() == 1


def test_another_process_writes_what_we_read(board, row):
    script = (
        "from engine.board import *\n"
        f"board = Board.attach({board.name!r})\n"
        "row = board.row(1)\n"
        "row.words[KIND], row.words[INCARNATION] = Kind.WORKER, 3\n"
        "row.beat(77); row.beat(78); row.count(Count.STORED, 5); row.gauge(Count.SPOOL_DEPTH, 9)\n"
        "row.fate(2, Fate.RECOGNIZED, 2**40)\n"
        "row.release(); board.close()\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, timeout=30)
    assert row.kind is Kind.WORKER
    assert (row.incarnation, row.turn, row.heartbeat_ns) == (3, 2, 78)
    assert (row.total(Count.STORED), row.total(Count.SPOOL_DEPTH)) == (5, 9)
    assert row.fate_so_far(2, Fate.RECOGNIZED) == 2**40
    assert board.processes()[1, [KIND, INCARNATION]].tolist() == [Kind.WORKER, 3]


def test_a_board_of_another_layout_or_none_is_refused(board):
    for word in (0, 1, 4, 5):
        view = np.frombuffer(board._segment.buffer, np.uint64)
        view[word] += 1
        with pytest.raises(RingError, match="no stats board"):
            Board.attach(board.name)
        view[word] -= 1
        del view
    Board.attach(board.name).close()
    with pytest.raises(RingError, match="gone"):
        Board.attach(board.name + "x")


def test_a_board_shorter_than_its_header_says_is_refused(board):
    view = np.frombuffer(board._segment.buffer, np.uint64)
    view[2] = 1000
    with pytest.raises(RingError, match="bytes, not"):
        Board.attach(board.name)
    view[2] = ROWS
    del view


def test_a_segment_too_small_for_a_header_is_refused():
    lock = RunLock()
    segment = Segment.create(lock.name("board"), 8)
    try:
        with pytest.raises(RingError):
            Board.attach(segment.name)
    finally:
        segment.close()
        lock.release()


def test_a_board_cannot_be_closed_under_a_row(board):
    other = Board.attach(board.name)
    row = other.row(0)
    with pytest.raises(BufferError):
        other.close()
    row.release()
    other.close()


# --- histograms ----------------------------------------------------------------------------------


@pytest.mark.parametrize(("index", "bound_ms"), [*enumerate(BUCKET_BOUNDS_MS)])
def test_a_bound_belongs_to_its_own_bucket(row, index, bound_ms):
    bound_ns = int(bound_ms * 1e6)
    row.observe(Stage.RECOGNIZE, bound_ns)
    row.observe(Stage.RECOGNIZE, bound_ns + 1)
    words = _words(row, Stage.RECOGNIZE)
    assert (words[index], words[index + 1]) == (1, 1)
    assert words[-1] == 2 * bound_ns + 1
    assert sum(words[:-1]) == 2


@given(st.lists(st.integers(-(10**9), 10**11), max_size=30))
def test_histograms_count_everything_once_and_never_less_than_zero(latencies):
    lock = RunLock()
    board = Board.create(lock.name("board"), 1, 1)
    row = board.row(0)
    for latency in latencies:
        row.observe(Stage.CAPTURE_TO_STORED, latency)
    *buckets, total = _words(row, Stage.CAPTURE_TO_STORED)
    assert sum(buckets) == len(latencies)
    assert total == sum(max(0, latency) for latency in latencies)
    others = [stage for stage in Stage if stage is not Stage.CAPTURE_TO_STORED]
    assert not any(sum(_words(row, stage)) for stage in others)
    row.release()
    board.close()
    lock.release()


# --- the journal ---------------------------------------------------------------------------------


def test_a_closed_journal_says_nothing(row):
    assert row.peek_journal() is None
    assert row.take_journal(0) is None
    row.count_slot(5, 3, 2, Fate.RECOGNIZED)
    row.close_journal()
    assert row.fate_so_far(2, Fate.RECOGNIZED) == 1
    assert row.take_journal(2) is None


@pytest.mark.parametrize("counted", [False, True])
def test_a_journal_tells_whether_the_fate_was_counted_and_is_taken_once(row, counted):
    row.fate(2, Fate.RECOGNIZED, 41)
    row.count_slot(5, 0, 2, Fate.RECOGNIZED)
    if not counted:  # the step before
        row.fate(2, Fate.RECOGNIZED, -1)
    assert row.peek_journal() == Journal(5, 0, Fate.RECOGNIZED, counted=False)
    assert row.take_journal(2) == Journal(5, 0, Fate.RECOGNIZED, counted)
    assert row.take_journal(2) is None
    assert row.fate_so_far(2, Fate.RECOGNIZED) == 41 + counted


def test_a_frame_that_passes_by_is_captured_and_meets_its_fate(row):
    row.pass_by(3, Fate.SKIPPED_STATIC)
    assert row.fate_so_far(3, Fate.CAPTURED) == row.fate_so_far(3, Fate.SKIPPED_STATIC) == 1
    assert row.take_journal(3) is None

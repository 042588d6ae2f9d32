"""A decoder that takes all it gets is told from one that waits for its camera, or is robbed."""

import os
import subprocess
import sys

import pytest

from engine.appetite import YIELDED_STEPS, Appetite, Schedule, main_threads_schedule
from engine.board import Board, Kind
from engine.children import ChildProcess
from engine.shm import RunLock


def after(seconds: float, *shares: tuple[float, float]) -> Appetite:
    """One that ran and waited for such shares of the time, for so long each."""
    appetite, ran_s, waited_s, now_s = Appetite(), 0.0, 0.0, 100.0
    for ran, waited in shares:
        for _ in range(round(seconds * 4)):
            now_s, ran_s, waited_s = now_s + 0.25, ran_s + ran / 4, waited_s + waited / 4
            appetite.note(now_s, Schedule(ran_s, waited_s))
    return appetite


@pytest.mark.parametrize("share", [(1.0, 0.0), (0.5, 0.49), (0.3, 0.68)])
def test_one_that_never_waits_is_greedy(share):
    assert after(6.0, share).is_greedy
    assert not after(4.0, share).is_greedy, "a burst is none"


@pytest.mark.parametrize("share", [(0.15, 0.85), (0.6, 0.1), (0.9, 0.0), (0.0, 0.0)])
def test_one_that_is_robbed_or_waits_is_not(share):
    assert not after(12.0, share).is_greedy


def test_one_that_is_held_back_stays_greedy_until_it_waits():
    assert after(6.0, (1.0, 0.0), (0.1, 0.85)).is_greedy
    assert not after(6.0, (1.0, 0.0), (0.1, 0.3)).is_greedy


def test_the_schedule_is_ours():
    before = main_threads_schedule()
    while main_threads_schedule().ran_s < before.ran_s + 0.05:
        sum(range(1000))
    assert main_threads_schedule().waited_s >= before.waited_s


def test_all_threads_yield_and_none_takes_back():
    code = (
        "import os, threading\nfrom engine.appetite import yield_to_others\n"
        "ended = threading.Event()\nthread = threading.Thread(target=ended.wait)\nthread.start()\n"
        "yield_to_others(7)\nyield_to_others(3)\n"
        "print(sorted(os.getpriority(0, int(t)) for t in os.listdir('/proc/self/task')))\n"
        "ended.set()\n"
    )
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == str([min(usual + 7, 19)] * 2)


def test_a_decoder_that_dies_again_and_again_yields():
    """The first one after a death is as good as any; a worker never yields."""
    usual = os.getpriority(os.PRIO_PROCESS, 0)
    lock = RunLock()
    board = Board.create(lock.name("board"), 2, 1)
    found = {}
    try:
        for row, kind in enumerate((Kind.DECODER, Kind.WORKER)):
            child = ChildProcess(kind, "child", board, row)
            found[kind] = []
            for _ in range(4):
                child.spawn(b"{}", b"not json")
                found[kind].append(os.getpriority(os.PRIO_PROCESS, child.pid))
                child.reap()
            child.release()
    finally:
        board.close()
        lock.release()
    yielding = min(usual + YIELDED_STEPS, 19)
    assert found[Kind.DECODER] == [usual, usual, yielding, yielding]
    assert found[Kind.WORKER] == [usual] * 4

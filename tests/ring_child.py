"""Processes at the ends of a ring, for tests: ``ring_child.py ROLE BOARD ROW HANDLE FDS...``.

``write`` offers frames of one grey as fast as it can; ``take`` leases, checks and gives back; both
until they are killed or their standard input ends. ``nursery`` forks such children for each line
of its standard input (``write`` or ``take ROW``), within a millisecond, and prints their pids.
"""

import json
import os
import select
import signal
import socket
import sys
import time
from collections.abc import Callable

import msgspec
from ring_rig import TORN, is_whole, offer

from engine.board import Board, Fate, Row
from engine.messages import RingHandle
from engine.ring import RingTaker, RingWriter
from engine.ring_memory import RingMemory, Tokens

LOOKS = 10
"""How often a taker checks all pixels: its recognition, in which others must not write there."""

Ended = Callable[[], bool]


def write(row: Row, handle: RingHandle, fds: list[int], ended: Ended) -> None:
    writer = RingWriter(RingMemory.attach(handle), row, fds, max_unread=1)
    writer.adopt()
    while not ended():
        _offer_or_wait(writer, row)


def _offer_or_wait(writer: RingWriter, row: Row) -> None:
    """Do with one frame what a decoder does."""
    if offer(writer) is not None:
        return
    if writer.handle.lossless:
        writer.wait_for_return(0.02)
    else:
        row.pass_by(writer.handle.camera, Fate.DROPPED_LEASED)


def write_and_obey(row: Row, handle: RingHandle, fds: list[int], ended: Ended) -> None:
    """Write, and do what is said over the control socket, the last of ``fds``."""
    *ring_fds, control_fd = fds
    control = socket.socket(fileno=control_fd)
    writer = RingWriter(RingMemory.attach(handle), row, ring_fds, max_unread=1)
    writer.adopt()
    resting = False
    while not ended():
        if select.select([control], [], [], 0.02 if resting else 0)[0]:
            word, slots = json.loads(control.recv(1 << 16))
            resting = word == "rest" or resting
            answers = {
                "stock": writer.outstanding,
                "reclaim": lambda asked=slots: writer.reclaim([tuple(held) for held in asked]),
                "rest": lambda: None,
                "drain": lambda: writer.drain(take_back=False),
            }
            control.send(json.dumps([word, answers[word]()]).encode())
        elif not resting:
            _offer_or_wait(writer, row)


def take(row: Row, handle: RingHandle, fds: list[int], ended: Ended) -> None:
    ready_read, return_write, tokens_read, tokens_write = fds
    taker = RingTaker(RingMemory.attach(handle), row, ready_read, return_write, 1.0)
    while not ended():
        lease = taker.take(0)
        row.beat(time.monotonic_ns())
        if lease is None:
            if select.select([tokens_read], [], [], 0.05)[0]:
                _consume(tokens_read)
            continue
        if taker.waited_ns(time.monotonic_ns()):
            Tokens(tokens_write).put()
        for _ in range(LOOKS):
            if not is_whole(lease.luma, lease.generation):
                os._exit(TORN)
        taker.give_back(lease, Fate.RECOGNIZED)


def _consume(fd: int) -> None:
    try:
        os.read(fd, 1)
    except BlockingIOError:
        return


def nursery(board: Board, handle: RingHandle, fds: list[int]) -> None:
    """Fork a child per line; ``fds``: the writer's five, then the taker's four."""
    home = os.getpid()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for them, they leave no zombies
    _say(home)
    for line in sys.stdin:
        _word, *rest = line.split()
        pid = os.fork()
        if pid == 0:
            row = board.row(int(rest[0]) if rest else 0)
            role, ends = (take, fds[5:]) if rest else (write_and_obey, fds[:5])
            role(row, handle, ends, lambda: os.getppid() != home)
            os._exit(0)
        _say(pid)


def _say(pid: int) -> None:
    sys.stdout.write(f"{pid}\n")
    sys.stdout.flush()


def main() -> None:
    role, board_name, row_index, handle_json, *numbers = sys.argv[1:]
    board, fds = Board.attach(board_name), [int(number) for number in numbers]
    handle = msgspec.json.decode(handle_json, type=RingHandle)
    if role == "nursery":
        nursery(board, handle, fds)
    else:
        run = {"write": write, "take": take}[role]
        row = board.row(int(row_index))
        run(row, handle, fds, lambda: bool(select.select([sys.stdin], [], [], 0)[0]))
    os._exit(0)


if __name__ == "__main__":
    main()

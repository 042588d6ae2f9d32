"""A process at one end of a ring, for tests: ``python ring_child.py ROLE BOARD ROW HANDLE FDS...``.

``write``: offers frames of one grey as fast as it can. ``take``: leases, checks and gives back.
Both run until they are killed or their standard input ends.
"""

import os
import select
import sys
import time

import msgspec
from ring_rig import TORN, is_whole, offer

from engine.board import Board, Fate, Row
from engine.messages import RingHandle
from engine.ring import RingTaker, RingWriter
from engine.ring_memory import RingMemory, Tokens


def write(row: Row, handle: RingHandle, fds: list[int]) -> None:
    writer = RingWriter(RingMemory.attach(handle), row, fds, max_unread=1)
    writer.adopt(row.take_journal(handle.camera))
    while not select.select([sys.stdin], [], [], 0)[0]:
        if offer(writer) is None and handle.lossless:
            writer.wait_for_return(0.1)
    while (
        not writer.drain(take_back=not handle.lossless)
        and not select.select([sys.stdin], [], [], 0)[0]
    ):
        writer.wait_for_return(0.1)


def take(row: Row, handle: RingHandle, fds: list[int]) -> None:
    ready_read, return_write, tokens_read, tokens_write = fds
    taker = RingTaker(RingMemory.attach(handle), row, ready_read, return_write, 1.0)
    while not select.select([sys.stdin], [], [], 0)[0]:
        lease = taker.take(0)
        row.beat(time.monotonic_ns())
        if lease is None:
            if select.select([tokens_read], [], [], 0.05)[0]:
                _consume(tokens_read)
            continue
        if taker.waited_ns(time.monotonic_ns()):
            Tokens(tokens_write).put()
        if not is_whole(lease.luma, lease.generation):
            os._exit(TORN)
        taker.give_back(lease, Fate.RECOGNIZED)


def _consume(fd: int) -> None:
    try:
        os.read(fd, 1)
    except BlockingIOError:
        return


if __name__ == "__main__":
    role, board_name, row_index, handle_json, *numbers = sys.argv[1:]
    board = Board.attach(board_name)
    {"write": write, "take": take}[role](
        board.row(int(row_index)),
        msgspec.json.decode(handle_json, type=RingHandle),
        [int(number) for number in numbers],
    )
    os._exit(0)

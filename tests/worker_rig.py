"""A recognizer worker in the test's own process, so that the test sees into it."""

import contextlib
import socket
from collections.abc import Iterator

from ring_rig import Rig

from engine.config import OpenAlprSettings
from engine.messages import AttachRing, encode
from engine.process import Child, Link
from engine.sections import WorkerSection
from engine.worker import Worker


@contextlib.contextmanager
def worker_at(rig: Rig) -> Iterator[tuple[Worker, socket.socket]]:
    """A worker in this process, attached to the ring, and the supervisor's end of its link."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    section = WorkerSection(
        recognizer="builtin",
        openalpr=OpenAlprSettings().model_dump_json(),
        provider="cpu",
        batch=1,
        batch_wait_ms=0.0,
        core=-1,
    )
    child = Child(
        name="worker-0",
        link=Link(theirs),
        row=rig.rows[1],
        board=rig.board,
        section=section.encode(),
        fds=list(rig.tokens),
        incarnation=1,
        stopping=lambda: False,
    )
    worker = Worker(child)
    socket.send_fds(ours, [encode(AttachRing(handle=rig.handle, weight=1.0))], rig.owned.taker_fds)
    worker._hear_supervisor()
    try:
        yield worker, ours
    finally:
        for taker in worker._rings.values():
            taker.close()
        ours.close()
        theirs.close()

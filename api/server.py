"""The API's process: ``python -m api.server FD``.

Without a listener among its descriptors it serves nobody and is its machine's herald alone.
"""

# ruff: noqa: E402  # gevent replaces blocking calls before anybody else has imported them
from gevent import monkey

monkey.patch_all()

import logging
import resource
import socket
import time
from typing import Any, Final

import gevent
import msgspec
from gevent.pool import Pool

from api.app import Front, build_front, create_app
from api.connections import Server
from engine.board import Board, Kind
from engine.errors import PlateringError, RingError
from engine.exposure import is_loopback
from engine.messages import Ready, Stop
from engine.process import Child, run_child
from engine.sections import ApiSection

BEAT_S: Final = 0.5
BACKLOG: Final = 1_024
DRAIN_S: Final = 2.0
MOST_CONNECTIONS: Final = 20_000
SPARE_DESCRIPTORS: Final = 200
"""For Redis, the engine's sockets, rings and files."""

_PLACED_WITHIN_S: Final = 1.0
"""Waited for Redis before the first visitor is let in; it may be away."""

log = logging.getLogger(__name__)


def main(child: Child) -> None:
    """Serve the listener that the supervisor bound until it says ``Stop``."""
    # What a native thread or a task of ours raises is raised again here, where it is dealt with.
    gevent.get_hub().NOT_ERROR += (PlateringError,)
    section = msgspec.json.decode(child.section, type=ApiSection)
    board = Board.attach(section.board)
    listener = socket.socket(fileno=child.fds[0]) if child.fds else None
    loopback = listener is not None and is_loopback(listener)
    front = build_front(section, child.name, child.row, board, loopback=loopback)
    tasks = [gevent.spawn(front.cameras.run)]
    if front.herald is not None:
        tasks.append(gevent.spawn(front.herald.run))
    if listener is None:  # an engine without a front: nobody is served here
        child.link.send(Ready(detail="tells other machines of this one"))
        _until_stopped(child, tasks)
        return
    tasks += [
        gevent.spawn(work)
        for work in (
            front.hub.run,
            front.nodes.run,
            front.camera_events.run,
            front.redis_watch.run,
            front.uploads.run,
            front.streams.stays.run,
        )
    ]
    front.hub.wait_for_place(_PLACED_WITHIN_S)
    server = _server(listener, front)
    server.start()
    host, port = listener.getsockname()[:2]
    scheme = "https" if server.ssl_enabled else "http"
    child.link.send(Ready(detail=f"{scheme}://{host}:{port}/"))
    try:
        _until_stopped(child, tasks)
    finally:
        _drain(server, front)


def _server(listener: socket.socket, front: Front) -> Server:
    """Return the HTTP server on a listener that other API processes accept from, too."""
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return Server(
        listener,
        create_app(front),
        front.settings,
        front.row,
        spawn=Pool(_connections()),  # when all are taken, newcomers wait in the kernel's queue
        environ={"wsgi.multiprocess": front.settings.processes > 1},
    )


def _connections() -> int:
    """Raise the limit of descriptors as far as it goes; return how many connections it allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = MOST_CONNECTIONS + SPARE_DESCRIPTORS
    allowed = wanted if hard == resource.RLIM_INFINITY else min(hard, wanted)
    if soft != resource.RLIM_INFINITY and soft < allowed:
        resource.setrlimit(resource.RLIMIT_NOFILE, (allowed, hard))
    return int(allowed - SPARE_DESCRIPTORS)


def _until_stopped(child: Child, tasks: list[Any]) -> None:
    """Beat until the supervisor says ``Stop`` or a task of ours has died."""
    while not child.stopping():
        child.row.beat(time.monotonic_ns())
        received = child.link.receive(timeout_s=BEAT_S)
        if received is not None and isinstance(received[0], Stop):
            return
        for task in tasks:
            if task.dead:
                task.get()
                raise RingError("a task of the front ended without being asked to")


def _drain(server: Any, front: Front) -> None:
    """Accept no more, end the streams, let short requests finish."""
    server.stop_accepting()
    front.hub.close()
    server.stop(timeout=DRAIN_S)
    front.nodes.forget_clients()


if __name__ == "__main__":
    run_child(Kind.API, main)

"""When a picture was taken: a camera's own clock, from its RTCP reports, behind a slow network."""

import contextlib
import selectors
import socket
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path

import pytest
from decoder_rig import DecoderRig, decoders
from polling import wait_until
from streams import rtsp_server

from engine.board import LAST_FRAME_UNIX_NS

QUICK = {"connect_timeout_s": 8.0, "skip_static": False, "transport": "tcp"}
LATE_S = 0.5
REPORTED_S = 8.0
"""GStreamer sends its first report some seconds after the start."""


class SlowRelay(threading.Thread):
    """Hands a TCP connection on; what the server says comes ``LATE_S`` later."""

    def __init__(self, server_port: int) -> None:
        super().__init__()
        self.ended = threading.Event()
        self._server_port = server_port
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._listener.settimeout(0.1)
        self.port = int(self._listener.getsockname()[1])

    def run(self) -> None:
        with self._listener:
            while not self.ended.is_set():
                with contextlib.suppress(TimeoutError, ConnectionError):
                    near, _ = self._listener.accept()
                    with near, socket.create_connection(("127.0.0.1", self._server_port)) as far:
                        self._relay(near, far)

    def _relay(self, near: socket.socket, far: socket.socket) -> None:
        waiting: deque[tuple[float, bytes]] = deque()
        with selectors.DefaultSelector() as ready:
            ready.register(near, selectors.EVENT_READ)
            ready.register(far, selectors.EVENT_READ)
            while not self.ended.is_set():
                for key, _ in ready.select(0.01):
                    chunk = key.fileobj.recv(65_536)
                    if not chunk:
                        return
                    if key.fileobj is near:
                        far.sendall(chunk)
                    else:
                        waiting.append((time.monotonic() + LATE_S, chunk))
                while waiting and waiting[0][0] <= time.monotonic():
                    near.sendall(waiting.popleft()[1])


@pytest.fixture
def rig(tmp_path: Path) -> Iterator[DecoderRig]:
    with decoders(tmp_path, cameras=2) as running:
        yield running


@contextlib.contextmanager
def slowly(port: int) -> Iterator[str]:
    """The address of a camera behind a slow network."""
    relay = SlowRelay(port)
    relay.start()
    try:
        yield f"rtsp://127.0.0.1:{relay.port}/cam"
    finally:
        relay.ended.set()
        relay.join()


def age_s(rig: DecoderRig, number: int) -> float:
    """Return how old a camera's next frame is when it comes."""
    row = rig.cameras[number].child.row
    before = row.words[LAST_FRAME_UNIX_NS]
    wait_until(lambda: row.words[LAST_FRAME_UNIX_NS] != before or rig.hear(), 5.0, "a frame")
    return time.time() - row.words[LAST_FRAME_UNIX_NS] / 1e9


@pytest.mark.parametrize("has_clock", [True, pytest.param(False, marks=pytest.mark.long)])
def test_the_age_of_a_picture_is_its_cameras_word(rig: DecoderRig, *, has_clock: bool) -> None:
    with rtsp_server(has_clock=has_clock) as server, slowly(server.port) as url:
        asked = rig.add(url, **QUICK)
        asked.wait_frames(15.0)
        if has_clock:
            wait_until(lambda: age_s(rig, 0) > LATE_S, REPORTED_S, "it tells when they are taken")
            assert age_s(rig, 0) < LATE_S + 0.7
        else:  # its reports are of 1900: it came a moment ago, more nobody knows
            asked.wait_frames(15.0, more=90)
            assert min(age_s(rig, 0) for _ in range(5)) < LATE_S

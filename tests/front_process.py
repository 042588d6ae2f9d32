"""An API process as the supervisor would start it, with a stats board of its own."""

import secrets
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import msgspec

from engine.board import Board, Count, Seat
from engine.config import ApiSettings, LogSettings
from engine.messages import DECODE, Ready, Start, Stop, encode
from engine.process import log_section
from engine.sections import ApiSection
from engine.types import Candidate, Phase, Sighting


def sighting(number: int, revision: int = 1, **changes: object) -> Sighting:
    """Return a sighting of now; revision 1 is provisional, 2 revised, later ones final."""
    phase = {1: Phase.PROVISIONAL, 2: Phase.REVISED}.get(revision, Phase.FINAL)
    now = time.time_ns() // 1_000_000
    fields = {
        "id": f"s{number}", "revision": revision, "phase": phase, "camera": "gate", "node": "n",
        "plate": f"AB{number:04d}", "confidence": 91.5,
        "candidates": (Candidate(f"AB{number:04d}", 91.5),),
        "first_unix_ms": now, "last_unix_ms": now, "best_unix_ms": now,
    }  # fmt: skip
    return Sighting(**(fields | changes))


class FrontProcess(msgspec.Struct):
    """A running API process and the test's end of its link."""

    process: subprocess.Popen[bytes]
    link: socket.socket
    board: Board
    listener: socket.socket

    @property
    def port(self) -> int:
        """Where it listens on 127.0.0.1."""
        return int(self.listener.getsockname()[1])

    @property
    def url(self) -> str:
        """Its address, without a slash at the end."""
        return f"http://127.0.0.1:{self.port}"

    def total(self, which: Count) -> int:
        """Return one of its counters."""
        row = self.board.row(0)
        try:
            return row.total(which)
        finally:
            row.release()

    def stop(self, timeout_s: float = 5.0) -> int:
        """Say ``Stop`` and return the exit code."""
        self.link.send(encode(Stop()))
        return self.process.wait(timeout_s)


@contextmanager
def front_process(
    redis_url: str,
    *,
    cameras: tuple[str, ...] = (),
    control_path: str = "",
    ingest_path: str = "",
    settings: ApiSettings | None = None,
    listen: socket.socket | int = 0,
    **section: object,
) -> Iterator[FrontProcess]:
    """Start an API process, wait until it is ready, end it however the test ended.

    ``listen`` is a port, or another one's listener to share; ``section`` what else it is told.
    """
    settings = settings or ApiSettings()
    shared = isinstance(listen, socket.socket)
    listener = listen if shared else socket.create_server(("127.0.0.1", listen), backlog=512)
    board = Board.create(f"platering.test{secrets.token_hex(4)}.board", 1, max(1, len(cameras)))
    data_dir = tempfile.mkdtemp(prefix="plt-front-")
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    whole = ApiSection(
        **{
            "api": settings.model_dump_json(), "redis_url": redis_url, "node": "test",
            "board": board.name, "cameras": cameras, "control_path": control_path,
            "ingest_path": ingest_path, "data_dir": data_dir,
        } | section
    )  # fmt: skip
    command = [sys.executable, "-W", "error", "-m", "api.server", str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        start = Start(
            seat=Seat(board.name, 0, 1), name="api", section=whole.encode(),
            log=log_section(LogSettings(level="debug")),
        )  # fmt: skip
        socket.send_fds(ours, [encode(start)], [listener.fileno()])
        ours.settimeout(20.0)
        ready = DECODE.to_supervisor.decode(ours.recv(1 << 20))
        assert isinstance(ready, Ready), ready
        yield FrontProcess(process, ours, board, listener)
    finally:
        ours.close()  # an API process whose supervisor is gone ends by itself
        try:
            process.wait(5.0)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if not shared:
            listener.close()
        board.close()
        board.unlink()
        shutil.rmtree(data_dir)

"""The servers that ``platering bench sse`` compares, each on a listener that the bench bound.

Ours as the supervisor would start it, the tutorials' (a subscription per client), and a C program
that coalesces as ours does, compiled here.
"""

import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from engine.board import Board, Seat
from engine.config import ApiSettings, LogSettings
from engine.errors import PreflightError
from engine.messages import DECODE, Ready, Start, encode
from engine.process import log_section
from engine.sections import ApiSection
from engine.shm import RunLock

READY_WITHIN_S: Final = 20.0
COMPILE_WITHIN_S: Final = 60.0
COMPILERS: Final = ("cc", "gcc", "clang")
SOURCE: Final = Path(__file__).with_name("sse_sender.c")

Server: TypeAlias = Callable[[socket.socket, str], AbstractContextManager[int]]
"""Serves ``/stream`` on a listener, from the Redis behind a path; gives the pid that does so."""


@contextmanager
def ours(listener: socket.socket, redis_socket: str) -> Iterator[int]:
    """Run an API process."""
    lock = RunLock()
    board = Board.create(lock.name("board"), 1, 1)
    link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    command = [sys.executable, "-m", "api.server", str(theirs.fileno())]
    try:
        with (
            tempfile.TemporaryDirectory(prefix="plt-bench-") as data_dir,
            running(command, theirs.fileno()) as pid,
        ):
            section = ApiSection(
                api=unlimited().model_dump_json(), redis_url=f"unix://{redis_socket}",
                node="bench", board=board.name, cameras=(), control_path="", ingest_path="",
                data_dir=data_dir,
            )  # fmt: skip
            theirs.close()
            start = Start(
                seat=Seat(board.name, 0, 1), name="api", section=section.encode(),
                log=log_section(LogSettings(level="error")),
            )  # fmt: skip
            socket.send_fds(link, [encode(start)], [listener.fileno()])
            link.settimeout(READY_WITHIN_S)
            if not isinstance(DECODE.to_supervisor.decode(link.recv(1 << 20)), Ready):
                raise PreflightError("the API process does not start")
            yield pid
    finally:
        link.close()
        board.close()
        lock.release()


def unlimited() -> ApiSettings:
    """Return settings without limits: the whole crowd comes from one address."""
    endings = ("_per_s", "_per_key", "_per_address")
    limits = [name for name in ApiSettings.model_fields if name.endswith(endings)]
    return ApiSettings.model_validate(dict.fromkeys(limits, 0))


@contextmanager
def tutorial(listener: socket.socket, redis_socket: str) -> Iterator[int]:
    """Run the tutorials' server."""
    command = [sys.executable, "-m", "api.tutorial", str(listener.fileno()), redis_socket]
    with running(command, listener.fileno()) as pid:
        yield pid


@contextmanager
def compiled_sender() -> Iterator[Server]:
    """Compile the C program; yield what runs it.

    Raises:
        PreflightError: there is no C compiler, or it does not compile; says so.
    """
    compiler = next(filter(None, map(shutil.which, COMPILERS)), None)
    if compiler is None:
        raise PreflightError("there is no C compiler — install the package gcc")
    with tempfile.TemporaryDirectory(prefix="plt-bench-") as folder:
        program = Path(folder) / "sse_sender"
        done = subprocess.run(
            [compiler, "-O2", "-o", str(program), str(SOURCE)],
            capture_output=True, text=True, check=False, timeout=COMPILE_WITHIN_S,
        )  # fmt: skip
        if done.returncode:
            raise PreflightError(f"{compiler} does not compile it: {done.stderr.strip()[:200]}")

        @contextmanager
        def sender(listener: socket.socket, redis_socket: str) -> Iterator[int]:
            listener.setblocking(False)
            command = [str(program), str(listener.fileno()), redis_socket]
            with running(command, listener.fileno()) as pid:
                yield pid

        yield sender


@contextmanager
def running(command: list[str], passed_fd: int) -> Iterator[int]:
    """Run a process that inherits a descriptor, and end it."""
    process = subprocess.Popen(command, pass_fds=[passed_fd])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()

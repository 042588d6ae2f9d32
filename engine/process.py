"""What every child process has in common: its link to the supervisor, its log, its end.

A child is ``python -m engine.worker FD``: FD is its end of a SOCK_SEQPACKET pair, over which the
supervisor sends ``Start`` and everything later. When the supervisor dies, however it dies, the
kernel closes the other end: the link reads as ended and the child ends, too.
"""

import contextlib
import logging
import os
import select
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable
from typing import Final

import msgspec

from engine.board import INCARNATION, KIND, Board, Count, Kind, Row
from engine.config import LogSettings
from engine.errors import (
    EXIT_CONFIG,
    EXIT_FAILED,
    ConfigError,
    PlateringError,
    PreflightError,
    SourceUnsupportedError,
)
from engine.logs import count_repeats, set_up_logging, tell_repeats, use_log
from engine.messages import DECODE, Failed, Start, ToChild, ToSupervisor, UseLog, encode

MESSAGE_BYTES: Final = 1 << 20
MAX_FDS: Final = 8

log = logging.getLogger(__name__)


class LinkEndedError(PlateringError):
    """The other end of a link is gone."""


class Link:
    """The child's end of its socket to the supervisor; one thread at a time may receive."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._end.setblocking(False)

    def fileno(self) -> int:
        """For poll and epoll: readable when a message waits or the supervisor is gone."""
        return self._end.fileno()

    def receive(self, timeout_s: float | None = 0.0) -> tuple[ToChild, list[int]] | None:
        """Return the next message and its descriptors, or None when none came in time.

        Raises:
            LinkEndedError: the supervisor is gone.
        """
        if timeout_s != 0.0 and not select.select([self._end], [], [], timeout_s)[0]:
            return None
        while True:
            try:
                data, fds, _flags, _address = socket.recv_fds(self._end, MESSAGE_BYTES, MAX_FDS)
            except BlockingIOError:
                return None
            except ConnectionError:
                data, fds = b"", []
            if not data:
                raise LinkEndedError("the supervisor is gone")
            message = DECODE.to_child.decode(data)
            if not isinstance(message, UseLog):
                return message, fds
            use_log(msgspec.json.decode(message.log, type=dict[str, str]))  # every child the same

    def offer(self, message: ToSupervisor) -> None:
        """Send a message that may as well be lost: never waits, and minds no end."""
        with contextlib.suppress(OSError):
            self._end.send(encode(message))

    def send(self, message: ToSupervisor) -> None:
        """Send a message; waits at most 5 s for a supervisor that does not read.

        Raises:
            LinkEndedError: the supervisor is gone or stuck.
        """
        packet = encode(message)
        deadline = time.monotonic() + 5.0
        while True:
            try:
                self._end.send(packet)
            except BlockingIOError:
                left = deadline - time.monotonic()
                if left <= 0 or not select.select([], [self._end], [], left)[1]:
                    raise LinkEndedError("the supervisor does not read") from None
            except OSError as error:
                raise LinkEndedError("the supervisor is gone") from error
            else:
                return


class Child(msgspec.Struct, frozen=True):
    """What a child's main is given: who it is, its link, its row, its section, its descriptors."""

    name: str
    link: Link
    row: Row
    board: Board
    section: bytes
    fds: list[int]
    incarnation: int
    stopping: Callable[[], bool]
    """True once SIGTERM asked this process to stop (the supervisor itself says ``Stop``)."""


def run_child(kind: Kind, main: Callable[[Child], None]) -> None:
    """Run a child's main between its ``Start`` and its exit code; never returns.

    Exit codes: 0 when it was told to stop or its supervisor is gone, ``EXIT_CONFIG`` when
    restarting it would not help, ``EXIT_FAILED`` otherwise.
    """
    stop_asked: list[int] = []
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the supervisor, which says Stop
    signal.signal(signal.SIGTERM, lambda number, _frame: stop_asked.append(number))
    link = Link(socket.socket(fileno=int(sys.argv[1])))

    def end_with_thread(hook: threading.ExceptHookArgs) -> None:
        log.critical("unexpected error in thread %s", hook.thread, exc_info=hook.exc_value)
        os._exit(_say_last(link, EXIT_FAILED, f"{hook.exc_type.__name__}: {hook.exc_value}"))

    threading.excepthook = end_with_thread  # half a process is worse than none
    code = 0
    try:
        start, fds = _receive_start(link)
        set_up_logging(msgspec.json.decode(start.log, type=dict[str, str]), start.name)
        board = Board.attach(start.seat.board)
        row = board.row(start.seat.row)
        row.words[KIND] = kind
        row.words[INCARNATION] = start.seat.incarnation
        row.beat(time.monotonic_ns())
        count_repeats(lambda: row.count(Count.LOG_REPEATS))
        main(
            Child(
                name=start.name,
                link=link,
                row=row,
                board=board,
                section=start.section,
                fds=fds,
                incarnation=start.seat.incarnation,
                stopping=lambda: bool(stop_asked),
            )
        )
    except LinkEndedError as error:
        log.warning("%s: ending", error)
    except (ConfigError, PreflightError, SourceUnsupportedError) as error:
        code = _say_last(link, EXIT_CONFIG, str(error))
    except PlateringError as error:
        code = _say_last(link, EXIT_FAILED, str(error))
    except Exception as error:  # the top of a process: whatever it is, it is named
        log.exception("unexpected error")
        code = _say_last(link, EXIT_FAILED, f"{type(error).__name__}: {error}")
    tell_repeats()
    logging.shutdown()
    sys.stdout.flush()
    os._exit(code)  # native threads and views of shared memory must not delay or spoil the end


def _receive_start(link: Link) -> tuple[Start, list[int]]:
    """Return the supervisor's first message and its descriptors."""
    first = link.receive(timeout_s=30.0)
    if first is not None:
        message, fds = first
        if isinstance(message, Start):
            return message, fds
    raise LinkEndedError("the supervisor sent no Start")


def _say_last(link: Link, code: int, reason: str) -> int:
    """Tell the supervisor why, as far as it still listens; return the exit code."""
    log.error("%s", reason)
    try:
        link.send(Failed(reason=reason))
    except LinkEndedError:
        log.warning("the supervisor is gone")
    return code


def log_section(settings: LogSettings) -> bytes:
    """Encode the log section for ``Start.log``."""
    return settings.model_dump_json().encode()

"""One child process as the supervisor sees it: spawn, link, exit, backoff."""

import logging
import math
import os
import random
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from engine.appetite import YIELDED_STEPS, start_below
from engine.board import Board, Kind, Row, Seat
from engine.errors import EXIT_CONFIG
from engine.messages import DECODE, Message, RestartReason, Start, ToSupervisor, encode
from engine.process import MESSAGE_BYTES

MODULES: Final = {
    Kind.DECODER: "engine.decoder",
    Kind.WORKER: "engine.worker",
    Kind.PUBLISHER: "engine.publisher",
    Kind.API: "api.server",
}
FIRST_BACKOFF_S: Final = 0.1
LONGEST_BACKOFF_S: Final = 30.0
SETTLED_S: Final = 30.0
"""A child that lived this long starts again with the shortest backoff."""
_YIELDING_BACKOFF_S: Final = 0.5
"""A decoder that dies again and again costs its start each time; the others go first."""
_HOME: Final = str(Path(__file__).resolve().parent.parent)

log = logging.getLogger(__name__)


class ChildProcess:
    """A role that some process fills: its row on the board stays, its incarnations come and go."""

    def __init__(self, kind: Kind, name: str, board: Board, row_index: int) -> None:
        self.kind = kind
        self.name = name
        self.row_index = row_index
        self.row: Row = board.row(row_index)
        self.incarnation = 0
        self.restarts = 0
        self.restart_reasons = dict.fromkeys(RestartReason, 0)
        self.detail = ""
        self.failure = ""
        """What it said last before it ended."""
        self.is_wanted = True
        self.was_wanted = True
        """Whether its last incarnation was meant to run when it ended."""
        self.was_ready = False
        """Whether its last incarnation was ready once."""
        self.is_dismissed = False
        """Told to end for good while the run goes on."""
        self.is_renewed = False
        """Told to end in order to start again."""
        self.ends_by = math.inf
        """When one that was told to end is killed; monotonic."""
        self.terms = b""
        """The part of its section by which its last incarnation was started, see ``Roster``."""
        self.is_link_ended = False
        self.is_ready = False
        self.start_at = 0.0
        self._board = board.name
        self._backoff_s = FIRST_BACKOFF_S
        self._started_at = 0.0
        self._process: subprocess.Popen[bytes] | None = None
        self._link: socket.socket | None = None
        self._outbox: deque[tuple[bytes, list[int], bool]] = deque()
        """Packets, their descriptors, and whether these are closed once sent."""
        self.pidfd = -1

    @property
    def pid(self) -> int:
        """Process id, 0 while there is none."""
        return self._process.pid if self._process is not None else 0

    @property
    def is_up(self) -> bool:
        """True between spawn and reap."""
        return self._process is not None

    def spawn(self, section: bytes, log_section: bytes, fds: Sequence[int] = ()) -> None:
        """Start an incarnation and send it ``Start`` with these descriptors."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.setblocking(False)
        self.incarnation += 1
        self._started_at = time.monotonic()
        environment = dict(os.environ)
        paths = [_HOME, environment.get("PYTHONPATH", "")]
        environment["PYTHONPATH"] = os.pathsep.join(path for path in paths if path)
        environment["PYTHONSAFEPATH"] = "1"  # a folder named engine in the cwd is none of ours
        self._process = subprocess.Popen(
            [sys.executable, "-m", MODULES[self.kind], str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            stdin=subprocess.DEVNULL,
            env=environment,
            process_group=0,  # Ctrl-C is for the supervisor alone
        )
        theirs.close()
        if self.kind is Kind.DECODER and self._backoff_s > _YIELDING_BACKOFF_S:
            start_below(self._process.pid, YIELDED_STEPS)
        self._link = ours
        self._drop_outbox()
        self.is_link_ended = False
        self.failure, self.is_ready, self.ends_by = "", False, math.inf
        self.pidfd = os.pidfd_open(self._process.pid)
        seat = Seat(self._board, self.row_index, self.incarnation)
        start = Start(seat=seat, name=self.name, section=section, log=log_section)
        self.send(start, fds)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a message, now or as soon as the child reads; a dead child's is forgotten."""
        if self._link is not None:
            self._outbox.append((encode(message), list(fds), False))
            self.flush()

    def send_and_close(self, message: Message, fd: int) -> None:
        """Send a message with a descriptor that is the child's alone afterwards."""
        self._outbox.append((encode(message), [fd], True))
        self.flush()

    def flush(self) -> None:
        """Send what the link takes without waiting."""
        while self._outbox and self._link is not None:
            packet, fds, ours = self._outbox[0]
            try:
                socket.send_fds(self._link, [packet], fds)
            except BlockingIOError:
                return
            except OSError:  # it is dying; its pidfd says so next
                self._drop_outbox()
                return
            self._outbox.popleft()
            if ours:
                os.close(fds[0])

    def _drop_outbox(self) -> None:
        """Forget what a dead child did not read."""
        for _packet, fds, ours in self._outbox:
            if ours:
                os.close(fds[0])
        self._outbox.clear()

    def receive(self) -> ToSupervisor | None:
        """Return the next message, or None when none waits."""
        if self._link is None:
            return None
        try:
            data = self._link.recv(MESSAGE_BYTES)
        except BlockingIOError:
            return None
        except ConnectionError:
            data = b""
        self.is_link_ended = not data
        return DECODE.to_supervisor.decode(data) if data else None

    def close_link(self) -> None:
        """Close an ended link."""
        if self._link is not None:
            self._link.close()
            self._link = None

    def link_fileno(self) -> int:
        """The link's descriptor, -1 while there is none."""
        return self._link.fileno() if self._link is not None else -1

    def signal(self, number: int) -> None:
        """Send a signal to the present incarnation, if there is one."""
        if self._process is not None:
            self._process.send_signal(number)

    def reap(self) -> int:
        """Collect a dead incarnation; return its exit code (negative: the signal)."""
        if self._process is None:
            raise ValueError(f"{self.name} does not run")
        code = self._process.wait()
        self._process = None
        self.close_link()
        self._drop_outbox()
        os.close(self.pidfd)
        self.pidfd = -1
        self.was_ready, self.is_ready = self.is_ready, False
        self.was_wanted = self.is_wanted
        if code == EXIT_CONFIG:
            self.is_wanted = False  # the same configuration would fail again
        self._back_off()
        return code

    def start_soon(self) -> None:
        """Let it start again without a pause: it ended as it was told to."""
        self._backoff_s, self.start_at = FIRST_BACKOFF_S, time.monotonic()

    def count_restart(self, reason: RestartReason) -> None:
        """Note that it has to be started again, and why."""
        self.restarts += 1
        self.restart_reasons[reason] += 1

    def _back_off(self) -> None:
        """Choose when the next incarnation may start."""
        now = time.monotonic()
        if now - self._started_at > SETTLED_S:
            self._backoff_s = FIRST_BACKOFF_S
        self.start_at = now + self._backoff_s * random.uniform(0.8, 1.2)
        self._backoff_s = min(3 * self._backoff_s, LONGEST_BACKOFF_S)

    def release(self) -> None:
        """Let go of the row, so that the board can be closed."""
        self.row.release()

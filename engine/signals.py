"""What a process asks of its kernel: to be told of signals, enough open files, its terminal."""

import contextlib
import os
import resource
import signal
import socket
from typing import Final


def allow_open_files() -> None:
    """Raise the soft limit of open files to the hard one: a camera takes about seven."""
    _soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def has_terminal() -> bool:
    """Tell whether this process has a terminal: whoever closes it sends SIGHUP, too."""
    try:
        os.close(os.open("/dev/tty", os.O_RDONLY | os.O_CLOEXEC | os.O_NOCTTY))
    except OSError:
        return False
    return True


class NotedSignals:
    """Signals that ask for the end or a reload, noted from the first moment, for a selector."""

    NUMBERS: Final = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

    def __init__(self) -> None:
        self._noted: list[int] = []
        self._end, wake = socket.socketpair()
        self._end.setblocking(False)
        wake.setblocking(False)
        self._wake = wake
        signal.set_wakeup_fd(wake.fileno(), warn_on_full_buffer=False)
        for number in self.NUMBERS:
            signal.signal(number, lambda got, _frame: self._noted.append(got))

    def fileno(self) -> int:
        """For the selector: readable when a signal came."""
        return self._end.fileno()

    def take(self) -> list[int]:
        """Return the signals that came since the last time."""
        with contextlib.suppress(BlockingIOError):
            self._end.recv(4096)
        noted, self._noted = self._noted, []
        return noted

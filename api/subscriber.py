"""One live client: its socket, and what it has not taken yet.

A socket that takes no more keeps the remainder in ``backlog``, which a write watcher empties.
Nothing here waits. Over TLS bytes go through the TLS object, never to the socket below it.
"""

import contextlib
import ssl
from collections.abc import Callable
from typing import Any, Final

from gevent import get_hub

from api.channels import Channel

MAX_BACKLOG_BYTES: Final = 1 << 18
"""What may wait for one slow client."""

FAREWELL_WITHIN_S: Final = 5.0
"""How long a client may take for the last that it is sent."""

EVENT_END: Final = b"\n\n"
TLS_RECORD_BYTES: Final = 1 << 14
"""TLS must be offered the bytes again that it could not send: so much of a backlog is never cut."""

WRITE: Final = 2
"""libev's event mask for a writable descriptor."""

_FULL: Final = (BlockingIOError, ssl.SSLWantWriteError, ssl.SSLWantReadError)


def _sender(sock: Any) -> Callable[[bytes], int]:
    """Return what sends and returns at once, for a connected gevent socket."""
    tls = getattr(sock, "_sslobj", None)
    found: Callable[[bytes], int] = sock._sock.send if tls is None else tls.write  # noqa: SLF001  # below gevent's, which would wait
    return found


class Subscriber:
    """One live client."""

    __slots__ = ("_raw", "_send", "_timer", "_watcher", "backlog", "channel", "dismissed")

    def __init__(self, sock: Any, channel: Channel) -> None:
        """Take a connected gevent socket; the caller closes it after ``let_go``."""
        self._raw = sock._sock  # noqa: SLF001  # the plain socket below gevent's
        self._send = _sender(sock)
        self._watcher: Any = None
        self._timer: Any = None
        self.channel = channel
        self.backlog = b""
        self.dismissed = False

    def offer(self, payload: bytes) -> bool:
        """Send what the socket takes now and keep the rest; False when the client must go."""
        if self.backlog:
            self.backlog += payload
            return not self.is_slow
        try:
            sent = self._send(payload)
        except _FULL:
            sent = 0
        except OSError:
            return False
        if sent != len(payload):
            self.backlog = payload[sent:]
            self._watcher = get_hub().loop.io(self._raw.fileno(), WRITE)
            self._watcher.start(self._drain)
            return not self.is_slow
        return True

    @property
    def is_slow(self) -> bool:
        """Tell whether more waits for it than may; else one that must go is gone."""
        return len(self.backlog) > MAX_BACKLOG_BYTES

    def dismiss(self, farewell: bytes) -> None:
        """Finish the event that is under way, say farewell and end the connection.

        What else waited is dropped: the client gets it when it resumes by its last id.
        """
        if self.dismissed:
            return
        self.dismissed = True
        if self.backlog:
            end = self.backlog.find(EVENT_END, TLS_RECORD_BYTES)
            if end >= 0:
                self.backlog = self.backlog[: end + len(EVENT_END)]
        self.offer(farewell)
        if not self.backlog:
            self.end()
            return
        self._timer = get_hub().loop.timer(FAREWELL_WITHIN_S)
        self._timer.start(self.end)

    def end(self) -> None:
        """Shut the connection down: the greenlet parked on it wakes up and cleans up."""
        self.dismissed = True
        with contextlib.suppress(OSError):
            self._raw.shutdown(2)

    def let_go(self) -> None:
        """Let go of the watchers, before the descriptor is closed."""
        for watcher in (self._watcher, self._timer):
            if watcher is not None:
                watcher.stop()
                watcher.close()
        self._watcher = self._timer = None

    def _drain(self) -> None:
        """Send more of the backlog, now that the socket takes some."""
        try:
            self.backlog = self.backlog[self._send(self.backlog) :]
        except _FULL:
            return
        except OSError:
            self.backlog = b""
        if not self.backlog:
            self._watcher.stop()
            self._watcher.close()
            self._watcher = None
            if self.dismissed:
                self.end()

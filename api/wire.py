"""The HTTP handler: pywsgi's, with two changes of ours.

A response may take its connection over: the view leaves a callable under ``TAKEOVER`` in the WSGI
environment and returns the headers only; the handler sends them unchunked, hands the socket to
the callable and closes it when that returns. Request lines are never logged: a URL may hold a key.
"""

import socket
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from gevent.pywsgi import WSGIHandler

TAKEOVER: Final = "platering.takeover"
"""Key of the WSGI environment under which a view leaves its ``Takeover``."""

Takeover: TypeAlias = Callable[[Any], None]
"""Called with the connected gevent socket once the headers are sent; returns to close it."""

REQUEST_TIMEOUT_S: Final = 30.0
"""How long a client may take between two pieces of its request."""


class Handler(WSGIHandler):  # type: ignore[misc]  # gevent has no types
    """Serves one connection."""

    def __init__(self, sock: Any, address: Any, server: Any) -> None:
        super().__init__(sock, address, server)
        sock.settimeout(REQUEST_TIMEOUT_S)
        # Headers and body are two writes: with Nagle the second waits 40 ms for the client's ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def _takeover(self) -> Takeover | None:
        """Return what wants this connection, unless only the headers were asked for."""
        if self.command == "HEAD" or self.code != 200:
            return None
        found: Takeover | None = self.environ.get(TAKEOVER)
        return found

    def finalize_headers(self) -> None:
        """Add the headers that end a response; a taken-over one ends with its connection."""
        if self._takeover() is not None:
            self.provided_content_length = "taken over"  # neither counted nor chunked
        super().finalize_headers()

    def process_result(self) -> None:
        """Send the response, then hand over the connection if somebody asked for it."""
        super().process_result()
        takeover = self._takeover()
        if takeover is not None:
            self.close_connection = True
            takeover(self.socket)

    def log_request(self) -> None:
        """Keep request lines out of the log: they may hold keys and plates."""

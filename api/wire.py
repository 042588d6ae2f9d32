"""The HTTP handler: pywsgi's, with changes of ours.

A response may take its connection over: the view leaves a callable under ``TAKEOVER`` in the WSGI
environment and returns the headers only; the handler sends them unchunked, hands the socket to
the callable and closes it when that returns. Request lines are never logged: a URL may hold a key.
Requests have deadlines (``api.patience``), and of a body that nobody wants not much is read.
"""

import contextlib
import io
import logging
import socket
from collections.abc import Callable
from typing import Any, Final, TypeAlias

from gevent.pywsgi import Input, WSGIHandler

from api.patience import PIECE_S, PatientReader, SlowClientError
from engine.board import Count

TAKEOVER: Final = "platering.takeover"
"""Key of the WSGI environment under which a view leaves its ``Takeover``."""

Takeover: TypeAlias = Callable[[Any], None]
"""Called with the connected gevent socket once the headers are sent; returns to close it."""

MOST_DISCARDED_BYTES: Final = 16 << 20
"""Read of a body after its answer, so that the client hears the answer; then it is hung up on."""
PIECE_BYTES: Final = 1 << 14

_ANSWER: Final = "HTTP/1.1 {}\r\nConnection: close\r\nContent-Length: 0\r\n\r\n"
_TOO_SLOW: Final = _ANSWER.format("408 Request Timeout").encode()
_MALFORMED: Final = _ANSWER.format("400 Bad Request").encode()

log = logging.getLogger(__name__)


class Body(Input):  # type: ignore[misc]  # gevent has no types
    """A request's body."""

    def __init__(self, handler: "Handler", inner: Any) -> None:
        super().__init__(inner.rfile, inner.content_length, inner.socket, inner.chunked_input)
        self._handler = handler

    def _discard(self) -> None:
        """Read what is left, so that another request may follow; hang up where it is much."""
        if self._chunked_input_error or not (
            self.chunked_input or self.position < (self.content_length or 0)
        ):
            return
        self.send_100_continue_enabled = False
        self._handler.patience.linger()
        left_bytes = MOST_DISCARDED_BYTES
        try:
            while left_bytes > 0 and (piece := self.read(PIECE_BYTES)):
                left_bytes -= len(piece)
        except OSError:
            left_bytes = 0
        if left_bytes <= 0:
            self._handler.close_connection = True


class Handler(WSGIHandler):  # type: ignore[misc]  # gevent has no types
    """Serves one connection."""

    def __init__(self, sock: Any, address: Any, server: Any) -> None:
        self.patience = PatientReader(sock)
        self._has_served = False
        super().__init__(sock, address, server, io.BufferedReader(self.patience))
        sock.settimeout(PIECE_S)
        # Headers and body are two writes: with Nagle the second waits 40 ms for the client's ACK.
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    # --- deadlines ----------------------------------------------------------------------------

    def handle(self) -> None:
        """Serve one request after the other."""
        with contextlib.suppress(OSError):  # gone while it was told that its request is no good
            super().handle()

    def read_requestline(self) -> str:
        """Wait for a request."""
        self.patience.expect_line()
        if self._has_served:
            self.server.idle.add(self.socket)
        self._has_served = True
        try:
            return str(super().read_requestline())
        finally:
            self.server.idle.discard(self.socket)

    def read_request(self, raw_requestline: str) -> bool:
        """Read its headers."""
        self.patience.expect_headers()
        return bool(super().read_request(raw_requestline))

    def get_environ(self) -> dict[str, Any]:
        """Return the WSGI environment; its body comes fast enough, or not at all."""
        environ: dict[str, Any] = super().get_environ()
        self.patience.expect_body()
        if isinstance(environ["wsgi.input"], Input):  # else: a protocol of its own takes over
            self.wsgi_input = environ["wsgi.input"] = Body(self, environ["wsgi.input"])
        return environ

    def _handle_client_error(self, ex: Exception) -> tuple[str, bytes] | None:
        """Return what to answer; nothing of the request is told, its first line may hold a key."""
        if isinstance(ex, SlowClientError):
            self.server.row.count(Count.CONNECTIONS_CUT)
            return "408", _TOO_SLOW
        if isinstance(ex, OSError):  # gone
            return None
        log.debug("a malformed request came from %s", self.client_address)
        return "400", _MALFORMED

    def _log_error(self, t: Any, v: Any, tb: Any) -> None:
        """Tell of mistakes of ours, not of clients that are gone or take nothing any more."""
        if not issubclass(t, OSError):
            super()._log_error(t, v, tb)

    # --- takeover -----------------------------------------------------------------------------

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

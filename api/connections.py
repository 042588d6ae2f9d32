"""The HTTP server's connections: not too many of one address, encrypted where TLS is set up."""

import contextlib
import logging
import socket
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import gevent
from gevent.pywsgi import WSGIServer

from api.limits import Proxies, is_loopback, network
from api.wire import Handler
from engine.board import Count, Row
from engine.config import ApiSettings
from engine.errors import ConfigError
from engine.exposure import tls_context

HANDSHAKE_WITHIN_S: Final = 10.0
_TOO_MANY: Final = (
    b"HTTP/1.1 429 Too Many Requests\r\nConnection: close\r\nRetry-After: 5\r\n"
    b"Content-Length: 0\r\n\r\n"
)

log = logging.getLogger(__name__)


class Server(WSGIServer):  # type: ignore[misc]  # gevent has no types
    """Accepts connections and hands each to a ``Handler``."""

    def __init__(
        self, listener: Any, application: Any, settings: ApiSettings, row: Row, **more: Any
    ) -> None:
        """Serve on a listener; ``more`` is what pywsgi's server takes."""
        if settings.tls_certificate:
            more["ssl_context"] = tls_context(settings)
        super().__init__(
            listener, application, handler_class=Handler, log=None, error_log=log, **more
        )
        self.row = row
        self._settings = settings
        self._most = settings.connections_per_address
        self._proxies = Proxies(settings.trusted_proxies)
        self._open: Counter[str] = Counter()
        self.idle: set[Any] = set()
        """Sockets that were kept open for another request, and none has begun."""
        self._certificate = _seen(settings)

    def handle(self, sock: Any, address: Any) -> None:
        """Serve a plain connection."""
        with self._counted(address) as welcome:
            if welcome:
                super().handle(sock, address)
            else:
                with contextlib.suppress(OSError):
                    sock.send(_TOO_MANY)

    def wrap_socket_and_handle(self, client_socket: Any, address: Any) -> None:
        """Serve an encrypted connection."""
        with self._counted(address) as welcome:
            if not welcome:
                return
            self._renew()
            try:
                with gevent.Timeout(HANDSHAKE_WITHIN_S, TimeoutError()):
                    sock = self.wrap_socket(client_socket, **self.ssl_args)
            except OSError:  # no TLS, none that both sides know, gone, or too slow
                self.row.count(Count.CONNECTIONS_CUT)
                return
            try:
                super().handle(sock, address)
            finally:
                sock.close()

    def part_from_idle(self) -> None:
        """Close what is only kept open; a request that has arrived is still answered."""
        for sock in list(self.idle):
            with contextlib.suppress(OSError):
                sock.shutdown(socket.SHUT_RD)

    @contextmanager
    def _counted(self, address: Any) -> Iterator[bool]:
        """Count a connection while the block runs; yield whether it is one too many."""
        peer = str(address[0])
        if not self._most or is_loopback(peer) or self._proxies.includes(peer):
            yield True
            return
        name = network(peer)
        welcome = self._open[name] < self._most
        if not welcome:
            self.row.count(Count.CONNECTIONS_CUT)
        self._open[name] += 1
        try:
            yield welcome
        finally:
            self._open[name] -= 1
            if not self._open[name]:
                del self._open[name]

    def _renew(self) -> None:
        """Take a renewed certificate for the connections from now on."""
        seen = _seen(self._settings)
        if seen == self._certificate:
            return
        self._certificate = seen
        try:
            self.wrap_socket = tls_context(self._settings).wrap_socket
        except ConfigError as error:
            log.warning("the certificate of before stays in use: %s", error)


def _seen(settings: ApiSettings) -> tuple[int, ...]:
    """Return when the files of TLS changed last."""
    try:
        named = (settings.tls_certificate, settings.tls_key)
        return tuple(Path(name).stat().st_mtime_ns for name in named if name)
    except OSError:
        return ()

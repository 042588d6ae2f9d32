"""Clients of ``/stream`` for ``platering bench sse``: all are read, every delivery is timed."""

import re
import select
import socket
import time
from array import array
from typing import Final

from engine.errors import PreflightError

PLATE: Final = re.compile(rb"data: B(\d+)\n")
REQUEST: Final = b"GET /stream HTTP/1.1\r\nHost: bench\r\nAccept: text/event-stream\r\n\r\n"
AT_ONCE: Final = 100
"""Clients that come together; the others wait until these have heard from the server."""
ANSWER_WITHIN_S: Final = 30.0


class Crowd:
    """So many clients on plain sockets, read with epoll by one thread."""

    def __init__(self, port: int, clients: int) -> None:
        self._clients: dict[int, socket.socket] = {}
        self._rest: dict[int, bytes] = {}
        self._poll = select.epoll()
        for first in range(0, clients, AT_ONCE):
            self._bring(port, min(AT_ONCE, clients - first))

    def _bring(self, port: int, number: int) -> None:
        """Connect some more and wait until each has had its first bytes."""
        new = [
            socket.create_connection(("127.0.0.1", port), ANSWER_WITHIN_S) for _ in range(number)
        ]
        for client in new:
            client.sendall(REQUEST)
        for client in new:
            head = b""
            while b"\n\n" not in head:
                chunk = client.recv(4096)
                if not chunk:
                    raise PreflightError("a server of the benchmark hangs up")
                head += chunk
            client.setblocking(False)
            self._clients[client.fileno()] = client
            self._rest[client.fileno()] = b""
            self._poll.register(client, select.EPOLLIN)

    def listen(self, sent_at: dict[int, float], events: int, within_s: float) -> "array[float]":
        """Read until everybody has every event; return each delivery's latency in ms.

        Raises:
            PreflightError: not within that time, or somebody hears of what was not sent.
        """
        latencies = array("d")
        deadline = time.monotonic() + within_s
        while len(latencies) < len(self._clients) * events:
            if time.monotonic() > deadline:
                raise PreflightError(
                    f"only {len(latencies)} of {len(self._clients) * events} deliveries "
                    f"within {within_s:.0f} s — this machine is too busy for this many clients"
                )
            for fd, _what in self._poll.poll(0.2, 256):
                self._read(fd, sent_at, latencies)
        return latencies

    def _read(self, fd: int, sent_at: dict[int, float], latencies: "array[float]") -> None:
        chunk = self._rest[fd] + self._clients[fd].recv(1 << 16)
        now = time.monotonic()
        whole = chunk.rfind(b"\n\n") + 2
        self._rest[fd] = chunk[whole:] if whole > 1 else chunk
        try:
            latencies.extend(
                [(now - sent_at[int(number)]) * 1e3 for number in PLATE.findall(chunk[:whole])]
            )
        except KeyError as error:
            raise PreflightError(f"a server tells of event {error} of an earlier turn") from error

    def close(self) -> None:
        """Hang up."""
        self._poll.close()
        for client in self._clients.values():
            client.close()

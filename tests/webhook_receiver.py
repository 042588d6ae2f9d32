"""A real HTTP server that takes webhooks, and can be told to misbehave."""

import ssl
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import msgspec


@dataclass
class Posted:
    """One request."""

    path: str
    headers: dict[str, str]
    body: bytes

    @property
    def event(self) -> tuple[str, int]:
        """The id and revision it is about."""
        return self.headers["X-Platering-Event"], int(self.headers["X-Platering-Revision"])

    @property
    def json(self) -> dict[str, object]:
        """The body."""
        return msgspec.json.decode(self.body)


@dataclass
class Receiver:
    """What was posted, and how to answer: a status, with headers, or None for never."""

    url: str = ""
    answer: Callable[[Posted], tuple[int, dict[str, str]] | None] = lambda _posted: (204, {})
    taken: list[Posted] = field(default_factory=list)
    """Answered with 2xx."""
    seen: list[Posted] = field(default_factory=list)
    released: threading.Event = field(default_factory=threading.Event)
    """Ends the wait of requests that are never answered."""


def _handler(receiver: Receiver) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            length = int(self.headers["Content-Length"])
            body = self.rfile.read(length)
            if len(body) < length:  # its sender was killed in the middle of it
                self.close_connection = True
                return
            posted = Posted(self.path, dict(self.headers), body)
            receiver.seen.append(posted)
            answer = receiver.answer(posted)
            if answer is None:
                receiver.released.wait(30.0)
                self.close_connection = True
                return
            status, headers = answer
            if status < 300:
                receiver.taken.append(posted)
            self.send_response(status)
            for name, value in headers.items():
                self.send_header(name, value)
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_said: object) -> None:
            """Say nothing."""

    return Handler


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_said: object) -> None:
        """A client that went away is nothing to print."""


@contextmanager
def receiving(tls: ssl.SSLContext | None = None) -> Iterator[Receiver]:
    """A receiver on loopback."""
    receiver = Receiver()
    server = _Server(("127.0.0.1", 0), _handler(receiver))
    receiver.url = f"http://127.0.0.1:{server.server_port}/hook?token=hunter2"
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
        receiver.url = receiver.url.replace("http://127.0.0.1", "https://localhost")
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()
    try:
        yield receiver
    finally:
        receiver.released.set()
        server.shutdown()
        thread.join()
        server.server_close()

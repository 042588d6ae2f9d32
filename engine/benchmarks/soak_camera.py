"""A network camera of the soak: MJPEG over HTTP of the demo's road, whose cable can be cut."""

import contextlib
import socket
import threading
import time
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Final

import cv2
import numpy as np

from engine.sources.scene import DemoScene

WIDTH_PX: Final = 960
HEIGHT_PX: Final = 540
DENSITY: Final = 3.0
_POLL_S: Final = 0.05
_LATE_S: Final = 5.0


class NetworkCamera:
    """Draws its pictures in one thread and serves the newest to whoever asks, until it is cut."""

    def __init__(self, seed: int, fps: float) -> None:
        self._scene = DemoScene(seed, WIDTH_PX, HEIGHT_PX, density=DENSITY)
        self._period_s = 1 / fps
        self._drawn = threading.Condition()
        self._newest = b""
        self._ended = threading.Event()
        self._server: ThreadingHTTPServer | None = None
        self._thread: threading.Thread | None = None
        self._watched: set[socket.socket] = set()
        self._port = 0
        self.mend()
        self._artist = threading.Thread(target=self._draw, name="artist")
        self._artist.start()

    @property
    def url(self) -> str:
        """Where the pictures are."""
        return f"http://127.0.0.1:{self._port}/video"

    def mend(self) -> None:
        """Be there again, at the same address."""
        if self._server is None and not self._ended.is_set():
            self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self))
            # a cut waits for them: the end of the process inside of OpenCV would abort it
            self._server.daemon_threads = False
            self._port = self._server.server_port
            self._thread = threading.Thread(target=self._server.serve_forever, args=(_POLL_S,))
            self._thread.start()

    def cut(self) -> None:
        """Be gone in the middle of a picture: nobody listens, all that watched are hung up on."""
        server, thread = self._server, self._thread
        if server is None or thread is None:
            return
        self._server = self._thread = None
        server.shutdown()
        thread.join()
        server.socket.close()
        for end in list(self._watched):
            with contextlib.suppress(OSError):  # it has left by itself
                end.shutdown(socket.SHUT_RDWR)
        server.server_close()

    def close(self) -> None:
        """Draw no more."""
        self._ended.set()
        self.cut()
        self._artist.join()

    def _draw(self) -> None:
        began_s = time.monotonic()
        while not self._ended.wait(self._period_s):
            luma = np.ascontiguousarray(self._scene.luma(time.monotonic() - began_s))
            picture = cv2.imencode(".jpg", luma)[1].tobytes()
            with self._drawn:
                self._newest = picture
                self._drawn.notify_all()

    def pictures(self, end: socket.socket) -> Iterator[bytes]:
        """Yield JPEGs as they are drawn, for a client's connection, until the cable is cut."""
        server = self._server
        self._watched.add(end)
        try:
            while self._server is server is not None:
                with self._drawn:
                    self._drawn.wait(_LATE_S)
                    picture = self._newest
                yield picture
        finally:
            self._watched.discard(end)


def _handler(camera: NetworkCamera) -> type[BaseHTTPRequestHandler]:
    """Return what answers the requests to a camera."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "multipart/x-mixed-replace; boundary=frame")
            self.end_headers()
            try:
                for body in camera.pictures(self.connection):
                    head = f"--frame\r\nContent-Type: image/jpeg\r\nContent-Length: {len(body)}"
                    self.wfile.write(f"{head}\r\n\r\n".encode() + body + b"\r\n")
            except OSError:
                self.close_connection = True  # cut, or the decoder was killed

        def log_message(self, *_arguments: object) -> None:
            """Say nothing."""

    return Handler

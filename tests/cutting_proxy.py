"""A proxy before a server on a unix socket that cuts connections in the middle of an answer."""

import contextlib
import random
import selectors
import socket
import threading
from pathlib import Path


class CuttingProxy:
    """Passes bytes on; every so many bytes of answers it cuts, at a byte of chance.

    ``slow_s`` delays every portion of an answer, as a slow network would.
    """

    def __init__(self, listen_at: Path, server: Path, rng: random.Random, every_bytes: int) -> None:
        self.cuts = 0
        self.every_bytes = every_bytes
        self.slow_s = 0.0
        self._server = server
        self._rng = rng
        self._ended = threading.Event()
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(listen_at))
        self._listener.listen()
        self._listener.settimeout(0.05)
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    def close(self) -> None:
        """End all connections."""
        self._ended.set()
        for thread in self._threads:
            thread.join()
        self._listener.close()

    def _accept(self) -> None:
        while not self._ended.is_set():
            with contextlib.suppress(TimeoutError):
                near, _ = self._listener.accept()
                thread = threading.Thread(target=self._pass, args=(near,))
                self._threads.append(thread)
                thread.start()

    def _pass(self, near: socket.socket) -> None:
        """Pass bytes both ways until one side ends, or the cut is due."""
        with contextlib.suppress(ConnectionError):  # it ended while it was being told something
            self._pass_on(near)

    def _pass_on(self, near: socket.socket) -> None:
        left = self._rng.randrange(self.every_bytes) if self.every_bytes else 1 << 60
        with near, socket.socket(socket.AF_UNIX) as far, selectors.DefaultSelector() as ready:
            if far.connect_ex(str(self._server)):
                return
            ready.register(near, selectors.EVENT_READ, far)
            ready.register(far, selectors.EVENT_READ, near)
            while not self._ended.is_set():
                for key, _ in ready.select(0.05):
                    chunk = key.fileobj.recv(65_536)
                    if key.fileobj is far:
                        self._ended.wait(self.slow_s)
                        if left <= len(chunk):
                            self.cuts += 1
                            near.sendall(chunk[:left])
                            return
                        left -= len(chunk)
                    if not chunk:
                        return
                    key.data.sendall(chunk)

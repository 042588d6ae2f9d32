"""How the API hands ingested plates to the publisher, and ``platering forget`` speaks to it.

Over a Unix socket: a frame is four bytes of length, most significant first, and a message of
``engine.messages``. The API may have several requests in flight on one connection; ``IngestDone``
names its request and comes only after the publisher's commit.
"""

import contextlib
import itertools
import socket
import struct
import threading
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from engine.errors import PublisherAwayError, SinkError
from engine.messages import (
    DECODE,
    ForgetPlates,
    FromApi,
    FromPublisher,
    IngestDone,
    IngestReads,
    IngestSighting,
    ToPublisher,
    encode,
)
from engine.types import Evidence, FrameReads, Sighting

MAX_FRAME_BYTES: Final = 64 << 20
_CHUNK_BYTES: Final = 1 << 18
_MAX_WAITING_BYTES: Final = 4 << 20
_MAX_IN_FLIGHT: Final = 1_024
_AGAIN_S: Final = 0.05
"""Between one publisher that takes no more and the next try."""
_LENGTH: Final = struct.Struct("!I")


def framed(message: ToPublisher | FromPublisher) -> bytes:
    """Return the message with its length before it."""
    packed = encode(message)
    return _LENGTH.pack(len(packed)) + packed


class FrameBuffer:
    """Cuts a stream of bytes into frames."""

    def __init__(self) -> None:
        self._bytes = bytearray()

    def feed(self, chunk: bytes) -> None:
        """Add what was received."""
        self._bytes += chunk

    def next(self) -> bytes | None:
        """Return the next whole frame, None where it has not come yet.

        Raises:
            SinkError: the other side announces more than any message has.
        """
        if len(self._bytes) < _LENGTH.size:
            return None
        (length,) = _LENGTH.unpack_from(self._bytes)
        if length > MAX_FRAME_BYTES:
            raise SinkError(f"a frame of {length} bytes is too long")
        end = _LENGTH.size + length
        if len(self._bytes) < end:
            return None
        frame = bytes(self._bytes[_LENGTH.size : end])
        del self._bytes[:end]
        return frame


class IngestConnection:
    """The publisher's end of one connection; never blocks."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._end.setblocking(False)
        self._frames = FrameBuffer()
        self._waiting: deque[bytes] = deque()
        self._waiting_bytes = 0
        self.ended = False

    def fileno(self) -> int:
        """For selectors."""
        return self._end.fileno()

    def receive(self, most: int) -> list[FromApi]:
        """Return at most so many messages of those that have come; notices the other's end."""
        messages: list[FromApi] = []
        try:
            while len(messages) < most:
                frame = self._frames.next()
                if frame is not None:
                    message = DECODE.to_publisher.decode(frame)
                    if isinstance(message, FromApi):
                        messages.append(message)
                    continue
                chunk = self._end.recv(_CHUNK_BYTES)
                if not chunk:
                    self.ended = True
                    break
                self._frames.feed(chunk)
        except BlockingIOError:
            pass
        except (OSError, SinkError, msgspec.DecodeError):
            self.ended = True
        return messages

    def receive_no_more(self) -> None:
        """Let the other side's next send fail; what it sent before is still received."""
        with contextlib.suppress(OSError):
            self._end.shutdown(socket.SHUT_RD)

    def answer(self, done: IngestDone) -> None:
        """Send an answer, or keep it until the other side reads; ends one that never does."""
        packed = framed(done)
        self._waiting.append(packed)
        self._waiting_bytes += len(packed)
        if self._waiting_bytes > _MAX_WAITING_BYTES:
            self.ended = True
        self.flush()

    def flush(self) -> None:
        """Send what waits, as far as it goes."""
        try:
            while self._waiting:
                sent = self._end.send(self._waiting[0])
                self._waiting_bytes -= sent
                if sent < len(self._waiting[0]):
                    self._waiting[0] = self._waiting[0][sent:]
                else:
                    self._waiting.popleft()
        except BlockingIOError:
            pass
        except OSError:
            self.ended = True

    def close(self) -> None:
        """Close the socket."""
        self._end.close()


class _Waiter:
    """One request in flight."""

    def __init__(self) -> None:
        self.arrived = threading.Event()
        """Set when it is answered, or the connection it was sent on has ended."""
        self.done: IngestDone | None = None
        self.end: socket.socket | None = None


class IngestClient:
    """The API's end: safe among threads and (monkey-patched) greenlets; reconnects by itself."""

    def __init__(self, path: Path, timeout_s: float = 5.0) -> None:
        self._path = path
        self._timeout_s = timeout_s
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)
        self._waiters: dict[int, _Waiter] = {}
        self._end: socket.socket | None = None

    def reads(self, uuid: str, reads: FrameReads) -> IngestDone:
        """Send reads of a foreign recognizer through the tracker; return once they are durable.

        Raises:
            SinkError: the publisher is gone, too slow or refuses; with the same ``uuid`` it is
                safe to send them again.
        """
        return self._ask(IngestReads(request=next(self._numbers), uuid=uuid, reads=reads))

    def sighting(
        self, uuid: str, sighting: Sighting, evidence: Evidence | None = None
    ) -> IngestDone:
        """Send a finished sighting; return once it is durable. An empty ``id`` gets a new one.

        Raises:
            SinkError: as ``reads``; without a ``uuid`` sending again may double it.
        """
        return self._ask(
            IngestSighting(
                request=next(self._numbers),
                uuid=uuid,
                sighting=sighting,
                evidence=evidence or Evidence(),
            )
        )

    def forget(self, plates: tuple[str, ...]) -> int:
        """Let the publisher forget texts; return how many events of them waited.

        Raises:
            PublisherAwayError: no engine runs here.
            SinkError: it did not, or not yet: say it again.
        """
        return self._ask(ForgetPlates(request=next(self._numbers), plates=plates)).forgotten

    def close(self) -> None:
        """Close the connection; requests in flight fail."""
        with self._lock:
            self._drop(self._end)

    def _ask(self, message: FromApi) -> IngestDone:
        packed = framed(message)
        if len(packed) > MAX_FRAME_BYTES:
            raise SinkError("the body is too large for the publisher")
        # A publisher that died may have taken it: by its uuid the next one knows. What is to be
        # forgotten may be said twice.
        may_repeat = isinstance(message, ForgetPlates) or bool(message.uuid)
        deadline = time.monotonic() + self._timeout_s
        while True:
            waiter = self._sent(message.request, packed, deadline)
            waiter.arrived.wait(max(0.0, deadline - time.monotonic()))
            self._waiters.pop(message.request, None)
            if waiter.done is not None:
                break
            if not (waiter.arrived.is_set() and may_repeat and time.monotonic() < deadline):
                raise SinkError("the publisher did not confirm in time")
        if waiter.done.error:
            raise SinkError(waiter.done.error)
        return waiter.done

    def _sent(self, request: int, packed: bytes, deadline: float) -> _Waiter:
        """Send a request whole; a publisher that takes no more is followed by another one."""
        while True:
            waiter = _Waiter()
            with self._own_turn():
                if len(self._waiters) >= _MAX_IN_FLIGHT:
                    raise SinkError("the publisher is busy")
                waiter.end = self._connected()
                self._waiters[request] = waiter
                try:
                    waiter.end.sendall(packed)
                except OSError as error:
                    self._waiters.pop(request, None)
                    self._retire(waiter.end)
                    if isinstance(error, TimeoutError) or time.monotonic() >= deadline:
                        raise SinkError("the publisher does not take it now") from error
                else:
                    return waiter
            time.sleep(_AGAIN_S)

    @contextlib.contextmanager
    def _own_turn(self) -> Iterator[None]:
        """Hold the lock; where those before us wait for a full socket, not for ever."""
        if not self._lock.acquire(timeout=self._timeout_s):
            raise SinkError("the publisher is busy")
        try:
            yield
        finally:
            self._lock.release()

    def _connected(self) -> socket.socket:
        """Return the connection, made now where there is none (lock held)."""
        if self._end is None:
            end = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
            end.settimeout(self._timeout_s)
            try:
                end.connect(str(self._path))
            except (FileNotFoundError, ConnectionRefusedError) as error:
                end.close()
                raise PublisherAwayError(f"the publisher is not there: {error.strerror}") from error
            except OSError as error:
                end.close()
                raise SinkError(f"the publisher is not there: {error.strerror}") from error
            self._end = end
            threading.Thread(target=self._listen, args=(end,), daemon=True).start()
        return self._end

    def _retire(self, end: socket.socket) -> None:
        """Send nothing more on a connection; answers still come on it (lock held)."""
        if end is self._end:
            self._end = None
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_WR)  # so that the other side ends it when all is answered

    def _drop(self, end: socket.socket | None) -> None:
        """Close a connection and fail what was in flight on it (lock held)."""
        if end is None:
            return
        if end is self._end:
            self._end = None
        with contextlib.suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)  # wakes its listener, which closes it
        for waiter in list(self._waiters.values()):
            if waiter.end is end:
                waiter.arrived.set()

    def _listen(self, end: socket.socket) -> None:
        """Hand out answers until the connection ends."""
        frames = FrameBuffer()
        with end:
            try:
                while True:
                    try:
                        chunk = end.recv(_CHUNK_BYTES)
                    except TimeoutError:
                        continue
                    if not chunk:
                        break
                    frames.feed(chunk)
                    while (frame := frames.next()) is not None:
                        self._arrived(DECODE.from_publisher.decode(frame))
            except (OSError, SinkError, msgspec.DecodeError):
                pass  # told below, as any end of the connection
            with self._lock:
                self._drop(end)

    def _arrived(self, message: FromPublisher) -> None:
        if isinstance(message, IngestDone):
            waiter = self._waiters.get(message.request)
            if waiter is not None:
                waiter.done = message
                waiter.arrived.set()

"""How long a client may take to say what it wants: a reader with deadlines for whole requests.

A timeout between two pieces is not enough: a byte every few seconds would hold a connection for
ever. So a request's headers have one deadline, and its body must come at a least rate.
"""

import io
import time
from typing import Any, Final

IDLE_S: Final = 30.0
"""For a request's first line, on a connection that is kept alive."""
HEADERS_WITHIN_S: Final = 10.0
MOST_HEADER_BYTES: Final = 1 << 16
BODY_GRACE_S: Final = 20.0
SLOWEST_BYTES_PER_S: Final = 8_192
"""Of a body, on average after the grace: a picture over the worst of mobile links."""
LINGER_S: Final = 1.0
"""For the rest of a body that nobody wants."""
PIECE_S: Final = 30.0
"""Between two pieces, in both directions."""


class SlowClientError(TimeoutError):
    """A client takes too long to send its request, or sends headers without end."""


class PatientReader(io.RawIOBase):
    """Reads a connected gevent socket; the handler says what is being read now."""

    def __init__(self, sock: Any) -> None:
        super().__init__()
        self._sock = sock
        self._received_bytes = 0
        self._most_bytes: int | None = None
        self._deadline = 0.0
        self._rate = 0
        self.expect_line()

    def expect_line(self) -> None:
        """Wait for the next request."""
        self._expect(IDLE_S, most_bytes=MOST_HEADER_BYTES)

    def expect_headers(self) -> None:
        """Read the headers of a request that has begun."""
        self._expect(HEADERS_WITHIN_S, most_bytes=MOST_HEADER_BYTES)

    def expect_body(self) -> None:
        """Read a body, as long as it comes fast enough."""
        self._expect(BODY_GRACE_S, rate=SLOWEST_BYTES_PER_S)

    def linger(self) -> None:
        """Read what is left of a body that nobody wants."""
        self._expect(LINGER_S)

    def _expect(self, seconds: float, most_bytes: int | None = None, rate: int = 0) -> None:
        self._received_bytes = 0
        self._deadline = time.monotonic() + seconds
        self._most_bytes, self._rate = most_bytes, rate

    def readable(self) -> bool:
        """Say that this can be read."""
        return True

    def readinto(self, buffer: Any) -> int:
        """Read a piece.

        Raises:
            SlowClientError: the time is over, or more came than may.
        """
        earned_s = self._received_bytes / self._rate if self._rate else 0.0
        left_s = self._deadline + earned_s - time.monotonic()
        if left_s <= 0:
            raise SlowClientError("the request comes too slowly")
        self._sock.settimeout(min(left_s, PIECE_S))
        try:
            count = int(self._sock.recv_into(buffer))
        except TimeoutError as error:
            raise SlowClientError("the request comes too slowly") from error
        finally:
            self._sock.settimeout(PIECE_S)
        self._received_bytes += count
        if self._most_bytes is not None and self._received_bytes > self._most_bytes:
            raise SlowClientError("the request's headers are too long")
        return count

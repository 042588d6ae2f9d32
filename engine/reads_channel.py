"""The worker's end of its reads channel: sequenced, acknowledged, bounded, never blocking.

What was sent stays here until the publisher has committed it. A restarted publisher gets a fresh
socket pair, everything unacknowledged is sent again, and its cursor tells it the repeats.
"""

import socket
from collections import deque
from typing import Final

from engine.board import Count, Row
from engine.messages import DECODE, ReadsAck, ReadsRecord, encode
from engine.types import FrameReads

MAX_PENDING: Final = 4096
"""Frame reads kept for an absent publisher; beyond, the oldest are lost and counted."""
SOCKET_BYTES: Final = 1 << 22
_ACK_BYTES: Final = 256


class ReadsSender:
    """Numbers, sends and keeps the reads of one worker incarnation."""

    def __init__(self, row: Row) -> None:
        self._row = row
        self._channel: socket.socket | None = None
        self._sequence = 0
        self._pending: deque[tuple[int, bytes]] = deque()
        self._unsent = 0
        """How many of the newest pending records the present channel has not taken yet."""

    @property
    def has_unsent(self) -> bool:
        """True while the channel is full: wait until it is writable."""
        return self._unsent > 0 and self._channel is not None

    @property
    def is_settled(self) -> bool:
        """True when the publisher has committed everything."""
        return not self._pending

    def attach(self, channel: socket.socket) -> None:
        """Go on over a fresh channel; what is unacknowledged goes first."""
        if self._channel is not None:
            self._channel.close()
        channel.setblocking(False)
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, SOCKET_BYTES)
        self._channel = channel
        self._unsent = len(self._pending)
        self.flush()

    def send(
        self,
        camera_index: int,
        reads: FrameReads,
        recognized_ns: int,
        *,
        offered_ns: int = 0,
        begun_ns: int = 0,
    ) -> None:
        """Number the reads of a frame and send them as soon as the channel takes them.

        The times are of the monotonic clock: when recognition ended, before pictures were made;
        when the frame was offered in its slot; when it began to be read.
        """
        self._sequence += 1
        record = ReadsRecord(
            sequence=self._sequence,
            camera_index=camera_index,
            reads=reads,
            recognized_monotonic_ns=recognized_ns,
            offered_monotonic_ns=offered_ns,
            begun_monotonic_ns=begun_ns,
        )
        if len(self._pending) >= MAX_PENDING:
            self._pending.popleft()
            self._unsent = min(self._unsent, len(self._pending))
            self._row.count(Count.READS_LOST)
        self._pending.append((self._sequence, encode(record)))
        self._unsent += 1
        self._row.count(Count.READS_SENT)
        self.flush()

    def flush(self) -> None:
        """Send what the channel takes without waiting."""
        while self.has_unsent and self._channel is not None:
            try:
                self._channel.send(self._pending[-self._unsent][1])
            except BlockingIOError:
                return
            except OSError:  # the publisher died; its heir's channel is on the way
                self._drop_channel()
                return
            self._unsent -= 1

    def receive_acks(self) -> None:
        """Forget what the publisher has committed."""
        while self._channel is not None:
            try:
                data = self._channel.recv(_ACK_BYTES)
            except BlockingIOError:
                return
            except OSError:
                data = b""
            if not data:
                self._drop_channel()
                return
            ack = DECODE.from_publisher.decode(data)
            if isinstance(ack, ReadsAck):
                self._forget(ack.sequence)

    def _forget(self, sequence: int) -> None:
        while self._pending and self._pending[0][0] <= sequence:
            self._pending.popleft()
        self._unsent = min(self._unsent, len(self._pending))

    def give_up(self) -> int:
        """Count what was not acknowledged as lost, and return how many frame reads that is.

        At most so many are: a publisher that lives may still commit what it was sent.
        """
        lost = len(self._pending)
        self._pending.clear()
        self._unsent = 0
        self._row.count(Count.READS_LOST, lost)
        return lost

    def _drop_channel(self) -> None:
        if self._channel is not None:
            self._channel.close()
        self._channel = None

    def fileno(self) -> int:
        """The present channel's descriptor, -1 while there is none."""
        return -1 if self._channel is None else self._channel.fileno()

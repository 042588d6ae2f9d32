"""What comes in to the publisher: the workers' reads channels and the API's ingest connections.

Everything is taken in bounded portions without waiting; nothing is acknowledged before the
publisher says that it is committed.
"""

import logging
import selectors
import socket
from typing import Final, Protocol

import msgspec

from engine.board import Count, Row
from engine.ingest_channel import IngestConnection
from engine.messages import DECODE, AttachReads, FromApi, ReadsAck, ReadsRecord
from engine.messages import encode as encoded

RECORD_BYTES: Final = 1 << 22
"""The longest record of a reads channel."""

_RECORDS_A_TURN: Final = 256
_RECORDS_A_CHANNEL: Final = 64
_MESSAGES_A_TURN: Final = 64

log = logging.getLogger(__name__)


class _HasFileno(Protocol):
    def fileno(self) -> int: ...


class Source(msgspec.Struct, frozen=True):
    """Whose sequence numbers they are: a worker's incarnation."""

    worker: str
    incarnation: int


class _Channel(msgspec.Struct, eq=False):
    """A worker's reads channel."""

    end: socket.socket
    source: Source
    unacknowledged: bool = False


class Intake:
    """All sockets of the publisher, and how far each worker's reads were taken."""

    def __init__(
        self, row: Row, cursors: dict[tuple[str, int], int], listener: socket.socket | None
    ) -> None:
        """Go on from the committed ``cursors``; accept the API's connections on ``listener``."""
        self._row = row
        self._cursors = {Source(*key): sequence for key, sequence in cursors.items()}
        self._buffer = memoryview(bytearray(RECORD_BYTES))
        self._selector = selectors.DefaultSelector()
        self._channels: list[_Channel] = []
        self._connections: list[IngestConnection] = []
        self._listener = listener
        self._takes_no_more = False
        if listener is not None:
            listener.setblocking(False)
            self.watch(listener)

    def watch(self, other: _HasFileno) -> None:
        """Let ``wait`` end for this, too."""
        self._selector.register(other.fileno(), selectors.EVENT_READ)

    def wait(self, timeout_s: float) -> None:
        """Return when something has come, or the time is over."""
        self._selector.select(timeout_s)

    def attach(self, channel: AttachReads, fd: int) -> None:
        """Take reads from one more worker."""
        end = socket.socket(fileno=fd)
        end.setblocking(False)
        self._channels.append(_Channel(end, Source(channel.worker, channel.incarnation)))
        self.watch(end)

    def take_records(self) -> list[tuple[Source, ReadsRecord]]:
        """Return new records of all channels, in order of capture, a bounded number of each."""
        taken: list[tuple[Source, ReadsRecord]] = []
        for channel in list(self._channels):
            for _ in range(_RECORDS_A_CHANNEL):
                if len(taken) >= _RECORDS_A_TURN:
                    break
                packet = self._packet(channel)
                if packet is None:
                    break
                record = _decoded(packet)
                if record is not None and self._is_new(channel, record):
                    taken.append((channel.source, record))
        self._channels = self._channels[1:] + self._channels[:1]  # another is first next time
        taken.sort(key=lambda pair: pair[1].reads.stamp.captured_unix_ns)
        return taken

    def take_messages(self) -> list[tuple[IngestConnection, FromApi]]:
        """Return new messages of the API, a bounded number of each connection."""
        self._accept()
        taken: list[tuple[IngestConnection, FromApi]] = []
        for connection in list(self._connections):
            connection.flush()
            taken += [(connection, one) for one in connection.receive(_MESSAGES_A_TURN)]
            if connection.ended and not self._takes_no_more:  # else answers are still due
                self._selector.unregister(connection.fileno())
                connection.close()
                self._connections.remove(connection)
        return taken

    def take_no_more(self) -> None:
        """Take what the API has sent, and no more: what it sends now, the next publisher gets.

        Whoever knocks waits at the listener, which the supervisor keeps.
        """
        self._takes_no_more = True
        if self._listener is not None:
            self._selector.unregister(self._listener.fileno())
            self._listener = None
        for connection in self._connections:
            self._selector.unregister(connection.fileno())  # it reads as ended all the time
            connection.receive_no_more()

    @property
    def is_empty(self) -> bool:
        """Tell whether all that the API has sent is taken, and it sends no more."""
        return all(connection.ended for connection in self._connections)

    def acknowledge(self) -> None:
        """Tell the workers that all they were taken is committed.

        One that does not read now hears it next time.
        """
        for channel in self._channels:
            if channel.unacknowledged:
                sequence = self._cursors.get(channel.source, 0)
                try:
                    channel.end.send(encoded(ReadsAck(sequence=sequence)))
                except OSError:
                    continue
                channel.unacknowledged = False

    def _packet(self, channel: _Channel) -> memoryview | None:
        """Return the next record, valid until the next call, or None; drops an ended channel."""
        try:
            length = channel.end.recv_into(self._buffer)
        except BlockingIOError:
            return None
        except OSError:
            length = 0
        if length:
            return self._buffer[:length]
        self._selector.unregister(channel.end.fileno())
        channel.end.close()
        self._channels.remove(channel)
        return None

    def _is_new(self, channel: _Channel, record: ReadsRecord) -> bool:
        """Tell a record from one that was committed before a restart; note it as taken."""
        channel.unacknowledged = True
        if record.sequence <= self._cursors.get(channel.source, 0):
            self._row.count(Count.READS_REPEATED)
            return False
        self._cursors[channel.source] = record.sequence
        return True

    def _accept(self) -> None:
        """Accept an API process that knocks."""
        if self._listener is None:
            return
        try:
            end, _address = self._listener.accept()
        except OSError:  # nobody there, or gone again
            return
        connection = IngestConnection(end)
        self._connections.append(connection)
        self.watch(connection)


def _decoded(packet: memoryview) -> ReadsRecord | None:
    """Return the record; a malformed one is told and left out, it would be sent for ever."""
    try:
        message = DECODE.to_publisher.decode(packet)
    except msgspec.DecodeError as error:
        log.error("a record of a reads channel cannot be read: %s", error)  # noqa: TRY400  # expected, one line
        return None
    return message if isinstance(message, ReadsRecord) else None

"""Many commands to Redis in one write, below redis-py's command layer, on one node or a Cluster.

redis-py makes the connection (TLS, names and passwords, RESP3, Sentinel's master, the Cluster's
map of slots); from then on commands are packed by hiredis, written to its socket at once, and the
answers are parsed by a ``hiredis.Reader`` of our own, which costs a fifth. Correct because

* a connection is used by one wire alone, and redis-py reads nothing from it after the handshake;
* ``send`` and ``receive`` go in pairs, and after any error of the connection the wire is closed
  for good: no answer can ever be taken for that of another command;
* pushes of RESP3, which answer nothing, are left out;
* in a Cluster each command goes to the node of its key's slot, and one that moved is followed
  (``MOVED``, ``ASK``) before its answer is given out.
"""

from collections import deque
from collections.abc import Callable, Sequence
from typing import Any, Final, Protocol, TypeAlias, cast

import hiredis
import msgspec
import redis
from redis.cluster import ClusterNode

from engine.redis_client import connect

Command: TypeAlias = tuple[Any, ...]
"""Name, key and arguments; a script's key stands behind the number of its keys."""

_READ_BYTES: Final = 1 << 16
_MOST_HOPS: Final = 5
_UNFINISHED: Final = object()


class Refusal(msgspec.Struct, frozen=True):
    """An error that Redis answered instead of doing a command."""

    text: str

    @property
    def code(self) -> str:
        """Its first word, like WRONGTYPE."""
        return self.text.partition(" ")[0]


class Wire(Protocol):
    """One or more connections; one thread. Every method may raise ``RedisError`` or ``OSError``."""

    def send(self, commands: Sequence[Command]) -> None:
        """Write all commands; their answers must be received, in the order of the sends."""

    def receive(self) -> list[Any]:
        """Return the answers to the oldest send, in its order; a ``Refusal`` where one failed."""

    def close(self) -> None:
        """Drop the connections."""


def open_wire(url: str) -> Wire:
    """Connect to what a URL of ``engine.redis_client`` names."""
    client = connect(url)
    return ClusterWire(client) if isinstance(client, redis.RedisCluster) else NodeWire(client)


class NodeWire:
    """One connection to one server."""

    def __init__(self, client: redis.Redis) -> None:
        self._client = client
        self._connection: Any = client.connection_pool.get_connection()
        self._socket: Any = self._connection._sock  # noqa: SLF001  # it has no public name
        self._reader = hiredis.Reader(
            protocolError=redis.InvalidResponse,
            replyError=cast("Callable[[str], Exception]", Refusal),
            notEnoughData=_UNFINISHED,
        )
        self._owed: deque[int] = deque()

    def send(self, commands: Sequence[Command]) -> None:
        """See ``Wire``."""
        self._socket.sendall(b"".join([hiredis.pack_command(command) for command in commands]))
        self._owed.append(len(commands))

    def receive(self) -> list[Any]:
        """See ``Wire``."""
        answers: list[Any] = []
        wanted, gets = self._owed.popleft(), self._reader.gets
        while len(answers) < wanted:
            answer = gets()
            if answer is _UNFINISHED:
                self._fill()
            elif not isinstance(answer, hiredis.PushNotification):
                answers.append(answer)
        return answers

    def _fill(self) -> None:
        received = self._socket.recv(_READ_BYTES)
        if not received:
            raise redis.ConnectionError("the server closed the connection")
        self._reader.feed(received)

    def close(self) -> None:
        """See ``Wire``."""
        self._connection.disconnect()
        self._client.connection_pool.release(self._connection)
        self._client.close()


class ClusterWire:
    """A connection to each master of a Cluster that is needed."""

    def __init__(self, client: redis.RedisCluster) -> None:
        self._client = client
        self._nodes: dict[str, NodeWire] = {}
        self._of_slot: dict[int, str] = {}
        self._owed: deque[tuple[Sequence[Command], dict[str, list[int]]]] = deque()

    def send(self, commands: Sequence[Command]) -> None:
        """See ``Wire``."""
        parts: dict[str, list[int]] = {}
        for index, command in enumerate(commands):
            parts.setdefault(self._place_of(command), []).append(index)
        for place, indices in parts.items():
            self._node(place).send([commands[index] for index in indices])
        self._owed.append((commands, parts))

    def receive(self) -> list[Any]:
        """See ``Wire``."""
        commands, parts = self._owed.popleft()
        answers: list[Any] = [None] * len(commands)
        for place, indices in parts.items():
            for index, answer in zip(indices, self._node(place).receive(), strict=True):
                answers[index] = answer
        for index, answer in enumerate(answers):
            if isinstance(answer, Refusal) and answer.code in {"MOVED", "ASK"}:
                answers[index] = self._followed(commands[index], answer)
        return answers

    def close(self) -> None:
        """See ``Wire``."""
        for node in self._nodes.values():
            node.close()
        self._client.close()

    def _place_of(self, command: Command) -> str:
        """Return ``host:port`` of the master that has a command's key."""
        key = command[3] if command[0] in {"EVAL", "EVALSHA"} else command[1]
        slot = self._client.keyslot(key)  # type: ignore[no-untyped-call]
        place = self._of_slot.get(slot)
        if place is None:
            node = self._client.get_node_from_key(key)  # type: ignore[no-untyped-call]
            if node is None or not node.name:
                raise redis.ConnectionError(f"no node of the Cluster has slot {slot}")
            place = self._of_slot[slot] = node.name
        return place

    def _node(self, place: str) -> NodeWire:
        wire = self._nodes.get(place)
        if wire is None:
            host, _, port = place.rpartition(":")
            node = self._client.get_node(host, int(port))  # type: ignore[no-untyped-call]
            node = node or ClusterNode(host, int(port))  # type: ignore[no-untyped-call]
            wire = self._nodes[place] = NodeWire(self._client.get_redis_connection(node))
        return wire

    def _followed(self, command: Command, answer: Any) -> Any:
        """Send a command where the Cluster says that its key is now."""
        for _ in range(_MOST_HOPS):
            if not isinstance(answer, Refusal) or answer.code not in {"MOVED", "ASK"}:
                return answer
            _, slot, place = answer.text.split()
            asking = answer.code == "ASK"
            if not asking:
                self._of_slot[int(slot)] = place
            node = self._node(place)
            node.send([("ASKING",), command] if asking else [command])
            *_, answer = node.receive()
        raise redis.ConnectionError(f"the Cluster does not settle: {answer.text}")

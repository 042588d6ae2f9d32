"""The public control socket: one request, one reply, over SOCK_SEQPACKET in ``data_dir``.

The CLI and the API ask with ``ask``; the supervisor answers with a ``ControlServer`` in its loop.
Only the owner of ``data_dir`` can connect (mode 0600).
"""

import contextlib
import socket
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.errors import ControlError, EngineAwayError
from engine.messages import DECODE, Reply, Request, encode
from engine.process import MESSAGE_BYTES

SUN_PATH_BYTES: Final = 107
"""The longest path of a unix socket on Linux, unix(7)."""
_BACKLOG: Final = 64


def bind_unix(path: Path, kind: int) -> socket.socket:
    """Return a listening, non-blocking unix socket at the path, in the place of a stale one.

    Raises:
        ControlError: the path is too long for a socket.
    """
    if len(str(path).encode()) > SUN_PATH_BYTES:
        raise ControlError(f"{path} is too long for a socket — choose a shorter data_dir")
    path.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX, kind)
    listener.bind(str(path))
    path.chmod(0o600)
    listener.listen(_BACKLOG)
    listener.setblocking(False)
    return listener


def ask(path: str, verb: str, timeout_s: float = 5.0, **arguments: Any) -> Any:
    """Send one request to a control socket and return its result.

    Raises:
        EngineAwayError: nobody answers in time.
        ControlError: the supervisor refused.
    """
    try:
        request = encode(Request(verb=verb, arguments=arguments))
    except OverflowError as error:
        raise ControlError(f"{verb}: a number is beyond all bounds") from error
    if len(request) > MESSAGE_BYTES:
        raise ControlError(f"{verb}: that is more than {MESSAGE_BYTES} bytes")
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as end:
            end.settimeout(timeout_s)
            end.connect(path)
            end.sendall(request)
            packet = end.recv(MESSAGE_BYTES)
    except (FileNotFoundError, ConnectionRefusedError) as error:
        raise EngineAwayError("no engine runs with this configuration — start it first") from error
    except OSError as error:
        raise EngineAwayError(f"the supervisor does not answer: {error}") from error
    try:
        reply = DECODE.control.decode(packet)
    except msgspec.MsgspecError as error:
        raise ControlError(f"the supervisor's answer is malformed: {error}") from error
    if not isinstance(reply, Reply) or reply.error:
        raise ControlError(reply.error if isinstance(reply, Reply) else "no answer came")
    return reply.result


class ControlServer:
    """The supervisor's end: never blocks, whatever a client does."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self.listener = bind_unix(path, socket.SOCK_SEQPACKET)

    def accept(self) -> socket.socket | None:
        """Return the next client, non-blocking, or None."""
        try:
            client, _address = self.listener.accept()
        except OSError:
            return None
        client.setblocking(False)
        client.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, MESSAGE_BYTES)
        return client

    @staticmethod
    def receive(client: socket.socket) -> Request | None:
        """Return a client's request, or None when it left or said something else."""
        try:
            message = DECODE.control.decode(client.recv(MESSAGE_BYTES))
        except (OSError, msgspec.MsgspecError):
            return None
        return message if isinstance(message, Request) else None

    @staticmethod
    def reply(client: socket.socket, reply: Reply) -> None:
        """Answer and part; a client that does not read loses its answer."""
        with contextlib.suppress(OSError):
            client.send(encode(reply))
        client.close()

    def close(self) -> None:
        """Stop listening and remove the socket."""
        self.listener.close()
        self._path.unlink(missing_ok=True)

"""The clients of the control socket: each asks once, within its time, and is answered once."""

import logging
import selectors
import socket
import time
from collections.abc import Callable
from typing import Any, Final

from engine.control import ControlServer
from engine.errors import ControlError
from engine.messages import Reply, Request

CLIENT_S: Final = 2.0
"""A client of the control socket asks within this time."""

log = logging.getLogger(__name__)


class ControlClients:
    """Serves the control socket in the supervisor's loop, which it never holds up."""

    def __init__(
        self,
        server: ControlServer,
        selector: selectors.BaseSelector,
        obey: Callable[[Request], Any],
    ) -> None:
        """Listen from now on; ``obey`` carries a request out, or raises ``ControlError``."""
        self._server = server
        self._selector = selector
        self._obey = obey
        self._silent: dict[socket.socket, float] = {}
        """Those that have not asked yet, and until when they may."""
        selector.register(server.listener, selectors.EVENT_READ, self._accept)

    def _accept(self) -> None:
        client = self._server.accept()
        if client is not None:
            self._silent[client] = time.monotonic() + CLIENT_S
            self._selector.register(client, selectors.EVENT_READ, lambda: self._answer(client))

    def _answer(self, client: socket.socket) -> None:
        self._selector.unregister(client)
        del self._silent[client]
        request = ControlServer.receive(client)
        if request is None:
            client.close()
            return
        try:
            reply = Reply(result=self._obey(request))
        except ControlError as error:
            reply = Reply(error=str(error))
        except Exception as error:  # a request must never end the run
            log.exception("a request failed: %s", request.verb)
            reply = Reply(error=f"{request.verb} failed: {type(error).__name__}: {error}")
        ControlServer.reply(client, reply)

    def drop_idle(self) -> None:
        """Part from clients that connected and say nothing."""
        now = time.monotonic()
        for client, ends in list(self._silent.items()):
            if now > ends:
                self._selector.unregister(client)
                del self._silent[client]
                client.close()

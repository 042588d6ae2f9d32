"""A client of the live events over HTTP: comes back by itself and resumes behind the last id.

The server's side is ``api.stream``. What a client has to know is here, in a form to copy from.
"""

import http.client
import ssl
import time
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import closing
from pathlib import Path
from typing import Final
from urllib.parse import urlencode, urlsplit

import msgspec

from engine.errors import ConfigError, ControlError

PATH: Final = "/api/v1/events"
SILENT_S: Final = 30.0
"""The server says something every 10 s; after so long the connection is given up."""
RETRY_S: Final = 2.0
MOST_RETRY_S: Final = 15.0
PASSING: Final = frozenset({429, 500, 502, 503, 504})
"""Answers after which asking again makes sense."""


class Block(msgspec.Struct, frozen=True):
    """One event of the stream; ``event`` is ``message`` where it has no name of its own."""

    event: str
    id: str
    data: str


class Gap(msgspec.Struct, frozen=True):
    """The body of a ``gap`` event: how many events were trimmed, and where the stream goes on.

    ``missed`` is None where nobody can know.
    """

    missed: int | None
    id: str


class EventStream:
    """Follows the events of one front for ever; ``last_id`` is where it stands."""

    def __init__(self, url: str, wishes: Mapping[str, str], *, key: str = "") -> None:
        """Go to a front's address with the filters of ``/api/v1/events``.

        Raises:
            ConfigError: the address is none.
        """
        parts = urlsplit(url)
        if parts.scheme not in {"http", "https"} or not parts.hostname:
            raise ConfigError("--url", "is no address", "like http://127.0.0.1:8080")
        self.last_id = ""
        self._tls = parts.scheme == "https"
        self._place = parts.hostname, parts.port
        chosen = urlencode({name: value for name, value in wishes.items() if value})
        self._path = parts.path.rstrip("/") + PATH + (f"?{chosen}" if chosen else "")
        self._headers = {"Accept": "text/event-stream"}
        if key:
            self._headers["Authorization"] = f"Bearer {key}"
        self._retry_s = RETRY_S
        self._ca_file: Path | None = None

    def trust(self, ca_file: Path) -> None:
        """Take the server's certificate if it is signed by one of this file."""
        self._ca_file = ca_file

    def follow(self, tell: Callable[[str], None]) -> Generator[Block, None, None]:
        """Yield events for ever; ``tell`` hears when the line is open (``""``), and why it is not.

        Raises:
            ControlError: the server refuses what is asked, which asking again would not change.
        """
        failures = 0
        while True:
            try:
                with closing(self._connect()) as connection:
                    response = self._ask(connection)
                    tell("")
                    failures = 0
                    yield from self._blocks(response)
                trouble = "the stream ended"
            except (OSError, http.client.HTTPException) as error:
                trouble = str(error) or type(error).__name__
                failures += 1
            tell(trouble)
            time.sleep(min(self._retry_s * 2 ** max(0, failures - 1), MOST_RETRY_S))

    def _connect(self) -> http.client.HTTPConnection:
        host, port = self._place
        if not self._tls:
            return http.client.HTTPConnection(host, port, timeout=SILENT_S)
        trusted = ssl.create_default_context(cafile=self._ca_file)
        return http.client.HTTPSConnection(host, port, timeout=SILENT_S, context=trusted)

    def _ask(self, connection: http.client.HTTPConnection) -> http.client.HTTPResponse:
        resuming = {"Last-Event-ID": self.last_id} if self.last_id else {}
        connection.request("GET", self._path, headers=self._headers | resuming)
        response = connection.getresponse()
        if response.status == http.client.OK:
            return response
        said = response.read(4_096).decode("utf-8", "replace").strip()
        answer = f"{response.status} {response.reason}: {said}"
        if response.status in PASSING:
            raise http.client.HTTPException(answer)
        raise ControlError(f"the server answers {answer}")

    def _blocks(self, lines: Iterable[bytes]) -> Iterator[Block]:
        """Yield the whole events of one connection; one that was cut short counts not."""
        fields: dict[str, str] = {}
        for raw in lines:
            line = raw.decode("utf-8", "replace").rstrip("\r\n")
            if line:
                name, _, value = line.partition(":")
                fields[name] = value.removeprefix(" ")
                continue
            self.last_id = fields.get("id", self.last_id)
            if fields.get("retry", "").isdigit():
                self._retry_s = int(fields["retry"]) / 1_000
            if "data" in fields:
                yield Block(fields.get("event", "message"), self.last_id, fields["data"])
            fields = {}

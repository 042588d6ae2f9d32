"""A client of the live stream, as simple as can be: blocks of fields, read with a deadline."""

import http.client

from front_process import FrontProcess


class Stream:
    """A client of an event stream that reads with a deadline."""

    def __init__(
        self,
        front: FrontProcess | int,
        path: str,
        last_id: str = "",
        headers: dict[str, str] | None = None,
    ) -> None:
        port = front if isinstance(front, int) else front.port
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
        resume = {"Last-Event-ID": last_id} if last_id else {}
        try:
            self._connection.request("GET", path, headers=(headers or {}) | resume)
            self.response = self._connection.getresponse()
        except (OSError, http.client.HTTPException):
            self._connection.close()
            raise
        if self.response.status != 200:
            answer = self.response.read()
            self._connection.close()
            raise http.client.HTTPException(answer)

    def block(self) -> dict[str, str]:
        """Return the next event's fields; empty where the stream ended."""
        fields: dict[str, str] = {}
        while True:
            line = self.response.readline().decode()
            if not line:
                return {}
            if line == "\n":
                return fields
            name, _, value = line.rstrip("\n").partition(": ")
            fields[name] = value

    def take(self, count: int) -> list[dict[str, str]]:
        """Return the next events that carry data."""
        found: list[dict[str, str]] = []
        while len(found) < count:
            block = self.block()
            assert block, "the stream ended"
            if "data" in block:
                found.append(block)
        return found

    def close(self) -> None:
        self.response.close()
        self._connection.close()

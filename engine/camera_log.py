"""Writes down in Redis how cameras turn: live, frozen, lost; a thread that nobody waits for.

Events wait in memory while Redis is away, the newest ``MOST_WAITING`` of them; the supervisor tells
the present state of every camera again to a publisher that was restarted, and what is known already
changes nothing. ``engine.store`` has the keys.
"""

import logging
import threading
from collections import deque
from typing import Any, Final

import msgspec

from engine.redis_client import REDIS_ERRORS
from engine.store import CAMERA_CHANNEL, CAMERA_EVENTS, CAMERAS, connect
from engine.types import CameraEvent

MOST_WAITING: Final = 1_000
KEPT_EVENTS: Final = 10_000
_PAUSES_S: Final = (0.2, 0.5, 1.0, 2.0)

_SCRIPT: Final = """
-- KEYS  cameras, camera events.   ARGV  field, json, how many are kept, the channel.
if redis.call('HGET', KEYS[1], ARGV[1]) == ARGV[2] then return 0 end
redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[3], '*', 'json', ARGV[2])
redis.call('HSET', KEYS[1], ARGV[1], ARGV[2])
redis.call('PUBLISH', ARGV[4], ARGV[2])
return 1
"""

log = logging.getLogger(__name__)

_encode = msgspec.json.Encoder().encode


class CameraLog:
    """The log's writing side; ``tell`` is called by the publisher's loop."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._waiting: deque[CameraEvent] = deque()
        self._wake = threading.Condition()
        self._closing = False
        self._client: Any = None
        self._stored = self._lost = 0
        self._thread = threading.Thread(target=self._run, name="cameras", daemon=True)

    def start(self) -> None:
        """Begin to write."""
        self._thread.start()

    def tell(self, event: CameraEvent) -> None:
        """Take an event; where too many wait the oldest is lost."""
        with self._wake:
            self._waiting.append(event)
            if len(self._waiting) > MOST_WAITING:
                self._waiting.popleft()
                self._lost += 1
            self._wake.notify()

    def take_figures(self) -> tuple[int, int]:
        """Return how many events were stored, and lost, since the last call."""
        with self._wake:
            found = self._stored, self._lost
            self._stored = self._lost = 0
        return found

    def stop(self, timeout_s: float) -> None:
        """Try once more to write what waits, for so long at most; then end."""
        with self._wake:
            self._closing = True
            self._wake.notify()
        self._thread.join(timeout_s)

    def _run(self) -> None:
        failures = 0
        while event := self._next():
            try:
                new = self._store(event)
            except REDIS_ERRORS as error:
                if not failures:
                    log.warning("how cameras turn waits in memory: %s", error)
                self._let_go()
                if self._pause(_PAUSES_S[min(failures, len(_PAUSES_S) - 1)]):
                    break
                failures += 1
                continue
            failures = 0
            with self._wake:
                self._stored += new
                if self._waiting and self._waiting[0] is event:
                    self._waiting.popleft()
        self._let_go()

    def _next(self) -> CameraEvent | None:
        """Wait for an event, which stays first until it is stored; None at the end."""
        with self._wake:
            while not self._waiting and not self._closing:
                self._wake.wait(1.0)
            return self._waiting[0] if self._waiting else None

    def _pause(self, seconds: float) -> bool:
        """Wait; tell whether the end came."""
        with self._wake:
            return self._wake.wait_for(lambda: self._closing, seconds)

    def _store(self, event: CameraEvent) -> int:
        """Write one event; return 0 where it was known already."""
        if self._client is None:
            self._client = connect(self._url)
        field = f"{event.node}/{event.camera}"
        return int(
            self._client.eval(
                _SCRIPT, 2, CAMERAS, CAMERA_EVENTS,
                field, _encode(event), KEPT_EVENTS, CAMERA_CHANNEL,
            )
        )  # fmt: skip

    def _let_go(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()

"""Tells the other machines on the same Redis of this one: its cameras, its metrics, its pictures.

One process of a machine with cameras does it, a front or, where there is none, one that serves
nobody else. A front elsewhere that wants to see a camera puts its name into a list; whoever takes
it from there answers with the picture, which lives a moment.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
import msgspec

from api.cameras import CameraRoom
from api.nodes import EVERY_S, METRICS_LIFE_S, REPORT_LIFE_S, SNAPSHOT_LIFE_MS, NodeReport
from api.problems import ProblemError
from engine.redis_client import REDIS_ERRORS, Client
from engine.store import (
    NODES,
    node_asked_key,
    node_metrics_key,
    node_report_key,
    node_snapshot_key,
)

METRICS_EVERY_S: Final = 10.0
RETRY_S: Final = 1.0

log = logging.getLogger(__name__)


class Herald:
    """Speaks for one machine."""

    def __init__(
        self, client: Client, node: str, room: CameraRoom, metrics: Callable[[], bytes]
    ) -> None:
        """Speak for ``node`` over a client of its own: it waits for wishes."""
        self._client: Any = client
        self._node = node
        self._room = room
        self._metrics = metrics
        self._report_due = self._metrics_due = 0.0
        self._failed = False

    def run(self) -> None:
        """Report and answer for ever; Redis may come and go."""
        while True:
            try:
                self.turn()
            except REDIS_ERRORS as error:
                if not self._failed:
                    log.warning("other machines do not hear of this one: Redis: %s", error)
                self._failed = True
                gevent.sleep(RETRY_S)
            else:
                self._failed = False

    def turn(self) -> None:
        """Report where it is time, then wait a moment for a wish and fulfil it."""
        now = time.monotonic()
        if now >= self._report_due:
            self._report_due = now + EVERY_S
            self._report()
        if now >= self._metrics_due:
            self._metrics_due = now + METRICS_EVERY_S
            text = self._metrics()
            self._client.set(node_metrics_key(self._node), text, ex=METRICS_LIFE_S)
        asked = self._client.brpop([node_asked_key(self._node)], timeout=1)
        if asked is not None:
            self._answer(asked[1].decode("utf-8", "replace"))

    def _report(self) -> None:
        shown, now_ms = self._room.own(), time.time_ns() // 1_000_000
        report = NodeReport(
            node=self._node, unix_ms=now_ms, engine=shown.engine, cameras=shown.cameras
        )
        encoded = msgspec.json.encode(report)
        self._client.set(node_report_key(self._node), encoded, ex=REPORT_LIFE_S)
        self._client.zadd(NODES, {self._node: now_ms})

    def _answer(self, camera: str) -> None:
        try:
            picture = self._room.own_snapshot(camera)
        except ProblemError:  # removed in the meantime: whoever asked hears nothing
            return
        if picture:
            key = node_snapshot_key(self._node, camera)
            self._client.set(key, picture, px=SNAPSHOT_LIFE_MS)

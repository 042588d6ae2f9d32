"""The other machines on the same Redis: who is there, their cameras, and pictures of those.

Machines know each other only through Redis: none needs to reach another, and no address is
configured. Each one beside cameras reports every two seconds (``api.herald``); a front keeps what
it read last, so that no request waits for Redis because of it. ``engine.store`` has the keys.
"""

import logging
import time
from collections.abc import Callable
from typing import Any, Final

import gevent
import msgspec

from api.cameras import CameraView
from engine.redis_client import REDIS_ERRORS, Client
from engine.store import (
    CLIENTS,
    NODES,
    node_asked_key,
    node_metrics_key,
    node_report_key,
    node_snapshot_key,
)

EVERY_S: Final = 2.0
"""Between two reports, and between two looks at those of others."""
REPORT_LIFE_S: Final = 10
METRICS_LIFE_S: Final = 30
SNAPSHOT_LIFE_MS: Final = 1_500
ASKED_LIFE_S: Final = 5
MOST_ASKED: Final = 64
"""Wishes that wait for a machine; older ones are given up."""
CLIENTS_LIFE_MS: Final = 60_000
"""How long a front counts that says nothing; clocks of machines may differ a little."""
FORGOTTEN_AFTER_MS: Final = 86_400_000
SNAPSHOT_WITHIN_S: Final = 1.0
LOOK_AGAIN_S: Final = 0.05

log = logging.getLogger(__name__)


class NodeReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a machine says of itself."""

    node: str
    unix_ms: int
    engine: bool
    """False while its supervisor does not answer."""
    cameras: list[CameraView] = []


_reports = msgspec.json.Decoder(NodeReport)


class Nodes:
    """What this process knows of the others, and what it tells of its own listeners."""

    def __init__(
        self, client: Client, process: str, own_node: str, listening: Callable[[], int]
    ) -> None:
        """Tell how many are ``listening`` to ``process``, whose name no other machine uses.

        ``own_node`` is the machine whose cameras are served here directly; empty where none are.
        """
        self._client: Any = client
        self._process = process
        self._listening = listening
        self._own_node = own_node
        self._failed = False
        self.others: tuple[NodeReport, ...] = ()
        self.clients: dict[str, int] = {}
        """Live streams of each machine's fronts."""

    def run(self) -> None:
        """Look, and tell, every two seconds for ever; Redis may come and go."""
        while True:
            self.look()
            gevent.sleep(EVERY_S)

    def look(self) -> None:
        """Tell how many listen here and read what the others told."""
        try:
            self._tell_clients()
            self._read()
        except REDIS_ERRORS as error:
            if not self._failed:
                log.warning("other machines cannot be seen: Redis: %s", error)
            self._failed = True
            self.others, self.clients = (), {}
        else:
            self._failed = False

    def forget_clients(self) -> None:
        """Say that nobody listens here any longer."""
        try:
            self._client.hdel(CLIENTS, self._process)
        except REDIS_ERRORS as error:
            log.info("it is not told that nobody listens here: %s", error)

    def engine(self) -> bool:
        """Tell whether the engine of one of the other machines answers there."""
        return any(report.engine for report in self.others)

    def cameras(self) -> list[CameraView]:
        """Return the cameras of the other machines."""
        return [camera for report in self.others for camera in report.cameras]

    def snapshot(self, node: str, camera: str) -> bytes:
        """Return what a camera of another machine sees as JPEG, empty where that says nothing."""
        try:
            self._client.lpush(node_asked_key(node), camera)
            self._client.ltrim(node_asked_key(node), 0, MOST_ASKED - 1)
            self._client.expire(node_asked_key(node), ASKED_LIFE_S)
            deadline = time.monotonic() + SNAPSHOT_WITHIN_S
            while time.monotonic() < deadline:
                picture = self._client.get(node_snapshot_key(node, camera))
                if picture:
                    return bytes(picture)
                gevent.sleep(LOOK_AGAIN_S)
        except REDIS_ERRORS as error:
            log.warning("a camera of %s cannot be seen: Redis: %s", node, error)
        return b""

    def metrics(self, node: str) -> bytes | None:
        """Return the metrics that another machine reported, None where it does not."""
        try:
            found = self._client.get(node_metrics_key(node))
        except REDIS_ERRORS:
            return None
        return None if found is None else bytes(found)

    def _tell_clients(self) -> None:
        said = f"{self._listening()} {time.time_ns() // 1_000_000}"
        self._client.hset(CLIENTS, self._process, said)
        self._client.expire(CLIENTS, CLIENTS_LIFE_MS // 1_000)

    def _read(self) -> None:
        now_ms = time.time_ns() // 1_000_000
        self._client.zremrangebyscore(NODES, "-inf", now_ms - FORGOTTEN_AFTER_MS)
        names = [name.decode("utf-8", "replace") for name in self._client.zrange(NODES, 0, -1)]
        found = [
            self._client.get(node_report_key(name)) for name in names if name != self._own_node
        ]
        self.others = tuple(report for report in map(_decoded, found) if report is not None)
        clients: dict[str, int] = {}
        for process, said in self._client.hgetall(CLIENTS).items():
            count, _, at_ms = said.partition(b" ")
            if not (count.isdigit() and at_ms.isdigit()) or now_ms - int(at_ms) > CLIENTS_LIFE_MS:
                self._client.hdel(CLIENTS, process)
                continue
            node = process.decode("utf-8", "replace").partition(":")[0]
            clients[node] = clients.get(node, 0) + int(count)
        self.clients = clients


def _decoded(raw: bytes | None) -> NodeReport | None:
    """Return a report, None where there is none or a later version wrote another form."""
    try:
        return _reports.decode(raw) if raw else None
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("what another machine reports cannot be read: %s", error)
        return None

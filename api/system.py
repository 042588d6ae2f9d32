"""The whole at a glance: versions, processes, machines, sinks and what waits for them."""

import platform
from importlib.metadata import version
from typing import Final

import msgspec
import numpy as np
from flask import Blueprint

from api.endpoints import endpoint
from api.engine_link import EngineLink
from api.nodes import Nodes
from engine.board import COUNT_BASE, Board, Count, Kind
from engine.errors import SinkError
from engine.scopes import Scope
from engine.sections import ApiSection
from engine.store import Store

LIBRARIES: Final = ("av", "flask", "gevent", "msgspec", "numpy", "onnxruntime", "redis")


class Process(msgspec.Struct, frozen=True, kw_only=True):
    """A child of this machine's supervisor."""

    name: str
    kind: str
    pid: int
    up: bool
    restarts: int


class Node(msgspec.Struct, frozen=True, kw_only=True):
    """A machine on the same Redis."""

    name: str
    engine: bool
    """Its engine answers there."""
    cameras: int
    clients: int
    """Live streams that its fronts serve."""


class Sinks(msgspec.Struct, frozen=True, kw_only=True):
    """What this machine's sinks did since the start."""

    away: int
    """Sinks that take nothing now."""
    stored: int
    """Events that Redis took."""
    delivered: int
    """Events that all others took."""
    retries: int
    failures: int
    dead_letters: int


class Spool(msgspec.Struct, frozen=True, kw_only=True):
    """What waits on this machine's disk."""

    waiting: int
    """Events that Redis has not taken yet."""
    dropped: int
    """Events given up since the start."""


class System(msgspec.Struct, frozen=True, kw_only=True):
    """This machine, and what it knows of others."""

    node: str
    version: str
    python: str
    libraries: dict[str, str]
    engine: bool
    """The engine beside this front answers."""
    started_unix_ms: int
    """0 while no supervisor answers."""
    redis: str
    """Redis's version, empty while it does not answer."""
    processes: list[Process]
    nodes: list[Node]
    sinks: Sinks
    spool: Spool


class SystemRoom:
    """Gathers it all."""

    def __init__(self, section: ApiSection, store: Store, board: Board, engine: EngineLink) -> None:
        """Take what tells of this machine."""
        self._node = section.node
        self._has_cameras = section.has_cameras
        self._store = store
        self._board = board
        self._engine = engine

    def look(self, nodes: Nodes) -> System:
        """Return how everything is now."""
        status = self._engine.status()
        engine_answers = status is not None and self._has_cameras
        own = Node(
            name=self._node,
            engine=engine_answers,
            cameras=len(status.cameras) if status is not None else 0,
            clients=nodes.clients.get(self._node, 0),
        )
        sinks, spool = self._delivery()
        return System(
            node=self._node,
            version=version("platering"),
            python=platform.python_version(),
            libraries={name: version(name) for name in LIBRARIES},
            engine=engine_answers,
            started_unix_ms=status.started_unix_ms if status is not None else 0,
            redis=self._redis(),
            processes=[
                Process(
                    name=one.name,
                    kind=Kind(one.kind).name.lower(),
                    pid=one.pid,
                    up=one.up,
                    restarts=one.restarts,
                )
                for one in (status.processes if status is not None else ())
            ],
            nodes=[own, *_others(nodes)],
            sinks=sinks,
            spool=spool,
        )

    def _redis(self) -> str:
        try:
            return self._store.version()
        except SinkError:
            return ""

    def _delivery(self) -> tuple[Sinks, Spool]:
        """Return the figures of delivery, summed over all processes of this machine."""
        rows = self._board.processes()
        sums = rows[:, COUNT_BASE : COUNT_BASE + len(Count)].sum(0, dtype=np.uint64)
        sinks = Sinks(
            away=int(sums[Count.SINKS_AWAY]),
            stored=int(sums[Count.STORED]),
            delivered=int(sums[Count.SINK_DELIVERED]),
            retries=int(sums[Count.SINK_RETRIES]),
            failures=int(sums[Count.SINK_FAILURES]),
            dead_letters=int(sums[Count.DEAD_LETTERS]),
        )
        waiting, dropped = int(sums[Count.SPOOL_DEPTH]), int(sums[Count.SPOOL_DROPPED])
        return sinks, Spool(waiting=waiting, dropped=dropped)


def _others(nodes: Nodes) -> list[Node]:
    return [
        Node(
            name=report.node,
            engine=report.engine,
            cameras=len(report.cameras),
            clients=nodes.clients.get(report.node, 0),
        )
        for report in nodes.others
    ]


def blueprint(room: SystemRoom, nodes: Nodes) -> Blueprint:
    """Return the route of this room."""
    routes = Blueprint("system", __name__)

    @routes.get("/api/v1/system")
    @endpoint(needs=Scope.READ, answers=System)
    def system() -> System:
        """Versions, processes, machines, sinks and what waits for them."""
        return room.look(nodes)

    return routes

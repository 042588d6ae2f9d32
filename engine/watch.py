"""What the supervisor tells: the start-up lines, the moving figures, the answer to ``status``."""

import os
import time
from collections.abc import Iterator

from engine.board import COUNT_BASE, KIND, Board, Count, Fate, Kind, Words
from engine.config import EMBEDDED
from engine.console import Pulse, say
from engine.messages import EngineStatus, ProcessStatus, SinkFigures
from engine.plane import FramePlane
from engine.resources import Resources
from engine.roster import Roster
from engine.shm import MIB, SHM_DIR, free_bytes
from engine.sources.credentials import redact
from engine.types import CameraState

PULSE_S = 1.0
DROPS = (Fate.DROPPED_REPLACED, Fate.DROPPED_LEASED, Fate.DROPPED_ENDED, Fate.DROPPED_NO_RING)


class Watch:
    """Reads the board and the roster; changes nothing."""

    def __init__(
        self, roster: Roster, board: Board, plane: FramePlane, resources: Resources
    ) -> None:
        self._roster = roster
        self._board = board
        self._plane = plane
        self._resources = resources
        self.sinks: tuple[SinkFigures, ...] = ()
        """What the publisher said last."""
        self._started_unix_ms = time.time_ns() // 1_000_000
        self._before: tuple[float, Words] = (time.monotonic(), self._sums())

    say = staticmethod(say)

    def greeting(self) -> Iterator[str]:
        """Yield what is known before anything has started."""
        if self._resources.swept:
            yield f"swept    shared memory of {len(self._resources.swept)} crashed run(s)"
        for place in self._roster.watched:
            yield f"camera   {place.settings.name}: {redact(place.settings.url)}"
        if self._roster.canary_cell >= 0:
            every_s = self._resources.settings.canary.every_s
            yield f"canary   a drawn plate every {every_s:g} s, told of in /metrics alone"
        if not self._roster.watched:
            yield "camera   none configured; plates can be posted to /alpr_data"

    def is_complete(self) -> bool:
        """Return True once every process but the decoders is ready."""
        return all(
            child.is_ready for child in self._roster.children if child.kind is not Kind.DECODER
        )

    def announcement(self) -> Iterator[str]:
        """Yield what runs, once it runs."""
        workers = self._roster.of(Kind.WORKER)
        if workers:
            count = "1 process" if len(workers) == 1 else f"{len(workers)} processes"
            yield f"readers  {count}, {workers[0].detail}"
        settings = self._roster.settings
        redis = settings.redis.url
        where = "embedded, on a private socket" if redis == EMBEDDED else redact(redis)
        yield f"redis    {where}; data in {settings.data_dir}"
        yield f"memory   {free_bytes() // MIB} MiB free in {SHM_DIR}"
        if self._resources.listener is not None:
            host, port = self._resources.listener.getsockname()[:2]
            shown = f"[{host}]" if ":" in host else host
            kind = "https" if settings.api.tls_certificate else "http"
            yield f"page     {kind}://{shown}:{port}/   (Ctrl-C ends)"

    def pulse(self) -> Pulse | None:
        """Return the figures of the last second, or None when it is not over yet."""
        now = time.monotonic()
        then, before = self._before
        if now - then < PULSE_S:
            return None
        ledger = self._sums()
        self._before = (now, ledger)
        per_s = (ledger - before) / (now - then)
        places = self._roster.watched
        return Pulse(
            cameras_live=sum(place.state is CameraState.LIVE for place in places),
            cameras=len(places),
            frames_per_s=float(per_s[Fate.CAPTURED]),
            recognized_per_s=float(per_s[Fate.RECOGNIZED]),
            dropped_per_s=float(sum(per_s[fate] for fate in DROPS)),
            sightings=int(ledger[Fate.SIGHTINGS]),
            spool=self._total(Count.SPOOL_DEPTH),
            restarts=self._total(Count.RESTARTS),
        )

    def _sums(self) -> Words:
        """Return what became of frames and plates of all cameras, the canary's aside."""
        ledger, cell = self._board.ledger(), self._roster.canary_cell
        sums: Words = ledger.sum(0)
        return sums - ledger[cell] if cell >= 0 else sums

    def _total(self, which: Count) -> int:
        rows = self._board.processes()
        return int(rows[rows[:, KIND] != Kind.FREE, COUNT_BASE + which].sum())

    def status(self) -> EngineStatus:
        """Return the state of everything."""
        ledger = self._board.ledger()
        settings, redis = self._roster.settings, self._resources.redis
        return EngineStatus(
            node=settings.node_name,
            started_unix_ms=self._started_unix_ms,
            pid=os.getpid(),
            redis_pid=(redis.pid or 0) if redis is not None else 0,
            recognizer=settings.recognizer,
            privacy=settings.privacy,
            sinks=self.sinks,
            cameras=tuple(
                place.status(
                    {fate.name.lower(): int(ledger[place.index, fate]) for fate in Fate},
                    self._plane.flight(place),
                )
                for place in self._roster.watched
            ),
            processes=tuple(
                ProcessStatus(
                    name=child.name,
                    kind=child.kind,
                    row=child.row_index,
                    pid=child.pid,
                    up=child.is_up,
                    restarts=child.restarts,
                    reasons=child.restart_reasons,
                )
                for child in self._roster.children
            ),
        )

"""Who runs: every child of a run, its row, its section of the configuration, its descriptors."""

import itertools
import os
from collections import Counter
from collections.abc import Set as AbstractSet
from typing import Final

import msgspec

from engine.board import Board, Kind
from engine.canary import CANARY, PATTERN, CanarySettings, is_canary, is_hidden
from engine.certificates import named_certificates
from engine.children import ChildProcess
from engine.config import EMBEDDED, CameraSettings, Settings
from engine.cores import usable_cores
from engine.errors import ControlError
from engine.plane import CameraPlace
from engine.resources import Resources
from engine.sections import (
    ApiSection,
    DecoderSection,
    PublishedCamera,
    PublisherSection,
    WorkerSection,
)
from engine.uploads import UPLOAD_PREFIX, upload_of

HERALD: Final = "herald"
"""Where an engine has no front beside it, a process without a listener that speaks for it."""
LAST_IN_TURN: Final = 0.02
"""The canary's share of the recognizers, relative to cameras."""


def _canary_camera(settings: CanarySettings) -> CameraSettings | None:
    """Return the canary as a camera: small, last in turn, each of its frames and reads wanted."""
    if not settings.every_s:
        return None
    return CameraSettings(
        name=CANARY,
        url=f"canary://?every_s={settings.every_s:g}",
        slots=2,
        weight=LAST_IN_TURN,
        memory_mib=256,
        skip_static=False,
        focus=False,
        accept=(PATTERN,),
        min_reads=1,
    )


def recognizers_of(settings: Settings) -> int:
    """Return how many recognizers are configured."""
    count = settings.recognizers.count
    return usable_cores() if count == "auto" else count


class Roster:
    """The children of a run, in the order in which they start; they come and go."""

    def __init__(self, settings: Settings, halves: AbstractSet[str]) -> None:
        self.settings = settings
        """As they are now; ``reload`` puts others in their place."""
        self._halves = halves
        self.children: list[ChildProcess] = []
        self.places: list[CameraPlace] = []
        self.workers: list[ChildProcess] = []
        self._cores = sorted(os.sched_getaffinity(0))
        self._core_of: dict[ChildProcess, int] = {}
        """Of each recognizer, where they are pinned."""
        self._heralds: set[ChildProcess] = set()
        self._incarnations: dict[str, int] = {}
        """The last one of each name that has left: whoever takes the name goes on from there."""
        self._indexes: dict[str, int] = {}
        """A camera's cell; a name keeps its cell for the whole run, so that sums stay true."""
        self._canary = _canary_camera(settings.canary) if "engine" in halves else None
        has_frames = self.cameras() or self._canary
        self.worker_count = recognizers_of(settings) if has_frames else 0

    @property
    def has_engine(self) -> bool:
        """Tell whether cameras are captured here, not the front alone."""
        return "engine" in self._halves

    def cameras(self) -> list[CameraSettings]:
        """Return the cameras that this run captures from its start."""
        if not self.has_engine:
            return []
        return [camera for camera in self.settings.cameras if camera.enabled]

    def fill(self, board: Board) -> None:
        """Give every role a row: the publisher, the front, the recognizers, the decoders."""
        self._board = board
        self._free_rows = list(range(board.rows - 1, 0, -1))
        self._add(Kind.PUBLISHER, "publisher")
        if "api" in self._halves:
            for _ in range(self.settings.api.processes):
                self.add_front()
        elif self.settings.redis.url != EMBEDDED:
            self._heralds.add(self._add(Kind.API, HERALD))
        for _ in range(self.worker_count):
            self.add_worker()
        for camera in self.cameras():
            self.add_camera(camera)
        if self._canary is not None:
            self.add_camera(self._canary)

    def _add(self, kind: Kind, name: str) -> ChildProcess:
        if not self._free_rows:
            raise ControlError("the stats board has no row left — restart to make it larger")
        child = ChildProcess(kind, name, self._board, self._free_rows.pop())
        # Reads and leases are known by incarnation: neither a name nor a row begins anew.
        child.incarnation = max(self._incarnations.get(name, 0), child.row.incarnation)
        self.children.append(child)
        return child

    def _free_name(self, prefix: str) -> str:
        """Return the name with the lowest number that nobody has."""
        taken = {child.name for child in self.children}
        names = (f"{prefix}-{number}" for number in itertools.count())
        return next(name for name in names if name not in taken)

    def add_worker(self, after: ChildProcess | None = None) -> ChildProcess:
        """Give one more recognizer a row; it takes the core of the one it comes ``after``."""
        worker = self._add(Kind.WORKER, self._free_name("worker"))
        self.workers.append(worker)
        loads = Counter(self._core_of.values())
        idlest = min(self._cores, key=lambda core: loads[core])
        self._core_of[worker] = idlest if after is None else self._core_of[after]
        return worker

    def add_front(self, after: ChildProcess | None = None) -> ChildProcess:
        """Give one more process of the front a row, in the place of the one it comes ``after``."""
        front = self._add(Kind.API, self._free_name("api"))
        if not self._heralds or after in self._heralds:
            self._heralds.add(front)
        return front

    def add_camera(self, settings: CameraSettings) -> CameraPlace:
        """Give a camera a cell and its decoder a row.

        Raises:
            ControlError: the board has no cell left.
        """
        # Uploads share a cell and a name: one for each would be a metric more for ever.
        cell = UPLOAD_PREFIX if upload_of(settings.name) else settings.name
        index = self._indexes.setdefault(cell, len(self._indexes))
        if index >= self._board.cameras:
            del self._indexes[cell]
            raise ControlError("the stats board has no cell left — restart to make it larger")
        decoder = self._add(Kind.DECODER, f"decoder-{cell}")
        place = CameraPlace(self.fitted(settings), index, decoder)
        self.places.append(place)
        return place

    def fitted(self, camera: CameraSettings) -> CameraSettings:
        """Return a camera's settings with known plates read again before their tracks would end."""
        longest_s = self.settings.tracker.max_gap_s / 2
        if camera.reread_s <= longest_s:
            return camera
        return camera.model_copy(update={"reread_s": longest_s})

    def has_cells_for(self, names: AbstractSet[str]) -> bool:
        """Tell whether the board has cells for cameras of these names."""
        return len(self._indexes.keys() | names) <= self._board.cameras

    @property
    def watched(self) -> list[CameraPlace]:
        """The cameras, without the canary and the upload that is read as if it were one."""
        return [place for place in self.places if not is_hidden(place.settings.name)]

    @property
    def _tracked(self) -> list[CameraPlace]:
        """Those of which the publisher makes sightings."""
        return [place for place in self.places if not upload_of(place.settings.name)]

    def fronts(self) -> list[ChildProcess]:
        """Return the processes of the front that listen and are not on their way out."""
        listening = (child for child in self.of(Kind.API) if child.name != HERALD)
        return [child for child in listening if not child.is_dismissed]

    @property
    def canary_cell(self) -> int:
        """The canary's cell; -1: there is no canary."""
        return next((one.index for one in self.places if is_canary(one.settings.name)), -1)

    def wanted_workers(self) -> list[ChildProcess]:
        """Return the recognizers that are not on their way out."""
        return [worker for worker in self.workers if not worker.is_dismissed]

    def remove(self, child: ChildProcess) -> None:
        """Take an ended child off the roster; its row is free for another."""
        self.children.remove(child)
        if child.kind is Kind.WORKER:
            self.workers.remove(child)
        self.places = [place for place in self.places if place.decoder is not child]
        child.row.forget_gauges()
        self._heralds.discard(child)
        self._core_of.pop(child, None)
        self._incarnations[child.name] = child.incarnation
        child.release()
        self._free_rows.append(child.row_index)

    def place_named(self, name: str) -> CameraPlace | None:
        """Return the camera of this name, unless it is on its way out."""
        named = (place for place in self.places if place.settings.name == name)
        return next((place for place in named if not place.decoder.is_dismissed), None)

    @property
    def free_rows(self) -> int:
        """How many more processes the board has room for."""
        return len(self._free_rows)

    def of(self, kind: Kind) -> list[ChildProcess]:
        """Return the children of a kind."""
        return [child for child in self.children if child.kind is kind]

    def place_of(self, decoder: ChildProcess) -> CameraPlace:
        """Return the camera that a decoder serves."""
        return next(place for place in self.places if place.decoder is decoder)

    def fds_of(self, child: ChildProcess, resources: Resources) -> list[int]:
        """Return the descriptors that ``Start`` carries for a child."""
        match child.kind:
            case Kind.WORKER:
                return [resources.tokens_read, resources.tokens_write]
            case Kind.PUBLISHER:
                return [resources.ingest.fileno()]
            case Kind.API if resources.listener is not None:
                return [resources.listener.fileno()]
            case _:
                return []

    def section_of(self, child: ChildProcess, resources: Resources) -> bytes:
        """Return a child's own section of the configuration, encoded."""
        match child.kind:
            case Kind.WORKER:
                return self._worker_section(child).encode()
            case Kind.PUBLISHER:
                return self._publisher_section(resources).encode()
            case Kind.API:
                return self._api_section(child, resources).encode()
            case _:
                place = self.place_of(child)
                return DecoderSection(
                    camera=place.settings.model_dump_json(),
                    index=place.index,
                    base_dir="",
                    max_unread=self.settings.recognizers.batch,
                ).encode()

    def terms_of(self, child: ChildProcess, resources: Resources) -> bytes:
        """Return a section without the cameras, which come and go while the child goes on.

        A child that was started by other terms than these goes by what is no longer configured.
        """
        match child.kind:
            case Kind.PUBLISHER:
                section = self._publisher_section(resources)
                return section.model_copy(update={"cameras": ()}).encode()
            case Kind.API:
                front = self._api_section(child, resources)
                return msgspec.structs.replace(front, cameras=()).encode()
            case _:
                return self.section_of(child, resources)

    def _worker_section(self, child: ChildProcess) -> WorkerSection:
        pool = self.settings.recognizers
        return WorkerSection(
            recognizer=self.settings.recognizer,
            openalpr=self.settings.openalpr.model_dump_json(),
            provider=pool.provider,
            batch=pool.batch,
            batch_wait_ms=pool.batch_wait_ms,
            core=self._core_of[child] if pool.pin else -1,
        )

    def _publisher_section(self, resources: Resources) -> PublisherSection:
        settings = self.settings
        return PublisherSection(
            run=resources.lock.run,
            node=settings.node_name,
            directory=resources.state_dir,
            cameras=tuple(
                PublishedCamera.of(place.settings, place.index) for place in self._tracked
            ),
            tracker=settings.tracker,
            redis=settings.redis.model_copy(update={"url": resources.redis_url}),
            spool=settings.spool,
            sinks=settings.sinks,
            privacy=settings.privacy,
            traces=settings.traces,
        )

    def _api_section(self, child: ChildProcess, resources: Resources) -> ApiSection:
        settings = self.settings
        has_cameras = self.has_engine
        shares = settings.redis.url != EMBEDDED
        return ApiSection(
            api=settings.api.model_dump_json(),
            redis_url=resources.redis_url,
            node=settings.node_name,
            board=resources.board.name,
            cameras=tuple(place.settings.name for place in self.watched),
            control_path=str(resources.state_dir / "control.sock"),
            ingest_path=str(resources.ingest_path),
            data_dir=str(settings.data_dir),
            uploads=settings.uploads.model_dump_json(),
            traces=settings.traces.model_dump_json(),
            certificates=named_certificates(settings),
            canary_every_s=settings.canary.every_s,
            canary_cell=self.canary_cell,
            hides_plates=settings.privacy == "hash",
            has_cameras=has_cameras,
            heralds=has_cameras and shares and child in self._heralds,
        )

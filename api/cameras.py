"""Cameras: their state and rates, and a snapshot of what they see, straight from shared memory."""

import time
from collections import deque
from typing import Final, Protocol

import cv2
import gevent
import msgspec
import numpy as np
from flask import Blueprint, Response, request

from api.endpoints import endpoint
from api.engine_link import EngineLink
from api.problems import ProblemError
from engine.board import Board, Fate, Words
from engine.errors import RingError
from engine.messages import CameraStatus, RingHandle
from engine.ring import RingReader
from engine.scopes import Scope
from engine.sections import ApiSection
from engine.types import CameraState, Luma

WINDOW_S: Final = 5.0
"""Rates are means over this long."""
SAMPLE_S: Final = 1.0
SNAPSHOT_FRESH_S: Final = 0.4
"""Pages that ask within this time share one picture."""
UNWATCHED_S: Final = 5.0
SNAPSHOT_WIDTH_PX: Final = 640
JPEG_QUALITY: Final = 75

_DROPS = tuple(fate for fate in Fate if fate.name.startswith("DROPPED_"))
_SKIPS = tuple(fate for fate in Fate if fate.name.startswith("SKIPPED_"))


class CameraView(msgspec.Struct, frozen=True, kw_only=True):
    """A camera as the page shows it; rates per second over the last few seconds."""

    name: str
    node: str = ""
    """The machine it is connected to."""
    state: str
    reason: str = ""
    width_px: int = 0
    height_px: int = 0
    fps: float = 0.0
    recognized_fps: float = 0.0
    skipped_fps: float = 0.0
    dropped_fps: float = 0.0
    captured: int = 0
    dropped: int = 0
    sightings: int = 0
    has_snapshot: bool = False


class CameraList(msgspec.Struct, frozen=True):
    """The answer of ``/api/v1/cameras``; ``engine`` is false while no supervisor answers.

    ``node`` is the machine that answers; its cameras come first, then those of others.
    """

    engine: bool
    cameras: list[CameraView]
    node: str = ""


class Elsewhere(Protocol):
    """The other machines on the same Redis."""

    def engine(self) -> bool:
        """Tell whether the engine of one of them answers there."""

    def cameras(self) -> list[CameraView]:
        """Return their cameras."""

    def snapshot(self, node: str, camera: str) -> bytes:
        """Return what one of them sees as JPEG, empty where its machine says nothing."""


class Rates:
    """The ledger's last few seconds."""

    def __init__(self, board: Board) -> None:
        self._board = board
        self._samples: deque[tuple[float, Words]] = deque(maxlen=1 + int(WINDOW_S / SAMPLE_S))
        self.sample()

    def sample(self) -> None:
        """Remember the ledger of now."""
        self._samples.append((time.monotonic(), self._board.ledger()))

    @property
    def newest(self) -> Words:
        """The newest sample: (cameras, CELL_WORDS) uint64."""
        return self._samples[-1][1]

    def per_second(self, camera: int, *fates: Fate) -> float:
        """Return how often these fates came to a camera's frames lately."""
        (began, first), (ended, last) = self._samples[0], self._samples[-1]
        if ended <= began:
            return 0.0
        moved = sum(int(last[camera, fate]) - int(first[camera, fate]) for fate in fates)
        return round(moved / (ended - began), 1)


class Snapshots:
    """Pictures of what cameras see, taken without a lease; one attached ring per camera."""

    def __init__(self) -> None:
        self._readers: dict[str, tuple[RingHandle, RingReader]] = {}
        self._pictures: dict[str, tuple[float, bytes]] = {}
        self._asked: dict[str, float] = {}

    def take(self, camera: str, handle: RingHandle) -> bytes:
        """Return a JPEG at most ``SNAPSHOT_WIDTH_PX`` wide, or nothing while there is no frame."""
        now = self._asked[camera] = time.monotonic()
        taken, picture = self._pictures.get(camera, (0.0, b""))
        if now - taken < SNAPSHOT_FRESH_S:
            return picture
        reader = self._reader(camera, handle)
        found = reader.snapshot() if reader is not None else None
        if found is None:
            return b""
        # In a native thread: the other greenlets go on meanwhile.
        picture = bytes(gevent.get_hub().threadpool.apply(_encode, (found[0],)))
        self._pictures[camera] = (time.monotonic(), picture)
        return picture

    def _reader(self, camera: str, handle: RingHandle) -> RingReader | None:
        """Return the attached ring; a camera that got a new one is attached again."""
        known = self._readers.get(camera)
        if known is not None and known[0] == handle:
            return known[1]
        self._detach(camera)
        try:
            reader = RingReader(handle)
        except RingError:  # removed between the supervisor's answer and now
            return None
        self._readers[camera] = (handle, reader)
        return reader

    def let_go(self) -> None:
        """Unmap the rings that nobody looks at: a ring that was removed must not stay mapped."""
        oldest = time.monotonic() - UNWATCHED_S
        for camera in [name for name, asked in self._asked.items() if asked < oldest]:
            del self._asked[camera]
            self._pictures.pop(camera, None)
            self._detach(camera)

    def _detach(self, camera: str) -> None:
        known = self._readers.pop(camera, None)
        if known is not None:
            known[1].close()


def _encode(luma: Luma) -> bytes:
    """Return a frame as a small JPEG."""
    height, width = luma.shape
    if width > SNAPSHOT_WIDTH_PX:
        size = (SNAPSHOT_WIDTH_PX, round(height * SNAPSHOT_WIDTH_PX / width))
        luma = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
    _, encoded = cv2.imencode(".jpg", luma, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return encoded.tobytes()


class CameraRoom:
    """What the routes of this room answer with."""

    def __init__(
        self, engine: EngineLink, board: Board, section: ApiSection, elsewhere: Elsewhere
    ) -> None:
        """Take the configured names for the time in which the supervisor does not answer."""
        self._engine = engine
        self._names = section.cameras
        self._node = section.node
        self._has_cameras = section.has_cameras
        self._elsewhere = elsewhere
        self._rates = Rates(board)
        self._snapshots = Snapshots()

    def run(self) -> None:
        """Sample the ledger and let go of unwatched rings, for ever."""
        while True:
            gevent.sleep(SAMPLE_S)
            self._rates.sample()
            self._snapshots.let_go()

    def own(self) -> CameraList:
        """Return this machine's cameras."""
        status = self._engine.status()
        cameras = status.cameras if status is not None else self._unknown()
        views = [self._view(camera) for camera in cameras]
        return CameraList(status is not None and self._has_cameras, views, self._node)

    def all(self) -> CameraList:
        """Return every camera."""
        own = self.own()
        engine = own.engine or self._elsewhere.engine()
        return CameraList(engine, own.cameras + self._elsewhere.cameras(), self._node)

    def _unknown(self) -> tuple[CameraStatus, ...]:
        reason = "the engine does not answer"
        return tuple(
            CameraStatus(name=name, index=index, state=CameraState.LOST, reason=reason)
            for index, name in enumerate(self._names)
        )

    def _view(self, camera: CameraStatus) -> CameraView:
        rates, index, ring = self._rates, camera.index, camera.ring
        cell = rates.newest[index]
        return CameraView(
            name=camera.name,
            node=self._node,
            state=camera.state.value,
            reason=camera.reason,
            width_px=ring.width_px if ring else 0,
            height_px=ring.height_px if ring else 0,
            fps=rates.per_second(index, Fate.CAPTURED),
            recognized_fps=rates.per_second(index, Fate.RECOGNIZED),
            skipped_fps=rates.per_second(index, *_SKIPS),
            dropped_fps=rates.per_second(index, *_DROPS),
            captured=int(cell[Fate.CAPTURED]),
            dropped=sum(int(cell[fate]) for fate in _DROPS),
            sightings=int(cell[Fate.SIGHTINGS]),
            has_snapshot=ring is not None,
        )

    def snapshot(self, name: str, node: str = "") -> bytes:
        """Return what a camera sees as JPEG, empty while it shows nothing.

        Without a ``node``, a camera of this machine is meant, else one of another.

        Raises:
            ProblemError: there is no such camera.
        """
        if node in ("", self._node) and any(own.name == name for own in self.own().cameras):
            return self.own_snapshot(name)
        for camera in self._elsewhere.cameras():  # maybe of an engine of its own on this machine
            if camera.name == name and node in ("", camera.node):
                return self._elsewhere.snapshot(camera.node, name)
        raise ProblemError(404, "there is no camera of this name")

    def own_snapshot(self, name: str) -> bytes:
        """Return what a camera of this machine sees as JPEG, empty while it shows nothing.

        Raises:
            ProblemError: there is no such camera.
        """
        status = self._engine.status()
        found = [camera for camera in status.cameras if camera.name == name] if status else []
        if not found:
            raise ProblemError(404, "there is no camera of this name")
        ring = found[0].ring
        return self._snapshots.take(name, ring) if ring is not None else b""


def blueprint(room: CameraRoom) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("cameras", __name__)

    @routes.get("/api/v1/cameras")
    @endpoint(needs=Scope.READ)
    def cameras() -> Response:
        """Every camera's state and rates."""
        return Response(msgspec.json.encode(room.all()), mimetype="application/json")

    @routes.get("/api/v1/cameras/<name>/snapshot.jpg")
    @endpoint(needs=Scope.STREAM)
    def snapshot(name: str) -> Response:
        """What a camera sees now, 204 while it shows nothing; the ring is not disturbed."""
        picture = room.snapshot(name, request.args.get("node", ""))
        return Response(picture, mimetype="image/jpeg") if picture else Response(status=204)

    return routes

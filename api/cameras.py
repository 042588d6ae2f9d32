"""Cameras: their state and rates, and what they see, straight from shared memory."""

import time
from collections import deque
from collections.abc import Callable, Iterator
from typing import Annotated, Final, Protocol

import gevent
import msgspec
from flask import Blueprint, Response
from msgspec import Meta

from api.endpoints import endpoint
from api.engine_link import EngineLink
from api.problems import ProblemError
from api.snapshots import FRESH_S, Names, Snapshots
from engine.board import Board, Fate, Words
from engine.messages import CameraStatus
from engine.scopes import Scope
from engine.sections import ApiSection
from engine.types import CameraState

WINDOW_S: Final = 5.0
"""Rates are means over this long."""
SAMPLE_S: Final = 1.0
STREAM_EVERY_S: Final = 0.2
"""Between two pictures of a stream."""
REPEATED_AFTER_S: Final = 5.0
"""A picture that stays is sent again, so that a client that left is noticed."""
MOST_VIEWERS: Final = 64
"""Streams of pictures that one process serves."""
BOUNDARY: Final = b"picture"
STREAM_TYPE: Final = "multipart/x-mixed-replace"

NO_CAMERA: Final = "there is no camera of this name"

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
    last_frame_unix_ms: int = 0
    """When its newest frame was captured; 0: none yet."""
    lag_ms: float = 0.0
    """From capture to the end of recognition, its mean lately; 0: no frame was recognized."""


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

    def last_frame_unix_ms(self, camera: int) -> int:
        """Return when a camera's newest frame was captured, 0 where there is none."""
        return self._last_frames_unix_ns.get(camera, 0) // 1_000_000

    def sample(self) -> None:
        """Remember the ledger of now."""
        self._last_frames_unix_ns = self._board.last_frames_unix_ns()
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

    def lag_ms(self, camera: int) -> float:
        """Return how long after capture a camera's frames are recognized lately, 0 for none."""
        first, last = self._samples[0][1][camera], self._samples[-1][1][camera]
        frames = int(last[Fate.RECOGNIZED]) - int(first[Fate.RECOGNIZED])
        lag_us = int(last[Fate.LAG_US]) - int(first[Fate.LAG_US])
        return round(lag_us / 1_000 / frames, 1) if frames > 0 else 0.0


class CameraRoom:
    """What the routes of this room answer with."""

    def __init__(
        self,
        engine: EngineLink,
        board: Board,
        section: ApiSection,
        elsewhere: Elsewhere,
        plates: Names,
    ) -> None:
        """Take the configured names for the time in which the supervisor does not answer.

        ``plates`` tells which plates are in the boxes that are drawn.
        """
        self._engine = engine
        self._names = section.cameras
        self._node = section.node
        self.has_cameras = section.has_cameras
        """An engine is meant to be beside this front."""
        self._elsewhere = elsewhere
        self._rates = Rates(board)
        self._snapshots = Snapshots(board, plates)

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
        return CameraList(status is not None and self.has_cameras, views, self._node)

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
            last_frame_unix_ms=self._rates.last_frame_unix_ms(index),
            lag_ms=rates.lag_ms(index),
        )

    def snapshot(self, name: str, view: "View", fresh_s: float = FRESH_S) -> bytes:
        """Return what a camera sees as JPEG, empty while it shows nothing.

        Without a ``node``, a camera of this machine is meant, else one of another.

        Raises:
            ProblemError: there is no such camera.
        """
        node = view.node
        if node in ("", self._node) and any(own.name == name for own in self.own().cameras):
            return self.own_snapshot(name, boxes=view.boxes, fresh_s=fresh_s)
        for camera in self._elsewhere.cameras():  # maybe of an engine of its own on this machine
            if camera.name == name and node in ("", camera.node):
                return self._elsewhere.snapshot(camera.node, name)
        raise ProblemError(404, NO_CAMERA)

    def own_snapshot(self, name: str, *, boxes: bool = False, fresh_s: float = FRESH_S) -> bytes:
        """Return what a camera of this machine sees as JPEG, empty while it shows nothing.

        Raises:
            ProblemError: there is no such camera.
        """
        status = self._engine.status()
        found = [camera for camera in status.cameras if camera.name == name] if status else []
        if not found:
            raise ProblemError(404, NO_CAMERA)
        ring = found[0].ring
        if ring is None:
            return b""
        return self._snapshots.take(name, ring, boxes=boxes, fresh_s=fresh_s)


class View(msgspec.Struct, frozen=True, kw_only=True):
    """Which camera is to be shown, and how."""

    node: Annotated[
        str, Meta(max_length=128, description="Its machine, where several have one of this name.")
    ] = ""
    boxes: Annotated[
        bool, Meta(description="Mark the plates in view; for cameras of the machine that answers.")
    ] = False


class Viewers:
    """Streams of pictures: as many as one process can serve."""

    def __init__(self, room: CameraRoom, is_closing: Callable[[], bool]) -> None:
        self._room = room
        self._is_closing = is_closing
        self._count = 0

    def stream(self, name: str, view: View) -> Iterator[bytes]:
        """Return the parts of a stream; raises ProblemError where there can be none."""
        first = self._room.snapshot(name, view, STREAM_EVERY_S)
        if self._count >= MOST_VIEWERS:
            raise ProblemError(503, "too many watch cameras here", retry_after_s=10)
        return self._parts(name, view, first)

    def _parts(self, name: str, view: View, picture: bytes) -> Iterator[bytes]:
        self._count += 1
        try:
            yield b"--%b\r\n" % BOUNDARY
            sent, sent_at = b"", 0.0
            while not self._is_closing():
                now = time.monotonic()
                if picture and (picture is not sent or now - sent_at > REPEATED_AFTER_S):
                    yield _part(picture)
                    sent, sent_at = picture, now
                gevent.sleep(STREAM_EVERY_S)
                picture = self._room.snapshot(name, view, STREAM_EVERY_S)
        except ProblemError:  # the camera was removed
            return
        finally:
            self._count -= 1


def _part(picture: bytes) -> bytes:
    """Return one picture as a part of a stream; browsers show it once they see where it ends."""
    head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture)
    return head + picture + b"\r\n--%b\r\n" % BOUNDARY


def blueprint(room: CameraRoom, viewers: Viewers) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("cameras", __name__)

    @routes.get("/api/v1/cameras")
    @endpoint(needs=Scope.READ, answers=CameraList)
    def cameras() -> CameraList:
        """Every camera's state and rates."""
        return room.all()

    @routes.get("/api/v1/cameras/<name>/snapshot.jpg")
    @endpoint(needs=Scope.STREAM, query=View, answers="image/jpeg")
    def snapshot(name: str, query: View) -> Response:
        """What a camera sees now, 204 while it shows nothing; the ring is not disturbed."""
        picture = room.snapshot(name, query)
        return Response(picture, mimetype="image/jpeg") if picture else Response(status=204)

    @routes.get("/api/v1/cameras/<name>/stream.mjpeg")
    @endpoint(needs=Scope.STREAM, query=View, answers=STREAM_TYPE)
    def stream(name: str, query: View) -> Response:
        """What a camera sees, about five pictures a second, as img elements show them."""
        parts = viewers.stream(name, query)
        response = Response(parts, mimetype=STREAM_TYPE)
        response.headers["Content-Type"] = f"{STREAM_TYPE}; boundary={BOUNDARY.decode()}"
        response.headers["X-Accel-Buffering"] = "no"
        return response

    return routes

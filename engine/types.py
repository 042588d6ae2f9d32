"""The values that travel between modules and processes: frozen, slotted, encodable.

All are ``msgspec.Struct``: they cross processes as MessagePack and reach users as JSON with the
same field names. Pixels are never in them; coordinates are pixels of the full frame, x to the
right and y down, origin at the top left corner of the top left pixel.
"""

import math
from enum import StrEnum
from typing import Final, TypeAlias

import msgspec
import numpy as np
import numpy.typing as npt

Luma: TypeAlias = npt.NDArray[np.uint8]
"""(H, W) uint8 luma, C-contiguous rows; a view of a ring slot unless said otherwise."""

Bgr: TypeAlias = npt.NDArray[np.uint8]
"""(H, W, 3) uint8, channels blue, green, red."""

Point: TypeAlias = tuple[float, float]
"""(x, y) in frame pixels."""

Corners: TypeAlias = tuple[Point, Point, Point, Point]
"""Top left, top right, bottom right, bottom left of a plate, as its text is read."""


DISGUISED: Final = "~"
"""What stands first where a plate is stored as a keyed hash (``engine.privacy``); no plate does."""


class Box(msgspec.Struct, frozen=True):
    """An upright rectangle in frame pixels."""

    x: float
    y: float
    width: float
    height: float

    @classmethod
    def around(cls, corners: Corners) -> "Box":
        """Return the smallest box that holds the four corners."""
        xs, ys = [x for x, _ in corners], [y for _, y in corners]
        return cls(min(xs), min(ys), max(xs) - min(xs), max(ys) - min(ys))

    def grown(self, across: float, down: float) -> "Box":
        """Return a box that is larger by so much on each side."""
        return Box(self.x - across, self.y - down, self.width + 2 * across, self.height + 2 * down)

    def holds(self, point: Point) -> bool:
        """Tell whether a point lies in it."""
        x, y = point
        return self.x <= x < self.x + self.width and self.y <= y < self.y + self.height

    @property
    def center(self) -> Point:
        """The middle of the box."""
        return self.x + self.width / 2, self.y + self.height / 2

    def iou(self, other: "Box") -> float:
        """Return intersection over union, 0 to 1."""
        across = min(self.x + self.width, other.x + other.width) - max(self.x, other.x)
        down = min(self.y + self.height, other.y + other.height) - max(self.y, other.y)
        if across <= 0 or down <= 0:
            return 0.0
        shared = across * down
        return shared / (self.width * self.height + other.width * other.height - shared)


class Candidate(msgspec.Struct, frozen=True):
    """One possible text of a plate, with its confidence 0 to 100."""

    plate: str
    confidence: float


class PlateRead(msgspec.Struct, frozen=True, kw_only=True):
    """One plate read in one frame.

    ``plate`` is normalised text (A-Z and 0-9, see ``engine.plates``); ``candidates`` holds at
    most top-n texts, best first, the first one equal to ``plate``.
    """

    plate: str
    confidence: float
    candidates: tuple[Candidate, ...]
    corners: Corners
    region: str = ""
    recognizer: str
    elapsed_ms: float

    @property
    def box(self) -> Box:
        """The upright box around the corners."""
        return Box.around(self.corners)

    @property
    def aspect(self) -> float:
        """Width by height of the plate, along its upper and its left side."""
        start, right, _, down = self.corners
        high = math.dist(start, down)
        return math.dist(start, right) / high if high >= 1.0 else 0.0


class FrameStamp(msgspec.Struct, frozen=True, kw_only=True):
    """Which frame this is and when it was captured; the wall clock is stamped only once."""

    camera: str
    generation: int
    captured_unix_ns: int
    captured_monotonic_ns: int
    width_px: int
    height_px: int


class FrameReads(msgspec.Struct, frozen=True, kw_only=True):
    """What a recognizer found in one frame, as it travels to the publisher.

    ``crops[i]`` is the JPEG of ``reads[i]``'s plate; ``frame_jpeg`` the whole frame, scaled down,
    or empty where no read was worth one.
    """

    stamp: FrameStamp
    reads: tuple[PlateRead, ...]
    crops: tuple[bytes, ...] = ()
    frame_jpeg: bytes = b""
    recognizer_version: str = ""


class Phase(StrEnum):
    """How settled a sighting is; consumers that want one event per vehicle take finals.

    What is added to a final later (a clip, a correction by hand) leaves it final and marks it
    ``amended``; who chooses events by phase gets that as a revision, see ``Sighting.news``.
    """

    PROVISIONAL = "provisional"
    REVISED = "revised"
    FINAL = "final"


class PathPoint(msgspec.Struct, frozen=True):
    """Where a plate was at one time (UTC milliseconds since 1970)."""

    unix_ms: int
    box: Box


class Hit(msgspec.Struct, frozen=True, kw_only=True):
    """An entry of a watchlist that a sighting's plate matches."""

    list: str
    plate: str
    """The plate or pattern as it stands in the list."""
    match: str
    """How it matches: ``exact``, ``pattern``, ``confusable`` or ``near``."""
    label: str = ""
    severity: str = "info"
    """``info``, ``warning`` or ``alarm``."""


class Sighting(msgspec.Struct, frozen=True, kw_only=True):
    """One passage of one vehicle before one camera.

    ``id`` never changes; ``revision`` rises with every event about the same sighting. Times are
    UTC milliseconds since 1970, as stamped at capture. ``direction_deg`` is the direction of
    travel in the picture, 0 to the right, 90 down; None while unknown. Evidence pictures are
    stored beside the sighting, ``has_crop``, ``has_frame`` and ``has_clip`` tell which there are.
    """

    id: str
    revision: int
    phase: Phase
    camera: str
    node: str
    plate: str
    confidence: float
    candidates: tuple[Candidate, ...] = ()
    region: str = ""
    first_unix_ms: int
    last_unix_ms: int
    best_unix_ms: int
    reads: int = 1
    frames: int = 1
    direction_deg: float | None = None
    path: tuple[PathPoint, ...] = ()
    parked: bool = False
    has_crop: bool = False
    has_frame: bool = False
    has_clip: bool = False
    recognizer: str = ""
    recognizer_version: str = ""
    origin: str = "camera"
    """``camera``, ``ingest`` or ``upload``: how it reached us."""
    group: str = ""
    """Id of the first sighting of this vehicle at any camera of the same site, maybe its own."""
    hits: tuple[Hit, ...] = ()
    """Entries of watchlists that its plate matches, the closest first."""
    read_as: str = ""
    """What was read, where ``plate`` was corrected by hand since; empty where it never was."""
    amended: bool = False
    """Its final was told before: since then it got a clip, or was corrected by hand."""

    @property
    def news(self) -> Phase:
        """The phase of this event for those who choose by it: of a sighting, one is final."""
        return Phase.REVISED if self.amended else self.phase


class Correction(msgspec.Struct, frozen=True, kw_only=True):
    """What somebody corrected by hand of a sighting."""

    plate: str
    """The text from then on."""
    before: str
    """The text until then."""
    note: str = ""
    by: str
    """Name of the person or key, as the access check knows it."""
    unix_ms: int
    revision: int
    """Of the sighting, with this correction."""


def nearing(growth: float, ahead_s: float) -> float:
    """Return how many times as large what drives evenly will look, and be as far along as thought.

    ``growth``: the share of its size by which it grows a second now. At half the distance it is
    twice as large and twice as fast in the picture; more than that is not foreseen.
    """
    return 1.0 / max(0.5, 1.0 - growth * ahead_s)


class TrackPlace(msgspec.Struct, frozen=True):
    """Where an open track is, as decoders and workers are told of it; ``key`` stands for its id."""

    key: int
    box: Box
    speed: Point
    """Pixels a second, to the right and down."""
    seen_unix_ns: int
    """Capture time at which its plate was read last, or known to be there."""
    settled: bool
    """Its text is certain."""
    urgent: bool = False
    """It was read too few times to be certain: the next frames are wanted."""
    growth: float = 0.0
    """The share of its size by which it grows a second, as it comes nearer."""

    def box_at(self, unix_ns: int) -> Box:
        """Return where it should be at a time, at most a second away from when it was seen."""
        ahead_s = min(max(-1.0, (unix_ns - self.seen_unix_ns) / 1e9), 1.0)
        box, nearer = self.box, nearing(self.growth, ahead_s)
        x, y = box.center
        x, y = x + self.speed[0] * ahead_s * nearer, y + self.speed[1] * ahead_s * nearer
        width, height = box.width * nearer, box.height * nearer
        return Box(x - width / 2, y - height / 2, width, height)


class Still(msgspec.Struct, frozen=True):
    """A decoder's word that nothing changed at a track's place up to a capture time.

    ``frames`` of them were captured since it was first asked about this track.
    """

    key: int
    until_unix_ns: int
    frames: int


class Evidence(msgspec.Struct, frozen=True):
    """The pictures of a sighting as JPEG, its clip, what was posted; empty where there is none."""

    crop_jpeg: bytes = b""
    frame_jpeg: bytes = b""
    clip: bytes = b""
    """A video file, MP4 or Matroska."""
    payload: bytes = b""
    """JSON that an agent posted, with fields that a sighting has no place for."""


class CameraState(StrEnum):
    """What a camera is doing."""

    CONNECTING = "connecting"
    LIVE = "live"
    DEGRADED = "degraded"
    """Frames come, but late, damaged or black."""
    FROZEN = "frozen"
    """Frames come, but all show the same."""
    LOST = "lost"
    ENDED = "ended"
    PAUSED = "paused"


class CameraEvent(msgspec.Struct, frozen=True, kw_only=True):
    """A camera turned from one state to another, or for another reason."""

    camera: str
    node: str
    state: CameraState
    reason: str = ""
    """Readable, holds no secret; empty where the state says all."""
    before: CameraState
    unix_ms: int

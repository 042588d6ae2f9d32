"""Pictures of what cameras see, taken from their rings without a lease, with boxes where wished.

Where the plates are stands on the stats board, which the publisher fills for decoders and workers:
nobody is asked, and the ring is not disturbed.
"""

import time
from collections.abc import Callable, Mapping
from typing import Final

import cv2
import gevent
import msgspec
import numpy as np

from engine.board import Board
from engine.errors import RingError, SinkError
from engine.feedback import PLACES, Feedback
from engine.messages import RingHandle
from engine.ring import RingReader
from engine.store import Store, camera_key, sighting_key
from engine.track import key_of
from engine.types import DISGUISED, Bgr, Luma, TrackPlace

FRESH_S: Final = 0.4
"""Pages that ask within this time share one picture."""
UNWATCHED_S: Final = 5.0
WIDTH_PX: Final = 640
JPEG_QUALITY: Final = 75
SEEN_WITHIN_NS: Final = 1_000_000_000
"""A box is drawn for so long after its plate was read, or known to be there."""

_SETTLED: Final = (80, 220, 80)
_UNSETTLED: Final = (60, 190, 250)
"""Blue, green, red."""

Names = Callable[[str], Mapping[int, str]]
"""Gives a camera's plates by the keys of their tracks."""


class Spot(msgspec.Struct, frozen=True):
    """A box to draw, and the plate in it; empty where that is not known."""

    place: TrackPlace
    plate: str


def plates_in_view(store: Store) -> Names:
    """Return how a camera's newest plates are found, those that are hashes left out."""

    def names(camera: str) -> Mapping[int, str]:
        try:
            (ids,) = store.asking([("zrevrange", camera_key(camera), 0, PLACES - 1)])
            texts = [one.decode("ascii", "replace") for one in ids]
            plates = store.asking(("hget", sighting_key(one), "plate") for one in texts)
        except SinkError:  # boxes without texts, then
            return {}
        return {
            key_of(one): plate.decode()
            for one, plate in zip(texts, plates, strict=True)
            if plate and not plate.decode().startswith(DISGUISED)
        }

    return names


class Snapshots:
    """One attached ring per camera that somebody looks at."""

    def __init__(self, board: Board, names: Names) -> None:
        """Take boxes from ``board``, and their texts from ``names``."""
        self._board = board
        self._names = names
        self._readers: dict[str, tuple[RingHandle, RingReader]] = {}
        self._places: dict[int, Feedback] = {}
        self._pictures: dict[tuple[str, bool], tuple[float, bytes]] = {}
        self._asked: dict[str, float] = {}

    def take(
        self, camera: str, handle: RingHandle, *, boxes: bool = False, fresh_s: float = FRESH_S
    ) -> bytes:
        """Return a JPEG at most ``WIDTH_PX`` wide, or nothing while there is no frame."""
        now = self._asked[camera] = time.monotonic()
        taken, picture = self._pictures.get((camera, boxes), (0.0, b""))
        if now - taken < fresh_s:
            return picture
        reader = self._reader(camera, handle)
        found = reader.snapshot() if reader is not None else None
        if found is None:
            return b""
        luma, stamp = found
        spots = self._spots(camera, handle, stamp.captured_unix_ns) if boxes else []
        # In a native thread: the other greenlets go on meanwhile.
        at_ns = stamp.captured_unix_ns
        picture = bytes(gevent.get_hub().threadpool.apply(encode, (luma, spots, at_ns)))
        self._pictures[camera, boxes] = (time.monotonic(), picture)
        return picture

    def let_go(self) -> None:
        """Unmap the rings that nobody looks at: a ring that was removed must not stay mapped."""
        oldest = time.monotonic() - UNWATCHED_S
        for camera in [name for name, asked in self._asked.items() if asked < oldest]:
            del self._asked[camera]
            for boxes in (False, True):
                self._pictures.pop((camera, boxes), None)
            self._detach(camera)

    def _spots(self, camera: str, handle: RingHandle, at_ns: int) -> list[Spot]:
        """Return the boxes of plates that were in view when a frame was captured."""
        feedback = self._places.setdefault(handle.camera, Feedback(self._board, handle.camera))
        places = [
            place for place in feedback.places() if abs(at_ns - place.seen_unix_ns) < SEEN_WITHIN_NS
        ]
        names = self._names(camera) if places else {}
        return [Spot(place, names.get(place.key, "")) for place in places]

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

    def _detach(self, camera: str) -> None:
        known = self._readers.pop(camera, None)
        if known is not None:
            known[1].close()


def encode(luma: Luma, spots: list[Spot], at_ns: int) -> bytes:
    """Return a frame as a small JPEG, in colour where there is something to draw."""
    height, width = luma.shape
    scale = min(1.0, WIDTH_PX / width)
    if scale < 1:
        size = (WIDTH_PX, round(height * scale))
        luma = np.asarray(cv2.resize(luma, size, interpolation=cv2.INTER_AREA), np.uint8)
    picture = luma
    if spots:
        picture = np.asarray(cv2.cvtColor(luma, cv2.COLOR_GRAY2BGR), np.uint8)
        for spot in spots:
            draw(picture, spot, at_ns, scale)
    _, encoded = cv2.imencode(".jpg", picture, (cv2.IMWRITE_JPEG_QUALITY, JPEG_QUALITY))
    return encoded.tobytes()


def draw(picture: Bgr, spot: Spot, at_ns: int, scale: float) -> None:
    """Draw a box and its plate into a picture that is ``scale`` times as large as its frame."""
    box = spot.place.box_at(at_ns).grown(2 / scale, 2 / scale)
    colour = _SETTLED if spot.place.settled else _UNSETTLED
    left, top = round(box.x * scale), round(box.y * scale)
    right, bottom = round((box.x + box.width) * scale), round((box.y + box.height) * scale)
    cv2.rectangle(picture, (left, top), (right, bottom), colour, 2)
    if spot.plate:
        at = (max(0, left), top - 5 if top > 20 else bottom + 16)
        for thickness, ink in ((3, (0, 0, 0)), (1, colour)):
            cv2.putText(
                picture, spot.plate, at, cv2.FONT_HERSHEY_SIMPLEX, 0.5, ink, thickness, cv2.LINE_AA
            )

"""Decides which frames of a camera are worth recognizing, and where in them to look.

Pure: previews, times and the places of the open tracks go in, a verdict comes out. Frames are left
out when nothing moves (the motion gate); when all that moves are vehicles whose plates are known
with certainty, except for a look now and then; and when something unknown moves, but was looked at
a moment ago. A plate that was just read for the first times is looked at in every frame. Rather one
look too many than a plate lost: what is not explained by a known vehicle is looked at. After a
frame that was left out, the next one is not even glanced at if it follows at once.
"""

from collections.abc import Sequence
from collections.abc import Set as AbstractSet
from typing import Final, Self

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from engine.board import Fate
from engine.config import CameraSettings
from engine.motion import MotionGate
from engine.types import Box, Luma, Still, TrackPlace

MOST_AREAS: Final = 4
"""Places of one frame to look at; a slot has room for so many."""
_GLIMPSE_S: Final = 0.1
"""Nothing comes far in so little time: ten glimpses a second show whatever begins to move."""
_FRESH_S: Final = 0.5
"""A new plate is looked at in every frame as long as it was read this recently."""
_SAME_FRAME_S: Final = 0.002
"""What changed this little after a plate was seen changed in the frame that it was seen in."""
_VEHICLE_WIDTHS: Final = (2.2, 3.5, 1.5)
"""How far a vehicle reaches beyond the middle of its plate: aside, up, down; in plate widths."""
_NEAR_WIDTHS: Final = 0.25
"""The middle of a known plate is this near to where it should be."""
_REREADS: Final = 2
"""So often in the time after which it is due a plate is tried again: all that are due at once."""
_STRAYS_WIDTHS: Final = 0.6
_NEW_STRAYS_WIDTHS: Final = 1.0
"""A plate is this near to where it should be; one whose speed is hardly known yet."""
_FAR_HEIGHT_PX: Final = 10.0
_GONE_SHARE: Final = 0.9
"""A plate lower than both, the latter of its height when it was seen, is gone for its reader."""
_MOMENT_S: Final = 0.4
"""While anything moves, what changed this recently is still looked at: it may just have stopped."""
_RECENT_S: Final = 1.0
"""Nobody needs to look at what changed longer ago than this and stands since."""
_FAR_SHARE: Final = 0.1
"""A vehicle with less than this share of the frame's sides shows no legible plate, as a rule."""
_FAR_PACES: Final = 3
"""What is far away is looked at so many times more rarely."""
_MOST_OF_FRAME: Final = 0.7
"""Where more of the frame than this is to be searched, all of it is."""

Mask = npt.NDArray[np.bool_]


class Savings(msgspec.Struct, frozen=True):
    """Which frames a camera may leave out; off, everything that moves is recognized."""

    reread_s: float = 0.0
    """A plate known with certainty is read again so often while it moves; 0: in every frame."""
    search_s: float = 0.0
    """Something unknown that moves is looked at so often; 0: in every frame."""
    focus: bool = False
    """Only what moved is searched."""

    @classmethod
    def of(cls, camera: CameraSettings, *, lossless: bool) -> Self:
        """Return what a camera may leave out as it plays.

        What waits for us is shown faster than it was filmed, so it is over before anybody could say
        what he read; or it is single pictures, none of which shows what another one does.
        """
        if lossless or not camera.skip_static:
            return cls()
        return cls(camera.reread_s, camera.search_s, camera.focus)


class Glimpse(msgspec.Struct, frozen=True):
    """What is known of a frame before it is decoded into a slot."""

    preview: Luma
    """(h, w) uint8, kept until the next change."""
    at_s: float
    """Monotonic time of its capture."""
    unix_ns: int
    width_px: int
    height_px: int


class Verdict(msgspec.Struct, frozen=True):
    """What to do with a frame."""

    skip: Fate | None = None
    """Why it is not worth recognizing; None: it is."""
    areas: tuple[Box, ...] = ()
    """Where to look, in frame pixels; empty: everywhere."""
    stills: tuple[Still, ...] = ()
    """Tracks whose places did not change since they were seen."""


class Strange(msgspec.Struct, frozen=True):
    """What moved and is no known vehicle."""

    places: tuple[Box, ...] = ()
    """In frame pixels."""
    is_far: bool = False
    """None of it is as large as a vehicle whose plate is legible."""


class Attention:
    """Decides frame by frame; one per camera, one thread uses it."""

    def __init__(self, gate: MotionGate, savings: Savings) -> None:
        self._gate = gate
        self._savings = savings
        self._searched_at_s = self._followed_at_s = self._reread_at_s = float("-inf")
        self._rests_until_s = float("-inf")
        self._rests_for: Fate | None = None
        self._frames: dict[int, int] = {}
        """Frames in which a track's place did not change, by its key."""

    def reason_to_rest(self, at_s: float, places: Sequence[TrackPlace]) -> Fate | None:
        """Return why the next frame needs not even a glimpse; None: it needs one.

        That spares the preview, which costs more than the verdict. at_s: monotonic time of its
        capture. While a plate's text is not certain, there is no rest.
        """
        if at_s >= self._rests_until_s or not all(place.settled for place in places):
            return None
        return self._rests_for

    def _rest(self, skip: Fate, at_s: float, pace_s: float) -> None:
        """Let frames be left out for the same reason for a moment, but until the next search."""
        self._rests_for = skip
        self._rests_until_s = at_s + min(_GLIMPSE_S, self._savings.search_s)
        if skip is Fate.SKIPPED_PACED:
            self._rests_until_s = min(self._rests_until_s, self._searched_at_s + pace_s)

    def judge(self, glimpse: Glimpse, places: Sequence[TrackPlace]) -> Verdict:
        """Return what to do with the next frame; ``places`` are the camera's open tracks."""
        self._rests_until_s = float("-inf")
        passes = self._gate.changed(glimpse.preview, glimpse.at_s)
        standing = {place.key for place in places if self._is_still(place, glimpse)}
        moved = [place for place in places if place.key not in standing]
        stills = self._stills(glimpse, standing)
        due = [_around(place, glimpse) for place in self._due(glimpse, moved)]
        strange = self._strange(glimpse, moved)
        skip = self._reason_not_to_search(glimpse, moved, strange, passes=passes)
        if skip is None:
            due += strange.places
            due += [_around(place, glimpse) for place in moved if not place.settled]
        elif not due:
            self._rest(skip, glimpse.at_s, self._pace_s(strange))
            return Verdict(skip, stills=stills)
        if skip is None or not self._savings.focus:
            self._searched_at_s = glimpse.at_s
        return Verdict(None, _joined(due, glimpse) if self._savings.focus else (), stills)

    def _reason_not_to_search(
        self,
        glimpse: Glimpse,
        moved: Sequence[TrackPlace],
        strange: Strange,
        *,
        passes: bool,
    ) -> Fate | None:
        """Return why nobody needs to look for plates in this frame, None where somebody should."""
        if not passes:
            return Fate.SKIPPED_STATIC
        if not self._savings.reread_s and any(place.settled for place in moved):
            return None
        if not strange.places and any(self._is_known(place, glimpse) for place in moved):
            return Fate.SKIPPED_KNOWN
        ago_s = glimpse.at_s - self._searched_at_s
        return Fate.SKIPPED_PACED if ago_s < self._pace_s(strange) else None

    def _pace_s(self, strange: Strange) -> float:
        """Return how often to look at what moves and is not known."""
        return self._savings.search_s * (_FAR_PACES if strange.is_far else 1)

    def _due(self, glimpse: Glimpse, moved: Sequence[TrackPlace]) -> list[TrackPlace]:
        """Return the tracks whose plates are to be read in this frame, wherever else one looks."""
        savings, now_s = self._savings, glimpse.at_s
        ages = [(place, (glimpse.unix_ns - place.seen_unix_ns) / 1e9) for place in moved]
        due = [place for place, age_s in ages if place.urgent and age_s < _FRESH_S]
        if now_s - self._followed_at_s >= savings.search_s:
            due += [place for place, _age_s in ages if self._is_followed(place, glimpse)]
            self._followed_at_s = now_s if due else self._followed_at_s
        if savings.reread_s and now_s - self._reread_at_s >= savings.reread_s / _REREADS:
            old = [p for p, age_s in ages if age_s >= savings.reread_s and _is_read(p, glimpse)]
            self._reread_at_s = now_s if old else self._reread_at_s
            due += old
        return due

    def _is_known(self, place: TrackPlace, glimpse: Glimpse) -> bool:
        """Tell whether nobody needs to search for what moves around a track."""
        if place.settled:
            return self._savings.reread_s > 0
        return self._is_followed(place, glimpse)

    def _is_followed(self, place: TrackPlace, glimpse: Glimpse) -> bool:
        """Tell whether a plate is looked at where it should be, until its text is certain."""
        age_s = (glimpse.unix_ns - place.seen_unix_ns) / 1e9
        return self._savings.focus and not place.settled and age_s < _FRESH_S

    def _recent(self, glimpse: Glimpse) -> Mask:
        """Return the blocks that changed since the last search, or a moment ago."""
        return self._gate.changed_since(self._recent_from_s(glimpse))

    def _recent_from_s(self, glimpse: Glimpse) -> float:
        moves = self._gate.changed_since(glimpse.at_s).any()
        afterglow_s = min(self._gate.afterglow_s, _MOMENT_S if moves else _RECENT_S)
        return max(glimpse.at_s - _RECENT_S, min(self._searched_at_s, glimpse.at_s - afterglow_s))

    def _strange(self, glimpse: Glimpse, moved: Sequence[TrackPlace]) -> Strange:
        """Return the places that moved of late, but those where known vehicles alone moved.

        Where vehicles drive one before the other, they are one place.
        """
        mask = self._recent(glimpse)
        unexplained = self._unexplained(mask, glimpse, moved)
        if not unexplained.any():
            return Strange()
        across, down = glimpse.width_px / mask.shape[1], glimpse.height_px / mask.shape[0]
        joined = cv2.dilate(mask.astype(np.uint8), np.ones((3, 3), np.uint8))
        _count, labels, stats, _middles = cv2.connectedComponentsWithStats(joined)
        boxes = tuple(
            Box(x * across, y * down, width * across, height * down)
            for x, y, width, height, _blocks in stats[np.unique(labels[unexplained])].tolist()
        )
        _count, _labels, pieces, _middles = cv2.connectedComponentsWithStats(
            unexplained.astype(np.uint8)
        )
        sides = pieces[1:, (cv2.CC_STAT_HEIGHT, cv2.CC_STAT_WIDTH)] / mask.shape
        return Strange(boxes, is_far=bool((sides.min(axis=1) < _FAR_SHARE).all()))

    def _unexplained(self, mask: Mask, glimpse: Glimpse, moved: Sequence[TrackPlace]) -> Mask:
        """Return the changed blocks that belong to no known vehicle, nor to where it came from."""
        mask = mask.copy()
        back_s = glimpse.at_s - self._recent_from_s(glimpse)
        for place in moved:
            if not self._is_known(place, glimpse):
                continue
            vehicle = _vehicle_around(place.box_at(glimpse.unix_ns))
            before = _vehicle_around(place.box_at(glimpse.unix_ns - int(back_s * 1e9)))
            mask[_blocks(_union(before, vehicle), mask.shape, glimpse)] = False
        return mask

    def _is_still(self, place: TrackPlace, glimpse: Glimpse) -> bool:
        """Tell whether nothing changed at a track's place since its plate was seen."""
        ago_s = (glimpse.unix_ns - place.seen_unix_ns) / 1e9
        mask = self._gate.changed_since(glimpse.at_s - ago_s + _SAME_FRAME_S)
        return not mask[_blocks(place.box, mask.shape, glimpse)].any()

    def _stills(self, glimpse: Glimpse, standing: AbstractSet[int]) -> tuple[Still, ...]:
        """Count one more frame for each of the tracks whose places did not change."""
        self._frames = {key: self._frames.get(key, 0) + 1 for key in standing}
        return tuple(Still(key, glimpse.unix_ns, frames) for key, frames in self._frames.items())


def known_plates(places: Sequence[TrackPlace], unix_ns: int, reread_ns: int) -> tuple[Box, ...]:
    """Return where plates are at a time that are known with certainty, until they are due again."""
    return tuple(
        box.grown(_NEAR_WIDTHS * box.width, _NEAR_WIDTHS * box.width)
        for place in places
        if place.settled
        and (abs(unix_ns - place.seen_unix_ns) < reread_ns or _is_gone_far(place, unix_ns))
        for box in [place.box_at(unix_ns)]
    )


def _vehicle_around(plate: Box) -> Box:
    (x, y), width = plate.center, plate.width
    aside, up, down = _VEHICLE_WIDTHS
    return Box(x - aside * width, y - up * width, 2 * aside * width, (up + down) * width)


def _around(place: TrackPlace, glimpse: Glimpse) -> Box:
    """Return where the plate of a track can be."""
    plate = place.box_at(glimpse.unix_ns)
    aside = (_NEW_STRAYS_WIDTHS if place.urgent else _STRAYS_WIDTHS) * plate.width
    return plate.grown(aside, aside)


def _joined(boxes: Sequence[Box], glimpse: Glimpse) -> tuple[Box, ...]:
    """Return the places to look at, few of them; none where it is nearly all of the frame."""
    areas = _few([area for box in boxes if (area := _clipped(box, glimpse)) is not None])
    whole = glimpse.width_px * glimpse.height_px
    if sum(area.width * area.height for area in areas) > _MOST_OF_FRAME * whole:
        return ()
    return areas


def _is_read(place: TrackPlace, glimpse: Glimpse) -> bool:
    """Tell whether a track should still be in the picture, and legible."""
    x, y = place.box_at(glimpse.unix_ns).center
    is_inside = 0 <= x < glimpse.width_px and 0 <= y < glimpse.height_px
    return is_inside and not _is_gone_far(place, glimpse.unix_ns)


def _is_gone_far(place: TrackPlace, unix_ns: int) -> bool:
    """Tell whether a plate known with certainty is hardly legible any more, from afar."""
    height = place.box_at(unix_ns).height
    return place.settled and height < min(_FAR_HEIGHT_PX, _GONE_SHARE * place.box.height)


def _blocks(box: Box, grid: tuple[int, ...], glimpse: Glimpse) -> tuple[slice, slice]:
    """Return the rows and columns of the grid that a box touches."""
    rows, columns = grid
    down, across = rows / glimpse.height_px, columns / glimpse.width_px
    top, bottom = box.y * down, (box.y + box.height) * down
    left, right = box.x * across, (box.x + box.width) * across
    return (
        slice(max(0, int(top)), max(0, int(np.ceil(bottom)))),
        slice(max(0, int(left)), max(0, int(np.ceil(right)))),
    )


def _clipped(box: Box, glimpse: Glimpse) -> Box | None:
    """Return the part of a box that is in the frame."""
    left, top = max(0.0, box.x), max(0.0, box.y)
    width = min(box.x + box.width, glimpse.width_px) - left
    height = min(box.y + box.height, glimpse.height_px) - top
    return Box(left, top, width, height) if width > 0 and height > 0 else None


def _few(boxes: Sequence[Box]) -> tuple[Box, ...]:
    """Join boxes that overlap, then the nearest ones until few are left."""
    left = list(boxes)
    while True:
        pairs = [
            (_waste(one, other), first, second)
            for first, one in enumerate(left)
            for second, other in enumerate(left[first + 1 :], first + 1)
        ]
        if not pairs:
            return tuple(left)
        waste, first, second = min(pairs)
        if waste > 0 and len(left) <= MOST_AREAS:
            return tuple(left)
        left[first] = _union(left[first], left.pop(second))


def _union(one: Box, other: Box) -> Box:
    x, y = min(one.x, other.x), min(one.y, other.y)
    right = max(one.x + one.width, other.x + other.width)
    bottom = max(one.y + one.height, other.y + other.height)
    return Box(x, y, right - x, bottom - y)


def _waste(one: Box, other: Box) -> float:
    """Return how much more is searched when two boxes become one."""
    both = _union(one, other)
    return both.width * both.height - one.width * one.height - other.width * other.height

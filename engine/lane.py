"""One camera's tracks: its clock, and which track a read belongs to."""

from collections import deque
from collections.abc import Iterable, Iterator
from operator import attrgetter, ne
from typing import Final

import msgspec

from engine.filters import Rules
from engine.plates import distance, is_part
from engine.track import NS_PER_MS, NS_PER_S, Track
from engine.types import Box, FrameReads, FrameStamp, PlateRead
from engine.voting import CUT_SHARE

_SAME_TEXT: Final = 0.35
"""Texts this near, one look-alike apart, are one plate if they were read for one another."""
_NEAR_TEXT: Final = 1.0
"""Texts this near, one misreading, are one plate if the vehicle can easily have moved there."""
_ALIKE_TEXT: Final = 0.5
"""Texts this near, one look-alike apart, are one plate wherever it can have moved."""
_OVERLAID_TEXT: Final = 2.5
"""Texts this near are one plate if they were read at the same place right after each other."""
_OVERLAID_WIDTHS: Final = 0.6
_OVERLAID_NS: Final = 600 * NS_PER_MS
_EASILY_NS: Final = 500 * NS_PER_MS
"""However long it was unseen, a vehicle is easily as far from its way as after this, no further."""
_REACH_WIDTHS: Final = 1.0
_REACH_WIDTHS_PER_S: Final = 4.0
_NEIGHBOUR_WIDTHS: Final = 3.0
_EDGE_WIDTHS: Final = 0.02
"""A plate this near to the frame's edge, in its own widths, is cut by it."""
_SAME_PLACE_IOU: Final = 0.5
_REMEMBERED_FRAMES: Final = 256


class Spot(msgspec.Struct, frozen=True):
    """A read that is good enough, where it is, and its place among the frame's reads."""

    index: int
    read: PlateRead
    box: Box


def good_spots(frame: FrameReads, rules: Rules) -> list[Spot]:
    """Return the reads that the camera's rules take, whole, and each plate only once."""
    if not rules.is_open(frame.stamp.captured_unix_ns):
        return []
    spots = [
        Spot(index, read, box)
        for index, read in enumerate(frame.reads)
        if read.plate
        and rules.takes(read.confidence, box := read.box, frame.stamp)
        and not _is_cut(box, frame.stamp)
    ]
    return _distinct(spots) if len(spots) > 1 else spots


class Lane:
    """One camera's tracks and its clock."""

    def __init__(self, max_gap_ns: int) -> None:
        self.open: dict[str, Track] = {}
        self.closed: dict[str, Track] = {}
        self.high_ns = 0
        """The newest capture time."""
        self.heard_ns = 0
        """Our own clock when the camera was last heard."""
        self.quiet_until_ns = 0
        """No open track is due for closing or announcing before this camera time."""
        self._max_gap_ns = max_gap_ns
        self._by_text: dict[str, Track] = {}
        self._frames: deque[tuple[int, int]] = deque(maxlen=_REMEMBERED_FRAMES)
        self._known: set[tuple[int, int]] = set()

    def now_ns(self, clock_ns: int) -> int:
        """Return the camera's time now."""
        return self.high_ns + max(0, clock_ns - self.heard_ns)

    def is_repeat(self, stamp: FrameStamp) -> bool:
        """Tell whether this frame was here before, and remember it."""
        key = (stamp.generation, stamp.captured_unix_ns)
        if key in self._known:
            return True
        if len(self._frames) == _REMEMBERED_FRAMES:
            self._known.discard(self._frames[0])
        self._frames.append(key)
        self._known.add(key)
        return False

    def keyed(self, key: int) -> Track | None:
        """Return the open track with this key."""
        return next((track for track in self.open.values() if track.key == key), None)

    def take_in(self, track: Track) -> None:
        """Make a track one of the open ones."""
        self.closed.pop(track.id, None)
        self.open[track.id] = track
        self._find_by_text(track)

    def renamed(self, track: Track, text: str) -> None:
        """Note that a track's text is no longer ``text``."""
        self._lose_by_text(track, text)
        self._find_by_text(track)

    def drop(self, track: Track) -> None:
        """Take a track out of the open ones."""
        self.open.pop(track.id, None)
        self._lose_by_text(track, track.plate)

    def _find_by_text(self, track: Track) -> None:
        """Let a track be found by its text: of several the newest, after a restart, too."""
        known = self._by_text.get(track.plate)
        if known is None or track.id > known.id:
            self._by_text[track.plate] = track

    def _lose_by_text(self, track: Track, text: str) -> None:
        """Let another open track be found by a text, if there is one."""
        if self._by_text.get(text) is track:
            del self._by_text[text]
            for other in self.open.values():
                if other.plate == text and other is not track:
                    self._find_by_text(other)

    def associate(self, spots: list[Spot], at_ns: int) -> dict[int, Track]:
        """Return the open track of each spot that has one, by index; no track twice."""
        chosen: dict[int, Track] = {}
        taken: set[str] = set()
        rest: list[Spot] = []
        for spot in spots:
            same = self._by_text.get(spot.read.plate)
            if (
                same is None
                or same.id in taken
                or same.gap_ns(at_ns) > self._max_gap_ns
                or not same.can_look_so(spot.box, at_ns)
            ):
                rest.append(spot)
            else:
                chosen[spot.index] = same
                taken.add(same.id)
        offers = sorted(
            (cost, spot.index, track.id)
            for spot in rest
            for track in self._within_reach(spot.box, at_ns)
            if track.id not in taken and (cost := self._cost(track, spot, at_ns)) is not None
        )
        for _cost, index, track_id in offers:
            if index not in chosen and track_id not in taken:
                chosen[index] = self.open[track_id]
                taken.add(track_id)
        return chosen

    def is_shadowed(self, box: Box, at_ns: int) -> bool:
        """Tell whether an open track is at this place now."""
        return any(
            track.offset_widths(box, at_ns) <= _REACH_WIDTHS
            for track in self._within_reach(box, at_ns)
        )

    def twin(self, track: Track, reappear_ns: int) -> Track | None:
        """Return the announced track that this one continues, None where it is a new vehicle."""
        best: tuple[float, str, Track] | None = None
        left, width = track.box.x, track.box.width
        for known in (*self.open.values(), *self.closed.values()):
            # Quickly: whatever its speed, a track that far aside was not at this place.
            is_far = abs(known.box.x - left) > known.box.width + width + abs(known.speed[0])
            if is_far and not _were_confused(known, track):
                continue
            if known is track or not known.revision or known.id in track.met:
                continue
            gap_ns = max(0, track.first_ns - known.last_ns, known.first_ns - track.last_ns)
            if gap_ns > reappear_ns:
                continue
            overlaid = (
                gap_ns <= _OVERLAID_NS
                and known.offset_widths(track.box, track.last_ns) <= _OVERLAID_WIDTHS
            )
            hid = gap_ns <= self._max_gap_ns and self._hid(known, track)
            if not hid and not overlaid and not _were_confused(known, track):
                continue
            limit = _OVERLAID_TEXT if overlaid else _SAME_TEXT
            apart = distance(known.plate, track.plate, limit)
            if hid:  # its part is as good as a look-alike, whatever their lengths
                apart = min(apart, _SAME_TEXT)
            if apart <= limit and (best is None or (apart, known.id) < best[:2]):
                best = apart, known.id, known
        return best[2] if best else None

    def _hid(self, known: Track, track: Track) -> bool:
        """Tell whether a plate came back from behind something, and only a part was read of it."""
        first = track.path[0].box
        if not _is_part_of_other(known, track.plate, first.width / max(first.height, 1.0)):
            return False
        gap_ns = known.gap_ns(track.first_ns)
        reach = _likeness(known.box, first) * _reach_widths(min(gap_ns, _EASILY_NS))
        return gap_ns <= self._max_gap_ns and known.offset_widths(first, track.first_ns) <= reach

    def _within_reach(self, box: Box, at_ns: int) -> Iterator[Track]:
        """Yield the open tracks whose plate can be near this box, roughly: this must be fast."""
        middle, width = box.x + box.width / 2, max(box.width, 1.0)
        level = box.y + box.height / 2
        for track in self.open.values():
            gap_ns = at_ns - track.last_ns
            if gap_ns < 0:
                gap_ns = max(0, track.first_ns - at_ns)
            if gap_ns > self._max_gap_ns:
                continue
            there, apart_s = track.box, abs(at_ns - track.last_ns) / NS_PER_S
            reach = _REACH_WIDTHS + _REACH_WIDTHS_PER_S * gap_ns / NS_PER_S
            reach *= max(there.width, width)
            across, down = track.speed
            if (
                abs(there.x + there.width / 2 - middle) <= reach + abs(across) * apart_s
                and abs(there.y + there.height / 2 - level) <= reach + abs(down) * apart_s
            ):
                yield track

    def _cost(self, track: Track, spot: Spot, at_ns: int) -> float | None:
        """Return how badly a read fits a track, None where it cannot be the same vehicle."""
        gap_ns, plate = track.gap_ns(at_ns), spot.read.plate
        offset = track.offset_widths(spot.box, at_ns)
        if offset > _reach_widths(gap_ns) or not track.can_look_so(spot.box, at_ns):
            return None
        overlaid = offset <= _OVERLAID_WIDTHS and gap_ns <= _OVERLAID_NS
        reach = _reach_widths(min(gap_ns, _EASILY_NS))
        is_near = offset <= _likeness(track.box, spot.box) * reach
        limit = _OVERLAID_TEXT if overlaid else _NEAR_TEXT if is_near else _ALIKE_TEXT
        apart = distance(track.plate, plate, limit)
        if apart > limit and is_near and _is_part_of_other(track, plate, spot.read.aspect):
            apart = limit
        return None if apart > limit else apart + 0.1 * offset


def _is_part_of_other(track: Track, plate: str, aspect: float) -> bool:
    """Tell whether a text of a plate of this width by height shows a part of a track's plate.

    Or the other way round: the narrower plate is the one that was hidden in part.
    """
    said = track.ballots.get(track.plate)
    known = said.aspect if said is not None else 0.0
    if 0 < aspect < CUT_SHARE * known:
        return is_part(plate, track.plate)
    return 0 < known < CUT_SHARE * aspect and is_part(track.plate, plate)


def _likeness(one: Box, other: Box) -> float:
    """Return how much of the larger one's height the smaller one has, 0 to 1.

    What looks much smaller is far away, where a vehicle moves less in the picture.
    """
    if one.height > other.height:
        one, other = other, one
    return one.height / max(other.height, 1.0)


def _reach_widths(gap_ns: int) -> float:
    """Return how far from where it should be a plate is found that was unseen for so long."""
    return _REACH_WIDTHS + _REACH_WIDTHS_PER_S * gap_ns / NS_PER_S


def introduce(tracks: Iterable[Track]) -> None:
    """Let neighbours that were in one frame know of each other: they are different vehicles."""
    row = sorted(tracks, key=attrgetter("box.x"))
    for place, track in enumerate(row):
        box = track.box
        reach = _NEIGHBOUR_WIDTHS * box.width
        for other in row[place + 1 :]:
            if other.box.x - box.x > reach:
                break
            if abs(other.box.y - box.y) > reach:
                continue
            track.meet(other.id)
            other.meet(track.id)


def _were_confused(known: Track, track: Track) -> bool:
    """Tell whether two tracks apart have one text, or texts that were read for one another.

    AB12CDE and A812CDE may be two vehicles: all reads of each are alike then.
    """
    one, other = known.plate, track.plate
    if one == other:
        return True
    if other not in known.ballots and one not in track.ballots:
        return False
    # Two look-alikes are beyond _SAME_TEXT.
    return len(one) == len(other) and sum(map(ne, one, other)) <= 1


def _is_cut(box: Box, stamp: FrameStamp) -> bool:
    """Tell whether the edge of the frame cuts a plate off: then its text is only a part of it."""
    if not (stamp.width_px and stamp.height_px):
        return False
    near = _EDGE_WIDTHS * box.width
    right, bottom = stamp.width_px - near, stamp.height_px - near
    inside = near <= box.x <= right - box.width and near <= box.y <= bottom - box.height
    return not inside


def _distinct(spots: list[Spot]) -> list[Spot]:
    """Drop reads that overlap a surer one of the same frame: one plate found twice."""
    same_place = _same_places(spots)
    chosen: dict[int, Spot] = {}
    texts: set[str] = set()
    for spot in sorted(spots, key=lambda spot: -spot.read.confidence):
        if spot.read.plate not in texts and same_place.get(spot.index, set()).isdisjoint(chosen):
            chosen[spot.index] = spot
            texts.add(spot.read.plate)
    return [chosen[index] for index in sorted(chosen)]


def _same_places(spots: list[Spot]) -> dict[int, set[int]]:
    """Return which spots are at one place, by index; only neighbours are compared."""
    found: dict[int, set[int]] = {}
    row = sorted(spots, key=lambda spot: spot.box.x)
    for place, spot in enumerate(row):
        box = spot.box
        right, bottom = box.x + box.width, box.y + box.height
        for other in row[place + 1 :]:
            there = other.box
            if there.x >= right:
                break
            if there.y >= bottom or box.y >= there.y + there.height:
                continue
            if box.iou(there) >= _SAME_PLACE_IOU:
                found.setdefault(spot.index, set()).add(other.index)
                found.setdefault(other.index, set()).add(spot.index)
    return found

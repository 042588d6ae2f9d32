"""One track: the reads of one passage before one camera, and the sighting made of them."""

import math
from bisect import bisect_left
from functools import lru_cache
from hashlib import blake2b
from operator import eq
from typing import Final

import msgspec

from engine import voting
from engine.types import (
    Box,
    Evidence,
    PathPoint,
    Phase,
    PlateRead,
    Point,
    Sighting,
    TrackPlace,
    nearing,
)
from engine.voting import Ballot

NS_PER_MS: Final = 1_000_000
NS_PER_S: Final = 1_000_000_000
MAX_PATH: Final = 32
MAX_MET: Final = 16
CANDIDATES: Final = 5
PARKED_AFTER_NS: Final = 60 * NS_PER_S
_MOVED_WIDTHS: Final = 0.75
"""A plate that moved less than this many of its widths tells no direction."""
_STOOD_WIDTHS: Final = 0.5
"""A plate that moved less than this many of its widths stands."""
_SURE_READS: Final = 3
_SURE_SHARE: Final = 0.7
_SURE_CONFIDENCE: Final = 85.0
_URGENT_READS: Final = 4
"""A track is read in every frame until it is settled, or was read so often."""
_APPEARING: Final = 1.1
"""A plate so much wider than a moment ago, for its height, comes from behind something."""
_GROWS_FOR_MS: Final = 500
_HALF: Final = 0.5
_GROWS_PX_S: Final = 2.0
_PROVES_READS: Final = 2
"""What a text's first reads did not prove to be parts of it, its next ones do not, either."""
_READS_ENOUGH: Final = 24
"""After so many reads further ones hardly ever change the text."""


class Event(msgspec.Struct, frozen=True):
    """One revision of a sighting; ``evidence`` only where it is new since the last revision."""

    sighting: Sighting
    evidence: Evidence | None = None


class Track(msgspec.Struct, kw_only=True):
    """What is known of one passage; written to disk with every commit, so it stays small.

    Times are nanoseconds UTC as stamped at capture, ``seen_ns`` is our own clock at the last read.
    """

    id: str
    camera: str
    origin: str
    needed: int
    """Reads before it is announced."""
    plate: str
    ballots: dict[str, Ballot]
    weight: float = 0.0
    """Of all ballots ever cast."""
    box: Box
    speed: tuple[float, float] = (0.0, 0.0)
    """Pixels a second, to the right and down."""
    growth: float = 0.0
    """The share of its size by which the plate grows a second."""
    first_ns: int
    last_ns: int
    best_ns: int
    seen_ns: int
    best_confidence: float
    region: str = ""
    recognizer: str = ""
    recognizer_version: str = ""
    reads: int = 0
    parts: int = 0
    """Those of its reads that showed a part of the plate only."""
    frames: int = 0
    """In which it was read, or known to be there unchanged."""
    stands_at: Box = Box(0.0, 0.0, 0.0, 0.0)
    stands_since_ns: int = 0
    """0: not known yet, as of a track that an older version left open."""
    parked: bool = False
    crossed: bool = False
    """It crossed a trip line of its camera in the direction that counts."""
    told_parked: bool = False
    group: str = ""
    """Id of the first sighting of this vehicle at the site, maybe its own."""
    group_plate: str = ""
    """The text, as told, that the group was found with."""
    revision: int = 0
    announced: str = ""
    told_ns: int = 0
    """Capture time of the newest read when it was last announced."""
    final: bool = False
    """Its final was said; it is never said twice."""
    changed: bool = False
    """There were reads since the last event."""
    path: list[PathPoint] = []
    stride: int = 1
    met: list[str] = []
    """Tracks that were in the same frame at another place: other vehicles for certain."""
    has_crop: bool = False
    has_frame: bool = False
    evidence_told: bool = True
    has_clip: bool = False
    aspect: float = 0.0
    """Width by height of the plate when it was read last."""
    is_appearing: bool = False
    """More of it could be read in the last read than in the one before."""

    @property
    def key(self) -> int:
        """A number that stands for its id on the stats board, never 0."""
        return key_of(self.id)

    @property
    def witnesses(self) -> float:
        """Its reads; one that showed a part of the plate only is half a witness of its text."""
        return self.reads - self.parts / 2

    @property
    def is_settled(self) -> bool:
        """Tell whether its text is certain: reading it again would change nothing."""
        if self.revision == 0:
            return False
        if self.reads >= _READS_ENOUGH:
            return True
        said = self.ballots.get(self.plate)
        return (
            said is not None
            and said.reads >= max(self.needed, _SURE_READS)
            and said.confidence >= _SURE_CONFIDENCE
            and said.weight >= _SURE_SHARE * self.weight
        )

    @property
    def place(self) -> TrackPlace:
        """What decoders and workers are told of it."""
        settled = self.is_settled
        urgent = not settled and self.reads < _URGENT_READS
        return TrackPlace(
            self.key, self.box, self.speed, self.last_ns, settled, urgent, self.growth
        )

    def gap_ns(self, at_ns: int) -> int:
        """Return how far a time lies outside of the track, 0 when inside."""
        return max(0, at_ns - self.last_ns, self.first_ns - at_ns)

    def offset_widths(self, box: Box, at_ns: int) -> float:
        """Return how far a box is from where the plate should be at that time, in plate widths."""
        (x, y), (to_x, to_y) = self._center_at(at_ns), box.center
        return math.hypot(to_x - x, to_y - y) / max(self.box.width, box.width, 1.0)

    def can_look_so(self, box: Box, at_ns: int) -> bool:
        """Tell whether its plate can be as small or large as a box at that time.

        What comes nearer is not far away a moment later, nor the other way round.
        """
        if not self.growth or at_ns <= self.last_ns:
            return True
        times = box.height / max(self.box.height, 1.0)
        return times > _HALF if self.growth > 0 else times * _HALF < 1.0

    def _center_at(self, at_ns: int) -> Point:
        """Return where the plate should be at that time: ahead by its speed, else on its path."""
        (x, y), ahead_s = self.box.center, (at_ns - self.last_ns) / NS_PER_S
        if ahead_s < 0 and self.path:  # a read that comes late
            at_ms = at_ns // NS_PER_MS
            place = min(bisect_left(self.path, at_ms, key=_time_of), len(self.path) - 1)
            known = self.path[place]
            (x, y), ahead_s = known.box.center, (at_ms - known.unix_ms) / 1_000
        ahead_s = min(max(ahead_s, -1.0), 1.0)
        ahead_s *= nearing(self.growth, ahead_s)
        return x + self.speed[0] * ahead_s, y + self.speed[1] * ahead_s

    def add(
        self, read: PlateRead, box: Box, at_ns: int, now_ns: int, regions: tuple[str, ...] = ()
    ) -> bool:
        """Take a read of the same vehicle, captured at ``at_ns`` where plates of regions are.

        Return whether it is the best so far.
        """
        aspect = read.aspect
        is_part = read.plate != self.plate and voting.shows_part(
            self.ballots, self.plate, read.plate, aspect
        )
        if is_part:
            box = self._completed(box, read)
        if is_part and voting.is_whole(self.ballots, self.plate, regions):
            self.parts += 1
        else:
            self._vote(read, regions, aspect)
        self.is_appearing = aspect > _APPEARING * self.aspect > 0
        self.aspect = aspect
        if self.reads == 0 or at_ns > self.last_ns:
            self._move(box, at_ns)
            self.last_ns = at_ns
            self._stand(box)
        self.reads += 1
        self.frames += 1
        self.first_ns = min(self.first_ns, at_ns)
        self.seen_ns = max(self.seen_ns, now_ns)
        self.changed = True
        if read.region and (not self.region or read.plate == self.plate):
            self.region = read.region
        is_best = not is_part and read.confidence > self.best_confidence
        if is_best:
            self.best_confidence, self.best_ns = read.confidence, at_ns
        return is_best

    def _vote(self, read: PlateRead, regions: tuple[str, ...], aspect: float) -> None:
        """Let a read of the plate vote; what it proves to be a part of it no longer counts."""
        self.weight += voting.cast(self.ballots, read, regions, aspect)
        new = self.ballots.get(read.plate)  # none, if it is the weakest of too many texts
        if len(self.ballots) > 1 and new is not None and new.reads <= _PROVES_READS:
            self._strike_parts(read.plate, regions)
        if read.plate != self.plate:
            said = self.ballots.get(self.plate)
            if said is None or 2 * said.weight <= self.weight:  # else more than half say the same
                self.plate = voting.elect(self.ballots)

    def _strike_parts(self, whole: str, regions: tuple[str, ...] = ()) -> None:
        """Let a text that can overrule its parts do so; a picture of a part is no good one."""
        if not voting.is_whole(self.ballots, whole, regions):
            return
        for struck in voting.strike_parts(self.ballots, whole):
            self.weight -= struck.weight
            self.parts += struck.reads
        if self.plate not in self.ballots:
            self.best_confidence = 0.0

    def _completed(self, box: Box, read: PlateRead) -> Box:
        """Return where the whole plate is of which a read shows a part."""
        width = box.width * self.ballots[self.plate].aspect / read.aspect
        begins = sum(map(eq, read.plate, self.plate))
        ends = sum(map(eq, reversed(read.plate), reversed(self.plate)))
        x = box.x if begins >= ends else box.x + box.width - width
        return Box(x, box.y, width, box.height)

    def stay(self, until_ns: int, frames: int, now_ns: int) -> None:
        """Take the word that nothing changed at its place until then, in so many more frames."""
        self.frames += frames
        self.last_ns = max(self.last_ns, until_ns)
        self.seen_ns = max(self.seen_ns, now_ns)
        self._stand(self.box)

    def absorb(self, other: "Track") -> None:
        """Take over all of another track that proved to be the same passage."""
        voting.merge(self.ballots, other.ballots)
        self.weight += other.weight
        for text in (self.plate, other.plate):
            self._strike_parts(text)
        self.plate = voting.elect(self.ballots)
        self.reads += other.reads
        self.parts += other.parts
        self.frames += other.frames
        if other.last_ns >= self.last_ns:
            self.box, self.speed, self.growth = other.box, other.speed, other.growth
            self.aspect, self.is_appearing = other.aspect, other.is_appearing
            self.stands_at, self.stands_since_ns = other.stands_at, other.stands_since_ns
        self.parked, self.crossed = self.parked or other.parked, self.crossed or other.crossed
        self.first_ns = min(self.first_ns, other.first_ns)
        self.last_ns = max(self.last_ns, other.last_ns)
        self.seen_ns = max(self.seen_ns, other.seen_ns)
        self.path = sorted([*self.path, *other.path], key=lambda point: point.unix_ms)
        while len(self.path) > MAX_PATH:
            self._thin_path()
        if other.best_confidence > self.best_confidence:
            self.best_confidence, self.best_ns = other.best_confidence, other.best_ns
        self.region = self.region or other.region
        self.changed = True

    def meet(self, other_id: str) -> None:
        """Note a track that was in the same frame elsewhere."""
        if other_id not in self.met:
            self.met.append(other_id)
            if len(self.met) > MAX_MET:
                del self.met[0]

    def tell(self, phase: Phase, node: str) -> Sighting:
        """Return the next revision of its sighting and note that it was told."""
        self.revision += 1
        self.announced = self.plate
        self.told_ns = self.last_ns
        self.told_parked = self.parked
        self.final = self.final or phase is Phase.FINAL
        self.changed = False
        moved = self._moved()
        return Sighting(
            id=self.id,
            revision=self.revision,
            phase=phase,
            camera=self.camera,
            node=node,
            plate=self.plate,
            confidence=round(voting.confidence_of(self.ballots, self.plate), 2),
            candidates=voting.standing(self.ballots, self.plate, CANDIDATES),
            region=self.region,
            first_unix_ms=self.first_ns // NS_PER_MS,
            last_unix_ms=self.last_ns // NS_PER_MS,
            best_unix_ms=self.best_ns // NS_PER_MS,
            reads=self.reads,
            frames=self.frames,
            direction_deg=moved,
            path=tuple(self.path),
            parked=self.parked,
            has_crop=self.has_crop,
            has_frame=self.has_frame,
            has_clip=self.has_clip,
            recognizer=self.recognizer,
            recognizer_version=self.recognizer_version,
            origin=self.origin,
            group=self.group,
        )

    def _move(self, box: Box, at_ns: int) -> None:
        """Follow the plate: its speed is smoothed, its path thinned when it grows long."""
        after_s = (at_ns - self.last_ns) / NS_PER_S
        if self.reads and after_s > 0:
            (x, y), (to_x, to_y) = self.box.center, box.center
            seen = ((to_x - x) / after_s, (to_y - y) / after_s)
            old = seen if self.reads == 1 else self.speed
            self.speed = ((old[0] + seen[0]) / 2, (old[1] + seen[1]) / 2)
        self.box = box
        self.growth = self._growth(at_ns) if self.reads else 0.0
        if self.reads % self.stride == 0:
            self.path.append(PathPoint(at_ns // NS_PER_MS, box))
            if len(self.path) > MAX_PATH:
                self._thin_path()

    def _growth(self, at_ns: int) -> float:
        """Return how fast the plate grows, since a while ago: a pixel counts for less then."""
        new, least_s = self.box, _GROWS_PX_S / max(self.box.height, 1.0)
        if at_ns - self.first_ns < least_s * NS_PER_S:  # a pixel too many would count for more
            return 0.0
        at_ms = at_ns // NS_PER_MS
        later = bisect_left(self.path, at_ms - _GROWS_FOR_MS, key=_time_of)
        before = self.path[max(0, later - 1)]
        after_s = (at_ms - before.unix_ms) / 1_000
        if after_s < least_s:
            return 0.0
        times = math.sqrt(new.width * new.height / max(before.box.width * before.box.height, 1.0))
        return (times - 1.0) / after_s

    def _stand(self, box: Box) -> None:
        """Note since when the plate stands there; parked once is parked for good."""
        (x, y), (to_x, to_y) = self.stands_at.center, box.center
        has_moved = math.hypot(to_x - x, to_y - y) > _STOOD_WIDTHS * max(box.width, 1.0)
        if has_moved or not self.stands_since_ns:
            self.stands_at, self.stands_since_ns = box, self.last_ns
        elif self.last_ns - self.stands_since_ns >= PARKED_AFTER_NS:
            self.parked = True

    def _thin_path(self) -> None:
        """Drop every second point; the first one stays."""
        self.path = self.path[::2]
        self.stride *= 2

    def _moved(self) -> float | None:
        """Return the direction from its first to its last place, None where it stood."""
        if not self.path:
            return None
        start = self.path[0].box
        (x, y), (to_x, to_y) = start.center, self.box.center
        across, down = to_x - x, to_y - y
        if math.hypot(across, down) < _MOVED_WIDTHS * max(start.width, 1.0):
            return None
        return round(math.degrees(math.atan2(down, across)) % 360.0, 1)


def _time_of(point: PathPoint) -> int:
    return point.unix_ms


@lru_cache(maxsize=4096)
def key_of(track_id: str) -> int:
    """Return the number that stands for a track, and its sighting, on the stats board."""
    digest = blake2b(track_id.encode(), digest_size=8).digest()
    return int.from_bytes(digest) | 1

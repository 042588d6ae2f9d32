"""Reads become sightings: one per passage of a vehicle, with the text its reads agree on.

Pure and deterministic: reads, a clock and a maker of ids go in, events come out; no I/O. Every
camera is a lane of its own. Its clock is the newest capture time, moved on by our own clock while
it is silent, so that a camera with a wrong clock, a file and a live stream are treated alike.

The way of a track: born by a read that fits no other; announced (provisional) once its reads are
enough, revised when the vote changes its text, final when unseen for ``max_gap_s``. A closed one
is remembered for ``reappear_after_s``: the same plate within that time continues it under the
same id. Its final is not repeated then; a revision tells the new times and counts.
"""

import hashlib
import uuid
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from random import Random
from typing import Final

import msgspec

from engine.config import TrackerSettings
from engine.plates import distance
from engine.track import NS_PER_MS, NS_PER_S, Event, Track
from engine.types import Box, Evidence, FrameReads, FrameStamp, Phase, PlateRead

_SAME_TEXT: Final = 0.35
"""Texts this near are one plate, wherever and whenever they were read: one look-alike."""
_NEAR_TEXT: Final = 1.0
"""Texts this near are one plate if the vehicle can have moved there: one misreading."""
_OVERLAID_TEXT: Final = 2.5
"""Texts this near are one plate if they were read at the same place right after each other."""
_OVERLAID_WIDTHS: Final = 0.6
_OVERLAID_NS: Final = 600 * NS_PER_MS
_REACH_WIDTHS: Final = 1.0
_REACH_WIDTHS_PER_S: Final = 6.0
_REVISE_EVERY_NS: Final = 500 * NS_PER_MS
_TIME_JUMP_NS: Final = 30 * NS_PER_S
"""A frame this much older than the newest one means that the camera's clock was set back."""
_EDGE_WIDTHS: Final = 0.02
"""A plate this near to the frame's edge, in its own widths, is cut by it."""
_REMEMBERED_FRAMES: Final = 256
_REMEMBERED_TRACKS: Final = 1_000


class Rules(msgspec.Struct, frozen=True):
    """What one camera demands of its reads."""

    min_confidence: float = 0.0
    min_reads: int = 1


class Fed(msgspec.Struct, frozen=True):
    """What became of one frame's reads."""

    events: list[Event] = []
    tracked: int = 0
    rejected: int = 0
    repeated: bool = False


class Changes(msgspec.Struct, frozen=True):
    """What must be written down so that a restarted tracker goes on from here."""

    tracks: list[Track]
    evidence: dict[str, Evidence]
    gone: list[str]

    def __bool__(self) -> bool:
        return bool(self.tracks or self.evidence or self.gone)


class SightingIds:
    """Makes sighting ids: UUIDs (version 7) that sort by time, with the node's hash in them."""

    def __init__(self, node: str, random: Random) -> None:
        """Take randomness from ``random``: seeded in tests, the system's in earnest."""
        self._node = int.from_bytes(hashlib.blake2b(node.encode(), digest_size=2).digest())
        self._random = random

    def __call__(self, unix_ns: int) -> str:
        """Return a new id for something that began at this time."""
        unix_ms = max(0, unix_ns // NS_PER_MS) & ((1 << 48) - 1)
        bits = unix_ms << 80 | 7 << 76 | self._random.getrandbits(12) << 64
        bits |= 2 << 62 | self._node << 46 | self._random.getrandbits(46)
        return str(uuid.UUID(int=bits))


class _Lane:
    """One camera's tracks and its clock."""

    def __init__(self) -> None:
        self.open: dict[str, Track] = {}
        self.closed: dict[str, Track] = {}
        self.by_text: dict[str, Track] = {}
        self.high_ns = 0
        self.heard_ns = 0
        self.quiet_until_ns = 0
        """No open track is due for closing or announcing before this camera time."""
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

    def drop(self, track: Track) -> None:
        """Take a track out of the open ones."""
        self.open.pop(track.id, None)
        if self.by_text.get(track.plate) is track:
            del self.by_text[track.plate]


class Tracker:
    """Turns reads into events about sightings; one thread."""

    def __init__(
        self,
        rules: Mapping[str, Rules],
        settings: TrackerSettings,
        node: str,
        new_id: Callable[[int], str],
    ) -> None:
        """Track the cameras of ``rules``; others (ingested ones) get the defaults of ``Rules``."""
        self._rules = dict(rules)
        self._node = node
        self._new_id = new_id
        self._max_gap_ns = int(settings.max_gap_s * NS_PER_S)
        self._announce_ns = int(settings.announce_after_s * NS_PER_S)
        self._reappear_ns = int(settings.reappear_after_s * NS_PER_S)
        self._lanes: dict[str, _Lane] = {}
        self._evidence: dict[str, Evidence] = {}
        self._dirty: dict[str, Track] = {}
        self._new_evidence: set[str] = set()
        self._gone: dict[str, None] = {}

    def use_rules(self, camera: str, rules: Rules) -> None:
        """Go by other rules for a camera from now on."""
        self._rules[camera] = rules

    def feed(self, frame: FrameReads, clock_ns: int, origin: str = "camera") -> Fed:
        """Take what was read in one frame (maybe nothing) and return what there is to tell.

        ``clock_ns``: our own clock, nanoseconds UTC that never run backwards.
        """
        stamp = frame.stamp
        lane = self._lanes.setdefault(stamp.camera, _Lane())
        if lane.is_repeat(stamp):
            return Fed(repeated=True)
        events: list[Event] = []
        if stamp.captured_unix_ns < lane.high_ns - _TIME_JUMP_NS:
            for track in list(lane.open.values()):
                events += self._close(lane, track)
            lane.closed.clear()
            lane.high_ns = lane.quiet_until_ns = 0
        lane.high_ns = max(lane.high_ns, stamp.captured_unix_ns)
        lane.heard_ns = clock_ns
        rules = self._rules.get(stamp.camera, Rules())
        kept = _distinct(
            [
                i
                for i, r in enumerate(frame.reads)
                if r.confidence >= rules.min_confidence and r.plate and not _is_cut(r.box, stamp)
            ],
            frame.reads,
        )
        events += self._sweep(lane, clock_ns)
        touched = self._associate(lane, frame, kept, origin)
        for index, track in touched.items():
            self._add(lane, track, frame, index, clock_ns)
        for track in touched.values():
            if track.id in lane.open:
                events += self._announce(lane, track, clock_ns)
        return Fed(events, len(kept), len(frame.reads) - len(kept))

    def tick(self, clock_ns: int) -> list[Event]:
        """Return what time alone has brought: announcements that are due, and finals."""
        events: list[Event] = []
        for camera, lane in list(self._lanes.items()):
            events += self._sweep(lane, clock_ns)
            if not lane.open and not lane.closed and clock_ns - lane.heard_ns > _TIME_JUMP_NS:
                del self._lanes[camera]
        return events

    @property
    def open_tracks(self) -> int:
        """How many tracks are open."""
        return sum(len(lane.open) for lane in self._lanes.values())

    def take_changes(self) -> Changes:
        """Return what changed since the last call; the tracks are live objects: encode at once."""
        changes = Changes(
            list(self._dirty.values()),
            {one: self._evidence[one] for one in self._new_evidence if one in self._evidence},
            list(self._gone),
        )
        self._dirty, self._new_evidence, self._gone = {}, set(), {}
        return changes

    def restore(self, tracks: Iterable[tuple[Track, Evidence]], clock_ns: int) -> None:
        """Go on with the tracks of an earlier run.

        A camera heard within ``reappear_after_s`` gets its silence forgiven: workers still hold
        the reads of the meantime. Longer ago, the next ``tick`` says the finals.
        """
        for track, evidence in tracks:
            lane = self._lanes.setdefault(track.camera, _Lane())
            (lane.closed if track.final and not track.changed else lane.open)[track.id] = track
            lane.high_ns = max(lane.high_ns, track.last_ns)
            lane.heard_ns = max(lane.heard_ns, track.seen_ns)
            if track.id in lane.open:
                lane.by_text[track.plate] = track
                self._evidence[track.id] = evidence
        for lane in self._lanes.values():
            if clock_ns - lane.heard_ns < self._reappear_ns:
                lane.heard_ns = clock_ns

    # --- which track a read belongs to --------------------------------------------------------

    def _associate(
        self, lane: _Lane, frame: FrameReads, kept: list[int], origin: str
    ) -> dict[int, Track]:
        """Return a track, old or new, for each read; no track twice in one frame."""
        at_ns = frame.stamp.captured_unix_ns
        chosen: dict[int, Track] = {}
        taken: set[str] = set()
        rest: list[int] = []
        for index in kept:
            same = lane.by_text.get(frame.reads[index].plate)
            if same is None or same.id in taken or same.gap_ns(at_ns) > self._max_gap_ns:
                rest.append(index)
            else:
                chosen[index] = same
                taken.add(same.id)
        offers = sorted(
            (cost, index, track.id)
            for index in rest
            for track in lane.open.values()
            if track.id not in taken
            and (cost := self._cost(track, frame.reads[index], at_ns)) is not None
        )
        for _cost, index, track_id in offers:
            if index not in chosen and track_id not in taken:
                chosen[index] = lane.open[track_id]
                taken.add(track_id)
        born = {i: self._bear(lane, frame, i, origin) for i in kept if i not in chosen}
        lane.open |= {track.id: track for track in born.values()}
        chosen |= born
        for track in chosen.values() if len(chosen) > 1 else ():
            for other in chosen.values():
                if other is not track:
                    track.meet(other.id)
        return chosen

    def _cost(self, track: Track, read: PlateRead, at_ns: int) -> float | None:
        """Return how badly a read fits a track, None where it cannot be the same vehicle."""
        gap_ns = track.gap_ns(at_ns)
        if gap_ns > self._max_gap_ns:
            return None
        offset = track.offset_widths(read.box, at_ns)
        if offset > _REACH_WIDTHS + _REACH_WIDTHS_PER_S * gap_ns / NS_PER_S:
            return None
        overlaid = offset <= _OVERLAID_WIDTHS and gap_ns <= _OVERLAID_NS
        limit = _OVERLAID_TEXT if overlaid else _NEAR_TEXT
        apart = distance(track.plate, read.plate, limit)
        return None if apart > limit else apart + 0.1 * offset

    def _bear(self, lane: _Lane, frame: FrameReads, index: int, origin: str) -> Track:
        """Make a track for a read that fits none."""
        read, at_ns = frame.reads[index], frame.stamp.captured_unix_ns
        rules = self._rules.get(frame.stamp.camera, Rules())
        shadowed = any(
            track.gap_ns(at_ns) <= self._max_gap_ns
            and track.offset_widths(read.box, at_ns) <= _REACH_WIDTHS
            for track in lane.open.values()
        )
        return Track(
            id=self._new_id(at_ns),
            camera=frame.stamp.camera,
            origin=origin,
            # a plate read where another one just was may be a misreading: one read is not enough
            needed=max(rules.min_reads, 2 if shadowed else 1),
            plate=read.plate,
            ballots={},
            box=read.box,
            first_ns=at_ns,
            last_ns=at_ns,
            best_ns=at_ns,
            seen_ns=0,
            best_confidence=0.0,
            recognizer=read.recognizer,
            recognizer_version=frame.recognizer_version,
        )

    def _add(self, lane: _Lane, track: Track, frame: FrameReads, index: int, clock_ns: int) -> None:
        """Give a read to its track; keep its pictures if they are the best so far."""
        read, text = frame.reads[index], track.plate
        better = read.confidence > track.best_confidence
        track.add(read, frame.stamp, clock_ns)
        if text != track.plate and lane.by_text.get(text) is track:
            del lane.by_text[text]
        lane.by_text[track.plate] = track
        self._dirty[track.id] = track
        due_ns = track.first_ns + self._announce_ns if track.revision == 0 else track.last_ns
        lane.quiet_until_ns = min(lane.quiet_until_ns, due_ns)
        if better or not track.has_crop:
            crop = frame.crops[index] if index < len(frame.crops) else b""
            self._keep_evidence(track, Evidence(crop, frame.frame_jpeg))

    def _keep_evidence(self, track: Track, new: Evidence) -> None:
        """Replace the track's pictures by better ones, where there are any."""
        old = self._evidence.get(track.id, Evidence())
        kept = Evidence(new.crop_jpeg or old.crop_jpeg, new.frame_jpeg or old.frame_jpeg)
        if kept == old:
            return
        self._evidence[track.id] = kept
        self._new_evidence.add(track.id)
        track.has_crop = track.has_crop or bool(kept.crop_jpeg)
        track.has_frame = track.has_frame or bool(kept.frame_jpeg)
        track.evidence_told = False

    # --- what there is to tell ---------------------------------------------------------------

    def _sweep(self, lane: _Lane, clock_ns: int) -> list[Event]:
        """Close what has passed, announce what is due, forget what is long gone."""
        now_ns = lane.now_ns(clock_ns)
        if now_ns < lane.quiet_until_ns:
            return []
        events: list[Event] = []
        for track in list(lane.open.values()):
            if now_ns - track.last_ns > self._max_gap_ns:
                events += self._close(lane, track)
            elif track.id in lane.open:
                events += self._announce(lane, track, clock_ns)
        for track in list(lane.closed.values()):
            if now_ns - track.last_ns > self._reappear_ns or len(lane.closed) > _REMEMBERED_TRACKS:
                del lane.closed[track.id]
                self._forget(track)
        lane.quiet_until_ns = self._next_due_ns(lane, now_ns)
        return events

    def _next_due_ns(self, lane: _Lane, now_ns: int) -> int:
        """Return the camera time before which nothing can be due."""
        due = [now_ns + self._max_gap_ns]
        due += [track.last_ns + self._max_gap_ns for track in lane.open.values()]
        due += [
            max(now_ns + 1, track.first_ns + self._announce_ns)
            for track in lane.open.values()
            if track.revision == 0
        ]
        return min(due)

    def _announce(self, lane: _Lane, track: Track, clock_ns: int) -> list[Event]:
        """Say that a plate is there, or that its text changed, when it is time."""
        if track.revision:
            if track.plate == track.announced or track.last_ns - track.told_ns < _REVISE_EVERY_NS:
                return []
            return [self._tell(track, Phase.REVISED)]
        said = track.ballots.get(track.plate)
        agreed = said is not None and said.reads >= max(2, track.needed)
        waited = lane.now_ns(clock_ns) - track.first_ns >= self._announce_ns
        if track.reads < track.needed or not (agreed or waited):
            return []
        return self._confirm(lane, track, Phase.PROVISIONAL)

    def _close(self, lane: _Lane, track: Track) -> list[Event]:
        """End a track: its final, or nothing where it never had reads enough."""
        if track.id not in lane.open:
            return []
        if track.revision == 0 and track.reads < track.needed:
            lane.drop(track)
            self._forget(track)
            return []
        if track.revision == 0:
            return self._confirm(lane, track, Phase.FINAL)
        events: list[Event] = []
        if not track.final:
            events = [self._tell(track, Phase.FINAL)]
        elif track.changed:
            events = [self._tell(track, Phase.REVISED)]
        self._put_aside(lane, track)
        return events

    def _confirm(self, lane: _Lane, track: Track, phase: Phase) -> list[Event]:
        """Announce a track for the first time, unless it continues one that is known."""
        known = self._twin(lane, track)
        if known is None:
            events = [self._tell(track, phase)]
            if phase is Phase.FINAL:
                self._put_aside(lane, track)
            return events
        lane.drop(track)
        if known.id in lane.closed:
            lane.open[known.id] = lane.closed.pop(known.id)
        elif lane.by_text.get(known.plate) is known:
            del lane.by_text[known.plate]
        known.absorb(track)
        lane.by_text[known.plate] = known
        self._dirty[known.id] = known
        if track.best_confidence >= known.best_confidence and track.id in self._evidence:
            self._keep_evidence(known, self._evidence[track.id])
        self._forget(track)
        return self._close(lane, known) if phase is Phase.FINAL else []

    def _twin(self, lane: _Lane, track: Track) -> Track | None:
        """Return the announced track that this one continues, None where it is a new vehicle."""
        best: tuple[float, Track] | None = None
        for known in (*lane.open.values(), *lane.closed.values()):
            if known is track or not known.revision or known.id in track.met:
                continue
            gap_ns = max(0, track.first_ns - known.last_ns, known.first_ns - track.last_ns)
            if gap_ns > self._reappear_ns:
                continue
            overlaid = (
                gap_ns <= _OVERLAID_NS
                and known.offset_widths(track.box, track.last_ns) <= _OVERLAID_WIDTHS
            )
            limit = _OVERLAID_TEXT if overlaid else _SAME_TEXT
            apart = distance(known.plate, track.plate, limit)
            if apart <= limit and (best is None or apart < best[0]):
                best = apart, known
        return best[1] if best else None

    def _tell(self, track: Track, phase: Phase) -> Event:
        """Make the next event of a track."""
        self._dirty[track.id] = track
        evidence = None if track.evidence_told else self._evidence.get(track.id)
        track.evidence_told = True
        return Event(track.tell(phase, self._node), evidence)

    def _put_aside(self, lane: _Lane, track: Track) -> None:
        """Keep a closed track for the time in which it may reappear; its pictures are told."""
        lane.drop(track)
        lane.closed[track.id] = track
        self._dirty[track.id] = track
        self._evidence.pop(track.id, None)

    def _forget(self, track: Track) -> None:
        """Let go of a track for good."""
        self._evidence.pop(track.id, None)
        self._dirty.pop(track.id, None)
        self._gone[track.id] = None


def _is_cut(box: Box, stamp: FrameStamp) -> bool:
    """Tell whether the edge of the frame cuts a plate off: then its text is only a part of it."""
    if not (stamp.width_px and stamp.height_px):
        return False
    near = _EDGE_WIDTHS * box.width
    right, bottom = stamp.width_px - near, stamp.height_px - near
    inside = near <= box.x <= right - box.width and near <= box.y <= bottom - box.height
    return not inside


def _distinct(kept: list[int], reads: tuple[PlateRead, ...]) -> list[int]:
    """Drop reads that overlap a surer one of the same frame: one plate found twice."""
    if len(kept) < 2:
        return kept
    chosen: list[int] = []
    for index in sorted(kept, key=lambda index: -reads[index].confidence):
        read = reads[index]
        if all(
            read.plate != reads[other].plate and read.box.iou(reads[other].box) < 0.5
            for other in chosen
        ):
            chosen.append(index)
    return sorted(chosen)

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
from collections.abc import Callable, Collection, Iterable, Mapping
from random import Random
from typing import Final

import msgspec

from engine.config import TrackerSettings
from engine.filters import Rules
from engine.lane import Lane, Spot, good_spots, introduce
from engine.track import NS_PER_MS, NS_PER_S, Event, Track
from engine.types import (
    Evidence,
    FrameReads,
    FrameStamp,
    Phase,
    Sighting,
    Still,
    TrackPlace,
)

_REVISE_EVERY_NS: Final = 500 * NS_PER_MS
_TIME_JUMP_NS: Final = 30 * NS_PER_S
"""A frame this much older than the newest one means that the camera's clock was set back."""
_REMEMBERED_TRACKS: Final = 1_000


_NO_RULES: Final = Rules()


class Fed(msgspec.Struct, frozen=True):
    """What became of one frame's reads."""

    events: list[Event] = []
    tracked: int = 0
    rejected: int = 0
    """Taken by none: too unsure, too small, cut off, or outside of where and when they count."""
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
        self._parked_ns = int(settings.parked_interval_s * NS_PER_S)
        self._lanes: dict[str, Lane] = {}
        self._evidence: dict[str, Evidence] = {}
        self._dirty: dict[str, Track] = {}
        self._new_evidence: set[str] = set()
        self._gone: dict[str, None] = {}
        self._silenced: dict[str, int] = {}

    def use_rules(self, camera: str, rules: Rules) -> None:
        """Go by other rules for a camera from now on."""
        self._rules[camera] = rules

    def feed(self, frame: FrameReads, clock_ns: int, origin: str = "camera") -> Fed:
        """Take what was read in one frame (maybe nothing) and return what there is to tell.

        ``clock_ns``: our own clock, nanoseconds UTC that never run backwards.
        """
        stamp = frame.stamp
        lane = self._lanes.setdefault(stamp.camera, Lane(self._max_gap_ns))
        if lane.is_repeat(stamp):
            return Fed(repeated=True)
        events = self._set_back(lane, stamp)
        lane.high_ns = max(lane.high_ns, stamp.captured_unix_ns)
        lane.heard_ns = clock_ns
        rules = self._rules.get(stamp.camera, _NO_RULES)
        spots = good_spots(frame, rules)
        events += self._sweep(lane, clock_ns)
        touched = lane.associate(spots, stamp.captured_unix_ns)
        born = [
            (spot.index, self._bear(lane, frame, spot, origin, rules.min_reads))
            for spot in spots
            if spot.index not in touched
        ]
        for index, track in born:
            lane.take_in(track)
            touched[index] = track
        if len(touched) > 1:
            introduce(touched.values())
        for spot in spots:
            self._add(lane, touched[spot.index], frame, spot, clock_ns)
        for track in touched.values():
            if track.id in lane.open:
                events += self._announce(lane, track, clock_ns)
        return Fed(events, len(spots), len(frame.reads) - len(spots))

    def tick(self, clock_ns: int) -> list[Event]:
        """Return what time alone has brought: announcements that are due, and finals."""
        events: list[Event] = []
        for camera, lane in list(self._lanes.items()):
            events += self._sweep(lane, clock_ns)
            if not lane.open and not lane.closed and clock_ns - lane.heard_ns > _TIME_JUMP_NS:
                del self._lanes[camera]
        return events

    def with_clip(self, sighting: Sighting) -> Event | None:
        """Return the event that a told sighting got a clip; None where its track is forgotten.

        What is final stays so: its final is told once more, with the clip, as amended.
        """
        track = self._track(sighting.camera, sighting.id)
        if track is None:
            return None
        track.has_clip = True
        if not track.final or track.changed:
            return self._tell(track, Phase.REVISED)
        told = self._tell(track, Phase.FINAL)
        return Event(msgspec.structs.replace(told.sighting, amended=True), told.evidence)

    def forget(self, plates: Collection[str]) -> list[str]:
        """Let go of all tracks of these texts, announced or closed ones, too; return their ids."""
        forgotten = []
        for lane in self._lanes.values():
            for track in (*lane.open.values(), *lane.closed.values()):
                if track.plate in plates or track.announced in plates:
                    lane.drop(track)
                    lane.closed.pop(track.id, None)
                    self._forget(track)
                    forgotten.append(track.id)
        return forgotten

    def withheld(self, sighting: Sighting) -> None:
        """Note that nobody saw the pictures of a sighting: they belong to its next event again."""
        track = self._track(sighting.camera, sighting.id)
        if track is not None:
            track.evidence_told = False
            self._dirty[track.id] = track

    def unchanged(self, camera: str, still: Still, clock_ns: int) -> list[Event]:
        """Hear that nothing changed where a track is, in so many more frames.

        What stands there still stands there: its track goes on as if it had been read.
        """
        lane = self._lanes.get(camera)
        track = lane.keyed(still.key) if lane is not None else None
        if lane is None or track is None or still.until_unix_ns <= track.last_ns:
            return []
        track.stay(still.until_unix_ns, still.frames, clock_ns)
        lane.high_ns = max(lane.high_ns, still.until_unix_ns)
        lane.heard_ns = clock_ns
        self._dirty[track.id] = track
        return self._announce(lane, track, clock_ns)

    def places(self, camera: str, most: int) -> list[TrackPlace]:
        """Return where the open tracks of a camera are, those seen last first."""
        lane = self._lanes.get(camera)
        if lane is None:
            return []
        newest = sorted(lane.open.values(), key=lambda track: -track.last_ns)[:most]
        return [track.place for track in newest]

    def wants_group(self, sighting: Sighting) -> bool:
        """Tell whether a sighting has no group yet, or one of its own under another text."""
        track = self._track(sighting.camera, sighting.id)
        if track is None or track.group not in {"", track.id}:
            return False
        return track.group_plate != sighting.plate

    def join_group(self, sighting: Sighting, group: str) -> None:
        """Note the group of a sighting, found with its present text."""
        track = self._track(sighting.camera, sighting.id)
        if track is not None:
            track.group, track.group_plate = group, sighting.plate
            self._dirty[track.id] = track

    def _track(self, camera: str, track_id: str) -> Track | None:
        lane = self._lanes.get(camera)
        if lane is None:
            return None
        return lane.open.get(track_id) or lane.closed.get(track_id)

    def take_silenced(self) -> dict[str, int]:
        """Return how many tracks of each camera its filters kept silent since the last call."""
        silenced, self._silenced = self._silenced, {}
        return silenced

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
        kept = list(tracks)  # what reappeared after its final may be open: the next tick knows
        for track, _evidence in kept:
            lane = self._lanes.setdefault(track.camera, Lane(self._max_gap_ns))
            lane.high_ns = max(lane.high_ns, track.last_ns)
            lane.heard_ns = max(lane.heard_ns, track.seen_ns)
        for track, evidence in kept:
            lane = self._lanes[track.camera]
            is_old = lane.high_ns - track.last_ns > self._max_gap_ns
            if track.final and not track.changed and is_old:
                lane.closed[track.id] = track
            else:
                lane.take_in(track)
                self._evidence[track.id] = evidence
        for lane in self._lanes.values():
            if clock_ns - lane.heard_ns < self._reappear_ns:
                lane.heard_ns = clock_ns

    # --- reads and tracks ---------------------------------------------------------------------

    def _set_back(self, lane: Lane, stamp: FrameStamp) -> list[Event]:
        """End everything if the camera's clock was set back: its times no longer compare."""
        if stamp.captured_unix_ns >= lane.high_ns - _TIME_JUMP_NS:
            return []
        events: list[Event] = []
        for track in list(lane.open.values()):
            events += self._close(lane, track)
        for track in lane.closed.values():
            self._forget(track)
        lane.closed.clear()
        lane.high_ns = lane.quiet_until_ns = 0
        return events

    def _bear(
        self, lane: Lane, frame: FrameReads, spot: Spot, origin: str, min_reads: int
    ) -> Track:
        """Make a track for a read that fits none."""
        read, at_ns = spot.read, frame.stamp.captured_unix_ns
        shadowed = lane.is_shadowed(spot.box, at_ns)
        return Track(
            id=self._new_id(at_ns),
            camera=frame.stamp.camera,
            origin=origin,
            # a plate read where another one just was may be a misreading: one read is not enough
            needed=max(min_reads, 2 if shadowed else 1),
            plate=read.plate,
            ballots={},
            box=spot.box,
            first_ns=at_ns,
            last_ns=at_ns,
            best_ns=at_ns,
            seen_ns=0,
            best_confidence=0.0,
            recognizer=read.recognizer,
            recognizer_version=frame.recognizer_version,
        )

    def _add(self, lane: Lane, track: Track, frame: FrameReads, spot: Spot, clock_ns: int) -> None:
        """Give a read to its track; keep its pictures if they are the best so far."""
        text = track.plate
        rules, at_ns = self._rules_of(track), frame.stamp.captured_unix_ns
        if at_ns > track.last_ns and rules.crosses(track.box, spot.box, frame.stamp):
            track.crossed = True
        better = track.add(spot.read, spot.box, at_ns, clock_ns, rules.regions)
        if text != track.plate:
            lane.renamed(track, text)
        self._dirty[track.id] = track
        due_ns = track.last_ns + self._max_gap_ns
        if track.revision == 0:
            due_ns = min(due_ns, track.first_ns + self._announce_ns)
        lane.quiet_until_ns = min(lane.quiet_until_ns, due_ns)
        if better or not track.has_crop:
            crop = frame.crops[spot.index] if spot.index < len(frame.crops) else b""
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

    def _sweep(self, lane: Lane, clock_ns: int) -> list[Event]:
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

    def _next_due_ns(self, lane: Lane, now_ns: int) -> int:
        """Return the camera time before which nothing can be due."""
        due = [now_ns + self._max_gap_ns]
        due += [track.last_ns + self._max_gap_ns for track in lane.open.values()]
        due += [
            max(now_ns + 1, track.first_ns + self._announce_ns)
            for track in lane.open.values()
            if track.revision == 0
        ]
        return min(due)

    def _announce(self, lane: Lane, track: Track, clock_ns: int) -> list[Event]:
        """Say that a plate is there, or that its text changed, when it is time."""
        if track.revision:
            return [self._tell(track, Phase.REVISED)] if self._is_news(track) else []
        said = track.ballots.get(track.plate)
        agreed = said is not None and said.reads >= max(2, track.needed) and not track.is_appearing
        waited = lane.now_ns(clock_ns) - track.first_ns >= self._announce_ns
        if track.witnesses < track.needed or not (agreed or waited) or not self._admits(track):
            return []
        return self._confirm(lane, track, Phase.PROVISIONAL)

    def _is_news(self, track: Track) -> bool:
        """Tell whether an announced track has another text now, or stands long enough."""
        since_ns = track.last_ns - track.told_ns
        if track.plate != track.announced:
            return since_ns >= _REVISE_EVERY_NS
        if not track.parked:
            return False
        return not track.told_parked or 0 < self._parked_ns <= since_ns

    def _admits(self, track: Track) -> bool:
        """Tell whether the camera's filters let a track be told of."""
        return self._rules_of(track).admits(track.plate, crossed=track.crossed)

    def _rules_of(self, track: Track) -> Rules:
        return self._rules.get(track.camera, _NO_RULES)

    def _close(self, lane: Lane, track: Track) -> list[Event]:
        """End a track: its final, or nothing where it never had reads enough."""
        if track.id not in lane.open:
            return []
        if track.revision == 0 and track.witnesses < track.needed:
            lane.drop(track)
            self._forget(track)
            return []
        if track.revision == 0 and not self._admits(track):
            self._silenced[track.camera] = self._silenced.get(track.camera, 0) + 1
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

    def _confirm(self, lane: Lane, track: Track, phase: Phase) -> list[Event]:
        """Announce a track for the first time, unless it continues one that is known."""
        known = lane.twin(track, self._reappear_ns)
        if known is None:
            events = [self._tell(track, phase)]
            if phase is Phase.FINAL:
                self._put_aside(lane, track)
            return events
        lane.drop(track)
        text = known.plate
        known.absorb(track)
        lane.take_in(known)
        lane.renamed(known, text)
        self._dirty[known.id] = known
        if track.best_confidence >= known.best_confidence and track.id in self._evidence:
            self._keep_evidence(known, self._evidence[track.id])
        self._forget(track)
        return self._close(lane, known) if phase is Phase.FINAL else []

    def _tell(self, track: Track, phase: Phase) -> Event:
        """Make the next event of a track."""
        self._dirty[track.id] = track
        evidence = None if track.evidence_told else self._evidence.get(track.id)
        track.evidence_told = True
        return Event(track.tell(phase, self._node), evidence)

    def _put_aside(self, lane: Lane, track: Track) -> None:
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

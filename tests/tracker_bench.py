"""A tracker under test, its clock and all that it told."""

import random

import msgspec
from publisher_rig import CAMERA, EPOCH_NS, frame

from engine.config import TrackerSettings
from engine.filters import Rules
from engine.track import Track
from engine.tracker import SightingIds, Tracker
from engine.types import Evidence, Phase, Still

MS = 1_000_000


class Bench:
    """A tracker, its clock and all that it told."""

    def __init__(self, min_reads=2, min_confidence=60.0, **table):
        self.tracker = self.fresh(min_reads, min_confidence, table)
        self.events = []
        self._again = (min_reads, min_confidence, table)

    @staticmethod
    def fresh(min_reads, min_confidence, table):
        rules = {CAMERA: Rules(min_confidence, min_reads)}
        ids = SightingIds("node", random.Random(1))
        return Tracker(rules, TrackerSettings(**table), "node", ids)

    def see(self, at_ms, *reads, **options):
        fed = self.tracker.feed(frame(at_ms, *reads, **options), EPOCH_NS + int(at_ms * MS))
        self.events += fed.events
        return fed

    def still(self, at_ms, frames=1, most=16):
        """Say that nothing changed at the places of the oldest tracks up to a time."""
        for place in sorted(self.tracker.places(CAMERA, 16), key=self.age)[:most]:
            still = Still(place.key, EPOCH_NS + int(at_ms * MS), frames)
            clock_ns = EPOCH_NS + int(at_ms * MS)
            self.events += self.tracker.unchanged(CAMERA, still, clock_ns)

    def age(self, place):
        return next(
            t.first_ns for t in self.tracker._lanes[CAMERA].open.values() if t.key == place.key
        )

    def wait(self, at_ms):
        self.events += self.tracker.tick(EPOCH_NS + int(at_ms * MS))

    def restart(self, at_ms):
        """Go on in a new tracker from what the old one wrote down."""
        changes = self.tracker.take_changes()
        packed = [msgspec.msgpack.encode(track) for track in changes.tracks]
        self.tracker = self.fresh(*self._again)
        tracks = [msgspec.msgpack.decode(one, type=Track) for one in packed]
        self.tracker.restore(
            [(track, changes.evidence.get(track.id, Evidence())) for track in tracks],
            EPOCH_NS + int(at_ms * MS),
        )

    @property
    def sightings(self):
        return [event.sighting for event in self.events]

    @property
    def finals(self):
        return [one for one in self.sightings if one.phase is Phase.FINAL]

    def told(self):
        return [(one.phase.value, one.plate) for one in self.sightings]

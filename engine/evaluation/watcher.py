"""One camera in one process: frames through attention, recognizer and tracker, on their own clock.

The same parts as in the engine, without shared memory. What the tracker learns reaches the decoder
a moment later, as it does there.
"""

import random
import time
from collections import Counter, deque
from typing import Final

import msgspec
import numpy as np

from engine.attention import Attention, Glimpse, Savings, Verdict, known_plates
from engine.board import Fate
from engine.config import CameraSettings, TrackerSettings
from engine.feedback import PLACES, StillNews
from engine.filters import Rules
from engine.motion import MotionGate
from engine.places import hear_every_ns
from engine.recognizers.base import RecognizeHints, Recognizer
from engine.sources.planes import shrink
from engine.track import Event
from engine.tracker import SightingIds, Tracker
from engine.types import FrameReads, FrameStamp, Luma, Phase, PlateRead, Sighting, TrackPlace

EPOCH_NS: Final = 1_700_000_000_000_000_000
LATENCY_S: Final = 0.15
"""From a capture to the decoder's knowing what was read there."""
NO_SAVINGS: Final = CameraSettings(name="every", url="-", skip_static=False)
ALL_SAVINGS: Final = CameraSettings(name="saving", url="-")


def _clock_s() -> float:
    """Return what asking for the CPU time takes of it, on some machines as much as a verdict."""
    asked = [time.process_time() for _ in range(101)]
    return float(np.median(np.diff(asked)))


_CLOCK_S: Final = _clock_s()


class Told(msgspec.Struct):
    """What was told of one vehicle: when first, in the clip's time, and how it ended."""

    first_s: float
    last: Sighting


class Watcher:
    """A camera of these settings that is shown frames one by one."""

    def __init__(self, camera: CameraSettings, recognizer: Recognizer) -> None:
        """Take the recognizer; the caller closes it."""
        self._camera, self._recognizer = camera, recognizer
        settings = TrackerSettings()
        rules = {camera.name: Rules.of(camera, camera.crop)}
        ids = SightingIds("", random.Random(0))
        self._tracker = Tracker(rules, settings, "", ids)
        self._max_gap_s = settings.max_gap_s
        gate = MotionGate(camera.motion_sensitivity, camera.motion_afterglow_s)
        self._savings = savings = Savings.of(camera, lossless=False)
        self._attention = Attention(gate, savings) if camera.skip_static else None
        self._news = StillNews(hear_every_ns(settings.max_gap_s))
        self._under_way: deque[tuple[float, list[TrackPlace]]] = deque()
        self._places: list[TrackPlace] = []
        self.told: dict[str, Told] = {}
        self.fates: Counter[Fate] = Counter()
        self.cpu_s = 0.0
        """CPU time of all threads, without decoding or rendering."""

    def show(self, luma: Luma, at_s: float) -> list[PlateRead]:
        """Show the next frame, (H, W) uint8, of this time; return what was read, maybe nothing."""
        began_s = time.process_time()
        unix_ns = EPOCH_NS + int(at_s * 1e9)
        verdict = self._judged(luma, at_s, unix_ns)
        self.fates[verdict.skip or Fate.RECOGNIZED] += 1
        reads: list[PlateRead] = []
        if verdict.skip is None:
            reads = self._recognized(luma, unix_ns, verdict)
        for still in self._news.among(verdict.stills):
            self._note(self._tracker.unchanged(self._camera.name, still, unix_ns), at_s)
        self._note(self._tracker.tick(unix_ns), at_s)
        if self._attention is not None:
            places = self._tracker.places(self._camera.name, PLACES)
            self._under_way.append((at_s + LATENCY_S, places))
        self.cpu_s += max(0.0, time.process_time() - began_s - _CLOCK_S)
        return reads

    def finish(self, at_s: float) -> list[Sighting]:
        """End the clip; return the vehicles in the order in which they were told of."""
        after_ns = EPOCH_NS + int((at_s + self._max_gap_s + 1) * 1e9)
        self._note(self._tracker.tick(after_ns), at_s)
        return [told.last for told in self.told.values() if told.last.phase is Phase.FINAL]

    def _judged(self, luma: Luma, at_s: float, unix_ns: int) -> Verdict:
        if self._attention is None:
            return Verdict()
        while self._under_way and self._under_way[0][0] <= at_s:
            self._places = self._under_way.popleft()[1]
        reason = self._attention.reason_to_rest(at_s, self._places)
        if reason is not None:
            return Verdict(reason)
        height_px, width_px = luma.shape
        glimpse = Glimpse(shrink(luma), at_s, unix_ns, width_px, height_px)
        return self._attention.judge(glimpse, self._places)

    def _recognized(self, luma: Luma, unix_ns: int, verdict: Verdict) -> list[PlateRead]:
        camera = self._camera
        known = known_plates(self._places, unix_ns, int(self._savings.reread_s * 1e9))
        hints = RecognizeHints(camera.regions, camera.topn, verdict.areas, known=known)
        reads = self._recognizer.recognize(luma, hints)
        stamp = FrameStamp(
            camera=camera.name,
            generation=sum(self.fates.values()),
            captured_unix_ns=unix_ns,
            captured_monotonic_ns=unix_ns,
            width_px=luma.shape[1],
            height_px=luma.shape[0],
        )
        fed = self._tracker.feed(FrameReads(stamp=stamp, reads=tuple(reads)), unix_ns)
        self._note(fed.events, (unix_ns - EPOCH_NS) / 1e9)
        return reads

    def _note(self, events: list[Event], at_s: float) -> None:
        for event in events:
            sighting = event.sighting
            known = self.told.get(sighting.id)
            if known is None:
                self.told[sighting.id] = Told(at_s, sighting)
            elif sighting.phase is not Phase.REVISED or known.last.phase is not Phase.FINAL:
                known.last = sighting
            else:  # it came back: its final stands, with the newest text
                known.last = msgspec.structs.replace(sighting, phase=Phase.FINAL)


def share(part: float, whole: float) -> float | None:
    """Return a share, None of nothing."""
    return round(part / whole, 4) if whole else None


def percentile(values: list[float], percent: int) -> float | None:
    """Return a percentile, None of nothing."""
    return round(float(np.percentile(values, percent)), 2) if values else None

"""Time for sources: playing a file at its own speed, and capping a frame rate."""

import math
import time
from collections.abc import Callable
from typing import Final, NamedTuple

import msgspec

_NAP_S = 0.05
"""The longest sleep between two looks at ``stop()``."""

_LATE_NS = 1_000_000_000
"""A player that is later than this has lost the race; it goes on from now."""

FALLBACK_FPS: Final = 25.0
"""Frame rate of media that do not tell theirs."""

_JUMP_S = 10.0
"""A longer step between two frames is a broken clock, not a pause."""

OLDEST_S: Final = 20.0
"""A stream that seems later than this has changed its clock."""

_DRIFT = 0.001
"""How fast a camera's clock may run away from ours, seconds per second."""


class Stamp(NamedTuple):
    """When a frame was captured, on both clocks."""

    unix_ns: int
    monotonic_ns: int

    @classmethod
    def now(cls) -> "Stamp":
        """Stamp this moment."""
        return cls(time.time_ns(), time.monotonic_ns())


class Pacer:
    """Tells when each frame of a recording is due, and waits for it.

    The first frame is due when it is first asked for; the others follow at the distance of
    their media times, divided by ``speed``. Nobody is waited for longer than ``longest_s``: then
    time itself has jumped, and that frame is due at once.
    """

    def __init__(self, speed: float = 1.0, longest_s: float = math.inf) -> None:
        self._ns_per_s = 1e9 / speed
        self._longest_s = longest_s
        self._last_s = 0.0
        self._origin: Stamp | None = None
        self._first_s = 0.0

    def wait(self, media_s: float, stop: Callable[[], bool]) -> Stamp | None:
        """Sleep until the frame is due and return that moment; None when ``stop()`` came first.

        media_s: seconds, rising from frame to frame.
        """
        if self._origin is None or media_s - self._last_s > self._longest_s:
            self._origin, self._first_s = Stamp.now(), media_s
        self._last_s = media_s
        offset_ns = int((media_s - self._first_s) * self._ns_per_s)
        due_ns = self._origin.monotonic_ns + offset_ns
        while (left_ns := due_ns - time.monotonic_ns()) > 0:
            if stop():
                return None
            time.sleep(min(left_ns / 1e9, _NAP_S))
        if left_ns < -_LATE_NS:
            self._origin, self._first_s = Stamp.now(), media_s
            return self._origin
        return Stamp(self._origin.unix_ns + offset_ns, due_ns)


class RateCap(msgspec.Struct):
    """Lets at most ``fps`` frames per second of media time through (0: all), evenly spaced."""

    fps: float
    left_out: int = 0
    _next_s: float | None = None

    def is_early(self, media_s: float | None) -> bool:
        """Tell whether a frame at this time would be left out for certain; counts nothing."""
        if self.fps <= 0 or self._next_s is None or media_s is None:
            return False
        return media_s < self._next_s - 1e-6

    def passes(self, media_s: float) -> bool:
        """Tell whether the frame at this time is to be used; counts those that are not.

        A frame that comes up to half a frame's distance early still passes when the next slot
        is due, so that 10 of 25 frames per second are 10 and not 8.
        """
        if self.fps <= 0:
            return True
        period_s = 1.0 / self.fps
        if self._next_s is None or media_s - self._next_s > period_s:
            self._next_s = media_s + period_s
            return True
        if media_s < self._next_s - 1e-6:
            self.left_out += 1
            return False
        self._next_s += period_s
        return True


class MediaClock:
    """Turns the times a container gives into one rising time line.

    Missing times, jumps and the start of a next round continue at the nominal distance.
    """

    def __init__(self) -> None:
        self.nominal_fps = FALLBACK_FPS
        self.frames = 0
        self._now_s = 0.0
        self._last_pts_s: float | None = None

    def advance(self, pts_s: float | None) -> float:
        """Return the frame's place on the time line, in seconds from the first frame."""
        step_s = 1.0 / self.nominal_fps
        if pts_s is not None and self._last_pts_s is not None:
            ahead_s = pts_s - self._last_pts_s
            if 0 <= ahead_s <= _JUMP_S:
                step_s = ahead_s
        if self.frames:
            self._now_s += step_s
        self.frames += 1
        self._last_pts_s = pts_s
        return self._now_s

    def place(self, pts_s: float | None) -> float | None:
        """Return where a frame that comes soon will be, None where that is not known."""
        if pts_s is None or self._last_pts_s is None:
            return None
        ahead_s = pts_s - self._last_pts_s
        return self._now_s + ahead_s if 0 <= ahead_s <= _JUMP_S else None

    def restart(self) -> None:
        """Expect the media's times to begin anew."""
        self._last_pts_s = None


class StreamClock:
    """Maps a stream's own times to our clocks, so that what the network holds up is not counted.

    The quickest frame so far tells how far the two clocks are apart; what comes later than that
    was captured when its own time says. The distance may grow by the drift of clocks. A time that
    jumps, wraps around or stops starts the mapping anew. Captures never go back, never are ahead
    of now.
    """

    def __init__(self) -> None:
        self._apart_s: float | None = None
        self._last_pts_s = 0.0
        self._last_arrival_s = 0.0
        self._last_ns = 0

    def captured(self, pts_s: float | None, arrived: Stamp, age_s: float | None = None) -> Stamp:
        """Return when the frame with this time was captured.

        arrived: both clocks now. age_s: how old the sender says it is, None where it does not.
        """
        mapped_s = 0.0 if pts_s is None else self._mapped_age_s(pts_s, arrived)
        return self._never_back(arrived, int((mapped_s if age_s is None else age_s) * 1e9))

    def _mapped_age_s(self, pts_s: float, arrived: Stamp) -> float:
        """Return how much later than the quickest frame this one came."""
        now_s = arrived.monotonic_ns / 1e9
        apart_s, step_s = now_s - pts_s, pts_s - self._last_pts_s
        if self._apart_s is None or not 0 <= step_s <= _JUMP_S:
            self._apart_s = apart_s
        else:
            drifted_s = self._apart_s + _DRIFT * (now_s - self._last_arrival_s)
            self._apart_s = min(apart_s, drifted_s)
        if apart_s - self._apart_s > OLDEST_S:
            self._apart_s = apart_s
        self._last_pts_s, self._last_arrival_s = pts_s, now_s
        return apart_s - self._apart_s

    def _never_back(self, arrived: Stamp, age_ns: int) -> Stamp:
        """Return the moment so long ago, but after the last one."""
        monotonic_ns = min(arrived.monotonic_ns, max(arrived.monotonic_ns - age_ns, self._last_ns))
        self._last_ns = monotonic_ns + 1
        return Stamp(arrived.unix_ns - (arrived.monotonic_ns - monotonic_ns), monotonic_ns)

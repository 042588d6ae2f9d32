"""Time for sources: playing a file at its own speed, and capping a frame rate."""

import time
from collections.abc import Callable
from typing import NamedTuple

import msgspec

_NAP_S = 0.05
"""The longest sleep between two looks at ``stop()``."""

_LATE_NS = 1_000_000_000
"""A player that is later than this has lost the race; it goes on from now."""


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
    their media times.
    """

    def __init__(self) -> None:
        self._origin: Stamp | None = None
        self._first_s = 0.0

    def wait(self, media_s: float, stop: Callable[[], bool]) -> Stamp | None:
        """Sleep until the frame is due and return that moment; None when ``stop()`` came first.

        media_s: seconds, rising from frame to frame.
        """
        if self._origin is None:
            self._origin, self._first_s = Stamp.now(), media_s
        offset_ns = int((media_s - self._first_s) * 1e9)
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

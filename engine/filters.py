"""What one camera demands of its reads and tracks before they count: the filters, compiled."""

import time
from collections.abc import Sequence
from typing import Final, Self

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from engine.filter_settings import FilterSettings, Hours, hours_of
from engine.plates import Pattern
from engine.sink_settings import plate_pattern
from engine.sources.masks import within
from engine.types import Box, FrameStamp, Point

_NS_PER_S: Final = 1_000_000_000


class Line(msgspec.Struct, frozen=True):
    """A trip line in shares of the frame; ``side`` is 1 for left to right, -1, or 0 for both."""

    start: Point
    end: Point
    side: int

    def is_crossed(self, before: Point, after: Point) -> bool:
        """Tell whether the way from one point to another crosses it in a direction that counts."""
        turn = _side(self.start, self.end, after)
        if _side(self.start, self.end, before) == turn or turn == 0:
            return False
        if _side(before, after, self.start) == _side(before, after, self.end):
            return False
        return self.side in {0, turn}


class Rules(msgspec.Struct, frozen=True):
    """What one camera demands; polygons and lines are in shares of its frames."""

    min_confidence: float = 0.0
    min_reads: int = 1
    min_plate_height_px: float = 0.0
    regions: tuple[str, ...] = ()
    accept: tuple[Pattern, ...] = ()
    reject: tuple[Pattern, ...] = ()
    ignore: frozenset[str] = frozenset()
    include: tuple[npt.NDArray[np.float32], ...] = ()
    exclude: tuple[npt.NDArray[np.float32], ...] = ()
    lines: tuple[Line, ...] = ()
    hours: tuple[Hours, ...] = ()

    @classmethod
    def of(cls, settings: FilterSettings, crop: tuple[float, ...] = ()) -> Self:
        """Compile a camera's keys; what is in shares of its picture follows its crop."""
        sides = {"any": 0, "left_to_right": 1, "right_to_left": -1}
        lines = within([line.ends for line in settings.trip_lines], crop)
        return cls(
            min_confidence=settings.min_confidence,
            min_reads=settings.min_reads,
            min_plate_height_px=settings.min_plate_height_px,
            regions=settings.regions,
            accept=tuple(plate_pattern(one) for one in settings.accept),
            reject=tuple(plate_pattern(one) for one in settings.reject),
            ignore=frozenset(settings.ignore),
            include=tuple(np.array(z, np.float32) for z in within(settings.include_zones, crop)),
            exclude=tuple(np.array(z, np.float32) for z in within(settings.exclude_zones, crop)),
            lines=tuple(
                Line(start, end, sides[line.direction])
                for (start, end), line in zip(lines, settings.trip_lines, strict=True)
            ),
            hours=tuple(hours for span in settings.schedule for hours in hours_of(span)),
        )

    def is_open(self, unix_ns: int) -> bool:
        """Tell whether reads of this time count at all."""
        if not self.hours:
            return True
        at = time.localtime(unix_ns // _NS_PER_S)
        minute = 60 * at.tm_hour + at.tm_min
        return any(
            at.tm_wday in one.days and one.from_min <= minute < one.to_min for one in self.hours
        )

    def takes(self, confidence: float, box: Box, stamp: FrameStamp) -> bool:
        """Tell whether a read is sure enough, large enough, and where it should be."""
        if confidence < self.min_confidence or box.height < self.min_plate_height_px:
            return False
        if not (self.include or self.exclude):
            return True
        middle = _share(box, stamp)
        if middle is None:
            return True
        return (not self.include or _in_any(self.include, middle)) and not _in_any(
            self.exclude, middle
        )

    def crosses(self, before: Box, after: Box, stamp: FrameStamp) -> bool:
        """Tell whether a plate crossed one of the lines between two places."""
        if not self.lines:
            return False
        one, other = _share(before, stamp), _share(after, stamp)
        if one is None or other is None:
            return False
        return any(line.is_crossed(one, other) for line in self.lines)

    def admits(self, plate: str, *, crossed: bool) -> bool:
        """Tell whether a track may be told of."""
        if plate in self.ignore or (self.lines and not crossed):
            return False
        if self.accept and not any(pattern.matches(plate) for pattern in self.accept):
            return False
        return not any(pattern.matches(plate) for pattern in self.reject)


def _share(box: Box, stamp: FrameStamp) -> Point | None:
    """Return the middle of a box in shares of its frame, None where the frame has no size."""
    if not (stamp.width_px and stamp.height_px):
        return None
    x, y = box.center
    return x / stamp.width_px, y / stamp.height_px


def _in_any(zones: Sequence[npt.NDArray[np.float32]], middle: Point) -> bool:
    return any(cv2.pointPolygonTest(zone, middle, measureDist=False) >= 0 for zone in zones)


def _side(start: Point, end: Point, point: Point) -> int:
    """Return 1 where the point is right of the way from start to end (y is down), -1 left, 0 on."""
    across = (end[0] - start[0]) * (point[1] - start[1])
    across -= (end[1] - start[1]) * (point[0] - start[0])
    return (across > 0) - (across < 0)

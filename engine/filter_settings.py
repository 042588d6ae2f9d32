"""The keys of a camera that say which of its reads and tracks count."""

import re
from typing import Annotated, Final, Literal, TypeAlias

import msgspec
from pydantic import AfterValidator, Field

from engine.outlines import Polygons, Share
from engine.plates import normalise, region_codes, regions_of
from engine.section import Region, Section, mistake
from engine.sink_settings import PlatePattern

_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_SPAN: Final = re.compile(
    r"(?:(?P<days>[a-z,-]+) )?(?P<h1>\d\d):(?P<m1>\d\d)-(?P<h2>\d\d):(?P<m2>\d\d)"
)
DAY_MIN: Final = 24 * 60


class Hours(msgspec.Struct, frozen=True):
    """A span of some days of the week (0 is Monday) in minutes of the day."""

    days: frozenset[int]
    from_min: int
    to_min: int


def hours_of(span: str) -> tuple[Hours, ...]:
    """Return the spans that a text like ``mon-fri 07:00-19:00`` means; two over midnight.

    Raises:
        ValueError: it is none; says what is wrong.
    """
    found = _SPAN.fullmatch(span.strip().lower())
    if found is None:
        raise ValueError('must be like "mon-fri 07:00-19:00", "sat,sun 00:00-24:00", "22:00-06:00"')
    from_min = _minutes(found["h1"], found["m1"])
    to_min = _minutes(found["h2"], found["m2"])
    if from_min == to_min:
        raise ValueError("ends when it begins; a whole day is 00:00-24:00")
    days = _days(found["days"] or "mon-sun")
    if from_min < to_min:
        return (Hours(days, from_min, to_min),)
    following = frozenset((day + 1) % 7 for day in days)
    return Hours(days, from_min, DAY_MIN), Hours(following, 0, to_min)


def _minutes(hour: str, minute: str) -> int:
    minutes = 60 * int(hour) + int(minute)
    if int(minute) > 59 or minutes > DAY_MIN:
        raise ValueError(f"{hour}:{minute} is no time of day")
    return minutes


def _days(written: str) -> frozenset[int]:
    days: set[int] = set()
    for part in written.split(","):
        first, _, last = part.partition("-")
        for name in (first, last or first):
            if name not in _DAYS:
                raise ValueError(f"{name!r} is no day; there are {', '.join(_DAYS)}")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        days.update(day % 7 for day in range(begin, end + 1 + (7 if end < begin else 0)))
    return frozenset(days)


def _is_span(span: str) -> str:
    hours_of(span)
    return span


def _is_plate(text: str) -> str:
    plate = normalise(text)
    if not plate:
        raise ValueError("must hold a letter or digit")
    return plate


def _is_known(code: str) -> str:
    if not regions_of(code):
        known = ", ".join(region_codes())
        raise mistake(f"no plates of a region {code!r} are known", f"use of these: {known}")
    return code


def _has_a_length(ends: tuple[tuple[float, float], ...]) -> tuple[tuple[float, float], ...]:
    if ends[0] == ends[1]:
        raise ValueError("must be two different places, nothing crosses a point")
    return ends


Span = Annotated[str, AfterValidator(_is_span)]
KnownRegion = Annotated[Region, AfterValidator(_is_known)]
IgnoredPlate = Annotated[str, AfterValidator(_is_plate)]
End: TypeAlias = Annotated[tuple[Share, Share], Field(strict=False)]


class TripLine(Section):
    """A line that a plate must cross; left and right as one walks from its first end."""

    ends: Annotated[tuple[End, End], Field(strict=False), AfterValidator(_has_a_length)]
    """[x, y] of both, in shares of the whole picture."""
    direction: Literal["any", "left_to_right", "right_to_left"] = "any"


class FilterSettings(Section):
    """Keys that a camera's table and the publisher's view of it have in common."""

    regions: Annotated[tuple[KnownRegion, ...], Field(strict=False)] = ()
    min_confidence: Annotated[float, Field(ge=0, le=100)] = 60.0
    min_reads: Annotated[int, Field(ge=1, le=100)] = 2
    min_plate_height_px: Annotated[float, Field(ge=0, le=4_320)] = 0.0
    """Smaller plates, in pixels of the frame, do not count."""
    accept: Annotated[tuple[PlatePattern, ...], Field(strict=False)] = ()
    """Only plates like one of these; none: all."""
    reject: Annotated[tuple[PlatePattern, ...], Field(strict=False)] = ()
    ignore: Annotated[tuple[IgnoredPlate, ...], Field(strict=False)] = ()
    """Plates that are never told of, like those of one's own vehicles."""
    include_zones: Polygons = ()
    """Only plates whose middle is in one of these; none: everywhere."""
    exclude_zones: Polygons = ()
    trip_lines: Annotated[tuple[TripLine, ...], Field(strict=False)] = ()
    """Where there are any, a plate is told of once it has crossed one."""
    schedule: Annotated[tuple[Span, ...], Field(strict=False)] = ()
    """When reads count, in this machine's local time; none: always."""

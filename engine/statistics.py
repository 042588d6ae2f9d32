"""How many sightings there were, hour by hour or day by day, from the counters in Redis.

The counters are kept where sightings are committed (``engine.store_commands``), so a chart costs a
question per camera and day, whatever the number of sightings. Hours and days are UTC's.
"""

from collections import Counter
from collections.abc import Sequence
from enum import StrEnum
from typing import Final

import msgspec

from engine.store import Store, count_key

DAY_MS: Final = 86_400_000
HOUR_MS: Final = 3_600_000
TENTHS: Final = 10
MOST_BUCKETS: Final = 1_000
MOST_COUNTERS: Final = 5_000
"""Cameras times days of one question."""
_PORTION: Final = 200


class Width(StrEnum):
    """How much time a bucket spans."""

    HOUR = "hour"
    DAY = "day"

    @property
    def span_ms(self) -> int:
        """That time in milliseconds."""
        return HOUR_MS if self is Width.HOUR else DAY_MS


class Bucket(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen in one hour or day."""

    from_unix_ms: int
    sightings: int
    by_camera: dict[str, int]
    confidence: list[int]
    """Finals by tenths of their confidence, (10,): 0 to 10, 10 to 20, …"""


class _Tally:
    """One bucket while it is counted."""

    def __init__(self) -> None:
        self.by_camera: Counter[str] = Counter()
        self.confidence = [0] * TENTHS


def buckets(
    store: Store, cameras: Sequence[str], from_ms: int, to_ms: int, width: Width
) -> list[Bucket]:
    """Return every bucket from one time up to another, the oldest first, empty ones among them.

    Raises:
        ValueError: that is too much at once.
        SinkError: Redis is away.
    """
    span_ms = width.span_ms
    first, last = from_ms // span_ms, -(-to_ms // span_ms)
    days = range(first * span_ms // DAY_MS, -(-last * span_ms // DAY_MS))
    if last - first > MOST_BUCKETS or len(days) * len(cameras) > MOST_COUNTERS:
        raise ValueError("is too much at once: ask for less time, for days, or for one camera")
    tallies = {number * span_ms: _Tally() for number in range(first, last)}
    asked = [(camera, day * DAY_MS) for day in days for camera in cameras]
    for start in range(0, len(asked), _PORTION):
        some = asked[start : start + _PORTION]
        answers = store.asking(("hgetall", count_key(camera, day_ms)) for camera, day_ms in some)
        for (camera, day_ms), counted in zip(some, answers, strict=True):
            for field, number in counted.items():
                hour, _, tenth = field.decode().partition(".")
                at_ms = day_ms + int(hour) * HOUR_MS
                tally = tallies.get(at_ms // span_ms * span_ms)
                if tally is not None and tenth:
                    tally.confidence[int(tenth)] += int(number)
                elif tally is not None:
                    tally.by_camera[camera] += int(number)
    return [
        Bucket(
            from_unix_ms=at_ms,
            sightings=sum(tally.by_camera.values()),
            by_camera=dict(tally.by_camera),
            confidence=tally.confidence,
        )
        for at_ms, tally in tallies.items()
    ]

"""Figures for charts: sightings by time, camera and confidence, and how long each stage takes."""

import time
from typing import Annotated, Final

import msgspec
import numpy as np
from flask import Blueprint
from msgspec import Meta

from api.endpoints import endpoint
from api.plates import Milliseconds, Word
from api.problems import ProblemError
from engine.board import BUCKET_BOUNDS_MS, BUCKETS, HISTOGRAM_BASE, Board, Stage
from engine.scopes import Scope
from engine.statistics import DAY_MS, Bucket, Width, buckets
from engine.store import Store

_USUAL_MS: Final = {Width.HOUR: DAY_MS, Width.DAY: 30 * DAY_MS}
"""How far back a chart goes that does not say it."""


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """Which time, and how finely."""

    from_: Annotated[
        Milliseconds | None, Meta(description="unix_ms; left out: a day or 30 back.")
    ] = msgspec.field(name="from", default=None)
    to: Annotated[
        Milliseconds | None, Meta(description="unix_ms, not included; left out: now.")
    ] = None
    bucket: Width = Width.HOUR
    camera: Word = ""


class BucketList(msgspec.Struct, frozen=True):
    """All hours or days of a span, the oldest first, empty ones among them."""

    buckets: list[Bucket]


class StageLatency(msgspec.Struct, frozen=True, kw_only=True):
    """How long one stage took since the start; percentiles are read off a histogram."""

    stage: str
    count: int
    mean_ms: float
    p50_ms: float
    p90_ms: float
    p99_ms: float
    """10,000 stands for that and more."""


class StageList(msgspec.Struct, frozen=True):
    """All stages, in the order of a frame's way."""

    stages: list[StageLatency]


def stages(board: Board) -> list[StageLatency]:
    """Return the latencies of all stages, summed over all processes of this machine."""
    rows = board.processes()
    found = []
    for stage in Stage:
        base = HISTOGRAM_BASE + stage * (BUCKETS + 1)
        words = rows[:, base : base + BUCKETS + 1].sum(0, dtype=np.uint64)
        counts = [int(count) for count in words[:BUCKETS]]
        number = sum(counts)
        p50, p90, p99 = (_percentile(counts, share) for share in (0.5, 0.9, 0.99))
        found.append(
            StageLatency(
                stage=stage.name.lower(),
                count=number,
                mean_ms=round(int(words[BUCKETS]) / 1e6 / number, 3) if number else 0.0,
                p50_ms=p50,
                p90_ms=p90,
                p99_ms=p99,
            )
        )
    return found


def _percentile(counts: list[int], share: float) -> float:
    """Return the time that a share of all stays below, as if each bucket were filled evenly."""
    left = share * sum(counts)
    lower = 0.0
    for upper, count in zip(BUCKET_BOUNDS_MS, counts, strict=False):
        if count and left <= count:
            return round(lower + (upper - lower) * left / count, 3)
        left -= count
        lower = float(upper)
    return lower if sum(counts) else 0.0


def blueprint(store: Store, board: Board) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("statistics", __name__)

    @routes.get("/api/v1/statistics")
    @endpoint(needs=Scope.READ, query=Span, answers=BucketList)
    def statistics(query: Span) -> BucketList:
        """How many sightings there were, by hour or day, camera and confidence.

        Counted where they were first seen, in UTC. Confidence is that of finals, in tenths.
        """
        to_ms = time.time_ns() // 1_000_000 if query.to is None else query.to
        usual_ms = max(0, to_ms - _USUAL_MS[query.bucket])
        from_ms = usual_ms if query.from_ is None else query.from_
        if from_ms > to_ms:
            raise ProblemError(400, "is after the end", field="from")
        cameras = [query.camera] if query.camera else store.cameras()
        try:
            found = buckets(store, cameras, from_ms, to_ms, query.bucket)
        except ValueError as error:
            raise ProblemError(400, str(error), field="from") from error
        return BucketList(found)

    @routes.get("/api/v1/statistics/stages")
    @endpoint(needs=Scope.READ, answers=StageList)
    def latencies() -> StageList:
        """How long frames and sightings take from stage to stage, on this machine."""
        return StageList(stages(board))

    return routes

"""The board's histograms: how long things take, with the sightings they tell of, and confidence."""

from bisect import bisect_left
from itertools import accumulate
from typing import Final, TypeAlias
from uuid import UUID

import numpy as np
from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.samples import Exemplar

from engine.board import (
    BUCKET_BOUNDS_MS,
    BUCKETS,
    CONFIDENCE_BASE,
    CONFIDENCE_BOUNDS,
    EXEMPLAR_BASE,
    EXEMPLAR_WORDS,
    HISTOGRAM_BASE,
    KIND,
    RECOGNIZERS,
    STATE,
    Kind,
    Stage,
    Words,
)

Bucket: TypeAlias = tuple[str, float] | tuple[str, float, Exemplar]

_BOUNDS_S: Final = [bound / 1_000 for bound in BUCKET_BOUNDS_MS]
_BOUNDS: Final = [*map(str, _BOUNDS_S), "+Inf"]
_SHARES: Final = [*(str(bound / 100) for bound in CONFIDENCE_BOUNDS), "+Inf"]


def of_stages(rows: Words) -> Metric:
    """Return the histograms of all stages, summed over all processes."""
    family = HistogramMetricFamily(
        "platering_stage_seconds", "How long each stage takes.", labels=("stage",)
    )
    for stage in Stage:
        buckets, sum_s = _histogram(rows, stage, _exemplar(rows, stage))
        family.add_metric((stage.name.lower(),), buckets, sum_s)
    return family


def of_recognizers(rows: Words) -> Metric:
    """Return how long recognition of a frame takes, by recognizer."""
    family = HistogramMetricFamily(
        "platering_recognition_seconds", "Recognition of one frame.", labels=("recognizer",)
    )
    workers = rows[rows[:, KIND] == Kind.WORKER]
    for place, name in enumerate(RECOGNIZERS, start=1):
        buckets, sum_s = _histogram(workers[workers[:, STATE] == place], Stage.RECOGNIZE, None)
        family.add_metric((name,), buckets, sum_s)
    return family


def of_confidence(rows: Words) -> Metric:
    """Return how sure plate reads are, by recognizer."""
    family = HistogramMetricFamily(
        "platering_read_confidence_ratio",
        "Confidence of plate reads, 0 to 1.",
        labels=("recognizer",),
    )
    workers = rows[rows[:, KIND] == Kind.WORKER]
    for place, name in enumerate(RECOGNIZERS, start=1):
        ours = workers[workers[:, STATE] == place, CONFIDENCE_BASE:][:, : len(_SHARES) + 1]
        *counts, hundredths = ours.sum(0, dtype=np.uint64).tolist()
        buckets = list(zip(_SHARES, map(float, accumulate(counts)), strict=True))
        family.add_metric((name,), buckets, hundredths / 1e4)
    return family


def _histogram(rows: Words, stage: Stage, exemplar: Exemplar | None) -> tuple[list[Bucket], float]:
    """Return the cumulated buckets of a stage, the exemplar in its own, and the sum in seconds."""
    base = HISTOGRAM_BASE + stage * (BUCKETS + 1)
    words = rows[:, base : base + BUCKETS + 1].sum(0, dtype=np.uint64)
    cumulated = np.cumsum(words[:BUCKETS]).tolist()
    buckets: list[Bucket] = list(zip(_BOUNDS, map(float, cumulated), strict=True))
    if exemplar is not None:
        place = bisect_left(_BOUNDS_S, exemplar.value)
        buckets[place] = (_BOUNDS[place], float(cumulated[place]), exemplar)
    return buckets, int(words[BUCKETS]) / 1e9


def _exemplar(rows: Words, stage: Stage) -> Exemplar | None:
    """Return the sighting that was measured last in a stage, None where there was none."""
    base = EXEMPLAR_BASE + stage * EXEMPLAR_WORDS
    words = rows[:, base : base + EXEMPLAR_WORDS]
    high, low, elapsed_ns, unix_ms = words[words[:, 3].argmax()].tolist()
    if not unix_ms:
        return None
    sighting = str(UUID(int=high << 64 | low))
    return Exemplar({"sighting": sighting}, elapsed_ns / 1e9, unix_ms / 1_000)

"""How long stages take: from the histograms of ``/metrics``, and from times that are known."""

import math
import statistics
import urllib.request
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np
from prometheus_client.parser import text_string_to_metric_families

STAGES: Final = {
    "capture_to_slot": "capture → slot",
    "slot_to_lease": "slot → recognizer",
    "recognize": "recognition",
    "recognized_to_tracked": "recognized → tracked",
}
"""Histograms of ``/metrics``, of every frame; the last one of those with reads."""


class StageFigures(msgspec.Struct, frozen=True, kw_only=True):
    """How long a stage takes, in milliseconds."""

    stage: str
    mean_ms: float
    p50_ms: float
    p95_ms: float
    p99_ms: float


class Histogram(msgspec.Struct, frozen=True):
    """A histogram of ``/metrics`` over a while: counts between bounds, and the sum."""

    bounds_ms: Sequence[float]
    counts: Sequence[float]
    sum_ms: float

    def figures(self, stage: str) -> StageFigures:
        """Return its mean, which is exact, and its quantiles, which are interpolated."""
        total = sum(self.counts)
        return StageFigures(
            stage=stage,
            mean_ms=round(self.sum_ms / max(1.0, total), 2),
            p50_ms=self._quantile(0.5 * total),
            p95_ms=self._quantile(0.95 * total),
            p99_ms=self._quantile(0.99 * total),
        )

    def _quantile(self, rank: float) -> float:
        """Return below what so many lie, as Prometheus does it."""
        below, low_ms = 0.0, 0.0
        for bound_ms, count in zip(self.bounds_ms, self.counts, strict=True):
            if math.isinf(bound_ms) or not rank:  # nobody knows more, or anything
                break
            if count and below + count >= rank:
                return round(low_ms + (bound_ms - low_ms) * (rank - below) / count, 2)
            below += count
            low_ms = bound_ms
        return round(low_ms, 2)


def histograms_of(page: str) -> dict[str, Histogram]:
    """Return the histograms of all stages since the start."""
    with urllib.request.urlopen(f"{page}/metrics", timeout=10) as answer:  # noqa: S310  # ours, http
        text = answer.read().decode()
    bounds: dict[str, list[tuple[float, float]]] = {name: [] for name in STAGES}
    sums = dict.fromkeys(STAGES, 0.0)
    for family in text_string_to_metric_families(text):
        if family.name != "platering_stage_seconds":
            continue
        for sample in family.samples:
            stage = sample.labels["stage"]
            if stage in bounds and sample.name.endswith("_bucket"):
                bounds[stage].append((1e3 * float(sample.labels["le"]), sample.value))
            elif stage in sums and sample.name.endswith("_sum"):
                sums[stage] = 1e3 * sample.value
    return {
        name: Histogram(
            [bound for bound, _ in found],
            np.diff([0.0, *(count for _, count in found)]).tolist(),
            sums[name],
        )
        for name, found in bounds.items()
    }


def spent(before: dict[str, Histogram], after: dict[str, Histogram]) -> list[StageFigures]:
    """Return what each stage took between two looks."""
    figures = []
    for name, stage in STAGES.items():
        old, new = before[name], after[name]
        counts = np.subtract(new.counts, old.counts).tolist()
        while_here = Histogram(new.bounds_ms, counts, new.sum_ms - old.sum_ms)
        figures.append(while_here.figures(stage))
    return figures


def exact(stage: str, taken_ms: Sequence[float]) -> StageFigures:
    """Return the figures of a stage of which every single time is known."""
    p50, p95, p99 = np.percentile(taken_ms, (50, 95, 99)).round(2).tolist()
    mean_ms = round(statistics.fmean(taken_ms), 2)
    return StageFigures(stage=stage, mean_ms=mean_ms, p50_ms=p50, p95_ms=p95, p99_ms=p99)

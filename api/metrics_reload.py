"""Metrics of the configuration that was read again, and of processes that are being replaced."""

from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from engine.messages import EngineStatus

OUTCOMES: Final = ("applied", "refused", "reverted")


def of_reloads(status: EngineStatus) -> Iterator[Metric]:
    """Yield what came of reloads, when the last good one was, and what is replaced now."""
    reloads = CounterMetricFamily(
        "platering_config_reloads",
        "Times the configuration was read again, by what came of it.",
        labels=("outcome",),
    )
    for outcome in OUTCOMES:
        reloads.add_metric((outcome,), getattr(status.reloads, outcome))
    yield reloads
    yield GaugeMetricFamily(
        "platering_config_last_reload_success_timestamp_seconds",
        "When the present configuration was read.",
        value=status.reloads.applied_unix_ms / 1_000,
    )
    yield GaugeMetricFamily(
        "platering_processes_replacing",
        "Processes and cameras that are to be replaced by new ones, or to start.",
        value=len(status.renewing),
    )

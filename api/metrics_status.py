"""Metrics of what only the supervisor knows: states, rings, restarts, sinks, what is configured."""

import platform
from collections.abc import Iterator
from typing import Final

import msgspec
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from api.metrics_reload import of_reloads
from engine import __version__
from engine.messages import EngineStatus, RestartReason, SinkFigures
from engine.types import CameraState
from engine.uploads import upload_of

SINK_TOTALS: Final = {
    "taken": ("sink_events", "Sighting events that a sink took."),
    "retries": ("sink_attempts_repeated", "Batches that had to be sent again."),
    "failures": ("sink_went_away", "Times a sink stopped taking events."),
    "dead_letters": ("sink_dead_letters", "Sighting events that a sink refused for good."),
}
"""Fields of ``SinkFigures``, each a counter by sink."""


def lasting(status: EngineStatus) -> EngineStatus:
    """Return a status without the decoders of uploads.

    Each has a name that never comes again: as labels they would become more for ever.
    """
    found = status.processes
    kept = tuple(one for one in found if not upload_of(one.name.removeprefix("decoder-")))
    return msgspec.structs.replace(status, processes=kept)


def build() -> Iterator[Metric]:
    """Yield what runs here."""
    labels = {"version": __version__, "python": platform.python_version()}
    family = GaugeMetricFamily("platering_build_info", "What runs here.", labels=tuple(labels))
    family.add_metric(tuple(labels.values()), 1.0)
    yield family


def of_status(status: EngineStatus | None) -> Iterator[Metric]:
    """Yield what the supervisor said; only that it does not answer, where it does not."""
    up = "platering_engine_up"
    yield GaugeMetricFamily(up, "1 while the supervisor answers.", value=float(status is not None))
    if status is None:
        return
    started = GaugeMetricFamily(
        "platering_engine_start_time_seconds",
        "When the engine was started.",
        value=status.started_unix_ms / 1_000,
    )
    yield started
    labels = {"recognizer": status.recognizer, "privacy": status.privacy}
    family = GaugeMetricFamily("platering_config_info", "As configured.", labels=tuple(labels))
    family.add_metric(tuple(labels.values()), 1.0)
    yield family
    yield from _cameras(status)
    yield _restarts(status)
    yield from of_reloads(status)
    yield from _sinks(status.sinks)


def _cameras(status: EngineStatus) -> Iterator[Metric]:
    state = GaugeMetricFamily(
        "platering_camera_state", "1 for the state a camera is in.", labels=("camera", "state")
    )
    one = ("camera",)
    flight = GaugeMetricFamily(
        "platering_frames_in_flight",
        "Frames captured and not yet settled, counted from the slots.",
        labels=one,
    )
    slots = GaugeMetricFamily("platering_ring_slots", "Slots of a camera's ring.", labels=one)
    size = GaugeMetricFamily(
        "platering_ring_memory_bytes", "Shared memory of a camera's rings.", labels=one
    )
    oldest = GaugeMetricFamily(
        "platering_ring_oldest_frame_timestamp_seconds",
        "Capture of the oldest frame that is not yet settled; 0: there is none.",
        labels=one,
    )
    for camera in status.cameras:
        name = (camera.name,)
        flight.add_metric(name, camera.in_flight)
        slots.add_metric(name, camera.ring.slots if camera.ring is not None else 0)
        size.add_metric(name, camera.ring_bytes)
        oldest.add_metric(name, camera.oldest_unix_ms / 1_000)
        for each in CameraState:
            state.add_metric((camera.name, each.value), float(camera.state is each))
    yield from (state, flight, slots, size, oldest)


def _restarts(status: EngineStatus) -> Metric:
    family = CounterMetricFamily(
        "platering_process_restarts", "Starts after the first one.", labels=("process", "reason")
    )
    for process in status.processes:
        for reason in RestartReason:
            family.add_metric((process.name, reason.value), process.reasons.get(reason, 0))
    return family


def _sinks(sinks: tuple[SinkFigures, ...]) -> Iterator[Metric]:
    one = ("sink",)
    up = GaugeMetricFamily("platering_sink_up", "1 while a sink takes events.", labels=one)
    waiting = GaugeMetricFamily(
        "platering_sink_waiting_events",
        "Events in the spool that a sink has not taken.",
        labels=one,
    )
    oldest = GaugeMetricFamily(
        "platering_sink_oldest_event_timestamp_seconds",
        "When the oldest of them was written; 0: none waits.",
        labels=one,
    )
    for sink in sinks:
        up.add_metric((sink.name,), float(not sink.away))
        waiting.add_metric((sink.name,), sink.waiting)
        oldest.add_metric((sink.name,), sink.oldest_unix_ms / 1_000)
    yield from (up, waiting, oldest)
    for field, (word, sentence) in SINK_TOTALS.items():
        family = CounterMetricFamily(f"platering_{word}", sentence, labels=one)
        for sink in sinks:
            family.add_metric((sink.name,), getattr(sink, field))
        yield family

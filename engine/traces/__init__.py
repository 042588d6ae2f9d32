"""OpenTelemetry traces of sightings (extra ``traces``): spans made after the fact, sent aside.

The id of a sighting is the id of its trace and holds that of its first span, so that processes
which never spoke of it add their spans to the same trace, and choose the same share of all.
``engine.traces.spans`` makes them. Nothing waits for the receiver; what it does not take is lost.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Protocol

import msgspec

from engine.board import Row
from engine.errors import ConfigError
from engine.trace_settings import TracesSettings


class Step(msgspec.Struct, frozen=True):
    """A part of a sighting's way, from one time to another (nanoseconds UTC)."""

    name: str
    begin_ns: int
    end_ns: int


class Traces(Protocol):
    """Makes spans in one process; one thread calls it."""

    def add(
        self, sighting: str, whole: Step | None, steps: Sequence[Step], about: Mapping[str, Any]
    ) -> None:
        """Add steps to the trace of a sighting; ``whole`` is the one around them, told once.

        Sightings whose ids others gave, and that are no UUIDs, have none.
        """

    def close(self) -> None:
        """Send what waits, for a moment at most."""


def open_traces(settings: TracesSettings, node: str, process: str, row: Row) -> Traces | None:
    """Return what makes traces in ``process``, whose row it is; None where none are wanted.

    Raises:
        ConfigError: the library is not installed; names its extra.
    """
    if not (settings.endpoint and settings.share):
        return None
    try:
        from engine.traces.spans import Spans  # noqa: PLC0415  # only where it is used
    except ImportError as error:
        raise ConfigError(
            "traces.endpoint",
            "the libraries of OpenTelemetry are not installed",
            'install them: pip install "platering[traces]"',
        ) from error
    return Spans(settings, node, process, row)

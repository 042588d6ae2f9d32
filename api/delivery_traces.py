"""The front's part of the traces: from Redis to the clients of the live stream.

Every process of every front adds its own last step.
"""

from typing import Final

from api.feed import Event
from engine.traces import Step, Traces
from engine.types import Phase

_NS_PER_MS: Final = 1_000_000


class DeliveryTraces:
    """Adds the last step to the trace of a sighting; nothing where no traces are wanted."""

    def __init__(self, traces: Traces | None) -> None:
        self._traces = traces

    def delivered(self, event: Event, unix_ms: int) -> None:
        """Note that an event was sent to all who listen; only the first of a sighting has a trace.

        It begins where Redis took the event, by Redis's clock.
        """
        one = event.sighting
        if self._traces is None or one is None or one.phase is not Phase.PROVISIONAL:
            return
        step = Step("deliver", event.mark.ms * _NS_PER_MS, unix_ms * _NS_PER_MS)
        self._traces.add(one.id, None, (step,), {"platering.sighting": one.id})

    def close(self) -> None:
        """Send what waits, for a moment at most."""
        if self._traces is not None:
            self._traces.close()

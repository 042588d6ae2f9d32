"""What a sink is."""

from collections.abc import Sequence
from typing import Protocol

from engine.track import Event


class Sink(Protocol):
    """Takes batches of events to somewhere; used by one thread."""

    @property
    def name(self) -> str:
        """Names its place in the spool; never changes."""

    @property
    def connected(self) -> bool:
        """False before the first delivery and after a failed one.

        The next delivery then begins again with the oldest events held, so ``deliver`` must not
        mind repeats.
        """

    def deliver(self, events: Sequence[Event]) -> None:
        """Deliver events in their order; return when all have arrived.

        Raises:
            SinkError: not now; some may have arrived.
        """

    def close(self) -> None:
        """Let go of connections."""

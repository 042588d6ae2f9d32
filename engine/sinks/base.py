"""What a sink is."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import msgspec

from engine.errors import SinkError
from engine.retention import Kept
from engine.track import Event
from engine.types import CameraState


class RefusedEventsError(SinkError):
    """Some events of a delivery will never be taken; all others have arrived."""

    def __init__(self, refused: Sequence[tuple[Event, str]]) -> None:
        """Take the events and why each was refused."""
        super().__init__(f"refused for good: {refused[0][1]}")
        self.refused = tuple(refused)


class Sink(Protocol):
    """Takes batches of events to somewhere; used by one thread."""

    @property
    def name(self) -> str:
        """Names its place in the spool; never changes."""

    @property
    def connected(self) -> bool:
        """False before the first delivery and after a failed one.

        The next delivery then begins again with what was delivered in the last seconds, so
        ``deliver`` must not mind repeats. A server that keeps all that it acknowledged needs no
        such repeats: its sink is always connected.
        """

    def deliver(self, events: Sequence[Event]) -> None:
        """Deliver events in their order; return when all have arrived.

        Raises:
            SinkError: not now; some may have arrived.
            RefusedEventsError: some never, whatever is tried; the others have arrived.
        """

    def close(self) -> None:
        """Let go of connections."""


class ShowsCameras(Protocol):
    """Where a sink also says how the cameras are."""

    def show(self, states: Mapping[str, CameraState]) -> None:
        """Take the present state of every camera; never waits."""


class KeepsCameras(Protocol):
    """Where a camera's sightings are kept for a time of its own."""

    def keep(self, camera: str, kept: Kept) -> None:
        """Go by this from now on; never waits."""


class Tally(msgspec.Struct):
    """What a sink counts; written by its feeder's thread, read by the publisher's loop."""

    delivered: int = 0
    """Events it took."""
    dead_letters: int = 0
    """Events that it refused for good and that were put aside."""


class SinkPlan(msgspec.Struct, frozen=True):
    """A sink and how its feeder treats it."""

    sink: Sink
    batch: int
    """Events per delivery; an event waits until so many are there, or its time is over."""
    wait_s: float = 0.0
    """How long an event waits for others, at most."""
    longest_pause_s: float = 2.0
    """Between two attempts while the sink is away."""
    batch_under_load: int = 0
    """Events per delivery where more than a batch has gathered, at most; 0: as ever."""
    replay_per_s: float = 0.0
    """Events a second at most while a backlog is delivered; 0: as fast as it can."""
    formerly: tuple[str, ...] = ()
    """Other names by which its place in the spool may be known, from another configuration."""
    screen: ShowsCameras | None = None
    keeper: KeepsCameras | None = None
    tally: Tally = msgspec.field(default_factory=Tally)

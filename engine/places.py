"""The publisher's side of the feedback: tells every camera where its tracks are, and hears what
did not change there, so that a parked vehicle keeps its track although nobody reads it.
"""

from typing import Final

from engine.board import Board
from engine.feedback import PLACES, Feedback
from engine.track import Event
from engine.tracker import Tracker
from engine.types import Still, TrackPlace

_HEAR_EVERY_NS: Final = 400_000_000
"""What stands is written down so often at most."""


class Places:
    """The feedback of all cameras; one thread."""

    def __init__(self, board: Board, tracker: Tracker, max_gap_s: float) -> None:
        self._board = board
        self._tracker = tracker
        self._hear_every_ns = min(_HEAR_EVERY_NS, int(max_gap_s * 1e9 / 4))
        self._feedback: dict[str, Feedback] = {}
        self._told: dict[str, list[TrackPlace]] = {}
        self._heard: dict[tuple[str, int], Still] = {}

    def use_camera(self, camera: str, index: int) -> None:
        """Tell and hear a camera from now on, in the cell of this index."""
        if camera not in self._feedback:
            self._feedback[camera] = Feedback(self._board, index)
            self._told[camera] = []
            self._feedback[camera].tell_places(())

    def hear(self, clock_ns: int) -> list[Event]:
        """Let the tracker know what did not change; return what there is to tell of it."""
        events: list[Event] = []
        for camera, places in self._told.items():
            if not places:
                continue
            for still in self._feedback[camera].stills():
                before = self._heard.get((camera, still.key))
                since_ns = still.until_unix_ns - (before.until_unix_ns if before else 0)
                if since_ns < self._hear_every_ns:
                    continue
                self._heard[camera, still.key] = still
                known = before.frames if before and before.frames <= still.frames else 0
                news = Still(still.key, still.until_unix_ns, still.frames - known)
                events += self._tracker.unchanged(camera, news, clock_ns)
        return events

    def tell(self) -> None:
        """Say where the tracks are now, where that is news."""
        for camera, told in self._told.items():
            places = self._tracker.places(camera, PLACES)
            if places != told:
                self._feedback[camera].tell_places(places)
                self._told[camera] = places
                self._forget(camera, {place.key for place in places})

    def _forget(self, camera: str, keys: set[int]) -> None:
        """Let go of the tracks of a camera that are no more."""
        gone = [one for one in self._heard if one[0] == camera and one[1] not in keys]
        for one in gone:
            del self._heard[one]

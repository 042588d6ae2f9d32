"""The publisher's side of the feedback: tells every camera where its tracks are, and hears what
did not change there, so that a parked vehicle keeps its track although nobody reads it.
"""

from typing import Final

import msgspec

from engine.board import Board
from engine.feedback import PLACES, Feedback, StillNews
from engine.track import Event
from engine.tracker import Tracker
from engine.types import TrackPlace

_HEAR_EVERY_NS: Final = 400_000_000
"""What stands is written down so often at most."""


class _Camera(msgspec.Struct):
    """One camera's feedback, and what was told of it last."""

    feedback: Feedback
    news: StillNews
    told: list[TrackPlace] = []


class Places:
    """The feedback of all cameras; one thread."""

    def __init__(self, board: Board, tracker: Tracker, max_gap_s: float) -> None:
        self._board = board
        self._tracker = tracker
        self._hear_every_ns = hear_every_ns(max_gap_s)
        self._cameras: dict[str, _Camera] = {}

    def use_camera(self, name: str, index: int) -> None:
        """Tell and hear a camera from now on, in the cell of this index."""
        if name not in self._cameras:
            feedback = Feedback(self._board, index)
            feedback.tell_places(())
            self._cameras[name] = _Camera(feedback, StillNews(self._hear_every_ns))

    def hear(self, clock_ns: int) -> list[Event]:
        """Let the tracker know what did not change; return what there is to tell of it."""
        return [
            event
            for name, camera in self._cameras.items()
            if camera.told
            for still in camera.news.among(camera.feedback.stills())
            for event in self._tracker.unchanged(name, still, clock_ns)
        ]

    def tell(self) -> None:
        """Say where the tracks are now, where that is news."""
        for name, camera in self._cameras.items():
            places = self._tracker.places(name, PLACES)
            if places != camera.told:
                camera.feedback.tell_places(places)
                camera.told = places
                camera.news.keep({place.key for place in places})


def hear_every_ns(max_gap_s: float) -> int:
    """Return how often a track is heard of that must not end for want of news."""
    return min(_HEAR_EVERY_NS, int(max_gap_s * 1e9 / 4))

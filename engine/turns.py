"""How cameras turn: noted where status is asked for, and told to the publisher."""

from engine.board import Kind
from engine.children import ChildProcess
from engine.messages import TellCamera
from engine.plane import CameraPlace
from engine.roster import Roster
from engine.types import CameraState
from engine.uploads import upload_of


class CameraTurns:
    """Notes what every camera is doing, and has it told."""

    def __init__(self, roster: Roster, node: str) -> None:
        self._roster = roster
        self._node = node

    def turn(self, place: CameraPlace, state: CameraState, reason: str) -> None:
        """Note what a camera is doing now, and have it told."""
        place.turn(state, reason, self._node)
        self._tell(place)

    def tell_all(self) -> None:
        """Tell a new publisher the newest turn of every camera."""
        for place in self._roster.places:
            self._tell(place)

    def without_decoder(self, child: ChildProcess, why: str) -> None:
        """Note that nobody captures a camera now, by mishap or because it was told so."""
        place, state = self._roster.place_of(child), CameraState.LOST
        if not child.was_wanted:
            state = CameraState.ENDED
            why = "it was removed" if child.is_dismissed else "the engine was stopped"
        self.turn(place, state, why)

    def _tell(self, place: CameraPlace) -> None:
        """Have the newest turn of a camera told, unless another one has taken its name."""
        heir = self._roster.place_named(place.settings.name)
        is_upload = bool(upload_of(place.settings.name))
        if place.turned is not None and heir in {None, place} and not is_upload:
            (publisher,) = self._roster.of(Kind.PUBLISHER)
            publisher.send(TellCamera(event=place.turned))

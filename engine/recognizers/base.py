"""What every recognizer offers, whatever library or network stands behind it."""

from typing import Protocol, runtime_checkable

import msgspec

from engine.config import CameraOpenAlprSettings
from engine.types import Bgr, Box, Corners, Luma, PlateRead


class RecognizeHints(msgspec.Struct, frozen=True):
    """What a camera's settings say about the plates in its frames.

    ``regions`` are codes of ``engine.plates.region_codes()``, likeliest first; empty means any.
    ``topn`` bounds the candidates per read. ``areas`` are rectangles in frame pixels; where there
    are any, a plate counts only when its centre lies in one of them, and nothing else needs to be
    searched. ``known`` are places of plates whose text is certain already: a plate whose centre
    lies in one needs no reading. A recognizer that reads it all the same does no harm.
    ``openalpr`` is for OpenALPR only.
    """

    regions: tuple[str, ...] = ()
    topn: int = 5
    areas: tuple[Box, ...] = ()
    openalpr: CameraOpenAlprSettings = CameraOpenAlprSettings()
    known: tuple[Box, ...] = ()


NO_HINTS = RecognizeHints()
"""Any region, the whole frame, five candidates."""


class Recognizer(Protocol):
    """Finds and reads the plates of a frame; owned and called by one thread of one process."""

    @property
    def name(self) -> str:
        """The short name that reads carry, like ``builtin``."""

    @property
    def version(self) -> str:
        """The version of the library or of the weights."""

    def recognize(self, frame: Luma, hints: RecognizeHints = NO_HINTS) -> list[PlateRead]:
        """Return every plate read in the frame, the most confident first.

        frame: (H, W) uint8 luma; a view that is valid during the call only, perhaps read-only,
        its rows perhaps wider than W. It is neither written nor kept nor copied as a whole.
        Corners come back in its pixels. A frame without plates gives an empty list.

        Raises:
            RecognizerError: the library failed on this frame.
        """

    def close(self) -> None:
        """Free the library or networks; afterwards ``recognize`` must not be called."""


@runtime_checkable
class ColourReader(Protocol):
    """A recognizer that also takes colour as it lies in slots of ``bgr24``."""

    def recognize_colour(self, frame: Bgr, hints: RecognizeHints = NO_HINTS) -> list[PlateRead]:
        """Return every plate read in the frame; frame: (H, W, 3) uint8, all else as above."""


@runtime_checkable
class Locator(Protocol):
    """A recognizer that also tells of plates which it finds but cannot read."""

    def locate(self, frame: Luma) -> list[Corners]:
        """Return where plates are, legible or not, the likeliest first; frame: as above."""

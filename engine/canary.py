"""The canary: a drawn plate, sent so often through everything that a sighting passes, for metrics.

It is a camera of our own with a ring, a decoder, reads, a track and events like any other; its
misread plates are none, for its filter accepts its own pattern alone. It is taken out in two
places, each the last one possible: sinks besides Redis get none of its events, and Redis gets them
in the batches of all others, but in a stream of their own (``engine.store``), which the reader of
the live stream reads with it and gives to ``api.canary``. No list, index, counter, channel or
client ever sees them, watchlists do not mark them, and no metric of cameras or sightings counts
them; what counts all work alike (events stored, latencies of stages) does.
"""

from typing import Annotated, Final

from pydantic import AfterValidator, Field

from engine.section import Section
from engine.uploads import upload_of

CANARY: Final = "platering.canary"
"""Its name as a camera; no camera of the configuration may be named so."""
PATTERN: Final = "@@##@@@"
"""How its plates are written."""
SHORTEST_S: Final = 3.0
"""Between two canaries: the track of one is over before the next one comes."""


def _leaves_time(every_s: float) -> float:
    if 0 < every_s < SHORTEST_S:
        raise ValueError(f"must be 0 or at least {SHORTEST_S:g}")
    return every_s


class CanarySettings(Section):
    """The ``[canary]`` table."""

    every_s: Annotated[float, Field(ge=0, le=3_600), AfterValidator(_leaves_time)] = 0.0
    """0: there is none."""


def is_canary(camera: str) -> bool:
    """Tell whether a camera is the canary's."""
    return camera == CANARY


def is_hidden(camera: str) -> bool:
    """Tell whether a camera is no camera of the user's: an upload, or the canary's."""
    return is_canary(camera) or bool(upload_of(camera))

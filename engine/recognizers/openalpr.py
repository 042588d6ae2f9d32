"""OpenALPR behind our protocol: the slot's luma goes to the library by its address, uncopied.

With ``openalpr.detector = "builtin"`` our detector finds the plates and OpenALPR only reads them:
its own cascade takes 97 % of its time and misses more plates.

It searches frames at 1280x720 at most: larger ones are scaled down, wide ones to that width, others
to that height, which would leave a portrait frame of 1080x1920 only 405 pixels across. Portrait
frames are therefore allowed a height of 1280, unless openalpr.conf has a limit of its own. Areas
are cut out first, so what moves in a large frame is searched as it is.
"""

import logging
import re
import tempfile
import threading
import time
from pathlib import Path
from typing import Final, NamedTuple

import cv2
import msgspec
import numpy as np

from engine.config import OpenAlprSettings, Provider
from engine.errors import RecognizerError
from engine.recognizers.base import NO_HINTS, RecognizeHints
from engine.recognizers.builtin.detector import PlateDetector
from engine.recognizers.builtin.network import Network
from engine.recognizers.openalpr_library import (
    Area,
    FoundLibrary,
    Instance,
    Library,
    find_library,
    that_takes_areas,
)
from engine.recognizers.openalpr_reads import NAME, openalpr_countries, plate_reads
from engine.types import Bgr, Box, Luma, PlateRead, Point

_SEARCHED_BESIDE_AREAS: Final = 8
"""Beside an area a share of 1/8 of the frame's width is searched too: plates have a width."""

_LEAST_PROBABILITY: Final = 0.5
_MOST_PLATES: Final = 10
_BESIDE_PLATE: Final = (0.05, 0.1)
"""Shares of a plate's width and height that OpenALPR sees around a plate found by our detector."""

_DEFAULT_HEIGHT: Final = re.compile(r"max_detection_input_height\s*=\s*720\s*$")

_log = logging.getLogger(__name__)


class _Manner(NamedTuple):
    """How an instance reads; each manner needs one of its own."""

    countries: str
    default_region: str
    detect_region: bool
    prewarp: str
    portrait: bool


class OpenAlprRecognizer:
    """Finds and reads plates with OpenALPR, one instance per country, loaded when first needed.

    Further ones are for cameras with settings of their own, and for portrait frames.

    Belongs to the thread that made it. ``compacted`` counts the frames that had to be copied
    because their rows had gaps: OpenALPR knows no stride. Slots of a ring have none, so it stays 0
    there; a growing count means that somebody hands us cut-outs.
    """

    name: Final = NAME

    def __init__(
        self,
        settings: OpenAlprSettings,
        found: FoundLibrary | None = None,
        provider: Provider = "cpu",
    ) -> None:
        """Load the library and the country of the settings, so that what is wrong shows here.

        ``provider`` runs our detector, where the settings want it.

        Raises:
            RecognizerError: the library, its configuration, its runtime data or the country cannot
                be loaded; one sentence says which.
        """
        found = found or find_library(settings)
        if found is None:
            raise RecognizerError(
                "No OpenALPR library (libopenalprpy.so or libopenalpr.so.2) was found: "
                "install it or name it in openalpr.library."
            )
        self._detector: PlateDetector | None = None
        self.provider = provider
        if settings.detector == "builtin":
            found = that_takes_areas(found)
            network = Network("det.onnx", provider)
            self.provider = network.provider
            self._detector = PlateDetector(network)
        self._settings = settings
        self._library = Library(found)
        self._known = self._library.countries()
        self._instances: dict[_Manner, Instance] = {}
        self._refused: dict[_Manner, str] = {}
        """What did not load, and why: it would not at the next frame, either."""
        self._thread = threading.get_ident()
        self.version = self._instance(settings, settings.country, portrait=False).version()
        self.compacted = 0

    def recognize(self, frame: Luma, hints: RecognizeHints = NO_HINTS) -> list[PlateRead]:
        """Return every plate read in the frame, the most confident first.

        frame: (H, W) uint8 luma; a view that is valid during the call only, perhaps read-only. Its
        address is what the library gets; where its rows have gaps, see ``compacted``. With
        ``hints.areas`` only what is near them is searched.

        Raises:
            RecognizerError: the library failed on this frame, a country of the hints cannot be
                loaded, or another thread than the owner calls.
        """
        if threading.get_ident() != self._thread:
            raise RecognizerError("An OpenALPR recognizer was called by another thread.")
        if frame.size == 0:
            return []
        started_ns = time.perf_counter_ns()
        settings = self._settings.for_camera(hints.openalpr)
        countries = hints.openalpr.country or openalpr_countries(hints.regions, self._known)
        portrait = self._detector is None and frame.shape[0] > frame.shape[1]
        instance = self._instance(settings, countries or settings.country, portrait=portrait)
        instance.set_topn(max(settings.topn, hints.topn))
        if self._detector is None:
            found = self._search(instance, frame, hints)
        else:
            found = self._read_detected(self._detector, instance, frame, hints)
        elapsed_ms = (time.perf_counter_ns() - started_ns) / 1e6
        reads = [
            msgspec.structs.replace(read, elapsed_ms=elapsed_ms)
            for read in found
            if _is_within(read.box.center, hints.areas)
        ]
        return sorted(reads, key=lambda read: -read.confidence)

    def recognize_colour(self, frame: Bgr, hints: RecognizeHints = NO_HINTS) -> list[PlateRead]:
        """Return every plate read in the frame, whose address is what the library gets.

        frame: (H, W, 3) uint8 BGR, all else as of ``recognize``. Our detector wants luma: behind it
        the frame is converted.
        """
        if self._detector is not None:
            return self.recognize(np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY)), hints)
        return self.recognize(frame, hints)

    def close(self) -> None:
        """Free every instance; the library itself stays loaded until the process ends."""
        for instance in self._instances.values():
            instance.close()
        self._instances.clear()

    def _search(
        self, instance: Instance, frame: Luma | Bgr, hints: RecognizeHints
    ) -> list[PlateRead]:
        """Let OpenALPR find the plates, around the areas if there are any.

        ``libopenalprpy.so`` cannot be told an area: it gets all that is beside one, too.
        """
        height, width = frame.shape[:2]
        whole_rows = self._library.found.flavour == "openalprpy"
        reads: list[PlateRead] = []
        for left, top, right, bottom in _around(hints.areas, width, height, whole_rows=whole_rows):
            rows = self._without_gaps(frame[top:bottom])
            payload = instance.recognize(rows, Area(left, 0, right, bottom - top))
            shape = rows.shape[:2]
            reads += plate_reads(payload, shape, hints, country=instance.country, top=top)
        return reads

    def _read_detected(
        self, detector: PlateDetector, instance: Instance, frame: Luma, hints: RecognizeHints
    ) -> list[PlateRead]:
        """Find the plates with our detector and let OpenALPR read them where they are.

        The library gets the whole frame with the plate as its area, not a cut-out: it straightens
        the plate with the pixels around it, and reads fewer plates right without them.
        """
        found = [
            near
            for detection in detector.detect(frame, _LEAST_PROBABILITY, _MOST_PLATES)
            if (near := detector.focus(frame, detection, looks=2)) is not None
            and _is_within(
                (float(near.quad[:, 0].mean()), float(near.quad[:, 1].mean())), hints.areas
            )
        ]
        height, width = frame.shape
        reads: list[PlateRead] = []
        rows = self._without_gaps(frame) if found else frame
        for near in found:
            (left, top), (right, bottom) = near.quad.min(axis=0), near.quad.max(axis=0)
            across, down = _BESIDE_PLATE[0] * (right - left), _BESIDE_PLATE[1] * (bottom - top)
            area = Area(
                max(0, int(left - across)),
                max(0, int(top - down)),
                min(width, int(right + across) + 1),
                min(height, int(bottom + down) + 1),
            )
            if area.left < area.right and area.top < area.bottom:
                payload = instance.recognize(rows, area)
                reads += plate_reads(payload, rows.shape, hints, country=instance.country)
        return reads

    def _without_gaps(self, rows: Luma) -> Luma:
        """Return the rows themselves, or a counted copy where bytes lie between them."""
        if rows.flags.c_contiguous:
            return rows
        self.compacted += 1
        return np.ascontiguousarray(rows)

    def _instance(self, settings: OpenAlprSettings, countries: str, *, portrait: bool) -> Instance:
        """Return the instance for some countries and settings, loaded at its first frame."""
        manner = _Manner(
            countries, settings.default_region, settings.detect_region, settings.prewarp, portrait
        )
        if manner in self._refused:
            raise RecognizerError(self._refused[manner])
        if manner not in self._instances:
            _log.debug("loading OpenALPR's country %s", countries)
            try:
                self._instances[manner] = self._open(settings, countries, portrait=portrait)
            except RecognizerError as error:
                self._refused[manner] = str(error)
                raise
        return self._instances[manner]

    def _open(self, settings: OpenAlprSettings, countries: str, *, portrait: bool) -> Instance:
        """Open an instance; what is special is told by a configuration file of its own.

        The last line about a key counts, so a limit of the user's own stays.
        """
        if self._detector is not None:
            special, replaced = "skip_detection = 1", re.compile(r"skip_detection\b")
        elif portrait:
            special, replaced = "max_detection_input_height = 1280", _DEFAULT_HEIGHT
        else:
            return Instance(self._library, countries, settings)
        text = Path(self._library.found.config).read_text(
            encoding="utf-8", errors="surrogateescape"
        )
        lines = [line for line in text.splitlines() if not replaced.match(line)]
        with tempfile.NamedTemporaryFile(
            "w", prefix="platering-", suffix=".conf", encoding="utf-8", errors="surrogateescape"
        ) as file:  # the library reads it while it opens, and never again
            file.write("\n".join([special, *lines, ""]))
            file.flush()
            return Instance(self._library, countries, settings, config=file.name)


def _around(areas: tuple[Box, ...], width: int, height: int, *, whole_rows: bool) -> list[Area]:
    """Return what to search for plates in the areas: they and their surroundings, none twice.

    Without areas that is the whole frame; with areas that are all outside of it, nothing.
    """
    if not areas:
        return [Area(0, 0, width, height)]
    margin = width // _SEARCHED_BESIDE_AREAS
    apart: list[Area] = []
    for area in areas:
        around = Area(
            max(0, int(area.x) - margin),
            max(0, int(area.y) - margin),
            min(width, int(area.x + area.width) + 1 + margin),
            min(height, int(area.y + area.height) + 1 + margin),
        )
        if around.left < around.right and around.top < around.bottom:
            _join(apart, around._replace(left=0, right=width) if whole_rows else around)
    return apart


def _join(apart: list[Area], area: Area) -> None:
    """Add an area to those that do not overlap, as one with all that it overlaps."""
    for index, other in enumerate(apart):
        (left, top, right, bottom), (near, high, far, low) = area, other
        if left < far and near < right and top < low and high < bottom:
            del apart[index]
            both = Area(min(left, near), min(top, high), max(right, far), max(bottom, low))
            _join(apart, both)
            return
    apart.append(area)


def _is_within(middle: Point, areas: tuple[Box, ...]) -> bool:
    """Tell whether the middle of a plate lies in one of the areas, or there are none."""
    x, y = middle
    return not areas or any(
        area.x <= x < area.x + area.width and area.y <= y < area.y + area.height for area in areas
    )

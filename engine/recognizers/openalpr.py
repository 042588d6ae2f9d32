"""OpenALPR behind our protocol: the slot's luma goes to the library by its address, uncopied."""

import logging
import threading
from collections.abc import Sequence
from typing import Final

import msgspec
import numpy as np

from engine.config import OpenAlprSettings
from engine.errors import RecognizerError
from engine.plates import matching_regions, normalise, regions_of
from engine.recognizers.base import NO_HINTS, RecognizeHints
from engine.recognizers.openalpr_library import (
    FoundLibrary,
    Instance,
    Library,
    find_library,
)
from engine.types import Box, Candidate, Corners, Luma, PlateRead

NAME: Final = "openalpr"

_COUNTRY_OF: Final = {
    "au": "au", "nz": "au", "br": "br", "gb": "gb", "in": "in", "kr": "kr", "mx": "mx",
    "sg": "sg", "us": "us", "ca": "us", "vn": "vn2",
}  # fmt: skip
"""OpenALPR's country for ours where it is none of its ``eu``."""

_SEARCHED_BESIDE_AREAS: Final = 8
"""Beside an area a share of 1/8 of the frame's width is searched too: plates have a width."""

_log = logging.getLogger(__name__)


class _Point(msgspec.Struct, frozen=True):
    x: float
    y: float


class _Text(msgspec.Struct, frozen=True):
    plate: str
    confidence: float


class _Result(msgspec.Struct, frozen=True):
    plate: str
    confidence: float
    coordinates: tuple[_Point, _Point, _Point, _Point]
    candidates: tuple[_Text, ...] = ()
    region: str = ""
    region_confidence: float = 0.0
    matches_template: float = 0.0


class _Results(msgspec.Struct, frozen=True):
    img_width: int
    img_height: int
    processing_time_ms: float = 0.0
    results: tuple[_Result, ...] = ()


_decoder: Final = msgspec.json.Decoder(_Results)


class OpenAlprRecognizer:
    """Finds and reads plates with OpenALPR, one instance per country, loaded when first needed.

    Belongs to the thread that made it. ``compacted`` counts the frames that had to be copied
    because their rows had gaps: OpenALPR knows no stride. Slots of a ring have none, so it stays 0
    there; a growing count means that somebody hands us cut-outs.
    """

    name: Final = NAME

    def __init__(self, settings: OpenAlprSettings, found: FoundLibrary | None = None) -> None:
        """Load the library and the country of the settings, so that what is wrong shows here.

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
        if settings.detector != "openalpr":
            raise RecognizerError("openalpr.detector: only 'openalpr' is there so far.")
        self._settings = settings
        self._library = Library(found)
        self._known = self._library.countries()
        self._instances: dict[str, Instance] = {}
        self._thread = threading.get_ident()
        self.version = self._instance(settings.country).version()
        self.compacted = 0

    def recognize(self, frame: Luma, hints: RecognizeHints = NO_HINTS) -> list[PlateRead]:
        """Return every plate read in the frame, the most confident first.

        frame: (H, W) uint8 luma; a view that is valid during the call only, perhaps read-only. Its
        address is what the library gets; where its rows have gaps, see ``compacted``. With
        ``hints.areas`` only rows near them are searched.

        Raises:
            RecognizerError: the library failed on this frame, a country of the hints cannot be
                loaded, or another thread than the owner calls.
        """
        if threading.get_ident() != self._thread:
            raise RecognizerError("An OpenALPR recognizer was called by another thread.")
        height, width = frame.shape
        searched = _searched(hints.areas, width, height)
        if searched is None:
            return []
        left, top, right, bottom = searched
        rows = frame[top:bottom]
        if rows.strides != (width, 1):
            rows = np.ascontiguousarray(rows)
            self.compacted += 1
        instance = self._instance(openalpr_countries(hints.regions, self._known) or self._country)
        instance.set_topn(max(self._settings.topn, hints.topn))
        payload = instance.recognize(rows, left, right)
        reads = plate_reads(payload, rows.shape, hints, country=instance.country, top=top)
        return [read for read in reads if _counts(read, hints.areas)]

    def close(self) -> None:
        """Free every instance; the library itself stays loaded until the process ends."""
        for instance in self._instances.values():
            instance.close()
        self._instances.clear()

    @property
    def _country(self) -> str:
        """The country of the settings, for frames without regions or with unknown ones."""
        return self._settings.country

    def _instance(self, country: str) -> Instance:
        """Return the instance for a country, loaded at its first frame."""
        if country not in self._instances:
            _log.debug("loading OpenALPR's country %s", country)
            self._instances[country] = Instance(self._library, country, self._settings)
        return self._instances[country]


def openalpr_countries(regions: Sequence[str], known: frozenset[str]) -> str:
    """Return OpenALPR's countries for region codes, commas between, likeliest first.

    ``known`` are the countries of the runtime data; others are left out, and where ``known`` is
    empty none is. Empty when no region has a country: the caller takes its default.
    """
    countries: dict[str, None] = {}
    for code in regions:
        ours = code.partition("-")[0]
        members = regions_of(ours)
        alone = members[0] if len(members) == 1 else ours  # "uk" is another name of "gb"
        theirs = _COUNTRY_OF.get(alone, "eu" if _is_european(alone) else "")
        if theirs and (not known or theirs in known):
            countries[theirs] = None
    return ",".join(countries)


def _is_european(code: str) -> bool:
    """Tell whether OpenALPR's ``eu`` covers a region: the union, its members, its neighbours."""
    neighbours = {"ru", "rs", "tr", "ua"}
    return code == "eu" or code in neighbours or code in regions_of("eu")


def plate_reads(
    payload: bytes,
    shape: tuple[int, ...],
    hints: RecognizeHints = NO_HINTS,
    *,
    country: str = "eu",
    top: int = 0,
) -> list[PlateRead]:
    """Turn OpenALPR's ``alpr_results`` JSON into reads, the most confident first.

    ``shape`` is the (height, width) that was handed to the library, ``top`` the first row of it in
    the frame. A read's time is that of the whole frame, as the library measured it.

    Raises:
        RecognizerError: the JSON is malformed, or is about no picture of this shape: that is how
            the library answers when it failed inside.
    """
    try:
        results = _decoder.decode(payload)
    except msgspec.MsgspecError as error:
        raise RecognizerError(f"OpenALPR's result cannot be read: {error}.") from error
    if (results.img_height, results.img_width) != shape:
        raise RecognizerError("OpenALPR failed on this frame; its own message is on stderr.")
    reads = [
        _plate_read(result, hints, country, top, results.processing_time_ms)
        for result in results.results
    ]
    return sorted(filter(None, reads), key=lambda read: -read.confidence)


def _plate_read(
    result: _Result, hints: RecognizeHints, country: str, top: int, elapsed_ms: float
) -> PlateRead | None:
    """Turn one result into a read; None where no letter or digit is left of its text."""
    candidates = _ordered(result, hints.regions)[: max(hints.topn, 1)]
    if not candidates:
        return None
    best = candidates[0]
    one, two, three, four = ((point.x, point.y + top) for point in result.coordinates)
    corners: Corners = (one, two, three, four)  # clockwise from the top left, as the library does
    return PlateRead(
        plate=best.plate,
        confidence=best.confidence,
        candidates=candidates,
        corners=corners,
        region=_region(result, best.plate, hints.regions, country),
        recognizer=NAME,
        elapsed_ms=elapsed_ms,
    )


def _ordered(result: _Result, regions: tuple[str, ...]) -> tuple[Candidate, ...]:
    """Return the candidates with the chosen one first, the others as the library ranks them.

    The library takes the first candidate that matches the pattern of its default region, but its
    own patterns of Brazil are those of states, so the plain ``@@@####`` never matches. Where a
    camera's regions are known we therefore choose in the same way by the patterns of those.
    """
    first = _Text(result.plate, result.confidence)
    confidences: dict[str, float] = {}
    for text in (first, *result.candidates):
        plate = normalise(text.plate)
        if plate:
            confidences.setdefault(plate, min(100.0, max(0.0, text.confidence)))
    ordered = [Candidate(plate, confidence) for plate, confidence in confidences.items()]
    if regions:
        ordered.sort(key=lambda candidate: not matching_regions(candidate.plate, regions))
    return (*ordered[:1], *sorted(ordered[1:], key=lambda candidate: -candidate.confidence))


def _region(result: _Result, plate: str, regions: tuple[str, ...], country: str) -> str:
    """Return the region of a plate: what the library recognized, else what its pattern says.

    The library repeats its default region for every plate; it counts only when the text matches.
    """
    if result.region and (result.region_confidence > 0 or result.matches_template):
        if country == "eu" or result.region in country.split(","):
            return result.region
        if "," not in country:  # a state; of several countries the result does not say which
            return f"{country.rstrip('2')}-{result.region}"
    return next(iter(matching_regions(plate, regions)), "") if regions else ""


def _searched(areas: tuple[Box, ...], width: int, height: int) -> tuple[int, int, int, int] | None:
    """Return (left, top, right, bottom) of what to search, or None when no area is in the frame.

    One rectangle around all areas and their surroundings: each call costs the library its set-up,
    and its interface takes one area only.
    """
    if not areas:
        return 0, 0, width, height
    margin = width // _SEARCHED_BESIDE_AREAS
    left = max(0, int(min(area.x for area in areas)) - margin)
    top = max(0, int(min(area.y for area in areas)) - margin)
    right = min(width, int(max(area.x + area.width for area in areas)) + 1 + margin)
    bottom = min(height, int(max(area.y + area.height for area in areas)) + 1 + margin)
    return (left, top, right, bottom) if left < right and top < bottom else None


def _counts(read: PlateRead, areas: tuple[Box, ...]) -> bool:
    """Tell whether the middle of a plate lies in one of the areas, or there are none."""
    x, y = read.box.center
    return not areas or any(
        area.x <= x < area.x + area.width and area.y <= y < area.y + area.height for area in areas
    )

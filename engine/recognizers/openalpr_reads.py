"""OpenALPR's words and ours: its countries for our regions, its JSON as plate reads."""

from collections.abc import Sequence
from typing import Final

import msgspec

from engine.errors import RecognizerError
from engine.plates import matching_regions, normalise, regions_of
from engine.recognizers.base import NO_HINTS, RecognizeHints
from engine.sink_settings import plate_pattern
from engine.types import Candidate, Corners, PlateRead

NAME: Final = "openalpr"

_COUNTRY_OF: Final = {
    "au": "au", "nz": "au", "br": "br", "gb": "gb", "in": "in", "kr": "kr", "mx": "mx",
    "sg": "sg", "us": "us", "ca": "us", "vn": "vn2",
}  # fmt: skip
"""OpenALPR's country for ours where it is none of its ``eu``."""


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
    candidates = _ordered(result, hints)[: max(hints.topn, 1)]
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


def _ordered(result: _Result, hints: RecognizeHints) -> tuple[Candidate, ...]:
    """Return the candidates with the chosen one first, the others as the library ranks them.

    The library takes the first candidate that matches the pattern of its default region, but its
    own patterns of Brazil are those of states, so the plain ``@@@####`` never matches. Where a
    camera's patterns or regions are known we therefore choose in the same way by those.
    """
    first = _Text(result.plate, result.confidence)
    confidences: dict[str, float] = {}
    for text in (first, *result.candidates):
        plate = normalise(text.plate)
        if plate:
            confidences.setdefault(plate, min(100.0, max(0.0, text.confidence)))
    ordered = [Candidate(plate, confidence) for plate, confidence in confidences.items()]
    if hints.openalpr.patterns:
        patterns = [plate_pattern(pattern) for pattern in hints.openalpr.patterns]
        ordered.sort(key=lambda found: not any(each.matches(found.plate) for each in patterns))
    elif hints.regions:
        ordered.sort(key=lambda found: not matching_regions(found.plate, hints.regions))
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

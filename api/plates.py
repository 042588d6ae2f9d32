"""Sightings over REST: search, export, one of them, its pictures and its clip."""

import csv
import io
from collections.abc import Callable, Iterator
from enum import StrEnum
from typing import Annotated, Any, Final

import msgspec
from flask import Blueprint, Response, request
from msgspec import Meta

from api.endpoints import endpoint
from api.problems import ProblemError
from engine.scopes import Scope
from engine.search import Match, Place, Question, Search, plate_asked_for
from engine.store import Store
from engine.types import Phase, Sighting

MATROSKA_MAGIC: Final = b"\x1a\x45\xdf\xa3"
MOST: Final = 500
DEFAULT: Final = 50
LAST_MS: Final = 253_402_300_799_999
"""The end of the year 9999."""
COLUMNS: Final = (
    *("id", "plate", "read_as", "confidence", "region", "camera", "node", "phase", "revision"),
    *("first_unix_ms", "last_unix_ms", "best_unix_ms", "direction_deg", "parked", "origin"),
    *("group", "recognizer"),
)
"""Of the CSV; ``lists`` follows them."""
_FORMULAS: Final = ("=", "+", "-", "@", "\t", "\r")
"""How text begins that a spreadsheet may take for a formula."""

Milliseconds = Annotated[int, Meta(ge=0, le=LAST_MS)]
Word = Annotated[str, Meta(max_length=64)]


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """Which sightings a search or an export asks for."""

    plate: Annotated[
        str, Meta(max_length=64, description="As typed: case, spaces and dashes count for nothing.")
    ] = ""
    match: Annotated[
        Match | None,
        Meta(
            description="How close; left out: wildcard where plate has * or ?, else exact. "
            "Plates that are stored as hashes are found by exact alone."
        ),
    ] = None
    camera: Word = ""
    list: Annotated[str, Meta(max_length=64, description="A watchlist that it met.")] = ""
    region: Annotated[str, Meta(max_length=64, description="us finds us-ma, too.")] = ""
    before: Annotated[
        Milliseconds, Meta(description="First seen before (unix_ms), this moment not included.")
    ] = LAST_MS
    after: Annotated[
        Milliseconds, Meta(description="First seen after (unix_ms), this moment included.")
    ] = 0
    min_confidence: Annotated[float, Meta(ge=0, le=100)] = 0.0
    phase: Phase | None = None

    def question(self) -> Question:
        """Return it as the search takes it.

        Raises:
            ProblemError: the plate has no letter or digit.
        """
        joker = not {"*", "?"}.isdisjoint(self.plate)
        match = self.match or (Match.WILDCARD if joker else Match.EXACT)
        plate = plate_asked_for(self.plate, match)
        if self.plate and not plate:
            raise ProblemError(400, "holds no letter or digit", field="plate")
        return Question(
            plate=plate,
            match=match,
            camera=self.camera,
            list=self.list,
            region=self.region.lower(),
            before_unix_ms=self.before,
            after_unix_ms=self.after,
            min_confidence=self.min_confidence,
            phase=self.phase,
        )


class WantedPage(Wanted, frozen=True, kw_only=True):
    """A page of sightings, and where it begins."""

    limit: Annotated[int, Meta(ge=1, le=MOST)] = DEFAULT
    cursor: Annotated[str, Meta(max_length=256, description="next of the page before.")] = ""

    def place(self) -> Place | None:
        """Return where the page before ended, None for the first page.

        Raises:
            ProblemError: that is no cursor.
        """
        try:
            return Place.parse(self.cursor) if self.cursor else None
        except ValueError as error:
            raise ProblemError(400, str(error), field="cursor") from error


class Format(StrEnum):
    """How sightings are written down."""

    CSV = "csv"
    JSONL = "jsonl"


class WantedFile(Wanted, frozen=True, kw_only=True):
    """An export, and its form."""

    format: Annotated[
        Format, Meta(description="CSV, or one sighting as JSON a line, with all it has.")
    ] = Format.CSV


class SightingPage(msgspec.Struct, frozen=True):
    """Sightings, newest first.

    ``next`` is the cursor of the page that follows, empty at the end. A page may have fewer
    sightings than its limit, even none, before that: where few of many are asked for.
    """

    sightings: list[Sighting]
    next: str = ""


def blueprint(store: Store) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("sightings", __name__)
    search = Search(store)

    @routes.get("/api/v1/sightings")
    @endpoint(needs=Scope.READ, query=WantedPage, answers=SightingPage)
    def sightings(query: WantedPage) -> SightingPage:
        """The newest sightings, all or those that are asked for."""
        page = search.page(query.question(), query.limit, query.place())
        return SightingPage(page.sightings, str(page.end or ""))

    @routes.get("/api/v1/sightings/export")
    @endpoint(needs=Scope.READ, query=WantedFile, answers=("text/csv", "application/x-ndjson"))
    def export(query: WantedFile) -> Response:
        """All sightings that are asked for as one file, newest first, sent as they are found."""
        portions = search.all(query.question())
        # the first one now, so that an absent Redis is a problem and no broken file
        first = next(portions, [])
        write, media_type = _WRITERS[query.format]
        response = Response(write(_joined(first, portions)), mimetype=media_type)
        name = f"sightings.{query.format.value}"
        response.headers.set("Content-Disposition", "attachment", filename=name)
        return response

    @routes.get("/api/v1/sightings/<sighting_id>")
    @endpoint(needs=Scope.READ, answers=Sighting)
    def one(sighting_id: str) -> Sighting:
        """One sighting in its newest revision."""
        return known(store, sighting_id)

    _add_evidence(routes, store)
    return routes


def _add_evidence(routes: Blueprint, store: Store) -> None:
    """Add the routes of what was seen."""

    @routes.get("/api/v1/sightings/<sighting_id>/clip")
    @endpoint(needs=Scope.READ, answers=("video/mp4", "video/x-matroska"))
    def clip(sighting_id: str) -> Response:
        """A sighting's clip of video, whole or in ranges, as players ask for it."""
        video = store.clip(sighting_id)
        if not video:
            raise ProblemError(404, "there is no clip, or it has been kept long enough")
        kind = "video/x-matroska" if video.startswith(MATROSKA_MAGIC) else "video/mp4"
        response = Response(video, mimetype=kind)
        response.cache_control.private = True
        response.cache_control.max_age = 3_600
        response.make_conditional(request, accept_ranges=True, complete_length=len(video))
        return response

    @routes.get("/api/v1/sightings/<sighting_id>/<any(crop, frame):what>.jpg")
    @endpoint(needs=Scope.READ, answers="image/jpeg")
    def picture(sighting_id: str, what: str) -> Response:
        """A sighting's picture: the plate's crop, or the frame in which it was read best."""
        evidence = store.evidence(sighting_id)
        found = evidence.crop_jpeg if what == "crop" else evidence.frame_jpeg
        if not found:
            raise ProblemError(404, "there is no such picture, or it has been kept long enough")
        response = Response(found, mimetype="image/jpeg")
        if "r" in request.args:  # the page names the revision: that picture never changes
            response.cache_control.private = True
            response.cache_control.max_age = 3_600
        return response


def known(store: Store, sighting_id: str) -> Sighting:
    """Return a sighting.

    Raises:
        ProblemError: there is none of this id.
        SinkError: Redis is away.
    """
    sighting = store.get(sighting_id)
    if sighting is None:
        raise ProblemError(404, "there is no sighting of this id")
    return sighting


def _joined(first: list[Sighting], rest: Iterator[list[Sighting]]) -> Iterator[list[Sighting]]:
    yield first
    yield from rest


def _csv(portions: Iterator[list[Sighting]]) -> Iterator[bytes]:
    """Yield lines of CSV, the names of its columns first."""
    text = io.StringIO()
    rows = csv.writer(text)
    rows.writerow((*COLUMNS, "lists"))
    for portion in portions:
        for one in portion:
            rows.writerow((*_row(one), " ".join(hit.list for hit in one.hits)))
        yield text.getvalue().encode()
        text.seek(0)
        text.truncate()


def _row(sighting: Sighting) -> Iterator[Any]:
    """Yield a sighting's columns; no cell begins like a formula of a spreadsheet."""
    for name in COLUMNS:
        value = getattr(sighting, name)
        formula = isinstance(value, str) and value.startswith(_FORMULAS)
        yield f"'{value}" if formula else value


def _json_lines(portions: Iterator[list[Sighting]]) -> Iterator[bytes]:
    """Yield lines of JSON."""
    for portion in portions:
        yield b"".join(msgspec.json.encode(one) + b"\n" for one in portion)


_WRITERS: Final[dict[Format, tuple[Callable[[Iterator[list[Sighting]]], Iterator[bytes]], str]]] = {
    Format.CSV: (_csv, "text/csv"),
    Format.JSONL: (_json_lines, "application/x-ndjson"),
}

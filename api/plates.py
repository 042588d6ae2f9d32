"""Sightings over REST: the latest, a simple search, one of them, its pictures and its clip."""

from typing import Final

import msgspec
from flask import Blueprint, Response, request

from api.endpoints import endpoint
from api.problems import ProblemError
from engine.plates import normalise
from engine.scopes import Scope
from engine.store import Store
from engine.types import Sighting

MATROSKA_MAGIC: Final = b"\x1a\x45\xdf\xa3"
MOST: int = 500
DEFAULT: int = 50
SEARCHED: int = 5_000
"""How many of a plate's or camera's newest sightings a search looks at."""


class SightingPage(msgspec.Struct, frozen=True):
    """Sightings, newest first; ``next`` is what ``before`` takes to go on, empty at the end."""

    sightings: list[Sighting]
    next: str = ""


class Query(msgspec.Struct, frozen=True, kw_only=True):
    """What a search asks for."""

    plate: str
    camera: str
    before_unix_ms: int | None
    after_unix_ms: int | None
    limit: int

    def wants(self, sighting: Sighting) -> bool:
        """Tell whether a sighting is asked for."""
        at_ms = sighting.first_unix_ms
        return (
            (not self.plate or sighting.plate == self.plate)
            and (not self.camera or sighting.camera == self.camera)
            and (self.before_unix_ms is None or at_ms < self.before_unix_ms)
            and (self.after_unix_ms is None or at_ms >= self.after_unix_ms)
        )


def _number(name: str, least: int, most: int) -> int | None:
    """Return a whole number of the query string, None when it is absent."""
    text = request.args.get(name)
    if text is None:
        return None
    if not text.isascii() or not text.isdigit() or not least <= int(text[:20]) <= most:
        raise ProblemError(400, f"is a whole number from {least} to {most}", field=name)
    return int(text)


def _query() -> Query:
    """Read the query string."""
    typed = request.args.get("plate", "")
    plate = normalise(typed[:64])
    if typed and not plate:
        raise ProblemError(400, "holds no letter or digit", field="plate")
    return Query(
        plate=plate,
        camera=request.args.get("camera", ""),
        before_unix_ms=_number("before", 0, 1 << 53),
        after_unix_ms=_number("after", 0, 1 << 53),
        limit=_number("limit", 1, MOST) or DEFAULT,
    )


def search(store: Store, query: Query) -> SightingPage:
    """Return the newest sightings that a query asks for.

    Raises:
        SinkError: Redis is away.
    """
    narrowed = query.before_unix_ms is not None or query.after_unix_ms is not None
    count = SEARCHED if narrowed or (query.plate and query.camera) else query.limit + 1
    if query.plate:
        found = store.by_plate(query.plate, count)
    elif query.camera:
        found = store.by_camera(query.camera, count)
    else:
        found = store.latest(count)
    chosen = [sighting for sighting in found if query.wants(sighting)]
    page = chosen[: query.limit]
    more = len(chosen) > len(page)
    return SightingPage(page, str(page[-1].first_unix_ms) if more else "")


def blueprint(store: Store) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("plates", __name__)

    def known(sighting_id: str) -> Sighting:
        sighting = store.get(sighting_id)
        if sighting is None:
            raise ProblemError(404, "there is no sighting of this id")
        return sighting

    @routes.get("/api/v1/sightings")
    @endpoint(needs=Scope.READ)
    def sightings() -> Response:
        """The newest sightings, all or those of a plate, a camera or a time."""
        page = search(store, _query())
        return Response(msgspec.json.encode(page), mimetype="application/json")

    @routes.get("/api/v1/sightings/<sighting_id>")
    @endpoint(needs=Scope.READ)
    def one(sighting_id: str) -> Response:
        """One sighting in its newest revision."""
        return Response(msgspec.json.encode(known(sighting_id)), mimetype="application/json")

    @routes.get("/api/v1/sightings/<sighting_id>/clip")
    @endpoint(needs=Scope.READ)
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
    @endpoint(needs=Scope.READ)
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

    return routes

"""Corrections by hand over REST: who corrected what of a sighting, and a new one."""

import time
from typing import Annotated

import msgspec
from flask import Blueprint, g
from msgspec import Meta

from api.endpoints import endpoint
from api.plates import known
from api.problems import ProblemError
from engine.corrections import Corrector
from engine.errors import CorrectionError
from engine.plates import normalise
from engine.scopes import Scope
from engine.store import Store
from engine.types import Correction, Sighting

MOST_CHARACTERS = 16
"""Of a plate."""


class NewCorrection(msgspec.Struct, frozen=True):
    """What the plate really is."""

    plate: Annotated[str, Meta(min_length=1, max_length=64)]
    note: Annotated[str, Meta(max_length=500)] = ""


class CorrectionList(msgspec.Struct, frozen=True):
    """What was corrected of a sighting, the first one first."""

    corrections: list[Correction]


def blueprint(store: Store, corrector: Corrector) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("corrections", __name__)

    @routes.get("/api/v1/sightings/<sighting_id>/corrections")
    @endpoint(needs=Scope.READ, answers=CorrectionList)
    def corrections(sighting_id: str) -> CorrectionList:
        """What was corrected of a sighting by hand, when and by whom."""
        known(store, sighting_id)
        return CorrectionList(store.corrections(sighting_id))

    @routes.post("/api/v1/sightings/<sighting_id>/corrections")
    @endpoint(needs=Scope.OPERATE, body=NewCorrection, answers=Sighting)
    def correct(sighting_id: str, body: NewCorrection) -> Sighting:
        """Correct the plate of a sighting; what was read stays in read_as.

        From then on it is found under the corrected plate, and the live events tell of it.
        """
        plate = normalise(body.plate)
        if not 0 < len(plate) <= MOST_CHARACTERS:
            wanted = f"is no plate of 1 to {MOST_CHARACTERS} letters and digits"
            raise ProblemError(400, wanted, field="plate")
        given = Correction(
            plate=plate,
            before="",
            note=body.note,
            by=g.get("actor", "local"),
            unix_ms=time.time_ns() // 1_000_000,
            revision=0,
        )
        try:
            corrected = corrector.correct(sighting_id, given)
        except CorrectionError as error:
            raise ProblemError(409, str(error)) from error
        return known(store, sighting_id) if corrected is None else corrected

    return routes

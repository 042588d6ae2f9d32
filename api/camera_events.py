"""How cameras turn, live: a reader of the camera log tells the hub's clients that want to hear."""

import logging
from typing import Final

import gevent
import msgspec
from flask import Blueprint, Response, request

from api.endpoints import endpoint
from api.hub import Hub
from api.problems import ProblemError
from engine.errors import SinkError
from engine.scopes import Scope
from engine.store import Store
from engine.types import CameraEvent

MOST: Final = 1_000
DEFAULT: Final = 100
BATCH: Final = 100
BLOCK_MS: Final = 500
RETRY_S: Final = 1.0

log = logging.getLogger(__name__)


class CameraEventList(msgspec.Struct, frozen=True):
    """The answer of ``/api/v1/cameras/events``, the newest first."""

    events: list[CameraEvent]


class CameraEvents:
    """Tails the camera log for as long as the process runs."""

    def __init__(self, store: Store, hub: Hub) -> None:
        self._store, self._hub = store, hub

    def run(self) -> None:
        """Tell what comes from now on; Redis may come and go."""
        position = ""
        while not self._hub.closing:
            try:
                position = position or self._store.camera_events_end()
                position, turns = self._store.camera_events_after(position, BLOCK_MS, BATCH)
            except SinkError:  # the hub's own reader says so
                gevent.sleep(RETRY_S)
                continue
            for event in turns:
                payload = b"event: camera\ndata: %b\n\n" % msgspec.json.encode(event)
                self._hub.tell_camera(event.camera, payload)


def blueprint(store: Store) -> Blueprint:
    """Return the route of this room."""
    routes = Blueprint("camera_events", __name__)

    @routes.get("/api/v1/cameras/events")
    @endpoint(needs=Scope.READ)
    def camera_events() -> Response:
        """How cameras turned, the newest first; ``limit`` of them."""
        text = request.args.get("limit", str(DEFAULT))
        if not text.isascii() or not text.isdigit() or not 1 <= int(text[:9]) <= MOST:
            raise ProblemError(400, f"is a whole number from 1 to {MOST}", field="limit")
        found = CameraEventList(store.camera_events(int(text)))
        return Response(msgspec.json.encode(found), mimetype="application/json")

    return routes

"""Orders about cameras while the engine runs: add, change, remove, pause, resume.

They go over the supervisor's control socket, like those of ``platering cameras``, and are kept for
the next start. A camera is ordered about at the machine that it is connected to.
"""

import re
from typing import Any, Final

from flask import Blueprint

from api.cameras import NO_CAMERA, CameraRoom, CameraView
from api.endpoints import endpoint
from api.engine_link import EngineLink
from api.problems import ProblemError
from engine.errors import ControlError, EngineAwayError
from engine.scopes import Scope

_WRONG_KEY: Final = re.compile(r"cameras(?:\[0\])?\.?(?P<key>[\w.\[\]]*): ", re.ASCII)
"""How the supervisor begins what it says of a wrong setting."""


class CameraOrders:
    """Has the supervisor do what is asked for."""

    def __init__(self, room: CameraRoom, engine: EngineLink) -> None:
        self._room = room
        self._engine = engine

    def known(self, name: str) -> CameraView:
        """Return a camera of this machine.

        Raises:
            ProblemError: there is none of this name, or it is another machine's.
        """
        own = self._room.own()
        for camera in own.cameras:
            if camera.name == name:
                return camera
        others = [camera for camera in self._room.all().cameras if camera.name == name]
        if others:
            raise ProblemError(409, f"it is connected to {others[0].node}: order it about there")
        if not own.engine:
            raise ProblemError(503, "the engine does not answer", retry_after_s=1)
        raise ProblemError(404, NO_CAMERA)

    def order(self, verb: str, name: str, /, **arguments: Any) -> CameraView:
        """Have something done about a camera; return it as it is then.

        Raises:
            ProblemError: the supervisor refuses, or is not there.
        """
        self._ask(verb, **arguments)
        return self.known(name)

    def remove(self, name: str) -> None:
        """Have a camera removed; raises like ``order``."""
        self.known(name)
        self._ask("camera.remove", name=name)

    def _ask(self, verb: str, **arguments: Any) -> None:
        if not self._room.has_cameras:
            raise ProblemError(409, "no engine belongs to this front: say it where one is")
        try:
            self._engine.order(verb, **arguments)
        except EngineAwayError as error:
            raise ProblemError(503, str(error), retry_after_s=1) from error
        except ControlError as error:
            wrong = _WRONG_KEY.match(str(error))
            if wrong is None:
                raise ProblemError(409, str(error)) from error
            raise ProblemError(400, str(error), field=wrong["key"] or "body") from error


def blueprint(room: CameraRoom, engine: EngineLink) -> Blueprint:
    """Return the routes of this room."""
    routes = Blueprint("camera_orders", __name__)
    orders = CameraOrders(room, engine)

    @routes.post("/api/v1/cameras")
    @endpoint(needs=Scope.ADMIN, body=dict[str, Any], answers=CameraView, status=201)
    def add(body: dict[str, Any]) -> CameraView:
        """Start to capture another camera; the body has the keys of a [[cameras]] table.

        Name and url must be there. It is kept, also for later starts.
        """
        return orders.order("camera.add", str(body.get("name", "")), camera=body, new=True)

    @routes.patch("/api/v1/cameras/<name>")
    @endpoint(needs=Scope.ADMIN, body=dict[str, Any], answers=CameraView)
    def change(name: str, body: dict[str, Any]) -> CameraView:
        """Change settings of a camera; keys that are not named stay as they are.

        It is connected anew.
        """
        orders.known(name)
        return orders.order("camera.change", name, name=name, changes=body)

    @routes.delete("/api/v1/cameras/<name>")
    @endpoint(needs=Scope.ADMIN, status=204)
    def remove(name: str) -> None:
        """Stop capturing a camera, also after the next start; its sightings stay."""
        orders.remove(name)

    @routes.post("/api/v1/cameras/<name>/pause")
    @endpoint(needs=Scope.OPERATE, answers=CameraView)
    def pause(name: str) -> CameraView:
        """Stop capturing a camera until it is resumed."""
        orders.known(name)
        return orders.order("camera.pause", name, name=name)

    @routes.post("/api/v1/cameras/<name>/resume")
    @endpoint(needs=Scope.OPERATE, answers=CameraView)
    def resume(name: str) -> CameraView:
        """Go on capturing a paused camera."""
        orders.known(name)
        return orders.order("camera.resume", name, name=name)

    return routes

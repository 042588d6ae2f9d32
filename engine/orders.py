"""What people and programs may order while the engine runs, verb by verb (``engine.control``)."""

from collections.abc import Callable
from typing import Any, Final, Protocol, get_type_hints

import msgspec

from engine.amendments import Amendments
from engine.board import Kind
from engine.canary import is_hidden
from engine.children import ChildProcess
from engine.config import CameraSettings, parse_camera
from engine.crew import Crew
from engine.errors import ConfigError, ControlError
from engine.messages import Request
from engine.plane import CameraPlace
from engine.resources import check_camera
from engine.roster import Roster
from engine.upload_queue import UploadQueue

MAX_RECOGNIZERS = 256
RESTARTS: Final = {
    "workers": (Kind.WORKER,),
    "api": (Kind.API,),
    "publisher": (Kind.PUBLISHER,),
    "all": (Kind.PUBLISHER, Kind.WORKER, Kind.API),
}
"""What can be replaced while the run goes on."""


class Run(Protocol):
    """What the supervisor does when it is ordered to."""

    def status(self) -> object:
        """Return the state of everything."""

    def stop(self) -> None:
        """End the run."""

    def reload(self) -> object:
        """Read the configuration again and go by it; return what has changed."""

    def restart(self, children: list[ChildProcess]) -> None:
        """Replace processes by new ones, one after the other."""

    def set_log_level(self, level: str, process: str) -> object:
        """Have processes log from a level on; return their names."""

    @property
    def is_replacing(self) -> bool:
        """Processes are being replaced."""


class Orders:
    """Checks an order, has it carried out, and writes down what must survive a restart."""

    def __init__(
        self, run: Run, crew: Crew, roster: Roster, amendments: Amendments, uploads: UploadQueue
    ) -> None:
        self._run = run
        self._roster = roster
        self._uploads = uploads
        self._amendments = amendments
        self._crew = crew
        self._verbs: dict[str, Callable[..., object]] = {
            "status": self._status,
            "stop": self._stop,
            "reload": self._reload,
            "restart": self._restart,
            "log.level": self._log_level,
            "camera.add": self._add_camera,
            "camera.change": self._change_camera,
            "camera.remove": self._remove_camera,
            "camera.pause": self._pause_camera,
            "camera.resume": self._resume_camera,
            "recognizers": self._set_recognizers,
            "upload.add": self._add_upload,
            "upload.drop": self._drop_upload,
        }

    def obey(self, request: Request) -> Any:
        """Carry out one request and return its result as builtins.

        Raises:
            ControlError: there is no such verb, an argument is wrong, or it cannot be done.
        """
        verb = self._verbs.get(request.verb)
        if verb is None:
            raise ControlError(f"no verb {request.verb!r}; there are {', '.join(self._verbs)}")
        try:
            result = verb(**_checked(verb, request))
        except TypeError as error:
            raise ControlError(f"{request.verb}: {error}") from error
        except ConfigError as error:
            raise ControlError(str(error)) from error
        return msgspec.to_builtins(result)

    def _status(self) -> object:
        return self._run.status()

    def _stop(self) -> None:
        self._run.stop()

    def _reload(self) -> object:
        return self._run.reload()

    def _log_level(self, level: str, process: str = "") -> object:
        return self._run.set_log_level(level, process)

    def _restart(self, what: str) -> list[str]:
        """Have processes of some kind replaced; return their names."""
        kinds = RESTARTS.get(what)
        if kinds is None:
            raise ControlError(f"restart: one of {', '.join(RESTARTS)}, not {what!r}")
        up = [child for kind in kinds for child in self._roster.of(kind) if child.is_up]
        chosen = [child for child in up if not child.is_dismissed]
        if not chosen:
            raise ControlError(f"restart: there are no {what} in this run")
        self._be_free("restart")
        self._run.restart(chosen)
        return [child.name for child in chosen]

    def _add_camera(self, camera: dict[str, Any], new: bool = False) -> None:  # noqa: FBT001, FBT002  # a key of the request
        """Add a camera, or, unless it must be ``new``, put it in the place of another one."""
        settings = parse_camera(camera)
        if new and self._roster.place_named(settings.name) is not None:
            raise ControlError(f"there is a camera {settings.name!r} already — change it instead")
        self._put_camera(settings)

    def _change_camera(self, name: str, changes: dict[str, Any]) -> None:
        """Change settings of a camera; what is not named stays, paused it stays, too."""
        place = self._known(name)
        if changes.get("name", name) != name:
            raise ControlError("a camera keeps its name — add another one, and remove this one")
        table = place.settings.model_dump(mode="json", exclude_unset=True)
        self._put_camera(parse_camera(table | changes))
        if name in self._amendments.changes.paused:
            self._crew.pause_camera(name, paused=True)

    def _put_camera(self, settings: CameraSettings) -> None:
        """Start to capture a camera, in the place of the one with its name."""
        check_camera(settings, "cameras[0]")
        self._have_room(1)
        if self._roster.place_named(settings.name) is not None:
            self._crew.dismiss_camera(settings.name)
        self._crew.admit_camera(settings)
        self._amendments.add_camera(settings)

    def _remove_camera(self, name: str) -> None:
        self._known(name)
        self._crew.dismiss_camera(name)
        self._amendments.remove_camera(name)

    def _pause_camera(self, name: str) -> None:
        self._known(name)
        self._crew.pause_camera(name, paused=True)
        self._amendments.pause_camera(name, paused=True)

    def _resume_camera(self, name: str) -> None:
        self._known(name)
        self._crew.pause_camera(name, paused=False)
        self._amendments.pause_camera(name, paused=False)

    def _set_recognizers(self, count: int) -> None:
        if type(count) is not int or not 1 <= count <= MAX_RECOGNIZERS:
            raise ControlError(f"recognizers: a count from 1 to {MAX_RECOGNIZERS}, not {count!r}")
        self._be_free("recognizers")
        self._have_room(count - len(self._roster.wanted_workers()))
        if not self._roster.of(Kind.DECODER):
            raise ControlError("recognizers: no camera is configured, so there is nothing to read")
        self._crew.resize_pool(count)
        self._amendments.set_recognizers(count)

    def _add_upload(self, upload: str) -> None:
        self._have_room(1)
        self._uploads.add(upload)

    def _drop_upload(self, upload: str) -> None:
        self._uploads.drop(upload)

    def _have_room(self, more: int) -> None:
        """Refuse what the stats board has no rows for, before anything is changed."""
        if more > self._roster.free_rows:
            raise ControlError(
                f"there is room for {self._roster.free_rows} more processes in this run — put it "
                "into config.toml and start again"
            )

    def _be_free(self, verb: str) -> None:
        """Refuse what would cross a replacement of processes that is under way."""
        if self._run.is_replacing:
            raise ControlError(f"{verb}: processes are being replaced — wait until that is done")

    def _known(self, name: str) -> CameraPlace:
        place = self._roster.place_named(name)
        if place is None or is_hidden(name):
            names = [place.settings.name for place in self._roster.watched]
            raise ControlError(f"no camera {name!r}; there are {', '.join(names) or 'none'}")
        return place


def _checked(verb: Callable[..., object], request: Request) -> dict[str, Any]:
    """Return a request's arguments, each of the type that its verb names.

    Raises:
        ControlError: one is of another type.
    """
    kinds, checked = get_type_hints(verb), {}
    for name, value in request.arguments.items():
        try:
            checked[name] = msgspec.convert(value, kinds.get(name, Any))
        except msgspec.ValidationError as error:
            raise ControlError(f"{request.verb}: {name}: {error}") from error
    return checked

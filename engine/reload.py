"""The configuration is read again while the run goes on, and only what is different is touched.

Cameras come, go and change one by one. Recognizers, the front and the publisher are replaced
(``engine.renewal``) where what they were started by has changed. A file that is wrong changes
nothing; where a process cannot work by a file that looked right, all goes back to the one before.
"""

import logging
import time
from collections import deque
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.amendments import Amendments, Changes
from engine.board import Kind
from engine.children import ChildProcess
from engine.config import EMBEDDED, CameraSettings, Settings, load_settings
from engine.crew import Crew
from engine.differences import differences
from engine.errors import ConfigError, ControlError, PlateringError
from engine.exposure import check_exposure
from engine.log_levels import LogLevels
from engine.messages import ReloadFigures, ReloadReport
from engine.plane import CameraPlace, FramePlane
from engine.renewal import Renewal
from engine.resources import Resources, check_camera, check_recognizer
from engine.roster import Roster, recognizers_of
from engine.sections import PublishedCamera
from engine.sources.credentials import redact
from engine.upload_queue import UploadQueue

_OF_THE_PUBLISHER: Final = frozenset(PublishedCamera.model_fields) - {"crop", "regions"}
"""Keys of a camera that neither its decoder nor the recognizers go by."""
_SPARE_ROWS: Final = 1
"""Of the board, kept for the heir of a process that is replaced."""
_REPLACED: Final = (Kind.PUBLISHER, Kind.WORKER, Kind.API)

log = logging.getLogger(__name__)


class Governed(msgspec.Struct, frozen=True, kw_only=True):
    """The parts of a run that go by the configuration."""

    roster: Roster
    resources: Resources
    plane: FramePlane
    crew: Crew
    uploads: UploadQueue
    renewal: Renewal
    log_levels: LogLevels


class Reload:
    """Reads the file when it is told to; the supervisor turns it with its loop."""

    def __init__(
        self, path: Path, settings: Settings, amendments: Amendments, run: Governed
    ) -> None:
        """Take what the file held at the start, before the amendments were laid over it."""
        self._path = path.absolute()  # links are followed anew: that is how some replace it
        self._file = settings
        self._amendments = amendments
        self._run = run
        self._changing: deque[CameraSettings] = deque()
        """Cameras whose decoders are to be replaced, as soon as the board has a row to spare."""
        self._former: tuple[Settings, Changes] | None = None
        """What to go back to, while processes are being replaced for what is new."""
        self.figures = ReloadFigures(applied_unix_ms=time.time_ns() // 1_000_000)

    def reload(self) -> ReloadReport:
        """Read the file and begin to go by it.

        Raises:
            ControlError: the file is wrong, and nothing has changed; names its key.
        """
        try:
            if self.is_busy:
                raise ControlError("processes are being replaced — reload when that is done")
            wanted = load_settings(self._path)
            orders = self._orders_that_stand(wanted)
            settings = self._amendments.applied(wanted, orders)
            fixed = list(self._keep_fixed(settings))
            settings = fixed_as(settings, self._run.roster.settings)
            self._check(settings)
        except PlateringError as error:
            self._refuse(str(error))
            raise ControlError(str(error)) from error
        self._former = self._file, self._amendments.changes
        self._file = wanted
        self._keep(orders)
        changes = (*self._apply(settings), *fixed)
        for line in changes or ("nothing has changed",):
            log.info("reload: %s", line)
        self._run.renewal.can_go_back = True
        return ReloadReport(changes=changes)

    def _refuse(self, why: str) -> None:
        self._count(refused=1)
        log.error("the configuration stays as it is: %s", why)

    def _keep(self, orders: Changes) -> None:
        """Go by these orders, at the next start, too, as far as the disk lets us."""
        try:
            self._amendments.take(orders)
        except ControlError as error:
            log.warning("%s", error)

    def turn(self) -> None:
        """Replace what is to be replaced; when that is done, the new configuration stands."""
        renewal = self._run.renewal
        renewal.turn()
        self._change_cameras()
        if self._former is None:
            return
        if renewal.failure:
            self._go_back(renewal.failure)
        elif not self.pending:
            self._former, renewal.can_go_back = None, False
            self._count(applied=1)

    @property
    def is_busy(self) -> bool:
        """Tell whether what was read last is not in force yet."""
        return self._former is not None or bool(self.pending)

    @property
    def pending(self) -> tuple[str, ...]:
        """What is to be replaced or to start still; last a configuration that failed."""
        renewal = self._run.renewal
        has_failed = self._former is not None and bool(renewal.failure)
        cameras = (camera.name for camera in self._changing)
        return (*renewal.names, *cameras, *(["configuration"] * has_failed))

    def _change_cameras(self) -> None:
        """Replace decoders; the old one of each keeps its row until it has ended."""
        roster, crew = self._run.roster, self._run.crew
        while self._changing and roster.free_rows > _SPARE_ROWS:
            camera = self._changing.popleft()
            place = roster.place_named(camera.name)
            if place is not None:
                crew.replace_camera(place, camera)

    def _go_back(self, failure: str) -> None:
        """Take the configuration of before again."""
        if self._former is None:
            return
        log.error("the configuration of before is taken again")
        (self._file, orders), self._former = self._former, None
        self._run.renewal.can_go_back = False
        self._keep(self._amendments.with_those_of(orders))  # others may have been given since
        settings = self._amendments.applied(self._file)
        for line in self._apply(fixed_as(settings, self._run.roster.settings)):
            log.info("reload: %s", line)
        self._run.renewal.failure = f"{failure}; the configuration of before is taken again"
        self._count(reverted=1)

    def _count(self, *, applied: int = 0, refused: int = 0, reverted: int = 0) -> None:
        told = self.figures
        self.figures = ReloadFigures(
            applied=told.applied + applied,
            refused=told.refused + refused,
            reverted=told.reverted + reverted,
            applied_unix_ms=time.time_ns() // 1_000_000 if applied else told.applied_unix_ms,
        )

    # --- before anything changes ---------------------------------------------------------------

    def _orders_that_stand(self, wanted: Settings) -> Changes:
        """Return the orders of before, but for those about what the file now says something new of.

        The amendments belong to the engine: a front alone has none of them.
        """
        if not self._run.roster.has_engine:
            return self._amendments.changes
        before = {camera.name: camera for camera in self._file.cameras}
        after = {camera.name: camera for camera in wanted.cameras}
        said_anew = {name for name in before | after if before.get(name) != after.get(name)}
        counts = self._file.recognizers.count, wanted.recognizers.count
        return self._amendments.without(said_anew, recognizers=counts[0] != counts[1])

    def _keep_fixed(self, settings: Settings) -> Iterator[str]:
        """Yield a line for each change that only another start can make."""
        now = self._run.roster.settings
        for line in differences(fixed_as(settings, now), settings):
            yield f"{line}; this needs a restart of the engine"

    def _check(self, settings: Settings) -> None:
        """Refuse what a start would refuse, of what is new.

        Raises:
            PlateringError: names the key.
        """
        run, cameras = self._run, self._cameras(settings)
        if cameras and any(
            getattr(settings, key) != getattr(run.roster.settings, key)
            for key in ("recognizer", "openalpr")
        ):
            check_recognizer(settings)
        listener = run.resources.listener
        if listener is not None:
            check_exposure(settings, listener)
        indexes = {camera.name: index for index, camera in enumerate(settings.cameras)}
        running = {place.settings.name: place.settings.url for place in run.roster.watched}
        for camera in cameras:
            if running.get(camera.name) != camera.url:
                check_camera(camera, f"cameras[{indexes[camera.name]}]")
        new = {camera.name for camera in cameras} - running.keys()
        fronts = settings.api.processes - len(run.roster.fronts())
        workers = recognizers_of(settings) - len(run.roster.wanted_workers())
        recognizes = bool(cameras or run.roster.workers)
        rows = len(new) + max(0, fronts) * bool(listener) + max(0, workers) * recognizes
        if rows + _SPARE_ROWS > run.roster.free_rows or not run.roster.has_cells_for(new):
            raise ConfigError(
                "cameras",
                f"{rows} more processes do not fit into this run",
                "restart the engine, which then makes room for them",
            )

    # --- what is different is changed ------------------------------------------------------------

    def _apply(self, settings: Settings) -> tuple[str, ...]:
        """Go by other settings; return what is different."""
        run, before = self._run, self._run.roster.settings
        known = tuple(run.roster.children)
        self._changing.clear()  # what a configuration wanted that is gone back from
        without_cameras = {"cameras": ()}
        changes = list(
            differences(
                before.model_copy(update=without_cameras),
                settings.model_copy(update=without_cameras),
            )
        )
        run.roster.settings = settings
        if settings.redis.url != EMBEDDED:
            run.resources.redis_url = settings.redis.url
        run.plane.go_by(settings.recognizers)
        run.uploads.go_by(settings)
        run.log_levels.go_by(settings.log)
        all_change = settings.recognizers.batch != before.recognizers.batch
        changes += self._apply_to_cameras(settings, all_change=all_change)
        if run.roster.workers:
            run.crew.resize_pool()
        if run.resources.listener is not None:
            run.crew.resize_front()
        self._change_cameras()  # last: it takes what rows are left
        changes += self._replace(known)
        return tuple(changes)

    def _replace(self, known: tuple[ChildProcess, ...]) -> Iterator[str]:
        """Have processes replaced that go by what was, and those awaited that are not ``known``."""
        ours = [child for kind in _REPLACED for child in self._run.roster.of(kind)]
        stale = [child for child in ours if self._is_old(child)]
        self._run.renewal.order(stale, [child for child in ours if child not in known])
        if stale:
            names = ", ".join(child.name for child in stale)
            yield f"replacing one after the other: {names}"

    def _is_old(self, child: ChildProcess) -> bool:
        """Tell whether a process goes by other settings than it would be started by now."""
        is_to_stay = child.is_up and not child.is_dismissed
        return is_to_stay and child.terms != self._run.roster.terms_of(child, self._run.resources)

    def _cameras(self, settings: Settings) -> list[CameraSettings]:
        """Return the cameras that are to be captured."""
        if not self._run.roster.has_engine:
            return []
        return [camera for camera in settings.cameras if camera.enabled]

    def _apply_to_cameras(self, settings: Settings, *, all_change: bool) -> Iterator[str]:
        """Admit, change and dismiss cameras; yield what is different."""
        roster, crew = self._run.roster, self._run.crew
        wanted = {camera.name: camera for camera in self._cameras(settings)}
        for place in roster.watched:
            name = place.settings.name
            if name not in wanted and not place.decoder.is_dismissed:
                crew.dismiss_camera(name)
                known = any(camera.name == name for camera in settings.cameras)
                yield f"camera {name}: {'not enabled any more' if known else 'removed'}"
        for name, camera in wanted.items():
            there = roster.place_named(name)
            if there is None:
                crew.admit_camera(camera)
                yield f"camera {name}: added, {redact(camera.url)}"
            else:
                yield from self._change_camera(there, camera, all_change=all_change)

    def _change_camera(
        self, place: CameraPlace, camera: CameraSettings, *, all_change: bool
    ) -> Iterator[str]:
        """Have a camera captured by other settings; touch its decoder only where it must be."""
        fitted, crew = self._run.roster.fitted(camera), self._run.crew
        changed = {
            key
            for key in CameraSettings.model_fields
            if getattr(place.settings, key) != getattr(fitted, key)
        }
        yield from differences(place.settings, fitted, f"camera {camera.name}: ")
        if all_change or changed - _OF_THE_PUBLISHER:
            self._changing.append(camera)
        elif changed:
            crew.guide_camera(place, fitted)


def fixed_as(settings: Settings, present: Settings) -> Settings:
    """Return the settings with those of ``present`` that cannot change while the run lasts."""
    listening = {"host": present.api.host, "port": present.api.port}
    fixed: dict[str, Any] = {
        "data_dir": present.data_dir,
        "canary": present.canary,
        "api": settings.api.model_copy(update=listening),
    }
    if settings.redis.url != present.redis.url and EMBEDDED in {
        settings.redis.url,
        present.redis.url,
    }:
        fixed["redis"] = settings.redis.model_copy(update={"url": present.redis.url})
    return settings.model_copy(update=fixed)

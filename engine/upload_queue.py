"""Uploads wait here and are read one after the other, as a camera that comes to an end.

The supervisor turns it with its loop. The decoder of an upload may crash: then that upload has
failed, and nothing else.
"""

import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Final, Protocol

from engine.board import Kind
from engine.config import CameraSettings, Settings
from engine.errors import ControlError
from engine.messages import EndUpload
from engine.plane import CameraPlace
from engine.roster import Roster
from engine.types import CameraState
from engine.uploads import camera_of, folder_of, read_about, uploads_dir

SLOWEST: Final = 20.0
"""An upload that takes longer than so many times its own length is given up."""
LEAST_S: Final = 120.0
SETTLES_S: Final = 3.0
"""The publisher writes the end of an upload down within this time."""
_FAILED: Final = {CameraState.LOST, CameraState.DEGRADED}

log = logging.getLogger(__name__)


class Reader(Protocol):
    """What the supervisor does for uploads."""

    def admit_camera(self, camera: CameraSettings) -> None:
        """Start to capture a camera."""

    def dismiss_camera(self, name: str) -> None:
        """Stop capturing a camera and remove its rings."""


class UploadQueue:
    """Which upload is read now, and which ones wait."""

    def __init__(
        self,
        settings: Settings,
        roster: Roster,
        reader: Reader,
        in_flight: Callable[[CameraPlace], int],
    ) -> None:
        """Take who admits cameras, and who counts the frames of one that are still open."""
        self._root, self._settings = uploads_dir(settings.data_dir), settings.uploads
        self._roster, self._reader, self._in_flight = roster, reader, in_flight
        self._waiting: deque[str] = deque()
        self._present = ""
        self._ends_by = 0.0
        self._settles_at = 0.0
        """When the publisher has written down what was read last."""

    @property
    def ids(self) -> tuple[str, ...]:
        """The uploads that are not read to their end yet, the present one first."""
        return (*([self._present] if self._present else []), *self._waiting)

    def go_by(self, settings: Settings) -> None:
        """Read uploads by other settings from now on."""
        self._settings = settings.uploads

    def is_reading(self) -> bool:
        """Tell whether one is read, or was until a moment ago."""
        return bool(self._present) or time.monotonic() < self._settles_at

    def add(self, upload: str) -> None:
        """Read an upload when its turn comes.

        Raises:
            ControlError: too many wait already.
        """
        if len(self._waiting) >= self._settings.max_waiting:
            raise ControlError(f"{len(self._waiting)} uploads wait already — try again later")
        self._waiting.append(upload)

    def drop(self, upload: str) -> None:
        """Stop reading an upload that is to be deleted."""
        if upload in self._waiting:
            self._waiting.remove(upload)
        elif upload == self._present:
            self._finish("it was deleted")

    def turn(self) -> None:
        """Begin the next one, or notice that the present one has come to its end."""
        if not self._present:
            if self._waiting:
                self._begin(self._waiting.popleft())
            return
        place = self._roster.place_named(camera_of(self._present))
        verdict = "its decoder was removed" if place is None else self._verdict(place)
        if verdict is not None:
            self._finish(verdict)

    def _begin(self, upload: str) -> None:
        folder = folder_of(self._root, upload)
        about = read_about(folder) if folder is not None else None
        if folder is None or about is None:
            return  # deleted while it waited
        self._present = upload
        self._ends_by = time.monotonic() + max(LEAST_S, SLOWEST * about.duration_s)
        camera = CameraSettings(
            name=camera_of(upload),
            url=str(folder / about.file),
            play="fast",
            weight=self._settings.weight,
            max_megapixels=self._settings.max_megapixels,
            memory_mib=self._settings.memory_mib,
            skip_static=False,
            focus=False,
        )
        try:
            self._reader.admit_camera(camera)
        except ControlError as error:
            self._finish(str(error))

    def _verdict(self, place: CameraPlace) -> str | None:
        """Return None while it is read, empty when all is recognized, else why it is not."""
        if place.state is CameraState.ENDED and not self._in_flight(place):
            return ""
        if place.state in _FAILED:
            path = f"{place.settings.url}: "
            return (place.reason or "it cannot be read").removeprefix(path)
        if time.monotonic() > self._ends_by:
            return "it took too long — the recognizers are busy; upload it again later"
        return None

    def _finish(self, failure: str) -> None:
        upload, self._present = self._present, ""
        if failure:
            log.warning("upload %s: %s", upload, failure)
        self._reader.dismiss_camera(camera_of(upload))
        (publisher,) = self._roster.of(Kind.PUBLISHER)
        publisher.send(EndUpload(upload=upload, failure=failure))
        self._settles_at = time.monotonic() + SETTLES_S

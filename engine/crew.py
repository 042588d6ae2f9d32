"""Cameras and recognizers come and go while a run lasts."""

import time
from typing import Final

from engine.board import Kind
from engine.children import ChildProcess
from engine.config import CameraSettings, Settings
from engine.cores import usable_cores
from engine.messages import Pause, Stop, UseCamera
from engine.plane import FramePlane
from engine.roster import Roster
from engine.sections import PublishedCamera

DISMISS_S: Final = 4.0
"""A child that was dismissed must have ended after this long."""


class Crew:
    """Puts children on the roster and takes them off; the supervisor's loop starts and reaps."""

    def __init__(self, roster: Roster, plane: FramePlane, settings: Settings) -> None:
        self._roster = roster
        self._plane = plane
        self._settings = settings

    def admit_camera(self, camera: CameraSettings) -> None:
        """Start to capture a camera, and to recognize where there was none before."""
        place = self._roster.add_camera(camera)
        (publisher,) = self._roster.of(Kind.PUBLISHER)
        publisher.send(UseCamera(camera=PublishedCamera.of(camera, place.index).encode()))
        if not self._roster.workers:
            count = self._settings.recognizers.count
            self.resize_pool(usable_cores() if count == "auto" else count)

    def dismiss_camera(self, name: str) -> None:
        """Stop capturing a camera; its rings go with its decoder."""
        place = self._roster.place_named(name)
        if place is not None:
            self.dismiss(place.decoder)

    def pause_camera(self, name: str, *, paused: bool) -> None:
        """Stop or go on capturing, keeping the camera."""
        place = self._roster.place_named(name)
        if place is not None:
            place.is_paused = paused
            place.decoder.send(Pause(paused=paused))

    def resize_pool(self, count: int) -> None:
        """Start or end recognizers; rings that are too small for the new pool are re-made."""
        while len(self._roster.wanted_workers()) < count:
            self._roster.add_worker()
        for worker in self._roster.wanted_workers()[count:]:
            self.dismiss(worker)
        self._plane.renew_small()

    def dismiss(self, child: ChildProcess) -> None:
        """End a child for good; when it is reaped, it is taken off."""
        child.is_wanted, child.is_dismissed = False, True
        child.ends_by = time.monotonic() + DISMISS_S
        child.send(Stop())
        if not child.is_up:
            self.take_off(child)

    def take_off(self, child: ChildProcess) -> None:
        """Take a dismissed child that has ended off the roster."""
        if child.kind is Kind.DECODER:
            self._plane.forget_camera(self._roster.place_of(child))
        self._roster.remove(child)

"""Cameras and recognizers come and go while a run lasts."""

import time
from typing import Final

from engine.board import Kind
from engine.children import ChildProcess
from engine.config import CameraSettings
from engine.messages import Pause, Stop, UseCamera
from engine.plane import CameraPlace, FramePlane
from engine.roster import Roster, recognizers_of
from engine.sections import PublishedCamera

DISMISS_S: Final = 4.0
"""A child that was told to end must have ended after this long, what it has under way aside."""
FRONT_GRACE_S: Final = 8.0
"""Requests that are under way may take so long when another process takes the front over."""
FLUSH_S: Final = 4.0
"""The publisher delivers for so long before it ends; the rest is delivered next time."""


class Crew:
    """Puts children on the roster and takes them off; the supervisor's loop starts and reaps."""

    def __init__(self, roster: Roster, plane: FramePlane) -> None:
        self._roster = roster
        self._plane = plane

    def admit_camera(self, camera: CameraSettings) -> None:
        """Start to capture a camera, and to recognize where there was none before."""
        place = self._roster.add_camera(camera)
        self._tell_publisher(place)
        if not self._roster.workers:
            self.resize_pool()

    def _tell_publisher(self, place: CameraPlace) -> None:
        (publisher,) = self._roster.of(Kind.PUBLISHER)
        publisher.send(UseCamera(camera=PublishedCamera.of(place.settings, place.index).encode()))

    def replace_camera(self, place: CameraPlace, camera: CameraSettings) -> None:
        """Capture a camera by other settings; its new decoder does not wait for the old one."""
        self.dismiss(place.decoder)
        self.admit_camera(camera)
        self.pause_camera(camera.name, paused=place.is_paused)

    def guide_camera(self, place: CameraPlace, camera: CameraSettings) -> None:
        """Take other settings that only the publisher goes by; the decoder is left alone."""
        place.settings = camera
        self._tell_publisher(place)

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

    def resize_pool(self, count: int = 0) -> None:
        """Start or end recognizers; rings that are too small for the new pool are re-made.

        Without a ``count`` there are as many as configured; with one, so many are from now on.
        """
        settings = self._roster.settings
        if count:
            pool = settings.recognizers.model_copy(update={"count": count})
            self._roster.settings = settings.model_copy(update={"recognizers": pool})
        count = recognizers_of(self._roster.settings)
        while len(self._roster.wanted_workers()) < count:
            self._roster.add_worker()
        for worker in self._roster.wanted_workers()[count:]:
            self.dismiss(worker)
        self._plane.renew_small()

    def resize_front(self) -> None:
        """Start or end processes of the front until there are as many as configured."""
        count = self._roster.settings.api.processes
        while len(self._roster.fronts()) < count:
            self._roster.add_front()
        for front in self._roster.fronts()[count:]:
            self.dismiss(front)

    def dismiss(self, child: ChildProcess) -> None:
        """End a child for good; when it is reaped, it is taken off."""
        child.is_wanted, child.is_dismissed = False, True
        self._tell_to_end(child)
        if not child.is_up:
            self.take_off(child)

    def renew(self, child: ChildProcess) -> None:
        """Have a child end in order and start again."""
        child.start_soon()
        if child.is_up:
            child.is_renewed = True
            self._tell_to_end(child)

    def _tell_to_end(self, child: ChildProcess) -> None:
        """Let a child finish what it has under way, for so long at most."""
        grace_s = {
            Kind.WORKER: self._roster.settings.recognizers.deadline_s,
            Kind.API: FRONT_GRACE_S,
            Kind.PUBLISHER: FLUSH_S,
        }.get(child.kind, 0.0)
        child.ends_by = time.monotonic() + DISMISS_S + grace_s
        child.send(Stop(grace_s=grace_s))

    def take_off(self, child: ChildProcess) -> None:
        """Take a dismissed child that has ended off the roster."""
        if child.kind is Kind.DECODER:
            self._plane.forget_camera(self._roster.place_of(child))
        self._roster.remove(child)

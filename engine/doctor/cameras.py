"""The cameras: each is opened for one frame."""

import contextlib
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Final

import msgspec

from engine.config import CameraSettings, Settings
from engine.doctor.findings import Finding, Verdict
from engine.errors import SourceError
from engine.source_settings import source_options
from engine.sources import open_source, redact
from engine.sources.libav import STDIN

_GRACE_S: Final = 2.0
_AT_ONCE: Final = 16
"""Cameras opened at the same time."""


class SeenCamera(msgspec.Struct, frozen=True):
    """A camera and the size of its first frame, 0 where none came."""

    settings: CameraSettings
    finding: Finding
    width_px: int = 0
    height_px: int = 0


def look_at_cameras(settings: Settings) -> list[SeenCamera]:
    """Open all enabled cameras, several at once."""
    enabled = [camera for camera in settings.cameras if camera.enabled]
    if not enabled:
        return []
    with ThreadPoolExecutor(min(_AT_ONCE, len(enabled))) as pool:
        return list(pool.map(_look, enabled))


def _look(camera: CameraSettings) -> SeenCamera:
    """Open a camera for one frame; a source that blocks is left behind at the deadline."""
    check = f"camera {camera.name}"
    seen: list[SeenCamera] = []
    stop = threading.Event()
    thread = threading.Thread(
        target=lambda: seen.extend(_first_frame(camera, check, stop.is_set)), daemon=True
    )
    thread.start()
    thread.join(camera.connect_timeout_s + camera.read_timeout_s + _GRACE_S)
    stop.set()
    if seen:
        return seen[0]
    found = f"{redact(camera.url)}: no frame in time"
    remedy = "is it switched on and reachable from here? try a longer connect_timeout_s"
    return SeenCamera(camera, Finding(check, Verdict.PROBLEM, found, remedy))


def _first_frame(
    camera: CameraSettings, check: str, stop: Callable[[], bool]
) -> Iterator[SeenCamera]:
    """Yield the camera as its first frame shows it."""
    url = redact(camera.url)
    if camera.url == STDIN:
        yield SeenCamera(camera, Finding(check, Verdict.FINE, "standard input: read by the engine"))
        return
    options = msgspec.structs.replace(source_options(camera), play="fast", clip_s=0.0)
    began = time.monotonic()
    try:
        with contextlib.closing(open_source(camera.url, options)) as source:
            if camera.watch:
                found = f"{url}: images that come there will be shown"
                yield SeenCamera(camera, Finding(check, Verdict.FINE, found))
                return
            frame = next(iter(source.frames(stop)), None)
            if frame is not None:
                took_s = time.monotonic() - began
                size = f"{frame.width_px}×{frame.height_px}"
                found = f"{url}: {size}, first frame after {took_s:.1f} s"
                finding = Finding(check, Verdict.FINE, found)
                yield SeenCamera(camera, finding, frame.width_px, frame.height_px)
                return
        reason = "it ended without a frame"
    except SourceError as error:
        reason = redact(str(error))
    reason, _, remedy = reason.removeprefix(f"{url}: ").partition(" — ")
    found = f"{url}: {reason}"
    yield SeenCamera(
        camera, Finding(check, Verdict.PROBLEM, found, remedy or _camera_remedy(reason))
    )


def _camera_remedy(reason: str) -> str:
    """Say what to try, as far as the reason tells."""
    lowered = reason.lower()
    for sign, remedy in {
        "refuses the name": "correct the name and the password in its URL",
        "no such file": "correct the path; relative ones start beside the configuration file",
        "refused": "is it switched on, and the port in its URL right?",
        "in time": "is it switched on and reachable from here?",
        "timed out": "is it switched on and reachable from here?",
        "max_megapixels": "raise max_megapixels, and memory_mib with it, or let it send less",
    }.items():
        if sign in lowered:
            return remedy
    return "does the same URL play in another program, like ffplay or VLC?"

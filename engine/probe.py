"""``platering cameras probe URL``: opens a camera as its decoder would and says what is there."""

import contextlib
import json
import sys
import time
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np

from engine.errors import SourceError
from engine.health import Health
from engine.sources import SourceOptions, open_source, redact
from engine.types import CameraState, Luma

WATCHED_S: Final = 3.0
"""How long a stream is watched for its frame rate."""


class Probe(msgspec.Struct, frozen=True, kw_only=True):
    """What was seen of a camera."""

    url: str
    """Without its password."""
    width_px: int
    height_px: int
    fps: float
    first_frame_s: float
    frames: int
    spoilt: int
    live: bool
    """Whether frames come at their own pace."""
    state: CameraState
    hint: str
    brightness: float
    """Mean luma of the newest frame, 0 to 255."""
    picture: str = ""
    """Where the newest frame was written."""


def probe(url: str, options: SourceOptions, picture: Path | None) -> Probe:
    """Watch a camera for some seconds and write its newest frame as a picture.

    Raises:
        SourceError: it cannot be opened, or shows nothing.
    """
    began = time.monotonic()
    first_s = last_s = 0.0
    times_s: list[float] = []
    frames, luma = 0, np.empty((0, 0), np.uint8)
    health = Health(began, frozen_after_s=0.0)

    def over() -> bool:
        return bool(frames) and time.monotonic() - began - first_s >= WATCHED_S

    with contextlib.closing(open_source(url, options)) as source:
        for frame in source.frames(over):
            now_s = time.monotonic()
            frames, last_s = frames + 1, now_s - began
            first_s = first_s or last_s
            if frame.pts_s is not None:
                times_s.append(frame.pts_s)
            health.frame(now_s)
            health.look(frame.preview(), now_s)
            if luma.shape != (frame.height_px, frame.width_px):
                luma = np.empty((frame.height_px, frame.width_px), np.uint8)
            frame.write_luma(luma)
        live, spoilt = source.live, source.spoilt
    if not frames:
        raise SourceError(f"{redact(url)}: it ended without a frame")
    # A stream's own times where it has some: what waited for us came in a burst.
    counted, seen_s = frames - 1, last_s - first_s
    if len(times_s) > 1:
        counted, seen_s = len(times_s) - 1, times_s[-1] - times_s[0]
    verdict = health.verdict(began + last_s)
    return Probe(
        url=redact(url),
        width_px=luma.shape[1],
        height_px=luma.shape[0],
        fps=round(counted / seen_s, 1) if seen_s > 0 else 0.0,
        first_frame_s=round(first_s, 2),
        frames=frames,
        spoilt=spoilt,
        live=live,
        state=verdict.state,
        hint=verdict.reason,
        brightness=round(float(luma.mean()), 1),
        picture=_write(luma, picture),
    )


def _write(luma: Luma, picture: Path | None) -> str:
    """Write a frame as a picture; return where.

    Raises:
        SourceError: the disk refuses, or no picture is named like that.
    """
    if picture is None:
        return ""
    try:
        written = cv2.imwrite(str(picture), luma)
    except cv2.error:
        written = False
    if not written:
        raise SourceError(f"{picture}: cannot be written — name a file that ends in .jpg or .png")
    return str(picture)


def print_probe(url: str, options: SourceOptions, picture: Path | None, *, as_json: bool) -> int:
    """Probe and print, for ``platering cameras probe``; return the exit code."""
    seen = probe(url, options, picture)
    if as_json:
        sys.stdout.write(json.dumps(msgspec.to_builtins(seen)) + "\n")
        return 0
    lines = {
        "camera": seen.url,
        "picture": f"{seen.width_px}×{seen.height_px}, brightness {seen.brightness:g} of 255",
        "frames": f"{seen.frames} in {WATCHED_S:g} s, {seen.fps:g} per second",
        "first": f"after {seen.first_frame_s:g} s",
        "damaged": f"{seen.spoilt} packets or frames",
        "state": f"{seen.state}{': ' * bool(seen.hint)}{seen.hint}",
        "written": seen.picture,
    }
    for name, text in lines.items():
        if text:
            sys.stdout.write(f"{name:<9}{text}\n")
    return 0

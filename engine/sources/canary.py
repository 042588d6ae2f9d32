"""``canary://?every_s=60``: one frame with a drawn plate now and then (see ``engine.canary``)."""

import time
from collections.abc import Callable, Iterator
from random import Random
from typing import Final
from urllib.parse import parse_qsl, urlsplit

import cv2
import msgspec
import numpy as np

from engine.errors import SourceError
from engine.sources.pace import Pacer, Stamp
from engine.sources.planes import shrink
from engine.sources.plate_art import paint_plate
from engine.types import Bgr, Luma

WIDTH_PX: Final = 320
HEIGHT_PX: Final = 180
_PLATE_PX: Final = 120
_LETTERS: Final = "ACEFHJKLMNPRTVWXY"
_DIGITS: Final = "234679"
_NEUTRAL: Final = 128


class CanarySource:
    """Yields a frame every so many seconds, the first one at once; live, and without an end."""

    live = True
    endless = False
    """It cannot be lost: there is nothing to connect to, and nobody judges its health."""
    capped = 0
    spoilt = 0
    preroll = None

    def __init__(self, every_s: float) -> None:
        self._every_s = every_s
        self._closed = False

    def frames(self, stop: Callable[[], bool]) -> Iterator["CanaryFrame"]:
        """Yield frames until ``stop()``; no two in a row look alike, nor do those of two runs."""
        pacer, began = Pacer(), int(time.time())
        number = 0
        while not (stop() or self._closed):
            stamp = pacer.wait(number * self._every_s, stop)
            if stamp is None:
                return
            yield CanaryFrame(plate_of(began + number), stamp, number * self._every_s)
            number += 1

    def close(self) -> None:
        """End ``frames()``."""
        self._closed = True


class CanaryFrame:
    """A dark field with a plate in its middle."""

    width_px = WIDTH_PX
    height_px = HEIGHT_PX

    def __init__(self, text: str, stamp: Stamp, pts_s: float) -> None:
        self._luma = _drawn(text)
        self._stamp, self.pts_s = stamp, pts_s

    @property
    def captured_unix_ns(self) -> int:
        """Wall clock at capture."""
        return self._stamp.unix_ns

    @property
    def captured_monotonic_ns(self) -> int:
        """Monotonic clock at capture."""
        return self._stamp.monotonic_ns

    def write_luma(self, target: Luma) -> None:
        """Write luma into target (H, W)."""
        target[:] = self._luma

    def write_i420(self, target: Luma) -> None:
        """Write planar 4:2:0 into target."""
        target[:HEIGHT_PX] = self._luma
        target[HEIGHT_PX:] = _NEUTRAL

    def write_bgr(self, target: Bgr) -> None:
        """Write blue, green, red into target (H, W, 3)."""
        target[:] = self._luma[..., None]

    def preview(self) -> Luma:
        """Return a small luma copy."""
        return shrink(self._luma)


def plate_of(number: int) -> str:
    """Return a plate like ``engine.canary.PATTERN``; those of neighbours have little in common."""
    chance = Random(number)
    letters = "".join(chance.choices(_LETTERS, k=5))
    return letters[:2] + "".join(chance.choices(_DIGITS, k=2)) + letters[2:]


def _drawn(text: str) -> Luma:
    """Return (HEIGHT_PX, WIDTH_PX) luma with the plate of this text."""
    shown = f"{text[:4]} {text[4:]}"
    painted = cv2.cvtColor(paint_plate(shown, "gb", rear=False), cv2.COLOR_BGR2GRAY)
    high = round(_PLATE_PX * painted.shape[0] / painted.shape[1])
    plate = cv2.resize(painted, (_PLATE_PX, high), interpolation=cv2.INTER_AREA)
    luma: Luma = np.full((HEIGHT_PX, WIDTH_PX), 70, np.uint8)
    top, left = (HEIGHT_PX - high) // 2, (WIDTH_PX - _PLATE_PX) // 2
    luma[top - 3 : top + high + 3, left - 3 : left + _PLATE_PX + 3] = 26
    luma[top : top + high, left : left + _PLATE_PX] = plate
    return luma


class _Settings(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """What ``canary://?…`` understands."""

    every_s: float = 60.0


def open_canary(url: str) -> CanarySource:
    """Return the canary for a ``canary://`` URL.

    Raises:
        SourceError: an unknown parameter, or a value out of range.
    """
    try:
        settings = msgspec.convert(dict(parse_qsl(urlsplit(url).query)), _Settings, strict=False)
    except msgspec.ValidationError as error:
        raise SourceError(f"{url}: {error} (parameter: every_s)") from error
    if not settings.every_s > 0:
        raise SourceError(f"{url}: every_s must be above 0")
    return CanarySource(settings.every_s)

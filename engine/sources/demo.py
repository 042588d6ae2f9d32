"""``demo://``: the road scene as a camera, live and in real time."""

import math
import time
from collections.abc import Callable, Iterator
from urllib.parse import parse_qsl, urlsplit

import cv2
import msgspec
import numpy as np

from engine.errors import SourceError
from engine.sources.base import SourceOptions
from engine.sources.pace import Pacer, RateCap, Stamp
from engine.sources.planes import shrink
from engine.sources.scene import DemoScene
from engine.sources.traffic import RoadStyle
from engine.types import Bgr, Luma


class DemoSettings(RoadStyle, frozen=True, forbid_unknown_fields=True):
    """What ``demo://?...`` understands.

    ``seconds`` ends the scene (0: never); ``density`` 1 means a vehicle about every 3 s;
    ``RoadStyle`` says what the others mean.
    """

    seed: int = 7
    width: int = 1280
    height: int = 720
    fps: float = 15.0
    density: float = 1.0
    seconds: float = 0.0

    @property
    def style(self) -> RoadStyle:
        """What the traffic is like."""
        return RoadStyle(**{key: getattr(self, key) for key in RoadStyle.__struct_fields__})


_RANGES = {
    "width": (160, 7680),
    "height": (120, 4320),
    "fps": (0.1, 240),
    "density": (0.05, 3),
    "seconds": (0, math.inf),
    "speed": (0.2, 5),
    "lanes": (1, 2),
    "similar": (0, 1),
    "stop_s": (0, 600),
    "occlusion": (0, 1),
    "night": (0, 1),
}


def demo_settings(url: str) -> DemoSettings:
    """Read the settings of a ``demo://`` URL.

    Raises:
        SourceError: an unknown parameter, or a value out of range.
    """
    try:
        pairs = dict(parse_qsl(urlsplit(url).query, strict_parsing=bool(urlsplit(url).query)))
        settings = msgspec.convert(pairs, DemoSettings, strict=False)
    except (msgspec.ValidationError, ValueError) as error:
        known = ", ".join(DemoSettings.__struct_fields__)
        raise SourceError(f"{url}: {error} (parameters: {known})") from error
    for name, (low, high) in _RANGES.items():
        if not low <= getattr(settings, name) <= high:
            raise SourceError(f"{url}: {name} must be from {low:g} to {high:g}")
    return settings


class DemoFrame:
    """A rendered frame; colour is rendered only when asked for."""

    __slots__ = ("_luma", "_scene", "_stamp", "pts_s")

    def __init__(self, scene: DemoScene, stamp: Stamp, pts_s: float) -> None:
        self._scene, self._stamp, self.pts_s = scene, stamp, pts_s
        self._luma: Luma | None = None

    @property
    def width_px(self) -> int:
        """Width of the picture."""
        return self._scene.projection.width_px

    @property
    def height_px(self) -> int:
        """Height of the picture."""
        return self._scene.projection.height_px

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
        target[:] = self._rendered()

    def write_i420(self, target: Luma) -> None:
        """Write planar 4:2:0 into target."""
        width, height = target.shape[1], target.shape[0] * 2 // 3
        even = np.ascontiguousarray(self._scene.bgr(self.pts_s)[:height, :width])
        target[:] = cv2.cvtColor(even, cv2.COLOR_BGR2YUV_I420)

    def write_bgr(self, target: Bgr) -> None:
        """Write blue, green, red into target (H, W, 3)."""
        target[:] = self._scene.bgr(self.pts_s)

    def preview(self) -> Luma:
        """Return a small luma copy."""
        return shrink(self._rendered())

    def _rendered(self) -> Luma:
        if self._luma is None:
            self._luma = self._scene.luma(self.pts_s)
        return self._luma


class DemoSource:
    """The scene as a camera: live and in real time, or as fast as it is taken.

    In real time it never falls behind: frames that were not taken in time are never rendered.
    """

    spoilt = 0
    preroll = None

    def __init__(self, settings: DemoSettings, options: SourceOptions) -> None:
        self.settings = settings
        self.scene = DemoScene(
            settings.seed, settings.width, settings.height, settings.density, settings.style
        )
        self._cap = RateCap(options.fps)
        self._live = options.play == "realtime"
        self._closed = False

    @property
    def live(self) -> bool:
        """Whether the scene goes on without us."""
        return self._live

    @property
    def endless(self) -> bool:
        """Whether the scene was given no end."""
        return not self.settings.seconds

    @property
    def capped(self) -> int:
        """Frames left out by the ``fps`` cap."""
        return self._cap.left_out

    def frames(self, stop: Callable[[], bool]) -> Iterator[DemoFrame]:
        """Yield frames until the end or ``stop()``; see ``Source.frames``."""
        pacer = Pacer() if self._live else None
        fps, began_ns = self.settings.fps, time.monotonic_ns()
        index = 0
        while not (stop() or self._closed):
            t_s = index / fps
            if self.settings.seconds and t_s >= self.settings.seconds:
                return
            if self._cap.passes(t_s):
                stamp = pacer.wait(t_s, stop) if pacer else Stamp.now()
                if stamp is None:
                    return
                yield DemoFrame(self.scene, stamp, t_s)
            index += 1
            if pacer:
                index = max(index, int((time.monotonic_ns() - began_ns) / 1e9 * fps))

    def close(self) -> None:
        """End ``frames()``."""
        self._closed = True


def open_demo(url: str, options: SourceOptions) -> DemoSource:
    """Return the demo for a ``demo://`` URL.

    Raises:
        SourceError: an unknown parameter, or a value out of range.
    """
    return DemoSource(demo_settings(url), options)

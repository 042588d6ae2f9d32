"""Images as a camera: one file, a folder, or a glob, in the order of their names."""

import contextlib
import glob
import logging
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from engine.errors import SourceError
from engine.sources.base import SourceOptions
from engine.sources.libav import check_size
from engine.sources.pace import Pacer, Stamp
from engine.sources.planes import Cut, shrink
from engine.types import Bgr, Luma

IMAGE_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff"})

GLOB_SIGNS: Final = frozenset("*?[")
"""What makes a path a pattern."""

_LOOK_S = 0.25
"""How often a watched folder is looked at."""

_SLIDES_PER_S = 1.0
"""How fast images follow each other in real time when no ``fps`` is given."""

_log = logging.getLogger(__name__)


class PictureFrame:
    """A picture held as BGR or gray pixels; see ``engine.sources.base.SourceFrame``."""

    __slots__ = ("_luma", "_pixels", "_stamp", "pts_s")

    def __init__(
        self,
        pixels: Bgr | Luma,
        stamp: Stamp,
        pts_s: float | None,
        crop: tuple[float, ...] = (),
    ) -> None:
        cut = Cut.of(crop, pixels.shape[1], pixels.shape[0])
        self._pixels, self._stamp, self.pts_s = cut.of_plane(pixels), stamp, pts_s
        self._luma: Luma | None = self._pixels if pixels.ndim == 2 else None

    @property
    def width_px(self) -> int:
        """Width of the picture."""
        return int(self._pixels.shape[1])

    @property
    def height_px(self) -> int:
        """Height of the picture."""
        return int(self._pixels.shape[0])

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
        target[:] = self._gray()

    def write_i420(self, target: Luma) -> None:
        """Write planar 4:2:0 into target; a gray picture gets neutral colour."""
        width, height = target.shape[1], target.shape[0] * 2 // 3
        if self._pixels.ndim == 2:
            target[:height] = self._pixels[:height, :width]
            target[height:] = 128
        else:
            even = np.ascontiguousarray(self._pixels[:height, :width])
            target[:] = cv2.cvtColor(even, cv2.COLOR_BGR2YUV_I420)

    def write_bgr(self, target: Bgr) -> None:
        """Write blue, green, red into target (H, W, 3)."""
        target[:] = self._pixels[..., None] if self._pixels.ndim == 2 else self._pixels

    def preview(self) -> Luma:
        """Return a small luma copy."""
        return shrink(self._gray())

    def _gray(self) -> Luma:
        if self._luma is None:
            self._luma = np.asarray(cv2.cvtColor(self._pixels, cv2.COLOR_BGR2GRAY), np.uint8)
        return self._luma


class ImageSource:
    """Shows image files one after the other; sizes may differ from one to the next.

    An image that cannot be decoded ends the source when it is the only one; among others it is
    logged and left out.
    """

    capped = 0
    spoilt = 0
    preroll = None

    def __init__(self, paths: Sequence[Path], options: SourceOptions) -> None:
        self._paths, self._options = tuple(paths), options
        self._pacer = Pacer() if options.play == "realtime" else None
        self._closed = False

    @property
    def live(self) -> bool:
        """Never: there is always time to look at a picture."""
        return False

    @property
    def endless(self) -> bool:
        """Never: the last picture is the end."""
        return False

    def frames(self, stop: Callable[[], bool]) -> Iterator[PictureFrame]:
        """Yield one frame per readable image; see ``Source.frames``."""
        period_s = 1.0 / (self._options.fps or _SLIDES_PER_S)
        shown = 0
        while True:
            before = shown
            for path in self._paths:
                if stop() or self._closed:
                    return
                pixels = self._load(path)
                if pixels is None:
                    continue
                media_s = shown * period_s
                stamp = Stamp.now() if self._pacer is None else self._pacer.wait(media_s, stop)
                if stamp is None:
                    return
                shown += 1
                yield PictureFrame(pixels, stamp, None, self._options.crop)
            if not self._options.loop or shown == before:
                return

    def close(self) -> None:
        """End ``frames()``."""
        self._closed = True

    def _load(self, path: Path) -> Bgr | None:
        try:
            return load_image(path, self._options)
        except SourceError as error:
            if len(self._paths) == 1:
                raise
            _log.warning("image left out: %s", error)
            return None


class WatchedFolder:
    """Shows the images that come into a folder (or match a pattern) from now on, oldest first.

    Lossless: a file is shown once it is whole, that is when it did not grow between two looks;
    one that comes again under its name with another time is shown again.
    """

    capped = 0
    spoilt = 0
    preroll = None
    live = False
    """Pictures wait until there is time for them."""
    endless = True

    def __init__(self, place: Path, options: SourceOptions) -> None:
        self._place, self._options = place, options
        self._folder = _fixed_part(place)
        self._known = self._found()
        self._closed = False

    def frames(self, stop: Callable[[], bool]) -> Iterator[PictureFrame]:
        """Yield one frame per new readable image; see ``Source.frames``."""
        coming: dict[Path, tuple[int, int]] = {}
        while not (stop() or self._closed):
            found = self._found()
            fresh = {p: mark for p, mark in found.items() if self._known.get(p) != mark}
            whole = [p for p, mark in fresh.items() if coming.get(p) == mark]
            coming = fresh
            self._known = {p: m for p, m in self._known.items() if p in found}
            for path in sorted(whole, key=lambda p: fresh[p]):
                self._known[path] = fresh[path]
                try:
                    pixels = load_image(path, self._options)
                except SourceError as error:
                    self.spoilt += 1
                    _log.warning("image left out: %s", error)
                    continue
                yield PictureFrame(pixels, Stamp.now(), None, self._options.crop)
                if stop():
                    return
            time.sleep(_LOOK_S)

    def close(self) -> None:
        """End ``frames()``."""
        self._closed = True

    def _found(self) -> dict[Path, tuple[int, int]]:
        """Return time and size of every image that is there.

        Raises:
            SourceError: the folder is gone, or the disk that it was on.
        """
        marks = {}
        try:
            if not self._folder.is_dir():
                raise SourceError(f"{self._folder}: the folder is gone — mount or make it again")
            for path in list_images(self._place):
                with contextlib.suppress(FileNotFoundError):
                    stat = path.stat()
                    marks[path] = (stat.st_mtime_ns, stat.st_size)
        except OSError as error:
            raise SourceError(f"{self._folder}: {error.strerror}") from error
        return marks


def load_image(path: Path, options: SourceOptions) -> Bgr:
    """Decode an image file, turned as its EXIF orientation says.

    Raises:
        SourceError: it cannot be opened, is no image, or is too large.
    """
    try:
        encoded = np.frombuffer(path.read_bytes(), np.uint8)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    try:
        pixels = cv2.imdecode(encoded, cv2.IMREAD_COLOR) if encoded.size else None
    except cv2.error as error:  # a size that OpenCV or the memory refuses
        raise SourceError(f"{path}: too large, or a damaged image") from error
    if pixels is None:
        raise SourceError(f"{path}: not an image, or a damaged one")
    check_size(str(path), pixels.shape[1], pixels.shape[0], options)
    return np.asarray(pixels, np.uint8)


def _fixed_part(place: Path) -> Path:
    """Return the folder itself, or the one in which a pattern begins."""
    if place.is_dir():
        return place
    fixed = Path(place.anchor)
    for part in place.parts[len(fixed.parts) : -1]:
        if GLOB_SIGNS & set(part):
            break
        fixed /= part
    return fixed


def list_images(place: Path) -> list[Path]:
    """Return the image files of a folder, or those a glob pattern names, sorted by name."""
    if place.is_dir():
        found = list(place.iterdir())
    else:
        # Path.glob() wants the fixed part of the pattern apart; glob.glob() takes it whole.
        found = [Path(name) for name in glob.glob(str(place), recursive=True)]  # noqa: PTH207
    return sorted(p for p in found if p.suffix.lower() in IMAGE_SUFFIXES and p.is_file())

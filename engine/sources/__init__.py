"""Where frames come from: ``open_source(url)`` returns a source for every kind of URL.

::

    clip.mp4, file:///videos/clip.mp4     a video file, played in real time or fast
    car.jpg, pictures/, pictures/*.png    images; with ``watch`` those that come from now on
    -                                     a stream on standard input
    rtsp:// rtsps:// rtp:// udp://        cameras and streams
    srt://HOST:PORT, srt://:PORT          a sender that is called, or awaited
    http:// https:// rtmp:// rtmps://     MJPEG, HLS and the like
    http://…/picture.jpg, or ``poll_s``   one picture, fetched again and again
    /dev/video0                           a camera on this machine (V4L2)
    demo://?seed=7&fps=15                 the built-in road scene
    canary://?every_s=60                  a drawn plate now and then
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.errors import SourceError, SourceUnsupportedError
from engine.sources.base import Source, SourceFrame, SourceOptions
from engine.sources.canary import open_canary
from engine.sources.credentials import redact, scheme
from engine.sources.demo import demo_settings, open_demo
from engine.sources.images import (
    GLOB_SIGNS,
    IMAGE_SUFFIXES,
    ImageSource,
    WatchedFolder,
    list_images,
)
from engine.sources.libav import SRT, STDIN, STREAM_SCHEMES, count_video_frames
from engine.sources.polled import PolledSource, is_picture
from engine.sources.srt import srt_settings
from engine.sources.video import VideoSource

__all__ = [
    "Source",
    "SourceFrame",
    "SourceOptions",
    "check_source",
    "count_frames",
    "open_source",
    "redact",
]


def open_source(url: str, options: SourceOptions | None = None) -> Source:
    """Return the source for a URL; connections are made by its ``frames()``.

    Raises:
        SourceUnsupportedError: no source reads this kind of URL.
        SourceError: the file or folder does not exist or has no images.
    """
    options = options or SourceOptions()
    kind = scheme(url)
    if kind == "demo":
        return open_demo(url, options)
    if kind == "canary":
        return open_canary(url)
    if kind in {"http", "https"} and is_picture(url, options):
        return PolledSource(url, options)
    if kind in STREAM_SCHEMES or url == STDIN:
        return VideoSource(url, options, stream=True)
    if kind not in {"", "file"}:
        raise _unsupported(url)
    return _open_path(_local_path(url, options.base_dir), options)


def _open_path(path: Path, options: SourceOptions) -> Source:
    """Return the source for a path or pattern of this machine."""
    if str(path).startswith("/dev/video"):
        return VideoSource(str(path), options, stream=True)
    if options.watch and (path.is_dir() or _is_pattern(path)):
        return WatchedFolder(path, options)
    images = _images_at(path)
    if images is not None:
        return ImageSource(images, options)
    if not path.exists():
        raise SourceError(f"{path}: no such file or folder")
    return VideoSource(str(path), options, stream=False)


def check_source(url: str) -> None:
    """Refuse what can only be a mistake; nothing is opened, a camera may be away for now.

    Raises:
        SourceUnsupportedError: no source reads this kind of URL.
        SourceError: a parameter of the demo or of SRT is wrong, or there is no such file.
    """
    kind = scheme(url)
    if kind == "demo":
        demo_settings(url)
    elif kind == "canary":
        open_canary(url)
    elif kind in {"", "file"} and url != STDIN:
        path = _local_path(url, "")
        awaited = str(path).startswith("/dev/") or bool(GLOB_SIGNS & set(str(path)))
        if not awaited and not path.exists():
            raise SourceError(f"{path}: no such file or folder")
    elif kind == SRT:
        srt_settings(url)
    elif kind not in STREAM_SCHEMES and url != STDIN:
        raise _unsupported(url)


def count_frames(url: str, options: SourceOptions | None = None) -> int | None:
    """Estimate the number of frames for a progress bar; None for what has no known end.

    Raises:
        SourceError: the file cannot be opened.
    """
    if scheme(url) not in {"", "file"} or url == STDIN:
        return None
    path = _local_path(url, options.base_dir if options else "")
    if str(path).startswith("/dev/video"):
        return None
    images = _images_at(path)
    return count_video_frames(str(path)) if images is None else len(images)


def _unsupported(url: str) -> SourceUnsupportedError:
    return SourceUnsupportedError(
        f"{redact(url)}: nobody here reads {scheme(url)}:// — use a path, file, demo, "
        + ", ".join(sorted(STREAM_SCHEMES))
    )


def _local_path(url: str, base_dir: str) -> Path:
    path = unquote(urlsplit(url).path) if scheme(url) == "file" else url
    return Path(base_dir) / Path(path).expanduser()


def _images_at(path: Path) -> list[Path] | None:
    """Return the images a path stands for; None when it is not about images.

    Raises:
        SourceError: a folder or pattern without any image.
    """
    if path.is_dir() or _is_pattern(path):
        found = list_images(path)
        if not found:
            raise SourceError(f"{path}: no images there ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return found
    return [path] if path.suffix.lower() in IMAGE_SUFFIXES else None


def _is_pattern(path: Path) -> bool:
    return not path.exists() and bool(GLOB_SIGNS & set(str(path)))

"""Where frames come from: ``open_source(url)`` returns a source for every kind of URL.

::

    clip.mp4, file:///videos/clip.mp4     a video file, played in real time or fast
    car.jpg, pictures/, pictures/*.png    images
    rtsp:// rtsps:// rtp:// udp:// srt:// cameras and streams
    http:// https:// rtmp:// rtmps://     MJPEG, HLS and the like
    /dev/video0                           a camera on this machine (V4L2)
    demo://?seed=7&fps=15                 the built-in road scene
"""

from pathlib import Path
from urllib.parse import unquote, urlsplit

from engine.errors import SourceError, SourceUnsupportedError
from engine.sources.base import Source, SourceFrame, SourceOptions
from engine.sources.credentials import redact, scheme
from engine.sources.demo import demo_settings, open_demo
from engine.sources.images import IMAGE_SUFFIXES, ImageSource, list_images
from engine.sources.video import STREAM_SCHEMES, VideoSource, count_video_frames

__all__ = [
    "Source",
    "SourceFrame",
    "SourceOptions",
    "check_source",
    "count_frames",
    "open_source",
    "redact",
]

_GLOB_SIGNS = frozenset("*?[")


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
    if kind in STREAM_SCHEMES:
        return VideoSource(url, options, stream=True)
    if kind not in {"", "file"}:
        raise _unsupported(url)
    path = _local_path(url, options.base_dir)
    if str(path).startswith("/dev/video"):
        return VideoSource(str(path), options, stream=True)
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
        SourceError: a parameter of the demo is wrong, or there is no such file.
    """
    kind = scheme(url)
    if kind == "demo":
        demo_settings(url)
    elif kind in {"", "file"}:
        path = _local_path(url, "")
        awaited = str(path).startswith("/dev/") or bool(_GLOB_SIGNS & set(str(path)))
        if not awaited and not path.exists():
            raise SourceError(f"{path}: no such file or folder")
    elif kind not in STREAM_SCHEMES:
        raise _unsupported(url)


def count_frames(url: str, options: SourceOptions | None = None) -> int | None:
    """Estimate the number of frames for a progress bar; None for what has no known end.

    Raises:
        SourceError: the file cannot be opened.
    """
    if scheme(url) not in {"", "file"}:
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
    is_pattern = not path.exists() and bool(_GLOB_SIGNS & set(str(path)))
    if path.is_dir() or is_pattern:
        found = list_images(path)
        if not found:
            raise SourceError(f"{path}: no images there ({', '.join(sorted(IMAGE_SUFFIXES))})")
        return found
    return [path] if path.suffix.lower() in IMAGE_SUFFIXES else None

"""Opening what libav reads: limits of time and size, what a URL may open, errors in words."""

import errno
import logging
import math
from typing import Final, Literal

import av
import av.error
from av.codec.hwaccel import HWAccel, hwdevices_available
from av.container import InputContainer
from av.video.stream import VideoStream

from engine.errors import SourceDeniedError, SourceError, SourceUnsupportedError
from engine.sources.base import SourceOptions
from engine.sources.credentials import redact, scheme
from engine.sources.srt import SrtReceiver

RTSP_SCHEMES: Final = frozenset({"rtsp", "rtsps"})
SRT: Final = "srt"
STREAM_SCHEMES: Final = RTSP_SCHEMES | {"http", "https", "rtmp", "rtmps", SRT, "udp", "rtp"}

STDIN: Final = "-"
"""The URL of standard input."""

# What a URL may open in turn (playlists, redirects): a remote one never reaches local files.
_LOCAL_PROTOCOLS = "file,crypto,data"
_STDIN_PROTOCOLS = "file,pipe"
_REMOTE_PROTOCOLS = "http,https,tls,tcp,crypto,data,httpproxy"
_FED_PROTOCOLS = "crypto,data"
_MEDIA_PROTOCOLS = "rtsp,rtsps,rtp,srtp,rtmp,rtmps,rtmpt,udp,tcp,tls,http,https,crypto,data"


_PROBE_US: Final = "1000000"
"""Media time that libav may spend on guessing the frame rate before the first frame."""

_SHORT_PROBE_US: Final = "300000"
"""The same where a lost sender is noticed late, so that it is back in time all the same."""

_SKIPPED: Final[dict[str, Literal["DEFAULT", "NONREF", "NONKEY"]]] = {
    "none": "DEFAULT",
    "nonref": "NONREF",
    "nonkey": "NONKEY",
}
_UNFILTERED: Final = {"none": "default", "nonref": "noref", "all": "all"}
"""Words of the configuration in those of libav."""

_DEVICE_REMEDIES: Final = {
    errno.ENOENT: "no such device — plug it in; ls /dev/video* shows those that are there",
    errno.ENODEV: "the device is gone — plug it in again",
    errno.EACCES: "this user may not open it — add it to the group video",
    errno.EPERM: "this user may not open it — add it to the group video",
    errno.EBUSY: "another program uses it — end that one",
    errno.ENOTTY: "this is no camera; of a camera that has several, try the next number",
}

log = logging.getLogger(__name__)


def open_container(
    url: str, options: SourceOptions, fed_by: SrtReceiver | None = None
) -> InputContainer:
    """Open a file, stream or device for reading; ``fed_by``: what brings the bytes of SRT.

    Raises:
        SourceError: nobody answers within the time limits, or there is no video in it.
    """
    read_s = options.read_timeout_s
    if scheme(url) in RTSP_SCHEMES:
        # The first time-out only makes libav's parser give what it holds; the second one is told.
        read_s /= 2
    try:
        container = av.open(
            fed_by or (options.stdin if url == STDIN else url),
            mode="r",
            format=_container_format(url),
            options=libav_options(url, options),
            timeout=(options.connect_timeout_s, read_s),
            metadata_errors="replace",
            hwaccel=_hwaccel(options.hwaccel),
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        # "from None": the original names the URL, password included.
        raise failure(url, error, options) from None
    if fed_by is not None:
        fed_by.found()
    return container


def _container_format(url: str) -> str | None:
    """Return the only format that a URL can have, None where libav is to find out."""
    if url.startswith("/dev/video"):
        return "v4l2"
    return "mpegts" if scheme(url) == SRT else None


def _hwaccel(wanted: str) -> HWAccel | None:
    """Return the hardware to decode with; libav itself falls back to software frame by frame."""
    if wanted == "none":
        return None
    built_in = hwdevices_available()
    for kind in built_in if wanted == "auto" else [wanted]:
        if kind not in built_in:
            continue
        try:
            accelerator = HWAccel(kind, allow_software_fallback=True)
            accelerator.create(av.Codec("h264", "r"))
        except (av.error.FFmpegError, NotImplementedError, OSError, RuntimeError, ValueError):
            continue
        log.info("hwaccel: decoding with %s", kind)
        return accelerator
    log.warning(
        "hwaccel = %r cannot work here, decoding in software (built into PyAV: %s)",
        wanted,
        ", ".join(built_in) or "none",
    )
    return None


def libav_options(url: str, options: SourceOptions) -> dict[str, str]:
    """Return the options of libav for this URL: time limits, transport, what it may open."""
    kind = scheme(url)
    if url == STDIN:
        return {"protocol_whitelist": _STDIN_PROTOCOLS}
    if kind not in STREAM_SCHEMES:
        return {} if url.startswith("/dev/video") else {"protocol_whitelist": _LOCAL_PROTOCOLS}
    limit_us = str(int(options.read_timeout_s * 1e6))
    if kind in RTSP_SCHEMES:
        chosen = {
            "protocol_whitelist": _MEDIA_PROTOCOLS,
            "timeout": limit_us,
            "analyzeduration": _PROBE_US,
        }
        if options.transport == "auto":
            return chosen | {"rtsp_flags": "prefer_tcp"}
        return chosen | {"rtsp_transport": options.transport}
    if kind == SRT:
        return {"protocol_whitelist": _FED_PROTOCOLS, "analyzeduration": _SHORT_PROBE_US}
    opens = _REMOTE_PROTOCOLS if kind in {"http", "https"} else _MEDIA_PROTOCOLS
    return {"protocol_whitelist": opens, "rw_timeout": limit_us}


def video_stream(container: InputContainer, url: str, options: SourceOptions) -> VideoStream:
    """Return the first video stream, set to decode in one thread.

    Raises:
        SourceError: there is only sound, or nothing, or its pictures are too large.
    """
    if not container.streams.video:
        raise SourceError(f"{redact(url)}: there is no video in it")
    stream = container.streams.video[0]
    codec = stream.codec_context
    if codec is None:  # whatever the annotation says: so it is for a codec that libav lacks
        raise SourceError(f"{redact(url)}: nobody here decodes this kind of video")
    check_size(url, codec.width, codec.height, options)
    codec.thread_count = 1
    codec.thread_type = "NONE"
    codec.skip_frame = _SKIPPED[options.skip_frame]
    codec.options = {
        "max_pixels": str(int(options.max_megapixels * 1e6)),
        "skip_loop_filter": _UNFILTERED[options.skip_loop_filter],
    }
    return stream


def check_size(url: str, width_px: int, height_px: int, options: SourceOptions) -> None:
    """Refuse a picture that is too large for memory that others need, too.

    Raises:
        SourceError: it has more than ``max_megapixels``.
    """
    if width_px * height_px > options.max_megapixels * 1e6:
        raise SourceError(
            f"{redact(url)}: {width_px}×{height_px} is more than "
            f"max_megapixels = {options.max_megapixels:g} allows"
        )


def failure(url: str, error: Exception, options: SourceOptions) -> SourceError:
    """Return what went wrong as an error of ours, in words that hold no secret."""
    place = redact(url)
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return SourceDeniedError(f"{place}: it refuses the name and password of the URL")
    if isinstance(error, av.error.ProtocolNotFoundError):
        return SourceUnsupportedError(
            f"{place}: PyAV's libav was built without {scheme(url)}:// — install PyAV's own wheel"
        )
    device = _DEVICE_REMEDIES.get(getattr(error, "errno", None) or 0)
    if device and url.startswith("/dev/"):
        return SourceError(f"{place}: {device}")
    if isinstance(error, av.error.ExitError):
        return SourceError(
            f"{place}: no answer in time (connecting {options.connect_timeout_s:g} s, "
            f"reading {options.read_timeout_s:g} s)"
        )
    return SourceError(f"{place}: {getattr(error, 'strerror', None) or type(error).__name__}")


def count_video_frames(path: str) -> int | None:
    """Estimate how many frames a video file has, from its header; None when it does not tell."""
    with open_container(path, SourceOptions()) as container:
        if not container.streams.video:
            return None
        stream = container.streams.video[0]
        if stream.frames:
            return stream.frames
        if container.duration and stream.average_rate:
            return math.ceil(container.duration / av.time_base * float(stream.average_rate))
    return None

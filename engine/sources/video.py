"""Video through PyAV (libav): files, network streams and cameras on V4L2.

One decoder thread per camera: measured on two cores, more threads only add latency and take
time from the recognizers.
"""

import math
from collections.abc import Callable, Iterator
from typing import Final

import av
import av.error
from av.container import InputContainer
from av.video.stream import VideoStream

from engine.errors import SourceDeniedError, SourceError
from engine.sources.base import SourceOptions
from engine.sources.credentials import redact, scheme
from engine.sources.pace import Pacer, RateCap, Stamp
from engine.sources.planes import PlaneCopier
from engine.types import Bgr, Luma

RTSP_SCHEMES: Final = frozenset({"rtsp", "rtsps"})
STREAM_SCHEMES: Final = RTSP_SCHEMES | {"http", "https", "rtmp", "rtmps", "srt", "udp", "rtp"}

_FALLBACK_FPS = 25.0
"""Frame rate of media that do not tell theirs."""

_JUMP_S = 10.0
"""A longer step between two frames is a broken clock, not a pause."""

_SPOILT_IN_A_ROW = 500
"""So many undecodable packets without a picture: this is no stream we can read."""

# What a URL may open in turn (playlists, redirects): a remote one never reaches local files.
_LOCAL_PROTOCOLS = "file,crypto,data"
_REMOTE_PROTOCOLS = "http,https,tls,tcp,crypto,data,httpproxy"
_MEDIA_PROTOCOLS = "rtsp,rtsps,rtp,srtp,rtmp,rtmps,rtmpt,srt,udp,tcp,tls,http,https,crypto,data"


class VideoFrame:
    """A decoded frame and its stamps; see ``engine.sources.base.SourceFrame``."""

    __slots__ = ("_copier", "_frame", "_stamp", "pts_s")

    def __init__(
        self, frame: av.VideoFrame, copier: PlaneCopier, stamp: Stamp, pts_s: float | None
    ) -> None:
        self._frame, self._copier, self._stamp = frame, copier, stamp
        self.pts_s = pts_s

    @property
    def width_px(self) -> int:
        """Width of the picture."""
        return self._frame.width

    @property
    def height_px(self) -> int:
        """Height of the picture."""
        return self._frame.height

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
        self._copier.luma(self._frame, target)

    def write_i420(self, target: Luma) -> None:
        """Write planar 4:2:0 into target."""
        self._copier.i420(self._frame, target)

    def write_bgr(self, target: Bgr) -> None:
        """Write blue, green, red into target (H, W, 3)."""
        self._copier.bgr(self._frame, target)

    def preview(self) -> Luma:
        """Return a small luma copy."""
        return self._copier.preview(self._frame)


class VideoSource:
    """Frames of one file, stream or V4L2 device.

    A file played in real time counts as live: like a camera it does not wait for us.
    """

    def __init__(self, url: str, options: SourceOptions, *, stream: bool) -> None:
        self._url, self._options, self._stream = url, options, stream
        self._cap = RateCap(options.fps)
        self._copier = PlaneCopier()
        self._pacer = Pacer() if not stream and options.play == "realtime" else None
        self._container: InputContainer | None = None
        self.spoilt = 0

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace."""
        return self._stream or self._pacer is not None

    @property
    def endless(self) -> bool:
        """Whether this is a stream or device, not a file."""
        return self._stream

    @property
    def capped(self) -> int:
        """Frames left out by the ``fps`` cap."""
        return self._cap.left_out

    def frames(self, stop: Callable[[], bool]) -> Iterator[VideoFrame]:
        """Yield frames until the end or ``stop()``; see ``Source.frames``."""
        clock = MediaClock()
        while True:
            before = clock.frames
            yield from self._play_once(clock, stop)
            played = clock.frames > before
            if stop() or not (played and self._options.loop and not self._stream):
                return
            clock.restart()

    def close(self) -> None:
        """Close the container."""
        if self._container is not None:
            self._container.close()
            self._container = None

    def _play_once(self, clock: "MediaClock", stop: Callable[[], bool]) -> Iterator[VideoFrame]:
        """Open, decode to the end, close."""
        container = open_container(self._url, self._options)
        self._container = container
        try:
            stream = video_stream(container, self._url)
            clock.nominal_fps = float(stream.average_rate or 0) or _FALLBACK_FPS
            for frame in self._decoded(container, stream, stop):
                media_s = clock.advance(frame.time)
                if not self._cap.passes(media_s):
                    continue
                stamp = Stamp.now() if self._pacer is None else self._pacer.wait(media_s, stop)
                if stamp is None:
                    return
                yield VideoFrame(frame, self._copier, stamp, frame.time)
        except av.error.FFmpegError as error:
            # "from None": the original names the URL, password included.
            raise failure(self._url, error, self._options) from None
        finally:
            self.close()

    def _decoded(
        self, container: InputContainer, stream: VideoStream, stop: Callable[[], bool]
    ) -> Iterator[av.VideoFrame]:
        """Yield the stream's frames; packets that cannot be decoded are counted and passed over."""
        in_a_row = 0
        for packet in container.demux(stream):
            if stop():
                return
            try:
                frames = packet.decode()
            except av.error.InvalidDataError:
                self.spoilt += 1
                in_a_row += 1
                if in_a_row > _SPOILT_IN_A_ROW:
                    raise
                continue
            in_a_row = 0 if frames else in_a_row
            for frame in frames:
                self.spoilt += frame.is_corrupt
                yield frame
                if stop():
                    return


class MediaClock:
    """Turns the times a container gives into one rising time line.

    Missing times, jumps and the start of a next round continue at the nominal distance.
    """

    def __init__(self) -> None:
        self.nominal_fps = _FALLBACK_FPS
        self.frames = 0
        self._now_s = 0.0
        self._last_pts_s: float | None = None

    def advance(self, pts_s: float | None) -> float:
        """Return the frame's place on the time line, in seconds from the first frame."""
        step_s = 1.0 / self.nominal_fps
        if pts_s is not None and self._last_pts_s is not None:
            ahead_s = pts_s - self._last_pts_s
            if 0 <= ahead_s <= _JUMP_S:
                step_s = ahead_s
        if self.frames:
            self._now_s += step_s
        self.frames += 1
        self._last_pts_s = pts_s
        return self._now_s

    def restart(self) -> None:
        """Expect the media's times to begin anew."""
        self._last_pts_s = None


def open_container(url: str, options: SourceOptions) -> InputContainer:
    """Open a file, stream or device for reading.

    Raises:
        SourceError: nobody answers within the time limits, or there is no video in it.
    """
    read_s = options.read_timeout_s
    if scheme(url) in RTSP_SCHEMES:
        # The first time-out only makes libav's parser give what it holds; the second one is told.
        read_s /= 2
    try:
        return av.open(
            url,
            mode="r",
            format="v4l2" if url.startswith("/dev/video") else None,
            options=libav_options(url, options),
            timeout=(options.connect_timeout_s, read_s),
            metadata_errors="replace",
        )
    except (av.error.FFmpegError, OSError, ValueError) as error:
        raise failure(url, error, options) from None


def libav_options(url: str, options: SourceOptions) -> dict[str, str]:
    """Return the options of libav for this URL: time limits, transport, what it may open."""
    kind = scheme(url)
    if kind not in STREAM_SCHEMES:
        return {} if url.startswith("/dev/video") else {"protocol_whitelist": _LOCAL_PROTOCOLS}
    limit_us = str(int(options.read_timeout_s * 1e6))
    if kind in RTSP_SCHEMES:
        chosen = {"protocol_whitelist": _MEDIA_PROTOCOLS, "timeout": limit_us}
        if options.transport == "auto":
            return chosen | {"rtsp_flags": "prefer_tcp"}
        return chosen | {"rtsp_transport": options.transport}
    if kind in {"http", "https"}:
        return {"protocol_whitelist": _REMOTE_PROTOCOLS, "rw_timeout": limit_us}
    return {"protocol_whitelist": _MEDIA_PROTOCOLS, "rw_timeout": limit_us}


def video_stream(container: InputContainer, url: str) -> VideoStream:
    """Return the first video stream, set to decode in one thread.

    Raises:
        SourceError: there is only sound, or nothing.
    """
    if not container.streams.video:
        raise SourceError(f"{redact(url)}: there is no video in it")
    stream = container.streams.video[0]
    stream.codec_context.thread_count = 1
    stream.codec_context.thread_type = "NONE"
    return stream


def failure(url: str, error: Exception, options: SourceOptions) -> SourceError:
    """Return what went wrong as an error of ours, in words that hold no secret."""
    place = redact(url)
    if isinstance(error, av.error.HTTPUnauthorizedError | av.error.HTTPForbiddenError):
        return SourceDeniedError(f"{place}: it refuses the name and password of the URL")
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

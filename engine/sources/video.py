"""Video through PyAV (libav): files, network streams and cameras on V4L2.

One decoder thread per camera: measured on two cores, more threads only add latency and take
time from the recognizers.
"""

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import Final

import av
import av.error
from av.container import InputContainer
from av.format import Flags
from av.video.stream import VideoStream

from engine.sources.base import SourceOptions
from engine.sources.credentials import scheme
from engine.sources.libav import (
    SRT,
    STDIN,
    check_size,
    failure,
    open_container,
    video_stream,
)
from engine.sources.pace import FALLBACK_FPS, MediaClock, Pacer, RateCap, Stamp, StreamClock
from engine.sources.planes import PlaneCopier
from engine.sources.preroll import Preroll, VideoPacket
from engine.sources.sender_clock import SenderClock
from engine.sources.srt import SrtReceiver
from engine.sources.thrift import Thrift
from engine.types import Bgr, Luma

_SPOILT_IN_A_ROW: Final = 500
"""So many undecodable packets without a picture: this is no stream we can read."""

_SEGMENTED: Final = frozenset({"hls", "dash"})
"""What comes in pieces of some seconds: they are shown at their own pace, or most would be lost."""

_PLAYOUT_SPEED: Final = 1.01
"""A little faster than the camera, so that what waits here does not grow."""

_LONGEST_GAP_S: Final = 3.0
"""Between two frames; where more is missing, segments were."""


class VideoFrame:
    """A decoded frame and its stamps; see ``engine.sources.base.SourceFrame``."""

    __slots__ = ("_copier", "_frame", "_size", "_stamp", "pts_s")

    def __init__(
        self, frame: av.VideoFrame, copier: PlaneCopier, stamp: Stamp, pts_s: float | None
    ) -> None:
        self._frame, self._copier, self._stamp = frame, copier, stamp
        self._size = copier.size(frame)
        self.pts_s = pts_s

    @property
    def width_px(self) -> int:
        """Width of the picture."""
        return self._size[0]

    @property
    def height_px(self) -> int:
        """Height of the picture."""
        return self._size[1]

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
        self._copier = PlaneCopier(
            options.crop, scale=options.scale, deinterlace=options.deinterlace
        )
        self._pacer = Pacer() if not stream and options.play == "realtime" else None
        self._arrivals = StreamClock()
        self._sender = SenderClock() if stream and options.camera_clock else None
        self._playout: Pacer | None = None
        self._container: InputContainer | None = None
        self._receiver: SrtReceiver | None = None
        self._is_timed = True
        self.preroll = Preroll(options.clip_s, options.clip_bytes) if options.clip_s else None
        self.spoilt = 0

    @property
    def live(self) -> bool:
        """Whether frames come at their own pace; a file waits, also one played in real time."""
        return self._stream

    @property
    def endless(self) -> bool:
        """Whether this is a stream or device, not a file."""
        return self._stream and self._url != STDIN

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
        """Close the container, and what feeds it."""
        if self._container is not None:
            self._container.close()
            self._container = None
        if self._receiver is not None:
            self._receiver.close()
            self._receiver = None

    def _play_once(self, clock: MediaClock, stop: Callable[[], bool]) -> Iterator[VideoFrame]:
        """Open, decode to the end, close."""
        if scheme(self._url) == SRT:
            self._receiver = SrtReceiver(self._url, self._options)
        try:
            container = open_container(self._url, self._options, self._receiver)
            self._container = container
            stream = video_stream(container, self._url, self._options)
            clock.nominal_fps = float(stream.average_rate or 0) or FALLBACK_FPS
            # Formats without times get made-up ones of 25 frames a second: of a live stream
            # only the arrival is true.
            untimed = Flags.no_timestamps in Flags(container.format.flags)
            self._is_timed = not (self._stream and untimed)
            segmented = self._stream and container.format.name in _SEGMENTED
            self._playout = Pacer(_PLAYOUT_SPEED, _LONGEST_GAP_S) if segmented else None
            if self.preroll is not None and not clock.frames:  # a loop's next round goes on
                self.preroll.begin(stream)
            thrift = Thrift(self._cap, clock, stream.codec_context)
            for frame in self._decoded(container, stream, thrift, stop):
                pts_s = frame.time if self._is_timed else time.monotonic()
                media_s = thrift.passes(frame, pts_s)
                if media_s is None:
                    continue
                stamp = self._stamp(media_s, pts_s, stop)
                if stamp is None:
                    return
                yield VideoFrame(frame, self._copier, stamp, pts_s)
        except av.error.FFmpegError as error:
            # "from None": the original names the URL, password included.
            raise failure(self._url, error, self._options) from None
        finally:
            self.close()

    def _stamp(self, media_s: float, pts_s: float | None, stop: Callable[[], bool]) -> Stamp | None:
        """Return when a frame was captured: due in a file, sent in a stream; None to stop."""
        if self._pacer is not None:
            return self._pacer.wait(media_s, stop)
        stamp = Stamp.now()
        if self._stream:
            age_s = self._sender.age_s(pts_s, stamp.unix_ns) if self._sender else None
            stamp = self._arrivals.captured(pts_s, stamp, age_s)
        if self._playout is not None and self._playout.wait(media_s, stop) is None:
            return None
        return stamp

    def _decoded(
        self,
        container: InputContainer,
        stream: VideoStream,
        thrift: Thrift,
        stop: Callable[[], bool],
    ) -> Iterator[av.VideoFrame]:
        """Yield the stream's frames; packets that cannot be decoded are counted and passed over."""
        in_a_row = 0
        for packet in self._packets(container, stream):
            if stop():
                return
            if self._sender is not None:
                self._sender.hear(packet)
            if self.preroll is not None:
                self.preroll.keep(packet, self._time_of(packet, packet.dts))
            if thrift.leaves_out(packet, self._time_of(packet, packet.pts)):
                continue
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
                check_size(self._url, frame.width, frame.height, self._options)
                self.spoilt += frame.is_corrupt
                yield frame
                if stop():
                    return

    @staticmethod
    def _packets(container: InputContainer, stream: VideoStream) -> Iterator[VideoPacket]:
        """Yield the stream's packets to the end; streams that begin later are nobody's."""
        # At the end PyAV looks for those, too, where it knows only the first ones.
        with contextlib.suppress(IndexError):
            yield from container.demux(stream)

    def _time_of(self, packet: VideoPacket, ticks: int | None) -> float | None:
        """Return a packet's time in seconds, that of its arrival where the format has none."""
        if not self._is_timed:
            return time.monotonic()
        ticks = packet.pts if ticks is None else ticks
        if ticks is None or packet.time_base is None:
            return None
        return float(ticks * packet.time_base)

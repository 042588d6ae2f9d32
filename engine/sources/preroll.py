"""Pre-roll: the newest packets of a stream as they came, and clips made of them without decoding.

A clip begins with a key frame: what is kept are whole groups of pictures, the oldest go first.
"""

import contextlib
import io
from collections import deque
from fractions import Fraction
from typing import Final, TypeAlias, cast

import av
import av.error
import msgspec
from av.container import OutputContainer
from av.video.stream import VideoStream

from engine.errors import SourceError
from engine.sources.pace import MediaClock

_TICKS_PER_S: Final = 90_000
_LONGEST_TICKS: Final = 10 * _TICKS_PER_S
"""Of a picture's show, and of the wait before it; what is longer is a broken time."""
_BESIDE_BYTES: Final = 512
"""Memory that a packet takes beside its data: a stream of tiny ones must not outgrow the bound."""
_CONTAINERS: Final = ("mp4", "matroska")
"""Browsers play the first; the other one holds every kind of video."""


VideoPacket: TypeAlias = "av.Packet[VideoStream]"


class _Group(msgspec.Struct):
    """A key frame and all packets up to the next one."""

    began_s: float
    packets: list[tuple[VideoPacket, float]]
    """Each with its place on the time line, in seconds."""
    size_bytes: int = 0


class Preroll:
    """Keeps the packets of the last ``keep_s`` seconds, in ``most_bytes`` of memory at most.

    Belongs to the thread that reads the source.
    """

    def __init__(self, keep_s: float, most_bytes: int) -> None:
        self._keep_s, self._most_bytes = keep_s, most_bytes
        self._groups: deque[_Group] = deque()
        self._clock = MediaClock()
        self._holder: OutputContainer | None = None
        self._template: VideoStream | None = None
        self.kept_bytes = 0

    def begin(self, stream: VideoStream) -> None:
        """Expect the packets of another connection; those of the last one go.

        What describes the stream is copied: a clip can still be made once the stream has ended.
        """
        self._forget()
        self._clock = MediaClock()
        self._holder, self._template = av.open(io.BytesIO(), "w", format="nut"), None
        with contextlib.suppress(av.error.FFmpegError, ValueError):  # no container takes it
            self._template = self._holder.add_stream_from_template(stream, opaque=True)

    def keep(self, packet: VideoPacket, media_s: float | None) -> None:
        """Keep a packet that was demuxed; media_s: its time in the stream."""
        if not packet.size:  # the one that says that the stream has ended
            return
        at_s = self._clock.advance(media_s)
        if packet.is_keyframe:
            self._groups.append(_Group(at_s, []))
        if not self._groups:
            return
        size_bytes = packet.size + _BESIDE_BYTES
        self._groups[-1].packets.append((packet, at_s))
        self._groups[-1].size_bytes += size_bytes
        self.kept_bytes += size_bytes
        while len(self._groups) > 1 and (
            self._groups[1].began_s <= at_s - self._keep_s or self.kept_bytes > self._most_bytes
        ):
            self.kept_bytes -= self._groups.popleft().size_bytes
        if self.kept_bytes > self._most_bytes:
            self._forget()

    def clip(self) -> bytes:
        """Return what is kept as a file: MP4 where that holds this kind of video, else Matroska.

        Raises:
            SourceError: nothing is kept, or no container takes it; says what to do.
        """
        if self._template is None:
            raise SourceError("this kind of video fits into no file without encoding it")
        if not self._groups:
            raise SourceError(
                "no key frame came lately, or more than clip_mib since — let the camera send key "
                "frames more often, or raise clip_mib"
            )
        reason = ""
        for container in _CONTAINERS:
            try:
                return self._muxed(self._template, container)
            except (av.error.FFmpegError, ValueError) as error:
                reason = reason or str(error)
        raise SourceError(f"this kind of video fits into no file without encoding it: {reason}")

    def _muxed(self, template: VideoStream, container: str) -> bytes:
        """Return copies of the packets in a container of this kind; times begin at 0."""
        file, last = io.BytesIO(), -1
        first_s = self._groups[0].began_s
        with av.open(file, "w", format=container) as clip:
            stream = clip.add_stream_from_template(template, opaque=True)
            for group in self._groups:
                for packet, at_s in group.packets:
                    copy = cast("VideoPacket", av.Packet(bytes(packet)))
                    copy.stream, copy.time_base = stream, Fraction(1, _TICKS_PER_S)
                    last = max(last + 1, round((at_s - first_s) * _TICKS_PER_S))
                    copy.dts, copy.pts = last, last + _shown_later_ticks(packet)
                    copy.duration = _ticks(packet, packet.duration or 0)
                    copy.is_keyframe = packet.is_keyframe
                    clip.mux_one(copy)
        return file.getvalue()

    def _forget(self) -> None:
        self._groups.clear()
        self.kept_bytes = 0


def _shown_later_ticks(packet: VideoPacket) -> int:
    """Return how long after its decoding a picture is shown."""
    if packet.pts is None or packet.dts is None:
        return 0
    return _ticks(packet, packet.pts - packet.dts)


def _ticks(packet: VideoPacket, span: int) -> int:
    """Return a span of a packet's own time in ours, 0 where it is none that can be."""
    ticks = round(span * (packet.time_base or 0) * _TICKS_PER_S)
    return ticks if 0 <= ticks <= _LONGEST_TICKS else 0

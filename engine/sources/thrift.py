"""The ``fps`` cap before decoding: what would be left out is not decoded, as far as it need not be.

A frame of a codec whose frames all stand alone (MJPEG) is decoded or not as the cap says. Of other
codecs the decoder is told, packet by packet, to pass over frames that no other frame needs; a frame
that others need is decoded, and the cap leaves it out afterwards.
"""

import bisect
from typing import Final

import av
from av.video.codeccontext import VideoCodecContext

from engine.sources.pace import MediaClock, RateCap
from engine.sources.preroll import VideoPacket

_MOST_EARLY: Final = 64
"""More frames never wait in a decoder for their turn."""


class Thrift:
    """Decides for the packets and frames of one connection, in the order in which they come."""

    def __init__(self, cap: RateCap, clock: MediaClock, codec: VideoCodecContext) -> None:
        self._cap, self._clock, self._codec = cap, clock, codec
        self._usual = codec.skip_frame
        self._alone = codec.codec.intra_only
        self._media_s = 0.0
        self._early: list[int] = []
        """Times of packets that were decoded only if other frames need them."""

    def leaves_out(self, packet: VideoPacket, pts_s: float | None) -> bool:
        """Tell whether a packet need not be decoded at all; pts_s: its time in the stream."""
        if not self._cap.fps or not packet.size:
            return False
        if self._alone:
            self._media_s = self._clock.advance(pts_s)
            return not self._cap.passes(self._media_s)
        if self._usual == "DEFAULT":
            early = self._cap.is_early(self._clock.place(pts_s))
            self._codec.skip_frame = "NONREF" if early else "DEFAULT"
            if early and packet.pts is not None:
                bisect.insort(self._early, packet.pts)
        return False

    def passes(self, frame: av.VideoFrame, pts_s: float | None) -> float | None:
        """Return a decoded frame's place on the time line, None where the cap leaves it out."""
        if self._alone and self._cap.fps:
            return self._media_s
        self._count_passed_over(frame.pts)
        media_s = self._clock.advance(pts_s)
        return media_s if self._cap.passes(media_s) else None

    def _count_passed_over(self, pts: int | None) -> None:
        """Frames come in the order of their times: an earlier one that did not come, will not."""
        early = self._early
        if pts is None or not early:
            return
        before = bisect.bisect_left(early, pts)
        self._cap.left_out += before
        del early[: before + (before < len(early) and early[before] == pts)]
        if len(early) > _MOST_EARLY:  # the stream's clock went back
            self._cap.left_out += len(early)
            early.clear()

"""The wall clock of a camera, as its RTCP sender reports tell it: when a picture was really taken.

libav puts a sender's time beside every packet once a report has come (``prft``, the producer's
reference time). Without it, only the arrival of a picture is known, and what the network and the
camera always take is not.
"""

import logging
import math
import struct
from typing import Final

from engine.sources.pace import OLDEST_S
from engine.sources.preroll import VideoPacket

_REFERENCE: Final = struct.Struct("=qi")
"""``AVProducerReferenceTime``: microseconds since 1970, flags."""

_AHEAD_S: Final = 0.1
"""A clock that is so much ahead of ours is as good as ours."""
_LATE_S: Final = 3.0
"""No camera needs longer from the picture to here: a clock that says so is wrong."""
_STEP_S: Final = 0.25
"""A clock that moves by more between two reports has been set."""

log = logging.getLogger(__name__)


class SenderClock:
    """How old a stream's pictures are by their sender's clock, as far as that can be believed.

    It is believed while its quickest picture seems neither taken in the future nor long ago.
    """

    def __init__(self) -> None:
        self._apart_s: float | None = None
        """Wall clock less media time, as the sender tells it."""
        self._quickest_s = math.inf
        self._is_believed: bool | None = None

    def hear(self, packet: VideoPacket) -> None:
        """Take what a packet says about its sender's clock."""
        # The packet that brings a report has the time of the next one: libav's parser is behind.
        if packet.pts is None or packet.time_base is None or packet.has_sidedata("rtcp_sr"):
            return
        if packet.has_sidedata("prft"):
            told = bytes(packet.get_sidedata("prft"))
            if len(told) >= _REFERENCE.size:
                wall_us = _REFERENCE.unpack_from(told)[0]
                self.tell(wall_us / 1e6 - float(packet.pts * packet.time_base))

    def tell(self, apart_s: float) -> None:
        """Take the sender's wall clock less its media time, in seconds."""
        if self._apart_s is None or abs(apart_s - self._apart_s) > _STEP_S:
            self._quickest_s = math.inf
        self._apart_s = apart_s

    def age_s(self, media_s: float | None, now_unix_ns: int) -> float | None:
        """Return how old the picture with that media time is; None where nobody can tell."""
        if self._apart_s is None or media_s is None:
            return None
        age_s = now_unix_ns / 1e9 - (media_s + self._apart_s)
        self._quickest_s = min(age_s, self._quickest_s)
        believed = -_AHEAD_S <= self._quickest_s <= _LATE_S
        if believed is not self._is_believed:
            self._is_believed = believed
            self._say(believed=believed)
        return max(age_s, 0.0) if believed and age_s <= OLDEST_S else None

    def _say(self, *, believed: bool) -> None:
        if believed:
            log.info("the camera's own clock tells when its pictures are taken")
            return
        way = "behind" if self._quickest_s > 0 else "ahead of"
        log.warning(
            "the camera's clock is %.3g s %s ours: its pictures get the time of their arrival — "
            "let it set its clock by NTP",
            abs(self._quickest_s),
            way,
        )

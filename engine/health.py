"""How a camera is while it is connected: live, degraded or frozen, and why, in words.

Pure: it is told of frames, small luma copies, spoilt packets and the time, and answers. Nothing
here opens, waits or logs. Signs of trouble must last before they count; a sound picture counts at
once. Hints (out of focus, moved) never change the state: weather does the same to a picture.
"""

from collections import deque
from typing import Final, NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from engine.types import CameraState, Luma

LOOK_S: Final = 0.5
"""A picture is looked at this often; more would tell no more."""

STALLED_S: Final = 2.0
"""Frames that stay away for this long (or for 4 of their usual distances) are missed."""

BLACK_S: Final = 4.0
HINT_S: Final = 10.0
"""A hint must last for this long."""

_BLACK_LEVEL = 40
_BLACK_QUANTILE = 0.995
"""All but the brightest few pixels must be darker; a head lamp at night is more than a few."""

_ERRORS_S = 10.0
_ERRORS_AT_LEAST = 5
_ERRORS_SHARE = 0.05
"""Spoilt packets in the last seconds that make a camera degraded: so many, and such a share."""

_SETTLED_LOOKS = 60
"""Looks after which the usual picture is known."""
_BLURRED = 0.35
"""Sharpness as a share of the usual one."""
_STRANGE = 0.25
"""Correlation with the edges of the usual picture: below, the camera looks elsewhere."""
_USUAL_PACE = 1 / 120
_RELEARN_S = 300.0
"""A moved camera that stays moved shows its new usual picture from then on."""


class Verdict(NamedTuple):
    """A state, and why; the reason is steady while nothing changes."""

    state: CameraState
    reason: str = ""


class Health:
    """One connection's health; times are monotonic seconds, never falling.

    frozen_after_s: how long every frame may show the same, 0 for ever (a clip, a slide show).
    """

    def __init__(self, now_s: float, frozen_after_s: float) -> None:
        self._frozen_after_s = frozen_after_s
        self._last_frame_s = now_s
        self._distance_s = 0.0
        self._counted: deque[tuple[float, int, int]] = deque()
        """Time, frames and spoilt packets of each half second."""
        self._looked_s = -LOOK_S
        self._last_look: Luma | None = None
        self._same_since_s = self._bright_s = now_s
        self._usual = UsualPicture()

    def frame(self, now_s: float) -> None:
        """Note that a frame came."""
        distance_s = now_s - self._last_frame_s
        # Up at once, down slowly: a camera of one frame in 10 s must not stall between them.
        self._distance_s = max(min(distance_s, 60.0), 0.9 * self._distance_s)
        self._last_frame_s = now_s
        self._count(now_s, frames=1, spoilt=0)

    def spoilt(self, now_s: float, packets: int) -> None:
        """Note packets that could not be decoded, or frames that are damaged."""
        self._count(now_s, frames=0, spoilt=packets)

    def wants_look(self, now_s: float) -> bool:
        """Tell whether a preview is due; making one costs more than the answer."""
        return now_s - self._looked_s >= LOOK_S

    def look(self, preview: Luma, now_s: float) -> None:
        """Look at the newest frame: preview is (h, w) uint8 luma, kept, never written."""
        self._looked_s = now_s
        last = self._last_look
        if last is None or last.shape != preview.shape or not np.array_equal(last, preview):
            self._same_since_s = now_s
        self._last_look = preview
        if np.quantile(preview, _BLACK_QUANTILE) > _BLACK_LEVEL:
            self._bright_s = now_s
            self._usual.look(preview, now_s)

    def verdict(self, now_s: float) -> Verdict:
        """Return the state now, the worst sign first."""
        if now_s - self._last_frame_s > max(STALLED_S, 4 * self._distance_s):
            return Verdict(CameraState.DEGRADED, "no frame for some seconds")
        black = self._looked_s - self._bright_s >= BLACK_S
        same_s = self._looked_s - self._same_since_s
        if 0 < self._frozen_after_s <= same_s:
            shown = "the picture is black and does not change" if black else "the picture is frozen"
            return Verdict(CameraState.FROZEN, f"{shown}: every frame shows the same")
        if black:
            return Verdict(CameraState.DEGRADED, "the picture is black")
        if self._is_spoilt(now_s):
            return Verdict(CameraState.DEGRADED, "many packets cannot be decoded")
        return Verdict(CameraState.LIVE, self._usual.hint)

    def _count(self, now_s: float, *, frames: int, spoilt: int) -> None:
        counted = self._counted
        if counted and now_s - counted[-1][0] < LOOK_S:
            began_s, so_far, spoilt_so_far = counted[-1]
            counted[-1] = (began_s, so_far + frames, spoilt_so_far + spoilt)
        else:
            counted.append((now_s, frames, spoilt))
        self._forget(now_s)

    def _forget(self, now_s: float) -> None:
        while self._counted and now_s - self._counted[0][0] > _ERRORS_S:
            self._counted.popleft()

    def _is_spoilt(self, now_s: float) -> bool:
        self._forget(now_s)
        frames = sum(count[1] for count in self._counted)
        spoilt = sum(count[2] for count in self._counted)
        return spoilt >= _ERRORS_AT_LEAST and spoilt > _ERRORS_SHARE * (frames + spoilt)


class UsualPicture:
    """What a camera usually shows, to notice that it has been moved or is out of focus."""

    def __init__(self) -> None:
        self.hint = ""
        self._looks = 0
        self._edges: npt.NDArray[np.float32] | None = None
        self._sharpness = 0.0
        self._sound_s = 0.0

    def look(self, preview: Luma, now_s: float) -> None:
        """Compare a picture with the usual one, then let that follow it slowly."""
        edges = _edges(preview)
        sharpness = float(np.abs(edges).mean())
        if self._edges is None or self._edges.shape != edges.shape:
            self._start(edges, sharpness, now_s)
            return
        strange = self._looks >= _SETTLED_LOOKS and self._strangeness(edges, sharpness)
        if not strange:
            self._sound_s, self.hint = now_s, ""
            self._follow(edges, sharpness)
        elif now_s - self._sound_s > _RELEARN_S:
            self._start(edges, sharpness, now_s)
        elif now_s - self._sound_s >= HINT_S:
            self.hint = strange

    def _start(self, edges: npt.NDArray[np.float32], sharpness: float, now_s: float) -> None:
        self._edges, self._sharpness, self._sound_s = edges, sharpness, now_s
        self._looks, self.hint = 1, ""

    def _follow(self, edges: npt.NDArray[np.float32], sharpness: float) -> None:
        """Move towards a picture: at first as an average, later slowly."""
        self._looks += 1
        pace = max(1 / self._looks, _USUAL_PACE)
        usual = self._edges
        if usual is not None:
            usual += np.float32(pace) * (edges - usual)
        self._sharpness += pace * (sharpness - self._sharpness)

    def _strangeness(self, edges: npt.NDArray[np.float32], sharpness: float) -> str:
        """Say what is strange about a picture, "" for nothing."""
        if sharpness < _BLURRED * self._sharpness:
            return "it may be out of focus: the picture has lost its edges"
        if self._edges is None or _correlation(edges, self._edges) >= _STRANGE:
            return ""
        return "it may have been moved: the picture is another one than usual"


def _edges(preview: Luma) -> npt.NDArray[np.float32]:
    """Return what is left of a picture without its broad light and shade."""
    picture = preview.astype(np.float32)
    return np.asarray(picture - cv2.GaussianBlur(picture, (0, 0), 3.0), dtype=np.float32)


def _correlation(one: npt.NDArray[np.float32], other: npt.NDArray[np.float32]) -> float:
    """Return the cosine between two pictures of edges, 1 for the same."""
    length = float(np.linalg.norm(one) * np.linalg.norm(other))
    return float(np.vdot(one, other)) / length if length else 1.0

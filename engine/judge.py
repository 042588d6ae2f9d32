"""Judges one camera's frames on the decoder's side: is it worth recognizing, and where in it.

``engine.attention`` decides; here it is given what it needs of a frame, with the masks of its
camera, and the tracker's places, and the tracker hears which of those did not change.
"""

from engine.attention import Attention, Glimpse, Savings, Verdict
from engine.board import Board
from engine.config import CameraSettings
from engine.feedback import Feedback
from engine.motion import MotionGate
from engine.sources.base import SourceFrame
from engine.sources.masks import Masks, within
from engine.types import Luma


class Judge:
    """Of one camera; the thread that reads its source uses it."""

    def __init__(self, camera: CameraSettings, board: Board, index: int) -> None:
        """Take the board, and the index of the camera's cells on it."""
        self.masks = Masks(within(camera.masks, camera.crop)) if camera.masks else None
        zones = within(camera.motion_zones, camera.crop)
        gate = MotionGate(camera.motion_sensitivity, camera.motion_afterglow_s, zones)
        self._attentions = {
            lossless: Attention(gate, Savings.of(camera, lossless=lossless))
            for lossless in (False, True)
        }
        self._skips = camera.skip_static
        self._feedback = Feedback(board, index)
        self._feedback.tell_stills(())

    def judge(self, frame: SourceFrame, *, lossless: bool) -> Verdict:
        """Return whether and where to look at a frame; tell the tracker what did not change."""
        if not self._skips:
            return Verdict()
        attention = self._attentions[lossless]
        places = self._feedback.places()
        reason = attention.reason_to_rest(frame.captured_monotonic_ns / 1e9, places)
        if reason is not None:
            return Verdict(reason)
        glimpse = Glimpse(
            self.preview(frame),
            frame.captured_monotonic_ns / 1e9,
            frame.captured_unix_ns,
            frame.width_px,
            frame.height_px,
        )
        verdict = attention.judge(glimpse, places)
        if places:
            self._feedback.tell_stills(verdict.stills)
        return verdict

    def preview(self, frame: SourceFrame) -> Luma:
        """Return a frame's small copy, without what its masks hide: motion there is no news."""
        preview = frame.preview()
        if self.masks is not None:
            self.masks.luma(preview)
        return preview

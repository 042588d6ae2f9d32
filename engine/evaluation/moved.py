"""Where a video moves: what a recognizer is told to search that looks at what moved only."""

from typing import Final

import cv2
import numpy as np

from engine.sources import SourceFrame
from engine.types import Box, Luma

_CHANGED_LEVELS: Final = 12
"""So much brighter or darker is a change, not noise."""
_REMEMBERED_FRAMES: Final = 25
"""What moved this recently is still searched: a vehicle that stopped."""
_JOINED: Final = np.ones((3, 3), np.uint8)


class MovedAreas:
    """Compares each frame of one video with the one before."""

    def __init__(self) -> None:
        """Begin before the first frame, in which everything is to be searched."""
        self._before: Luma | None = None
        self._since: Luma = np.zeros((1, 1), np.uint8)
        """Frames since a pixel of the preview changed, 255 at most."""

    def next(self, frame: SourceFrame) -> tuple[Box, ...] | None:
        """Return rectangles around all that moved of late, or None where nothing did.

        Frames come in the order of the video. The rectangles are in pixels of the frame.
        """
        preview = frame.preview()
        before, self._before = self._before, preview
        if before is None or before.shape != preview.shape:
            self._since = np.full_like(preview, 255)
            return (Box(0, 0, frame.width_px, frame.height_px),)
        changed = cv2.absdiff(preview, before) > _CHANGED_LEVELS
        self._since = np.where(changed, np.uint8(0), self._since + (self._since < 255))
        recent = cv2.erode((self._since < _REMEMBERED_FRAMES).astype(np.uint8), _JOINED)
        if not recent.any():
            return None
        joined = cv2.dilate(recent, _JOINED, iterations=2)
        _count, _labels, places, _middles = cv2.connectedComponentsWithStats(joined)
        across = frame.width_px / preview.shape[1]
        down = frame.height_px / preview.shape[0]
        return tuple(
            Box(x * across, y * down, width * across, height * down)
            for x, y, width, height, _pixels in places[1:].tolist()
        )

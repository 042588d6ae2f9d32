"""Privacy masks: parts of a picture that nobody is to see are black before anything is stored."""

from collections.abc import Sequence
from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from engine.types import Bgr, Luma, Point

Polygon = Sequence[Point]
"""Corners as shares of the picture: (0, 0) top left, (1, 1) bottom right."""

BLACK: Final = 16
"""Luma of black in limited range; nobody needs to know which range it is."""
_NEUTRAL: Final = 128
_MARGIN_PX: Final = 5
"""Masks are drawn with an edge of this width: rounding must not show what is under them."""


def within(polygons: Sequence[Polygon], crop: tuple[float, ...]) -> list[Polygon]:
    """Return polygons in shares of the cropped picture instead of the whole one."""
    left, top, across, down = crop or (0.0, 0.0, 1.0, 1.0)
    return [[((x - left) / across, (y - top) / down) for x, y in polygon] for polygon in polygons]


class Masks:
    """Blackens polygons in slots, in place; polygons are in shares of the cropped picture."""

    def __init__(self, polygons: Sequence[Polygon]) -> None:
        self._polygons = [np.array(polygon, np.float64) for polygon in polygons]

    def luma(self, slot: Luma) -> None:
        """Blacken luma: slot is (H, W) uint8, C-contiguous."""
        self._draw(slot, BLACK)

    def i420(self, slot: Luma) -> None:
        """Blacken luma and chroma: slot is (H * 3 // 2, W) uint8, C-contiguous."""
        width, height = slot.shape[1], slot.shape[0] * 2 // 3
        self._draw(slot[:height], BLACK)
        for chroma in slot[height:].reshape(2, height // 2, width // 2):
            self._draw(chroma, _NEUTRAL)

    def bgr(self, slot: Bgr) -> None:
        """Blacken colour: slot is (H, W, 3) uint8, C-contiguous."""
        self._draw(slot, 0)

    def _draw(self, plane: npt.NDArray[np.uint8], level: int) -> None:
        size = (plane.shape[1], plane.shape[0])
        for polygon in self._polygons:
            # OpenCV takes at most 16 bits a coordinate and more; far outside is outside.
            corners = np.clip(np.rint(polygon * size), -20_000, 20_000).astype(np.int32)
            cv2.fillPoly(plane, [corners], (level, level, level))
            cv2.polylines(plane, [corners], True, (level, level, level), _MARGIN_PX)

"""Where pixels come from: frames shrunk for the detector, plates flattened for the reader.

Quads are (4, 2) float32 arrays of corners in frame pixels, in the order of reading: top left,
top right, bottom right, bottom left.
"""

import functools
import math
from typing import Any, TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from engine.types import Box, Corners, Luma

Quad: TypeAlias = npt.NDArray[np.float32]
"""(4, 2) float32 corners in frame pixels."""

Size: TypeAlias = tuple[int, int]
"""(width, height) in pixels."""

_UNIT_CORNERS = np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]], np.float32)

_SHRINK_FIRST_ABOVE = 1.4
"""Sampling coarser than this aliases, so the surroundings are averaged down beforehand."""

_MARGIN_PX = 4


def shrink(frame: Luma, scale: float, rest: int = cv2.INTER_LINEAR) -> Luma:
    """Return the frame resized by ``scale``, at least one pixel each way; a copy of our own.

    It is averaged down by halves, and the ``rest`` is sampled, or averaged with INTER_AREA, too:
    sampling it is a tenth of the work, and nothing that is large enough to be found needs more.
    """
    height, width = frame.shape
    size = max(1, round(width * scale)), max(1, round(height * scale))
    while 2 * size[0] <= width and 2 * size[1] <= height:
        height, width = height // 2, width // 2
        frame = _resized(frame[: 2 * height, : 2 * width], (width, height), cv2.INTER_AREA)
    return _resized(frame, size, rest)


def _resized(frame: Luma, size: Size, method: int) -> Luma:
    return np.asarray(cv2.resize(frame, size, interpolation=method), np.uint8)


def blocks(picture: Luma, side: int) -> Luma:
    """Return a picture as (1, h / side, w / side, side * side): what networks take; a copy.

    side: 2 or 4 pixels, of which height and width are multiples.
    """
    height, width = picture.shape
    rows: npt.NDArray[np.signedinteger[Any]] = np.ascontiguousarray(picture).view(f"i{side}")
    split = cv2.merge([rows[start::side] for start in range(side)])
    return split.view(np.uint8).reshape(1, height // side, width // side, side * side)


def grow(quad: Quad, across: float, down: float) -> Quad:
    """Return the quad with its sides moved outwards by these shares of its width and height."""
    center = quad.mean(axis=0)
    factors = np.array((1 + 2 * across, 1 + 2 * down), np.float32)
    return np.asarray((quad - center) * factors + center, np.float32)


def window(quad: Quad, width: float, height: float) -> Quad:
    """Return the upright rectangle of this size around the middle of the quad."""
    half = np.array((width / 2, height / 2), np.float32)
    return np.asarray(quad.mean(axis=0) + _UNIT_CORNERS * half, np.float32)


def inside(quad: Quad, places: npt.NDArray[np.float32]) -> Quad:
    """Return the frame pixels of four places (4, 2) in the quad, 0 to 1 across and down."""
    across, down = places[:, :1], places[:, 1:]
    top = (1 - across) * quad[0] + across * quad[1]
    bottom = (1 - across) * quad[3] + across * quad[2]
    return np.asarray((1 - down) * top + down * bottom, np.float32)


def corners_of(quad: Quad) -> Corners:
    """Return the quad in the words of the engine."""
    top_left, top_right, bottom_right, bottom_left = ((float(x), float(y)) for x, y in quad)
    return top_left, top_right, bottom_right, bottom_left


def box_around(quad: Quad) -> Box:
    """Return the smallest upright rectangle that holds the quad."""
    return Box.around(corners_of(quad))


def width_px(quad: Quad) -> float:
    """Return the length of the top side."""
    return float(np.hypot(*(quad[1] - quad[0])))


def height_px(quad: Quad) -> float:
    """Return the length of the left side."""
    return float(np.hypot(*(quad[3] - quad[0])))


def flatten(frame: Luma, quad: Quad, size: Size) -> Luma:
    """Return the quad's inside as an upright uint8 picture of (width, height) pixels.

    Only the pixels around the quad are touched. What lies outside the frame repeats its edge; a
    quad wholly outside gives a black picture.
    """
    width, height = size
    low, high = quad.min(axis=0), quad.max(axis=0)
    rows, columns = frame.shape
    x0, y0 = (max(0, math.floor(start) - _MARGIN_PX) for start in low.tolist())
    x1, y1 = (math.ceil(end) + _MARGIN_PX for end in high.tolist())
    x1, y1 = min(x1, columns), min(y1, rows)
    if x0 >= x1 or y0 >= y1:
        return np.zeros((height, width), np.uint8)
    around = frame[y0:y1, x0:x1]
    corners = quad - np.array((x0, y0), np.float32)
    steps = width_px(quad) / width
    if steps > _SHRINK_FIRST_ABOVE:
        around = shrink(around, _SHRINK_FIRST_ABOVE / steps, cv2.INTER_AREA)
        corners *= np.float32(_SHRINK_FIRST_ABOVE / steps)
    flat = cv2.warpPerspective(
        around,
        cv2.getPerspectiveTransform(corners, _corners(size)),
        size,
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(flat, dtype=np.uint8)


@functools.cache
def _corners(size: Size) -> Quad:
    """Return the corners of a picture of this size."""
    return np.asarray((_UNIT_CORNERS + 1) * np.array(size, np.float32) / 2, np.float32)

"""Where pixels come from: frames shrunk for the detector, plates flattened for the reader.

Quads are (4, 2) float32 arrays of corners in frame pixels, in the order of reading: top left,
top right, bottom right, bottom left.
"""

from typing import TypeAlias

import cv2
import numpy as np
import numpy.typing as npt

from engine.types import Luma

Quad: TypeAlias = npt.NDArray[np.float32]
"""(4, 2) float32 corners in frame pixels."""

CROP_WIDTH_PX = 128
CROP_HEIGHT_PX = 32

_SHRINK_FIRST_ABOVE = 1.4
"""Sampling coarser than this aliases, so the surroundings are averaged down beforehand."""


def shrink(frame: Luma, scale: float) -> Luma:
    """Return the frame resized by ``scale``, at least one pixel each way; a copy of our own."""
    height, width = frame.shape
    size = max(1, round(width * scale)), max(1, round(height * scale))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(frame, size, interpolation=method), dtype=np.uint8)


def grow(quad: Quad, across: float, down: float) -> Quad:
    """Return the quad with its sides moved outwards by these shares of its width and height."""
    center = quad.mean(axis=0)
    factors = np.array((1 + 2 * across, 1 + 2 * down), np.float32)
    return np.asarray((quad - center) * factors + center, np.float32)


def stretch(quad: Quad, left: float, right: float) -> Quad:
    """Return the quad with its left and right side moved outwards by these shares of its width."""
    top, bottom = quad[1] - quad[0], quad[2] - quad[3]
    return np.stack(
        (
            quad[0] - left * top,
            quad[1] + right * top,
            quad[2] + right * bottom,
            quad[3] - left * bottom,
        )
    )


def band(quad: Quad, upper: float, lower: float) -> Quad:
    """Return the part of the quad between two heights, 0 at its top side and 1 at its bottom."""
    left, right = quad[3] - quad[0], quad[2] - quad[1]
    return np.stack(
        (
            quad[0] + upper * left,
            quad[1] + upper * right,
            quad[1] + lower * right,
            quad[0] + lower * left,
        )
    )


def width_px(quad: Quad) -> float:
    """Return the length of the top side."""
    return float(np.hypot(*(quad[1] - quad[0])))


def height_px(quad: Quad) -> float:
    """Return the length of the left side."""
    return float(np.hypot(*(quad[3] - quad[0])))


def flatten(frame: Luma, quad: Quad) -> Luma:
    """Return the quad's inside as an upright (32, 128) uint8 picture.

    Only the pixels around the quad are touched. What lies outside the frame repeats its edge; a
    quad wholly outside gives a black picture.
    """
    steps = width_px(quad) / CROP_WIDTH_PX
    height, width = frame.shape
    low = np.maximum(np.floor(quad.min(axis=0)) - 4, 0)
    high = np.minimum(np.ceil(quad.max(axis=0)) + 4, (width, height))
    if not np.all(high > low):
        return np.zeros((CROP_HEIGHT_PX, CROP_WIDTH_PX), np.uint8)
    (x0, y0), (x1, y1) = low.astype(int), high.astype(int)
    around = frame[y0:y1, x0:x1]
    corners = quad - low.astype(np.float32)
    if steps > _SHRINK_FIRST_ABOVE:
        scale = _SHRINK_FIRST_ABOVE / steps
        around = shrink(around, scale)
        corners = corners * np.float32(scale)
    target = np.array(
        [[0, 0], [CROP_WIDTH_PX, 0], [CROP_WIDTH_PX, CROP_HEIGHT_PX], [0, CROP_HEIGHT_PX]],
        np.float32,
    )
    matrix = cv2.getPerspectiveTransform(corners.astype(np.float32), target)
    flat = cv2.warpPerspective(
        around,
        matrix,
        (CROP_WIDTH_PX, CROP_HEIGHT_PX),
        flags=cv2.INTER_LINEAR,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.asarray(flat, dtype=np.uint8)

"""Turns a plate's corners until its text stands upright: the detector sees slopes too flat.

The edges of text and plate tell how far both are tilted: after flattening, lines should run
along the rows and stems along the columns. The slopes are weighted least squares over the
gradients, narrowed down to what agrees; no search, so it costs a fraction of a look.
"""

from typing import Final

import cv2
import numpy as np
import numpy.typing as npt

from engine.recognizers.builtin.geometry import Quad, flatten, grow, inside
from engine.types import Luma

_ROUNDS: Final = 2
_CROP_PX: Final = (96, 24)
_ACROSS, _DOWN = 0.03, 0.15
"""How far around the plate is looked at: its own border is the best line there is."""
_LINE_TOLERANCES: Final = (0.45, 0.25, 0.15)
_STEM_TOLERANCES: Final = (0.45, 0.3, 0.2)
_STEEPEST_LINE: Final = 0.25
_STEEPEST_STEM: Final = 0.375
_STRAIGHT: Final = 0.02
_ONCE: Final = 0.06
"""What is turned by less is right at once."""
_BLUR: Final = 0.8

Floats = npt.NDArray[np.float32]


def straighten(frame: Luma, quad: Quad) -> Quad:
    """Return the quad, its sides turned along the lines and stems of what is in it."""
    for _ in range(_ROUNDS):
        around = grow(quad, _ACROSS, _DOWN)
        line, stem = _slopes(flatten(frame, around, _CROP_PX))
        steepest = max(abs(line), abs(stem))
        if steepest < _STRAIGHT:
            return quad
        quad = _turned(around, line, stem)
        if steepest < _ONCE:
            return quad
    return quad


def _slopes(crop: Luma) -> tuple[float, float]:
    """Return by how much lines fall per pixel to the right, and stems lean right per pixel down."""
    smooth = cv2.GaussianBlur(crop, (0, 0), _BLUR)
    across = np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 1, 0, ksize=3), np.float32).ravel()
    down = np.asarray(cv2.Sobel(smooth, cv2.CV_32F, 0, 1, ksize=3), np.float32).ravel()
    line = _slope(across, down, _LINE_TOLERANCES)
    stem = _slope(down, across, _STEM_TOLERANCES)
    return (
        max(-_STEEPEST_LINE, min(_STEEPEST_LINE, line)),
        max(-_STEEPEST_STEM, min(_STEEPEST_STEM, stem)),
    )


def _slope(along: Floats, against: Floats, tolerances: tuple[float, ...]) -> float:
    """Return the slope of edges whose gradient points mostly ``against`` them.

    Starts with all edges within the widest tolerance and keeps, in each step, those that differ
    less from the slope found so far.
    """
    slope = 0.0
    steepness = np.abs(against)
    for tolerance in tolerances:
        agreeing = np.abs(along + np.float32(slope) * against) < np.float32(tolerance) * steepness
        chosen = agreeing * against
        weight = float(chosen @ against)
        if weight > 0.0:
            slope = -float(chosen @ along) / weight
    return slope


def _turned(around: Quad, line: float, stem: float) -> Quad:
    """Return the plate inside ``around``, its corners moved along the slopes of the flat crop."""
    width, height = _CROP_PX
    half = np.array((width / 2 / (1 + 2 * _ACROSS), height / 2 / (1 + 2 * _DOWN)), np.float32)
    upright = np.array(((-1, -1), (1, -1), (1, 1), (-1, 1)), np.float32) * half
    turned = upright @ np.array(((1, line), (stem, 1)), np.float32)
    places = turned / np.array((width, height), np.float32) + 0.5
    return inside(around, np.asarray(places, np.float32))

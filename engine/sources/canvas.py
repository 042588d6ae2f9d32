"""The surface the demo's vehicles are painted on, and the sprites that come from it.

All sizes are metres; a sprite has ``SCALE`` pixels per metre at its finest level.
"""

from collections.abc import Callable, Sequence
from typing import Final

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from engine.types import Bgr, Luma, Point

SCALE: Final = 400
"""Pixels per metre of the finest level."""

LEVELS: Final = 4

MARGIN_M: Final = 0.25
"""Room around the painted thing, for its shadow."""

Colour = tuple[float, float, float]
"""Blue, green, red, 0 to 255."""

Spot = tuple[float, float, float]
"""A point in space, metres."""


class Sprite(msgspec.Struct, frozen=True):
    """A painted face: pixels already multiplied by alpha, and how much of the ground stays.

    ``planes[p][level]`` and ``keeps[level]`` are (H, W) uint8, each level half as fine as the
    one before; planes are Y, U, V (chroma stored as coverage-weighted, see ``Canvas.sprite``).
    ``origin_px`` is where x = 0, y = 0 (on the road) lies at the finest level.
    """

    planes: tuple[tuple[Luma, ...], ...]
    keeps: tuple[Luma, ...]
    origin_px: Point


class Canvas:
    """BGR pixels and alpha side by side; what is painted becomes opaque."""

    def __init__(self, left_m: float, right_m: float, top_m: float) -> None:
        self.left_m, self.top_m = left_m, top_m
        size = (int((top_m + MARGIN_M) * SCALE), int((right_m - left_m) * SCALE))
        self.pixels: npt.NDArray[np.uint8] = np.zeros((*size, 3), np.uint8)
        self.alpha: Luma = np.zeros(size, np.uint8)

    def corners(self, place: Callable[[float, float], Spot]) -> tuple[Spot, Spot, Spot, Spot]:
        """Return where its corners are, from top left clockwise; ``place`` puts (x, y) in space."""
        height, width = self.alpha.shape
        left, right = self.left_m, self.left_m + width / SCALE
        top, bottom = self.top_m, self.top_m - height / SCALE
        return place(left, top), place(right, top), place(right, bottom), place(left, bottom)

    def polygon(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon given in metres."""
        corners = np.array(
            [[(x - self.left_m) * SCALE * 16, (self.top_m - y) * SCALE * 16] for x, y in points]
        ).astype(np.int32)
        cv2.fillPoly(self.pixels, [corners], colour, cv2.LINE_AA, 4)
        cv2.fillPoly(self.alpha, [corners], 255, cv2.LINE_AA, 4)

    def mirrored(self, points: Sequence[Point], colour: Colour) -> None:
        """Fill a polygon and its mirror image."""
        self.polygon(points, colour)
        self.polygon([(-x, y) for x, y in points], colour)

    def rounded(
        self, box: tuple[float, float, float, float], radius: float, colour: Colour
    ) -> None:
        """Fill a rounded rectangle (left, bottom, right, top)."""
        self.polygon(rounded_corners(box, radius), colour)

    def ellipse(self, middle: Point, radii: Point, colour: Colour) -> None:
        """Fill an ellipse."""
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        x, y = middle[0] + radii[0] * np.cos(turn), middle[1] + radii[1] * np.sin(turn)
        self.polygon(list(zip(x.tolist(), y.tolist(), strict=True)), colour)

    def shade(self, bottom_m: float, top_m: float, gains: Point) -> None:
        """Multiply the rows between two heights by a gain that runs from bottom to top."""
        first, last = (int((self.top_m - y) * SCALE) for y in (top_m, bottom_m))
        gain = np.linspace(gains[1], gains[0], last - first)[:, None, None]
        rows = self.pixels[first:last]
        rows[:] = np.clip(rows * gain, 0, 255).astype(np.uint8)

    def picture(self, box_m: tuple[float, float, float, float], picture: Bgr) -> None:
        """Place a picture into (left, top, right, bottom)."""
        left, right = (round((x - self.left_m) * SCALE) for x in (box_m[0], box_m[2]))
        top, bottom = (round((self.top_m - y) * SCALE) for y in (box_m[1], box_m[3]))
        self.pixels[top:bottom, left:right] = cv2.resize(
            picture, (right - left, bottom - top), interpolation=cv2.INTER_AREA
        )

    def shadow(self, half_width_m: float) -> None:
        """Lay a soft shadow on the road under what has been painted."""
        soft: npt.NDArray[np.uint8] = np.zeros_like(self.alpha)
        middle = (int(-self.left_m * SCALE), int((self.top_m - 0.02) * SCALE))
        radii = (int((half_width_m + 0.1) * SCALE), int(0.13 * SCALE))
        cv2.ellipse(soft, middle, radii, 0, 0, 360, 190, -1, cv2.LINE_AA)
        soft = np.asarray(cv2.GaussianBlur(soft, (0, 0), 0.05 * SCALE), np.uint8)
        self.pixels[self.alpha == 0] = 0
        self.alpha = np.maximum(self.alpha, soft)

    def sprite(self) -> Sprite:
        """Return the painted sprite with all its levels."""
        weight = self.alpha[..., None].astype(np.float32) / 255
        solid = np.asarray(cv2.cvtColor(self.pixels, cv2.COLOR_BGR2YUV), np.float32)
        keep = 255 - self.alpha
        planes = [np.round(solid[..., p] * weight[..., 0]).astype(np.uint8) for p in range(3)]
        return Sprite(
            tuple(_pyramid(plane) for plane in planes),
            _pyramid(keep),
            (-self.left_m * SCALE, self.top_m * SCALE),
        )


def rounded_corners(box: tuple[float, float, float, float], radius: float) -> list[Point]:
    """Return the outline of a rounded rectangle; box: left, bottom, right, top, metres."""
    left, bottom, right, top = box
    corners = ((right, top, 0), (left, top, 1), (left, bottom, 2), (right, bottom, 3))
    points: list[Point] = []
    for x, y, quarter in corners:
        turn = np.linspace(0, np.pi / 2, 7) + quarter * np.pi / 2
        middle = (x - radius * (1 if x == right else -1), y - radius * (1 if y == top else -1))
        points += [
            (middle[0] + radius * float(np.cos(a)), middle[1] + radius * float(np.sin(a)))
            for a in turn
        ]
    return points


def _pyramid(finest: Luma) -> tuple[Luma, ...]:
    levels = [finest]
    for _ in range(LEVELS - 1):
        height, width = (max(1, side // 2) for side in levels[-1].shape)
        half = cv2.resize(levels[-1], (width, height), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, np.uint8))
    return tuple(levels)

"""Paints the demo's vehicles and plates once, as sprites the scene scales and places.

All sizes are metres; a sprite has ``SCALE`` pixels per metre at its finest level. Letters come
from ``glyphs/plates.png`` (see the README beside it).
"""

from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from engine.sources.traffic import Vehicle
from engine.types import Bgr, Luma

SCALE: Final = 400
"""Pixels per metre of the finest level."""

LENGTH_M: Final = 4.2
LEVELS: Final = 4

_ATLAS = Path(__file__).with_name("glyphs") / "plates.png"
_CHARACTERS = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"
_CELL_PX, _CAPITAL_PX = 88, 64
_FONT_ROW = {"gb": 0, "de": 1, "fr": 0, "us": 2, "es": 1, "it": 2, "pl": 0}
_MARGIN_M = 0.25
_HALF_WIDTH_M = {"hatchback": 0.86, "saloon": 0.9, "suv": 0.94, "van": 0.95}
_HEIGHT_M = {"hatchback": 1.46, "saloon": 1.42, "suv": 1.66, "van": 1.95}

_Point = tuple[float, float]
_Colour = tuple[float, float, float]


class Sprite(msgspec.Struct, frozen=True):
    """A painted face: pixels already multiplied by alpha, and how much of the ground stays.

    ``planes[p][level]`` and ``keeps[level]`` are (H, W) uint8, each level half as fine as the
    one before; planes are Y, U, V (chroma stored as coverage-weighted, see ``Canvas.sprite``).
    ``origin_px`` is where x = 0, y = 0 (on the road) lies at the finest level.
    """

    planes: tuple[tuple[Luma, ...], ...]
    keeps: tuple[Luma, ...]
    origin_px: _Point


class Side(msgspec.Struct, frozen=True):
    """A side of a vehicle; at height y it is ``half_m + lean * y`` from the middle."""

    sprite: Sprite
    half_m: float
    lean: float


class Face(msgspec.Struct, frozen=True):
    """A vehicle's end that we see, and its sides in the order to draw them."""

    front: Sprite
    sides: tuple[Side, Side]


def plate_size_m(region: str) -> tuple[float, float]:
    """Return width and height of a region's plate; American ones drawn large."""
    return (0.42, 0.21) if region == "us" else (0.52, 0.112)


def plate_rectangle_m(vehicle: Vehicle) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of the plate on the face, metres, y up."""
    width, height = plate_size_m(vehicle.region)
    middle = 0.47 if vehicle.approaching else 0.66
    return -width / 2, middle + height / 2, width / 2, middle - height / 2


class Canvas:
    """BGR pixels and alpha side by side; what is painted becomes opaque."""

    def __init__(self, left_m: float, right_m: float, top_m: float) -> None:
        self.left_m, self.top_m = left_m, top_m
        size = (int((top_m + _MARGIN_M) * SCALE), int((right_m - left_m) * SCALE))
        self.pixels: npt.NDArray[np.uint8] = np.zeros((*size, 3), np.uint8)
        self.alpha: Luma = np.zeros(size, np.uint8)

    def polygon(self, points: Sequence[_Point], colour: _Colour) -> None:
        """Fill a polygon given in metres."""
        corners = np.array(
            [[(x - self.left_m) * SCALE * 16, (self.top_m - y) * SCALE * 16] for x, y in points]
        ).astype(np.int32)
        cv2.fillPoly(self.pixels, [corners], colour, cv2.LINE_AA, 4)
        cv2.fillPoly(self.alpha, [corners], 255, cv2.LINE_AA, 4)

    def mirrored(self, points: Sequence[_Point], colour: _Colour) -> None:
        """Fill a polygon and its mirror image."""
        self.polygon(points, colour)
        self.polygon([(-x, y) for x, y in points], colour)

    def rounded(
        self, box: tuple[float, float, float, float], radius: float, colour: _Colour
    ) -> None:
        """Fill a rounded rectangle (left, bottom, right, top)."""
        self.polygon(_rounded(box, radius), colour)

    def ellipse(self, middle: _Point, radii: _Point, colour: _Colour) -> None:
        """Fill an ellipse."""
        turn = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        x, y = middle[0] + radii[0] * np.cos(turn), middle[1] + radii[1] * np.sin(turn)
        self.polygon(list(zip(x.tolist(), y.tolist(), strict=True)), colour)

    def shade(self, bottom_m: float, top_m: float, gains: _Point) -> None:
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


def paint_vehicle(vehicle: Vehicle) -> Face:
    """Paint the face and the side of a vehicle with its plate (about 20 ms)."""
    half = _HALF_WIDTH_M[vehicle.kind]
    canvas = Canvas(-half - _MARGIN_M, half + _MARGIN_M, _HEIGHT_M[vehicle.kind] + 0.05)
    _body(canvas, vehicle, half)
    (_front_details if vehicle.approaching else _rear_details)(canvas, vehicle, half)
    plate = plate_rectangle_m(vehicle)
    canvas.rounded(
        (plate[0] - 0.015, plate[3] - 0.015, plate[2] + 0.015, plate[1] + 0.015), 0.01, (26, 26, 26)
    )
    canvas.picture(plate, paint_plate(vehicle.text, vehicle.region, rear=not vehicle.approaching))
    canvas.shadow(half)
    return Face(canvas.sprite(), _sides(vehicle, half))


def paint_plate(text: str, region: str, *, rear: bool) -> Bgr:
    """Return a plate as (H, W, 3), 900 px per metre."""
    width, height = (round(side * 900) for side in plate_size_m(region))
    ground = (64, 200, 236) if region == "gb" and rear else (232, 236, 236)
    plate = np.full((height, width, 3), ground, np.uint8)
    ink = (96, 40, 24) if region == "us" else (24, 22, 22)
    left, top, bottom = round(width * 0.03), 0.16, 0.16
    if region == "us":
        plate[: round(height * 0.2)] = (150, 96, 40)
        top, bottom = 0.27, 0.13
    elif region != "gb":
        band = round(width * 0.085)
        plate[:, :band] = (150, 60, 16)
        cv2.circle(plate, (band // 2, height // 3), band // 4, (60, 190, 220), 2, cv2.LINE_AA)
        left += band
    text_height = round(height * (1 - top - bottom))
    room = width - left - round(width * 0.03)
    letters = _letters(text, _FONT_ROW[region], text_height, room)
    row, column = round(height * top), left + (room - letters.shape[1]) // 2
    patch = plate[row : row + text_height, column : column + letters.shape[1]]
    weight = letters[..., None].astype(np.float32) / 255
    patch[:] = np.round(patch * (1 - weight) + np.array(ink) * weight).astype(np.uint8)
    cv2.rectangle(plate, (2, 2), (width - 3, height - 3), (70, 70, 70), 2, cv2.LINE_AA)
    return plate


@cache
def _glyphs(row: int) -> dict[str, Luma]:
    atlas = cv2.imread(str(_ATLAS), cv2.IMREAD_GRAYSCALE)
    if atlas is None:
        raise FileNotFoundError(_ATLAS)
    line = np.asarray(atlas, np.uint8)[row * _CAPITAL_PX : (row + 1) * _CAPITAL_PX]
    glyphs = {}
    for place, character in enumerate(_CHARACTERS):
        cell = line[:, place * _CELL_PX : (place + 1) * _CELL_PX]
        inked = np.flatnonzero(cell.max(axis=0) > 40)
        glyphs[character] = cell[:, : inked[-1] + 1]
    return glyphs


def _letters(text: str, font_row: int, height: int, room: int) -> Luma:
    """Return the text as coverage (height, at most room) uint8."""
    glyphs = _glyphs(font_row)
    gap: Luma = np.zeros((_CAPITAL_PX, 9), np.uint8)
    parts: list[Luma] = []
    for character in text:
        if character == " ":
            parts.append(np.zeros((_CAPITAL_PX, 20), np.uint8))
        elif character == "-":
            dash: Luma = np.zeros((_CAPITAL_PX, 18), np.uint8)
            dash[29:36] = 255
            parts.extend((dash, gap))
        else:
            parts.extend((glyphs[character], gap))
    line = np.hstack(parts[:-1])
    width = min(room, round(line.shape[1] * height / _CAPITAL_PX * 1.05))
    return np.asarray(cv2.resize(line, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _body(canvas: Canvas, vehicle: Vehicle, half: float) -> None:
    """Paint tyres, body, greenhouse and glass; common to front and rear."""
    paint, height = vehicle.paint_bgr, _HEIGHT_M[vehicle.kind]
    dark = _tinted(paint, 0.62)
    waist = _waist_m(vehicle)
    canvas.mirrored(_rounded((half - 0.27, 0.0, half - 0.03, 0.5), 0.05), (22, 22, 22))
    roof, sill = _roof_m(vehicle, half) - 0.06, half * 0.94
    canvas.polygon(
        [(-sill, waist - 0.05), (-roof - 0.06, height - 0.06), (-roof + 0.05, height),
         (roof - 0.05, height), (roof + 0.06, height - 0.06), (sill, waist - 0.05)],
        _tinted(paint, 0.9),
    )  # fmt: skip
    canvas.polygon(
        [(-sill + 0.08, waist), (-roof, height - 0.1), (roof, height - 0.1), (sill - 0.08, waist)],
        (58, 50, 44),
    )
    canvas.polygon(
        [(-sill + 0.2, waist), (-roof + 0.1, height - 0.1), (-roof * 0.2, height - 0.1),
         (-sill * 0.45, waist)],
        (96, 88, 80),
    )  # fmt: skip
    canvas.rounded((-half, 0.2, half, waist + 0.03), 0.14, paint)
    canvas.shade(0.45, waist + 0.03, (0.86, 1.12))
    canvas.rounded((-half + 0.02, 0.18, half - 0.02, 0.42), 0.1, dark)
    canvas.rounded((-half + 0.2, 0.16, half - 0.2, 0.25), 0.03, (30, 30, 30))


def _front_details(canvas: Canvas, vehicle: Vehicle, half: float) -> None:
    """Paint grille, headlamps, mirrors and fog lamps."""
    chrome = (150, 150, 150)
    canvas.rounded((-half * 0.5, 0.6, half * 0.5, 0.74), 0.05, chrome)
    canvas.rounded((-half * 0.48, 0.615, half * 0.48, 0.725), 0.04, (28, 28, 28))
    for y in (0.64, 0.67, 0.70):
        canvas.rounded((-half * 0.46, y - 0.004, half * 0.46, y + 0.004), 0.002, (80, 80, 80))
    canvas.ellipse((0.0, 0.672), (0.05, 0.05), (190, 190, 190))
    lamp = [(half * 0.56, 0.63), (half * 0.97, 0.66), (half * 0.95, 0.79), (half * 0.62, 0.74)]
    canvas.mirrored(lamp, (70, 66, 62))
    for side in (-1, 1):
        canvas.ellipse((side * half * 0.74, 0.695), (0.075, 0.047), (226, 232, 236))
        canvas.ellipse((side * half * 0.74, 0.695), (0.035, 0.03), (250, 252, 252))
        canvas.ellipse((side * half * 0.72, 0.31), (0.06, 0.035), (120, 124, 124))
        canvas.ellipse((side * (half + 0.07), 1.0), (0.1, 0.06), _tinted(vehicle.paint_bgr, 0.8))
    canvas.rounded((-half * 0.6, 0.84, half * 0.6, 0.846), 0.002, _tinted(vehicle.paint_bgr, 0.7))


def _rear_details(canvas: Canvas, vehicle: Vehicle, half: float) -> None:
    """Paint tail lamps, the boot's lines and the exhaust."""
    line = _tinted(vehicle.paint_bgr, 0.66)
    canvas.rounded((-half * 0.62, 0.575, half * 0.62, 0.58), 0.002, line)
    canvas.rounded((-half * 0.42, 0.78, half * 0.42, 0.8), 0.008, line)
    lamp = [(half * 0.66, 0.63), (half * 0.98, 0.62), (half * 0.97, 0.85), (half * 0.7, 0.82)]
    canvas.mirrored(lamp, (36, 30, 150))
    canvas.mirrored([(x * 0.97 + 0.02, y * 0.5 + 0.37) for x, y in lamp], (70, 60, 220))
    canvas.mirrored(_rounded((half * 0.72, 0.66, half * 0.9, 0.69), 0.01), (200, 206, 210))
    canvas.ellipse((half * 0.55, 0.2), (0.05, 0.03), (90, 90, 90))
    canvas.ellipse((0.0, 0.86), (0.04, 0.04), (190, 190, 190))


def _sides(vehicle: Vehicle, half: float) -> tuple[Side, Side]:
    """Paint flank and side windows, x from the near end (0) to the far end."""
    height, waist = _HEIGHT_M[vehicle.kind], _waist_m(vehicle)
    paint = _tinted(vehicle.paint_bgr, 0.72)
    flank = Canvas(-0.02, LENGTH_M + 0.02, waist + 0.04)
    flank.rounded((0.0, 0.22, LENGTH_M, waist + 0.02), 0.1, paint)
    flank.shade(0.25, waist + 0.02, (0.75, 1.08))
    for x in (0.8, 3.4):
        flank.ellipse((x, 0.33), (0.37, 0.37), _tinted(vehicle.paint_bgr, 0.3))
        flank.ellipse((x, 0.31), (0.31, 0.31), (24, 24, 24))
        flank.ellipse((x, 0.31), (0.19, 0.19), (140, 140, 140))
    cabin = Canvas(-0.02, LENGTH_M, height)
    length = 3.9 if vehicle.kind in {"van", "suv"} else 3.2
    cabin.polygon(
        [(0.0, waist - 0.05), (0.0, height), (length - 0.5, height), (length, waist - 0.05)], paint
    )
    for x0, x1 in ((0.1, 1.25), (1.35, 2.35)):
        cabin.polygon(
            [(x0, waist), (x0, height - 0.1), (x1, height - 0.1), (x1 + 0.05, waist)], (48, 42, 38)
        )
    sill, roof = half * 0.94 - 0.05, _roof_m(vehicle, half) - 0.05
    lean = (roof - sill) / (height - waist)
    return (
        Side(flank.sprite(), half - 0.05, 0.0),
        Side(cabin.sprite(), sill - lean * waist, lean),
    )


def _waist_m(vehicle: Vehicle) -> float:
    return 1.05 if vehicle.kind == "van" else 0.92


def _roof_m(vehicle: Vehicle, half: float) -> float:
    return half * (0.88 if vehicle.kind == "van" else 0.7)


def _pyramid(finest: Luma) -> tuple[Luma, ...]:
    levels = [finest]
    for _ in range(LEVELS - 1):
        height, width = (max(1, side // 2) for side in levels[-1].shape)
        half = cv2.resize(levels[-1], (width, height), interpolation=cv2.INTER_AREA)
        levels.append(np.asarray(half, np.uint8))
    return tuple(levels)


def _rounded(box: tuple[float, float, float, float], radius: float) -> list[_Point]:
    left, bottom, right, top = box
    corners = ((right, top, 0), (left, top, 1), (left, bottom, 2), (right, bottom, 3))
    points: list[_Point] = []
    for x, y, quarter in corners:
        turn = np.linspace(0, np.pi / 2, 7) + quarter * np.pi / 2
        middle = (x - radius * (1 if x == right else -1), y - radius * (1 if y == top else -1))
        points += [
            (middle[0] + radius * float(np.cos(a)), middle[1] + radius * float(np.sin(a)))
            for a in turn
        ]
    return points


def _tinted(colour: tuple[int, int, int], gain: float) -> _Colour:
    blue, green, red = (min(255.0, channel * gain) for channel in colour)
    return blue, green, red

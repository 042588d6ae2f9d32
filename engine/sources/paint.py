"""Paints the demo's vehicles once, as sprites that the scene scales and places.

All sizes are metres: x from the vehicle's middle (or its near end), y up from the road.
"""

from typing import Final

import msgspec

from engine.sources.canvas import MARGIN_M, Canvas, Colour, Spot, Sprite, rounded_corners
from engine.sources.plate_art import paint_plate, plate_size_m
from engine.sources.traffic import CAMERA_HEIGHT_M, Vehicle

LENGTH_M: Final = 4.2

_HALF_WIDTH_M = {"hatchback": 0.86, "saloon": 0.9, "suv": 0.94, "van": 0.95}
_HEIGHT_M = {"hatchback": 1.46, "saloon": 1.42, "suv": 1.66, "van": 1.95}


class Panel(msgspec.Struct, frozen=True):
    """A flat side of a vehicle and where its sprite's corners lie.

    ``corners_m``: top left, top right, bottom right, bottom left of the sprite as (inward, up,
    back) from the middle of the end that we see; inward is towards the middle of the road.
    """

    sprite: Sprite
    corners_m: tuple[Spot, Spot, Spot, Spot]


class Face(msgspec.Struct, frozen=True):
    """A vehicle's end that we see, and its other sides in the order to draw them."""

    front: Sprite
    panels: tuple[Panel, ...]


def plate_rectangle_m(vehicle: Vehicle) -> tuple[float, float, float, float]:
    """Return left, top, right, bottom of the plate on the face, metres, y up."""
    width, height = plate_size_m(vehicle.region)
    middle = 0.47 if vehicle.approaching else 0.66
    return -width / 2, middle + height / 2, width / 2, middle - height / 2


def paint_vehicle(vehicle: Vehicle) -> Face:
    """Paint the face and the side of a vehicle with its plate (about 20 ms)."""
    half = _HALF_WIDTH_M[vehicle.kind]
    canvas = Canvas(-half - MARGIN_M, half + MARGIN_M, _HEIGHT_M[vehicle.kind] + 0.05)
    _body(canvas, vehicle, half)
    (_front_details if vehicle.approaching else _rear_details)(canvas, vehicle, half)
    plate = plate_rectangle_m(vehicle)
    canvas.rounded(
        (plate[0] - 0.015, plate[3] - 0.015, plate[2] + 0.015, plate[1] + 0.015), 0.01, (26, 26, 26)
    )
    canvas.picture(plate, paint_plate(vehicle.text, vehicle.region, rear=not vehicle.approaching))
    canvas.shadow(half)
    return Face(canvas.sprite(), _panels(vehicle, half))


def _body(canvas: Canvas, vehicle: Vehicle, half: float) -> None:
    """Paint tyres, body, greenhouse and glass; common to front and rear."""
    paint, height = vehicle.paint_bgr, _HEIGHT_M[vehicle.kind]
    dark = _tinted(paint, 0.62)
    waist = _waist_m(vehicle)
    canvas.mirrored(rounded_corners((half - 0.27, 0.0, half - 0.03, 0.5), 0.05), (22, 22, 22))
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
    canvas.mirrored(rounded_corners((half * 0.72, 0.66, half * 0.9, 0.69), 0.01), (200, 206, 210))
    canvas.ellipse((half * 0.55, 0.2), (0.05, 0.03), (90, 90, 90))
    canvas.ellipse((0.0, 0.86), (0.04, 0.04), (190, 190, 190))


def _panels(vehicle: Vehicle, half: float) -> tuple[Panel, ...]:
    """Paint flank and cabin, and the roof where the camera looks down on it."""
    height, waist = _HEIGHT_M[vehicle.kind], _waist_m(vehicle)
    sill, roof = half * 0.94 - 0.05, _roof_m(vehicle, half) - 0.05
    lean = (roof - sill) / (height - waist)
    length = 3.9 if vehicle.kind in {"van", "suv"} else 3.2
    flank, cabin = _paint_flank(vehicle), _paint_cabin(vehicle, length)
    panels = [
        Panel(flank.sprite(), flank.corners(lambda x, y: (half - 0.05, y, x))),
        Panel(cabin.sprite(), cabin.corners(lambda x, y: (sill + lean * (y - waist), y, x))),
    ]
    if height < CAMERA_HEIGHT_M:
        # One plain colour: a small square is stretched over the whole roof.
        plain = Canvas(-0.1, 0.1, 0.2)
        plain.polygon([(-0.1, 0), (-0.1, 0.2), (0.1, 0.2), (0.1, 0)], _tinted(vehicle.paint_bgr, 1))
        back = (length - 0.5) / 0.2
        spread = (roof + 0.02) / 0.1
        corners = plain.corners(lambda x, y: (x * spread, height - 0.005, y * back))
        panels.append(Panel(plain.sprite(), corners))
    return tuple(panels)


def _paint_flank(vehicle: Vehicle) -> Canvas:
    """Paint the side below the windows, x from the near end (0) to the far end."""
    waist = _waist_m(vehicle)
    flank = Canvas(-0.02, LENGTH_M + 0.02, waist + 0.04)
    flank.rounded((0.0, 0.22, LENGTH_M, waist + 0.02), 0.1, _tinted(vehicle.paint_bgr, 0.72))
    flank.shade(0.25, waist + 0.02, (0.75, 1.08))
    for x in (0.8, 3.4):
        flank.ellipse((x, 0.33), (0.37, 0.37), _tinted(vehicle.paint_bgr, 0.3))
        flank.ellipse((x, 0.31), (0.31, 0.31), (24, 24, 24))
        flank.ellipse((x, 0.31), (0.19, 0.19), (140, 140, 140))
    return flank


def _paint_cabin(vehicle: Vehicle, length: float) -> Canvas:
    """Paint the side windows and the pillars between them."""
    height, waist = _HEIGHT_M[vehicle.kind], _waist_m(vehicle)
    cabin = Canvas(-0.02, LENGTH_M, height)
    cabin.polygon(
        [(0.0, waist - 0.05), (0.0, height), (length - 0.5, height), (length, waist - 0.05)],
        _tinted(vehicle.paint_bgr, 0.72),
    )
    for x0, x1 in ((0.1, 1.25), (1.35, 2.35)):
        cabin.polygon(
            [(x0, waist), (x0, height - 0.1), (x1, height - 0.1), (x1 + 0.05, waist)], (48, 42, 38)
        )
    return cabin


def _waist_m(vehicle: Vehicle) -> float:
    return 1.05 if vehicle.kind == "van" else 0.92


def _roof_m(vehicle: Vehicle, half: float) -> float:
    return half * (0.88 if vehicle.kind == "van" else 0.7)


def _tinted(colour: tuple[int, int, int], gain: float) -> Colour:
    blue, green, red = (min(255.0, channel * gain) for channel in colour)
    return blue, green, red

"""Paints what does not move in the demo: sky, trees, houses, verge and road."""

from typing import TYPE_CHECKING

import cv2
import numpy as np
import numpy.typing as npt

from engine.sources.traffic import LANE_X_M
from engine.types import Luma

if TYPE_CHECKING:
    from engine.sources.scene import Projection

_Floats = npt.NDArray[np.float32]

_ROAD_HALF_M = 3.1
_KERB_M = 3.35
_ASPHALT = np.array((104, 102, 100), np.float32)
_GRASS = np.array((52, 104, 88), np.float32)
_PAINT = np.array((222, 226, 226), np.float32)
_KERB = np.array((158, 160, 160), np.float32)
_HAZE = np.array((206, 204, 198), np.float32)


def paint_ground(projection: "Projection", seed: int) -> tuple[Luma, Luma, Luma]:
    """Return Y (H, W), U and V (half size, rounded up), uint8."""
    rng = np.random.default_rng(seed)
    width, height = projection.width_px, projection.height_px
    horizon = int(projection.point(0, 0, 1e6)[1])
    picture = np.zeros((height, width, 3), np.float32)
    picture[:horizon] = _sky(width, horizon, rng)
    picture[horizon:] = _road(projection, horizon, rng)
    _skyline(picture, horizon, rng)
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    yuv = cv2.cvtColor(cv2.GaussianBlur(pixels, (3, 3), 0.6), cv2.COLOR_BGR2YUV)
    half = ((width + 1) // 2, (height + 1) // 2)
    planes = cv2.split(yuv)
    u, v = (cv2.resize(plane, half, interpolation=cv2.INTER_AREA) for plane in planes[1:])
    return np.asarray(planes[0], np.uint8), np.asarray(u, np.uint8), np.asarray(v, np.uint8)


def _sky(width: int, height: int, rng: np.random.Generator) -> _Floats:
    fall = np.linspace(0, 1, max(1, height), dtype=np.float32)[:, None, None]
    top, low = np.array([214, 182, 150], np.float32), np.array([226, 218, 210], np.float32)
    clouds = _cloudy((max(1, height), width), (60, 220), rng)[..., None] * 9
    return np.asarray(top + (low - top) * fall + clouds, np.float32)


def _road(projection: "Projection", horizon: int, rng: np.random.Generator) -> _Floats:
    """Paint asphalt, markings, kerbs and grass by looking up each pixel's place in the world."""
    height, width = projection.height_px - horizon, projection.width_px
    middle_x, base = projection.point(0, 0, 1)
    drop = base - projection.point(0, 0, 1e9)[1]  # pixels below the horizon at one metre
    rows = np.arange(height, dtype=np.float32)[:, None] + 0.7
    z_m = drop / rows
    x_m = (np.arange(width, dtype=np.float32)[None] - middle_x) * z_m / projection.focal_px
    side = np.abs(x_m)
    coarse = _cloudy((height, width), (24, 90), rng)
    grain = rng.normal(0, 1, (height, width)).astype(np.float32)
    grain *= np.clip(rows / height * 2, 0.25, 1)
    asphalt = _ASPHALT + (coarse * 5 + grain * 7)[..., None]
    tracks = np.exp(-(((side - LANE_X_M) % 1.4 - 0.7) ** 2) / 0.03) * (side < _ROAD_HALF_M)
    asphalt -= tracks[..., None] * 7
    grass = _GRASS + (coarse * 12 + grain * 13)[..., None]
    picture = np.where((side > _KERB_M)[..., None], grass, asphalt)
    kerb = (side > _ROAD_HALF_M) & (side <= _KERB_M)
    picture[kerb] = _KERB + grain[kerb][:, None] * 6
    dashes = (side < 0.07) & ((z_m % 6.0) < 3.2)
    edges = (side > _ROAD_HALF_M - 0.32) & (side < _ROAD_HALF_M - 0.2)
    lines = np.broadcast_to(dashes | edges, side.shape)
    picture[lines] = _PAINT + grain[lines][:, None] * 9
    haze = np.clip((z_m - 30) / 160, 0, 0.75)[..., None]
    return np.asarray(picture * (1 - haze) + _HAZE * haze, np.float32)


def _skyline(picture: _Floats, horizon: int, rng: np.random.Generator) -> None:
    """Put houses and trees onto the horizon, hazy like things far away."""
    width = picture.shape[1]
    unit = width / 1280
    for _ in range(7):
        left, wide = rng.uniform(0, width), rng.uniform(60, 150) * unit
        if abs(left + wide / 2 - width / 2) > 150 * unit:
            _house(picture, (left, float(horizon)), (wide, rng.uniform(26, 64) * unit), rng)
    for _ in range(150):
        x = rng.uniform(0, width)
        outward = abs(x - width / 2) / (width / 2)
        radius, tone = rng.uniform(8, 15 + 30 * outward) * unit, rng.uniform(0.75, 1.15)
        middle = (int(x), int(horizon - radius * 0.45))
        radii = (int(radius), int(radius * rng.uniform(0.8, 1.3)))
        colour = (74 * tone, 112 * tone, 92 * tone)
        cv2.ellipse(picture, middle, radii, 0, 0, 360, colour, -1, cv2.LINE_AA)


def _house(
    picture: _Floats,
    foot: tuple[float, float],
    size: tuple[float, float],
    rng: np.random.Generator,
) -> None:
    """Paint a gable and three windows; foot: left end on the horizon, size: width, height."""
    (left, ground), (wide, tall) = foot, size
    tone = float(rng.uniform(140, 185))
    outline = np.array(
        [
            (left, ground + 4),
            (left, ground - tall),
            (left + wide / 2, ground - tall * 1.35),
            (left + wide, ground - tall),
            (left + wide, ground + 4),
        ],
        np.int32,
    )
    cv2.fillPoly(picture, [outline], (tone, tone * 1.02, tone * 1.08), cv2.LINE_AA)
    for column in range(3):
        x = int(left + wide * (0.16 + 0.26 * column))
        top, bottom = int(ground - tall * 0.8), int(ground - tall * 0.4)
        cv2.rectangle(picture, (x, top), (x + int(wide * 0.14), bottom), (120, 112, 104), -1)


def _cloudy(shape: tuple[int, int], cells_px: tuple[int, int], rng: np.random.Generator) -> _Floats:
    """Return smooth noise of two scales, about -1 to 1."""
    total: _Floats = np.zeros(shape, np.float32)
    for cell in cells_px:
        few = rng.normal(0, 0.5, (shape[0] // cell + 2, shape[1] // cell + 2)).astype(np.float32)
        total += np.asarray(cv2.resize(few, shape[::-1], interpolation=cv2.INTER_CUBIC), np.float32)
    return total

"""What a camera does to a plate: perspective, light, blur, noise, compression."""

import math
from typing import Final

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from engine.recognizers.builtin.geometry import Quad
from engine.recognizers.builtin.training.flat import FlatPlate
from engine.recognizers.builtin.training.inks import Grey
from engine.types import Luma

_ENLARGING: Final = 0.5, 0.4, 0.1
"""Shares of linear, cubic and no interpolation."""
_ALIASES_BELOW: Final = 0.7
"""Plates shrunk by more than this are averaged down before they are warped."""


def place(
    picture: Grey,
    plate: FlatPlate,
    center: tuple[float, float],
    width_px: float,
    rng: np.random.Generator,
) -> npt.NDArray[np.float32]:
    """Warp a plate into a picture, about ``width_px`` wide; return the (3, 3) matrix that did it.

    picture: (H, W) float32, written. The matrix maps pixels of the flat plate to the picture's.
    """
    height, width = plate.picture.shape
    scale = width_px / float(plate.corners[1, 0] - plate.corners[0, 0])
    flat = np.array(((0, 0), (width, 0), (width, height), (0, height)), np.float32)
    seen = _tilted((flat - (width / 2, height / 2)) * scale, rng) + np.array(center, np.float32)
    return _warp_in(picture, plate, np.asarray(seen, np.float32), scale)


def put_on(
    picture: Grey, plate: FlatPlate, quad: Quad, rng: np.random.Generator
) -> npt.NDArray[np.float32]:
    """Warp a plate over another one, about as bright; return the matrix as ``place`` does.

    picture: (H, W) float32, written. The new plate keeps the middle, the width and the tilt of the
    old one, and its own shape.
    """
    height, width = plate.picture.shape
    inner_width, inner_height = (float(side) for side in np.ptp(plate.corners, axis=0))
    along = ((quad[1] - quad[0]) + (quad[2] - quad[3])) / 2
    steep = ((quad[3] - quad[0]) + (quad[2] - quad[1])) / 2
    length = max(4.0, float(np.hypot(*along)))
    steep = steep / max(1e-3, float(np.hypot(*steep))) * (length * inner_height / inner_width)
    low, high = quad.min(axis=0).astype(int), quad.max(axis=0).astype(int) + 1
    below = picture[max(0, low[1]) : high[1], max(0, low[0]) : high[0]]
    if below.size and rng.random() < 0.7:
        gain = (float(below.mean()) + 8) / (float(plate.picture.mean()) + 8) * rng.uniform(0.7, 1.4)
        plate = msgspec.structs.replace(plate, picture=plate.picture * np.float32(gain))
    flat = np.array(((0, 0), (width, 0), (width, height), (0, height)), np.float32)
    spread = (flat - plate.corners.mean(axis=0)) / (inner_width, inner_height)
    seen = quad.mean(axis=0) + spread[:, :1] * along + spread[:, 1:] * steep
    return _warp_in(picture, plate, np.asarray(seen, np.float32), length / inner_width)


def _warp_in(picture: Grey, plate: FlatPlate, seen: Quad, scale: float) -> npt.NDArray[np.float32]:
    """Blend the whole flat picture in at these corners, averaged down first where it shrinks."""
    height, width = plate.picture.shape
    flat = np.array(((0, 0), (width, 0), (width, height), (0, height)), np.float32)
    shown, opacity = plate.picture, plate.opacity
    if scale < _ALIASES_BELOW:
        size = max(2, round(width * scale * 1.3)), max(2, round(height * scale * 1.3))
        shown = np.asarray(cv2.resize(shown, size, interpolation=cv2.INTER_AREA), np.float32)
        opacity = np.asarray(cv2.resize(opacity, size, interpolation=cv2.INTER_AREA), np.float32)
    factors = np.array((shown.shape[1] / width, shown.shape[0] / height), np.float32)
    warp = cv2.getPerspectiveTransform(flat * factors, seen.astype(np.float32))
    target = picture.shape[1], picture.shape[0]
    cover = cv2.warpPerspective(opacity, warp, target)
    picture += (cv2.warpPerspective(shown, warp, target) - picture) * cover
    return np.asarray(cv2.getPerspectiveTransform(flat, seen.astype(np.float32)), np.float32)


def seen_by(matrix: npt.NDArray[np.float32], corners: Quad) -> Quad:
    """Return where the corners are in the picture."""
    return np.asarray(cv2.perspectiveTransform(corners[None], matrix)[0], np.float32)


def _tilted(quad: Quad, rng: np.random.Generator) -> Quad:
    """Turn, shear and foreshorten a quad around its middle at (0, 0)."""
    x, y = quad[:, 0].copy(), quad[:, 1].copy()
    half_width, half_height = float(np.abs(x).max()), float(np.abs(y).max())
    if rng.random() < 0.45:
        x *= rng.uniform(0.75, 1.0)
        x += y * rng.uniform(-0.2, 0.2)
        y *= 1 + rng.uniform(-0.12, 0.12) * x / half_width
        x *= 1 + rng.uniform(-0.06, 0.06) * y / half_height
    degrees = rng.normal(0, 5) if rng.random() < 0.85 else rng.uniform(-25, 25)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return np.stack((x * cos - y * sin, x * sin + y * cos), axis=1).astype(np.float32)


def expose(picture: Grey, rng: np.random.Generator, blur: float = 1.0) -> Luma:
    """Return what a camera would deliver of a picture: (H, W) uint8.

    ``blur`` is by how much it may be further out of focus than a sharp one.
    """
    seen = _defocus(_light(picture, rng), rng, blur)
    seen = _tone(seen, rng)
    if rng.random() < 0.2:
        seen = _enlarged(seen, rng.uniform(1.2, 1.2 + blur), rng)
    if rng.random() < 0.8:
        noise = rng.standard_normal(seen.shape, np.float32)
        seen = seen + noise * np.float32(rng.uniform(0.5, 8))
    pixels = np.clip(seen, 0, 255).astype(np.uint8)
    if rng.random() < 0.1:
        soft = cv2.GaussianBlur(pixels, (0, 0), 1.5)
        pixels = np.asarray(cv2.addWeighted(pixels, 2, soft, -1, 0), np.uint8)
    if rng.random() < 0.5:
        quality = [cv2.IMWRITE_JPEG_QUALITY, int(rng.integers(25, 91))]
        _, jpeg = cv2.imencode(".jpg", pixels, quality)
        pixels = np.asarray(cv2.imdecode(jpeg, cv2.IMREAD_GRAYSCALE), np.uint8)
    return pixels


def _light(picture: Grey, rng: np.random.Generator) -> Grey:
    """Cast a shadow over a part, let a lamp glare into another."""
    height, width = picture.shape
    lit = picture
    if rng.random() < 0.25:
        shade = np.ones_like(picture)
        outline = rng.uniform(-0.2, 1.2, (4, 2)) * (width, height)
        cv2.fillPoly(shade, [outline.astype(np.int32)], rng.uniform(0.35, 0.8))
        lit = lit * cv2.GaussianBlur(shade, (0, 0), rng.uniform(1, 12))
    if rng.random() < 0.2:
        rows, columns = np.mgrid[:height, :width]
        x, y, reach = rng.uniform(0, width), rng.uniform(0, height), rng.uniform(10, 80)
        squared = (columns - x) ** 2 + (rows - y) ** 2
        lit = lit + rng.uniform(20, 160) * np.exp(-squared / (2 * reach**2))
    return np.asarray(lit, np.float32)


def _enlarged(picture: Grey, times: float, rng: np.random.Generator) -> Grey:
    """Return the picture as if it had been stored this many times smaller."""
    height, width = picture.shape
    size = max(8, round(width / times)), max(8, round(height / times))
    small = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    method = int(rng.choice((cv2.INTER_LINEAR, cv2.INTER_CUBIC, cv2.INTER_NEAREST), p=_ENLARGING))
    return np.asarray(cv2.resize(small, (width, height), interpolation=method), np.float32)


def _defocus(picture: Grey, rng: np.random.Generator, blur: float) -> Grey:
    """Blur some pictures a little, some along a movement."""
    kind = rng.random()
    if kind < 0.5:
        wide = rng.uniform(0.4, 1.5) * (blur if rng.random() < 0.35 else 1.0)
        return np.asarray(cv2.GaussianBlur(picture, (0, 0), wide), np.float32)
    if kind < 0.65:
        length = int(rng.integers(3, 4 + round(3 * blur)))
        trail = np.zeros((length, length), np.float32)
        trail[length // 2] = 1 / length
        trail = trail if rng.random() < 0.7 else trail.T
        return np.asarray(cv2.filter2D(picture, -1, trail), np.float32)
    return picture


def _tone(picture: Grey, rng: np.random.Generator) -> Grey:
    """Expose too little, too much, through haze, or with another gamma."""
    kind = rng.random()
    if kind < 0.14:
        return np.asarray(picture * rng.uniform(0.15, 0.5) + rng.uniform(0, 30), np.float32)
    if kind < 0.35:
        return np.asarray(picture * rng.uniform(0.4, 0.8) + rng.uniform(30, 120), np.float32)
    if kind < 0.5:
        curve = (np.clip(picture, 0, 255) / 255) ** rng.uniform(0.5, 2)
        return np.asarray(255 * curve, np.float32)
    if kind < 0.6:
        return np.asarray(picture * rng.uniform(1.1, 1.7), np.float32)
    return picture

"""What surrounds plates: textures, shapes, rough cars, and writing that is no plate."""

from collections.abc import Sequence

import cv2
import numpy as np

from engine.recognizers.builtin.training.inks import Grey, blotches, ink
from engine.recognizers.builtin.training.texts import random_word
from engine.recognizers.builtin.training.typefaces import Typeface, scaled


def background(rng: np.random.Generator, size_px: int) -> Grey:
    """Return a square of clutter: (size, size) float32."""
    kind = rng.random()
    if kind < 0.45:
        picture = _heap(rng, size_px)
    else:
        ramp = np.linspace(rng.uniform(30, 220), rng.uniform(30, 220), size_px, dtype=np.float32)
        picture = np.repeat(ramp[:, None], size_px, axis=1)
    for _ in range(int(rng.integers(1, 6))):
        _texture(picture, rng)
    for spot_px in (48, 12, 3):
        picture += blotches(rng, picture.shape, spot_px) * rng.uniform(0, 9)
    return np.clip(picture, 0, 255)


def _heap(rng: np.random.Generator, size_px: int) -> Grey:
    """Heap up leaves of all sizes: edges in every direction, at every scale."""
    picture = np.full((size_px, size_px), rng.uniform(20, 230), np.float32)
    for _ in range(int(rng.integers(40, 260))):
        radius = min(size_px * 0.5, 3 / (rng.random() ** 0.7 + 1e-3) + 2)
        x, y = rng.uniform(0, size_px, 2)
        grey = float(np.clip(rng.normal(115, 65), 0, 255))
        if rng.random() < 0.5:
            axes = max(1, round(radius)), max(1, round(radius * rng.uniform(0.2, 1)))
            turned = rng.uniform(0, 180)
            cv2.ellipse(picture, (round(x), round(y)), axes, turned, 0, 360, grey, -1, cv2.LINE_AA)
        else:
            size = radius * rng.uniform(0.5, 4), radius * rng.uniform(0.3, 1.6)
            corners = cv2.boxPoints(((x, y), size, rng.uniform(-6, 6)))
            cv2.fillPoly(picture, [corners.astype(np.int32)], grey, cv2.LINE_AA)
    return picture


def _texture(picture: Grey, rng: np.random.Generator) -> None:
    """Cover a part with stripes, a grille or bricks."""
    size_px = len(picture)
    x, y = (int(part) for part in rng.integers(0, size_px - 20, 2))
    part = picture[y : y + int(rng.integers(20, size_px)), x : x + int(rng.integers(20, size_px))]
    rows, columns = np.mgrid[: part.shape[0], : part.shape[1]].astype(np.float32)
    angle = rng.choice((0, np.pi / 2)) + rng.normal(0, 0.05)
    period = rng.uniform(4, 40)
    across = columns * np.cos(angle) + rows * np.sin(angle)
    along = rows * np.cos(angle) - columns * np.sin(angle)
    pattern = across / period % 1 < rng.uniform(0.2, 0.8)
    if rng.random() < 0.4:
        pattern ^= along / (period * rng.uniform(0.7, 3)) % 1 < 0.2
    dark, light = sorted(rng.uniform(0, 255, 2))
    shades = cv2.GaussianBlur(
        np.where(pattern, light, dark).astype(np.float32), (0, 0), rng.uniform(0.3, 1.5)
    )
    part += (shades - part) * np.float32(rng.uniform(0.4, 1))


def draw_car(
    picture: Grey, center: tuple[float, float], plate: tuple[float, float], rng: np.random.Generator
) -> None:
    """Draw the rough back of a car around where a plate of (width, height) will be."""
    (x, y), (plate_width, plate_height) = center, plate
    width = plate_width * rng.uniform(2.6, 7)
    body = rng.uniform(5, 245)
    left, right = x - width / 2, x + width / 2
    top, low = y - width * rng.uniform(0.15, 0.5), y + width * rng.uniform(0.08, 0.35)
    _fill(picture, ((left, top), (right, top), (right, y), (right, low), (left, low)), body)
    roof = top - width * rng.uniform(0.1, 0.35)
    window = (
        (left * 0.8 + x * 0.2, roof),
        (right * 0.8 + x * 0.2, roof),
        (right, top),
        (left, top),
    )
    _fill(picture, window, rng.uniform(10, 140))
    for _ in range(int(rng.integers(1, 6))):
        height = round(rng.uniform(top, low))
        grey = float(np.clip(body + rng.uniform(-120, 120), 0, 255))
        thick = int(rng.integers(1, max(2, int(plate_height * 0.25)) + 1))
        cv2.line(picture, (round(left), height), (round(right), height), grey, thick, cv2.LINE_AA)
    if rng.random() < 0.5:
        reach = plate_width * rng.uniform(0.55, 2), plate_height * rng.uniform(0.6, 1.6)
        _box(picture, center, reach, float(np.clip(body + rng.uniform(-90, 40), 0, 255)))
    if rng.random() < 0.4:
        _grille(picture, (x, y + rng.choice((-1, 1)) * plate_height * 1.5), plate, rng)
    for side in (-1, 1):
        lamp = x + side * width * rng.uniform(0.33, 0.45), rng.uniform(top, y)
        _box(picture, lamp, (width * rng.uniform(0.03, 0.1), width * 0.04), rng.uniform(30, 255))


def _grille(
    picture: Grey, center: tuple[float, float], plate: tuple[float, float], rng: np.random.Generator
) -> None:
    reach = plate[0] * rng.uniform(0.3, 1), plate[1] * rng.uniform(0.25, 0.8)
    _box(picture, center, reach, rng.uniform(0, 60))
    bars = int(rng.integers(2, 10))
    for bar in range(bars):
        middle = center[0], center[1] + reach[1] * (2 * (bar + 0.5) / bars - 1)
        _box(picture, middle, (reach[0], reach[1] / bars / 2), rng.uniform(60, 240))


def draw_writing(picture: Grey, typefaces: Sequence[Typeface], rng: np.random.Generator) -> None:
    """Write words on signs, panels and walls: text that is no plate."""
    height = 2 ** rng.uniform(2.6, 6.2)
    face = typefaces[int(rng.integers(len(typefaces)))]
    mask = face.write(random_word(rng)[: int(rng.integers(1, 12))], rng.uniform(0.05, 0.3))
    mask = scaled(mask, mask.shape[1] * height / mask.shape[0], height)
    center = (rng.uniform(0, picture.shape[1]), rng.uniform(0, picture.shape[0]))
    ground = rng.uniform(0, 255)
    if rng.random() < 0.4:
        reach = mask.shape[1] * rng.uniform(0.55, 0.9), height * rng.uniform(0.6, 2.5)
        _box(picture, center, reach, ground)
        if rng.random() < 0.25:
            return
    ink(picture, mask, center, float((ground + rng.uniform(80, 170)) % 256))


def _box(
    picture: Grey, center: tuple[float, float], reach: tuple[float, float], grey: float
) -> None:
    """Fill a rectangle that reaches this far from its middle."""
    low = round(center[0] - reach[0]), round(center[1] - reach[1])
    cv2.rectangle(
        picture, low, (round(center[0] + reach[0]), round(center[1] + reach[1])), grey, -1
    )


def _fill(picture: Grey, outline: Sequence[tuple[float, float]], grey: float) -> None:
    cv2.fillPoly(picture, [np.array(outline).astype(np.int32)], grey, cv2.LINE_AA)

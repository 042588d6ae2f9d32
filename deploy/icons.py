"""Draws the page's icons as PNG from what ``api/ui/icon.svg`` shows, for phones that want PNG.

Run as ``python deploy/icons.py`` after the drawing has changed; the results are committed.
"""

from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

UI = Path(__file__).resolve().parent.parent / "api" / "ui"
OVER = 4
"""Drawn so many times larger, then scaled down: smooth edges."""


def rounded(
    picture: npt.NDArray[np.uint8], box: tuple[float, ...], radius: float, colour: tuple[int, ...]
) -> None:
    """Fill a rectangle with round corners; box: left, top, right, bottom."""
    left, top, right, bottom = (round(edge) for edge in box)
    r = round(radius)
    cv2.rectangle(picture, (left + r, top), (right - r, bottom), colour, -1)
    cv2.rectangle(picture, (left, top + r), (right, bottom - r), colour, -1)
    for x in (left + r, right - r):
        for y in (top + r, bottom - r):
            cv2.circle(picture, (x, y), r, colour, -1, cv2.LINE_AA)


def icon(size_px: int, share: float, ground: tuple[int, ...]) -> npt.NDArray[np.uint8]:
    """Return the plate over a ground, (size, size, 4) BGRA; ``share`` of the width is the plate."""
    full = size_px * OVER
    picture = np.full((full, full, 4), ground, np.uint8)
    unit = full * share / 58
    x0, y0 = full / 2 - 32 * unit, full / 2 - 32 * unit

    def at(x: float, y: float) -> tuple[int, int]:
        return round(x0 + x * unit), round(y0 + y * unit)

    ink, paper, blue = (48, 36, 27, 255), (242, 247, 247, 255), (214, 99, 31, 255)
    rounded(picture, (*at(1, 13), *at(63, 51)), 10 * unit, ink)
    rounded(picture, (*at(5, 17), *at(59, 47)), 6 * unit, paper)
    rounded(picture, (*at(5, 17), *at(17, 47)), 6 * unit, blue)
    cv2.rectangle(picture, at(11, 17), at(17, 47), blue, -1)
    width = round(5 * unit)
    cv2.line(picture, at(28, 41), at(28, 23), ink, width, cv2.LINE_AA)
    for y in (23, 35):
        cv2.line(picture, at(28, y), at(36.5, y), ink, width, cv2.LINE_AA)
    cv2.ellipse(picture, at(36.5, 29), (round(6 * unit),) * 2, -90, 0, 180, ink, width, cv2.LINE_AA)
    cv2.circle(picture, at(51, 39), round(3.6 * unit), ink, -1, cv2.LINE_AA)
    return np.asarray(
        cv2.resize(picture, (size_px, size_px), interpolation=cv2.INTER_AREA), np.uint8
    )


def main() -> None:
    """Write the three icons."""
    dark = (23, 18, 15, 255)
    for name, size_px, share in (
        ("icon-192.png", 192, 0.8),
        ("icon-512.png", 512, 0.8),
        ("icon-maskable.png", 512, 0.62),
    ):
        cv2.imwrite(str(UI / name), icon(size_px, share, dark), [cv2.IMWRITE_PNG_COMPRESSION, 9])


if __name__ == "__main__":
    main()

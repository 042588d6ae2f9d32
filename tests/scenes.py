"""Pictures with plates for tests of recognizers, drawn in a font that none was made for."""

import cv2
import numpy as np

FONT = cv2.FONT_HERSHEY_SIMPLEX


def plate(*lines: str) -> np.ndarray:
    """Return a flat plate with one or two lines of dark text on a light ground, (h, w) uint8."""
    (width, _), _ = cv2.getTextSize(max(lines, key=len), FONT, 2.6, 9)
    picture = np.full((40 + 80 * len(lines), width + 50), 235, np.uint8)
    for row, line in enumerate(lines):
        (across, _), _ = cv2.getTextSize(line, FONT, 2.6, 9)
        start = (picture.shape[1] - across) // 2, 88 + 78 * row
        cv2.putText(picture, line, start, FONT, 2.6, 25, 9, cv2.LINE_AA)
    height, width = picture.shape
    cv2.rectangle(picture, (3, 3), (width - 4, height - 4), 25, 4)
    return picture


def street(height: int = 720, width: int = 1280, seed: int = 1) -> np.ndarray:
    """Return a soft grey picture without any plate, (height, width) uint8."""
    noise = np.random.default_rng(seed).integers(60, 120, (height, width), np.uint8)
    return cv2.GaussianBlur(noise, (0, 0), 6)


def mount(
    scene: np.ndarray, flat: np.ndarray, center: tuple[int, int], **view: float
) -> np.ndarray:
    """Draw a dark car with this plate into the scene; returns the plate's corners, (4, 2).

    view: ``width`` of the plate in pixels, ``angle`` in degrees (clockwise), ``shear``.
    """
    width, angle = view.get("width", 140), np.deg2rad(view.get("angle", 0.0))
    height = width * flat.shape[0] / flat.shape[1]
    corners = np.float32([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * (width / 2, height / 2)
    corners[:, 0] += view.get("shear", 0.0) * corners[:, 1]
    turn = [[np.cos(angle), np.sin(angle)], [-np.sin(angle), np.cos(angle)]]
    corners = (corners @ turn + center).astype(np.float32)
    x, y = center
    body = (int(x - 1.1 * width), int(y - 0.9 * width)), (int(x + 1.1 * width), int(y + width / 2))
    cv2.rectangle(scene, *body, 70, -1)
    size = int(1.5 * width), int(1.5 * height)
    small = cv2.resize(flat, size, interpolation=cv2.INTER_AREA)
    target = np.float32([[0, 0], [size[0], 0], size, [0, size[1]]])
    matrix = cv2.getPerspectiveTransform(target, corners)
    warped = cv2.warpPerspective(small, matrix, scene.shape[::-1])
    mask = cv2.warpPerspective(np.full_like(small, 255), matrix, scene.shape[::-1])
    scene[mask > 127] = warped[mask > 127]
    return corners

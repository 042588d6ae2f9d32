"""Grey on grey: what everything that is drawn is drawn with. Values are 0 to 255."""

import cv2
import numpy as np
import numpy.typing as npt

from engine.recognizers.builtin.training.typefaces import Mask

Grey = npt.NDArray[np.float32]
"""(H, W) float32 luma, 0 to 255."""


def ink(picture: Grey, mask: Mask, center: tuple[float, float], grey: float) -> None:
    """Blend a grey into a picture where a mask around ``center`` covers it."""
    height, width = mask.shape
    x, y = round(center[0] - width / 2), round(center[1] - height / 2)
    top, left = max(0, y), max(0, x)
    bottom, right = min(picture.shape[0], y + height), min(picture.shape[1], x + width)
    if top < bottom and left < right:
        cover = mask[top - y : bottom - y, left - x : right - x]
        part = picture[top:bottom, left:right]
        part += (np.float32(grey) - part) * cover


def blotches(rng: np.random.Generator, shape: tuple[int, ...], size_px: float) -> Grey:
    """Return smooth noise of mean 0 and deviation about 1, its spots about ``size_px`` wide."""
    height, width = shape
    coarse = rng.standard_normal((int(height / size_px) + 2, int(width / size_px) + 2))
    smooth = cv2.resize(coarse.astype(np.float32), (width, height), interpolation=cv2.INTER_CUBIC)
    return np.asarray(smooth, np.float32)


def rounded(shape: tuple[int, ...], radius: int) -> Mask:
    """Return a mask of this shape with rounded corners."""
    height, width = shape
    mask = np.zeros((height, width), np.float32)
    cv2.rectangle(mask, (radius, 0), (width - radius, height), 1.0, -1)
    cv2.rectangle(mask, (0, radius), (width, height - radius), 1.0, -1)
    for x in (radius, width - radius - 1):
        for y in (radius, height - radius - 1):
            cv2.circle(mask, (x, y), radius, 1.0, -1)
    return mask

"""Evidence pictures: the plate's crop and the scaled frame, as JPEG, cut out of a leased slot."""

from typing import Final

import cv2
import numpy as np

from engine.types import Bgr, Box, Luma

CROP_MARGIN: Final = 0.25
"""Share of the plate's width and height shown around it."""
CROP_WIDTH_PX: Final = 320
FRAME_WIDTH_PX: Final = 960
_QUALITY: Final = [cv2.IMWRITE_JPEG_QUALITY, 80]


def crop_jpeg(frame: Luma | Bgr, height_px: int, box: Box) -> bytes:
    """Return the JPEG of the plate in ``box`` with a margin, at most ``CROP_WIDTH_PX`` wide.

    frame: as it lies in a slot (``engine.slot_formats``), ``height_px`` high; only the crop is
    copied. Empty when the box lies outside of the frame.
    """
    width_px = frame.shape[1]
    left = max(0, int(box.x - CROP_MARGIN * box.width)) & ~1
    top = max(0, int(box.y - CROP_MARGIN * box.height)) & ~1
    right = min(width_px, int(box.x + (1 + CROP_MARGIN) * box.width) + 2) & ~1
    bottom = min(height_px, int(box.y + (1 + CROP_MARGIN) * box.height) + 2) & ~1
    if right - left < 2 or bottom - top < 2:  # smaller than one chroma sample
        return b""
    return _encoded(_region(frame, height_px, (left, top, right, bottom)), CROP_WIDTH_PX)


def frame_jpeg(frame: Luma | Bgr, height_px: int) -> bytes:
    """Return the JPEG of the whole frame, at most ``FRAME_WIDTH_PX`` wide; frame as above."""
    return _encoded(_region(frame, height_px, (0, 0, frame.shape[1], height_px)), FRAME_WIDTH_PX)


def _region(
    frame: Luma | Bgr, height_px: int, edges: tuple[int, int, int, int]
) -> cv2.typing.MatLike:
    """Return a region as gray, or as BGR where the frame has colour; edges are even."""
    left, top, right, bottom = edges
    luma = frame[top:bottom, left:right]
    if frame.shape[0] == height_px:  # gray, or BGR already
        return luma
    planes = frame[height_px:].reshape(2, height_px // 2, frame.shape[1] // 2)
    chroma = planes[:, top // 2 : bottom // 2, left // 2 : right // 2]
    packed = np.concatenate((luma.reshape(-1), chroma.reshape(-1)))
    return cv2.cvtColor(packed.reshape(-1, right - left), cv2.COLOR_YUV2BGR_I420)


def _encoded(picture: cv2.typing.MatLike, max_width_px: int) -> bytes:
    """Encode a picture, scaled down to the width where it is wider."""
    height, width = picture.shape[:2]
    if width > max_width_px:
        size = (max_width_px, max(1, round(height * max_width_px / width)))
        picture = cv2.resize(picture, size, interpolation=cv2.INTER_AREA)
    done, jpeg = cv2.imencode(".jpg", picture, _QUALITY)
    return jpeg.tobytes() if done else b""

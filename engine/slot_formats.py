"""What a slot can hold: ``gray``, ``i420`` or ``bgr24``; how frames get there and luma comes out.

========= ==================== ============================================================
format    frame                luma
========= ==================== ============================================================
``gray``  (H, W)               the frame itself
``i420``  (H * 3 // 2, W)      its first H rows; H and W are even
``bgr24`` (H, W, 3)            a converted copy: for recognizers that take colour as it lies
========= ==================== ============================================================
"""

from typing import Final

import cv2
import numpy as np

from engine.errors import RingError
from engine.sources.base import SourceFrame
from engine.sources.masks import Masks
from engine.types import Bgr, Luma

FORMATS: Final = ("gray", "i420", "bgr24")


def fitting_size(width_px: int, height_px: int, form: str) -> tuple[int, int]:
    """Return the size in which a format holds a picture of this size: i420 leaves out odd edges."""
    return (width_px & ~1, height_px & ~1) if form == "i420" else (width_px, height_px)


def frame_bytes(width_px: int, height_px: int, form: str) -> int:
    """Return the size of one frame.

    Raises:
        RingError: no ring holds this format, or, for i420, an odd size.
    """
    if form not in FORMATS:
        raise RingError(f"a ring holds {' or '.join(FORMATS)}, not {form}")
    if form == "i420" and (width_px % 2 or height_px % 2):
        raise RingError(f"i420 frames have even sizes, not {width_px} × {height_px}")
    return width_px * height_px * {"gray": 2, "i420": 3, "bgr24": 6}[form] // 2


def as_frame(flat: Luma, width_px: int, form: str) -> Luma | Bgr:
    """Return the bytes of a slot in the frame's shape: a view."""
    return flat.reshape(-1, width_px, 3) if form == "bgr24" else flat.reshape(-1, width_px)


def luma_of(frame: Luma | Bgr, height_px: int) -> Luma:
    """Return the luma of a frame in its shape: a view, of ``bgr24`` a copy."""
    if frame.ndim == 3:
        return np.asarray(cv2.cvtColor(frame, cv2.COLOR_BGR2GRAY), np.uint8)
    return frame[:height_px]


def write_frame(frame: SourceFrame, slot: Luma | Bgr, form: str, masks: Masks | None) -> None:
    """Write a frame into a slot of a format, in one go, without what its masks hide."""
    match form:
        case "i420":
            frame.write_i420(slot)
            if masks is not None:
                masks.i420(slot)
        case "bgr24":
            frame.write_bgr(slot)
            if masks is not None:
                masks.bgr(slot)
        case _:
            frame.write_luma(slot)
            if masks is not None:
                masks.luma(slot)

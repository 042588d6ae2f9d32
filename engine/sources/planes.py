"""Pixels of PyAV frames: which plane is luma, and how each format gets into a slot.

Where plane 0 is luma it is copied as it is coded; asking swscale for ``gray`` would cost a
conversion of the range on every pixel. Only formats without a luma plane go through swscale.
"""

from typing import Any, NamedTuple, TypeAlias

import av
import cv2
import numpy as np
import numpy.typing as npt
from av.video.plane import VideoPlane
from av.video.reformatter import VideoReformatter

from engine.sources.base import PREVIEW_WIDTH_PX
from engine.types import Bgr, Luma

_PLANAR_8 = frozenset(
    {"nv12", "nv21", "nv16", "nv24", "nv42", "gray", "yuv410p"}
    | {f"yuv{kind}{share}p" for kind in ("", "j") for share in (411, 420, 422, 440, 444)}
    | {f"yuva{share}p" for share in (420, 422, 444)}
)
_PLANAR_DEEP = frozenset(
    f"{name}{bits}le"
    for name in ("yuv420p", "yuv422p", "yuv440p", "yuv444p", "gray")
    for bits in (9, 10, 12, 14, 16)
)
_MSB_ALIGNED = frozenset(f"p{kind}{bits}le" for kind in "024" for bits in ("10", "12", "16"))
_PACKED_STEP = {"yuyv422": 0, "yvyu422": 0, "uyvy422": 1}
_I420 = frozenset({"yuv420p", "yuvj420p"})

_Samples: TypeAlias = npt.NDArray[np.uint8] | npt.NDArray[np.uint16]


class Cut(NamedTuple):
    """Where a crop is in one size of picture; x and y are even, so that chroma fits."""

    x: int
    y: int
    width: int
    height: int

    @classmethod
    def of(cls, crop: tuple[float, ...], width_px: int, height_px: int) -> "Cut":
        """Return the crop (x, y, width, height as shares, or ()) in a picture of this size."""
        if not crop:
            return cls(0, 0, width_px, height_px)
        left, top, across, down = crop
        x, y = int(left * width_px) & ~1, int(top * height_px) & ~1
        width = min(width_px - x, max(16, round(across * width_px)))
        return cls(x, y, width, min(height_px - y, max(16, round(down * height_px))))

    def of_plane(self, plane: npt.NDArray[Any], shrunk: int = 1) -> npt.NDArray[Any]:
        """Return the view of this part of a plane, chroma being ``shrunk`` by 2."""
        x, y = self.x // shrunk, self.y // shrunk
        return plane[y : y + self.height // shrunk, x : x + self.width // shrunk]


class PlaneCopier:
    """Copies and converts frames of one stream; keeps the scaler's context between frames.

    crop: the part to keep of the picture after its rotation metadata is followed. deinterlace:
    take every second line twice where a frame is interlaced, as cheap as a plain copy.
    """

    def __init__(
        self, crop: tuple[float, ...] = (), *, scale: int = 1, deinterlace: bool = False
    ) -> None:
        self._scaler = VideoReformatter()
        self._crop, self._scale, self._deinterlace = crop, scale, deinterlace

    def size(self, frame: av.VideoFrame) -> tuple[int, int]:
        """Return width and height of what is written."""
        cut = self.cut(frame)
        return max(2, cut.width // self._scale), max(2, cut.height // self._scale)

    def cut(self, frame: av.VideoFrame) -> Cut:
        """Return the part that is kept."""
        width, height = frame.width, frame.height
        if _quarters(frame) % 2:
            width, height = height, width
        return Cut.of(self._crop, width, height)

    def luma(self, frame: av.VideoFrame, target: Luma) -> None:
        """Write luma into target (H, W)."""
        samples, shift = self._luma_view(frame)
        _store(_fitted(samples, target.shape), shift, target)

    def i420(self, frame: av.VideoFrame, target: Luma) -> None:
        """Write planar 4:2:0 into target (H' * 3 // 2, W'), H' and W' even."""
        width, height = target.shape[1], target.shape[0] * 2 // 3
        planar = frame if frame.format.name in _I420 else self._convert(frame, "yuv420p")
        turns, cut = _quarters(frame), self.cut(frame)
        even = cut._replace(width=cut.width & ~1, height=cut.height & ~1)
        luma = _rows(planar.planes[0])[: frame.height, : frame.width]
        kept = even.of_plane(np.rot90(self._progressive(frame, luma), turns))
        target[:height] = _fitted(kept, (height, width))
        flat = target.reshape(-1)
        size = (height // 2) * (width // 2)
        for index in (1, 2):
            start = width * height + (index - 1) * size
            chroma = flat[start : start + size].reshape(height // 2, width // 2)
            plane = _rows(planar.planes[index])[: frame.height // 2, : frame.width // 2]
            chroma[:] = _fitted(even.of_plane(np.rot90(plane, turns), shrunk=2), chroma.shape)

    def bgr(self, frame: av.VideoFrame, target: Bgr) -> None:
        """Write blue, green, red into target (H, W, 3)."""
        packed = self._convert(frame, "bgr24")
        rows = _rows(packed.planes[0])[: frame.height, : frame.width * 3]
        pixels = rows.reshape(frame.height, frame.width, 3)
        turned = np.rot90(self._progressive(frame, pixels), _quarters(frame))
        target[:] = _fitted(self.cut(frame).of_plane(turned), target.shape)

    def preview(self, frame: av.VideoFrame) -> Luma:
        """Return a small luma copy."""
        samples, shift = self._luma_view(frame)
        return shrink(samples, shift)

    def _luma_view(self, frame: av.VideoFrame) -> tuple[_Samples, int]:
        """Return a view of the luma that is kept, upright, and the bits to shift it right by."""
        samples, shift = self._whole_luma(frame)
        upright = np.rot90(self._progressive(frame, samples), _quarters(frame))
        return self.cut(frame).of_plane(upright), shift

    def _progressive(self, frame: av.VideoFrame, rows: npt.NDArray[Any]) -> npt.NDArray[Any]:
        """Return one field of an interlaced picture, each line twice; others as they are."""
        if not (self._deinterlace and frame.interlaced_frame):
            return rows
        return np.repeat(rows[::2], 2, axis=0)[: rows.shape[0]]

    def _whole_luma(self, frame: av.VideoFrame) -> tuple[_Samples, int]:
        """Return a view of the luma samples as decoded and the bits to shift them right by."""
        name, plane = frame.format.name, frame.planes[0]
        height, width = frame.height, frame.width
        if plane.line_size > 0:
            if name in _PLANAR_8:
                return _rows(plane)[:height, :width], 0
            if name in _PLANAR_DEEP:
                deep = _rows(plane).view("<u2")[:height, :width]
                return deep, frame.format.components[0].bits - 8
            if name in _MSB_ALIGNED:
                return _rows(plane).view("<u2")[:height, :width], 8
            if name in _PACKED_STEP:
                first = _PACKED_STEP[name]
                return _rows(plane)[:height, first : 2 * width : 2], 0
        return _rows(self._convert(frame, "gray").planes[0])[:height, :width], 0

    def _convert(self, frame: av.VideoFrame, name: str) -> av.VideoFrame:
        return self._scaler.reformat(frame, format=name, threads=1)


def shrink(samples: _Samples, shift: int = 0) -> Luma:
    """Return luma at most ``PREVIEW_WIDTH_PX`` wide: every n-th pixel, then averaged by area.

    By halves as long as it goes: OpenCV is several times quicker at these.
    """
    step = max(1, samples.shape[1] // (4 * PREVIEW_WIDTH_PX))
    coarse: Luma
    if step == 2 and shift == 0 and samples.dtype == np.uint8:  # one more half beats a copy
        coarse = np.asarray(samples, np.uint8)
    else:
        few = samples[::step, ::step]
        coarse = np.empty(few.shape, np.uint8)
        _store(few, shift, coarse)
    while coarse.shape[1] >= 2 * PREVIEW_WIDTH_PX and coarse.shape[0] > 1:
        height, width = coarse.shape[0] // 2, coarse.shape[1] // 2
        coarse = _averaged(coarse[: 2 * height, : 2 * width], width, height)
    if coarse.shape[1] <= PREVIEW_WIDTH_PX:
        return coarse
    height = max(1, round(coarse.shape[0] * PREVIEW_WIDTH_PX / coarse.shape[1]))
    return _averaged(coarse, PREVIEW_WIDTH_PX, height)


def _averaged(luma: Luma, width: int, height: int) -> Luma:
    smaller: Any = cv2.resize(luma, (width, height), interpolation=cv2.INTER_AREA)
    return np.asarray(smaller, np.uint8)


def _store(samples: _Samples, shift: int, target: Luma) -> None:
    """Copy samples into 8 bit; deep ones lose their low bits, without rounding past white."""
    if shift == 0 and samples.dtype == np.uint8:
        target[:] = samples
    else:
        np.right_shift(samples, shift, out=target, casting="unsafe")


def _rows(plane: VideoPlane) -> Luma:
    """Return the plane as (rows, line_size) bytes without copying; padding is still in it."""
    # memoryview() because PyAV's planes do not declare the buffer interface that they have.
    flat = np.frombuffer(memoryview(plane), np.uint8)
    return flat.reshape(-1, plane.line_size)


def _fitted(samples: npt.NDArray[Any], shape: tuple[int, ...]) -> npt.NDArray[Any]:
    """Return samples as they are where they fit, else made smaller by area."""
    if samples.shape == shape:
        return samples
    whole = np.ascontiguousarray(samples)
    return np.asarray(cv2.resize(whole, (shape[1], shape[0]), interpolation=cv2.INTER_AREA))


def _quarters(frame: av.VideoFrame) -> int:
    """Return by how many quarter turns to the left the picture becomes upright."""
    return round(frame.rotation / 90) % 4

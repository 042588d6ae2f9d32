"""Finds plates in a frame: a small convolutional network at two scales, boxes with four corners.

The network looks at a grey picture and answers, for every cell of 8 by 8 pixels, how likely a
plate is centred there, its width and height, its centre and its four corners (13 channels). Two
scales see plates from about a thirtieth of the frame's width up to all of it.
"""

import math
from collections.abc import Iterator, Sequence
from typing import Final, TypeAlias

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from engine.recognizers.builtin.geometry import (
    Quad,
    blocks,
    flatten,
    height_px,
    shrink,
    width_px,
    window,
)
from engine.recognizers.builtin.network import Network
from engine.types import Box, Luma

_SIDES_PX: Final = (160, 448)
"""The longest side of the frame at each scale; of frames above 1493 px, the larger is larger."""

_LEAST_SCALE: Final = 0.3
"""Of the larger one: at this, plates that can just be read, some 50 px wide, can still be found."""
_MAX_ENLARGEMENT: Final = 2.0
_WIDEST_PX: Final = 256
"""The widest plate that is surely seen at either scale."""
_AROUND: Final = 0.08
"""How far around a part is looked at, in longest sides of the frame: a plate's half and a bit."""
_CELL_PX: Final = 8
_ALIGN_PX: Final = 32
_BLOCK_PX: Final = 4
_GREY: Final = 112
"""What the network takes for nothing."""
_UNIT_PX: Final = np.array((64.0, 24.0), np.float32)
"""Width and height of the plate that the network writes as 0, 0."""
_LARGEST_EXPONENT: Final = 3.0
_OVERLAP: Final = 0.3
_WEAKEST: Final = 0.15
_WEAKEST_LOGIT: Final = math.log(_WEAKEST / (1 - _WEAKEST))
_MOST_PER_SCALE: Final = 40
_WINDOW_PX: Final = (192, 96)
_WINDOW_WIDTHS: Final = (1.9, 2.4)
"""Widths of the windows of ``focus``, in widths of the plate."""
_LEAST_ASPECT: Final = 1.5
_OFF_CENTER: Final = 0.35
"""In widths of the plate: what lies further from the middle is another plate."""
_SURE: Final = 0.8
"""A window that is likelier than this needs no second one."""
_NEIGHBOURS: Final = np.ones((3, 3), np.uint8)
_NO_WEIGHT: Final = np.float32(0.1)
_LEAST_FOCUSED: Final = 0.2
"""From near, legible plates are likelier than this; overlays, signs and grilles are not."""
_CORNERS: Final = np.array([[-0.5, -0.5], [0.5, -0.5], [0.5, 0.5], [-0.5, 0.5]], np.float32)

Floats = npt.NDArray[np.float32]
Part: TypeAlias = tuple[int, int, int, int]
"""Left, top, right, bottom of a part of a frame, in pixels."""


class Detection(msgspec.Struct, frozen=True):
    """A place that looks like a plate: probability 0 to 1, corners in frame pixels."""

    probability: float
    quad: Quad


class PlateDetector:
    """Finds the corners of plates; owns one network, called by one thread."""

    def __init__(self, network: Network) -> None:
        """Take the detector network: (1, h/4, w/4, 16) uint8 in, (1, 13, h/8, w/8) out."""
        self._network = network
        self._canvases: dict[tuple[int, int], Luma] = {}

    def detect(
        self, frame: Luma, least: float, limit: int, within: Sequence[Box] = ()
    ) -> list[Detection]:
        """Return at most ``limit`` plates of a (H, W) luma frame, the likeliest first.

        Places less likely than ``least`` (0.15 to 1) are left out. Only the parts ``within``, in
        frame pixels, and what is around them are looked at, if given: as sharply, for less.
        """
        probabilities: list[Floats] = []
        quads: list[Floats] = []
        for left, top, right, low in _parts(frame, within):
            origin = np.array((left, top), np.float32)
            for found, corners in self._looks(frame[top:low, left:right], max(frame.shape)):
                probabilities.append(found)
                quads.append(corners + origin)
        if not probabilities:
            return []
        found = np.concatenate(probabilities)
        enough = found >= least
        return _without_overlaps(found[enough], np.concatenate(quads)[enough], limit)

    def _looks(self, picture: Luma, longest_px: int) -> Iterator[tuple[Floats, Floats]]:
        """Look at a part of a frame of this longest side at each scale; yield what is seen there.

        The part is read once for the larger scale; the smaller is made from that, unless whatever
        the part holds is small enough for the larger one.
        """
        from_scale = 1.0
        for scale in _scales(longest_px):
            picture = shrink(picture, scale / from_scale)
            from_scale = scale
            found, corners = _decode(self._network.run(self._blocks(picture))[0])
            yield found, corners / np.float32(scale)
            if max(picture.shape) <= _WIDEST_PX:
                return

    def focus(self, frame: Luma, detection: Detection, looks: int = 1) -> Detection | None:
        """Look again at one detection from near, and return it with better corners.

        The plate is enlarged or reduced to the size at which the network sees corners best, in one
        window, or in two if there may be two ``looks`` and the first is not sure; corners are
        averaged, each weighted with how sure the network was. What is hardly a plate from near is
        none: nothing is returned.
        """
        nearer: list[Detection] = []
        for wide in _WINDOW_WIDTHS[:looks]:
            near = self._focus_once(frame, detection.quad, wide)
            if near.probability < _LEAST_FOCUSED:
                return None
            nearer.append(near)
            if near.probability > _SURE:
                break
        if len(nearer) == 1:
            return nearer[0]
        weights = np.array([near.probability for near in nearer], np.float32) - _NO_WEIGHT
        quad = np.average(np.stack([near.quad for near in nearer]), axis=0, weights=weights)
        probability = sum(near.probability for near in nearer) / len(nearer)
        return Detection(probability, np.asarray(quad, np.float32))

    def _focus_once(self, frame: Luma, quad: Quad, wide: float) -> Detection:
        """Detect in a window ``wide`` times as wide as the plate; nearest the middle counts."""
        width, height = _WINDOW_PX
        span = max(width_px(quad), _LEAST_ASPECT * height_px(quad)) * wide
        around = window(quad, span, span * height / width)
        picture = flatten(frame, around, _WINDOW_PX)
        probabilities, quads = _decode(self._network.run(self._blocks(picture))[0])
        off_center = np.hypot(*(quads.mean(axis=1) - (width / 2, height / 2)).T)
        central = np.flatnonzero(off_center < _OFF_CENTER * width / wide)
        if not len(central):
            return Detection(0.0, quad)
        best = central[np.argmax(probabilities[central])]
        return Detection(
            float(probabilities[best]), quads[best] * np.float32(span / width) + around[0]
        )

    def _blocks(self, picture: Luma) -> Luma:
        """Return the picture as network input, its sides filled up to multiples of 32 pixels.

        The canvas of each size is kept and reused: frames of one camera all have one size.
        """
        height, width = picture.shape
        rows, columns = -(-height // _ALIGN_PX) * _ALIGN_PX, -(-width // _ALIGN_PX) * _ALIGN_PX
        canvas = self._canvases.get((rows, columns))
        if canvas is None:
            if len(self._canvases) >= 32:
                self._canvases.clear()
            canvas = self._canvases[rows, columns] = np.empty((rows, columns), np.uint8)
        canvas[:height, :width] = picture
        canvas[height:] = _GREY
        canvas[:height, width:] = _GREY
        return blocks(canvas, _BLOCK_PX)


def _scales(longest_px: int) -> list[float]:
    """Return how often a frame of this longest side is enlarged, the larger scale first."""
    small, large = (side / longest_px for side in _SIDES_PX)
    scales = min(max(large, _LEAST_SCALE), _MAX_ENLARGEMENT), min(small, _MAX_ENLARGEMENT)
    return sorted(set(scales), reverse=True)


def _parts(frame: Luma, within: Sequence[Box]) -> list[Part]:
    """Return what to look at: the boxes and what is around them, or one part for all of them.

    One by one, where that is less.
    """
    height, width = frame.shape
    if not within:
        return [(0, 0, width, height)]
    margin = max(frame.shape) * _AROUND
    found: list[Part] = []
    for box in within:
        left, top = (int(max(0.0, start - margin)) for start in (box.x, box.y))
        right = int(min(width, box.x + box.width + margin))
        low = int(min(height, box.y + box.height + margin))
        if left < right and top < low:
            found.append((left, top, right, low))
    if not found:
        return []
    lefts, tops, rights, lows = zip(*found, strict=True)
    around = min(lefts), min(tops), max(rights), max(lows)
    return found if sum(map(_size, found)) < _size(around) else [around]


def _size(part: Part) -> int:
    left, top, right, low = part
    return (right - left) * (low - top)


def _decode(output: Floats) -> tuple[Floats, Floats]:
    """Turn one (13, rows, columns) output into probabilities (n,) and quads (n, 4, 2).

    A cell counts where it is the highest of its neighbourhood. Coordinates are pixels of the
    picture the network saw.
    """
    heat = output[0]
    likely = np.flatnonzero(heat > _WEAKEST_LOGIT)
    if not len(likely):
        return np.empty(0, np.float32), np.empty((0, 4, 2), np.float32)
    highest = cv2.dilate(heat, _NEIGHBOURS).ravel()[likely]
    likely = likely[heat.ravel()[likely] >= highest]
    if len(likely) > _MOST_PER_SCALE:
        likely = likely[np.argsort(-heat.ravel()[likely])[:_MOST_PER_SCALE]]
    cells = output.reshape(len(output), -1)[:, likely].T
    places = np.stack(np.divmod(likely, heat.shape[1])[::-1], axis=1).astype(np.float32)
    size = np.exp(np.clip(cells[:, 1:3], -_LARGEST_EXPONENT, _LARGEST_EXPONENT)) * _UNIT_PX
    center = (places + np.float32(0.5) + 2 * cells[:, 3:5]) * np.float32(_CELL_PX)
    offsets = _CORNERS + cells[:, 5:].reshape(-1, 4, 2) / 4
    quads = offsets * size[:, None] + center[:, None]
    probabilities = 1 / (1 + np.exp(-cells[:, 0]))
    return probabilities.astype(np.float32), quads.astype(np.float32)


def _without_overlaps(probabilities: Floats, quads: Floats, limit: int) -> list[Detection]:
    """Keep the likeliest of what overlaps; return at most ``limit``, the likeliest first."""
    order = np.argsort(-probabilities, kind="stable")
    low, high = quads[order].min(axis=1), quads[order].max(axis=1)
    areas = np.prod(high - low, axis=1)
    sides = np.minimum(high[:, None], high) - np.maximum(low[:, None], low)
    shared = np.prod(np.maximum(0, sides), axis=2)
    overlaps = shared >= _OVERLAP * (areas[:, None] + areas - shared)
    kept: list[int] = []
    for rank, one in enumerate(overlaps):
        if len(kept) < limit and not one[kept].any():
            kept.append(rank)
    return [Detection(float(probabilities[index]), quads[index]) for index in order[kept].tolist()]

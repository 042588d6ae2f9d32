"""The motion gate: tells from small luma copies whether a frame is worth recognizing.

Rather one frame too many than a plate lost: a frame is compared with the last one that was let
through (so that creeping adds up), block by block (so that a small plate counts as much as a
truck), after the change of light of the whole picture is taken out; and after a change frames
pass for a while longer, so that a vehicle that has just stopped is read sharply.
"""

from collections.abc import Sequence

import cv2
import numpy as np
import numpy.typing as npt

from engine.types import Luma, Point

_BLOCK_PX = 4
_SPARSE = 2
"""Every so many pixels are enough to tell how the light changed."""
_LIGHT_LEVELS = 10.0
"""What changed by more than this beside the rest is no change of light."""
_FLOOR_LEVELS = 0.5
_NOISE_FACTOR = 2.0
_NOISE_QUANTILE = 0.25
_NOISE_CEILING_LEVELS = 5.0
_NOISE_RISE, _NOISE_FALL = 0.1, 0.3


class MotionGate:
    """Decides frame by frame; one per camera, one thread uses it.

    sensitivity: above 0 to 1; at 1 a block must change by less than one gray level on average.
    afterglow_s: how long frames still pass after the last change. zones: polygons in shares of the
    picture outside of which nothing counts; none: everything counts.
    """

    def __init__(
        self,
        sensitivity: float = 0.5,
        afterglow_s: float = 1.0,
        zones: Sequence[Sequence[Point]] = (),
    ) -> None:
        if not 0 < sensitivity <= 1:
            raise ValueError(f"sensitivity must be above 0 and at most 1, not {sensitivity}")
        self._floor = _FLOOR_LEVELS / sensitivity
        self._afterglow_s = afterglow_s
        self._zones = [np.array(zone, np.float64) for zone in zones]
        self._counted: npt.NDArray[np.bool_] | None = None
        self._reference: Luma | None = None
        self._noise = 0.0
        self._changed_at_s = 0.0
        self._block_changed_at_s: npt.NDArray[np.float64] = np.zeros((1, 1))

    @property
    def afterglow_s(self) -> float:
        """How long frames still pass after the last change."""
        return self._afterglow_s

    def changed_since(self, since_s: float) -> npt.NDArray[np.bool_]:
        """Return which blocks changed at that time or later: (rows, columns) of a grid.

        The grid covers the whole picture evenly; outside of the zones nothing changes.
        """
        return self._block_changed_at_s >= since_s

    @property
    def noise_levels(self) -> float:
        """The camera's noise as estimated so far: mean change of a still block, gray levels."""
        return self._noise

    def changed(self, preview: Luma, now_s: float) -> bool:
        """Tell whether to recognize this frame.

        preview: (h, w) uint8 luma of the whole frame, a few thousand pixels; kept until the
        next change, so the caller must not write into it. now_s: monotonic seconds.
        """
        reference = self._reference
        if reference is None or reference.shape != preview.shape:
            height, width = preview.shape
            self._block_changed_at_s = np.full(_grid(width, height)[::-1], now_s)
            return self._let_through(preview, now_s)
        blocks = _block_changes(preview, reference)
        threshold = self._floor + _NOISE_FACTOR * self._noise
        changed = self._within_zones(blocks, preview.shape) > threshold
        moved = bool(changed.any())
        if moved:
            self._block_changed_at_s[changed] = now_s
        rank = int(blocks.size * _NOISE_QUANTILE)
        self._learn_noise(float(np.partition(blocks, rank, axis=None)[rank]))
        if moved:
            return self._let_through(preview, now_s)
        return now_s - self._changed_at_s < self._afterglow_s

    def _within_zones(
        self, blocks: npt.NDArray[np.float32], shape: tuple[int, ...]
    ) -> npt.NDArray[np.float32]:
        """Return the changes with those outside of the zones taken out."""
        if not self._zones:
            return blocks
        if self._counted is None or self._counted.shape != blocks.shape:
            drawn = np.zeros(shape, np.float32)
            for zone in self._zones:
                corners = np.rint(zone * (shape[1], shape[0])).astype(np.int32)
                cv2.fillPoly(drawn, [corners], (1.0,))
            size = (blocks.shape[1], blocks.shape[0])
            self._counted = cv2.resize(drawn, size, interpolation=cv2.INTER_AREA) > 0
        return blocks * self._counted

    def _let_through(self, preview: Luma, now_s: float) -> bool:
        self._reference, self._changed_at_s = preview, now_s
        return True

    def _learn_noise(self, still: float) -> None:
        """Follow the stillest quarter of the picture: quickly down, slowly up, never far."""
        still = min(still, _NOISE_CEILING_LEVELS)
        pace = _NOISE_RISE if still > self._noise else _NOISE_FALL
        self._noise += (still - self._noise) * pace


def _grid(width: int, height: int) -> tuple[int, int]:
    """Return how many blocks there are across and down."""
    return max(1, width // _BLOCK_PX), max(1, height // _BLOCK_PX)


def _block_changes(preview: Luma, reference: Luma) -> npt.NDArray[np.float32]:
    """Return the mean absolute change per block, less what the whole picture changed by.

    Light comes and goes, and cameras adapt to it: bright parts change more than dark ones.
    """
    levels = reference[::_SPARSE, ::_SPARSE].astype(np.float32)
    few = preview[::_SPARSE, ::_SPARSE] - levels
    middle = np.partition(few, few.size // 2, axis=None)[few.size // 2]
    still = np.abs(few - middle) < _LIGHT_LEVELS  # the rest moved
    few, levels = few[still], levels[still]
    mean, level = float(few.mean()), float(levels.mean())
    levels -= level
    spread = float(levels @ levels)
    slope = float(levels @ (few - mean)) / spread if spread else 0.0
    change = cv2.addWeighted(
        preview, 1.0, reference, -1.0 - slope, slope * level - mean, dtype=cv2.CV_32F
    )
    blocks = _grid(preview.shape[1], preview.shape[0])
    moved = cv2.resize(np.abs(change), blocks, interpolation=cv2.INTER_AREA)
    return np.asarray(moved, np.float32)

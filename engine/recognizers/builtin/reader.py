"""Reads the text of one detected plate: a small network looks at it several times.

Each look flattens the plate a little differently (tighter, looser, further left), because how a
crop is cut decides more than anything else whether a network reads it right. The looks are
averaged as probabilities of whole texts.
"""

from typing import Final

import numpy as np

from engine.recognizers.builtin import ctc
from engine.recognizers.builtin.geometry import (
    Quad,
    band,
    flatten,
    grow,
    height_px,
    width_px,
)
from engine.recognizers.builtin.network import Network
from engine.types import Luma

_CROP_PX: Final = (128, 32)
_LOOKS: Final = ((0.0, 0.06), (-0.02, 0.0), (0.02, 0.06))
"""By which shares of its width and height the plate is grown for each look."""

_LINE_LOOKS: Final = ((0.0, 0.50, 0.46, 1.0), (0.02, 0.56, 0.40, 0.98))
"""Top and bottom of the upper line, then of the lower line, of a plate of two lines."""

_BEAM: Final = 16
_TWO_LINES_BELOW: Final = 2.4
"""A plate narrower than this, in heights, may carry two lines."""
_SHORTEST: Final = 2
_ILLEGIBLE: Final = 0.005
_LEAST_CONTRAST: Final = 4.0
_LINE_TEXTS: Final = 4


class PlateReader:
    """Reads plates; owns one network, called by one thread."""

    def __init__(self, network: Network) -> None:
        """Take the reader network: (n, 1, 32, 128) float32 in, (n, 37, 1, 32) out."""
        self._network = network

    def glance(self, frame: Luma, quads: list[Quad]) -> ctc.Probabilities:
        """Look once at each of the quads; (quads, 32, 37) probabilities."""
        crops = np.stack([flatten(frame, quad, _CROP_PX) for quad in quads])
        batch = crops[:, None].astype(np.float32)
        mean = batch.mean(axis=(1, 2, 3), keepdims=True)
        spread = np.maximum(batch.std(axis=(1, 2, 3), keepdims=True), _LEAST_CONTRAST)
        return ctc.softmax(self._network.run((batch - mean) / spread)[:, :, 0])

    def read(self, frame: Luma, quad: Quad) -> dict[str, float]:
        """Return the texts that the pixels of a plate allow, with their likelihood."""
        looks = [grow(quad, across, down) for across, down in _LOOKS]
        evidence = _evidence(self.glance(frame, looks))
        if _may_be_two_lines(quad):
            for text, likely in self._read_two_lines(frame, quad).items():
                evidence[text] = max(evidence.get(text, 0.0), likely)
        return evidence

    def _read_two_lines(self, frame: Luma, quad: Quad) -> dict[str, float]:
        """Read the upper and the lower half as lines of one text."""
        halves = [band(quad, top, bottom) for top, bottom, _, _ in _LINE_LOOKS]
        halves += [band(quad, top, bottom) for _, _, top, bottom in _LINE_LOOKS]
        seen = self.glance(frame, halves)
        uppers = _evidence(seen[: len(_LINE_LOOKS)])
        lowers = _evidence(seen[len(_LINE_LOOKS) :])
        return {
            upper + lower: likely_upper * likely_lower
            for upper, likely_upper in list(uppers.items())[:_LINE_TEXTS]
            for lower, likely_lower in list(lowers.items())[:_LINE_TEXTS]
            if upper and lower
        }


def legible(glance: ctc.Probabilities, quad: Quad) -> bool:
    """Tell whether a glance (32, 37) promises text enough to look longer.

    A quad that may hold two lines always gets its chance.
    """
    text = ctc.greedy(glance)
    if len(text) < _SHORTEST:
        return False
    return _may_be_two_lines(quad) or ctc.likelihoods(glance[None], [text])[0, 0] > _ILLEGIBLE


def _may_be_two_lines(quad: Quad) -> bool:
    return width_px(quad) < _TWO_LINES_BELOW * height_px(quad)


def _evidence(seen: ctc.Probabilities) -> dict[str, float]:
    """Average the looks (looks, 32, 37): likely texts and their mean likelihood, best first."""
    texts = list(
        dict.fromkeys(
            [*ctc.likely_texts(seen.mean(axis=0), _BEAM), *(ctc.greedy(look) for look in seen)]
        )
    )
    likely = ctc.likelihoods(seen, texts).mean(axis=0)
    return {texts[index]: float(likely[index]) for index in np.argsort(-likely)}

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
_LOOKS: Final = ((0.0, 0.06), (-0.02, 0.0), (0.0, -0.06))
"""By which shares of its width and height the plate is grown for each look."""

_LINES: Final = (((0.0, 0.50), (0.46, 1.0)), ((0.02, 0.56), (0.40, 0.98)))
"""Top and bottom of the upper and of the lower line of a plate of two lines, for each look."""

_BEAM: Final = 12
_TWO_LINES_BELOW: Final = 2.1
"""A plate narrower than this, in heights, may carry two lines."""
_CLEARLY_ONE_LINE: Final = 0.5
_SHORTEST: Final = 2
_ILLEGIBLE: Final = 0.0005
"""Where even the likeliest path through a look is less likely, there is no text."""
_LEAST_CONTRAST: Final = 4.0
_LINE_TEXTS: Final = 4


class PlateReader:
    """Reads plates; owns one network, called by one thread."""

    def __init__(self, network: Network) -> None:
        """Take the reader network: (n, 1, 32, 128) float32 in, (n, 37, 1, 32) out."""
        self._network = network

    def read(self, frame: Luma, quad: Quad) -> dict[str, float]:
        """Return the texts that the pixels of a plate allow, with their likelihood, best first.

        Gives up after the first look where that shows no text at all, and returns nothing.
        """
        evidence = self._read_line(frame, [grow(quad, *margins) for margins in _LOOKS])
        narrow = width_px(quad) < _TWO_LINES_BELOW * height_px(quad)
        if narrow and max(evidence.values(), default=0.0) < _CLEARLY_ONE_LINE:
            for text, likely in self._read_two_lines(frame, quad).items():
                evidence[text] = max(evidence.get(text, 0.0), likely)
        return evidence

    def _read_line(self, frame: Luma, looks: list[Quad]) -> dict[str, float]:
        """Read one line of text in several looks, of which the first decides whether it is any."""
        first = self._look(frame, looks[:1])
        likeliest_path = float(np.prod(first[0].max(axis=1)))
        if likeliest_path < _ILLEGIBLE or len(ctc.greedy(first[0])) < _SHORTEST:
            return {}
        return _evidence(np.concatenate((first, self._look(frame, looks[1:]))))

    def _read_two_lines(self, frame: Luma, quad: Quad) -> dict[str, float]:
        """Read the upper and the lower half as lines of one text."""
        uppers = self._read_line(frame, [band(quad, *upper) for upper, _ in _LINES])
        lowers = (
            self._read_line(frame, [band(quad, *lower) for _, lower in _LINES]) if uppers else {}
        )
        return {
            upper + lower: likely_upper * likely_lower
            for upper, likely_upper in list(uppers.items())[:_LINE_TEXTS]
            for lower, likely_lower in list(lowers.items())[:_LINE_TEXTS]
        }

    def _look(self, frame: Luma, looks: list[Quad]) -> ctc.Probabilities:
        """Look once at each of the quads; (looks, 32, 37) probabilities."""
        crops = np.stack([flatten(frame, quad, _CROP_PX) for quad in looks])
        batch = crops[:, None].astype(np.float32)
        mean = batch.mean(axis=(1, 2, 3), keepdims=True)
        spread = np.maximum(batch.std(axis=(1, 2, 3), keepdims=True), _LEAST_CONTRAST)
        return ctc.softmax(self._network.run((batch - mean) / spread)[:, :, 0])


def _evidence(seen: ctc.Probabilities) -> dict[str, float]:
    """Average the looks (looks, 32, 37): likely texts and their mean likelihood, best first."""
    texts = list(
        dict.fromkeys(
            [*ctc.likely_texts(seen.mean(axis=0), _BEAM), *(ctc.greedy(look) for look in seen)]
        )
    )
    likely = ctc.likelihoods(seen, texts).mean(axis=0)
    return {texts[index]: float(likely[index]) for index in np.argsort(-likely)}

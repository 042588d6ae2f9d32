"""Reads the text of one detected plate, of one line or two, in one or two looks at it.

Each look flattens the plate a little differently, because how a crop is cut decides more than
anything else whether a network reads it right. The looks are averaged as probabilities of whole
texts.
"""

from typing import Final

import cv2
import numpy as np

from engine.recognizers.builtin import ctc
from engine.recognizers.builtin.geometry import Quad, blocks, flatten, grow
from engine.recognizers.builtin.network import Network
from engine.recognizers.builtin.ranking import in_any_spelling
from engine.types import Luma

_CROP_PX: Final = (128, 48)
_LOOKS: Final = ((0.01, 0.06), (-0.01, -0.02))
"""By which shares of its width and height the plate is grown for each look."""

_BEAM: Final = 12
_SHORTEST: Final = 2
_ILLEGIBLE: Final = 0.03
"""Where even the likeliest path through a look is less likely, there is no text."""
_CLEAR: Final = 0.9
"""Where a text and those that look like it are likelier, a second look changes nothing."""
_LEAST_CONTRAST: Final = 4.0
_BLOCK_PX: Final = 2
_MEAN: Final = 128
_DEVIATION: Final = 32.0
"""Of the bytes that the network takes: what differs by four deviations is seen as that."""
_LEVELS: Final = np.arange(256, dtype=np.float32)


class PlateReader:
    """Reads plates; owns one network, called by one thread."""

    def __init__(self, network: Network) -> None:
        """Take the reader network: (n, 24, 64, 4) uint8 in, (n, 37, 2, 32) out."""
        self._network = network

    def read(self, frame: Luma, quad: Quad) -> dict[str, float]:
        """Return the texts that the pixels of a plate allow, with their likelihood, best first.

        One look is enough where it shows no text at all, and nothing is returned, and where it
        leaves hardly a doubt.
        """
        looks = [grow(quad, *margins) for margins in _LOOKS]
        first = self._look(frame, looks[:1])
        likeliest_path = float(np.prod(first[0].max(axis=1)))
        if likeliest_path < _ILLEGIBLE or len(ctc.greedy(first[0])) < _SHORTEST:
            return {}
        texts = ctc.likely_texts(ctc.condensed(first)[0], _BEAM)
        if in_any_spelling(texts.items()) > _CLEAR:
            return texts
        return _evidence(np.concatenate((first, self._look(frame, looks[1:]))))

    def _look(self, frame: Luma, looks: list[Quad]) -> ctc.Probabilities:
        """Look once at each of the quads; (looks, columns, 37) probabilities, line after line."""
        crops = [blocks(_even(flatten(frame, quad, _CROP_PX)), _BLOCK_PX) for quad in looks]
        answer = self._network.run(np.concatenate(crops))
        upper, lower = np.split(ctc.softmax(answer.reshape(*answer.shape[:2], -1)), 2, axis=1)
        return ctc.joined(upper, lower)


def _even(crop: Luma) -> Luma:
    """Return a crop whose mean is ``_MEAN`` and whose deviation ``_DEVIATION``, clipped."""
    mean, spread = (float(value[0, 0]) for value in cv2.meanStdDev(crop))
    levels = (_LEVELS - mean) * (_DEVIATION / max(spread, _LEAST_CONTRAST)) + _MEAN
    return np.asarray(cv2.LUT(crop, np.rint(levels.clip(0, 255)).astype(np.uint8)), np.uint8)


def _evidence(seen: ctc.Probabilities) -> dict[str, float]:
    """Average the looks (looks, columns, 37): likely texts and their likelihood, best first."""
    seen = ctc.condensed(seen)
    texts = list(
        dict.fromkeys(
            [*ctc.likely_texts(seen.mean(axis=0), _BEAM), *(ctc.greedy(look) for look in seen)]
        )
    )
    likely = ctc.likelihoods(seen, texts).mean(axis=0)
    return {texts[index]: float(likely[index]) for index in np.argsort(-likely)}

"""Reads the text of one detected plate, of one line or two, in one or two looks at it.

Each look flattens the plate a little differently, because how a crop is cut decides more than
anything else whether a network reads it right. The looks are averaged as probabilities of whole
texts.
"""

from typing import Final

import numpy as np

from engine.recognizers.builtin import ctc
from engine.recognizers.builtin.geometry import Quad, flatten, grow
from engine.recognizers.builtin.network import Network
from engine.types import Luma

_CROP_PX: Final = (128, 48)
_LOOKS: Final = ((0.01, 0.06), (-0.01, -0.02))
"""By which shares of its width and height the plate is grown for each look."""

_BEAM: Final = 12
_SHORTEST: Final = 2
_ILLEGIBLE: Final = 0.03
"""Where even the likeliest path through a look is less likely, there is no text."""
_CLEAR: Final = 0.9
"""Where the likeliest path is likelier, a second look changes nothing."""
_LEAST_CONTRAST: Final = 4.0


class PlateReader:
    """Reads plates; owns one network, called by one thread."""

    def __init__(self, network: Network) -> None:
        """Take the reader network: (n, 1, 48, 128) float32 in, (n, 37, 2, 32) out."""
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
        if likeliest_path > _CLEAR:
            return ctc.likely_texts(ctc.condensed(first)[0], _BEAM)
        return _evidence(np.concatenate((first, self._look(frame, looks[1:]))))

    def _look(self, frame: Luma, looks: list[Quad]) -> ctc.Probabilities:
        """Look once at each of the quads; (looks, columns, 37) probabilities, line after line."""
        crops = np.stack([flatten(frame, quad, _CROP_PX) for quad in looks])
        batch = crops[:, None].astype(np.float32)
        mean = batch.mean(axis=(1, 2, 3), keepdims=True)
        spread = np.maximum(batch.std(axis=(1, 2, 3), keepdims=True), _LEAST_CONTRAST)
        answer = self._network.run((batch - mean) / spread)
        return ctc.joined(ctc.softmax(answer[:, :, 0]), ctc.softmax(answer[:, :, 1]))


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

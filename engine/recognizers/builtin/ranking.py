"""Weighs the texts that a plate's pixels allow by how plates are written.

The reader's likelihoods say what the pixels allow; they cannot tell O from 0 or I from 1 in most
fonts. How plates are written decides: the patterns of the camera's regions where there are any,
else, more weakly, those of all known regions. Texts of unknown form are still read.
"""

from collections.abc import Mapping
from functools import lru_cache

from engine.plates import matching_regions, shape

_PLAUSIBLE_LENGTH = {1: 0.001, 2: 0.02, 3: 0.15, 4: 0.5, 9: 0.5, 10: 0.4, 11: 0.05}
_TOO_LONG = 0.01
_NO_DIGIT = 0.35
_STRANGER_TO_HINTS = 0.05
_STRANGER_TO_ALL = 0.2
_NO_PLATE = 0.2
_SURELY_PLATE = 0.5
_UNSEEN = 0.5
"""Weight of whatever the pixels allow beyond the texts that were looked at."""


@lru_cache(maxsize=8192)
def prior(text: str, regions: tuple[str, ...]) -> float:
    """Return how plausible a text is as a plate, 0 to 1, the pixels unseen.

    regions: codes of the camera's regions; empty or unknown ones mean any region.
    """
    if not text:
        return 0.0
    weight = _PLAUSIBLE_LENGTH.get(len(text), 1.0 if len(text) < 12 else _TOO_LONG)
    if "#" not in shape(text):
        weight *= _NO_DIGIT
    if not matching_regions(text, regions):
        weight *= _STRANGER_TO_HINTS if regions else _STRANGER_TO_ALL
    return weight


def rank(evidence: Mapping[str, float], regions: tuple[str, ...]) -> list[tuple[str, float]]:
    """Return the texts with their probabilities given pixels and patterns, likeliest first.

    evidence: texts and how likely the pixels make them; they sum to 1 at most.
    """
    weights = {text: likely * prior(text, regions) for text, likely in evidence.items()}
    unseen = max(0.0, 1.0 - sum(evidence.values())) * _UNSEEN
    everything = sum(weights.values()) + unseen
    if everything <= 0.0:
        return []
    ranked = [(text, weight / everything) for text, weight in weights.items() if weight > 0]
    return sorted(ranked, key=lambda entry: -entry[1])


def guess_region(text: str, regions: tuple[str, ...]) -> str:
    """Return the country whose plates are written like this, or an empty string.

    Among the camera's regions the first that fits is taken; without any, the only one that fits.
    """
    fitting = matching_regions(text, regions)
    return fitting[0] if fitting and (regions or len(fitting) == 1) else ""


def confidence(posterior: float, probability: float) -> float:
    """Return the confidence, 0 to 100, of a text read from a detected plate.

    posterior: the text's probability, from ``rank``; probability: the detector's. Rises with both;
    places that hardly look like plates stay low however legible their text is.
    """
    plate_like = min(1.0, max(0.0, (probability - _NO_PLATE) / (_SURELY_PLATE - _NO_PLATE)))
    return 100.0 * posterior * plate_like

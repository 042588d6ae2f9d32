"""Weighs the texts that a plate's pixels allow by how plates are written.

The reader's likelihoods say what the pixels allow; they cannot tell O from 0 or I from 1 in most
fonts. How plates are written decides: the patterns of the camera's regions where there are any,
else, more weakly, those of all known regions. Texts of unknown form are still read.
"""

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from functools import lru_cache
from itertools import combinations

import numpy as np

from engine.plates import as_seen, matches_any_region, matching_regions, shape
from engine.regions import lookalikes_of

_PLAUSIBLE_LENGTH = {1: 0.001, 2: 0.02, 3: 0.15, 4: 0.5, 9: 0.5, 10: 0.4, 11: 0.05}
_TOO_LONG = 0.01
_NO_DIGIT = 0.1
"""Words on cars and beside roads are read as clearly as plates; few plates are words."""
_AS_LETTERS = str.maketrans("01", "OI")
_STRANGER_TO_HINTS = 0.05
_STRANGER_TO_ALL = 0.1
_TWIN_OF = {"0": "O", "O": "0", "1": "I", "I": "1"}
_TWIN_SHARE = 0.3
_UNLIKE_TWIN_SHARE = 0.1
"""Where the typeface of the regions tells both apart: only blurred ones are confused."""
_MOST_TWINS = 3
CALIBRATION: tuple[Sequence[float], Sequence[float]] = (
    (0.0, 0.1, 0.2, 0.3, 0.45, 0.55, 0.65, 0.75, 0.9, 1.0),
    (0.0, 10.0, 30.0, 50.0, 60.0, 66.0, 80.0, 90.0, 97.5, 99.7),
)
"""Probability of a text, and how many of 100 such reads are right; ``training/calibrate.py``."""
_PLATE_LIKE = (0.2, 0.4), (0.0, 1.0)
_ENOUGH_PX = (8.0, 14.0), (0.5, 1.0)
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
    known = matches_any_region(text, regions)
    if "#" not in shape(text if known else text.translate(_AS_LETTERS)):
        weight *= _NO_DIGIT
    if not known:
        weight *= _STRANGER_TO_HINTS if regions else _STRANGER_TO_ALL
    return weight


def twins(text: str, regions: tuple[str, ...] = ()) -> list[tuple[str, float]]:
    """Return the texts that differ from this one in O for 0 or I for 1 only, with their shares.

    On the plates of many countries these are the same glyph; which of both it is, the network
    guesses and patterns decide. The text itself is the first and has the largest share.
    """
    found = [(text, 1.0)]
    alike = "".join(lookalikes_of(regions))
    spots = [spot for spot, character in enumerate(text) if character in _TWIN_OF]
    for count in range(1, min(len(spots), _MOST_TWINS) + 1):
        for chosen in combinations(spots, count):
            swapped = list(text)
            share = 1.0
            for spot in chosen:
                swapped[spot] = _TWIN_OF[text[spot]]
                share *= _TWIN_SHARE if text[spot] in alike else _UNLIKE_TWIN_SHARE
            found.append(("".join(swapped), share))
    return found


def rank(evidence: Mapping[str, float], regions: tuple[str, ...]) -> list[tuple[str, float]]:
    """Return the texts with their probabilities given pixels and patterns, likeliest first.

    evidence: texts and how likely the pixels make them; they sum to 1 at most. A text and its
    twins are as plausible together as the most plausible of them, and share that by pattern.
    """
    weights: defaultdict[str, float] = defaultdict(float)
    for text, likely in evidence.items():
        shares = [(twin, share, prior(twin, regions)) for twin, share in twins(text, regions)]
        whole = sum(share * plausible for _, share, plausible in shares)
        most = max(plausible for _, _, plausible in shares)
        for twin, share, plausible in shares:
            if plausible > 0:
                weights[twin] += likely * most * share * plausible / whole
    unseen = max(0.0, 1.0 - sum(evidence.values())) * _UNSEEN
    everything = sum(weights.values()) + unseen
    ranked = [(text, weight / everything) for text, weight in weights.items() if weight > 0]
    return sorted(ranked, key=lambda entry: -entry[1])


def in_any_spelling(texts: Iterable[tuple[str, float]]) -> float:
    """Return how likely the first text is, whichever of its signs are O or 0, I or 1.

    texts: with their probabilities, the likeliest first; at least one.
    """
    together: defaultdict[str, float] = defaultdict(float)
    for text, likely in texts:
        together[as_seen(text)] += likely
    return next(iter(together.values()))


def guess_region(text: str, regions: tuple[str, ...]) -> str:
    """Return the country whose plates are written like this, or an empty string.

    Among the camera's regions the first that fits is taken; where none does, or there are none,
    the only country that fits at all.
    """
    if regions and (fitting := matching_regions(text, regions)):
        return fitting[0]
    anywhere = matching_regions(text)
    return anywhere[0] if len(anywhere) == 1 else ""


def confidence(posterior: float, probability: float, height_px: float) -> float:
    """Return the confidence, 0 to 100, of a text read from a detected plate.

    posterior: the text's probability, from ``rank``, in any spelling; probability: the detector's,
    from near; height_px: the plate's, in the frame. Rises with all: what hardly looks like a plate
    stays low however legible it is, and so does what is guessed from few pixels. Fitted so that of
    the reads of about 70 about 70 in 100 are right, O as good as 0, see the model card.
    """
    likely_right = float(np.interp(posterior, *CALIBRATION))
    plate_like = float(np.interp(probability, *_PLATE_LIKE))
    return likely_right * plate_like * float(np.interp(height_px, *_ENOUGH_PX))

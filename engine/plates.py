"""Plate text: normalisation, a distance that knows look-alikes, and how regions write it.

A plate's text is A-Z and 0-9 only; separators, case, accents and spaces are no part of it. What
is known of countries is in ``engine.regions``.
"""

import heapq
import re
import unicodedata
from typing import Final

from engine.regions import (
    ALPHABET,
    Pattern,
    matches_any_region,
    matching_regions,
    patterns_of,
    region_codes,
    regions_of,
)

__all__ = [
    "ALPHABET",
    "DIGITS_FOR",
    "LETTERS_FOR",
    "Pattern",
    "as_seen",
    "distance",
    "is_part",
    "lookalikes",
    "matches_any_region",
    "matching_regions",
    "normalise",
    "patterns_of",
    "region_codes",
    "regions_of",
    "shape",
]

_LOOKALIKE_COSTS: Final = {
    "0O": 0.2, "1I": 0.2, "0Q": 0.25, "OQ": 0.25, "0D": 0.3, "OD": 0.3, "DQ": 0.35,
    "8B": 0.25, "5S": 0.25, "2Z": 0.25, "6G": 0.3, "1L": 0.35, "IL": 0.35, "1T": 0.5,
    "1J": 0.5, "IJ": 0.5, "IT": 0.5, "17": 0.35, "7T": 0.35, "7Z": 0.35, "27": 0.45,
    "4A": 0.3, "UV": 0.35, "CG": 0.35, "0C": 0.5, "CO": 0.5, "EF": 0.4, "MN": 0.4,
    "HM": 0.4, "HN": 0.4, "MW": 0.5, "VY": 0.35, "PR": 0.45, "KX": 0.45, "38": 0.4,
    "3B": 0.4, "56": 0.45, "68": 0.4, "69": 0.5, "89": 0.45, "9G": 0.5, "08": 0.45, "06": 0.45,
    "OU": 0.5, "0U": 0.5, "VW": 0.5, "CE": 0.5, "HK": 0.5, "BR": 0.5,
}  # fmt: skip

_SUBSTITUTION: Final[dict[str, float]] = {
    pair: cost for both, cost in _LOOKALIKE_COSTS.items() for pair in (both, both[::-1])
}

_MISREAD: Final = {
    sign: {pair[1]: cost for pair, cost in _SUBSTITUTION.items() if pair[0] == sign}
    for sign in ALPHABET
}

DIGITS_FOR: Final = {
    "O": "0", "D": "0", "Q": "0", "I": "1", "L": "1", "Z": "2", "A": "4", "S": "5",
    "G": "6", "T": "7", "B": "8", "J": "1",
}  # fmt: skip
"""The digit that a letter is mistaken for most."""

LETTERS_FOR: Final = {
    "0": "OD", "1": "I", "2": "Z", "3": "B", "4": "A", "5": "S", "6": "G", "7": "T", "8": "B",
}  # fmt: skip
"""The letters that a digit is mistaken for most, likeliest first."""

_ONE_GLYPH: Final = str.maketrans("OI", "01")
_ONE_LOOKALIKE: Final = 0.5
_PLATE_SHAPED = re.compile(r"[0-9A-Z]*\Z")
_LATIN_TWINS: Final = str.maketrans("АВЕКМНОРСТУХІΑΒΕΖΗΙΚΜΝΟΡΤΥΧ", "ABEKMHOPCTYXIABEZHIKMNOPTYX")
_OUTSIDE = re.compile(r"[^0-9A-Z]+")


def normalise(text: str) -> str:
    """Return the plate text of what somebody typed or printed: A-Z and 0-9, nothing else.

    Full-width and accented forms become their plain letters (``Ä`` becomes ``A``), Cyrillic and
    Greek letters that look like Latin ones become those (plates of Ukraine, Bulgaria, Greece use
    only such), case is raised, everything else is dropped. May return an empty string.
    """
    if _PLATE_SHAPED.match(text):
        return text
    plain = unicodedata.normalize("NFKD", text).upper().translate(_LATIN_TWINS)
    return _OUTSIDE.sub("", plain)


def as_seen(plate: str) -> str:
    """Return a normalised plate with O as 0 and I as 1: most typefaces have one glyph for both."""
    return plate.translate(_ONE_GLYPH)


def distance(one: str, other: str, limit: float = 3.0) -> float:
    """Return how many misreadings lie between two normalised plates.

    An edit distance: a character lost, won or replaced costs 1, a look-alike (O for 0, 8 for B)
    0.2 to 0.5. Symmetric, 0 only for equal texts. Anything above ``limit`` returns
    ``limit`` + 1 early, which keeps the comparison with strangers cheap.
    """
    if one == other:
        return 0.0
    if abs(len(one) - len(other)) > limit:
        return limit + 1.0
    one, other = _without_common_ends(one, other)
    if not one or not other:
        apart = float(len(one) or len(other))
        return apart if apart <= limit else limit + 1.0
    return _banded(one, other, limit)


def lookalikes(plate: str, limit: float = 1.0, most: int = 1_000) -> list[str]:
    """Return the texts that a plate may have been misread as, itself among them, likeliest first.

    All within ``limit`` of ``distance`` that differ by look-alikes alone, at most ``most`` of them,
    and behind them those in which one character is another, missing or too many (distance 1).
    """
    found = {plate: 0.0}
    for at, sign in enumerate(plate):
        for text, cost in list(found.items()):
            for other, more in _MISREAD.get(sign, {}).items():
                if cost + more <= limit:
                    found[text[:at] + other + text[at + 1 :]] = cost + more
        if len(found) > most:
            found = dict(heapq.nsmallest(most, found.items(), key=lambda one: one[1]))
    edits = [
        plate[:at] + sign + plate[at + gone :]
        for at in range(len(plate) + 1)
        for gone in (0, 1)
        for sign in ("", *ALPHABET)
    ]
    likeliest = sorted(found, key=found.__getitem__)
    return list(dict.fromkeys([*likeliest, *edits] if limit >= 1.0 else likeliest))


def _without_common_ends(one: str, other: str) -> tuple[str, str]:
    """Drop what both texts begin and end with; it cannot change the distance."""
    while one and other and one[-1] == other[-1]:
        one, other = one[:-1], other[:-1]
    start = 0
    for mine, theirs in zip(one, other, strict=False):
        if mine != theirs:
            break
        start += 1
    return one[start:], other[start:]


def _banded(one: str, other: str, limit: float) -> float:
    """Return the edit distance row by row, giving up once a whole row exceeds the limit."""
    above = [float(column) for column in range(len(other) + 1)]
    for row, mine in enumerate(one, start=1):
        left = float(row)
        current = [left]
        lowest = left
        for column, theirs in enumerate(other):
            replaced = above[column]
            if mine != theirs:
                replaced += _SUBSTITUTION.get(mine + theirs, 1.0)
            left = min(replaced, above[column + 1] + 1.0, left + 1.0)
            current.append(left)
            lowest = min(lowest, left)
        if lowest > limit:
            return limit + 1.0
        above = current
    return above[-1] if above[-1] <= limit else limit + 1.0


def is_part(part: str, whole: str) -> bool:
    """Tell whether a text is what is read of a plate where something hides the rest of it.

    Look-alikes aside, the whole one begins or ends like it, or holds it. Of three and more
    characters the one at the edge may be any: half of it is hidden, too.
    """
    if not 2 <= len(part) < len(whole):
        return False
    spare = len(whole) - len(part)
    if len(part) > 2 and (_alike(part[:-1], whole) or _alike(part[1:], whole[spare + 1 :])):
        return True
    return any(_alike(part, whole[start:]) for start in range(spare + 1))


def _alike(start: str, text: str) -> bool:
    """Tell whether a text begins like this, up to one look-alike."""
    apart = 0.0
    for mine, theirs in zip(start, text, strict=False):
        if mine != theirs:
            apart += _SUBSTITUTION.get(mine + theirs, 1.0)
    return apart <= _ONE_LOOKALIKE


def shape(plate: str) -> str:
    """Return the pattern of letters and digits of a normalised plate: ``@@##@@@``."""
    return plate.translate(_SHAPE)


_SHAPE: Final = str.maketrans({c: "#" if c.isdigit() else "@" for c in ALPHABET})

"""Texts of plates as they are issued: drawn from the patterns of regions, in groups.

Patterns matter here as much as when reading: O and 0 look alike on most plates, and a network that
is told at random which one it sees can only learn to guess.
"""

import re
from functools import lru_cache
from typing import Final

import numpy as np

from engine.plates import ALPHABET, patterns_of, region_codes, regions_of

_TOKEN: Final = re.compile(r"(\[[^\]]*\]|.)(?:\{(\d+)(?:,(\d+))?\})?")
_LETTERS: Final = ALPHABET[10:]
_DIGITS: Final = ALPHABET[:10]
_CLASSES: Final = {"@": _LETTERS, "#": _DIGITS, "?": ALPHABET}
_COUNTRIES: Final = tuple(code for code in region_codes() if regions_of(code) == (code,))
_COMMON: Final = {"us": 9, "br": 4, "in": 3, "de": 3, "gb": 3, "fr": 2, "it": 2, "es": 2, "pl": 2,
                  "nl": 2, "ro": 2, "cz": 2, "sk": 2, "au": 2, "vn": 2, "tr": 2}  # fmt: skip
"""How often a country is drawn, where not once: by its cars, and by how many kinds of plates."""
_UNRULY: Final = 0.12
"""Share of texts that follow no pattern: plates of choice, of diplomats, of elsewhere."""


def random_groups(rng: np.random.Generator) -> list[str]:
    """Return one plate text in the groups that a separator may stand between."""
    if rng.random() < _UNRULY:
        length = int(rng.integers(3, 9))
        return ["".join(rng.choice(list(ALPHABET), length))]
    country = str(rng.choice(_COUNTRIES, p=_shares()))
    text = _with_slender(sample(str(rng.choice(patterns_of(country))), rng), rng)
    if rng.random() < 0.15:
        cut = int(rng.integers(1, len(text))) if len(text) > 1 else len(text)
        return [part for part in (text[:cut], text[cut:]) if part]
    return re.findall(r"[A-Z]+|[0-9]+", text)


def _with_slender(text: str, rng: np.random.Generator) -> str:
    """Let more texts begin or end with I or 1, like the border beside them, or hold 11.

    Slender characters get lost most easily, and random texts have too few of them.
    """
    kind = rng.random()
    if kind < 0.05:
        return _slender(text[0]) + text[1:]
    if kind < 0.1:
        return text[:-1] + _slender(text[-1])
    pairs = [match.start() for match in re.finditer("(?=[0-9]{2})", text)] if kind < 0.2 else []
    if pairs:
        place = int(rng.choice(pairs))
        return text[:place] + "11" + text[place + 2 :]
    return text


def _slender(character: str) -> str:
    return "1" if character.isdigit() else "I"


@lru_cache(maxsize=1)
def _shares() -> list[float]:
    times = [_COMMON.get(country, 1) for country in _COUNTRIES]
    return [count / sum(times) for count in times]


def sample(pattern: str, rng: np.random.Generator) -> str:
    """Return a random text that is written like a pattern of ``engine.plates``."""
    text = ""
    for kind, least, most in _TOKEN.findall(pattern):
        low = int(least or 1)
        times = int(rng.integers(low, int(most or low) + 1))
        text += "".join(rng.choice(list(_choices(kind)), times))
    return text


def _choices(kind: str) -> str:
    if kind.startswith("["):
        return "".join(character for character in ALPHABET if re.fullmatch(kind, character))
    return _CLASSES.get(kind, kind)


def random_word(rng: np.random.Generator) -> str:
    """Return letters of a slogan, a dealer's frame or a sign, a third of them small ones."""
    word = "".join(rng.choice(list(_LETTERS), int(rng.integers(3, 12))))
    kind = rng.random()
    if kind < 0.25:
        word = word.title()
    elif kind < 0.35:
        word = word.lower()
    if len(word) > 6 and rng.random() < 0.3:
        word = f"{word[:4]} {word[4:]}"
    return word

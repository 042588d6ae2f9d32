"""Plate text: normalisation, a distance that knows look-alikes, and the patterns of regions.

A plate's text is A-Z and 0-9 only; separators, case, accents and spaces are no part of it.
"""

import re
import unicodedata
from functools import lru_cache
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""All characters of a normalised plate, in the order of the reader's classes."""

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

DIGITS_FOR: Final = {
    "O": "0", "D": "0", "Q": "0", "I": "1", "L": "1", "Z": "2", "A": "4", "S": "5",
    "G": "6", "T": "7", "B": "8", "J": "1",
}  # fmt: skip
"""The digit that a letter is mistaken for most."""

LETTERS_FOR: Final = {
    "0": "OD", "1": "I", "2": "Z", "3": "B", "4": "A", "5": "S", "6": "G", "7": "T", "8": "B",
}  # fmt: skip
"""The letters that a digit is mistaken for most, likeliest first."""

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


class Pattern:
    """One way plates are written, like ``@@##@@@``; compiled once, compared often.

    ``@`` is a letter, ``#`` a digit, ``?`` either; other letters and digits stand for themselves,
    ``[A-FX]`` for one of a set. ``{2}`` or ``{1,4}`` repeats what precedes it.
    """

    __slots__ = ("_compiled", "source")

    def __init__(self, source: str) -> None:
        """Compile the pattern.

        Raises:
            ValueError: it is empty or malformed; says where.
        """
        self.source = source
        self._compiled = re.compile(_expression(source))

    def matches(self, plate: str) -> bool:
        """Tell whether all of a normalised plate is written this way."""
        return self._compiled.fullmatch(plate) is not None


_PATTERN_TOKEN = re.compile(r"\[[^\]]*\]|\{[^}]*\}|.", re.DOTALL)
_SET = re.compile(r"\[(?:[0-9A-Z]-[0-9A-Z]|[0-9A-Z])+\]")
_REPEAT = re.compile(r"\{[1-9][0-9]?(,[1-9][0-9]?)?\}|\{0,[1-9][0-9]?\}")
_CLASSES: Final = {"@": "[A-Z]", "#": "[0-9]", "?": "[0-9A-Z]"}


def _expression(source: str) -> str:
    """Translate a pattern into a regular expression; ValueError where it is malformed."""
    tokens = _PATTERN_TOKEN.findall(source)
    if not tokens:
        raise ValueError("an empty pattern matches nothing")
    expression = "".join(_as_expression(token, source) for token in tokens)
    try:
        re.compile(expression)
    except re.error as error:
        raise ValueError(f"{source!r} is no plate pattern: {error}") from error
    return expression


def _as_expression(token: str, source: str) -> str:
    """Translate one token of a pattern into a piece of a regular expression."""
    if token in _CLASSES:
        return _CLASSES[token]
    if token in ALPHABET or _SET.fullmatch(token) or _REPEAT.fullmatch(token):
        return token
    raise ValueError(f"{source!r} is no plate pattern: {token!r} means nothing")


def shape(plate: str) -> str:
    """Return the pattern of letters and digits of a normalised plate: ``@@##@@@``."""
    return plate.translate(_SHAPE)


_SHAPE: Final = str.maketrans({c: "#" if c.isdigit() else "@" for c in ALPHABET})

_REGIONS: Final[dict[str, str]] = {
    "ar": "@@@### @@###@@",
    "at": "@{1,2}#{1,5}@{1,3}",
    "au": "@@@### @@@##@ ###@@@ #@@#@@ @@##@@",
    "be": "#@@@### @@@### ###@@@",
    "bg": "@{1,2}####@{1,2}",
    "br": "@@@#### @@@#@##",
    "ch": "@@#{2,6}",
    "cz": "#@##### #@@#### #@?####",
    "de": "@{2,5}#{1,4} @{2,5}#{2,4}[EH]",
    "dk": "@@#####",
    "ee": "###@@@",
    "es": "####@@@ @{1,2}####@{1,2}",
    "fi": "@@@###",
    "fr": "@@###@@ #{3,4}@{2,3}##",
    "gb": "@@##@@@ @#{1,3}@@@ @@@#{1,3}@ @@@####",
    "gr": "@@@####",
    "hr": "@@#{3,4}@{1,2}",
    "hu": "@@@### @@@@###",
    "ie": "#{2,3}@{1,2}#{1,6}",
    "il": "#{7,8}",
    "in": "@@#{1,2}@{1,3}####",
    "it": "@@###@@",
    "lt": "@@@###",
    "lu": "@@####",
    "lv": "@@#{2,4}",
    "mx": "@@@#### @@@###@",
    "my": "@{1,3}#{1,4}",
    "nl": "@@#### ####@@ ##@@## @@##@@ @@@@## ##@@@@ ##@@@# #@@@## @@###@ @###@@ @@@##@",
    "no": "@@#####",
    "nz": "@@@###",
    "pl": "@{2,3}##### @{2,3}####@ @{2,3}###@@ @@@#@### @@@##@## @@@#@##@ @@@##@@ @@@@###",
    "pt": "@@#### ####@@ ##@@## @@##@@",
    "ro": "@@##@@@ B##@@@ B###@@@",
    "rs": "@@#{3,4}@@",
    "ru": "@###@@#{2,3}",
    "se": "@@@### @@@##@",
    "sg": "S@@#{1,4}@",
    "si": "@@##@@@ @@@@### @@###@@",
    "sk": "@@###@@",
    "tr": "##@{1,3}#{2,4} ##@#####",
    "ua": "@@####@@",
    "us": "@@@#### @@@### ###@@@ #@@@### ####@@@ @@##### @@#### ######[0-9]{0,1} @##@@@",
    "vn": "##@#{4,5} ##@?#{4,5}",
    "za": "@@##@@@@ @@@###@@",
}

_UNIONS: Final[dict[str, str]] = {
    "eu": "at be bg ch cz de dk ee es fi fr gb gr hr hu ie it lt lu lv nl no pl pt ro se si sk",
    "uk": "gb",
}


def region_codes() -> tuple[str, ...]:
    """Return the codes of all regions whose patterns are known, unions like ``eu`` among them."""
    return tuple(sorted({*_REGIONS, *_UNIONS}))


def regions_of(code: str) -> tuple[str, ...]:
    """Return the countries that a region code stands for; empty when its patterns are unknown.

    A part of a country (``us-ca``) counts as the country.
    """
    country = code.lower().partition("-")[0]
    if country in _UNIONS:
        return tuple(_UNIONS[country].split())
    return (country,) if country in _REGIONS else ()


def patterns_of(country: str) -> tuple[str, ...]:
    """Return the sources of a country's patterns; empty where they are unknown."""
    return tuple(_REGIONS.get(country, "").split())


@lru_cache(maxsize=8192)
def matching_regions(plate: str, within: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the countries whose plates are written like this one, in the order of ``within``.

    ``within`` holds region codes, unions allowed; empty, or unknown codes only, means everywhere.
    """
    return tuple(country for country in _countries(within) if _any_of((country,)).fullmatch(plate))


def matches_any_region(plate: str, within: tuple[str, ...] = ()) -> bool:
    """Tell whether ``matching_regions`` would name any; much quicker for texts never seen."""
    return _any_of(_countries(within)).fullmatch(plate) is not None


@lru_cache(maxsize=256)
def _countries(within: tuple[str, ...]) -> tuple[str, ...]:
    """Return the countries that region codes stand for, each once; all for none."""
    asked = [country for code in within for country in regions_of(code)]
    return tuple(dict.fromkeys(asked or _REGIONS))


@lru_cache(maxsize=256)
def _any_of(countries: tuple[str, ...]) -> re.Pattern[str]:
    """Return one expression for all patterns of these countries."""
    sources = dict.fromkeys(source for code in countries for source in _REGIONS[code].split())
    return re.compile("|".join(_expression(source) for source in sources))

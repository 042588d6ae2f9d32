"""All countries' plate families, and which of them are written like a text.

A data file is read when its country is first needed, once in a process; all of them together take
30 ms of one core, of which compiling the patterns takes half.
"""

import re
from functools import cache, lru_cache
from itertools import chain
from typing import Final

from engine.regions.country import FOLDER, Country, Layout, load_country, load_unions
from engine.regions.pattern import any_of, choices

_UNIONS: Final = "unions.toml"


def region_codes() -> tuple[str, ...]:
    """Return the codes of all regions whose plates are known, unions like ``eu`` among them."""
    return tuple(sorted({*_known(), *_unions()}))


def regions_of(code: str) -> tuple[str, ...]:
    """Return the countries that a region code stands for; empty when their plates are unknown.

    A part of a country (``us-ca``) counts as the country.
    """
    country = code.lower().partition("-")[0]
    if country in _unions():
        return _unions()[country]
    return (country,) if country in _known() else ()


@cache
def patterns_of(country: str) -> tuple[str, ...]:
    """Return the sources of a country's patterns, one for each place; empty where unknown."""
    written = (choices(layout.pattern) for layout in layouts_of(country))
    return tuple(dict.fromkeys(chain.from_iterable(written)))


def layouts_of(country: str) -> tuple[Layout, ...]:
    """Return how a country's plates are written, group by group; empty where that is unknown."""
    if country not in _known():
        return ()
    return tuple(layout for family in _country(country).families for layout in family.layouts)


@lru_cache(maxsize=256)
def lookalikes_of(within: tuple[str, ...] = ()) -> frozenset[str]:
    """Return the pairs of characters, like ``0O``, that have one glyph on plates of these regions.

    ``within`` as for ``matching_regions``. Which of both a glyph is, only patterns tell.
    """
    return frozenset(
        pair
        for code in _countries(within)
        for family in _country(code).families
        for pair in family.lookalikes
    )


@lru_cache(maxsize=8192)
def matching_regions(plate: str, within: tuple[str, ...] = ()) -> tuple[str, ...]:
    """Return the countries whose plates are written like this one, in the order of ``within``.

    ``within`` holds region codes, unions allowed; empty, or unknown codes only, means everywhere.
    """
    return tuple(country for country in _countries(within) if _any_of((country,)).fullmatch(plate))


def matches_any_region(plate: str, within: tuple[str, ...] = ()) -> bool:
    """Tell whether ``matching_regions`` would name any; much quicker for texts never seen."""
    return _any_of(_countries(within)).fullmatch(plate) is not None


@cache
def _known() -> tuple[str, ...]:
    """Return the codes of all countries that have a data file."""
    return tuple(sorted(path.stem for path in FOLDER.glob("??.toml")))


@cache
def _unions() -> dict[str, tuple[str, ...]]:
    return load_unions(FOLDER / _UNIONS)


@cache
def _country(code: str) -> Country:
    return load_country(FOLDER / f"{code}.toml")


@lru_cache(maxsize=256)
def _countries(within: tuple[str, ...]) -> tuple[str, ...]:
    """Return the countries that region codes stand for, each once; all for none."""
    asked = [country for code in within for country in regions_of(code)]
    return tuple(dict.fromkeys(asked or _known()))


@lru_cache(maxsize=256)
def _any_of(countries: tuple[str, ...]) -> re.Pattern[str]:
    """Return one expression for all that is written on the plates of these countries."""
    return any_of(layout.pattern for code in countries for layout in layouts_of(code))

"""Where plates are from: how each country writes them, in data files that anyone can mend.

::

    pattern     @@##@@@ and what it stands for
    country     one data file -> a country's plate families, checked
    catalogue   all of them: which countries write plates like a text
"""

from engine.regions.catalogue import (
    layouts_of,
    lookalikes_of,
    matches_any_region,
    matching_regions,
    patterns_of,
    region_codes,
    regions_of,
)
from engine.regions.country import Layout
from engine.regions.pattern import ALPHABET, Pattern

__all__ = [
    "ALPHABET",
    "Layout",
    "Pattern",
    "layouts_of",
    "lookalikes_of",
    "matches_any_region",
    "matching_regions",
    "patterns_of",
    "region_codes",
    "regions_of",
]

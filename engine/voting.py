"""The text of a track: a vote of all its reads, character by character.

Every read casts a ballot for its text, weighted by the logarithm of how unlikely it is to be
wrong; its other candidates cast small ones. A text that no country of the camera's regions writes
counts for less, whoever reads it so. The most voted length wins, then each position is
won by the character with the most weight; texts of another length take part where they align.

What is read of a plate that something hides in part has no vote: it is a part of the text, as wide
as it is long. A plate misread with a character too few is as wide as ever, and votes.
"""

import math
from functools import lru_cache
from typing import Final

import msgspec

from engine.plates import is_part, matches_any_region
from engine.types import Candidate, PlateRead

MAX_TEXTS: Final = 24
"""Texts a track remembers; beyond it the weakest is forgotten, so that memory is bounded."""

_OTHERS: Final = 2
_OTHERS_SHARE: Final = 0.25
_SUREST: Final = 0.99
CUT_SHARE: Final = 0.9
"""A plate narrower than this share of its width, for its height, is hidden in part."""
_FOREIGN_SHARE: Final = 0.6
"""What the read of a text counts that is no plate of the camera's regions."""


class Ballot(msgspec.Struct):
    """What one text has gathered: weight, how many reads said it first, their best confidence."""

    weight: float = 0.0
    reads: int = 0
    confidence: float = 0.0
    aspect: float = 0.0
    """Width by height of the plate, the widest that was read so."""


def weight_of(confidence: float) -> float:
    """Return the weight of a read with this confidence (0 to 100): -ln of its doubt."""
    return -math.log1p(-min(max(confidence / 100.0, 0.01), _SUREST))


def cast(
    ballots: dict[str, Ballot], read: PlateRead, regions: tuple[str, ...] = (), aspect: float = 0.0
) -> float:
    """Count a read's text and, for little, its next candidates; return the weight added.

    ``aspect``: width by height of the plate; 0: not known.
    ``regions``: codes of ``engine.plates`` where the camera's plates are from; none: anywhere.
    """
    ballot = _ballot(ballots, read.plate)
    added = weight_of(read.confidence) * _share_of(read.plate, regions)
    ballot.weight += added
    ballot.reads += 1
    ballot.confidence = max(ballot.confidence, read.confidence)
    ballot.aspect = max(ballot.aspect, aspect)
    for other in read.candidates[1 : 1 + _OTHERS]:
        if other.plate != read.plate:
            little = _OTHERS_SHARE * weight_of(other.confidence) * _share_of(other.plate, regions)
            _ballot(ballots, other.plate).weight += little
            added += little
    if len(ballots) > MAX_TEXTS:
        for text in sorted(ballots, key=lambda text: ballots[text].weight)[:-MAX_TEXTS]:
            del ballots[text]
    return added


@lru_cache(maxsize=65_536)
def _share_of(text: str, regions: tuple[str, ...]) -> float:
    """Return the weight of a text by the countries that write plates like it."""
    return 1.0 if matches_any_region(text, regions) else _FOREIGN_SHARE


def merge(ballots: dict[str, Ballot], others: dict[str, Ballot]) -> None:
    """Add the ballots of another part of the same passage."""
    for text, theirs in others.items():
        mine = _ballot(ballots, text)
        mine.weight += theirs.weight
        mine.reads += theirs.reads
        mine.confidence = max(mine.confidence, theirs.confidence)
        mine.aspect = max(mine.aspect, theirs.aspect)


def shows_part(ballots: dict[str, Ballot], whole: str, part: str, aspect: float) -> bool:
    """Tell whether a text, read on a plate of this width by height, is a part of another one."""
    said = ballots.get(whole)
    return (
        said is not None
        and said.reads > 0
        and 0 < aspect < CUT_SHARE * said.aspect
        and is_part(part, whole)
    )


def is_whole(ballots: dict[str, Ballot], text: str, regions: tuple[str, ...]) -> bool:
    """Tell whether a text can overrule its parts: read twice, or written so in some country."""
    said = ballots.get(text)
    if said is None or not said.reads:
        return False
    return said.reads > 1 or _share_of(text, regions) > _FOREIGN_SHARE


def strike_parts(ballots: dict[str, Ballot], whole: str) -> list[Ballot]:
    """Strike out the texts that are parts of one; return what they had gathered."""
    parts = [text for text in ballots if shows_part(ballots, whole, text, ballots[text].aspect)]
    return [ballots.pop(text) for text in parts]


def elect(ballots: dict[str, Ballot]) -> str:
    """Return the text that won; depends on the ballots alone, not on their order."""
    if len(ballots) == 1:
        return next(iter(ballots))
    lengths: dict[int, float] = {}
    for text, ballot in ballots.items():
        lengths[len(text)] = lengths.get(len(text), 0.0) + ballot.weight
    length = max(lengths, key=lambda length: (round(lengths[length], 6), length))
    pivot = max(
        (text for text in ballots if len(text) == length),
        key=lambda text: (round(ballots[text].weight, 6), text),
    )
    columns: list[dict[str, float]] = [{} for _ in range(length)]
    for text, ballot in ballots.items():
        said = text if len(text) == length else _aligned(pivot, text)
        for column, character in zip(columns, said, strict=True):
            column[character] = column.get(character, 0.0) + ballot.weight
    for column in columns:
        column.pop(_NOTHING, None)
    return "".join(
        max(column, key=lambda c: (round(column[c], 6), c))  # used at once
        for column in columns
    )


def confidence_of(ballots: dict[str, Ballot], plate: str) -> float:
    """Return 0 to 100: the best read that said so; the best of any, if the vote mixed the text."""
    said = ballots.get(plate)
    if said is not None and said.reads:
        return said.confidence
    return 0.9 * max(ballot.confidence for ballot in ballots.values())


def standing(ballots: dict[str, Ballot], plate: str, most: int) -> tuple[Candidate, ...]:
    """Return the winner and the next texts, best first; confidence is the share of the weight."""
    total = sum(ballot.weight for ballot in ballots.values()) or 1.0
    ranked = sorted(ballots, key=lambda text: (-ballots[text].weight, text))
    others = [text for text in ranked if text != plate][: most - 1]
    share = {text: 100.0 * ballots[text].weight / total for text in ballots}
    first = Candidate(plate, round(confidence_of(ballots, plate), 2))
    return (first, *(Candidate(text, round(share[text], 2)) for text in others))


def _ballot(ballots: dict[str, Ballot], text: str) -> Ballot:
    ballot = ballots.get(text)
    if ballot is None:
        ballot = ballots[text] = Ballot()
    return ballot


_NOTHING: Final = "-"


@lru_cache(maxsize=4096)
def _aligned(pivot: str, text: str) -> str:
    """Lay ``text`` along ``pivot``: one character for each of the pivot's, ``-`` where none."""
    rows, width = len(pivot), len(text)
    cost = [[row + column for column in range(width + 1)] for row in range(rows + 1)]
    for row in range(1, rows + 1):
        for column in range(1, width + 1):
            replaced = cost[row - 1][column - 1] + (pivot[row - 1] != text[column - 1])
            cost[row][column] = min(replaced, cost[row - 1][column] + 1, cost[row][column - 1] + 1)
    laid: list[str] = []
    row, column = rows, width
    while row:
        if column and cost[row][column] == cost[row - 1][column - 1] + (
            pivot[row - 1] != text[column - 1]
        ):
            row, column = row - 1, column - 1
            laid.append(text[column])
        elif cost[row][column] == cost[row - 1][column] + 1:
            row -= 1
            laid.append(_NOTHING)
        else:
            column -= 1
    return "".join(reversed(laid))

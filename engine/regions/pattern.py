"""Patterns of plate text: what each character may be."""

import re
from collections.abc import Iterable, Iterator
from typing import Final

ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZ"
"""All characters of a normalised plate, in the order of the reader's classes."""

_TOKEN: Final = re.compile(r"\[[^\]]*\]|\([^)]*\)|\{[^}]*\}|.", re.DOTALL)
_SET: Final = re.compile(r"\[(?:[0-9A-Z]-[0-9A-Z]|[0-9A-Z])+\]")
_CHOICE: Final = re.compile(r"\([0-9A-Z]+(?:\|[0-9A-Z]+)*\)")
_REPEAT: Final = re.compile(r"\{[1-9][0-9]?(,[1-9][0-9]?)?\}|\{0,[1-9][0-9]?\}")
_CLASSES: Final = {"@": "[A-Z]", "#": "[0-9]", "?": "[0-9A-Z]"}


class Pattern:
    """One way plates are written, like ``@@##@@@``; compiled once, compared often.

    ``@`` is a letter, ``#`` a digit, ``?`` either; other letters and digits stand for themselves,
    ``[A-FX]`` for one of a set, ``(AB|CDE)`` for one of several texts. ``{2}`` or ``{1,4}`` repeats
    what precedes it.
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


def any_of(sources: Iterable[str]) -> re.Pattern[str]:
    """Return one expression for all texts that are written like one of several patterns.

    Raises:
        ValueError: one of them is empty or malformed; says where.
    """
    return re.compile("|".join(_expression(source) for source in dict.fromkeys(sources)))


def choices(source: str) -> Iterator[str]:
    """Yield a pattern once for each text of the choice in it, or as it is where it has none.

    source: of a ``Pattern``, known to be sound, with one choice like ``(AB|CDE)`` at most.
    """
    before, bracket, rest = source.partition("(")
    texts, _, after = rest.partition(")")
    for text in texts.split("|"):
        yield before + text + after if bracket else source


def _expression(source: str) -> str:
    """Translate a pattern into a regular expression; ValueError where it is malformed."""
    tokens = _TOKEN.findall(source)
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
    if _CHOICE.fullmatch(token):
        return f"(?:{token[1:]}"
    if token in ALPHABET or _SET.fullmatch(token) or _REPEAT.fullmatch(token):
        return token
    raise ValueError(f"{source!r} is no plate pattern: {token!r} means nothing")

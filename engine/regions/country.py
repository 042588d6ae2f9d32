"""The data files of plate families: one ``<country code>.toml`` beside this module each.

::

    name = "Romania"
    letters = "A-PR-Z"            # that plates use, A to Z if not told
    lookalikes = ["0O", "1I"]     # pairs with one glyph for both; these, if not told
    places = "AB AR AG"           # codes of places; % in a layout stands for one of them

    [[families]]
    about = "counties"            # what it is and when, for readers
    layouts = ["% ##|@@@"]        # as it stands on the plate
    letters = "A-Z"               # this family's own, and so for lookalikes

A layout is a pattern of ``engine.regions.pattern``, in which ``@`` and ``?`` mean the letters in
use, with what separates the groups of characters: a space, a dash or a dot. ``|`` is where a tall
plate begins its second row, and a gap where it has one row; ``/`` begins the second row of plates
that always have two.
"""

import re
import tomllib
from pathlib import Path
from typing import Final, TypeVar

import msgspec

from engine.errors import ConfigError
from engine.regions.pattern import ALPHABET, Pattern

FOLDER: Final = Path(__file__).parent
"""Where the data files are."""

_PARTS: Final = re.compile(r"\[[^\]]*\]|\{[^}]*\}|[ .|/-]+|.", re.DOTALL)
_LETTERS: Final = re.compile(r"(?:[A-Z]-[A-Z]|[A-Z])*")
_ALL_LETTERS: Final = "A-Z"
_BREAKS: Final = frozenset("|/")
_SEPARATING: Final = frozenset(" .-|/")
_Form = TypeVar("_Form")


class Layout(msgspec.Struct, frozen=True):
    """One way plates are written, group by group."""

    groups: tuple[str, ...]
    """Pattern sources; together they are ``pattern``."""
    separators: tuple[str, ...]
    """What stands between the groups of one row: spaces, dashes and dots; one less than groups."""
    second_row: int = 0
    """The group that begins the second row of a plate of two; 0: it never has two."""
    always_two_rows: bool = False

    @property
    def pattern(self) -> str:
        """The source of the pattern of the whole text."""
        return "".join(self.groups)


class PlateFamily(msgspec.Struct, frozen=True):
    """Plates of one country that are made alike."""

    about: str
    layouts: tuple[Layout, ...]
    lookalikes: tuple[str, ...]
    """Pairs of characters with one glyph on these plates: only the layout tells which it is."""


class Country(msgspec.Struct, frozen=True):
    """A country and its plate families, the most common first."""

    code: str
    name: str
    families: tuple[PlateFamily, ...]


class _FamilyTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    about: str
    layouts: tuple[str, ...]
    letters: str | None = None
    lookalikes: tuple[str, ...] | None = None


class _CountryTable(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    name: str
    families: tuple[_FamilyTable, ...]
    letters: str = _ALL_LETTERS
    lookalikes: tuple[str, ...] = ("0O", "1I")
    places: str = ""


def load_country(path: Path) -> Country:
    """Read and check one data file.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; names the file and the key.
    """
    table = _decoded(path, _CountryTable)
    if not table.families:
        raise ConfigError(f"{path}: families", "there is none")
    families = tuple(
        _family(f"{path}: families[{number}]", family, table)
        for number, family in enumerate(table.families)
    )
    return Country(path.stem, table.name, families)


def load_unions(path: Path) -> dict[str, tuple[str, ...]]:
    """Read which region codes stand for several countries, or for one under another name.

    Raises:
        ConfigError: the file cannot be read, or is something else; names the file and the key.
    """
    return _decoded(path, dict[str, tuple[str, ...]])


def _decoded(path: Path, form: type[_Form]) -> _Form:
    try:
        return msgspec.convert(tomllib.loads(path.read_text(encoding="utf-8")), form)
    except msgspec.ValidationError as error:
        problem, _, place = str(error).partition(" - at `$.")
        key = f"{path}: {place.rstrip('`')}" if place else str(path)
        raise ConfigError(key, problem) from error
    except (OSError, ValueError) as error:
        raise ConfigError(str(path), str(error)) from error


def _family(key: str, family: _FamilyTable, country: _CountryTable) -> PlateFamily:
    """Check one family and write out its layouts."""
    letters = country.letters if family.letters is None else family.letters
    if not _LETTERS.fullmatch(letters):
        raise ConfigError(f"{key}.letters", f"{letters!r} are no letters, like A-HJ-NP-Z")
    lookalikes = country.lookalikes if family.lookalikes is None else family.lookalikes
    for pair in lookalikes:
        if len(pair) != 2 or not set(pair) <= set(ALPHABET):
            raise ConfigError(f"{key}.lookalikes", f"{pair!r} is no pair of characters, like 0O")
    if not family.layouts:
        raise ConfigError(f"{key}.layouts", "there is none")
    places = country.places.split()
    layouts = tuple(
        _layout(f"{key}.layouts[{number}]", text, letters, places)
        for number, text in enumerate(family.layouts)
    )
    return PlateFamily(family.about, layouts, lookalikes)


def _layout(key: str, text: str, letters: str, places: list[str]) -> Layout:
    """Take a layout apart and check it."""
    groups, separators, second_row = [""], [], 0
    for part in _PARTS.findall(text):
        if not set(part) <= _SEPARATING:
            groups[-1] += _in_use(part, letters, places)
            continue
        if breaks := _BREAKS & set(part):
            if second_row or len(breaks) > 1:
                raise ConfigError(key, f"{text!r} has more than two rows")
            second_row = len(groups)
        separators.append("".join(sign for sign in part if sign not in _BREAKS))
        groups.append("")
    if text.count("%") > 1:
        raise ConfigError(key, f"{text!r} names more than one place")
    if "" in groups:
        raise ConfigError(key, f"{text!r} begins or ends with a separator")
    layout = Layout(tuple(groups), tuple(separators), second_row, always_two_rows="/" in text)
    try:
        Pattern(layout.pattern)
    except ValueError as error:
        raise ConfigError(key, f"{text!r} is no layout: {error}") from error
    return layout


def _in_use(part: str, letters: str, places: list[str]) -> str:
    """Return what ``@``, ``?`` and ``%`` mean in this country."""
    if part == "%":
        return f"({'|'.join(places)})"
    if part not in "@?" or letters == _ALL_LETTERS:
        return part
    return f"[{'0-9' if part == '?' else ''}{letters}]"

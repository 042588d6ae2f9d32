"""The entries of all watchlists, in one SQLite file that several processes may open.

An entry's id is never given twice, and an entry that changes gets a new one: whoever has seen all
ids up to one finds everything new above it, and an id that is gone is an entry that is gone.
"""

import csv
import re
import sqlite3
import time
from collections.abc import Iterable, Iterator
from contextlib import closing
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from functools import lru_cache
from pathlib import Path
from typing import Final, TextIO

import msgspec

from engine.errors import PayloadError
from engine.plates import DIGITS_FOR, normalise
from engine.sink_settings import check_pattern

FILE_NAME: Final = "watchlists.sqlite"
MAX_CHARACTERS: Final = 16
"""Of a plate that is no pattern."""
COLUMNS: Final = ("plate", "match", "label", "severity", "schedule", "expires")
"""Of the CSV; only the first one must be there."""
SEVERITIES: Final = ("info", "warning", "alarm")

_SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS entries (
    id INTEGER PRIMARY KEY AUTOINCREMENT, list TEXT NOT NULL, plate TEXT NOT NULL,
    match TEXT NOT NULL, label TEXT NOT NULL, severity TEXT NOT NULL, schedule TEXT NOT NULL,
    expires_unix_ms INTEGER NOT NULL, UNIQUE (list, plate));
"""
_ROW: Final = "list, plate, match, label, severity, schedule, expires_unix_ms"
_LIST_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,62}")
_PATTERN_SIGN = re.compile(r"[*?#@\[{]")
_SPAN = re.compile(r"(?:([a-z,-]+)\s+)?(\d\d):(\d\d)-(\d\d):(\d\d)|([a-z,-]+)")
_DAYS: Final = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_FOLD: Final = str.maketrans(DIGITS_FOR)
_CHUNK: Final = 20_000


class Match(StrEnum):
    """How close a plate must be to an entry's; each one includes those before it."""

    EXACT = "exact"
    CONFUSABLE = "confusable"
    """Look-alikes count as the same: O and 0, B and 8."""
    NEAR = "near"
    """One character may be wrong, missing or too many."""
    PATTERN = "pattern"
    """The plate is a pattern of ``engine.plates`` in which ``*`` stands for any rest."""


class Entry(msgspec.Struct, frozen=True, kw_only=True):
    """One plate or pattern on one list."""

    list: str
    plate: str
    match: Match = Match.EXACT
    label: str = ""
    severity: str = "info"
    schedule: str = ""
    """When it counts, in local time: ``mon-fri 08:00-18:00; sat``; empty: always."""
    expires_unix_ms: int = 0
    """From when on it counts no longer; 0: never."""

    def counts(self, unix_ms: int) -> bool:
        """Tell whether it counts at a time."""
        if self.expires_unix_ms and unix_ms >= self.expires_unix_ms:
            return False
        if not self.schedule:
            return True
        then = time.localtime(unix_ms / 1_000)
        minute = then.tm_hour * 60 + then.tm_min
        return any(span.holds(then.tm_wday, minute) for span in parse_schedule(self.schedule))


class Span(msgspec.Struct, frozen=True):
    """Hours of some days of the week, Monday 0; one that ends before it begins spans midnight."""

    days: frozenset[int]
    begin: int
    end: int
    """Minutes since midnight."""

    def holds(self, day: int, minute: int) -> bool:
        """Tell whether a minute of a day lies in it."""
        if self.begin < self.end:
            return day in self.days and self.begin <= minute < self.end
        if minute >= self.begin:
            return day in self.days
        return minute < self.end and (day - 1) % 7 in self.days


def fold(plate: str) -> str:
    """Return the plate with every letter that looks like a digit as that digit."""
    return plate.translate(_FOLD)


@lru_cache(maxsize=1_024)
def parse_schedule(text: str) -> tuple[Span, ...]:
    """Return the spans of ``mon-fri 08:00-18:00; sat``.

    Raises:
        ValueError: it is no schedule.
    """
    return tuple(_span(part.strip()) for part in text.lower().split(";"))


def _span(text: str) -> Span:
    found = _SPAN.fullmatch(text)
    if found is None:
        raise ValueError(f"{text!r} is no schedule like mon-fri 08:00-18:00")
    days = _days(found[1] or found[6] or "mon-sun")
    if found[2] is None:
        return Span(days, 0, 24 * 60)
    hours = [int(found[group]) for group in (2, 3, 4, 5)]
    begin, end = hours[0] * 60 + hours[1], hours[2] * 60 + hours[3]
    if max(begin, end) > 24 * 60 or max(hours[1], hours[3]) > 59:
        raise ValueError(f"{text!r} holds no time of the day")
    return Span(days, begin, end)


def _days(text: str) -> frozenset[int]:
    days: set[int] = set()
    for part in text.split(","):
        first, _, last = part.partition("-")
        if first not in _DAYS or (last or first) not in _DAYS:
            raise ValueError(f"{part!r} is no day or days like mon-fri")
        begin, end = _DAYS.index(first), _DAYS.index(last or first)
        days |= {(begin + step) % 7 for step in range((end - begin) % 7 + 1)}
    return frozenset(days)


class Watchlists:
    """The file; any thread and process opens its own."""

    def __init__(self, path: Path) -> None:
        """Open or make the file."""
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch(mode=0o600)
        self._db = sqlite3.connect(path, timeout=30.0, check_same_thread=False)
        self._db.execute("PRAGMA journal_mode = WAL").fetchall()
        with self._db:
            self._db.executescript(_SCHEMA)

    def put(self, entries: Iterable[Entry], *, instead_of: str | None = None) -> int:
        """Add entries, or change those of the same list and plate, all or none; return how many.

        ``instead_of`` empties a list first.
        """
        count = 0
        with self._db:
            if instead_of is not None:
                self._db.execute("DELETE FROM entries WHERE list = ?", (instead_of,))
            for chunk in _chunks(entries):
                count += len(chunk)
                self._db.executemany(
                    f"INSERT OR REPLACE INTO entries ({_ROW}) VALUES (?, ?, ?, ?, ?, ?, ?)",  # noqa: S608  # a constant of ours
                    [msgspec.structs.astuple(entry) for entry in chunk],
                )
        return count

    def remove(self, name: str, plate: str | None = None) -> int:
        """Remove a list, or one plate of it; return how many entries went."""
        with self._db:
            return self._db.execute(
                "DELETE FROM entries WHERE list = ? AND (? IS NULL OR plate = ?)",
                (name, plate, plate),
            ).rowcount

    def get(self, entry: int) -> Entry | None:
        """Return the entry of an id, None where it is gone."""
        row = self._db.execute(
            f"SELECT {_ROW} FROM entries WHERE id = ?",  # noqa: S608  # a constant of ours
            (entry,),
        ).fetchone()
        return _entry(row) if row else None

    def entries(self, name: str) -> Iterator[Entry]:
        """Yield the entries of a list in the order in which they came."""
        with closing(self._db.cursor()) as cursor:
            cursor.execute(
                f"SELECT {_ROW} FROM entries WHERE list = ? ORDER BY id",  # noqa: S608  # same
                (name,),
            )
            yield from map(_entry, cursor)

    def page(self, name: str, limit: int, after: str = "", beginning: str = "") -> list[Entry]:
        """Return entries of a list by the order of their plates, those behind ``after``.

        All of them, or those whose plate begins with ``beginning``.
        """
        rows = self._db.execute(
            f"SELECT {_ROW} FROM entries WHERE list = ? AND plate > ? AND plate >= ?"  # noqa: S608  # a constant of ours
            " AND plate < ? ORDER BY plate LIMIT ?",
            (name, after, beginning, f"{beginning}\U0010ffff", limit),
        )
        return list(map(_entry, rows))

    def alarming(self) -> set[str]:
        """Return the names of the lists of which an entry raises the alarm."""
        rows = self._db.execute("SELECT DISTINCT list FROM entries WHERE severity = 'alarm'")
        return {name for (name,) in rows}

    def sizes(self) -> dict[str, int]:
        """Return how many entries each list has."""
        rows = self._db.execute("SELECT list, COUNT(*) FROM entries GROUP BY list ORDER BY list")
        return dict(rows.fetchall())

    def new_since(self, last_id: int) -> Iterator[list[tuple[int, str, str]]]:
        """Yield (id, plate, match) of the entries above an id, in portions."""
        with closing(self._db.cursor()) as cursor:
            cursor.execute(
                "SELECT id, plate, match FROM entries WHERE id > ? ORDER BY id", (last_id,)
            )
            while rows := cursor.fetchmany(_CHUNK):
                yield rows

    def count(self) -> int:
        """Return how many entries there are."""
        return int(self._db.execute("SELECT COUNT(*) FROM entries").fetchone()[0])

    def version(self) -> int:
        """Return a number that changes when another process or thread has changed something."""
        return int(self._db.execute("PRAGMA data_version").fetchone()[0])

    def close(self) -> None:
        """Close the file."""
        self._db.close()


def _chunks(entries: Iterable[Entry]) -> Iterator[list[Entry]]:
    chunk: list[Entry] = []
    for entry in entries:
        chunk.append(entry)
        if len(chunk) == _CHUNK:
            yield chunk
            chunk = []
    yield chunk


def _entry(row: tuple[str, str, str, str, str, str, int]) -> Entry:
    name, plate, match, label, severity, schedule, expires_unix_ms = row
    return Entry(
        list=name, plate=plate, match=Match(match), label=label, severity=severity,
        schedule=schedule, expires_unix_ms=expires_unix_ms,
    )  # fmt: skip


def check_list_name(name: str) -> None:
    """Refuse what is no name of a list.

    Raises:
        PayloadError: it is none.
    """
    if not _LIST_NAME.fullmatch(name):
        raise PayloadError("list", f"{name!r} is no name of letters, digits, dots and dashes")


# --- CSV ------------------------------------------------------------------------------------------


def read_csv(name: str, lines: Iterable[str]) -> Iterator[Entry]:
    """Yield the entries of a CSV whose first line names its columns.

    Raises:
        PayloadError: names the line and the column.
    """
    check_list_name(name)
    rows = csv.DictReader(lines, restval="")
    columns = [(column or "").strip().lower() for column in rows.fieldnames or ()]
    if "plate" not in columns:
        raise PayloadError("line 1", "has no column plate")
    unknown = set(columns) - set(COLUMNS)
    if unknown:
        raise PayloadError("line 1", f"has columns that mean nothing: {', '.join(sorted(unknown))}")
    rows.fieldnames = columns
    for row in rows:
        try:
            yield entry_of(name, **{column: (row[column] or "").strip() for column in columns})
        except (ValueError, TypeError) as error:
            raise PayloadError(f"line {rows.line_num}", str(error)) from error


def entry_of(  # noqa: PLR0913  # the columns of the CSV
    name: str,
    *,
    plate: str,
    match: str = "",
    label: str = "",
    severity: str = "",
    schedule: str = "",
    expires: str = "",
) -> Entry:
    """Return a checked entry; what is empty takes its default.

    Raises:
        ValueError: a value means nothing; says which.
    """
    kind = Match(match or "exact")
    if kind is Match.PATTERN or _PATTERN_SIGN.search(plate):
        kind, plate = Match.PATTERN, plate.upper()
        check_pattern(plate)
    else:
        given, plate = plate, normalise(plate)
        if not 0 < len(plate) <= MAX_CHARACTERS:
            raise ValueError(f"{given!r} is no plate of 1 to {MAX_CHARACTERS} characters")
    if severity not in ("", *SEVERITIES):
        raise ValueError(f"{severity!r} is no severity: {', '.join(SEVERITIES)}")
    if schedule:
        parse_schedule(schedule)
    return Entry(
        list=name, plate=plate, match=kind, label=label, severity=severity or "info",
        schedule=schedule, expires_unix_ms=_expiry(expires) if expires else 0,
    )  # fmt: skip


def write_csv(entries: Iterable[Entry], out: TextIO) -> int:
    """Write entries in the form that ``read_csv`` reads; return how many."""
    rows = csv.writer(out, lineterminator="\n")
    rows.writerow(COLUMNS)
    count = 0
    for count, entry in enumerate(entries, start=1):  # noqa: B007  # counts
        expires = ""
        if entry.expires_unix_ms:
            expires = datetime.fromtimestamp(entry.expires_unix_ms / 1_000, UTC).isoformat()
        rows.writerow(
            (entry.plate, entry.match, entry.label, entry.severity, entry.schedule, expires)
        )
    return count


def _expiry(text: str) -> int:
    """Return the end of a day, or a moment, of ISO 8601; local time where no zone is given."""
    when = datetime.fromisoformat(text)
    try:
        if re.fullmatch(r"\d{4}-?\d\d-?\d\d", text):
            when += timedelta(days=1)
        return round(when.timestamp() * 1_000)
    except OverflowError as error:
        raise ValueError(f"{text!r} is too far away") from error

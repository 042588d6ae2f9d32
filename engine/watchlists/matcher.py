"""Finds the entries that a plate matches, while other processes change the lists."""

import logging
import threading
from pathlib import Path
from typing import Final

import msgspec

from engine.canary import is_canary
from engine.plates import Pattern
from engine.sink_settings import plate_pattern
from engine.types import Hit, Sighting
from engine.watchlists.entries import Entry, Match, Watchlists, fold
from engine.watchlists.keys import Keys, build, find, merged, wanted

_LOOK_EVERY_S: Final = 0.25
_MAX_HITS: Final = 8
_MAX_SEGMENTS: Final = 4
_SMALL: Final = 65_536
_CLOSEST_FIRST: Final = (Match.EXACT, Match.PATTERN, Match.CONFUSABLE, Match.NEAR)

log = logging.getLogger(__name__)


class _Known(msgspec.Struct, frozen=True):
    """What was indexed; replaced as a whole, never changed."""

    segments: tuple[Keys, ...] = ()
    patterns: dict[str, list[tuple[Pattern, int]]] = {}
    """By the letter or digit they begin with, empty where that is open."""
    last_id: int = 0
    indexed: int = 0
    """Entries, those that are gone by now among them."""


class Matcher:
    """Matches plates in one thread; a thread of its own keeps up with changes of the lists."""

    def __init__(self, path: Path) -> None:
        """Open the file and index what is in it; a million entries take a few seconds."""
        self._lists = Watchlists(path)
        self._seen = Watchlists(path)
        self._version = self._seen.version()
        self._known = _grown(_Known(), self._seen)
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._keep_up, name="watchlists", daemon=True)

    def start(self) -> None:
        """Begin to keep up with changes."""
        self._thread.start()

    def close(self) -> None:
        """Stop keeping up."""
        self._closing.set()
        if self._thread.is_alive():
            self._thread.join()
        self._seen.close()
        self._lists.close()

    def marked(self, sighting: Sighting) -> Sighting:
        """Return the sighting with the hits that it has now."""
        hits: tuple[Hit, ...] = ()
        if self._known.indexed and not is_canary(sighting.camera):
            hits = self.match(sighting.plate, sighting.last_unix_ms)
        return msgspec.structs.replace(sighting, hits=hits) if hits != sighting.hits else sighting

    def match(self, plate: str, unix_ms: int) -> tuple[Hit, ...]:
        """Return the entries that a plate seen at a time matches, the closest first."""
        known, found = self._known, set[int]()
        if known.segments:
            bounds = wanted(plate)
            for keys in known.segments:
                found.update(find(keys, bounds))
        for beginning in (plate[:1], ""):
            for pattern, number in known.patterns.get(beginning, ()):
                if pattern.matches(plate):
                    found.add(number)
        if not found:
            return ()
        return self._hits(plate, unix_ms, found)

    def refresh(self) -> bool:
        """Take in what changed since; True where something did. One thread at a time."""
        version = self._seen.version()
        if version == self._version:
            return False
        known = self._known
        if known.indexed > 2 * self._seen.count() + _SMALL:
            known = _Known()  # most of it is gone: begin anew
        self._known = _grown(known, self._seen)
        self._version = version
        return True

    def _hits(self, plate: str, unix_ms: int, found: set[int]) -> tuple[Hit, ...]:
        """Check what was found against the entries as they are now."""
        hits: list[tuple[int, Hit]] = []
        for number in sorted(found):
            entry = self._lists.get(number)
            how = entry and _how(entry, plate)
            if entry and how and entry.counts(unix_ms):
                hit = Hit(
                    list=entry.list, plate=entry.plate, match=how.value,
                    label=entry.label, severity=entry.severity,
                )  # fmt: skip
                hits.append((_CLOSEST_FIRST.index(how), hit))
        hits.sort(key=lambda ranked: ranked[0])
        return tuple(hit for _, hit in hits[:_MAX_HITS])

    def _keep_up(self) -> None:
        while not self._closing.wait(_LOOK_EVERY_S):
            if self.refresh():
                log.info("watchlists: %d entries indexed", self._known.indexed)


def _how(entry: Entry, plate: str) -> Match | None:
    """Return how closely a plate matches an entry, None where it does not."""
    if entry.match is Match.PATTERN:
        return Match.PATTERN
    if plate == entry.plate:
        return Match.EXACT
    if entry.match is Match.EXACT:
        return None
    if fold(plate) == fold(entry.plate):
        return Match.CONFUSABLE
    if entry.match is Match.NEAR and one_edit_apart(plate, entry.plate):
        return Match.NEAR
    return None


def one_edit_apart(one: str, other: str) -> bool:
    """Tell whether two different texts differ by one character replaced, lost or won."""
    if len(one) > len(other):
        one, other = other, one
    at = 0
    while at < len(one) and one[at] == other[at]:
        at += 1
    if len(one) == len(other):
        return one[at + 1 :] == other[at + 1 :]
    return one[at:] == other[at + 1 :]


def _grown(known: _Known, lists: Watchlists) -> _Known:
    """Index the entries that are new."""
    segments, last_id, indexed = list(known.segments), known.last_id, known.indexed
    patterns = {first: list(some) for first, some in known.patterns.items()}
    fresh: list[Keys] = []
    for rows in lists.new_since(last_id):
        last_id, indexed = rows[-1][0], indexed + len(rows)
        fresh.append(build([row for row in rows if row[2] != Match.PATTERN]))
        for number, plate, match in rows:
            if match == Match.PATTERN:
                first = plate[0] if plate[0].isalnum() and plate[1:2] != "{" else ""
                patterns.setdefault(first, []).append((plate_pattern(plate), number))
    segments.extend(keys for keys in [merged(fresh)] if len(keys))
    small = [keys for keys in segments if len(keys) < _SMALL]
    if len(segments) > _MAX_SEGMENTS:
        large = [keys for keys in segments if len(keys) >= _SMALL]
        grown = merged(small) if small and len(large) < _MAX_SEGMENTS else None
        segments = [merged(segments)] if grown is None else [*large, grown]
    return _Known(tuple(segments), patterns, last_id, indexed)

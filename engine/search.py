"""Search over the stored sightings: which there are, newest first, page after page.

A search follows the narrowest index there is (``engine.store``) and looks at each sighting it
finds there. Where it ended is a ``Place``; the next page begins below it, so that sightings which
come meanwhile, above it, neither push others onto two pages nor over the edge of one.

A plate that is asked for by its beginning or a pattern is looked for day by day among the plates of
that day. A confusable one is found by all the texts that it may have been misread as: the cost does
not grow with what is stored.
"""

import re
import time
from collections.abc import Iterator, Sequence
from enum import StrEnum
from fnmatch import translate
from heapq import nlargest
from typing import Any, Final

import msgspec

from engine.plates import lookalikes, normalise
from engine.store import DAYS, Store, begin_ms, camera_key, day_key, list_key, plate_key, texts_key
from engine.types import DISGUISED, Phase, Sighting

MOST_LOOKED_AT: Final = 20_000
"""Sightings behind one page; what asks for more goes on with the next one."""
WITHIN_S: Final = 2.0
"""Time behind one page, likewise."""
_PORTION: Final = 500
_DAY_MS: Final = 86_400_000
_TEXTS_AT_ONCE: Final = 5_000
_MOST_TEXTS: Final = 400
"""Where more plates of a day match, its sightings are looked at instead."""
_MOST_SIGNS: Final = 16
"""Of a plate whose look-alikes are looked for: their number grows with its length."""
_PLACE: Final = re.compile(r"(\d{1,16})\.(.{1,200})", re.DOTALL)
_LEAST_ID: Final = "!"
"""Of no sighting, and before those of all."""
_JOKERS: Final = re.compile(r"\*+|\?")


class Match(StrEnum):
    """How close a plate must be to the one that is asked for."""

    EXACT = "exact"
    PREFIX = "prefix"
    """It begins so."""
    WILDCARD = "wildcard"
    """``*`` stands for any characters, ``?`` for one."""
    SIMILAR = "similar"
    """Look-alikes count as the same, and one character may be wrong, missing or too many."""


class Place(msgspec.Struct, frozen=True, order=True):
    """Where a search has come to: behind the sighting of this time and id."""

    unix_ms: int
    id: str

    def __str__(self) -> str:
        return f"{self.unix_ms}.{self.id}"

    @classmethod
    def parse(cls, text: str) -> "Place":
        """Return the place that a text names.

        Raises:
            ValueError: it names none.
        """
        found = _PLACE.fullmatch(text)
        if found is None:
            raise ValueError("is no cursor of an earlier answer")
        return cls(int(found[1]), found[2])


class Question(msgspec.Struct, frozen=True, kw_only=True):
    """What is looked for; what is empty lets everything through."""

    plate: str = ""
    """Normalised; with ``*`` and ``?`` where ``match`` is ``wildcard``."""
    match: Match = Match.EXACT
    camera: str = ""
    list: str = ""
    """Name of a watchlist that it met."""
    region: str = ""
    """``us`` finds ``us-ma``, too."""
    before_unix_ms: int = 1 << 53
    after_unix_ms: int = 0
    min_confidence: float = 0.0
    phase: Phase | None = None

    def allows(self, sighting: Sighting) -> bool:
        """Tell whether all but the plate is as asked for."""
        return (
            self.after_unix_ms <= sighting.first_unix_ms < self.before_unix_ms
            and self.camera in {"", sighting.camera}
            and (not self.list or any(hit.list == self.list for hit in sighting.hits))
            and (not self.region or f"{sighting.region}-".startswith(f"{self.region}-"))
            and sighting.confidence >= self.min_confidence
            and self.phase in {None, sighting.phase}
        )


class Page(msgspec.Struct, frozen=True):
    """Some sightings, newest first, and where to go on; None at the end."""

    sightings: list[Sighting]
    end: Place | None


def plate_asked_for(text: str, match: Match) -> str:
    """Return the plate of a question, from what somebody typed; may be empty."""
    if match is not Match.WILDCARD:
        return normalise(text)
    jokers = [joker[:1] for joker in _JOKERS.findall(text)]
    plain = [normalise(part) for part in _JOKERS.split(text)]
    return "".join(part + joker for part, joker in zip(plain, [*jokers, ""], strict=True))


class Search:
    """Searches in what a store reads; as safe among threads and greenlets as that is.

    Every method raises ``SinkError`` while Redis is away.
    """

    def __init__(self, store: Store) -> None:
        self._store = store

    def page(self, question: Question, limit: int, below: Place | None = None) -> Page:
        """Return at most ``limit`` sightings below a place; fewer where it takes too long."""
        deadline, looked_at = time.monotonic() + WITHIN_S, 0
        found: list[Sighting] = []
        end: Place | None = None
        for places, sightings in self._walk(question, below, limit + 1):
            for place, sighting in zip(places, sightings, strict=True):
                if sighting is not None:
                    if len(found) == limit:
                        return Page(found, end)
                    found.append(sighting)
                end = place
            looked_at += len(places)
            if looked_at >= MOST_LOOKED_AT or time.monotonic() > deadline:
                return Page(found, end)
        return Page(found, None)

    def all(self, question: Question) -> Iterator[list[Sighting]]:
        """Yield everything that is asked for, newest first, in portions; some may be empty."""
        for _, sightings in self._walk(question, None, _PORTION):
            yield [sighting for sighting in sightings if sighting is not None]

    def _walk(
        self, question: Question, below: Place | None, wanted: int
    ) -> Iterator[tuple[list[Place], list[Sighting | None]]]:
        """Yield places, newest first, and their sightings, None for those not asked for."""
        below = min(below or Place(1 << 53, ""), Place(question.before_unix_ms, ""))
        trail = _Trail(self._store, question, min(max(wanted, 64), _PORTION))
        for places in trail.places(below):
            found = self._store.many([place.id for place in places])
            yield places, list(map(trail.chosen, places, found))


class _Trail:
    """The indexes that one search follows."""

    def __init__(self, store: Store, question: Question, portion: int) -> None:
        self._store = store
        self._question = question
        self._portion = portion
        self._texts: set[str] = set()
        self._pattern: re.Pattern[str] | None = None
        plate, match = question.plate, question.match
        if plate and match in {Match.EXACT, Match.SIMILAR}:
            self._texts = {plate, store.disguised(plate)}
            if match is Match.SIMILAR and len(plate) <= _MOST_SIGNS:
                self._texts |= self._known(lookalikes(plate))
        elif plate:
            self._pattern = re.compile(translate(plate + "*" * (match is Match.PREFIX)))

    def chosen(self, place: Place, sighting: Sighting | None) -> Sighting | None:
        """Return a sighting if it is asked for; not at the place that it had on another day."""
        if sighting is None or not self.is_wanted(sighting.plate):
            return None
        same_day = sighting.first_unix_ms // _DAY_MS == place.unix_ms // _DAY_MS
        return sighting if same_day and self._question.allows(sighting) else None

    def is_wanted(self, plate: str) -> bool:
        """Tell whether a plate is as asked for."""
        if self._pattern is not None:
            return self._pattern.match(plate) is not None and not plate.startswith(DISGUISED)
        return not self._texts or plate in self._texts

    def places(self, below: Place) -> Iterator[list[Place]]:
        """Yield all places in the indexes below one, newest first, in portions."""
        question = self._question
        if self._texts:
            return self._merged([plate_key(text) for text in self._texts], below)
        if question.list:
            return self._merged([list_key(question.list)], below)
        if question.camera and self._pattern is None:
            return self._merged([camera_key(question.camera)], below)
        return self._by_day(below)

    def _by_day(self, below: Place) -> Iterator[list[Place]]:
        """Go back day by day, through those that have sightings.

        Where plates of a pattern are looked for, a day may cost much and hold nothing: its begin is
        a place, too, so that a page may end there.
        """
        (known,) = self._store.asking([("zrange", DAYS, 0, -1)])
        for day in sorted((begin_ms(name.decode()) for name in known), reverse=True):
            begin = Place(day, _LEAST_ID)
            if self._question.after_unix_ms - _DAY_MS < day and begin < below:
                end = min(below, Place(day + _DAY_MS, ""))
                yield from self._merged(self._keys_of_day(day), end, day)
                if self._pattern is not None:
                    yield [begin]

    def _keys_of_day(self, day_ms: int) -> list[str]:
        """Return the indexes that hold what is asked for of one day."""
        if self._pattern is None:
            return [day_key(day_ms)]
        texts = list(self._matching(day_ms))
        return [day_key(day_ms)] if len(texts) > _MOST_TEXTS else [plate_key(one) for one in texts]

    def _matching(self, day_ms: int) -> Iterator[str]:
        """Yield plates of a day that match the pattern, one more than is worth following."""
        start = _JOKERS.split(self._question.plate, maxsplit=1)[0]
        lowest, highest = f"[{start}" if start else "-", f"({start}\x7f" if start else "+"
        found = 0
        while True:
            (texts,) = self._store.asking(
                [("zrangebylex", texts_key(day_ms), lowest, highest, 0, _TEXTS_AT_ONCE)]
            )
            for text in map(bytes.decode, texts):
                if self.is_wanted(text):
                    yield text
                    found += 1
                if found > _MOST_TEXTS:
                    return
            if len(texts) < _TEXTS_AT_ONCE:
                return
            lowest = f"({texts[-1].decode()}"

    def _known(self, texts: Sequence[str]) -> set[str]:
        """Return those of some plates of which there are sightings."""
        there = self._store.asking(("exists", plate_key(text)) for text in texts if text)
        return {text for text, known in zip(filter(None, texts), there, strict=True) if known}

    def _merged(self, keys: list[str], below: Place, from_ms: int = 0) -> Iterator[list[Place]]:
        """Yield what some indexes hold below a place, in one order."""
        least_ms = max(from_ms, self._question.after_unix_ms)
        while keys:
            places = self._portion_of(keys, below, least_ms)
            if places:
                yield places
            if len(places) < self._portion:
                return
            below = places[-1]

    def _portion_of(self, keys: list[str], below: Place, least_ms: int) -> list[Place]:
        """Return the next places below one in some indexes, as many as a portion has."""
        commands: list[tuple[Any, ...]] = []
        for key in keys:
            newest = ("zrevrangebyscore", key, f"({below.unix_ms}", least_ms, 0, self._portion)
            commands.append((*newest, True))
            if below.id:  # what came in the same millisecond is in the order of its ids
                at = below.unix_ms
                commands.append(("zrevrangebyscore", key, at, at, None, None, True))
        found = {
            Place(int(score), member.decode("ascii", "replace"))
            for answer in self._store.asking(commands)
            for member, score in answer
        }
        return nlargest(self._portion, (place for place in found if place < below))

"""Which read is of which labelled plate, and which sighting of which vehicle.

A read is of the plate it overlaps most, from an intersection over union of 0.3 on; failing that,
of the plate whose text it has. Where plates have no boxes it is of the plate whose text is nearest,
as long as fewer than half of the characters are wrong. The same holds for sightings. Every plate
has one read at most; what is left over matches nothing.
"""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec

from engine.evaluation.labels import LabelledPlate
from engine.footage import Passage
from engine.plates import as_seen
from engine.types import Box, PlateRead

LEAST_OVERLAP: Final = 0.3


class PlateMatch(msgspec.Struct, frozen=True):
    """A labelled plate and the read that is of it; overlaps are IoU, 0 where it has no box."""

    plate: LabelledPlate
    read: PlateRead | None = None
    read_overlap: float = 0.0
    place_overlap: float = 0.0
    """Of the nearest place where the recognizer found a plate, read or not."""

    @property
    def detected(self) -> bool:
        """True when the plate was found where it is, read or not."""
        return max(self.read_overlap, self.place_overlap) > LEAST_OVERLAP

    @property
    def detected_by_read(self) -> bool:
        """True when the read is where the plate is."""
        return self.read_overlap > LEAST_OVERLAP

    @property
    def exact(self) -> bool:
        """True when every character is right."""
        return self.read is not None and self.read.plate == self.plate.text

    @property
    def alike(self) -> bool:
        """True when every character is right or the look-alike of the right one."""
        return self.read is not None and look_alike(self.read.plate, self.plate.text)


class PictureOutcome(msgspec.Struct, frozen=True):
    """What one recognizer made of one picture."""

    matches: tuple[PlateMatch, ...]
    strays: tuple[PlateRead, ...]
    """Reads that match nothing."""
    cpu_ms: float


class VehicleMatch(msgspec.Struct, frozen=True):
    """An expected vehicle and the sightings that are of it, in the order of time."""

    plate: str
    passages: tuple[Passage, ...] = ()

    @property
    def right(self) -> tuple[Passage, ...]:
        """Those whose text is right; more than one means that it was told of again."""
        return tuple(p for p in self.passages if look_alike(p.sighting.plate, self.plate))

    @property
    def wrong(self) -> tuple[Passage, ...]:
        """Those whose text is wrong."""
        return tuple(p for p in self.passages if not look_alike(p.sighting.plate, self.plate))


class VideoOutcome(msgspec.Struct, frozen=True):
    """What one recognizer and the tracker made of one video."""

    vehicles: tuple[VehicleMatch, ...]
    strays: tuple[Passage, ...]
    """Sightings of nothing that is expected."""
    reads: int
    """Plate reads in all frames, before the tracker."""
    cpu_ms: tuple[float, ...]
    """Of every frame."""


def look_alike(one: str, other: str | None) -> bool:
    """Tell whether two plates are the same once O is 0 and I is 1."""
    return other is not None and as_seen(one) == as_seen(other)


def edit_distance(one: str, other: str) -> int:
    """Return how many characters have to be put in, taken out or replaced (Levenshtein)."""
    above = list(range(len(other) + 1))
    for row, mine in enumerate(one, start=1):
        current = [row]
        for column, theirs in enumerate(other):
            replaced = above[column] + (mine != theirs)
            current.append(min(replaced, above[column + 1] + 1, current[column] + 1))
        above = current
    return above[-1]


def match_picture(
    plates: Sequence[LabelledPlate],
    reads: Sequence[PlateRead],
    cpu_ms: float,
    places: Sequence[Box] = (),
) -> PictureOutcome:
    """Give every plate of a picture its read: by place first, then by text.

    ``places`` is where the recognizer found plates, read or not, if it tells.
    """
    matched: dict[int, PlateRead] = {}
    left = list(range(len(reads)))
    pairs = [*_by_place(plates, reads), *_by_text(plates, reads)]
    for place, index in pairs:
        if place not in matched and index in left:
            matched[place] = reads[index]
            left.remove(index)
    matches = tuple(_match(plate, matched.get(i), places) for i, plate in enumerate(plates))
    return PictureOutcome(matches, tuple(reads[index] for index in left), cpu_ms)


def _match(plate: LabelledPlate, read: PlateRead | None, places: Sequence[Box]) -> PlateMatch:
    if plate.box is None:
        return PlateMatch(plate, read)
    read_overlap = plate.box.iou(read.box) if read else 0.0
    return PlateMatch(plate, read, read_overlap, max(map(plate.box.iou, places), default=0.0))


def match_video(
    plates: Iterable[str], passages: Sequence[Passage]
) -> tuple[tuple[VehicleMatch, ...], tuple[Passage, ...]]:
    """Give every sighting of a video to the vehicle whose plate is nearest; return both.

    The second part are the sightings that are near no expected plate.
    """
    expected = list(plates)
    told: list[list[Passage]] = [[] for _ in expected]
    strays: list[Passage] = []
    for passage in passages:
        near = [
            (apart, len(told[number]), number)  # a vehicle that comes twice is labelled twice
            for number, plate in enumerate(expected)
            if (apart := _misread_by(plate, passage.sighting.plate)) is not None
        ]
        (told[min(near)[2]] if near else strays).append(passage)
    vehicles = tuple(
        VehicleMatch(plate, tuple(of_it)) for plate, of_it in zip(expected, told, strict=True)
    )
    return vehicles, tuple(strays)


def _by_place(plates: Sequence[LabelledPlate], reads: Sequence[PlateRead]) -> list[tuple[int, int]]:
    """Return pairs of plate and read that overlap enough, the closest first."""
    pairs = [
        (plate.box.iou(read.box), place, index)
        for place, plate in enumerate(plates)
        if plate.box is not None
        for index, read in enumerate(reads)
    ]
    pairs.sort(key=lambda pair: -pair[0])
    return [(place, index) for overlap, place, index in pairs if overlap > LEAST_OVERLAP]


def _by_text(plates: Sequence[LabelledPlate], reads: Sequence[PlateRead]) -> list[tuple[int, int]]:
    """Return pairs of plate and read with the same or, without a box, nearly the same text."""
    pairs = [
        (apart, place, index)
        for place, plate in enumerate(plates)
        if plate.text
        for index, read in enumerate(reads)
        if (apart := _misread_by(plate.text, read.plate)) is not None
        and (plate.box is None or apart == 0)
    ]
    return [(place, index) for _apart, place, index in sorted(pairs)]


def _misread_by(plate: str, text: str) -> int | None:
    """Return how many characters of a plate were misread; None when too many to be of it."""
    apart = edit_distance(as_seen(plate), as_seen(text))
    return apart if 2 * apart < len(plate) else None

"""What flows back over the stats board: the tracker's places to a camera's decoder and the workers,
and the decoder's word on which of them did not change.

Words of one camera on the board, two halves with one writer each::

    publisher   0 version    odd while it writes
                1 places
                2 ...        [PLACES][5]: key, box (x, y, width, height in 16 bits each),
                             speed (two 32 bit, pixels a second), seen_unix_ns,
                             flags (1 settled, 2 urgent), growth in thousandths (two 32 bit)
    decoder     96 version   odd while it writes
                97 answers
                98 ...       [PLACES][3]: key, until_unix_ns, frames

A reader that finds an odd version, or another one after than before, keeps what it read last. A
writer that died in between leaves an odd version; its heir writes anew.
"""

from collections.abc import Collection, Sequence
from typing import Final

from engine.board import Board
from engine.types import Box, Point, Still, TrackPlace

PLACES: Final = 16
"""The newest open tracks of a camera; older ones are left to the recognizer."""
_PLACE_WORDS: Final = 5
_ANSWERS: Final = 96
_ANSWER_WORDS: Final = 3
_LARGEST: Final = 0xFFFF
_FASTEST: Final = 0x7FFF_FFFF
_TRIES: Final = 3


class Feedback:
    """One camera's words; whoever holds it writes at most one of the halves."""

    def __init__(self, board: Board, camera: int) -> None:
        """Take the board, and the index of the camera's cells on it."""
        self._board = board
        self._camera = camera
        self._places: tuple[TrackPlace, ...] = ()
        self._stills: tuple[Still, ...] = ()
        self._versions = [0, 0]

    def tell_places(self, places: Sequence[TrackPlace]) -> None:
        """Say where the newest tracks are (publisher only)."""
        flat: list[int] = []
        for place in places[:PLACES]:
            flat += (place.key, packed_box(place.box), _packed_pair(place.speed))
            flags = place.settled | place.urgent << 1
            flat += (place.seen_unix_ns, _packed_pair((flags, 1_000 * place.growth)))
        self._write(0, len(flat) // _PLACE_WORDS, flat)

    def places(self) -> tuple[TrackPlace, ...]:
        """Return where the newest tracks are."""
        flat = self._read(0, _PLACE_WORDS)
        if flat is not None:
            self._places = tuple(
                _place(key, unpacked_box(box), _pair(speed), seen_ns, _pair(flags))
                for key, box, speed, seen_ns, flags in zip(
                    *(flat[part::_PLACE_WORDS] for part in range(_PLACE_WORDS)), strict=True
                )
            )
        return self._places

    def tell_stills(self, stills: Sequence[Still]) -> None:
        """Say which places did not change (decoder only)."""
        flat: list[int] = []
        for still in stills[:PLACES]:
            flat += (still.key, still.until_unix_ns, still.frames)
        self._write(_ANSWERS, len(flat) // _ANSWER_WORDS, flat)

    def stills(self) -> tuple[Still, ...]:
        """Return which places did not change."""
        flat = self._read(_ANSWERS, _ANSWER_WORDS)
        if flat is not None:
            self._stills = tuple(
                Still(*answer)
                for answer in zip(
                    *(flat[part::_ANSWER_WORDS] for part in range(_ANSWER_WORDS)), strict=True
                )
            )
        return self._stills

    def _write(self, base: int, count: int, flat: Sequence[int]) -> None:
        with self._board.feedback(self._camera) as words:
            version = words[base] | 1
            words[base] = version
            words[base + 1] = count
            for index, word in enumerate(flat, base + 2):
                words[index] = word
            words[base] = (version + 1) & 0xFFFF_FFFF

    def _read(self, base: int, width: int) -> list[int] | None:
        """Return the words of a half, None where they are those of the last time, or unfinished."""
        half = int(base > 0)
        with self._board.feedback(self._camera) as words:
            for _ in range(_TRIES):
                version = words[base]
                if version == self._versions[half]:
                    return None
                flat = words[base + 1 : base + 2 + PLACES * width].tolist()
                if version % 2 == 0 and words[base] == version:
                    self._versions[half] = version
                    return flat[1 : 1 + min(flat[0], PLACES) * width]
        return None


class StillNews:
    """Thins out one camera's stills: each track is heard of now and then, with the frames since."""

    def __init__(self, every_ns: int) -> None:
        self._every_ns = every_ns
        self._heard: dict[int, Still] = {}

    def among(self, stills: Sequence[Still]) -> list[Still]:
        """Return those that are due, each with the frames since it was due last."""
        due: list[Still] = []
        for still in stills:
            before = self._heard.get(still.key)
            if before and still.until_unix_ns - before.until_unix_ns < self._every_ns:
                continue
            self._heard[still.key] = still
            known = before.frames if before and before.frames <= still.frames else 0
            due.append(Still(still.key, still.until_unix_ns, still.frames - known))
        return due

    def keep(self, keys: Collection[int]) -> None:
        """Forget all tracks but these."""
        self._heard = {key: still for key, still in self._heard.items() if key in keys}


def _place(
    key: int, box: Box, speed: Point, seen_unix_ns: int, flags_and_growth: Point
) -> TrackPlace:
    flags, thousandths = int(flags_and_growth[0]), flags_and_growth[1]
    settled, urgent = bool(flags & 1), bool(flags & 2)
    return TrackPlace(key, box, speed, seen_unix_ns, settled, urgent, thousandths / 1_000)


def packed_box(box: Box) -> int:
    """Return a box in one word, rounded to pixels; what is outside of 0 to 65535 is cut."""
    word = 0
    for part in (box.height, box.width, box.y, box.x):
        word = word << 16 | min(max(round(part), 0), _LARGEST)
    return word


def unpacked_box(word: int) -> Box:
    """Return the box of a word."""
    return Box(*(float(word >> shift & _LARGEST) for shift in (0, 16, 32, 48)))


def _packed_pair(pair: Point) -> int:
    across, down = (min(max(round(part), -_FASTEST), _FASTEST) & 0xFFFF_FFFF for part in pair)
    return down << 32 | across


def _pair(word: int) -> Point:
    across, down = (
        float(part - (1 << 32) if part > _FASTEST else part)
        for part in (word & 0xFFFF_FFFF, word >> 32)
    )
    return across, down

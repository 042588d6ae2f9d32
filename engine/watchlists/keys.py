"""An index of a million plates in little memory: sorted keys of what each one can be found by.

A key is 64 bits: the CRC-32 of a text above, the entry's id below. An exact entry has one key; one
that look-alikes match has that of its folded text; one that near plates match has, besides, one for
itself and for every text that lacks one of its characters: two plates are one edit apart only if
they have one of those in common. A plate is found by a handful of such texts; what is found is
checked against the entry, so texts that share a CRC by chance do no harm.
"""

import zlib
from collections.abc import Iterator
from typing import Final

import numpy as np
import numpy.typing as npt

from engine.watchlists.entries import Match, fold

Keys = npt.NDArray[np.uint64]
"""(n,) uint64, sorted."""

_Hashes = npt.NDArray[np.uint32]
_Texts = npt.NDArray[np.uint8]
"""(n, length) uint8: texts of one length."""

_EXACT, _FOLDED, _NEAR = 0, 1, 2
"""What a text stands for; the start of its CRC."""

_ID_BITS: Final = np.uint64(32)
_MAX_FOUND: Final = 64
"""Entries looked at per plate: lists denser than that find the first of them."""


def _crc_table() -> _Hashes:
    """Return zlib's table: (256,) uint32."""
    table = np.arange(256, dtype=np.uint32)
    for _ in range(8):
        odd = (table & 1).astype(bool)
        table = np.where(odd, (table >> 1) ^ np.uint32(0xEDB8_8320), table >> 1).astype(np.uint32)
    return table


_TABLE: Final = _crc_table()


def build(rows: list[tuple[int, str, str]]) -> Keys:
    """Return the keys of entries that are no patterns, sorted; ``rows`` are id, plate, match."""
    parts: list[Keys] = []
    for match, length, ids, plates in _alike(rows):
        texts = np.frombuffer("".join(plates).encode(), np.uint8).reshape(-1, length)
        if match == Match.EXACT:
            parts.append(_joined(_crc(texts, _EXACT), ids))
            continue
        folded = np.frombuffer("".join(map(fold, plates)).encode(), np.uint8).reshape(-1, length)
        parts.append(_joined(_crc(folded, _FOLDED), ids))
        if match == Match.NEAR:
            parts.extend(_joined(hashes, ids) for hashes in _near_crcs(texts))
    keys = np.concatenate(parts) if parts else np.empty(0, np.uint64)
    keys.sort()
    return keys


def merged(segments: list[Keys]) -> Keys:
    """Return the keys of several segments as one."""
    keys = np.concatenate(segments) if segments else np.empty(0, np.uint64)
    keys.sort()
    return keys


def wanted(plate: str) -> Keys:
    """Return the lower bounds of the keys that a plate is found by, (n,) uint64."""
    text = plate.encode()
    hashes = {
        zlib.crc32(text, _EXACT),
        zlib.crc32(fold(plate).encode(), _FOLDED),
        zlib.crc32(text, _NEAR),
    }
    crc32 = zlib.crc32
    hashes.update([crc32(text[:at] + text[at + 1 :], _NEAR) for at in range(len(text))])
    return np.array([one << 32 for one in hashes], np.uint64)


def find(keys: Keys, bounds: Keys) -> list[int]:
    """Return the ids below the keys whose upper halves are those of ``bounds``."""
    if not len(keys):
        return []
    starts = keys.searchsorted(bounds)
    first = keys.take(starts, mode="clip")
    there = (first >= bounds) & (first - bounds < np.uint64(1 << 32))
    if not there.any():
        return []
    ids: list[int] = []
    for start, bound in zip(starts[there].tolist(), bounds[there].tolist(), strict=True):
        for key in keys[start : start + _MAX_FOUND].tolist():
            if key - bound >= 1 << 32:
                break
            ids.append(key - bound)
    return ids


def _alike(
    rows: list[tuple[int, str, str]],
) -> Iterator[tuple[str, int, Keys, list[str]]]:
    """Yield the rows in groups of one way of matching and one length."""
    groups: dict[tuple[str, int], list[tuple[int, str]]] = {}
    for number, plate, match in rows:
        groups.setdefault((match, len(plate)), []).append((number, plate))
    for (match, length), members in groups.items():
        ids = np.array([number for number, _ in members], np.uint64)
        yield match, length, ids, [plate for _, plate in members]


def _joined(hashes: _Hashes, ids: Keys) -> Keys:
    return (hashes.astype(np.uint64) << _ID_BITS) | ids


def _begun(count: int, start: int) -> _Hashes:
    return np.full(count, start ^ 0xFFFF_FFFF, np.uint32)


def _step(state: _Hashes, column: _Texts) -> _Hashes:
    """Take one character of every text into its CRC."""
    stepped: _Hashes = _TABLE[(state ^ column) & 0xFF] ^ (state >> np.uint32(8))
    return stepped


def _crc(texts: _Texts, start: int) -> _Hashes:
    """Return ``zlib.crc32(text, start)`` of every text."""
    state = _begun(len(texts), start)
    for column in texts.T:
        state = _step(state, column)
    return ~state


def _near_crcs(texts: _Texts) -> Iterator[_Hashes]:
    """Yield the CRCs of the texts, and of what they are without each of their characters."""
    yield _crc(texts, _NEAR)
    columns = texts.T
    before = _begun(len(texts), _NEAR)
    for at, column in enumerate(columns):
        state = before
        for rest in columns[at + 1 :]:
            state = _step(state, rest)
        yield ~state
        before = _step(before, column)

"""Characters as masks, from font files."""

import re
from collections.abc import Sequence
from pathlib import Path
from string import ascii_lowercase
from typing import Final

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from engine.plates import ALPHABET

Mask = npt.NDArray[np.float32]
"""(H, W) float32, 0 to 1: how much of a pixel is covered."""

CAPITAL_PX: Final = 72
"""Height of a capital in every mask."""

_SUFFIXES: Final = frozenset({".ttf", ".otf", ".woff"})
_UNLIKE_PLATES: Final = re.compile(
    r"italic|oblique|thin|light|hairline|outline|serif|roman|bookman|c059|p052|d0500|symbol|fallback",
    re.IGNORECASE,
)
_WEB_FONT: Final = re.compile(r"-latin-[4-8]00-normal$")
"""Names of those files of web fonts that hold Latin letters, upright and not thin."""
_PROBE_PX: Final = 100
_SPACE: Final = 0.3
"""Width of a space, in heights of a capital."""
_CHARACTERS: Final = ALPHABET + ascii_lowercase + "-."
"""Small letters are for slogans only; what hangs below their line is cut off."""


class Typeface(msgspec.Struct, frozen=True):
    """One font: for each character of a plate its mask, ``CAPITAL_PX`` high, as wide as it is."""

    name: str
    masks: dict[str, Mask]

    def write(self, text: str, gap: float, *, monospaced: bool = False) -> Mask:
        """Return a line of text; ``gap`` is the space between characters in heights of a capital.

        Raises:
            KeyError: a character is no letter, digit, space, hyphen or full stop.
        """
        between = np.zeros((CAPITAL_PX, round(gap * CAPITAL_PX)), np.float32)
        cell_px = int(np.median([mask.shape[1] for mask in self.masks.values()]))
        parts: list[Mask] = []
        for character in text:
            mask = self._mask(character)
            missing = cell_px - mask.shape[1]
            if monospaced and missing > 0:
                mask = np.pad(mask, ((0, 0), (missing // 2, missing - missing // 2)))
            parts += [mask, between]
        return np.concatenate(parts[:-1], axis=1)

    def _mask(self, character: str) -> Mask:
        if character == " ":
            return np.zeros((CAPITAL_PX, round(_SPACE * CAPITAL_PX)), np.float32)
        return self.masks[character]


def load_typefaces(places: Sequence[Path]) -> list[Typeface]:
    """Load every font among files, and those in folders that plates may be written in, by name.

    Raises:
        ValueError: there is none.
    """
    files = [
        file
        for place in places
        for file in ([place] if place.is_file() else place.rglob("*"))
        if file.suffix.lower() in _SUFFIXES and (file == place or _may_be_on_plates(file))
    ]
    if not files:
        raise ValueError(f"no fonts (.ttf, .otf, .woff) in {', '.join(map(str, places))}")
    return [_load(file) for file in sorted(files, key=lambda file: file.name)]


def _may_be_on_plates(file: Path) -> bool:
    if file.suffix.lower() == ".woff":
        return _WEB_FONT.search(file.stem) is not None
    return not _UNLIKE_PLATES.search(file.stem)


def _load(file: Path) -> Typeface:
    from PIL import Image, ImageDraw, ImageFont  # noqa: PLC0415  # of the extra training only

    probe = ImageFont.truetype(str(file), _PROBE_PX)
    _, top, _, bottom = probe.getbbox("H")
    font = ImageFont.truetype(str(file), _PROBE_PX * CAPITAL_PX / (bottom - top))
    capital_top = font.getbbox("H")[1]
    masks: dict[str, Mask] = {}
    for character in _CHARACTERS:
        left, _, right, low = font.getbbox(character)
        size = max(1, int(right - left)), max(CAPITAL_PX, int(low - capital_top))
        picture = Image.new("L", size)
        ImageDraw.Draw(picture).text((-left, -capital_top), character, font=font, fill=255)
        mask: Mask = np.asarray(picture, np.float32) / np.float32(255)
        small = character in ascii_lowercase
        # On plates, Q and J do not hang down.
        masks[character] = mask[:CAPITAL_PX] if small else scaled(mask, size[0], CAPITAL_PX)
    return Typeface(file.stem, masks)


def scaled(mask: Mask, width_px: float, height_px: float) -> Mask:
    """Return the mask in another size, at least one pixel each way."""
    size = max(1, round(width_px)), max(1, round(height_px))
    shrinks = size[0] < mask.shape[1]
    method = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(mask, size, interpolation=method), np.float32)

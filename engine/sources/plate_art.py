"""Paints the demo's plates with the letters of ``glyphs/plates.png`` (see the README beside it)."""

from functools import cache
from pathlib import Path
from typing import Final

import cv2
import numpy as np

from engine.types import Bgr, Luma

PLATE_SCALE: Final = 900
"""Pixels per metre of a painted plate."""

_ATLAS = Path(__file__).with_name("glyphs") / "plates.png"
_CHARACTERS = "0123456789ABCDEFGHJKLMNPRSTUVWXYZ"
_CELL_PX, _CAPITAL_PX = 88, 64
_FONT_ROW = {"gb": 0, "de": 1, "fr": 0, "us": 2, "es": 1, "it": 2, "pl": 0}


def plate_size_m(region: str) -> tuple[float, float]:
    """Return width and height of a region's plate; American ones drawn large."""
    return (0.42, 0.21) if region == "us" else (0.52, 0.112)


def paint_plate(text: str, region: str, *, rear: bool) -> Bgr:
    """Return a plate as (H, W, 3), ``PLATE_SCALE`` pixels per metre."""
    width, height = (round(side * PLATE_SCALE) for side in plate_size_m(region))
    ground = (64, 200, 236) if region == "gb" and rear else (232, 236, 236)
    plate = np.full((height, width, 3), ground, np.uint8)
    ink = (96, 40, 24) if region == "us" else (24, 22, 22)
    left, top, bottom = round(width * 0.03), 0.16, 0.16
    if region == "us":
        plate[: round(height * 0.2)] = (150, 96, 40)
        top, bottom = 0.31, 0.18
    elif region != "gb":
        band = round(width * 0.085)
        plate[:, :band] = (150, 60, 16)
        cv2.circle(plate, (band // 2, height // 3), band // 4, (60, 190, 220), 2, cv2.LINE_AA)
        left += band
    text_height = round(height * (1 - top - bottom))
    room = width - left - round(width * 0.03)
    letters = _letters(text, _FONT_ROW[region], text_height, room)
    row, column = round(height * top), left + (room - letters.shape[1]) // 2
    patch = plate[row : row + text_height, column : column + letters.shape[1]]
    weight = letters[..., None].astype(np.float32) / 255
    patch[:] = np.round(patch * (1 - weight) + np.array(ink) * weight).astype(np.uint8)
    cv2.rectangle(plate, (2, 2), (width - 3, height - 3), (70, 70, 70), 2, cv2.LINE_AA)
    return plate


@cache
def _glyphs(row: int) -> dict[str, Luma]:
    atlas = cv2.imread(str(_ATLAS), cv2.IMREAD_GRAYSCALE)
    if atlas is None:
        raise FileNotFoundError(_ATLAS)
    line = np.asarray(atlas, np.uint8)[row * _CAPITAL_PX : (row + 1) * _CAPITAL_PX]
    glyphs = {}
    for place, character in enumerate(_CHARACTERS):
        cell = line[:, place * _CELL_PX : (place + 1) * _CELL_PX]
        inked = np.flatnonzero(cell.max(axis=0) > 40)
        glyphs[character] = cell[:, : inked[-1] + 1]
    return glyphs


def _letters(text: str, font_row: int, height: int, room: int) -> Luma:
    """Return the text as coverage (height, at most room) uint8."""
    glyphs = _glyphs(font_row)
    gap: Luma = np.zeros((_CAPITAL_PX, 9), np.uint8)
    parts: list[Luma] = []
    for character in text:
        if character == " ":
            parts.append(np.zeros((_CAPITAL_PX, 20), np.uint8))
        elif character == "-":
            dash: Luma = np.zeros((_CAPITAL_PX, 18), np.uint8)
            dash[29:36] = 255
            parts.extend((dash, gap))
        else:
            parts.extend((glyphs[character], gap))
    line = np.hstack(parts[:-1])
    width = min(room, round(line.shape[1] * height / _CAPITAL_PX * 1.05))
    return np.asarray(cv2.resize(line, (width, height), interpolation=cv2.INTER_AREA), np.uint8)

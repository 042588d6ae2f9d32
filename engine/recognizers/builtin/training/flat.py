"""Draws plates as seen from the front: text, and all the distraction around it.

What decides how well a network reads real plates: emblems, stickers and hyphens between groups
that are not part of the text, country bands, slogans above and below, dealers' frames, bolts,
borders, dirt. Grey values are 0 to 255; colours do not matter, the recognizer sees luma only.
"""

from collections.abc import Sequence
from typing import Final

import cv2
import msgspec
import numpy as np

from engine.recognizers.builtin.geometry import Quad
from engine.recognizers.builtin.training.inks import Grey, blotches, ink, rounded
from engine.recognizers.builtin.training.marks import draw_badge, draw_emblem, draw_landmark
from engine.recognizers.builtin.training.texts import random_groups, random_word
from engine.recognizers.builtin.training.typefaces import Mask, Typeface, scaled

HEIGHT_PX: Final = 112
"""Height of every plate before it is put into a scene."""

_ASPECTS: Final = ((0.33, 1.8, 2.3), (0.22, 2.6, 3.4), (0.3, 4.0, 5.2), (0.15, 1.7, 5.2))
"""Share, least and most width over height: American, Japanese and Indian, European, any."""
_TWO_LINE_ASPECT: Final = (1.15, 2.0)
_SEPARATORS: Final = ("", " ", " ", "-", " - ", ".", " . ")


class FlatPlate(msgspec.Struct, frozen=True):
    """A plate from the front; a frame around it is in the picture but not in its corners.

    ``lines`` are the text's one or two lines, the upper one first.
    """

    picture: Grey
    opacity: Mask
    corners: Quad
    lines: tuple[str, ...]


def draw_plate(
    rng: np.random.Generator, typefaces: Sequence[Typeface], *, two_lines: bool = False
) -> FlatPlate:
    """Return a random plate; the same generator state gives the same pixels."""
    press = _Press(rng, typefaces, _aspect(rng, two_lines))
    press.shade()
    left, right = press.country_band()
    press.top_band()
    groups = random_groups(rng)
    texts = press.print_two_lines(groups) if two_lines else press.print_line(groups, left, right)
    press.fasten()
    press.weather()
    return press.finish(texts)


def _aspect(rng: np.random.Generator, two_lines: bool) -> float:  # noqa: FBT001  # private, named by both callers' words
    if two_lines:
        return float(rng.uniform(*_TWO_LINE_ASPECT))
    kind = rng.choice(len(_ASPECTS), p=[share for share, _, _ in _ASPECTS])
    _, least, most = _ASPECTS[kind]
    return float(rng.uniform(least, most))


class _Press:
    """Prints one plate step by step into ``picture``."""

    def __init__(
        self, rng: np.random.Generator, typefaces: Sequence[Typeface], aspect: float
    ) -> None:
        self._rng = rng
        self._typefaces = typefaces
        self.width = round(HEIGHT_PX * aspect)
        self._aspect = aspect
        dark = rng.random() < 0.16
        self._paper = rng.uniform(15, 110) if dark else rng.uniform(130, 250)
        contrast = rng.uniform(60, 150) if dark else -rng.uniform(60, 230)
        self._ink = float(np.clip(self._paper + contrast, 0, 255))
        self._face = self._typeface()
        self._band_px = 0.0
        """Height of the band along the top, if there is one."""
        self.picture: Grey = np.full((HEIGHT_PX, self.width), self._paper, np.float32)

    def _typeface(self) -> Typeface:
        return self._typefaces[int(self._rng.integers(len(self._typefaces)))]

    def _often(self, share: float) -> bool:
        return bool(self._rng.random() < share)

    def shade(self) -> None:
        """Give the paper a gradient, a landscape or blotches, as many plates have."""
        rng = self._rng
        if self._often(0.3):
            ramp = np.linspace(
                rng.uniform(-40, 40), rng.uniform(-40, 40), HEIGHT_PX, dtype=np.float32
            )
            self.picture += ramp[:, None]
        if self._often(0.2):
            heights = rng.uniform(0.4, 0.9, 9) * HEIGHT_PX
            skyline = [(place * self.width / 8, height) for place, height in enumerate(heights)]
            hills = np.array([(0, HEIGHT_PX), *skyline, (self.width, HEIGHT_PX)], np.int32)
            cv2.fillPoly(self.picture, [hills], float(self._paper + rng.uniform(-45, 45)))
        if self._often(0.35 if self._aspect < 2.5 else 0.08):
            draw_landmark(self.picture, rng, self._paper)
        if self._often(0.2):
            self.picture += blotches(rng, self.picture.shape, rng.uniform(8, 40)) * rng.uniform(
                3, 14
            )

    def country_band(self) -> tuple[float, float]:
        """Print the band of Europe and others; return the left and right edge of what is free."""
        rng = self._rng
        margin = self.width * rng.uniform(0.03, 0.07)
        if not self._often(0.7 if self._aspect > 3.7 else 0.08):
            return self._edge_letters(margin), self.width - margin
        wide = round(self.width * rng.uniform(0.07, 0.11))
        shade = float(np.clip(self._paper + rng.uniform(-140, -20), 0, 255))
        self.picture[:, :wide] = shade
        code = random_word(rng)[: int(rng.integers(1, 3))]
        self._stamp(code, (wide / 2, HEIGHT_PX * 0.78), (wide * 0.7, HEIGHT_PX * 0.2), shade + 110)
        draw_badge(self.picture, rng, (wide / 2, HEIGHT_PX / 3), wide / 3, shade + 60)
        right = self.width - margin
        if self._often(0.2):
            self.picture[:, -wide:] = shade
            right = self.width - wide * 1.1
        return wide + self.width * rng.uniform(0.01, 0.04), right

    def _edge_letters(self, margin: float) -> float:
        """Stack the small letters of a country or state along the left edge of some plates."""
        rng = self._rng
        if not self._often(0.12):
            return margin
        code = random_word(rng).upper().replace(" ", "")[: int(rng.integers(1, 4))]
        size = self.width * rng.uniform(0.03, 0.06), HEIGHT_PX * rng.uniform(0.14, 0.22)
        x = margin * 0.6 + size[0] / 2
        for place, letter in enumerate(code):
            y = HEIGHT_PX * (0.5 + 0.24 * (place - (len(code) - 1) / 2))
            self._stamp(letter, (x, y), size, self._ink)
        return x + size[0]

    def top_band(self) -> None:
        """Print the band with a country's name that South American plates have along the top."""
        rng = self._rng
        if not (2.4 < self._aspect < 3.7 and self._often(0.35)):
            return
        self._band_px = HEIGHT_PX * rng.uniform(0.14, 0.26)
        shade = float(np.clip(self._paper + rng.uniform(-170, -30), 0, 255))
        self.picture[: round(self._band_px)] = shade
        size = self.width * rng.uniform(0.2, 0.6), self._band_px * rng.uniform(0.5, 0.8)
        self._stamp(random_word(rng), (self.width / 2, self._band_px / 2), size, shade + 120)

    def print_line(self, groups: list[str], left: float, right: float) -> list[str]:
        """Print one line of text between two edges, and slogans above and below; return it."""
        rng = self._rng
        lowest, highest = (0.4, 0.62) if self._aspect < 2.5 else (0.55, 0.82)
        height = (HEIGHT_PX - self._band_px) * rng.uniform(lowest, highest)
        mask, gaps = self._typeset(groups)
        natural = mask.shape[1] * height / mask.shape[0] * rng.uniform(0.7, 1.2)
        width = min(right - left, natural)
        middle = (left + right) / 2 + rng.uniform(-0.3, 0.3) * (right - left - width)
        center = middle, self._band_px + (HEIGHT_PX - self._band_px) * rng.uniform(0.46, 0.58)
        mask = scaled(self._weight(mask), width, height)
        self._emboss(mask, center)
        for gap in gaps:
            if self._often(0.4):
                place = center[0] + (gap - 0.5) * width, center[1]
                draw_emblem(self.picture, rng, place, height, self._paper)
        self._slogans(center[1] - height / 2, center[1] + height / 2)
        return ["".join(groups)]

    def print_two_lines(self, groups: list[str]) -> list[str]:
        """Print the text in two lines, the lower one often the higher; return them."""
        rng = self._rng
        text = "".join(groups)
        cut = int(np.clip(len(text) // 2 + rng.integers(-1, 2), 1, len(text) - 1))
        lines = [text[:cut], text[cut:]]
        parting = rng.uniform(0.36, 0.54)
        rooms = ((0.03, parting), (parting, 0.97))
        stretch, gap = rng.uniform(0.7, 1.25), rng.uniform(0.06, 0.3)
        for line, (top, low) in zip(lines, rooms, strict=True):
            height = HEIGHT_PX * (low - top) * rng.uniform(0.74, 0.94)
            shown = line
            if len(line) > 2 and self._often(0.25):
                spot = int(rng.integers(1, len(line)))
                shown = line[:spot] + str(rng.choice((" ", "-", "."))) + line[spot:]
            mask = self._weight(self._face.write(shown, gap))
            natural = mask.shape[1] * height / mask.shape[0] * stretch
            width = min(self.width * rng.uniform(0.8, 0.94), natural)
            center = self.width / 2 + rng.uniform(-6, 6), HEIGHT_PX * (top + low) / 2
            self._emboss(scaled(mask, width, height), center)
        return lines

    def _emboss(self, mask: Mask, center: tuple[float, float]) -> None:
        """Print text, sometimes with the light and the shadow of a pressed edge."""
        rng = self._rng
        if self._often(0.3):
            x, y = center
            off = rng.uniform(1, 3)
            self._ink_in(mask, (x + off, y + off), self._paper + rng.uniform(-60, 30))
            if self._often(0.5):
                self._ink_in(mask, (x - off, y - off), self._paper + rng.uniform(0, 60))
        self._ink_in(mask, center, self._ink)

    def fasten(self) -> None:
        """Put bolts, some through the text, stickers and a border on the plate."""
        rng = self._rng
        for _ in range(int(rng.choice((0, 0, 1, 2, 4)))):
            across, down = rng.choice((0.15, 0.3, 0.7, 0.85)), rng.choice((0.09, 0.91))
            place = round(self.width * across), round(HEIGHT_PX * down)
            cv2.circle(self.picture, place, int(rng.integers(3, 8)), rng.uniform(10, 220), -1)
        if self._often(0.12):
            for across in rng.uniform(0.1, 0.9, 2):
                place = round(self.width * across), round(HEIGHT_PX * rng.uniform(0.35, 0.65))
                cv2.circle(self.picture, place, int(rng.integers(3, 8)), rng.uniform(10, 240), -1)
        if self._often(0.15):
            x, y = round(self.width * rng.choice((0.04, 0.85))), round(HEIGHT_PX * 0.1)
            size = round(HEIGHT_PX * rng.uniform(0.12, 0.22))
            cv2.rectangle(self.picture, (x, y), (x + size, y + size), rng.uniform(60, 255), -1)
        if self._aspect < 2.5 and self._often(0.35):
            self._validation_stickers()
        if self._often(0.6):
            inset = int(rng.integers(2, 7))
            grey = self._ink if self._often(0.7) else rng.uniform(0, 255)
            opposite = self.width - 1 - inset, HEIGHT_PX - 1 - inset
            cv2.rectangle(self.picture, (inset, inset), opposite, grey, int(rng.integers(1, 5)))

    def _validation_stickers(self) -> None:
        """Stick the month and the year into corners, in small characters that are no plate text."""
        rng = self._rng
        down = rng.choice((0.13, 0.87))
        for across in rng.choice(((0.1, 0.9), (0.1, 0.1), (0.9, 0.9))):
            x, y = self.width * across, HEIGHT_PX * down
            reach = HEIGHT_PX * rng.uniform(0.07, 0.12)
            grey = rng.uniform(20, 255)
            low = round(x - reach * 1.4), round(y - reach)
            high = round(x + reach * 1.4), round(y + reach)
            cv2.rectangle(self.picture, low, high, grey, -1)
            text = str(rng.choice(("JAN", "05", "12", "21", "26", "MAY", "OCT", "A7")))
            self._stamp(text, (x, y), (reach * 2.2, reach * 1.4), (grey + 128) % 256)

    def weather(self) -> None:
        """Dirt, uneven light and the shadow of an edge above."""
        rng = self._rng
        if self._often(0.4):
            size = rng.uniform(15, 80)
            self.picture *= 1 + blotches(rng, self.picture.shape, size) * rng.uniform(0.02, 0.12)
        if self._often(0.25):
            light = np.ones_like(self.picture)
            light[: round(HEIGHT_PX * rng.uniform(0.1, 0.6))] = rng.uniform(0.45, 0.9)
            self.picture *= cv2.GaussianBlur(light, (0, 0), rng.uniform(1, 8))

    def finish(self, texts: list[str]) -> FlatPlate:
        """Round the corners or put a frame around, perhaps over the edges; return the plate."""
        rng = self._rng
        top, bottom, side = 0, 0, 0
        if self._often(0.08):
            grey = rng.uniform(5, 90)
            cut = int(rng.integers(3, 11))
            cv2.rectangle(
                self.picture, (0, 0), (self.width - 1, HEIGHT_PX - 1), grey, cut, cv2.LINE_8
            )
        opacity = rounded(self.picture.shape, int(rng.integers(0, 14)))
        if self._often(0.45):
            side = int(rng.integers(3, 15))
            top, bottom = (int(rng.integers(10, 26)) if self._often(0.35) else side for _ in "tb")
            edge = rng.uniform(5, 90) if self._often(0.7) else rng.uniform(120, 240)
            inner = self.picture
            self.picture = np.asarray(
                cv2.copyMakeBorder(inner, top, bottom, side, side, cv2.BORDER_CONSTANT, value=edge),
                np.float32,
            )
            opacity = np.ones_like(self.picture)
            self._caption(top, bottom, edge)
        right, low = side + self.width, top + HEIGHT_PX
        corners = np.array(((side, top), (right, top), (right, low), (side, low)), np.float32)
        return FlatPlate(np.clip(self.picture, 0, 255), opacity, corners, tuple(texts))

    def _typeset(self, groups: list[str]) -> tuple[Mask, list[float]]:
        """Return the line's mask and where gaps wide enough for an emblem are, 0 to 1 across."""
        rng = self._rng
        gap = rng.uniform(0.04, 0.25)
        wide = len(groups) > 1 and self._often(0.35)
        separator = "   " if wide else str(rng.choice(_SEPARATORS))
        monospaced = self._often(0.45)
        mask = self._face.write(separator.join(groups), gap, monospaced=monospaced)
        if not wide:
            return mask, []
        places = []
        for count in range(1, len(groups)):
            before = self._face.write(separator.join(groups[:count]), gap, monospaced=monospaced)
            through = self._face.write(
                separator.join([*groups[:count], ""]), gap, monospaced=monospaced
            )
            places.append((before.shape[1] + through.shape[1]) / 2 / mask.shape[1])
        return mask, places

    def _weight(self, mask: Mask) -> Mask:
        """Make some lines bolder, some lighter and some rounder than their font, as dies do."""
        if self._often(0.35):
            change = cv2.dilate if self._often(0.6) else cv2.erode
            size = 5 if self._often(0.2) else 3
            mask = np.asarray(change(mask, np.ones((size, size), np.uint8)), np.float32)
        if self._often(0.25):
            soft = cv2.GaussianBlur(mask, (0, 0), self._rng.uniform(1.5, 4.5))
            mask = np.clip((soft - self._rng.uniform(0.38, 0.5)) * 5 + 0.5, 0, 1)
        return np.asarray(mask, np.float32)

    def _slogans(self, above: float, below: float) -> None:
        """Print a state's name above the text and a slogan below it, where there is room."""
        rng = self._rng
        shares = (0.85, 0.7) if self._aspect < 2.5 else (0.3, 0.1)
        for room, middle, share in (
            (above, above / 2 + 2, shares[0] if not self._band_px else 0.0),
            (HEIGHT_PX - below, (below + HEIGHT_PX) / 2 - 2, shares[1]),
        ):
            if self._often(share):
                size = self.width * rng.uniform(0.4, 0.75), max(6.0, room * rng.uniform(0.4, 0.65))
                center = self.width / 2 + rng.uniform(-8, 8), middle
                self._stamp(random_word(rng), center, size, self._ink)

    def _caption(self, top: int, bottom: int, edge: float) -> None:
        """Print a dealer's name on the frame, where it is high enough."""
        height, width = self.picture.shape
        grey = edge + (110 if edge < 110 else -90)
        for room, middle in ((top, top / 2), (bottom, height - bottom / 2)):
            if room > 12:
                size = width * 0.8, room * 0.7
                self._stamp(random_word(self._rng), (width / 2, middle), size, grey)

    def _stamp(
        self, text: str, center: tuple[float, float], size: tuple[float, float], grey: float
    ) -> None:
        """Print a short text in another font, within a size."""
        mask = self._typeface().write(text, 0.15)
        scale = min(size[0] / mask.shape[1], size[1] / mask.shape[0])
        self._ink_in(scaled(mask, mask.shape[1] * scale, mask.shape[0] * scale), center, grey)

    def _ink_in(self, mask: Mask, center: tuple[float, float], grey: float) -> None:
        ink(self.picture, mask, center, grey)

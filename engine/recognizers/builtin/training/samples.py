"""What the networks are shown: scenes with corners for the detector, crops with texts to read."""

import itertools
import math
from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from engine.recognizers.builtin.geometry import Quad, flatten, grow
from engine.recognizers.builtin.training.camera import expose, place, put_on, seen_by
from engine.recognizers.builtin.training.flat import FlatPlate, draw_plate
from engine.recognizers.builtin.training.inks import blotches
from engine.recognizers.builtin.training.photographs import Photograph, around, cut
from engine.recognizers.builtin.training.scenery import background, draw_car, draw_writing
from engine.recognizers.builtin.training.typefaces import Typeface
from engine.types import Luma

SCENE_PX: Final = 320
CELL_PX: Final = 8
CROP_PX: Final = (128, 48)
_TWO_LINES: Final = 0.12
_TWO_LINES_TO_READ: Final = 0.18
_FROM_PHOTOGRAPHS: Final = 0.7
_ON_PHOTOGRAPHS: Final = 0.3
_PHOTOGRAPHED: Final = 0.08
"""Shares of scenes cut from photographs; of crops put on, and cut out of, photographs."""
_FROM_FOUR: Final = 0.4
"""Share of those scenes that show four photographs, half as large each (mosaic; Bochkovskiy et al.,
2020): few photographs show plates as small as frames do."""
_NARROWEST_PX: Final = 14
_CROP_WIDTHS: Final = math.log(42), math.log(330)
_SHARP_PX: Final = 110
"""A plate wider than this is still legible when blurred so many times more."""
_BACKGROUND_PX: Final = 640
_POOL: Final = 96
"""Backgrounds kept and shown in many cuts: they cost more than all the rest of a scene."""
_UNIT_BOX: Final = np.array(((-0.5, -0.5), (0.5, -0.5), (0.5, 0.5), (-0.5, 0.5)), np.float32)

Floats = npt.NDArray[np.float32]


class Scene(NamedTuple):
    """A picture (SCENE_PX, SCENE_PX) uint8 and the corners of every plate in it."""

    luma: Luma
    quads: list[Quad]


class Crop(NamedTuple):
    """A flattened plate (48, 128) uint8 and the text of its one or two lines."""

    luma: Luma
    lines: tuple[str, ...]


class SceneMaker:
    """Draws scenes from one stream of random numbers."""

    def __init__(
        self, typefaces: Sequence[Typeface], seed: int, photographs: Sequence[Photograph] = ()
    ) -> None:
        """Use these fonts and photographs; the same seed gives the same scenes."""
        self._typefaces = typefaces
        self._photographs = photographs
        self._rng = np.random.default_rng(seed)
        self._pool: list[Floats] = []

    def draw(self) -> Scene:
        """Return the next scene: rendered, or cut from a photograph where there are any."""
        if self._photographs and self._rng.random() < _FROM_PHOTOGRAPHS:
            return self._from_photograph()
        return self._rendered()

    def _rendered(self) -> Scene:
        """Draw a scene: of five, one shows no plate, and one shows several."""
        rng = self._rng
        picture = self._background()
        for _ in range(int(rng.choice((0, 0, 1, 2, 3, 6)))):
            draw_writing(picture, self._typefaces, rng)
        plates = int(rng.choice(4, p=(0.18, 0.55, 0.2, 0.07)))
        if not plates and rng.random() < 0.6:
            middle = tuple(rng.uniform(0, SCENE_PX, 2))
            draw_car(picture, middle, (2 ** rng.uniform(5, 7.5), 2 ** rng.uniform(3.5, 6)), rng)
        quads: list[Quad] = []
        widest = 250 if plates == 1 else 125
        for _ in range(plates):
            width = float(np.exp(rng.uniform(math.log(_NARROWEST_PX), math.log(widest))))
            self._mount(picture, width, quads)
        return Scene(expose(picture, rng), quads)

    def _from_photograph(self) -> Scene:
        """Cut a scene; some of its plates give way to rendered ones, some places get one more."""
        rng = self._rng
        picture, quads = self._four() if rng.random() < _FROM_FOUR else self._cut(SCENE_PX)
        if rng.random() < 0.4:
            quads = [self._replaced(picture, quad) for quad in quads]
        elif rng.random() < 0.2:
            narrow, wide = math.log(_NARROWEST_PX), math.log(125)
            self._mount(picture, float(np.exp(rng.uniform(narrow, wide))), quads)
        if rng.random() < 0.25:
            return Scene(np.clip(picture, 0, 255).astype(np.uint8), quads)
        return Scene(expose(picture, rng), quads)

    def _cut(self, size_px: int) -> tuple[Floats, list[Quad]]:
        """Cut a square out of any photograph."""
        chosen = self._photographs[int(self._rng.integers(len(self._photographs)))]
        return cut(chosen, size_px, self._rng)

    def _four(self) -> tuple[Floats, list[Quad]]:
        """Cut four squares and put them side by side, two over two."""
        half = SCENE_PX // 2
        picture = np.empty((SCENE_PX, SCENE_PX), np.float32)
        quads: list[Quad] = []
        for x, y in itertools.product((0, half), repeat=2):
            picture[y : y + half, x : x + half], found = self._cut(half)
            quads += [quad + np.array((x, y), np.float32) for quad in found]
        return picture, quads

    def _replaced(self, picture: Floats, quad: Quad) -> Quad:
        """Print another plate over one that was photographed; return where it is."""
        rng = self._rng
        narrow = np.ptp(quad[:, 0]) < 2 * np.ptp(quad[:, 1])
        two_lines = rng.random() < (0.7 if narrow else _TWO_LINES)
        plate = draw_plate(rng, self._typefaces, two_lines=bool(two_lines))
        return seen_by(put_on(picture, plate, quad, rng), plate.corners)

    def _mount(self, picture: Floats, width: float, quads: list[Quad]) -> None:
        """Put one plate where none is yet; mostly on a car."""
        rng = self._rng
        margin = min(width * 0.4, SCENE_PX / 2)
        x, y = rng.uniform(margin, SCENE_PX - margin, 2)
        reach = [width * 0.6 + float(np.ptp(quad[:, 0])) * 0.6 for quad in quads]
        if any(
            np.hypot(*(quad.mean(axis=0) - (x, y))) < r
            for quad, r in zip(quads, reach, strict=True)
        ):
            return
        plate = draw_plate(rng, self._typefaces, two_lines=rng.random() < _TWO_LINES)
        across, down = plate.corners[2] - plate.corners[0]
        if not quads and rng.random() < 0.75:
            draw_car(picture, (x, y), (width, width * float(down / across)), rng)
        quads.append(seen_by(place(picture, plate, (x, y), width, rng), plate.corners))

    def _background(self) -> Floats:
        """Return a cut of a background, at some scale, perhaps mirrored."""
        rng = self._rng
        if len(self._pool) < _POOL:
            self._pool.append(background(rng, _BACKGROUND_PX))
        elif rng.random() < 0.02:
            self._pool[rng.integers(_POOL)] = background(rng, _BACKGROUND_PX)
        whole = self._pool[rng.integers(len(self._pool))]
        x, y = (int(part) for part in rng.integers(0, _BACKGROUND_PX - SCENE_PX, 2))
        cut = whole[y : y + SCENE_PX, x : x + SCENE_PX]
        return np.ascontiguousarray(cut[:, ::-1] if rng.random() < 0.5 else cut)


class CropMaker:
    """Draws plates as the detector would cut them out, from one stream of random numbers."""

    def __init__(
        self, typefaces: Sequence[Typeface], seed: int, photographs: Sequence[Photograph] = ()
    ) -> None:
        """Use these fonts and photographs; the same seed gives the same crops."""
        self._typefaces = typefaces
        self._photographs = [photograph for photograph in photographs if photograph.quads]
        self._legible = [
            (photograph, which)
            for photograph in photographs
            for which, text in enumerate(photograph.texts)
            if text
        ]
        self._rng = np.random.default_rng(seed)
        self._plate: FlatPlate | None = None

    def draw(self) -> Crop:
        """Return the next crop; its corners are about as wrong as the detector's."""
        if self._legible and self._rng.random() < _PHOTOGRAPHED:
            return self._photographed()
        width = float(np.exp(self._rng.uniform(*_CROP_WIDTHS)))
        plate = self._next_plate()
        if self._photographs and self._rng.random() < _ON_PHOTOGRAPHS:
            return self._on_photograph(plate, width)
        return self._alone(plate, width)

    def _next_plate(self) -> FlatPlate:
        """Return a plate; each is seen twice, as drawing costs as much as the rest of a crop."""
        plate, self._plate = self._plate, None
        if plate is None:
            two_lines = bool(self._rng.random() < _TWO_LINES_TO_READ)
            plate = self._plate = draw_plate(self._rng, self._typefaces, two_lines=two_lines)
        return plate

    def _alone(self, plate: FlatPlate, width: float) -> Crop:
        """Put a plate before a plain background."""
        rng = self._rng
        across, down = plate.corners[2] - plate.corners[0]
        size = int(width * float(down / across) * 2.2) + 20, int(width * 1.5) + 24
        picture = np.full(size, rng.uniform(0, 255), np.float32)
        picture += blotches(rng, size, rng.uniform(4, 40)) * rng.uniform(0, 30)
        matrix = place(picture, plate, (size[1] / 2, size[0] / 2), width, rng)
        return self._seen(picture, seen_by(matrix, plate.corners), plate.lines)

    def _on_photograph(self, plate: FlatPlate, width: float) -> Crop:
        """Put a plate over one that was photographed: its light, its tilt, its car."""
        picture, quad = around(*self._any_photographed(), width)
        matrix = put_on(picture, plate, quad, self._rng)
        return self._seen(picture, seen_by(matrix, plate.corners), plate.lines)

    def _any_photographed(self) -> tuple[Photograph, int]:
        chosen = self._photographs[self._rng.integers(len(self._photographs))]
        return chosen, int(self._rng.integers(len(chosen.quads)))

    def _photographed(self) -> Crop:
        """Cut out a real plate whose text is known."""
        photograph, which = self._legible[self._rng.integers(len(self._legible))]
        own = float(np.ptp(photograph.quads[which][:, 0]))
        picture, quad = around(photograph, which, own * self._rng.uniform(0.6, 1.3))
        lines = tuple(photograph.texts[which].split("/"))
        if self._rng.random() < 0.4:
            flat = flatten(picture.astype(np.uint8), self._misplaced(quad), CROP_PX)
            return Crop(flat, lines)
        return self._seen(picture, quad, lines)

    def _seen(self, picture: Floats, quad: Quad, lines: tuple[str, ...]) -> Crop:
        """Let a camera see it, and cut the plate out about where it is."""
        blur = max(1.0, float(np.ptp(quad[:, 0])) / _SHARP_PX)
        seen = expose(picture, self._rng, blur)
        return Crop(flatten(seen, self._misplaced(quad), CROP_PX), lines)

    def _misplaced(self, quad: Quad) -> Quad:
        rng = self._rng
        extent = np.ptp(quad, axis=0)
        corners = rng.standard_normal((4, 2)) * extent * (0.02, 0.05)
        together = rng.standard_normal(2) * extent * (0.012, 0.03)
        moved = np.asarray(quad + corners + together, np.float32)
        return grow(moved, rng.normal(0.01, 0.025), rng.normal(0.03, 0.06))


def detector_target(quads: Sequence[Quad]) -> tuple[Floats, Floats]:
    """Return what the detector should answer: (13, n, n) values and (n, n) weights of their places.

    Values of a cell: likelihood, log width and height over 64 and 24 px, centre, four corners, as
    ``engine.recognizers.builtin.detector`` decodes them.
    """
    cells = SCENE_PX // CELL_PX
    values = np.zeros((13, cells, cells), np.float32)
    weights = np.zeros((cells, cells), np.float32)
    rows, columns = np.mgrid[:cells, :cells]
    xs, ys = columns * CELL_PX + CELL_PX / 2, rows * CELL_PX + CELL_PX / 2
    for quad in quads:
        low, high = quad.min(axis=0), quad.max(axis=0)
        (x, y), (width, height) = (low + high) / 2, high - low
        if not (0 <= x < SCENE_PX and 0 <= y < SCENE_PX):
            continue
        spread_x, spread_y = max(width / 9, 4.0), max(height / 7, 4.0)
        near = np.exp(-((xs - x) ** 2 / (2 * spread_x**2) + (ys - y) ** 2 / (2 * spread_y**2)))
        near[int(y // CELL_PX), int(x // CELL_PX)] = 1
        values[0] = np.maximum(values[0], near)
        shape = [math.log(width / 64), math.log(height / 24)]
        corners = 4 * ((quad - (x, y)) / (width, height) - _UNIT_BOX)
        mine = (near > 0.3) & (near >= weights)
        values[1:3, mine] = np.array(shape)[:, None]
        values[3, mine] = ((x - xs) / (2 * CELL_PX))[mine]
        values[4, mine] = ((y - ys) / (2 * CELL_PX))[mine]
        values[5:, mine] = corners.reshape(8, 1)
        weights[mine] = near[mine]
    return values, weights

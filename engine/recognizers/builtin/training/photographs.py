"""Photographs with labelled plates, cut and changed until no cut is seen twice.

Rendered scenes teach what a plate is, photographs what else there is on a road. The labels are
boxes; corners come from the weights in the package where they find the plate, else from the box.
"""

import csv
import hashlib
import math
from collections import defaultdict
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np
import numpy.typing as npt

from engine.recognizers.builtin import BuiltinRecognizer
from engine.recognizers.builtin.geometry import Quad
from engine.recognizers.builtin.training.inks import Grey
from engine.types import Box, Luma

_KEPT_BACK: Final = 5
"""One photograph of so many is never trained on, so that the figures of a card can be honest."""
_SAME_PLATE: Final = 0.5
_LONGEST_PX: Final = 1280
"""Photographs larger than this are reduced: no plate is looked at from nearer than this allows."""
_AROUND_A_PLATE: Final = 0.85
_ALIASES_BELOW: Final = 0.7
_NARROWEST_PX: Final = 11.0
_WIDEST: Final = 0.85
"""Of a plate, as a share of a cut's side."""
_MIRRORED: Final = np.array((1, 0, 3, 2))
"""Corners of a mirrored plate in the order of reading."""


class Photograph(msgspec.Struct, frozen=True):
    """(H, W) uint8 luma, the corners of every labelled plate in its pixels, and their texts.

    A text is "" where the table does not tell it; the lines of two-line plates are parted by "/".
    """

    luma: Luma
    quads: tuple[Quad, ...]
    texts: tuple[str, ...]


def kept_back(name: str) -> bool:
    """Tell whether a photograph of this file name is for measuring only."""
    return hashlib.sha256(name.encode()).digest()[0] % _KEPT_BACK == 0


def load_photographs(tables: Sequence[Path]) -> list[Photograph]:
    """Load what csv tables ``file,x,y,w,h`` and perhaps ``plate`` name, without what is kept back.

    Raises:
        ValueError: a picture cannot be read.
    """
    recognizer = BuiltinRecognizer()
    found: list[Photograph] = []
    for table in tables:
        plates: defaultdict[str, list[tuple[Box, str]]] = defaultdict(list)
        with table.open(newline="") as rows:
            for row in csv.DictReader(rows):
                box = Box(*(float(row[key]) for key in ("x", "y", "w", "h")))
                plates[row["file"]].append((box, row.get("plate", "")))
        found += [
            _load(table.parent / name, plates[name], recognizer)
            for name in sorted(plates)
            if not kept_back(Path(name).name)
        ]
    return found


def _load(path: Path, plates: list[tuple[Box, str]], recognizer: BuiltinRecognizer) -> Photograph:
    luma = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
    if luma is None:
        raise ValueError(f"{path} is no picture that can be read")
    frame = np.asarray(luma, np.uint8)
    seen = [(Box.around(corners), corners) for corners in recognizer.locate(frame)]
    quads = []
    for box, _ in plates:
        near = [corners for around, corners in seen if around.iou(box) > _SAME_PLATE]
        quads.append(np.array(near[0] if near else _corners(box), np.float32))
    scale = min(1.0, _LONGEST_PX / max(frame.shape))
    if scale < 1:
        smaller = cv2.resize(frame, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
        frame = np.asarray(smaller, np.uint8)
    return Photograph(
        frame,
        tuple(quad * np.float32(scale) for quad in quads),
        tuple(text for _, text in plates),
    )


def _corners(box: Box) -> list[tuple[float, float]]:
    right, low = box.x + box.width, box.y + box.height
    return [(box.x, box.y), (right, box.y), (right, low), (box.x, low)]


def cut(photograph: Photograph, size_px: int, rng: np.random.Generator) -> tuple[Grey, list[Quad]]:
    """Return a square of a photograph at a random scale, turned a little, perhaps mirrored.

    Mostly around a plate, which is then 11 px wide or more, up to nearly the whole cut. Returns
    (size, size) float32 grey values and the corners of the plates whose middle is inside.
    """
    scale, middle = _looked_at(photograph, size_px, rng)
    turn = math.radians(rng.normal(0, 4))
    across = scale * float(np.exp(rng.normal(0, 0.06)))
    mirror = -1 if rng.random() < 0.3 else 1
    linear = np.array(
        (
            (mirror * across * math.cos(turn), -across * math.sin(turn)),
            (mirror * scale * math.sin(turn), scale * math.cos(turn)),
        )
    )
    shift = size_px / 2 - linear @ middle
    source, factors = _reduced(photograph.luma, scale)
    border = cv2.BORDER_CONSTANT if rng.random() < 0.5 else cv2.BORDER_REPLICATE
    picture = cv2.warpAffine(
        source,
        np.column_stack((linear / factors, shift)),
        (size_px, size_px),
        borderMode=border,
        borderValue=rng.uniform(0, 255),
    )
    order = _MIRRORED if mirror < 0 else slice(None)
    quads = [(quad @ linear.T + shift).astype(np.float32)[order] for quad in photograph.quads]
    return picture.astype(np.float32), [quad for quad in quads if _is_inside(quad, size_px)]


def _looked_at(
    photograph: Photograph, size_px: int, rng: np.random.Generator
) -> tuple[float, npt.NDArray[np.float64]]:
    """Return a scale, and the place (x, y) of the photograph in the middle of the cut."""
    height, width = photograph.luma.shape
    least = size_px / max(width, height)
    if not photograph.quads or rng.random() > _AROUND_A_PLATE:
        return least * float(np.exp(rng.uniform(-0.2, 1.2))), rng.uniform(0.2, 0.8, 2) * (
            width,
            height,
        )
    quad = photograph.quads[rng.integers(len(photograph.quads))]
    wanted = float(np.exp(rng.uniform(*np.log((_NARROWEST_PX, _WIDEST * size_px)))))
    scale = float(np.clip(wanted / max(4.0, float(np.ptp(quad[:, 0]))), least * 0.4, 3.0))
    return scale, quad.mean(axis=0) - rng.uniform(-0.45, 0.45, 2) * size_px / scale


def _reduced(luma: Luma, scale: float) -> tuple[Luma, tuple[float, float]]:
    """Return a picture averaged down before a warp that would alias, and its factors in x and y."""
    if scale >= _ALIASES_BELOW:
        return luma, (1.0, 1.0)
    factor = scale * 1.3
    smaller = cv2.resize(luma, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA)
    height, width = luma.shape
    return np.asarray(smaller, np.uint8), (smaller.shape[1] / width, smaller.shape[0] / height)


def _is_inside(quad: Quad, size_px: int) -> bool:
    return bool(np.all(np.abs(quad.mean(axis=0) - size_px / 2) < size_px / 2))


def around(photograph: Photograph, which: int, width_px: float) -> tuple[Grey, Quad]:
    """Return a plate of a photograph with its surroundings, scaled until it is ``width_px`` wide.

    At most three times as large as it is. Returns (H, W) float32 grey values and the corners.
    """
    quad = photograph.quads[which]
    wide, high = (float(side) for side in np.ptp(quad, axis=0))
    margin = np.array((0.35 * wide + 8, 0.6 * high + 8))
    size = np.array(photograph.luma.shape[::-1])
    low = np.clip(np.floor(quad.min(axis=0) - margin), 0, size - 2).astype(int)
    top = np.clip(np.ceil(quad.max(axis=0) + margin), low + 2, size).astype(int)
    part = photograph.luma[low[1] : top[1], low[0] : top[0]]
    scale = min(3.0, width_px / max(4.0, wide))
    method = cv2.INTER_AREA if scale < 1 else cv2.INTER_LINEAR
    target = max(2, round(part.shape[1] * scale)), max(2, round(part.shape[0] * scale))
    picture = cv2.resize(part, target, interpolation=method)
    factors = np.array((target[0] / part.shape[1], target[1] / part.shape[0]))
    return np.asarray(picture, np.float32), np.asarray((quad - low) * factors, np.float32)

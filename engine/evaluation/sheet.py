"""The contact sheet: one HTML file with a picture of everything that went wrong.

A tile is a plate that somebody missed, with what everyone read there, or a read of nothing. Its
picture is the luma that the recognizers saw. The file needs no other one.
"""

import base64
from collections.abc import Iterator, Sequence
from difflib import SequenceMatcher
from html import escape
from pathlib import Path
from string import Template
from typing import Final, Literal, TypeAlias

import msgspec

from engine.evaluation.figures import FigureRow
from engine.evaluation.labels import LabelledFile
from engine.evaluation.matching import PictureOutcome, PlateMatch, VideoOutcome, look_alike
from engine.evaluation.page import PAGE
from engine.evidence import crop_jpeg
from engine.footage import Passage
from engine.types import Box, Luma

Kind: TypeAlias = Literal["missed", "unread", "misread", "again", "false"]

KINDS: Final[dict[Kind, str]] = {
    "missed": "Not found",
    "unread": "Found, not read",
    "misread": "Misread",
    "again": "Told again",
    "false": "Not there",
}
_AROUND: Final = (1.5, 4.0)
"""How many widths and heights of a missed plate are shown."""


class Line(msgspec.Struct, frozen=True):
    """What one recognizer read; an empty text is nothing, though the plate may be found."""

    recognizer: str
    text: str = ""
    confidence: float = 0.0
    right: bool = False
    found: bool = False


class Tile(msgspec.Struct, frozen=True, kw_only=True):
    """One miss; ``truth`` is empty where there is no plate or its text is not known."""

    kind: Kind
    file: str
    jpeg: bytes
    truth: str
    lines: tuple[Line, ...]


class FigureTable(msgspec.Struct, frozen=True):
    """Figures side by side, as they stand above the tiles."""

    title: str
    rows: tuple[FigureRow, ...]


class ContactSheet:
    """Collects tiles while files are read, then writes the page."""

    def __init__(self, recognizers: Sequence[str]) -> None:
        """Name the recognizers, in the order in which their outcomes come."""
        self._recognizers = recognizers
        self._tiles: list[Tile] = []

    def add_picture(
        self, file: LabelledFile, luma: Luma, outcomes: Sequence[PictureOutcome]
    ) -> None:
        """Add what went wrong in a picture; luma: (H, W) uint8, only the crops are copied."""
        height, width = luma.shape
        for matches in zip(*(outcome.matches for outcome in outcomes), strict=True):
            if all(_is_right(match) for match in matches):
                continue
            box = matches[0].plate.box
            around = _around(box) if box else Box(0, 0, width, height)
            self._tiles.append(
                Tile(
                    kind=_kind(matches),
                    file=file.path,
                    jpeg=crop_jpeg(luma, height, around),
                    truth=matches[0].plate.text or "",
                    lines=tuple(map(_line, self._recognizers, matches)),
                )
            )
        for recognizer, outcome in zip(self._recognizers, outcomes, strict=True):
            for read in outcome.strays:
                jpeg = crop_jpeg(luma, height, _around(read.box))
                line = Line(recognizer, read.plate, read.confidence)
                self._tiles.append(
                    Tile(kind="false", file=file.path, jpeg=jpeg, truth="", lines=(line,))
                )

    def add_video(self, file: LabelledFile, outcomes: Sequence[VideoOutcome]) -> None:
        """Add what went wrong in a video."""
        for recognizer, outcome in zip(self._recognizers, outcomes, strict=True):
            for vehicle in outcome.vehicles:
                if not vehicle.passages:
                    self._tell(file, "missed", vehicle.plate, Line(recognizer))
                for passage in vehicle.wrong:
                    self._show(file, "misread", vehicle.plate, recognizer, passage)
                for passage in vehicle.right[1:]:
                    self._show(file, "again", vehicle.plate, recognizer, passage)
            for passage in outcome.strays:
                self._show(file, "false", "", recognizer, passage)

    def write(self, path: Path, tables: Sequence[FigureTable]) -> None:
        """Write the page.

        Raises:
            OSError: the file cannot be written.
        """
        counts = {kind: sum(tile.kind == kind for tile in self._tiles) for kind in KINDS}
        page = Template(PAGE).substitute(
            recognizers=escape(_listed(self._recognizers)),
            tables="".join(map(self._table, tables)),
            filters="".join(_filter(kind, counts[kind]) for kind in KINDS if counts[kind]),
            count=len(self._tiles),
            tiles="".join(map(_tile, self._tiles)) or '<p class="none">Nothing went wrong.</p>',
        )
        path.write_text(page, encoding="utf-8")

    def _show(
        self, file: LabelledFile, kind: Kind, truth: str, recognizer: str, passage: Passage
    ) -> None:
        sighting = passage.sighting
        right = bool(truth) and look_alike(sighting.plate, truth)
        line = Line(recognizer, sighting.plate, sighting.confidence, right)
        self._tell(file, kind, truth, line, passage.crop_jpeg)

    def _tell(
        self, file: LabelledFile, kind: Kind, truth: str, line: Line, jpeg: bytes = b""
    ) -> None:
        tile = Tile(kind=kind, file=file.path, jpeg=jpeg, truth=truth, lines=(line,))
        self._tiles.append(tile)

    def _table(self, table: FigureTable) -> str:
        heads = "".join(f'<th scope="col">{escape(name)}</th>' for name in self._recognizers)
        rows = "".join(
            f'<tr><th scope="row">{escape(row.name)}</th>'
            + "".join(f"<td>{escape(cell)}</td>" for cell in row.cells)
            + "</tr>"
            for row in table.rows
        )
        caption = f"<caption>{escape(table.title)}</caption>"
        return (
            f"<table>{caption}<thead><tr><td></td>{heads}</tr></thead><tbody>{rows}</tbody></table>"
        )


def _kind(matches: Sequence[PlateMatch]) -> Kind:
    """Return the worst that happened to a plate."""
    unread = [match for match in matches if match.read is None]
    if any(not match.detected for match in unread):
        return "missed"
    return "unread" if unread else "misread"


def _is_right(match: PlateMatch) -> bool:
    """Tell whether a plate was read where its label tells and as its label tells."""
    placed = match.plate.box is None or match.detected_by_read
    return placed and (match.plate.text is None or match.alike)


def _line(recognizer: str, match: PlateMatch) -> Line:
    if match.read is None:
        return Line(recognizer, found=match.detected)
    return Line(recognizer, match.read.plate, match.read.confidence, _is_right(match))


def _around(box: Box) -> Box:
    """Return the surroundings of a plate, which tell why it was missed."""
    (x, y), (across, down) = box.center, _AROUND
    width, height = across * box.width, down * box.height
    return Box(x - width / 2, y - height / 2, width, height)


# --- HTML ----------------------------------------------------------------------------------------


def _listed(names: Sequence[str]) -> str:
    """Write names as ``a``, ``a and b``, ``a, b and c``."""
    *others, last = names
    return f"{', '.join(others)} and {last}" if others else last


def _filter(kind: Kind, count: int) -> str:
    return (
        f'<label><input type="radio" name="kind" id="only-{kind}"> '
        f"{KINDS[kind]} <b>{count}</b></label>"
    )


def _tile(tile: Tile) -> str:
    if tile.jpeg:
        source = f"data:image/jpeg;base64,{base64.b64encode(tile.jpeg).decode()}"
        picture = f'<img src="{source}" alt="{escape(tile.truth or "no plate")}" loading="lazy">'
    else:
        picture = "<p>no picture: never told of</p>"
    truth = f'<p class="truth">{escape(tile.truth)}</p>' if tile.truth else ""
    lines = "".join(_line_html(line, tile.truth) for line in tile.lines)
    return (
        f'<li class="tile {tile.kind}"><div class="picture">{picture}</div>'
        f'<div class="about"><p class="kind">{KINDS[tile.kind]}</p>{truth}<dl>{lines}</dl>'
        f'<p class="file" title="{escape(tile.file)}">{escape(Path(tile.file).name)}</p>'
        "</div></li>"
    )


def _line_html(line: Line, truth: str) -> str:
    name = f"<dt>{escape(line.recognizer)}</dt>"
    if not line.text:
        return f'{name}<dd class="nothing">{"found, not read" if line.found else "nothing"}</dd>'
    sure = f"<small>{line.confidence:.0f}</small>"
    if line.right:
        return f'{name}<dd class="right"><code>{escape(line.text)}</code>{sure}</dd>'
    text = "".join(_marked(line.text, truth)) if truth else escape(line.text)
    return f'{name}<dd class="wrong"><code>{text}</code>{sure}</dd>'


def _marked(text: str, truth: str) -> Iterator[str]:
    """Yield the text with marks where it differs from the truth; a dot stands for what it lacks."""
    for change, start, end, from_truth, to_truth in SequenceMatcher(
        None, truth, text, autojunk=False
    ).get_opcodes():
        if change == "equal":
            yield text[from_truth:to_truth]
        else:
            yield f"<mark>{text[from_truth:to_truth] or '·' * (end - start)}</mark>"

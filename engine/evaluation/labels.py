"""Label files: which plates a picture shows, or which vehicles pass in a video.

A label file is a CSV with a header. Its columns say what is known::

    file,x,y,w,h,plate    a plate in a picture: its box in pixels and its text
    file,x,y,w,h          only the box
    file,plate            only the text
    file,plates           all plates of the file, separated by |; none where it is empty

Several plates of a file are several rows. A row without box and text says that there is no plate.
Files are looked for beside the label file; further columns are notes.
"""

import csv
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import msgspec

from engine.errors import ConfigError
from engine.footage import is_picture
from engine.plates import normalise
from engine.types import Box

_BOX: Final = ("x", "y", "w", "h")
_TELLING: Final = (*_BOX, "plate", "plates")
"""The columns that say something about plates."""


class LabelledPlate(msgspec.Struct, frozen=True):
    """One plate that is there; ``text`` is normalised, what is not known of it is None."""

    text: str | None = None
    box: Box | None = None


class LabelledFile(msgspec.Struct, frozen=True):
    """A picture or video and every plate in it."""

    path: str
    plates: tuple[LabelledPlate, ...]

    @property
    def is_picture(self) -> bool:
        """False: a video, whose plates have texts only."""
        return is_picture(self.path)


class LabelSet(msgspec.Struct, frozen=True):
    """One label file, by the name it was given on the command line."""

    name: str
    files: tuple[LabelledFile, ...]


class _Cells(msgspec.Struct, frozen=True):
    """One row and where it stands."""

    path: Path
    line: int
    values: dict[str, str]

    def refuse(self, column: str, problem: str) -> ConfigError:
        return ConfigError(f"{self.path}, line {self.line}, column {column}", problem)


def load_labels(path: Path) -> LabelSet:
    """Read a label file; files keep the order of their first rows.

    Raises:
        ConfigError: it cannot be read, or something in it is wrong; names file, line and column.
    """
    found: dict[str, list[LabelledPlate]] = {}
    for cells in _rows(path):
        file = path.parent / cells.values["file"]
        if not cells.values["file"] or not file.is_file():
            raise cells.refuse("file", f"there is no file {file}")
        found.setdefault(str(file), []).extend(_plates(cells))
    if not found:
        raise ConfigError(str(path), "it labels no file")
    files = tuple(LabelledFile(file, tuple(plates)) for file, plates in found.items())
    return LabelSet(str(path), files)


def _rows(path: Path) -> Iterator[_Cells]:
    """Yield the rows below the header, without empty ones."""
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            rows = csv.reader(file, strict=True)
            header = [name.strip().lower() for name in next(rows, [])]
            _check_header(path, header)
            for row in rows:
                if any(cell.strip() for cell in row):
                    yield _cells(path, rows.line_num, header, row)
    except UnicodeDecodeError as error:
        raise ConfigError(str(path), f"it is no UTF-8 text: {error}") from error
    except csv.Error as error:
        raise ConfigError(f"{path}, line {rows.line_num}", f"it is no CSV: {error}") from error
    except OSError as error:
        raise ConfigError(str(path), error.strerror or str(error)) from error


def _check_header(path: Path, header: list[str]) -> None:
    where = f"{path}, line 1"
    forms = "the header is file,x,y,w,h,plate or file,x,y,w,h or file,plate or file,plates"
    twice = {name for name in header if name and header.count(name) > 1}
    boxed = [name for name in _BOX if name in header]
    if twice:
        raise ConfigError(f"{where}, column {min(twice)}", "it is there twice")
    if "file" not in header:
        raise ConfigError(f"{where}, column file", "it is missing", forms)
    if not set(_TELLING) & set(header):
        raise ConfigError(where, "no column says what is in the files", forms)
    if boxed and len(boxed) < len(_BOX):
        missing = next(name for name in _BOX if name not in header)
        raise ConfigError(f"{where}, column {missing}", "it is missing", "a box is x,y,w,h")
    if "plates" in header and (boxed or "plate" in header):
        raise ConfigError(f"{where}, column plates", "it stands beside columns of one plate", forms)


def _cells(path: Path, line: int, header: list[str], row: list[str]) -> _Cells:
    if len(row) != len(header):
        raise ConfigError(
            f"{path}, line {line}", f"{len(row)} cells under a header of {len(header)} columns"
        )
    return _Cells(path, line, dict(zip(header, map(str.strip, row), strict=True)))


def _plates(cells: _Cells) -> list[LabelledPlate]:
    """Return the plates of one row: none, one, or all that pass in a video."""
    if "plates" in cells.values:
        listed = cells.values["plates"]
        texts = listed.split("|") if listed else []
        return [LabelledPlate(_text(cells, "plates", text)) for text in texts]
    box = _box(cells)
    text = _text(cells, "plate", cells.values["plate"]) if cells.values.get("plate") else None
    if box is not None and not is_picture(cells.values["file"]):
        raise cells.refuse("x", "a video has no boxes, only plates")
    return [LabelledPlate(text, box)] if text or box else []


def _text(cells: _Cells, column: str, written: str) -> str:
    text = normalise(written)
    if not text:
        raise cells.refuse(column, f"{written!r} is no plate")
    return text


def _box(cells: _Cells) -> Box | None:
    """Return the box of a row; None where all its cells are empty or there are no such columns."""
    written = [cells.values.get(name, "") for name in _BOX]
    if not any(written):
        return None
    x, y, width, height = (
        _number(cells, name, text) for name, text in zip(_BOX, written, strict=True)
    )
    for name, size in (("w", width), ("h", height)):
        if size <= 0:
            raise cells.refuse(name, f"{size:g} pixels are no size")
    return Box(x, y, width, height)


def _number(cells: _Cells, column: str, written: str) -> float:
    try:
        number = float(written)
    except ValueError:
        raise cells.refuse(column, f"{written!r} is no number of pixels") from None
    if not abs(number) < float("inf"):
        raise cells.refuse(column, f"{written!r} is no number of pixels")
    return number

"""``platering read``: the plates in pictures and videos, as a table for people or JSON lines.

A picture gives every plate in it; a video goes through the tracker, with its own time as the
clock, and gives every vehicle once.
"""

import contextlib
import glob
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import msgspec
from rich.console import Console
from rich.table import Table

from engine.config import OpenAlprSettings, Provider
from engine.console import table_console
from engine.errors import EXIT_FAILED, RecognizerError, SourceError
from engine.footage import FrameBar, VideoTracker, frames_of, is_picture
from engine.recognizers.base import RecognizeHints, Recognizer
from engine.recognizers.registry import open_recognizer
from engine.sources.images import IMAGE_SUFFIXES
from engine.types import Box, Candidate, Corners, PlateRead, Sighting

VIDEO_SUFFIXES: Final = frozenset(
    {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg"}
    | {".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp", ".mjpeg", ".mjpg"}
)
"""What counts as a video in a folder; a file that is named itself is always tried."""

_GLOB_SIGNS: Final = frozenset("*?[")


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to read and print."""

    recognizer: str = "auto"
    regions: tuple[str, ...] = ()
    provider: Provider = "cpu"
    as_json: bool = False


class PicturePlate(msgspec.Struct, frozen=True, kw_only=True):
    """One plate in a picture; box and corners in its pixels."""

    file: str
    plate: str
    confidence: float
    region: str
    candidates: tuple[Candidate, ...]
    box: Box
    corners: Corners
    recognizer: str
    elapsed_ms: float


class VideoPlate(msgspec.Struct, frozen=True, kw_only=True):
    """One vehicle in a video; times in seconds from its start."""

    file: str
    plate: str
    confidence: float
    region: str
    candidates: tuple[Candidate, ...]
    first_s: float
    last_s: float
    reads: int
    recognizer: str


Plate: TypeAlias = PicturePlate | VideoPlate


def read_files(arguments: Iterable[str], options: ReadOptions, openalpr: OpenAlprSettings) -> int:
    """Read every file and print its plates; return the exit code, 1 when one was not readable.

    Raises:
        RecognizerError: the recognizer cannot start.
    """
    recognizer, why, _problem = open_recognizer(options.recognizer, openalpr, options.provider)
    people = Console(stderr=True)
    report: _Report = _JsonLines() if options.as_json else _Tables()
    if not options.as_json:
        people.print(
            f"Reading with {why.rstrip('.')}.", style="dim", highlight=False, soft_wrap=True
        )
    hints = RecognizeHints(regions=options.regions)
    files = list(expand(arguments))
    failed = False
    quiet = options.as_json and sys.stdout.isatty()
    with contextlib.closing(recognizer), FrameBar(people, files, quiet=quiet) as bar:
        for file in files:
            try:
                for plate in _plates(file, recognizer, hints, bar):
                    report.add(plate)
            except (SourceError, RecognizerError) as error:
                failed = True
                people.print(f"platering: {error}", style="red", highlight=False, soft_wrap=True)
    report.finish(len(files))
    return EXIT_FAILED if failed else 0


def expand(arguments: Iterable[str]) -> Iterator[str]:
    """Yield the files that folders and patterns stand for; all else as it is, to fail by name."""
    for argument in arguments:
        path = Path(argument)
        if path.is_dir():
            inside = [str(p) for p in path.rglob("*") if _suffix(p) in _FOLDER_SUFFIXES]
            yield from sorted(inside) or [argument]
        elif not path.exists() and _GLOB_SIGNS & set(argument):
            matches = glob.glob(argument, recursive=True)  # noqa: PTH207  # Path refuses absolute patterns
            yield from sorted(match for match in matches if Path(match).is_file()) or [argument]
        else:
            yield argument


_FOLDER_SUFFIXES: Final = VIDEO_SUFFIXES | IMAGE_SUFFIXES


def _suffix(path: Path) -> str:
    return path.suffix.lower()


# --- recognizing ---------------------------------------------------------------------------------


def _plates(
    file: str, recognizer: Recognizer, hints: RecognizeHints, bar: FrameBar
) -> Iterator[Plate]:
    """Yield the plates of one file.

    Raises:
        SourceError: it cannot be read.
        RecognizerError: the recognizer failed on a frame of it.
    """
    if "://" in file and not file.startswith("file://"):
        raise SourceError(f"{file.partition('://')[0]}://… is no file: add it as a camera instead")
    if is_picture(file):
        for _frame, luma in frames_of(file, bar):
            for read in recognizer.recognize(luma, hints):
                yield _of_picture(file, read)
        return
    tracker = VideoTracker(file)
    for frame, luma in frames_of(file, bar):
        tracker.feed(frame, recognizer.recognize(luma, hints))
    for passage in tracker.finish():
        yield _of_video(file, passage.sighting)


def _of_picture(file: str, read: PlateRead) -> PicturePlate:
    return PicturePlate(
        file=file,
        plate=read.plate,
        confidence=round(read.confidence, 1),
        region=read.region,
        candidates=read.candidates,
        box=read.box,
        corners=read.corners,
        recognizer=read.recognizer,
        elapsed_ms=round(read.elapsed_ms, 1),
    )


def _of_video(file: str, sighting: Sighting) -> VideoPlate:
    return VideoPlate(
        file=file,
        plate=sighting.plate,
        confidence=round(sighting.confidence, 1),
        region=sighting.region,
        candidates=sighting.candidates,
        first_s=sighting.first_unix_ms / 1000,
        last_s=sighting.last_unix_ms / 1000,
        reads=sighting.reads,
        recognizer=sighting.recognizer,
    )


# --- printing ----------------------------------------------------------------------------------


class _Report(Protocol):
    """Where plates are printed."""

    def add(self, plate: Plate) -> None:
        """Take one more plate."""

    def finish(self, files: int) -> None:
        """Print what is left to print."""


class _JsonLines:
    """One JSON object a line, as soon as it is known."""

    def add(self, plate: Plate) -> None:
        sys.stdout.write(msgspec.json.encode(plate).decode() + "\n")
        sys.stdout.flush()

    def finish(self, files: int) -> None:
        """Nothing is left."""


class _Tables:
    """A table of the plates in pictures, and one of the vehicles in videos."""

    def __init__(self) -> None:
        self._in_pictures = _table("Picture", "Plate", "Confidence", "Region", "Box (px)")
        self._in_videos = _table("Video", "Plate", "Confidence", "Region", "Seen", "Reads")

    def add(self, plate: Plate) -> None:
        common = (plate.file, plate.plate, f"{plate.confidence:.0f}", plate.region or "–")
        if isinstance(plate, PicturePlate):
            box = plate.box
            place = f"{box.width:.0f}×{box.height:.0f} at {box.x:.0f},{box.y:.0f}"
            self._in_pictures.add_row(*common, place)
        else:
            seen = f"{_clock(plate.first_s)} – {_clock(plate.last_s)}"
            self._in_videos.add_row(*common, seen, str(plate.reads))

    def finish(self, files: int) -> None:
        out = table_console()
        tables = [table for table in (self._in_pictures, self._in_videos) if table.row_count]
        for table in tables:
            out.print(table)
        if not tables:
            out.print(f"No plates in {files} file{'' if files == 1 else 's'}.")


def _table(*columns: str) -> Table:
    table = Table()
    for column in columns:
        right = column in {"Confidence", "Reads"}
        table.add_column(column, justify="right" if right else "left", overflow="fold")
    return table


def _clock(seconds: float) -> str:
    """Write 83.5 as 1:23.5."""
    minutes, rest = divmod(seconds, 60)
    return f"{minutes:.0f}:{rest:04.1f}"

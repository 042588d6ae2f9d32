"""``platering read``: the plates in pictures and videos, as a table for people or JSON lines.

A picture gives every plate in it; a video goes through the tracker, with its own time as the
clock, and gives every vehicle once.
"""

import contextlib
import glob
import random
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final, Protocol, TypeAlias

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from rich.table import Table

from engine.config import CameraSettings, OpenAlprSettings, TrackerSettings
from engine.console import table_console
from engine.errors import EXIT_FAILED, RecognizerError, SourceError
from engine.recognizers.base import RecognizeHints, Recognizer
from engine.recognizers.registry import open_recognizer
from engine.sources import SourceFrame, SourceOptions, count_frames, open_source
from engine.sources.images import IMAGE_SUFFIXES
from engine.tracker import Rules, SightingIds, Tracker
from engine.types import Box, Candidate, Corners, FrameReads, FrameStamp, Luma, PlateRead, Sighting

VIDEO_SUFFIXES: Final = frozenset(
    {".mp4", ".mkv", ".avi", ".mov", ".webm", ".m4v", ".mpg", ".mpeg"}
    | {".ts", ".mts", ".m2ts", ".wmv", ".flv", ".3gp", ".mjpeg", ".mjpg"}
)
"""What counts as a video in a folder; a file that is named itself is always tried."""

_GLOB_SIGNS: Final = frozenset("*?[")
_FRAME_S: Final = 1 / 25
"""The time between frames of a video that has no times."""


class ReadOptions(msgspec.Struct, frozen=True, kw_only=True):
    """How to read and print."""

    recognizer: str = "auto"
    regions: tuple[str, ...] = ()
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
    recognizer, why = open_recognizer(options.recognizer, openalpr)
    people = Console(stderr=True)
    report: _Report = _JsonLines() if options.as_json else _Tables()
    if not options.as_json:
        people.print(
            f"Reading with {why.rstrip('.')}.", style="dim", highlight=False, soft_wrap=True
        )
    hints = RecognizeHints(regions=options.regions)
    files = list(expand(arguments))
    failed = False
    with contextlib.closing(recognizer), _progress(people, options) as progress:
        steps = _Steps(progress, files)
        for file in files:
            try:
                for plate in _plates(file, recognizer, hints, steps):
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
    file: str, recognizer: Recognizer, hints: RecognizeHints, steps: "_Steps"
) -> Iterator[Plate]:
    """Yield the plates of one file.

    Raises:
        SourceError: it cannot be read.
        RecognizerError: the recognizer failed on a frame of it.
    """
    if "://" in file and not file.startswith("file://"):
        raise SourceError(f"{file.partition('://')[0]}://… is no file: add it as a camera instead")
    frames = _frames(file, steps)
    if _suffix(Path(file)) in IMAGE_SUFFIXES:
        for _frame, luma in frames:
            for read in recognizer.recognize(luma, hints):
                yield _of_picture(file, read)
        return
    for sighting in _track(file, frames, recognizer, hints):
        yield _of_video(file, sighting)


def _frames(file: str, steps: "_Steps") -> Iterator[tuple[SourceFrame, Luma]]:
    """Yield every frame with its luma: (H, W) uint8, overwritten by the next frame's."""
    luma: Luma = np.empty((0, 0), np.uint8)
    steps.begin(file)
    with contextlib.closing(open_source(file, SourceOptions(play="fast"))) as source:
        for frame in source.frames(lambda: False):
            if luma.shape != (frame.height_px, frame.width_px):
                luma = np.empty((frame.height_px, frame.width_px), np.uint8)
            frame.write_luma(luma)
            yield frame, luma
            steps.step()


def _track(
    file: str,
    frames: Iterator[tuple[SourceFrame, Luma]],
    recognizer: Recognizer,
    hints: RecognizeHints,
) -> list[Sighting]:
    """Return the sightings of a video in the order of their first reads; its own time is ours."""
    camera = CameraSettings(name="video", url="-")
    rules = Rules(min_confidence=camera.min_confidence, min_reads=camera.min_reads)
    settings = TrackerSettings()
    tracker = Tracker({file: rules}, settings, "", SightingIds("", random.Random(0)))
    sightings: dict[str, Sighting] = {}
    now_ns = 0
    for number, (frame, luma) in enumerate(frames):
        media_s = number * _FRAME_S if frame.pts_s is None else frame.pts_s
        now_ns = max(now_ns, int(media_s * 1e9))
        stamp = FrameStamp(
            camera=file,
            generation=number,
            captured_unix_ns=now_ns,
            captured_monotonic_ns=now_ns,
            width_px=frame.width_px,
            height_px=frame.height_px,
        )
        reads = tuple(recognizer.recognize(luma, hints))
        fed = tracker.feed(FrameReads(stamp=stamp, reads=reads), now_ns)
        sightings |= {event.sighting.id: event.sighting for event in fed.events}
    after_all_ns = now_ns + int((settings.max_gap_s + 1) * 1e9)
    sightings |= {event.sighting.id: event.sighting for event in tracker.tick(after_all_ns)}
    return sorted(sightings.values(), key=lambda sighting: sighting.first_unix_ms)


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


# --- progress ----------------------------------------------------------------------------------


def _progress(people: Console, options: ReadOptions) -> Progress:
    """Return the progress bar, which shows on a terminal that no other output goes to."""
    quiet = not people.is_terminal or (options.as_json and sys.stdout.isatty())
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("frames"),
        TimeRemainingColumn(),
        console=people,
        transient=True,
        disable=quiet,
        redirect_stdout=False,  # plates go where the caller sent them, not above the bar
    )


class _Steps:
    """Moves the bar frame by frame through all files."""

    def __init__(self, progress: Progress, files: list[str]) -> None:
        self._progress = progress
        shown = not progress.disable
        self._task = progress.add_task("", total=_total_frames(files) if shown else None)

    def begin(self, file: str) -> None:
        self._progress.update(self._task, description=Path(file).name)

    def step(self) -> None:
        self._progress.advance(self._task)


def _total_frames(files: list[str]) -> int:
    """Estimate the frames of all files; unreadable ones count as none."""
    total = 0
    for file in files:
        with contextlib.suppress(SourceError):
            total += count_frames(file) or 0
    return total


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

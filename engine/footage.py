"""Files as recognizers see them: frames with their luma, and a video through a tracker of its own.

What ``platering read`` and ``platering eval`` share, so that both see the same plates.
"""

import contextlib
import random
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, Self

import msgspec
import numpy as np
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from engine.config import CameraSettings, TrackerSettings
from engine.errors import SourceError
from engine.filters import Rules
from engine.sources import SourceFrame, SourceOptions, count_frames, open_source
from engine.sources.images import IMAGE_SUFFIXES
from engine.track import Event
from engine.tracker import SightingIds, Tracker
from engine.types import FrameReads, FrameStamp, Luma, PlateRead, Sighting

_FRAME_S: Final = 1 / 25
"""The time between frames of a video that has no times."""


def is_picture(file: str | Path) -> bool:
    """Tell whether a file is a picture by its name; every other one is tried as a video."""
    return Path(file).suffix.lower() in IMAGE_SUFFIXES


def frames_of(file: str, bar: "FrameBar") -> Iterator[tuple[SourceFrame, Luma]]:
    """Yield every frame with its luma: (H, W) uint8, overwritten by the next frame's.

    Raises:
        SourceError: the file cannot be read.
    """
    luma: Luma = np.empty((0, 0), np.uint8)
    bar.begin(file)
    with contextlib.closing(open_source(file, SourceOptions(play="fast"))) as source:
        for frame in source.frames(lambda: False):
            if luma.shape != (frame.height_px, frame.width_px):
                luma = np.empty((frame.height_px, frame.width_px), np.uint8)
            frame.write_luma(luma)
            yield frame, luma
            bar.step()


class Passage(msgspec.Struct, frozen=True):
    """One vehicle of a video and the JPEG of its plate, empty where no crops were fed."""

    sighting: Sighting
    crop_jpeg: bytes


class VideoTracker:
    """Makes sightings of the reads of one video; the video's own time is the clock."""

    def __init__(self, file: str) -> None:
        """Begin at the start of the file, with the settings that a camera has by default."""
        camera = CameraSettings(name="video", url="-")
        rules = Rules.of(camera)
        self._settings = TrackerSettings()
        ids = SightingIds("", random.Random(0))
        self._tracker = Tracker({file: rules}, self._settings, "", ids)
        self._file = file
        self._frames = 0
        self._now_ns = 0
        self._passages: dict[str, Passage] = {}

    def feed(
        self, frame: SourceFrame, reads: Sequence[PlateRead], crops: Sequence[bytes] = ()
    ) -> None:
        """Take the reads of the next frame, and the JPEG of each where they are wanted."""
        media_s = self._frames * _FRAME_S if frame.pts_s is None else frame.pts_s
        self._now_ns = max(self._now_ns, int(media_s * 1e9))
        stamp = FrameStamp(
            camera=self._file,
            generation=self._frames,
            captured_unix_ns=self._now_ns,
            captured_monotonic_ns=self._now_ns,
            width_px=frame.width_px,
            height_px=frame.height_px,
        )
        fed = FrameReads(stamp=stamp, reads=tuple(reads), crops=tuple(crops))
        self._note(self._tracker.feed(fed, self._now_ns).events)
        self._frames += 1

    def finish(self) -> list[Passage]:
        """End the video; return its vehicles in the order of their first reads."""
        after_all_ns = self._now_ns + int((self._settings.max_gap_s + 1) * 1e9)
        self._note(self._tracker.tick(after_all_ns))
        return sorted(self._passages.values(), key=lambda passage: passage.sighting.first_unix_ms)

    def _note(self, events: Sequence[Event]) -> None:
        """Keep the newest revision of every sighting, and its newest picture."""
        for event in events:
            old = self._passages.get(event.sighting.id)
            crop_jpeg = event.evidence.crop_jpeg if event.evidence else b""
            self._passages[event.sighting.id] = Passage(
                event.sighting, crop_jpeg or (old.crop_jpeg if old else b"")
            )


class FrameBar:
    """A bar on a terminal that moves frame by frame through all files; elsewhere nothing."""

    def __init__(self, people: Console, files: Sequence[str], *, quiet: bool) -> None:
        """Count the frames, which opens every video; ``quiet`` shows no bar anywhere."""
        shown = people.is_terminal and not quiet
        self._progress = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("frames"),
            TimeRemainingColumn(),
            console=people,
            transient=True,
            disable=not shown,
            redirect_stdout=False,  # results go where the caller sent them, not above the bar
        )
        self._task = self._progress.add_task("", total=_total_frames(files) if shown else None)

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, *_exception: object) -> None:
        self._progress.stop()

    def begin(self, file: str) -> None:
        """Show the name of the file under way."""
        self._progress.update(self._task, description=Path(file).name)

    def step(self) -> None:
        """Note that one more frame is done."""
        self._progress.advance(self._task)


def _total_frames(files: Sequence[str]) -> int:
    """Estimate the frames of all files; unreadable ones count as none."""
    total = 0
    for file in files:
        with contextlib.suppress(SourceError):
            total += count_frames(file) or 0
    return total

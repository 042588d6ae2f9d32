"""Runs the recognizers over labelled files, by turns on every picture, and matches their reads."""

import time
from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from engine.evaluation.figures import Figures, figures_of
from engine.evaluation.labels import LabelledFile, LabelSet
from engine.evaluation.matching import PictureOutcome, VideoOutcome, match_picture, match_video
from engine.evaluation.moved import MovedAreas
from engine.evaluation.sheet import ContactSheet
from engine.evidence import crop_jpeg
from engine.footage import FrameBar, VideoTracker, frames_of
from engine.recognizers.base import Locator, RecognizeHints, Recognizer
from engine.types import Box, Luma, PlateRead

_NS_PER_MS: Final = 1e6


class Timed(NamedTuple):
    """The reads of one frame and the CPU time of all threads that they took."""

    reads: list[PlateRead]
    cpu_ms: float


class Contestant:
    """A recognizer under the name it was asked for by, with its stopwatch.

    ``moved_only``: of videos it is shown where they moved, and no frame in which nothing did.
    """

    def __init__(
        self, name: str, recognizer: Recognizer, hints: RecognizeHints, *, moved_only: bool = False
    ) -> None:
        """Take the recognizer; the caller closes it."""
        self.name = name
        self.moved_only = moved_only
        self._recognizer = recognizer
        self._hints = hints
        self._warm = False

    def read(self, luma: Luma, areas: tuple[Box, ...] = ()) -> Timed:
        """Recognize one frame; the very first one twice, because what is loaded then is no work.

        Where there are areas, only they are searched.

        Raises:
            RecognizerError: the recognizer failed on it.
        """
        hints = msgspec.structs.replace(self._hints, areas=areas) if areas else self._hints
        if not self._warm:
            self._recognizer.recognize(luma, hints)
            self._warm = True
        started_ns = time.process_time_ns()
        reads = self._recognizer.recognize(luma, hints)
        return Timed(reads, (time.process_time_ns() - started_ns) / _NS_PER_MS)

    def locate(self, luma: Luma) -> list[Box]:
        """Return where plates are, read or not, if the recognizer tells; nothing is timed."""
        if not isinstance(self._recognizer, Locator):
            return []
        return [Box.around(corners) for corners in self._recognizer.locate(luma)]


class Outcomes(msgspec.Struct):
    """What one recognizer made of the files so far."""

    pictures: list[PictureOutcome] = []
    videos: list[VideoOutcome] = []

    def figures(self) -> Figures:
        """Sum up."""
        return figures_of(self.pictures, self.videos)

    def add(self, other: "Outcomes") -> None:
        """Take in those of further files."""
        self.pictures += other.pictures
        self.videos += other.videos


def measure(
    labels: LabelSet,
    contestants: Sequence[Contestant],
    bar: FrameBar,
    sheet: ContactSheet | None,
) -> list[Outcomes]:
    """Let everyone read every file; return the outcomes in the order of the contestants.

    Misses go to the sheet, if there is one.

    Raises:
        SourceError: a file cannot be read.
        RecognizerError: a recognizer failed on a frame.
    """
    outcomes = [Outcomes() for _ in contestants]
    for file in labels.files:
        if file.is_picture:
            pictures = _picture(file, contestants, bar, sheet)
            for outcome, picture in zip(outcomes, pictures, strict=True):
                outcome.pictures.append(picture)
        else:
            videos = _video(file, contestants, bar, with_crops=sheet is not None)
            for outcome, video in zip(outcomes, videos, strict=True):
                outcome.videos.append(video)
            if sheet is not None:
                sheet.add_video(file, videos)
    return outcomes


def _picture(
    file: LabelledFile,
    contestants: Sequence[Contestant],
    bar: FrameBar,
    sheet: ContactSheet | None,
) -> list[PictureOutcome]:
    outcomes: list[PictureOutcome] = []
    for _frame, luma in frames_of(file.path, bar):
        timed = [contestant.read(luma) for contestant in contestants]
        outcomes = [
            match_picture(file.plates, one.reads, one.cpu_ms, contestant.locate(luma))
            for one, contestant in zip(timed, contestants, strict=True)
        ]
        if sheet is not None:
            sheet.add_picture(file, luma, outcomes)
    return outcomes


def _video(
    file: LabelledFile, contestants: Sequence[Contestant], bar: FrameBar, *, with_crops: bool
) -> list[VideoOutcome]:
    trackers = [VideoTracker(file.path) for _ in contestants]
    cpu_ms: list[list[float]] = [[] for _ in contestants]
    reads = [0 for _ in contestants]
    moved = MovedAreas()
    for frame, luma in frames_of(file.path, bar):
        areas = moved.next(frame)
        for number, contestant in enumerate(contestants):
            timed = _read_video_frame(contestant, luma, areas)
            cpu_ms[number].append(timed.cpu_ms)
            reads[number] += len(timed.reads)
            cropped = timed.reads if with_crops else ()
            crops = [crop_jpeg(luma, luma.shape[0], read.box) for read in cropped]
            trackers[number].feed(frame, timed.reads, crops)
    expected = [plate.text for plate in file.plates if plate.text]
    return [
        VideoOutcome(*match_video(expected, tracker.finish()), count, tuple(spent_ms))
        for tracker, count, spent_ms in zip(trackers, reads, cpu_ms, strict=True)
    ]


def _read_video_frame(contestant: Contestant, luma: Luma, areas: tuple[Box, ...] | None) -> Timed:
    """Let one recognizer read a frame of a video; ``areas`` moved, None: nothing did."""
    if not contestant.moved_only:
        return contestant.read(luma)
    return contestant.read(luma, areas) if areas else Timed([], 0.0)

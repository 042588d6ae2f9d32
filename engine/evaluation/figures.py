"""The figures of an evaluation, each defined where it is computed."""

from collections.abc import Iterable, Sequence
from typing import Final

import msgspec
import numpy as np

from engine.evaluation.matching import (
    PictureOutcome,
    PlateMatch,
    VideoOutcome,
    edit_distance,
)

_BINS: Final = 10
"""Of confidence, each ten points wide."""


class Figures(msgspec.Struct, frozen=True, kw_only=True):
    """What ``platering eval`` reports; shares are 0 to 1, None is what the labels do not tell."""

    images: int
    """Labelled pictures."""
    detection: float | None
    """Share of boxed plates that were found where they are (intersection over union > 0.3), read or
    not; of a recognizer that tells only of what it reads, its reads are taken."""
    exact: float | None
    """Share of plates with a text whose read has every character right."""
    exact_lookalike: float | None
    """The same with O = 0 and I = 1."""
    character_error_rate: float | None
    """Edits from the reads to the texts over the characters of the texts; an unread plate counts
    with all its characters."""
    false_per_image: float | None
    """Reads that match no plate, per picture."""
    calibration_error: float | None
    """Expected calibration error: |confidence - share of right reads| of every ten points of
    confidence, weighted by reads. Right is right with look-alikes equal."""
    cpu_ms_median: float | None
    """CPU time of all threads for one picture or frame, without decoding it."""
    cpu_ms_p90: float | None
    expected: int | None
    """Vehicles that pass in the videos."""
    found_once: int | None
    """Of these, those told of exactly once with the right plate (O = 0, I = 1)."""
    wrong_text: int | None
    """Sightings of an expected vehicle with a wrong plate."""
    duplicates: int | None
    """Further sightings of a vehicle that was already told of with its right plate."""
    false: int | None
    """Sightings of nothing that is expected."""
    detection_by_reads: float | None
    """Share of boxed plates with a read that overlaps them as much."""
    false_per_frame: float | None
    """Reads per frame of the videos without any plate, before the tracker."""


class FigureRow(msgspec.Struct, frozen=True):
    """One line of a table for people: a figure of every recognizer."""

    name: str
    cells: tuple[str, ...]


_NAMES: Final = {
    "images": "Pictures",
    "detection": "Plates found (overlap > 0.3)",
    "detection_by_reads": "Plates found and read",
    "exact": "Read exactly",
    "exact_lookalike": "Read exactly, O = 0 and I = 1",
    "character_error_rate": "Character errors",
    "false_per_image": "Reads of no plate, per picture",
    "calibration_error": "Calibration error",
    "expected": "Vehicles expected",
    "found_once": "Found once, with the right plate",
    "wrong_text": "Told with a wrong plate",
    "duplicates": "Told again",
    "false": "Told of, but not there",
    "false_per_frame": "Reads per frame without a plate",
    "cpu_ms_median": "CPU ms per picture or frame, median",
    "cpu_ms_p90": "CPU ms per picture or frame, 9 of 10",
}
_PERCENT: Final = frozenset(
    {"detection", "detection_by_reads", "exact", "exact_lookalike"}
    | {"character_error_rate", "calibration_error"}
)


def figure_rows(columns: Sequence[Figures]) -> list[FigureRow]:
    """Put the figures of several recognizers side by side, without those that nobody has."""
    rows = []
    for field, name in _NAMES.items():
        values = [getattr(figures, field) for figures in columns]
        if any(value is not None for value in values):
            rows.append(FigureRow(name, tuple(_cell(field, value) for value in values)))
    return rows


def _cell(field: str, value: float | None) -> str:
    if value is None:
        return "–"
    if field in _PERCENT:
        return f"{100 * value:.1f} %"
    if isinstance(value, int):
        return str(value)
    return f"{value:.1f}" if field.startswith("cpu") else f"{value:.3f}"


def figures_of(pictures: Sequence[PictureOutcome], videos: Sequence[VideoOutcome]) -> Figures:
    """Sum up what one recognizer made of pictures and videos, at least one of either."""
    matches = [match for picture in pictures for match in picture.matches]
    boxed = [match for match in matches if match.plate.box is not None]
    written = [match for match in matches if match.plate.text is not None]
    strays = [len(picture.strays) for picture in pictures]
    cpu_ms = [picture.cpu_ms for picture in pictures]
    cpu_ms += [frame_ms for video in videos for frame_ms in video.cpu_ms]
    vehicles = [vehicle for video in videos for vehicle in video.vehicles]
    return Figures(
        images=len(pictures),
        detection=_share([match.detected for match in boxed]),
        exact=_share([match.exact for match in written]),
        exact_lookalike=_share([match.alike for match in written]),
        character_error_rate=_character_error_rate(written),
        false_per_image=_rounded(sum(strays) / len(pictures)) if pictures else None,
        calibration_error=_calibration_error(pictures),
        cpu_ms_median=_percentile(cpu_ms, 50),
        cpu_ms_p90=_percentile(cpu_ms, 90),
        expected=len(vehicles) if videos else None,
        found_once=sum(len(v.right) == 1 for v in vehicles) if videos else None,
        wrong_text=sum(len(v.wrong) for v in vehicles) if videos else None,
        duplicates=sum(max(0, len(v.right) - 1) for v in vehicles) if videos else None,
        false=sum(len(video.strays) for video in videos) if videos else None,
        detection_by_reads=_share([match.detected_by_read for match in boxed]),
        false_per_frame=_false_per_frame(videos),
    )


def _share(answers: Sequence[bool]) -> float | None:
    return _rounded(sum(answers) / len(answers)) if answers else None


def _percentile(cpu_ms: Sequence[float], percent: int) -> float | None:
    return round(float(np.percentile(cpu_ms, percent)), 2) if cpu_ms else None


def _rounded(number: float) -> float:
    return round(number, 4)


def _character_error_rate(matches: Iterable[PlateMatch]) -> float | None:
    edits = characters = 0
    for match in matches:
        text = match.plate.text or ""
        characters += len(text)
        edits += edit_distance(match.read.plate if match.read else "", text)
    return _rounded(edits / characters) if characters else None


def _calibration_error(pictures: Iterable[PictureOutcome]) -> float | None:
    """Compare confidence and truth of all reads in the pictures whose texts are all known."""
    confidences: list[float] = []
    right: list[bool] = []
    for picture in pictures:
        if any(match.plate.text is None for match in picture.matches):
            continue
        for match in picture.matches:
            if match.read is not None:
                confidences.append(match.read.confidence / 100)
                right.append(match.alike)
        confidences += [read.confidence / 100 for read in picture.strays]
        right += [False] * len(picture.strays)
    if not confidences:
        return None
    sure, truth = np.array(confidences), np.array(right, dtype=float)
    bins = np.minimum((sure * _BINS).astype(int), _BINS - 1)
    gaps = [abs(float((sure - truth)[bins == number].sum())) for number in range(_BINS)]
    return _rounded(sum(gaps) / len(sure))


def _false_per_frame(videos: Iterable[VideoOutcome]) -> float | None:
    empty = [video for video in videos if not video.vehicles]
    frames = sum(len(video.cpu_ms) for video in empty)
    return _rounded(sum(video.reads for video in empty) / frames) if frames else None

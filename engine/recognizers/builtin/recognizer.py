"""The built-in recognizer: detect, look from near, straighten, read, weigh."""

import time
from typing import Final, NamedTuple

from engine.config import Provider
from engine.recognizers.base import NO_HINTS, RecognizeHints
from engine.recognizers.builtin.detector import Detection, PlateDetector
from engine.recognizers.builtin.geometry import Quad, box_around, corners_of, height_px
from engine.recognizers.builtin.network import Network
from engine.recognizers.builtin.ranking import confidence, guess_region, in_any_spelling, rank
from engine.recognizers.builtin.reader import PlateReader
from engine.recognizers.builtin.straighten import straighten
from engine.types import Box, Candidate, Corners, Luma, PlateRead

VERSION: Final = "roads-3"
"""The weights and the calibration; see ``weights/MODEL_CARD.md``."""

_MOST_PLATES: Final = 10
_LEAST_PROBABILITY: Final = 0.3
"""Of a place that the detector names; below, not one in 300 legible plates was found."""
_LEAST_TOGETHER: Final = 1.5
"""Of how likely a place is from afar and, twice, from near; below, one of 313 legible plates."""
_LEAST_HEIGHT_PX: Final = 7.0
"""Of a plate; of 70 lower ones of photographs, none was legible."""
_SETTLED: Final = 50.0
"""A plate read with this confidence is not read again from another detection of it."""
_OVERLAP: Final = 0.25
_LEAST_CONFIDENCE: Final = 20.0
"""Reads less sure than this are noise and not reported."""


class _Draft(NamedTuple):
    """A plate that was read, before the frame is finished."""

    quad: Quad
    box: Box
    candidates: tuple[Candidate, ...]

    @property
    def confidence(self) -> float:
        """The confidence of the best candidate."""
        return self.candidates[0].confidence


class BuiltinRecognizer:
    """Reads every plate of a luma frame with two small networks, on one core.

    Follows ``engine.recognizers.base.Recognizer``; nothing is shared between two of them.
    """

    name = "builtin"
    version = VERSION

    def __init__(self, provider: Provider = "cpu") -> None:
        """Load both networks from the package.

        Raises:
            RecognizerError: the weights are missing or damaged.
        """
        detector, reader = Network("det.onnx", provider), Network("ocr.onnx", provider)
        self.provider = detector.provider
        self._detector, self._reader = PlateDetector(detector), PlateReader(reader)

    def recognize(self, frame: Luma, hints: RecognizeHints = NO_HINTS) -> list[PlateRead]:
        """Return every plate read in the frame, the most confident first.

        frame: (H, W) uint8 luma of any size, perhaps read-only, rows perhaps padded; it is only
        read, and neither kept nor copied except into the detector's small picture.
        """
        if frame.size == 0:
            return []
        started_ns = time.perf_counter_ns()
        found = [
            detection
            for detection in self._detector.detect(
                frame, _LEAST_PROBABILITY, _MOST_PLATES, hints.areas
            )
            if _wanted(detection.quad, hints)
        ]
        drafts: list[_Draft] = []
        for detection in found:
            draft = self._read(frame, detection, hints, drafts)
            if draft is not None:
                drafts.append(draft)
        elapsed_ms = (time.perf_counter_ns() - started_ns) / 1e6
        return [_finished(draft, hints, elapsed_ms) for draft in _distinct(drafts)]

    def locate(self, frame: Luma) -> list[Corners]:
        """Return the corners of all plates that are found, legible or not, the likeliest first.

        frame: (H, W) uint8 luma as above. These are the places that ``recognize`` tries to read.
        """
        found = self._detector.detect(frame, _LEAST_PROBABILITY, _MOST_PLATES)
        near = [self._detector.focus(frame, detection) for detection in found]
        return [corners_of(detection.quad) for detection in near if detection is not None]

    def close(self) -> None:
        """Drop both networks; their memory is freed with the last reference."""
        del self._detector, self._reader

    def _read(
        self,
        frame: Luma,
        detection: Detection,
        hints: RecognizeHints,
        drafts: list[_Draft],
    ) -> _Draft | None:
        """Read one plate; nothing where no text is likely enough, or it is one of the drafts."""
        focused = self._detector.focus(frame, detection)
        if focused is None or not _may_be_legible(detection, focused):
            return None
        box = box_around(focused.quad)
        if any(draft.confidence >= _SETTLED and _same_plate(box, draft.box) for draft in drafts):
            return None
        quad = straighten(frame, focused.quad)
        evidence = self._reader.read(frame, quad)
        ranked = rank(evidence, hints.regions)
        if not ranked:
            return None
        sure = confidence(in_any_spelling(ranked), focused.probability, height_px(quad))
        if sure < _LEAST_CONFIDENCE:
            return None
        best = ranked[0][1]
        candidates = tuple(
            Candidate(text, round(sure * posterior / best, 2))
            for text, posterior in ranked[: max(1, hints.topn)]
        )
        return _Draft(quad, box_around(quad), candidates)


def _may_be_legible(afar: Detection, near: Detection) -> bool:
    """Tell whether a place is likely enough to be a plate, and large enough to be read."""
    likely = afar.probability + 2 * near.probability >= _LEAST_TOGETHER
    return likely and height_px(near.quad) >= _LEAST_HEIGHT_PX


def _same_plate(one: Box, other: Box) -> bool:
    """Tell whether two boxes hold one plate: plates never overlap, looks at one plate do."""
    return one.iou(other) > _OVERLAP


def _distinct(drafts: list[_Draft]) -> list[_Draft]:
    """Return the drafts, the most confident first, without further reads of the same plate."""
    kept: list[_Draft] = []
    for draft in sorted(drafts, key=lambda draft: -draft.confidence):
        if not any(_same_plate(draft.box, better.box) for better in kept):
            kept.append(draft)
    return kept


def _wanted(quad: Quad, hints: RecognizeHints) -> bool:
    """Tell whether a plate lies where plates are asked for, and is none that is known already."""
    x, y = (float(part) for part in quad.mean(axis=0))
    if hints.areas and not any(_holds(area, x, y) for area in hints.areas):
        return False
    return not any(_holds(place, x, y) for place in hints.known)


def _holds(box: Box, x: float, y: float) -> bool:
    return box.x <= x < box.x + box.width and box.y <= y < box.y + box.height


def _finished(draft: _Draft, hints: RecognizeHints, elapsed_ms: float) -> PlateRead:
    """Put a plate into the words of the engine."""
    best = draft.candidates[0]
    return PlateRead(
        plate=best.plate,
        confidence=best.confidence,
        candidates=draft.candidates,
        corners=corners_of(draft.quad),
        region=guess_region(best.plate, hints.regions),
        recognizer=BuiltinRecognizer.name,
        elapsed_ms=elapsed_ms,
    )

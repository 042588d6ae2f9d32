"""The motion gate on real clips and the simulator: what it spares, and that it costs no plate."""

import contextlib
import csv
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pytest

from engine.attention import Attention, Glimpse, Savings, Verdict
from engine.footage import VideoTracker
from engine.motion import MotionGate
from engine.recognizers.base import Recognizer
from engine.recognizers.builtin import BuiltinRecognizer
from engine.sources import SourceOptions, open_source
from engine.sources.base import SourceFrame
from engine.types import Box, PlateRead

CLIPS = (
    "uk_junction_aiguys.mp4",
    "in_keshavoct.mp4",
    "vn_tollgate_parkpow.mp4",
    "neg_intel_car-detection.mp4",
)
LEGIBLE = 60.0
EVERY_TH = {"neg_intel_car-detection.mp4": 10}
"""Of a clip without plates a part is enough."""


@pytest.fixture(scope="module")
def recognizer() -> Iterator[Recognizer]:
    with contextlib.closing(BuiltinRecognizer()) as builtin:
        yield builtin


class Spared(NamedTuple):
    """What the gate and the search of nothing but what moved spared, and what they cost."""

    plates: list[str]
    """Without either."""
    plates_with_both: list[str]
    share_skipped: float
    """Of the frames."""
    share_searched: float
    """Of the pixels of all frames."""
    lost_reads: int
    """Sure reads in frames left out, or beside what was searched."""


def spared(url: str, recognizer: Recognizer, step: int = 1) -> Spared:
    """Recognize every frame, with and without what a camera's attention leaves out."""
    attention = Attention(MotionGate(), Savings(focus=True))
    every, gated = VideoTracker("clip"), VideoTracker("clip")
    luma = np.empty((0, 0), np.uint8)
    frames, skipped, lost_reads, searched = 0, 0, 0, 0.0
    with contextlib.closing(open_source(url, SourceOptions(play="fast"))) as source:
        for frame in source.frames(lambda: False):
            frames += 1
            verdict = attention.judge(glimpse(frame), ())
            skipped += verdict.skip is not None
            searched += share_of(frame, verdict)
            if frames % step:
                continue
            if luma.shape != (frame.height_px, frame.width_px):
                luma = np.empty((frame.height_px, frame.width_px), np.uint8)
            frame.write_luma(luma)
            reads = recognizer.recognize(luma)
            every.feed(frame, reads)
            found = [read for read in reads if is_searched(read, verdict)]
            lost_reads += sum(r.confidence >= LEGIBLE for r in reads if r not in found)
            if verdict.skip is None:
                gated.feed(frame, found)
    plates = [sorted({p.sighting.plate for p in tracker.finish()}) for tracker in (every, gated)]
    return Spared(*plates, skipped / frames, searched / frames, lost_reads)


def glimpse(frame: SourceFrame) -> Glimpse:
    """Return what is known of a frame of a clip before it is recognized."""
    at_s = frame.pts_s or 0.0
    return Glimpse(frame.preview(), at_s, int(at_s * 1e9), frame.width_px, frame.height_px)


def share_of(frame: SourceFrame, verdict: Verdict) -> float:
    """Return the share of a frame's pixels that is searched; areas may overlap."""
    if verdict.skip is not None:
        return 0.0
    pixels = sum(area.width * area.height for area in verdict.areas)
    return min(1.0, pixels / (frame.width_px * frame.height_px)) if verdict.areas else 1.0


def is_searched(read: PlateRead, verdict: Verdict) -> bool:
    """Tell whether the middle of a plate lies where somebody looks."""
    box = Box.around(read.corners)
    x, y = box.x + box.width / 2, box.y + box.height / 2
    return verdict.skip is None and (
        not verdict.areas
        or any(a.x <= x <= a.x + a.width and a.y <= y <= a.y + a.height for a in verdict.areas)
    )


def record(seen: Spared, record_property: Callable[[str, object], None]) -> None:
    """Write down what was spared."""
    for name, value in seen._asdict().items():
        record_property(name, round(value, 3) if isinstance(value, float) else value)


@pytest.mark.long
@pytest.mark.shared
@pytest.mark.parametrize("clip", CLIPS)
def test_no_plate_of_a_clip_is_lost(
    shared_data: Path,
    recognizer: Recognizer,
    clip: str,
    record_property: Callable[[str, object], None],
) -> None:
    with (shared_data / "video.csv").open() as table:
        truth = {row["file"]: set(row["plates"].split("|")) for row in csv.DictReader(table)}
    step = EVERY_TH.get(clip, 1)
    seen = spared(str(shared_data / "video" / clip), recognizer, step)
    record(seen, record_property)
    assert seen.plates == seen.plates_with_both
    assert set(seen.plates) >= truth[f"video/{clip}"] - {""}


@pytest.mark.long
@pytest.mark.parametrize("density", [0.05, 1.0])
def test_no_plate_of_the_simulator_is_lost(
    recognizer: Recognizer, density: float, record_property: Callable[[str, object], None]
) -> None:
    url = f"demo://?seed=11&density={density}&seconds=60&width=960&height=540&fps=10"
    seen = spared(url, recognizer)
    record(seen, record_property)
    assert seen.plates
    assert seen.plates == seen.plates_with_both

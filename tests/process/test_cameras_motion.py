"""The motion gate on real clips and the simulator: what it saves, and that it costs no plate."""

import contextlib
import csv
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from engine.footage import VideoTracker
from engine.motion import MotionGate
from engine.recognizers.base import Recognizer
from engine.recognizers.builtin import BuiltinRecognizer
from engine.sources import SourceOptions, open_source

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


def sightings(
    url: str, recognizer: Recognizer, step: int = 1
) -> tuple[set[str], set[str], float, int]:
    """Return plates without the gate, plates with it, the share skipped, sure reads skipped."""
    gate, skipped, lost_reads = MotionGate(), 0, 0
    every, gated = VideoTracker("clip"), VideoTracker("clip")
    luma = np.empty((0, 0), np.uint8)
    with contextlib.closing(open_source(url, SourceOptions(play="fast"))) as source:
        number = 0
        for number, frame in enumerate(source.frames(lambda: False), 1):
            passes = gate.changed(frame.preview(), frame.pts_s or 0.0)
            skipped += not passes
            if number % step:
                continue
            if luma.shape != (frame.height_px, frame.width_px):
                luma = np.empty((frame.height_px, frame.width_px), np.uint8)
            frame.write_luma(luma)
            reads = recognizer.recognize(luma)
            every.feed(frame, reads)
            lost_reads += 0 if passes else sum(read.confidence >= LEGIBLE for read in reads)
            if passes:
                gated.feed(frame, reads)
    found = [{p.sighting.plate for p in tracker.finish()} for tracker in (every, gated)]
    return found[0], found[1], skipped / number, lost_reads


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
    every, gated, share, lost = sightings(str(shared_data / "video" / clip), recognizer, step)
    expected = truth[f"video/{clip}"] - {""}
    record_property("share_skipped", round(share, 3))
    record_property("plates", f"all {sorted(every)}, gated {sorted(gated)}; sure reads lost {lost}")
    assert every & expected <= gated & expected


@pytest.mark.long
@pytest.mark.parametrize("density", [0.05, 1.0])
def test_no_plate_of_the_simulator_is_lost(
    recognizer: Recognizer, density: float, record_property: Callable[[str, object], None]
) -> None:
    url = f"demo://?seed=11&density={density}&seconds=60&width=960&height=540&fps=10"
    every, gated, share, lost = sightings(url, recognizer)
    record_property("share_skipped", round(share, 3))
    record_property("plates", f"all {sorted(every)}, gated {sorted(gated)}; sure reads lost {lost}")
    assert every
    assert every == gated

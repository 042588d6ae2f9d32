"""What one frame costs here, alone on a core: from its packet to its slot, and recognized.

The demo's road at usual sizes of cameras, as H.264. The pictures lie a quarter of a second apart,
so that each differs more from the one before than a camera's does: costs lean to the safe side.
"""

import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import msgspec
import numpy as np

from engine.benchmarks.answer import print_figures, say
from engine.benchmarks.clip import write_clip
from engine.config import Settings
from engine.evidence import crop_jpeg, frame_jpeg
from engine.motion import MotionGate
from engine.recognizers.base import Recognizer
from engine.recognizers.registry import open_recognizer
from engine.sources import SourceOptions, open_source
from engine.sources.scene import DemoScene
from engine.types import Luma

SIZES_PX: Final = ((1280, 720), (1920, 1080), (3840, 2160))
FRAMES: Final = 40
FEW_FRAMES: Final = 20
DECODINGS: Final = 3
"""Of each clip; what counts is their median."""
_EVERY_S: Final = 0.25


class FrameCosts(msgspec.Struct, frozen=True, kw_only=True):
    """What one frame of a size costs here, in CPU time of one core."""

    width_px: int
    height_px: int
    decode_cpu_ms: float
    """The look for what moves included."""
    recognize_cpu_ms: float
    evidence_bytes: int
    """The pictures of a sighting."""


class RecognizeFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What ``platering bench recognize`` prints."""

    recognizer: str
    sizes: tuple[FrameCosts, ...]
    """From the smallest on."""


def measure(
    sizes_px: Sequence[tuple[int, int]], settings: Settings, frames: int = FRAMES
) -> RecognizeFigures:
    """Measure frames of these sizes with the recognizer of these settings, in some seconds."""
    pool = settings.recognizers
    recognizer = open_recognizer(settings.recognizer, settings.openalpr, pool.provider).recognizer
    try:
        costs = [_costs(recognizer, *size_px, frames) for size_px in sizes_px]
    finally:
        recognizer.close()
    return RecognizeFigures(recognizer=recognizer.name, sizes=tuple(costs))


def _costs(recognizer: Recognizer, width_px: int, height_px: int, frames: int) -> FrameCosts:
    scene = DemoScene(7, width_px, height_px, density=2)
    lumas = [np.ascontiguousarray(scene.luma(index * _EVERY_S)) for index in range(frames)]
    recognizer.recognize(lumas[0])
    recognizing = _cpu_ms(lambda: [recognizer.recognize(luma) for luma in lumas])
    pictures = [
        len(crop_jpeg(luma, height_px, read.box)) + len(frame_jpeg(luma, height_px))
        for luma in lumas[:FEW_FRAMES]
        for read in recognizer.recognize(luma)
    ]
    return FrameCosts(
        width_px=width_px,
        height_px=height_px,
        decode_cpu_ms=round(_decoding_cpu_ms(lumas), 3),
        recognize_cpu_ms=round(recognizing / len(lumas), 3),
        evidence_bytes=int(statistics.mean(pictures)) if pictures else 0,
    )


def _decoding_cpu_ms(lumas: list[Luma]) -> float:
    """Return what a frame of H.264 costs from its packet to its slot, judged for motion."""
    height, width = lumas[0].shape
    target = np.empty((height, width), np.uint8)
    with tempfile.TemporaryDirectory(prefix="plt-bench-") as folder:
        clip = write_clip(Path(folder) / "clip.mp4", lumas, fps=15)

        def decode() -> None:
            gate = MotionGate()
            source = open_source(str(clip), SourceOptions(play="fast"))
            for number, frame in enumerate(source.frames(lambda: False)):
                gate.changed(frame.preview(), number * _EVERY_S)
                frame.write_luma(target)

        decode()
        return statistics.median(_cpu_ms(decode) for _ in range(DECODINGS)) / len(lumas)


def _cpu_ms(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e3


def run(*, as_json: bool, brief: bool) -> int:
    """Measure and print, for ``platering bench recognize``; return the exit code."""
    say("what a frame costs")
    settings = Settings(recognizer="builtin")
    figures = measure(SIZES_PX, settings, FEW_FRAMES if brief else FRAMES)
    if as_json:
        return print_figures(figures, as_json=True)
    for one in figures.sizes:
        size = f"{one.width_px}x{one.height_px}"
        sys.stdout.write(
            f"{size:<10} decode {one.decode_cpu_ms:>6.2f} CPU-ms   "
            f"{figures.recognizer} {one.recognize_cpu_ms:>6.2f} CPU-ms   "
            f"pictures {one.evidence_bytes / 1e3:.0f} KB\n"
        )
    return 0

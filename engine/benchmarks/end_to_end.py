"""What the whole engine costs beside its recognizer: one clip through both, in turns.

The engine is the real one: a file camera played as fast as it is taken, its ring, the pool, the
publisher, an embedded Redis, no web front. The bare loop is the same recognizer over the same
frames, decoded before, in as many processes as the pool has. Clip: the demo's road as H.264.
"""

import contextlib
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import cv2
import msgspec
import numpy as np

from engine.benchmarks.answer import print_figures, say
from engine.benchmarks.clip import write_clip
from engine.benchmarks.running import running_engine
from engine.cores import usable_cores
from engine.errors import PreflightError
from engine.messages import EngineStatus
from engine.recognizers.builtin import BuiltinRecognizer
from engine.sources import SourceOptions, open_source
from engine.sources.scene import DemoScene
from engine.types import CameraState

WIDTH_PX: Final = 1280
HEIGHT_PX: Final = 720
FPS: Final = 15
WARM_FRAMES: Final = 10
"""The first frames of each are not measured."""
CAMERA: Final = "clip"
FRAMES: Final = 240
ROUNDS: Final = 3
FEW_ROUNDS: Final = 1


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What recognizing a clip took in one measured run."""

    frames: int
    seconds: float
    cpu_s: float
    """Of every process that took part; of a bare loop without decoding."""
    decoding_cpu_s: float = 0.0
    """Of a bare loop: what decoding these frames took."""
    dropped: int = 0

    @property
    def fps(self) -> float:
        """Frames per second."""
        return self.frames / self.seconds


class EndToEndFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What ``platering bench end-to-end`` prints."""

    workers: int
    engine_fps: float
    bare_fps: float
    """Of all bare loops together."""
    ratio: float
    """Engine over bare: 1 when all but the recognizer cost nothing, or ran on cores of its own."""
    engine_cpu_ms_per_frame: float
    bare_cpu_ms_per_frame: float
    decoding_cpu_ms_per_frame: float
    """Of the bare loops, before they recognize: from the clip to luma."""
    recognizer_share: float
    """Of the engine's CPU time: what the bare loop needs for as many frames."""
    other_share: float
    """Of the engine's CPU time: what is neither recognizing nor decoding, each as in bare loops."""
    crowding: float
    """CPU of a frame in so many bare loops at once, over that in one alone: what cores share."""
    dropped: int
    """Frames that the engine did not recognize; 0, for files wait."""


def render_clip(path: Path, frames: int) -> None:
    """Write so many frames of the demo's road as an H.264 clip of 1280x720."""
    scene = DemoScene(7, WIDTH_PX, HEIGHT_PX, density=2)
    write_clip(path, (scene.luma(index / FPS) for index in range(frames)), fps=FPS, crf=20)


def bare_loops(clip: Path, workers: int) -> Spent:
    """Run the recognizer alone over the clip, in so many processes at once."""
    command = [sys.executable, "-m", "engine.benchmarks.end_to_end", str(clip)]
    with contextlib.ExitStack() as stack:
        loops = []
        for _ in range(workers):
            loop = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
            stack.enter_context(loop)
            stack.callback(loop.kill)  # of no effect on one that ended
            loops.append(loop)
        for loop in loops:
            if loop.stdout is None or loop.stdout.readline() != b"ready\n":
                raise PreflightError("a bare loop did not start")
        for loop in loops:  # all of them before any is waited for
            if loop.stdin is not None:
                loop.stdin.write(b"go\n")
                loop.stdin.flush()
        answers = [loop.communicate()[0] for loop in loops]
    spent = [msgspec.json.decode(answer, type=Spent) for answer in answers]
    return Spent(
        frames=sum(one.frames for one in spent),
        seconds=max(one.seconds for one in spent),
        cpu_s=sum(one.cpu_s for one in spent),
        decoding_cpu_s=sum(one.decoding_cpu_s for one in spent),
    )


def bare_loop(clip: Path) -> Spent:
    """Recognize every frame of the clip once its reader says go; the main of a bare loop."""
    cv2.setNumThreads(1)
    recognizer = BuiltinRecognizer()
    lumas = []
    decoding_s = time.process_time()
    source = open_source(str(clip), SourceOptions(play="fast"))
    for frame in source.frames(lambda: False):
        luma = np.empty((frame.height_px, frame.width_px), np.uint8)
        frame.write_luma(luma)
        lumas.append(luma)
    decoding_s = time.process_time() - decoding_s
    for luma in lumas[:WARM_FRAMES]:
        recognizer.recognize(luma)
    sys.stdout.write("ready\n")
    sys.stdout.flush()
    sys.stdin.readline()
    began_s, cpu_s = time.monotonic(), time.process_time()
    for luma in lumas[WARM_FRAMES:]:
        recognizer.recognize(luma)
    return Spent(
        frames=len(lumas) - WARM_FRAMES,
        seconds=time.monotonic() - began_s,
        cpu_s=time.process_time() - cpu_s,
        decoding_cpu_s=decoding_s * (len(lumas) - WARM_FRAMES) / len(lumas),
    )


def engine(clip: Path, workers: int, folder: Path) -> Spent:
    """Run the engine over the clip; ``folder`` gets its configuration and data.

    Raises:
        PreflightError: it did not get through the clip in time or without a death.
    """
    camera = {"name": CAMERA, "url": str(clip), "play": "fast", "skip_static": False}
    lines = ['recognizer = "builtin"', "[[cameras]]"]
    lines += [f"{key} = {json.dumps(value)}" for key, value in camera.items()]
    lines += ["[recognizers]", f"count = {workers}"]
    with running_engine(folder, "engine", lines) as running:
        first = running.wait_for(_has_warmed_up, "its first frames")
        began_s, cpu_s = time.monotonic(), running.cpu_s()
        last = running.wait_for(_is_through, "the end of the clip")
        seconds, cpu_s = time.monotonic() - began_s, running.cpu_s() - cpu_s
    (before,), (after,) = first.cameras, last.cameras
    return Spent(
        frames=after.ledger["recognized"] - before.ledger["recognized"],
        seconds=seconds,
        cpu_s=cpu_s,
        dropped=after.ledger["captured"] - after.ledger["recognized"],
    )


def _has_warmed_up(status: EngineStatus) -> bool:
    return all(camera.ledger["recognized"] >= WARM_FRAMES for camera in status.cameras)


def _is_through(status: EngineStatus) -> bool:
    (camera,) = status.cameras
    return camera.state is CameraState.ENDED and not camera.in_flight


def measure(folder: Path, *, workers: int, frames: int, rounds: int) -> EndToEndFigures:
    """Measure engine and bare loop in turns; ``folder`` is empty and the caller's."""
    clip = folder / "clip.mp4"
    render_clip(clip, frames)
    alone_ms = _cpu_ms([bare_loops(clip, 1)]) if workers > 1 else 0.0
    pairs = []
    for number in range(rounds):
        home = folder / str(number)
        home.mkdir()
        pairs.append((bare_loops(clip, workers), engine(clip, workers, home)))
    bare_fps = statistics.median(bare.fps for bare, _ in pairs)
    engine_fps = statistics.median(ours.fps for _, ours in pairs)
    bare_ms = _cpu_ms([bare for bare, _ in pairs])
    engine_ms = _cpu_ms([ours for _, ours in pairs])
    decoding_ms = statistics.median(1e3 * bare.decoding_cpu_s / bare.frames for bare, _ in pairs)
    return EndToEndFigures(
        workers=workers,
        engine_fps=round(engine_fps, 2),
        bare_fps=round(bare_fps, 2),
        ratio=round(statistics.median(ours.fps / bare.fps for bare, ours in pairs), 3),
        engine_cpu_ms_per_frame=round(engine_ms, 2),
        bare_cpu_ms_per_frame=round(bare_ms, 2),
        decoding_cpu_ms_per_frame=round(decoding_ms, 2),
        recognizer_share=round(bare_ms / engine_ms, 3),
        other_share=round(1 - (bare_ms + decoding_ms) / engine_ms, 3),
        crowding=round(bare_ms / alone_ms, 3) if workers > 1 else 1.0,
        dropped=sum(ours.dropped for _, ours in pairs),
    )


def _cpu_ms(runs: list[Spent]) -> float:
    return statistics.median(1e3 * run.cpu_s / run.frames for run in runs)


def run(*, as_json: bool, brief: bool) -> int:
    """Measure and print, for ``platering bench end-to-end``; return the exit code."""
    workers = usable_cores()
    rounds = FEW_ROUNDS if brief else ROUNDS
    say(f"engine and bare recognition in turns, {workers} recognizers, {rounds} rounds")
    with tempfile.TemporaryDirectory(prefix="plt-bench-") as folder:
        figures = measure(Path(folder), workers=workers, frames=FRAMES, rounds=rounds)
    return print_figures(figures, as_json=as_json)


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(bare_loop(Path(sys.argv[1]))).decode())

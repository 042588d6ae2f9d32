"""What the whole engine costs beside its recognizer: one clip through both, in turns.

The engine is the real one: a file camera played as fast as it is taken, its ring, the pool, the
publisher, an embedded Redis, no web front. The bare loop is the same recognizer over the same
frames, decoded before, in as many processes as the pool has. Clip: the demo's road as H.264.
"""

import contextlib
import json
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import av
import cv2
import msgspec
import numpy as np

from engine.control import ask
from engine.errors import ControlError
from engine.messages import CameraStatus, EngineStatus
from engine.recognizers.builtin import BuiltinRecognizer
from engine.resources import state_path
from engine.sources import SourceOptions, open_source
from engine.sources.scene import DemoScene
from engine.types import CameraState

WIDTH_PX: Final = 1280
HEIGHT_PX: Final = 720
FPS: Final = 15
WARM_FRAMES: Final = 10
"""The first frames of each are not measured."""
CAMERA: Final = "clip"
READY_S: Final = 60.0
POLL_S: Final = 0.03
"""Short beside a run, for its end is noticed that much too late."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")


class Spent(msgspec.Struct, frozen=True, kw_only=True):
    """What recognizing a clip took in one measured run."""

    frames: int
    seconds: float
    cpu_s: float
    """Of every process that took part."""
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
    recognizer_share: float
    """Of the engine's CPU time: what the bare loop needs for as many frames."""
    dropped: int
    """Frames that the engine did not recognize; 0, for files wait."""


def render_clip(path: Path, frames: int) -> None:
    """Write so many frames of the demo's road as an H.264 clip of 1280x720."""
    scene = DemoScene(7, WIDTH_PX, HEIGHT_PX, density=2)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=FPS)
        stream.width, stream.height, stream.pix_fmt = WIDTH_PX, HEIGHT_PX, "yuv420p"
        stream.options = {"preset": "veryfast", "crf": "20"}
        for index in range(frames):
            luma = np.ascontiguousarray(scene.luma(index / FPS))
            frame = av.VideoFrame.from_ndarray(luma, format="gray").reformat(format="yuv420p")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def bare_loops(clip: Path, workers: int) -> Spent:
    """Run the recognizer alone over the clip, in so many processes at once."""
    command = [sys.executable, "-m", "engine.benchmarks.end_to_end", str(clip)]
    loops = [
        subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for _ in range(workers)
    ]
    for loop in loops:
        if loop.stdout is None or loop.stdout.readline() != b"ready\n":
            raise RuntimeError("a bare loop did not start")
    answers = [loop.communicate(b"go\n")[0] for loop in loops]
    spent = [msgspec.json.decode(answer, type=Spent) for answer in answers]
    return Spent(
        frames=sum(one.frames for one in spent),
        seconds=max(one.seconds for one in spent),
        cpu_s=sum(one.cpu_s for one in spent),
    )


def bare_loop(clip: Path) -> Spent:
    """Recognize every frame of the clip once its reader says go; the main of a bare loop."""
    cv2.setNumThreads(1)
    recognizer = BuiltinRecognizer()
    lumas = []
    source = open_source(str(clip), SourceOptions(play="fast"))
    for frame in source.frames(lambda: False):
        luma = np.empty((frame.height_px, frame.width_px), np.uint8)
        frame.write_luma(luma)
        lumas.append(luma)
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
    )


def engine(clip: Path, workers: int, folder: Path) -> Spent:
    """Run the engine over the clip; ``folder`` gets its configuration and data.

    Raises:
        RuntimeError: it did not get through the clip in time or without a death.
    """
    config = _configuration(clip, workers, folder)
    control = str(state_path(folder / "data", "engine", "control.sock"))
    with _engine_process(config, control) as pid:
        first = _when(control, lambda camera: camera.ledger["recognized"] >= WARM_FRAMES)
        began_s, cpu_s = time.monotonic(), _cpu_s(pid)
        last = _when(
            control,
            lambda camera: camera.state is CameraState.ENDED and not camera.in_flight,
        )
        return Spent(
            frames=last.ledger["recognized"] - first.ledger["recognized"],
            seconds=time.monotonic() - began_s,
            cpu_s=_cpu_s(pid) - cpu_s,
            dropped=last.ledger["captured"] - last.ledger["recognized"],
        )


def measure(folder: Path, *, workers: int, frames: int, rounds: int) -> EndToEndFigures:
    """Measure engine and bare loop in turns; ``folder`` is empty and the caller's."""
    clip = folder / "clip.mp4"
    render_clip(clip, frames)
    pairs = []
    for number in range(rounds):
        home = folder / str(number)
        home.mkdir()
        pairs.append((bare_loops(clip, workers), engine(clip, workers, home)))
    bare_fps = statistics.median(bare.fps for bare, _ in pairs)
    engine_fps = statistics.median(ours.fps for _, ours in pairs)
    bare_ms = _cpu_ms([bare for bare, _ in pairs])
    engine_ms = _cpu_ms([ours for _, ours in pairs])
    return EndToEndFigures(
        workers=workers,
        engine_fps=round(engine_fps, 2),
        bare_fps=round(bare_fps, 2),
        ratio=round(statistics.median(ours.fps / bare.fps for bare, ours in pairs), 3),
        engine_cpu_ms_per_frame=round(engine_ms, 2),
        bare_cpu_ms_per_frame=round(bare_ms, 2),
        recognizer_share=round(bare_ms / engine_ms, 3),
        dropped=sum(ours.dropped for _, ours in pairs),
    )


def _cpu_ms(runs: list[Spent]) -> float:
    return statistics.median(1e3 * run.cpu_s / run.frames for run in runs)


def _configuration(clip: Path, workers: int, folder: Path) -> Path:
    """Write the configuration of an engine whose one camera is the clip."""
    camera = {"name": CAMERA, "url": str(clip), "play": "fast", "skip_static": False}
    lines = [f"data_dir = {json.dumps(str(folder / 'data'))}", 'recognizer = "builtin"']
    lines += ["[[cameras]]", *(f"{key} = {json.dumps(value)}" for key, value in camera.items())]
    lines += ["[recognizers]", f"count = {workers}", ""]
    path = folder / "config.toml"
    path.write_text("\n".join(lines), encoding="utf-8")
    return path


@contextlib.contextmanager
def _engine_process(config: Path, control: str) -> Iterator[int]:
    """Run ``platering engine``, yield the supervisor's pid, end it in order."""
    command = [sys.executable, "-m", "engine.cli", "engine", "--config", str(config)]
    with config.with_suffix(".log").open("wb") as out:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out)
    try:
        yield process.pid
        ask(control, "stop")
        process.wait(READY_S)
    finally:
        process.kill()
        process.wait()


def _when(control: str, reached: Callable[[CameraStatus], bool]) -> CameraStatus:
    """Wait until the camera is so far; return its status then."""
    deadline = time.monotonic() + READY_S
    while time.monotonic() < deadline:
        with contextlib.suppress(ControlError):  # it does not listen yet
            status = msgspec.convert(ask(control, "status"), EngineStatus)
            (camera,) = status.cameras
            if any(process.restarts for process in status.processes):
                raise RuntimeError("a process of the engine was started again: no measurement")
            if reached(camera):
                return camera
        time.sleep(POLL_S)
    raise RuntimeError(f"the engine did not get there in {READY_S:.0f} s")


def _cpu_s(supervisor: int) -> float:
    """Return the CPU time of a supervisor and its children so far."""
    children = Path(f"/proc/{supervisor}/task/{supervisor}/children").read_text().split()
    ticks = 0
    for pid in (str(supervisor), *children):
        after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(after_name[11]) + int(after_name[12])
    return ticks / _TICKS_PER_S


if __name__ == "__main__":
    sys.stdout.write(msgspec.json.encode(bare_loop(Path(sys.argv[1]))).decode())

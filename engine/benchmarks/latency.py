"""How long a plate takes from its camera to the browser when the machine is well used, by stage.

The engine is the real one, with its page: H.264 of the demo's roads, played in real time, the
built-in recognizer, Redis. First the rate is found up to which it recognizes every frame of its
cameras; then they send 80 % of that, and a client on loopback follows the live events. All frames
are recognized: a camera that saves frames would make the rate a matter of its traffic.

What is measured of an event begins with the capture of the frame whose read caused it. A clip's
frame is captured when it is due, decoded before, as one of a stream is when it has come: so what
decoding takes is measured apart, and added to the whole. So that it was always a read, and never
the clock, that made the tracker tell, ``tracker.announce_after_s`` is out of reach; and of a
vehicle its first event counts, for a final waits on purpose. What the tracker waited for before, a
second read that agrees, is recognition, not transport.
"""

import os
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import closing, suppress
from pathlib import Path
from typing import Final

import msgspec

from engine.benchmarks.answer import print_figures, say
from engine.benchmarks.clip import play_at, write_clip
from engine.benchmarks.running import RunningEngine, running_engine
from engine.benchmarks.stages import STAGES, StageFigures, exact, histograms_of, spent
from engine.cores import usable_cores
from engine.errors import PreflightError
from engine.event_stream import EventStream
from engine.messages import EngineStatus
from engine.sources import SourceOptions, open_source
from engine.sources.scene import DemoScene
from engine.types import CameraState, Phase, Sighting

LOAD: Final = 0.8
SECONDS: Final = 60.0
FEW_SECONDS: Final = 25.0
CAMERAS_A_CORE: Final = 2
TARGET_P50_MS: Final = 30.0
TARGET_P99_MS: Final = 150.0
"""Beyond the time of a recognition."""
DENSITY: Final = 3.0
CLIP_FPS: Final = 13
"""About what each of two cameras a core can have; where they have more, the roads begin again."""
SPARE_S: Final = 12.0
"""Of a clip, played while the engine settles."""
_FIRST_FPS: Final = 8.0
"""Of each camera, while the cost of a frame is measured."""
_STEPS: Final = (1.15, 1.05, 0.95, 0.85, 0.75, 0.65, 0.55, 0.45)
"""Of the rate that the cost of a frame promises; the first that is kept up with is the one."""
_KEPT_UP: Final = 0.96
"""Of the frames that cameras were asked for, those that were recognized."""
_SETTLE_S: Final = 2.0
_STEP_S: Final = 4.0
_FOLLOWED_WITHIN_S: Final = 10.0
_QUANTILES: Final = ("mean", "p50", "p95", "p99")
STORED: Final = "capture → stored"
DELIVERED: Final = "stored → delivered"
WHOLE: Final = "capture → delivered"
"""These of every event, by the clock of Redis and of the client."""


class LatencyFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What ``platering bench latency`` prints."""

    cameras: int
    saturation_fps: float
    """Frames a second that were recognized of all that the cameras sent, at most."""
    fps: float
    """Frames a second while the latency was measured."""
    load: float
    """Their ratio."""
    lost_share: float
    """Of those frames: replaced by newer ones before they were recognized."""
    events: int
    decode_ms: float
    """Of a frame, alone on its core, the mean: it lies before the capture of a clip's frame."""
    recognition_ms: float
    """The mean."""
    over_recognition_p50_ms: float
    """Of decoding and the whole way, what is more than a recognition."""
    over_recognition_p99_ms: float
    stages: tuple[StageFigures, ...]
    """The quantiles of the first four are interpolated between the bounds of their histograms."""
    machine_load: tuple[float, float]
    """The kernel's load average of a minute, before and after: higher where others work, too."""

    @property
    def is_on_target(self) -> bool:
        """Whether p50 and p99 keep what was promised."""
        p50, p99 = self.over_recognition_p50_ms, self.over_recognition_p99_ms
        return p50 <= TARGET_P50_MS and p99 <= TARGET_P99_MS


class _Arrival(msgspec.Struct, frozen=True):
    """The first event of a vehicle, in milliseconds UTC."""

    captured_ms: int
    stored_ms: int
    delivered_ms: float


class _HungUpError(Exception):
    """The browser is closed, and shall not come back."""


class _Browser:
    """Follows the live events in a thread of its own, as a page does."""

    def __init__(self, page: str) -> None:
        self.arrivals: list[_Arrival] = []
        self.trouble = ""
        self._ended = False
        self._joined = threading.Event()
        self._stream = EventStream(page, {"phase": Phase.PROVISIONAL})
        self._thread = threading.Thread(target=self._follow, name="browser", daemon=True)
        self._thread.start()
        if not self._joined.wait(_FOLLOWED_WITHIN_S):
            raise PreflightError(f"the live events cannot be followed: {self.trouble}")

    def _follow(self) -> None:
        with suppress(_HungUpError), closing(self._stream.follow(self._hear)) as blocks:
            for block in blocks:
                delivered_ms = time.time_ns() / 1e6
                if block.event == "message":
                    sighting = msgspec.json.decode(block.data, type=Sighting)
                    stored_ms = int(block.id.partition("-")[0])
                    arrival = _Arrival(sighting.last_unix_ms, stored_ms, delivered_ms)
                    self.arrivals.append(arrival)

    def _hear(self, trouble: str) -> None:
        if self._ended:
            raise _HungUpError
        self.trouble = trouble
        if not trouble:
            self._joined.set()

    def close(self) -> None:
        """Come back no more once the stream ends, with its engine."""
        self._ended = True


def measure(folder: Path, seconds: float, tell: Callable[[str], None]) -> LatencyFigures:
    """Find the saturation, then measure that long; ``folder`` is empty and the caller's.

    Raises:
        PreflightError: the engine does not run, or nothing came.
    """
    before_load = os.getloadavg()[0]
    cameras = CAMERAS_A_CORE * usable_cores()
    tell(f"the roads of {cameras} cameras, as H.264")
    clips = _clips(folder, cameras, seconds + SPARE_S)
    decode_ms = _decode_ms(clips[0])
    with running_engine(folder, "run", _configuration(clips)) as engine:
        engine.wait_for(_is_live, "all cameras live")
        road = _Road(engine, clips)
        tell(f"the rate that {cameras} cameras can have")
        saturation_fps = road.saturation_fps()
        fps = LOAD * saturation_fps
        tell(f"latency at {fps:.0f} of {saturation_fps:.0f} frames/s for {seconds:.0f} s")
        road.send(fps)
        page = _page_of(engine)
        browser = _Browser(page)
        time.sleep(_SETTLE_S)
        browser.arrivals.clear()
        histograms = histograms_of(page)
        done = road.watch(seconds)
        arrivals = list(browser.arrivals)
        stages = spent(histograms, histograms_of(page))
        browser.close()
    if not arrivals:
        raise PreflightError("no plate was told of: this machine is too busy to measure")
    rates = _Rates(cameras, saturation_fps, decode_ms)
    return _figures(rates, done, (stages, arrivals), before_load)


class _Rates(msgspec.Struct, frozen=True):
    """What was found before the latency was measured."""

    cameras: int
    saturation_fps: float
    decode_ms: float


class _Done(msgspec.Struct, frozen=True):
    """What became of frames in a while."""

    recognized_fps: float
    lost_share: float
    cpu_s: float
    seconds: float


class _Road:
    """The cameras, all at one rate."""

    def __init__(self, engine: RunningEngine, clips: Sequence[Path]) -> None:
        self._engine = engine
        self._clips = clips

    def send(self, fps: float) -> None:
        """Let all cameras together send so many frames a second."""
        former = _rings(self._engine.status())
        for clip in self._clips:
            url = str(_at(clip, fps / len(self._clips)))
            self._engine.ask("camera.change", name=clip.stem, changes={"url": url})
        self._engine.wait_for(
            lambda status: _is_live(status) and former.isdisjoint(_rings(status)),
            "all cameras at another rate",
        )
        time.sleep(_SETTLE_S)

    def watch(self, seconds: float) -> _Done:
        """Return what becomes of frames in so many seconds."""
        before, cpu_s, began = self._engine.status(), self._engine.cpu_s(), time.monotonic()
        time.sleep(seconds)
        after, cpu_s = self._engine.status(), self._engine.cpu_s() - cpu_s
        elapsed = time.monotonic() - began
        recognized, lost = (
            sum(_count(camera.ledger, fate) for camera in after.cameras)
            - sum(_count(camera.ledger, fate) for camera in before.cameras)
            for fate in ("recognized", "dropped")
        )
        share = lost / max(1, recognized + lost)
        return _Done(recognized / elapsed, share, cpu_s, elapsed)

    def saturation_fps(self) -> float:
        """Return the rate up to which every frame is recognized.

        What a frame costs, of all processes together, says where to look for it; cameras that send
        so much, and less and less, say where it is.
        """
        trial = self.watch(_STEP_S)
        promised = usable_cores() * trial.recognized_fps / (trial.cpu_s / trial.seconds)
        best = 0.0
        for step in _STEPS:
            fps = step * promised
            self.send(fps)
            done = self.watch(_STEP_S)
            best = max(best, done.recognized_fps)
            if done.recognized_fps >= _KEPT_UP * fps:
                return done.recognized_fps
        raise PreflightError(
            f"the engine keeps up with no rate that was tried, {best:.0f} frames/s at best: this "
            "machine is too busy to measure"
        )


def _configuration(clips: Sequence[Path]) -> list[str]:
    lines = ['recognizer = "builtin"', "[tracker]", "announce_after_s = 10.0"]
    lines += ["[api]", "port = 0", "[log]", 'level = "warning"']
    for clip in clips:
        lines += ["[[cameras]]", f'name = "{clip.stem}"', f'url = "{_at(clip, _FIRST_FPS)}"']
        lines += ['play = "realtime"', "loop = true", "skip_static = false"]
    return lines


def _clips(folder: Path, cameras: int, seconds: float) -> list[Path]:
    """Write the roads of all cameras, which have their names; a road for each core is drawn."""
    clips = [folder / f"road-{number}.mp4" for number in range(cameras)]
    drawn = cameras // CAMERAS_A_CORE
    for number, clip in enumerate(clips):
        if number >= drawn:
            clip.hardlink_to(clips[number % drawn])
            continue
        scene = DemoScene(number + 1, density=DENSITY)
        lumas = (scene.luma(index / CLIP_FPS) for index in range(int(seconds * CLIP_FPS)))
        write_clip(clip, lumas, fps=CLIP_FPS, crf=20)
    return clips


def _at(clip: Path, fps: float) -> Path:
    """Return a clip's copy that plays at another rate."""
    return play_at(clip, fps, clip.with_name(f"{clip.stem}-{fps:.3f}.mp4"))


def _decode_ms(clip: Path) -> float:
    """Return what decoding takes of a frame, as a camera's decoder does it, on the mean."""
    source = open_source(str(clip), SourceOptions(play="fast"))
    with closing(source):
        began = time.perf_counter()
        frames = sum(1 for _ in source.frames(lambda: False))
        return round(1e3 * (time.perf_counter() - began) / max(1, frames), 2)


def _is_live(status: EngineStatus) -> bool:
    return bool(status.cameras) and all(
        camera.state is CameraState.LIVE and camera.ring is not None for camera in status.cameras
    )


def _rings(status: EngineStatus) -> set[int]:
    """Return the numbers of all rings: a decoder that was started anew has one of its own."""
    return {camera.ring.ring for camera in status.cameras if camera.ring is not None}


def _count(ledger: dict[str, int], fate: str) -> int:
    return sum(count for name, count in ledger.items() if name.startswith(fate))


def _page_of(engine: RunningEngine) -> str:
    page = engine.page()
    if page is None:
        raise PreflightError("the engine has no page")
    return page


def _figures(
    rates: _Rates,
    done: _Done,
    seen: tuple[list[StageFigures], list[_Arrival]],
    before_load: float,
) -> LatencyFigures:
    stages, arrivals = seen
    whole = exact(WHOLE, [one.delivered_ms - one.captured_ms for one in arrivals])
    (recognition,) = (one for one in stages if one.stage == STAGES["recognize"])
    beyond_ms = rates.decode_ms - recognition.mean_ms
    return LatencyFigures(
        cameras=rates.cameras,
        saturation_fps=round(rates.saturation_fps, 1),
        fps=round(done.recognized_fps, 1),
        load=round(done.recognized_fps / rates.saturation_fps, 3),
        lost_share=round(done.lost_share, 4),
        events=len(arrivals),
        decode_ms=rates.decode_ms,
        recognition_ms=recognition.mean_ms,
        over_recognition_p50_ms=round(whole.p50_ms + beyond_ms, 2),
        over_recognition_p99_ms=round(whole.p99_ms + beyond_ms, 2),
        stages=(
            *stages,
            exact(STORED, [one.stored_ms - one.captured_ms for one in arrivals]),
            exact(DELIVERED, [one.delivered_ms - one.stored_ms for one in arrivals]),
            whole,
        ),
        machine_load=(round(before_load, 2), round(os.getloadavg()[0], 2)),
    )


def run(*, as_json: bool, brief: bool) -> int:
    """Measure and print, for ``platering bench latency``; return the exit code."""
    with tempfile.TemporaryDirectory(prefix="plt-bench-") as folder:
        figures = measure(Path(folder), FEW_SECONDS if brief else SECONDS, say)
    if as_json:
        return print_figures(figures, as_json=True)
    sys.stdout.write(f"{'stage, ms':<22}" + "".join(f"{name:>9}" for name in _QUANTILES) + "\n")
    for one in figures.stages:
        taken = (one.mean_ms, one.p50_ms, one.p95_ms, one.p99_ms)
        sys.stdout.write(f"{one.stage:<22}" + "".join(f"{ms:>9.1f}" for ms in taken) + "\n")
    for name, value in msgspec.structs.asdict(figures).items():
        if name != "stages":
            sys.stdout.write(f"{name:<26} {value!s:>12}\n")
    return 0

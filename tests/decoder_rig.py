"""Real decoder processes with the supervisor's own frame plane behind them, and nobody reading."""

import contextlib
import os
import re
import select
import signal
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from polling import wait_until

from engine.board import LAST_FRAME_UNIX_NS, Board, Fate, Kind
from engine.children import ChildProcess
from engine.config import LogSettings, parse_camera
from engine.messages import CameraTurned, Failed, Outstanding, RingDrained, Stop, WantRing
from engine.plane import CameraPlace, FramePlane, Pool
from engine.process import log_section
from engine.quarantine import Quarantine
from engine.ring_memory import RingMemory
from engine.sections import DecoderSection
from engine.shm import RunLock
from engine.types import CameraState


def share_of_pairs(rates: Sequence[float], usual: Sequence[float]) -> float:
    """Return the median of rates as shares of the usual ones that were measured just before each.

    What else the machine does changes from minute to minute; hardly so between two windows.
    """
    return statistics.median(one / other for one, other in zip(rates, usual, strict=False))


class Camera:
    """A camera of the rig: its decoder, and all that it said."""

    def __init__(self, rig: "DecoderRig", index: int, settings: dict[str, object]) -> None:
        self.rig = rig
        self.settings = parse_camera({"name": f"cam{index}"} | settings)
        self.child = ChildProcess(Kind.DECODER, f"decoder-{index}", rig.board, index + 1)
        self.place = CameraPlace(self.settings, index, self.child)
        self.turns: list[tuple[float, CameraState, str]] = []
        self.sizes: list[tuple[int, int]] = []

    def start(self) -> None:
        section = DecoderSection(
            camera=self.settings.model_dump_json(),
            index=self.place.index,
            base_dir="",
            max_unread=1,
        )
        self.child.spawn(section.encode(), log_section(LogSettings(level="error")))
        self.rig.plane.decoder_started(self.place)

    def count(self, fate: Fate) -> int:
        """Return how many of its frames met a fate."""
        return int(self.rig.board.ledger()[self.place.index, fate])

    @property
    def captured(self) -> int:
        """Return how many frames it gave."""
        return self.count(Fate.CAPTURED)

    @property
    def state(self) -> CameraState:
        """Return its state as the supervisor has heard."""
        self.rig.hear()
        return self.place.state

    @property
    def reason(self) -> str:
        """Return why."""
        self.rig.hear()
        return self.place.reason

    def cpu_s(self) -> float:
        """Return the CPU time its process has used."""
        fields = Path(f"/proc/{self.child.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def peak_mib(self) -> float:
        """Return the most memory its process ever held, 0 of one that is ending."""
        status = Path(f"/proc/{self.child.pid}/status").read_text()
        found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) / 1024 if found else 0.0

    def newest_age_s(self) -> float:
        """Return how old its newest frame is."""
        return time.time() - self.child.row.words[LAST_FRAME_UNIX_NS] / 1e9

    def memory(self) -> RingMemory:
        """Return its present ring's memory, a view of the supervisor's."""
        assert self.place.ring is not None
        return self.place.ring.memory

    def wait_state(self, state: CameraState, within_s: float, reason: str = "") -> float:
        """Wait for a state whose reason holds a text; return how long it took."""
        began = time.monotonic()
        wait_until(
            lambda: self.state is state and reason in self.reason,
            within_s,
            f"{state} {reason}; it said {self.turns[-3:]}",
        )
        return time.monotonic() - began

    def wait_frames(self, within_s: float, more: int = 5) -> float:
        """Wait for more frames from now on; return how long it took."""
        began, before = time.monotonic(), self.captured

        def have_come() -> bool:
            self.rig.hear()
            return self.captured >= before + more

        wait_until(have_come, within_s, f"{more} frames; it said {self.turns[-3:]}")
        return time.monotonic() - began

    def fps_of_next(self, frames: int, meanwhile: Callable[[], None] = lambda: None) -> float:
        """Return its frame rate over its next frames, from one frame to another."""

        def wait(count: int) -> None:
            until = self.captured + count

            def have_come() -> bool:
                self.rig.hear()
                meanwhile()
                return self.captured >= until

            wait_until(have_come, 30.0, f"frames; it said {self.turns[-3:]}")

        wait(1)
        began = time.monotonic()
        wait(frames)
        return frames / (time.monotonic() - began)

    def fps_over(self, seconds: float) -> float:
        """Return its frame rate over the next seconds."""
        return self.rig.watch_fps([self], seconds)[0]


class DecoderRig:
    """A board, a frame plane without workers, and as many decoders as asked for."""

    def __init__(self, folder: Path, cameras: int) -> None:
        self.lock = RunLock()
        self.board = Board.create(self.lock.name("board"), cameras + 1, cameras)
        self._row = self.board.row(0)
        self.tokens = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        pool = Pool([], self.tokens[1], 1)
        self.plane = FramePlane(self.lock, self._row, pool, Quarantine(folder, 0))
        self.cameras: list[Camera] = []

    def add(self, url: str, **settings: object) -> Camera:
        """Start a decoder for a camera."""
        camera = Camera(self, len(self.cameras), {"url": url} | settings)
        self.cameras.append(camera)
        camera.start()
        return camera

    def hear(self) -> None:
        """Do the supervisor's part: grant and remove rings, note states, restart the dead."""
        with contextlib.suppress(BlockingIOError):
            os.read(self.tokens[0], 65536)
        for camera in self.cameras:
            self._hear(camera)

    def _hear(self, camera: Camera) -> None:
        child = camera.child
        if not child.is_up:
            if child.is_wanted and time.monotonic() >= child.start_at:
                camera.start()
            return
        child.flush()
        while (message := child.receive()) is not None:
            match message:
                case WantRing():
                    camera.sizes.append((message.width_px, message.height_px))
                    self.plane.grant(camera.place, message)
                case RingDrained():
                    self.plane.drained(message)
                case Outstanding():
                    self.plane.outstanding(message)
                case CameraTurned(state=state, reason=reason):
                    camera.turns.append((time.monotonic(), state, reason))
                    camera.place.turn(state, reason, "n")
                case Failed(reason=reason):
                    child.failure = reason
        self.plane.sweep()
        if select.select([child.pidfd], [], [], 0)[0]:
            code = child.reap()
            camera.place.turn(CameraState.LOST, child.failure or f"ended with {code}", "n")
            child.restarts += 1

    def watch_fps(self, cameras: list[Camera], seconds: float) -> list[float]:
        """Return cameras' frame rates over the next seconds."""
        began, before = time.monotonic(), [camera.captured for camera in cameras]

        def over() -> bool:
            self.hear()
            return time.monotonic() - began >= seconds

        wait_until(over, seconds + 5.0)
        spent = time.monotonic() - began
        return [(c.captured - b) / spent for c, b in zip(cameras, before, strict=True)]

    def close(self) -> None:
        """End every decoder and remove everything."""
        for camera in self.cameras:
            camera.child.is_wanted = False
            camera.child.send(Stop())
        for camera in self.cameras:
            if camera.child.is_up:
                if not select.select([camera.child.pidfd], [], [], 4.0)[0]:
                    camera.child.signal(signal.SIGKILL)
                camera.child.reap()
        self.plane.close([camera.place for camera in self.cameras])
        for camera in self.cameras:
            camera.child.release()
        self._row.release()
        self.board.close()
        self.lock.release()
        for fd in self.tokens:
            os.close(fd)


@contextlib.contextmanager
def decoders(folder: Path, cameras: int = 1) -> Iterator[DecoderRig]:
    """A rig that is closed however the test ended."""
    rig = DecoderRig(folder, cameras)
    try:
        yield rig
    finally:
        rig.close()

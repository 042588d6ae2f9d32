"""Many live cameras on one pool: who is served, who loses frames, how old frames are when read.

The cameras are played here, in one process, through the engine's own ring writers: each at its
rate, from a random moment on, as a decoder does that has its frames ready. The workers are the
engine's own with a stand-in recognizer.
"""

import heapq
import os
import random
import resource
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from engine.benchmarks.plane import Plane, RingPlan
from engine.benchmarks.stand_in import Cost
from engine.board import BUSY_NS, LEASE_BASE, LEASE_WORDS, Fate
from engine.ring import RingWriter
from engine.ring_memory import MONOTONIC_NS

SMALL: Final = (640, 360)
LOOK_S: Final = 0.001
"""How often the lease lines are looked at: a frame that is held for less may be overlooked."""
PAGES_OF_MIB: Final = (1 << 20) / resource.getpagesize()
_LINE: Final = slice(LEASE_BASE, LEASE_BASE + LEASE_WORDS)
SAMPLES: Final = 6
"""How often memory and descriptors of the processes are counted in a run."""
OUTCOMES: Final = tuple(
    fate for fate in Fate if fate.name.startswith(("SKIPPED_", "DROPPED_", "RECOGNIZED", "FAILED_"))
)
"""The fates of which each captured frame meets exactly one."""


class LiveCamera(msgspec.Struct, frozen=True, kw_only=True):
    """A camera of the traffic."""

    fps: float
    weight: float = 1.0


class CameraCount(msgspec.Struct, frozen=True, kw_only=True):
    """What became of a camera's frames."""

    captured: int
    recognized: int
    replaced: int
    leased: int
    imbalance: int
    """Captured less all that was counted of it: 0 at rest."""

    @property
    def lost_share(self) -> float:
        """Of the frames captured: those that nobody read."""
        return (self.captured - self.recognized) / self.captured


class Footprint(msgspec.Struct, frozen=True, kw_only=True):
    """What the processes of the plane held at one moment, summed up; the cameras' among them."""

    rss_mib: float
    own_mib: float
    """Of it: not shared with others, as the rings are."""
    fds: int


class TrafficFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What a run showed."""

    seconds: float
    cameras: list[CameraCount]
    service_ms: float
    """The mean time of a recognition."""
    ages_ms: list[float]
    """Age of frames, since their capture, when their recognition began; sorted."""
    footprints: list[Footprint]
    """In equal steps from the first third of the run to its end."""

    @property
    def fps(self) -> float:
        """Frames recognized per second."""
        return sum(camera.recognized for camera in self.cameras) / self.seconds

    @property
    def load(self) -> float:
        """Frames captured over frames recognized: 2 at twice what the pool can take."""
        captured = sum(camera.captured for camera in self.cameras)
        return captured / max(1, sum(camera.recognized for camera in self.cameras))

    def age_ms(self, share: float) -> float:
        """Return the age that this share of the frames does not exceed."""
        return self.ages_ms[min(len(self.ages_ms) - 1, int(share * len(self.ages_ms)))]


class _Ages:
    """Looks over the workers' shoulders: which frame each holds, and how old it was then."""

    def __init__(self, plane: Plane) -> None:
        self._rows = plane.worker_rows
        self._memories = {writer.handle.ring: writer.memory for writer in plane.writers}
        self._seen: list[tuple[int, int]] = [(0, 0)] * len(self._rows)
        self.ages_ns: list[int] = []

    def look(self) -> None:
        """Note the age of every frame that was leased since the last look."""
        for worker, row in enumerate(self._rows):
            lease = row.words[_LINE].tolist()
            ring, slot, generation, since_ns = lease
            if not ring or self._seen[worker] == (ring, generation):
                continue
            captured_ns = self._memories[ring].word(slot, MONOTONIC_NS)
            if row.words[_LINE].tolist() == lease:  # else it was given back in between
                self._seen[worker] = (ring, generation)
                self.ages_ns.append(since_ns - captured_ns)


def drive(
    workers: int, cost: Cost, cameras: Sequence[LiveCamera], seconds: float, seed: int
) -> TrafficFigures:
    """Play the cameras that long to a pool of workers; return what it showed, all at rest."""
    plans = [
        RingPlan(slots=workers + 2, size_px=SMALL, lossless=False, weight=camera.weight)
        for camera in cameras
    ]
    with Plane(workers, cost, plans) as plane:
        ages, footprints = _Ages(plane), []
        began = time.monotonic()
        turns = _Turns(plane, cameras, random.Random(seed))
        for sample in range(SAMPLES):
            part = 1 / 3 + 2 / 3 * sample / (SAMPLES - 1)
            turns.play_until(began + part * seconds, ages)
            footprints.append(_footprint([os.getpid(), *(one.pid for one in plane.workers)]))
        elapsed_s = time.monotonic() - began
        plane.settle()
        busy_ns = sum(row.words[BUSY_NS] for row in plane.worker_rows)
        return TrafficFigures(
            seconds=elapsed_s,
            cameras=[_count(cells) for cells in plane.board.ledger().tolist()],
            service_ms=busy_ns / 1e6 / max(1, plane.recognized()),
            ages_ms=sorted(age / 1e6 for age in ages.ages_ns),
            footprints=footprints,
        )


class _Turns:
    """When each camera has its next frame."""

    def __init__(self, plane: Plane, cameras: Sequence[LiveCamera], rng: random.Random) -> None:
        self._plane = plane
        self._period_s = [1 / camera.fps for camera in cameras]
        now = time.monotonic()
        self._due = [(now + rng.random() * period, i) for i, period in enumerate(self._period_s)]
        heapq.heapify(self._due)

    def play_until(self, end_s: float, ages: _Ages) -> None:
        """Let the cameras capture until then."""
        while (now := time.monotonic()) < end_s:
            ages.look()
            due, camera = self._due[0]
            if due > now:
                time.sleep(min(due - now, LOOK_S))
                continue
            _capture(self._plane, self._plane.writers[camera])
            heapq.heapreplace(self._due, (due + self._period_s[camera], camera))


def _capture(plane: Plane, writer: RingWriter) -> None:
    """Do with one frame what a decoder does."""
    slot = writer.acquire()
    if slot is None:
        plane.row.pass_by(writer.handle.camera, Fate.DROPPED_LEASED)
        return
    captured_ns = time.monotonic_ns()
    writer.memory.frame(slot)[:] = slot
    writer.publish(slot, time.time_ns(), captured_ns)


def _count(cells: list[int]) -> CameraCount:
    return CameraCount(
        captured=cells[Fate.CAPTURED],
        recognized=cells[Fate.RECOGNIZED],
        replaced=cells[Fate.DROPPED_REPLACED],
        leased=cells[Fate.DROPPED_LEASED],
        imbalance=cells[Fate.CAPTURED] - sum(cells[fate] for fate in OUTCOMES),
    )


def _footprint(pids: Sequence[int]) -> Footprint:
    """Count what processes hold now: resident memory of their own, open descriptors."""
    pages, own_pages, fds = 0, 0, 0
    for pid in pids:
        _size, resident, shared, *_rest = Path(f"/proc/{pid}/statm").read_text().split()
        pages += int(resident)
        own_pages += int(resident) - int(shared)
        fds += len(list(Path(f"/proc/{pid}/fd").iterdir()))
    return Footprint(rss_mib=pages / PAGES_OF_MIB, own_mib=own_pages / PAGES_OF_MIB, fds=fds)

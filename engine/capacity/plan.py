"""What so many cameras need, and how many a machine can serve: arithmetic over measured figures.

It leans to the safe side: frames are counted as searched whole, though most are searched only where
something moves.
"""

import math
from typing import Final

import msgspec
import numpy as np

from engine.benchmarks.recognize import FrameCosts, RecognizeFigures
from engine.capacity.figures import Figures, Machine
from engine.config import CameraSettings, RedisSettings
from engine.doctor.findings import count
from engine.doctor.machine import MEMORY_BESIDE_BYTES, MEMORY_EACH_BYTES
from engine.shm import SHM_DIR
from engine.slot_formats import frame_bytes

HEADROOM: Final = 0.7
"""Of a machine's cores that may be busy on average: traffic comes in waves."""
READS_A_VEHICLE: Final = 6
"""Frames that are read for each vehicle at once, ``engine.track`` until its plate is certain."""
EVENTS_A_VEHICLE: Final = 3
"""Provisional, final, and now and then a revision."""
SIGHTING_BYTES: Final = 3_500
"""A sighting in Redis without pictures, as a test of the store holds it to."""
_DAY_H: Final = 24


class Wish(msgspec.Struct, frozen=True, kw_only=True):
    """What is to be watched."""

    cameras: int
    width_px: int = 1920
    height_px: int = 1080
    fps: float = 15.0
    moving: float = 0.3
    """Share of the time in which something moves before a camera."""
    vehicles_per_hour: float = 200.0
    """Past one camera, day and night on average."""
    camera_mbit_s: float = 4.0

    @property
    def size(self) -> str:
        """The pictures' size, in words."""
        return f"{self.width_px}x{self.height_px}"


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What one frame costs here, in CPU time of one core."""

    decode_cpu_ms: float
    recognize_cpu_ms: float
    evidence_bytes: int
    """The pictures of a sighting."""
    beside_cpu_ms: float | None = None
    """Of a recognized frame, all else: hand-off, tracking, delivery; None: nobody measured it."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes."""

    recognized_per_s: float
    """Frames that are recognized, of all cameras."""
    cores_decoding: float
    cores_recognizing: float
    cores_beside: float
    """For all else."""
    cores: int
    """In all, with headroom."""
    machines: int
    """Of as many cores as this one."""
    recognizers: int
    """On each machine."""
    shm_bytes: int
    """``/dev/shm`` of each machine."""
    memory_bytes: int
    """Of the processes of each machine, ``/dev/shm`` included."""
    sightings_per_day: float
    redis_bytes: int
    """Sightings and pictures for as long as they are kept."""
    network_mbit_s: float
    """From the cameras."""


class Serving(msgspec.Struct, frozen=True, kw_only=True):
    """How many cameras a machine can serve, and what allows no more."""

    wish: Wish
    """Of one camera."""
    cameras: int
    per_core: float
    limit: str
    """What limits it, in words."""
    decoding_share: float
    recognizing_share: float
    """Of the cores' work."""

    beside_share: float | None
    """Likewise of all else; None where nobody measured it."""

    def sentence(self, machine: str = "This machine") -> str:
        """Return what a buyer wants to know."""
        wish, beside = self.wish, self.beside_share
        all_else = "all else was not measured" if beside is None else f"all else {beside:.0%}"
        return (
            f"{machine} can serve about {count(self.cameras, 'camera')} at {wish.fps:g} frames/s "
            f"({wish.size}, something moves {wish.moving:.0%} of the time, "
            f"{wish.vehicles_per_hour:g} vehicles an hour past each). What limits it: "
            f"{self.limit}; of the cores' work recognition is {self.recognizing_share:.0%}, "
            f"decoding {self.decoding_share:.0%}, {all_else}, and {1 - HEADROOM:.0%} "
            "of them stay in reserve."
        )


def costs_of(figures: Figures, wish: Wish) -> Costs | None:
    """Return what a frame of the wished size costs by these figures; None where nobody knows.

    Between the measured sizes by their pixels, beyond them in proportion. Costs were measured on a
    core alone; where all cores work at once, each has less, as ``crowding`` says.
    """
    if figures.recognize is None:
        return None
    decode, recognize, evidence = _at(figures.recognize, wish)
    ends = figures.end_to_end
    if ends is None:
        return Costs(
            decode_cpu_ms=decode, recognize_cpu_ms=recognize, evidence_bytes=round(evidence)
        )
    crowding = max(1.0, ends.crowding)
    alone = ends.bare_cpu_ms_per_frame + ends.decoding_cpu_ms_per_frame
    beside = ends.engine_cpu_ms_per_frame - alone
    return Costs(
        decode_cpu_ms=round(crowding * decode, 3),
        recognize_cpu_ms=round(crowding * recognize, 3),
        evidence_bytes=round(evidence),
        beside_cpu_ms=round(max(0.0, beside), 3),
    )


def _at(figures: RecognizeFigures, wish: Wish) -> tuple[float, float, float]:
    """Return decoding, recognition and bytes of pictures at the wished size."""
    pixels = wish.width_px * wish.height_px
    known = [one.width_px * one.height_px for one in figures.sizes]
    factor = pixels / min(max(pixels, known[0]), known[-1])

    def at(values: list[float]) -> float:
        return factor * float(np.interp(pixels, known, values))

    sizes: tuple[FrameCosts, ...] = figures.sizes
    return (
        at([one.decode_cpu_ms for one in sizes]),
        at([one.recognize_cpu_ms for one in sizes]),
        at([one.evidence_bytes for one in sizes]),
    )


def _recognized_per_s(wish: Wish) -> float:
    """Return how many frames of one camera are recognized a second."""
    searched = 1 / CameraSettings(name="any", url="any").search_s
    read = READS_A_VEHICLE * wish.vehicles_per_hour / 3_600
    return min(wish.fps, wish.moving * searched + read)


def _ring_bytes(wish: Wish, recognizers: int) -> int:
    """Return a camera's shared memory: each recognizer's lease, one unread, one being written."""
    return (recognizers + 2) * frame_bytes(wish.width_px, wish.height_px, "gray")


def plan(wish: Wish, costs: Costs, cores_each: int, kept: RedisSettings) -> Plan:
    """Work out what a wish takes on machines of so many cores."""
    recognized = wish.cameras * _recognized_per_s(wish)
    decoding = wish.cameras * wish.fps * costs.decode_cpu_ms / 1e3
    recognizing = recognized * costs.recognize_cpu_ms / 1e3
    beside = recognized * (costs.beside_cpu_ms or 0.0) / 1e3
    cores = max(1, math.ceil((decoding + recognizing + beside) / HEADROOM))
    machines = math.ceil(cores / cores_each)
    cameras_each = math.ceil(wish.cameras / machines)
    shm = cameras_each * _ring_bytes(wish, cores_each)
    processes = cameras_each + cores_each
    sightings = wish.cameras * wish.vehicles_per_hour * _DAY_H
    pictures = kept.evidence_days * costs.evidence_bytes
    return Plan(
        recognized_per_s=recognized,
        cores_decoding=decoding,
        cores_recognizing=recognizing,
        cores_beside=beside,
        cores=cores,
        machines=machines,
        recognizers=cores_each,
        shm_bytes=shm,
        memory_bytes=shm + MEMORY_BESIDE_BYTES + processes * MEMORY_EACH_BYTES,
        sightings_per_day=sightings,
        redis_bytes=int(sightings * (kept.keep_days * SIGHTING_BYTES + pictures)),
        network_mbit_s=wish.cameras * wish.camera_mbit_s,
    )


def serving(wish: Wish, costs: Costs, machine: Machine, figures: Figures) -> Serving:
    """Work out how many cameras like this a machine can serve, whatever number is wished."""
    recognized = _recognized_per_s(wish)
    decoding = wish.fps * costs.decode_cpu_ms / 1e3
    recognizing = recognized * costs.recognize_cpu_ms / 1e3
    beside = recognized * (costs.beside_cpu_ms or 0.0) / 1e3
    busy = decoding + recognizing + beside
    ring = _ring_bytes(wish, machine.cores)
    processes = MEMORY_BESIDE_BYTES + machine.cores * MEMORY_EACH_BYTES
    limits = {
        "its cores": machine.cores * HEADROOM / busy,
        "its memory": (machine.memory_bytes - processes) / (ring + MEMORY_EACH_BYTES),
        f"the size of {SHM_DIR}": machine.shm_bytes / ring,
    }
    if figures.delivery is not None and wish.vehicles_per_hour:
        events = EVENTS_A_VEHICLE * wish.vehicles_per_hour / 3_600
        limits["delivery into Redis"] = HEADROOM * figures.delivery.delivery_per_s / events
    limit = min(limits, key=lambda name: limits[name])
    return Serving(
        wish=wish,
        cameras=max(0, int(limits[limit])),
        per_core=round(limits["its cores"] / machine.cores, 2),
        limit=limit,
        decoding_share=round(decoding / busy, 3),
        recognizing_share=round(recognizing / busy, 3),
        beside_share=None if costs.beside_cpu_ms is None else round(beside / busy, 3),
    )

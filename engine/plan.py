"""``platering plan``: what so many cameras need, from what a frame costs on this very machine.

Decoding, recognition and pictures are measured on the demo's road; the rest is arithmetic that is
printed with its result. It leans to the safe side: frames are counted as searched whole, though
most are searched only where something moves.
"""

import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

import av
import cv2
import msgspec
import numpy as np
from rich import box
from rich.table import Table

from engine.config import CameraSettings, RedisSettings, Settings
from engine.console import table_console
from engine.cores import usable_cores
from engine.doctor.machine import MEMORY_BESIDE_BYTES, MEMORY_EACH_BYTES
from engine.evidence import crop_jpeg, frame_jpeg
from engine.recognizers.registry import open_recognizer
from engine.shm import MIB, SHM_DIR
from engine.slot_formats import frame_bytes
from engine.sources import SourceOptions, open_source
from engine.sources.scene import DemoScene
from engine.types import Luma

HEADROOM: Final = 0.7
"""Of a machine's cores that may be busy on average: traffic comes in waves."""
READS_A_VEHICLE: Final = 6
"""Frames that are read for each vehicle at once, ``engine.track`` until its plate is certain."""
SIGHTING_BYTES: Final = 3_500
"""A sighting in Redis without pictures, as a test of the store holds it to."""
_FRAMES: Final = 40
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


class Costs(msgspec.Struct, frozen=True, kw_only=True):
    """What one frame costs here, in CPU time of one core."""

    decode_cpu_ms: float
    recognize_cpu_ms: float
    evidence_bytes: int
    """The pictures of a sighting."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What it takes."""

    recognized_per_s: float
    """Frames that are recognized, of all cameras."""
    cores_decoding: float
    cores_recognizing: float
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


def plan(wish: Wish, costs: Costs, cores_each: int, kept: RedisSettings) -> Plan:
    """Work out what a wish takes on machines of so many cores."""
    searched = 1 / CameraSettings(name="any", url="any").search_s
    read = READS_A_VEHICLE * wish.vehicles_per_hour / 3_600
    recognized = wish.cameras * min(wish.fps, wish.moving * searched + read)
    decoding = wish.cameras * wish.fps * costs.decode_cpu_ms / 1e3
    recognizing = recognized * costs.recognize_cpu_ms / 1e3
    cores = max(1, math.ceil((decoding + recognizing) / HEADROOM))
    machines = math.ceil(cores / cores_each)
    cameras_each = math.ceil(wish.cameras / machines)
    slots = cores_each + 2  # each recognizer's lease, one unread, one being written
    shm = cameras_each * slots * frame_bytes(wish.width_px, wish.height_px, "gray")
    processes = cameras_each + cores_each
    sightings = wish.cameras * wish.vehicles_per_hour * _DAY_H
    pictures = kept.evidence_days * costs.evidence_bytes
    return Plan(
        recognized_per_s=recognized,
        cores_decoding=decoding,
        cores_recognizing=recognizing,
        cores=cores,
        machines=machines,
        recognizers=cores_each,
        shm_bytes=shm,
        memory_bytes=shm + MEMORY_BESIDE_BYTES + processes * MEMORY_EACH_BYTES,
        sightings_per_day=sightings,
        redis_bytes=int(sightings * (kept.keep_days * SIGHTING_BYTES + pictures)),
        network_mbit_s=wish.cameras * wish.camera_mbit_s,
    )


def measure(wish: Wish, settings: Settings) -> Costs:
    """Measure what a frame of this size costs here, in some seconds."""
    cv2.setNumThreads(1)
    scene = DemoScene(7, wish.width_px, wish.height_px, density=2)
    lumas = [np.ascontiguousarray(scene.luma(index / 4)) for index in range(_FRAMES)]
    pool = settings.recognizers
    recognizer = open_recognizer(settings.recognizer, settings.openalpr, pool.provider).recognizer
    try:
        recognizer.recognize(lumas[0])
        recognizing = _cpu_ms(lambda: [recognizer.recognize(luma) for luma in lumas])
        pictures = [
            len(crop_jpeg(luma, wish.height_px, read.box)) + len(frame_jpeg(luma, wish.height_px))
            for luma in lumas
            for read in recognizer.recognize(luma)
        ]
    finally:
        recognizer.close()
    return Costs(
        decode_cpu_ms=_decoding_cpu_ms(lumas),
        recognize_cpu_ms=recognizing / len(lumas),
        evidence_bytes=int(statistics.mean(pictures)) if pictures else 0,
    )


def _decoding_cpu_ms(lumas: list[Luma]) -> float:
    """Return what a frame of H.264 costs from its packet to its slot."""
    height, width = lumas[0].shape
    target = np.empty((height, width), np.uint8)
    with tempfile.TemporaryDirectory() as folder:
        clip = Path(folder) / "clip.mp4"
        with av.open(str(clip), "w") as container:
            stream = container.add_stream("libx264", rate=15)
            stream.width, stream.height, stream.pix_fmt = width, height, "yuv420p"
            stream.options = {"preset": "veryfast", "crf": "23"}
            for luma in lumas:
                frame = av.VideoFrame.from_ndarray(luma, format="gray")
                container.mux(stream.encode(frame.reformat(format="yuv420p")))
            container.mux(stream.encode())

        def decode() -> None:
            source = open_source(str(clip), SourceOptions(play="fast"))
            for frame in source.frames(lambda: False):
                frame.write_luma(target)

        decode()
        return statistics.median(_cpu_ms(decode) for _ in range(3)) / len(lumas)


def _cpu_ms(work: Callable[[], object]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) * 1e3


def print_plan(wish: Wish, settings: Settings, *, as_json: bool) -> int:
    """Measure, work out and print; return the exit code."""
    sys.stderr.write("measuring what a frame costs here …\n")
    costs = measure(wish, settings)
    cores = usable_cores()
    found = plan(wish, costs, cores, settings.redis)
    if as_json:
        answer = {"wish": wish, "costs": costs, "plan": found, "cores": cores}
        sys.stdout.write(msgspec.json.encode(answer).decode() + "\n")
        return 0
    out = table_console()
    table = Table("What", "Needs", "Because", box=box.SIMPLE_HEAD)
    for row in _rows(wish, costs, found, settings.redis):
        table.add_row(*row)
    out.print(table)
    out.print(
        f"This machine can serve about {wish.cameras * cores // found.cores} such cameras. An "
        "estimate: traffic differs; try a few real ones and compare /metrics."
    )
    return 0


def _rows(wish: Wish, costs: Costs, found: Plan, kept: RedisSettings) -> list[tuple[str, str, str]]:
    """Return what is needed, how much of it, and the arithmetic."""
    size = f"{wish.width_px}x{wish.height_px}"
    decoding = f"{wish.cameras} cameras x {wish.fps:g} fps x {costs.decode_cpu_ms:.1f} CPU-ms"
    frames = f"{found.recognized_per_s:.0f} frames/s x {costs.recognize_cpu_ms:.1f} CPU-ms"
    pictures = f"{costs.evidence_bytes / 1e3:.0f} KB of pictures for {kept.evidence_days:g}"
    each = f"{SIGHTING_BYTES / 1e3:g} KB for {kept.keep_days:g} days, {pictures}"
    return [
        ("decoding", f"{found.cores_decoding:.1f} cores", f"{decoding} ({size})"),
        (
            "recognition",
            f"{found.cores_recognizing:.1f} cores",
            f"{frames}; something moves {wish.moving:.0%} of the time",
        ),
        (
            "machines",
            str(found.machines),
            f"{found.cores} cores with {1 - HEADROOM:.0%} in reserve, as many each as here",
        ),
        (
            f"{SHM_DIR}, each",
            f"{found.shm_bytes / MIB:.0f} MiB",
            f"{found.recognizers + 2} slots of {size} luma a camera",
        ),
        ("memory, each", f"{found.memory_bytes / MIB:.0f} MiB", "rings, decoders, recognizers"),
        (
            "Redis memory",
            f"{found.redis_bytes / MIB:.0f} MiB",
            f"{found.sightings_per_day:.0f} sightings a day x {each}",
        ),
        (
            "network",
            f"{found.network_mbit_s:.0f} Mbit/s",
            f"{wish.camera_mbit_s:g} Mbit/s a camera",
        ),
    ]

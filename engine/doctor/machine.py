"""The machine: cores, memory, shared memory, limits, disk."""

import contextlib
import os
import resource
import shutil
from pathlib import Path
from typing import Final

from engine.config import Settings
from engine.cores import container_cores, usable_cores
from engine.doctor.cameras import SeenCamera
from engine.doctor.findings import Finding, Verdict, count
from engine.messages import RingHandle
from engine.resources import ASSUMED_SIZE_PX
from engine.ring_memory import ring_bytes
from engine.shm import MIB, SHM_DIR, free_bytes
from engine.slot_formats import fitting_size

GIB: Final = 1 << 30
MEMORY_BESIDE_BYTES: Final = 200 * MIB
MEMORY_EACH_BYTES: Final = 90 * MIB
"""What a recognizer or a camera's decoder takes, and all other processes together, measured with
1080p clips and the built-in recognizer; rings are counted apart."""
LOW_DISK_BYTES: Final = GIB
DESCRIPTORS_EACH: Final = 16
"""File descriptors that the supervisor holds per camera or recognizer, rounded up."""
DESCRIPTORS_BESIDE: Final = 256


def cores(workers: int) -> Finding:
    """Compare the cores with the recognizers that will run on them."""
    cores = len(os.sched_getaffinity(0))
    found = f"{count(cores, 'core')}, {count(workers, 'recognizer')}"
    limit = container_cores()
    if limit is None or limit >= cores:
        return Finding("cores", Verdict.FINE, found)
    found += f"; the container's limit is {limit:.1f} cores"
    if workers <= usable_cores():
        return Finding("cores", Verdict.FINE, found)
    remedy = "a lower recognizers.count, or a higher limit"
    return Finding("cores", Verdict.WARNING, found, remedy)


def memory(settings: Settings, workers: int) -> Finding:
    """Compare the free memory, of this container where there is one, with what processes take."""
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    kib = {line.split(":")[0]: int(line.split()[1]) for line in lines}
    total, free = usable_memory_bytes(), kib["MemAvailable"] * 1024
    used = _cgroup("memory.current")
    if used.isdigit() and total < kib["MemTotal"] * 1024:
        free = min(free, total - int(used))
    needed = MEMORY_BESIDE_BYTES + MEMORY_EACH_BYTES * (workers + len(settings.cameras))
    found = f"{free / GIB:.1f} of {total / GIB:.1f} GiB free, about {needed / GIB:.1f} needed"
    if free < needed:
        remedy = "free some memory, or configure fewer cameras or a lower recognizers.count"
        return Finding("memory", Verdict.WARNING, found, remedy)
    return Finding("memory", Verdict.FINE, found)


def usable_memory_bytes() -> int:
    """Return the memory of this machine, less where a container limits it."""
    total, limit = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"), _cgroup("memory.max")
    return min(total, int(limit)) if limit.isdigit() else total


def _cgroup(name: str) -> str:
    """Return a limit of this container (cgroup v2), "" where there is none."""
    with contextlib.suppress(OSError):
        return (Path("/sys/fs/cgroup") / name).read_text(encoding="ascii").strip()
    return ""


def open_files(settings: Settings, workers: int) -> Finding:
    """Compare the limit on open files with what this many cameras take."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    needed = DESCRIPTORS_BESIDE + DESCRIPTORS_EACH * (len(settings.cameras) + workers)
    found = f"{soft} open files allowed, up to {needed} needed besides browsers"
    if soft < needed:
        remedy = f"ulimit -n {max(needed, min(hard, 65_536))}"
        return Finding("open files", Verdict.PROBLEM, found, remedy)
    return Finding("open files", Verdict.FINE, found)


def shared_memory(settings: Settings, workers: int, cameras: list[SeenCamera]) -> Finding:
    """Compare what all rings will take, at the sizes just seen, with what is free."""
    needed = 0
    automatic = (workers + 1) * settings.recognizers.batch + 1
    for camera in cameras:
        slots = automatic if camera.settings.slots == "auto" else camera.settings.slots
        form = camera.settings.format
        size_px = (camera.width_px, camera.height_px) if camera.width_px else ASSUMED_SIZE_PX
        width_px, height_px = fitting_size(*size_px, form)
        needed += ring_bytes(
            RingHandle(
                ring=0,
                segment="",
                camera=0,
                camera_name=camera.settings.name,
                width_px=width_px,
                height_px=height_px,
                format=form,
                slots=slots,
                lossless=False,
            )
        )
    total = os.statvfs(SHM_DIR).f_blocks * os.statvfs(SHM_DIR).f_frsize
    found = (
        f"{SHM_DIR}: {free_bytes() // MIB} of {total // MIB} MiB free, "
        f"{-(-needed // MIB)} MiB needed"
    )
    if needed > free_bytes():
        remedy = (
            f"mount -o remount,size={2 * needed // MIB}M {SHM_DIR}; docker: --shm-size; "
            f"Kubernetes: an emptyDir with medium: Memory on {SHM_DIR}; or lower cameras[].slots"
        )
        return Finding("shared memory", Verdict.PROBLEM, found, remedy)
    return Finding("shared memory", Verdict.FINE, found)


def data_dir(settings: Settings) -> Finding:
    """Tell whether the folder, or the one it will be made in, takes files; nothing is written."""
    folder = settings.data_dir
    there = next(place for place in (folder, *folder.parents) if place.exists())
    if not there.is_dir() or not os.access(there, os.W_OK | os.X_OK):
        problem = f"{there} is no folder" if not there.is_dir() else f"{there} is not writable"
        remedy = "choose a folder that this user may write"
        return Finding("data_dir", Verdict.PROBLEM, problem, remedy)
    free = shutil.disk_usage(there).free
    found = f"{folder}, {free / GIB:.1f} GiB free"
    if free < LOW_DISK_BYTES:
        return Finding(
            "data_dir", Verdict.WARNING, found, "free some space, or choose another disk"
        )
    return Finding("data_dir", Verdict.FINE, found)

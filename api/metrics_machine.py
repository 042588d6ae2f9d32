"""Metrics of the machine as the kernel tells them: what each process takes, and room on disks."""

import contextlib
import os
import resource
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from engine.board import Kind
from engine.messages import EngineStatus
from engine.shm import SHM_DIR

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME, _STARTTIME = 11, 12, 19
"""Of what follows the name in /proc/PID/stat, proc(5) counts from 3."""
_LABELS: Final = ("process", "kind")


def _boot_unix_s() -> float:
    """Return when the machine was started."""
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("btime ")))


class MachineMetrics:
    """Asks the kernel anew at each scrape."""

    def __init__(self, data_dir: str) -> None:
        """Watch the disk of ``data_dir`` beside shared memory."""
        self._disks = {"data": data_dir, "shared_memory": str(SHM_DIR)}
        self._boot_unix_s = _boot_unix_s()

    def disks(self) -> Iterator[Metric]:
        """Yield the room where the engine writes."""
        size = GaugeMetricFamily("platering_disk_size_bytes", "A disk's size.", labels=("disk",))
        free = GaugeMetricFamily(
            "platering_disk_free_bytes", "Room left on a disk, for this user.", labels=("disk",)
        )
        for name, path in self._disks.items():
            with contextlib.suppress(OSError):
                found = os.statvfs(path)
                size.add_metric((name,), found.f_blocks * found.f_frsize)
                free.add_metric((name,), found.f_bavail * found.f_frsize)
        yield from (size, free)

    def processes(self, status: EngineStatus) -> Iterator[Metric]:
        """Yield what every process of the engine takes; one that ends meanwhile is left out."""
        memory = GaugeMetricFamily(
            "platering_process_resident_memory_bytes",
            "Memory of a process, what it shares with others included.",
            labels=_LABELS,
        )
        shared = GaugeMetricFamily(
            "platering_process_shared_memory_bytes",
            "The part of it that other processes may share: rings, libraries.",
            labels=_LABELS,
        )
        cpu = CounterMetricFamily(
            "platering_process_cpu_seconds", "CPU time of a process.", labels=_LABELS
        )
        files = GaugeMetricFamily(
            "platering_process_open_fds", "Open files of a process.", labels=_LABELS
        )
        most = GaugeMetricFamily(
            "platering_process_max_fds", "Files that a process may open.", labels=_LABELS
        )
        started = GaugeMetricFamily(
            "platering_process_start_time_seconds", "Start of a process.", labels=_LABELS
        )
        for pid, name, kind in _named(status):
            labels = (name, kind)
            with contextlib.suppress(OSError):
                times = _stat(pid)
                pages = Path(f"/proc/{pid}/statm").read_bytes().split()
                count = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  # ten times Path.iterdir's pace
                limit, _hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
                cpu.add_metric(labels, (times[_UTIME] + times[_STIME]) / _TICKS_PER_S)
                started.add_metric(labels, self._boot_unix_s + times[_STARTTIME] / _TICKS_PER_S)
                memory.add_metric(labels, int(pages[1]) * _PAGE_BYTES)
                shared.add_metric(labels, int(pages[2]) * _PAGE_BYTES)
                files.add_metric(labels, count)
                most.add_metric(labels, float("inf") if limit < 0 else limit)
        yield from (memory, shared, cpu, files, most, started)


def _named(status: EngineStatus) -> Iterator[tuple[int, str, str]]:
    """Yield pid, name and kind of every process that is up."""
    if status.pid:
        yield status.pid, "supervisor", Kind.SUPERVISOR.name.lower()
    if status.redis_pid:
        yield status.redis_pid, "redis", "redis"
    for process in status.processes:
        if process.up and process.pid:
            yield process.pid, process.name, Kind(process.kind).name.lower()


def _stat(pid: int) -> list[int]:
    """Return the numbers of /proc/PID/stat that follow the state."""
    line = Path(f"/proc/{pid}/stat").read_bytes()
    return [0, *map(int, line.rpartition(b")")[2].split()[1:])]

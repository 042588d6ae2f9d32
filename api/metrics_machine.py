"""Metrics of the machine as the kernel tells them: what each process takes, and room on disks."""

import contextlib
import os
from collections.abc import Iterator
from typing import Final

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric

from engine.messages import EngineStatus
from engine.process_use import use_of
from engine.shm import SHM_DIR

_LABELS: Final = ("process", "kind")


class MachineMetrics:
    """Asks the kernel anew at each scrape."""

    def __init__(self, data_dir: str) -> None:
        """Watch the disk of ``data_dir`` beside shared memory."""
        self._disks = {"data": data_dir, "shared_memory": str(SHM_DIR)}

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
        for pid, name, kind in status.running():
            labels = (name, kind.name.lower() if kind else name)
            use = use_of(pid)
            if use is None:
                continue
            cpu.add_metric(labels, use.cpu_s)
            started.add_metric(labels, use.started_unix_s)
            memory.add_metric(labels, use.resident_bytes)
            shared.add_metric(labels, use.shared_bytes)
            files.add_metric(labels, use.open_files)
            most.add_metric(labels, use.most_files)
        yield from (memory, shared, cpu, files, most, started)

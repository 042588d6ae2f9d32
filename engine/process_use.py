"""What the kernel says that a process takes: CPU time, memory, open files (proc(5))."""

import os
import resource
from pathlib import Path
from typing import Final

import msgspec

_PAGE_BYTES: Final = os.sysconf("SC_PAGE_SIZE")
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_UTIME, _STIME, _STARTTIME = 11, 12, 19
"""Places in /proc/PID/stat, counted from the process's state, which is the 0th."""


class ProcessUse(msgspec.Struct, frozen=True):
    """What one process takes now; all counted since its start."""

    cpu_s: float
    resident_bytes: int
    """What it shares with others included."""
    shared_bytes: int
    open_files: int
    most_files: float
    """How many it may have open."""
    started_unix_s: float


def boot_unix_s() -> float:
    """Return when the machine was started."""
    lines = Path("/proc/stat").read_text(encoding="ascii").splitlines()
    return float(next(line.split()[1] for line in lines if line.startswith("btime ")))


_BOOT_UNIX_S: Final = boot_unix_s()


def use_of(pid: int) -> ProcessUse | None:
    """Return what a process of this user takes, None where it is gone."""
    try:
        line = Path(f"/proc/{pid}/stat").read_bytes()
        pages = Path(f"/proc/{pid}/statm").read_bytes().split()
        open_files = len(os.listdir(f"/proc/{pid}/fd"))  # noqa: PTH208  # ten times iterdir's pace
        limit, _hard = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    except OSError:
        return None
    times = line.rpartition(b")")[2].split()
    return ProcessUse(
        cpu_s=(int(times[_UTIME]) + int(times[_STIME])) / _TICKS_PER_S,
        resident_bytes=int(pages[1]) * _PAGE_BYTES,
        shared_bytes=int(pages[2]) * _PAGE_BYTES,
        open_files=open_files,
        most_files=float("inf") if limit < 0 else limit,
        started_unix_s=_BOOT_UNIX_S + int(times[_STARTTIME]) / _TICKS_PER_S,
    )

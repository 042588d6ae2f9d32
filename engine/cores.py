"""How many cores this process may use: those it is bound to, fewer where a container limits it."""

import contextlib
import math
import os
from pathlib import Path

_GROUPS = Path("/sys/fs/cgroup")


def usable_cores() -> int:
    """Return the cores of this process; a container's limit counts rounded up, 1 at least."""
    bound = len(os.sched_getaffinity(0))
    limit = container_cores()
    return bound if limit is None else max(1, min(bound, math.ceil(limit)))


def container_cores(groups: Path = _GROUPS, own: Path = Path("/proc/self/cgroup")) -> float | None:
    """Return the tightest limit of this process's control groups (v2) in cores, None for none.

    groups: where they are mounted. own: the file that names ours.
    """
    limits = [limit for group in _own_groups(groups, own) for limit in _limits(group)]
    return min(limits, default=None)


def _own_groups(groups: Path, own: Path) -> list[Path]:
    """Return the folder of our control group, and of all that it is in."""
    with contextlib.suppress(OSError):
        for line in own.read_text(encoding="ascii", errors="replace").splitlines():
            if line.startswith("0::/"):
                inner = Path(line.removeprefix("0::/"))
                return [groups / inner, *(groups / outer for outer in inner.parents)]
    return [groups]


def _limits(group: Path) -> list[float]:
    with contextlib.suppress(OSError, ValueError):
        quota_us, period_us = (group / "cpu.max").read_text(encoding="ascii").split()
        if quota_us != "max":
            return [int(quota_us) / int(period_us)]
    return []

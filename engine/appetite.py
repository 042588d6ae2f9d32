"""How much a decoder takes of the machine: one that takes all it gets lets the others go first.

A decoder waits for its camera most of the time. One that never does, while it works a good deal,
is behind, or is fed by a stream that sends as much as it can: either way it would take from the
other cameras what it can never have enough of.
"""

import contextlib
import os
import time
from collections import deque
from pathlib import Path
from typing import Final, NamedTuple

WATCHED_S: Final = 5.0
GREEDY_WORK: Final = 0.25
"""Share of a core below which a decoder that never waits is the one that is robbed."""
GREEDY_BUSY: Final = 0.95
CALM_BUSY: Final = 0.8
"""Shares of the time in which it works, or would if it were let."""
YIELDED_STEPS: Final = 10
"""Of ``nice``: a tenth of what others get, where there is not enough for all."""
FAST_STEPS: Final = 5
"""A file loses nothing while it waits for cameras."""
_NICEST: Final = 19
_FIRST_NICE: Final = os.getpriority(os.PRIO_PROCESS, 0)

_EVERY_S = 0.5


class Schedule(NamedTuple):
    """For how long a thread has run, and has waited for a core, seconds since its start."""

    ran_s: float
    waited_s: float


class Appetite:
    """Of one decoder; it is told the time and its schedule, and asks nobody."""

    def __init__(self) -> None:
        self.is_greedy = False
        self._noted: deque[tuple[float, Schedule]] = deque()

    def note(self, now_s: float, schedule: Schedule) -> None:
        """Note a schedule; now_s: monotonic seconds."""
        noted = self._noted
        if noted and now_s - noted[-1][0] < _EVERY_S:
            return
        noted.append((now_s, schedule))
        while len(noted) > 1 and now_s - noted[1][0] >= WATCHED_S:
            noted.popleft()
        began_s, began = noted[0]
        if now_s - began_s < WATCHED_S:
            return
        work = (schedule.ran_s - began.ran_s) / (now_s - began_s)
        busy = work + (schedule.waited_s - began.waited_s) / (now_s - began_s)
        if self.is_greedy:
            self.is_greedy = busy >= CALM_BUSY
        else:
            self.is_greedy = work >= GREEDY_WORK and busy >= GREEDY_BUSY

    def forget(self) -> None:
        """Begin anew: another connection."""
        self._noted.clear()
        self.is_greedy = False


def main_threads_schedule() -> Schedule:
    """Return the schedule of this process's main thread, which decodes.

    Where the kernel does not tell how long it waited, that counts as none.
    """
    try:
        ran, waited, _slices = Path("/proc/self/schedstat").read_text(encoding="ascii").split()
    except (OSError, ValueError):
        return Schedule(time.process_time(), 0.0)
    return Schedule(int(ran) / 1e9, int(waited) / 1e9)


def yield_to_others(steps: int) -> None:
    """Let other processes go before all threads of this one, by steps below its first priority.

    What was yielded is never taken back.
    """
    nice = min(_FIRST_NICE + steps, _NICEST)
    for thread in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):  # it has ended
            if os.getpriority(os.PRIO_PROCESS, int(thread.name)) < nice:
                os.setpriority(os.PRIO_PROCESS, int(thread.name), nice)


def start_below(pid: int, steps: int) -> None:
    """Let a process just started go behind this one, by steps of priority."""
    nice = min(os.getpriority(os.PRIO_PROCESS, 0) + steps, _NICEST)
    os.setpriority(os.PRIO_PROCESS, pid, nice)

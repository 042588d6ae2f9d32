"""The end of a run, in phases: whoever feeds others ends before them, each with its deadline."""

import contextlib
import logging
import os
import signal
import time
from collections.abc import Callable
from typing import Final

from engine.board import Kind
from engine.children import ChildProcess
from engine.messages import Stop
from engine.roster import Roster

STOP_PHASES: Final = (
    (frozenset({Kind.DECODER, Kind.API}), 3.0),
    (frozenset({Kind.WORKER}), 4.0),
    (frozenset({Kind.PUBLISHER}), 3.0),
)

log = logging.getLogger(__name__)


class Ending:
    """Where the end of a run is; before it has begun, nowhere."""

    def __init__(self, roster: Roster, reap: Callable[[ChildProcess], None]) -> None:
        """Take what the supervisor does with a child that has ended."""
        self._roster = roster
        self._reap = reap
        self._phase = -1
        """Index into ``STOP_PHASES``; -1 while the run lasts."""
        self._phase_ends = 0.0

    @property
    def has_begun(self) -> bool:
        """True from the first order to end on."""
        return self._phase >= 0

    @property
    def is_over(self) -> bool:
        """True once every process has ended."""
        return self._phase >= len(STOP_PHASES)

    def begin(self) -> None:
        """Tell those of the first phase to stop, unless that was done already."""
        if not self.has_begun:
            self._begin_phase(0)

    def _begin_phase(self, phase: int) -> None:
        """Tell the processes of a phase to stop."""
        self._phase = phase
        if self.is_over:
            return
        kinds, seconds = STOP_PHASES[phase]
        self._phase_ends = time.monotonic() + seconds
        for child in self._roster.children:
            if child.kind in kinds:
                child.is_wanted = False
                child.send(Stop())

    def advance(self) -> None:
        """Go on to the next phase when this one's processes have ended, or must."""
        kinds, _seconds = STOP_PHASES[self._phase]
        left = [child for child in self._roster.children if child.kind in kinds and child.is_up]
        if left and time.monotonic() < self._phase_ends:
            return
        for child in left:
            log.warning("%s did not end in time: killing it", child.name)
            child.signal(signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):  # it ended in the last moment
                os.waitid(os.P_PIDFD, child.pidfd, os.WEXITED | os.WNOWAIT)
            self._reap(child)
        self._begin_phase(self._phase + 1)

    def at_once(self) -> None:
        """Kill everything."""
        for child in self._roster.children:
            if child.is_up:
                child.signal(signal.SIGKILL)
                child.reap()
        self._phase = len(STOP_PHASES)

"""Processes are replaced by new ones while the run goes on, one after the other.

A recognizer, and a process of the front, ends only once its heir is ready, so that there is always
one that works. Where there is no room for two, and for the publisher, which owns its spool, the
same one ends and starts again: what comes meanwhile waits for it. Where a new configuration wants
more of them, these are awaited, too: it is in force only once all work by it.
"""

import logging
from collections import deque
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Final

from engine.board import Kind
from engine.children import ChildProcess
from engine.crew import Crew
from engine.messages import RestartReason
from engine.process_use import use_of
from engine.roster import HERALD, Roster

SPARE: Final = 1.25
"""An heir is started beside a process only where so many times its memory is available."""

log = logging.getLogger(__name__)


class Renewal:
    """Who is to be replaced, and how far that is; the supervisor turns it with its loop."""

    def __init__(self, roster: Roster, crew: Crew, is_upload_read: Callable[[], bool]) -> None:
        """The publisher is not replaced while ``is_upload_read``: it alone knows how far it is."""
        self._roster = roster
        self._crew = crew
        self._is_upload_read = is_upload_read
        self._waiting: deque[ChildProcess] = deque()
        self._newcomers: list[ChildProcess] = []
        """Those that start beside all others, until they are ready."""
        self._leaving: ChildProcess | None = None
        self._heir: ChildProcess | None = None
        """Of ``_leaving``; that itself where it starts again."""
        self._incarnation = 0
        """Which one of it leaves."""
        self.can_go_back = False
        """The configuration is new, and there is one of before."""
        self.failure = ""
        """Why the last replacement ended early."""

    @property
    def names(self) -> tuple[str, ...]:
        """Those that are to be replaced, the present one first, and those that are to start."""
        present = () if self._leaving is None else (self._leaving.name,)
        return (*present, *(child.name for child in (*self._waiting, *self._newcomers)))

    def order(
        self, children: Iterable[ChildProcess], newcomers: Iterable[ChildProcess] = ()
    ) -> None:
        """Have them replaced, those first that come first, and newcomers awaited."""
        self.failure = ""
        self._waiting += (child for child in children if child.name not in self.names)
        self._newcomers += newcomers

    def turn(self) -> None:
        """Begin with the next one, or go on with the present one."""
        self._newcomers = [
            child for child in self._newcomers if not (child.is_ready or child.is_dismissed)
        ]
        if self._leaving is None or self._heir is None:
            if self._waiting and not self._must_wait(self._waiting[0]):
                self._begin(self._waiting.popleft())
        elif self._heir is self._leaving:
            if self._heir.is_ready and self._heir.incarnation > self._incarnation:
                self._end()
        elif self._leaving not in self._roster.children:
            self._end()
        elif self._heir.is_ready and not self._leaving.is_dismissed:
            self._crew.dismiss(self._leaving)

    def _must_wait(self, child: ChildProcess) -> bool:
        return child.kind is Kind.PUBLISHER and self._is_upload_read()

    def _begin(self, child: ChildProcess) -> None:
        if child not in self._roster.children or child.is_dismissed:
            return
        self._leaving, self._incarnation = child, child.incarnation
        has_heir = child.kind in {Kind.WORKER, Kind.API} and child.name != HERALD
        if not (has_heir and self._roster.free_rows and fits_beside(child)):
            self._heir = child
            self._crew.renew(child)
        elif child.kind is Kind.WORKER:
            self._heir = self._roster.add_worker(after=child)
        else:
            self._heir = self._roster.add_front(after=child)

    def _end(self) -> None:
        if self._leaving is not None and self._heir is not None:
            how = (
                "started anew" if self._heir is self._leaving else f"replaced by {self._heir.name}"
            )
            log.info("%s was %s", self._leaving.name, how)
        self._leaving = self._heir = None

    def reaped(self, child: ChildProcess, why: str) -> bool:
        """Hear that a child has ended; True when that was part of this, and needs nothing else."""
        if child.is_renewed:
            child.is_renewed, child.is_wanted = False, True  # it may have failed just then
            child.count_restart(RestartReason.ORDERED)
            child.start_soon()
            return True
        if child.is_dismissed or child.kind is Kind.DECODER:
            return False
        is_heir = child is self._heir
        if (is_heir and child is not self._leaving) or (
            child in self._newcomers and self.can_go_back
        ):
            self._fail(why)
            self._crew.dismiss(child)
            return True
        cannot_work = not child.is_wanted or (is_heir and not child.was_ready)
        if not (cannot_work and self.can_go_back):
            return False  # it is started again, or the run cannot go on: like at any time
        self._fail(why)
        child.is_wanted = True
        return True

    def _fail(self, why: str) -> None:
        """Leave all others as they are."""
        log.error("%s: the others are not replaced", why)
        self.failure = why
        self._waiting.clear()
        self._newcomers.clear()
        self._leaving = self._heir = None


def fits_beside(child: ChildProcess) -> bool:
    """Tell whether there is memory for one more process like this one."""
    use = use_of(child.pid)
    if use is None:
        return False
    lines = Path("/proc/meminfo").read_text(encoding="ascii").splitlines()
    available = next(int(line.split()[1]) for line in lines if line.startswith("MemAvailable"))
    return available << 10 > SPARE * (use.resident_bytes - use.shared_bytes)

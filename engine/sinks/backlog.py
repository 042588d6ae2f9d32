"""What waits for a sink that is back: camera by camera, the least first."""

from typing import Final

import msgspec

from engine.progress import Progress
from engine.spool_reader import SpoolReader

_MOST_CAMERAS: Final = 4_096
"""Whoever posts under more names than this has them replayed as they came."""


class Backlog(msgspec.Struct):
    """The cameras of which events wait, and where events begin that came since."""

    waiting: list[str]
    """The one with the fewest last."""
    count: int
    """Events that waited in the beginning."""
    live_seq: int
    """Up to here nothing is new any more: it was delivered or belongs to ``waiting``."""
    cameras: set[str]

    @classmethod
    def of(cls, reader: SpoolReader, done: Progress) -> "Backlog | None":
        """Return what waits for a sink of this progress; None where it is too scattered."""
        live_seq = max(done.base, reader.newest_seq())
        waiting = reader.waiting(done)
        if len(waiting) > _MOST_CAMERAS:
            return None
        names = sorted(waiting, key=lambda name: waiting[name], reverse=True)
        return cls(names, sum(waiting.values()), live_seq, set(names))

    @property
    def is_done(self) -> bool:
        """Tell whether every camera is live again."""
        return not self.waiting

    @property
    def next_camera(self) -> str:
        """The camera whose events are due."""
        return self.waiting[-1]

    def camera_is_done(self) -> None:
        """Nothing of ``next_camera`` waits any more: from now on it is live."""
        self.cameras.remove(self.waiting.pop())

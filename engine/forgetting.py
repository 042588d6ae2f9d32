"""The publisher's part in forgetting a plate: its memory, its spool, and what is under way.

``platering forget`` (``engine.forget``) asks for it and does the rest: after the answer nothing
that was known of the plate before reaches Redis any more, so what is removed there stays removed.
"""

import msgspec

from engine.clip_channel import ClipTaker
from engine.ingest_channel import IngestConnection
from engine.messages import ForgetPlates, IngestDone
from engine.sinks.feeders import Feeders
from engine.spool import Spool
from engine.tracker import Tracker


class _Asked(msgspec.Struct, frozen=True):
    connection: IngestConnection
    message: ForgetPlates


class _Removed(msgspec.Struct, frozen=True):
    connection: IngestConnection
    done: IngestDone
    passes: int
    """Of the feeder of Redis, when the spool had lost the events."""


class Forgetting:
    """Forgets what it was asked to; used by the publisher's loop, between its commits."""

    def __init__(self, tracker: Tracker, clips: ClipTaker, spool: Spool, feeders: Feeders) -> None:
        self._tracker, self._clips = tracker, clips
        self._spool, self._feeders = spool, feeders
        self._asked: list[_Asked] = []
        self._removed: list[_Removed] = []

    def ask(self, connection: IngestConnection, message: ForgetPlates) -> None:
        """Note what to forget at the next turn, and who waits for it."""
        self._asked.append(_Asked(connection, message))

    def turn(self) -> None:
        """Forget; answer once a batch that Redis was being sent meanwhile is through.

        May only be called while no turn of the publisher waits to be committed.
        """
        for asked in self._asked:
            self._forget(asked)
        self._asked.clear()
        passes = self._feeders.passes_of_redis
        for removed in self._removed:
            if passes > removed.passes:
                removed.connection.answer(removed.done)
        self._removed = [one for one in self._removed if passes <= one.passes]

    def _forget(self, asked: _Asked) -> None:
        plates, request = frozenset(asked.message.plates), asked.message.request
        tracks = self._tracker.forget(plates)
        self._clips.forget(plates)
        events = self._spool.forget(plates, tracks)
        if events is None:
            refusal = "busy: the spool cannot be written, say it again"
            asked.connection.answer(IngestDone(request=request, error=refusal))
            return
        done = IngestDone(request=request, forgotten=events)
        self._removed.append(_Removed(asked.connection, done, self._feeders.passes_of_redis))

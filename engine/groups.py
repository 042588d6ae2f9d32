"""Groups across cameras: sightings of one plate at several cameras of a site share a group.

The first one to see a plate notes its id in Redis for ``group_window_s``; whoever sees the plate at
the site within that time carries this id as its group, on whichever machine it is. A thread of its
own asks Redis; the publisher waits for an answer only for a moment, and not at all while Redis is
away. What gets no answer in time has no group in this event and is asked about with the next one.
"""

import logging
import queue
import threading
import time
from collections.abc import Sequence
from typing import Any, Final

import msgspec

from engine.redis_client import REDIS_ERRORS, connect
from engine.store import group_key

_WAIT_S: Final = 0.05
_ANSWER_TIMEOUT_S: Final = 2.0
_MOST_WAITING: Final = 1_000

log = logging.getLogger(__name__)


class Question(msgspec.Struct, frozen=True):
    """Which group does this sighting belong to?"""

    sighting_id: str
    site: str
    plate: str


class _Batch(msgspec.Struct, frozen=True):
    """Questions that are asked together."""

    number: int
    questions: list[Question]


class Groups:
    """Asks Redis for groups; one thread calls its methods, another one asks."""

    def __init__(self, url: str, window_s: float) -> None:
        self._url = url
        self._window_ms = max(1, int(window_s * 1_000))
        self._questions: queue.Queue[_Batch] = queue.Queue(_MOST_WAITING)
        self._answers: queue.SimpleQueue[tuple[int, dict[str, str]]] = queue.SimpleQueue()
        self._number = 0
        self._is_away = False
        self._client: Any = None
        self._is_working = False

    def of(self, questions: Sequence[Question]) -> dict[str, str]:
        """Return the groups by sighting id, as far as Redis answers within a moment."""
        if not self._is_working:
            self._is_working = True
            threading.Thread(target=self._work, name="groups", daemon=True).start()
        self._number += 1
        ends = time.monotonic() + (0.0 if self._is_away else _WAIT_S)
        try:
            self._questions.put_nowait(_Batch(self._number, list(questions)))
            while True:
                number, groups = self._answers.get(timeout=max(0.0, ends - time.monotonic()))
                if number == self._number:  # others are too late for the events they were for
                    return groups
        except (queue.Full, queue.Empty):
            return {}

    def _work(self) -> None:
        """Answer questions for ever; the thread ends with its process."""
        while True:
            batch = self._questions.get()
            while not self._questions.empty():  # nobody waits for older ones any more
                batch = self._questions.get()
            try:
                answers = self._asked(batch.questions)
            except REDIS_ERRORS as error:
                if not self._is_away:
                    log.warning("sightings get no groups for now: Redis: %s", error)
                self._is_away = True
                self._client = None
                continue
            self._is_away = False
            self._answers.put((batch.number, answers))

    def _asked(self, questions: Sequence[Question]) -> dict[str, str]:
        """Note every sighting as the first of its group, where there is no other; return who is."""
        if self._client is None:
            self._client = connect(self._url, answer_timeout_s=_ANSWER_TIMEOUT_S)
        pipeline = self._client.pipeline(transaction=False)
        for one in questions:
            key = group_key(one.site, one.plate)
            pipeline.set(key, one.sighting_id, nx=True, px=self._window_ms)
            pipeline.get(key)
        firsts = pipeline.execute()[1::2]
        return {
            one.sighting_id: first.decode("ascii", "replace") if first else one.sighting_id
            for one, first in zip(questions, firsts, strict=True)
        }

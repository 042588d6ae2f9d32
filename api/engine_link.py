"""The API's questions to the supervisor (how are you?), and its orders.

Asked at most once a second, never waited for long; while no supervisor answers, the front works
on with what Redis and the board hold.
"""

import logging
import time
from typing import Any, Final

import msgspec

from engine.control import ask
from engine.errors import ControlError, EngineAwayError
from engine.messages import EngineStatus

FRESH_S: Final = 1.0
ANSWER_WITHIN_S: Final = 1.0
ORDER_WITHIN_S: Final = 5.0

log = logging.getLogger(__name__)


class EngineLink:
    """The newest answer to ``status``, renewed when it is older than a second."""

    def __init__(self, path: str) -> None:
        """Take the path of the control socket; empty where this front runs without an engine."""
        self._path = path
        self._status: EngineStatus | None = None
        self._due = 0.0

    def status(self) -> EngineStatus | None:
        """Return the engine's state, or None while no supervisor answers."""
        now = time.monotonic()
        if self._path and now >= self._due:
            self._due = now + FRESH_S  # first, so that requests meanwhile do not ask, too
            try:
                answer = ask(self._path, "status", timeout_s=ANSWER_WITHIN_S)
                self._status = msgspec.convert(answer, EngineStatus)
            except (ControlError, msgspec.ValidationError) as error:
                if self._status is not None:
                    log.warning("%s", error)
                self._status = None
        return self._status

    def order(self, verb: str, **arguments: Any) -> Any:
        """Have the supervisor do something; return its answer.

        Raises:
            EngineAwayError: no engine runs beside this front, or it does not answer.
            ControlError: it refuses; says why.
        """
        if not self._path:
            raise EngineAwayError("no engine runs beside this front")
        answer = ask(self._path, verb, timeout_s=ORDER_WITHIN_S, **arguments)
        self._due = 0.0  # what is shown of it is old now
        return answer

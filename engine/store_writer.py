"""Commits sightings to Redis, many at once, each exactly once: the writing half of the schema.

``engine.store`` documents the keys, ``engine.store_commands`` what is sent. Used by the Redis sink
alone.

While Redis works on one portion of a batch, the next one is encoded: the script of a portion
travels with the own keys of the next, but never before its own keys are known to be stored.
"""

import logging
import secrets
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import chain
from typing import Any, Final

import msgspec

from engine.canary import is_canary
from engine.config import RedisSettings
from engine.errors import SinkError
from engine.redis_client import REDIS_ERRORS
from engine.redis_wire import Command, NodeWire, Refusal, Wire, open_wire
from engine.store import EPOCH, marker_key
from engine.store_commands import (
    SCRIPT,
    canary_command,
    corrected,
    encode_json,
    log_command,
    outdated,
    own_keys,
    rewritten,
)
from engine.track import Event
from engine.types import Sighting

PORTION: Final = 64
"""Events between two turns of the wire."""

_OF_AN_EVENT: Final = frozenset({"WRONGTYPE", "ERR"})
"""Refusals that may be about one event; all others are about the state of the server."""

log = logging.getLogger(__name__)


class _LogRefusedError(Exception):
    """The script was refused: it is not known there, or an event in it is not to be had."""


class _Portion(msgspec.Struct):
    """Some events on their way."""

    events: list[Event]
    encoded: list[bytes]
    own: list[Command]
    owners: list[int]
    """For each of ``own`` the index of the event that cannot do without it, or -1."""

    def bring_canaries(self, batch: Sequence[Event]) -> None:
        """Let the own keys bring the canary's events of a batch to their place."""
        brought = [
            canary_command(encode_json(event.sighting))
            for event in batch
            if is_canary(event.sighting.camera)
        ]
        self.own += brought
        self.owners += [-1] * len(brought)


class StoreWriter:
    """Commits batches of events over connections of its own; one thread.

    An event that Redis refuses for what it is (another program uses its key, say) is given to
    ``refuse`` with the reason, and the rest goes on; without ``refuse`` it stops them all.
    """

    def __init__(
        self,
        url: str,
        settings: RedisSettings,
        refuse: Callable[[Event, str], None] | None = None,
        days_of: Mapping[str, float] | None = None,
    ) -> None:
        """Write to ``url``; ``days_of`` cameras with a life of their own, see ``own_keys``."""
        self._days_of: Mapping[str, float] = {} if days_of is None else days_of
        self._url = url
        self._settings = settings
        self._refuse = refuse
        self._wire: Wire | None = None
        self._sequence = 0
        self._last: tuple[str, int] | None = None
        """The newest marker known to be there, and its revision."""
        self._told: set[str] = set()

    def commit(self, events: Sequence[Event]) -> int:
        """Store and publish events in their order, each once; return how many were new.

        Raises:
            SinkError: Redis is away, or refused them; committing them again is safe.
        """
        if not events:
            return 0
        try:
            try:
                return self._commit(events)
            except _LogRefusedError:
                self.close()
                return sum(self._commit_alone(event) for event in events)
        except REDIS_ERRORS as error:
            self.close()
            raise SinkError(f"Redis: {error}") from error
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Drop the connections; the next commit makes new ones."""
        wire, self._wire = self._wire, None
        if wire is not None:
            wire.close()

    def resumes(self) -> bool:
        """Connect again where it is needed; tell whether Redis still has all it acknowledged to us.

        What it keeps of its log, after a crash or a failover, is a beginning of it: where the last
        marker that we know of is there, everything before is. The nodes of a Cluster lose apart
        from each other, so there it is never certain.
        """
        if self._wire is not None:
            return True
        if self._last is None:
            return False
        key, revision = self._last
        try:
            wire = self._connected()
            known = _asked(wire, ("GET", key))
        except (*REDIS_ERRORS, SinkError):
            self.close()
            return False
        return isinstance(wire, NodeWire) and known is not None and int(known) >= revision

    def has(self, sighting: Sighting) -> bool:
        """Tell whether this revision of a sighting, or a newer one, was committed.

        Raises:
            SinkError: Redis is away.
        """
        try:
            known = _asked(self._connected(), ("GET", marker_key(sighting.id)))
        except REDIS_ERRORS as error:
            self.close()
            raise SinkError(f"Redis: {error}") from error
        return known is not None and int(known) >= sighting.revision

    def _connected(self) -> Wire:
        """Return the wire; a new one brings the script, and names the log.

        The log gets another name when it went back behind what we know: a server lost what it had
        acknowledged, as in a failover.
        """
        if self._wire is None:
            self._wire = wire = open_wire(self._url)
            _, *nothing = log_command([], [], self._settings)
            bring = ("EVAL", SCRIPT, *nothing[1:])
            _, sequence = _asked(wire, bring)
            epoch = ("SET", EPOCH, secrets.token_hex(8))
            _asked(wire, epoch if sequence < self._sequence else (*epoch, "NX"))
            self._sequence = sequence
        return self._wire

    def _commit(self, events: Sequence[Event]) -> int:
        """Commit portion by portion: its own keys in one turn of the wire, its log in the next."""
        wire, stored = self._connected(), 0
        logged: _Portion | None = None
        keyed: _Portion | None = None
        for portion in chain(self._portions(events), (None, None)):
            if logged is not None:
                stored += self._logged(wire, logged)
            if keyed is not None:
                answers = wire.receive()
                mended = self._mended(keyed, answers)
                self._leave_out_refused(keyed, answers)
                wire.send([log_command(keyed.events, keyed.encoded, self._settings), *mended])
            if portion is not None:
                wire.send(portion.own)
            logged, keyed = keyed, portion
        return stored

    def _commit_alone(self, event: Event) -> int:
        """Commit one event; refuse it where it is the one that the script stumbles over."""
        try:
            return self._commit([event])
        except _LogRefusedError as error:
            self.close()
            self._connected()  # tries the script without any event
            self._refused(event, str(error))
            return 0

    def _portions(self, events: Sequence[Event]) -> Iterator[_Portion]:
        for start in range(0, len(events), PORTION):
            batch = events[start : start + PORTION]
            some = [event for event in batch if not is_canary(event.sighting.camera)]
            encoded = [encode_json(event.sighting) for event in some]
            own = own_keys(some, encoded, self._settings, self._days_of) if some else ([], [])
            portion = _Portion(some, encoded, *own)
            if len(some) < len(batch):
                portion.bring_canaries(batch)
            yield portion

    def _mended(self, portion: _Portion, answers: list[Any]) -> list[Command]:
        """Let events keep what was corrected by hand; return what that and new texts change."""
        commands = []
        for index, event in corrected(portion.events, portion.own, portion.owners, answers).items():
            portion.events[index] = event
            portion.encoded[index] = encode_json(event.sighting)
            commands.append(rewritten(event, portion.encoded[index]))
        return commands + outdated(portion.events, portion.own, portion.owners, answers)

    def _leave_out_refused(self, portion: _Portion, answers: list[Any]) -> None:
        """Take out events whose own keys were refused; an index that was is only told."""
        refused: dict[int, str] = {}
        for command, owner, answer in zip(portion.own, portion.owners, answers, strict=True):
            if not isinstance(answer, Refusal):
                continue
            if answer.code not in _OF_AN_EVENT:
                raise SinkError(f"Redis: {answer.text}")
            if owner >= 0:
                refused[owner] = f"{command[1]}: {answer.text}"
            elif command[1] not in self._told:
                self._told.add(command[1])
                log.error("the index %s cannot be written: %s", command[1], answer.text)
        for owner in sorted(refused, reverse=True):
            self._refused(portion.events.pop(owner), refused[owner])
            portion.encoded.pop(owner)

    def _refused(self, event: Event, reason: str) -> None:
        if self._refuse is None:
            raise SinkError(f"Redis: {reason}")
        self._refuse(event, reason)

    def _logged(self, wire: Wire, portion: _Portion) -> int:
        """Take the script's answer; an index that refused was told of before."""
        answer, *_ = wire.receive()
        if isinstance(answer, Refusal):
            if answer.code in _OF_AN_EVENT or answer.code == "NOSCRIPT":
                raise _LogRefusedError(answer.text)
            raise SinkError(f"Redis: {answer.text}")
        stored, self._sequence = answer
        if portion.events:
            last = portion.events[-1].sighting
            self._last = marker_key(last.id), last.revision
        return int(stored)


def _asked(wire: Wire, command: Command) -> Any:
    """Return one command's answer."""
    wire.send([command])
    (answer,) = wire.receive()
    if isinstance(answer, Refusal):
        raise SinkError(f"Redis: {answer.text}")
    return answer

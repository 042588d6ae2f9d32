"""Commits sightings to Redis, many at once, each exactly once: the writing half of the schema.

``engine.store`` documents the keys. Used by the Redis sink alone.
"""

import secrets
from collections.abc import Iterable, Sequence
from typing import Any, Final

import hiredis
import msgspec
import redis

from engine.config import RedisSettings
from engine.errors import SinkError
from engine.store import (
    EPOCH,
    LATEST,
    PLATES_CHANNEL,
    SEQUENCE,
    SIGHTINGS_CHANNEL,
    STREAM,
    camera_key,
    connect,
    evidence_key,
    marker_key,
    plate_key,
    sighting_key,
)
from engine.track import Event
from engine.types import Evidence, Phase, Sighting

MARKER_LIFE_S: Final = 7 * 86_400
_DAY_S: Final = 86_400

SCRIPT: Final = """
-- KEYS  sequence, stream, latest, then one marker per event; all carry the hash tag {log}.
-- ARGV  stream length, latest length, marker's life in seconds, the two channels,
--       then per event: id, revision, plate, json.
-- Returns how many events were new; a repeat of what was committed before changes nothing.
local stored = 0
local announced = false
for index = 4, #KEYS do
  local at = 6 + (index - 4) * 4
  local revision = tonumber(ARGV[at + 1])
  local known = tonumber(redis.call('GET', KEYS[index]) or '0')
  if revision > known then
    redis.call('SET', KEYS[index], revision, 'EX', ARGV[3])
    local sequence = redis.call('INCR', KEYS[1])
    redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'seq', sequence, 'json', ARGV[at + 3])
    if known == 0 then
      redis.call('LPUSH', KEYS[3], ARGV[at])
      redis.call('PUBLISH', ARGV[4], ARGV[at + 2])
      announced = true
    end
    redis.call('PUBLISH', ARGV[5], ARGV[at + 3])
    stored = stored + 1
  end
end
if announced then
  redis.call('LTRIM', KEYS[3], 0, tonumber(ARGV[2]) - 1)
end
return stored
"""

_json = msgspec.json.Encoder()


class StoreWriter:
    """Commits batches of events over one connection of its own; one thread.

    It writes below redis-py's command layer: the commands of a step are packed by hiredis and
    sent at once, the answers read one after the other. Whatever goes wrong between, the
    connection is closed, so that a later batch never reads an answer that was not its own.
    """

    def __init__(self, url: str, settings: RedisSettings) -> None:
        self._client = connect(url)
        self._settings = settings
        self._connection: Any = None
        self._script_sha = b""

    def commit(self, events: Sequence[Event]) -> int:
        """Store and publish events in their order, each once; return how many were new.

        Raises:
            SinkError: Redis is away, or refused them; committing them again is safe.
        """
        if not events:
            return 0
        try:
            connection = self._connected()
            encoded = [_json.encode(event.sighting) for event in events]
            self._exchange(connection, self._own_keys(events, encoded))
            return self._log(connection, events, encoded)
        except (redis.RedisError, OSError) as error:
            self.close()
            raise SinkError(f"Redis: {error}") from error

    def close(self) -> None:
        """Drop the connection; the next commit makes a new one."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.disconnect()
            self._client.connection_pool.release(connection)

    @property
    def connected(self) -> bool:
        """True from a commit that worked until one that did not."""
        return self._connection is not None

    def _connected(self) -> Any:
        if self._connection is None:
            connection = self._client.connection_pool.get_connection()
            self._connection = connection
            loaded = self._exchange(
                connection,
                [
                    ("SCRIPT", "LOAD", SCRIPT),
                    ("SET", EPOCH, secrets.token_hex(8), "NX"),
                ],
            )
            self._script_sha = loaded[0]
        return self._connection

    def _own_keys(self, events: Sequence[Event], encoded: list[bytes]) -> list[tuple[Any, ...]]:
        """Return the idempotent writes: hashes, pictures, indexes, their lives."""
        keep_s = max(1, int(self._settings.keep_days * _DAY_S))
        evidence_s = max(1, int(self._settings.evidence_days * _DAY_S))
        commands: list[tuple[Any, ...]] = []
        aged: dict[str, int] = {}
        for event, raw in zip(events, encoded, strict=True):
            sighting, evidence = event.sighting, event.evidence
            key, plate = sighting_key(sighting.id), plate_key(sighting.plate)
            camera = camera_key(sighting.camera)
            since_ms = sighting.first_unix_ms
            commands += [
                ("HSET", key, *_fields(sighting, raw)),
                ("EXPIRE", key, keep_s),
                ("ZADD", plate, since_ms, sighting.id),
                ("EXPIRE", plate, keep_s),
                ("ZADD", camera, since_ms, sighting.id),
            ]
            aged[camera] = since_ms - keep_s * 1_000
            if sighting.phase is Phase.FINAL:  # once per sighting is often enough
                aged[plate] = aged[camera]
            pictures = _pictures(evidence)
            if pictures:
                key = evidence_key(sighting.id)
                commands += [("HSET", key, *pictures), ("EXPIRE", key, evidence_s)]
        for index, before_ms in aged.items():
            commands.append(("ZREMRANGEBYSCORE", index, "-inf", before_ms))
            commands.append(("EXPIRE", index, keep_s))
        return commands

    def _log(self, connection: Any, events: Sequence[Event], encoded: list[bytes]) -> int:
        """Run the script over the batch; load it again where the server has forgotten it."""
        keys = [SEQUENCE, STREAM, LATEST, *(marker_key(event.sighting.id) for event in events)]
        arguments: list[Any] = [
            self._settings.stream_length,
            self._settings.latest_length,
            MARKER_LIFE_S,
            PLATES_CHANNEL,
            SIGHTINGS_CHANNEL,
        ]
        for event, raw in zip(events, encoded, strict=True):
            sighting = event.sighting
            arguments += [sighting.id, sighting.revision, sighting.plate, raw]
        command = ("EVALSHA", self._script_sha, len(keys), *keys, *arguments)
        try:
            (stored,) = self._exchange(connection, [command])
        except redis.exceptions.NoScriptError:
            command = ("EVAL", SCRIPT, len(keys), *keys, *arguments)
            (stored,) = self._exchange(connection, [command])
        return int(stored)

    def _exchange(self, connection: Any, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Send all commands at once and return their answers.

        Raises:
            RedisError: an answer was an error (all answers were read), or the connection broke.
        """
        packed = [hiredis.pack_command(command) for command in commands]
        connection.send_packed_command([b"".join(packed)])  # one write, not one per command
        answers: list[Any] = []
        refused: redis.ResponseError | None = None
        for _ in packed:
            try:
                answers.append(connection.read_response())
            except redis.ResponseError as error:
                refused = refused or error
        if refused is not None:
            raise refused
        return answers


def _fields(sighting: Sighting, raw: bytes) -> tuple[Any, ...]:
    """Return the hash's fields and values, in turn."""
    return (
        *("json", raw),
        *("plate", sighting.plate),
        *("camera", sighting.camera),
        *("node", sighting.node),
        *("phase", sighting.phase.value),
        *("revision", sighting.revision),
        *("confidence", sighting.confidence),
        *("first_unix_ms", sighting.first_unix_ms),
        *("last_unix_ms", sighting.last_unix_ms),
    )


def _pictures(evidence: Evidence | None) -> tuple[Any, ...]:
    """Return fields and values of the pictures there are."""
    if evidence is None:
        return ()
    crop = ("crop", evidence.crop_jpeg) if evidence.crop_jpeg else ()
    frame = ("frame", evidence.frame_jpeg) if evidence.frame_jpeg else ()
    return (*crop, *frame)

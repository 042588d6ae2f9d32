"""Corrects a sighting's plate by hand: kept with who and when, told to the stream, found by search.

A correction is made where the sighting is, in Redis, so that any front can do it. The publisher may
have more to tell of the same sighting (it is still in view, its clip comes): what it writes later
keeps the corrected text, and a revision above that of the correction (``engine.store_commands``).
Sinks besides Redis are not told. Who is told what was read finds it in ``read_as``.

The sighting stays in the indexes of its former texts, by which ``forget`` finds it; a search leaves
it out there.
"""

from typing import Any, Final

import msgspec

from engine.errors import CorrectionError, SinkError
from engine.redis_client import REDIS_ERRORS, Client
from engine.store import (
    SEQUENCE,
    SIGHTINGS_CHANNEL,
    STREAM,
    Store,
    corrections_key,
    marker_key,
    plate_key,
    sighting_key,
    texts_key,
)
from engine.store_commands import MARKER_LIFE_S, encode_json
from engine.types import DISGUISED, Correction, Phase, Sighting

MOST: Final = 100
"""Corrections of one sighting."""
_TRIES: Final = 5

_OWN: Final = """
-- KEYS  the sighting's hash, its corrections.
-- ARGV  the revision that is corrected, json, plate, the new revision, the correction, the phase.
-- Returns the time that the sighting has to live in ms, 0 where it has changed meanwhile.
if redis.call('HGET', KEYS[1], 'revision') ~= ARGV[1] then return 0 end
redis.call('HSET', KEYS[1], 'json', ARGV[2], 'plate', ARGV[3], 'revision', ARGV[4],
           'corrected', ARGV[3], 'phase', ARGV[6])
redis.call('HINCRBY', KEYS[1], 'corrections', 1)
redis.call('RPUSH', KEYS[2], ARGV[5])
local life = math.max(redis.call('PTTL', KEYS[1]), 1)
redis.call('PEXPIRE', KEYS[2], life)
return life
"""

_INDEX: Final = """
-- KEYS  an index.  ARGV  score, member, the time that it has to live at least in ms.
redis.call('ZADD', KEYS[1], ARGV[1], ARGV[2])
if redis.call('PTTL', KEYS[1]) < tonumber(ARGV[3]) then redis.call('PEXPIRE', KEYS[1], ARGV[3]) end
return 1
"""

_LOG: Final = """
-- KEYS  sequence, stream, the marker.  ARGV  the revision, json, the marker's life in s, channel.
local known = tonumber(redis.call('GET', KEYS[3]) or '0')
if known >= tonumber(ARGV[1]) then return 0 end
redis.call('XADD', KEYS[2], '*', 'seq', redis.call('INCR', KEYS[1]), 'json', ARGV[2])
redis.call('SET', KEYS[3], ARGV[1], 'EX', ARGV[3])
redis.call('PUBLISH', ARGV[4], ARGV[2])
return 1
"""


class Corrector:
    """Corrects sightings; as safe among threads and greenlets as redis-py is."""

    def __init__(self, store: Store, client: Client) -> None:
        self._store = store
        self._client: Any = client

    def correct(self, sighting_id: str, given: Correction) -> Sighting | None:
        """Correct a sighting; return it in its new revision, None where there is no such one.

        ``given`` says the plate, the note, who and when; the rest is found out here.

        Raises:
            CorrectionError: it was corrected too often, or its plate is a hash of another key.
            SinkError: Redis is away; nothing was corrected, or it was not told: say it again.
        """
        for _ in range(_TRIES):
            sighting = self._store.get(sighting_id)
            if sighting is None:
                return None
            if len(self._store.corrections(sighting_id)) >= MOST:
                raise CorrectionError(f"it was corrected {MOST} times, that is enough")
            try:
                done = self._apply(sighting, given)
            except REDIS_ERRORS as error:
                raise SinkError(f"Redis: {error}") from error
            if done is not None:
                return done
        raise CorrectionError("it keeps changing, try again in a moment")

    def _apply(self, sighting: Sighting, given: Correction) -> Sighting | None:
        """Correct one revision of a sighting; return None where another one came meanwhile."""
        plate = self._as_stored(sighting, given.plate)
        is_over = sighting.phase is Phase.FINAL
        changed = msgspec.structs.replace(
            sighting,
            plate=plate,
            read_as=sighting.read_as or sighting.plate,
            revision=sighting.revision + 1,
            phase=Phase.FINAL if is_over else Phase.REVISED,  # its first news were told before
            amended=is_over,
        )
        noted = msgspec.structs.replace(
            given, plate=plate, before=sighting.plate, revision=changed.revision
        )
        raw, one = encode_json(changed), changed.id
        own = (sighting_key(one), corrections_key(one))
        arguments = (sighting.revision, raw, plate, changed.revision, encode_json(noted))
        life_ms = self._client.eval(_OWN, 2, *own, *arguments, changed.phase.value)
        if not life_ms:
            return None
        since_ms = changed.first_unix_ms
        self._client.eval(_INDEX, 1, plate_key(plate), since_ms, one, life_ms)
        if not plate.startswith(DISGUISED):
            self._client.eval(_INDEX, 1, texts_key(since_ms), 0, plate, life_ms)
        log = (SEQUENCE, STREAM, marker_key(one))
        told = (changed.revision, raw, MARKER_LIFE_S, SIGHTINGS_CHANNEL)
        self._client.eval(_LOG, 3, *log, *told)
        return changed

    def _as_stored(self, sighting: Sighting, plate: str) -> str:
        """Return the text as this sighting keeps it: as a hash where its plate is one.

        Raises:
            CorrectionError: the key of the hashes is not on this machine.
        """
        if not sighting.plate.startswith(DISGUISED):
            return plate
        hashed = self._store.disguised(plate)
        if hashed == plate:
            raise CorrectionError(
                "its plate is stored as a hash, and the key is not here — correct it on the "
                "machine that read it"
            )
        return hashed

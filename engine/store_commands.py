"""What a batch of sightings is in commands of Redis; ``engine.store`` documents the keys.

First come the writes of the sightings' own keys, which may be repeated at will, then one script
that logs all of them, each once.
"""

import hashlib
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Final

import msgspec

from engine.config import RedisSettings
from engine.store import (
    CANARIES,
    DAYS,
    LATEST,
    PLATES_CHANNEL,
    SEEN_CAMERAS,
    SEQUENCE,
    SIGHTINGS_CHANNEL,
    STREAM,
    camera_key,
    count_key,
    day_key,
    day_of_key,
    evidence_key,
    list_key,
    marker_key,
    plate_key,
    sighting_key,
    texts_key,
)
from engine.track import Event
from engine.types import DISGUISED, Evidence, Phase, Sighting

Command = tuple[Any, ...]

MARKER_LIFE_S: Final = 7 * 86_400
DAY_S: Final = 86_400
CANARIES_KEPT: Final = 100
FORMER: Final = "HMGET"
"""Asks what a sighting's hash holds before it is written anew."""

SCRIPT: Final = """
-- KEYS  sequence, stream, latest, then counters of cameras and days, then one marker per event;
--       all carry the hash tag {log}.
-- ARGV  stream length, latest length, the marker's life and the counters' in seconds,
--       the two channels, how many counters, then per event:
--       id, revision, plate, json, which counter, its field for all and its field for finals.
-- Returns how many events were new, and the newest sequence number; a repeat of what was committed
-- before changes nothing. What may refuse is asked before the first write.
local counters = tonumber(ARGV[7])
local markers = 3 + counters
redis.call('XLEN', KEYS[2])
redis.call('LLEN', KEYS[3])
local fresh, told = {}, {}
for index = markers + 1, #KEYS do
  local at = 8 + (index - markers - 1) * 7
  local known = told[KEYS[index]] or tonumber(redis.call('GET', KEYS[index]) or '0')
  local revision = tonumber(ARGV[at + 1])
  if known == nil then return redis.error_reply('ERR no number in ' .. KEYS[index]) end
  if revision > known then
    fresh[#fresh + 1] = {index, at, known == 0}
    told[KEYS[index]] = revision
  end
end
if #fresh == 0 then return {0, tonumber(redis.call('GET', KEYS[1]) or '0')} end
local sequence = redis.call('INCRBY', KEYS[1], #fresh) - #fresh
local ids, counts = {}, {}
local function tally(at, field)
  local count = ARGV[at + 4] .. ' ' .. ARGV[field]
  counts[count] = (counts[count] or 0) + 1
end
for _, one in ipairs(fresh) do
  local index, at, first = one[1], one[2], one[3]
  sequence = sequence + 1
  redis.call('XADD', KEYS[2], 'MAXLEN', '~', ARGV[1], '*', 'seq', sequence, 'json', ARGV[at + 3])
  redis.call('SET', KEYS[index], ARGV[at + 1], 'EX', ARGV[3])
  if first then
    ids[#ids + 1] = ARGV[at]
    tally(at, at + 5)
    redis.call('PUBLISH', ARGV[5], ARGV[at + 2])
  end
  if ARGV[at + 6] ~= '' then tally(at, at + 6) end
  redis.call('PUBLISH', ARGV[6], ARGV[at + 3])
end
if #ids > 0 then
  redis.call('LPUSH', KEYS[3], unpack(ids))
  redis.call('LTRIM', KEYS[3], 0, tonumber(ARGV[2]) - 1)
end
for count, number in pairs(counts) do
  local counter, field = string.match(count, '(%d+) (%S+)')
  redis.pcall('HINCRBY', KEYS[3 + counter], field, number)
end
for index = 4, markers do redis.call('EXPIRE', KEYS[index], ARGV[4]) end
return {#fresh, sequence}
"""
SCRIPT_SHA: Final = hashlib.sha1(SCRIPT.encode(), usedforsecurity=False).hexdigest()

encode_json = msgspec.json.Encoder().encode


def own_keys(
    events: Sequence[Event],
    encoded: Sequence[bytes],
    settings: RedisSettings,
    days_of: Mapping[str, float] | None = None,
) -> tuple[list[Command], list[int]]:
    """Return the idempotent writes: hashes, pictures, indexes, their lives.

    ``days_of`` cameras with another life than ``keep_days``; indexes of many cameras live longest.

    Beside them, for each command, the index of the event that cannot do without it, or -1.
    """
    days_of = dict(days_of or {})  # the publisher's loop may change it meanwhile
    longest_s = _seconds(max([settings.keep_days, *days_of.values()]))
    evidence_s = _seconds(settings.evidence_days)
    commands: list[Command] = []
    owners: list[int] = []
    aged: dict[str, tuple[int, int]] = {}
    for number, (event, raw) in enumerate(zip(events, encoded, strict=True)):
        sighting, pictures = event.sighting, _pictures(event.evidence)
        since_ms, key = sighting.first_unix_ms, sighting_key(sighting.id)
        plate, camera = plate_key(sighting.plate), camera_key(sighting.camera)
        day, keep_s = day_key(since_ms), _seconds(days_of.get(sighting.camera, settings.keep_days))
        if pictures:  # before the hash: whoever reads there that they are, finds them
            shown = evidence_key(sighting.id)
            commands += (("HSET", shown, *pictures), ("EXPIRE", shown, min(evidence_s, keep_s)))
            owners += (number, -1)
        if sighting.revision > 1:  # it may stand in other indexes, or be corrected by hand
            commands.append((FORMER, key, "plate", "lists", "corrected", "corrections"))
            owners.append(number)
        commands += (
            ("HSET", key, *_fields(sighting, raw)),
            ("EXPIRE", key, keep_s),
            ("ZADD", plate, since_ms, sighting.id),
            ("EXPIRE", plate, longest_s),
            ("ZADD", camera, since_ms, sighting.id),
            ("ZADD", day, since_ms, sighting.id),
        )
        owners += (number, -1, -1, -1, -1, -1)
        aged[camera] = keep_s, since_ms - keep_s * 1_000
        if sighting.phase is Phase.FINAL:  # once per sighting is often enough
            aged[plate] = longest_s, since_ms - longest_s * 1_000
        for name in lists_of(sighting):
            commands.append(("ZADD", list_key(name), since_ms, sighting.id))
            owners.append(-1)
            aged[list_key(name)] = longest_s, since_ms - longest_s * 1_000
    for index, (keep_s, before_ms) in aged.items():
        commands.append(("ZREMRANGEBYSCORE", index, "-inf", before_ms))
        commands.append(("EXPIRE", index, keep_s))
    commands += _of_days([event.sighting for event in events], longest_s + DAY_S)
    return commands, owners + [-1] * (len(commands) - len(owners))


def _of_days(sightings: Sequence[Sighting], life_s: int) -> list[Command]:
    """Return what keeps the plates of days, and which days and cameras there are."""
    days: set[str] = set()
    texts: dict[str, set[str]] = {}
    for one in sightings:
        days.add(day_key(one.first_unix_ms))
        if not one.plate.startswith(DISGUISED):
            texts.setdefault(texts_key(one.first_unix_ms), set()).add(one.plate)
    commands: list[Command] = [("ZADD", key, *_scored(plates, 0)) for key, plates in texts.items()]
    commands += [("EXPIRE", key, life_s) for key in (*days, *texts)]
    now_s, cameras = int(time.time()), {one.camera for one in sightings}
    for index, members in ((DAYS, map(day_of_key, days)), (SEEN_CAMERAS, cameras)):
        commands.append(("ZADD", index, *_scored(members, now_s + life_s)))
        commands.append(("ZREMRANGEBYSCORE", index, "-inf", now_s))
    return commands


def outdated(
    events: Sequence[Event], own: Sequence[Command], owners: Sequence[int], answers: Sequence[Any]
) -> list[Command]:
    """Return what removes sightings from the indexes of texts and lists that they have no longer.

    The last three as ``own_keys`` returned them, and what was answered. A sighting that was
    corrected by hand stays under all its texts, by which ``forget`` finds it.
    """
    newest = {event.sighting.id: event.sighting for event in events}
    commands: set[Command] = set()
    for index, (plate, lists, corrected, _) in _former(own, owners, answers):
        now = newest[events[index].sighting.id]
        if plate is not None and corrected is None and plate.decode() != now.plate:
            commands.add(("ZREM", plate_key(plate.decode()), now.id))
        for name in set((lists or b"").decode().split(",")) - {"", *lists_of(now)}:
            commands.add(("ZREM", list_key(name), now.id))
    return sorted(commands)


def corrected(
    events: Sequence[Event], own: Sequence[Command], owners: Sequence[int], answers: Sequence[Any]
) -> dict[int, Event]:
    """Return, by their index, the events of sightings that were corrected by hand before.

    They have the corrected text, and their revision is above those of the corrections.
    """
    found: dict[int, Event] = {}
    for index, (_, _, text, number) in _former(own, owners, answers):
        if text is not None and number is not None:
            event = events[index]
            one = event.sighting
            changed = msgspec.structs.replace(
                one, plate=text.decode(), read_as=one.plate, revision=one.revision + int(number)
            )
            found[index] = Event(changed, event.evidence)
    return found


def rewritten(event: Event, raw: bytes) -> Command:
    """Return what writes a sighting's hash anew."""
    return ("HSET", sighting_key(event.sighting.id), *_fields(event.sighting, raw))


def lists_of(sighting: Sighting) -> list[str]:
    """Return the names of the watchlists that a sighting meets, each once."""
    return sorted({hit.list for hit in sighting.hits})


def _former(
    own: Sequence[Command], owners: Sequence[int], answers: Sequence[Any]
) -> Iterator[tuple[int, list[bytes | None]]]:
    """Yield what the hashes of events held before, with the events' indexes."""
    for command, owner, answer in zip(own, owners, answers, strict=True):
        if command[0] == FORMER and isinstance(answer, list):
            yield owner, answer


def _scored(members: Iterable[str], score: int) -> Iterator[Any]:
    """Yield members, each behind the score that all have."""
    for member in sorted(members):
        yield score
        yield member


def log_command(
    events: Sequence[Event], encoded: Sequence[bytes], settings: RedisSettings
) -> Command:
    """Return the call of the script, ``EVALSHA``."""
    counters: dict[str, int] = {}
    arguments: list[Any] = []
    markers: list[str] = []
    for event, raw in zip(events, encoded, strict=True):
        one = event.sighting
        at = time.gmtime(one.first_unix_ms // 1_000)
        counter = counters.setdefault(count_key(one.camera, one.first_unix_ms), len(counters) + 1)
        tenth = f"{at.tm_hour}.{tenth_of(one.confidence)}" if one.news is Phase.FINAL else ""
        arguments += (one.id, one.revision, one.plate, raw, counter, at.tm_hour, tenth)
        markers.append(marker_key(one.id))
    keys = (SEQUENCE, STREAM, LATEST, *counters, *markers)
    return (
        *("EVALSHA", SCRIPT_SHA, len(keys), *keys),
        *(settings.stream_length, settings.latest_length),
        *(MARKER_LIFE_S, max(1, int(settings.keep_days * DAY_S)) + DAY_S),
        *(PLATES_CHANNEL, SIGHTINGS_CHANNEL, len(counters)),
        *arguments,
    )


def canary_command(raw: bytes) -> Command:
    """Return what keeps an event of the canary: apart from all others, and only for a while."""
    return ("XADD", CANARIES, "MAXLEN", "~", CANARIES_KEPT, "*", "json", raw)


def tenth_of(confidence: float) -> int:
    """Return into which tenth of 0 to 100 a confidence falls, 0 to 9."""
    return min(max(int(confidence / 10), 0), 9)


def _seconds(days: float) -> int:
    return max(1, int(days * DAY_S))


def _fields(sighting: Sighting, raw: bytes) -> Command:
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
        *("lists", ",".join(lists_of(sighting))),
    )


def _pictures(evidence: Evidence | None) -> Command:
    """Return fields and values of the pictures and all else, where there is any."""
    if evidence is None:
        return ()
    crop = ("crop", evidence.crop_jpeg) if evidence.crop_jpeg else ()
    frame = ("frame", evidence.frame_jpeg) if evidence.frame_jpeg else ()
    clip = ("clip", evidence.clip) if evidence.clip else ()
    payload = ("payload", evidence.payload) if evidence.payload else ()
    return (*crop, *frame, *clip, *payload)

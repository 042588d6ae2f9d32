"""The Redis schema, in one place: every key, how it is written and how it is read.

========================================= ====== ==================================== ============
key or channel                            type   what                                 lives
========================================= ====== ==================================== ============
``platering:{s:ID}``                      hash   ``json`` (the newest revision) and,   keep_days
                                                 for people, plate, camera, node,
                                                 phase, revision, confidence,
                                                 first_unix_ms, last_unix_ms, lists
                                                 (of its hits); after a correction
                                                 ``corrected`` (the text) and
                                                 ``corrections`` (how many)
``platering:{s:ID}:evidence``             hash   ``crop``, ``frame``: JPEG; ``clip``: evidence_days
                                                 MP4 or Matroska; ``payload``:
                                                 JSON as it was posted
``platering:{s:ID}:corrections``          list   JSON of each ``Correction``, the     as the hash
                                                 first one first
``platering:plate:PLATE``                 zset   ids by first_unix_ms                 keep_days
``platering:list:LIST``                   zset   ids of hits by first_unix_ms         keep_days
``platering:camera:CAMERA``               zset   ids by first_unix_ms                 keep_days
``platering:group:SITE:PLATE``            string id of the group's first sighting     group_window_s
``platering:day:YYYY-MM-DD``              zset   ids by first_unix_ms, all cameras    keep_days + 1
``platering:days``                        zset   days (YYYY-MM-DD) of sightings, by   keep_days + 1
                                                 when they end
``platering:seen_cameras``                zset   cameras of sightings, by when they   keep_days + 1
                                                 end
``platering:texts:YYYY-MM-DD``            zset   plates seen that day, for beginnings keep_days + 1
                                                 and patterns; none that is a hash
``platering:{log}:sequence``              int    events committed so far              for ever
``platering:{log}:epoch``                 string changes when the log began anew      for ever
``platering:{log}:forgotten``             int    how often plates were forgotten       for ever
``platering:{log}:stream``                stream ``seq``, ``json``; one entry per      stream_length
                                                 revision, oldest go first
``platering:{log}:count:CAMERA:DAY``      hash   hour (0 to 23, UTC): sightings that  keep_days + 1
                                                 were first seen then; HOUR.TENTH:
                                                 finals by tenths of confidence
``platering:{log}:canaries``              stream ``json``: events of the canary,       about 100,
                                                 of which nothing else is kept         the oldest go
``platering:{log}:latest``                list   ids, newest first, one per sighting  latest_length
``platering:{log}:seen:ID``               string newest revision committed            7 days
``platering:clients``                     hash   NODE:PROCESS of a front: how many    60 s after
                                                 live streams it serves, and when it  the last word
                                                 said so (unix_ms)
``platering:nodes``                       zset   machines with cameras, by unix_ms of  each a day
                                                 their last report
``platering:{n:NODE}:report``             string JSON: the machine and its cameras    10 s
``platering:{n:NODE}:metrics``            string its ``/metrics``                     30 s
``platering:{n:NODE}:asked``              list   cameras that fronts elsewhere want   5 s
                                                 to see
``platering:{n:NODE}:snapshot:CAMERA``    string JPEG for those                       1.5 s
``platering:{log}:cameras``               hash   NODE/CAMERA to the JSON of its       for ever
                                                 newest turn (``CameraEvent``)
``platering:{log}:camera_events``         stream ``json``: how cameras turned, the    10,000 of them
                                                 oldest go first
``license_plates``                        pubsub the plain plate, once per sighting
``platering:sightings``                   pubsub JSON of every revision
``platering:cameras``                     pubsub JSON of every turn of a camera
========================================= ====== ==================================== ============

The keys of one sighting share a slot of a Cluster ({s:ID}), and so does all of the log ({log}).
A batch is committed in two steps: idempotent writes of the sightings' own keys, then one script
that checks the marker of each event, numbers it, adds it to the stream and the latest list, counts
it and publishes it. A retry finds the markers and changes nothing. ``engine.store_writer`` writes,
here it is read. Days are UTC's. JSON is ``msgspec``'s of ``engine.types.Sighting``.

Memory, measured on Redis 7.0 with JSON of 1.9 KB (a path of 16 points) and every plate another:
3.5 KB a sighting where ``hash-max-listpack-value`` is 4096, as in the embedded server, and 3.8 KB
where it is 64, as Redis ships. Of these 0.1 KB are the marker, gone after a week, 0.5 KB the
indexes. Besides, 2.2 KB for each of ``stream_length`` events, and the pictures:

=========== ============= ============= ================================== ======================
sightings   embedded      as shipped    pictures of 20 KB for all of them  stream of 100,000
=========== ============= ============= ================================== ======================
1 million   3.5 GB        3.8 GB        20 GB                              0.2 GB
100 million 350 GB        380 GB        2,000 GB                           0.2 GB
=========== ============= ============= ================================== ======================

So 100 million want a Cluster, or a shorter ``keep_days``; ``evidence_days`` and ``keep_gib`` bound
the pictures first.
"""

import logging
from collections.abc import Callable, Iterable, Sequence
from datetime import date, timedelta
from functools import lru_cache, partial
from typing import Any, Final, cast

import msgspec

from engine.errors import SinkError
from engine.redis_client import REDIS_ERRORS, Client
from engine.redis_client import connect as connect  # noqa: PLC0414  # offered here, too
from engine.types import CameraEvent, Correction, Evidence, Sighting

PLATES_CHANNEL: Final = "license_plates"
SIGHTINGS_CHANNEL: Final = "platering:sightings"
CAMERA_CHANNEL: Final = "platering:cameras"
CAMERAS: Final = "platering:{log}:cameras"
CAMERA_EVENTS: Final = "platering:{log}:camera_events"
STREAM: Final = "platering:{log}:stream"
CANARIES: Final = "platering:{log}:canaries"
SEQUENCE: Final = "platering:{log}:sequence"
LATEST: Final = "platering:{log}:latest"
EPOCH: Final = "platering:{log}:epoch"
FORGOTTEN: Final = "platering:{log}:forgotten"
DAYS: Final = "platering:days"
SEEN_CAMERAS: Final = "platering:seen_cameras"
CLIENTS: Final = "platering:clients"
NODES: Final = "platering:nodes"

_DAY_MS: Final = 86_400_000
_MOST_DAYS: Final = 400

log = logging.getLogger(__name__)

_sighting_decoder = msgspec.json.Decoder(Sighting)
_camera_decoder = msgspec.json.Decoder(CameraEvent)
_corrections = msgspec.json.Decoder(Correction)


def sighting_key(sighting_id: str) -> str:
    """Return the key of a sighting's hash."""
    return f"platering:{{s:{sighting_id}}}"


def evidence_key(sighting_id: str) -> str:
    """Return the key of a sighting's pictures."""
    return f"platering:{{s:{sighting_id}}}:evidence"


def marker_key(sighting_id: str) -> str:
    """Return the key that holds the newest committed revision of a sighting."""
    return f"platering:{{log}}:seen:{sighting_id}"


def plate_key(plate: str) -> str:
    """Return the key of the index of one plate."""
    return f"platering:plate:{plate}"


def corrections_key(sighting_id: str) -> str:
    """Return the key of what was corrected by hand of a sighting."""
    return f"platering:{{s:{sighting_id}}}:corrections"


def list_key(name: str) -> str:
    """Return the key of the index of the hits of one watchlist."""
    return f"platering:list:{name}"


def texts_key(unix_ms: int) -> str:
    """Return the key of the index of the plates of one day, in the order of their letters."""
    return f"platering:texts:{_day(unix_ms // _DAY_MS)}"


def camera_key(camera: str) -> str:
    """Return the key of the index of one camera."""
    return f"platering:camera:{camera}"


def group_key(site: str, plate: str) -> str:
    """Return the key of the first sighting of a plate at the cameras of a site."""
    return f"platering:group:{site}:{plate}"


def day_key(unix_ms: int) -> str:
    """Return the key of the index of one day."""
    return f"platering:day:{_day(unix_ms // _DAY_MS)}"


def day_of_key(key: str) -> str:
    """Return the day, YYYY-MM-DD, of the index of one."""
    return key.rpartition(":")[2]


def count_key(camera: str, unix_ms: int) -> str:
    """Return the key of the counters of one camera on one day."""
    return f"platering:{{log}}:count:{camera}:{_day(unix_ms // _DAY_MS)}"


def node_report_key(node: str) -> str:
    """Return the key of what a machine says of itself."""
    return f"platering:{{n:{node}}}:report"


def node_metrics_key(node: str) -> str:
    """Return the key of a machine's metrics."""
    return f"platering:{{n:{node}}}:metrics"


def node_asked_key(node: str) -> str:
    """Return the key of the list of cameras that a machine is asked to show."""
    return f"platering:{{n:{node}}}:asked"


def node_snapshot_key(node: str, camera: str) -> str:
    """Return the key of what a camera of a machine saw a moment ago."""
    return f"platering:{{n:{node}}}:snapshot:{camera}"


def begin_ms(day: str) -> int:
    """Return when a day, YYYY-MM-DD, begins (unix_ms)."""
    return (date.fromisoformat(day) - date(1970, 1, 1)).days * _DAY_MS


@lru_cache(maxsize=4_096)
def _day(number: int) -> str:
    """Return a day as YYYY-MM-DD, from its number since 1970."""
    return (date(1970, 1, 1) + timedelta(days=number)).isoformat()


class StreamEntry(msgspec.Struct, frozen=True):
    """One event of the stream: ``id`` is Redis's, ``seq`` ours without gaps, ``json`` as stored.

    Those of the canary are not numbered: their ``seq`` is 0.
    """

    id: str
    seq: int
    json: bytes


class Store:
    """Reads what the publisher stored; as safe among threads and greenlets as redis-py is.

    Every method raises ``SinkError`` while Redis is away.
    """

    def __init__(self, client: Client, disguise: Callable[[str], str] = str) -> None:
        """Read over ``client``; plates are looked for as they are and under ``disguise``."""
        self._client = client
        self._disguise = disguise

    def ping(self) -> None:
        """Return when Redis answers."""
        self._ask(self._client.ping)

    def version(self) -> str:
        """Return the version of Redis."""
        told = self._ask(lambda: self._client.info("server"))
        if "redis_version" not in told:  # of a Cluster, by its nodes
            told = next(iter(told.values()))
        return str(told["redis_version"])

    def get(self, sighting_id: str) -> Sighting | None:
        """Return the newest revision of a sighting, None where there is none."""
        return _decoded(self._ask(lambda: self._client.hget(sighting_key(sighting_id), "json")))

    def corrections(self, sighting_id: str) -> list[Correction]:
        """Return what was corrected by hand of a sighting, the first one first."""
        key = corrections_key(sighting_id)
        return list(map(_corrections.decode, self._ask(lambda: self._client.lrange(key, 0, -1))))

    def evidence(self, sighting_id: str) -> Evidence:
        """Return a sighting's pictures, empty where there are none; its clip is apart: ``clip``."""
        key = evidence_key(sighting_id)
        crop, frame = self._ask(lambda: self._client.hmget(key, ["crop", "frame"]))
        return Evidence(crop or b"", frame or b"")

    def clip(self, sighting_id: str) -> bytes:
        """Return a sighting's clip, empty where there is none."""
        key = evidence_key(sighting_id)
        return cast("bytes", self._ask(lambda: self._client.hget(key, "clip")) or b"")

    def payload(self, sighting_id: str) -> bytes:
        """Return the JSON with which an agent posted a sighting, empty where none is kept."""
        key = evidence_key(sighting_id)
        return cast("bytes", self._ask(lambda: self._client.hget(key, "payload")) or b"")

    def latest(self, count: int) -> list[Sighting]:
        """Return the newest sightings of all cameras, newest first, each in its last revision."""
        return self._many(self._ask(lambda: self._client.lrange(LATEST, 0, count - 1)))

    def by_plate(self, plate: str, count: int) -> list[Sighting]:
        """Return the newest sightings of a plate, newest first."""
        found: list[Sighting] = []
        for text in {plate, self._disguise(plate)}:
            newest = partial(self._client.zrevrange, plate_key(text), 0, count - 1)
            found += [one for one in self._many(self._ask(newest)) if one.plate == text]
        return sorted(found, key=lambda one: one.first_unix_ms, reverse=True)[:count]

    def by_camera(self, camera: str, count: int) -> list[Sighting]:
        """Return the newest sightings of a camera, newest first."""
        return self._many(
            self._ask(lambda: self._client.zrevrange(camera_key(camera), 0, count - 1))
        )

    def by_time(self, after_unix_ms: int, before_unix_ms: int, count: int) -> list[Sighting]:
        """Return the newest sightings first seen in a span of time, newest first.

        It looks back over 400 days at most, one question a day until there are enough.
        """
        found: list[Sighting] = []
        last = before_unix_ms // _DAY_MS
        first = max(after_unix_ms // _DAY_MS, last - _MOST_DAYS)
        for day in range(last, first - 1, -1):
            index, most = day_key(day * _DAY_MS), count - len(found)
            if most <= 0:
                break
            newest = partial(
                self._client.zrevrangebyscore, index, before_unix_ms, after_unix_ms, 0, most
            )
            found += self._many(self._ask(newest))
        return found

    def cameras(self) -> list[str]:
        """Return the names of the cameras of which there are sightings."""
        names = self._ask(lambda: self._client.zrange(SEEN_CAMERAS, 0, -1))
        return sorted(name.decode("utf-8", "replace") for name in names)

    def by_hour(self, camera: str, unix_ms: int) -> tuple[int, ...]:
        """Return how many sightings a camera had in each of the 24 hours of a day (UTC)."""
        counted = self._ask(lambda: self._client.hgetall(count_key(camera, unix_ms)))
        return tuple(int(counted.get(b"%d" % hour, 0)) for hour in range(24))

    def epoch(self) -> str:
        """Return what names this log; another value means that sequence numbers began anew."""
        return cast("bytes", self._ask(lambda: self._client.get(EPOCH)) or b"").decode("ascii")

    def sequence(self) -> int:
        """Return how many events were ever committed: the number of the newest one."""
        return int(self._ask(lambda: self._client.get(SEQUENCE)) or 0)

    def forgotten(self) -> int:
        """Return how often plates were forgotten: whoever holds events lets go of them then."""
        return int(self._ask(lambda: self._client.get(FORGOTTEN)) or 0)

    def stream_tail(self, count: int) -> list[StreamEntry]:
        """Return the newest entries, oldest first."""
        newest = self._ask(lambda: self._client.xrevrange(STREAM, count=count))
        return _stream_entries(reversed(newest))

    def read_stream(self, after_id: str, block_ms: int = 0, count: int = 512) -> list[StreamEntry]:
        """Return the entries after one id, oldest first; ``block_ms`` 0 returns at once.

        ``block_ms`` must stay below the client's answer timeout.
        """
        answer = self._ask(
            lambda: self._client.xread({STREAM: after_id}, count=count, block=block_ms or None)
        )
        return _stream_entries(_entries(answer))

    def newest_canaries(self, count: int) -> list[StreamEntry]:
        """Return the newest events of canaries, oldest first."""
        newest = self._ask(lambda: self._client.xrevrange(CANARIES, count=count))
        return _canaries(reversed(newest))

    def read_canaries(self, after_id: str, block_ms: int) -> list[StreamEntry]:
        """Wait for events of canaries; return those after an id, oldest first."""
        answer = self._ask(lambda: self._client.xread({CANARIES: after_id}, block=block_ms))
        return _canaries(_entries(answer))

    def read_both(
        self, after_id: str, canaries_after_id: str, block_ms: int, count: int
    ) -> tuple[list[StreamEntry], list[StreamEntry]]:
        """Return what ``read_stream`` does and, of the same question, new events of canaries."""
        answer = self._ask(
            lambda: self._client.xread(
                {STREAM: after_id, CANARIES: canaries_after_id}, count=count, block=block_ms or None
            )
        )
        entries = _entries(answer)
        return _stream_entries(entries), _canaries(entries)

    def camera_events(self, count: int) -> list[CameraEvent]:
        """Return how cameras turned, the newest first."""
        return _turns(self._ask(lambda: self._client.xrevrange(CAMERA_EVENTS, count=count)))

    def camera_events_end(self) -> str:
        """Return the id of the newest turn of a camera, ``0-0`` where there is none."""
        newest = self._ask(lambda: self._client.xrevrange(CAMERA_EVENTS, count=1))
        return newest[0][0].decode("ascii") if newest else "0-0"

    def camera_events_after(
        self, after_id: str, block_ms: int, count: int
    ) -> tuple[str, list[CameraEvent]]:
        """Wait for turns of cameras after an id; return up to which they are, and the oldest first.

        The id moves on over turns that cannot be read, too.
        """
        answer = self._ask(
            lambda: self._client.xread({CAMERA_EVENTS: after_id}, count=count, block=block_ms)
        )
        entries = _entries(answer)
        return entries[-1][0].decode("ascii") if entries else after_id, _turns(entries)

    def many(self, ids: Sequence[str]) -> list[Sighting | None]:
        """Return sightings in the order of their ids, None for expired ones."""
        asked = self.asking(("hget", sighting_key(sighting_id), "json") for sighting_id in ids)
        return [_decoded(raw) for raw in asked]

    def asking(self, commands: Iterable[tuple[Any, ...]]) -> list[Any]:
        """Return the answers of commands (a method of redis-py, its arguments), asked at once."""
        pipeline = self._client.pipeline(transaction=False)
        for name, *arguments in commands:
            getattr(pipeline, name)(*arguments)
        return cast("list[Any]", self._ask(pipeline.execute)) if len(pipeline) else []

    def disguised(self, plate: str) -> str:
        """Return what a plate is stored as where it is stored as a hash; itself without the key."""
        return self._disguise(plate)

    def _many(self, ids: Sequence[bytes]) -> list[Sighting]:
        """Return sightings in the order of their ids; expired ones are left out."""
        found = self.many([sighting_id.decode("ascii", "replace") for sighting_id in ids])
        return [sighting for sighting in found if sighting is not None]

    def _ask(self, command: Callable[[], Any]) -> Any:
        try:
            return command()
        except REDIS_ERRORS as error:
            raise SinkError(f"Redis: {error}") from error


def former_texts(corrections: Iterable[bytes]) -> set[str]:
    """Return the texts that a sighting had before its corrections, given as they are stored."""
    return {_corrections.decode(raw).before for raw in corrections}


def _decoded(raw: bytes | None) -> Sighting | None:
    """Return the sighting, None where there is none or a later version wrote another form."""
    if raw is None:
        return None
    try:
        return _sighting_decoder.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        log.warning("a stored sighting cannot be read: %s", error)
        return None


def _stream_entries(entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[StreamEntry]:
    return [
        StreamEntry(entry_id.decode("ascii"), int(fields[b"seq"]), fields[b"json"])
        for entry_id, fields in entries
        if fields and b"seq" in fields and b"json" in fields
    ]


def _canaries(entries: Iterable[tuple[bytes, dict[bytes, bytes]]]) -> list[StreamEntry]:
    return [
        StreamEntry(entry_id.decode("ascii"), 0, fields[b"json"])
        for entry_id, fields in entries
        if fields and b"seq" not in fields and b"json" in fields
    ]


def _turns(entries: list[tuple[bytes, dict[bytes, bytes]]]) -> list[CameraEvent]:
    """Return the turns; one that a later version wrote in another form is left out."""
    turns = []
    for _, fields in entries:
        try:
            turns.append(_camera_decoder.decode(fields[b"json"]))
        except (msgspec.DecodeError, UnicodeDecodeError, KeyError) as error:
            log.warning("a stored turn of a camera cannot be read: %s", error)
    return turns


def _entries(answer: Any) -> list[tuple[bytes, dict[bytes, bytes]]]:
    """Return the entries of XREAD's answer, which is a dict in RESP3 and a list in RESP2."""
    streams = answer.values() if isinstance(answer, dict) else [pair[1] for pair in answer or ()]
    flat: list[tuple[bytes, dict[bytes, bytes]]] = []
    for entries in streams:
        for entry in entries:
            if isinstance(entry, list) and entry and isinstance(entry[0], list | tuple):
                flat += [(one[0], one[1]) for one in entry]
            else:
                flat.append((entry[0], entry[1]))
    return flat

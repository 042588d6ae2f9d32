"""``platering forget PLATE``: removes a plate from Redis, the spool and the dead letters.

What goes: its sightings in every revision, their pictures and clips, their places in all indexes,
the latest list and the stream, its groups at the sites of this machine's cameras, and its tracks,
on disk and in an engine that runs: it forgets first, and what it was just sending is through before
Redis is cleared. Fronts, which hold the newest events, let go of them within a second. A vehicle
that is still before a camera is read anew, and told of as one that was never seen.

What stays: counters, which name nobody, markers of ids, which keep repeats out, entries of
watchlists, and what uploads found, beside their files until those are deleted. Redis frees the
bytes of a removed event together with its neighbours in the stream; the log on disk of the embedded
server is written anew at once, that of another server when it does so. Where several machines share
the Redis, it is said on each: their tracks and what waits in their spools are theirs alone.

Each time one line is added to ``audit.jsonl`` in ``data_dir``: when, by whom, how many, and which
plate, as its keyed hash. Sinks besides Redis have theirs already; that is beyond our reach.
"""

import getpass
import sqlite3
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.amendments import Amendments
from engine.config import EMBEDDED, Settings
from engine.deadletters import FILE_NAME, DeadLetters
from engine.embedded_redis import redis_url
from engine.errors import ConfigError, PublisherAwayError, SinkError
from engine.ingest_channel import IngestClient
from engine.plates import normalise
from engine.privacy import KEY_FILE, Seal, disguised, own_key
from engine.redis_client import REDIS_ERRORS
from engine.resources import INGEST_SOCKET, state_path
from engine.spool_file import delete_events_of
from engine.store import (
    DAYS,
    FORGOTTEN,
    LATEST,
    STREAM,
    begin_ms,
    camera_key,
    connect,
    corrections_key,
    day_key,
    evidence_key,
    former_texts,
    group_key,
    list_key,
    plate_key,
    texts_key,
)
from engine.store import sighting_key as key_of
from engine.track import Track
from engine.types import Sighting

AUDIT_FILE: Final = "audit.jsonl"
_PORTION: Final = 500
_STARTS_WITH_US: Final = "the embedded one runs while the engine does: say it again then"
_PUBLISHER_TIMEOUT_S: Final = 20.0
"""More than a batch takes that is on its way to a slow Redis."""

_json = msgspec.json.Decoder(Sighting)
_track = msgspec.msgpack.Decoder(Track)


class Forgotten(msgspec.Struct):
    """What was removed, as it stands in the audit file."""

    at: str
    by: str
    plate_hash: str
    action: str = "forget"
    sightings: int = 0
    stream_entries: int = 0
    spooled: int = 0
    dead_letters: int = 0


def forget(settings: Settings, plate: str) -> Forgotten:
    """Remove everything of one exact plate, in the plain and as a hash.

    Raises:
        SinkError: Redis does not answer; nothing was removed, or not all of it: say it again.
        PreflightError: the key cannot be read.
        ConfigError: it is no plate, what was added while running cannot be read, or a library is
            missing.
    """
    text = normalise(plate)
    if not text:
        raise ConfigError("PLATE", "holds no letter and no digit", "name one whole plate")
    state = state_path(settings.data_dir, "engine", "")
    key = own_key(state / KEY_FILE)
    hashed = disguised(text, key)
    done = Forgotten(
        at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        by=getpass.getuser(),
        plate_hash=hashed,
    )
    plates = {text, hashed}
    seal = Seal(key) if settings.privacy == "hash" else None
    done.spooled = _from_publisher(state / INGEST_SOCKET, plates)
    done.spooled += _from_spool(state / "spool.sqlite", plates, seal)
    done.dead_letters = _from_letters(state / FILE_NAME, plates)
    try:
        with connect(redis_url(settings)) as client:
            _from_redis(client, settings, plates, done)
    except REDIS_ERRORS as error:
        remedy = _STARTS_WITH_US if settings.redis.url == EMBEDDED else "say it again when it does"
        raise SinkError(
            f"Redis does not answer, so the plate is not forgotten: {error} — {remedy}"
        ) from error
    with (state / AUDIT_FILE).open("ab") as audit:
        audit.write(msgspec.json.encode(done) + b"\n")
    return done


def print_forgotten(settings: Settings, plate: str) -> int:
    """Forget a plate and say what was removed; return the exit code."""
    done = forget(settings, plate)
    sys.stdout.write(
        f"forgotten: {done.sightings} sightings, {done.stream_entries} events of the stream, "
        f"{done.spooled} in the spool, {done.dead_letters} dead letters; "
        f"noted in {state_path(settings.data_dir, 'engine', AUDIT_FILE)}\n"
    )
    return 0


def _from_redis(client: Any, settings: Settings, plates: set[str], done: Forgotten) -> None:
    """Remove all that Redis has of texts; note how much it was."""
    ids = {one for name in plates for one in client.zrange(plate_key(name), 0, -1)}
    done.stream_entries = _from_stream(client, ids, plates)
    for sighting_id in ids:
        done.sightings += _sighting(client, sighting_id.decode())
    _texts(client, plates)
    for name in plates:
        client.delete(plate_key(name))
        for site in _sites(settings):
            client.delete(group_key(site, name))
    client.incr(FORGOTTEN)
    if settings.redis.url == EMBEDDED:
        client.bgrewriteaof()


def _sighting(client: Any, sighting_id: str) -> int:
    """Remove one sighting and its places in the indexes; return whether it was there."""
    raw = client.hget(key_of(sighting_id), "json")
    texts = former_texts(client.lrange(corrections_key(sighting_id), 0, -1))
    client.delete(key_of(sighting_id), evidence_key(sighting_id), corrections_key(sighting_id))
    client.lrem(LATEST, 0, sighting_id)
    if raw is None:
        return 0
    sighting = _json.decode(raw)
    for key in (
        camera_key(sighting.camera),
        day_key(sighting.first_unix_ms),
        *map(plate_key, {sighting.plate, sighting.read_as, *texts} - {""}),
        *(list_key(hit.list) for hit in sighting.hits),
    ):
        client.zrem(key, sighting_id)
    return 1


def _texts(client: Any, plates: set[str]) -> None:
    """Remove plates from the texts of all days."""
    for day in client.zrange(DAYS, 0, -1):
        client.zrem(texts_key(begin_ms(day.decode())), *plates)


def _from_stream(client: Any, ids: set[bytes], plates: set[str]) -> int:
    """Remove the events of those sightings, and of those plates; note the ids of the latter."""
    removed = 0
    for entry_id, fields in list(_entries(client)):
        sighting = _json.decode(fields[b"json"])
        if sighting.id.encode() in ids or not plates.isdisjoint({sighting.plate, sighting.read_as}):
            ids.add(sighting.id.encode())
            removed += client.xdel(STREAM, entry_id)
    return removed


def _entries(client: Any) -> Iterator[tuple[bytes, dict[bytes, bytes]]]:
    after = "-"
    while portion := client.xrange(STREAM, after, "+", count=_PORTION):
        yield from portion
        after = f"({portion[-1][0].decode()}"


def _sites(settings: Settings) -> set[str]:
    """Return the sites of all cameras, those that were added while running among them."""
    amendments = Amendments(state_path(settings.data_dir, "engine", "amendments.json"))
    cameras = (*settings.cameras, *amendments.changes.cameras.values())
    return {camera.site for camera in cameras if camera.site}


def _from_publisher(path: Path, plates: set[str]) -> int:
    """Let the engine that runs here, if one does, forget; return how many events waited."""
    client = IngestClient(path, _PUBLISHER_TIMEOUT_S)
    try:
        return client.forget(tuple(sorted(plates)))
    except PublisherAwayError:
        return 0
    except SinkError as error:
        raise SinkError(f"the plate is not forgotten, say it again: {error}") from error
    finally:
        client.close()


def _from_spool(path: Path, plates: set[str], seal: Seal | None) -> int:
    """Remove events that wait, and tracks, where no publisher did; then what was deleted before."""
    if not path.exists():
        return 0
    db = sqlite3.connect(path, timeout=10.0)
    try:
        db.execute("PRAGMA secure_delete = ON").fetchall()
        with db:
            count, _bytes = delete_events_of(db, plates)
            tracks = db.execute("SELECT id, track FROM tracks").fetchall()
            seen = [
                (one,) for one, packed in tracks if not plates.isdisjoint(_texts_of(packed, seal))
            ]
            db.executemany("DELETE FROM tracks WHERE id = ?", seen)
            db.executemany("DELETE FROM track_evidence WHERE id = ?", seen)
        db.execute("PRAGMA incremental_vacuum").fetchall()  # pages of events long delivered, too
        db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
    except sqlite3.OperationalError as error:
        raise SinkError(
            f"{path} is held by somebody else, so the plate is not forgotten, say it again: {error}"
        ) from error
    finally:
        db.close()
    return count


def _texts_of(packed: bytes, seal: Seal | None) -> set[str]:
    """Return the text of a track and the one last told of it, as ``Tracker.forget`` goes by them.

    Nothing of one that cannot be read: no run goes on with it.
    """
    try:
        track = _track.decode(packed if seal is None else seal.open(packed))
    except (msgspec.DecodeError, ValueError):
        return set()
    return {track.plate, track.announced}


def _from_letters(path: Path, plates: set[str]) -> int:
    if not path.exists():
        return 0
    letters, removed, after = DeadLetters(path), 0, 0
    try:
        while some := letters.letters(after=after):
            after = some[-1].id
            wanted = [one.id for one in some if one.event.sighting.plate in plates]
            removed += sum(map(letters.drop, wanted))
    finally:
        letters.close()
    return removed

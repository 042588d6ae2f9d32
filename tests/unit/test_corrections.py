"""Corrections over a real Redis: kept, told once, found, and what comes later keeps them."""

import time

import msgspec
import pytest

import engine.corrections
from engine.config import RedisSettings, Settings
from engine.corrections import Corrector
from engine.errors import CorrectionError
from engine.forget import forget
from engine.retention import Kept, Retention
from engine.search import Match, Question, Search
from engine.store import (
    Store,
    connect,
    corrections_key,
    list_key,
    plate_key,
    sighting_key,
    texts_key,
)
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Correction, Hit, Phase, Sighting

NOW_MS = time.time_ns() // 1_000_000


def sighting(revision=1, plate="A812CDE", **changes):
    fields = {
        "id": "id-1", "revision": revision, "phase": Phase.REVISED, "camera": "gate", "node": "n",
        "plate": plate, "confidence": 90.0, "first_unix_ms": NOW_MS, "last_unix_ms": NOW_MS,
        "best_unix_ms": NOW_MS,
    }  # fmt: skip
    return Sighting(**(fields | changes))


def given(plate="AB12CDE", by="anna"):
    return Correction(plate=plate, before="", note="dirt", by=by, unix_ms=NOW_MS, revision=0)


@pytest.fixture
def client(redis_server):
    with connect(redis_server.url) as one:
        yield one


@pytest.fixture
def store(client):
    return Store(client)


@pytest.fixture
def corrector(store, client):
    return Corrector(store, client)


@pytest.fixture
def commit(redis_server):
    writer = StoreWriter(redis_server.url, RedisSettings())
    yield lambda *some: writer.commit([Event(one, None) for one in some])
    writer.close()


def told(store):
    decoded = [msgspec.json.decode(one.json, type=Sighting) for one in store.read_stream("0-0")]
    return [(one.revision, one.plate, one.read_as) for one in decoded]


def found(store, plate, match=Match.EXACT):
    return [one.id for one in Search(store).page(Question(plate=plate, match=match), 5).sightings]


def test_a_correction_is_kept_told_and_found(store, corrector, commit, client):
    commit(sighting(1), sighting(2, phase=Phase.FINAL))
    corrected = corrector.correct("id-1", given())
    assert corrected == store.get("id-1")
    assert (corrected.plate, corrected.read_as, corrected.revision) == ("AB12CDE", "A812CDE", 3)
    assert (corrected.phase, corrected.news) == (Phase.FINAL, Phase.REVISED)
    (kept,) = store.corrections("id-1")
    assert (kept.plate, kept.before, kept.note, kept.by) == ("AB12CDE", "A812CDE", "dirt", "anna")
    assert (kept.unix_ms, kept.revision) == (NOW_MS, 3)
    assert told(store)[-1] == (3, "AB12CDE", "A812CDE")
    assert [one.seq for one in store.read_stream("0-0")] == [1, 2, 3]
    assert found(store, "AB12CDE") == found(store, "AB12", Match.PREFIX) == ["id-1"]
    assert found(store, "A812CDE") == found(store, "A812", Match.PREFIX) == []
    for key in (corrections_key("id-1"), plate_key("AB12CDE"), texts_key(NOW_MS)):
        assert client.ttl(key) > 29 * 86_400


def test_a_correction_of_the_first_news_is_a_revision(store, corrector, commit, client):
    commit(sighting(1, phase=Phase.PROVISIONAL))
    corrected = corrector.correct("id-1", given())
    assert corrected == store.get("id-1")
    assert (corrected.phase, corrected.amended) == (Phase.REVISED, False)
    assert client.hget(sighting_key("id-1"), "phase") == b"revised"
    commit(sighting(2, phase=Phase.FINAL))
    final = store.get("id-1")
    assert (final.plate, final.news) == ("AB12CDE", Phase.FINAL)


def test_what_comes_later_keeps_the_correction_and_is_told_once(store, corrector, commit):
    commit(sighting(1))
    corrector.correct("id-1", given())
    later = sighting(2, plate="A8I2CDE", phase=Phase.FINAL, has_clip=True)
    assert commit(later) == 1
    assert commit(later) == 0
    now = store.get("id-1")
    assert (now.plate, now.read_as, now.revision, now.has_clip) == ("AB12CDE", "A8I2CDE", 3, True)
    corrector.correct("id-1", given("AB12CDF", by="bert"))
    commit(sighting(3))
    assert [(revision, plate) for revision, plate, _ in told(store)] == [
        (1, "A812CDE"), (2, "AB12CDE"), (3, "AB12CDE"), (4, "AB12CDF"), (5, "AB12CDF"),
    ]  # fmt: skip
    assert [one.by for one in store.corrections("id-1")] == ["anna", "bert"]
    assert found(store, "AB12CDF") == ["id-1"]
    assert found(store, "AB12CDE") == []


def test_a_batch_with_revisions_around_a_correction(store, corrector, commit):
    commit(sighting(1))
    corrector.correct("id-1", given())
    other = sighting(1, id="id-2", plate="ZZ9")
    assert commit(sighting(2), other, sighting(3, phase=Phase.FINAL)) == 3
    assert [(revision, plate) for revision, plate, _ in told(store)] == [
        (1, "A812CDE"), (2, "AB12CDE"), (3, "AB12CDE"), (1, "ZZ9"), (4, "AB12CDE"),
    ]  # fmt: skip


def test_a_sighting_that_changes_meanwhile_is_corrected_in_its_newest_form(
    store, corrector, commit, monkeypatch
):
    commit(sighting(1))
    real, stale = store.get, [store.get("id-1")]
    commit(sighting(2, confidence=99.0))
    monkeypatch.setattr(store, "get", lambda one: stale.pop() if stale else real(one))
    corrected = corrector.correct("id-1", given())
    assert (corrected.revision, corrected.confidence) == (3, 99.0)
    assert len(store.corrections("id-1")) == 1


def test_nobody_and_too_often_are_told(corrector, commit, monkeypatch):
    assert corrector.correct("nobody", given()) is None
    monkeypatch.setattr(engine.corrections, "MOST", 1)
    commit(sighting(1))
    corrector.correct("id-1", given())
    with pytest.raises(CorrectionError, match="enough"):
        corrector.correct("id-1", given())


def test_the_plain_text_of_a_hashed_plate_is_never_stored(client, commit):
    commit(sighting(1, plate="~AAAABBBBCCCCDDDD"))
    with pytest.raises(CorrectionError, match="key is not here"):
        Corrector(Store(client), client).correct("id-1", given())
    hashing = Store(client, lambda plate: f"~{plate[::-1]}")
    corrected = Corrector(hashing, client).correct("id-1", given())
    assert corrected.plate == "~EDC21BA"
    for key in client.scan_iter():
        assert b"AB12CDE" not in client.dump(key) + key
    assert found(hashing, "AB12CDE") == ["id-1"]


def test_forgetting_any_of_its_texts_removes_it_with_its_corrections(
    tmp_path, redis_server, client, commit, corrector, store
):
    settings = Settings(data_dir=tmp_path, redis=RedisSettings(url=redis_server.url))
    (tmp_path / "engine").mkdir()
    client.config_set("rdbcompression", "no")
    hit = Hit(list="stolen", plate="X*", match="pattern")
    for plate in ("A812CDE", "AB12CDE", "AB12CDF"):
        client.flushall()
        commit(sighting(1, hits=(hit,)))
        corrector.correct("id-1", given())
        corrector.correct("id-1", given("AB12CDF"))
        assert forget(settings, plate).sightings == 1
        assert client.exists(corrections_key("id-1"), list_key("stolen")) == 0
        whole = b"".join(key + client.dump(key) for key in client.scan_iter() if b"log" not in key)
        assert plate.encode() not in whole
        assert b"id-1" not in whole
        assert store.read_stream("0-0") == []


def test_what_makes_room_leaves_no_index_and_no_correction_behind(
    redis_server, client, commit, corrector
):
    hit = Hit(list="stolen", plate="X*", match="pattern")
    commit(sighting(1, hits=(hit,)))
    corrector.correct("id-1", given())
    commit(sighting(1, id="id-2", plate="ZZ9", first_unix_ms=NOW_MS + 1))
    settings = RedisSettings(url=redis_server.url)
    retention = Retention(redis_server.url, settings, {"gate": Kept(gib=500 / (1 << 30))})
    assert retention.sweep() == 1
    retention.close()
    left = {key for key in client.scan_iter() if client.type(key) == b"zset"}
    members = {member for key in left for member in client.zrange(key, 0, -1)}
    assert b"id-1" not in members
    assert b"id-2" in members
    assert client.exists(corrections_key("id-1")) == 0

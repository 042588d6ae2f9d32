"""The Redis schema against a real server: each event once, whatever is repeated."""

import threading
import time

import msgspec
import pytest
import redis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from polling import wait_until

import engine.store
from engine.config import RedisSettings
from engine.errors import SinkError
from engine.store import (
    LATEST,
    PLATES_CHANNEL,
    SIGHTINGS_CHANNEL,
    STREAM,
    Store,
    camera_key,
    connect,
    evidence_key,
    marker_key,
    plate_key,
    sighting_key,
)
from engine.store_commands import MARKER_LIFE_S, own_keys
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Box, Candidate, Evidence, PathPoint, Phase, Sighting


def event(number, revision=1, plate="", evidence=None):
    sighting = Sighting(
        id=f"id-{number}", revision=revision, phase=Phase.PROVISIONAL, camera="gate", node="node",
        plate=plate or f"P{number}", confidence=90.5, first_unix_ms=1_790_000_000_000 + number,
        last_unix_ms=1_790_000_000_000 + number, best_unix_ms=1_790_000_000_000 + number,
    )  # fmt: skip
    return Event(sighting, evidence)


@pytest.mark.parametrize("revision", [1, 2])
def test_pictures_go_once_and_before_the_sighting_that_tells_of_them(revision):
    one = event(1, revision, evidence=Evidence(b"crop"))
    commands, owners = own_keys([one], [b"{}"], RedisSettings())
    hashes = [command[1] for command in commands if command[0] == "HSET"]
    assert hashes == [evidence_key("id-1"), sighting_key("id-1")]
    assert len(owners) == len(commands)


@pytest.fixture
def client(redis_server):
    with connect(redis_server.url) as one:
        yield one


@pytest.fixture
def store(client):
    return Store(client)


@pytest.fixture
def writer(redis_server):
    one = StoreWriter(redis_server.url, RedisSettings(stream_length=100, latest_length=5))
    yield one
    one.close()


def keys_of(entries):
    decoded = [msgspec.json.decode(entry.json, type=Sighting) for entry in entries]
    return [(one.id, one.revision) for one in decoded]


def test_what_is_committed_can_be_read_every_way(writer, store, client):
    pictures = Evidence(b"\xff\xd8crop\x00", b"\xff\xd8frame\xfe")
    first, second = event(1, evidence=pictures), event(2)
    assert writer.commit([first, second]) == 2
    assert store.latest(10) == [second.sighting, first.sighting]
    assert store.get("id-1") == first.sighting
    assert store.get("nobody") is None
    assert store.evidence("id-1") == pictures
    assert store.evidence("id-2") == Evidence()
    assert store.by_plate("P1", 5) == [first.sighting]
    assert store.by_camera("gate", 5) == [second.sighting, first.sighting]
    assert client.hget(sighting_key("id-1"), "plate") == b"P1"
    entries = store.read_stream("0-0")
    assert [entry.seq for entry in entries] == [1, 2]
    assert keys_of(entries) == [("id-1", 1), ("id-2", 1)]
    assert store.stream_tail(10) == entries
    assert store.stream_tail(1) == entries[-1:]
    assert store.sequence() == 2
    assert store.read_stream(entries[-1].id, block_ms=10) == []


def test_whoever_reads_that_there_is_a_clip_finds_it(writer, store):
    told = msgspec.structs.replace(event(1).sighting, has_clip=True)
    big = Event(told, Evidence(clip=b"v" * (40 << 20)))  # many reads of the server's
    committing = threading.Thread(target=writer.commit, args=([big],))
    committing.start()
    wait_until(lambda: store.get(told.id), 10.0, "the sighting is there")
    found = store.clip(told.id)
    committing.join()
    assert len(found) == 40 << 20


def test_a_repeat_changes_nothing_and_publishes_nothing(writer, store, redis_server, client):
    subscriber = redis_server.connect().pubsub()
    subscriber.subscribe(PLATES_CHANNEL, SIGHTINGS_CHANNEL)
    batch = [event(1), event(1, 2, plate="P9"), event(2)]
    assert writer.commit(batch) == 3
    assert writer.commit(batch) == 0
    assert writer.commit([batch[0]]) == 0
    heard = list(iter(lambda: subscriber.get_message(timeout=0.2), None))
    heard = [message for message in heard if message["type"] == "message"]
    subscriber.close()
    by_channel = [m["data"] for m in heard if m["channel"] == PLATES_CHANNEL.encode()]
    assert by_channel == [b"P1", b"P2"]
    assert len(heard) - len(by_channel) == 3
    assert len(store.read_stream("0-0")) == 3
    assert client.lrange(LATEST, 0, -1) == [b"id-2", b"id-1"]


def test_a_revision_replaces_the_text_and_the_old_text_finds_it_no_more(writer, store):
    writer.commit([event(1, plate="A812CDE")])
    writer.commit([event(1, 2, plate="AB12CDE")])
    assert store.by_plate("A812CDE", 5) == []
    assert [one.revision for one in store.by_plate("AB12CDE", 5)] == [2]
    assert [one.plate for one in store.latest(5)] == ["AB12CDE"]


def test_the_index_of_a_text_loses_the_sightings_that_were_read_anew(writer, client):
    texts = ["A812CDE", "AB12CDE", "AB12COE", "A812CDE", "AB12CDE"]
    for revision, text in enumerate(texts, start=1):
        writer.commit([event(1, revision, plate=text)])
    writer.commit([event(2, number, plate=text) for number, text in enumerate(texts[:4], start=1)])
    indexes = {text: client.zrange(plate_key(text), 0, -1) for text in texts}
    assert indexes == {"A812CDE": [b"id-2"], "AB12CDE": [b"id-1"], "AB12COE": []}


def test_lists_and_streams_stay_within_their_bounds(writer, client):
    for number in range(0, 1_000, 10):
        writer.commit([event(number + one) for one in range(10)])
    assert client.llen(LATEST) == 5
    assert client.xlen(STREAM) < 300


def test_every_key_but_the_log_has_an_end(writer, client):
    writer.commit([event(1, evidence=Evidence(b"crop"))])
    for key in (sighting_key("id-1"), evidence_key("id-1"), plate_key("P1"), camera_key("gate")):
        assert client.ttl(key) > 0, key
    assert client.ttl(marker_key("id-1")) == pytest.approx(MARKER_LIFE_S, abs=5)
    assert client.ttl(STREAM) == -1


def test_what_is_older_than_the_index_keeps_leaves_it(writer, client):
    writer.commit([event(1)])
    month_ms = 31 * 86_400_000
    writer.commit([event(month_ms)])
    assert client.zrange(camera_key("gate"), 0, -1) == [f"id-{month_ms}".encode()]


def test_a_script_flushed_from_the_server_is_brought_again(writer, client):
    writer.commit([event(1)])
    client.script_flush()
    assert writer.commit([event(2)]) == 1


def test_a_refusal_is_told_and_the_connection_stays_in_step(writer, client, store):
    client.set(sighting_key("id-1"), "in the way")
    with pytest.raises(SinkError, match="WRONGTYPE"):
        writer.commit([event(1), event(2)])
    assert store.read_stream("0-0") == []
    client.delete(sighting_key("id-1"))
    assert writer.commit([event(1), event(2)]) == 2


def test_a_server_that_is_away_is_told_and_found_again(writer, redis_server, store):
    writer.commit([event(1)])
    redis_server.stop()
    with pytest.raises(SinkError, match="Redis"):
        writer.commit([event(2)])
    with pytest.raises(SinkError):
        store.latest(1)
    assert not writer.resumes()
    redis_server.start()
    assert writer.commit([event(1), event(2)]) == 1


def test_after_a_break_it_knows_whether_redis_kept_everything(writer, client):
    assert not writer.resumes()
    writer.commit([event(1), event(2)])
    writer.close()
    assert writer.resumes()
    client.delete(marker_key("id-2"))  # as if its last second was lost
    writer.close()
    assert not writer.resumes()


def test_a_log_that_went_back_gets_another_name(writer, client, store):
    writer.commit([event(1), event(2), event(3)])
    before = store.epoch()
    client.set("platering:{log}:sequence", 1)
    writer.close()
    writer.commit([event(4)])
    assert store.epoch() not in {"", before}


def test_sightings_are_found_by_time_and_counted_by_hour(writer, store):
    hour_ms = 3_600_000
    midnight_ms = 1_790_000_000_000 // 86_400_000 * 86_400_000
    at_ms = [midnight_ms + part * hour_ms - 1_790_000_000_000 for part in (-25, -1, 0, 5, 5, 30)]
    writer.commit([event(number) for number in at_ms])
    named = [f"id-{number}" for number in at_ms]
    found = store.by_time(midnight_ms - 2 * hour_ms, midnight_ms + 30 * hour_ms, 10)
    assert [one.id for one in found] == [named[5], named[4], named[2], named[1]]
    found = store.by_time(0, midnight_ms + 40 * hour_ms, 2)
    assert [one.id for one in found] == [named[5], named[4]]
    assert store.by_time(midnight_ms + 6 * hour_ms, midnight_ms + 29 * hour_ms, 10) == []
    hours = store.by_hour("gate", midnight_ms)
    assert len(hours) == 24
    assert {hour: number for hour, number in enumerate(hours) if number} == {0: 1, 5: 1}
    assert sum(store.by_hour("yard", midnight_ms)) == 0


def test_a_stored_form_nobody_knows_is_left_out(writer, client, store):
    writer.commit([event(1), event(2)])
    client.hset(sighting_key("id-1"), "json", b'{"id": 7}')
    client.hset(sighting_key("id-2"), "json", b"\xff\xfe")
    assert store.latest(5) == []
    assert store.get("id-1") is None


def test_the_epoch_names_the_log(writer, client, store):
    writer.commit([event(1)])
    before = store.epoch()
    writer.close()
    writer.commit([event(2)])
    assert store.epoch() == before
    client.flushall()
    writer.close()
    writer.commit([event(3)])
    assert store.epoch() not in {"", before}


def test_a_waiting_reader_hears_of_it_at_once(writer, store):
    timer = threading.Timer(0.1, writer.commit, [[event(1)]])
    timer.start()
    assert keys_of(store.read_stream("0-0", block_ms=5_000)) == [("id-1", 1)]
    timer.join()


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(1, 5), st.integers(1, 4)), max_size=30))
def test_any_repeats_leave_each_event_once(writer, store, client, drawn):
    client.flushall()
    newest = {}
    expected = []
    for number, revision in drawn:
        if revision > newest.get(number, 0):
            newest[number] = revision
            expected.append((f"id-{number}", revision))
    for start in range(0, len(drawn), 7):
        writer.commit([event(*one) for one in drawn[start : start + 7]])
    assert keys_of(store.read_stream("0-0")) == expected


def long_event(number):
    """An event of the size that ``engine.store`` speaks of: a path of 16 points."""
    path = tuple(
        PathPoint(1_790_000_000_000 + step, Box(800.5 + step, 400.25, 110.0, 26.5))
        for step in range(16)
    )
    made = event(number, plate=f"AB{number:05d}")
    candidates = tuple(Candidate(f"AB{number:05d}", 90.5 - step) for step in range(3))
    return Event(msgspec.structs.replace(
        made.sighting, id=f"0199c1f0-{number:012x}-7000-8000-0000", path=path,
        candidates=candidates, region="eu", recognizer="builtin", recognizer_version="1.0",
        direction_deg=12.5, has_crop=True, has_frame=True,
    ))  # fmt: skip


def settled_memory(client):
    """The memory in use without the buffers of clients, which Redis takes back once a second."""
    used = []
    for _ in range(13):
        used.append(client.info("memory")["used_memory"])
        time.sleep(0.1)
    return min(used)


@pytest.mark.parametrize(("listpack", "documented_kb"), [(4_096, 3.5), (64, 3.8)])
def test_a_sighting_takes_the_memory_that_is_documented(
    redis_server, client, listpack, documented_kb
):
    assert f"{documented_kb} KB" in engine.store.__doc__
    client.config_set("hash-max-ziplist-value", listpack)
    writer = StoreWriter(redis_server.url, RedisSettings(stream_length=100, latest_length=5))
    writer.commit([event(1)])
    before = settled_memory(client)
    writer.commit([long_event(number) for number in range(6_000)])
    writer.close()
    each_kb = (settled_memory(client) - before) / 6_000 / 1_000
    size = len(client.hget(sighting_key(long_event(1).sighting.id), "json"))
    assert 1_700 < size < 2_000
    assert each_kb == pytest.approx(documented_kb, rel=0.1)


def test_a_client_of_the_old_protocol_reads_the_same(redis_server):
    with redis.Redis(unix_socket_path=str(redis_server.socket), protocol=2) as old:
        writer = StoreWriter(redis_server.url, RedisSettings())
        writer.commit([event(1)])
        writer.close()
        assert keys_of(Store(old).read_stream("0-0")) == [("id-1", 1)]

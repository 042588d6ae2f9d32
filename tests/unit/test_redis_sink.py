"""An event that Redis refuses for what it is goes aside; the others arrive."""

import sqlite3

import msgspec
import pytest

from engine.config import RedisSettings
from engine.deadletters import DeadLetters
from engine.errors import SinkError
from engine.retention import Kept, Retention
from engine.sinks.base import Tally
from engine.sinks.redis import RedisSink
from engine.store import (
    STREAM,
    Store,
    camera_key,
    count_key,
    day_key,
    evidence_key,
    marker_key,
    plate_key,
    sighting_key,
)
from engine.track import Event
from engine.types import Evidence, Phase, Sighting

DAY_MS = 1_790_000_000_000


def event(number, revision=1, phase=Phase.PROVISIONAL, **parts):
    return Event(Sighting(
        id=f"id-{number}", revision=revision, phase=phase, camera="gate", node="node",
        plate=f"P{number}", confidence=90.5, first_unix_ms=DAY_MS + number,
        last_unix_ms=DAY_MS, best_unix_ms=DAY_MS, **parts,
    ))  # fmt: skip


class Rig(msgspec.Struct):
    sink: RedisSink
    letters: DeadLetters
    tally: Tally
    client: object
    store: Store

    def ids(self):
        entries = self.store.read_stream("0-0", count=10_000)
        return [msgspec.json.decode(entry.json)["id"] for entry in entries]

    def dead(self):
        return [(one.event.sighting.id, one.reason) for one in self.letters.letters("redis")]


@pytest.fixture
def rig(redis_server, tmp_path):
    path, tally = tmp_path / "letters.sqlite", Tally()
    sink = RedisSink(RedisSettings(url=redis_server.url), DeadLetters(path), tally)
    letters = DeadLetters(path)
    with redis_server.connect() as client:
        yield Rig(sink, letters, tally, client, Store(client))
    sink.close()
    letters.close()


def test_a_foreign_value_under_a_sightings_key_stops_nobody_else(rig, caplog):
    rig.client.lpush(sighting_key("id-70"), "in the way")
    rig.sink.deliver([event(number) for number in range(150)])
    assert rig.ids() == [f"id-{number}" for number in range(150) if number != 70]
    ((dead, reason),) = rig.dead()
    assert dead == "id-70"
    assert "WRONGTYPE" in reason
    assert rig.tally.dead_letters == 1
    assert "id-70 revision 1, it is a dead letter" in caplog.text
    assert [record.sighting for record in caplog.records if hasattr(record, "sighting")] == [
        "id-70"
    ]
    rig.sink.deliver([event(70), event(150)])
    assert rig.tally.dead_letters == 1  # the same one again
    assert rig.ids()[-1] == "id-150"


@pytest.mark.parametrize("poison", ["a list", "no number"])
def test_an_event_that_the_script_stumbles_over_is_found(rig, poison):
    if poison == "a list":
        rig.client.lpush(marker_key("id-70"), "in the way")
    else:
        rig.client.set(marker_key("id-70"), "in the way")
    rig.sink.deliver([event(number) for number in range(150)])
    assert sorted(rig.ids()) == sorted(f"id-{number}" for number in range(150) if number != 70)
    assert len(set(rig.ids())) == 149
    assert [dead for dead, _ in rig.dead()] == ["id-70"]
    numbers = [entry.seq for entry in rig.store.read_stream("0-0", count=10_000)]
    assert numbers == list(range(1, 150))


def test_a_letter_that_cannot_be_kept_is_no_letter(rig, monkeypatch):
    rig.client.lpush(sighting_key("id-1"), "in the way")
    with monkeypatch.context() as full:
        full.setattr(rig.sink._letters, "add", refuses)
        for _ in range(2):
            with pytest.raises(SinkError, match="make room"):
                rig.sink.deliver([event(1), event(2)])
    rig.sink.deliver([event(1), event(2)])
    assert rig.ids() == ["id-2"]
    assert [dead for dead, _ in rig.dead()] == ["id-1"]


def refuses(*_):
    raise SinkError("a dead letter cannot be kept: make room")


def test_a_broken_index_is_told_once_and_costs_no_sighting(rig, caplog):
    rig.client.set(camera_key("gate"), "in the way")
    rig.client.set(count_key("gate", DAY_MS), "in the way")
    rig.sink.deliver([event(1)])
    rig.sink.deliver([event(2)])
    assert rig.ids() == ["id-1", "id-2"]
    assert rig.dead() == []
    assert caplog.text.count("platering:camera:gate cannot be written") == 1


def test_a_dead_letter_keeps_the_pictures_and_the_clip(rig):
    rig.client.lpush(sighting_key("id-1"), "in the way")
    shown = Evidence(b"crop", b"", b"clip")
    rig.sink.deliver([Event(event(1).sighting, shown)])
    assert [one.event.evidence for one in rig.letters.letters()] == [shown]


def test_dead_letters_of_an_older_version_are_there(tmp_path):
    path = tmp_path / "letters.sqlite"
    letters = DeadLetters(path)
    letters.add("redis", event(1), "refused")
    letters.close()
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE letters DROP COLUMN clip")
    db.close()
    again = DeadLetters(path)
    again.add("redis", event(2), "refused")
    assert [one.event for one in again.letters()] == [event(1), event(2)]
    again.close()


def test_a_broken_log_is_no_fault_of_an_event(rig):
    rig.client.set(STREAM, "in the way")
    for _ in range(2):
        with pytest.raises(SinkError, match="WRONGTYPE"):
            rig.sink.deliver([event(1), event(2)])
    assert rig.dead() == []
    rig.client.delete(STREAM)
    rig.sink.deliver([event(1), event(2)])
    assert rig.ids() == ["id-1", "id-2"]


def test_a_full_server_is_no_fault_of_an_event(rig):
    rig.sink.deliver([event(1)])
    rig.client.config_set("maxmemory", 1)
    with pytest.raises(SinkError, match="OOM"):
        rig.sink.deliver([event(2)])
    rig.client.config_set("maxmemory", 0)
    rig.sink.deliver([event(2)])
    assert rig.ids() == ["id-1", "id-2"]
    assert rig.dead() == []


def test_sightings_are_counted_once_by_camera_and_hour(rig):
    rig.sink.deliver([event(1), event(2), event(1, 2)])
    rig.sink.deliver([event(2), event(3), event(3, 2)])
    hour = str(DAY_MS // 3_600_000 % 24).encode()
    assert rig.client.hgetall(count_key("gate", DAY_MS)) == {hour: b"3"}
    rig.sink.deliver([event(3, 3, Phase.FINAL), event(3, 4, Phase.FINAL, amended=True)])
    told = rig.client.hgetall(count_key("gate", DAY_MS))
    assert told == {hour: b"3", hour + b".9": b"1"}


def test_a_camera_may_be_kept_for_a_time_of_its_own(rig, redis_server, tmp_path):
    settings = RedisSettings(url=redis_server.url, keep_days=10.0, evidence_days=5.0)
    letters = DeadLetters(tmp_path / "letters.sqlite")
    sink = RedisSink(settings, letters, Tally(), {"gate": Kept(days=2.0)})
    shown = Event(event(1).sighting, Evidence(b"crop"))
    other = Event(msgspec.structs.replace(event(2).sighting, camera="yard"), Evidence(b"crop"))
    sink.deliver([shown, other])
    sink.close()
    day_s = 86_400
    for key, days in (
        (sighting_key("id-1"), 2), (evidence_key("id-1"), 2), (camera_key("gate"), 2),
        (sighting_key("id-2"), 10), (evidence_key("id-2"), 5), (plate_key("P1"), 10),
    ):  # fmt: skip
        assert rig.client.ttl(key) == pytest.approx(days * day_s, abs=5), key


def test_a_camera_that_comes_later_is_kept_for_its_time_too(rig):
    rig.sink.keep("gate", Kept(days=3.0, gib=1.0))
    rig.sink.deliver([event(1)])
    assert rig.client.ttl(sighting_key("id-1")) == pytest.approx(3 * 86_400, abs=5)
    rig.sink.keep("gate", Kept())
    rig.sink.deliver([event(2)])
    assert rig.client.ttl(sighting_key("id-2")) == pytest.approx(30 * 86_400, abs=5)


def test_a_bound_for_all_holds_for_cameras_that_others_post_under(rig, redis_server, tmp_path):
    settings = RedisSettings(url=redis_server.url, keep_gib=100_000 / 2**30)
    sink = RedisSink(settings, DeadLetters(tmp_path / "own.sqlite"), Tally())
    sink.deliver([event(number) for number in range(300)])
    sink.close()
    left = len(rig.store.by_camera("gate", 1_000))
    assert 30 < left < 200


def test_over_its_bound_of_memory_a_cameras_oldest_go_with_their_pictures(rig, redis_server):
    rig.sink.deliver(
        [Event(event(number).sighting, Evidence(b"x" * 20_000)) for number in range(300)]
    )
    retention = Retention(
        redis_server.url, RedisSettings(), {"gate": Kept(gib=2_000_000 / 2**30)}, every_s=0.0
    )
    assert 180 < retention.sweep() < 230
    assert retention.sweep() == 0
    retention.close()
    left = rig.store.by_camera("gate", 1_000)
    assert [one.id for one in left] == [f"id-{n}" for n in range(299, 299 - len(left), -1)]
    assert rig.client.exists(evidence_key("id-0"), sighting_key("id-0"), plate_key("P0")) == 0
    assert rig.client.zcard(day_key(DAY_MS)) == len(left)
    pictures = rig.client.keys("*:evidence")
    assert len(pictures) == len(left)
    assert sum(map(rig.client.memory_usage, pictures)) < 2_000_000

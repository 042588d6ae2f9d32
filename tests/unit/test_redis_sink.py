"""An event that Redis refuses for what it is goes aside; the others arrive."""

import msgspec
import pytest

from engine.config import RedisSettings
from engine.deadletters import DeadLetters
from engine.errors import SinkError
from engine.sinks.base import Tally
from engine.sinks.redis import RedisSink
from engine.store import STREAM, Store, camera_key, count_key, marker_key, sighting_key
from engine.track import Event
from engine.types import Phase, Sighting

DAY_MS = 1_790_000_000_000


def event(number, revision=1):
    return Event(Sighting(
        id=f"id-{number}", revision=revision, phase=Phase.PROVISIONAL, camera="gate", node="node",
        plate=f"P{number}", confidence=90.5, first_unix_ms=DAY_MS + number,
        last_unix_ms=DAY_MS, best_unix_ms=DAY_MS,
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
    sink = RedisSink(redis_server.url, RedisSettings(), DeadLetters(path), tally)
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


def test_a_broken_index_is_told_once_and_costs_no_sighting(rig, caplog):
    rig.client.set(camera_key("gate"), "in the way")
    rig.client.set(count_key("gate", DAY_MS), "in the way")
    rig.sink.deliver([event(1)])
    rig.sink.deliver([event(2)])
    assert rig.ids() == ["id-1", "id-2"]
    assert rig.dead() == []
    assert caplog.text.count("platering:camera:gate cannot be written") == 1


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

"""Metrics of Redis: what it says of itself, whether it answers, and who may not ask it."""

import time

import pytest

from api.redis_watch import RedisWatch
from engine.store import connect


def figures(watch) -> dict[str, float]:
    return {sample.name: sample.value for family in watch.collect() for sample in family.samples}


@pytest.fixture
def client(redis_server):
    with connect(redis_server.url) as one:
        yield one


def test_a_redis_that_answers_and_one_that_does_not(client, redis_server):
    watch = RedisWatch(client)
    assert figures(watch) == {
        "platering_redis_up": 0,
        "platering_redis_last_answer_timestamp_seconds": 0,
        "platering_redis_ping_seconds": 0,
    }
    watch.look()
    found = figures(watch)
    assert found["platering_redis_up"] == 1
    assert found["platering_redis_memory_used_bytes"] > 100_000
    assert found["platering_redis_connected_clients"] >= 1
    assert found["platering_redis_commands_total"] >= 1
    assert 0 < found["platering_redis_ping_seconds"] < 5
    answered = found["platering_redis_last_answer_timestamp_seconds"]
    assert abs(time.time() - answered) < 60
    redis_server.stop()
    watch.look()
    found = figures(watch)
    assert found["platering_redis_up"] == 0
    assert found["platering_redis_last_answer_timestamp_seconds"] == answered


def test_a_user_without_the_right_lacks_only_the_figures(client, redis_server, caplog):
    client.execute_command("ACL", "SETUSER", "few", "on", "nopass", "+ping", "+hello", "+client")
    with connect(redis_server.url) as few:
        few.connection_pool.connection_kwargs |= {"username": "few", "password": "x"}
        watch = RedisWatch(few)
        watch.look()
        watch.look()
        found = figures(watch)
    assert found["platering_redis_up"] == 1
    assert "platering_redis_memory_used_bytes" not in found
    assert caplog.text.count("+info") == 1

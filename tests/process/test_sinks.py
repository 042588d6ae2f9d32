"""Many sinks of one publisher: none delays another, each gets everything in order, once or more."""

import contextlib
import time
from collections import defaultdict

import msgspec
import pytest
from brokers import free_port, mosquitto
from polling import wait_until
from publisher_rig import PublisherRig
from webhook_receiver import receiving

from engine.board import Count
from engine.deadletters import FILE_NAME, DeadLetters
from engine.ingest_channel import IngestClient
from engine.sink_settings import (
    KafkaSettings,
    MqttSettings,
    RabbitMqSettings,
    SinksSettings,
    WebhookSettings,
)
from engine.store import Store, connect
from engine.types import Phase, Sighting
from engine.watchlists.entries import FILE_NAME as WATCHLISTS
from engine.watchlists.entries import Watchlists, entry_of

CAMERAS = ("gate", "yard", "ramp")


@pytest.fixture
def store(redis_server):
    client = connect(redis_server.url)
    yield Store(client)
    client.close()


@contextlib.contextmanager
def publishing(tmp_path, redis_server, **sinks):
    rig = PublisherRig(tmp_path, redis_server.url)
    rig.section = rig.section.model_copy(update={"sinks": SinksSettings(**sinks)})
    try:
        rig.start()
        yield rig
    finally:
        rig.close()


def webhook(receiver, **keys):
    return WebhookSettings(name="hook", url=receiver.url, allow_private=True, **keys)


def bare(number):
    at_ms = time.time_ns() // 1_000_000
    return Sighting(
        id="", revision=1, phase=Phase.FINAL, camera=CAMERAS[number % 3], node="",
        plate=f"P{number}", confidence=90.0, first_unix_ms=at_ms, last_unix_ms=at_ms,
        best_unix_ms=at_ms, origin="ingest",
    )  # fmt: skip


def post(rig, numbers):
    client = IngestClient(rig.ingest_path)
    ids = [client.sighting(f"uuid-{number}", bare(number)).sighting_id for number in numbers]
    client.close()
    return ids


def in_order(posted):
    """Every camera's events as they came first, and how many came again."""
    first, seen, again = defaultdict(list), set(), 0
    for one in posted:
        sighting = msgspec.json.decode(one.body, type=Sighting)
        if one.event in seen:
            again += 1
        else:
            seen.add(one.event)
            first[sighting.camera].append(sighting.id)
    return first, again


def by_camera(ids):
    return {camera: ids[at::3] for at, camera in enumerate(CAMERAS)}


def test_a_stalled_webhook_and_dead_brokers_delay_nobody_and_what_returns_gets_everything(
    tmp_path, redis_server, store
):
    port = free_port()
    with receiving() as stalled, receiving() as well:
        stalled.answer = lambda _posted: None
        sinks = {
            "webhooks": (
                webhook(stalled, timeout_s=1.0),
                webhook(well).model_copy(update={"name": "well"}),
            ),
            "mqtt": MqttSettings(url=f"mqtt://127.0.0.1:{port}", timeout_s=0.5),
            "rabbitmq": RabbitMqSettings(url=f"amqp://127.0.0.1:{port}", timeout_s=0.5),
            "kafka": KafkaSettings(servers=f"127.0.0.1:{port}", timeout_s=0.5),
        }
        with publishing(tmp_path, redis_server, **sinks) as rig:
            began = time.monotonic()
            ids = post(rig, range(60))
            wait_until(lambda: store.get(ids[-1]), 5.0, "Redis has everything")
            wait_until(lambda: len(well.taken) == 60, 5.0, "so has the other webhook")
            assert time.monotonic() - began < 5.0
            assert [entry.event for entry in well.taken] == [(one, 1) for one in ids]
            wait_until(lambda: rig.total(Count.SINKS_AWAY) == 4, 5.0, "four are known to be away")
            assert rig.total(Count.STORED) == 60
            assert stalled.taken == []
            stalled.answer = lambda _posted: (200, {})
            stalled.released.set()
            ids += post(rig, range(60, 90))
            wait_until(lambda: len(stalled.taken) >= 90, 20.0, "all arrive once it answers")
            first, again = in_order(stalled.taken)
            assert first == by_camera(ids)
            assert again <= 3
            wait_until(lambda: rig.total(Count.SINKS_AWAY) == 3, 5.0)
            assert rig.total(Count.DEAD_LETTERS) == 0
            assert rig.stop() == 0


def test_a_killed_publisher_leaves_no_sink_short(tmp_path, redis_server, store, rng):
    with (
        receiving() as receiver,
        publishing(tmp_path, redis_server, webhooks=(webhook(receiver),)) as rig,
    ):
        ids = []
        for kill in range(4):
            ids += post(rig, range(kill * 30, kill * 30 + 30))
            enough = 30 * kill + rng.randrange(31)
            wait_until(lambda enough=enough: len(receiver.taken) >= enough, 5.0)
            rig.kill()
            rig.start()
        wait_until(lambda: len({one.event for one in receiver.taken}) == 120, 10.0)
        first, _again = in_order(receiver.taken)
        assert first == by_camera(ids)
        wait_until(lambda: store.get(ids[-1]), 5.0)


def test_a_sink_taken_out_of_the_configuration_holds_the_spool_no_longer(
    tmp_path, redis_server, store
):
    with receiving() as dead:
        dead.answer = lambda _posted: (503, {})
        with publishing(tmp_path, redis_server, webhooks=(webhook(dead),)) as rig:
            ids = post(rig, range(20))
            wait_until(lambda: dead.seen, 5.0)
            rig.stop()
            rig.section = rig.section.model_copy(update={"sinks": SinksSettings()})
            rig.start()
            ids += post(rig, range(20, 30))
            wait_until(lambda: store.get(ids[-1]), 5.0)
            began = time.monotonic()
            assert rig.stop() == 0
            assert time.monotonic() - began < 2.0
            assert dead.taken == []


def test_a_dead_sink_does_not_delay_the_end(tmp_path, redis_server):
    with receiving() as dead:
        dead.answer = lambda _posted: (503, {})
        with publishing(tmp_path, redis_server, webhooks=(webhook(dead),)) as rig:
            post(rig, range(5))
            wait_until(lambda: rig.total(Count.SINKS_AWAY) == 1, 5.0)
            began = time.monotonic()
            assert rig.stop() == 0
            assert time.monotonic() - began < 2.0


def test_refused_events_are_counted_and_kept(tmp_path, redis_server):
    with receiving() as receiver:
        receiver.answer = lambda _posted: (400, {})
        with publishing(tmp_path, redis_server, webhooks=(webhook(receiver),)) as rig:
            ids = post(rig, range(5))
            wait_until(lambda: rig.total(Count.DEAD_LETTERS) == 5, 5.0)
            letters = DeadLetters(tmp_path / "engine" / FILE_NAME)
            assert [letter.event.sighting.id for letter in letters.letters()] == ids
            letters.close()


def test_mqtt_gets_everything_after_an_outage(tmp_path, redis_server, store):
    with (
        mosquitto() as broker,
        publishing(tmp_path, redis_server, mqtt=MqttSettings(url=broker.url, timeout_s=1.0)) as rig,
    ):
        post(rig, range(10))
        wait_until(lambda: rig.total(Count.SINK_DELIVERED) == 10, 5.0)
        broker.stop()
        ids = post(rig, range(10, 40))
        wait_until(lambda: store.get(ids[-1]), 5.0)
        broker.start()
        wait_until(lambda: rig.total(Count.SINK_DELIVERED) == 40, 20.0)
        assert rig.stop() == 0


# --- watchlists ---------------------------------------------------------------------------------


def test_a_hit_marks_the_sighting_is_counted_and_overtakes_what_waits(
    tmp_path, redis_server, store
):
    lists = Watchlists(tmp_path / "engine" / WATCHLISTS)
    with receiving() as slow, receiving() as chosen:
        slow.answer = lambda _posted: (200, {"X-Waited": str(slow.released.wait(0.1))})
        hooks = (
            webhook(slow, hits_first=True),
            webhook(chosen, hits_only=True).model_copy(update={"name": "chosen"}),
        )
        with publishing(tmp_path, redis_server, webhooks=hooks) as rig:
            ids = post(rig, range(30))
            lists.put([entry_of("stolen", plate="P2?", label="van", severity="alarm")])
            wanted = wait_until(lambda: hit_of(rig, store, 21), 2.0, "the list counts")
            wait_until(lambda: set(ids) <= {one.event[0] for one in slow.taken}, 20.0)
            events = [one.event[0] for one in slow.taken]
            assert events.index(wanted[-1]) < events.index(ids[-1])
            hits = store.get(wanted[-1]).hits
            assert [(hit.list, hit.label, hit.match) for hit in hits] == [
                ("stolen", "van", "pattern")
            ]
            assert wanted[-1] in [one.event[0] for one in chosen.taken]
            assert not {one.event[0] for one in chosen.taken} & set(ids)
            assert rig.total(Count.WATCHLIST_HITS) == len(chosen.taken)
    lists.close()


def hit_of(rig, store, number):
    """Post once more; the ids so far once the newest of them was marked."""
    client = IngestClient(rig.ingest_path)
    posted = client.sighting("", bare(number)).sighting_id
    client.close()
    sighting = wait_until(lambda: store.get(posted), 5.0)
    return [posted] if sighting.hits else []

"""The Kafka sink against librdkafka's mock cluster."""

import time

import msgspec
import pytest
from confluent_kafka import OFFSET_BEGINNING, Consumer, TopicPartition
from kafka_cluster import kafka_cluster
from polling import wait_until
from sightings import event

from engine.errors import SinkError
from engine.sink_settings import KafkaSettings
from engine.sinks.base import RefusedEventsError
from engine.sinks.kafka import KafkaSink, _options
from engine.types import Hit, Sighting

TOPIC = "platering.sightings"


@pytest.fixture(scope="module")
def cluster():
    with kafka_cluster() as one:
        yield one


@pytest.fixture
def sink_of(cluster):
    made = []

    def make(**keys):
        made.append(KafkaSink(KafkaSettings(servers=cluster.servers, **keys)))
        return made[-1]

    yield make
    for one in made:
        one.close()


@pytest.fixture
def consumer(cluster):
    one = Consumer(
        {
            "bootstrap.servers": cluster.servers,
            "group.id": f"test-{time.time_ns()}",
            "auto.offset.reset": "earliest",
        }
    )
    yield one
    one.close()


def taken(consumer, topic, last_id, deadline_s=15.0):
    """All messages of a topic up to the one about ``last_id``."""
    partitions = consumer.list_topics(topic, 10.0).topics[topic].partitions
    consumer.assign([TopicPartition(topic, number, OFFSET_BEGINNING) for number in partitions])
    messages = []

    def take():
        message = consumer.poll(0.2)
        if message is not None and message.error() is None:
            messages.append(message)
        return messages and dict(messages[-1].headers())["id"] == last_id.encode()

    wait_until(take, deadline_s)
    return messages


def ids(messages):
    return [msgspec.json.decode(message.value(), type=Sighting).id for message in messages]


def test_events_of_a_camera_arrive_in_order_with_key_and_headers(sink_of, consumer):
    hit = Hit(list="stolen", plate="AB0CD", match="exact")
    given = [event(0, hits=(hit, hit)), *(event(number) for number in range(1, 200))]
    sink_of().deliver(given)
    messages = taken(consumer, TOPIC, "id-199")
    assert [msgspec.json.decode(m.value(), type=Sighting) for m in messages] == [
        one.sighting for one in given
    ]
    assert {message.key() for message in messages} == {b"gate"}
    assert len({message.partition() for message in messages}) == 1
    assert dict(messages[0].headers()) == {
        "id": b"id-0",
        "revision": b"3",
        "hits": b"stolen,stolen",
    }
    assert messages[0].timestamp()[1] == given[0].sighting.last_unix_ms


def test_the_key_may_be_the_plate_and_the_topic_another(sink_of, consumer):
    sink_of(topic="plates", key="plate").deliver([event(7)])
    assert [message.key() for message in taken(consumer, "plates", "id-7")] == [b"AB7CD"]


def test_a_stalled_cluster_is_an_outage_and_gets_it_all_later(cluster, sink_of, consumer):
    sink = sink_of(topic="outage", timeout_s=1.0)
    sink.deliver([event(1)])
    cluster.pause()
    try:
        for _ in range(2):
            began = time.monotonic()
            with pytest.raises(SinkError, match="1 of 1 events did not arrive"):
                sink.deliver([event(2)])
            assert time.monotonic() - began < 3.0
    finally:
        cluster.go_on()

    def delivered():
        try:
            sink.deliver([event(2), event(3)])
        except SinkError:
            return False
        return True

    wait_until(delivered, 20.0)
    found = ids(taken(consumer, "outage", "id-3"))
    assert list(dict.fromkeys(found)) == ["id-1", "id-2", "id-3"]


def test_a_message_that_is_too_large_for_good_stops_no_other(sink_of, consumer):
    large = event(2, recognizer_version="x" * 2_000_000)
    with pytest.raises(RefusedEventsError, match="too large") as caught:
        sink_of(topic="large").deliver([event(1), large, event(3)])
    assert [one for one, _ in caught.value.refused] == [large]
    assert ids(taken(consumer, "large", "id-3")) == ["id-1", "id-3"]


def test_nobody_there_is_an_outage():
    sink = KafkaSink(KafkaSettings(servers="127.0.0.1:1", timeout_s=1.0))
    with pytest.raises(SinkError, match=r"127\.0\.0\.1:1|did not arrive"):
        sink.deliver([event()])
    sink.close()


def test_credentials_and_certificates_reach_the_library():
    settings = KafkaSettings(
        servers="k:9093",
        username="me",
        password="hunter2",  # noqa: S106  # of nobody
        ca_file="/ca.pem",
        cert_file="/c.pem",
    )
    options = _options(settings, None)
    assert options["security.protocol"] == "SASL_SSL"
    assert options["sasl.mechanisms"] == "SCRAM-SHA-512"
    assert (options["sasl.username"], options["sasl.password"]) == ("me", "hunter2")
    assert options["ssl.ca.location"] == "/ca.pem"
    assert "ssl.key.location" not in options
    assert _options(KafkaSettings(servers="k"), None)["security.protocol"] == "PLAINTEXT"
    assert _options(KafkaSettings(servers="k", tls=True), None)["security.protocol"] == "SSL"

"""The RabbitMQ sink against a real broker."""

import signal
import time

import msgspec
import pika
import pytest
from brokers import rabbitmq
from polling import wait_until
from sightings import event

from engine.errors import SinkError
from engine.sink_settings import RabbitMqSettings
from engine.sinks.rabbitmq import RabbitMqSink
from engine.types import Phase, Sighting


@pytest.fixture(scope="module")
def broker():
    with rabbitmq() as one:
        yield one


@pytest.fixture
def sink(broker):
    one = RabbitMqSink(RabbitMqSettings(url=broker.url, timeout_s=5.0))
    yield one
    one.close()


@pytest.fixture
def channel(broker, sink):
    sink.deliver([event(0)])  # now the exchange is there
    connection = pika.BlockingConnection(pika.URLParameters(broker.url))
    yield connection.channel()
    connection.close()


def queue_of(channel, key):
    name = channel.queue_declare("", exclusive=True).method.queue
    channel.queue_bind(name, "platering", key)
    return name


def taken(channel, queue, count):
    messages = []

    def take():
        while (message := channel.basic_get(queue, auto_ack=True))[0] is not None:
            messages.append(message)
        return len(messages) >= count

    wait_until(take, 10.0)
    return messages


def test_events_arrive_in_order_and_persistent(channel, sink):
    queue = queue_of(channel, "sighting.gate.*")
    given = [event(number) for number in range(300)]
    sink.deliver(given)
    messages = taken(channel, queue, 300)
    assert [msgspec.json.decode(body, type=Sighting) for _, _, body in messages] == [
        one.sighting for one in given
    ]
    method, properties, _ = messages[7]
    assert method.routing_key == "sighting.gate.final"
    assert (properties.message_id, properties.delivery_mode) == ("id-7.3", 2)
    assert properties.headers["plate"] == "AB7CD"


def test_routing_by_camera_and_phase(channel, sink):
    finals, roof = queue_of(channel, "sighting.*.final"), queue_of(channel, "sighting.roof-1.*")
    sink.deliver([event(1, phase=Phase.PROVISIONAL), event(2), event(3, camera="roof.1")])
    assert [p.headers["id"] for _, p, _ in taken(channel, finals, 2)] == ["id-2", "id-3"]
    assert [p.headers["id"] for _, p, _ in taken(channel, roof, 1)] == ["id-3"]


def test_the_exchange_is_durable(channel):
    with pytest.raises(pika.exceptions.ChannelClosedByBroker, match="durable"):
        channel.exchange_declare("platering", exchange_type="topic", durable=False)


def test_a_wrong_password_is_named_without_showing_it(broker):
    url = broker.url.replace("guest@", "hunter2@")
    sink = RabbitMqSink(RabbitMqSettings(url=url, timeout_s=5.0))
    with pytest.raises(SinkError, match=r"ACCESS_REFUSED|Authentication") as caught:
        sink.deliver([event()])
    assert "hunter2" not in str(caught.value)
    sink.close()


def test_a_stalled_broker_is_an_outage_and_gets_it_all_later(broker, channel):
    queue = queue_of(channel, "sighting.stalled.*")
    sink = RabbitMqSink(RabbitMqSettings(url=broker.url, timeout_s=0.5))
    sink.deliver([event(1)])
    broker.send(signal.SIGSTOP)
    try:
        began = time.monotonic()
        with pytest.raises(SinkError, match="in time"):
            sink.deliver([event(2, camera="stalled"), event(3, camera="stalled")])
        assert time.monotonic() - began < 3.0
    finally:
        broker.send(signal.SIGCONT)

    def delivered():
        try:
            sink.deliver([event(2, camera="stalled"), event(3, camera="stalled")])
        except SinkError:
            return False
        return True

    wait_until(delivered, 10.0)
    assert {p.headers["id"] for _, p, _ in taken(channel, queue, 2)} == {"id-2", "id-3"}
    sink.close()


def test_nobody_there_is_an_outage():
    sink = RabbitMqSink(RabbitMqSettings(url="amqp://guest:guest@127.0.0.1:1", timeout_s=2.0))
    with pytest.raises(SinkError):
        sink.deliver([event()])
    sink.close()


def test_tls_trusts_what_it_is_told_to(broker, channel):
    queue = queue_of(channel, "sighting.tls.*")
    url, pem = broker.tls_url, str(broker.certificate)
    sink = RabbitMqSink(RabbitMqSettings(url=url, ca_file=pem, timeout_s=5.0))
    sink.deliver([event(1, camera="tls")])
    sink.close()
    assert len(taken(channel, queue, 1)) == 1
    stranger = RabbitMqSink(RabbitMqSettings(url=url, timeout_s=5.0))
    with pytest.raises(SinkError, match="CERTIFICATE_VERIFY_FAILED"):
        stranger.deliver([event()])
    stranger.close()

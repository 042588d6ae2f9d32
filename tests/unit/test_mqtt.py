"""The MQTT sink against a real mosquitto."""

import queue
import threading

import msgspec
import pytest
from brokers import PASSWORD, USER, mosquitto
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion
from polling import wait_until
from sightings import event

from engine.errors import SinkError
from engine.sink_settings import MqttSettings
from engine.sinks.base import RefusedEventsError
from engine.sinks.choice import Lane
from engine.sinks.mqtt import MqttSink
from engine.types import CameraState, Hit, Sighting

ROOT = "platering/node-a"


@pytest.fixture
def broker():
    with mosquitto() as one:
        yield one


class Listener:
    """A subscriber to everything."""

    def __init__(self, broker):
        self.said = queue.Queue()
        self.heard = {}
        self._client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        self._client.username_pw_set(USER, PASSWORD)
        ready = threading.Event()
        self._client.on_message = lambda _c, _u, message: self._take(message)
        self._client.on_subscribe = lambda *_: ready.set()
        self._client.on_connect = lambda client, *_: client.subscribe("#", 1)
        self._client.connect("127.0.0.1", broker.port)
        self._client.loop_start()
        assert ready.wait(5.0)

    def _take(self, message):
        self.heard[message.topic] = message.payload
        self.said.put(message)

    def close(self):
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture
def listener(broker):
    one = Listener(broker)
    yield one
    one.close()


@pytest.fixture
def sink(broker):
    one = MqttSink(MqttSettings(url=broker.url, timeout_s=5.0), "node-a", Lane.ALL)
    yield one
    one.close()


def test_events_arrive_in_order_and_the_last_one_stays(broker, listener, sink):
    given = [event(number) for number in range(100)]
    sink.deliver(given)
    topic = f"{ROOT}/cameras/gate/sighting"
    heard = [listener.said.get(timeout=5.0) for _ in range(203)]
    got = [msgspec.json.decode(m.payload, type=Sighting) for m in heard if m.topic == topic]
    assert got == [one.sighting for one in given]
    late = Listener(broker)
    wait_until(lambda: f"{ROOT}/cameras/gate/last" in late.heard, 5.0)
    last = late.heard[f"{ROOT}/cameras/gate/last"]
    assert msgspec.json.decode(last, type=Sighting) == given[-1].sighting
    assert topic not in late.heard
    late.close()


def test_hits_have_a_topic_of_their_own(listener, sink):
    hit = Hit(list="stolen", plate="AB1CD", match="exact", severity="alarm")
    sink.deliver([event(1, hits=(hit,)), event(2)])
    wait_until(lambda: f"{ROOT}/hits" in listener.heard, 5.0)
    assert msgspec.json.decode(listener.heard[f"{ROOT}/hits"], type=Sighting).hits == (hit,)


def test_cameras_appear_in_home_assistant_with_state_and_last_plate(listener, sink):
    sink.show({"gate": CameraState.CONNECTING})
    wait_until(lambda: listener.heard.get(f"{ROOT}/cameras/gate/state") == b"connecting", 5.0)
    sink.show({"gate": CameraState.LIVE})
    wait_until(lambda: listener.heard[f"{ROOT}/cameras/gate/state"] == b"live", 5.0)
    assert listener.heard[f"{ROOT}/status"] == b"online"
    place = "homeassistant/sensor/platering_node-a_gate/plate/config"
    wait_until(lambda: place in listener.heard, 5.0)
    plate = msgspec.json.decode(listener.heard[place])
    state = msgspec.json.decode(
        listener.heard["homeassistant/binary_sensor/platering_node-a_gate/state/config"]
    )
    assert plate["state_topic"] == f"{ROOT}/cameras/gate/last"
    assert state["state_topic"] == f"{ROOT}/cameras/gate/state"
    assert plate["availability_topic"] == state["availability_topic"] == f"{ROOT}/status"
    assert plate["unique_id"] != state["unique_id"]
    assert plate["device"] == state["device"]


def test_its_end_is_told(broker, listener):
    sink = MqttSink(MqttSettings(url=broker.url), "node-a", Lane.ALL)
    sink.deliver([event()])
    sink.close()
    wait_until(lambda: listener.heard.get(f"{ROOT}/status") == b"offline", 5.0)


def test_an_outage_is_told_and_over_when_it_is_over(broker, sink):
    sink.deliver([event(1)])
    broker.stop()
    sink._settings = sink._settings.model_copy(update={"timeout_s": 0.3})
    for _ in range(2):
        with pytest.raises(SinkError):
            sink.deliver([event(2)])
    broker.start()
    listener = Listener(broker)
    sink.show({"gate": CameraState.LIVE})

    def delivered():
        try:
            sink.deliver([event(2)])
        except SinkError:
            return False
        return True

    wait_until(delivered, 10.0)
    wait_until(lambda: f"{ROOT}/cameras/gate/sighting" in listener.heard, 5.0)
    assert listener.heard[f"{ROOT}/cameras/gate/state"] == b"live"
    listener.close()


def test_a_wrong_password_is_named_without_showing_it(broker):
    url = broker.url.replace("s3%3A", "wrong")
    sink = MqttSink(MqttSettings(url=url, timeout_s=1.0), "node-a", Lane.ALL)
    with pytest.raises(SinkError, match="refuses us") as caught:
        sink.deliver([event()])
    assert "wrong" not in str(caught.value)
    sink.close()


def test_tls_trusts_what_it_is_told_to(broker, listener):
    settings = MqttSettings(url=broker.tls_url, ca_file=str(broker.certificate), timeout_s=5.0)
    sink = MqttSink(settings, "node-a", Lane.ALL)
    sink.deliver([event()])
    sink.close()
    wait_until(lambda: f"{ROOT}/cameras/gate/sighting" in listener.heard, 5.0)


def test_what_the_broker_allows_nobody_is_refused_and_the_others_arrive(broker, listener):
    broker.allow_all_but("platering/node-a/cameras/secret/#")
    sink = MqttSink(MqttSettings(url=broker.url, timeout_s=5.0), "node-a", Lane.ALL)
    given = [event(1), event(2, camera="secret"), event(3)]
    with pytest.raises(RefusedEventsError, match="Not authorized") as caught:
        sink.deliver(given)
    assert [one.sighting.id for one, _ in caught.value.refused] == ["id-2"]
    last = f"{ROOT}/cameras/gate/last"
    wait_until(lambda: b"id-3" in listener.heard.get(last, b""), 5.0, "the third is there")
    sink.close()

"""Sightings and the state of cameras to an MQTT 5 broker, and word of both to Home Assistant.

Topics, below ``sinks.mqtt.topic`` and the name of this node::

    status                       retained: online, or offline when we are gone (our last will)
    cameras/CAMERA/state         retained: connecting, live, lost, ended or paused
    cameras/CAMERA/sighting      every event, as JSON of a sighting
    cameras/CAMERA/last          retained: the newest event, the same JSON
    hits                         events that a watchlist marked, the same JSON

Everything has QoS 1: an event counts as delivered once the broker has acknowledged it. With
``discovery``, each camera appears in Home Assistant as a device with its last plate and its state.
"""

import logging
import re
import ssl
import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any, Final
from urllib.parse import unquote, urlsplit

import msgspec
from paho.mqtt import client as mqtt
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from engine import __version__
from engine.errors import SinkError
from engine.sink_settings import MqttSettings
from engine.sinks.base import RefusedEventsError
from engine.sinks.bodies import own_body
from engine.sinks.choice import Lane
from engine.track import Event
from engine.types import CameraState

_QOS: Final = 1
_KEEPALIVE_S: Final = 30
_FOR_GOOD: Final = {0x87, 0x90, 0x95, 0x99}
"""Not authorized (for this topic), topic invalid, too large, payload invalid."""
log = logging.getLogger(__name__)

_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


class MqttSink:
    """One connection to a broker, kept by a thread of the library."""

    connected = True
    """The broker keeps what it acknowledged: nothing is said again."""

    def __init__(self, settings: MqttSettings, node: str, lane: Lane) -> None:
        """Take the section; the lane of hits leaves cameras and our status to the other one."""
        self.name = "mqtt"
        self._settings = settings
        self._node = node
        self._lane = lane
        self._root = f"{settings.topic}/{_topic_part(node)}"
        self._states: dict[str, CameraState] = {}
        self._discovered: set[str] = set()
        self._refused: dict[int, ReasonCode] = {}
        self._problem = ""
        self._up = threading.Event()
        self._client: mqtt.Client | None = None
        self._changing = threading.Lock()

    def deliver(self, events: Sequence[Event]) -> None:
        """See ``Sink``."""
        client = self._connected()
        self._refused.clear()
        sent = [(event, self._publish(client, event)) for event in events]
        said = [one for _, some in sent for one in some]
        deadline = time.monotonic() + self._settings.timeout_s
        try:
            for one in said:
                one.wait_for_publish(max(0.0, deadline - time.monotonic()))
            late = not all(one.is_published() for one in said)
        except (RuntimeError, ValueError) as error:
            self._hang_up()
            raise SinkError(f"the connection broke: {error}") from error
        if late:
            self._hang_up()
            raise SinkError(f"no acknowledgement within {self._settings.timeout_s:g} s")
        self._judge([(event, one.mid) for event, some in sent for one in some])

    def _judge(self, sent: list[tuple[Event, int]]) -> None:
        """Look at what the broker did not want.

        Raises:
            RefusedEventsError: it will not want these another time, either.
            SinkError: it may, later.
        """
        why = {
            id(event): (event, self._refused[mid]) for event, mid in sent if mid in self._refused
        }
        for reason in (reason for _, reason in why.values()):
            if reason.value not in _FOR_GOOD:
                raise SinkError(f"the broker refuses: {reason}")
        if why:
            raise RefusedEventsError(
                [(event, f"the broker refuses: {reason}") for event, reason in why.values()]
            )

    def show(self, states: Mapping[str, CameraState]) -> None:
        """Say the states of cameras that changed; never waits. Called from the publisher's loop."""
        changed = {name: state for name, state in states.items() if self._states.get(name) != state}
        self._states |= changed
        client = self._client
        if client is None:
            self._open()
        elif self._up.is_set():
            self._show(client, changed)

    def close(self) -> None:
        """See ``Sink``; our status becomes offline."""
        client = self._client
        if client is not None and self._up.is_set() and self._lane is not Lane.HITS:
            gone = client.publish(f"{self._root}/status", "offline", _QOS, retain=True)
            if gone.rc == MQTTErrorCode.MQTT_ERR_SUCCESS:
                gone.wait_for_publish(1.0)
        self._hang_up()

    # --- the connection -----------------------------------------------------------------------

    def _connected(self) -> mqtt.Client:
        client = self._open()
        if not self._up.wait(self._settings.timeout_s):
            problem = self._problem or f"no answer within {self._settings.timeout_s:g} s"
            self._hang_up()
            raise SinkError(problem)
        return client

    def _open(self) -> mqtt.Client:
        """Return the client; a new one begins to connect in its own thread."""
        with self._changing:
            if self._client is not None:
                return self._client
            self._problem = ""
            client = self._made()
            url = urlsplit(self._settings.url)
            port = url.port or (8883 if url.scheme == "mqtts" else 1883)
            client.connect_async(url.hostname or "", port, _KEEPALIVE_S)
            self._client = client
            client.loop_start()
            return client

    def _made(self) -> mqtt.Client:
        settings = self._settings
        url = urlsplit(settings.url)
        client = mqtt.Client(CallbackAPIVersion.VERSION2, protocol=mqtt.MQTTv5)
        if url.username:
            client.username_pw_set(unquote(url.username), unquote(url.password or ""))
        if url.scheme == "mqtts":
            context = ssl.create_default_context(cafile=settings.ca_file or None)
            if settings.cert_file:
                context.load_cert_chain(settings.cert_file, settings.key_file or None)
            client.tls_set_context(context)
        if self._lane is not Lane.HITS:
            client.will_set(f"{self._root}/status", "offline", _QOS, retain=True)
        client.reconnect_delay_set(1, 10)
        client.suppress_exceptions = True  # logged; they must not end the process of all sinks
        client.on_log = _on_log
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _hang_up(self) -> None:
        """Give the connection up, with all that waits in it; the next delivery makes a new one."""
        with self._changing:
            client, self._client = self._client, None
            self._up.clear()
        if client is not None:
            client.disconnect()
            client.loop_stop()

    def _on_connect(
        self, client: mqtt.Client, _data: Any, _flags: Any, reason: ReasonCode, _more: Any
    ) -> None:
        if reason.is_failure:
            self._problem = f"the broker refuses us: {reason}"
            return
        self._discovered.clear()
        if self._lane is not Lane.HITS:
            client.publish(f"{self._root}/status", "online", _QOS, retain=True)
            self._show(client, dict(self._states))
        self._up.set()

    def _on_connect_fail(self, _client: mqtt.Client, _data: Any) -> None:
        self._problem = "it cannot be reached"

    def _on_disconnect(
        self, client: mqtt.Client, _data: Any, _flags: Any, _reason: Any, _more: Any
    ) -> None:
        if client is self._client:
            self._up.clear()

    def _on_publish(
        self, _client: mqtt.Client, _data: Any, mid: int, reason: ReasonCode, _more: Properties
    ) -> None:
        if reason.is_failure:
            self._refused[mid] = reason

    # --- what is said -------------------------------------------------------------------------

    def _publish(self, client: mqtt.Client, event: Event) -> list[mqtt.MQTTMessageInfo]:
        sighting, body = event.sighting, own_body(event)
        self._discover(client, sighting.camera)
        place = self._place(sighting.camera)
        said = [
            client.publish(f"{place}/sighting", body, _QOS),
            client.publish(f"{place}/last", body, _QOS, retain=True),
        ]
        if sighting.hits:
            said.append(client.publish(f"{self._root}/hits", body, _QOS))
        return said

    def _show(self, client: mqtt.Client, states: Mapping[str, CameraState]) -> None:
        for camera, state in states.items():
            self._discover(client, camera)
            client.publish(f"{self._place(camera)}/state", state.value, _QOS, retain=True)

    def _place(self, camera: str) -> str:
        return f"{self._root}/cameras/{_topic_part(camera)}"

    def _discover(self, client: mqtt.Client, camera: str) -> None:
        """Tell Home Assistant of a camera, once per connection."""
        prefix = self._settings.discovery
        if not prefix or camera in self._discovered:
            return
        self._discovered.add(camera)
        one = _UNSAFE.sub("_", f"platering_{self._node}_{camera}").replace(".", "_")
        place = self._place(camera)
        shared = {
            "availability_topic": f"{self._root}/status",
            "device": {
                "identifiers": [one],
                "name": camera,
                "manufacturer": "Platering",
                "model": f"camera of {self._node}",
                "sw_version": __version__,
            },
        }
        last = {
            "name": "Last plate",
            "unique_id": f"{one}_plate",
            "icon": "mdi:car",
            "state_topic": f"{place}/last",
            "value_template": "{{ value_json.plate }}",
            "json_attributes_topic": f"{place}/last",
        }
        state = {
            "name": "Connection",
            "unique_id": f"{one}_state",
            "device_class": "connectivity",
            "entity_category": "diagnostic",
            "state_topic": f"{place}/state",
            "value_template": "{{ 'ON' if value == 'live' else 'OFF' }}",
        }
        for kind, name, entity in (("sensor", "plate", last), ("binary_sensor", "state", state)):
            topic = f"{prefix}/{kind}/{one}/{name}/config"
            client.publish(topic, msgspec.json.encode(entity | shared), _QOS, retain=True)


def _on_log(_client: mqtt.Client, _data: Any, _level: int, said: str) -> None:
    """Pass on mistakes in our callbacks; what befalls the connection comes as an error, too."""
    if "exception" in said:
        log.error("%s", said)


def _topic_part(name: str) -> str:
    """Return a name as one level of a topic."""
    return _UNSAFE.sub("-", name)

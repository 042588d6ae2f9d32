"""Sightings to a topic of a Kafka cluster, by an idempotent producer.

The value of a message is the JSON of a sighting, its key the camera (events of a camera stay in
order) or the plate, its time that of the sighting. Headers: ``id``, ``revision``, and ``hits``, the
names of the lists that the plate is on, with commas between. A batch is delivered when all replicas
in sync have it; the producer's sequence numbers keep what it repeats within a session from being
written twice, and after an outage a message may come again with the same id and revision.
"""

import logging
from collections.abc import Sequence
from typing import Final

from confluent_kafka import KafkaError, KafkaException, Message, Producer

from engine.errors import SinkError
from engine.sink_settings import KafkaSettings
from engine.sinks.base import RefusedEventsError
from engine.sinks.bodies import own_body
from engine.track import Event

_LINGER_MS: Final = 5
_FOR_GOOD: Final = {
    KafkaError.MSG_SIZE_TOO_LARGE,
    KafkaError.INVALID_MSG_SIZE,
    KafkaError.INVALID_RECORD,
    KafkaError.INVALID_TIMESTAMP,
}
"""What is wrong with a message itself; all else may pass."""

log = logging.getLogger(__name__)


class KafkaSink:
    """One producer; made anew after a mishap, with nothing of the old one left in its queue."""

    name = "kafka"
    connected = True
    """The cluster keeps what it acknowledged: nothing is said again."""

    def __init__(self, settings: KafkaSettings) -> None:
        """Take the section; connects only when there is something to deliver."""
        self._settings = settings
        self._producer: Producer | None = None
        self._delivered = 0
        self._problem = ""
        self._refused: list[tuple[Event, str]] = []

    def deliver(self, events: Sequence[Event]) -> None:
        """See ``Sink``."""
        if self._producer is None:
            self._producer = Producer(_options(self._settings, self._on_error))
        self._delivered, self._problem = 0, ""
        self._refused = []
        try:
            for event in events:
                self._produce(self._producer, event)
            self._producer.flush(self._settings.timeout_s)
        except (KafkaException, BufferError) as error:
            self._problem = str(error)
        missing = len(events) - self._delivered - len(self._refused)
        if missing:
            self.close()
            reason = self._problem or "no acknowledgement in time"
            raise SinkError(f"{missing} of {len(events)} events did not arrive: {reason}")
        if self._refused:
            raise RefusedEventsError(self._refused)

    def close(self) -> None:
        """See ``Sink``."""
        producer, self._producer = self._producer, None
        if producer is not None:
            producer.purge()
            producer.flush(0.1)

    def _produce(self, producer: Producer, event: Event) -> None:
        sighting = event.sighting
        key = sighting.plate if self._settings.key == "plate" else sighting.camera

        def on_delivery(error: KafkaError | None, _message: Message | None) -> None:
            if error is None:
                self._delivered += 1
            elif error.code() in _FOR_GOOD:
                self._refused.append((event, error.str()))
            else:
                self._problem = self._problem or error.str()

        try:
            producer.produce(
                self._settings.topic,
                own_body(event),
                key.encode(),
                on_delivery=on_delivery,
                timestamp=sighting.last_unix_ms,
                headers=[
                    ("id", sighting.id.encode()),
                    ("revision", str(sighting.revision).encode()),
                    ("hits", ",".join(hit.list for hit in sighting.hits).encode()),
                ],
            )
        except KafkaException as error:
            on_delivery(error.args[0], None)

    def _on_error(self, error: KafkaError) -> None:
        self._problem = self._problem or error.str()


def _options(settings: KafkaSettings, on_error: object) -> dict[str, object]:
    """Return librdkafka's settings."""
    options: dict[str, object] = {
        "bootstrap.servers": settings.servers,
        "client.id": "platering",
        "enable.idempotence": True,
        "linger.ms": _LINGER_MS,
        "compression.type": "lz4",
        "message.timeout.ms": max(1_000, int(settings.timeout_s * 1_000)),
        "socket.timeout.ms": max(1_000, int(settings.timeout_s * 1_000)),
        "error_cb": on_error,
        "logger": log,
    }
    protocol = "SASL_" if settings.username else ""
    encrypted = settings.tls or bool(settings.ca_file or settings.cert_file)
    options["security.protocol"] = protocol + ("SSL" if encrypted else "PLAINTEXT")
    if settings.username:
        options |= {
            "sasl.mechanisms": settings.mechanism,
            "sasl.username": settings.username,
            "sasl.password": settings.password,
        }
    files = {
        "ssl.ca.location": settings.ca_file,
        "ssl.certificate.location": settings.cert_file,
        "ssl.key.location": settings.key_file,
    }
    return options | {option: path for option, path in files.items() if path}

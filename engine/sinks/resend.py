"""Sends dead letters again, in a process of its own, beside a running engine or without one."""

from collections.abc import Sequence
from typing import Protocol

from engine.config import Settings
from engine.deadletters import Letter
from engine.embedded_redis import redis_url
from engine.errors import SinkError
from engine.sink_settings import WebhookSettings
from engine.sinks.choice import Lane
from engine.store_writer import StoreWriter
from engine.track import Event


class _Delivers(Protocol):
    def deliver(self, events: Sequence[Event]) -> None: ...

    def close(self) -> None: ...


class Resender:
    """Connections to the sinks of the configuration, made when they are needed."""

    def __init__(self, settings: Settings) -> None:
        """Take the configuration.

        A library that is missing is an ``ImportError`` of the first letter to its sink.
        """
        self._settings = settings
        self._open: dict[str, _Delivers] = {}

    def send(self, letter: Letter) -> None:
        """Send a letter again.

        Raises:
            SinkError: it was not delivered, or there is no such sink any longer.
        """
        if letter.target not in self._open:
            self._open[letter.target] = self._opened(letter.target)
        self._open[letter.target].deliver([letter.event])

    def close(self) -> None:
        """Close the connections."""
        for sink in self._open.values():
            sink.close()

    def _opened(self, target: str) -> _Delivers:
        """Return the sink of a name: a webhook's comes first, they are chosen by the user."""
        sinks, node = self._settings.sinks, self._settings.node_name
        for webhook in sinks.webhooks:
            if webhook.name == target:
                return _Webhook(webhook)
        if target == "redis":
            return _Redis(self._settings)
        if target == "mqtt" and sinks.mqtt.url:
            from engine.sinks.mqtt import MqttSink  # noqa: PLC0415  # only where it is used

            return MqttSink(sinks.mqtt, node, Lane.HITS)  # the lane that leaves our status alone
        if target == "rabbitmq" and sinks.rabbitmq.url:
            from engine.sinks.rabbitmq import RabbitMqSink  # noqa: PLC0415  # same

            return RabbitMqSink(sinks.rabbitmq)
        if target == "kafka" and sinks.kafka.servers:
            from engine.sinks.kafka import KafkaSink  # noqa: PLC0415  # same

            return KafkaSink(sinks.kafka)
        raise SinkError("no sink of this name is configured")


class _Webhook:
    """Posts as the sink does, but keeps no letters of its own."""

    def __init__(self, webhook: WebhookSettings) -> None:
        from engine.sinks.webhooks import Target  # noqa: PLC0415  # only where it is used

        self._target = Target(webhook)

    def deliver(self, events: Sequence[Event]) -> None:
        for event in events:
            self._target.post(event)

    def close(self) -> None:
        self._target.close()


class _Redis:
    """Commits to the store; what a newer revision has replaced since is there already."""

    def __init__(self, settings: Settings) -> None:
        days_of = {camera.name: camera.keep_days for camera in settings.cameras if camera.keep_days}
        self._writer = StoreWriter(redis_url(settings), settings.redis, days_of=days_of)

    def deliver(self, events: Sequence[Event]) -> None:
        self._writer.commit([event for event in events if not self._writer.has(event.sighting)])

    def close(self) -> None:
        self._writer.close()

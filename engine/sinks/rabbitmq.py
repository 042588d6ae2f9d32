"""Sightings to a durable topic exchange of RabbitMQ, each confirmed by the broker.

Routing keys are ``sighting.CAMERA.PHASE`` (dots in a camera's name become dashes), so that a queue
bound with ``sighting.*.final`` gets one message per vehicle. Messages are persistent JSON of a
sighting with the headers ``id``, ``revision``, ``camera``, ``plate`` and ``hits`` (names of lists).
A batch is sent at once and delivered when the broker has confirmed all of it. What no queue wanted
counts as delivered, as everywhere in AMQP.
"""

import logging
import ssl
from collections.abc import Sequence
from typing import Any, Final
from urllib.parse import urlsplit, urlunsplit

import pika
from pika.exceptions import AMQPError

from engine.errors import SinkError
from engine.sink_settings import RabbitMqSettings
from engine.sinks.bodies import own_body
from engine.track import Event

_PERSISTENT: Final = 2
_GOODBYE_S: Final = 0.5
_SETTLE_S: Final = 0.02
"""What the library has put off until the next turn is done by then."""

logging.getLogger("pika").setLevel(logging.CRITICAL)  # what it has to say comes as an error, too


class RabbitMqSink:
    """One connection and channel, run only while a batch is delivered."""

    name = "rabbitmq"
    connected = True
    """The broker keeps what it confirmed: nothing is said again."""

    def __init__(self, settings: RabbitMqSettings) -> None:
        """Take the section; connects only when there is something to deliver."""
        self._settings = settings
        self._session: _Session | None = None

    def deliver(self, events: Sequence[Event]) -> None:
        """See ``Sink``."""
        try:
            if self._session is None or not self._session.is_open:
                self.close()
                self._session = _Session(_parameters(self._settings), self._settings)
            self._session.publish(events)
        except (AMQPError, OSError) as error:
            self.close()
            raise SinkError(f"{type(error).__name__}: {error}") from error
        except SinkError:
            self.close()
            raise

    def close(self) -> None:
        """See ``Sink``."""
        session, self._session = self._session, None
        if session is not None:
            session.close()


class _Session:
    """A connection of the library's asynchronous kind, turned by whoever waits for it."""

    def __init__(self, parameters: pika.connection.Parameters, settings: RabbitMqSettings) -> None:
        """Connect, open a channel with confirms and declare the exchange.

        Raises:
            SinkError: not within the time, or the broker refused.
        """
        self._settings = settings
        self._problem = ""
        self._ready = False
        self._unconfirmed: set[int] = set()
        self._last_tag = 0
        self._channel: Any = None
        self._connection = pika.SelectConnection(
            parameters,
            on_open_callback=self._on_open,
            on_open_error_callback=lambda _connection, error: self._end(_said(error)),
            on_close_callback=lambda _connection, error: self._end(_said(error)),
        )
        self._turn(settings.timeout_s + _GOODBYE_S)  # the library's own time-out comes first
        if not self._ready:
            self.close()
            raise SinkError(self._problem or "it is not ready in time")

    @property
    def is_open(self) -> bool:
        """False after the first mishap."""
        return self._ready and not self._problem

    def publish(self, events: Sequence[Event]) -> None:
        """Send events and wait until all are confirmed.

        Raises:
            SinkError: not all were, or not within the time.
        """
        for event in events:
            self._last_tag += 1
            self._unconfirmed.add(self._last_tag)
            self._channel.basic_publish(
                self._settings.exchange, _routing_key(event), own_body(event), _properties(event)
            )
        self._turn()
        if self._problem or self._unconfirmed:
            raise SinkError(self._problem or "no confirmation in time")

    def close(self) -> None:
        """Say goodbye, for a moment at most, and let go of the socket."""
        connection = self._connection
        if not (connection.is_closing or connection.is_closed):
            connection.close()
            self._turn(_GOODBYE_S)
        transport = connection._transport  # noqa: SLF001  # no public way to drop a stuck connection
        if transport is not None:
            transport.abort()
        self._turn(_SETTLE_S)
        connection.ioloop.close()

    def _turn(self, timeout_s: float | None = None) -> None:
        """Let the connection do its work until something is settled or the time is over."""
        loop = self._connection.ioloop
        alarm = loop.call_later(timeout_s or self._settings.timeout_s, loop.stop)
        loop.start()
        loop.remove_timeout(alarm)

    def _end(self, problem: str = "") -> None:
        """What was waited for is settled."""
        self._problem = self._problem or problem
        self._connection.ioloop.stop()

    def _on_open(self, connection: Any) -> None:
        connection.channel(on_open_callback=self._on_channel)

    def _on_channel(self, channel: Any) -> None:
        self._channel = channel
        channel.add_on_close_callback(lambda _channel, error: self._end(_said(error)))
        channel.confirm_delivery(self._on_confirm)
        channel.exchange_declare(
            self._settings.exchange,
            exchange_type="topic",
            durable=True,
            callback=self._on_exchange,
        )

    def _on_exchange(self, _frame: Any) -> None:
        self._ready = True
        self._end()

    def _on_confirm(self, frame: Any) -> None:
        tag, several = frame.method.delivery_tag, frame.method.multiple
        gone = {one for one in self._unconfirmed if one <= tag} if several else {tag}
        self._unconfirmed -= gone
        if isinstance(frame.method, pika.spec.Basic.Nack):
            self._end("the broker could not keep what it was sent")
        elif not self._unconfirmed:
            self._end()


def _said(error: Any) -> str:
    return repr(error)  # only that tells what lies beneath a failed connection


def _parameters(settings: RabbitMqSettings) -> pika.connection.Parameters:
    url = urlsplit(settings.url)
    if not url.path.strip("/"):
        url = url._replace(path="/%2F")
    parameters = pika.URLParameters(urlunsplit(url))
    if url.scheme == "amqps":
        context = ssl.create_default_context(cafile=settings.ca_file or None)
        if settings.cert_file:
            context.load_cert_chain(settings.cert_file, settings.key_file or None)
        parameters.ssl_options = pika.SSLOptions(context, url.hostname)
    parameters.heartbeat = 0  # nobody turns the connection between batches
    parameters.socket_timeout = parameters.stack_timeout = settings.timeout_s
    parameters.blocked_connection_timeout = settings.timeout_s
    parameters.client_properties = {"connection_name": "platering"}
    parameters.tcp_options = {"TCP_KEEPIDLE": 30, "TCP_KEEPINTVL": 10, "TCP_KEEPCNT": 3}
    return parameters


def _routing_key(event: Event) -> str:
    sighting = event.sighting
    return f"sighting.{sighting.camera.replace('.', '-')}.{sighting.news.value}"


def _properties(event: Event) -> pika.BasicProperties:
    sighting = event.sighting
    return pika.BasicProperties(
        content_type="application/json",
        delivery_mode=_PERSISTENT,
        message_id=f"{sighting.id}.{sighting.revision}",
        timestamp=sighting.last_unix_ms // 1_000,
        type="sighting",
        app_id="platering",
        headers={
            "id": sighting.id,
            "revision": sighting.revision,
            "camera": sighting.camera,
            "plate": sighting.plate,
            "hits": [hit.list for hit in sighting.hits],
        },
    )

"""Which sinks the configuration asks for; each one's library is imported only where it is used."""

from collections.abc import Iterator
from typing import Final

import msgspec

from engine.deadletters import FILE_NAME, DeadLetters
from engine.errors import ConfigError
from engine.retention import Kept
from engine.sections import PublisherSection
from engine.sink_settings import (
    KafkaSettings,
    MqttSettings,
    RabbitMqSettings,
    SinkSettings,
    WebhookSettings,
)
from engine.sinks.base import ShowsCameras, Sink, SinkPlan, Tally
from engine.sinks.choice import Choice, ChosenSink, Lane
from engine.sinks.redis import RedisSink

_REDIS_UNDER_LOAD: Final = 1_024
_WEBHOOK_PAUSE_S: Final = 30.0
_BROKER_PAUSE_S: Final = 5.0
_HITS_PAUSE_S: Final = 1.0
_BROKER_BATCH: Final = 64
_BROKER_WAIT_S: Final = 0.02


def open_sinks(section: PublisherSection) -> list[SinkPlan]:
    """Return all sinks, Redis first.

    A sink whose hits go first has two lanes: two connections with a place in the spool each.

    Raises:
        ConfigError: the library of a sink is not installed; names its extra.
    """
    sinks = section.sinks
    plans = [_redis(section)]
    for index, webhook in enumerate(sinks.webhooks):
        plans += _webhook(section, webhook, f"sinks.webhooks[{index}]")
    if sinks.mqtt.url:
        plans += _mqtt(section, sinks.mqtt)
    if sinks.rabbitmq.url:
        plans += _rabbitmq(section, sinks.rabbitmq)
    if sinks.kafka.servers:
        plans += _kafka(section, sinks.kafka)
    pace = section.spool.replay_per_s
    return [msgspec.structs.replace(plan, replay_per_s=pace) for plan in plans]


def _redis(section: PublisherSection) -> SinkPlan:
    redis, tally = section.redis, Tally()
    letters = _letters(section)
    cameras = {one.name: Kept(one.keep_days, one.keep_gib) for one in section.cameras}
    sink = RedisSink(redis, letters, tally, cameras)
    return SinkPlan(
        sink,
        redis.batch,
        redis.batch_wait_ms / 1_000,
        batch_under_load=max(redis.batch, _REDIS_UNDER_LOAD),
        keeper=sink,
        tally=tally,
    )


def _webhook(section: PublisherSection, webhook: WebhookSettings, key: str) -> Iterator[SinkPlan]:
    try:
        from engine.sinks.webhooks import WebhookSink  # noqa: PLC0415  # only where it is used
    except ImportError as error:
        raise _missing(key, "webhooks") from error

    for lane in _lanes(webhook):
        tally = Tally()
        sink = WebhookSink(webhook, _letters(section), tally)
        chosen = ChosenSink(sink, Choice.of(webhook, lane), tally, _letters(section))
        yield SinkPlan(
            chosen,
            batch=1,
            formerly=chosen.formerly,
            longest_pause_s=_HITS_PAUSE_S if lane is Lane.HITS else _WEBHOOK_PAUSE_S,
            tally=tally,
        )


def _mqtt(section: PublisherSection, settings: MqttSettings) -> Iterator[SinkPlan]:
    try:
        from engine.sinks.mqtt import MqttSink  # noqa: PLC0415  # only where it is used
    except ImportError as error:
        raise _missing("sinks.mqtt", "mqtt") from error
    for lane in _lanes(settings):
        sink = MqttSink(settings, section.node, lane)
        screen = None if lane is Lane.HITS else sink
        yield _broker(section, sink, Choice.of(settings, lane), screen)


def _rabbitmq(section: PublisherSection, settings: RabbitMqSettings) -> Iterator[SinkPlan]:
    try:
        from engine.sinks.rabbitmq import RabbitMqSink  # noqa: PLC0415  # only where it is used
    except ImportError as error:
        raise _missing("sinks.rabbitmq", "rabbitmq") from error
    for lane in _lanes(settings):
        yield _broker(section, RabbitMqSink(settings), Choice.of(settings, lane))


def _kafka(section: PublisherSection, settings: KafkaSettings) -> Iterator[SinkPlan]:
    try:
        from engine.sinks.kafka import KafkaSink  # noqa: PLC0415  # only where it is used
    except ImportError as error:
        raise _missing("sinks.kafka", "kafka") from error
    for lane in _lanes(settings):
        yield _broker(section, KafkaSink(settings), Choice.of(settings, lane))


def _broker(
    section: PublisherSection, sink: Sink, choice: Choice, screen: ShowsCameras | None = None
) -> SinkPlan:
    tally = Tally()
    chosen = ChosenSink(sink, choice, tally, _letters(section))
    return SinkPlan(
        chosen,
        formerly=chosen.formerly,
        batch=_BROKER_BATCH,
        wait_s=_BROKER_WAIT_S,
        longest_pause_s=_HITS_PAUSE_S if choice.lane is Lane.HITS else _BROKER_PAUSE_S,
        screen=screen,
        tally=tally,
    )


def _lanes(settings: SinkSettings) -> tuple[Lane, ...]:
    """Return one lane for all events, or one for hits and one for the others."""
    return (Lane.HITS, Lane.OTHERS) if settings.hits_first else (Lane.ALL,)


def _letters(section: PublisherSection) -> DeadLetters:
    return DeadLetters(section.directory / FILE_NAME)


def _missing(key: str, extra: str) -> ConfigError:
    return ConfigError(
        key, "its library is not installed", f'install it: pip install "platering[{extra}]"'
    )

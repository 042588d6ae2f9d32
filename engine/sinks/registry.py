"""Which sinks the configuration asks for; each one's library is imported only where it is used."""

from collections.abc import Callable, Iterator
from typing import Final

from engine.deadletters import FILE_NAME, DeadLetters
from engine.errors import ConfigError
from engine.sections import PublisherSection
from engine.sink_settings import SinkSettings, WebhookSettings
from engine.sinks.base import Sink, SinkPlan, Tally
from engine.sinks.choice import Choice, ChosenSink, Lane
from engine.sinks.redis import RedisSink

_WEBHOOK_PAUSE_S: Final = 30.0
_BROKER_PAUSE_S: Final = 5.0

_Make = Callable[[Lane, Tally], Sink]


def open_sinks(section: PublisherSection) -> list[SinkPlan]:
    """Return all sinks, Redis first.

    A sink whose hits go first has two lanes: two connections with a place in the spool each.

    Raises:
        ConfigError: the library of a sink is not installed; names its extra.
    """
    redis, sinks = section.redis, section.sinks
    plans = [SinkPlan(RedisSink(redis.url, redis), redis.batch, redis.batch_wait_ms / 1_000)]
    for index, webhook in enumerate(sinks.webhooks):
        plans += _webhook(section, webhook, f"sinks.webhooks[{index}]")
    return plans


def _webhook(section: PublisherSection, webhook: WebhookSettings, key: str) -> Iterator[SinkPlan]:
    try:
        from engine.sinks.webhooks import WebhookSink  # noqa: PLC0415  # only where it is used
    except ImportError as error:
        raise _missing(key, "webhooks") from error

    def make(_lane: Lane, tally: Tally) -> Sink:
        return WebhookSink(webhook, DeadLetters(section.directory / FILE_NAME), tally)

    for lane, tally, sink in _lanes(webhook, make):
        yield SinkPlan(
            ChosenSink(sink, Choice.of(webhook, lane), tally),
            batch=1,
            longest_pause_s=_WEBHOOK_PAUSE_S,
            tally=tally,
        )


def _lanes(settings: SinkSettings, make: _Make) -> Iterator[tuple[Lane, Tally, Sink]]:
    """Yield one connection for all events, or one for hits and one for the others."""
    for lane in (Lane.HITS, Lane.OTHERS) if settings.hits_first else (Lane.ALL,):
        tally = Tally()
        yield lane, tally, make(lane, tally)


def _missing(key: str, extra: str) -> ConfigError:
    return ConfigError(
        key, "its library is not installed", f'install it: pip install "platering[{extra}]"'
    )

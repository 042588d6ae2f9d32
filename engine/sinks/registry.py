"""Which sinks the configuration asks for; each one's library is imported only where it is used."""

from engine.sections import PublisherSection
from engine.sinks.base import SinkPlan
from engine.sinks.redis import RedisSink


def open_sinks(section: PublisherSection) -> list[SinkPlan]:
    """Return all sinks, Redis first.

    Raises:
        ConfigError: the library of a sink is not installed; names its extra.
    """
    redis = section.redis
    return [
        SinkPlan(RedisSink(redis.url, redis), redis.batch, redis.batch_wait_ms / 1_000),
    ]

"""The sink that all the rest of Platering reads from: Redis."""

from collections.abc import Sequence

from engine.config import RedisSettings
from engine.store_writer import StoreWriter
from engine.track import Event


class RedisSink:
    """Commits events to the schema of ``engine.store``."""

    name = "redis"

    def __init__(self, url: str, settings: RedisSettings) -> None:
        self._writer = StoreWriter(url, settings)

    @property
    def connected(self) -> bool:
        """See ``Sink``."""
        return self._writer.connected

    def deliver(self, events: Sequence[Event]) -> None:
        """See ``Sink``; repeats are found by their markers."""
        self._writer.commit(events)

    def close(self) -> None:
        """See ``Sink``."""
        self._writer.close()

"""How Redis is, asked every few seconds beside the requests, so that no scrape waits for it."""

import logging
import time
from collections.abc import Iterator, Mapping
from typing import Any, Final

import gevent
import redis
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.redis_client import REDIS_ERRORS, Client

EVERY_S: Final = 5.0

GAUGES: Final = {
    "used_memory": ("memory_used_bytes", "Memory that Redis uses."),
    "maxmemory": ("memory_max_bytes", "Memory that Redis may use; 0: all there is."),
    "connected_clients": ("connected_clients", "Connections to Redis."),
}
COUNTERS: Final = {
    "total_commands_processed": ("commands", "Commands that Redis answered."),
    "evicted_keys": ("evicted_keys", "Keys that Redis gave up for want of memory."),
}
"""Fields of INFO and the metrics that they become."""

log = logging.getLogger(__name__)


class RedisWatch(Collector):
    """The newest answer of Redis; of a Cluster, its primaries added up."""

    def __init__(self, client: Client) -> None:
        """Ask over a client of its own."""
        self._client: Any = client
        self._figures: Mapping[str, float] = {}
        self._answered_unix_s = 0.0
        self._took_s = 0.0
        self._up = False
        self._refused = False

    def run(self) -> None:
        """Ask for ever; Redis may come and go."""
        while True:
            self.look()
            gevent.sleep(EVERY_S)

    def look(self) -> None:
        """Ask once."""
        began = time.monotonic()
        try:
            self._client.ping()
        except REDIS_ERRORS:  # the hub and the sinks say so
            self._up = False
            return
        self._up = True
        self._took_s, self._answered_unix_s = time.monotonic() - began, time.time()
        try:
            self._figures = self._info()
        except REDIS_ERRORS as error:
            if not self._refused:
                log.warning("metrics of Redis lack its memory: %s — let its user +info", error)
            self._refused, self._figures = True, {}

    def _info(self) -> dict[str, float]:
        wanted = (*GAUGES, *COUNTERS)
        if not isinstance(self._client, redis.RedisCluster):
            found = self._client.info()
            return {key: float(found[key]) for key in wanted if key in found}
        nodes = self._client.info(target_nodes=redis.RedisCluster.PRIMARIES).values()
        return {key: float(sum(node.get(key, 0) for node in nodes)) for key in wanted}

    def collect(self) -> Iterator[Metric]:
        """Yield what was heard last."""
        yield GaugeMetricFamily("platering_redis_up", "1 while Redis answers.", value=self._up)
        yield GaugeMetricFamily(
            "platering_redis_last_answer_timestamp_seconds",
            "When Redis answered last.",
            value=self._answered_unix_s,
        )
        yield GaugeMetricFamily(
            "platering_redis_ping_seconds", "How long it took then.", value=self._took_s
        )
        for field, (word, sentence) in GAUGES.items():
            if field in self._figures:
                value = self._figures[field]
                yield GaugeMetricFamily(f"platering_redis_{word}", sentence, value=value)
        for field, (word, sentence) in COUNTERS.items():
            if field in self._figures:
                value = self._figures[field]
                yield CounterMetricFamily(f"platering_redis_{word}", sentence, value=value)

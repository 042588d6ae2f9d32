"""Metrics of certificates: when each one runs out, read anew where its file has changed."""

import logging
from collections.abc import Iterator
from pathlib import Path

import msgspec
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from engine.certificates import CertificateFile, runs_out_unix_s
from engine.errors import ConfigError

log = logging.getLogger(__name__)


class _Known(msgspec.Struct, frozen=True):
    """What was read of a file, and how the file looked then."""

    seen: tuple[int, ...]
    runs_out_unix_s: float | None
    """None: it cannot be read."""


class CertificateMetrics(Collector):
    """Looks at every file at each scrape."""

    def __init__(self, files: tuple[CertificateFile, ...]) -> None:
        self._files = files
        self._known: dict[CertificateFile, _Known] = {}

    def collect(self) -> Iterator[Metric]:
        """Yield when they run out; of one that cannot be read, only that."""
        ends = GaugeMetricFamily(
            "platering_certificate_not_after_timestamp_seconds",
            "When a certificate runs out: the first of its chain, or the last of authorities.",
            labels=("certificate",),
        )
        readable = GaugeMetricFamily(
            "platering_certificate_readable",
            "1 where it is known when a certificate runs out.",
            labels=("certificate",),
        )
        for file in self._files:
            end = self._runs_out(file)
            readable.add_metric((file.key,), float(end is not None))
            if end is not None:
                ends.add_metric((file.key,), end)
        yield from (ends, readable)

    def _runs_out(self, file: CertificateFile) -> float | None:
        known, seen = self._known.get(file), _seen(file)
        if known is None or known.seen != seen:
            known = self._known[file] = _Known(seen, _read(file))
        return known.runs_out_unix_s


def _read(file: CertificateFile) -> float | None:
    try:
        return runs_out_unix_s(file)
    except ConfigError as error:
        log.warning("%s", error)
        return None


def _seen(file: CertificateFile) -> tuple[int, ...]:
    """Return how a file looks: another value means another content."""
    try:
        found = Path(file.path).stat()
    except OSError:
        return ()
    return found.st_ino, found.st_size, found.st_mtime_ns

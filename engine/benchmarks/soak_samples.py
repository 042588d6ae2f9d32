"""What is measured every few seconds of a soak, and whether a figure stays level."""

import contextlib
import statistics
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import redis
from prometheus_client.parser import text_string_to_metric_families

from engine.benchmarks.soak_engine import SoakedEngine
from engine.board import Kind
from engine.errors import ControlError
from engine.process_use import use_of

WARM_S: Final = 60.0
"""A younger process is still becoming what it will be, and is left out …"""
WARM_SHARE: Final = 1 / 8
"""… in a shorter run, one that is younger than this part of it."""
FULL_S: Final = WARM_S / WARM_SHARE
"""A run of this length has warm processes."""
SCRAPE_S: Final = 1.0
"""A front that was killed answers later, and the next faults are due."""
MIB: Final = 1 << 20
_METRICS: Final = (
    "platering_spool_dropped_total",
    "platering_restarts_total",
    "platering_sse_deliveries_total",
    "platering_dead_letters_total",
)


class KindUse(msgspec.Struct, frozen=True):
    """What the largest process of a kind takes."""

    own_mib: float
    """Resident and not shared with others."""
    rss_mib: float
    files: int
    age_s: float = 0.0


class Sample(msgspec.Struct, frozen=True, kw_only=True):
    """One moment; what could not be asked, because its process was just killed, is left out."""

    at_s: float
    """Since the faults began."""
    kinds: dict[str, KindUse]
    """By kind of process, those that are warm."""
    segments: int
    segments_mib: float
    redis_mib: float | None
    """Memory that Redis uses for data."""
    waiting: int
    """Events in the spool that Redis has not taken."""
    created: int
    streamed: int
    restarts: int
    redis_pid: int
    load: float
    metrics: dict[str, float]


class Sampler:
    """Takes samples and writes each as a line of JSON."""

    def __init__(self, engine: SoakedEngine, seconds: float, path: Path) -> None:
        """Sample a run of so many seconds, which begins now, into a file of its own."""
        self._engine = engine
        self._path = path
        path.write_bytes(b"")
        self._warm_s = min(seconds * WARM_SHARE, WARM_S)
        self.began_s = time.monotonic()
        self.samples: list[Sample] = []
        self.redis_pids: set[int] = set()

    def take(self, created: int, streamed: int) -> Sample | None:
        """Look at everything; None where the supervisor does not answer."""
        try:
            status = self._engine.status()
        except ControlError:
            return None
        segments = self._engine.segments()
        self.redis_pids |= {status.redis_pid} - {0}
        sample = Sample(
            at_s=round(time.monotonic() - self.began_s, 2),
            kinds=_uses(list(status.running()), self._warm_s),
            segments=len(segments),
            segments_mib=_size_mib(segments),
            redis_mib=self._redis_mib(),
            waiting=sum(sink.waiting for sink in status.sinks),
            created=created,
            streamed=streamed,
            restarts=sum(process.restarts for process in status.processes),
            redis_pid=status.redis_pid,
            load=_load(),
            metrics=self._metrics(),
        )
        self.samples.append(sample)
        with self._path.open("ab") as file:  # at once: a soak of days may be killed, too
            file.write(msgspec.json.encode(sample) + b"\n")
        return sample

    def _redis_mib(self) -> float | None:
        with self._engine.redis() as client:
            try:
                return round(int(client.info("memory")["used_memory"]) / MIB, 3)
            except redis.RedisError:
                return None

    def _metrics(self) -> dict[str, float]:
        status, body = self._engine.request("GET", "/metrics", timeout_s=SCRAPE_S)
        if status != 200:
            return {}
        return {
            sample.name: sample.value
            for family in text_string_to_metric_families(body.decode())
            for sample in family.samples
            if sample.name in _METRICS
        }


def _uses(running: Sequence[tuple[int, str, Kind]], warm_s: float) -> dict[str, KindUse]:
    """Return the use of each kind of process, of that with the most memory of its own."""
    found: dict[str, KindUse] = {}
    for pid, _name, kind in running:
        use = use_of(pid)
        age_s = time.time() - use.started_unix_s if use is not None else 0.0
        if use is None or age_s < warm_s:
            continue
        name = kind.name.lower() if kind is not Kind.FREE else "redis"
        own_mib = (use.resident_bytes - use.shared_bytes) / MIB
        before = found.get(name)
        if before is None or own_mib > before.own_mib:
            rss_mib = round(use.resident_bytes / MIB, 2)
            found[name] = KindUse(round(own_mib, 2), rss_mib, use.open_files, round(age_s))
    return found


def _size_mib(segments: Sequence[Path]) -> float:
    total = 0
    for segment in segments:
        with contextlib.suppress(OSError):  # its camera was removed in this moment
            total += segment.stat().st_size
    return round(total / MIB, 2)


def _load() -> float:
    return float(Path("/proc/loadavg").read_text(encoding="ascii").split()[0])


class Trend(msgspec.Struct, frozen=True):
    """How a figure went over the second half of a run."""

    typical: float
    """Its median."""
    rise: float
    """From the first point to the last, along the straight line of least squares."""
    points: int


def trend(points: Sequence[tuple[float, float]]) -> Trend:
    """Return how a figure, given as (time, value), went; one point says nothing: no rise."""
    if len(points) < 2:
        return Trend(points[0][1] if points else 0.0, 0.0, len(points))
    times, values = zip(*points, strict=True)
    slope, _ = statistics.linear_regression(times, values)
    return Trend(statistics.median(values), slope * (times[-1] - times[0]), len(points))

"""Sightings a second into one Redis over one unix socket, and what that Redis could take.

All ways write the full schema of keys with the very same commands: one command at a time and one
pipeline of redis-py a batch, ours, and the server's own limit, composed from what
``redis-benchmark -P`` gets for each command alone. A server of our own with the persistence of the
embedded one; the ways take turns, and ratios are medians of the turns.
"""

import re
import shutil
import statistics
import subprocess
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Final

import msgspec
import redis

from engine.benchmarks.answer import print_figures, say
from engine.config import RedisSettings
from engine.embedded_redis import find_redis_server
from engine.errors import PreflightError
from engine.redis_client import connect
from engine.store_commands import SCRIPT, Command, encode_json, log_command, own_keys
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Box, Candidate, PathPoint, Phase, Sighting

BATCH: Final = 64
UNDER_LOAD: Final = 1_024
"""Events a commit when as many wait: what the Redis sink is handed under load."""
ROUNDS: Final = 5
FEW_ROUNDS: Final = 2
EVENTS: Final = 16_384
EVENTS_SINGLE: Final = 512
EVENTS_PIPELINE: Final = 4_096
REQUESTS: Final = 60_000
"""Of redis-benchmark, for each command."""

_ID: Final = re.compile(r"0199c1f0-[0-9a-f]{12}-7000-8000")

Deliver = Callable[[Sequence[Event]], None]


class DeliveryFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What ``platering bench delivery`` prints; sightings a second and their ratios."""

    delivery_per_s: float
    delivery_vs_single: float
    delivery_vs_pipeline: float
    delivery_vs_server_limit: float
    """Over what the server could take: one over the sum of the times of a sighting's commands."""
    single_per_s: float
    pipeline_per_s: float
    server_limit_per_s: float


@contextmanager
def own_server() -> Iterator[str]:
    """Run an empty redis-server that persists as the embedded one does; yield its URL.

    Raises:
        PreflightError: there is no redis-server.
    """
    folder = Path(tempfile.mkdtemp(prefix="plt-bench-"))
    socket = folder / "redis.sock"
    command = [find_redis_server(), "--port", "0", "--unixsocket", str(socket), "--save", ""]
    command += ["--dir", str(folder), "--appendonly", "yes", "--logfile", "log"]
    process = subprocess.Popen(command)
    url = f"unix://{socket}"
    try:
        with connect(url) as client:
            _await_answer(client)
        yield url
    finally:
        process.terminate()
        process.wait(10)
        shutil.rmtree(folder)


def _await_answer(client: redis.Redis) -> None:
    deadline = time.monotonic() + 10
    while True:
        try:
            client.ping()
        except redis.ConnectionError as error:
            if time.monotonic() > deadline:
                raise PreflightError("redis-server does not answer") from error
            time.sleep(0.01)
        else:
            return


# --- what is delivered, and how ------------------------------------------------------------------

_numbers = count()


def make_events(number: int) -> list[Event]:
    """Return new events of ordinary size."""
    return [Event(_sighting(next(_numbers))) for _ in range(number)]


def _sighting(number: int) -> Sighting:
    plate, now_ms = f"P{number % 46_656:05d}", time.time_ns() // 1_000_000
    box = Box(812.5, 403.25, 110.0, 26.5)
    return Sighting(
        id=f"0199c1f0-{number:012x}-7000-8000",
        revision=1,
        phase=Phase.PROVISIONAL,
        camera=f"camera-{number % 16}",
        node="bench",
        plate=plate,
        confidence=91.25,
        candidates=(Candidate(plate, 91.25), Candidate(plate[:-1] + "B", 12.5)),
        first_unix_ms=now_ms,
        last_unix_ms=now_ms,
        best_unix_ms=now_ms,
        path=tuple(PathPoint(now_ms + step * 40, box) for step in range(4)),
    )


def commands_of(event: Event) -> list[Command]:
    """Return all commands of one sighting that is delivered alone."""
    encoded = [encode_json(event.sighting)]
    own, _ = own_keys([event], encoded, RedisSettings())
    return [*own, log_command([event], encoded, RedisSettings())]


def single(client: redis.Redis) -> Deliver:
    """One command, one answer."""
    client.script_load(SCRIPT)

    def deliver(events: Sequence[Event]) -> None:
        for event in events:
            for command in commands_of(event):
                client.execute_command(*command)  # type: ignore[no-untyped-call]

    return deliver


def pipelined(client: redis.Redis) -> Deliver:
    """One pipeline of redis-py a batch."""
    client.script_load(SCRIPT)

    def deliver(events: Sequence[Event]) -> None:
        for start in range(0, len(events), BATCH):
            pipeline = client.pipeline(transaction=False)
            for event in events[start : start + BATCH]:
                for command in commands_of(event):
                    pipeline.execute_command(*command)  # type: ignore[no-untyped-call]
            pipeline.execute()

    return deliver


def ours(writer: StoreWriter) -> Deliver:
    """The writer that the publisher uses, handed what it would be under load."""

    def deliver(events: Sequence[Event]) -> None:
        for start in range(0, len(events), UNDER_LOAD):
            writer.commit(events[start : start + UNDER_LOAD])

    return deliver


# --- measuring -----------------------------------------------------------------------------------


def measure(rounds: int = ROUNDS, events: int = EVENTS) -> DeliveryFigures:
    """Let the ways take turns on one server.

    Raises:
        PreflightError: redis-server or redis-benchmark is not there.
    """
    if shutil.which("redis-benchmark") is None:
        raise PreflightError(
            "there is no redis-benchmark to compare with — install the package redis-tools"
        )
    turns: list[dict[str, float]] = []
    with own_server() as url, connect(url) as client:
        writer = StoreWriter(url, RedisSettings())
        ways: dict[str, tuple[Deliver, int]] = {
            "single": (single(client), min(events, EVENTS_SINGLE)),
            "pipeline": (pipelined(client), min(events, EVENTS_PIPELINE)),
            "ours": (ours(writer), events),
        }
        for deliver, _ in ways.values():
            deliver(make_events(BATCH))
        for _ in range(rounds):
            per_s = {way: _per_s(deliver, size) for way, (deliver, size) in ways.items()}
            turns.append(per_s | {"limit": _server_limit(url, client)})
        writer.close()

    def middle(pick: Callable[[dict[str, float]], float]) -> float:
        return round(statistics.median(map(pick, turns)), 3)

    return DeliveryFigures(
        delivery_per_s=middle(lambda turn: turn["ours"]),
        delivery_vs_single=middle(lambda turn: turn["ours"] / turn["single"]),
        delivery_vs_pipeline=middle(lambda turn: turn["ours"] / turn["pipeline"]),
        delivery_vs_server_limit=middle(lambda turn: turn["ours"] / turn["limit"]),
        single_per_s=middle(lambda turn: turn["single"]),
        pipeline_per_s=middle(lambda turn: turn["pipeline"]),
        server_limit_per_s=middle(lambda turn: turn["limit"]),
    )


def _per_s(deliver: Deliver, size: int) -> float:
    events = make_events(size)
    began = time.perf_counter()
    deliver(events)
    return size / (time.perf_counter() - began)


def _server_limit(url: str, client: redis.Redis) -> float:
    """Return sightings a second, composed of what redis-benchmark gets for each command.

    The commands are those of one portion of ours, each kind as often as it is in there. The ids in
    them are ``__rand_int__``, so that markers are always new and the script does all of its work.
    """
    events = make_events(BATCH)
    encoded = [encode_json(event.sighting) for event in events]
    own, _ = own_keys(events, encoded, RedisSettings())
    socket, ids = url.removeprefix("unix://"), {event.sighting.id for event in events}
    kinds = Counter((command[0], _kind(command[1])) for command in own)
    examples = {(command[0], _kind(command[1])): command for command in own}
    seconds = 1.0 / _benchmarked(
        socket, _varied(log_command(events, encoded, RedisSettings()), ids), 1
    )
    for kind, number in kinds.items():
        seconds += number / _benchmarked(socket, _varied(examples[kind], ids), BATCH)
    client.flushall()
    return BATCH / seconds


def _kind(key: str) -> str:
    """Return what a key is of: its first two words."""
    return ":".join(key.split(":")[:2])


def _varied(command: Command, ids: set[str]) -> list[str]:
    """Put redis-benchmark's placeholder in the place of ids."""
    words = [word.decode() if isinstance(word, bytes) else str(word) for word in command]
    for index, word in enumerate(words):
        found = _ID.search(word)
        if found and found[0] in ids:
            words[index] = _ID.sub("0199c1f0-__rand_int__-7000-8000", word)
    return words


def _benchmarked(socket: str, words: list[str], pipeline: int) -> float:
    """Return how often a second redis-benchmark gets one command done."""
    options = ["-s", socket, "-P", str(pipeline), "-n", str(REQUESTS * pipeline // BATCH)]
    answer = subprocess.run(
        ["redis-benchmark", *options, "-r", "100000000", "--csv", *words],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
    ).stdout
    last = answer.strip().splitlines()[-1]
    return float(last.rsplit('","', 7)[1].strip('"'))


def run(*, as_json: bool, brief: bool) -> int:
    """Measure and print, for ``platering bench delivery``; return the exit code."""
    rounds = FEW_ROUNDS if brief else ROUNDS
    say(f"delivery into Redis, {rounds} rounds")
    return print_figures(measure(rounds), as_json=as_json)

"""What a delivery to a browser costs the server: ours, the tutorials', C's and nginx's, one run.

Every server gets the same events through the same Redis at the same pace and sends them to real
sockets, which this process reads. The servers take turns, ratios are medians of the turns. CPU time
is the kernel's word on the server's process; latency runs from before the commit of an event to its
bytes at the client. The tutorials' server gets a small crowd: it cannot serve the large one.
"""

import resource
import socket
import statistics
import threading
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import redis

from engine.benchmarks.answer import print_figures, say
from engine.benchmarks.delivery import own_server
from engine.benchmarks.sse_crowd import Crowd
from engine.benchmarks.sse_nchan import installed_nchan
from engine.benchmarks.sse_servers import Server, compiled_sender, ours, tutorial
from engine.config import RedisSettings
from engine.errors import PreflightError
from engine.store import PLATES_CHANNEL
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Phase, Sighting

CLIENTS: Final = 5_000
NAIVE_CLIENTS: Final = 200
EVENTS_PER_S: Final = 50.0
SECONDS: Final = 5.0
ROUNDS: Final = 3
SPARE_DESCRIPTORS: Final = 500
LATE_S: Final = 60.0
"""How much longer than its events a turn may take."""

_CPUCLOCK_SCHED: Final = 2
"""As in Linux's ``posix-timers.h``: makes the clock of another process from its pid."""


class Load(msgspec.Struct, frozen=True):
    """What the servers are asked for in one turn."""

    clients: int
    naive_clients: int = NAIVE_CLIENTS
    events_per_s: float = EVENTS_PER_S
    seconds: float = SECONDS


class Turn(msgspec.Struct, frozen=True):
    """What one server needed for one turn."""

    deliveries_per_s: float
    cpu_us: float
    """Per delivery."""
    p50_ms: float
    p99_ms: float
    kib_per_client: float


class SseFigures(msgspec.Struct, frozen=True, kw_only=True):
    """What ``platering bench sse`` prints."""

    sse_deliveries_per_s: float
    sse_cpu_vs_naive: float
    """How many times more CPU the tutorials' server takes for a delivery."""
    sse_cpu_vs_c: float | None
    """How many times more CPU ours takes than the C program."""
    sse_cpu_vs_nchan: float | None
    """How many times more CPU nginx takes with nchan."""
    sse_p99_ms: float
    sse_kib_per_client: float
    sse_p50_ms: float
    sse_cpu_us: float
    naive_cpu_us: float
    c_cpu_us: float | None
    c_p99_ms: float | None
    nchan_cpu_us: float | None
    nchan_p99_ms: float | None
    absent: dict[str, str]
    """Servers that are not installed here or cannot cope, and why; their figures are None."""
    clients: int
    naive_clients: int
    events_per_s: float


def affordable_clients() -> int:
    """Raise the limit of descriptors; return the clients it allows, ``CLIENTS`` at most."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = CLIENTS if hard == resource.RLIM_INFINITY else min(CLIENTS, hard - SPARE_DESCRIPTORS)
    if most < NAIVE_CLIENTS:
        raise PreflightError(f"only {hard} open files are allowed — raise it with ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most + SPARE_DESCRIPTORS, hard))
    return most


def measure(load: Load, rounds: int, tell: Callable[[str], None]) -> SseFigures:
    """Let the servers take turns.

    Raises:
        PreflightError: there is no redis-server, or this machine is too busy.
    """
    absent: dict[str, str] = {}
    with ExitStack() as stack:
        redis_socket = stack.enter_context(own_server()).removeprefix("unix://")
        servers: dict[str, Server] = {"ours": ours, "naive": tutorial}
        for name, found in (("c", compiled_sender()), ("nchan", installed_nchan())):
            try:
                servers[name] = stack.enter_context(found)
            except PreflightError as error:
                absent[name] = str(error)
        turns: list[dict[str, Turn]] = []
        for number in range(rounds):
            tell(f"{', '.join(servers)}: {load.clients} clients, round {number + 1} of {rounds}")
            turns.append(_round(servers, load, redis_socket, absent))
    return _figures({name: [each[name] for each in turns] for name in servers}, load, absent)


def _round(
    servers: dict[str, Server], load: Load, redis_socket: str, absent: dict[str, str]
) -> dict[str, Turn]:
    """Give every server its turn; of ours and the tutorials' each has to cope with it."""
    found: dict[str, Turn] = {}
    for name, server in list(servers.items()):
        clients = load.naive_clients if name == "naive" else load.clients
        try:
            found[name] = take_turn(server, clients, load, redis_socket)
        except (PreflightError, OSError) as error:
            if name in {"ours", "naive"}:
                raise
            absent[name] = str(error)
            del servers[name]
    return found


def _figures(turns: dict[str, list[Turn]], load: Load, absent: dict[str, str]) -> SseFigures:
    def middle(name: str, pick: Callable[[Turn], float]) -> float:
        return round(statistics.median(map(pick, turns[name])), 2)

    def ratio(over: str, under: str) -> float:
        pairs = zip(turns[over], turns[under], strict=True)
        return round(statistics.median(one.cpu_us / two.cpu_us for one, two in pairs), 2)

    def cpu_us(name: str) -> float:
        return middle(name, lambda turn: turn.cpu_us)

    def p99_ms(name: str) -> float:
        return middle(name, lambda turn: turn.p99_ms)

    return SseFigures(
        sse_deliveries_per_s=middle("ours", lambda turn: turn.deliveries_per_s),
        sse_cpu_vs_naive=ratio("naive", "ours"),
        sse_cpu_vs_c=ratio("ours", "c") if "c" in turns else None,
        sse_cpu_vs_nchan=ratio("nchan", "ours") if "nchan" in turns else None,
        sse_p99_ms=p99_ms("ours"),
        sse_kib_per_client=middle("ours", lambda turn: turn.kib_per_client),
        sse_p50_ms=middle("ours", lambda turn: turn.p50_ms),
        sse_cpu_us=cpu_us("ours"),
        naive_cpu_us=cpu_us("naive"),
        c_cpu_us=cpu_us("c") if "c" in turns else None,
        c_p99_ms=p99_ms("c") if "c" in turns else None,
        nchan_cpu_us=cpu_us("nchan") if "nchan" in turns else None,
        nchan_p99_ms=p99_ms("nchan") if "nchan" in turns else None,
        absent=absent,
        clients=load.clients,
        naive_clients=load.naive_clients,
        events_per_s=load.events_per_s,
    )


def take_turn(server: Server, clients: int, load: Load, redis_socket: str) -> Turn:
    """Bring a crowd to one server and send it the events of a turn."""
    events = round(load.events_per_s * load.seconds)
    with (
        redis.Redis(unix_socket_path=redis_socket) as client,
        socket.create_server(("127.0.0.1", 0), backlog=1024) as listener,
        server(listener, redis_socket) as pid,
    ):
        client.flushall()
        port = listener.getsockname()[1]
        Crowd(port, 1).close()
        empty_kib = _resident_kib(pid)
        crowd = Crowd(port, clients)
        if server is tutorial:
            _await_subscriptions(client, clients)
        kib = (_resident_kib(pid) - empty_kib) / clients
        sent_at: dict[int, float] = {}
        feeder = threading.Thread(target=_publish, args=(redis_socket, sent_at, events, load))
        cpu_s, began = _cpu_s(pid), time.monotonic()
        feeder.start()
        try:
            latencies = crowd.listen(sent_at, events, load.seconds + LATE_S)
            seconds, cpu_s = time.monotonic() - began, _cpu_s(pid) - cpu_s
        finally:
            feeder.join()
            crowd.close()
    return Turn(
        deliveries_per_s=len(latencies) / seconds,
        cpu_us=cpu_s * 1e6 / len(latencies),
        p50_ms=float(np.percentile(latencies, 50)),
        p99_ms=float(np.percentile(latencies, 99)),
        kib_per_client=kib,
    )


def _await_subscriptions(client: redis.Redis, clients: int) -> None:
    """The tutorials' server subscribes for a client only after its first bytes."""
    deadline = time.monotonic() + LATE_S
    while dict(client.pubsub_numsub(PLATES_CHANNEL))[PLATES_CHANNEL.encode()] < clients:
        if time.monotonic() > deadline:
            raise PreflightError("the tutorials' server does not subscribe for all of its clients")
        time.sleep(0.05)


def _publish(redis_socket: str, sent_at: dict[int, float], events: int, load: Load) -> None:
    """Commit events at their pace; the plate tells which one it is."""
    writer = StoreWriter(f"unix://{redis_socket}", RedisSettings())
    began = time.monotonic()
    for number in range(events):
        time.sleep(max(0.0, began + number / load.events_per_s - time.monotonic()))
        unix_ms = time.time_ns() // 1_000_000
        sighting = Sighting(
            id=f"bench{number}", revision=1, phase=Phase.PROVISIONAL, camera="bench", node="bench",
            plate=f"B{number}", confidence=90.0, first_unix_ms=unix_ms, last_unix_ms=unix_ms,
            best_unix_ms=unix_ms,
        )  # fmt: skip
        sent_at[number] = time.monotonic()
        writer.commit([Event(sighting, None)])
    writer.close()


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process, finer than the ticks in ``/proc``."""
    return time.clock_gettime((~pid << 3) | _CPUCLOCK_SCHED)


def _resident_kib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.partition("VmRSS:")[2].split()[0])


def run(*, as_json: bool, brief: bool) -> int:
    """Measure and print, for ``platering bench sse``; return the exit code."""
    load = Load(clients=affordable_clients())
    return print_figures(measure(load, 1 if brief else ROUNDS, say), as_json=as_json)

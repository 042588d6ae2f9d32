"""Group ``sse``: what a delivery to a browser costs the server, ours and a tutorial's, one run.

Clients are plain sockets read by this process with epoll. Both servers get the same events through
the same Redis at the same pace; their CPU time is read from the kernel. Latency runs from the
commit of an event to its bytes at the client. Run: ``pytest bench/bench_sse.py -s``; sizes by
``PLATERING_SSE_CLIENTS`` and ``PLATERING_SSE_EVENTS``.
"""

import contextlib
import os
import re
import secrets
import select
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import pytest
import redis
from pytest_benchmark.fixture import BenchmarkFixture

from engine.board import Board, Seat
from engine.config import ApiSettings, LogSettings, RedisSettings
from engine.embedded_redis import find_redis_server
from engine.messages import DECODE, Ready, Start, encode
from engine.process import log_section
from engine.sections import ApiSection
from engine.store import PLATES_CHANNEL
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Phase, Sighting

CLIENTS: Final = int(os.environ.get("PLATERING_SSE_CLIENTS", "300"))
EVENTS: Final = int(os.environ.get("PLATERING_SSE_EVENTS", "100"))
EVENTS_PER_S: Final = 50.0
WITHIN_S: Final = 60.0
PLATE: Final = re.compile(rb"data: B(\d+)\n\n")


class Figures(msgspec.Struct):
    """What one server needed for one round."""

    deliveries: int
    seconds: float
    cpu_us: float
    """Per delivery."""
    p50_ms: float
    p99_ms: float
    kib_per_client: float


@pytest.fixture(scope="module")
def redis_socket() -> Iterator[str]:
    """A real Redis server on a unix socket."""
    folder = Path(tempfile.mkdtemp(prefix="plt-bench-"))
    path = folder / "redis.sock"
    command = [find_redis_server(), "--port", "0", "--unixsocket", str(path), "--save", ""]
    process = subprocess.Popen([*command, "--dir", str(folder), "--logfile", "log"])
    try:
        deadline = time.monotonic() + 10
        with redis.Redis(unix_socket_path=str(path)) as client:
            while not _answers(client):
                assert time.monotonic() < deadline
                time.sleep(0.02)
        yield str(path)
    finally:
        process.kill()
        process.wait()
        shutil.rmtree(folder)


def _answers(client: redis.Redis) -> bool:
    try:
        return bool(client.ping())
    except redis.ConnectionError:
        return False


@contextlib.contextmanager
def ours(listener: socket.socket, redis_socket: str) -> Iterator[int]:
    """Run our API process as the supervisor would; yield its pid."""
    board = Board.create(f"platering.bench{secrets.token_hex(4)}.board", 1, 1)
    link, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    section = ApiSection(
        api=ApiSettings().model_dump_json(), redis_url=f"unix://{redis_socket}", node="bench",
        board=board.name, cameras=(), control_path="", ingest_path="", data_dir="",
    )  # fmt: skip
    command = [sys.executable, "-m", "api.server", str(theirs.fileno())]
    process = subprocess.Popen(command, pass_fds=[theirs.fileno()])
    theirs.close()
    try:
        start = Start(
            seat=Seat(board.name, 0, 1), name="api", section=section.encode(),
            log=log_section(LogSettings(level="error")),
        )  # fmt: skip
        socket.send_fds(link, [encode(start)], [listener.fileno()])
        link.settimeout(20)
        assert isinstance(DECODE.to_supervisor.decode(link.recv(1 << 20)), Ready)
        yield process.pid
    finally:
        process.kill()
        process.wait()
        link.close()
        board.close()
        board.unlink()


@contextlib.contextmanager
def tutorial(listener: socket.socket, redis_socket: str) -> Iterator[int]:
    """Run the tutorial's server; yield its pid."""
    script = str(Path(__file__).with_name("naive_sse.py"))
    command = [sys.executable, script, str(listener.fileno()), redis_socket]
    process = subprocess.Popen(command, pass_fds=[listener.fileno()])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


class Crowd:
    """Clients of ``/stream``: every one is read, every event of every one is timed."""

    def __init__(self, port: int) -> None:
        self._poll = select.epoll()
        self._clients: dict[int, socket.socket] = {}
        self._rest: dict[int, bytes] = {}
        for _ in range(CLIENTS):
            client = socket.create_connection(("127.0.0.1", port), timeout=30)
            client.sendall(b"GET /stream HTTP/1.1\r\nHost: bench\r\n\r\n")
            self._clients[client.fileno()] = client
        for client in self._clients.values():
            head = b""
            while b"\n\n" not in head:
                head += client.recv(4096)
            client.setblocking(False)
            self._poll.register(client, select.EPOLLIN)
            self._rest[client.fileno()] = b""

    def listen(self, sent_at: dict[int, float]) -> list[float]:
        """Read until everybody has everything; return each delivery's latency in ms."""
        latencies: list[float] = []
        deadline = time.monotonic() + WITHIN_S
        while len(latencies) < CLIENTS * EVENTS:
            assert time.monotonic() < deadline, f"only {len(latencies)} deliveries"
            for fd, _events in self._poll.poll(0.2, 256):
                chunk = self._rest[fd] + self._clients[fd].recv(1 << 16)
                now = time.monotonic()
                whole = chunk.rfind(b"\n\n") + 2
                self._rest[fd] = chunk[whole:] if whole > 1 else chunk
                latencies += [
                    (now - sent_at[int(found)]) * 1e3 for found in PLATE.findall(chunk[:whole])
                ]
        return latencies

    def close(self) -> None:
        """Hang up."""
        self._poll.close()
        for client in self._clients.values():
            client.close()


def _wait_for_subscribers(redis_socket: str) -> None:
    deadline = time.monotonic() + WITHIN_S
    with redis.Redis(unix_socket_path=redis_socket) as client:
        while dict(client.pubsub_numsub(PLATES_CHANNEL))[PLATES_CHANNEL.encode()] < CLIENTS:
            assert time.monotonic() < deadline
            time.sleep(0.05)


def _cpu_s(pid: int) -> float:
    """Return the CPU time of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def _rss_kib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    return float(status.partition("VmRSS:")[2].split()[0])


def _publish(redis_socket: str, sent_at: dict[int, float], first: int) -> None:
    """Commit events at their pace; the plate tells which one it is."""
    writer = StoreWriter(f"unix://{redis_socket}", RedisSettings())
    began = time.monotonic()
    for number in range(EVENTS):
        time.sleep(max(0.0, began + number / EVENTS_PER_S - time.monotonic()))
        unix_ms = time.time_ns() // 1_000_000
        sighting = Sighting(
            id=f"bench{first + number}", revision=1, phase=Phase.PROVISIONAL, camera="bench",
            node="bench", plate=f"B{first + number}", confidence=90.0, first_unix_ms=unix_ms,
            last_unix_ms=unix_ms, best_unix_ms=unix_ms,
        )  # fmt: skip
        sent_at[first + number] = time.monotonic()
        writer.commit([Event(sighting, None)])
    writer.close()


Server = Callable[[socket.socket, str], contextlib.AbstractContextManager[int]]


def measure(server: Server, redis_socket: str, first: int) -> Figures:
    """Run one round with one server."""
    with (
        socket.create_server(("127.0.0.1", 0), backlog=1024) as listener,
        server(listener, redis_socket) as pid,
    ):
        socket.create_connection(listener.getsockname()).close()
        empty_kib = _rss_kib(pid)
        crowd = Crowd(listener.getsockname()[1])
        if server is tutorial:  # it subscribes after its first bytes
            _wait_for_subscribers(redis_socket)
        kib = (_rss_kib(pid) - empty_kib) / CLIENTS
        sent_at: dict[int, float] = {}
        feeder = threading.Thread(target=_publish, args=(redis_socket, sent_at, first))
        cpu_s, began = _cpu_s(pid), time.monotonic()
        feeder.start()
        latencies = crowd.listen(sent_at)
        seconds, cpu_s = time.monotonic() - began, _cpu_s(pid) - cpu_s
        feeder.join()
        crowd.close()
    return Figures(
        deliveries=len(latencies),
        seconds=seconds,
        cpu_us=cpu_s * 1e6 / len(latencies),
        p50_ms=float(np.percentile(latencies, 50)),
        p99_ms=float(np.percentile(latencies, 99)),
        kib_per_client=kib,
    )


@pytest.mark.benchmark(group="sse")
def test_sse_cpu_per_delivery(benchmark: BenchmarkFixture, redis_socket: str) -> None:
    """Ours against the tutorial's, in the same run."""
    naive = measure(tutorial, redis_socket, 0)
    found: Figures = benchmark.pedantic(  # type: ignore[no-untyped-call]
        measure, args=(ours, redis_socket, EVENTS), rounds=1, iterations=1
    )
    ratio = naive.cpu_us / found.cpu_us
    benchmark.extra_info.update(
        clients=CLIENTS,
        events=EVENTS,
        sse_deliveries_per_s=round(found.deliveries / found.seconds),
        sse_cpu_us=round(found.cpu_us, 2),
        sse_naive_cpu_us=round(naive.cpu_us, 2),
        sse_cpu_vs_naive=round(1 / ratio, 4),
        sse_p50_ms=round(found.p50_ms, 1),
        sse_p99_ms=round(found.p99_ms, 1),
        sse_naive_p99_ms=round(naive.p99_ms, 1),
        sse_kib_per_client=round(found.kib_per_client, 1),
        sse_naive_kib_per_client=round(naive.kib_per_client, 1),
    )
    print(benchmark.extra_info)
    assert ratio > 3

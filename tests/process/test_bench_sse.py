"""The benchmark of live events, in miniature: its three servers work, its figures are whole."""

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

from engine.benchmarks.sse import Load, affordable_clients, measure


def test_every_server_of_the_benchmark_serves_everybody() -> None:
    assert affordable_clients() >= 200
    said: list[str] = []
    figures = measure(Load(clients=30, naive_clients=5, seconds=0.4), 1, said.append)
    assert [line.partition(":")[0].split(", ")[:2] for line in said] == [["ours", "naive"]]
    assert figures.sse_deliveries_per_s > 10
    assert 0 < figures.sse_p50_ms <= figures.sse_p99_ms
    assert figures.sse_cpu_vs_naive > 0
    assert (figures.sse_cpu_vs_c is None) == (figures.c_p99_ms is None) == ("c" in figures.absent)
    assert (figures.sse_cpu_vs_nchan is None) == ("nchan" in figures.absent)


def test_what_is_not_installed_is_absent_and_says_what_to_install(monkeypatch) -> None:
    monkeypatch.setattr("engine.benchmarks.sse_servers.COMPILERS", ("no-such-compiler",))
    monkeypatch.setattr("engine.benchmarks.sse_nchan.MODULE", "no_such_module.so")
    figures = measure(Load(clients=5, naive_clients=2, seconds=0.2), 1, lambda _: None)
    assert figures.sse_cpu_vs_c is None
    assert figures.sse_cpu_vs_nchan is None
    assert "gcc" in figures.absent["c"]
    assert "install the package" in figures.absent["nchan"]


def test_another_server_that_cannot_cope_does_not_end_the_benchmark(monkeypatch) -> None:
    @contextmanager
    def broken() -> Iterator[object]:
        @contextmanager
        def server(listener: socket.socket, _redis: str) -> Iterator[int]:
            listener.close()  # nobody is served
            yield os.getpid()

        yield server

    monkeypatch.setattr("engine.benchmarks.sse.compiled_sender", broken)
    monkeypatch.setattr("engine.benchmarks.sse_nchan.MODULE", "no_such_module.so")
    figures = measure(Load(clients=5, naive_clients=2, seconds=0.2), 2, lambda _: None)
    assert figures.sse_cpu_vs_c is None
    assert figures.absent["c"]
    assert figures.sse_deliveries_per_s > 10

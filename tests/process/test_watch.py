"""``platering watch``: resumes over restarts, tells gaps, shows a table, ends without a word."""

import json
import os
import pty
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import msgspec
import pytest
from front_process import front_process, sighting
from polling import wait_until

from engine.board import Count
from engine.config import RedisSettings
from engine.errors import ConfigError, ControlError
from engine.event_stream import Block, EventStream
from engine.event_table import line_of
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Hit

WATCH = (sys.executable, "-m", "engine.cli", "watch")


@contextmanager
def watching(*options: str, **pipes: object) -> Iterator[subprocess.Popen[str]]:
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE} | pipes
    process = subprocess.Popen([*WATCH, *options], text=True, **pipes)
    try:
        yield process
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()


@pytest.fixture
def writer(redis_server) -> Iterator[StoreWriter]:
    found = StoreWriter(redis_server.url, RedisSettings())
    yield found
    found.close()


def commit(writer: StoreWriter, numbers: range, **changes: object) -> None:
    writer.commit([Event(sighting(number, 3, **changes), None) for number in numbers])


def take(process: subprocess.Popen[str], count: int) -> list[dict]:
    return [json.loads(process.stdout.readline()) for _ in range(count)]


def test_it_resumes_over_restarts_and_tells_of_gaps(redis_server, writer: StoreWriter) -> None:
    commit(writer, range(5))
    with socket.create_server(("127.0.0.1", 0), backlog=16) as listener:
        options = ("--url", f"http://127.0.0.1:{listener.getsockname()[1]}", "--json")
        with watching(*options, "--since", "0", "--camera", "gate") as process:
            with front_process(redis_server.url, listen=listener) as front:
                lines = take(process, 5)
                commit(writer, range(5, 7))
                lines += take(process, 2)
                assert front.stop() == 0
            assert take(process, 1)[0]["event"] == "end"
            commit(writer, range(7, 20))
            with redis_server.connect() as client:
                client.xtrim("platering:{log}:stream", maxlen=4, approximate=False)
            with front_process(redis_server.url, listen=listener):
                (gap, *rest) = take(process, 5)
                assert (gap["event"], gap["data"]["missed"]) == ("gap", 9)
                lines += rest
                process.send_signal(signal.SIGINT)
                assert process.wait(5) == 130
            assert "Traceback" not in process.stderr.read()
    numbers = [*range(7), *range(16, 20)]
    assert [line["data"]["id"] for line in lines] == [f"s{number}" for number in numbers]
    assert {line["event"] for line in lines} == {"sighting"}
    assert [line["id"].split(".")[1] for line in lines] == [str(number + 1) for number in numbers]


def test_a_pipe_gets_lines(redis_server, writer: StoreWriter) -> None:
    hits = (Hit(list="stolen", plate="AB0001", match="exact", label="red van"),)
    commit(writer, range(1, 2), hits=hits)
    with (
        front_process(redis_server.url) as front,
        watching("--url", front.url, "--since", "0", "--list", "stolen") as process,
    ):
        line = process.stdout.readline()
    assert "AB0001  91.5  gate  final" in line
    assert "stolen: red van" in line


def test_what_is_added_to_a_final_is_shown_as_the_revision_that_it_is() -> None:
    for changes, phase in (({}, "final"), ({"amended": True}, "revised")):
        body = msgspec.json.encode(sighting(1, 3, **changes)).decode()
        line = line_of(Block("message", "1-1", body))
        assert line is not None
        assert line.phase == phase


def test_a_terminal_gets_a_table_and_is_left_as_it_was(redis_server, writer: StoreWriter) -> None:
    ours, theirs = pty.openpty()
    shown = bytearray()
    environment = os.environ | {"TERM": "xterm", "COLUMNS": "100", "LINES": "30"}

    def read() -> None:
        while True:
            try:
                shown.extend(os.read(ours, 65_536))
            except OSError:  # nobody has the terminal open any longer
                return

    with front_process(redis_server.url) as front:
        pipes = {"stdin": theirs, "stdout": theirs, "stderr": theirs, "env": environment}
        with watching("--url", front.url, **pipes) as process:
            os.close(theirs)
            reader = threading.Thread(target=read)
            reader.start()
            wait_until(lambda: front.total(Count.SSE_CLIENTS) == 1, 10.0, "it listens")
            commit(writer, range(7, 8))
            wait_until(lambda: b"AB0007" in shown and b"1 events" in shown, 5.0, "it is shown")
            process.send_signal(signal.SIGINT)
            assert process.wait(5) == 130
        reader.join(5)
    os.close(ours)
    assert b"Traceback" not in shown
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l"), "the cursor is back"


def test_what_the_server_refuses_ends_it(redis_server) -> None:
    with front_process(redis_server.url) as front, watching(
        "--url", front.url, "--since", "x"
    ) as process:  # fmt: skip
        assert process.wait(10) == 1
        assert "'x' is no id of an event" in process.stderr.read()


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(ConfigError, match="like http"):
        EventStream("127.0.0.1:8080", {})


def test_the_key_travels_in_a_header_and_a_refusal_is_final() -> None:
    asked: list[tuple[str, str | None]] = []

    class Gatekeeper(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["Authorization"]))
            self.send_error(503 if len(asked) == 1 else 403)

        def log_message(self, *_: object) -> None:
            pass

    with HTTPServer(("127.0.0.1", 0), Gatekeeper) as server:
        serving = threading.Thread(target=server.serve_forever)
        serving.start()
        url = f"http://127.0.0.1:{server.server_port}/behind/a/proxy/"
        stream = EventStream(url, {"plate": "A*", "camera": ""}, key="secret")
        troubles: list[str] = []
        with pytest.raises(ControlError, match="403"):
            next(stream.follow(troubles.append))
        server.shutdown()
        serving.join()
    assert asked == [("/behind/a/proxy/api/v1/events?plate=A%2A", "Bearer secret")] * 2
    assert len(troubles) == 1
    assert "503" in troubles[0]

"""Corrections over HTTP: pages that listen change, what was read remains visible."""

import http.client
import json
from collections.abc import Iterator

import pytest
from front_process import FrontProcess, front_process, sighting
from polling import wait_until

from engine.board import Count
from engine.config import RedisSettings
from engine.store_writer import StoreWriter
from engine.track import Event


@pytest.fixture
def front(redis_server) -> Iterator[FrontProcess]:
    writer = StoreWriter(redis_server.url, RedisSettings())
    writer.commit([Event(sighting(1, 3), None)])
    writer.close()
    with front_process(redis_server.url) as running:
        yield running


def ask(front: FrontProcess, method: str, path: str, body: object = None) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    connection.request(method, f"/api/v1/sightings{path}", json.dumps(body) if body else None)
    response = connection.getresponse()
    found = response.status, json.loads(response.read())
    connection.close()
    return found


def test_a_correction_is_made_kept_and_told_to_the_stream(front: FrontProcess) -> None:
    stream = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    stream.request("GET", "/api/v1/events")
    events = stream.getresponse()
    wait_until(lambda: front.total(Count.SSE_CLIENTS) == 1, 5.0, "the client has joined")
    status, made = ask(front, "POST", "/s1/corrections", {"plate": "ab-0007", "note": "mud"})
    assert (status, made["plate"], made["read_as"], made["phase"]) == (
        200, "AB0007", "AB0001", "final",
    )  # fmt: skip
    line = b""
    while not line.startswith(b"data: {"):
        line = events.readline()
    assert json.loads(line.removeprefix(b"data: ")) == made
    events.close()
    stream.close()
    _, kept = ask(front, "GET", "/s1/corrections")
    (one,) = kept["corrections"]
    assert (one["by"], one["note"], one["before"], one["plate"]) == (
        "this machine", "mud", "AB0001", "AB0007",
    )  # fmt: skip
    assert ask(front, "GET", "?plate=AB0007")[1]["sightings"] == [made]
    assert ask(front, "GET", "?plate=AB0001")[1]["sightings"] == []


@pytest.mark.parametrize(
    ("path", "body", "status", "field"),
    [
        ("/s1/corrections", {"plate": "-"}, 400, "plate"),
        ("/s1/corrections", {"plate": "A" * 17}, 400, "plate"),
        ("/s1/corrections", {"note": "x"}, 400, "body"),
        ("/s1/corrections", {"plate": "A1", "note": "x" * 501}, 400, "note"),
        ("/none/corrections", {"plate": "A1"}, 404, None),
    ],
)
def test_what_is_no_correction_is_refused(front, path, body, status, field) -> None:
    answered, problem = ask(front, "POST", path, body)
    assert (answered, problem.get("field")) == (status, field)
    assert ask(front, "GET", "/s1")[1]["plate"] == "AB0001"

"""Search, export and documents of the front, over HTTP against a real Redis."""

import csv
import http.client
import io
import json
import re
import urllib.parse
from collections.abc import Iterator
from pathlib import Path

import pytest
from front_process import FrontProcess, front_process, sighting

from api.plates import COLUMNS
from engine.config import RedisSettings
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Hit, Sighting

MIB = 1 << 20
OURS = {
    "/metrics", "/api/v1/sightings", "/api/v1/sightings/export", "/api/v1/sightings/{sighting_id}",
    "/api/v1/sightings/{sighting_id}/clip", "/api/v1/sightings/{sighting_id}/{what}.jpg",
    "/api/v1/sightings/{sighting_id}/corrections", "/api/v1/cameras", "/api/v1/cameras/{name}",
    "/api/v1/cameras/{name}/snapshot.jpg", "/api/v1/cameras/{name}/stream.mjpeg",
    "/api/v1/cameras/{name}/pause", "/api/v1/cameras/{name}/resume", "/api/v1/watchlists",
    "/api/v1/watchlists/{name}", "/api/v1/watchlists/{name}/entries",
    "/api/v1/watchlists/{name}/entries/{plate}", "/api/v1/watchlists/{name}/import",
    "/api/v1/statistics", "/api/v1/statistics/stages", "/api/v1/system",
}  # fmt: skip


@pytest.fixture
def front(redis_server) -> Iterator[FrontProcess]:
    with front_process(redis_server.url) as running:
        yield running


@pytest.fixture
def writer(redis_server) -> Iterator[StoreWriter]:
    found = StoreWriter(redis_server.url, RedisSettings())
    yield found
    found.close()


def get(front: FrontProcess, path: str, **query: object) -> tuple[int, bytes, str]:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=30)
    asked = f"?{urllib.parse.urlencode(query)}" if query else ""
    connection.request("GET", path + asked)
    response = connection.getresponse()
    found = response.status, response.read(), response.headers["Content-Type"]
    connection.close()
    return found


def ids(front: FrontProcess, **query: object) -> list[str]:
    status, body, _ = get(front, "/api/v1/sightings", **query)
    assert status == 200, body
    return [one["id"] for one in json.loads(body)["sightings"]]


def commit(writer: StoreWriter, *sightings: Sighting) -> None:
    writer.commit([Event(each, None) for each in sightings])


def test_search_over_http(front: FrontProcess, writer: StoreWriter) -> None:
    hit = Hit(list="stolen", plate="AB0003", match="exact")
    first = sighting(1)
    commit(writer, first, sighting(2, camera="yard"), sighting(3, 3, hits=(hit,)))
    assert ids(front, plate="ab 0001") == ["s1"]
    assert ids(front, plate="A8OOO1", match="similar") == ["s1"]
    assert ids(front, plate="AB000?") == ids(front, plate="AB", match="prefix")
    assert set(ids(front, plate="AB000?")) == {"s1", "s2", "s3"}
    assert ids(front, camera="yard") == ["s2"]
    assert ids(front, list="stolen") == ids(front, phase="final") == ["s3"]
    assert ids(front, before=first.first_unix_ms) == []


def test_pages_follow_each_other(front: FrontProcess, writer: StoreWriter) -> None:
    commit(writer, *(sighting(number) for number in range(25)))
    found, cursor = [], ""
    while not found or cursor:
        body = json.loads(get(front, "/api/v1/sightings", limit=10, cursor=cursor)[1])
        found += [one["id"] for one in body["sightings"]]
        cursor = body["next"]
    assert len(found) == len(set(found)) == 25


@pytest.mark.parametrize(
    ("query", "field"),
    [("limit=501", "limit"), ("match=some", "match"), ("plate=-", "plate"), ("cursor=x", "cursor"),
     ("before=-1", "before"), ("min_confidence=101", "min_confidence"), ("phase=x", "phase"),
     ("plate=" + "A" * 65, "plate"), ("before=" + "9" * 30, "before")],
)  # fmt: skip
def test_a_wrong_question_names_its_field(front: FrontProcess, query: str, field: str) -> None:
    status, body, kind = get(front, f"/api/v1/sightings?{query}")
    problem = json.loads(body)
    assert (status, kind, problem["field"]) == (400, "application/problem+json", field)
    assert problem["type"] == "about:blank"
    assert (problem["title"], problem["status"]) == ("Bad Request", 400)
    assert problem["detail"] == problem["error"]


def test_an_export_is_csv_or_json_lines(front: FrontProcess, writer: StoreWriter) -> None:
    hits = tuple(Hit(list=name, plate="AB0001", match="exact") for name in ("one", "two"))
    commit(writer, sighting(1, 3, hits=hits), sighting(2, camera="=yard"))
    _, body, kind = get(front, "/api/v1/sightings/export")
    assert kind.startswith("text/csv")
    rows = list(csv.DictReader(io.StringIO(body.decode())))
    assert [row["id"] for row in rows] == ["s2", "s1"]
    assert tuple(rows[0]) == (*COLUMNS, "lists")
    assert (rows[0]["camera"], rows[1]["lists"]) == ("'=yard", "one two")
    _, body, _ = get(front, "/api/v1/sightings/export", format="jsonl", camera="gate")
    (line,) = body.splitlines()
    assert json.loads(line) == json.loads(get(front, "/api/v1/sightings/s1")[1])


def test_a_large_export_takes_little_memory(front: FrontProcess, writer: StoreWriter) -> None:
    for start in range(0, 20_000, 2_000):
        commit(writer, *(sighting(start + number) for number in range(2_000)))
    get(front, "/api/v1/sightings/export", camera="none")
    before = peak_bytes(front)
    _, body, _ = get(front, "/api/v1/sightings/export", format="jsonl")
    assert body.count(b"\n") == 20_000
    assert len(body) > 8 * MIB
    assert peak_bytes(front) - before < 8 * MIB


def peak_bytes(front: FrontProcess) -> int:
    status = Path(f"/proc/{front.process.pid}/status").read_text()
    found = re.search(r"VmHWM:\s+(\d+) kB", status)
    assert found
    return int(found[1]) * 1024


def test_without_redis_an_export_is_a_problem(front: FrontProcess, redis_server) -> None:
    redis_server.stop()
    status, body, _ = get(front, "/api/v1/sightings/export")
    assert (status, json.loads(body)["status"]) == (503, 503)
    redis_server.start()


def test_the_documents_come_from_this_house_alone(front: FrontProcess) -> None:
    whole = json.loads(get(front, "/openapi.json")[1])
    assert whole["openapi"] == "3.1.0"
    assert whole["paths"].keys() >= OURS
    search = whole["paths"]["/api/v1/sightings"]["get"]
    assert {one["name"] for one in search["parameters"]} >= {"plate", "match", "cursor", "list"}
    status, body, kind = get(front, "/docs")
    page = body.decode()
    assert (status, kind) == (200, "text/html; charset=utf-8")
    assert "/api/v1/sightings/{sighting_id}" in page
    assert not re.findall(r"<script|<style|style=|(?:src|href)=\"(?![/#])", page)
    assert get(front, "/docs/page.css")[2].startswith("text/css")

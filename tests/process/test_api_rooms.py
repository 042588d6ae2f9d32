"""Watchlists, statistics and the system over HTTP, against a real Redis and real lists."""

import http.client
import json
import time
import urllib.parse
from collections.abc import Iterator

import pytest
from front_process import FrontProcess, front_process, sighting

from engine.board import Count, Stage
from engine.config import RedisSettings
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.watchlists.entries import FILE_NAME, Match, Watchlists

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS


@pytest.fixture
def front(redis_server, tmp_path) -> Iterator[FrontProcess]:
    with front_process(redis_server.url, cameras=("gate",), data_dir=str(tmp_path)) as running:
        yield running


@pytest.fixture
def lists(tmp_path) -> Iterator[Watchlists]:
    opened = Watchlists(tmp_path / "engine" / FILE_NAME)
    yield opened
    opened.close()


def ask(front, method: str, path: str, body: object = None, **query: object):
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=20)
    text = body if isinstance(body, bytes | None) else json.dumps(body)
    asked = f"?{urllib.parse.urlencode(query)}" if query else ""
    connection.request(method, f"/api/v1{path}{asked}", text)
    response = connection.getresponse()
    answer = response.read()
    connection.close()
    return response.status, json.loads(answer) if answer else None


def test_entries_are_put_on_lists_changed_and_taken_off(front, lists) -> None:
    said = {"match": "near", "label": "van", "severity": "alarm", "expires": "2030-01-01"}
    status, entry = ask(front, "PUT", "/watchlists/stolen/entries/ab-12%20cde", said)
    assert (status, entry["plate"], entry["match"], entry["label"]) == (
        200, "AB12CDE", "near", "van",
    )  # fmt: skip
    (stored,) = lists.entries("stolen")
    assert (stored.plate, stored.match, stored.severity) == ("AB12CDE", Match.NEAR, "alarm")
    ask(front, "PUT", "/watchlists/guests/entries/XY%3F%3F", {"note": "family"})
    assert ask(front, "GET", "/watchlists")[1] == [
        {"name": "guests", "entries": 1, "alert": False},
        {"name": "stolen", "entries": 1, "alert": True},
    ]
    (guest,) = ask(front, "GET", "/watchlists/guests/entries")[1]["entries"]
    assert (guest["plate"], guest["match"], guest["label"]) == ("XY??", "pattern", "family")
    assert ask(front, "DELETE", "/watchlists/stolen/entries/AB12CDE") == (204, None)
    assert ask(front, "DELETE", "/watchlists/stolen/entries/AB12CDE")[0] == 404
    assert ask(front, "DELETE", "/watchlists/guests") == (204, None)
    assert lists.sizes() == {}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/watchlists/a b/entries/AB1", {}, "list"),
        ("/watchlists/a/entries/-", {}, "entry"),
        ("/watchlists/a/entries/AB1", {"match": "some"}, "entry"),
        ("/watchlists/a/entries/AB1", {"severity": "dire"}, "entry"),
        ("/watchlists/a/entries/AB1", {"schedule": "never"}, "entry"),
        ("/watchlists/a/entries/AB1", {"expires": "9999-12-31"}, "entry"),
        ("/watchlists/a/entries/AB1", {"lable": "typo"}, "body"),
    ],
)
def test_what_is_no_entry_is_refused(front, path, body, field) -> None:
    status, problem = ask(front, "PUT", urllib.parse.quote(path), body)
    assert (status, problem["field"]) == (400, field), problem


def test_a_list_is_imported_whole_or_not_at_all_and_paged(front, lists, capfd) -> None:
    rows = b"\xef\xbb\xbfplate,label\n" + b"".join(b"AB%05d,car\n" % n for n in range(2_500))
    assert ask(front, "POST", "/watchlists/fleet/import", rows) == (200, {"entries": 2_500})
    status, problem = ask(front, "POST", "/watchlists/fleet/import", rows + b"-,none\n")
    assert (status, problem["field"]) == (400, "line 2502")
    assert ask(front, "POST", "/watchlists/fleet/import", b"\xff")[0] == 400
    assert ask(front, "POST", "/watchlists/fleet/import", b"")[0] == 400
    assert "Traceback" not in capfd.readouterr().err  # what somebody sends is no mistake of ours
    found, cursor = [], ""
    while not found or cursor:
        page = ask(front, "GET", "/watchlists/fleet/entries", limit=1_000, cursor=cursor)[1]
        found += [entry["plate"] for entry in page["entries"]]
        cursor = page["next"]
    assert found == [f"AB{n:05d}" for n in range(2_500)]
    page = ask(front, "GET", "/watchlists/fleet/entries", plate="ab0249")[1]
    assert [one["plate"] for one in page["entries"]] == [f"AB0249{n}" for n in range(10)]
    assert ask(front, "POST", "/watchlists/fleet/import", b"plate\nX1\n", replace=1)[0] == 200
    assert lists.sizes() == {"fleet": 1}


def test_where_no_engine_is_there_are_no_lists(redis_server) -> None:
    with front_process(redis_server.url, has_cameras=False) as front:
        assert ask(front, "GET", "/watchlists")[0] == 409
        assert ask(front, "POST", "/cameras", {"name": "x", "url": "demo://"})[0] == 409


def test_charts_count_sightings_by_time_camera_and_confidence(front, redis_server) -> None:
    now_ms = time.time_ns() // 1_000_000
    noon_ms = (now_ms // DAY_MS - 1) * DAY_MS + 12 * HOUR_MS
    early = {"first_unix_ms": noon_ms, "camera": "yard", "confidence": 35.0}
    late = {"first_unix_ms": noon_ms + 2 * HOUR_MS + 1}
    writer = StoreWriter(redis_server.url, RedisSettings())
    some = [sighting(1, 1, **early), sighting(1, 3, **early), sighting(2, 3, **early)]
    some += [sighting(3, 3, **late, confidence=100.0), sighting(4, 1, **late), sighting(1, 4)]
    writer.commit([Event(one, None) for one in some[:-1]])
    writer.commit([Event(one, None) for one in some[:-1]])
    writer.close()
    span = {"from": noon_ms, "to": noon_ms + 3 * HOUR_MS}
    status, body = ask(front, "GET", "/statistics", **span)
    assert status == 200
    first, second, third = body["buckets"]
    assert (first["from_unix_ms"], first["sightings"]) == (noon_ms, 2)
    assert first["by_camera"] == {"yard": 2}
    assert first["confidence"] == [0, 0, 0, 2, 0, 0, 0, 0, 0, 0]
    assert (second["sightings"], second["by_camera"]) == (0, {})
    assert (third["sightings"], third["by_camera"]) == (2, {"gate": 2})
    assert third["confidence"] == [0, 0, 0, 0, 0, 0, 0, 0, 0, 1]
    (day,) = ask(front, "GET", "/statistics", **span, bucket="day")[1]["buckets"]
    assert (day["from_unix_ms"] % DAY_MS, day["sightings"]) == (0, 4)
    one = ask(front, "GET", "/statistics", **span, camera="gate")[1]["buckets"]
    assert [bucket["sightings"] for bucket in one] == [0, 0, 2]
    last = ask(front, "GET", "/statistics", to=253_402_300_799_999)[1]["buckets"][-1]
    assert last["from_unix_ms"] == 253_402_300_799_999 + 1 - HOUR_MS
    usual = ask(front, "GET", "/statistics")[1]["buckets"]
    assert len(usual) in {24, 25}


@pytest.mark.parametrize(
    "query", ["from=5&to=4", "from=0", "bucket=week", "from=x", "to=-1", f"to={1 << 53}"]
)
def test_a_wrong_span_is_refused(front, query) -> None:
    asked = dict(urllib.parse.parse_qsl(query))
    status, problem = ask(front, "GET", "/statistics", **asked)
    assert (status, problem["status"]) == (400, 400)
    assert problem["field"] in query


def test_stages_tell_their_latency(front) -> None:
    row = front.board.row(0)
    for _ in range(90):
        row.observe(Stage.RECOGNIZE, 15_000_000)
    for _ in range(10):
        row.observe(Stage.RECOGNIZE, 60_000_000_000)
    row.release()
    found = {one["stage"]: one for one in ask(front, "GET", "/statistics/stages")[1]["stages"]}
    one = found["recognize"]
    assert (one["count"], one["p99_ms"]) == (100, 10_000)
    assert 10 < one["p50_ms"] < one["p90_ms"] <= 20
    assert one["mean_ms"] == pytest.approx(6_013.5)
    assert found["capture_to_slot"]["count"] == 0
    assert next(iter(found)) == "capture_to_slot"


def test_the_system_tells_what_it_is(front, redis_server) -> None:
    row = front.board.row(0)
    row.count(Count.DEAD_LETTERS, 3)
    row.gauge(Count.SPOOL_DEPTH, 7)
    row.release()
    status, found = ask(front, "GET", "/system")
    assert status == 200
    assert (found["node"], found["engine"], found["processes"]) == ("test", False, [])
    assert found["redis"].split(".")[0].isdigit()
    assert (found["sinks"]["dead_letters"], found["spool"]["waiting"]) == (3, 7)
    assert found["nodes"] == [{"name": "test", "engine": False, "cameras": 0, "clients": 0}]
    assert "gevent" in found["libraries"]
    redis_server.stop()
    assert ask(front, "GET", "/system")[1]["redis"] == ""
    redis_server.start()

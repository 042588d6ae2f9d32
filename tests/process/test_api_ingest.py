"""``POST /alpr_data``: through a real API process and a real publisher into a real Redis."""

import base64
import gzip
import http.client
import json
import socket
import time

import pytest
from front_process import front_process
from polling import wait_until
from publisher_rig import running

from engine.board import Count
from engine.config import ApiSettings
from engine.store import Store, connect

JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")
GROUP = {
    "data_type": "alpr_group", "version": 3, "best_uuid": "AGENT-1-2", "camera_id": 1000,
    "best_plate_number": "2BH375", "best_confidence": 93.25, "best_region": "us-ma",
    "epoch_start": 1_795_000_000_000, "epoch_end": 1_795_000_003_000, "uuids": ["a", "b", "c"],
    "travel_direction": 296.5, "is_parked": False,
    "best_plate": {"plate": "2BH375", "plate_crop_jpeg": base64.b64encode(JPEG).decode()},
    "candidates": [{"plate": "2BH375", "confidence": 93.25}, {"plate": "28H375", "confidence": 80}],
    "overview_jpeg": base64.b64encode(JPEG).decode().rstrip("="),
}  # fmt: skip


@pytest.fixture
def store(redis_server):
    client = connect(redis_server.url)
    yield Store(client)
    client.close()


@pytest.fixture
def publisher(redis_server, tmp_path):
    with running(tmp_path, redis_server.url) as rig:
        yield rig


@pytest.fixture
def front(redis_server, publisher):
    settings = ApiSettings(max_body_mib=1.0)
    ingest = str(publisher.ingest_path)
    with front_process(redis_server.url, ingest_path=ingest, settings=settings) as found:
        yield found


def post(front, body, path="/alpr_data", **headers):
    """Return status, JSON and headers of the answer."""
    packed = body if isinstance(body, bytes) else json.dumps(body).encode()
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=20)
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    connection.request("POST", path, packed, {"Content-Type": "application/json"} | named)
    response = connection.getresponse()
    answer = response.status, json.loads(response.read()), response.headers
    connection.close()
    return answer


def latest(store, count):
    """Return the latest sightings once there are so many."""
    wait_until(lambda: len(store.latest(100)) >= count, 5.0, "the sightings are in Redis")
    found = store.latest(100)
    assert len(found) == count
    return found


def test_a_bare_plate_becomes_a_final_sighting_each_time(front, store) -> None:
    assert post(front, {"plate": "abc 123"})[:2][0] == 200
    status, answer, _headers = post(
        front,
        {"plate": "ABC123", "camera": "gate", "confidence": 87.5, "region": "gb",
         "timestamp": "2026-11-22T10:00:00Z", "colour": "blue"},
    )  # fmt: skip
    assert (status, answer["status"]) == (200, "success")
    newest, first = latest(store, 2)
    assert (first.plate, first.phase, first.revision) == ("ABC123", "final", 1)
    assert (newest.camera, newest.confidence, newest.region) == ("gate", 87.5, "gb")
    assert newest.first_unix_ms == 1_795_341_600_000
    assert answer["sightings"] == [newest.id]
    assert newest.id != first.id


def test_a_plate_posted_here_is_heard_in_the_stream(front) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    connection.request("GET", "/stream")
    stream = connection.getresponse()
    wait_until(lambda: front.total(Count.SSE_CLIENTS) == 1, 5.0, "the client has joined")
    post(front, {"plate": "HEARD1"})
    lines = iter(stream.readline, b"")
    assert next(line for line in lines if line.startswith(b"data")) == b"data: HEARD1\n"
    stream.close()
    connection.close()


def test_a_group_is_one_sighting_however_often_it_comes(front, store) -> None:
    answers = [post(front, GROUP)[1], post(front, GROUP)[1]]
    alert = {"data_type": "alpr_alert", "plate_number": "2BH375", "group": GROUP}
    answers.append(post(front, alert)[1])
    (found,) = latest(store, 1)
    assert [answer["sightings"] for answer in answers] == [[found.id]] * 3
    assert (found.plate, found.camera, found.region) == ("2BH375", "agent-1000", "us-ma")
    assert (found.reads, found.direction_deg) == (3, 206.5)
    assert [each.plate for each in found.candidates] == ["2BH375", "28H375"]
    evidence = store.evidence(found.id)
    assert (evidence.crop_jpeg, evidence.frame_jpeg) == (JPEG, JPEG)


def test_fields_that_a_sighting_has_no_place_for_are_kept(front, store) -> None:
    vehicle = {"make": [{"name": "bmw", "confidence": 99.9}]}
    status, answer, _headers = post(front, GROUP | {"vehicle": vehicle, "novel": [1, None, "ü"]})
    assert status == 200
    latest(store, 1)
    (group,) = answer["sightings"]
    kept = json.loads(store.payload(group))
    assert (kept["vehicle"], kept["novel"], kept["best_uuid"]) == (
        vehicle,
        [1, None, "ü"],
        "AGENT-1-2",
    )
    assert not [name for name in _names(kept) if name.endswith("_jpeg")]
    (bare,) = post(front, {"plate": "A1", "colour": "blue"})[1]["sightings"]
    (plain,) = post(front, {"plate": "A2"})[1]["sightings"]
    latest(store, 3)
    assert json.loads(store.payload(bare)) == {"plate": "A1", "colour": "blue"}
    assert store.payload(plain) == b""
    assert fetch(front, f"/api/v1/sightings/{bare}/payload") == (200, store.payload(bare))
    assert fetch(front, f"/api/v1/sightings/{plain}/payload")[0] == 404


def _names(value):
    """Return the names of all fields, at any depth."""
    if isinstance(value, dict):
        return [*value, *(name for inner in value.values() for name in _names(inner))]
    return [name for inner in value for name in _names(inner)] if isinstance(value, list) else []


def fetch(front, path):
    """Return status and body."""
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=20)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def test_the_payload_can_be_kept_as_it_came(redis_server, publisher, store) -> None:
    settings, ingest = ApiSettings(keep_payloads=True), str(publisher.ingest_path)
    body = json.dumps(GROUP).encode() + b"  \n"
    with front_process(redis_server.url, ingest_path=ingest, settings=settings) as front:
        for sent, headers in ((body, {}), (gzip.compress(body), {"Content_Encoding": "gzip"})):
            (kept,) = post(front, sent, **headers)[1]["sightings"]
        latest(store, 1)
        assert store.payload(kept) == body


def test_the_same_uuid_is_the_same_sighting_also_of_a_bare_plate(front, store) -> None:
    one = {"plate": "SAME1", "uuid": "pole-7-1"}
    answers = [post(front, one)[1]["sightings"] for _ in range(3)]
    answers.append(post(front, one | {"uuid": "pole-7-2"})[1]["sightings"])
    assert answers[0] == answers[1] == answers[2] != answers[3]
    latest(store, 2)


GROUPS = [
    {"version": 1, "site_id": "yard", "company_id": "x", "matches_template": 0},
    {"version": 2, "agent_type": "alprd", "country": "us", "gps_latitude": -1.0},
    {"version": 3, "vehicle_path": [{"x": 1, "y": 2, "w": 3, "h": 4, "t": -48, "f": -1}]},
]


@pytest.mark.parametrize("more", GROUPS, ids=lambda more: f"version {more['version']}")
def test_groups_of_all_versions_are_taken(front, store, more) -> None:
    group = {"data_type": "alpr_group", "best_uuid": f"u{more['version']}", "camera_id": 7} | more
    named = group | {"best_plate_number": "AB123", "best_confidence": 90}
    inner = {"plate": "AB123", "confidence": 90, "region": "mo", "matches_template": 0}
    within = group | {"best_plate": inner, "best_uuid": "other"}
    assert [post(front, body)[0] for body in (named, within)] == [200, 200]
    found = latest(store, 2)
    assert {(each.plate, each.camera) for each in found} == {("AB123", "agent-7")}
    assert {each.region for each in found} == {"", "mo"}


HEARTBEAT = {
    "data_type": "heartbeat", "version": 1, "company_id": "x", "site_id": "yard",
    "timestamp": 1_453_426_302_097, "system_uptime_seconds": 2_595_123, "cpu_usage_percent": 18.5,
    "video_streams": [{"camera_id": 1, "fps": 12, "url": "rtsp://viewer:secret@192.0.2.1/x"}],
}  # fmt: skip


def test_heartbeats_and_vehicles_are_taken_and_nothing_is_kept(front, store) -> None:
    vehicle = {"data_type": "vehicle", "version": 3, "vehicle": {}, "vehicle_crop_jpeg": "x"}
    for body in (HEARTBEAT, vehicle):
        assert post(front, body)[:2] == (200, {"status": "success", "sightings": []})
    assert store.latest(9) == []
    assert front.total(Count.INGESTED) == 2


def test_results_go_through_the_tracker(front, store) -> None:
    now_ms = time.time_ns() // 1_000_000
    for step in range(4):
        result = {
            "plate": "M5XSX", "confidence": 90.6, "candidates": [],
            "coordinates": [{"x": 410 + step, "y": 341}, {"x": 510 + step, "y": 341},
                            {"x": 510 + step, "y": 366}, {"x": 410 + step, "y": 366}],
        }  # fmt: skip
        body = {"data_type": "alpr_results", "version": 2, "epoch_time": now_ms + 100 * step,
                "img_width": 1000, "img_height": 750, "results": [result]}  # fmt: skip
        assert post(front, body)[0] == 200
    wait_until(
        lambda: [each.phase for each in store.latest(9)] == ["final"], 10.0, "the track is final"
    )
    (found,) = store.latest(9)
    assert (found.plate, found.reads, found.origin) == ("M5XSX", 4, "ingest")


@pytest.mark.shared
def test_real_payloads_of_agents_are_taken(front, store, shared_data) -> None:
    for name in ("alpr_group", "alpr_alert", "vehicle", "alpr_results"):
        body = (shared_data / "webhooks" / f"{name}.json").read_bytes()
        status, answer, _headers = post(front, body)
        assert (status, answer["status"]) == (200, "success"), name
    wait_until(lambda: len(store.latest(9)) == 2, 10.0, "group and results are in Redis")
    plates = {each.plate for each in store.latest(9)}
    # The alert's group carries the same uuid as the group's: to an agent that is one vehicle.
    assert plates == {"19462SH", "M5XSX"}
    group = next(each for each in store.latest(9) if each.plate == "19462SH")
    assert store.evidence(group.id).crop_jpeg.startswith(b"\xff\xd8\xff")


MALFORMED = [
    ({}, 400, "plate"),
    ({"plate": 5}, 400, "plate"),
    ({"plate": ""}, 400, "plate"),
    ({"plate": "---"}, 400, "plate"),
    ({"plate": "A1", "confidence": 101}, 400, "confidence"),
    ({"plate": "A1", "timestamp": "yesterday"}, 400, "timestamp"),
    ({"plate": "A1", "timestamp": 1e300}, 400, "timestamp"),
    ({"plate": "A1", "region": "Bavaria"}, 400, "region"),
    ([], 400, "body"),
    (b"{", 400, "body"),
    (b"\xff\xfe", 400, "body"),
    (b"", 400, "body"),
    ({"data_type": "other"}, 400, "data_type"),
    ({"data_type": "alpr_group"}, 400, "best_plate_number"),
    ({"data_type": "alpr_results", "results": [{"plate": 1}]}, 400, "results[0].plate"),
    ({"data_type": "alpr_results", "results": [{"plate": "."}]}, 400, "results[0].plate"),
    ({"data_type": "alpr_alert", "group": {}}, 400, "group.best_plate_number"),
    (b'{"plate": "' + b"A" * (1 << 20) + b'"}', 413, "body"),
]


def test_malformed_bodies_name_the_field(front) -> None:
    for body, status, field in MALFORMED:
        found, answer, _headers = post(front, body)
        assert (found, answer["field"]) == (status, field), body
        assert answer["error"]
    assert front.total(Count.INGEST_REFUSED) == len(MALFORMED)


def test_types_and_encodings(front, store) -> None:
    zipped = gzip.compress(b'{"plate": "ZIP1"}')
    assert post(front, zipped, Content_Encoding="gzip")[0] == 200
    (found,) = latest(store, 1)
    assert found.plate == "ZIP1"
    bomb = gzip.compress(b'{"plate": "' + b"A" * (64 << 20) + b'"}')
    assert post(front, bomb, Content_Encoding="gzip")[0] == 413
    assert post(front, zipped[:-9], Content_Encoding="gzip")[1]["field"] == "body"
    assert post(front, b"no gzip", Content_Encoding="gzip")[1]["field"] == "body"
    assert post(front, b"x", Content_Encoding="br")[0] == 415
    assert post(front, b"plate=A1", Content_Type="application/x-www-form-urlencoded")[0] == 415


def test_a_body_that_ends_early_and_a_strange_page_are_refused(front) -> None:
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as client:
        client.sendall(
            b"POST /alpr_data HTTP/1.1\r\nHost: x\r\nContent-Length: 50\r\n\r\n" + b'{"plate"'
        )
        client.shutdown(socket.SHUT_WR)
        answer = client.makefile("rb").read()
    assert answer.startswith(b"HTTP/1.1 400")
    assert b'"field":"body"' in answer.replace(b" ", b"")
    assert post(front, {"plate": "A1"}, Sec_Fetch_Site="cross-site")[0] == 403
    assert post(front, {"plate": "A1"}, Sec_Fetch_Site="same-origin")[0] == 200


def test_without_a_publisher_nothing_is_taken_and_the_client_told_to_come_back(
    front, publisher, store
) -> None:
    publisher.kill()
    publisher.listener.close()  # the supervisor's listener goes with the engine
    status, answer, headers = post(front, {"plate": "LATER1"})
    assert status == 503
    assert int(headers["Retry-After"]) >= 1
    assert answer["error"]
    assert store.latest(9) == []
    assert front.total(Count.INGEST_REFUSED) == 1


def test_posts_while_redis_is_away_are_durable(front, redis_server, store) -> None:
    redis_server.stop()
    assert post(front, {"plate": "KEPT1"})[0] == 200
    redis_server.start()
    wait_until(lambda: _plates(store) == ["KEPT1"], 15.0, "the plate reaches Redis")


def _plates(store):
    return [each.plate for each in store.latest(9)]

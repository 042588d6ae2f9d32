"""Machines that share one Redis: a front without cameras shows those of an engine elsewhere."""

import contextlib
import http.client
import json
import time

import pytest
from engine_run import demo, running
from polling import wait_until

from engine.store import CLIENTS, node_report_key

JPEG = b"\xff\xd8\xff"


@pytest.fixture
def machines(tmp_path, redis_server):
    """An engine called north and a front called office, each with data of its own."""
    shared = f'[redis]\nurl = "{redis_server.url}"\n'
    north = f'node = "north"\n{demo()}\n{shared}[recognizers]\ncount = 1\n'
    north += "[canary]\nevery_s = 3.0\n"
    office = f'node = "office"\n{shared}[api]\nport = 0\n'
    (tmp_path / "north").mkdir()
    (tmp_path / "office").mkdir()
    with (
        running(tmp_path / "north", north, "engine") as engine,
        running(tmp_path / "office", office, "api") as front,
    ):
        yield engine, front


def test_a_front_shows_what_the_engine_of_another_machine_sees(machines, redis_server):
    engine, front = machines
    camera = wait_until(lambda: live(front), 30.0, "its camera is live")
    assert (camera["node"], camera["has_snapshot"]) == ("north", True)
    assert json.loads(front.get("/healthz"))["engine"]
    for query in ("", "?node=north"):
        path = f"/api/v1/cameras/{camera['name']}/snapshot.jpg{query}"
        assert wait_until(lambda path=path: front.get(path), 10.0, "a picture")[:3] == JPEG
    found = wait_until(lambda: sightings(front), 30.0, "a sighting with a picture")
    assert {one["node"] for one in found} == {"north"}
    assert front.get(f"/api/v1/sightings/{found[0]['id']}/crop.jpg")[:3] == JPEG
    theirs = wait_until(lambda: metrics(front, "?node=north"), 15.0, "their metrics")
    assert 'platering_node_info{node="north"} 1.0' in theirs
    assert f'platering_frames_captured_total{{camera="{camera["name"]}"}}' in theirs
    canary = 'platering_canaries_total{stage="delivered"}'
    wait_until(lambda: value(metrics(front, "?node=north"), canary) > 0, 20.0, "it came through")
    ours = metrics(front, "")
    assert value(ours, 'platering_canary_delivered_timestamp_seconds{node="north"}') > 0
    assert canary not in ours
    assert 'platering_node_info{node="office"} 1.0' in ours
    assert 'platering_node_cameras{node="north"} 1.0' in ours
    with redis_server.connect() as client:
        with stream_of(front):
            wait_until(lambda: listening(client) == b"1", 5.0, "one listens")
            told = 'platering_stream_clients{node="office"} 1.0'
            wait_until(lambda: told in metrics(front, ""), 5.0, "its front has read that, too")
        wait_until(lambda: listening(client) == b"0", 5.0, "nobody listens")
        engine.stop()
        client.delete(node_report_key("north"))  # it would end by itself within 10 s
    wait_until(lambda: not live(front), 5.0, "the camera is gone")
    assert not json.loads(front.get("/healthz"))["engine"]


def value(text, sample):
    return next(float(line.split()[1]) for line in text.splitlines() if line.startswith(sample))


def listening(client):
    return client.hget(CLIENTS, "office:api-0").partition(b" ")[0]


def live(front):
    found = json.loads(front.get("/api/v1/cameras"))["cameras"]
    return next((one for one in found if one["state"] == "live" and one["fps"] > 0), None)


def sightings(front):
    found = json.loads(front.get("/api/v1/sightings"))["sightings"]
    return [one for one in found if one["has_crop"]]


def metrics(front, query):
    try:
        return front.get(f"/metrics{query}").decode()
    except AssertionError:  # not reported yet
        time.sleep(0.2)
        return ""


@contextlib.contextmanager
def stream_of(front):
    """A client of the live stream, gone at the end of the block."""
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    connection.request("GET", "/stream")
    with connection.getresponse():
        yield
    connection.close()

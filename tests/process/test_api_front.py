"""The API process: live events, replay, REST and its end, against a real Redis."""

import http.client
import json
import resource
import socket
import time
from collections.abc import Iterator

import pytest
from event_stream import Stream
from front_process import FrontProcess, front_process, sighting
from polling import wait_until

from engine.benchmarks.sse_servers import unlimited
from engine.board import Count
from engine.config import RedisSettings, Settings
from engine.forget import forget
from engine.messages import Stop, encode
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Candidate, Evidence, Sighting

JPEG = bytes.fromhex("ffd8ffe000104a46494600010100000100010000ffd9")


@pytest.fixture
def writer(redis_server) -> Iterator[StoreWriter]:
    found = StoreWriter(redis_server.url, RedisSettings())
    yield found
    found.close()


@pytest.fixture
def front(redis_server) -> Iterator[FrontProcess]:
    with front_process(redis_server.url) as running:
        yield running


def get(front: FrontProcess, path: str) -> tuple[int, bytes, http.client.HTTPMessage]:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    found = response.status, response.read(), response.headers
    connection.close()
    return found


def commit(writer: StoreWriter, *sightings: Sighting, evidence: Evidence | None = None) -> None:
    writer.commit([Event(each, evidence) for each in sightings])


def joined(front: FrontProcess, clients: int) -> None:
    wait_until(lambda: front.total(Count.SSE_CLIENTS) == clients, 5.0, "clients have joined")


def test_plain_stream_has_one_plate_per_sighting(front: FrontProcess, writer: StoreWriter) -> None:
    stream = Stream(front, "/stream")
    joined(front, 1)
    commit(writer, sighting(1), sighting(1, 2, plate="AB000I"), sighting(2), sighting(1, 3))
    commit(writer, sighting(3))
    assert [block["data"] for block in stream.take(3)] == ["AB0001", "AB0002", "AB0003"]
    stream.close()
    joined(front, 0)


def test_events_carry_every_revision_with_increasing_ids(
    front: FrontProcess, writer: StoreWriter
) -> None:
    stream = Stream(front, "/api/v1/events")
    joined(front, 1)
    commit(writer, sighting(1), sighting(1, 2), sighting(1, 3))
    blocks = stream.take(3)
    bodies = [json.loads(block["data"]) for block in blocks]
    assert [body["revision"] for body in bodies] == [1, 2, 3]
    assert [body["phase"] for body in bodies] == ["provisional", "revised", "final"]
    assert [block["id"].split(".")[1] for block in blocks] == ["1", "2", "3"]
    stream.close()


def test_a_client_resumes_by_id_without_gap_or_double(
    front: FrontProcess, writer: StoreWriter
) -> None:
    first = Stream(front, "/api/v1/events")
    joined(front, 1)
    commit(writer, *(sighting(number) for number in range(20)))
    last = first.take(20)[9]["id"]
    first.close()
    again = Stream(front, "/api/v1/events", last_id=last)
    for number in range(20, 30):
        commit(writer, sighting(number))
    plates = [json.loads(block["data"])["id"] for block in again.take(20)]
    assert plates == [f"s{number}" for number in range(10, 30)]
    again.close()


def test_a_bare_stream_id_resumes_too(front: FrontProcess, writer: StoreWriter) -> None:
    commit(writer, *(sighting(number) for number in range(5)))
    everything = Stream(front, "/api/v1/events?since=0")
    blocks = everything.take(5)
    everything.close()
    bare = blocks[1]["id"].split(".")[0]
    again = Stream(front, f"/api/v1/events?since={bare}")
    assert [json.loads(block["data"])["id"] for block in again.take(3)] == ["s2", "s3", "s4"]
    again.close()


def test_trimmed_events_are_counted_in_a_gap_event(redis_server, writer: StoreWriter) -> None:
    commit(writer, *(sighting(number) for number in range(10)))
    with front_process(redis_server.url) as front:
        everything = Stream(front, "/api/v1/events?since=0")
        first = everything.take(10)[0]["id"]
        everything.close()
        with redis_server.connect() as client:
            client.xtrim("platering:{log}:stream", maxlen=3, approximate=False)
        still = Stream(front, "/api/v1/events", last_id=first)  # this process remembers them
        assert [json.loads(each["data"])["id"] for each in still.take(9)][::8] == ["s1", "s9"]
        still.close()
    with front_process(redis_server.url) as front:
        again = Stream(front, "/api/v1/events?phase=final", last_id=first)
        (gap,) = again.take(1)
        assert gap["event"] == "gap"
        assert json.loads(gap["data"])["missed"] == 6
        again.close()
        whole = Stream(front, "/api/v1/events", last_id=gap["id"])
        assert [json.loads(block["data"])["id"] for block in whole.take(3)] == ["s7", "s8", "s9"]
        whole.close()


def test_a_plate_that_was_forgotten_is_told_to_nobody_who_comes_back(
    front: FrontProcess, writer: StoreWriter, redis_server, tmp_path
) -> None:
    commit(writer, *(sighting(number) for number in range(5)))
    everything = Stream(front, "/api/v1/events?since=0")
    first = everything.take(5)[0]["id"]
    everything.close()
    redis = RedisSettings(url=redis_server.url)
    assert forget(Settings(data_dir=tmp_path, redis=redis), "AB0002").stream_entries == 1

    def told() -> list[str]:
        again = Stream(front, "/api/v1/events", last_id=first)
        blocks = again.take(4)
        again.close()
        return [block.get("event", json.loads(block["data"]).get("plate")) for block in blocks]

    wait_until(lambda: told() == ["AB0001", "gap", "AB0003", "AB0004"], 3.0, "it is gone")


def test_filters_let_only_what_was_asked_for_through(
    front: FrontProcess, writer: StoreWriter
) -> None:
    finals = Stream(front, "/api/v1/events?phase=final&camera=gate&plate=AB*&min_confidence=90")
    joined(front, 1)
    commit(
        writer,
        sighting(1),
        sighting(1, 3),
        sighting(2, 3, camera="yard"),
        sighting(3, 3, plate="XX1"),
        sighting(4, 3, confidence=60.0),
        sighting(5, 3),
    )
    assert [json.loads(block["data"])["id"] for block in finals.take(2)] == ["s1", "s5"]
    finals.close()


@pytest.mark.parametrize(
    ("query", "field"),
    [("phase=x", "phase"), ("since=x", "since"), ("min_confidence=200", "min_confidence"),
     ("since=99999999999999999999999", "since"), ("min_confidence=nan", "min_confidence")],
)  # fmt: skip
def test_a_wrong_wish_is_refused(front: FrontProcess, query: str, field: str) -> None:
    status, body, _headers = get(front, f"/api/v1/events?{query}")
    assert status == 400
    assert json.loads(body)["field"] == field


def test_streams_survive_an_outage_of_redis(
    front: FrontProcess, redis_server, writer: StoreWriter
) -> None:
    stream = Stream(front, "/api/v1/events")
    joined(front, 1)
    commit(writer, sighting(1))
    stream.take(1)
    redis_server.stop()
    status, body, _headers = get(front, "/api/v1/sightings")
    assert status == 503
    assert "Redis" in json.loads(body)["error"]
    assert json.loads(get(front, "/healthz")[1])["redis"] is False
    writer.close()
    redis_server.start()
    commit(writer, sighting(2))
    (block,) = stream.take(1)
    if block.get("event") == "gap":  # Redis had not yet written what it had acknowledged
        assert json.loads(block["data"])["missed"] is None
        (block,) = stream.take(1)
    assert json.loads(block["data"])["id"] == "s2"
    stream.close()


def test_a_client_that_takes_nothing_is_cut_and_the_others_go_on(
    front: FrontProcess, writer: StoreWriter
) -> None:
    slow = socket.socket()
    slow.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    slow.connect(("127.0.0.1", front.port))
    slow.sendall(b"GET /api/v1/events HTTP/1.1\r\nHost: x\r\n\r\n")
    good = Stream(front, "/api/v1/events?phase=final")
    joined(front, 2)
    padding = tuple(Candidate("X" * 200, 1.0) for _ in range(50))
    sent = 0
    while front.total(Count.SSE_CUT) == 0:
        assert sent < 5_000, "never cut"
        commit(writer, *(sighting(sent + n, candidates=padding) for n in range(20)))
        sent += 20
    joined(front, 1)
    commit(writer, sighting(99_999, 3))
    assert json.loads(good.take(1)[0]["data"])["id"] == "s99999"
    slow.close()
    good.close()


def test_sightings_are_listed_searched_and_shown(front: FrontProcess, writer: StoreWriter) -> None:
    commit(writer, sighting(1, has_crop=True), evidence=Evidence(crop_jpeg=JPEG))
    commit(writer, sighting(2), sighting(3, camera="yard"))
    listed = json.loads(get(front, "/api/v1/sightings?limit=2")[1])
    assert [each["id"] for each in listed["sightings"]] == ["s3", "s2"]
    found = json.loads(get(front, "/api/v1/sightings?plate=ab-0001")[1])
    assert [each["id"] for each in found["sightings"]] == ["s1"]
    found = json.loads(get(front, "/api/v1/sightings?camera=yard")[1])
    assert [each["id"] for each in found["sightings"]] == ["s3"]
    assert json.loads(get(front, "/api/v1/sightings/s2")[1])["plate"] == "AB0002"
    status, body, headers = get(front, "/api/v1/sightings/s1/crop.jpg")
    assert (status, body, headers["Content-Type"]) == (200, JPEG, "image/jpeg")
    assert get(front, "/api/v1/sightings/s1/frame.jpg")[0] == 404
    assert get(front, "/api/v1/sightings/none")[0] == 404
    assert get(front, "/api/v1/sightings?limit=0")[0] == 400


def test_stop_ends_streams_gently_and_within_three_seconds(
    front: FrontProcess, writer: StoreWriter
) -> None:
    streams = [Stream(front, "/api/v1/events") for _ in range(5)]
    joined(front, 5)
    commit(writer, sighting(1))
    for stream in streams:
        stream.take(1)
    began = time.monotonic()
    assert front.stop() == 0
    assert time.monotonic() - began < 3.0
    for stream in streams:
        ending = stream.block()
        assert (ending["event"], json.loads(ending["data"])) == ("end", {"reason": "closing"})
        assert 100 <= int(ending["retry"]) <= 1_005  # they do not come back all at once
        assert stream.block() == {}
        stream.close()


def test_the_front_ends_with_its_supervisor(redis_server) -> None:
    with front_process(redis_server.url) as front:
        front.link.close()
        assert front.process.wait(3.0) == 0


def test_errors_are_json_and_headers_are_strict(front: FrontProcess) -> None:
    status, body, headers = get(front, "/nothing")
    assert status == 404
    assert json.loads(body)["error"]
    assert "default-src 'self'" in headers["Content-Security-Policy"]
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    connection.request("DELETE", "/stream")
    response = connection.getresponse()
    assert response.status == 405
    assert "GET" in response.headers["Allow"]
    assert json.loads(response.read())["error"]
    connection.request("HEAD", "/stream")
    head = connection.getresponse()
    assert (head.status, head.read()) == (200, b"")
    connection.close()


def test_metrics_speak_prometheus(front: FrontProcess, writer: StoreWriter) -> None:
    stream = Stream(front, "/stream")
    joined(front, 1)
    commit(writer, sighting(1))
    stream.take(1)
    delivered = 'platering_stage_seconds_bucket{le="+Inf",stage="capture_to_delivered"} 1.0'
    wait_until(lambda: delivered in get(front, "/metrics")[1].decode(), 5.0, "counted once it left")
    text = get(front, "/metrics")[1].decode()
    assert "platering_sse_clients 1.0" in text
    assert "platering_sse_deliveries_total 1.0" in text
    assert 'platering_process_up{kind="api",process="row-0"} 1.0' in text
    assert "AB0001" not in text
    stream.close()


def test_several_processes_share_a_listener_and_each_serves_the_stream(
    redis_server, writer: StoreWriter
) -> None:
    with (
        front_process(redis_server.url) as one,
        front_process(redis_server.url, listen=one.listener) as other,
    ):
        streams: list[Stream] = []

        def both_serve() -> bool:
            streams.append(Stream(one, "/stream"))
            return min(one.total(Count.SSE_CLIENTS), other.total(Count.SSE_CLIENTS)) > 0

        wait_until(both_serve, 10.0, "both processes have clients")
        commit(writer, sighting(1))
        assert {stream.take(1)[0]["data"] for stream in streams} == {"AB0001"}
        for stream in streams:
            stream.close()


def test_answers_on_a_kept_connection_do_not_wait_for_acknowledgements(
    front: FrontProcess,
) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    took_s = []
    for _ in range(30):
        began = time.monotonic()
        connection.request("GET", "/api/v1/sightings")
        assert connection.getresponse().read()
        took_s.append(time.monotonic() - began)
    connection.close()
    assert min(took_s[10:]) < 0.03  # Nagle and delayed acknowledgements would make it 0.04


def test_connections_that_are_only_kept_open_do_not_hold_up_the_end(front: FrontProcess) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    connection.request("GET", "/healthz")
    assert connection.getresponse().read()
    front.link.send(encode(Stop(grace_s=60.0)))
    assert front.process.wait(30.0) == 0
    connection.close()


def test_more_clients_than_the_usual_limit_of_descriptors(redis_server) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard < 2_000:
        pytest.skip("needs a hard limit of 2000 open files: raise it with ulimit -Hn")
    resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
    try:
        with front_process(redis_server.url, settings=unlimited()) as front:
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
            streams = [Stream(front, "/stream") for _ in range(300)]
            joined(front, 300)
            for stream in streams:
                stream.close()
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))

"""Live events: who may hear what, how many at once, over TLS, and from which list."""

import http.client
import json
import ssl
import time
from pathlib import Path

import gevent
import gevent.socket
import gevent.ssl
import pytest
from event_stream import Stream
from front_process import front_process, sighting
from polling import wait_until
from redis_shapes import certificate

from api.channels import Channel
from api.subscriber import Subscriber
from engine.board import Count
from engine.config import ApiSettings, RedisSettings
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Hit


def test_a_list_is_followed_and_clients_are_counted(redis_server) -> None:
    with front_process(redis_server.url) as front:
        stream = Stream(front, "/api/v1/events?list=stolen&plate=ab-*")
        wait_until(lambda: front.total(Count.SSE_CLIENTS) == 1, 5.0, "it has joined")
        hits = (Hit(list="stolen", plate="AB0002", match="exact"),)
        with_hit = [Event(sighting(number, hits=hits), None) for number in (2, 4)]
        writer = StoreWriter(redis_server.url, RedisSettings())
        writer.commit([Event(sighting(1), None), with_hit[0], Event(sighting(3), None)])
        writer.commit([Event(sighting(5, plate="XX", hits=hits), None), with_hit[1]])
        writer.close()
        assert [json.loads(block["data"])["id"] for block in stream.take(2)] == ["s2", "s4"]
        wait_until(lambda: _clients(front.port) == (1, 1, {"test": 1}), 5.0, "Redis knows of it")
        stream.close()
        wait_until(lambda: _clients(front.port)[:2] == (0, 0), 5.0, "and that it left")


def _clients(port: int) -> tuple[int, int, dict[str, int]]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=10)
    connection.request("GET", "/api/v1/events/clients")
    found = json.loads(connection.getresponse().read())
    connection.close()
    return found["here"], found["total"], found["nodes"]


def test_an_address_has_so_many_streams_and_no_more(redis_server) -> None:
    settings = ApiSettings(streams_per_address=2)
    with front_process(redis_server.url, settings=settings) as front:
        streams = [Stream(front, path) for path in ("/stream", "/api/v1/events")]
        wait_until(lambda: front.total(Count.SSE_CLIENTS) == 2, 5.0, "both have joined")
        connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
        connection.request("GET", "/stream")
        refused = connection.getresponse()
        assert refused.status == 429
        assert int(refused.headers["Retry-After"]) > 0
        assert "2 live streams" in json.loads(refused.read())["error"]
        connection.request("HEAD", "/healthz")  # everything else goes on
        assert connection.getresponse().status == 200
        connection.close()
        assert front.total(Count.SSE_REFUSED) == 1
        streams.pop().close()
        wait_until(lambda: front.total(Count.SSE_CLIENTS) == 1, 5.0, "one has left")
        streams.append(Stream(front, "/stream"))
        for stream in streams:
            stream.close()


def test_the_first_event_after_a_quiet_moment_leaves_at_once(redis_server) -> None:
    writer = StoreWriter(redis_server.url, RedisSettings())
    took_s = []
    with front_process(redis_server.url) as front:
        stream = Stream(front, "/api/v1/events")
        wait_until(lambda: front.total(Count.SSE_CLIENTS) == 1, 5.0, "it has joined")
        for number in range(8):
            time.sleep(0.15)  # a quiet moment
            began = time.monotonic()
            writer.commit([Event(sighting(number), None)])
            stream.take(1)
            took_s.append(time.monotonic() - began)
        stream.close()
    writer.close()
    assert min(took_s) < 0.03, "it waits for others"


def test_a_slow_client_over_tls_gets_every_byte(tmp_path: Path) -> None:
    pem = certificate(tmp_path)
    serving = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    serving.load_cert_chain(pem, tmp_path / "key.pem")
    visiting = gevent.ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    visiting.load_verify_locations(pem)
    near, far = gevent.socket.socketpair()
    accepting = gevent.spawn(serving.wrap_socket, near, server_side=True)
    client = visiting.wrap_socket(far, server_hostname="127.0.0.1")
    served = accepting.get(timeout=10)
    subscriber = Subscriber(served, Channel())
    sent = [b"id: %d\ndata: %b\n\n" % (number, b"x" * 2_000) for number in range(100)]
    for payload in sent:
        assert subscriber.offer(payload)
    assert subscriber.backlog, "the socket's buffer took all: nothing is tried here"
    received = b""
    with gevent.Timeout(10):
        while len(received) < sum(map(len, sent)):
            received += client.recv(1 << 16)
    assert received == b"".join(sent)
    assert subscriber.offer(b"again")
    assert client.recv(100) == b"again"
    subscriber.dismiss(b"end")
    assert client.recv(100) == b"end"
    assert client.recv(100) == b""
    subscriber.let_go()
    client.close()
    served.close()


@pytest.mark.parametrize("query", ["min_confidence=x", "phase=now", "plate=--", "cameras=maybe"])
def test_a_wrong_wish_names_its_field(redis_server, query: str) -> None:
    with front_process(redis_server.url) as front:
        connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
        connection.request("GET", f"/api/v1/events?{query}")
        answer = connection.getresponse()
        assert answer.status == 400
        assert json.loads(answer.read())["field"] == query.partition("=")[0]
        connection.close()

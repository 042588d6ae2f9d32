"""The front's defences over real connections: TLS, slow and huge requests, no secret that leaks."""

import contextlib
import http.client
import json
import socket
import ssl
import subprocess
import time
from types import SimpleNamespace

import pytest
from engine_run import PLATERING, demo, running
from event_stream import Stream
from front_app import new_key
from front_process import front_process, sighting
from polling import wait_until
from redis_shapes import certificate
from streams import nginx

from engine.board import Count
from engine.config import ApiSettings, RedisSettings
from engine.keys import Keys
from engine.people import People
from engine.records import FOLDER
from engine.scopes import Scope
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import CameraState


def ask(front, path, *, method="GET", body=None, headers=None):
    """Return status, body and headers of an answer."""
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, body, headers or {})
        response = connection.getresponse()
        return response.status, response.read(), response.headers


@pytest.fixture
def front(redis_server, tmp_path):
    with front_process(redis_server.url, data_dir=str(tmp_path)) as found:
        yield found


def test_two_processes_hear_of_keys_made_and_removed_at_once(redis_server, tmp_path):
    made = new_key(tmp_path, Scope.ADMIN)
    admin, keys = {"X-API-Key": made}, Keys(tmp_path / FOLDER)
    with (
        front_process(redis_server.url, data_dir=str(tmp_path)) as one,
        front_process(redis_server.url, data_dir=str(tmp_path)) as other,
    ):
        body = json.dumps({"scope": "read"})
        status, answer, _ = ask(one, "/api/v1/keys", method="POST", body=body, headers=admin)
        assert status == 201
        viewer = {"Authorization": f"Bearer {json.loads(answer)['key']}"}
        assert [ask(each, "/api/v1/cameras", headers=viewer)[0] for each in (one, other)] == [
            200
        ] * 2
        keys.remove(json.loads(answer)["id"])
        assert [ask(each, "/api/v1/cameras", headers=viewer)[0] for each in (one, other)] == [
            401
        ] * 2


def test_open_streams_end_with_what_they_were_opened_with(redis_server, tmp_path, front):
    keys, people = Keys(tmp_path / FOLDER), People(tmp_path / FOLDER)
    local = Stream(front, "/api/v1/events")
    first, stays = new_key(tmp_path, Scope.STREAM), new_key(tmp_path, Scope.STREAM)
    people.put("anna", "read", "correct horse")
    assert said_last(local) == {"event": "end", "data": '{"reason":"denied"}'}, "it is not open now"
    kept = Stream(front, f"/api/v1/events?key={stays}")
    of_key = [Stream(front, f"{path}?key={first}") for path in ("/api/v1/events", "/stream")]
    body = json.dumps({"name": "anna", "password": "correct horse"})
    _, _, headers = ask(front, "/api/v1/session", method="POST", body=body)
    cookie = {"Cookie": headers["Set-Cookie"].partition(";")[0]}
    of_session = Stream(front, "/api/v1/events", headers=cookie)
    wait_until(lambda: front.total(Count.SSE_CLIENTS) == 4, 5.0, "all have joined")
    keys.remove(keys.known(first).id)
    assert said_last(of_key[0]) == {"event": "end", "data": '{"reason":"denied"}'}
    assert said_last(of_key[1]) == {}, "the plain form has no events"
    wait_until(lambda: front.total(Count.SSE_CLIENTS) == 2, 5.0, "two go on")
    people.remove("anna")
    assert said_last(of_session)["event"] == "end"
    with pytest.raises(http.client.HTTPException, match="log in"):
        Stream(front, "/api/v1/events", headers=cookie)
    writer = StoreWriter(redis_server.url, RedisSettings())
    writer.commit([Event(sighting(1), None)])
    writer.close()
    assert json.loads(kept.take(1)[0]["data"])["id"] == "s1"
    for stream in (local, kept, of_session, *of_key):
        stream.close()


def said_last(stream: Stream) -> dict[str, str]:
    """Return the last event of a stream that ends, without what says when to come back."""
    last: dict[str, str] = {}
    while block := stream.block():
        last = {name: said for name, said in block.items() if name in {"event", "data"}}
    return last


# --- slow and huge --------------------------------------------------------------------------------


def test_slow_clients_are_cut_while_others_are_served(front):
    """A byte a second, never an end: headers are given 10 s, whoever drips them."""
    began = time.monotonic()
    drips = [socket.create_connection(("127.0.0.1", front.port), timeout=5) for _ in range(100)]
    try:
        for drip in drips:
            drip.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nX-Slow: ")
            drip.setblocking(False)
        left, slowest_s = set(drips), 0.0
        while left and time.monotonic() - began < 20:
            left -= {drip for drip in left if _is_cut(drip)}
            asked = time.monotonic()
            assert ask(front, "/healthz")[0] == 200
            slowest_s = max(slowest_s, time.monotonic() - asked)
            time.sleep(0.5)
        took_s = time.monotonic() - began
        assert not left, f"{len(left)} of 100 are still there after {took_s:.1f} s"
        assert 9 < took_s < 15
        assert slowest_s < 3
        assert front.total(Count.CONNECTIONS_CUT) == 100
    finally:
        for drip in drips:
            drip.close()


def _is_cut(drip):
    try:
        drip.send(b"x")
        return b"408" in drip.recv(100) or not drip.recv(100)
    except BlockingIOError:
        return False
    except OSError:
        return True


def raw(front, sent):
    """Return all that is answered to bytes."""
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as client:
        with contextlib.suppress(OSError):
            client.sendall(sent)
        heard = b""
        with contextlib.suppress(ConnectionResetError):
            while piece := client.recv(1 << 16):
                heard += piece
        return heard


def test_huge_and_malformed_requests_are_refused_and_harm_nobody(front):
    long_line = b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw(front, long_line).startswith((b"HTTP/1.1 414", b""))
    many = b"".join(b"X-%d: y\r\n" % number for number in range(5_000))
    assert not raw(front, b"GET / HTTP/1.1\r\n" + many + b"\r\n").startswith(b"HTTP/1.1 2")
    one = b"X: " + b"y" * (1 << 20)
    assert not raw(front, b"GET / HTTP/1.1\r\n" + one + b"\r\n\r\n").startswith(b"HTTP/1.1 2")
    for junk in (b"\x16\x03\x01\x02\x00", b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"\0" * 99):
        assert b"HTTP/1.1 2" not in raw(front, junk + b"\r\n\r\n")
    for length in (b"-1", b"x", b"9" * 30):
        sent = b"POST /alpr_data HTTP/1.1\r\nContent-Length: " + length + b"\r\n\r\n{}"
        assert b"HTTP/1.1 2" not in raw(front, sent)
    assert ask(front, "/healthz")[0] == 200


def test_of_a_body_that_nobody_wants_not_all_is_read(front):
    """An answer of 4xx comes at once, and the rest of a body without end is not waited for."""
    head = b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n"
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as client:
        client.sendall(head)
        sent, began = 0, time.monotonic()
        with contextlib.suppress(OSError):
            while time.monotonic() - began < 20:
                sent += client.send(b"x" * (1 << 16))
    assert sent < 100 << 20
    assert time.monotonic() - began < 10
    assert ask(front, "/healthz")[0] == 200


@pytest.mark.long
def test_slow_bodies_are_cut_too(front):
    """A byte a second: 20 s of grace and what the bytes earn, then 408 and a closed connection."""
    drips = []
    for path in (b"/alpr_data", b"/api/v1/session"):
        drip = socket.create_connection(("127.0.0.1", front.port), timeout=5)
        drip.sendall(b"POST " + path + b" HTTP/1.1\r\nHost: x\r\nContent-Length: 900\r\n\r\n")
        drip.setblocking(False)
        drips.append(drip)
    began, left = time.monotonic(), list(drips)
    while left and time.monotonic() - began < 40:
        left = [drip for drip in left if not _is_cut(drip)]
        time.sleep(1.0)
    for drip in drips:
        drip.close()
    assert 19 < time.monotonic() - began < 30
    assert not left
    assert ask(front, "/healthz")[0] == 200


def test_bodies_in_chunks_and_bodies_that_wait_for_their_welcome(front):
    """What curl does: pieces without a length, and large bodies only once they are asked for."""
    with socket.create_connection(("127.0.0.1", front.port), timeout=10) as client:
        head = b"POST /api/v1/session HTTP/1.1\r\nHost: x\r\n"
        client.sendall(head + b'Transfer-Encoding: chunked\r\n\r\n8\r\n{"key":"\r\n')
        client.sendall(b'2\r\n"}\r\n0\r\n\r\n')
        heard = client.recv(1 << 16)
        assert heard.startswith(b"HTTP/1.1 401")
        while not heard.endswith(b"}"):  # its body may come in a packet of its own
            heard += client.recv(1 << 16)
        client.sendall(head + b"Content-Length: 10\r\nExpect: 100-continue\r\n\r\n")
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 100 ")
        client.sendall(b'{"key":""}')
        assert client.recv(1 << 16).startswith(b"HTTP/1.1 401")


# --- TLS ------------------------------------------------------------------------------------------


def test_tls_by_certificate_files(redis_server, tmp_path):
    pem = str(certificate(tmp_path))
    settings = ApiSettings(tls_certificate=pem, tls_key=pem)
    context = ssl.create_default_context(cafile=pem)
    with front_process(redis_server.url, data_dir=str(tmp_path), settings=settings) as front:
        connection = http.client.HTTPSConnection(
            "127.0.0.1", front.port, timeout=10, context=context
        )
        for _ in range(2):  # kept alive
            connection.request("GET", "/api/v1/session")
            response = connection.getresponse()
            assert json.loads(response.read())["open"] is True
            assert response.headers["Strict-Transport-Security"].startswith("max-age=")
        assert connection.sock.version() in {"TLSv1.2", "TLSv1.3"}
        connection.close()
        assert b"HTTP" not in raw(front, b"GET /healthz HTTP/1.1\r\nHost: x\r\n\r\n")
        key = new_key(tmp_path, Scope.ADMIN)
        connection.request(
            "POST",
            "/api/v1/session",
            json.dumps({"key": key}),
            {"Content-Type": "application/json"},
        )
        response = connection.getresponse()
        assert response.status == 200
        assert "; Secure" in response.headers["Set-Cookie"]
        response.read()
        connection.close()
        _hear(front, context, key, redis_server.url)
        (tmp_path / "again").mkdir()
        renewed = certificate(tmp_path / "again")
        with pytest.raises(ssl.SSLCertVerificationError):
            _fetch(front, ssl.create_default_context(cafile=str(renewed)))
        renewed.replace(pem)
        _fetch(front, ssl.create_default_context(cafile=pem))


def _hear(front, context, key, redis_url):
    """Follow the live stream: what is sent past pywsgi is encrypted, too."""
    connection = http.client.HTTPSConnection("127.0.0.1", front.port, timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/stream", headers={"X-API-Key": key})
        with contextlib.closing(connection.getresponse()) as response:
            assert response.status == 200
            writer = StoreWriter(redis_url, RedisSettings())
            writer.commit([Event(sighting(1))])
            writer.close()
            wait_until(lambda: response.readline() == b"data: AB0001\n", 10.0, "it is heard")


def _fetch(front, context):
    connection = http.client.HTTPSConnection("127.0.0.1", front.port, timeout=10, context=context)
    with contextlib.closing(connection):
        connection.request("GET", "/healthz")
        assert connection.getresponse().status == 200


# --- behind a proxy -------------------------------------------------------------------------------


@contextlib.contextmanager
def proxied(front, folder):
    """Yield an nginx before a front, set up as the README says; it encrypts, for all one knows."""
    location = (
        f"location / {{ proxy_pass http://127.0.0.1:{front.port}; proxy_set_header Host $host;"
        " proxy_set_header X-Forwarded-For $proxy_add_x_forwarded_for;"
        " proxy_set_header X-Forwarded-Proto https; proxy_buffering off; }"
    )
    with nginx(folder, location) as port:
        yield SimpleNamespace(port=port)


def test_a_front_behind_nginx_knows_who_asks(redis_server, tmp_path):
    key = new_key(tmp_path, Scope.ADMIN)
    settings = ApiSettings(trusted_proxies=("127.0.0.1",))
    with (
        front_process(redis_server.url, data_dir=str(tmp_path), settings=settings) as front,
        proxied(front, tmp_path) as outside,
    ):
        assert ask(outside, "/api/v1/cameras")[0] == 401
        visitor = {"X-Forwarded-For": "203.0.113.9"}  # nginx adds 127.0.0.1, which is no visitor's
        status, _, headers = ask(
            outside,
            "/api/v1/session",
            method="POST",
            body=json.dumps({"key": key}),
            headers=visitor,
        )
        assert status == 200
        assert "; Secure" in headers["Set-Cookie"]
        assert headers["Strict-Transport-Security"]
        _, audit, _ = ask(outside, "/api/v1/audit", headers={"X-API-Key": key})
        assert [each["address"] for each in json.loads(audit)["entries"]] == ["203.0.113.9"]


def test_an_open_front_is_not_opened_to_the_world_by_a_proxy(front, tmp_path):
    assert ask(front, "/api/v1/cameras")[0] == 200
    with proxied(front, tmp_path) as outside:
        status, answer, _ = ask(outside, "/api/v1/cameras")
    assert status == 403
    assert b"name it in api.trusted_proxies and add a key" in answer


# --- nothing leaks --------------------------------------------------------------------------------


def test_no_secret_is_told_anywhere(tmp_path):
    """Passwords of cameras, keys right and wrong, whatever is asked for and goes wrong."""
    camera = 'url = "rtsp://viewer:hunter2hunter2@127.0.0.1:9/live"\nconnect_timeout_s = 1.0'
    config = demo(rest='[log]\nlevel = "debug"\n').replace(
        "[api]", f'[[cameras]]\nname = "gate"\n{camera}\n[api]'
    )
    secrets = [new_key(tmp_path / "data", scope) for scope in Scope]
    by_scope = dict(zip(Scope, secrets, strict=True))
    wrong = "plt_00000000_" + "wrong" * 8
    heard = b""
    with running(tmp_path, config) as run:
        admin = {"X-API-Key": by_scope[Scope.ADMIN]}
        for path in ("/", "/metrics", "/api/v1/cameras", "/api/v1/cameras/events", "/healthz",
                     "/api/v1/keys", "/api/v1/audit", "/api/v1/session", "/api/v1/sightings",
                     "/api/v1/sightings/none", "/nothing"):  # fmt: skip
            heard += ask(run, path, headers=admin)[1]
            for key in (*secrets, wrong):
                for _status, body, headers in (
                    ask(run, f"{path}?key={key}"),
                    ask(run, path, headers={"X-API-Key": key}),
                ):
                    heard += body + str(headers).encode()
        for line in (b"GET /metrics?key=%b HTTP/9.9", b"GET /?key=%b", b"BREW /?key=%b HTTP/1.1 x"):
            for key in (*secrets, wrong):
                heard += raw(run, line % key.encode() + b"\r\nHost: x\r\n\r\n")
        log_in = json.dumps({"name": "x", "password": "letmein letmein"})
        heard += ask(run, "/api/v1/session", method="POST", body=log_in)[1]
        wait_until(lambda: run.camera("gate").state is CameraState.LOST, 20.0, "it is not there")
        shown = subprocess.run(
            [PLATERING, "status", "--json", "--config", run.config],
            capture_output=True, cwd=tmp_path, timeout=30, check=True,
        )  # fmt: skip
        heard += shown.stdout + shown.stderr + ask(run, "/metrics", headers=admin)[1]
        run.stop()
        heard += run.said().encode()
        kept = [path for path in (tmp_path / "data").rglob("*") if path.is_file()]
        written = b"".join(path.read_bytes() for path in kept)
    hidden = [*secrets, wrong, "hunter2hunter2", "letmein letmein"]
    assert not [one for one in hidden if one.encode() in heard]
    assert not [one for one in hidden if one.encode() in written]

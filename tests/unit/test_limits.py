"""Limits: buckets, proxies, connections of one address, patience with slow clients."""

import ipaddress
import socket

import pytest
from hypothesis import given
from hypothesis import strategies as st

from api import patience
from api.connections import Server
from api.limits import Buckets, Proxies
from api.patience import PatientReader, SlowClientError
from engine.board import Count
from engine.config import ApiSettings

# --- limits ---------------------------------------------------------------------------------------


def test_a_bucket_allows_its_burst_and_then_its_rate():
    now = [100.0]
    buckets = Buckets(2.0, 4.0, lambda: now[0])
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert buckets.take("b") == 0
    now[0] += 0.5
    assert [buckets.take("a"), buckets.take("a")] == [0, 0.5]
    now[0] += 3_600
    assert [buckets.take("a") for _ in range(5)] == [0, 0, 0, 0, 0.5]
    assert {Buckets(0, 1).take("a") for _ in range(9)} == {0}


def test_buckets_of_many_names_take_no_more_memory(monkeypatch):
    monkeypatch.setattr("api.limits.MOST_BUCKETS", 10)
    buckets = Buckets(1.0, 1.0)
    for number in range(1_000):
        buckets.take(str(number))
    assert len(buckets._buckets) == 10


OURS = Proxies(("10.0.0.0/8", "fd00::/8"))


@pytest.mark.parametrize(
    ("peer", "said", "address"),
    [
        ("192.0.2.1", "", "192.0.2.1"),
        ("192.0.2.1", "198.51.100.1", "192.0.2.1"),  # no proxy of ours: whoever it is may lie
        ("10.0.0.1", "198.51.100.1", "198.51.100.1"),
        (
            "10.0.0.1",
            "6.6.6.6, 198.51.100.1",
            "198.51.100.1",
        ),  # the first one is the visitor's word
        ("10.0.0.1", "6.6.6.6, 198.51.100.1, 10.9.9.9", "198.51.100.1"),
        ("10.0.0.1", "", "10.0.0.1"),
        ("10.0.0.1", "nonsense", "10.0.0.1"),
        ("10.0.0.1", "nonsense, 10.0.0.2", "10.0.0.2"),
        ("::ffff:10.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("fd00::1", " 198.51.100.1 ", "198.51.100.1"),
    ],
)
def test_the_word_of_a_proxy_counts_only_if_it_is_trusted(peer, said, address):
    environ = {"REMOTE_ADDR": peer, "HTTP_X_FORWARDED_FOR": said}
    origin = OURS.origin(environ)
    assert (origin.address, origin.is_forwarded, origin.is_secure) == (address, bool(said), False)
    secure = OURS.origin(environ | {"HTTP_X_FORWARDED_PROTO": "https"}).is_secure
    assert secure == OURS.includes(peer)


@given(st.text(), st.ip_addresses())
def test_no_word_of_a_stranger_makes_another_of_him(said, peer):
    environ = {"REMOTE_ADDR": str(peer), "HTTP_X_FORWARDED_FOR": said}
    assert Proxies(()).origin(environ).address == str(peer)
    ipaddress.ip_network(Proxies(()).origin(environ).network)
    OURS.origin({"REMOTE_ADDR": "10.0.0.1", "HTTP_X_FORWARDED_FOR": said})


def test_addresses_of_one_customer_count_as_one():
    one, other = ({"REMOTE_ADDR": f"2001:db8:1:2::{n}"} for n in (1, 2))
    assert OURS.origin(one).network == OURS.origin(other).network == "2001:db8:1:2::/64"


@pytest.fixture
def listener():
    with socket.create_server(("127.0.0.1", 0)) as found:
        yield found


class Counted:
    """A row that remembers what was counted."""

    def __init__(self):
        self.counts = []

    def count(self, which):
        self.counts.append(which)


def test_connections_of_one_address_are_bounded_but_not_of_this_machine_and_proxies(listener):
    ours = ("10.0.0.0/8", "fd00::/8")
    settings = ApiSettings(connections_per_address=2, trusted_proxies=ours)
    server = Server(listener, None, settings, Counted())

    def welcome(address, count):
        if not count:
            return []
        with server._counted((address, 1)) as found:
            return [found, *welcome(address, count - 1)]

    assert welcome("192.0.2.1", 4) == [True, True, False, False]
    assert welcome("192.0.2.1", 2) == [True, True]
    for exempt in ("127.0.0.1", "::1", "10.1.1.1", "::ffff:10.1.1.1", "fd00::1"):
        assert set(welcome(exempt, 9)) == {True}
    assert server.row.counts == [Count.CONNECTIONS_CUT] * 2
    assert not server._open


# --- patience -------------------------------------------------------------------------------------


@pytest.fixture
def wire():
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield PatientReader(ours), theirs


def test_a_client_that_drips_does_not_get_more_time(wire, monkeypatch):
    monkeypatch.setattr(patience, "HEADERS_WITHIN_S", 0.3)
    reader, client = wire
    reader.expect_headers()
    with pytest.raises(SlowClientError, match="too slowly"):
        _drip(reader, client, 0.05)


def _drip(reader, client, rest_s=0.0, piece=b"x"):
    """Send and read one piece after the other, for as long as the reader has patience."""
    while True:
        client.send(piece)
        reader.read(len(piece))
        _rest(rest_s)


def _rest(seconds):
    from time import sleep  # noqa: PLC0415  # the pace of a slow client is what is tested

    sleep(seconds)


def test_a_silent_client_is_not_waited_for(wire, monkeypatch):
    monkeypatch.setattr(patience, "IDLE_S", 0.1)
    reader, _client = wire
    reader.expect_line()
    with pytest.raises(SlowClientError):
        reader.read(1)


def test_headers_without_end_are_refused(wire):
    reader, client = wire
    reader.expect_headers()
    with pytest.raises(SlowClientError, match="too long"):
        _drip(reader, client, piece=b"x" * 8_192)


def test_a_large_body_may_take_long_if_it_comes_fast_enough(wire, monkeypatch):
    monkeypatch.setattr(patience, "BODY_GRACE_S", 0.1)
    monkeypatch.setattr(patience, "SLOWEST_BYTES_PER_S", 1_000)
    reader, client = wire
    reader.expect_body()
    for _ in range(5):
        client.send(b"x" * 200)
        assert len(reader.read(200)) == 200
        _rest(0.1)
    with pytest.raises(SlowClientError):
        _drip(reader, client, 0.1)

"""The hub: who is sent what, when it rests, and that the ids it tells never go back."""

import socket
from collections.abc import Iterator
from contextlib import contextmanager

import gevent
import gevent.socket
import pytest
from front_process import sighting

from api import hub as hub_room
from api.channels import Channel
from api.feed import Event, Feed, Mark, _event
from api.hub import Hub, _rest_s
from api.subscriber import Subscriber
from engine.board import Row
from engine.due import Due
from engine.store import Store, StreamEntry, connect


def event(number: int) -> Event:
    return Event(Mark(1000 + number, 0, number), b"{}", sighting(number))


@pytest.fixture
def hub() -> Hub:
    words, cells = (memoryview(bytearray(8 * 4096)).cast("Q") for _ in range(2))
    return Hub(Feed(Store(connect("unix:///nowhere"))), Row(words, cells))


@contextmanager
def client(hub: Hub, channel: Channel, seen: Mark | None) -> Iterator[socket.socket]:
    ours, theirs = gevent.socket.socketpair()
    theirs.settimeout(5)
    subscriber = Subscriber(ours, channel)
    hub.join(subscriber, seen)
    yield theirs
    hub.leave(subscriber)
    ours.close()
    theirs.close()


@pytest.mark.parametrize(
    ("took_s", "rest_s"), [(0.0, 0.0), (0.001, 0.006), (0.05, 0.05), (0.09, 0.02), (3.0, 0.02)]
)
def test_events_gather_only_under_load(took_s: float, rest_s: float) -> None:
    assert _rest_s(took_s) == pytest.approx(rest_s)


def test_when_a_plate_was_forgotten_nobody_is_served_from_memory(
    hub: Hub, monkeypatch: pytest.MonkeyPatch
) -> None:
    times = iter([0, 0, 1, 1])
    monkeypatch.setattr(hub._feed, "forgotten", lambda: next(times))
    hub._forget_due = Due(0.0)
    hub.window.begin(event(0).mark, [event(1), event(2)])
    held = []
    for _ in range(4):
        hub._forget_if_told(event(2).mark)
        held.append(hub.window.after(event(0).mark) is not None)
    assert held == [True, True, False, False]
    assert hub.window.after(event(2).mark) == []


def test_heartbeats_never_send_a_client_back(hub: Hub) -> None:
    hub.position = event(5).mark
    with (
        client(hub, Channel(), event(5).mark) as level,
        client(hub, Channel(), event(8).mark) as ahead,
    ):
        hub._heartbeat_due = 0.0
        hub._beat_if_due()
        assert level.recv(100) == b": \nid: 1005-0.5\n\n"
        assert ahead.recv(100) == b": \nid: 1008-0.8\n\n"


def test_each_client_hears_what_it_has_not_seen_and_how_much_is_gone(hub: Hub) -> None:
    hub.position = event(5).mark
    with (
        client(hub, Channel(camera="none"), event(5).mark) as level,
        client(hub, Channel(camera="none"), event(8).mark) as ahead,
        client(hub, Channel(), event(11).mark) as further,
        client(hub, Channel(plain=True), None) as plain,
    ):
        hub._deliver([event(11), event(12)])
        assert b'data: {"missed":5,' in level.recv(1000)
        assert b'data: {"missed":2,' in ahead.recv(1000)
        assert further.recv(1000) == b"id: 1012-0.12\ndata: {}\n\n"
        assert plain.recv(1000) == b"data: AB0011\n\ndata: AB0012\n\n"
        hub._deliver([event(13)])
        assert further.recv(1000) == b"id: 1013-0.13\ndata: {}\n\n"
        assert plain.recv(1000) == b"data: AB0013\n\n"
        level.setblocking(False)
        with pytest.raises(BlockingIOError):
            level.recv(100)


def test_what_a_later_version_wrote_is_nobodys_business_and_no_end_of_the_stream(hub: Hub) -> None:
    unknown = _event(StreamEntry("1002-0", 2, b'{"phase": "of later versions"}'))
    hub.position = event(1).mark
    with client(hub, Channel(), event(1).mark) as all_of_it, client(hub, Channel(plain=True), None):
        hub._deliver([unknown, event(3)])
        assert all_of_it.recv(1000) == b"id: 1003-0.3\ndata: {}\n\n"


def test_clients_are_sent_away_one_after_the_other(hub: Hub, monkeypatch) -> None:
    monkeypatch.setattr(hub_room, "TURN", 2)
    monkeypatch.setattr(hub_room, "ROTATE_S", 0.2)
    paused: list[float] = []
    monkeypatch.setattr(gevent, "sleep", paused.append)
    with (
        client(hub, Channel(), None) as one,
        client(hub, Channel(plain=True), None) as two,
        client(hub, Channel(), None) as three,
        client(hub, Channel(), None) as four,
    ):
        hub.close()
        ends = [each.recv(1000) for each in (one, three, four)]
        assert all(end.startswith(b"event: end\nretry: ") for end in ends)
        assert two.recv(1000).startswith(b"retry: ")
        assert two.recv(1000) == b""
    assert paused == [pytest.approx(0.1)] * 2

"""Marks, gaps, channels and the hub's way with a slow socket."""

import socket

import gevent
import gevent.socket
import pytest
from flask import Flask, g
from front_process import sighting
from hypothesis import given
from hypothesis import strategies as st

from api.channels import Channel, Ending
from api.feed import Event, Feed, Mark, Missed, missed
from api.hub import Hub
from api.problems import ProblemError
from api.stays import Stays
from api.stream import EventsQuery, StreamRoom
from api.stream_limits import Holder, StreamLimits
from api.subscriber import MAX_BACKLOG_BYTES, TLS_RECORD_BYTES, Subscriber
from engine.board import COUNT_BASE, Count, Row
from engine.store import Store, connect
from engine.types import Hit

words = st.integers(0, (1 << 64) - 1)


def event(number: int, **changes: object) -> Event:
    return Event(Mark(1000 + number, 0, number), b"{}", sighting(number, **changes))


@given(words, words, st.integers(0, 10**18 - 1))
def test_a_mark_survives_its_text(ms: int, number: int, seq: int) -> None:
    mark = Mark(ms, number, seq)
    assert Mark.parse(str(mark)) == mark
    before = mark.before_it()
    assert mark.is_after(before) or (before == mark and not ms and not number)


@pytest.mark.parametrize(
    "text",
    ["", "x", "1-", "-1", "1.", "1-2-3", "1-2.3.4", "٣", "1 ", "18446744073709551616", "1" * 30],
)
def test_what_is_no_mark_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="no id"):
        Mark.parse(text)


@pytest.mark.parametrize(
    ("seen", "first", "lost"),
    [(4, 5, None), (4, 9, Missed(4)), (0, 1, None), (4, 4, Missed(None)), (9, 1, Missed(None)),
     (-1, 9, None)],
)  # fmt: skip
def test_gaps_are_counted_by_our_own_sequence(seen: int, first: int, lost: Missed | None) -> None:
    assert missed(Mark(1, 0, seen), Mark(2, 0, first)) == lost


def test_equal_wishes_are_one_channel() -> None:
    assert len({Channel(camera="a"), Channel(camera="a"), Channel(camera="b")}) == 2


@pytest.mark.parametrize(
    ("channel", "numbers"),
    [
        (Channel(), [1, 2, 3]),
        (Channel(plain=True), [1, 3]),
        (Channel(plate="AB*2"), [2]),
        (Channel(plate="AB000?", phase="final"), []),
        (Channel(min_confidence=95), [3]),
        (Channel(camera="yard"), [3]),
        (Channel(list="stolen"), [2]),
        (Channel(list="guests"), []),
    ],
)
def test_channels_let_through_what_was_asked_for(channel: Channel, numbers: list[int]) -> None:
    hits = (
        Hit(list="vip", plate="AB*", match="pattern"),
        Hit(list="stolen", plate="AB0002", match="exact"),
    )
    events = [
        event(1), event(2, revision=2, hits=hits), event(3, camera="yard", confidence=99.0)
    ]  # fmt: skip
    payload, count = channel.encode(events)
    assert count == len(numbers)
    shown = b"data: AB%04d\n\n" if channel.plain else b"id: %d-0.%d\ndata: {}\n\n"
    wanted = [
        shown % number if channel.plain else shown % (1000 + number, number) for number in numbers
    ]
    assert payload == b"".join(wanted)


@pytest.mark.parametrize(
    ("asked", "plate"),
    [("ab-12*", "AB12*"), ("*", "*"), ("a?c", "A?C"), ("[ab]*", "AB*"), ("", "")],
)
def test_a_pattern_is_written_as_people_write_plates(asked: str, plate: str) -> None:
    assert EventsQuery(plate=asked).channel().plate == plate


def test_a_pattern_of_many_wildcards_is_quickly_decided() -> None:
    channel = EventsQuery(plate="*A" * 32).channel()
    assert not channel.wants(sighting(1, plate="A" * 31 + "B"))


def test_gaps_stand_where_the_sequence_jumps_whatever_the_filter_hides() -> None:
    events = [event(number) for number in (3, 4, 7, 8)]
    payload, count = Channel(camera="elsewhere").encode(events, Mark(1000, 0, 0))
    gaps = [block.split(b"data: ")[1] for block in payload.split(b"\n\n")[:-1]]
    assert gaps == [b'{"missed":2,"id":"1002-18446744073709551615.2"}',
                    b'{"missed":2,"id":"1006-18446744073709551615.6"}']  # fmt: skip
    assert count == 0
    assert Channel().encode(events[:2], events[0].mark.before_it())[0].count(b"gap") == 0


def test_streams_are_limited_by_key_and_by_address() -> None:
    limits = StreamLimits(per_key=1, per_address=2)
    gate, other = Holder("192.0.2.1", "gate"), Holder("192.0.2.1")
    with limits.held(gate):
        assert "this key has 1" in limits.reached(gate)
        assert limits.reached(other) == ""
        with limits.held(other):
            assert "this address has 2" in limits.reached(other)
            assert limits.reached(Holder("192.0.2.2")) == ""
    assert limits.reached(gate) == limits.reached(other) == ""
    with StreamLimits(0, 0).held(gate):
        assert StreamLimits(0, 0).reached(gate) == ""


def test_a_stream_is_counted_for_the_key_that_access_checks_found() -> None:
    words, cells = (memoryview(bytearray(8 * 4096)).cast("Q") for _ in range(2))
    feed = Feed(Store(connect("unix:///nowhere")))
    limits = StreamLimits(per_key=1, per_address=0)
    hub = Hub(feed, Row(words, cells))
    room = StreamRoom(hub, feed, limits, dict, Stays(lambda _claim: True))
    app = Flask("test")
    with app.test_request_context(), limits.held(Holder("198.51.100.1", "gate")):
        assert room.serve(Channel()).status_code == 200
        g.actor = "gate"
        with pytest.raises(ProblemError, match="this key") as refused:
            room.serve(Channel())
        assert refused.value.status == 429
    assert words[COUNT_BASE + Count.SSE_REFUSED] == 1


def pair() -> tuple[gevent.socket.socket, socket.socket]:
    """A gevent socket with a tiny buffer and the client's end of it."""
    ours, theirs = gevent.socket.socketpair()
    ours.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
    return ours, theirs


def test_a_slow_client_gets_every_byte_in_order_from_its_backlog() -> None:
    ours, theirs = pair()
    subscriber = Subscriber(ours, Channel())
    sent = [bytes([65 + number % 26]) * 3000 for number in range(40)]
    for payload in sent:
        assert subscriber.offer(payload)
    assert subscriber.backlog
    taken = b""
    while len(taken) < 120_000:
        chunk = theirs.recv(1 << 16)
        assert chunk
        taken += chunk
    assert taken == b"".join(sent)
    gevent.sleep(0)
    assert subscriber.backlog == b""
    assert subscriber.offer(b"again")
    assert theirs.recv(100) == b"again"
    subscriber.let_go()
    ours.close()
    theirs.close()


def test_a_backlog_is_bounded() -> None:
    ours, theirs = pair()
    subscriber = Subscriber(ours, Channel())
    payload = b"x" * 10_000
    offers = 0
    while subscriber.offer(payload):
        offers += 1
        assert offers < 200
    assert len(subscriber.backlog) <= MAX_BACKLOG_BYTES + len(payload)
    subscriber.end()
    subscriber.let_go()
    ours.close()
    theirs.close()


def test_a_slow_client_gets_whole_events_then_why_it_is_cut() -> None:
    ours, theirs = pair()
    subscriber = Subscriber(ours, Channel())
    sent = [b"id: %d\ndata: %b\n\n" % (number, b"x" * 3000) for number in range(1000)]
    taken = sum(1 for payload in sent if not subscriber.is_slow and subscriber.offer(payload))
    assert taken < 500
    subscriber.dismiss(Channel().farewell(Ending.SLOW, 1_000))
    assert len(subscriber.backlog) < TLS_RECORD_BYTES + 4_000
    subscriber.dismiss(b"never said")
    received = b""
    while chunk := theirs.recv(1 << 16):
        received += chunk
        gevent.sleep(0)
    *events, farewell, rest = received.split(b"\n\n")
    assert [block + b"\n\n" for block in events] == sent[: len(events)]
    assert farewell == b'event: end\nretry: 1000\ndata: {"reason":"slow"}'
    assert rest == b""
    subscriber.let_go()
    ours.close()
    theirs.close()


def test_a_client_that_is_gone_is_noticed() -> None:
    ours, theirs = pair()
    theirs.close()
    subscriber = Subscriber(ours, Channel())
    assert not subscriber.offer(b"x")
    ours.close()

"""The words that flow back over the board: whole or not at all, rounded, thinned out."""

import secrets
import threading

import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.board import FEEDBACK_WORDS, Board
from engine.feedback import PLACES, Feedback, StillNews, packed_box, unpacked_box
from engine.types import Box, Still, TrackPlace


@pytest.fixture
def board():
    made = Board.create(f"platering.test{secrets.token_hex(4)}.board", 2, 3)
    yield made
    made.unlink()
    made.close()


def place(key=1, **parts):
    fields = {"box": Box(10, 20, 100, 25), "speed": (-5.0, 300.0), "seen_unix_ns": 7 * 10**18}
    return TrackPlace(key=key, settled=True, **fields | parts)


def test_places_and_stills_arrive(board):
    publisher, decoder, worker = (Feedback(board, 1) for _ in range(3))
    places = (place(1), place(2, speed=(0.0, -1.0), urgent=True, growth=-0.25), place(2**64 - 1))
    publisher.tell_places(places)
    assert decoder.places() == worker.places() == places
    assert decoder.places() is decoder.places(), "what is not new is not decoded again"
    stills = (Still(1, 7 * 10**18, 12), Still(2, 7 * 10**18 + 1, 1))
    decoder.tell_stills(stills)
    assert publisher.stills() == stills
    publisher.tell_places(())
    assert decoder.places() == ()
    assert Feedback(board, 0).places() == Feedback(board, 2).stills() == ()


def test_no_more_than_there_is_room_for(board):
    feedback = Feedback(board, 2)
    feedback.tell_places([place(key) for key in range(1, 100)])
    feedback.tell_stills([Still(key, 1, 1) for key in range(1, 100)])
    assert [one.key for one in feedback.places()] == list(range(1, PLACES + 1))
    assert len(feedback.stills()) == PLACES
    with board.feedback(2) as words:
        assert len(words) == FEEDBACK_WORDS


def test_an_unfinished_half_is_not_read_and_its_heir_writes_anew(board):
    writer, reader = Feedback(board, 0), Feedback(board, 0)
    writer.tell_places([place(1)])
    assert reader.places() == (place(1),)
    with board.feedback(0) as words:
        words[0] += 1  # as if it had died while it wrote
        words[2] = 99
    assert reader.places() == (place(1),)
    Feedback(board, 0).tell_places([place(3)])
    assert reader.places() == (place(3),)


def test_a_reader_never_sees_half_of_one(board):
    """Every generation writes one number into all of its words."""
    writer, reader = Feedback(board, 0), Feedback(board, 0)
    done = threading.Event()

    def write():
        for number in range(1, 3_000):
            writer.tell_places([place(number, seen_unix_ns=number)] * (number % PLACES))
        done.set()

    thread = threading.Thread(target=write)
    thread.start()
    seen = 0
    while not done.is_set():
        places = reader.places()
        assert len({(one.key, one.seen_unix_ns) for one in places}) <= 1
        assert all(one.key == one.seen_unix_ns for one in places)
        assert not places or len(places) == places[0].key % PLACES
        seen += bool(places)
    thread.join()
    assert seen


@given(st.tuples(*[st.floats(-100, 70_000)] * 4))
def test_boxes_are_rounded_and_cut(parts):
    cut = [float(min(max(round(part), 0), 65_535)) for part in parts]
    assert unpacked_box(packed_box(Box(*parts))) == Box(*cut)


def test_what_stands_is_heard_of_now_and_then_with_the_frames_since():
    news = StillNews(every_ns=400)
    assert news.among([Still(1, 1_000, 3)]) == [Still(1, 1_000, 3)]
    assert news.among([Still(1, 1_300, 6)]) == []
    assert news.among([Still(1, 1_400, 7), Still(2, 1_400, 1)]) == [
        Still(1, 1_400, 4),
        Still(2, 1_400, 1),
    ]
    assert news.among([Still(1, 1_900, 2)]) == [Still(1, 1_900, 2)], "counted anew"
    news.keep({2})
    assert news.among([Still(1, 1_901, 3)]) == [Still(1, 1_901, 3)]

"""Clips on their way from a decoder to the publisher: asked for once, bounded, never waited for."""

import os
import secrets
import socket
import time

import pytest

from engine.board import Board, Count
from engine.clip_channel import ClipGiver, ClipTaker
from engine.errors import SourceError
from engine.messages import AttachClips
from engine.types import Hit, Phase, Sighting

VIDEO = b"video" * 1000


class Packets:
    """A pre-roll that gives always the same clip, or a reason."""

    kept_bytes = 4711

    def __init__(self, reason: str = "") -> None:
        self.reason = reason

    def clip(self) -> bytes:
        if self.reason:
            raise SourceError(self.reason)
        return VIDEO


def sighting(name: str = "a", **changes: object) -> Sighting:
    fields = {
        "id": name, "revision": 1, "phase": Phase.PROVISIONAL, "camera": "gate", "node": "n",
        "plate": "AB12CDE", "confidence": 90.0, "first_unix_ms": 1, "last_unix_ms": 1,
        "best_unix_ms": 1,
    }  # fmt: skip
    return Sighting(**(fields | changes))


class Pair:
    """Both ends of one camera's socket, on a board of their own."""

    def __init__(self) -> None:
        self.board = Board.create(f"platering.test{secrets.token_hex(4)}.board", 2, 1)
        self.rows = [self.board.row(index) for index in (0, 1)]
        self.taker = ClipTaker(self.rows[0])
        self.giver = ClipGiver(self.rows[1], 0.0, "gate")
        self.giver.preroll = Packets()

    def connect(self, wanted: str = "all", most_bytes: int = 1 << 20) -> None:
        ends = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        terms = AttachClips(camera="gate", wanted=wanted, after_s=0.0, most_bytes=most_bytes)
        self.taker.attach(terms, ends[0].detach())
        self.giver.attach(ends[1].detach())

    def failed(self) -> int:
        return self.rows[0].total(Count.CLIPS_FAILED)

    def close(self) -> None:
        self.taker.close()
        self.giver.close()
        for row in self.rows:
            row.release()
        self.board.close()
        self.board.unlink()


@pytest.fixture
def pair():
    made = Pair()
    yield made
    made.close()


def test_a_sighting_gets_its_clip_once_and_as_it_was_last_told(pair):
    pair.connect()
    pair.taker.want(sighting())
    pair.taker.want(sighting(revision=2, phase=Phase.FINAL))
    assert list(pair.taker.take()) == []
    pair.giver.turn()
    (clip,) = pair.taker.take()
    assert (clip.video, clip.sighting.revision) == (VIDEO, 2)
    pair.taker.want(sighting(revision=3))
    pair.giver.turn()
    assert list(pair.taker.take()) == []
    assert pair.failed() == 0
    assert pair.rows[1].total(Count.CLIP_KEPT_BYTES) == 4711


def test_a_clip_waits_for_what_comes_after(pair):
    pair.giver = ClipGiver(pair.rows[1], 0.2, "gate")
    pair.giver.preroll = Packets()
    pair.connect()
    pair.taker.want(sighting())
    began = time.monotonic()
    while not (clips := list(pair.taker.take())):
        pair.giver.turn()
        assert time.monotonic() - began < 5.0
    assert time.monotonic() - began >= 0.2
    assert len(clips) == 1


def test_only_hits_where_only_they_are_wanted(pair):
    pair.connect("hits")
    pair.taker.want(sighting("a"))
    hit = Hit(list="police", plate="AB12CDE", match="exact")
    pair.taker.want(sighting("b"))
    pair.taker.want(sighting("b", revision=2, hits=(hit,)))
    pair.taker.want(sighting("b", revision=3, plate="AB12CDF"))  # it was misread
    pair.giver.turn()
    told = [(clip.sighting.id, clip.sighting.revision) for clip in pair.taker.take()]
    assert told == [("b", 3)]


def test_what_has_a_clip_already_is_not_asked_for_again(pair):
    pair.connect()
    pair.taker.want(sighting(revision=3, has_clip=True))  # told of before a restart
    pair.giver.turn()
    assert list(pair.taker.take()) == []
    assert pair.failed() == 0


def test_what_was_posted_or_comes_from_another_camera_is_not_asked_for(pair):
    pair.connect()
    pair.taker.want(sighting("a", origin="ingest"))
    pair.taker.want(sighting("b", camera="yard"))
    pair.giver.turn()
    assert list(pair.taker.take()) == []
    assert pair.failed() == 0


def test_no_clip_is_counted_and_told_once(pair, caplog):
    pair.connect()
    pair.giver.preroll = Packets("no key frame came")
    for name in "abc":
        pair.taker.want(sighting(name))
    pair.giver.turn()
    assert list(pair.taker.take()) == []
    assert pair.failed() == 3
    assert caplog.text.count("no key frame came") == 1


def test_a_clip_that_is_too_large_is_not_taken(pair):
    pair.connect(most_bytes=len(VIDEO) - 1)
    pair.taker.want(sighting())
    pair.giver.turn()
    assert list(pair.taker.take()) == []
    assert pair.failed() == 1


def test_a_decoder_that_talks_nonsense_is_not_listened_to(pair):
    pair.connect()
    pair.taker.want(sighting("a"))
    with open(os.memfd_create("nonsense"), "wb") as memory:  # noqa: PTH123  # it has no path
        pair.giver.turn()
        list(pair.taker.take())
        pair.taker.want(sighting("b"))
        descriptors = len(os.listdir("/proc/self/fd"))  # noqa: PTH208  # only how many
        socket.send_fds(pair.giver._end, [b"\xc1 nonsense"], [memory.fileno()])
        assert list(pair.taker.take()) == []
        assert len(os.listdir("/proc/self/fd")) <= descriptors  # noqa: PTH208  # same
    assert pair.failed() == 1
    pair.connect()
    pair.taker.want(sighting("c"))
    pair.giver.turn()
    assert [clip.sighting.id for clip in pair.taker.take()] == ["c"]


def test_what_a_dead_decoder_owes_is_counted_and_its_heir_goes_on(pair):
    pair.connect()
    pair.taker.want(sighting("a"))
    pair.connect()
    assert pair.failed() == 1
    pair.taker.want(sighting("b"))
    pair.giver.turn()
    assert [clip.sighting.id for clip in pair.taker.take()] == ["b"]
    pair.taker.want(sighting("c"))
    pair.giver.close()
    assert list(pair.taker.take()) == []
    assert pair.failed() == 2


def test_a_decoder_that_never_answers_owes_nothing_for_ever(pair, monkeypatch):
    monkeypatch.setattr("engine.clip_channel._ANSWERS_WITHIN_S", -1.0)
    pair.connect()
    for number in range(100):
        pair.taker.want(sighting(f"s{number}"))
    assert pair.failed() == 36, "at most 64 are asked for at once"
    assert list(pair.taker.take()) == []
    assert pair.failed() == 100

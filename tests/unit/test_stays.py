"""Answers that go on, and claims that stop holding meanwhile."""

import pytest

import api.stays
from api.stays import Claim, Stays, while_it_holds
from engine.scopes import Scope

CLAIM = Claim(key="plt_1_secret", needs=Scope.STREAM)


@pytest.fixture
def clock(monkeypatch):
    """The clock of the module, as a list with the seconds in it."""
    now = [100.0]
    monkeypatch.setattr(api.stays.time, "monotonic", lambda: now[0])
    return now


def test_an_answer_ends_with_its_claim_and_lets_go_of_what_it_holds(clock):
    held, closed, asked = [True], [], []

    def parts():
        try:
            while True:
                yield b"part"
        finally:
            closed.append(True)

    def holds(claim):
        asked.append(claim)
        return held[0]

    answer = while_it_holds(parts(), CLAIM, holds)
    assert [next(answer) for _ in range(5)] == [b"part"] * 5
    assert not asked, "it was looked at when it began"
    clock[0] += api.stays.CHECK_S
    assert next(answer) == b"part"
    assert asked == [CLAIM]
    held[0] = False
    assert next(answer) == b"part"
    clock[0] += api.stays.CHECK_S
    with pytest.raises(StopIteration):
        next(answer)
    assert closed == [True]


def test_a_client_that_leaves_lets_go_of_what_its_answer_holds():
    closed = []

    def parts():
        try:
            yield b"part"
        finally:
            closed.append(True)

    answer = while_it_holds(parts(), CLAIM, lambda _claim: True)
    next(answer)
    answer.close()
    assert closed == [True]


def test_all_streams_of_a_claim_end_once_and_no_others():
    other, asked, ended = Claim(session="anna"), [], []

    def holds(claim):
        asked.append(claim)
        return claim is other

    stays = Stays(holds)
    with (
        stays.held(CLAIM, lambda: ended.append("one")),
        stays.held(other, lambda: ended.append("other")),
    ):
        with stays.held(CLAIM, lambda: ended.append("gone")):
            pass
        with stays.held(CLAIM, lambda: ended.append("two")):
            stays.check()
            assert sorted(ended) == ["one", "two"]
            assert sorted(asked, key=str) == sorted([CLAIM, other], key=str), "one look a claim"
            stays.check()
            assert len(ended) == 2
    stays.check()
    assert len(ended) == 2


def test_who_comes_back_while_others_still_leave_is_looked_after():
    holds, ended = [False], []
    stays = Stays(lambda _claim: holds[0])
    leaving = stays.held(CLAIM, lambda: ended.append("before"))
    leaving.__enter__()
    stays.check()
    holds[0] = True  # the keys can be read again
    with stays.held(CLAIM, lambda: ended.append("back")):
        leaving.__exit__(None, None, None)
        holds[0] = False
        stays.check()
        assert ended == ["before", "back"]


def test_a_claim_tells_no_secret():
    assert "secret" not in f"{CLAIM!r} {CLAIM} {[CLAIM]}"

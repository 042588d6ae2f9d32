"""Who is replaced when, by whom, and what happens where a new process cannot work."""

import pytest

from engine.board import Board, Kind
from engine.config import parse_settings
from engine.renewal import Renewal, fits_beside
from engine.roster import Roster
from engine.shm import RunLock

CONFIG = {
    "cameras": [{"name": "gate", "url": "demo://"}],
    "recognizers": {"count": 2},
    "redis": {"url": "redis://127.0.0.1/0"},
}


class Crew:
    """Notes what it is told; a test says when a child has ended."""

    def __init__(self, roster: Roster) -> None:
        self.roster, self.told = roster, []

    def dismiss(self, child):
        self.told.append(f"dismiss {child.name}")
        child.is_wanted, child.is_dismissed = False, True

    def renew(self, child):
        self.told.append(f"renew {child.name}")
        child.is_renewed = True

    def has_ended(self, child):
        self.roster.remove(child)


@pytest.fixture
def roster():
    lock = RunLock()
    board = Board.create(lock.name("board"), 12, 4)
    roster = Roster(parse_settings(CONFIG), {"engine", "api"})
    roster.fill(board)
    yield roster
    for child in roster.children:
        child.release()
    board.close()
    lock.release()


@pytest.fixture
def crew(roster):
    return Crew(roster)


@pytest.fixture
def renewal(roster, crew, monkeypatch):
    monkeypatch.setattr("engine.renewal.fits_beside", lambda _child: True)
    return Renewal(roster, crew, lambda: False)


def test_a_worker_ends_only_once_its_heir_is_ready(roster, crew, renewal):
    first, second = roster.workers
    renewal.order(roster.workers)
    assert renewal.names == ("worker-0", "worker-1")
    renewal.turn()
    heir = roster.workers[2]
    assert (heir.name, crew.told) == ("worker-2", [])
    renewal.turn()
    assert crew.told == []
    heir.is_ready = True
    renewal.turn()
    renewal.turn()
    assert crew.told == ["dismiss worker-0"]
    crew.has_ended(first)
    renewal.turn()
    assert renewal.names == ("worker-1",)
    renewal.turn()
    assert [worker.name for worker in roster.workers] == ["worker-1", "worker-2", "worker-0"]
    assert second in roster.workers


def test_a_name_that_is_taken_again_goes_on_with_its_incarnations(roster):
    first, _ = roster.workers
    first.incarnation = 3
    roster.remove(first)
    assert roster.add_worker().incarnation == 3, "else its reads would be taken for repeats"


def test_heirs_take_the_cores_of_those_they_follow(roster, renewal, crew):
    cores = [roster._core_of[worker] for worker in roster.workers]
    for old in list(roster.workers):
        renewal.order([old])
        renewal.turn()
        roster.workers[-1].is_ready = True
        renewal.turn()
        crew.has_ended(old)
        renewal.turn()
    assert [roster._core_of[worker] for worker in roster.workers] == cores


def test_somebody_always_speaks_for_this_machine(roster, renewal, crew):
    (front,) = roster.fronts()
    renewal.order([front])
    renewal.turn()
    heir = roster.fronts()[1]
    crew.has_ended(front)
    assert roster._heralds == {heir}


def test_a_heir_that_cannot_work_leaves_all_as_it_is(roster, crew, renewal):
    renewal.order(roster.workers)
    renewal.turn()
    heir = roster.workers[2]
    heir.is_wanted = False  # its exit code said that another start would be in vain
    assert renewal.reaped(heir, "no library")
    assert crew.told == ["dismiss worker-2"]
    assert (renewal.names, renewal.failure) == ((), "no library")


def test_the_publisher_starts_again_by_itself_and_not_while_an_upload_is_read(roster, crew):
    reading = [True]
    renewal = Renewal(roster, crew, lambda: reading[0])
    (publisher,) = roster.of(Kind.PUBLISHER)
    renewal.order([publisher])
    renewal.turn()
    assert (crew.told, renewal.names) == ([], ("publisher",))
    reading.clear()
    reading.append(False)
    renewal.turn()
    assert crew.told == ["renew publisher"]
    publisher.is_ready = True
    renewal.turn()
    assert renewal.names == ("publisher",), "that is still the one of before"
    assert renewal.reaped(publisher, "ended")
    assert publisher.restart_reasons["ordered"] == 1
    publisher.incarnation += 1
    renewal.turn()
    assert renewal.names == ()


@pytest.mark.parametrize("can_go_back", [True, False])
def test_a_publisher_that_cannot_work_goes_back_or_ends_the_run(roster, crew, can_go_back):
    renewal = Renewal(roster, crew, lambda: False)
    (publisher,) = roster.of(Kind.PUBLISHER)
    renewal.can_go_back = can_go_back
    renewal.order([publisher])
    renewal.turn()
    assert renewal.reaped(publisher, "ended")
    publisher.is_wanted = False
    assert renewal.reaped(publisher, "no library") is can_go_back
    assert publisher.is_wanted is can_go_back
    assert renewal.failure == "no library" * can_go_back


def test_one_that_starts_again_and_was_never_ready_goes_back(roster, crew):
    renewal = Renewal(roster, crew, lambda: False)
    (publisher,) = roster.of(Kind.PUBLISHER)
    renewal.can_go_back = True
    renewal.order([publisher])
    renewal.turn()
    assert renewal.reaped(publisher, "ended")
    assert renewal.reaped(publisher, "cannot open"), "else it would start and end for ever"
    assert (publisher.is_wanted, renewal.failure, renewal.names) == (True, "cannot open", ())


def test_one_that_fails_just_when_it_is_told_to_end_starts_again(roster, crew):
    renewal = Renewal(roster, crew, lambda: False)
    (publisher,) = roster.of(Kind.PUBLISHER)
    renewal.order([publisher])
    renewal.turn()
    publisher.is_wanted = False  # its exit code said that another start would be in vain
    assert renewal.reaped(publisher, "no library")
    assert publisher.is_wanted


def test_newcomers_are_awaited_and_one_that_cannot_work_goes_back(roster, crew, renewal):
    newcomer = roster.add_worker()
    renewal.order([], [newcomer])
    renewal.can_go_back = True
    renewal.turn()
    assert renewal.names == ("worker-2",)
    newcomer.is_wanted = False
    assert renewal.reaped(newcomer, "no library")
    assert (renewal.failure, renewal.names) == ("no library", ())
    assert crew.told == ["dismiss worker-2"]

    another = roster.add_worker()
    renewal.order([], [another])
    another.is_ready = True
    renewal.turn()
    assert (renewal.failure, renewal.names) == ("", ())


@pytest.mark.parametrize("can_go_back", [True, False])
def test_whoever_starts_anew_and_cannot_work_by_it_goes_back(roster, renewal, can_go_back):
    first, second = roster.workers
    renewal.can_go_back = can_go_back
    renewal.order([first])
    renewal.turn()
    second.was_ready = True
    assert not renewal.reaped(second, "killed"), "it is started again, like at any time"
    second.is_wanted = False  # by the new configuration, it was told then
    assert renewal.reaped(second, "no library") is can_go_back
    assert second.is_wanted is can_go_back
    (decoder,) = roster.of(Kind.DECODER)
    decoder.is_wanted = False
    assert not renewal.reaped(decoder, "no such camera"), "that is its camera's affair"


def test_where_memory_is_short_each_ends_before_its_heir_starts(roster, crew, monkeypatch):
    monkeypatch.setattr("engine.renewal.fits_beside", lambda _child: False)
    renewal = Renewal(roster, crew, lambda: False)
    renewal.order(roster.workers)
    renewal.turn()
    assert crew.told == ["renew worker-0"]
    assert len(roster.workers) == 2


def test_a_process_that_is_gone_has_no_size(roster):
    assert not fits_beside(roster.workers[0])

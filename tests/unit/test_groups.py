"""Groups across cameras, on a real Redis."""

import time

import pytest

from engine.groups import Groups, Question
from engine.store import group_key


@pytest.fixture
def groups(redis_server):
    return Groups(redis_server.url, window_s=60.0)


def ask(groups, *questions):
    """Ask until Redis answered: the first answer needs a connection."""
    deadline = time.monotonic() + 5.0
    while time.monotonic() < deadline:
        found = groups.of([Question(*one) for one in questions])
        if found:
            return found
    raise AssertionError("no answer")


def test_the_first_sighting_at_a_site_names_the_group(groups, redis_server):
    elsewhere = Groups(redis_server.url, window_s=60.0)  # as on another machine
    assert ask(groups, ("id-1", "harbour", "AB12CDE")) == {"id-1": "id-1"}
    assert ask(elsewhere, ("id-2", "harbour", "AB12CDE")) == {"id-2": "id-1"}
    assert ask(groups, ("id-1", "harbour", "AB12CDE")) == {"id-1": "id-1"}, "asking is no news"
    assert ask(groups, ("id-3", "harbour", "AB12CDF"), ("id-4", "town", "AB12CDE")) == {
        "id-3": "id-3",
        "id-4": "id-4",
    }


def test_a_group_is_over_after_its_window(redis_server):
    groups = Groups(redis_server.url, window_s=0.3)
    assert ask(groups, ("id-1", "harbour", "AB12CDE")) == {"id-1": "id-1"}
    with redis_server.connect() as client:
        assert 0 < client.pttl(group_key("harbour", "AB12CDE")) <= 300
        deadline = time.monotonic() + 5.0
        while client.exists(group_key("harbour", "AB12CDE")) and time.monotonic() < deadline:
            time.sleep(0.02)
    assert ask(groups, ("id-2", "harbour", "AB12CDE")) == {"id-2": "id-2"}


def test_a_redis_that_is_away_delays_nobody_and_answers_again_when_it_is_back(groups, redis_server):
    assert ask(groups, ("id-1", "harbour", "AB12CDE"))
    redis_server.stop()
    began = time.monotonic()
    for number in range(50):
        assert groups.of([Question(f"x-{number}", "harbour", "XY99ZZZ")]) == {}
    assert time.monotonic() - began < 1.0
    redis_server.start()
    assert ask(groups, ("id-2", "harbour", "AB12CDE")) == {"id-2": "id-1"}

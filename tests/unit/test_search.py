"""Search over a real Redis: every match, every filter, pages without a double or a gap."""

import random
import time

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from engine.config import RedisSettings
from engine.plates import distance, lookalikes
from engine.search import Match, Place, Question, Search, plate_asked_for
from engine.store import Store, connect, list_key, plate_key, texts_key
from engine.store_writer import StoreWriter
from engine.track import Event
from engine.types import Hit, Phase, Sighting

DAY_MS = 86_400_000
NOW_MS = time.time_ns() // 1_000_000


def sighting(number, plate, *, ago_ms=0, **changes):
    at_ms = NOW_MS - ago_ms
    fields = {
        "id": f"id-{number:05d}", "revision": 1, "phase": Phase.FINAL, "camera": "gate",
        "node": "n", "plate": plate, "confidence": 90.0, "first_unix_ms": at_ms,
        "last_unix_ms": at_ms, "best_unix_ms": at_ms,
    }  # fmt: skip
    return Sighting(**(fields | changes))


@pytest.fixture
def store(redis_server):
    with connect(redis_server.url) as client:
        yield Store(client)


@pytest.fixture
def search(store):
    return Search(store)


@pytest.fixture
def commit(redis_server):
    writer = StoreWriter(redis_server.url, RedisSettings(keep_days=3_650))
    yield lambda *some: writer.commit([Event(one, None) for one in some])
    writer.close()


def plates(search, text="", match=Match.EXACT, **more):
    question = Question(plate=plate_asked_for(text, match), match=match, **more)
    return [one.plate for one in search.page(question, 100).sightings]


def test_plates_are_found_by_themselves_their_beginning_a_pattern_and_lookalikes(search, commit):
    texts = ["AB12CDE", "A812CDE", "AB12CD", "AB99XYZ", "ZZ12CDE", "QB12CDE"]
    commit(*(sighting(n, text, ago_ms=n * DAY_MS) for n, text in enumerate(texts)))
    assert plates(search, "ab-12 cde") == ["AB12CDE"]
    assert plates(search, "AB12", Match.PREFIX) == ["AB12CDE", "AB12CD"]
    assert plates(search, "a?12*", Match.WILDCARD) == ["AB12CDE", "A812CDE", "AB12CD"]
    assert plates(search, "*12cde", Match.WILDCARD) == ["AB12CDE", "A812CDE", "ZZ12CDE", "QB12CDE"]
    assert plates(search, "AB12CDE", Match.SIMILAR) == ["AB12CDE", "A812CDE", "AB12CD", "QB12CDE"]
    assert plates(search, "AB12", Match.SIMILAR) == []
    assert plates(search) == texts


def test_every_filter_lets_only_what_was_asked_for_through(search, commit):
    hit = Hit(list="stolen", plate="H1", match="exact")
    commit(
        sighting(1, "A1", camera="yard"),
        sighting(2, "A2", region="us-ma"),
        sighting(3, "A3", region="usa"),
        sighting(4, "A4", confidence=60.0),
        sighting(5, "A5", phase=Phase.PROVISIONAL),
        sighting(6, "H1", hits=(hit,)),
        sighting(7, "A7", ago_ms=DAY_MS),
    )
    assert plates(search, camera="yard") == ["A1"]
    assert plates(search, region="us") == ["A2"]
    assert plates(search, min_confidence=80.0) == ["H1", "A5", "A3", "A2", "A1", "A7"]
    assert plates(search, phase=Phase.PROVISIONAL) == ["A5"]
    assert plates(search, list="stolen") == ["H1"]
    assert plates(search, before_unix_ms=NOW_MS) == ["A7"]
    assert "A7" not in plates(search, after_unix_ms=NOW_MS)
    assert plates(search, "A", Match.PREFIX, camera="yard") == ["A1"]
    assert plates(search, "A*", Match.WILDCARD, list="stolen") == []


@pytest.mark.parametrize(
    ("text", "match"),
    [("", Match.EXACT), ("AB", Match.PREFIX), ("*B*", Match.WILDCARD), ("AB1", Match.SIMILAR)],
)
def test_pages_have_no_double_and_no_gap_while_new_ones_come(
    search, commit, rng: random.Random, text, match
):
    # many at the same moment, and some days apart
    olds = [
        sighting(n, f"AB{n % 7}", ago_ms=rng.choice([1, 1, 2, DAY_MS, 3 * DAY_MS]))
        for n in range(400)
    ]
    commit(*olds)
    question = Question(plate=text, match=match)
    expected = sorted(
        (one for one in olds if match is not Match.SIMILAR or distance(one.plate, "AB1") <= 1),
        key=lambda one: (one.first_unix_ms, one.id),
        reverse=True,
    )
    found, below = [], None
    for number in range(1_000):
        page = search.page(question, 37, below)
        found += page.sightings
        commit(sighting(1_000 + number, "AB1", ago_ms=-number - 1))
        if page.end is None:
            break
        below = Place.parse(str(page.end))
    assert [one.id for one in found] == [one.id for one in expected]
    everything = [one for portion in search.all(question) for one in portion]
    assert [one.id for one in everything][-len(expected) :] == [one.id for one in expected]


def test_a_beginning_that_many_plates_have_is_found_all_the_same(search, commit):
    commit(*(sighting(n, f"AB{n:04d}") for n in range(1_200)), sighting(9_999, "ZZ1"))
    question = Question(plate="AB", match=Match.PREFIX)
    assert sum(len(portion) for portion in search.all(question)) == 1_200
    assert plates(search, "AB*7?9", Match.WILDCARD) == [
        f"AB{n:04d}" for n in range(1_199, -1, -1) if f"{n:04d}"[-3] == "7" and n % 10 == 9
    ]


def test_a_rare_one_among_many_takes_several_pages_of_bounded_work(search, commit, monkeypatch):
    monkeypatch.setattr("engine.search.MOST_LOOKED_AT", 600)
    commit(*(sighting(n, f"AB{n:04d}") for n in range(1_500)), sighting(9, "RARE1", ago_ms=5_000))
    question = Question(min_confidence=90.0, after_unix_ms=0, before_unix_ms=NOW_MS - 1_000)
    page = search.page(question, 10)
    assert (len(page.sightings), page.end) == (1, None)
    question = Question(region="xx")
    page, turns = search.page(question, 10), 1
    while page.end is not None:
        page, turns = search.page(question, 10, page.end), turns + 1
        assert page.sightings == []
    assert turns == 3


def test_days_that_hold_nothing_end_a_page_that_takes_too_long(search, commit, monkeypatch):
    monkeypatch.setattr("engine.search.WITHIN_S", -1.0)
    texts = ["AB1", "ZZ1", "AB2", "ZZ2", "AB3"]
    commit(*(sighting(n, text, ago_ms=n * DAY_MS) for n, text in enumerate(texts)))
    found, places, below = [], [], None
    for _ in range(20):
        page = search.page(Question(plate="AB", match=Match.PREFIX), 10, below)
        found += [one.plate for one in page.sightings]
        if page.end is None:
            break
        below = Place.parse(str(page.end))
        places.append(below)
    assert page.end is None
    assert found == ["AB1", "AB2", "AB3"]
    assert places == sorted(places, reverse=True)
    assert [place.id for place in places].count("!") == len(texts)


def test_a_new_reading_moves_a_sighting_between_lists_and_days(search, commit, store):
    hit = Hit(list="stolen", plate="AB1", match="exact")
    commit(sighting(1, "AB1", hits=(hit,)))
    moved = sighting(1, "AB2", ago_ms=DAY_MS, revision=2)
    commit(moved)
    assert plates(search, list="stolen") == []
    assert store.asking([("zcard", list_key("stolen"))]) == [0]
    assert plates(search) == plates(search, "AB", Match.PREFIX) == ["AB2"]


def test_hashed_plates_are_in_no_index_of_texts(search, commit, store):
    commit(sighting(1, "~ABCDEFGHABCDEFGH"), sighting(2, "AB1"))
    assert store.asking([("zrange", texts_key(NOW_MS), 0, -1)]) == [[b"AB1"]]
    assert plates(search, "*", Match.WILDCARD) == ["AB1"]
    assert len(plates(search)) == 2


def test_indexes_end_with_what_they_index(commit, store):
    hit = Hit(list="stolen", plate="AB1", match="exact")
    commit(sighting(1, "AB1", hits=(hit,)))
    for key in (texts_key(NOW_MS), list_key("stolen"), plate_key("AB1")):
        assert 0 < store.asking([("ttl", key)])[0] <= 3_651 * 86_400


@given(st.text("0O8B1IAS5Z", min_size=1, max_size=7))
def test_lookalikes_are_those_within_the_distance(plate):
    found = lookalikes(plate)
    assert found[0] == plate
    assert len(set(found)) == len(found)
    assert all(distance(plate, text) <= 1.0 for text in found if text)
    assert set(lookalikes(plate, limit=0.5)) <= set(found)


@pytest.mark.parametrize("text", ["", "7", "7.", "x.y", "-1.id", "9" * 20 + ".id"])
def test_what_is_no_cursor_is_refused(text):
    with pytest.raises(ValueError, match="no cursor"):
        Place.parse(text)


def test_places_survive_being_written_down():
    place = Place(1_790_000_000_000, "0199.c1f0-x")
    assert Place.parse(str(place)) == place
    assert msgspec.structs.astuple(place) == (1_790_000_000_000, "0199.c1f0-x")

"""Watchlists: what matches, when, and how soon; the index finds what a plain comparison finds."""

import io
import time
import zlib

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polling import wait_until
from sightings import event

from engine.errors import PayloadError
from engine.types import Hit
from engine.watchlists import keys as keys_module
from engine.watchlists import matcher as matcher_module
from engine.watchlists.entries import (
    Entry,
    Match,
    Watchlists,
    entry_of,
    fold,
    parse_schedule,
    read_csv,
    write_csv,
)
from engine.watchlists.keys import build, find, wanted
from engine.watchlists.matcher import Matcher, one_edit_apart

NOON_MS = 1_790_000_000_000

plates = st.text("0O8BAX", min_size=1, max_size=6)


@pytest.fixture
def lists(tmp_path):
    one = Watchlists(tmp_path / "watchlists.sqlite")
    yield one
    one.close()


@pytest.fixture
def matcher(tmp_path, lists):  # noqa: ARG001  # the file must be there first
    one = Matcher(tmp_path / "watchlists.sqlite")
    yield one
    one.close()


def put(lists, matcher, *entries):
    lists.put([entry_of(**{"name": "stolen"} | entry) for entry in entries])
    assert matcher.refresh()


def how(matcher, plate, at_ms=NOON_MS):
    return [(hit.plate, hit.match) for hit in matcher.match(plate, at_ms)]


# --- the index ----------------------------------------------------------------------------------


@given(st.lists(st.text("ABC019", min_size=1, max_size=8), min_size=1))
def test_keys_hold_the_crc_that_zlib_computes(texts):
    rows = [(number, text, "exact") for number, text in enumerate(texts)]
    expected = sorted((zlib.crc32(text.encode()) << 32) + number for number, text, _ in rows)
    assert build(rows).tolist() == expected


def edits(one, other):
    """The plain edit distance."""
    if not one or not other:
        return len(one) + len(other)
    if one[0] == other[0]:
        return edits(one[1:], other[1:])
    return 1 + min(
        edits(one[1:], other), edits(one, other[1:]), edits(one[1:], other[1:])
    )  # fmt: skip


@given(plates, plates)
def test_one_edit_apart(one, other):
    if one != other:
        assert one_edit_apart(one, other) == (edits(one, other) == 1)


def matches(match, entry, plate):
    """What the words of ``Match`` mean, compared plainly."""
    return (
        plate == entry
        or (match != "exact" and fold(plate) == fold(entry))
        or (match == "near" and edits(plate, entry) <= 1)
    )


@given(
    st.lists(st.tuples(plates, st.sampled_from(["exact", "confusable", "near"])), max_size=30),
    plates,
)
def test_the_index_finds_what_a_plain_comparison_finds(entries, plate):
    rows = [(number, text, match) for number, (text, match) in enumerate(entries, start=1)]
    found = set(find(build(rows), wanted(plate)))
    expected = {number for number, text, match in rows if matches(match, text, plate)}
    if len(found) < keys_module._MAX_FOUND:
        assert expected <= found


# --- matching -----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("match", "plate", "found"),
    [
        ("exact", "AB12CDE", "exact"), ("exact", "A812CDE", None), ("exact", "AB12CD", None),
        ("confusable", "AB12CDE", "exact"), ("confusable", "A812CDE", "confusable"),
        ("confusable", "AB1ZC0E", "confusable"), ("confusable", "XB12CDE", None),
        ("near", "AB12CDE", "exact"), ("near", "XB12CDE", "near"), ("near", "AB12CD", "near"),
        ("near", "AB12CDEX", "near"), ("near", "XXB12CDE", None), ("near", "A8I2CDE", "confusable"),
        ("near", "BA12CDE", None),
    ],
)  # fmt: skip
def test_ways_of_matching(lists, matcher, match, plate, found):
    put(lists, matcher, {"plate": "ab-12 cde", "match": match})
    assert how(matcher, plate) == ([("AB12CDE", found)] if found else [])


@pytest.mark.parametrize(
    ("pattern", "plate", "found"),
    [
        ("AB*", "AB12CDE", True), ("AB*", "AB", True), ("AB*", "XAB12", False),
        ("*CDE", "AB12CDE", True), ("?B12CDE", "XB12CDE", True), ("@@##@@@", "AB12CDE", True),
        ("@@##@@@", "AB1ZCDE", False), ("A{2}1", "AA1", True), ("A{0,1}B1", "B1", True),
        ("A*", "A", True),
    ],
)  # fmt: skip
def test_patterns(lists, matcher, pattern, plate, found):
    put(lists, matcher, {"plate": pattern})
    assert how(matcher, plate) == ([(pattern, "pattern")] if found else [])


@pytest.mark.parametrize("pattern", ["*" * 40 + "Z", "*?" * 6 + "Z"])
def test_no_pattern_takes_long(lists, matcher, pattern):
    put(lists, matcher, {"plate": pattern})
    began = time.process_time()
    assert how(matcher, "1" * 16) == []
    assert time.process_time() - began < 0.1


def test_a_pattern_that_could_take_for_ever_is_refused():
    for pattern in ("*?" * 7, "?{0,9}" * 7 + "Z"):
        with pytest.raises(ValueError, match="more than 6 of"):
            entry_of("a", plate=pattern)
    assert entry_of("a", plate="@{2}#{2}@{3}" * 3).match == "pattern"


def test_the_closest_hit_comes_first(lists, matcher):
    put(
        lists, matcher,
        {"plate": "AB12CDX", "match": "near"}, {"plate": "AB12CD*"},
        {"plate": "A812CDE", "match": "confusable"}, {"plate": "AB12CDE", "severity": "alarm"},
    )  # fmt: skip
    assert [match for _, match in how(matcher, "AB12CDE")] == [
        "exact", "pattern", "confusable", "near",
    ]  # fmt: skip


def test_a_sighting_is_marked(lists, matcher):
    entry = {"plate": "AB1CD", "label": "blue van", "severity": "alarm"}
    put(lists, matcher, entry)
    given_one = event(1).sighting
    (hit,) = matcher.marked(given_one).hits
    assert hit == Hit(list="stolen", match="exact", **entry)
    assert matcher.marked(event(2).sighting).hits == ()
    assert msgspec.structs.replace(matcher.marked(given_one), hits=()) == given_one


# --- when ---------------------------------------------------------------------------------------


@pytest.fixture
def utc(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


MONDAY_MS = 1_789_948_800_000  # 2026-09-21 00:00 UTC
HOUR_MS = 3_600_000


@pytest.mark.parametrize(
    ("schedule", "hours", "counts"),
    [
        ("", 3, True),
        ("mon", 3, True),
        ("tue", 3, False),
        ("mon-fri 08:00-18:00", 8, True),
        ("mon-fri 08:00-18:00", 18, False),
        ("sat-mon", 3, True),
        ("08:00-18:00", 9, True),
        ("tue,thu 08:00-18:00", 24 + 9, True),
        ("mon 22:00-06:00", 23, True),
        ("mon 22:00-06:00", 24 + 5, True),
        ("mon 22:00-06:00", 5, False),
        ("tue; mon 09:00-10:00", 9.5, True),
    ],
)
@pytest.mark.usefixtures("utc")
def test_schedules(schedule, hours, counts):
    entry = entry_of("stolen", plate="AB1", schedule=schedule)
    assert entry.counts(int(MONDAY_MS + hours * HOUR_MS)) is counts


@pytest.mark.parametrize("text", ["someday", "mon-xyz", "08:00", "mon 25:00-26:00", "08:70-09:00"])
def test_what_is_no_schedule_is_refused(text):
    with pytest.raises(ValueError, match=r"is no|holds no"):
        parse_schedule(text)


@pytest.mark.usefixtures("utc")
def test_expiry(lists, matcher):
    put(lists, matcher, {"plate": "AB1", "expires": "2026-09-21"})
    assert how(matcher, "AB1", MONDAY_MS + 24 * HOUR_MS - 1)
    assert not how(matcher, "AB1", MONDAY_MS + 24 * HOUR_MS)


# --- changes ------------------------------------------------------------------------------------


def test_changes_take_effect_within_a_second(lists, matcher):
    matcher.start()
    lists.put([entry_of("stolen", plate="AB1", label="first")])
    wait_until(lambda: how(matcher, "AB1"), 1.0)
    lists.put([entry_of("stolen", plate="AB1", label="second", match="near")])
    wait_until(lambda: how(matcher, "AB2"), 1.0)
    assert [hit.label for hit in matcher.match("AB1", NOON_MS)] == ["second"]
    lists.remove("stolen", "AB1")
    assert not matcher.match("AB1", NOON_MS)  # at once
    lists.put([entry_of("gone", plate=f"XY{number}") for number in range(100)])
    wait_until(lambda: how(matcher, "XY99"), 1.0)
    assert lists.remove("gone") == 100
    assert not how(matcher, "XY99")


def test_many_small_changes_are_merged(lists, matcher, monkeypatch):
    monkeypatch.setattr(matcher_module, "_SMALL", 8)
    for number in range(50):
        put(lists, matcher, {"plate": f"AB{number}", "match": "near"})
    assert len(matcher._known.segments) <= matcher_module._MAX_SEGMENTS
    assert all(("AB" + str(n), "exact") in how(matcher, f"AB{n}") for n in range(50))
    lists.remove("stolen")
    put(lists, matcher, {"plate": "ZZ1"})
    assert matcher._known.indexed == 1
    assert how(matcher, "ZZ1")


# --- CSV ----------------------------------------------------------------------------------------


def test_csv_goes_in_and_out(lists):
    text = (
        "plate,match,label,severity,schedule,expires\n"
        'AB12CDE,near,"a van, blue",alarm,mon-fri 08:00-18:00,2026-12-31T12:00:00+00:00\n'
        "XY*,pattern,,info,,\n"
    )
    assert lists.put(read_csv("stolen", io.StringIO(text))) == 2
    out = io.StringIO()
    assert write_csv(lists.entries("stolen"), out) == 2
    assert out.getvalue() == text
    assert lists.put(read_csv("other", io.StringIO("Plate\nAB1\nab 1\n"))) == 2
    assert lists.sizes() == {"other": 1, "stolen": 2}


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("", "line 1: has no column plate"),
        ("plat\nAB1\n", "line 1: has no column plate"),
        ("plate,colour\nAB1,red\n", "line 1: has columns that mean nothing: colour"),
        ("plate\n--\n", "line 2: '--' is no plate"),
        ("plate,match\nAB1,exactly\n", "line 2: 'exactly' is not a valid Match"),
        ("plate,severity\nAB1,\nAB2,high\n", "line 3: 'high' is no severity"),
        ("plate,expires\nAB1,soon\n", "line 2: Invalid isoformat"),
        ("plate\nA[B\n", "line 2: 'A[B' is no plate pattern"),
    ],
)
def test_mistakes_name_the_line_and_nothing_is_imported(lists, text, says):
    with pytest.raises(PayloadError) as caught:
        lists.put(read_csv("stolen", io.StringIO(text)))
    assert str(caught.value).startswith(says)
    assert lists.sizes() == {}


def test_an_import_may_replace_the_list(lists):
    lists.put([Entry(list="a", plate="OLD"), Entry(list="b", plate="KEPT")])
    lists.put([Entry(list="a", plate="NEW", match=Match.NEAR)], instead_of="a")
    assert [entry.plate for entry in lists.entries("a")] == ["NEW"]
    assert lists.sizes() == {"a": 1, "b": 1}

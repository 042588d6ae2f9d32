"""The canary: read by the recognizer, kept apart from all sightings, missed when it stays away."""

import contextlib
import itertools
import re

import msgspec
import numpy as np
import pytest
from sightings import event

from api.canary import CanaryEar
from api.feed import START, Feed
from engine.board import Board, Count, Fate
from engine.canary import CANARY
from engine.config import OpenAlprSettings, RedisSettings, parse_settings
from engine.errors import ConfigError, SourceError
from engine.recognizers.base import RecognizeHints
from engine.recognizers.registry import open_recognizer
from engine.roster import Roster
from engine.sections import ApiSection
from engine.shm import RunLock
from engine.sink_settings import WebhookSettings
from engine.sinks.choice import Choice, Lane
from engine.sources import open_source
from engine.sources.canary import plate_of
from engine.sources.pace import Stamp
from engine.store import CANARIES, Store
from engine.store_writer import StoreWriter
from engine.watch import Watch
from engine.watchlists.entries import Watchlists, entry_of
from engine.watchlists.matcher import Matcher

BORN_MS = 1_790_000_000_000
NOTHING_ELSE = {b"platering:{log}:epoch", CANARIES.encode()}


def canary(number: int, node: str = "north", at_s: float = 0.0):
    at_ms = BORN_MS + round(at_s * 1_000)
    return event(number, camera=CANARY, node=node, first_unix_ms=at_ms, last_unix_ms=at_ms)


@pytest.fixture
def writer(redis_server):
    one = StoreWriter(redis_server.url, RedisSettings())
    yield one
    one.close()


@pytest.fixture
def board():
    lock = RunLock()
    one = Board.create(lock.name("board"), 3, 1)
    yield one
    one.close()
    lock.release()


@pytest.fixture
def rows(board):
    with contextlib.ExitStack() as stack:
        seats = [board.row(index) for index in range(3)]
        for seat in seats:
            stack.callback(seat.release)
        yield seats


@pytest.fixture
def ear(board, rows):
    return ear_of(board, rows[1])


def ear_of(board, seat, cell=0):
    section = ApiSection(
        api="{}", redis_url="", node="north", board="", cameras=(), control_path="",
        ingest_path="", data_dir="", canary_every_s=60.0, canary_cell=cell,
    )  # fmt: skip
    return CanaryEar(section, seat, board)


def figures(ear: CanaryEar) -> dict[str, float]:
    return {
        " ".join((sample.name.removeprefix("platering_"), *sample.labels.values())): sample.value
        for family in ear.collect()
        for sample in family.samples
    }


def test_its_plates_are_read_and_two_in_a_row_differ_in_most_places():
    recognizer = open_recognizer("builtin", OpenAlprSettings(), "cpu").recognizer
    frames = open_source("canary://?every_s=0.001").frames(lambda: False)
    began = None
    for number, frame in enumerate(itertools.islice(frames, 25)):
        luma = np.empty((frame.height_px, frame.width_px), np.uint8)
        frame.write_luma(luma)
        (read,) = recognizer.recognize(luma, RecognizeHints((), 5))
        if began is None:
            now = frame.captured_unix_ns // 1_000_000_000
            began = next(one for one in (now - 1, now) if plate_of(one) == read.plate)
        text = plate_of(began + number)
        assert (read.plate, read.confidence > 90.0) == (text, True)
        assert re.fullmatch("[A-Z]{2}[0-9]{2}[A-Z]{3}", text)
        following = plate_of(began + number + 1)
        assert sum(a != b for a, b in zip(text, following, strict=True)) >= 3
    recognizer.close()


def test_redis_has_its_events_in_a_stream_of_their_own_and_nowhere_else(writer, redis_server):
    with redis_server.connect() as client:
        store = Store(client)
        writer.commit([canary(1), canary(2)])
        assert set(client.keys()) == NOTHING_ELSE
        writer.commit([event(3), canary(4), event(5), canary(6)])
        assert [entry.seq for entry in store.read_stream("0-0")] == [1, 2]
        assert [one.id for one in store.latest(10)] == ["id-5", "id-3"]
        assert store.cameras() == ["gate"]
        told = [msgspec.json.decode(entry.json)["id"] for entry in store.newest_canaries(10)]
        assert told == ["id-1", "id-2", "id-4", "id-6"]
        assert not client.keys("*canary*")


def test_the_reader_of_the_live_stream_meets_it_and_passes_on_only_sightings(
    writer, ear, board, rows, redis_server
):
    with redis_server.connect() as client:
        feed = Feed(Store(client), ear)
        place, _ = feed.newest(10)
        assert place == START
        assert figures(ear)["canary_delivered_timestamp_seconds north"] == 0.0
        writer.commit([canary(1), event(2), canary(3, at_s=60.0)])
        assert [one.sighting.id for one in feed.after(START, 100)] == ["id-2"]
        found = figures(ear)
        assert found["canaries_total delivered"] == 2.0
        assert found["canary_delivered_timestamp_seconds north"] > 0.0
        later = ear_of(board, rows[2])  # a process that starts now goes on where others are
        Feed(Store(client), later).newest(10)
        assert figures(later)["canary_delivered_timestamp_seconds north"] > 0.0
        assert rows[2].total(Count.CANARIES_DELIVERED) == 2
        writer.commit([canary(4, at_s=120.0)])
        assert feed.after(START, 100)
        later.hear(Store(client).read_canaries(later.place, 1))
        assert figures(later) == figures(ear) | {
            name: value for name, value in figures(later).items() if "seconds" in name
        }
        assert figures(later)["canaries_total delivered"] == 3.0, "the largest count is true"


def test_those_that_never_came_are_counted_when_the_next_one_comes(writer, ear, redis_server):
    with redis_server.connect() as client:
        store = Store(client)
        ear.remember(store.newest_canaries(10))
        writer.commit([canary(1), canary(1, at_s=0.0), canary(2, at_s=61.0)])
        ear.hear(store.read_canaries(ear.place, 1))
        assert figures(ear)["canaries_lost_total"] == 0.0
        writer.commit([canary(3, node="south", at_s=200.0), canary(4, at_s=242.0)])
        ear.hear(store.read_canaries(ear.place, 1))
        found = figures(ear)
        assert found["canaries_lost_total"] == 2.0
        assert found["canaries_total delivered"] == 3.0, "a repeat, and that of south, are not ours"
        assert found["canary_delivered_timestamp_seconds south"] > 0.0


def test_metrics_tell_which_stage_it_reached(ear, board, rows):
    row = rows[0]
    for fate in (Fate.CAPTURED, Fate.CAPTURED, Fate.RECOGNIZED):
        row.fate(0, fate)
    found = figures(ear)
    assert (found["canaries_total captured"], found["canaries_total recognized"]) == (2.0, 1.0)
    assert found["canaries_total read"] == 0.0
    without = figures(ear_of(board, rows[1], cell=-1))
    assert not any("delivered" in name for name in without)


def test_it_goes_to_no_sink_and_meets_no_watchlist(tmp_path):
    choice = Choice.of(WebhookSettings(name="a", url="https://example.com"), Lane.ALL)
    assert choice.takes(event(1).sighting)
    assert not choice.takes(canary(1).sighting)
    path = tmp_path / "lists.sqlite"
    lists = Watchlists(path)
    lists.put([entry_of("all", plate="AB*", match="pattern")])
    lists.close()
    matcher = Matcher(path)
    assert matcher.marked(event(1).sighting).hits
    assert not matcher.marked(canary(1).sighting).hits
    matcher.close()


@pytest.mark.parametrize(("every_s", "problem"), [(1.0, "at least 3"), (4_000.0, "at most 3600")])
def test_a_period_that_cannot_be_is_refused_by_name(every_s, problem):
    with pytest.raises(ConfigError, match=f"canary.every_s: must be .*{problem}"):
        parse_settings({"canary": {"every_s": every_s}})


def test_no_camera_may_have_its_name():
    with pytest.raises(ConfigError, match=r"cameras\[0\].name: the name 'platering.canary'"):
        parse_settings({"cameras": [{"name": CANARY, "url": "demo://"}]})


@pytest.mark.parametrize("url", ["canary://?every_s=0", "canary://?every=1", "canary://?every_s=x"])
def test_a_source_that_cannot_be_is_refused(url):
    with pytest.raises(SourceError, match="every_s"):
        open_source(url)


def test_stamps_are_those_of_its_turn():
    frames = open_source("canary://?every_s=0.01").frames(lambda: False)
    before = Stamp.now()
    first, second = itertools.islice(frames, 2)
    assert before.unix_ns <= first.captured_unix_ns < second.captured_unix_ns
    assert second.captured_monotonic_ns - first.captured_monotonic_ns >= 9_000_000


@pytest.mark.parametrize("every_s", [0.0, 60.0])
def test_the_figures_that_move_are_of_cameras_alone(every_s, monkeypatch):
    monkeypatch.setattr("engine.watch.PULSE_S", 0.0)
    cameras = [{"name": "gate", "url": "demo://"}]
    settings = parse_settings({"cameras": cameras, "canary": {"every_s": every_s}})
    lock = RunLock()
    board = Board.create(lock.name("board"), 12, 2)
    roster = Roster(settings, {"engine"})
    roster.fill(board)
    watch = Watch(roster, board, None, None)
    for cell in range(2 if every_s else 1):
        roster.places[0].decoder.row.fate(cell, Fate.SIGHTINGS, 5)
    pulse = watch.pulse()
    assert (pulse.cameras, pulse.sightings) == (1, 5)
    for child in roster.children:
        child.release()
    board.close()
    lock.release()

"""What stands is one sighting however long, although nobody reads it."""

import itertools

import pytest
from publisher_rig import CAMERA, EPOCH_NS, plate_read
from tracker_bench import MS, Bench

from engine.types import Still


def stand(bench, from_s, to_s, most=16):
    """Let what is there stand, unread, and tick as the publisher does."""
    for step in range(int((to_s - from_s) * 2)):
        bench.still(1_000 * from_s + 500 * step, frames=7, most=most)
        bench.wait(1_000 * from_s + 500 * step + 100)


def test_what_stands_unread_keeps_its_track_and_is_one_sighting_however_long():
    bench = Bench(parked_interval_s=600.0)
    for step in range(5):
        bench.see(100 * step, plate_read("AB12CDE"))
    stand(bench, 1, 1_900)
    assert {one.id for one in bench.sightings} == {bench.sightings[0].id}
    told = [(one.phase.value, one.parked) for one in bench.sightings]
    assert told == [("provisional", False), *[("revised", True)] * 4]
    since_s = [(one.last_unix_ms - one.first_unix_ms) / 1_000 for one in bench.sightings]
    assert since_s[1] == pytest.approx(60, abs=1)
    gaps = [later - one for one, later in itertools.pairwise(since_s[1:])]
    assert all(600 <= gap <= 601 for gap in gaps)
    bench.wait(1_903_000)
    (final,) = bench.finals
    assert (final.reads, final.frames) == (5, 5 + 7 * 2 * 1_899)
    assert final.parked
    assert final.last_unix_ms - final.first_unix_ms == 1_899_500


def test_what_stands_is_told_of_once_more_only_when_it_is_parked():
    bench = Bench(parked_interval_s=0.0)
    for step in range(5):
        bench.see(100 * step, plate_read("AB12CDE"))
    stand(bench, 1, 600)
    assert bench.told() == [("provisional", "AB12CDE"), ("revised", "AB12CDE")]


def test_what_leaves_and_returns_after_a_while_is_a_new_sighting():
    bench = Bench(reappear_after_s=20.0)
    for start_s in (0, 200):
        for step in range(5):
            bench.see(1_000 * start_s + 100 * step, plate_read("AB12CDE"))
        stand(bench, start_s + 1, start_s + 100)
        bench.wait(1_000 * start_s + 103_000)
    assert len({one.id for one in bench.finals}) == len(bench.finals) == 2
    assert all(one.parked for one in bench.finals)


def test_what_arrives_and_then_stands_is_parked_and_what_creeps_is_not():
    bench = Bench()
    for step in range(10):
        bench.see(100 * step, plate_read("AB12CDE", x=50 + 100 * step))
    stand(bench, 1, 70)
    assert bench.sightings[-1].parked
    bench = Bench()
    for step in range(70):
        bench.see(1_000 * step, plate_read("AB12CDE", x=50 + 20 * step))
    assert not any(one.parked for one in bench.sightings)


def test_a_parked_vehicle_masks_none_that_passes():
    bench = Bench()
    for step in range(5):
        bench.see(100 * step, plate_read("AB12CDE", y=100))
    for passage in range(20):
        start_s = 10 * passage + 1
        stand(bench, start_s, start_s + 8, most=1)
        for step in range(20):
            at_ms = 1_000 * (start_s + 8) + 100 * step
            bench.still(at_ms, most=1)
            if step < 5:
                bench.see(at_ms + 1, plate_read(f"KM{passage:02}XRT", x=50 + 100 * step, y=300))
    bench.wait(1_000_000)
    assert len(bench.finals) == 21


@pytest.mark.parametrize("stop_after_s", [0, 5, 90])
def test_a_restart_while_it_stands_changes_nothing(stop_after_s):
    told = []
    for restarts in (False, True):
        bench = Bench()
        for step in range(5):
            bench.see(100 * step, plate_read("AB12CDE"))
        stand(bench, 1, 1 + stop_after_s)
        if restarts:
            bench.restart(1_000 * stop_after_s + 1_000)
        stand(bench, 1 + stop_after_s, 101)
        bench.wait(104_000)
        told.append(bench.sightings)
    assert told[0] == told[1]


def test_word_of_what_is_unknown_or_old_changes_nothing():
    bench = Bench()
    for step in range(5):
        bench.see(100 * step, plate_read("AB12CDE"))
    (place,) = bench.tracker.places(CAMERA, 16)
    for still in (
        Still(place.key + 2, EPOCH_NS + 10**9, 1),
        Still(place.key, EPOCH_NS + 400 * MS, 1),
    ):
        assert bench.tracker.unchanged(CAMERA, still, EPOCH_NS + 10**9) == []
    assert bench.tracker.unchanged("other", still, EPOCH_NS + 10**9) == []
    bench.wait(2_500)
    assert bench.finals[0].frames == 5

"""What a camera demands of its reads: plates, places, lines, hours."""

import time
from datetime import datetime

import pytest
from publisher_rig import EPOCH_NS, plate_read
from tracker_bench import Bench

from engine.config import parse_camera
from engine.errors import ConfigError
from engine.filters import Rules
from engine.types import Box, FrameStamp

STAMP = FrameStamp(
    camera="gate", generation=1, captured_unix_ns=EPOCH_NS, captured_monotonic_ns=1,
    width_px=1000, height_px=500,
)  # fmt: skip
LEFT_HALF = [[0.0, 0.0], [0.5, 0.0], [0.5, 1.0], [0.0, 1.0]]


def rules(**table):
    return Rules.of(parse_camera({"name": "gate", "url": "x", **table}))


def at(x, y, height=25):
    return Box(x - 50, y - height / 2, 100, height)


@pytest.mark.parametrize(
    ("table", "box", "taken"),
    [
        ({}, at(900, 250), True),
        ({"min_plate_height_px": 20.0}, at(900, 250, height=19), False),
        ({"min_plate_height_px": 20.0}, at(900, 250, height=20), True),
        ({"min_confidence": 95.0}, at(900, 250), False),
        ({"include_zones": [LEFT_HALF]}, at(490, 250), True),
        ({"include_zones": [LEFT_HALF]}, at(510, 250), False),
        ({"exclude_zones": [LEFT_HALF]}, at(490, 250), False),
        ({"exclude_zones": [LEFT_HALF]}, at(510, 250), True),
        ({"include_zones": [LEFT_HALF], "exclude_zones": [LEFT_HALF]}, at(100, 250), False),
        # The crop is the right half: what was the left half of it is the first quarter now.
        ({"include_zones": [LEFT_HALF], "crop": [0.25, 0.0, 0.5, 1.0]}, at(490, 250), True),
        ({"include_zones": [LEFT_HALF], "crop": [0.25, 0.0, 0.5, 1.0]}, at(510, 250), False),
    ],
)
def test_which_reads_are_taken(table, box, taken):
    camera = parse_camera({"name": "gate", "url": "x", **table})
    assert Rules.of(camera, camera.crop).takes(90.0, box, STAMP) is taken


@pytest.mark.parametrize(
    ("table", "plate", "admitted"),
    [
        ({"accept": ["AB*", "@@##@@@"]}, "AB1", True),
        ({"accept": ["AB*", "@@##@@@"]}, "KM07XRT", True),
        ({"accept": ["AB*", "@@##@@@"]}, "KM007XR", False),
        ({"reject": ["TAXI*"]}, "TAXI12", False),
        ({"accept": ["TAXI*"], "reject": ["TAXI12"]}, "TAXI12", False),
        ({"ignore": ["ab 12-cde"]}, "AB12CDE", False),
        ({"ignore": ["ab 12-cde"]}, "AB12CDF", True),
    ],
)
def test_which_plates_are_told_of(table, plate, admitted):
    assert rules(**table).admits(plate, crossed=False) is admitted


@pytest.mark.parametrize(
    ("direction", "way", "crossed"),
    [
        ("any", ((500, 100), (500, 400)), True),
        ("any", ((500, 400), (500, 100)), True),
        ("any", ((500, 100), (500, 200)), False),
        ("any", ((900, 100), (900, 400)), False),  # beside its end
        # The line runs to the right: who walks along it has the lower part at the right hand.
        ("left_to_right", ((500, 100), (500, 400)), True),
        ("left_to_right", ((500, 400), (500, 100)), False),
        ("right_to_left", ((500, 400), (500, 100)), True),
        ("right_to_left", ((500, 100), (500, 400)), False),
    ],
)
def test_trip_lines_know_their_direction(direction, way, crossed):
    line = {"ends": [[0.2, 0.5], [0.8, 0.5]], "direction": direction}
    before, after = (at(*point) for point in way)
    assert rules(trip_lines=[line]).crosses(before, after, STAMP) is crossed


@pytest.mark.parametrize(
    ("schedule", "moment", "is_open"),
    [
        ([], "2026-11-26 03:00", True),
        (["07:00-19:00"], "2026-11-26 07:00", True),
        (["07:00-19:00"], "2026-11-26 19:00", False),
        (["mon-fri 07:00-19:00"], "2026-11-26 12:00", True),  # a Thursday
        (["mon-fri 07:00-19:00"], "2026-11-28 12:00", False),
        (["mon-wed,sat 00:00-24:00"], "2026-11-28 23:59", True),
        (["fri 22:00-06:00"], "2026-11-28 05:59", True),  # the night to Saturday
        (["fri 22:00-06:00"], "2026-11-27 05:59", False),
        (["sat-mon 00:00-24:00"], "2026-11-29 12:00", True),
        (["sat-mon 00:00-24:00"], "2026-11-26 12:00", False),
    ],
)
def test_reads_count_in_the_hours_of_the_schedule(schedule, moment, is_open):
    unix_s = time.mktime(datetime.strptime(moment, "%Y-%m-%d %H:%M").timetuple())  # noqa: DTZ007  # local time is meant
    assert rules(schedule=schedule).is_open(int(unix_s) * 10**9) is is_open


@pytest.mark.parametrize(
    ("table", "problem"),
    [
        ({"schedule": ["monday 07:00-19:00"]}, r"schedule\[0\].*'monday' is no day"),
        ({"schedule": ["07:00-25:00"]}, r"schedule\[0\].*25:00 is no time of day"),
        ({"schedule": ["08:00-08:00"]}, r"schedule\[0\].*whole day is 00:00-24:00"),
        ({"schedule": ["noon"]}, r"schedule\[0\].*must be like"),
        ({"accept": ["A{"]}, r"accept\[0\].*no plate pattern"),
        ({"ignore": ["--"]}, r"ignore\[0\].*letter or digit"),
        ({"trip_lines": [{}]}, r"trip_lines\[0\].ends: is missing"),
        ({"trip_lines": [{"ends": [[0.0, 0.0], [2.0, 0.0]]}]}, r"ends.*must be at most 1"),
        (
            {"trip_lines": [{"ends": [[0.0, 0.0], [1.0, 0.0]], "direction": "up"}]},
            r"trip_lines\[0\].direction: must be 'any'",
        ),
        (
            {"trip_lines": [{"ends": [[0.5, 0.5], [0.5, 0.5]]}]},
            r"ends: must be two different places",
        ),
        ({"include_zones": [[[0.0, 0.0], [1.0, 1.0]]]}, r"include_zones\[0\]: must have three"),
        ({"regions": ["gb", "xx"]}, r"regions\[1\]: no plates of a region 'xx' .* use .*, gb, "),
        ({"min_plate_height_px": -1.0}, "min_plate_height_px: must be at least 0"),
        ({"site": "a b"}, "site: must be at most 63 letters"),
    ],
)
def test_mistakes_name_the_key(table, problem):
    with pytest.raises(ConfigError, match=problem):
        parse_camera({"name": "gate", "url": "x", **table})


def bench(**table):
    made = Bench()
    made.tracker.use_rules("gate", rules(**table))
    return made


def test_a_filtered_vehicle_is_never_told_of_and_counted():
    made = bench(ignore=["AB12CDE"])
    for step in range(10):
        made.see(40 * step, plate_read("AB12CDE"), plate_read("KM07XRT", y=500))
    made.wait(10_000)
    assert {one.plate for one in made.sightings} == {"KM07XRT"}
    assert made.tracker.take_silenced() == {"gate": 1}
    assert made.tracker.take_silenced() == {}


def test_a_vehicle_is_told_of_when_it_crosses_the_line():
    line = {"ends": [[0.0, 0.5], [1.0, 0.5]], "direction": "left_to_right"}
    made = bench(trip_lines=[line])
    for step in range(10):
        made.see(40 * step, plate_read("AB12CDE", y=300 + 10 * step))
    assert made.events == []
    for step in range(10, 30):  # the middle of the picture is at 540
        made.see(40 * step, plate_read("AB12CDE", y=300 + 10 * step))
    assert made.told() == [("provisional", "AB12CDE")]
    other = bench(trip_lines=[line])
    for step in range(30):
        other.see(40 * step, plate_read("AB12CDE", y=700 - 10 * step))
    other.wait(10_000)
    assert other.events == []


def test_reads_outside_of_the_hours_are_rejected(monkeypatch):
    monkeypatch.setenv("TZ", "UTC")
    time.tzset()
    hour = time.gmtime(EPOCH_NS // 10**9).tm_hour
    made = bench(schedule=[f"{hour:02}:00-{hour + 1:02}:00"])
    assert made.see(0, plate_read("AB12CDE")).tracked == 1
    assert made.see(3_600_000, plate_read("AB12CDE")).rejected == 1

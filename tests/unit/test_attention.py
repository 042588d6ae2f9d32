"""Which frames are looked at, and where: savings that lose nothing."""

import itertools

import msgspec
import numpy as np
import pytest

from engine.attention import MOST_AREAS, Attention, Glimpse, Savings, known_plates
from engine.board import Fate
from engine.config import parse_camera
from engine.motion import MotionGate
from engine.sources.planes import shrink
from engine.types import Box, TrackPlace

FPS = 10
SIZE = WIDTH, HEIGHT = 1280, 720
ALL = Savings(reread_s=1.0, search_s=0.25, focus=True)
EPOCH_NS = 1_790_000_000 * 10**9


class Road:
    """A grey picture with chequered vehicles, and an attention that sees it."""

    def __init__(self, savings=ALL, afterglow_s=0.5):
        self.attention = Attention(MotionGate(afterglow_s=afterglow_s), savings)
        self.frame = 0
        rng = np.random.default_rng(1)
        self.picture = rng.integers(90, 110, (HEIGHT, WIDTH), np.uint8)
        patches = rng.integers(0, 2, (10, 15), np.uint8) * 200
        self.vehicle = np.kron(patches, np.ones((20, 20), np.uint8))

    def unix_ns(self, frame=None):
        return EPOCH_NS + (self.frame if frame is None else frame) * 10**9 // FPS

    def look(self, vehicles=(), places=(), width=300):
        """Show one frame with vehicles at these corners, 300 pixels wide."""
        picture = self.picture.copy()
        for x, y in vehicles:
            picture[y : y + 200, x : x + width] = self.vehicle[:, :width]
        at_s = 1_000 + self.frame / FPS
        glimpse = Glimpse(shrink(picture), at_s, self.unix_ns(), WIDTH, HEIGHT)
        self.frame += 1
        return self.attention.judge(glimpse, places)

    def settle(self, vehicles=()):
        for _ in range(10):
            self.look(vehicles)

    def rests(self, later_s, places=()):
        """Ask for a frame so long after the last one that was shown."""
        return self.attention.reason_to_rest(1_000 + (self.frame - 1) / FPS + later_s, places)

    def place(self, x, y, seen=None, **parts):
        """A settled track whose plate is in the middle of the vehicle there."""
        seen_ns = self.unix_ns(self.frame if seen is None else seen)
        box = Box(x + 110, y + 100, 80, 20)
        return TrackPlace(1, box, (0.0, 0.0), seen_ns, **{"settled": True} | parts)


def test_nothing_that_moves_is_nothing_to_look_at():
    road = Road()
    road.settle()
    assert {road.look().skip for _ in range(30)} == {Fate.SKIPPED_STATIC}


def test_right_after_a_frame_that_is_left_out_the_next_is_not_even_glanced_at():
    road = Road()
    assert road.rests(0.0) is None  # nothing was shown yet
    road.settle()
    assert road.look().skip is Fate.SKIPPED_STATIC
    assert road.rests(0.05) is Fate.SKIPPED_STATIC
    assert road.rests(0.05, [road.place(100, 300)]) is Fate.SKIPPED_STATIC
    assert road.rests(0.05, [road.place(100, 300, settled=False)]) is None
    assert road.rests(0.11) is None
    assert road.look([(100, 300)]).skip is None
    assert road.rests(0.05) is None  # the frame after one that was searched


def test_a_rest_ends_when_the_next_search_is_due():
    road = Road()
    road.settle()
    skips = [road.look([(100 + 20 * step, 300)]).skip for step in range(3)]
    assert skips == [None, Fate.SKIPPED_PACED, Fate.SKIPPED_PACED]
    assert road.rests(0.03) is Fate.SKIPPED_PACED
    assert road.rests(0.06) is None  # 0.26 s after the search


def test_nobody_rests_where_every_frame_that_moves_is_wanted():
    road = Road(Savings())
    road.settle()
    assert road.look().skip is Fate.SKIPPED_STATIC
    assert road.rests(0.01) is None


def test_something_unknown_that_moves_is_looked_at_at_the_pace_of_the_search():
    road = Road()
    road.settle()
    skips = [road.look([(100 + 20 * step, 300)]).skip for step in range(20)]
    assert skips[0] is None
    looks = [step for step, skip in enumerate(skips) if skip is None]
    assert {later - one for one, later in itertools.pairwise(looks)} == {3}
    assert set(skips) == {None, Fate.SKIPPED_PACED}


def test_what_is_narrow_as_from_afar_is_searched_more_rarely():
    road = Road()
    road.settle()
    road.settle()
    skips = [road.look([(96 + 2 * step, 300)], width=40).skip for step in range(20)]
    looks = [step for step, skip in enumerate(skips) if skip is None]
    assert skips[0] is None
    assert {later - one for one, later in itertools.pairwise(looks)} == {8}


def test_between_two_searches_a_new_plate_is_looked_at_where_it_should_be():
    road = Road()
    road.settle()
    road.look([(100, 300), (900, 300)])
    new = road.place(110, 300, seen=road.frame - 1, settled=False, urgent=True)
    (area,) = road.look([(120, 300), (880, 300)], [new]).areas
    assert area.holds(new.box.center)
    assert area.width * area.height < 0.05 * WIDTH * HEIGHT
    searched = [road.look([(140 + step, 300), (860 - step, 300)], [new]).areas for step in (0, 20)]
    assert any(area.holds((1000, 400)) for areas in searched for area in areas)


def test_a_plate_not_certain_yet_is_followed_at_the_pace_of_the_search():
    road = Road()
    road.settle()
    road.look([(100, 300)])
    seen, looks = 0, []
    for step in range(1, 13):
        at_seen = road.place(100 + 20 * seen, 300, seen=10 + seen, settled=False)
        plate = msgspec.structs.replace(at_seen, speed=(20.0 * FPS, 0.0))
        verdict = road.look([(100 + 20 * step, 300)], [plate])
        if verdict.skip is None:
            looks.append(step)
            seen = step
            (area,) = verdict.areas
            assert area.holds((100 + 20 * step + 150, 410))
            assert area.width * area.height < 0.05 * WIDTH * HEIGHT
        else:
            assert verdict.skip is Fate.SKIPPED_KNOWN
    assert {later - one for one, later in itertools.pairwise(looks)} == {3}


def test_what_went_too_far_to_be_legible_is_not_read_again():
    gone = TrackPlace(1, Box(600, 300, 50, 12), (0.0, 0.0), EPOCH_NS, settled=True, growth=-0.5)
    for age_s, known in ((0.9, 1), (1.5, 1)):
        assert len(known_plates([gone], EPOCH_NS + int(age_s * 1e9), 10**9)) == known
    near = TrackPlace(1, Box(600, 300, 200, 48), (0.0, 0.0), EPOCH_NS, settled=True, growth=-0.5)
    assert known_plates([near], EPOCH_NS + 1_500_000_000, 10**9) == ()


def test_where_known_plates_are_read_in_every_frame_they_are():
    road = Road(Savings(search_s=0.25, focus=True))
    road.settle()
    for step in range(10):
        known = road.place(80 + 20 * step, 300, seen=road.frame - 1)
        assert road.look([(100 + 20 * step, 300)], [known]).skip is None


def test_without_a_pace_every_frame_of_it_is_looked_at():
    road = Road(Savings())
    road.settle()
    assert all(road.look([(100 + 20 * step, 300)]).skip is None for step in range(20))


def test_a_known_vehicle_that_moves_is_read_again_now_and_then():
    road = Road()
    road.settle()
    seen, looks = 10, []
    for step in range(40):
        x = 100 + 20 * step
        at_seen = 100 + 20 * (seen - 10)
        known = road.place(at_seen, 300, seen=seen)
        verdict = road.look([(x, 300)], [known_at_speed(known, 20 * FPS)])
        if verdict.skip is None:
            looks.append(step)
            seen = road.frame - 1
        else:
            assert verdict.skip is Fate.SKIPPED_KNOWN
    assert 3 <= len(looks) <= 5
    gaps = {later - one for one, later in itertools.pairwise(looks[1:])}
    assert gaps == {10}


def known_at_speed(place, across):
    return TrackPlace(place.key, place.box, (across, 0.0), place.seen_unix_ns, settled=True)


def test_another_vehicle_beside_a_known_one_is_looked_at():
    road = Road()
    road.settle()
    road.look([(100, 300)], [road.place(100, 300)])
    skips = []
    for step in range(8):
        known = road.place(100 + 10 * step, 300)
        skips.append(road.look([(100 + 10 * step, 300), (900 - 20 * step, 300)], [known]).skip)
    assert skips[0] is None or skips[1] is None or skips[2] is None
    assert skips.count(None) >= 2


def test_a_plate_just_read_for_the_first_time_is_looked_at_in_every_frame():
    road = Road()
    road.settle()
    for step in range(6):
        x = 100 + 20 * step
        new = road.place(x, 300, seen=road.frame - 1, settled=False, urgent=True)
        assert road.look([(x, 300)], [new]).skip is None


def test_what_stands_is_said_to_stand_until_something_changes_there():
    road = Road()
    road.settle([(500, 300)])
    parked = road.place(500, 300)
    road.look([(500, 300)], [parked])
    stills = [road.look([(500, 300)], [parked]).stills for _ in range(30)]
    assert [still.frames for (still,) in stills] == list(range(2, 32))
    assert stills[-1][0].until_unix_ns == road.unix_ns(road.frame - 1)
    # Another one that passes elsewhere changes nothing about it.
    for step in range(5):
        verdict = road.look([(500, 300), (50 * step, 20)], [parked])
        assert [still.key for still in verdict.stills] == [parked.key]
    # One that drives over it, or its own leaving, does; it is looked at soon.
    verdicts = [road.look([(500 + 30 * step, 300)], [parked]) for step in range(1, 5)]
    assert all(verdict.stills == () for verdict in verdicts)
    assert any(verdict.skip is None for verdict in verdicts)


def test_a_track_seen_before_the_last_change_at_its_place_is_not_said_to_stand():
    road = Road()
    road.settle()
    gone = road.place(500, 300, seen=road.frame - 1)
    road.look([(500, 300)])
    assert road.look([(500, 300)], [gone]).stills == ()


def test_only_what_moved_and_what_is_tracked_is_searched():
    road = Road()
    road.settle([(100, 100)])
    (area,) = road.look([(110, 100)]).areas
    assert area.holds((105, 200))
    assert area.holds((405, 200))
    assert area.width * area.height < 0.3 * WIDTH * HEIGHT
    road.settle([(110, 100)])
    tracked = road.place(900, 500, seen=road.frame - 11)  # due
    areas = road.look([(120, 100)], [tracked]).areas
    assert any(one.holds((130, 200)) for one in areas)


def test_a_change_of_everything_is_searched_everywhere():
    road = Road()
    assert road.look().areas == ()
    assert Road(Savings(search_s=0.25)).look([(100, 100)]).areas == ()


def test_areas_are_few_and_inside():
    road = Road(afterglow_s=0.0)
    road.settle()
    spots = [(x, y) for x in (0, 400, 980) for y in (0, 260, 520)]
    areas = road.look(spots).areas
    assert len(areas) <= MOST_AREAS
    for area in areas:
        assert area.x >= 0
        assert area.y >= 0
        assert area.x + area.width <= WIDTH
        assert area.y + area.height <= HEIGHT


@pytest.mark.parametrize(
    ("age_s", "settled", "known"), [(0.5, True, 1), (1.1, True, 0), (0.5, False, 0)]
)
def test_known_plates_are_those_that_are_settled_and_not_due(age_s, settled, known):
    place = TrackPlace(1, Box(100, 100, 80, 20), (100.0, 0.0), EPOCH_NS, settled=settled)
    found = known_plates([place], EPOCH_NS + int(age_s * 1e9), 10**9)
    assert len(found) == known
    for box in found:
        assert box.holds((140 + 100 * age_s, 110))


@pytest.mark.parametrize(
    ("keys", "lossless", "saved"),
    [
        ({}, False, Savings(1.0, 0.25, focus=True)),
        ({"search_s": 0.0, "focus": False}, False, Savings(1.0)),
        ({"skip_static": False}, False, Savings()),
        ({}, True, Savings()),  # a clip played fast, or single pictures
    ],
)
def test_what_a_camera_may_leave_out_depends_on_how_it_plays(keys, lossless, saved):
    camera = parse_camera({"name": "gate", "url": "demo://"} | keys)
    assert Savings.of(camera, lossless=lossless) == saved

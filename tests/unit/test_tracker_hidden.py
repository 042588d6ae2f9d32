"""Plates that something hides in part, plates alike, and plates that come nearer."""

import pytest
from publisher_rig import CAMERA, EPOCH_NS, frame, plate_read
from tracker_bench import MS, Bench

from engine.voting import MAX_TEXTS

WHOLE, HEIGHT = 170.0, 40.0


def part_of(text: str, shown: float, *, from_left: bool, y: float = 300, **options):
    """A read of the share of a plate that one sees on one side of a post at x = 500."""
    characters = round(shown * len(text))
    seen = text[:characters] if from_left else text[len(text) - characters :]
    x = 500 - shown * WHOLE if from_left else 560
    return plate_read(seen, x=x, y=y, size=(shown * WHOLE, HEIGHT), **options)


def whole(text: str, x: float, y: float = 300, **options):
    return plate_read(text, x=x, y=y, size=(WHOLE, HEIGHT), **options)


def test_a_plate_that_drives_behind_a_post_is_one_vehicle_with_its_whole_text():
    bench = Bench()
    for step in range(4):
        bench.see(70 * step, whole("HV186VK", x=150 + 45 * step))
    for step, shown in enumerate((0.86, 0.57, 0.57, 0.43)):
        bench.see(280 + 70 * step, part_of("HV186VK", shown, from_left=True, confidence=99))
    for step, shown in enumerate((0.43, 0.57, 0.57, 0.57, 0.86)):
        bench.see(1_000 + 70 * step, part_of("HV186VK", shown, from_left=False, confidence=99))
    for step in range(2):
        bench.see(1_400 + 70 * step, whole("HV186VK", x=600 + 45 * step))
    bench.wait(10_000)
    assert bench.told() == [("provisional", "HV186VK"), ("final", "HV186VK")]
    assert bench.finals[0].reads == 15
    assert bench.finals[0].confidence == 90.0
    assert {bytes(event.evidence.crop_jpeg) for event in bench.events if event.evidence} == {
        b"crop of HV186VK"
    }


def test_a_plate_that_comes_from_behind_a_post_is_told_of_by_its_whole_text():
    bench = Bench()
    for step, shown in enumerate((0.43, 0.57, 0.71, 0.86)):
        bench.see(70 * step, part_of("MH38KGE", shown, from_left=False, confidence=99))
    for step in range(3):
        bench.see(280 + 70 * step, whole("MH38KGE", x=590 + 30 * step))
    bench.wait(10_000)
    assert bench.told() == [("provisional", "MH38KGE"), ("final", "MH38KGE")]
    best = [event.evidence.crop_jpeg for event in bench.events if event.evidence]
    assert best[-1] == b"crop of MH38KGE"


def test_a_part_that_was_read_often_yields_to_the_whole():
    bench = Bench()
    for step in range(8):
        bench.see(70 * step, part_of("MH38KGE", 0.57, from_left=False, confidence=99))
    for step in range(2):
        bench.see(600 + 70 * step, whole("MH38KGE", x=570 + 30 * step, confidence=80))
    bench.wait(10_000)
    assert [one.plate for one in bench.finals] == ["MH38KGE"]


def test_one_part_and_one_whole_read_do_not_agree():
    bench = Bench()
    bench.see(0, plate_read("34R0", x=61, y=225, size=(40, 33)))
    bench.see(50, plate_read("34R01357", x=50, y=226, size=(70, 33)))
    bench.wait(10_000)
    assert bench.events == []


def test_the_weakest_of_too_many_texts_is_forgotten_and_no_more():
    bench = Bench()
    for step in range(MAX_TEXTS):
        bench.see(20 * step, plate_read(f"AB1{step:02}DE", confidence=99))
    bench.see(20 * MAX_TEXTS, plate_read("AB112DF", confidence=60))
    bench.wait(10_000)
    (final,) = bench.finals
    assert final.reads == MAX_TEXTS + 1


def test_reads_without_a_place_are_no_parts_of_one_another():
    bench = Bench()
    for step in range(12):
        text = ("AB12CDEFG", "AB12")[step % 2]
        bench.see(70 * step, plate_read(text, x=0, y=0, size=(0, 0)))
    bench.wait(10_000)
    assert sorted(one.plate for one in bench.finals) == ["AB12", "AB12CDEFG"]


def test_a_character_too_many_on_a_plate_as_wide_as_ever_does_not_win():
    bench = Bench()
    for step in range(10):
        text = "IAB12CDE" if step in {4, 7} else "AB12CDE"
        bench.see(70 * step, whole(text, x=100 + 20 * step))
    bench.wait(10_000)
    assert [one.plate for one in bench.finals] == ["AB12CDE"]


def test_a_short_plate_elsewhere_is_no_part_of_a_long_one():
    bench = Bench()
    for step in range(8):
        bench.see(
            70 * step,
            whole("AB12CDE", x=100 + 20 * step),
            plate_read("AB12", x=1_200 + 10 * step, y=200, size=(70, 35)),
        )
    for step in range(8):
        bench.see(700 + 70 * step, plate_read("AB12", x=1_300 + 10 * step, y=200, size=(70, 35)))
    bench.wait(10_000)
    assert sorted(one.plate for one in bench.finals) == ["AB12", "AB12CDE"]


def test_a_plate_one_character_off_far_behind_one_that_leaves_is_another():
    bench = Bench()
    for step in range(6):
        bench.see(70 * step, plate_read("DPD3940", x=400 - 70 * step, y=500, size=(190, 42)))
    for step in range(6):
        bench.see(1_900 + 70 * step, plate_read("DPD3980", x=500 - step, y=208, size=(40, 10)))
    bench.wait(10_000)
    assert sorted(one.plate for one in bench.finals) == ["DPD3940", "DPD3980"]


def test_a_plate_one_character_off_in_another_lane_a_while_later_is_another():
    bench = Bench()
    for step in range(6):
        size = (100 + 16 * step, 22 + 3 * step)
        bench.see(70 * step, plate_read("PDJCL44", x=400 - 50 * step, y=400, size=size))
    for step in range(6):
        size = (190 - 8 * step, 40 - 2 * step)
        bench.see(1_950 + 70 * step, plate_read("PDJCX44", x=1_050 - 20 * step, y=460, size=size))
    bench.wait(10_000)
    assert [one.plate for one in bench.finals] == ["PDJCL44", "PDJCX44"]


def test_a_plate_far_behind_one_that_leaves_is_another_though_misread_for_it_once():
    bench = Bench()
    for step in range(8):
        size = (100 + 13 * step, 22 + 3 * step)
        bench.see(70 * step, plate_read("PDJCL46", x=400 - 50 * step, y=400, size=size))
    for step in range(8):
        text = "PDJCL46" if step == 0 else "PDJCL44"
        bench.see(900 + 70 * step, plate_read(text, x=500 - step, y=208, size=(40, 10)))
    bench.wait(10_000)
    assert [one.plate for one in bench.finals] == ["PDJCL46", "PDJCL44"]


@pytest.mark.parametrize("metres_a_second", [-6.5, 6.5])
def test_a_place_is_foreseen_as_things_grow_that_come_nearer(metres_a_second):
    def plate_at(at_s):
        away_m = 15.0 - metres_a_second * at_s
        scale = 3_200 / away_m
        return 640 - 1.4 * scale, 115 + 1.2 * scale, (0.52 * scale, 0.11 * scale)

    bench = Bench()
    for step in range(8):
        x, y, size = plate_at(step / 15)
        bench.tracker.feed(
            frame(1_000 * step / 15, plate_read("AB12CDE", x=x, y=y, size=size)),
            EPOCH_NS + int(1_000 * step / 15 * MS),
        )
    (place,) = bench.tracker.places(CAMERA, 1)
    for later_s in (0.2, 0.5, 0.8):
        x, y, (width, height) = plate_at(7 / 15 + later_s)
        foreseen = place.box_at(place.seen_unix_ns + int(later_s * 1e9))
        assert foreseen.width == pytest.approx(width, rel=0.15)
        assert foreseen.center[0] == pytest.approx(x + width / 2, abs=0.35 * width)
        assert foreseen.center[1] == pytest.approx(y + height / 2, abs=0.35 * width)


def test_a_clip_that_comes_late_leaves_what_is_final_final():
    bench = Bench()
    for step in range(5):
        bench.see(70 * step, plate_read("AB12CDE"))
    event = bench.tracker.with_clip(bench.sightings[0])
    assert (event.sighting.phase.value, event.sighting.has_clip) == ("revised", True)
    bench.wait(10_000)
    (final,) = bench.finals
    event = bench.tracker.with_clip(final)
    assert (event.sighting.phase.value, event.sighting.news.value) == ("final", "revised")
    assert event.sighting.revision == final.revision + 1

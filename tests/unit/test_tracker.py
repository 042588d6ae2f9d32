"""One vehicle, one sighting, the right text."""

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from publisher_rig import CAMERA, EPOCH_NS, frame, plate_read
from tracker_bench import MS, Bench

from engine import voting
from engine.filters import Rules
from engine.tracker import SightingIds
from engine.types import Evidence, Phase


def test_a_passage_is_announced_once_and_ended_once():
    bench = Bench()
    for step in range(10):
        bench.see(40 * step, plate_read("AB12CDE", x=50 + 10 * step))
    assert bench.told() == [("provisional", "AB12CDE")]
    bench.wait(2_000)
    assert bench.finals == []
    bench.wait(360 + 2_001)
    (final,) = bench.finals
    assert final.id == bench.sightings[0].id
    assert (final.reads, final.frames, final.revision) == (10, 10, 2)
    assert final.last_unix_ms - final.first_unix_ms == 360
    assert final.direction_deg == 0.0
    bench.wait(100_000)
    assert len(bench.finals) == 1


def test_one_wrong_read_of_ten_is_no_second_vehicle():
    for wrong in ("A812CDE", "AB1ZCOE", "AB12", "XYZ999"):
        bench = Bench(min_reads=1)
        for step in range(10):
            bench.see(40 * step, plate_read(wrong if step == 4 else "AB12CDE", x=50 + 5 * step))
        bench.wait(10_000)
        assert [one.plate for one in bench.finals] == ["AB12CDE"], wrong


def test_a_wrong_first_read_is_revised():
    bench = Bench(announce_after_s=0.0, min_reads=1)
    bench.see(0, plate_read("A812CDE", confidence=70))
    for step in range(1, 20):
        bench.see(50 * step, plate_read("AB12CDE", confidence=95))
    bench.wait(10_000)
    assert bench.told() == [
        ("provisional", "A812CDE"),
        ("revised", "AB12CDE"),
        ("final", "AB12CDE"),
    ]
    assert [one.revision for one in bench.sightings] == [1, 2, 3]


def test_the_vote_mends_what_no_single_read_had_right():
    bench = Bench()
    for step, text in enumerate(["AB12CD3", "AB1ZCDE", "A812CDE", "AB12CDE8", "AB12CDF"]):
        bench.see(40 * step, plate_read(text, confidence=80))
    bench.wait(10_000)
    assert [one.plate for one in bench.finals] == ["AB12CDE"]


def test_two_vehicles_in_the_same_picture_stay_two_however_alike():
    bench = Bench()
    for step in range(10):
        bench.see(
            40 * step,
            plate_read("AB12CDE", x=50 + 10 * step, y=100),
            plate_read("AB12CDF", x=50 + 10 * step, y=160),
        )
    bench.wait(10_000)
    assert sorted(one.plate for one in bench.finals) == ["AB12CDE", "AB12CDF"]


def test_a_vehicle_close_behind_at_the_same_place_is_another():
    bench = Bench()
    for step in range(8):
        bench.see(40 * step, plate_read("AB12CDE", y=100 + 30 * step))
    for step in range(8):
        bench.see(400 + 40 * step, plate_read("KM07XRT", y=100 + 30 * step))
    bench.wait(10_000)
    assert [one.plate for one in bench.finals] == ["AB12CDE", "KM07XRT"]


def test_a_look_alike_soon_after_is_another_vehicle_unless_they_were_confused():
    bench = Bench()
    for step in range(6):
        bench.see(40 * step, plate_read("AB12CDE", y=100 + 60 * step))
    for step in range(6):
        bench.see(5_000 + 40 * step, plate_read("A812CDE", y=100 + 60 * step))
    bench.wait(10_000)
    assert [one.plate for one in bench.finals] == ["AB12CDE", "A812CDE"]
    bench = Bench()
    for step in range(6):
        bench.see(40 * step, plate_read("A812CDE" if step == 2 else "AB12CDE", y=100 + 60 * step))
    for step in range(3):
        bench.see(5_000 + 40 * step, plate_read("A812CDE", y=800))
    bench.wait(10_000)
    assert [one.plate for one in bench.finals] == ["AB12CDE"]


def test_too_few_reads_are_no_sighting():
    bench = Bench(min_reads=3)
    bench.see(0, plate_read("AB12CDE", confidence=99))
    bench.see(40, plate_read("AB12CDE", confidence=99))
    bench.wait(10_000)
    assert bench.events == []


def test_unsure_reads_are_rejected_and_counted():
    bench = Bench()
    fed = bench.see(0, plate_read("AB12CDE", confidence=59.9), plate_read("XY99ZZZ", y=500))
    assert (fed.tracked, fed.rejected) == (1, 1)


def test_it_is_announced_within_the_time_set():
    bench = Bench(min_reads=2, announce_after_s=0.6)
    bench.see(0, plate_read("AB12CDE"))
    bench.see(100, plate_read("AB12CD3"))  # no two reads agree
    bench.wait(590)
    assert bench.events == []
    bench.wait(601)
    assert [phase for phase, _ in bench.told()] == ["provisional"]


def test_a_plate_cut_by_the_edge_of_the_frame_is_no_sighting_of_its_own():
    bench = Bench()
    for step, (text, x) in enumerate([("AB1", 1850), ("AB12", 1840), ("AB12C", 1825)]):
        assert bench.see(40 * step, plate_read(text, x=x)).rejected == 1
    for step in range(3, 9):
        bench.see(40 * step, plate_read("AB12CDE", x=1800 - 10 * step))
    bench.wait(10_000)
    assert [one.plate for one in bench.finals] == ["AB12CDE"]
    assert bench.finals[0].candidates[0].plate == "AB12CDE"


def test_a_plate_hidden_for_a_second_goes_on():
    bench = Bench(max_gap_s=2.0)
    for at_ms in (0, 40, 80, 1_080, 1_120):
        bench.see(at_ms, plate_read("AB12CDE", x=50 + at_ms / 10))
    bench.wait(10_000)
    assert [one.reads for one in bench.finals] == [5]


def test_the_same_plate_again_soon_after_its_final_is_the_same_sighting():
    bench = Bench(reappear_after_s=20.0)
    for start_ms in (0, 10_000):
        for step in range(5):
            bench.see(start_ms + 40 * step, plate_read("AB12CDE"))
        bench.wait(start_ms + 5_000)
    assert len({one.id for one in bench.sightings}) == 1
    assert bench.told() == [
        ("provisional", "AB12CDE"),
        ("final", "AB12CDE"),
        ("revised", "AB12CDE"),
    ]
    assert bench.sightings[-1].reads == 10
    assert bench.sightings[-1].last_unix_ms - bench.sightings[-1].first_unix_ms == 10_160


def test_the_same_plate_much_later_is_a_new_sighting():
    bench = Bench(reappear_after_s=20.0)
    for start_ms in (0, 40_000):
        for step in range(5):
            bench.see(start_ms + 40 * step, plate_read("AB12CDE"))
        bench.wait(start_ms + 5_000)
    assert len({one.id for one in bench.finals}) == len(bench.finals) == 2


def test_cameras_do_not_share_tracks():
    bench = Bench()
    for step in range(4):
        bench.see(40 * step, plate_read("AB12CDE"))
        bench.see(40 * step, plate_read("AB12CDE"), camera="other")
    bench.wait(10_000)
    assert sorted(one.camera for one in bench.finals) == [CAMERA, "other"]


def test_a_camera_whose_clock_is_wrong_is_tracked_alike():
    bench = Bench()
    tracker = bench.tracker
    for step in range(5):  # its stamps are a day old
        read = frame(40 * step, plate_read("AB12CDE"), base_ns=EPOCH_NS - 86_400 * 1000 * MS)
        bench.events += tracker.feed(read, EPOCH_NS + 40 * step * MS).events
    bench.wait(1_000)
    assert bench.finals == []
    bench.wait(2_500)
    assert len(bench.finals) == 1


def test_a_clock_set_back_ends_what_was_open_and_goes_on():
    bench = Bench()
    for step in range(5):
        bench.see(100_000 + 40 * step, plate_read("AB12CDE"))
    for step in range(5):
        bench.see(40 * step, plate_read("XY99ZZZ"))
    assert [one.plate for one in bench.finals] == ["AB12CDE"]
    bench.wait(5_000)
    assert [one.plate for one in bench.finals] == ["AB12CDE", "XY99ZZZ"]


def test_one_plate_found_twice_in_a_frame_is_one_read():
    bench = Bench()
    for step in range(5):
        fed = bench.see(
            40 * step, plate_read("AB12CDE", x=100), plate_read("AB12CD3", x=104, confidence=70)
        )
        assert fed.tracked == 1
    bench.wait(5_000)
    assert [(one.plate, one.reads) for one in bench.finals] == [("AB12CDE", 5)]


def test_the_pictures_of_the_surest_read_are_kept_and_told_once():
    bench = Bench()
    for step, confidence in enumerate((70, 99, 80, 75)):
        bench.see(40 * step, plate_read("AB12CDE", confidence=confidence))
    bench.wait(5_000)
    told = [event.evidence for event in bench.events if event.evidence]
    assert told == [Evidence(b"crop of AB12CDE", b"frame")]
    assert bench.finals[0].best_unix_ms - bench.finals[0].first_unix_ms == 40


@pytest.mark.parametrize("stop_after", range(7))
def test_a_restart_anywhere_changes_nothing(stop_after):
    bench, other = Bench(), Bench()
    for step in range(6):
        if step == stop_after:
            bench.restart(40 * step)
        for one in (bench, other):
            one.see(40 * step, plate_read("AB12CDE", x=50 + 10 * step))
    if stop_after == 6:
        bench.wait(4_000)
        bench.restart(4_000)
    for one in (bench, other):
        one.wait(4_000)
    assert [e.sighting for e in bench.events] == [e.sighting for e in other.events]


@pytest.mark.parametrize("told", [True, False])
def test_a_restart_after_a_final_that_reappeared_loses_no_read_of_it(told):
    bench, other = Bench(), Bench()
    for one in (bench, other):
        for step in range(4):
            one.see(40 * step, plate_read("AB12CDE"))
        one.wait(8_000)
        for step in range(4):
            one.see(9_000 + 400 * step, plate_read("AB12CDE"))
        if told:
            one.events.append(one.tracker.with_clip(one.sightings[-1]))
    bench.restart(10_200)
    for one in (bench, other):
        one.see(10_300, plate_read("AB12CDE"))
        one.wait(20_000)
    assert [e.sighting for e in bench.events] == [e.sighting for e in other.events]
    assert bench.sightings[-1].reads == 9


def test_ids_sort_by_time_and_tell_nodes_apart():
    ids = SightingIds("a", random.Random(1))
    made = [ids(EPOCH_NS + step * MS) for step in range(50)]
    assert made == sorted(made)
    assert len(set(made)) == 50
    assert SightingIds("b", random.Random(1))(EPOCH_NS) != SightingIds("a", random.Random(1))(
        EPOCH_NS
    )


def test_a_plate_is_settled_once_its_reads_agree_and_unsettled_when_they_do_not():
    bench = Bench()
    for step in range(4):
        assert not any(place.settled for place in bench.tracker.places(CAMERA, 16))
        bench.see(100 * step, plate_read("AB12CDE" if step else "A812CDE", confidence=95))
    (place,) = bench.tracker.places(CAMERA, 16)
    assert place.settled
    assert not place.urgent
    for step in range(4, 6):
        bench.see(100 * step, plate_read("AB12CDF", confidence=97))
    (place,) = bench.tracker.places(CAMERA, 16)
    assert not place.settled


def test_a_provisional_comes_within_a_second_of_the_first_confident_read():
    for every_ms in (40, 100, 250, 450):
        bench = Bench()
        for step in range(5_000 // every_ms):
            text = "AB12CDE" if step % 2 else "AB12COE"  # no two in turn agree
            bench.see(every_ms * step, plate_read(text))
            bench.wait(every_ms * step)
            if bench.events:
                break
        assert every_ms * step <= 1_000, every_ms


def test_a_text_that_no_region_of_the_camera_writes_counts_for_less():
    for regions, plate in ((("gb",), "AB12SCD"), ((), "AB125CD")):
        bench = Bench()
        bench.tracker.use_rules(CAMERA, Rules(60.0, 2, regions=regions))
        for step in range(12):
            wrong = step % 2 == 0
            text = "AB125CD" if wrong else "AB12SCD"  # as in France; as in Britain
            bench.see(100 * step, plate_read(text, confidence=92 if wrong else 90))
        bench.wait(10_000)
        assert bench.finals[0].plate == plate


# --- properties ---------------------------------------------------------------------------------

PLATES = ("AB12CDE", "AB12CDF", "KM07XRT", "B999XX", "KM07XRI")
moments = st.lists(
    st.tuples(
        st.integers(0, 12_000),
        st.lists(
            st.tuples(st.sampled_from(PLATES), st.integers(0, 900), st.integers(50, 100)),
            max_size=3,
        ),
    ),
    max_size=40,
    unique_by=lambda moment: moment[0],
)


def play(bench, moments_, *, twice=False):
    for at_ms, reads in moments_:
        made = [plate_read(plate, x=x, confidence=sure) for plate, x, sure in reads]
        bench.see(at_ms, *made)
        if twice:
            assert bench.see(at_ms, *made).repeated
    bench.wait(100_000)
    bench.wait(200_000)
    return bench


@given(moments)
def test_revisions_rise_and_no_sighting_has_two_finals(drawn):
    bench = play(Bench(), drawn)
    by_id = {}
    for one in bench.sightings:
        by_id.setdefault(one.id, []).append(one)
    for told in by_id.values():
        assert [one.revision for one in told] == list(range(1, len(told) + 1))
        assert sum(one.phase is Phase.FINAL for one in told) == 1
        assert told[0].reads >= 2
    assert bench.tracker.open_tracks == 0


@given(moments)
def test_a_frame_that_comes_twice_changes_nothing(drawn):
    drawn = sorted(drawn)
    assert play(Bench(), drawn, twice=True).sightings == play(Bench(), drawn).sightings


@given(moments)
def test_what_is_told_was_read(drawn):
    bench = play(Bench(), sorted(drawn))
    accepted = sum(sure >= 60 for _, reads in drawn for _, _, sure in reads)
    assert sum(one.reads for one in bench.finals) <= accepted
    for one in bench.finals:
        assert one.plate in PLATES or len(one.plate) in {6, 7}
        assert one.first_unix_ms <= one.best_unix_ms <= one.last_unix_ms


PASSAGES = {"AB12CDE": 60, "KM07XRT": 360, "B999XX": 660}


@settings(max_examples=50)
@given(
    st.lists(st.integers(0, 9), min_size=45, max_size=45),
    st.lists(st.integers(0, 60), min_size=3, max_size=3),
)
def test_bounded_reordering_changes_no_passage(delays, starts):
    """Frames come up to half a second late, as from workers of different speed."""
    moments = []
    for (plate, x), start in zip(PASSAGES.items(), starts, strict=True):
        start_ms = 50 * start + len(moments)  # no two in one frame
        for step in range(15):
            text = plate if step % 5 != 2 else plate[:-1] + "8XZ"[step // 5]
            moments.append((start_ms + 50 * step, plate_read(text, x=x, y=100 + 20 * step)))
    late = zip(moments, delays, strict=True)
    shuffled = sorted(late, key=lambda pair: pair[0][0] + 50 * pair[1])
    clocks = [50 * delay + at_ms for (at_ms, _read), delay in shuffled]
    told = []
    for order in (sorted(moments, key=lambda moment: moment[0]), [m for m, _ in shuffled]):
        bench = Bench()
        for (at_ms, read), clock_ms in zip(order, clocks, strict=True):
            fed = bench.tracker.feed(frame(at_ms, read), EPOCH_NS + int(clock_ms * MS))
            bench.events += fed.events
        bench.wait(60_000)
        told.append(sorted((s.plate, s.reads, s.first_unix_ms) for s in bench.finals))
    assert told[0] == told[1]


@given(
    st.lists(
        st.tuples(st.sampled_from(["AB12CDE", "XK99ZPL", "M7TTRGW"]), st.integers(0, 120)),
        min_size=2,
        max_size=30,
    )
)
def test_plates_further_apart_than_the_limit_are_never_merged(drawn):
    """However near their places and times are: two of three characters differ and more."""
    bench = Bench(min_reads=1)
    for step, (plate, x) in enumerate(drawn):
        bench.see(60 * step, plate_read(plate, x=100 + x))
    bench.wait(60_000)
    seen = {}
    for one in bench.sightings:
        texts = {one.plate, *(candidate.plate for candidate in one.candidates)}
        seen.setdefault(one.id, set()).update(texts)
    for texts in seen.values():
        assert len(texts) == 1
    read = Counter(plate for plate, _x in drawn)
    assert sum(one.reads for one in {s.id: s for s in bench.sightings}.values()) <= len(drawn)
    assert {one.plate for one in bench.sightings} <= read.keys()


@settings(max_examples=50)
@given(st.permutations(range(8)))
def test_the_order_within_a_passage_does_not_matter(order):
    texts = ["AB12CDE", "A812CDE", "AB12CDE", "AB12CD", "AB12CDE", "AB1ZCDE", "AB12CDE", "AB12CDE"]
    bench = Bench()
    for step in order:
        bench.see(40 * step, plate_read(texts[step], x=50 + 2 * step))
    bench.wait(10_000)
    (final,) = bench.finals
    assert (final.plate, final.reads) == ("AB12CDE", 8)
    assert final.last_unix_ms - final.first_unix_ms == 280


@given(
    st.dictionaries(
        st.text("AB12", min_size=1, max_size=7),
        st.tuples(st.floats(0.01, 50), st.integers(0, 9)),
        min_size=1,
        max_size=12,
    ),
    st.randoms(use_true_random=False),
)
def test_an_election_depends_on_the_ballots_not_on_their_order(drawn, rng):
    ballots = {text: voting.Ballot(weight, reads, 50.0) for text, (weight, reads) in drawn.items()}
    shuffled = list(ballots.items())
    rng.shuffle(shuffled)
    winner = voting.elect(ballots)
    assert winner == voting.elect(dict(shuffled))
    assert len(winner) in {len(text) for text in ballots}

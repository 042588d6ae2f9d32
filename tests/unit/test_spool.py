"""What is committed is there after a crash, in order, and within its bound."""

import random
import sqlite3
import time

import msgspec
import pytest
from publisher_rig import EPOCH_NS, frame, plate_read

from engine import forget
from engine import spool as spool_module
from engine.config import TrackerSettings
from engine.privacy import Seal
from engine.progress import Progress
from engine.spool import Spool, Turn
from engine.spool_file import open_spool
from engine.spool_reader import SpoolReader
from engine.track import Event
from engine.tracker import Changes, SightingIds, Tracker
from engine.types import Evidence, Phase, Sighting

NOTHING = Changes([], {}, [])


def event(number, crop_bytes=0, camera="gate"):
    sighting = Sighting(
        id=f"id-{number}", revision=1, phase=Phase.FINAL, camera=camera, node="node",
        plate=f"P{number}", confidence=90, first_unix_ms=number, last_unix_ms=number,
        best_unix_ms=number,
    )  # fmt: skip
    return Event(sighting, Evidence(b"x" * crop_bytes) if crop_bytes else None)


def turn(*events, **parts):
    return Turn(NOTHING, list(events), **parts)


@pytest.fixture
def path(tmp_path):
    return tmp_path / "engine" / "spool.sqlite"


@pytest.fixture
def spool(path):
    one = Spool(path, 8 << 20, "run-1")
    yield one
    one.close()


@pytest.fixture
def reader(spool):
    one = SpoolReader(spool.path)
    yield one
    one.close()


def all_of(reader):
    """Read on until nothing is left: pictures make reads short."""
    read, after = [], 0
    while some := reader.read(after, 5_000):
        read += some
        after = some[-1].seq
    return read


def plates(spooled):
    return [one.event.sighting.plate for one in spooled]


def test_events_come_out_as_they_went_in(spool, reader):
    given = [event(1, crop_bytes=10), event(2), event(3)]
    assert spool.commit(turn(*given)) == 0
    read = reader.read(0, 10)
    assert [one.event for one in read] == given
    assert reader.read(read[0].seq, 1) == [read[1]]
    assert reader.read(read[-1].seq, 10) == []
    assert spool.depth("redis") == 3


def test_all_of_a_turn_survives_and_none_of_one_that_failed(spool, path, monkeypatch):
    spool.commit(turn(event(1), cursors={("w", 1): 5}, uuids={"u": "id-1"}))
    monkeypatch.setattr(spool, "_trim", fails)
    with pytest.raises(RuntimeError):
        spool.commit(turn(event(2), cursors={("w", 1): 6}, uuids={"v": "id-2"}))
    spool.close()
    again = Spool(path, 8 << 20, "run-1")
    assert again.cursors() == {("w", 1): 5}
    assert (again.sighting_of("u"), again.sighting_of("v")) == ("id-1", None)
    assert again.depth("redis") == 1
    again.close()


def fails(_positions):
    raise RuntimeError("in the middle of it")


def test_a_new_run_forgets_the_cursors_of_the_old(spool, path):
    spool.commit(turn(cursors={("worker-1", 1): 5}))
    spool.close()
    again = Spool(path, 8 << 20, "run-2")
    assert again.cursors() == {}
    again.close()


def test_over_its_bound_the_oldest_go_and_are_counted(path):
    spool = Spool(path, 8 << 20, "run-1")
    reader = SpoolReader(path)
    dropped = 0
    for number in range(1_200):
        dropped += spool.commit(turn(event(number, crop_bytes=16_000)))
    kept = plates(all_of(reader))
    assert dropped > 0
    assert len(kept) + dropped == 1_200
    assert kept == [f"P{number}" for number in range(dropped, 1_200)]
    assert spool.depth("redis") == len(kept)
    assert path.stat().st_size < 24 << 20
    spool.close()
    reader.close()


def test_delivered_events_go_after_a_while_and_are_no_loss(spool, reader, monkeypatch):
    spool.commit(turn(event(1), event(2)))
    assert spool.commit(turn(event(3), positions={"redis": Progress(2)})) == 0
    assert plates(reader.read(0, 9)) == ["P1", "P2", "P3"]
    assert spool.depth("redis") == 1
    monkeypatch.setattr(spool_module, "HELD_S", 0.0)
    assert spool.commit(turn(event(4), positions={"redis": Progress(3)})) == 0
    assert plates(reader.read(0, 9)) == ["P4"]


def test_places_are_never_given_twice(spool, path, reader, monkeypatch):
    monkeypatch.setattr(spool_module, "HELD_S", 0.0)
    spool.commit(turn(event(1)))
    spool.commit(turn(positions={"redis": Progress(1)}))
    assert reader.read(0, 9) == []
    spool.close()
    again = Spool(path, 8 << 20, "run-1")
    assert again.positions == {"redis": Progress(1)}
    again.commit(turn(event(2)))
    assert [one.seq for one in reader.read(0, 9)] == [2]
    assert again.depth("redis") == 1
    again.close()


def test_no_sink_waits_for_what_is_forgotten(spool, path, reader):
    spool.commit(turn(event(1), event(2), event(3), event(4), positions={"redis": Progress(1)}))
    assert spool.forget({"P4"}, ()) == 1
    assert (spool.depth("redis"), spool.last_seq) == (2, 3)
    spool.close()
    again = Spool(path, 8 << 20, "run-1")
    assert (again.depth("redis"), again.last_seq) == (2, 3)
    assert again.forget({"P1", "P2", "P3"}, ()) == 3
    assert again.depth("redis") == 0
    again.commit(turn(event(5)))
    assert [one.seq for one in reader.read(1, 9)] == [5], "its place is no other's"
    assert again.depth("redis") > 0
    again.commit(turn(positions={"redis": Progress(5)}))
    assert again.depth("redis") == 0
    again.close()


def test_a_slow_sink_keeps_what_a_fast_one_has_had(spool, reader, monkeypatch):
    monkeypatch.setattr(spool_module, "HELD_S", 0.0)
    spool.commit(turn(event(1), event(2), positions={"slow": Progress(0)}))
    spool.commit(turn(positions={"redis": Progress(2), "slow": Progress(1)}))
    assert plates(reader.read(0, 9)) == ["P2"]


def test_a_full_disk_refuses_and_room_can_be_made(spool, reader):
    pages = spool._db.execute("PRAGMA page_count").fetchone()[0]
    spool._db.execute(f"PRAGMA max_page_count = {pages + 40}")
    taken = 0
    while spool.commit(turn(event(taken, crop_bytes=10_000), cursors={("w", 1): taken})) == 0:
        taken += 1
    assert 0 < taken < 40
    assert spool.is_full
    assert spool.cursors() == {("w", 1): taken - 1}
    assert spool.drop_oldest(0.25) > 0
    assert spool.commit(turn(event(taken, crop_bytes=10_000))) == 0
    assert plates(reader.read(0, 99))[-1] == f"P{taken}"


def test_a_start_on_a_full_disk_takes_the_ballast(spool, path, monkeypatch):
    spool.commit(turn(event(1)))
    spool.close()
    ballast = path.with_name("spool.sqlite-ballast")
    assert ballast.exists()

    def needs_room(place):
        if ballast.exists():
            full = sqlite3.OperationalError("database or disk is full")
            full.sqlite_errorcode = sqlite3.SQLITE_FULL
            raise full
        return open_spool(place)

    monkeypatch.setattr(spool_module, "open_spool", needs_room)
    again = Spool(path, 8 << 20, "run-1")
    assert again.commit(turn(event(2))) == 0
    assert again.depth("redis") == 2
    again.close()


def test_a_file_that_somebody_holds_is_no_full_disk(spool, path):
    spool._db.execute("PRAGMA busy_timeout = 20").fetchall()
    with sqlite3.connect(path, isolation_level=None) as other:
        other.execute("BEGIN IMMEDIATE")
        assert spool.commit(turn(event(1))) is None
        assert not spool.is_full
        other.execute("COMMIT")
    other.close()
    assert spool.commit(turn(event(1))) == 0


def test_a_damaged_file_is_put_aside(path):
    path.parent.mkdir(parents=True)
    path.write_bytes(b"no database at all" * 1_000)
    spool = Spool(path, 8 << 20, "run-1")
    assert spool.commit(turn(event(1))) == 0
    spool.close()
    (aside,) = path.parent.glob("*.damaged-*")
    assert aside.read_bytes().startswith(b"no database")


def test_the_file_is_for_its_owner_alone(spool):
    spool.commit(turn(event(1)))
    modes = {one.name: one.stat().st_mode & 0o777 for one in spool.path.parent.iterdir()}
    assert set(modes.values()) == {0o600}, modes


def test_promised_turns_are_synchronised(spool):
    spool.commit(turn(event(1), durable=True))
    assert spool._db.execute("PRAGMA synchronous").fetchone() == (1,)
    with sqlite3.connect(spool.path) as other:
        assert other.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    other.close()


def test_a_sink_that_is_no_more_holds_nothing_and_a_new_one_begins_with_what_comes(
    spool, reader, monkeypatch
):
    monkeypatch.setattr(spool_module, "HELD_S", 0.0)
    spool.feed({"redis": (), "dead": ()})
    spool.commit(turn(event(1), event(2)))
    spool.commit(turn(positions={"redis": Progress(2)}))
    assert plates(reader.read(0, 9)) == ["P1", "P2"]  # the dead one holds them
    spool.feed({"redis": (), "new": ()})
    assert spool.positions == {"redis": Progress(2), "new": Progress(2)}
    spool.commit(turn(event(3), positions={"redis": Progress(3), "new": Progress(3)}))
    assert reader.read(0, 9) == []


def test_a_sink_whose_lanes_were_joined_or_parted_misses_nothing(spool):
    spool.feed({"hook": ()})
    spool.commit(turn(event(1), event(2), event(3), positions={"hook": Progress(1)}))
    spool.feed({"hook.hits": ("hook",), "hook.others": ("hook",)})
    assert spool.positions == {"hook.hits": Progress(1), "hook.others": Progress(1)}
    spool.commit(turn(positions={"hook.hits": Progress(3)}))
    spool.feed({"hook": ("hook.hits", "hook.others")})
    assert spool.positions == {"hook": Progress(1)}


def test_big_pictures_make_a_read_short_and_it_says_so(spool, reader):
    spool.commit(turn(*(event(number, crop_bytes=3 << 20) for number in range(3))))
    assert plates(reader.read(0, 10)) == ["P0"]
    assert reader.cut_short
    assert plates(reader.read(2, 10)) == ["P2"]
    assert not reader.cut_short


def test_what_is_too_old_is_given_up_and_counted(path, monkeypatch):
    spool = Spool(path, 8 << 20, "run-1", max_age_s=100.0)
    spool.feed({"redis": ()})
    assert spool.commit(turn(event(1), event(2))) == 0
    now_s = time.time()
    monkeypatch.setattr(spool_module.time, "time", lambda: now_s + 200.0)
    dropped = sum(spool.commit(turn(event(number))) for number in range(3, 100))
    assert dropped == 2
    reader = SpoolReader(path)
    assert plates(all_of(reader)) == [f"P{number}" for number in range(3, 100)]
    reader.close()
    spool.close()


def test_what_some_cameras_are_ahead_in_is_freed_and_no_loss(spool, reader, monkeypatch):
    monkeypatch.setattr(spool_module, "HELD_S", 0.0)
    spool.feed({"redis": (), "hook": ()})
    spool.commit(turn(*(event(number, camera=f"c{number % 2}") for number in range(10))))
    ahead = Progress(0, {"c1": 8})
    spool.commit(turn(positions={"redis": ahead}))
    assert len(reader.read(0, 99)) == 10  # the other sink has none of it
    assert reader.waiting(ahead) == {"c0": 5, "c1": 1}
    spool.commit(turn(positions={"hook": Progress(5)}))
    assert plates(reader.read(0, 99)) == ["P0", "P2", "P4", "P5", "P6", "P7", "P8", "P9"]
    assert spool.drop_oldest(1.0) == 8  # each of them is still wanted by one of the two


def test_what_was_delivered_ahead_is_no_loss_where_room_is_made(spool):
    spool.feed({"redis": ()})
    spool.commit(turn(*(event(number, camera=f"c{number % 2}") for number in range(10))))
    spool.commit(turn(positions={"redis": Progress(1, {"c1": 8})}))
    assert spool.drop_oldest(1.0) == 5  # of c0 the four behind the base, of c1 the last


def test_progress_of_cameras_survives_and_ends_with_the_replay(spool, path):
    spool.feed({"redis": ()})
    spool.commit(turn(event(1, camera="a"), event(2, camera="b"), event(3, camera="a")))
    spool.commit(turn(positions={"redis": Progress(0, {"a": 3, "b": 2})}))
    spool.commit(turn(positions={"redis": Progress(1, {"a": 3})}))
    spool.close()
    again = Spool(path, 8 << 20, "run-1")
    assert again.positions == {"redis": Progress(1, {"a": 3})}
    again.commit(turn(positions={"redis": Progress(3)}))
    assert again._db.execute("SELECT COUNT(*) FROM positions_ahead").fetchone() == (0,)
    again.close()


def test_a_spool_without_times_and_cameras_is_taken_over(path):
    spool = Spool(path, 8 << 20, "run-1")
    spool.commit(turn(event(1)))
    spool.close()
    with sqlite3.connect(path) as db:
        db.execute("DROP INDEX events_of_camera")
        db.execute("ALTER TABLE events DROP COLUMN unix_s")
        db.execute("ALTER TABLE events DROP COLUMN camera")
    db.close()
    again = Spool(path, 8 << 20, "run-1")
    assert again.commit(turn(event(2))) == 0
    reader = SpoolReader(path)
    assert plates(all_of(reader)) == ["P1", "P2"]
    assert reader.waiting(Progress()) == {"gate": 2}
    reader.close()
    again.close()


def test_a_take_over_that_breaks_off_has_changed_nothing(path, monkeypatch):
    spool = Spool(path, 8 << 20, "run-1")
    spool.commit(turn(event(1)))
    spool.close()
    with sqlite3.connect(path) as db:
        db.execute("DROP INDEX events_of_camera")
        db.execute("ALTER TABLE events DROP COLUMN camera")
    db.close()
    with monkeypatch.context() as patch:
        patch.setattr("engine.spool_file._decode_camera", lambda _packed: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            Spool(path, 8 << 20, "run-1")
    again = Spool(path, 8 << 20, "run-1")
    reader = SpoolReader(path)
    assert reader.waiting(Progress()) == {"gate": 1}
    reader.close()
    again.close()


def test_a_sink_under_another_name_keeps_what_it_is_ahead_in(spool, path):
    spool.feed({"hook": ()})
    spool.commit(turn(event(1, camera="a"), event(2, camera="b")))
    spool.commit(turn(positions={"hook": Progress(0, {"b": 2})}))
    spool.feed({"hook.hits": ("hook",)})
    spool.close()
    again = Spool(path, 8 << 20, "run-1")
    assert again.positions == {"hook.hits": Progress(0, {"b": 2})}
    again.close()


def test_a_track_of_an_older_version_goes_on(spool):
    tracker = Tracker({}, TrackerSettings(), "node", SightingIds("node", random.Random(1)))
    tracker.feed(frame(0, plate_read("AB12CDE")), EPOCH_NS)
    spool.commit(Turn(tracker.take_changes()))
    ((packed,),) = spool._db.execute("SELECT track FROM tracks").fetchall()
    older = msgspec.msgpack.decode(packed)
    for name in ("stands_at", "stands_since_ns", "parked", "crossed", "group", "has_clip"):
        del older[name]
    spool._db.execute("UPDATE tracks SET track = ?", (msgspec.msgpack.encode(older),))
    heir = Tracker({}, TrackerSettings(), "node", SightingIds("node", random.Random(1)))
    heir.restore(spool.tracks(), EPOCH_NS)
    assert heir.open_tracks == 1
    told = heir.feed(frame(100, plate_read("AB12CDE")), EPOCH_NS + 10**8).events
    assert [(one.sighting.plate, one.sighting.parked) for one in told] == [("AB12CDE", False)]


@pytest.mark.parametrize("seal", [None, Seal(b"k" * 32)])
def test_a_track_that_was_told_under_a_plate_is_forgotten_with_no_publisher_either(path, seal):
    spool = Spool(path, 8 << 20, "run-1", seal=seal)
    tracker = Tracker({}, TrackerSettings(), "node", SightingIds("node", random.Random(1)))
    tracker.feed(frame(0, plate_read("AB12CDE")), EPOCH_NS)
    changes = tracker.take_changes()
    changes.tracks[0].announced = "AB12CDF"  # before its reads agreed on another text
    spool.commit(Turn(changes))
    spool.close()
    forget._from_spool(path, {"AB12CDF"}, seal)
    again = Spool(path, 8 << 20, "run-1", seal=seal)
    assert list(again.tracks()) == []
    again.close()


def test_tracks_that_an_earlier_run_left_open_are_sealed(spool, path):
    tracker = Tracker({}, TrackerSettings(), "node", SightingIds("node", random.Random(1)))
    tracker.feed(frame(0, plate_read("AB12CDE")), EPOCH_NS)
    spool.commit(Turn(tracker.take_changes()))
    given = list(spool.tracks())
    assert given[0][1].crop_jpeg == b"crop of AB12CDE"
    spool.close()
    again = Spool(path, 8 << 20, "run-1", seal=Seal(b"k" * 32))
    assert list(again.tracks()) == given
    again.close()
    left = b"".join(one.read_bytes() for one in path.parent.glob("spool.sqlite*"))
    assert b"AB12CDE" not in left
    with_another_key = Spool(path, 8 << 20, "run-1", seal=Seal(b"o" * 32))
    assert list(with_another_key.tracks()) == []
    with_another_key.close()

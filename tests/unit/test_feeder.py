"""How a sink is fed: small batches in time, large ones under load, a backlog not too fast."""

import threading
import time

import pytest
from polling import wait_until

from engine.errors import SinkError
from engine.sinks.base import SinkPlan
from engine.sinks.feeder import Feeder
from engine.spool import Spool, Turn
from engine.track import Event
from engine.tracker import Changes
from engine.types import Phase, Sighting

NOTHING = Changes([], {}, [])


def event(number, camera="gate"):
    return Event(Sighting(
        id=f"id-{number}", revision=1, phase=Phase.FINAL, camera=camera, node="node",
        plate=f"P{number}", confidence=90, first_unix_ms=number, last_unix_ms=number,
        best_unix_ms=number,
    ))  # fmt: skip


class Bin:
    """A sink that keeps what it gets."""

    name = "bin"

    def __init__(self):
        self.batches = []
        self.times = []
        self.away = threading.Event()
        self.connected = True
        self.lost_at = 10**9
        self.slow_s = 0.0

    def deliver(self, events):
        if self.away.is_set():
            raise SinkError("away")
        time.sleep(self.slow_s)
        self.batches.append([one.sighting.plate for one in events])
        self.times.append(time.monotonic())

    def deliver_once_more(self, events):
        """Take repeats; break off once in their middle, and keep what was taken until then."""
        self.connected = True
        if len(self.taken()) >= self.lost_at:
            self.lost_at = 10**9
            raise SinkError("away")
        self.batches.append([one.sighting.plate for one in events])

    def close(self):
        pass

    def taken(self):
        return [plate for batch in self.batches for plate in batch]


@pytest.fixture
def spool(tmp_path):
    one = Spool(tmp_path / "spool.sqlite", 64 << 20, "run-1")
    one.feed({"bin": ()})
    yield one
    one.close()


@pytest.fixture
def feeding(spool):
    feeders = []

    def start(sink, batch=10, **plan):
        feeder = Feeder(SinkPlan(sink, batch, **plan), spool)
        feeders.append(feeder)
        feeder.start()
        return feeder

    yield start
    for feeder in feeders:
        feeder.stop()
        feeder.join(5.0)
        assert feeder.broken is None


def put(spool, numbers, *cameras):
    """Put events into the spool, of several cameras in turn."""
    cameras = cameras or ("gate",)
    spool.commit(
        Turn(NOTHING, [event(number, cameras[number % len(cameras)]) for number in numbers])
    )


def test_batches_grow_under_load_and_keep_the_order(spool, feeding):
    put(spool, range(400))
    sink = Bin()
    feeding(sink, batch_under_load=80)
    wait_until(lambda: len(sink.taken()) == 400, 5.0, "all are there")
    assert sink.taken() == [f"P{number}" for number in range(400)]
    assert [len(batch) for batch in sink.batches[:5]] == [10, 20, 40, 80, 80]


def test_a_backlog_goes_no_faster_than_allowed_and_later_ones_at_once(spool, feeding):
    sink = Bin()
    sink.away.set()
    feeder = feeding(sink, replay_per_s=200.0)
    put(spool, range(100))
    feeder.notify()
    wait_until(lambda: feeder.away, 5.0, "it is away")
    sink.away.clear()
    wait_until(lambda: len(sink.taken()) == 100, 10.0, "the backlog is there")
    took_s = sink.times[-1] - sink.times[0]
    assert 0.35 < took_s < 3.0, took_s  # 90 events after the first batch, at 200 a second
    wait_until(lambda: not feeder._replaying, 2.0, "it has caught up")
    began = time.monotonic()
    put(spool, range(100, 200))
    feeder.notify()
    wait_until(lambda: len(sink.taken()) == 200, 5.0, "the others are there")
    assert time.monotonic() - began < 0.35


def test_what_comes_during_a_replay_comes_after_it(spool, feeding):
    put(spool, range(60))
    sink = Bin()
    feeder = feeding(sink, replay_per_s=200.0)
    wait_until(lambda: sink.batches, 5.0, "it has begun")
    put(spool, range(60, 90))
    feeder.notify()
    wait_until(lambda: len(sink.taken()) == 90, 5.0, "all are there")
    assert sink.taken() == [f"P{number}" for number in range(90)]


def test_going_back_that_is_interrupted_goes_on_where_it_was(spool, feeding):
    put(spool, range(40))
    sink = Bin()
    feeder = feeding(sink)
    wait_until(lambda: len(sink.taken()) == 40, 5.0, "all are there")
    sink.lost_at = 20  # the server lost everything, and breaks again in the middle of the repeats
    sink.deliver, sink.batches = sink.deliver_once_more, []
    sink.connected = False
    put(spool, range(40, 50))
    feeder.notify()
    wait_until(lambda: feeder.position == 50, 5.0, "it has caught up")
    assert sink.taken() == [f"P{number}" for number in range(50)]


def test_cameras_of_which_nothing_waits_are_live_beside_a_backlog(spool, feeding):
    put(spool, range(100), "busy")
    put(spool, range(100, 103), "quiet")
    sink = Bin()
    feeder = feeding(sink, replay_per_s=100.0)
    wait_until(lambda: sink.batches, 5.0, "it has begun")
    began = time.monotonic()
    put(spool, range(201, 207), "other", "quiet", "busy")  # 201 is other's, 202 quiet's, 203 busy's
    feeder.notify()
    wait_until(lambda: {"P201", "P202", "P204"} <= set(sink.taken()), 5.0, "live ones are there")
    assert time.monotonic() - began < 0.6
    assert len(sink.taken()) < 90  # the backlog is not
    wait_until(lambda: feeder.position == 109, 10.0, "all are there")
    taken = [int(plate[1:]) for plate in sink.taken()]
    assert len(taken) == len(set(taken)) == 109
    assert taken[:3] == [100, 101, 102]  # the camera with the least first
    busy = [number for number in taken if number < 100 or number in {203, 206}]
    quiet = [number for number in taken if 100 <= number < 103 or number in {202, 205}]
    assert busy == sorted(busy)
    assert quiet == sorted(quiet)


def test_live_ones_are_found_among_many_that_wait(spool, feeding):
    sink = Bin()
    sink.slow_s = 0.02
    put(spool, range(100), "busy")
    feeder = feeding(sink, batch=1)  # as a webhook's
    wait_until(lambda: sink.batches, 5.0, "it has begun")
    put(spool, range(100, 200), "busy")
    put(spool, [200], "quiet")
    feeder.notify()
    wait_until(lambda: "P200" in sink.taken(), 1.5, "the live one is there")
    assert len(sink.taken()) < 150
    wait_until(lambda: len(sink.taken()) == 201, 20.0, "all are there")


def test_a_replay_that_breaks_off_leaves_no_false_figure(spool, feeding):
    put(spool, range(30), "busy", "other")
    sink = Bin()
    feeder = feeding(sink, replay_per_s=100.0)
    wait_until(lambda: len(sink.taken()) >= 25, 5.0, "most of it is there")
    sink.away.set()
    wait_until(lambda: feeder.away, 5.0, "it has noticed")
    assert feeder.taken_ahead > 0
    sink.away.clear()  # what is left fits into a batch, and simply follows
    wait_until(lambda: feeder.position == 30, 5.0, "all are there")
    assert feeder.taken_ahead == 0


def test_a_feeder_that_ends_in_mid_replay_goes_on_without_a_repeat(spool, feeding):
    put(spool, range(60), "busy", "other", "third")
    sink = Bin()
    feeder = feeding(sink, replay_per_s=100.0)
    wait_until(lambda: len(sink.taken()) >= 30, 5.0, "half of it is there")
    feeder.stop()
    feeder.join(5.0)
    assert feeder.after.ahead
    spool.commit(Turn(NOTHING, positions={"bin": feeder.after}))
    path = spool.path
    again = Spool(path, 64 << 20, "run-1")
    assert again.positions["bin"] == feeder.after
    other = Feeder(SinkPlan(sink, 10), again)
    other.start()
    wait_until(lambda: other.position == 60, 5.0, "all are there")
    other.stop()
    other.join(5.0)
    again.close()
    assert sorted(sink.taken()) == sorted(f"P{number}" for number in range(60))
    assert feeder.taken + other.taken == 60


@pytest.mark.parametrize("seed_of", range(3))
def test_whatever_breaks_each_arrives_once_in_the_order_of_its_camera(spool, feeding, rng, seed_of):
    for _ in range(seed_of):
        rng.random()
    cameras = [f"c{number}" for number in range(5)]
    sink = Shaky(rng)
    put(spool, range(40), *cameras)
    feeder = feeding(sink, replay_per_s=2_000.0, longest_pause_s=0.02)
    sent = 40
    for _ in range(30):
        more = rng.randrange(20)
        put(spool, range(sent, sent + more), *rng.sample(cameras, rng.randint(1, 5)))
        sent += more
        feeder.notify()
        threading.Event().wait(rng.uniform(0, 0.02))
    wait_until(lambda: feeder.taken == sent, 20.0, "all are there")
    rows = spool._db.execute("SELECT seq, camera FROM events").fetchall()
    expected = {camera: [f"P{seq - 1}" for seq, of in rows if of == camera] for camera in cameras}
    assert {c: sink.of_camera(c) for c in cameras} == expected
    assert len(sink.taken()) == sent


class Shaky(Bin):
    """A sink that takes a batch wholly or not at all, and is away now and then."""

    def __init__(self, rng):
        super().__init__()
        self.rng = rng
        self.cameras = []

    def deliver(self, events):
        if self.rng.random() < 0.3:
            raise SinkError("away")
        super().deliver(events)
        self.cameras += [one.sighting.camera for one in events]

    def of_camera(self, camera):
        return [plate for plate, of in zip(self.taken(), self.cameras, strict=True) if of == camera]

"""Recognizing less in a running engine: what stands is not read, and loses nothing."""

import time
from pathlib import Path

from engine_run import demo, events_of, imbalance, running
from polling import wait_until

from engine.sources.scene import DemoScene
from engine.sources.traffic import PARKED_LANE, RoadStyle

SEED = 7
SCENE = "&density=0.05&parked=1&width=960&height=540"


def parked_plate() -> str:
    scene = DemoScene(SEED, 960, 540, density=0.05, style=RoadStyle(parked=True))
    return next(v.plate for v in scene._traffic.between(0.0, 20.0) if v.lane == PARKED_LANE)


def test_a_parked_vehicle_keeps_its_track_although_nobody_reads_it(tmp_path: Path) -> None:
    plate = parked_plate()
    rest = "[recognizers]\ncount = 1\n[tracker]\nmax_gap_s = 1.5\n"
    with running(tmp_path, demo(SEED, scene=SCENE, rest=rest)) as run, events_of(run) as events:

        def told():
            return [found for _, found in list(events.taken) if found.plate == plate]

        wait_until(told, 30.0, "the parked vehicle is announced")
        wait_until(
            lambda: run.camera("demo").ledger["skipped_static"] > 20, 20.0, "it stands still"
        )
        before = run.camera("demo").ledger
        time.sleep(6.0)  # four times the gap that ends a track
        after = run.camera("demo").ledger
        assert after["captured"] - before["captured"] > 30
        skipped = after["skipped_static"] - before["skipped_static"]
        assert skipped > 0.8 * (after["captured"] - before["captured"])
        assert not any(found.plate == plate for found in events.finals())
        run.ask("camera.pause", name="demo")
        wait_until(lambda: run.camera("demo").in_flight == 0, 5.0, "nothing is in flight")
        wait_until(
            lambda: any(found.plate == plate for found in events.finals()), 10.0, "its final"
        )
        assert len({found.id for found in told()}) == 1
        final = told()[-1]
        assert final.last_unix_ms - final.first_unix_ms > 6_000
        assert final.frames > final.reads + 50
        assert imbalance(run.camera("demo")) == 0
        metrics = run.metrics()
        assert metrics["platering_frames_total{demo,skipped,static}"] >= after["skipped_static"]
        assert metrics["platering_frames_focused_total{demo}"] > 0
        assert run.stop() > 0


def test_moving_vehicles_that_are_known_are_spared(tmp_path: Path) -> None:
    scene = "&density=0.3&lanes=1&width=960&height=540"
    rest = "[recognizers]\ncount = 1\n"
    with running(tmp_path, demo(SEED, scene=scene, rest=rest)) as run, events_of(run) as events:

        def spared():
            ledger = run.camera("demo").ledger
            return ledger["skipped_known"] > 0 and ledger["plates_spared"] > 0 and ledger

        wait_until(lambda: events.finals() and spared(), 60.0, "known plates are not read again")
        ledger = spared()
        assert ledger["skipped_paced"] > 0
        assert ledger["recognized"] < 0.6 * ledger["captured"]
        run.stop()

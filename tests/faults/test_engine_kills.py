"""Every process of a running engine is killed once; what must come back does, in time."""

import os
import signal
import time
from pathlib import Path

from engine_run import EngineRun, Events, demo, events_of, imbalance, running
from polling import wait_until

from engine.types import CameraState

FLOWS_AGAIN_S = 5.0
"""Plates of frames captured after a death must be on the live stream this soon."""
ORPHANS_S = 2.0
"""So soon after its supervisor's death every process of a run must have ended."""
CHILDREN = ("decoder-demo", "worker-0", "publisher", "api-0", "redis")
BUSY = demo(
    scene="&density=3",
    camera="fps = 8.0\nmin_reads = 1",
    rest="[tracker]\nmax_gap_s = 0.4\nannounce_after_s = 0.1\nreappear_after_s = 0.0",
)
"""Each look at a vehicle is a sighting of its own: events come several times a second."""


def flows_after(run: EngineRun, events: Events, since_unix_s: float) -> float:
    """Wait for news of a frame captured after then; return when it came (monotonic)."""
    return wait_until(
        lambda: events.first_captured_after(since_unix_s * 1e3),
        4 * FLOWS_AGAIN_S,
        f"plates flow; {run.status()}",
    )


def kill(run: EngineRun, events: Events, name: str) -> float:
    """Kill a child; return after how many seconds plates flowed again."""
    before = run.pids()[name]
    killed_at, killed_unix_s = time.monotonic(), time.time()
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: run.pids().get(name, 0) not in {0, before}, FLOWS_AGAIN_S, f"{name} is back")
    return flows_after(run, events, killed_unix_s) - killed_at


def at_rest(run: EngineRun) -> bool:
    camera = run.camera("demo")
    return camera.state is CameraState.PAUSED and camera.in_flight == 0


def test_each_kind_of_child_is_killed_and_plates_flow_again(tmp_path: Path) -> None:
    with running(tmp_path, BUSY) as run, events_of(run) as events:
        flows_after(run, events, time.time())
        took_s = {name: kill(run, events, name) for name in CHILDREN}
        for name in [name for name, seconds in took_s.items() if seconds >= FLOWS_AGAIN_S]:
            took_s[name] = kill(run, events, name)  # others may have needed the cores
        assert max(took_s.values()) < FLOWS_AGAIN_S, took_s
        restarts = {process.name: process.restarts for process in run.status().processes}
        assert all(restarts[name] in {1, 2} for name in CHILDREN[:-1]), restarts
        run.ask("camera.pause", name="demo")
        wait_until(lambda: at_rest(run), 5.0, f"the camera rests; {run.camera('demo')}")
        camera = run.camera("demo")
        assert imbalance(camera) == 0, camera
        assert camera.ledger["failed_killed"] + camera.ledger["failed_lost"] <= 2
        _assert_exactly_once(run, events)
        assert events.gaps == 0
        run.stop(signal.SIGTERM)


def _assert_exactly_once(run: EngineRun, events: Events) -> None:
    """Assert that no event came twice, none is missing and every sighting is final once."""
    wait_until(
        lambda: len(events.taken) >= run.camera("demo").ledger["revisions"], 5.0, "all events came"
    )
    told = [(sighting.id, sighting.revision) for _, sighting in events.taken]
    assert len(told) == len(set(told))
    with run.redis() as client:
        numbers = [int(fields[b"seq"]) for _, fields in client.xrange("platering:{log}:stream")]
    assert numbers == list(range(1, len(numbers) + 1))
    finals = [sighting.id for sighting in events.finals()]
    assert len(finals) == len(set(finals))


def test_a_killed_supervisor_takes_all_along_and_the_next_start_goes_on(tmp_path: Path) -> None:
    with running(tmp_path, BUSY) as run, events_of(run) as events:
        flows_after(run, events, time.time())
        stored = {sighting.id for _, sighting in events.taken}
        os.kill(run.pid, signal.SIGKILL)
        killed_at = time.monotonic()
        assert run.process is not None
        run.process.wait()
        wait_until(lambda: not run.living(), 4 * ORPHANS_S, f"orphans end: {run.living()}")
        assert time.monotonic() - killed_at < ORPHANS_S
        assert run.segments()  # nobody was there to remove them
    with running(tmp_path, BUSY) as again:
        assert not run.segments()
        assert "shared memory of 1 crashed run" in again.said()
        with events_of(again) as events:
            flows_after(again, events, time.time())
        page = again.get("/api/v1/sightings?limit=500").decode()
        assert stored
        assert all(sighting_id in page for sighting_id in stored)
        _interrupt_twice(again)


def _interrupt_twice(run: EngineRun) -> None:
    """Assert that a second Ctrl-C ends a run at once, with everything it has."""
    assert run.process is not None
    for name, pid in run.pids().items():
        if name != "redis":
            os.kill(pid, signal.SIGSTOP)  # none of ours can end in order
    run.process.send_signal(signal.SIGINT)
    wait_until(lambda: "SIGINT: finishing" in run.said(), 2.0, "the first is heard")
    pressed_at = time.monotonic()
    run.process.send_signal(signal.SIGINT)
    assert run.process.wait(10.0) == 130, run.said()
    assert time.monotonic() - pressed_at < 1.0
    run.assert_nothing_left()


def test_the_last_reads_are_taken_though_the_publisher_was_just_killed(tmp_path: Path) -> None:
    with running(tmp_path, BUSY) as run, events_of(run) as events:
        flows_after(run, events, time.time())
        publisher = run.pids()["publisher"]
        os.kill(publisher, signal.SIGSTOP)  # from now on nobody takes what workers read
        before = _reads_sent(run)
        wait_until(lambda: _reads_sent(run) > before, 10.0, "plates are read")
        os.kill(publisher, signal.SIGKILL)
        run.stop()
        assert "the publisher did not confirm" not in run.said()
        assert "worker-0 did not end in time" not in run.said()  # it would not have told


def _reads_sent(run: EngineRun) -> float:
    return run.metrics()["platering_frame_reads_sent_total{}"]


def test_a_worker_that_stops_over_a_frame_is_replaced_and_the_frame_set_aside(
    tmp_path: Path,
) -> None:
    config = BUSY.replace("fps = 8.0", "") + "[recognizers]\ncount = 1\ndeadline_s = 1.0\n"
    with running(tmp_path, config) as run, events_of(run) as events:
        flows_after(run, events, time.time())
        before = run.pids()["worker-0"]
        _stop_over_a_frame(run, before)
        stopped_at, stopped_unix_s = time.monotonic(), time.time()
        wait_until(lambda: run.pids().get("worker-0") not in {None, before}, 5.0, "it is replaced")
        assert flows_after(run, events, stopped_unix_s) - stopped_at < 1.0 + FLOWS_AGAIN_S
        run.ask("camera.pause", name="demo")
        wait_until(lambda: at_rest(run), 5.0, f"the camera rests; {run.camera('demo')}")
        camera = run.camera("demo")
        assert imbalance(camera) == 0, camera
        assert camera.ledger["failed_stuck"] == 1
        assert len(list((run.data_dir / "engine" / "quarantine").glob("*.png"))) == 1
        run.stop()


def _stop_over_a_frame(run: EngineRun, pid: int) -> None:
    """Stop a worker while it holds a frame: then one is held and a newer one waits unread."""

    def stopped_over_one() -> bool:
        os.kill(pid, signal.SIGSTOP)
        end = time.monotonic() + 0.4
        while time.monotonic() < end:
            if run.camera("demo").in_flight == 2:
                return True
        os.kill(pid, signal.SIGCONT)
        return False

    # Of a frame's time recognition takes a tenth: it may need many tries.
    wait_until(stopped_over_one, 60.0, "it is stopped over a frame")

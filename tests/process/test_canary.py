"""The canary in a real engine: it comes through unseen, and metrics show within two periods if not.

``PERIOD_S`` is the shortest there may be.
"""

import json
import os
import signal
import time

import pytest
from engine_run import demo, events_of, running
from polling import wait_until

PERIOD_S = 3.0
CANARY = f"[canary]\nevery_s = {PERIOD_S}\n[recognizers]\ncount = 1"
COMES_S = 10.0
"""How long one may take on a busy machine of two cores."""


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("canary")
    with running(folder, f'node = "north"\n{demo(rest=CANARY)}') as one:
        wait_until(lambda: one.camera("demo").ring is not None, 20.0, "its ring is made")
        yield one
        one.stop()


def delivered_s(run) -> float:
    return run.metrics()["platering_canary_delivered_timestamp_seconds{north}"]


def silent_s(run) -> float:
    return time.time() - delivered_s(run)


def passed(run, stage: str) -> float:
    return run.metrics()[f"platering_canaries_total{{{stage}}}"]


def test_it_comes_through_and_nobody_sees_it(run):
    with events_of(run) as events:
        wait_until(lambda: passed(run, "delivered") >= 2, 5 * COMES_S, "two came through")
        wait_until(events.finals, 30.0, "a vehicle of the demo passed")
    assert {sighting.camera for _, sighting in events.taken} == {"demo"}
    found = run.metrics()
    assert 0 < found["platering_canary_latency_seconds{north,stored}"] < COMES_S
    assert 0 < found["platering_canary_latency_seconds{north,delivered}"] < COMES_S
    assert found["platering_canaries_lost_total{}"] == 0
    assert not [name for name in found if "canary" in name and "camera" in name]
    for path in ("sightings", "cameras", "statistics", "cameras/events"):
        assert b"platering.canary" not in run.get(f"/api/v1/{path}"), path
    assert [camera.name for camera in run.status().cameras] == ["demo"]
    with run.redis() as client:
        assert not client.keys("*platering.canary*")
    cameras = json.loads(run.get("/api/v1/cameras"))["cameras"]
    assert [camera["name"] for camera in cameras] == ["demo"]


@pytest.mark.parametrize(
    ("victim", "stands_still"),
    [("worker-0", "recognized"), pytest.param("redis", "delivered", marks=pytest.mark.long)],
)
def test_metrics_show_within_two_periods_that_the_way_is_cut(run, victim, stands_still):
    wait_until(lambda: silent_s(run) < PERIOD_S, COMES_S, "all is well")
    pid = run.pids()[victim]
    lost_before = run.metrics()["platering_canaries_lost_total{}"]
    os.kill(pid, signal.SIGSTOP)
    try:
        stopped = time.monotonic()
        time.sleep(1.0)  # what is under way arrives, if it can
        before = delivered_s(run), passed(run, stands_still)
        wait_until(lambda: silent_s(run) > 2 * PERIOD_S, 2 * PERIOD_S + 2.0, "it shows")
        assert time.monotonic() - stopped < 2 * PERIOD_S + 2.0
        assert (delivered_s(run), passed(run, stands_still)) == before
        assert passed(run, "captured") > passed(run, stands_still) + 1
    finally:
        os.kill(pid, signal.SIGCONT)
    wait_until(lambda: silent_s(run) < PERIOD_S, 2 * COMES_S, "it comes again")
    lost = run.metrics()["platering_canaries_lost_total{}"]
    if victim == "redis":  # they waited in the spool
        assert lost == lost_before
    else:
        assert lost > lost_before

"""Orders to a running engine: cameras and recognizers come and go, and the next start knows it."""

import subprocess

from engine_run import PLATERING, EngineRun, demo, imbalance, running
from polling import wait_until

from engine.types import CameraState


def order(run: EngineRun, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PLATERING, *arguments, "--config", run.config],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )


def done(run: EngineRun, *arguments: str) -> str:
    ordered = order(run, *arguments)
    assert ordered.returncode == 0, ordered
    return ordered.stdout.strip()


def state(run: EngineRun, name: str) -> CameraState | None:
    return next((camera.state for camera in run.status().cameras if camera.name == name), None)


def workers(run: EngineRun) -> int:
    return sum(process.name.startswith("worker") for process in run.status().processes)


def recognized(run: EngineRun, name: str) -> int:
    return run.camera(name).ledger["recognized"]


def ring_slots(run: EngineRun, name: str) -> int:
    ring = run.camera(name).ring
    return ring.slots if ring else 0


def test_cameras_and_recognizers_come_and_go_and_the_next_start_knows(tmp_path):
    with running(tmp_path, demo()) as run:
        (first,) = [camera.name for camera in run.status().cameras]
        wait_until(lambda: recognized(run, first) > 0, 20.0, "frames are recognized")
        slots = ring_slots(run, first)
        added = done(
            run, "cameras", "add", "second", "demo://?seed=5&width=320&height=180", "fps=5"
        )
        assert added == "camera second is added"
        wait_until(lambda: state(run, "second") is CameraState.LIVE, 20.0, "the camera is live")
        wait_until(lambda: recognized(run, "second") > 0, 10.0, "its frames are recognized")
        wait_until(lambda: run.camera("second").ledger["skipped_rate"] > 0, 5.0, "5 fps of 15")

        count = workers(run)
        assert done(run, "recognizers", str(count + 2)) == f"{count + 2} recognizers"
        wait_until(lambda: workers(run) == count + 2, 10.0, "more recognizers")
        wait_until(lambda: ring_slots(run, first) > slots, 10.0, "a ring for more leases")
        done(run, "recognizers", "1")
        wait_until(lambda: workers(run) == 1, 10.0, "the rest has ended")
        seen = recognized(run, first)
        wait_until(lambda: recognized(run, first) > seen, 10.0, "one goes on")

        done(run, "cameras", "pause", first)
        wait_until(lambda: state(run, first) is CameraState.PAUSED, 5.0, "paused")
        wait_until(lambda: imbalance(run.camera(first)) == 0, 5.0, "at rest the ledger balances")
        done(run, "cameras", "remove", "second")
        wait_until(lambda: state(run, "second") is None, 10.0, "removed")
        unknown = order(run, "cameras", "remove", "second")
        assert unknown.returncode == 1
        assert unknown.stderr == f"platering: no camera 'second'; there are {first}\n"
        wrong = order(run, "cameras", "add", "third", "gopher://hole")
        assert wrong.returncode == 1
        assert "url: gopher://hole: nobody here reads gopher://" in wrong.stderr
        run.stop()

    with running(tmp_path, demo()) as again:
        wait_until(lambda: workers(again) == 1, 5.0, "as many as were ordered")
        wait_until(lambda: state(again, first) is CameraState.PAUSED, 10.0, "still paused")
        done(again, "cameras", "resume", first)
        wait_until(lambda: state(again, first) is CameraState.LIVE, 10.0, "live again")

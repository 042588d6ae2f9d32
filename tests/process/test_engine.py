"""The whole path, from moving pixels to the browser's stream: real processes, a real Redis."""

import contextlib
import csv
import json
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import engine_run
import pytest
from engine_run import EngineRun, Events, Plates, demo, events_of, imbalance, running
from polling import wait_until

from engine.shm import free_bytes
from engine.sources.scene import DemoScene
from engine.store import LATEST, STREAM, sighting_key
from engine.types import CameraState, Sighting

SEED = 7
DENSITY = 2
WATCHED_S = 30.0
"""About 15 vehicles pass the demo camera in this time."""
MARGIN_S = 4.0
"""A vehicle that passed at most this long ago may not be final yet."""


@contextlib.contextmanager
def plates_of(run: EngineRun) -> Iterator[Plates]:
    plates = Plates(run.port)
    try:
        yield plates
    finally:
        plates.close()


def live_since(run: EngineRun, name: str) -> float:
    """Wait until a camera is live; return since when (monotonic)."""
    wait_until(lambda: run.camera(name).state is CameraState.LIVE, 20.0, f"{name} is live")
    return time.monotonic()


def test_vehicles_of_the_demo_become_one_sighting_each_everywhere(tmp_path: Path) -> None:
    config = demo(SEED, scene=f"&density={DENSITY}")
    with running(tmp_path, config) as run, plates_of(run) as plates, events_of(run) as events:
        began = live_since(run, "demo")
        wait_until(lambda: time.monotonic() > began + WATCHED_S, WATCHED_S + 1.0, "time passes")
        _assert_truth(events, time.monotonic() - began - MARGIN_S)
        run.ask("camera.pause", name="demo")
        last = wait_until(lambda: _settled(run, events), 10.0, "every sighting is final")
        _assert_everywhere(run, plates, last)
        assert events.gaps == 0
        camera = run.camera("demo")
        assert (camera.state, camera.in_flight, imbalance(camera)) == (CameraState.PAUSED, 0, 0)
        assert camera.ledger["sightings"] == len(events.finals())
        assert run.stop(signal.SIGINT) < engine_run.ENDS_S
    outside = {path.name for path in tmp_path.iterdir()}
    assert outside == {"data", "run.toml", "run.out", "run.err"}


def _assert_truth(events: Events, until_s: float) -> None:
    """Assert that 9 of 10 vehicles are one sighting with the right text, strangers deducted."""
    scene = DemoScene(SEED, density=DENSITY)
    passed = [vehicle.plate for vehicle in scene.truth(until_s)]
    shown = {vehicle.plate for vehicle in scene.truth(until_s + 60.0)}
    counts = Counter(sighting.plate for sighting in events.finals())
    right = [plate for plate in passed if counts[plate] == 1]
    strangers = [plate for plate in counts if plate not in shown]
    assert len(passed) >= 10
    assert len(right) - len(strangers) >= 0.9 * len(passed), (
        f"of {passed} {sorted(set(passed) - set(right))} are not one sighting; "
        f"in their place there are {strangers}; all: {dict(counts)}"
    )


def _settled(run: EngineRun, events: Events) -> dict[str, Sighting]:
    """Return the newest revision of each sighting once the paused engine has ended its tracks."""
    ledger = run.camera("demo").ledger
    newest = {sighting.id: sighting for _, sighting in list(events.taken)}
    whole = len(events.taken) == ledger["revisions"] and len(newest) == ledger["sightings"]
    return newest if whole else {}


def _assert_everywhere(run: EngineRun, plates: Plates, last: dict[str, Sighting]) -> None:
    """Assert that stream, list, hashes and REST tell the same sightings as the live events."""
    with run.redis() as client:
        stored = {raw.decode() for raw in client.lrange(LATEST, 0, -1)}
        assert stored == set(last)
        for sighting in last.values():
            found = json.loads(client.hget(sighting_key(sighting.id), "json"))
            assert (found["plate"], found["phase"]) == (sighting.plate, "final")
        entries = [fields for _, fields in client.xrange(STREAM)]
    numbers = [int(fields[b"seq"]) for fields in entries]
    assert numbers == list(range(1, len(numbers) + 1))
    births = [json.loads(fields[b"json"]) for fields in entries]
    announced = [found["plate"] for found in births if found["revision"] == 1]
    assert len(announced) == len(last)
    _assert_streamed(plates, announced)
    page = json.loads(run.get("/api/v1/sightings?limit=500"))["sightings"]
    assert {found["id"]: found["plate"] for found in page} == {
        found.id: found.plate for found in last.values()
    }
    best = next(iter(last.values()))
    assert run.get(f"/api/v1/sightings/{best.id}/crop.jpg")[:3] == b"\xff\xd8\xff"
    assert b"EventSource" in run.get("/") + run.get("/ui/feed.js")
    assert json.loads(run.get("/healthz")) == {"status": "ok", "redis": True, "engine": True}
    metrics = run.metrics()
    assert metrics["platering_sightings_total{demo}"] == len(last)


def _assert_streamed(plates: Plates, announced: list[str]) -> None:
    """Assert that ``/stream``, which has no past, told all but what came before we joined."""
    tail = announced[1:]
    wait_until(
        lambda: plates.taken in (tail, announced),
        5.0,
        f"/stream: {plates.taken} of {announced}",
    )


def test_engine_and_api_are_two_processes_on_one_machine(tmp_path: Path, redis_server) -> None:
    shared = f'[redis]\nurl = "{redis_server.url}"\n'
    engine_config = demo(SEED, scene="&density=3", rest=shared)
    api_config = f'data_dir = "data"\n[api]\nport = 0\n{shared}'
    with (
        running(tmp_path, api_config, "api") as front,
        plates_of(front) as plates,
        running(tmp_path, engine_config, "engine") as engine,
    ):
        assert "page " not in engine.said()
        assert {process.name for process in front.status().processes} == {"publisher", "api-0"}
        wait_until(lambda: plates.taken, 20.0, "a plate of the engine is on the api's stream")
        shown = {vehicle.plate for vehicle in DemoScene(SEED, density=3).truth(60.0)}
        assert plates.taken[0] in shown
        body = json.dumps({"plate": "BY HAND 1"}).encode()
        assert json.loads(front.post("/alpr_data", body))["status"] == "success"
        wait_until(lambda: "BYHAND1" in plates.taken, 5.0, "a posted plate is on the stream")
        engine.stop(signal.SIGTERM)
        front.stop(signal.SIGTERM)


def test_no_camera_is_a_valid_configuration(tmp_path: Path) -> None:
    with running(tmp_path, "[api]\nport = 0\n") as run, plates_of(run) as plates:
        assert "none configured" in run.said()
        assert {process.name for process in run.status().processes} == {"publisher", "api-0"}
        run.post("/alpr_data", b'{"plate": "ABC123"}')
        wait_until(lambda: plates.taken == ["ABC123"], 5.0, "a posted plate is on the stream")
        run.stop()


# --- mistakes in the configuration -----------------------------------------------------------


def refused(folder: Path, config: str) -> str:
    """Start on a wrong configuration; return the one line it ends with."""
    path = folder / "wrong.toml"
    path.write_text(config, encoding="utf-8")
    command = [engine_run.PLATERING, "run", "--config", str(path)]
    ended = subprocess.run(command, capture_output=True, text=True, timeout=30, check=False)
    assert ended.returncode == 2, ended
    assert ended.stdout == ""
    assert ended.stderr.count("\n") == 1, ended.stderr
    return ended.stderr.removeprefix("platering: ").strip()


@pytest.mark.parametrize(
    ("config", "says"),
    [
        ("recogniser = 1", "recogniser: unknown key — did you mean "),
        ("[api]\nport = 70000", "api.port: must be at most 65535"),
        ('[[cameras]]\nname = "a"\nurl = "gopher://x/y"', "cameras[0].url: gopher://x/y: nobody"),
        ('[[cameras]]\nname = "a"\nurl = "not_there.mp4"', "cameras[0].url: "),
        ('[[cameras]]\nname = "a"\nurl = "demo://?speed=9"', "cameras[0].url: demo://?speed=9"),
        ('[[cameras]]\nname = "a"\nurl = "rtsp://u:${NOT_SET_ANYWHERE}@h/"', "cameras[0].url: "),
        ('[[cameras]]\nname = "a"\nurl = "demo://"\nslots = 257', "cameras[0].slots: must be "),
        ('data_dir = "wrong.toml"', "data_dir: cannot write in "),
        ('recognizer = "openalpr"\n[openalpr]\nlibrary = "/not/there"', "recognizer: openalpr"),
        ("[[[", "wrong.toml: is no valid TOML"),
    ],
)
def test_a_mistake_stops_the_start_with_one_line(tmp_path: Path, config: str, says: str) -> None:
    assert says in refused(tmp_path, config)


def test_rings_that_do_not_fit_are_refused_by_name(tmp_path: Path) -> None:
    ring_bytes = 256 * 1920 * 1080 * 3 // 2
    count = free_bytes() // ring_bytes + 1
    cameras = "".join(
        f'[[cameras]]\nname = "c{n}"\nurl = "demo://"\nslots = 256\nformat = "i420"\n'
        for n in range(count)
    )
    said = refused(tmp_path, cameras + "[api]\nport = 0\n")
    assert said.startswith(f"cameras[{count - 1}].slots: rings of ")
    assert "--shm-size" in said


def test_what_is_in_use_is_refused(tmp_path: Path) -> None:
    with running(tmp_path, "[api]\nport = 0\n") as run:
        said = refused(tmp_path, "[api]\nport = 0\n")
        assert said.startswith("data_dir: ")
        assert "in use" in said
        (elsewhere := tmp_path / "elsewhere").mkdir()
        said = refused(elsewhere, f"[api]\nport = {run.port}\n")
        assert said.startswith(f"api.port: cannot listen on 127.0.0.1:{run.port}: ")
        assert json.loads(run.get("/healthz"))["status"] == "ok"
        run.stop()


# --- real footage ----------------------------------------------------------------------------


@pytest.mark.shared
def test_a_tollgate_yields_its_vehicles_once_and_an_empty_road_none(
    tmp_path: Path, shared_data: Path
) -> None:
    with (shared_data / "video.csv").open(encoding="utf-8") as file:
        plates = {row["file"]: row["plates"].split("|") for row in csv.DictReader(file)}
    clips = {"gate": "video/vn_tollgate_parkpow.mp4", "road": "video/neg_intel_car-detection.mp4"}
    plays = {"gate": "realtime", "road": "fast"}
    config = "[api]\nport = 0\n" + "".join(
        f'[[cameras]]\nname = "{name}"\nurl = "{shared_data / file}"\nplay = "{plays[name]}"\n'
        for name, file in clips.items()
    )
    with running(tmp_path, config) as run, plates_of(run) as stream, events_of(run) as events:
        wait_until(
            lambda: all(run.camera(name).state is CameraState.ENDED for name in clips),
            60.0,
            "both clips have ended",
        )
        cameras = [run.camera(name) for name in clips]
        born = sum(camera.ledger["revisions"] for camera in cameras)
        wait_until(lambda: len(events.taken) >= born, 5.0, "all events came")
        finals = wait_until(
            lambda: found if len(found := events.finals()) == _births(events) else [],
            10.0,
            "every sighting is final",
        )
        assert Counter(final.plate for final in finals if final.camera == "gate") == Counter(
            plates[clips["gate"]]
        )
        assert [final.plate for final in finals if final.camera == "road"] == []
        _assert_streamed(stream, plates[clips["gate"]])
        assert all(imbalance(run.camera(name)) == 0 for name in clips)
        run.stop()


def _births(events: Events) -> int:
    return len({sighting.id for _, sighting in list(events.taken)})

"""Turns of cameras: told live, kept in Redis, each once over restarts and absences."""

import contextlib
import http.client
import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from conftest import RedisServer
from engine_run import EngineRun, running
from polling import wait_until
from streams import free_port

from engine import camera_log
from engine.camera_log import CameraLog
from engine.redis_client import connect
from engine.store import CAMERA_CHANNEL, CAMERA_EVENTS, CAMERAS, Store
from engine.types import CameraEvent, CameraState


class Turns:
    """A client of the live events that takes only turns of cameras."""

    def __init__(self, port: int, query: str) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.connect()
        self._sock = self._connection.sock
        self._connection.request("GET", f"/api/v1/events?{query}")
        self._answer = self._connection.getresponse()
        self.taken: list[CameraEvent] = []
        self._thread = threading.Thread(target=self._listen, daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        named = ""
        with contextlib.suppress(OSError, ValueError):
            while raw := self._answer.readline():
                line = raw.decode().rstrip("\n")
                if line.startswith("data: ") and named == "camera":
                    self.taken.append(msgspec.json.decode(line[6:], type=CameraEvent))
                named = line[7:] if line.startswith("event: ") else named if line else ""

    def states(self, camera: str) -> list[CameraState]:
        return [event.state for event in self.taken if event.camera == camera]

    def close(self) -> None:
        self._sock.shutdown(2)
        self._thread.join(10.0)
        self._answer.close()
        self._connection.close()


@contextlib.contextmanager
def turns_of(run: EngineRun, query: str) -> Iterator[Turns]:
    turns = Turns(run.port, query)
    try:
        yield turns
    finally:
        turns.close()


def kept(run: EngineRun, camera: str) -> list[CameraEvent]:
    """Return a camera's turns as the API has them, oldest first."""
    found = json.loads(run.get("/api/v1/cameras/events"))["events"]
    events = msgspec.convert(found, list[CameraEvent])
    return [event for event in reversed(events) if event.camera == camera]


def test_turns_are_told_live_and_kept(tmp_path: Path) -> None:
    config = (
        'data_dir = "data"\nnode = "n1"\n[[cameras]]\nname = "demo"\nurl = "demo://?width=320'
        '&height=180"\n[[cameras]]\nname = "gone"\n'
        f'url = "rtsp://me:hunter2@127.0.0.1:{free_port()}/x"\n[api]\nport = 0\n'
    )
    with running(tmp_path, config) as run:
        wait_until(lambda: run.camera("demo").state is CameraState.LIVE, 20.0, "demo is live")
        wait_until(lambda: run.camera("gone").state is CameraState.LOST, 20.0, "gone is lost")
        with turns_of(run, "cameras=1") as all_, turns_of(run, "cameras=1&camera=gone") as others:
            run.ask("camera.pause", name="demo")
            wait_until(lambda: all_.states("demo") == [CameraState.PAUSED], 5.0, "it is told")
            run.ask("camera.resume", name="demo")
            back = [CameraState.PAUSED, CameraState.CONNECTING, CameraState.LIVE]
            wait_until(lambda: all_.states("demo") == back, 8.0, "and that it is back")
            assert others.states("demo") == []
        assert all_.taken[0].before is CameraState.LIVE
        assert abs(all_.taken[0].unix_ms - time.time() * 1000) < 20_000
        _are_kept_once_over_a_restart(run)
        assert run.metrics()["platering_camera_events_total{}"] >= 5
        _a_removed_camera_has_ended(run)
        _another_of_its_name_goes_on(run)
        run.stop()


def _are_kept_once_over_a_restart(run: EngineRun) -> None:
    """Kill the publisher: it hears all cameras again, and writes nothing twice."""
    before = kept(run, "demo")
    states = [event.state.value for event in before]
    assert states == ["connecting", "live", "paused", "connecting", "live"]
    (lost,) = [event for event in kept(run, "gone") if event.state is CameraState.LOST]
    assert "refused" in lost.reason
    assert "hunter2" not in lost.reason
    old = run.pids()["publisher"]
    os.kill(old, signal.SIGKILL)
    wait_until(lambda: run.pids().get("publisher", old) != old, 10.0, "another publisher")
    with run.redis() as client:
        subscriber = client.pubsub()
        subscriber.subscribe(CAMERA_CHANNEL)
        run.ask("camera.pause", name="demo")
        wait_until(lambda: len(kept(run, "demo")) > len(before), 10.0, "the next turn is kept")
        assert kept(run, "demo")[:-1] == before
        newest = msgspec.json.decode(client.hget(CAMERAS, "n1/demo"), type=CameraEvent)
        assert newest == kept(run, "demo")[-1]
        heard = [found["data"] for found in iter(lambda: subscriber.get_message(timeout=0.2), None)]
        assert msgspec.json.encode(newest) in heard
        subscriber.close()


def _a_removed_camera_has_ended(run: EngineRun) -> None:
    run.ask("camera.remove", name="gone")
    wait_until(lambda: kept(run, "gone")[-1].state is CameraState.ENDED, 8.0, "it has ended")
    assert kept(run, "gone")[-1].reason == "it was removed"


def _another_of_its_name_goes_on(run: EngineRun) -> None:
    """Put another camera in the place of one: the end of the old one is not the new one's."""
    old = run.pids()["decoder-demo"]
    run.ask("camera.add", camera={"name": "demo", "url": "demo://?width=640&height=360"})
    wait_until(lambda: not Path(f"/proc/{old}").exists(), 10.0, "the old decoder has ended")
    run.ask("status")  # what the supervisor has to say of it is said
    seen = {CameraState.LIVE, CameraState.DEGRADED}  # the latter where the machine is busy
    wait_until(lambda: kept(run, "demo")[-1].state in seen, 20.0, "the new one shows frames")
    assert CameraState.ENDED not in [event.state for event in kept(run, "demo")]


def turn(number: int, state: CameraState = CameraState.LIVE) -> CameraEvent:
    return CameraEvent(
        camera="gate", node="n", state=state, before=CameraState.CONNECTING, unix_ms=number
    )


@pytest.fixture
def log(redis_server: RedisServer) -> Iterator[CameraLog]:
    made = CameraLog(redis_server.url)
    made.start()
    yield made
    made.stop(5.0)


def test_turns_wait_for_redis_and_the_oldest_of_too_many_go(
    redis_server: RedisServer, log: CameraLog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(camera_log, "MOST_WAITING", 3)
    redis_server.stop()
    for number in range(5):
        log.tell(turn(number))
    assert log.take_figures() == (0, 2)
    redis_server.start()
    with connect(redis_server.url) as client:
        store = Store(client)
        wait_until(lambda: len(store.camera_events(10)) == 3, 8.0, "the others are stored")
        assert [event.unix_ms for event in store.camera_events(10)] == [4, 3, 2]
        log.tell(turn(4))  # again, as after a restart
        log.tell(turn(5, CameraState.LOST))
        wait_until(lambda: len(store.camera_events(10)) == 4, 8.0, "a new one is stored")
        assert [event.unix_ms for event in store.camera_events(10)] == [5, 4, 3, 2]
        assert log.take_figures() == (4, 0)


def test_what_another_version_wrote_is_left_out(redis_server: RedisServer) -> None:
    with connect(redis_server.url) as client:
        store = Store(client)
        assert store.camera_events_end() == "0-0"
        client.xadd(CAMERA_EVENTS, {"json": b'{"camera": 5}'})
        strange = client.xadd(CAMERA_EVENTS, {"other": b"x"}).decode()
        assert store.camera_events_after("0-0", 10, 10) == (strange, [])  # not read over and over
        assert store.camera_events_after(strange, 10, 10) == (strange, [])
        client.xadd(CAMERA_EVENTS, {"json": b'{"camera": "\xff"}'})
        client.xadd(CAMERA_EVENTS, {"json": msgspec.json.encode(turn(7))})
        assert store.camera_events(10) == [turn(7)]
        assert store.camera_events_after("0-0", 10, 10) == (store.camera_events_end(), [turn(7)])

"""Cameras of the front: states from a real control socket, snapshots from a real ring."""

import http.client
import json
import secrets
import threading
import time

import cv2
import numpy as np
import pytest
from front_process import front_process
from polling import wait_until

from engine.board import Fate
from engine.control import ControlServer
from engine.messages import (
    CameraStatus,
    EngineStatus,
    ProcessStatus,
    Reply,
    RestartReason,
    RingHandle,
)
from engine.ring_memory import GENERATION, STATE, RingMemory, SlotState
from engine.types import CameraState


class Supervisor:
    """Answers ``status`` on a real control socket with what the test puts into ``status``."""

    def __init__(self, path) -> None:
        self.status = EngineStatus(node="n")
        self._server = ControlServer(path)
        self._server.listener.settimeout(0.05)
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._serve)
        self._thread.start()

    def _serve(self) -> None:
        while not self._ended.is_set():
            client = self._server.accept()
            if client is not None:
                client.settimeout(1.0)
                request = self._server.receive(client)
                assert request is None or request.verb == "status"
                self._server.reply(client, Reply(result=self.status))

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self._server.close()


@pytest.fixture
def supervisor(tmp_path):
    found = Supervisor(tmp_path / "control.sock")
    yield found
    found.close()


@pytest.fixture
def front(redis_server, tmp_path):
    path = str(tmp_path / "control.sock")
    with front_process(redis_server.url, cameras=("gate", "yard"), control_path=path) as running:
        yield running


@pytest.fixture
def ring():
    handle = RingHandle(
        ring=1, segment=f"platering.test{secrets.token_hex(4)}.ring1", camera=1,
        camera_name="yard", width_px=1280, height_px=720, format="gray", slots=3, lossless=False,
    )  # fmt: skip
    memory = RingMemory.create(handle)
    yield memory
    memory.unlink()
    memory.close()


def put_frame(memory: RingMemory, slot: int, generation: int, brightness: int) -> None:
    """Write a frame as its decoder would."""
    memory.put(slot, STATE, SlotState.WRITING)
    memory.put(slot, GENERATION, generation)
    memory.luma(slot)[:] = brightness
    memory.put(slot, STATE, SlotState.READY)


def get(front, path):
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    connection.request("GET", path)
    response = connection.getresponse()
    answer = response.status, response.read()
    connection.close()
    return answer


def cameras(front) -> dict:
    found = json.loads(get(front, "/api/v1/cameras")[1])
    return {each["name"]: each for each in found["cameras"]} | {"engine": found["engine"]}


def test_cameras_show_state_rates_and_the_newest_frame(front, supervisor, ring) -> None:
    supervisor.status = EngineStatus(
        node="n",
        cameras=(
            CameraStatus(name="gate", index=0, state=CameraState.LOST, reason="no route"),
            CameraStatus(name="yard", index=1, state=CameraState.LIVE, ring=ring.handle),
        ),
        processes=(
            ProcessStatus(
                name="worker-0", kind=3, row=0, restarts=2, reasons={RestartReason.KILLED: 2}
            ),
        ),
    )
    wait_until(lambda: cameras(front).get("engine"), 5.0, "the supervisor is heard")
    row = front.board.row(0)
    row.fate(1, Fate.CAPTURED, 70)
    row.fate(1, Fate.DROPPED_NO_RING, 7)
    row.release()
    wait_until(lambda: cameras(front)["yard"]["fps"] > 0, 5.0, "rates move")
    found = cameras(front)
    assert (found["gate"]["state"], found["gate"]["reason"]) == ("lost", "no route")
    yard = found["yard"]
    assert (yard["state"], yard["width_px"], yard["captured"], yard["dropped"]) == (
        "live", 1280, 70, 7,
    )  # fmt: skip
    assert yard["fps"] == pytest.approx(10 * yard["dropped_fps"], rel=0.2)
    assert get(front, "/api/v1/cameras/gate/snapshot.jpg") == (204, b"")
    assert get(front, "/api/v1/cameras/yard/snapshot.jpg") == (204, b"")
    assert get(front, "/api/v1/cameras/gate/snapshot.jpg?node=test") == (204, b"")
    for strange in ("none/snapshot.jpg", "gate/snapshot.jpg?node=other"):
        assert get(front, f"/api/v1/cameras/{strange}")[0] == 404
    for generation, brightness in ((1, 40), (2, 200)):
        put_frame(ring, generation % 3, generation, brightness)
        wait_until(lambda wanted=brightness: shows(front, wanted), 5.0, "the snapshot is new")
    text = get(front, "/metrics")[1].decode()
    assert 'platering_frames_total{camera="yard",fate="dropped",reason="no_ring"} 7.0' in text
    assert 'platering_camera_state{camera="gate",state="lost"} 1.0' in text
    restarts = 'platering_process_restarts_total{process="worker-0",reason='
    for reason, count in (("killed", 2.0), ("failed", 0.0), ("stuck", 0.0)):
        assert f'{restarts}"{reason}"}} {count}' in text


def shows(front, brightness: int) -> bool:
    status, body = get(front, "/api/v1/cameras/yard/snapshot.jpg")
    assert status == 200
    picture = cv2.imdecode(np.frombuffer(body, np.uint8), cv2.IMREAD_GRAYSCALE)
    assert picture.shape == (360, 640)
    return abs(float(picture.mean()) - brightness) < 3


def test_without_a_supervisor_the_configured_cameras_are_lost(redis_server, tmp_path) -> None:
    path = str(tmp_path / "nobody.sock")
    with front_process(redis_server.url, cameras=("gate",), control_path=path) as front:
        found = cameras(front)
        assert found["engine"] is False
        assert found["gate"]["state"] == "lost"
        began = time.monotonic()
        assert json.loads(get(front, "/healthz")[1])["status"] == "degraded"
        assert time.monotonic() - began < 2.0

"""Cameras of the front: states from a real control socket, snapshots from a real ring."""

import http.client
import json
import secrets
import threading
import time

import cv2
import numpy as np
import pytest
from front_process import front_process, sighting
from polling import wait_until

import api.cameras
from api.cameras import View, Viewers
from api.problems import ProblemError
from engine.board import Fate
from engine.config import RedisSettings
from engine.control import ControlServer
from engine.feedback import Feedback
from engine.messages import (
    CameraStatus,
    EngineStatus,
    ProcessStatus,
    Reply,
    RestartReason,
    RingHandle,
)
from engine.ring_memory import GENERATION, STATE, RingMemory, SlotState
from engine.store_writer import StoreWriter
from engine.track import Event, key_of
from engine.types import Box, CameraState, TrackPlace


class Supervisor:
    """Answers ``status`` on a real control socket with what the test puts into ``status``."""

    def __init__(self, path) -> None:
        self.status = EngineStatus(node="n")
        self.orders: list[tuple[str, dict]] = []
        self.refusal = ""
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
                if request is not None and request.verb != "status":
                    self.orders.append((request.verb, request.arguments))
                    self._server.reply(client, Reply(error=self.refusal))
                    continue
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
    row.fate(1, Fate.RECOGNIZED, 20)
    row.fate(1, Fate.LAG_US, 20 * 42_500)
    row.release()
    wait_until(lambda: cameras(front)["yard"]["fps"] > 0, 5.0, "rates move")
    found = cameras(front)
    assert (found["gate"]["state"], found["gate"]["reason"]) == ("lost", "no route")
    yard = found["yard"]
    assert (yard["state"], yard["width_px"], yard["captured"], yard["dropped"]) == (
        "live", 1280, 70, 7,
    )  # fmt: skip
    assert yard["fps"] == pytest.approx(10 * yard["dropped_fps"], rel=0.2)
    assert (yard["lag_ms"], found["gate"]["lag_ms"]) == (42.5, 0)
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


def test_boxes_are_drawn_where_the_board_says_and_a_stream_shows_what_is_new(
    front, supervisor, ring, redis_server
) -> None:
    """The publisher's half of the feedback is written by this test, as it would be."""
    supervisor.status = EngineStatus(
        node="n",
        cameras=(CameraStatus(name="yard", index=1, state=CameraState.LIVE, ring=ring.handle),),
    )
    put_frame(ring, 0, 1, 40)
    plain = colours(get(front, "/api/v1/cameras/yard/snapshot.jpg")[1])
    writer = StoreWriter(redis_server.url, RedisSettings())
    writer.commit([Event(sighting(1, camera="yard"), None)])
    writer.close()
    stamp_ns = ring.stamp(0).captured_unix_ns
    place = TrackPlace(key_of("s1"), Box(400, 200, 240, 60), (0.0, 0.0), stamp_ns, settled=True)
    Feedback(front.board, 1).tell_places([place])
    drawn = colours(get(front, "/api/v1/cameras/yard/snapshot.jpg?boxes=1")[1])
    green = (drawn[..., 1].astype(int) - drawn[..., 0]) > 60
    assert not np.ptp(plain, axis=2).any()
    _ys, xs = np.nonzero(green)
    assert abs(xs.min() - 198) < 8
    assert abs(xs.max() - 322) < 8
    assert green[98:102, 200:320].mean() > 0.4
    assert green[80:97, 195:280].any(), "the plate stands above"
    assert not green[150:, :].any()
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    connection.request("GET", "/api/v1/cameras/yard/stream.mjpeg?boxes=true")
    response = connection.getresponse()
    assert response.headers["Content-Type"] == "multipart/x-mixed-replace; boundary=picture"
    assert response.readline() == b"--picture\r\n"
    first = part(response)
    put_frame(ring, 1, 2, 200)
    wait_until(lambda: colours(part(response)).mean() > 190, 5.0, "the new frame is streamed")
    assert colours(first).mean() < 60
    response.close()
    connection.close()
    assert get(front, "/api/v1/cameras/none/stream.mjpeg")[0] == 404


def test_streams_of_pictures_end_with_the_front_within_three_seconds(
    front, supervisor, ring
) -> None:
    supervisor.status = EngineStatus(
        node="n",
        cameras=(CameraStatus(name="yard", index=1, state=CameraState.LIVE, ring=ring.handle),),
    )
    put_frame(ring, 0, 1, 40)
    connections = [http.client.HTTPConnection("127.0.0.1", front.port, timeout=10) for _ in "abc"]
    responses = []
    for connection in connections:
        connection.request("GET", "/api/v1/cameras/yard/stream.mjpeg")
        responses.append(connection.getresponse())
        assert responses[-1].readline() == b"--picture\r\n"
        part(responses[-1])
    began = time.monotonic()
    assert front.stop() == 0
    assert time.monotonic() - began < 3.0
    for response, connection in zip(responses, connections, strict=True):
        response.close()
        connection.close()


def test_as_many_watch_as_can_be_served(monkeypatch) -> None:
    monkeypatch.setattr(api.cameras, "MOST_VIEWERS", 2)

    class Room:
        """Shows the same picture."""

        def snapshot(self, _name, _view, _fresh_s) -> bytes:
            return b"jpeg"

    viewers = Viewers(Room(), lambda: False)
    watching = [viewers.stream("gate", View()) for _ in range(2)]
    for one in watching:
        assert next(one) == b"--picture\r\n"
    with pytest.raises(ProblemError) as refused:
        viewers.stream("gate", View())
    assert (refused.value.status, refused.value.retry_after_s) == (503, 10)
    watching.pop().close()
    assert next(viewers.stream("gate", View()))
    watching.pop().close()


def part(response) -> bytes:
    head = {}
    while (line := response.readline()) != b"\r\n":
        name, _, value = line.decode().strip().partition(": ")
        head[name] = value
    assert head["Content-Type"] == "image/jpeg"
    picture = response.read(int(head["Content-Length"]))
    assert response.read(len(b"\r\n--picture\r\n")) == b"\r\n--picture\r\n"
    return picture


def colours(jpeg: bytes) -> np.ndarray:
    return cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)


def test_orders_reach_the_supervisor_and_its_refusals_the_client(front, supervisor) -> None:
    supervisor.status = EngineStatus(
        node="n", cameras=(CameraStatus(name="gate", index=0, state=CameraState.LIVE),)
    )
    wait_until(lambda: cameras(front).get("engine"), 5.0, "the supervisor is heard")
    table = {"name": "gate", "url": "demo://", "fps": 5}
    assert ask(front, "POST", "", table)[0] == 201
    assert ask(front, "PATCH", "/gate", {"fps": 7})[0] == 200
    assert ask(front, "POST", "/gate/pause")[1]["name"] == "gate"
    assert ask(front, "POST", "/gate/resume")[0] == 200
    assert ask(front, "DELETE", "/gate") == (204, None)
    assert supervisor.orders == [
        ("camera.add", {"camera": table, "new": True}),
        ("camera.change", {"name": "gate", "changes": {"fps": 7}}),
        ("camera.pause", {"name": "gate"}),
        ("camera.resume", {"name": "gate"}),
        ("camera.remove", {"name": "gate"}),
    ]
    assert ask(front, "DELETE", "/none")[0] == 404
    supervisor.refusal = "cameras[0].fps: 'x' is no number — write 5"
    status, problem = ask(front, "PATCH", "/gate", {"fps": "x"})
    assert (status, problem["field"]) == (400, "fps")
    supervisor.refusal = "there is room for 0 more processes"
    assert ask(front, "POST", "", table)[0] == 409


def ask(front, method, path, body=None):
    connection = http.client.HTTPConnection("127.0.0.1", front.port, timeout=10)
    connection.request(method, f"/api/v1/cameras{path}", json.dumps(body) if body else None)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text) if text else None


def test_without_a_supervisor_the_configured_cameras_are_lost(redis_server, tmp_path) -> None:
    path = str(tmp_path / "nobody.sock")
    with front_process(redis_server.url, cameras=("gate",), control_path=path) as front:
        found = cameras(front)
        assert found["engine"] is False
        assert found["gate"]["state"] == "lost"
        began = time.monotonic()
        assert json.loads(get(front, "/healthz")[1])["status"] == "degraded"
        assert time.monotonic() - began < 2.0
        for method, path in (("POST", "/gate/pause"), ("DELETE", "/gate"), ("POST", "")):
            assert ask(front, method, path, {"name": "x", "url": "demo://"})[0] == 503

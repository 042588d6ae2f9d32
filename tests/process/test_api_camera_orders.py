"""Cameras over HTTP on a whole engine: they come, change and go while it runs, boxes are drawn."""

import http.client
import json

import cv2
import numpy as np
from engine_run import EngineRun, demo, running
from polling import wait_until


def ask(run: EngineRun, method: str, path: str, body: object = None) -> tuple[int, dict]:
    connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=20)
    connection.request(method, f"/api/v1/cameras{path}", json.dumps(body) if body else None)
    response = connection.getresponse()
    text = response.read()
    connection.close()
    return response.status, json.loads(text) if text else {}


def state(run: EngineRun, name: str) -> str:
    found = [one for one in ask(run, "GET", "")[1]["cameras"] if one["name"] == name]
    return found[0]["state"] if found else ""


def has_box(run: EngineRun) -> bool:
    jpeg = run.get("/api/v1/cameras/demo/snapshot.jpg?boxes=1")
    picture = cv2.imdecode(np.frombuffer(jpeg, np.uint8), cv2.IMREAD_COLOR)
    return bool((np.ptp(picture, axis=2) > 60).sum() > 50)


def test_cameras_come_change_and_go_over_http(tmp_path):
    with running(tmp_path, demo()) as run:
        wait_until(lambda: run.camera("demo").ledger["recognized"] > 0, 20.0, "frames are read")
        second = {"name": "second", "url": "demo://?seed=5&width=320&height=180", "fps": 5}
        assert ask(run, "POST", "", second)[0] == 201
        wait_until(lambda: state(run, "second") == "live", 20.0, "the camera is live")
        assert ask(run, "POST", "", second)[0] == 409
        assert ask(run, "POST", "/second/pause")[0] == 200
        wait_until(lambda: state(run, "second") == "paused", 5.0, "it is paused")
        url = "demo://?seed=5&width=640&height=360"
        assert ask(run, "PATCH", "/second", {"url": url})[0] == 200
        wait_until(lambda: state(run, "second") == "paused", 10.0, "changed, and still paused")
        assert ask(run, "POST", "/second/resume")[0] == 200
        wait_until(lambda: state(run, "second") == "live", 20.0, "it is live again")
        ring = run.camera("second").ring
        assert ring is not None
        assert (ring.width_px, ring.height_px) == (640, 360)
        wait_until(lambda: run.camera("second").ledger["skipped_rate"] > 0, 5.0, "fps stayed 5")
        for wrong, field in (({"fps": "x"}, "fps"), ({"speed": 1}, "speed"), ({"url": ""}, "url")):
            status, problem = ask(run, "PATCH", "/second", wrong)
            assert (status, problem["field"]) == (400, field), problem
        status, problem = ask(run, "POST", "", {"name": "third", "url": "gopher://hole"})
        assert (status, problem["field"]) == (400, "url")
        assert ask(run, "PATCH", "/second", {"name": "other"})[0] == 409
        wait_until(lambda: has_box(run), 30.0, "a box is drawn around a plate in view")
        assert ask(run, "DELETE", "/second")[0] == 204
        wait_until(lambda: state(run, "second") == "", 10.0, "removed")
        run.stop()

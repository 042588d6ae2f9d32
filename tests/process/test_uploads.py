"""Uploads through a whole engine: checked, queued, read by the pool, told, served, deleted."""

import http.client
import json
import os
import signal
from pathlib import Path

import cv2
import pytest
from clips import h264_clip, road_clip
from engine_run import EngineRun, demo, imbalance, running
from polling import wait_until
from scenes import mount, plate, street

from engine.sources.scene import DemoScene

SMALL = "&width=320&height=180&fps=5"
PLATE = "KX52NBG"


def picture(path: Path, text: str = PLATE) -> Path:
    scene = street()
    mount(scene, plate(text), (640, 380), width=230)
    cv2.imwrite(str(path), scene)
    return path


def ask(
    run: EngineRun, method: str, path: str = "", body: bytes | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", run.port, timeout=40)
    try:
        connection.request(method, f"/api/v1/uploads{path}", body, headers)
        answer = connection.getresponse()
        return answer.status, dict(answer.headers), answer.read()
    finally:
        connection.close()


def upload(run: EngineRun, path: Path) -> str:
    status, _, body = ask(run, "POST", "", path.read_bytes(), **{"X-Filename": path.name})
    assert status == 202, body
    return str(json.loads(body)["id"])


def state(run: EngineRun, upload_id: str) -> dict[str, object]:
    status, _, body = ask(run, "GET", f"/{upload_id}")
    assert status == 200, body
    return json.loads(body)


def settled(run: EngineRun, upload_id: str) -> dict[str, object]:
    over = {"done", "failed"}
    wait_until(lambda: state(run, upload_id)["state"] in over, 60.0, "the upload is read")
    return state(run, upload_id)


def follow(run: EngineRun, upload_id: str, last_id: str = "") -> list[tuple[int, str, dict]]:
    """Return (id, event, data) of an upload's stream, which ends with its last event."""
    headers = {"Last-Event-ID": last_id} if last_id else {}
    status, told, body = ask(run, "GET", f"/{upload_id}/events", **headers)
    assert (status, told["Content-Type"]) == (200, "text/event-stream; charset=utf-8")
    found = []
    for block in body.decode().split("\n\n"):
        fields = dict(line.partition(": ")[::2] for line in block.splitlines())
        if "event" in fields:
            found.append((int(fields["id"]), fields["event"], json.loads(fields["data"])))
    return found


def decoder_pids(run: EngineRun) -> list[int]:
    found = run.status().processes
    return [each.pid for each in found if each.up and each.name.startswith("decoder-upload.")]


def test_a_picture_and_a_video_are_read_and_nobody_else_hears_of_it(tmp_path):
    scene = DemoScene(7, 640, 360, density=3.0)
    video = road_clip(tmp_path / "road.mp4", scene, seconds=12)
    with running(tmp_path, demo(scene=SMALL + "&density=0.05")) as run:
        shown = upload(run, picture(tmp_path / "car.png"))
        played = upload(run, video)
        wait_until(lambda: run.status().uploads, 5.0, "one is read")
        publisher = run.pids()["publisher"]
        run.ask("restart", what="publisher")  # which waits for the uploads
        assert [each["plate"] for each in settled(run, shown)["plates"]] == [PLATE]
        found = settled(run, played)
        assert found["state"] == "done", found
        assert found["progress"] == 1.0
        assert (found["upload"]["name"], found["upload"]["frames"]) == ("road.mp4", 180)
        first = found["plates"][0]
        assert 0 <= first["first_s"] <= first["at_s"] <= first["last_s"] <= 12.0
        assert {each["plate"] for each in found["plates"]} <= scene.all_plates(12.0)
        assert first["path"][0]["box"]["width"] > 0

        events = follow(run, played)
        assert [number for number, _, _ in events] == list(range(1, len(events) + 1))
        shares = [data["share"] for _, name, data in events if name == "progress"]
        assert shares == sorted(shares)
        assert events[-1][1] == "done"
        assert follow(run, played, last_id=str(events[-2][0])) == events[-1:]

        status, headers, part = ask(run, "GET", f"/{played}/file", Range="bytes=4-7")
        assert (status, headers["Content-Type"], part) == (206, "video/mp4", b"ftyp")
        status, headers, crop = ask(run, "GET", f"/{shown}/crops/1.jpg")
        assert (status, crop[:3]) == (200, b"\xff\xd8\xff")

        assert [camera.name for camera in run.status().cameras] == ["demo"]
        sightings = json.loads(run.get("/api/v1/sightings"))["sightings"]
        assert not [each for each in sightings if each["camera"].startswith("upload.")]
        assert state(run, shown)["state"] == "done"
        assert run.metrics()["platering_uploads_read_total{}"] == 2
        wait_until(lambda: run.pids().get("publisher", publisher) != publisher, 30.0, "a new one")
        assert not decoder_pids(run)

        assert ask(run, "DELETE", f"/{played}")[0] == 204
        assert ask(run, "GET", f"/{played}")[0] == 404
        assert not (run.data_dir / "uploads" / played).exists()
        listed = json.loads(ask(run, "GET")[2])["uploads"]
        assert [each["upload"]["id"] for each in listed] == [shown]
        run.stop()


def test_what_cannot_be_read_is_refused_with_the_reason_and_leaves_nothing(tmp_path):
    limits = "[uploads]\nmax_mib = 1\nmax_minutes = 0.05\nmax_megapixels = 1.0\n"
    with running(tmp_path, demo(scene=SMALL, rest=limits)) as run:
        cut = h264_clip(tmp_path / "cut.mp4", frames=50).read_bytes()[:300]
        long = h264_clip(tmp_path / "long.mp4", frames=200).read_bytes()
        large = picture(tmp_path / "large.png")
        cv2.imwrite(str(large), street(1000, 1300))
        for body, status, said in (
            (b"<html>", 415, "send a JPEG"),
            (b"", 415, "send a JPEG"),
            (b"\xff\xd8\xff" + bytes(1_000), 422, ""),
            (cut, 422, ""),
            (long, 422, "longer than 0.05 minutes"),
            (bytes(1_100_000), 413, "larger than 1 MiB"),
            (large.read_bytes(), 413 if large.stat().st_size > 1 << 20 else 422, ""),
        ):
            answer = ask(run, "POST", "", body)
            assert answer[0] == status, answer
            assert said in json.loads(answer[2])["detail"]
        assert not list((run.data_dir / "uploads").iterdir())
        for path in ("/../../etc/passwd", "/0123456789abcdef", "/xyz/file", "/%2e%2e/file"):
            assert ask(run, "GET", path)[0] == 404
        run.stop()


def test_a_decoder_that_dies_fails_its_upload_alone_and_cameras_go_first(tmp_path):
    scene = DemoScene(3, 640, 360, density=3.0)
    video = road_clip(tmp_path / "road.mp4", scene, seconds=20)
    config = demo(scene="&density=3", rest="[recognizers]\ncount = 1\n")
    with running(tmp_path, config) as run:
        wait_until(lambda: run.camera("demo").ledger["recognized"] > 5, 30.0, "a camera is read")
        doomed, next_one = upload(run, video), upload(run, picture(tmp_path / "car.png"))
        wait_until(lambda: state(run, doomed)["state"] == "reading", 20.0, "it is read")
        before = run.camera("demo").ledger

        def goes_on() -> bool:
            return run.camera("demo").ledger["recognized"] > before["recognized"]

        wait_until(goes_on, 10.0, "the camera goes on")
        (pid,) = decoder_pids(run)
        os.kill(pid, signal.SIGKILL)
        failed = settled(run, doomed)
        assert failed["state"] == "failed"
        assert "SIGKILL" in failed["reason"]
        assert [each["plate"] for each in settled(run, next_one)["plates"]] == [PLATE]
        assert run.status().uploads == ()
        restarts = {each.name: each.restarts for each in run.status().processes}
        assert not any(restarts.values()), restarts
        run.ask("camera.pause", name="demo")
        wait_until(lambda: imbalance(run.camera("demo")) == 0, 10.0, "the ledger balances")
        run.stop()


@pytest.mark.parametrize("deleted", [True, False])
def test_an_upload_under_way_ends_with_its_deletion_or_with_the_run(tmp_path, deleted):
    scene = DemoScene(3, 640, 360, density=1.0)
    video = road_clip(tmp_path / "road.mp4", scene, seconds=20)
    config = demo(scene=SMALL, rest="[recognizers]\ncount = 1\n")
    with running(tmp_path, config) as run:
        under_way = upload(run, video)
        wait_until(lambda: state(run, under_way)["state"] == "reading", 20.0, "it is read")
        if deleted:
            assert ask(run, "DELETE", f"/{under_way}")[0] == 204
            wait_until(lambda: not decoder_pids(run), 10.0, "its decoder is gone")
        run.stop()
    if not deleted:
        with running(tmp_path, config) as run:
            found = settled(run, under_way)
            assert (found["state"], "restarted" in found["reason"]) == ("failed", True)
            run.stop()

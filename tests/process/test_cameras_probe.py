"""``platering cameras probe``: what it says, shows, and never says."""

import json
import subprocess
from pathlib import Path

import cv2
import pytest
from clips import h264_clip
from engine_run import PLATERING
from streams import free_port, rtsp_server

from engine.cli import main


def probe(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [PLATERING, "cameras", "probe", *arguments]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env=environment or None
    )


def test_a_real_camera_and_its_picture(tmp_path: Path) -> None:
    with rtsp_server("gate:hunter2") as server:
        url = server.url.replace("hunter2", "${GATE}")
        picture = tmp_path / "now.png"
        done = probe("--json", "--picture", str(picture), url, GATE="hunter2")
        assert done.returncode == 0, done.stderr
        seen = json.loads(done.stdout)
        assert (seen["width_px"], seen["height_px"]) == (640, 360)
        assert seen["state"] == "live"
        assert 12 < seen["fps"] < 18
        assert cv2.imread(str(picture), cv2.IMREAD_UNCHANGED).shape == (360, 640)
        assert "hunter2" not in done.stdout + done.stderr


def test_a_clip_in_words(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    clip = h264_clip(tmp_path / "clip.mp4", frames=10)
    assert main(["cameras", "probe", str(clip)]) == 0
    said = capsys.readouterr().out
    assert "160×96" in said
    assert "10 in 3 s" in said


def test_nobody_there_is_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    url = f"rtsp://gate:hunter2@127.0.0.1:{free_port()}/"
    assert main(["cameras", "probe", url]) == 1
    said = capsys.readouterr().err
    assert "refused" in said
    assert said.count("\n") == 1
    assert "hunter2" not in said

"""``platering read`` as a person or program uses it: whole processes on real pictures and clips."""

import json
import os
import pty
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from polling import wait_until

from engine.read import expand
from engine.sources.scene import DemoScene

READ = [sys.executable, "-m", "engine.cli", "read"]
FPS = 10
IN_PICTURE = ["WP59WWJ"]
IN_CLIP = ["WP59WWJ", "UW369CY"]
"""The plates legible in the demo scene of seed 7 at 2.0 s, and from 2 s to 3.3 s."""


def read(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*READ, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def lines(done: subprocess.CompletedProcess[str]) -> list[dict]:
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A picture and a clip of the demo scene, a folder without plates, and a broken file."""
    folder = tmp_path_factory.mktemp("material")
    scene = DemoScene(seed=7)
    cv2.imwrite(str(folder / "car.png"), scene.luma(2.0))
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(2 * FPS, 3 * FPS + 3):
            frame = av.VideoFrame.from_ndarray(scene.luma(number / FPS), format="gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    (folder / "bare").mkdir()
    cv2.imwrite(str(folder / "bare" / "wall.png"), np.full((360, 640), 90, np.uint8))
    (folder / "broken").mkdir()
    (folder / "broken" / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(40))
    (folder / "broken" / "broken.mp4").write_bytes(b"nothing of a video")
    return folder


def test_picture_as_json(folder):
    done = read("--json", "--recognizer", "builtin", folder / "car.png")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    plates = lines(done)
    assert sorted({p["plate"] for p in plates}) == IN_PICTURE
    plate = plates[0]
    assert plate["file"] == str(folder / "car.png")
    assert plate["confidence"] > 90
    assert plate["recognizer"] == "builtin"
    assert plate["candidates"][0]["plate"] == plate["plate"]
    (truth,) = [c for p, c in DemoScene(seed=7).corners(2.0).items() if p == plate["plate"]]
    assert np.allclose(plate["corners"], truth, atol=12), "pixels of the picture"
    box = plate["box"]
    assert box["x"] == pytest.approx(min(x for x, _ in plate["corners"]))
    assert box["width"] > box["height"] > 0


def test_video_gives_each_vehicle_once(folder):
    done = read("--json", "--recognizer", "builtin", folder / "clip.mp4")
    assert done.returncode == 0, done.stderr
    vehicles = lines(done)
    assert [v["plate"] for v in vehicles] == IN_CLIP
    for vehicle in vehicles:
        assert 0 <= vehicle["first_s"] < vehicle["last_s"] < 2.0
        assert vehicle["reads"] >= 3


def test_table_for_people(folder):
    done = read("--recognizer", "builtin", folder / "car.png", folder / "clip.mp4")
    assert done.returncode == 0, done.stderr
    assert "built-in recognizer" in done.stderr
    for plate in {*IN_PICTURE, *IN_CLIP}:
        assert plate in done.stdout
    assert "…" not in done.stdout, "nothing is cut off where no terminal bounds it"


def test_no_plate_is_said(folder):
    done = read(folder / "bare")
    assert done.returncode == 0
    assert done.stdout == "No plates in 1 file.\n"
    assert read("--json", folder / "bare").stdout == ""


def test_unreadable_files_are_named_and_the_others_read(folder):
    broken = folder / "broken"
    done = read("--json", broken, folder / "nowhere.jpg", "demo://", folder / "car.png")
    assert done.returncode == 1
    assert sorted({p["plate"] for p in lines(done)}) == IN_PICTURE
    for name in (broken / "broken.jpg", broken / "broken.mp4", folder / "nowhere.jpg", "demo://"):
        assert any(str(name) in line for line in done.stderr.splitlines()), name
    assert len(done.stderr.splitlines()) == 4, "one line each"
    assert "Traceback" not in done.stderr


def test_recognizer_that_cannot_start_is_one_line(folder, tmp_path):
    config = tmp_path / "config.toml"
    config.write_text('[openalpr]\nlibrary = "/nowhere/libopenalpr.so.2"\n')
    done = read("--recognizer", "openalpr", "--config", config, folder / "car.png")
    assert done.returncode == 1
    assert done.stderr.startswith("platering: openalpr.library: /nowhere/libopenalpr.so.2 does")
    assert len(done.stderr.splitlines()) == 1


def test_ctrl_c_stops_at_once_and_quietly(folder, tmp_path):
    shutil.copy(folder / "car.png", tmp_path / "0.png")
    for number in range(1, 2000):
        (tmp_path / f"{number}.png").symlink_to(tmp_path / "0.png")
    command = [*READ, "--json", str(tmp_path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as process:
        assert process.stdout.readline(), "it has begun"
        process.send_signal(signal.SIGINT)
        process.stdout.close()
        wait_until(lambda: process.poll() is not None, 2.0, "it ended")
        assert process.returncode == 130
        assert process.stderr.read() == b""


def test_progress_bar_on_a_terminal(folder):
    """On a terminal the bar moves on stderr while stdout stays clean."""
    ours, theirs = pty.openpty()
    command = [*READ, "--json", str(folder / "clip.mp4")]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while chunk := _read(ours):
            shown += chunk
        plates = [json.loads(line)["plate"] for line in process.stdout]
    os.close(ours)
    assert plates == IN_CLIP
    assert b"clip.mp4" in shown
    assert b"/13" in shown, "frames done of frames there are"


def _read(terminal: int) -> bytes:
    try:
        return os.read(terminal, 65536)
    except OSError:  # how Linux says that the other side has closed
        return b""


def test_folders_and_patterns(folder, tmp_path, monkeypatch):
    monkeypatch.chdir(folder)
    assert list(expand(["."])) == [
        "bare/wall.png", "broken/broken.jpg", "broken/broken.mp4", "car.png", "clip.mp4",
    ]  # fmt: skip
    assert list(expand(["*.png", "**/*.jpg"])) == ["car.png", "broken/broken.jpg"]
    assert list(expand([str(folder / "c*")])) == [str(folder / "car.png"), str(folder / "clip.mp4")]
    assert list(expand(["none*.png", str(tmp_path)])) == ["none*.png", str(tmp_path)]


@pytest.mark.shared
def test_clip_of_a_junction(shared_data: Path):
    done = read("--json", "--recognizer", "builtin", shared_data / "video/uk_junction_aiguys.mp4")
    assert done.returncode == 0, done.stderr
    assert [v["plate"] for v in lines(done)] == ["LS15EBC"]


@pytest.mark.shared
def test_clip_without_legible_plates(shared_data: Path):
    done = read(
        "--json", "--recognizer", "builtin", shared_data / "video/neg_intel_car-detection.mp4"
    )
    assert done.returncode == 0, done.stderr
    assert lines(done) == []

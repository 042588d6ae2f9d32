"""``platering eval`` as a person or program uses it: whole processes on real pictures and clips."""

import json
import os
import pty
import signal
import subprocess
import sys
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from openalpr_stand_in import StandIn
from polling import wait_until

from engine.evaluation.labels import load_labels
from engine.sources.scene import DemoScene
from engine.types import Box

EVAL = [sys.executable, "-m", "engine.cli", "eval"]
SEED = 7
FPS = 10
IN_CLIP = ("WP59WWJ", "UW369CY")
"""The plates legible in the demo scene of seed 7 from 2 s to 3.3 s; the first one alone at 2 s."""
KEYS = [
    "images", "detection", "exact", "exact_lookalike", "character_error_rate", "false_per_image",
    "calibration_error", "cpu_ms_median", "cpu_ms_p90",
    "expected", "found_once", "wrong_text", "duplicates", "false",
]  # fmt: skip


def evaluate(*arguments: object) -> subprocess.CompletedProcess[str]:
    command = [*EVAL, *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def figures(*arguments: object) -> dict:
    done = evaluate("--json", *arguments)
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return json.loads(done.stdout)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A picture and a clip of the demo scene and a bare wall, with labels of our own renderer."""
    folder = tmp_path_factory.mktemp("labelled")
    scene = DemoScene(seed=SEED)
    cv2.imwrite(str(folder / "car.png"), scene.luma(2.0))
    cv2.imwrite(str(folder / "wall.png"), np.full((360, 640), 90, np.uint8))
    with av.open(str(folder / "clip.mp4"), "w") as container:
        stream = container.add_stream("libx264", rate=FPS, options={"preset": "ultrafast"})
        stream.width, stream.height, stream.pix_fmt = 1280, 720, "yuv420p"
        for number in range(2 * FPS, 3 * FPS + 3):
            frame = av.VideoFrame.from_ndarray(scene.luma(number / FPS), format="gray")
            container.mux(stream.encode(frame.reformat(format="yuv420p")))
        container.mux(stream.encode())
    plate = IN_CLIP[0]
    box = Box.around(scene.corners(2.0)[plate])
    place = f"{box.x:.0f},{box.y:.0f},{box.width:.0f},{box.height:.0f}"
    (folder / "right.csv").write_text(
        f"file,x,y,w,h,plate\ncar.png,{place},{plate}\nwall.png,,,,,\n"
    )
    (folder / "wrong.csv").write_text(f"file,x,y,w,h,plate\ncar.png,{place},W059WWJ\n")
    (folder / "video.csv").write_text(f"file,plates,note\nclip.mp4,{'|'.join(IN_CLIP)},demo\n")
    return folder


def test_figures_of_pictures(folder):
    found = figures("--recognizer", "builtin", folder / "right.csv")["figures"]
    assert [key for key in found if key in KEYS] == KEYS
    assert found["images"] == 2
    assert found["detection"] == found["exact"] == found["exact_lookalike"] == 1.0
    assert found["character_error_rate"] == found["false_per_image"] == 0.0
    assert 0 <= found["calibration_error"] < 0.1
    assert 0 < found["cpu_ms_median"] <= found["cpu_ms_p90"] < 5000
    assert found["expected"] is found["found_once"] is found["false"] is None


def test_figures_of_a_video(folder):
    found = figures("--recognizer", "builtin", folder / "video.csv")["figures"]
    assert [found[key] for key in KEYS[-5:]] == [2, 2, 0, 0, 0]
    assert found["images"] == 0
    assert found["detection"] is found["exact"] is found["false_per_image"] is None
    assert found["cpu_ms_median"] > 0


def test_several_label_files_each_and_together(folder):
    files = [folder / "right.csv", folder / "wrong.csv", folder / "video.csv"]
    report = figures("--recognizer", "builtin", *files)
    (name,) = report["recognizers"]
    assert name == "builtin"
    of_files = report["recognizers"][name]["files"]
    assert list(of_files) == [str(file) for file in files]
    assert [of_files[str(file)]["exact"] for file in files] == [1.0, 0.0, None]
    assert report["figures"]["exact"] == 0.5
    assert report["figures"]["character_error_rate"] == pytest.approx(1 / 14, abs=1e-4)
    assert report["figures"]["found_once"] == 2
    assert report["figures"] == report["recognizers"][name]["figures"]


def test_table_for_people_and_sheet_of_misses(folder, tmp_path):
    sheet = tmp_path / "misses.html"
    done = evaluate("--recognizer", "builtin", folder / "wrong.csv", "--html", sheet)
    assert done.returncode == 0, done.stderr
    assert "the built-in recognizer" in done.stderr
    assert "100.0 %" in done.stdout
    assert "Read exactly" in done.stdout
    assert "Vehicles" not in done.stdout
    page = sheet.read_text()
    assert "W<mark>P</mark>59WWJ" in page
    assert "data:image/jpeg;base64," in page


def test_two_recognizers_take_turns(folder, tmp_path):
    """OpenALPR is not here: ``auto`` says so and reads with ours, under the name it was given."""
    config = tmp_path / "config.toml"
    config.write_text(f'[openalpr]\nlibrary = "{tmp_path}/libopenalpr.so.2"\n')
    both = ["--recognizer", "builtin", "--recognizer", "auto", "--config", config]
    report = figures(*both, folder / "right.csv")
    assert list(report["recognizers"]) == ["builtin", "auto"]
    assert {r["figures"]["exact"] for r in report["recognizers"].values()} == {1.0}
    table = evaluate(*both, folder / "right.csv")
    assert "auto: the built-in recognizer, because" in table.stderr
    exact = next(line for line in table.stdout.splitlines() if "Read exactly " in line)
    assert exact.count("100.0 %") == 2


def test_what_moves_is_enough_to_find_the_vehicles_of_a_video(folder):
    both = ["--recognizer", "builtin", "--recognizer", "builtin-moved"]
    report = figures(*both, folder / "video.csv", folder / "right.csv")
    everywhere, moved = (report["recognizers"][name]["figures"] for name in both[1::2])
    assert [moved[key] for key in KEYS[-5:]] == [everywhere[key] for key in KEYS[-5:]]
    assert moved["exact"] == 1.0, "pictures are searched everywhere"


def test_openalpr_alone_and_behind_our_detector_side_by_side(folder, tmp_path):
    stand_in = StandIn("openalpr.2", tmp_path)
    config = tmp_path / "config.toml"
    config.write_text(f'[openalpr]\nlibrary = "{stand_in.library}"\ndetector = "builtin"\n')
    names = ["openalpr", "openalpr-detected", "openalpr-moved"]
    chosen = [word for name in names for word in ("--recognizer", name)]
    report = figures(*chosen, "--config", config, folder / "right.csv", folder / "video.csv")
    assert list(report["recognizers"]) == names
    detected = report["recognizers"]["openalpr-detected"]["figures"]
    assert detected["detection"] == 1.0
    alone = report["recognizers"]["openalpr"]["figures"]
    assert alone["detection"] == 0.0, "all that is bright is one plate to the stand-in"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("file,x,y,w,h\ncar.png,1,2,wide,4\n", "bad.csv, line 2, column w: 'wide' is no number"),
        ("file,plate\nlorry.png,A1\n", "bad.csv, line 2, column file: there is no file"),
        ("picture,plate\n", "bad.csv, line 1, column file: it is missing"),
    ],
)
def test_wrong_labels_are_one_line(folder, text, message):
    (folder / "bad.csv").write_text(text)
    done = evaluate(folder / "bad.csv")
    assert done.returncode == 2
    assert message in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert done.stdout == ""


def test_what_cannot_be_read_or_written_is_one_line(folder, tmp_path):
    (tmp_path / "broken.jpg").write_bytes(b"\xff\xd8\xff" + bytes(40))
    (tmp_path / "labels.csv").write_text("file,plate\nbroken.jpg,A1\n")
    done = evaluate("--recognizer", "builtin", "--json", tmp_path / "labels.csv")
    assert done.returncode == 1
    assert "broken.jpg" in done.stderr
    assert len(done.stderr.splitlines()) == 1
    done = evaluate(folder / "right.csv", "--html", tmp_path / "nowhere" / "misses.html")
    assert done.returncode == 2
    assert done.stderr == f"platering: --html: there is no folder {tmp_path}/nowhere\n"


def test_ctrl_c_stops_at_once_behind_a_bar(folder, tmp_path):
    """On a terminal a bar moves; Ctrl-C ends it, prints nothing and writes nothing."""
    rows = [f"{number}.png,{IN_CLIP[0]}" for number in range(2000)]
    for number in range(2000):
        (tmp_path / f"{number}.png").symlink_to(folder / "car.png")
    (tmp_path / "labels.csv").write_text("\n".join(["file,plate", *rows]))
    sheet = tmp_path / "misses.html"
    command = [*EVAL, "--recognizer", "builtin", "--html", str(sheet), str(tmp_path / "labels.csv")]
    ours, theirs = pty.openpty()
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=theirs) as process:
        os.close(theirs)
        shown = b""
        while b"/2000" not in shown:
            shown += os.read(ours, 65536)
        process.send_signal(signal.SIGINT)
        wait_until(lambda: process.poll() is not None, 2.0, "it ended")
        assert process.returncode == 130
        assert process.stdout.read() == b""
    os.close(ours)
    assert not sheet.exists()


@pytest.mark.shared
def test_labels_of_real_pictures_and_clips(shared_data: Path):
    """Every form of labels is understood; the pictures of the smallest set are also read."""
    forms = {path.name: load_labels(path) for path in shared_data.glob("*.csv")}
    assert sum(len(labels.files) for labels in forms.values()) > 500
    assert any(not file.is_picture for file in forms["video.csv"].files)
    found = figures("--recognizer", "builtin", "--regions", "gb", shared_data / "images_uk.csv")
    assert found["figures"]["images"] == len(forms["images_uk.csv"].files)
    assert found["figures"]["exact_lookalike"] > 0.7

"""``platering doctor``: every problem is found where it really is, with a remedy, and no secret."""

import json
import os
import socket
from pathlib import Path

import cv2
import numpy as np
import pytest
from clips import h264_clip

from engine.cli import main
from engine.doctor import examine, machine
from engine.doctor.findings import Finding, Report, Verdict, print_report
from engine.shm import MIB, free_bytes

SECRET = "hunter2"  # noqa: S105  # what must never be seen


@pytest.fixture
def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        yield probe.getsockname()[1]


def report_on(folder: Path, text: str) -> Report:
    path = folder / "config.toml"
    path.write_text(text if "[api]" in text else f"{text}\n[api]\nport = 0\n")
    return examine(path)


def finding(report: Report, check: str) -> Finding:
    (found,) = [f for f in report.findings if f.check == check]
    return found


CAMERA = '[[cameras]]\nname = "{}"\nurl = "{}"\n'
QUICK = "connect_timeout_s = 0.5\nread_timeout_s = 0.5\n"


def test_good_machine_can_run(tmp_path):
    report = report_on(tmp_path, CAMERA.format("demo", "demo://?width=640&height=360"))
    assert report.can_run, report
    assert "640×360" in finding(report, "camera demo").found
    assert finding(report, "recognizer").verdict is Verdict.FINE
    assert [p.name for p in tmp_path.iterdir()] == ["config.toml"], "it leaves nothing behind"


def test_every_problem_has_a_remedy(tmp_path):
    (tmp_path / "data").write_text("in the way")
    report = report_on(
        tmp_path,
        'recognizer = "openalpr"\n[openalpr]\nlibrary = "/nowhere/libopenalpr.so"\n'
        f'[redis]\nurl = "unix://{tmp_path}/none.sock"\n'
        '[[cameras]]\nname = "a"\nurl = "nowhere.mp4"\n'
        '[[cameras]]\nname = "b"\nurl = "gopher://x"\n',
    )
    problems = {f.check: f for f in report.findings if f.verdict is Verdict.PROBLEM}
    assert not report.can_run
    expected = {"OpenALPR", "recognizer", "Redis", "data_dir", "camera a", "camera b"}
    assert set(problems) == expected
    assert all(f.remedy and f.found for f in problems.values())
    assert "openalpr.library" in problems["OpenALPR"].found


def test_broken_configuration_is_a_problem_and_the_machine_is_looked_at(tmp_path):
    report = report_on(tmp_path, "frobnicate = 1")
    assert finding(report, "configuration").verdict is Verdict.PROBLEM
    assert finding(report, "configuration").found == "frobnicate: unknown key"
    assert finding(report, "cores").found.startswith(f"{len(os.sched_getaffinity(0))} core")


def test_a_front_for_everybody_without_a_key_is_found(tmp_path):
    page = finding(report_on(tmp_path, '[api]\nhost = "0.0.0.0"\nport = 0'), "page")
    assert page.verdict is Verdict.PROBLEM
    assert page.found.startswith("api.host: other machines reach 0.0.0.0, and there is no key")
    assert page.remedy.startswith("make one: platering keys add")


def test_port_in_use_is_found(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        page = finding(report_on(tmp_path, f"[api]\nport = {port}"), "page")
    assert page.verdict is Verdict.PROBLEM
    assert page.found.startswith(f"api.port: cannot listen on 127.0.0.1:{port}")
    assert "another port" in page.remedy


def test_camera_that_refuses_connections(tmp_path, free_port):
    url = f"rtsp://me:{SECRET}@127.0.0.1:{free_port}/live"
    report = report_on(tmp_path, CAMERA.format("gate", url) + QUICK)
    gate = finding(report, "camera gate")
    assert gate.verdict is Verdict.PROBLEM
    assert gate.found.startswith(f"rtsp://me:***@127.0.0.1:{free_port}/live: ")
    assert "port" in gate.remedy
    assert SECRET not in repr(report)


def test_cameras_are_opened_as_their_settings_say(tmp_path):
    """A picture that is polled, a folder that is empty for now, and what only the engine reads."""
    folder = tmp_path / "upload"
    folder.mkdir()
    clip = h264_clip(tmp_path / "clip.mp4", frames=3)
    cameras = [
        ("watched", folder, "watch = true\n"),
        ("stdin", "-", ""),
        ("half", clip, "scale = 2\ncrop = [0.0, 0.0, 0.5, 1.0]\n"),
        ("large", clip, "max_megapixels = 0.01\n"),
        ("srt", "srt://127.0.0.1:9", ""),
    ]
    text = "".join(CAMERA.format(name, url) + more for name, url, more in cameras)
    report = report_on(tmp_path, text)
    found = {name: finding(report, f"camera {name}") for name, _, _ in cameras}
    assert found["watched"].found == f"{folder}: images that come there will be shown"
    assert found["stdin"].verdict is Verdict.FINE
    assert found["half"].found.startswith(f"{clip}: 40×48, first frame after")
    assert found["large"].found.count(str(clip)) == 1
    assert found["large"].remedy.startswith("raise max_megapixels")
    assert found["srt"].found.endswith("PyAV's libav was built without srt://")
    assert found["srt"].remedy.startswith("let ffmpeg hand it on: ffmpeg -i srt://")


def test_camera_that_never_answers_is_given_up(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"rtsp://me:{SECRET}@127.0.0.1:{silent.getsockname()[1]}/live"
        report = report_on(tmp_path, CAMERA.format("gate", url) + QUICK)
    assert finding(report, "camera gate").verdict is Verdict.PROBLEM
    assert SECRET not in repr(report)


def test_redis_password_is_not_shown(tmp_path, free_port):
    url = f"redis://:{SECRET}@127.0.0.1:{free_port}/0"
    report = report_on(tmp_path, f'[redis]\nurl = "{url}"')
    assert finding(report, "Redis").verdict is Verdict.PROBLEM
    assert SECRET not in repr(report)


def test_real_redis_tells_its_version(tmp_path, redis_server):
    redis = finding(report_on(tmp_path, f'[redis]\nurl = "{redis_server.url}"'), "Redis")
    assert redis.verdict is Verdict.FINE
    with redis_server.connect() as client:
        assert redis.found.endswith(f"version {client.info()['redis_version']}")


def test_rings_of_colour_are_counted_also_of_an_odd_size(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda: 2 * MIB)
    cv2.imwrite(str(tmp_path / "odd.png"), np.zeros((721, 1281), np.uint8))
    for form, needed in (("i420", 339), ("bgr24", 678)):
        camera = CAMERA.format("odd", tmp_path / "odd.png")
        text = f'{camera}slots = 256\nformat = "{form}"\n'
        assert f"{needed} MiB needed" in finding(report_on(tmp_path, text), "shared memory").found


def test_rings_that_do_not_fit(tmp_path, monkeypatch):
    monkeypatch.setattr(machine, "free_bytes", lambda: 2 * MIB)
    text = CAMERA.format("demo", "demo://?width=1280&height=720") + "slots = 256\n"
    shared = finding(report_on(tmp_path, text), "shared memory")
    assert shared.verdict is Verdict.PROBLEM
    assert "2 of" in shared.found
    assert "226 MiB needed" in shared.found, "256 frames of 900 KiB and their headers"
    assert "--shm-size" in shared.remedy


def test_shared_memory_free_is_that_of_the_machine(tmp_path):
    free_mib = int(finding(report_on(tmp_path, ""), "shared memory").found.split()[1])
    assert abs(free_mib - free_bytes() // MIB) < 1024


def test_json_is_one_object_with_every_finding(tmp_path, capsys):
    report = report_on(tmp_path, "")
    capsys.readouterr()
    assert print_report(report, as_json=True) == 0
    shown = json.loads(capsys.readouterr().out)
    assert shown["can_run"] is True
    assert [f["check"] for f in shown["findings"]] == [f.check for f in report.findings]
    assert {f["verdict"] for f in shown["findings"]} <= set(Verdict)


def test_print_for_people_keeps_brackets_and_remedies(capsys):
    findings = [
        Finding("a", Verdict.FINE, "all [red]well[/]"),
        Finding("long one", Verdict.PROBLEM, "bad", "set cameras[0].slots or [redis]"),
    ]
    assert print_report(Report(can_run=False, findings=findings), as_json=False) == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "✓ a         all [red]well[/]"
    assert lines[2].strip() == "→ set cameras[0].slots or [redis]"
    assert lines[3] == "1 problem."


def test_exit_code_of_the_command(tmp_path, capsys):
    path = tmp_path / "config.toml"
    path.write_text("[api]\nport = 0\n")
    assert main(["doctor", "--config", str(path)]) == 0
    path.write_text("[api]\nport = -1\n")
    assert main(["doctor", "--config", str(path)]) == 1
    assert "must be at least 0" in capsys.readouterr().out


def test_too_few_open_files(tmp_path, monkeypatch):
    monkeypatch.setattr(machine.resource, "getrlimit", lambda _which: (64, 4096))
    files = finding(report_on(tmp_path, ""), "open files")
    assert files.verdict is Verdict.PROBLEM
    assert files.remedy == "ulimit -n 4096"

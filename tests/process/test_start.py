"""Starting and asking: mistakes stop the start with one line; the CLI sees the running engine."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from engine_run import PLATERING, demo, running
from polling import wait_until

from engine.types import CameraState

EXIT_CONFIG = 2


def platering(*arguments: object, folder: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [PLATERING, *map(str, arguments)],
        cwd=folder,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def refusal(folder: Path, config: str, command: str = "run") -> str:
    """Return the one line with which a start is refused."""
    (folder / "config.toml").write_text(config)
    done = platering(command, folder=folder)
    assert done.returncode == EXIT_CONFIG, done
    (line,) = done.stderr.splitlines()
    assert " — " in line, "every refusal has a remedy"
    return line


@pytest.mark.parametrize("command", ["run", "api"])
def test_port_in_use(tmp_path, command):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        line = refusal(tmp_path, demo(port=port), command)
    assert line == (
        f"platering: api.port: cannot listen on 127.0.0.1:{port}: Address already in use — "
        "stop the program that uses it, or choose another port"
    )


def test_host_that_is_not_ours(tmp_path):
    config = '[api]\nhost = "192.0.2.1"\nport = 0\n'
    assert refusal(tmp_path, config).startswith("platering: api.host: cannot listen on 192.0.2.1:0")
    config = '[api]\nhost = "no such host"\n'
    assert refusal(tmp_path, config).startswith("platering: api.host: 'no such host' is no address")


def test_a_front_for_everybody_needs_a_key(tmp_path):
    config = '[api]\nhost = "0.0.0.0"\nport = 0\n'
    assert refusal(tmp_path, config) == (
        "platering: api.host: other machines reach 0.0.0.0, and there is no key yet to keep them "
        "out — make one: platering keys add --scope admin; or write 127.0.0.1"
    )
    made = platering("keys", "add", "--scope", "admin", folder=tmp_path)
    assert made.returncode == 0
    assert made.stdout.startswith("plt_")


def test_data_dir_that_is_a_file(tmp_path):
    (tmp_path / "data").write_text("in the way")
    assert refusal(tmp_path, demo()).startswith("platering: data_dir: cannot write in ")


def test_data_dir_too_long_for_sockets(tmp_path):
    config = f'data_dir = "{"d" * 120}"\n[api]\nport = 0\n'
    assert refusal(tmp_path, config).startswith("platering: data_dir: ")


def test_ring_that_fits_nowhere(tmp_path):
    """More slots than any machine's /dev/shm holds, on as many cameras as it takes."""
    size = os.statvfs("/dev/shm").f_blocks * os.statvfs("/dev/shm").f_frsize  # noqa: S108  # where it is
    cameras = size // (256 * 1920 * 1080) + 1
    entries = [
        f'[[cameras]]\nname = "c{n}"\nurl = "demo://"\nslots = 256\n' for n in range(cameras)
    ]
    line = refusal(tmp_path, "".join(entries) + "[api]\nport = 0\n")
    assert re.match(r"platering: cameras\[\d+\]\.slots: rings of \d+ MiB do not fit", line)


def test_recognizer_that_cannot_start(tmp_path):
    config = 'recognizer = "openalpr"\n' + demo(rest='[openalpr]\nlibrary = "/nowhere/lib.so"')
    (tmp_path / "config.toml").write_text(config)
    done = platering("run", folder=tmp_path)
    assert done.returncode == EXIT_CONFIG
    assert "openalpr.library: /nowhere/lib.so does not exist" in done.stderr


def test_cli_sees_the_running_engine(tmp_path):
    with running(tmp_path, demo()) as run:
        wait_until(lambda: run.camera("demo").state is CameraState.LIVE, 20.0, "it is live")
        _assert_status(run.config, tmp_path)
        _assert_doctor(tmp_path, run.port)
        second = refusal(tmp_path, demo())
        assert second.startswith(f"platering: data_dir: {tmp_path / 'data'} is in use by another")
        run.stop()
        gone = platering("status", "--config", run.config, folder=tmp_path)
        assert gone.returncode == 1
        assert "no engine runs with this configuration" in gone.stderr


def _assert_status(config: Path, folder: Path) -> None:
    shown = platering("status", "--config", config, folder=folder)
    assert shown.returncode == 0, shown.stderr
    assert "demo" in shown.stdout
    assert "live" in shown.stdout
    told = json.loads(platering("status", "--json", "--config", config, folder=folder).stdout)
    assert [camera["name"] for camera in told["cameras"]] == ["demo"]
    assert told["cameras"][0]["ledger"]["captured"] > 0
    assert {process["up"] for process in told["processes"]} == {True}


def _assert_doctor(folder: Path, port: int) -> None:
    """The port that the engine itself has is no problem."""
    config = folder / "same.toml"
    config.write_text(demo(port=port))
    done = platering("doctor", "--json", "--config", config, folder=folder)
    assert done.returncode == 0, done.stdout + done.stderr
    page = [f for f in json.loads(done.stdout)["findings"] if f["check"] == "page"]
    assert page[0]["found"] == f"http://127.0.0.1:{port}, served by the running engine"


def test_no_camera_is_a_valid_configuration(tmp_path):
    with running(tmp_path, "[api]\nport = 0\n") as run:
        assert "none configured" in run.said()
        assert run.get("/healthz")
        run.stop()


def test_module_form_of_the_command_runs_the_engine_too(tmp_path):
    """``python -m engine.cli`` needs no console script on the PATH."""
    (tmp_path / "config.toml").write_text("frobnicate = 1\n")
    done = subprocess.run(
        [sys.executable, "-m", "engine.cli", "run"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == EXIT_CONFIG
    assert done.stderr.startswith("platering: frobnicate: unknown key")

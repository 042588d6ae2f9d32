"""An engine as those see it who operate it: the service manager, ``top``, ``support-bundle``."""

import os
import pty
import re
import select
import signal
import socket
import subprocess
import tarfile
import time
from pathlib import Path

import pytest
from engine_run import PLATERING, demo, running
from polling import wait_until


@pytest.fixture
def notified(tmp_path, monkeypatch):
    """The socket of a service manager that an engine is started by."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(str(tmp_path / "notify"))
        end.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", str(tmp_path / "notify"))
        monkeypatch.setenv("WATCHDOG_USEC", "3000000")
        yield end
    (tmp_path / "notify").unlink()


def told(end: socket.socket) -> list[str]:
    """Return what came since the last time."""
    found = []
    while select.select([end], [], [], 0)[0]:
        found.append(end.recv(1_000).decode())
    return found


def on_a_terminal(command: list[str], seconds: float) -> str:
    """Run a command on a terminal of 120 columns, end it by Ctrl-C, return what it showed."""
    ours, theirs = pty.openpty()
    environment = os.environ | {"COLUMNS": "120", "LINES": "50", "TERM": "xterm"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environment)
    os.close(theirs)
    shown, deadline = b"", time.monotonic() + seconds
    while time.monotonic() < deadline:
        if select.select([ours], [], [], 0.2)[0]:
            shown += os.read(ours, 65_536)
    process.send_signal(signal.SIGINT)
    assert process.wait(10.0) == 130
    os.close(ours)
    return re.sub(r"\x1b\[[0-9;?]*[a-zA-Z]", "", shown.decode())


def test_an_engine_as_operators_see_it(tmp_path, notified):
    rest = '[sinks.mqtt]\n# password = "old-passw0rd"\n'
    with running(tmp_path, demo(rest=rest)) as run:
        wait_until(lambda: run.camera("demo").ledger["recognized"], 20.0, "frames are recognized")
        config = ["--config", str(run.config)]

        first = told(notified)
        assert "READY=1\nSTATUS=1 cameras" in first
        assert "WATCHDOG=1" in first
        wait_until(lambda: "WATCHDOG=1" in told(notified), 3.0, "it goes on beating")
        for pid in run.pids().values():
            assert b"NOTIFY_SOCKET" not in Path(f"/proc/{pid}/environ").read_bytes()

        wait_until(lambda: run.status().sinks, 5.0, "the publisher tells of its sinks")
        once = subprocess.run(
            [PLATERING, "top", *config], capture_output=True, text=True, check=True
        ).stdout
        for process in (*run.pids(), "supervisor"):
            assert re.search(rf"^ +{process} ", once, re.MULTILINE), once
        assert re.search(r"^ +demo +live +[1-9][\d.]* ", once, re.MULTILINE), once
        assert re.search(r"^ +redis +up +\d+ ", once, re.MULTILINE), once
        page = on_a_terminal([PLATERING, "top", "--interval", "0.3", *config], 4.0)
        assert page.count("Node ") > 3, "it is shown again and again"

        archive = tmp_path / "bundle.tgz"
        log = str(tmp_path / "run.err")
        command = [PLATERING, "support-bundle", "--output", str(archive), "--log", log, *config]
        subprocess.run(command, capture_output=True, check=True)
        with tarfile.open(archive) as found:
            names = {member.name.partition("/")[2]: member for member in found.getmembers()}
            assert b'"demo"' in found.extractfile(names["status-engine.json"]).read()
            assert b"spool.sqlite" in found.extractfile(names["data_dir.txt"]).read()
            assert b"connecting" in found.extractfile(names["log-0-run.err"]).read()
            for member in names.values():
                assert b"old-passw0rd" not in found.extractfile(member).read()

        os.kill(run.pids()["worker-0"], signal.SIGKILL)
        killed = "platering_process_restarts_total{worker-0,killed}"
        wait_until(lambda: run.metrics().get(killed) == 1, 15.0, "it says why it starts it again")
        stuck = "platering_process_restarts_total{worker-0,stuck}"
        assert run.metrics()[stuck] == 0

        told(notified)
        run.stop()
        assert told(notified)[0] == "STOPPING=1"


def test_top_of_nobody(tmp_path, capfd):
    config = tmp_path / "config.toml"
    config.write_text("")
    done = subprocess.run([PLATERING, "top", "--config", str(config)], check=False)
    assert done.returncode == 1
    assert "no engine runs with this configuration" in capfd.readouterr().err

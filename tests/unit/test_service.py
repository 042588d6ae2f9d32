"""What systemd is told, over a datagram socket as it makes one."""

import os
import socket
import time
from pathlib import Path

import pytest

from engine.service import ServiceManager


@pytest.fixture(params=["path", "abstract"])
def manager(request, tmp_path):
    """The socket of a service manager, and the value of NOTIFY_SOCKET that names it."""
    name = str(tmp_path / "notify") if request.param == "path" else f"@platering-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
        end.bind(name.replace("@", "\0", 1))
        end.settimeout(2.0)
        yield end, name


def test_it_is_told_of_start_life_and_end(manager):
    end, name = manager
    environment = {"NOTIFY_SOCKET": name, "WATCHDOG_USEC": "300000", "HOME": "/root"}
    service = ServiceManager.of(environment)
    assert environment == {"HOME": "/root"}, "a child would speak for us"
    service.beat()  # too early: nothing is ready
    service.ready("2 cameras")
    assert end.recv(100) == b"READY=1\nSTATUS=2 cameras"
    for _ in range(3):  # at once, and then a third of the time later
        service.beat()
    assert end.recv(100) == b"WATCHDOG=1"
    end.settimeout(0.02)
    with pytest.raises(TimeoutError):
        end.recv(100)
    time.sleep(0.1)
    service.beat()
    assert end.recv(100) == b"WATCHDOG=1"
    service.stopping()
    assert end.recv(100) == b"STOPPING=1"


@pytest.mark.parametrize(
    "environment",
    [{"WATCHDOG_USEC": "5", "WATCHDOG_PID": "1"}, {"WATCHDOG_USEC": "soon"}, {}],
    ids=["for another", "nonsense", "none"],
)
def test_without_a_watchdog_of_ours_there_are_no_beats(manager, environment):
    end, name = manager
    service = ServiceManager.of({"NOTIFY_SOCKET": name, **environment})
    service.ready("")
    assert end.recv(100) == b"READY=1\nSTATUS="
    service.beat()
    end.settimeout(0.02)
    with pytest.raises(TimeoutError):
        end.recv(100)


def test_nobody_there_is_no_mishap(tmp_path: Path):
    for address in ("", str(tmp_path / "gone"), "/" + "long" * 100):
        service = ServiceManager(address, 0.001)
        service.ready("")
        service.beat()
        service.stopping()

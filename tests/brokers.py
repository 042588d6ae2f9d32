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
from redis_shapes import certificate

USER, PASSWORD = "gate", "s3:cr/et"  # of these tests
IN_URL = "gate:s3%3Acr%2Fet"

RABBITMQ_PROGRAMS = "/usr/lib/rabbitmq/bin"
"""Debian keeps the programs themselves there; those on PATH change the user first."""


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
    found = shutil.which(name, path=f"{RABBITMQ_PROGRAMS}:{os.environ['PATH']}:/usr/sbin")
    if found is None:
        pytest.skip(f"needs {name}: install the package {package}")
    return found


@dataclass
class Mosquitto:
    """A mosquitto with one user, which may be stopped and started."""

    folder: Path
    port: int
    tls_port: int
    certificate: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What ``sinks.mqtt.url`` takes."""
        return f"mqtt://{IN_URL}@127.0.0.1:{self.port}"

    @property
    def tls_url(self) -> str:
        """The same, encrypted; ``certificate`` is to be trusted."""
        return f"mqtts://{IN_URL}@127.0.0.1:{self.tls_port}"

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

    def allow_all_but(self, topics: str) -> None:
        """Deny its user some topics from now on."""
        assert self.process is not None
        with (self.folder / "rights").open("a") as rights:
            rights.write(f"topic deny {topics}\n")
        self.process.send_signal(signal.SIGHUP)


@contextmanager
def mosquitto() -> Iterator[Mosquitto]:
    """A running mosquitto."""
    program("mosquitto", "mosquitto")
    folder = Path(tempfile.mkdtemp(prefix="plt-mqtt-"))
    program("openssl", "openssl")
    server = Mosquitto(folder, free_port(), free_port(), certificate(folder))
    passwords = folder / "passwords"
    subprocess.run(
        [program("mosquitto_passwd", "mosquitto"), "-b", "-c", str(passwords), USER, PASSWORD],
        check=True,
        capture_output=True,
    )
    (folder / "rights").write_text(f"user {USER}\ntopic readwrite #\n")
    (folder / "mosquitto.conf").write_text(
        f"allow_anonymous false\npassword_file {passwords}\nacl_file {folder / 'rights'}\n"
        f"listener {server.port} 127.0.0.1\nlistener {server.tls_port} 127.0.0.1\n"
        f"certfile {server.certificate}\nkeyfile {folder / 'key.pem'}\n"
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
    """A RabbitMQ node with Erlang's port mapper, each in a process group of its own."""

    folder: Path
    port: int
    tls_port: int
    certificate: Path
    environment: dict[str, str]
    mapper: subprocess.Popen[bytes] | None = None
    process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        """What ``sinks.rabbitmq.url`` takes."""
        return f"amqp://guest:guest@127.0.0.1:{self.port}/%2F"

    @property
    def tls_url(self) -> str:
        """The same, encrypted; ``certificate`` is to be trusted."""
        return f"amqps://guest:guest@127.0.0.1:{self.tls_port}"

    def start(self) -> None:
        """Start it, with what it had on disk, and wait until it listens; takes its time."""
        mapper = [program("epmd", "rabbitmq-server"), "-address", "127.0.0.1"]
        self.mapper = subprocess.Popen(
            [*mapper, "-port", self.environment["ERL_EPMD_PORT"]], env=self.environment
        )
        with (self.folder / "said").open("wb") as said:
            self.process = subprocess.Popen(
                [program("rabbitmq-server", "rabbitmq-server")],
                env=self.environment,
                stdout=said,
                stderr=said,
                start_new_session=True,
            )
        wait_until(lambda: listening(self.port), 90.0, "rabbitmq-server listens")

    def send(self, number: int) -> None:
        """Send a signal to all of it."""
        assert self.process is not None
        os.killpg(self.process.pid, number)

    def stop(self) -> None:
        """End all of it at once."""
        if self.process is not None:
            self.send(signal.SIGKILL)
            self.process.wait()
            self.process = None
        if self.mapper is not None:
            self.mapper.kill()
            self.mapper.wait()
            self.mapper = None


@contextmanager
def rabbitmq() -> Iterator[RabbitMq]:
    """A running RabbitMQ; starting it takes some ten seconds."""
    program("rabbitmq-server", "rabbitmq-server")
    folder = Path(tempfile.mkdtemp(prefix="plt-rabbit-"))
    program("openssl", "openssl")
    port, tls_port, pem = free_port(), free_port(), certificate(folder)
    (folder / "plugins").write_text("[].\n")
    (folder / "rabbitmq.conf").write_text(
        f"listeners.ssl.1 = 127.0.0.1:{tls_port}\nssl_options.certfile = {pem}\n"
        f"ssl_options.keyfile = {folder / 'key.pem'}\n"
    )
    environment = os.environ | {
        "PATH": f"{RABBITMQ_PROGRAMS}:{os.environ['PATH']}",
        "HOME": str(folder),
        "ERL_EPMD_PORT": str(free_port()),
        "ERL_EPMD_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODENAME": f"plt{port}@localhost",
        "RABBITMQ_NODE_IP_ADDRESS": "127.0.0.1",
        "RABBITMQ_NODE_PORT": str(port),
        "RABBITMQ_DIST_PORT": str(free_port()),
        "RABBITMQ_MNESIA_BASE": str(folder),
        "RABBITMQ_LOG_BASE": str(folder),
        "RABBITMQ_ENABLED_PLUGINS_FILE": str(folder / "plugins"),
        "RABBITMQ_CONFIG_FILE": str(folder / "rabbitmq"),
        "RABBITMQ_CONF_ENV_FILE": str(folder / "none"),
        "RABBITMQ_SERVER_ADDITIONAL_ERL_ARGS": "-kernel inet_dist_use_interface {127,0,0,1}",
    }
    server = RabbitMq(folder, port, tls_port, pem, environment)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)

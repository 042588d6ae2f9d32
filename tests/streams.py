"""Servers and senders of real streams for tests: Debian's, started on free ports of loopback."""

import contextlib
import functools
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from polling import wait_until

PYTHON = "/usr/bin/python3"
"""Debian's own: GStreamer's introspection is there, not in a virtual environment."""


def free_port(kind: socket.SocketKind = socket.SOCK_STREAM) -> int:
    """Return a port that was free a moment ago."""
    with socket.socket(socket.AF_INET, kind) as sock:
        sock.bind(("127.0.0.1", 0))
        return int(sock.getsockname()[1])


def answers(port: int, address: str = "127.0.0.1") -> bool:
    """Return True when somebody listens on a port."""
    with contextlib.suppress(OSError), socket.create_connection((address, port), 0.5):
        return True
    return False


@functools.cache
def _has_gstreamer() -> bool:
    probe = (
        "import gi; gi.require_version('GstRtspServer', '1.0'); "
        "from gi.repository import Gst; Gst.init(None); "
        "raise SystemExit(any(Gst.ElementFactory.find(n) is None for n in "
        "('videotestsrc', 'x264enc', 'rtph264pay')))"
    )
    return (
        Path(PYTHON).exists()
        and subprocess.run([PYTHON, "-c", probe], capture_output=True, check=False).returncode == 0
    )


def needs_gstreamer() -> None:
    """Skip where Debian's packages are missing."""
    if not _has_gstreamer():
        pytest.skip(
            "needs the packages python3-gi gir1.2-gst-rtsp-server-1.0 gstreamer1.0-plugins-base "
            "gstreamer1.0-plugins-good gstreamer1.0-plugins-ugly glib-networking"
        )


class RtspServer:
    """GStreamer's RTSP server; its camera shows colour bars and moving noise."""

    def __init__(self, login: str = "", tls: Path | None = None, file: Path | None = None) -> None:
        self.port = free_port()
        self.address = "127.0.0.1"
        self.prefix: tuple[str, ...] = ()
        """What it is started by, like ``ip netns exec``."""
        self._login = login
        self._scheme = "rtsps" if tls else "rtsp"
        given = {"--login": login, "--tls": tls, "--file": file}
        self._options = [str(word) for pair in given.items() if pair[1] for word in pair]
        self._process: subprocess.Popen[str] | None = None

    @property
    def url(self) -> str:
        """Where its camera is."""
        login = f"{self._login}@" if self._login else ""
        return f"{self._scheme}://{login}{self.address}:{self.port}/cam"

    def start(self) -> None:
        """Start it and wait until it listens."""
        script = Path(__file__).with_name("rtsp_server.py")
        command = [*self.prefix, PYTHON, str(script), self.address, str(self.port), *self._options]
        self._process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
            text=True,
        )  # fmt: skip
        assert self._process.stdout is not None
        assert self._process.stdout.readline() == "ready\n"
        wait_until(lambda: answers(self.port, self.address), 5.0, "the RTSP server listens")

    def say(self, line: str) -> None:
        """Change its picture, see ``rtsp_server.py``."""
        assert self._process is not None
        assert self._process.stdin is not None
        self._process.stdin.write(line + "\n")
        self._process.stdin.flush()

    def cut(self) -> None:
        """Let it say nothing more, as a cable that was pulled."""
        assert self._process is not None
        self._process.send_signal(signal.SIGSTOP)

    def mend(self) -> None:
        """Let it go on."""
        assert self._process is not None
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """End it at once."""
        if self._process is not None:
            self._process.kill()
            self._process.communicate()
            self._process = None


@contextlib.contextmanager
def rtsp_server(
    login: str = "", tls: Path | None = None, file: Path | None = None
) -> Iterator[RtspServer]:
    """A running RTSP server; skips where Debian's packages are missing."""
    needs_gstreamer()
    server = RtspServer(login, tls, file)
    try:
        server.start()
        yield server
    finally:
        server.kill()


def needs(program: str, package: str) -> str:
    """Return the path of a program; skips where its package is missing."""
    found = shutil.which(program) or shutil.which(program, path="/usr/sbin")
    if found is None:
        pytest.skip(f"needs the package {package}")
    return found


@contextlib.contextmanager
def ffmpeg(*arguments: str) -> Iterator[subprocess.Popen[bytes]]:
    """A running ffmpeg; ended however the test ended."""
    command = [needs("ffmpeg", "ffmpeg"), "-hide_banner", "-loglevel", "error", "-nostdin"]
    process = subprocess.Popen([*command, *arguments], stdin=subprocess.DEVNULL)
    try:
        yield process
    finally:
        process.kill()
        process.wait()


@contextlib.contextmanager
def nginx(folder: Path, more: str = "") -> Iterator[int]:
    """A running nginx that serves a folder, and does what ``more`` says; yields its port."""
    port = free_port()
    conf = folder / "nginx.conf"
    conf.write_text(
        f"pid {folder}/nginx.pid; error_log stderr crit; daemon off; master_process off;\n"
        "events {}\n"
        f"http {{ access_log off; client_body_temp_path {folder}; proxy_temp_path {folder};"
        f" fastcgi_temp_path {folder}; uwsgi_temp_path {folder}; scgi_temp_path {folder};\n"
        " types { application/vnd.apple.mpegurl m3u8; video/mp2t ts; image/jpeg jpg; }\n"
        f" server {{ listen 127.0.0.1:{port}; root {folder}; {more} }} }}\n"
    )
    process = subprocess.Popen(
        [needs("nginx", "nginx-light"), "-c", str(conf), "-p", str(folder), "-e", "stderr"]
    )
    try:
        wait_until(lambda: answers(port), 5.0, "nginx listens")
        yield port
    finally:
        process.kill()
        process.wait()


def wait_s(seconds: float) -> None:
    """Let time pass where time itself is what is tested."""
    end = time.monotonic() + seconds
    wait_until(lambda: time.monotonic() >= end, seconds + 1.0)

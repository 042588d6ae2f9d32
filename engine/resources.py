"""What a run holds besides its processes: folders, locks, sockets, the board, the Redis server.

Opened in one order before anything starts, so that every mistake is met, and said, first; closed
in reverse, whatever happened.
"""

import contextlib
import errno
import fcntl
import logging
import os
import socket
import time
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Final

from engine.board import Board
from engine.config import EMBEDDED, CameraSettings, Settings
from engine.control import ControlServer, bind_unix
from engine.embedded_redis import EmbeddedRedis
from engine.errors import (
    ConfigError,
    ControlError,
    PreflightError,
    RecognizerError,
    SourceError,
)
from engine.exposure import check_exposure
from engine.recognizers.openalpr_library import find_library
from engine.shm import MIB, SHM_DIR, RunLock, free_bytes, sweep
from engine.slot_formats import frame_bytes
from engine.sources import check_source

SPARE_CAMERAS: Final = 64
SPARE_ROWS: Final = 40
"""Cells and rows beyond those configured, for cameras and workers added while running."""
ASSUMED_SIZE_PX: Final = (1920, 1080)
"""A camera's frame before anybody has seen one: Full HD."""
REDIS_BACKOFF_S: Final = 1.0
INGEST_SOCKET: Final = "ingest.sock"
_BACKLOG: Final = 2048

log = logging.getLogger(__name__)


class Resources:
    """Everything of a run that must be given back."""

    def __init__(self, settings: Settings, halves: AbstractSet[str], workers: int) -> None:
        """Open everything.

        Raises:
            ConfigError: names the key of what cannot be opened.
            PreflightError: the machine lacks something.
        """
        self._stack = contextlib.ExitStack()
        self.settings = settings
        self.half = "engine" if "engine" in halves else "api"
        self.state_dir = settings.data_dir / self.half
        self.listener: socket.socket | None = None
        self.redis: EmbeddedRedis | None = None
        self._redis_due = 0.0
        try:
            self._open(halves, workers)
        except BaseException:
            self._stack.close()
            raise

    def _open(self, halves: AbstractSet[str], workers: int) -> None:
        if "engine" in halves:
            check_recognizer(self.settings)
            for index, camera in enumerate(self.settings.cameras):
                if camera.enabled:
                    check_camera(camera, f"cameras[{index}]")
        self._lock_state_dir()
        if "api" in halves:
            self.listener = self._stack.enter_context(listen(self.settings))
            check_exposure(self.settings, self.listener)
        self.swept = sweep()
        _check_shared_memory(self.settings, workers)
        self.lock = RunLock()
        self._stack.callback(self.lock.release)
        cameras = len(self.settings.cameras) + SPARE_CAMERAS
        self.board = Board.create(self.lock.name("board"), cameras + workers + SPARE_ROWS, cameras)
        self._stack.callback(self.board.close)
        try:
            self.control = ControlServer(self.state_dir / "control.sock")
            self._stack.callback(self.control.close)
            self.ingest_path = self.state_dir / INGEST_SOCKET
            self.ingest = bind_unix(self.ingest_path, socket.SOCK_STREAM)
        except ControlError as error:
            raise ConfigError("data_dir", str(error)) from error
        self._stack.callback(self._close_ingest)
        flags = os.O_NONBLOCK | os.O_CLOEXEC
        self.tokens_read, self.tokens_write = os.pipe2(flags)
        self._stack.callback(os.close, self.tokens_read)
        self._stack.callback(os.close, self.tokens_write)
        self.redis_url = self._open_redis()

    def _lock_state_dir(self) -> None:
        """Make the folders and claim them for this process."""
        try:
            self.state_dir.mkdir(parents=True, exist_ok=True)
            fd = os.open(self.state_dir / "lock", os.O_CREAT | os.O_RDWR | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise ConfigError(
                "data_dir",
                f"cannot write in {self.state_dir}: {error.strerror}",
                "choose a folder that this user may write",
            ) from error
        self._stack.callback(os.close, fd)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ConfigError(
                "data_dir",
                f"{self.settings.data_dir} is in use by another platering",
                "stop it, or give this one a data_dir of its own",
            ) from error

    def _open_redis(self) -> str:
        """Return the URL to use; start the embedded server if it is ours to start."""
        url = self.settings.redis.url
        if url != EMBEDDED:
            return url
        redis = EmbeddedRedis(self.settings.data_dir)
        if self.half == "engine":
            self._stack.callback(redis.close)
            redis.start()
            redis.wait_ready()
            self.redis = redis
        return redis.url

    def mend_redis(self) -> None:
        """Start the embedded server again when it died."""
        now = time.monotonic()
        if self.redis is None or self.redis.poll() is None or now < self._redis_due:
            return
        log.error("the embedded Redis ended; starting it again")
        self._redis_due = now + REDIS_BACKOFF_S
        try:
            self.redis.restart()
        except PreflightError as error:
            log.warning("%s", error)

    def _close_ingest(self) -> None:
        self.ingest.close()
        self.ingest_path.unlink(missing_ok=True)

    def close(self) -> None:
        """Give everything back, newest first."""
        self._stack.close()


def listen(settings: Settings) -> socket.socket:
    """Return the page's listening socket."""
    host, port = settings.api.host, settings.api.port
    key, remedy = "api.host", "use an address of this machine, or 0.0.0.0 for all"
    try:
        family, _kind, _proto, _name, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM
        )[0]
    except socket.gaierror as error:
        raise ConfigError(key, f"{host!r} is no address of this machine", remedy) from error
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind(address)
    except OSError as error:
        listener.close()
        if error.errno == errno.EADDRINUSE:
            key, remedy = "api.port", "stop the program that uses it, or choose another port"
        elif error.errno == errno.EACCES:
            key, remedy = "api.port", "ports below 1024 need a right; choose one above"
        raise ConfigError(
            key, f"cannot listen on {host}:{port}: {error.strerror}", remedy
        ) from None
    listener.listen(_BACKLOG)
    return listener


def check_camera(camera: CameraSettings, key: str) -> None:
    """Refuse a camera whose URL can only be a mistake.

    Raises:
        ConfigError: names the key under ``key``, the path of the camera's table.
    """
    try:
        check_source(camera.url)
    except SourceError as error:
        raise ConfigError(f"{key}.url", str(error)) from error


def check_recognizer(settings: Settings) -> None:
    """Refuse OpenALPR by name where it is not.

    Raises:
        ConfigError: names the key.
    """
    if settings.recognizer != "openalpr":
        return
    try:
        found = find_library(settings.openalpr)
    except RecognizerError as error:
        raise ConfigError("recognizer", str(error)) from error
    if found is None:
        raise ConfigError(
            "recognizer",
            "the library of OpenALPR is not in the usual places",
            'install it, name it in openalpr.library, or take "auto"',
        )


def _check_shared_memory(settings: Settings, workers: int) -> None:
    """Refuse a start that would soon fail for want of shared memory.

    Frames are assumed Full HD; rings are made, and their pages reserved, once a camera is seen.
    """
    needed = 0
    for index, camera in enumerate(settings.cameras):
        automatic = workers * settings.recognizers.batch + settings.recognizers.batch + 1
        slots = automatic if camera.slots == "auto" else camera.slots
        needed += slots * frame_bytes(*ASSUMED_SIZE_PX, camera.format)
        if needed > free_bytes() and camera.slots != "auto":
            raise ConfigError(
                f"cameras[{index}].slots",
                f"rings of {needed // MIB} MiB do not fit into {SHM_DIR} with "
                f"{free_bytes() // MIB} MiB free",
                "fewer slots, or a larger /dev/shm (docker: --shm-size)",
            )
    if needed > free_bytes():
        raise PreflightError(
            f"{SHM_DIR} has {free_bytes() // MIB} MiB free, but the rings of "
            f"{len(settings.cameras)} cameras need about {needed // MIB} MiB — enlarge it (`mount "
            f"-o remount,size={2 * needed // MIB}M /dev/shm`; docker: `--shm-size`; Kubernetes: an "
            "emptyDir with `medium: Memory`), or configure fewer cameras or `recognizers.count`"
        )


def state_path(data_dir: Path, half: str, name: str) -> Path:
    """Return where a half keeps a file, for those who look from outside (CLI, API)."""
    return data_dir / half / name

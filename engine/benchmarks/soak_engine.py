"""The engine that a soak runs: ``platering run`` in a folder of its own, and its eyes."""

import contextlib
import http.client
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import msgspec
import redis

from engine.benchmarks.soak_camera import DENSITY, HEIGHT_PX, WIDTH_PX
from engine.board import Kind
from engine.control import ask
from engine.embedded_redis import EmbeddedRedis
from engine.errors import ControlError
from engine.messages import EngineStatus, ProcessStatus
from engine.resources import state_path
from engine.shm import SHM_DIR
from engine.types import CameraState

READY_S: Final = 120.0
ENDS_S: Final = 10.0
"""How long an end in order may take."""
POLL_S: Final = 0.05
REQUEST_S: Final = 5.0
ASK_S: Final = 20.0
"""The supervisor answers in a moment, but where others have the cores."""
STREAM_LENGTH: Final = 2_000
"""Events in Redis's stream: few, so that its memory levels out; all are read long before."""
KEPT_DAYS: Final = 0.003
"""A sighting and its pictures are kept for four minutes."""
NETWORK_CAMERA: Final = "net"
FPS: Final = 4.0
_PAGE: Final = re.compile(r"^page +http://127\.0\.0\.1:(\d+)/", re.MULTILINE)


class SoakError(RuntimeError):
    """The soak itself cannot go on; says why."""


class SoakedEngine:
    """One run of the whole engine; everything is asked over HTTP, its control socket, its Redis."""

    def __init__(self, folder: Path, camera_url: str, seed: int) -> None:
        """Write its configuration into the folder, which is the caller's."""
        self.folder = folder
        self.config = folder / "config.toml"
        self.data_dir = folder / "data"
        self.cameras = _cameras(camera_url, seed)
        self.port = 0
        self._process: subprocess.Popen[bytes] | None = None
        self._segments = ""
        self.write_config(motion_sensitivity=0.5)

    def write_config(self, motion_sensitivity: float) -> None:
        """Write the configuration, which a reload takes over."""
        for camera in self.cameras:
            camera["motion_sensitivity"] = motion_sensitivity
        self.config.write_text(_configuration(self.cameras), encoding="utf-8")

    # --- it starts and ends -----------------------------------------------------------------

    def start(self) -> None:
        """Start it in a session of its own: a Ctrl-C is for the soak alone.

        Raises:
            SoakError: it is not ready in time.
        """
        command = [sys.executable, "-m", "engine.cli", "run", "--config", str(self.config)]
        with (self.folder / "out").open("wb") as out, self.log.open("wb") as err:
            self._process = subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=out, stderr=err, start_new_session=True
            )
        self.until(self._is_ready, READY_S, "it is ready")
        self._segments = self._prefix()

    def await_cameras(self) -> None:
        """Wait until a frame of each camera was recognized.

        Raises:
            SoakError: it is not so in time.
        """
        self.until(self._all_live, READY_S, "all cameras are live")

    def _is_ready(self) -> bool:
        if self.exit_code is not None:
            raise SoakError(f"the engine ended at its start: {self.said()[-2_000:]}")
        page = _PAGE.search((self.folder / "out").read_text(encoding="utf-8"))
        self.port = int(page[1]) if page else 0
        return page is not None

    def _all_live(self) -> bool:
        cameras = self.status().cameras
        return all(one.state is CameraState.LIVE and one.ledger["recognized"] for one in cameras)

    def _prefix(self) -> str:
        """Return how the names of its shared memory begin."""
        for fd in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(OSError):  # closed in this moment
                link = str(fd.readlink())
                if re.search(r"/platering\.\w+\.lock$", link):
                    return link.removesuffix("lock")
        raise SoakError("the engine has no lock in shared memory")

    @property
    def log(self) -> Path:
        """The file that it logs to."""
        return self.folder / "engine.log"

    def said(self) -> str:
        """Return what it logged so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        if self._process is None:
            raise SoakError("the engine was not started")
        return self._process.pid

    @property
    def exit_code(self) -> int | None:
        """How the supervisor ended, None while it runs."""
        return self._process.poll() if self._process is not None else None

    def stop(self) -> float:
        """End it in order; return how many seconds that took."""
        began_s = time.monotonic()
        if self._process is not None and self.exit_code is None:
            self._process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._process.wait(3 * ENDS_S)
        return time.monotonic() - began_s

    def close(self) -> None:
        """Leave nothing running, however the soak ended; children follow their supervisor."""
        self.stop()
        if self._process is not None and self.exit_code is None:
            self._process.kill()
            self._process.wait()
            with contextlib.suppress(SoakError):
                self.until(lambda: not self.leftovers(), ENDS_S, "its children end")
            for segment in self.segments():
                segment.unlink(missing_ok=True)

    # --- it is looked at --------------------------------------------------------------------

    def until(self, reached: Callable[[], object], seconds: float, what: str) -> None:
        """Wait for something.

        Raises:
            SoakError: it is not so in time.
        """
        ends_s = time.monotonic() + seconds
        while time.monotonic() < ends_s:
            with contextlib.suppress(ControlError):  # the supervisor is busy
                if reached():
                    return
            time.sleep(POLL_S)
        raise SoakError(f"not within {seconds:.0f} s: {what}")

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Ask its control socket, as the CLI does."""
        path = state_path(self.data_dir, "engine", "control.sock")
        return ask(str(path), verb, ASK_S, **arguments)

    def status(self) -> EngineStatus:
        """Return what ``platering status`` would show."""
        return msgspec.convert(self.ask("status"), EngineStatus)

    def process(self, name: str) -> ProcessStatus:
        """Return how one child is; one that is not on the roster is not up."""
        found = (each for each in self.status().processes if each.name == name)
        return next(found, ProcessStatus(name=name, kind=Kind.FREE, row=0, up=False))

    def request(
        self, method: str, path: str, body: bytes | None = None, *, timeout_s: float = REQUEST_S
    ) -> tuple[int, bytes]:
        """Ask its front; return status and body, 0 where nobody answers in time."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=timeout_s)
        headers = {"Content-Type": "application/json"} if body is not None else {}
        try:
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            return response.status, response.read()
        except (OSError, http.client.HTTPException):
            return 0, b""
        finally:
            connection.close()

    @property
    def spool_path(self) -> Path:
        """The publisher's spool."""
        return state_path(self.data_dir, "engine", "spool.sqlite")

    @property
    def redis_url(self) -> str:
        """Where its Redis is."""
        return EmbeddedRedis(self.data_dir).url

    @contextlib.contextmanager
    def redis(self) -> Iterator["redis.Redis"]:
        """A client of its Redis."""
        client = redis.Redis.from_url(self.redis_url, socket_timeout=REQUEST_S)
        try:
            yield client
        finally:
            client.close()

    def segments(self) -> list[Path]:
        """Return the files of its shared memory."""
        if not self._segments:
            return []
        return sorted(path for path in SHM_DIR.iterdir() if str(path).startswith(self._segments))

    def leftovers(self) -> list[str]:
        """Name its children that live, those that Redis started among them."""
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                pid = int(folder.name)
                in_data = self.data_dir / "redis" == (folder / "cwd").readlink()
                if pid != self.pid and (os.getsid(pid) == self.pid or in_data):
                    found.append(f"process {pid}")
        return found


def _cameras(network_url: str, seed: int) -> list[dict[str, Any]]:
    """Return the cameras' tables: two that are drawn, one over the network."""
    size = f"width={WIDTH_PX}&height={HEIGHT_PX}&fps={FPS:g}&density={DENSITY:g}"
    urls = {
        "road-1": f"demo://?seed={seed % 1_000}&{size}",
        "road-2": f"demo://?seed={seed % 1_000 + 1}&{size}",
        NETWORK_CAMERA: network_url,
    }
    common = {"min_reads": 1, "connect_timeout_s": 3.0, "read_timeout_s": 4.0}
    return [{"name": name, "url": url, **common} for name, url in urls.items()]


def _configuration(cameras: list[dict[str, Any]]) -> str:
    """Return a ``config.toml``: each look at a vehicle a sighting, everything kept for minutes."""
    tables: dict[str, dict[str, Any]] = {
        "recognizers": {"count": 2},
        "tracker": {"max_gap_s": 0.4, "announce_after_s": 0.1, "reappear_after_s": 0.0},
        "redis": {
            "stream_length": STREAM_LENGTH,
            "latest_length": 200,
            "keep_days": KEPT_DAYS,
            "evidence_days": KEPT_DAYS,
        },
        "api": {"port": 0},
    }
    lines = ['data_dir = "data"', 'node = "soak"', 'recognizer = "builtin"']
    for camera in cameras:
        lines += ["[[cameras]]", *_pairs(camera)]
    for name, table in tables.items():
        lines += [f"[{name}]", *_pairs(table)]
    return "\n".join([*lines, ""])


def _pairs(table: dict[str, Any]) -> list[str]:
    return [f"{key} = {json.dumps(value)}" for key, value in table.items()]

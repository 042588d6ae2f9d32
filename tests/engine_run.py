"""A whole engine as a user starts it: ``platering run`` in a folder of a test's own, and its eyes.

Nothing here is a stand-in: the console script runs as a subprocess, its page's address is read
from the start-up lines, and everything else is asked over HTTP, its control socket or its Redis.
"""

import contextlib
import http.client
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import leftovers
import msgspec
import redis
from polling import wait_until
from prometheus_client.parser import text_string_to_metric_families

from engine.control import ask
from engine.messages import CameraStatus, EngineStatus
from engine.types import Phase, Sighting

PLATERING = str(Path(sys.executable).with_name("platering"))
READY_S = 40.0
"""How long a start may take on a busy machine of two cores."""
ENDS_S = 12.0
"""How long an end in order may take."""
_PAGE = re.compile(r"^page +http://127\.0\.0\.1:(\d+)/", re.MULTILINE)

OUTCOMES = ("skipped_", "dropped_", "recognized", "failed_")
"""How the fates begin of which each captured frame meets exactly one."""


class Events:
    """A client of the JSON events from the first one; it comes back by its last id when cut off."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._ended = threading.Event()
        self._sock: socket.socket | None = None
        self._last_id = "0"  # from the beginning
        self.joined = threading.Event()
        self.taken: list[tuple[float, Sighting]] = []
        """When each came (monotonic) and what."""
        self.gaps = 0
        self._thread = threading.Thread(target=self._follow, name="events", daemon=True)
        self._thread.start()
        assert self.joined.wait(20.0)

    def finals(self) -> list[Sighting]:
        """Return the final sightings that came so far."""
        return [sighting for _, sighting in list(self.taken) if sighting.phase is Phase.FINAL]

    def first_captured_after(self, unix_ms: float) -> float | None:
        """Return when (monotonic) the first news of a frame captured after then came."""
        came = [at for at, found in list(self.taken) if found.last_unix_ms > unix_ms]
        return min(came, default=None)

    def close(self) -> None:
        """Hang up."""
        self._ended.set()
        _hang_up(self._sock)
        self._thread.join(10.0)
        assert not self._thread.is_alive()

    def _follow(self) -> None:
        while not self._ended.is_set():
            connection = http.client.HTTPConnection("127.0.0.1", self._port, timeout=10)
            with contextlib.suppress(OSError, http.client.HTTPException):
                connection.connect()
                self._sock = connection.sock
                headers = {"Last-Event-ID": self._last_id}
                connection.request("GET", "/api/v1/events", headers=headers)
                response = connection.getresponse()
                with response:
                    if response.status == 200:
                        self._listen(response)
            connection.close()
            self._ended.wait(0.05)

    def _listen(self, response: http.client.HTTPResponse) -> None:
        fields: dict[str, str] = {}
        while line := response.readline().decode():
            self.joined.set()
            if line != "\n":
                name, _, value = line.rstrip("\n").partition(": ")
                fields[name] = value
                continue
            self._last_id = fields.get("id", self._last_id)
            if fields.get("event") == "gap":
                self.gaps += 1
            elif "data" in fields and "event" not in fields:
                sighting = msgspec.json.decode(fields["data"], type=Sighting)
                self.taken.append((time.monotonic(), sighting))
            fields = {}


class Plates:
    """A client of ``/stream`` as the simplest tutorial writes it: ``data: PLATE`` lines."""

    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self._connection.connect()
        self._sock = self._connection.sock
        self._connection.request("GET", "/stream")
        self._response = self._connection.getresponse()
        assert self._response.status == 200
        assert self._response.headers["Content-Type"].startswith("text/event-stream")
        self.taken: list[str] = []
        self._thread = threading.Thread(target=self._listen, name="plates", daemon=True)
        self._thread.start()

    def _listen(self) -> None:
        with contextlib.suppress(OSError, ValueError):
            while line := self._response.readline().decode():
                if line.startswith("data: "):
                    self.taken.append(line.removeprefix("data: ").strip())

    def close(self) -> None:
        """Hang up, if the server has not."""
        _hang_up(self._sock)
        self._thread.join(10.0)
        assert not self._thread.is_alive()
        self._response.close()
        self._connection.close()


def _hang_up(sock: socket.socket | None) -> None:
    """Wake whoever reads this connection, which is closed by its reader."""
    if sock is not None:
        with contextlib.suppress(OSError):
            sock.shutdown(socket.SHUT_RDWR)


class EngineRun:
    """One run of ``platering run`` (or ``engine``, ``api``) on a configuration of a test's own."""

    def __init__(self, folder: Path, config: str, command: str = "run") -> None:
        """Write the configuration; ``folder`` may be that of an earlier run, to go on there."""
        self.folder = folder
        self.config = folder / f"{command}.toml"
        self.config.write_text(config, encoding="utf-8")
        self.half = "api" if command == "api" else "engine"
        self._command = command
        self._outputs = (folder / f"{command}.out", folder / f"{command}.err")
        self.by: tuple[str, ...] = ()
        """What it is run by, to be on another host."""
        self.process: subprocess.Popen[bytes] | None = None
        self.prefix = ""
        """How the names of this run's shared memory begin."""
        self.port = 0

    def start(self) -> None:
        """Start it in a process group of its own and wait until it says that all is ready."""
        with self._outputs[0].open("wb") as out, self._outputs[1].open("wb") as err:
            self.process = subprocess.Popen(
                [*self.by, PLATERING, self._command, "--config", str(self.config)],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
                cwd=self.folder,
            )
        wait_until(self._is_ready, READY_S, f"ready; it said {self.said()}")
        links = []
        for fd in Path(f"/proc/{self.pid}/fd").iterdir():
            with contextlib.suppress(FileNotFoundError):  # closed in this moment
                links.append(str(fd.readlink()))
        (lock,) = [link for link in links if re.search(r"/platering\.\w+\.lock$", link)]
        self.prefix = lock.removesuffix("lock")

    def _is_ready(self) -> bool:
        assert self.process is not None
        code = self.process.poll()
        assert code is None, f"ended with exit code {code}: {self.said()}"
        whole, _, _begun = self._outputs[0].read_text().rpartition("\n")  # a line may be under way
        page = _PAGE.search(whole)
        if page is not None:
            self.port = int(page[1])
        last = "memory " if self._command == "engine" else "page "
        return any(line.startswith(last) for line in whole.splitlines())

    def said(self) -> str:
        """Return what it printed and logged so far."""
        return "".join(path.read_text() for path in self._outputs if path.exists())

    @property
    def pid(self) -> int:
        """The supervisor's process id."""
        assert self.process is not None
        return self.process.pid

    @property
    def data_dir(self) -> Path:
        """Where it keeps its files."""
        return self.folder / "data"

    def ask(self, verb: str, **arguments: object) -> object:
        """Ask its control socket, as the CLI does."""
        return ask(str(self.data_dir / self.half / "control.sock"), verb, **arguments)

    def status(self) -> EngineStatus:
        """Return what ``platering status`` would show."""
        return msgspec.convert(self.ask("status"), EngineStatus)

    def camera(self, name: str) -> CameraStatus:
        """Return one camera's part of the status."""
        return next(camera for camera in self.status().cameras if camera.name == name)

    def pids(self) -> dict[str, int]:
        """Return the process id of each child by name, the embedded Redis among them."""
        found = {process.name: process.pid for process in self.status().processes if process.up}
        return found | {"redis": self.redis_pid()}

    def redis(self) -> redis.Redis:
        """Return a new client of the embedded Redis; the caller closes it."""
        return redis.Redis(unix_socket_path=str(self.data_dir / "redis.sock"))

    def redis_pid(self) -> int:
        """Return the process id of the embedded Redis, 0 while it does not answer."""
        with self.redis() as client:
            try:
                return int(client.info("server")["process_id"])
            except redis.ConnectionError:
                return 0

    def get(self, path: str) -> bytes:
        """Return the body of a page that must be there."""
        return self._request("GET", path)

    def post(self, path: str, body: bytes) -> bytes:
        """Send JSON that must be taken; return the answer."""
        return self._request("POST", path, body)

    def _request(self, method: str, path: str, body: bytes | None = None) -> bytes:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        try:
            headers = {"Content-Type": "application/json"} if body else {}
            connection.request(method, path, body, headers)
            response = connection.getresponse()
            answer = response.read()
            assert response.status == 200, (path, response.status, answer)
            return answer
        finally:
            connection.close()

    def metrics(self) -> dict[str, float]:
        """Return ``/metrics`` as sample name with its labels' values, sorted by label, to value."""
        samples: dict[str, float] = {}
        for family in text_string_to_metric_families(self.get("/metrics").decode()):
            for sample in family.samples:
                labels = ",".join(sample.labels[key] for key in sorted(sample.labels))
                samples[f"{sample.name}{{{labels}}}"] = sample.value
        return samples

    def stop(self, number: int = signal.SIGINT) -> float:
        """End it in order; assert that nothing is left; return how long it took in seconds."""
        assert self.process is not None
        began = time.monotonic()
        self.process.send_signal(number)
        code = self.process.wait(ENDS_S + 5.0)
        took_s = time.monotonic() - began
        assert code == 0, f"exit code {code}: {self.said()}"
        assert took_s < ENDS_S, self.said()
        self.assert_nothing_left()
        return took_s

    def assert_nothing_left(self) -> None:
        """Assert that no process, segment or socket of this run is there any more."""
        assert not self.living(), self.living()
        assert not self.segments()
        assert not leftovers.sockets(self.data_dir / self.half)
        assert not (self.data_dir / "redis.sock").exists()

    def segments(self) -> set[Path]:
        """Return the files of shared memory that this run has, or left behind."""
        return {path for path in leftovers.segments() if str(path).startswith(self.prefix)}

    def living(self) -> dict[int, str]:
        """Return pid and command line of this run's processes but the supervisor.

        They share its session; only the embedded Redis has one of its own, and lives in its data.
        """
        found = {}
        for pid, command in leftovers.processes().items():
            with contextlib.suppress(FileNotFoundError, PermissionError, ProcessLookupError):
                redis_data = self.data_dir / "redis" == Path(f"/proc/{pid}/cwd").readlink()
                if pid != self.pid and (os.getsid(pid) == self.pid or redis_data):
                    found[pid] = command
        return found

    def close(self) -> None:
        """Leave nothing running, however the test ended."""
        if self.process is not None and self.process.poll() is None:
            for number in (signal.SIGTERM, signal.SIGKILL):
                self.process.send_signal(number)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    self.process.wait(ENDS_S)
                    break


@contextlib.contextmanager
def running(
    folder: Path, config: str, command: str = "run", by: tuple[str, ...] = ()
) -> Iterator[EngineRun]:
    """A run that is ready, ended however the test ended; ``by`` is what starts it elsewhere."""
    run = EngineRun(folder, config, command)
    run.by = by
    try:
        run.start()
        yield run
    finally:
        run.close()


@contextlib.contextmanager
def events_of(run: EngineRun) -> Iterator[Events]:
    """A client of a run's live events."""
    events = Events(run.port)
    try:
        yield events
    finally:
        events.close()


def imbalance(camera: CameraStatus) -> int:
    """Return captured frames minus counted outcomes minus frames in flight: 0 at rest."""
    outcomes = sum(n for fate, n in camera.ledger.items() if fate.startswith(OUTCOMES))
    return camera.ledger["captured"] - outcomes - camera.in_flight


def demo(seed: int = 7, port: int = 0, camera: str = "", scene: str = "", rest: str = "") -> str:
    """Return a configuration with one demo camera, a free port and its data beside it."""
    return (
        f'data_dir = "data"\n[[cameras]]\nname = "demo"\nurl = "demo://?seed={seed}{scene}"\n'
        f"{camera}\n[api]\nport = {port}\n{rest}\n"
    )

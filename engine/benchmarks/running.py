"""A real engine for a benchmark: ``platering`` on a configuration of its own, ended in order."""

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from engine.control import ask
from engine.errors import ControlError, PreflightError
from engine.messages import EngineStatus
from engine.resources import state_path

READY_S: Final = 60.0
ENDS_S: Final = 10.0
POLL_S: Final = 0.03
"""Short beside a run, for what is waited for is noticed that much too late."""
_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_PAGE: Final = re.compile(r"^page +(http://\S+?)/?(?:\s|$)", re.MULTILINE)


class RunningEngine:
    """An engine that was started; asked over its control socket, as the command line does."""

    def __init__(self, process: subprocess.Popen[bytes], folder: Path) -> None:
        self.pid = process.pid
        """Of the supervisor."""
        self._process = process
        self._out = folder / "out"
        self._control = str(state_path(folder / "data", "engine", "control.sock"))

    def ask(self, verb: str, **arguments: Any) -> Any:
        """Send it an order or a question."""
        return ask(self._control, verb, **arguments)

    def status(self) -> EngineStatus:
        """Return how it is.

        Raises:
            PreflightError: a process of it was started again, so nothing here is a measurement.
        """
        status = msgspec.convert(self.ask("status"), EngineStatus)
        if any(process.restarts for process in status.processes):
            raise PreflightError("a process of the engine was started again: no measurement")
        return status

    def page(self) -> str | None:
        """Return the address of its page, None as long as that is not ready."""
        found = _PAGE.search(self._out.read_text(encoding="utf-8"))
        return found[1] if found else None

    def wait_for(self, reached: Callable[[EngineStatus], bool], what: str) -> EngineStatus:
        """Wait until its status is so; return it.

        Raises:
            PreflightError: it ended, or did not get there in time.
        """
        deadline = time.monotonic() + READY_S
        while time.monotonic() < deadline:
            if self._process.poll() is not None:
                raise PreflightError(f"the engine ended: {self._last_words()}")
            with contextlib.suppress(ControlError):  # it does not listen yet
                status = self.status()
                if reached(status):
                    return status
            time.sleep(POLL_S)
        raise PreflightError(f"the engine did not get there in {READY_S:.0f} s: {what}")

    def _last_words(self) -> str:
        said = self._out.with_name("err").read_text(encoding="utf-8").strip()
        return said.rpartition("\n")[2] or f"exit code {self._process.returncode}"

    def cpu_s(self) -> float:
        """Return the CPU time of the supervisor and its children so far, Redis among them."""
        children = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        ticks = 0
        for pid in (str(self.pid), *children):
            after_name = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
            ticks += int(after_name[11]) + int(after_name[12])
        return ticks / _TICKS_PER_S


@contextlib.contextmanager
def running_engine(folder: Path, half: str, lines: Sequence[str]) -> Iterator[RunningEngine]:
    """Run ``platering run`` or ``engine``; ``folder`` is empty and gets all that is its own.

    ``lines`` are those of its configuration besides ``data_dir``. However its user ends, the engine
    is told to end and given time for it, so that nothing of it is left.
    """
    config = folder / "config.toml"
    own = f'data_dir = "{folder / "data"}"'
    config.write_text("\n".join((own, *lines, "")), encoding="utf-8")
    command = [sys.executable, "-m", "engine.cli", half, "--config", str(config)]
    with (folder / "out").open("wb") as out, (folder / "err").open("wb") as err:
        process = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=err)
    try:
        yield RunningEngine(process, folder)
    finally:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(ENDS_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()

"""Runs all benchmarks, each by itself: one that fails, or dies, takes no other along.

Every group is a ``platering bench GROUP`` of its own, in a session of its own. Ctrl-C reaches this
process alone, which tells the group under way to end; whatever of it is then still there is killed,
and its shared memory removed.
"""

import contextlib
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from typing import IO, Any, Final, Self

import msgspec
from rich.console import Console
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn

from engine.capacity.figures import BenchRun, Figures, Machine
from engine.shm import sweep

LONGEST_S: Final = 600.0
"""A group that takes longer is ended; the longest takes two minutes."""
ENDS_S: Final = 8.0
"""How long a group that is told to end may take to put its things away."""
LOOK_S: Final = 0.1
_SAID: Final = "platering: "
"""How the command line begins the line that says what went wrong."""


class _Answer(msgspec.Struct, frozen=True):
    """What a group prints."""

    figures: dict[str, Any]


class _GroupError(Exception):
    """A group failed; says why in one line."""


def run_all(names: Sequence[str]) -> BenchRun:
    """Run these groups one after the other, with progress on standard error."""
    began, began_unix_s = time.monotonic(), int(time.time())
    load_before = os.getloadavg()[0]
    figures = Figures()
    failures: dict[str, str] = {}
    with _Bar(len(names)) as bar:
        for name in names:
            bar.begin(name)
            try:
                figures = msgspec.structs.replace(figures, **_figures_of(name, bar))
            except _GroupError as error:
                failures[name] = str(error)
                bar.tell(f"{name} failed: {error}")
    return BenchRun(
        machine=Machine.this(),
        began_unix_s=began_unix_s,
        took_s=round(time.monotonic() - began, 1),
        load_before=round(load_before, 2),
        load_after=round(os.getloadavg()[0], 2),
        figures=figures,
        failures=failures,
    )


class _Bar:
    """Shows how far all is: a bar on a terminal, a line for every group elsewhere."""

    def __init__(self, groups: int) -> None:
        self._console = Console(stderr=True, highlight=False)
        self._groups = groups
        self._done = -1
        self._name = ""
        columns = (
            BarColumn(20),
            TextColumn("{task.completed} of {task.total}"),
            TimeElapsedColumn(),
            TextColumn("{task.description}"),
        )
        self._progress = Progress(*columns, console=self._console, transient=True)
        self._task = self._progress.add_task("", total=groups)

    def __enter__(self) -> Self:
        if self._console.is_terminal:
            self._progress.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._progress.stop()

    def begin(self, name: str) -> None:
        """Go on to a group."""
        self._done += 1
        self._name = name
        self._progress.update(self._task, completed=self._done, description=name)
        if not self._console.is_terminal:
            self.tell(f"{self._done + 1} of {self._groups}: {name}")

    def step(self, line: str) -> None:
        """Show what a group says of itself."""
        if self._console.is_terminal:
            self._progress.update(self._task, description=f"{self._name}: {line}")

    def tell(self, line: str) -> None:
        """Write a line that stays."""
        self._console.print(line, markup=False, soft_wrap=True)


def command_of(name: str) -> list[str]:
    """Return the command line of a group."""
    return [sys.executable, "-m", "engine.cli", "bench", name, "--json", "--brief"]


def _figures_of(name: str, bar: _Bar) -> dict[str, msgspec.Struct]:
    """Run one group; return its figures by the name of their field of ``Figures``.

    Raises:
        _GroupError: it failed; says why.
    """
    with tempfile.TemporaryFile() as answer:
        group = subprocess.Popen(
            command_of(name),
            stdin=subprocess.DEVNULL,
            stdout=answer,
            stderr=subprocess.PIPE,
            text=True,
            start_new_session=True,
        )
        said: list[str] = []
        listener = threading.Thread(target=_listen, args=(group.stderr, said, bar), daemon=True)
        listener.start()
        try:
            is_done = _await_end(group, LONGEST_S)
        finally:
            _clear_away(group)
        listener.join(ENDS_S)
        if not is_done:
            raise _GroupError(f"it was not done after {LONGEST_S:.0f} s")
        if group.returncode:
            raise _GroupError(_reason(group.returncode, said))
        answer.seek(0)
        try:
            told = msgspec.json.decode(answer.read(), type=_Answer).figures
            found = msgspec.structs.asdict(msgspec.convert({name: told}, Figures))
            return {field: value for field, value in found.items() if value is not None}
        except msgspec.DecodeError as error:
            raise _GroupError(f"its answer is malformed: {error}") from error


def _listen(stream: IO[str] | None, said: list[str], bar: _Bar) -> None:
    """Hear what a group says of itself until it ends."""
    if stream is None:
        return
    with stream:
        for line in stream:
            said.append(line.rstrip())
            bar.step(said[-1])


def _await_end(group: "subprocess.Popen[str]", within_s: float) -> bool:
    """Tell whether a group ends within that time.

    It is left for ``_clear_away`` to be waited for: until then its number is no other process's.
    """
    deadline = time.monotonic() + within_s
    while time.monotonic() < deadline:
        if os.waitid(os.P_PID, group.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG):
            return True
        time.sleep(LOOK_S)
    return False


def _clear_away(group: "subprocess.Popen[str]") -> None:
    """Leave nothing of a group behind: it may put its things away, the rest is taken from it."""
    if not _await_end(group, LOOK_S):
        group.send_signal(signal.SIGINT)
        with contextlib.suppress(KeyboardInterrupt):  # a second Ctrl-C: no more waiting
            _await_end(group, ENDS_S)
    with contextlib.suppress(ProcessLookupError):
        os.killpg(group.pid, signal.SIGKILL)
    group.wait()
    sweep()


def _reason(code: int, said: Sequence[str]) -> str:
    """Return the one line that says why a group failed."""
    told = [line.removeprefix(_SAID) for line in said if line.startswith(_SAID)]
    if told:
        return told[-1]
    if code < 0:
        return f"it was ended by {signal.Signals(-code).name}"
    return said[-1] if said else f"exit code {code}"
